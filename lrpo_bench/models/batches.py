"""Sequences that are decoded together: prompts read with few pads, then a token of each row at a time.

What all prompts begin alike with is read once, and prompts of like length are read together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache

from lrpo_bench.models.kv_cache import buffer_cache, joined_rows, repeated, select_rows
from lrpo_bench.models.packing import shared
from lrpo_bench.models.scoring import MIN_PREFIX, additive

_PADS = 0.05
"""Share of a prompt's length by which others, read together with it, may be shorter, once there is enough to read."""
_ENOUGH = {"cpu": 256, "other": 16_384}
"""Positions that are read together at least: a matrix product of fewer is slower than its pads."""


class Batch:
    """The state of sequences that are decoded together: cache, mask and positions."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], room: int, pad_id: int) -> None:
        self.model, self.device = model, model.device
        self.start = _common_start(prompts)
        self.prefix, rests = prompts[0][: self.start], [prompt[self.start :] for prompt in prompts]
        self.ids, self.real = left_padded(rests, pad_id, self.device)
        self.next = self.start + self.real.sum(dim=1)
        self.filled = self.start + self.ids.shape[1]
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
        positions = (self.start + real.cumsum(dim=1) - 1).clamp(min=0)
        mask = None
        if self.start or not bool(real.all()):
            before = real.new_ones(len(ids), self.start)
            mask = additive(seen_by_each(before, real)[:, None], self.model.dtype)
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


def left_padded(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of tokens with pads before the shorter ones, and which are no pads; both of the shape (rows, width).

    Example:
        >>> left_padded([[5, 6], [7]], 0, torch.device("cpu"))[0].tolist()
        [[5, 6], [0, 7]]
    """
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + list(row) for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    return ids, torch.arange(width, device=device)[None, :] >= width - lengths[:, None]


def seen_by_each(before: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """What each token of left-padded rows looks at, shape (rows, width, n + width).

    Args:
        before: which of the `n` positions in the cache are no pads, shape (rows, n).
        real: the same of the tokens, shape (rows, width).
    """
    width = real.shape[1]
    place = torch.arange(width, device=real.device)
    sees = (place[None, :] <= place[:, None]) & real[:, None, :]
    sees |= torch.eye(width, dtype=torch.bool, device=real.device)  # a pad looks at itself, to stay a number
    return torch.cat([before[:, None].expand(-1, width, -1), sees], dim=2)


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
