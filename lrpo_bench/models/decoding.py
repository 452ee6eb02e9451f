"""Which way of decoding a model gets: our loop, or transformers' `generate` with a dynamic or a static cache.

`auto` takes the loop where it gives the logits of plain forward passes on a few of the first prompts, and `generate`
otherwise; the choice and its reason are logged. Continuous batching of transformers 5.23 is not among the ways: on a
CPU it did not come back from sixteen prompts in two minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch

from lrpo_bench.errors import ModelError, UnknownNameError
from lrpo_bench.models.base import Sampling
from lrpo_bench.models.generation import Ends, Loop, refusal, stream_seed
from lrpo_bench.models.stopping import cut

logger = logging.getLogger(__name__)

Generation = Literal["auto", "loop", "generate", "static"]
"""`static` is `generate` with a static cache, which transformers compiles on accelerators."""

Decode = Callable[[list[int]], str]


class Decoder:
    """Tokens in, tokens out, in the way that was asked for or suits the model."""

    def __init__(self, model: Any, eos_ids: Sequence[int], pad_id: int, wanted: str = "auto") -> None:
        """Takes a loaded model; a way that does not suit it is refused at the first call."""
        if wanted not in get_args(Generation):
            raise UnknownNameError("way of generation", wanted, get_args(Generation))
        self.model, self.eos_ids, self.pad_id, self.wanted = model, tuple(eos_ids), pad_id, wanted
        self.way: str | None = None if wanted in ("auto", "loop") else wanted
        """What decodes; decided at the first call."""

    def decode(self, prompts: Sequence[list[int]], sampling: Sampling, stream: int, text: Decode) -> list[list[int]]:
        """Tokens of each prompt's `sampling.n` responses, prompt by prompt, up to and with the end token.

        `stream` numbers the batches of one seeded call; `text` decodes tokens, to look for stop strings.
        """
        if self.way is None:
            self.way = self._choose(prompts)
        if self.way == "loop":
            stops = (lambda ids: cut(text(ids), sampling.stop)[1]) if sampling.stop else None
            rows = Loop(self.model, Ends(self.eos_ids, stops), self.pad_id).decode(prompts, sampling, stream)
        else:
            rows = self._by_transformers(prompts, sampling, stream, static=self.way == "static")
        return [until_eos(row, self.eos_ids) for row in rows]

    def _choose(self, prompts: Sequence[list[int]]) -> str:
        why = refusal(self.model, prompts, self.pad_id)
        if why and self.wanted == "loop":
            raise ModelError(f"generation 'loop' does not suit this model: {why}; use generation 'auto' or 'generate'")
        logger.info("responses are decoded by %s", f"transformers' generate: {why}" if why else "our own loop")
        return "generate" if why else "loop"

    @torch.no_grad()
    def _by_transformers(
        self, rows: Sequence[list[int]], sampling: Sampling, stream: int, *, static: bool
    ) -> list[list[int]]:
        from transformers import GenerationConfig

        width, device = max(len(row) for row in rows), self.model.device
        ids = torch.tensor([[self.pad_id] * (width - len(row)) + row for row in rows], device=device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
        greedy = sampling.sampling_temperature == 0
        config = GenerationConfig(
            max_new_tokens=sampling.max_completion_tokens,
            do_sample=not greedy,
            temperature=None if greedy else sampling.sampling_temperature,
            top_p=None if greedy else sampling.top_p,
            top_k=None if greedy else 0,
            num_return_sequences=sampling.n,
            eos_token_id=list(self.eos_ids),
            pad_token_id=self.pad_id,
            cache_implementation="static" if static else None,
        )
        with seeded(sampling.seed, stream, device), _without_own_defaults(self.model):
            output = self.model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        return output[:, width:].tolist()


@contextmanager
def _without_own_defaults(model: Any) -> Iterator[None]:
    """Hides the model's generation config inside a block: transformers fills whatever ours leaves open from it."""
    from transformers import GenerationConfig

    kept, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = kept


@contextmanager
def seeded(seed: int, stream: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's generators inside a block and restores them after it, because `generate` accepts no generator."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(stream_seed(seed, stream))
        yield


def until_eos(ids: list[int], eos_ids: Sequence[int]) -> list[int]:
    """The tokens up to the first end token, and with it.

    Example:
        >>> until_eos([5, 2, 7], [2])
        [5, 2]
    """
    for position, token in enumerate(ids):
        if token in eos_ids:
            return ids[: position + 1]
    return ids
