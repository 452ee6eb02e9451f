"""A model without weights, for tests and for trying a configuration: answers by a function of the prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from lrpo_bench.models.base import Completion, ModelInfo, Prompt, Sampling
from lrpo_bench.models.stopping import cut


class MockModel:
    """Answers every prompt with `answer(prompt text, draw index)`, deterministically.

    Without an `answer` function it says a small number drawn from a hash of the prompt, so that some answers are right.
    """

    def __init__(self, answer: Callable[[str, int], str] | None = None, name: str = "mock") -> None:
        self._answer = answer or _hashed_number
        self._name = name

    @property
    def info(self) -> ModelInfo:
        """A mock's identity is its name."""
        return ModelInfo(self._name, None, f"mock:{self._name}", 0, "none", 1_000_000, chat_template=False)

    def render(self, prompt: Prompt) -> str:
        """The contents, one after another."""
        return "\n\n".join(message["content"] for message in prompt)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """One function call per completion; words count as tokens, and long answers are cut."""
        return [[self._complete(prompt, k, sampling) for k in range(sampling.n)] for prompt in prompts]

    def _complete(self, prompt: Prompt, k: int, sampling: Sampling) -> Completion:
        draw = k if sampling.sampling_temperature == 0 else k + 1 + sampling.seed
        text = self._answer(self.render(prompt), draw)
        words = text.split(" ")
        said = " ".join(words[: sampling.max_completion_tokens])
        kept, was_cut = cut(said, sampling.stop)
        if was_cut or len(words) <= sampling.max_completion_tokens:
            return Completion(kept, len(kept.split(" ")), "stop")
        return Completion(said, sampling.max_completion_tokens, "length")

    def loglikelihood(self, prompts: Sequence[Prompt], options: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Minus the hashed value in [0, 1) of each option after its prompt."""
        return [
            np.array([-_hash_unit(f"{prompt}\0{option}") for option in choices])
            for prompt, choices in zip(prompts, options, strict=True)
        ]


def _hash_unit(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64


def _hashed_number(prompt: str, draw: int) -> str:
    return f"The answer is {int(_hash_unit(f'{prompt}{draw}') * 20)}."
