"""Log-likelihoods of tokens: each distinct beginning computed once, logits only where a token is scored.

Three ways, the first that gives the numbers of a plain forward pass on the first few sequences of a model:

- `packed`: sequences as trees (`models/packing.py`) under a mask of our own; long beginnings that many share (worked
  examples) are computed once into a cache. Needs a model that takes a four-dimensional mask and positions.
- `batched`: sequences side by side, padded on the right; its head runs at scored positions only.
- `full`: as `batched`, for models whose head can not be told where to run.

Why a faster way was not taken is logged. Sums differ from one way to another by rounding only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lrpo_bench.models.kv_cache import buffer_cache, prefix_cache
from lrpo_bench.models.packing import Pack, Row, group_by_prefix, pack
from lrpo_bench.models.prepacked import prepacked

logger = logging.getLogger(__name__)

Way = Literal["packed", "batched", "full"]

PACK_WIDTH = 256
"""Tokens of a pack. Attention costs their square, so little of it is left to gain from longer ones."""
MIN_PREFIX = 48
"""Tokens that a common beginning must have to be computed in a pass of its own."""
_PROBE_ROWS = 6
_LOGITS = {"cpu": 2**25, "other": 2**28}
"""Logits held at once: 128 MiB on a CPU in float32, 1 GiB elsewhere."""
_TOGETHER = {"cpu": 2**20, "other": 2**26}
"""Logits normalised at once."""
_TOKENS = {"cpu": 1024, "other": 2**16}
"""Positions read at once. What the layers write between two products should stay in a processor's cache, and products
of more are no faster there."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one forward pass may hold."""

    rows: int
    """Sequences."""
    logits: int
    """Positions with logits, times vocabulary."""
    tokens: int
    """Positions, pads included."""


