"""The model contract: prompts in, completions or log-likelihoods out. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

Message = dict[str, str]
Prompt = tuple[Message, ...]
"""A conversation: `({"role": "user", "content": "..."},)`; a backend without a chat template joins the contents."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are decoded; part of a result's signature."""

    max_completion_tokens: int = 256
    sampling_temperature: float = 0.0
    """0 decodes greedily."""
    top_p: float = 1.0
    n: int = 1
    """Completions per prompt; must be 1 when greedy."""
    seed: int = 0
    stop: tuple[str, ...] = ()
    """A completion ends before the first of these; see `models.stopping`."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One response."""

    text: str
    n_tokens: int
    finish_reason: Literal["stop", "length"]
    """`length`: cut at `max_completion_tokens`, so the response counts as truncated; `stop`: it ended, or came to a
    stop string."""
    prompt_truncated: bool = False
    """The prompt did not fit the context and lost its beginning."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What identifies a model in a manifest."""

    name: str
    revision: str | None
    weights_hash: str
    n_parameters: int
    dtype: str
    context_length: int
    chat_template: bool


class Model(Protocol):
    """What the evaluator asks of a backend."""

    @property
    def info(self) -> ModelInfo:
        """Identity for the manifest and the response cache."""
        ...

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions for each prompt, in the order of `prompts`."""
        ...

    def loglikelihood(self, prompts: Sequence[Prompt], options: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Log-likelihood (natural log) of each option after its prompt; one float array a prompt.

        Up to an addend that is the same for all options of a prompt: such as of what they all begin with.
        """
        ...

    def render(self, prompt: Prompt) -> str:
        """The text the model reads for a conversation, chat template included."""
        ...
