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
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from lrpo_bench.models.base import Sampling
from lrpo_bench.models.kv_cache import buffer_cache, joined_rows, repeated, select_rows
from lrpo_bench.models.packing import shared
from lrpo_bench.models.prepacked import prepacked
from lrpo_bench.models.scoring import MIN_PREFIX, additive

_LEFT_BEFORE_COMPACTION = 0.125
"""Share of rows that must have ended before the others are moved together, which copies their cache."""
_STOP_STRIDE = 8
"""Tokens between two searches for stop strings."""
_PADS = 0.05
"""Share of a prompt's length by which others, read together with it, may be shorter, once there is enough to read."""
_ENOUGH = {"cpu": 256, "other": 16_384}
"""Positions that are read together at least: a matrix product of fewer is slower than its pads."""

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
        self.new_batch: Callable[..., _Batch] = _Batch
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


class _Batch:
    """The state of sequences that are decoded together: cache, mask and positions."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], room: int, pad_id: int) -> None:
        self.model, self.device = model, model.device
        self.start = _common_start(prompts)
        self.prefix, rests = prompts[0][: self.start], [prompt[self.start :] for prompt in prompts]
        width = max(len(rest) for rest in rests)
        self.ids = torch.tensor([[pad_id] * (width - len(rest)) + list(rest) for rest in rests], device=self.device)
        lengths = torch.tensor([len(rest) for rest in rests], device=self.device)
        place = torch.arange(width, device=self.device)
        self.real = place[None, :] >= width - lengths[:, None]  # (rows, width)
        self.next = self.start + lengths
        self.filled = self.start + width
        self.cache: Cache = buffer_cache(model.config.get_text_config().num_hidden_layers)
        # Without padding there is nothing to mask, and attention is faster without a mask.
        self.mask: torch.Tensor | None = None
        if not bool(self.real.all()):
            seen = torch.ones(len(rests), self.filled + room, dtype=torch.bool, device=self.device)
            seen[:, self.start : self.filled] = self.real
            self.mask = additive(seen[:, None, None], model.dtype)

    def prefill(self) -> torch.Tensor:
        """Logits after each prompt, shape (rows, V)."""
        if self.start:
            ids = torch.tensor([self.prefix], device=self.device)
            self.model(input_ids=ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        lengths = self.real.sum(dim=1).tolist()
        together = _read_together(lengths, _ENOUGH["cpu" if self.device.type == "cpu" else "other"])
        if len(together) == 1:
            self.cache = repeated(self.cache, len(self.ids))
            return self._read(self.ids, self.real)
        prefix, width, logits, parts = self.cache, self.ids.shape[1], [], []
        for members in together:
            rows = torch.tensor(members, device=self.device)
            self.cache, skip = repeated(prefix, len(rows)), width - max(lengths[i] for i in members)
            logits.append(self._read(self.ids[rows, skip:], self.real[rows, skip:]))
            parts.append((rows, self.cache))
        self.cache = joined_rows(parts, self.start, self.filled)
        return torch.cat(logits)[torch.cat([rows for rows, _ in parts]).argsort()]

    def _read(self, ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Logits after these ends of prompts, `real` where they are no pads; shape (rows, V)."""
        width = ids.shape[1]
        positions = (self.start + real.cumsum(dim=1) - 1).clamp(min=0)
        mask = None
        if self.start or not bool(real.all()):
            place = torch.arange(width, device=self.device)
            sees = (place[None, :] <= place[:, None]) & real[:, None, :]
            sees |= torch.eye(width, dtype=torch.bool, device=self.device)  # a pad looks at itself, to stay a number
            sees = torch.cat([sees.new_ones(len(ids), width, self.start), sees], dim=2)
            mask = additive(sees[:, None], self.model.dtype)
        return self._forward(ids, mask, positions)

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits after one more token of each row."""
        self.filled += 1
        mask = None if self.mask is None else self.mask[..., : self.filled]
        logits = self._forward(tokens[:, None], mask, self.next[:, None])
        self.next = self.next + 1
        return logits

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor | None, positions: torch.Tensor) -> torch.Tensor:
        return self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]

    def keep(self, rows: torch.Tensor) -> None:
        """Keeps these rows, in this order; a row may come several times."""
        select_rows(self.cache, rows)
        self.next = self.next[rows]
        if self.mask is not None:
            self.mask = self.mask[rows]


def _read_together(lengths: Sequence[int], enough: int) -> list[list[int]]:
    """Which prompts are read in one pass, by number, the longest first.

    Example:
        >>> _read_together([10, 40, 39, 9], enough=60)
        [[1, 2], [0, 3]]
        >>> _read_together([10, 40, 39, 9], enough=100)
        [[1, 2, 0], [3]]
    """
    parts: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[parts[-1][0]] if parts else 0
        if parts and (longest * len(parts[-1]) < enough or lengths[i] >= (1 - _PADS) * longest):
            parts[-1].append(i)
        else:
            parts.append([i])
    return parts


def _common_start(prompts: Sequence[Sequence[int]]) -> int:
    """How much of the prompts is computed once for all: a long common beginning, never a whole prompt."""
    if len(prompts) == 1:
        return 0
    common = min(shared(prompts[0], prompt) for prompt in prompts)
    common = min(common, *(len(prompt) - 1 for prompt in prompts))
    return common if common >= MIN_PREFIX else 0


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
    batch = _Batch(model, rows, 2, pad_id)
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