class Scorer:
    """Sums of log-likelihoods under one model, in the fastest way that the model takes."""

    def __init__(self, model: Any, batch_size: int, pad_id: int) -> None:
        """`batch_size` bounds the sequences of a forward pass."""
        self.model, self.pad_id = model, pad_id
        kind = "cpu" if model.device.type == "cpu" else "other"
        self.limits = Limits(batch_size, _LOGITS[kind], _TOKENS[kind])
        self.way: Way | None = None
        """Decided at the first call."""

    @torch.no_grad()
    def sums(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """The summed natural log-likelihood of each row's tokens from `first` on."""
        if not rows:
            return np.zeros(0)
        if self.way is None:
            self.way = self._choose(rows)
        way = self.way
        if way == "packed" and _beyond_window(self.model.config, max(len(row.tokens) for row in rows)):
            way = "batched"
        with prepacked(self.model):
            return self._sums(rows, way)

    def _sums(self, rows: Sequence[Row], way: Way) -> NDArray[np.float64]:
        if way == "packed":
            return self._packed(rows, MIN_PREFIX, PACK_WIDTH)
        return self._batched(rows, everywhere=way == "full")

    def _choose(self, rows: Sequence[Row]) -> Way:
        """The first way that agrees with a plain pass, on the shortest row and its neighbours, which begin alike."""
        ordered = sorted(rows, key=lambda row: row.tokens)
        shortest = min(range(len(ordered)), key=lambda i: len(ordered[i].tokens))
        near = ordered[max(0, shortest - 2) :][:_PROBE_ROWS]
        expected, allowed = self._sums(near, "full"), tolerance(self.model.dtype)
        ways: tuple[Way, ...] = ("packed", "batched")
        for way in ways:
            try:
                found = self._sums(near, way)
                if way == "packed":  # the cache of a common beginning too, however short it is here
                    cached = self._packed(near, min_prefix=1, width=1)
                    found = np.where(np.isclose(cached, found, **allowed, equal_nan=True), found, np.inf)
            except Exception as error:  # whatever model code of others raises on inputs that it does not know
                logger.info("log-likelihoods are not computed %s: %s: %s", way, type(error).__name__, error)
                continue
            if np.allclose(found, expected, **allowed, equal_nan=True):
                return way
            worst = float(np.abs(np.nan_to_num(found - expected, nan=np.inf)).max())
            logger.info("log-likelihoods are not computed %s: they would be up to %.3g off a plain pass", way, worst)
        return "full"

    # ---- packed

    def _packed(self, rows: Sequence[Row], min_prefix: int, width: int) -> NDArray[np.float64]:
        sums = np.zeros(len(rows))
        for group in group_by_prefix(rows, min_prefix=min_prefix, width=width):
            prefix = self._prefix(rows[group.members[0]].tokens[: group.start]) if group.start else None
            packs = pack(rows, group, width=width, max_rows=self.limits.rows)
            for batch in self._batches(packs):
                values = self._predict(batch, prefix)
                offset = 0
                for each in batch:
                    for number, wanted in each.rows:
                        sums[number] = values[offset : offset + len(each.targets)][wanted].sum()
                    offset += len(each.targets)
        return sums

    def _prefix(self, tokens: Sequence[int]) -> Any:
        cache = buffer_cache(self.model.config.get_text_config().num_hidden_layers)
        ids = torch.tensor([tokens], device=self.model.device)
        self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache

    def _vocabulary(self) -> int:
        return int(self.model.config.get_text_config().vocab_size)

    def _batches(self, packs: Sequence[Pack]) -> Iterator[list[Pack]]:
        """Packs of similar length together, within the limits."""
        room = max(1, self.limits.logits // self._vocabulary())
        batch: list[Pack] = []
        n_rows = n_heads = 0
        for each in sorted((each for each in packs if each.targets), key=lambda each: -len(each.tokens)):
            n_rows, n_heads = n_rows + len(each.rows), n_heads + len(set(each.parents))
            n_tokens = len((batch or [each])[0].tokens) * (len(batch) + 1)  # the first is the longest
            if batch and (n_rows > self.limits.rows or n_heads > room or n_tokens > self.limits.tokens):
                yield batch
                batch, n_rows, n_heads = [], len(each.rows), len(set(each.parents))
            batch.append(each)
        if batch:
            yield batch

    def _predict(self, packs: Sequence[Pack], prefix: Any) -> NDArray[np.float64]:
        """The log-likelihood of each prediction of the packs, one pack after another."""
        device, width = self.model.device, max(len(each.tokens) for each in packs)
        filler = range(width)  # a pad looks at itself: a row of a mask without any entry gives NaN
        ids = torch.tensor([_filled(each.tokens, [self.pad_id] * width) for each in packs], device=device)
        positions = torch.tensor([_filled(each.positions, [0] * width) for each in packs], device=device)
        last = torch.tensor([_filled(each.last, filler) for each in packs], device=device)
        place = torch.arange(width, device=device)
        sees = (place[None, None, :] <= place[None, :, None]) & (place[None, :, None] <= last[:, None, :])
        if prefix is not None:
            sees = torch.cat([sees.new_ones(len(packs), width, packs[0].start), sees], dim=2)
        mask = additive(sees[:, None], self.model.dtype)
        where = [row * width + parent for row, each in enumerate(packs) for parent in each.parents]
        heads, index = np.unique(where, return_inverse=True)
        with head_at(self.model, torch.from_numpy(heads).to(device)):
            logits = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=None if prefix is None else prefix_cache(prefix),
                use_cache=prefix is not None,
            ).logits[0]
        return log_probabilities(logits, index, [target for each in packs for target in each.targets])

    # ---- batched

    def _batched(self, rows: Sequence[Row], *, everywhere: bool) -> NDArray[np.float64]:
        sums = np.zeros(len(rows))
        scored = [i for i in range(len(rows)) if rows[i].first < len(rows[i].tokens)]
        room = max(1, self.limits.logits // self._vocabulary())
        order = sorted(scored, key=lambda i: -len(rows[i].tokens))
        while order:
            # the first row is the longest, and the width of all
            width = len(rows[order[0]].tokens) - 1
            per_row = width if everywhere else width + 1 - min(rows[i].first for i in order)
            size = max(1, min(self.limits.rows, room // max(1, per_row), self.limits.tokens // width))
            batch, order = order[:size], order[size:]
            values = self._side_by_side([rows[i] for i in batch], everywhere=everywhere)
            ends = np.cumsum([len(rows[i].tokens) - rows[i].first for i in batch])
            for i, part in zip(batch, np.split(values, ends[:-1]), strict=True):
                sums[i] = part.sum()
        return sums

    def _side_by_side(self, rows: Sequence[Row], *, everywhere: bool) -> NDArray[np.float64]:
        device, width = self.model.device, max(len(row.tokens) for row in rows) - 1
        ids = torch.tensor([_filled(row.tokens[:-1], [self.pad_id] * width) for row in rows], device=device)
        mask = torch.tensor([_filled([1] * (len(row.tokens) - 1), [0] * width) for row in rows], device=device)
        where = [i * width + at - 1 for i, row in enumerate(rows) for at in range(row.first, len(row.tokens))]
        index = torch.tensor(where, device=device)
        if everywhere:
            whole = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            logits = whole.reshape(-1, whole.shape[-1])[index]
        else:
            with head_at(self.model, index):
                logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0]
        targets = [token for row in rows for token in row.tokens[row.first :]]
        return log_probabilities(logits, np.arange(len(targets)), targets)


def log_probabilities(logits: torch.Tensor, index: NDArray[np.int64], targets: Sequence[int]) -> NDArray[np.float64]:
    """The natural log-probability of `targets[i]` under row `index[i]` of the logits, shape (len(targets),)."""
    order = np.argsort(index, kind="stable")
    wanted = torch.tensor(targets, device=logits.device)[torch.from_numpy(order).to(logits.device)]
    rows = torch.from_numpy(index[order]).to(logits.device)
    # A few rows at a time, which stay in the processor's cache: several times faster than all at once.
    size = max(1, _TOGETHER["cpu" if logits.device.type == "cpu" else "other"] // logits.shape[1])
    ends = np.searchsorted(index[order], range(size, len(logits) + size, size))
    values, begin = [], 0
    for start, end in zip(range(0, len(logits), size), ends.tolist(), strict=True):
        logps = torch.log_softmax(logits[start : start + size].float(), dim=-1)
        values.append(logps[rows[begin:end] - start, wanted[begin:end]])
        begin = end
    found = np.empty(len(index))
    found[order] = torch.cat(values).double().cpu().numpy() if values else []
    return found


def additive(sees: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A mask that is added to attention scores: 0 where `sees` holds, the dtype's lowest value elsewhere."""
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill_(~sees, torch.finfo(dtype).min)


@contextmanager
def head_at(model: Any, positions: torch.Tensor) -> Iterator[None]:
    """Makes the output head run at these positions only, of batch x width; logits then have the shape (1, N, V).

    `logits_to_keep` can not: it takes the same positions of every row.
    """

    def chosen(_: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = arguments[0]
        return (hidden.reshape(-1, hidden.shape[-1])[positions][None], *arguments[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(chosen)
    try:
        yield
    finally:
        handle.remove()


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    """By how much sums of log-likelihoods may differ from one order of operations to another."""
    return {"rtol": 1e-4, "atol": 2e-3} if dtype == torch.float32 else {"rtol": 3e-2, "atol": 0.5}


def _beyond_window(config: Any, length: int) -> bool:
    window = getattr(config.get_text_config(), "sliding_window", None)
    return window is not None and length > window


def _filled(values: Sequence[int], filler: Sequence[int]) -> list[int]:
    return [*values, *filler[len(values) :]]
