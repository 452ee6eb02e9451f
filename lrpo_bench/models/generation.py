"""Decoding by a loop of our own: keys and values in place, rows leave when they end, draws share their prompt.

What transformers' `generate` does at every token and this does not: copying the cache, rebuilding the mask, carrying
sequences that have ended, computing a prompt once for each of its draws, computing pads before short prompts, and on a
CPU laying out the weights (`models/prepacked.py`). Greedy tokens are the same (a test).

It needs a model with plain attention caches that takes positions and a four-dimensional mask; `refusal` tells, from the
model's configuration and from a comparison with plain forward passes, whether this one does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from lrpo_bench.models.base import Sampling
from lrpo_bench.models.batches import Batch
from lrpo_bench.models.prepacked import prepacked

_LEFT_BEFORE_COMPACTION = 0.125
"""Share of rows that must have ended before the others are moved together, which copies their cache."""
_STOP_STRIDE = 8
"""Tokens between two searches for stop strings."""

Stops = Callable[[list[int]], bool]
"""Whether a response, by its tokens, contains a stop string."""
Pick = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""The next tokens (rows,), from logits (rows, V) and the numbers of the responses that still run (rows,)."""


@dataclass(frozen=True, slots=True)
class Ends:
    """When a response is over."""

    eos_ids: tuple[int, ...]
    stops: Stops | None = None


class Loop:
    """Decodes batches of prompts under one model."""

    def __init__(self, model: Any, ends: Ends, pad_id: int) -> None:
        """Takes a loaded model in evaluation mode."""
        self.model, self.ends, self.pad_id = model, ends, pad_id
        self.new_batch: Callable[..., Batch] = Batch
        self._eos = torch.tensor(ends.eos_ids, device=model.device)
        # Looking at tokens waits for an accelerator, and for a CPU it does not.
        self._stride = 1 if model.device.type == "cpu" else 8

    @torch.no_grad()
    def decode(self, prompts: Sequence[Sequence[int]], sampling: Sampling, stream: int) -> list[list[int]]:
        """Tokens of each prompt's `sampling.n` responses, prompt by prompt; they may run on after an end."""
        sources = [i for i in range(len(prompts)) for _ in range(sampling.n)]
        limit = sampling.max_completion_tokens
        choose = _picker(sampling, stream, self.model.device)
        return self.sample(prompts, sources, limit, lambda logits, _: choose(logits))

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[Sequence[int]], sources: Sequence[int], limit: int, pick: Pick
    ) -> list[list[int]]:
        """Tokens of a response a source, which is the number of its prompt; they may run on after an end."""
        with prepacked(self.model):
            return self._sample(prompts, sources, limit, pick)

    def _sample(
        self, prompts: Sequence[Sequence[int]], sources: Sequence[int], limit: int, pick: Pick
    ) -> list[list[int]]:
        batch = self.new_batch(self.model, prompts, limit, self.pad_id)
        logits = batch.prefill()
        if list(sources) != list(range(len(prompts))):
            chosen = torch.tensor(sources, device=self.model.device)
            batch.keep(chosen)
            logits = logits[chosen]
        produced = torch.full((len(logits), limit), self._eos[0].item(), device=self.model.device)
        rows = torch.arange(len(logits), device=self.model.device)
        running = torch.ones(len(logits), dtype=torch.bool, device=self.model.device)
        for step in range(limit):
            tokens = pick(logits, rows)
            produced[rows, step] = tokens
            running &= ~torch.isin(tokens, self._eos)
            if step + 1 == limit:
                break
            if (step + 1) % self._stride == 0:
                self._look_for_stops(step + 1, produced, rows, running)
                n_running = int(running.sum())
                if n_running == 0:
                    break
                if n_running <= (1 - _LEFT_BEFORE_COMPACTION) * len(rows):
                    kept = running.nonzero()[:, 0]
                    batch.keep(kept)
                    tokens, rows, running = tokens[kept], rows[kept], running[kept]
            logits = batch.step(tokens)
        return produced[:, : step + 1].tolist()

    def _look_for_stops(self, length: int, produced: torch.Tensor, rows: torch.Tensor, running: torch.Tensor) -> None:
        if self.ends.stops is None or length % _STOP_STRIDE:
            return
        for i in running.nonzero()[:, 0].tolist():
            if self.ends.stops(produced[rows[i], :length].tolist()):
                running[i] = False


def _picker(sampling: Sampling, stream: int, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """The next token of each row, from its logits."""
    if sampling.sampling_temperature == 0:
        return lambda logits: logits.argmax(dim=-1)
    generator = torch.Generator(device).manual_seed(stream_seed(sampling.seed, stream))

    def pick(logits: torch.Tensor) -> torch.Tensor:
        probs = torch.softmax(logits.float() / sampling.sampling_temperature, dim=-1)
        if sampling.top_p < 1:
            probs = nucleus(probs, sampling.top_p)
        return torch.multinomial(probs, 1, generator=generator)[:, 0]

    return pick


def nucleus(probs: torch.Tensor, top_p: float) -> torch.Tensor:
    """The likeliest tokens that together reach `top_p`, the others 0; not normalised (arXiv 1904.09751, Sec. 3.1).

    Example:
        >>> nucleus(torch.tensor([[0.5, 0.2, 0.3]]), 0.6).tolist()
        [[0.5, 0.0, 0.30000001192092896]]
    """
    ordered, order = probs.sort(dim=-1, descending=True)
    ordered = ordered.masked_fill(ordered.cumsum(dim=-1) - ordered >= top_p, 0.0)
    return torch.zeros_like(probs).scatter_(-1, order, ordered)


def stream_seed(seed: int, stream: int) -> int:
    """A seed of 63 bits for one batch of a seeded call."""
    return int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def refusal(model: Any, prompts: Sequence[Sequence[int]], pad_id: int) -> str:
    """Why the loop can not be used with this model, empty when it can; compares logits on a few prompts."""
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return "the model takes no positions"
    kinds = {type(layer) for layer in DynamicCache(config=model.config).layers}
    if kinds - {DynamicLayer}:
        return f"the model's cache has layers of other kinds: {', '.join(sorted(kind.__name__ for kind in kinds))}"
    rows = sorted(prompts, key=len)[:3]
    if len({len(row) for row in rows}) == 1:  # so that padding is tried too
        rows = [*rows, [*rows[0], rows[0][-1]]]
    try:
        found, expected = _by_loop(model, rows, pad_id), _plainly(model, rows)
    except Exception as error:  # whatever model code of others raises on inputs that it does not know
        return f"{type(error).__name__}: {error}"
    allowed = (1e-3 if model.dtype == torch.float32 else 5e-2) * max(1.0, float(expected.abs().max()))
    # Not-a-number counts as itself: broken weights are broken either way.
    worst = float((found.nan_to_num(0.0) - expected.nan_to_num(0.0)).abs().max())
    return "" if worst <= allowed else f"logits would be up to {worst:.3g} off a plain forward pass"


@torch.no_grad()
def _by_loop(model: Any, rows: Sequence[Sequence[int]], pad_id: int) -> torch.Tensor:
    batch = Batch(model, rows, 2, pad_id)
    first = batch.prefill()
    batch.keep(torch.arange(len(rows), device=model.device).flip(0))
    return torch.cat([first, batch.step(torch.tensor([row[0] for row in reversed(rows)], device=model.device)).flip(0)])


@torch.no_grad()
def _plainly(model: Any, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    whole = [*rows, *([*row, row[0]] for row in rows)]
    device = model.device
    return torch.cat(
        [model(input_ids=torch.tensor([row], device=device), use_cache=False).logits[:, -1] for row in whole]
    )
