"""One reading of a question for all of its rollouts: prompts that differ at their ends share what stands before.

A routed group asks one question with several tags, `... How many are left? <|out_lang_sw|>`. Its stem is computed once,
its keys and values are repeated for each prompt, and only the ends are computed for each. Logits are those of prompts
that are read whole, up to the order of sums (a test compares tokens). System prompts in other languages stand before
the question, so such groups share nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lrpo_bench.models.batches import Batch, left_padded, seen_by_each
from lrpo_bench.models.packing import shared
from lrpo_bench.models.scoring import additive

_LEAST_STEM = 8
"""Tokens in common from which on two prompts are taken to ask the same."""
_WORTH = 0.75
"""Share of the positions of a plain reading that reading by stems may compute at most; it takes two passes for one."""


@dataclass(frozen=True, slots=True)
class Stems:
    """Beginnings of prompts, each a prefix of all of its prompts and shorter than any of them."""

    stems: tuple[tuple[int, ...], ...]
    of: tuple[int, ...]
    """The number of each prompt's stem."""


def find_stems(prompts: Sequence[Sequence[int]]) -> Stems | None:
    """The stems of prompts, None where reading by them would not save enough.

    Example:
        >>> question = tuple(range(10, 30))
        >>> find_stems([(*question, 1), (*question, 2), (*question, 3, 4)]) == Stems((question,), (0, 0, 0))
        True
        >>> find_stems([(1, *question), (2, *question)]) is None
        True
    """
    order = sorted(range(len(prompts)), key=lambda i: tuple(prompts[i]))
    runs: list[list[int]] = []
    for i in order:
        if runs and shared(prompts[runs[-1][0]], prompts[i]) >= _LEAST_STEM:
            runs[-1].append(i)
        else:
            runs.append([i])
    stems, of = [], [0] * len(prompts)
    for number, run in enumerate(runs):
        # sorted, so what the first and the last have in common, all have
        common = min(shared(prompts[run[0]], prompts[run[-1]]), *(len(prompts[i]) - 1 for i in run))
        if common < 1:
            return None
        stems.append(tuple(prompts[run[0]][:common]))
        for i in run:
            of[i] = number
    ends = max(len(prompt) - len(stems[number]) for prompt, number in zip(prompts, of, strict=True))
    plain = len(prompts) * max(map(len, prompts))
    if len(stems) * max(map(len, stems)) + len(prompts) * ends > _WORTH * plain:
        return None
    return Stems(tuple(stems), tuple(of))


def batch_by_stems(model: Any, prompts: Sequence[Sequence[int]], room: int, pad_id: int) -> Batch:
    """A batch for `Loop` that reads common stems once, or each prompt whole where they have none."""
    found = find_stems(prompts)
    return Batch(model, prompts, room, pad_id) if found is None else _StemBatch(model, prompts, room, pad_id, found)


class _StemBatch(Batch):
    """A batch of stems, which becomes one of prompts when it has been read."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], room: int, pad_id: int, found: Stems) -> None:
        super().__init__(model, found.stems, 0, pad_id)
        self._of, self._room, self._pad_id = found.of, room, pad_id
        self._ends = [list(prompt[len(found.stems[i]) :]) for prompt, i in zip(prompts, found.of, strict=True)]

    def prefill(self) -> torch.Tensor:
        """Logits after each prompt, shape (prompts, V)."""
        super().prefill()
        self.keep(torch.tensor(self._of, device=self.device))
        ids, real = left_padded(self._ends, self._pad_id, self.device)
        stem = real.new_ones(len(ids), self.filled)
        if self.mask is not None:
            stem = self.mask[:, 0, 0, : self.filled] == 0
        positions = self.next[:, None] + (real.cumsum(dim=1) - 1).clamp(min=0)
        logits = self._forward(ids, additive(seen_by_each(stem, real)[:, None], self.model.dtype), positions)
        self.next, self.filled = self.next + real.sum(dim=1), self.filled + ids.shape[1]
        seen = torch.cat([stem, real, real.new_ones(len(ids), self._room)], dim=1)
        self.mask = None if bool(seen.all()) else additive(seen[:, None, None], self.model.dtype)
        return logits
