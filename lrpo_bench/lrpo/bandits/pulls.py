"""What the alternative routers count: rollouts and rewards by context and language, kept exactly and in any order."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.lrpo.routing import Cell, Context, Factor, Observation


class Pulls:
    """Discounted numbers and sums of rewards; (context, language) -> (count, sum)."""

    def __init__(self, n_arms: int, discount: float = 1.0) -> None:
        """Counts nothing yet; `discount` is what one count is worth a step later."""
        self._n_arms, self._discount = n_arms, discount
        self._rows: dict[Cell, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    def of(self, cell: Cell) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Counts and sums of a cell, each (arms,); zeros where it was never seen."""
        found = self._rows.get(cell)
        return (np.zeros(self._n_arms), np.zeros(self._n_arms)) if found is None else found

    def add_step(self, rewards: Mapping[tuple[Cell, int], Sequence[float]]) -> None:
        """Takes in one step: rewards by (cell, arm); sums are correctly rounded, so their order does not matter."""
        if self._discount < 1.0:
            self._rows = {cell: (n * self._discount, s * self._discount) for cell, (n, s) in self._rows.items()}
        for (cell, arm), values in rewards.items():
            counts, sums = self._rows.setdefault(cell, self.of(cell))
            counts[arm] += len(values)
            sums[arm] += math.fsum(values)

    def state(self) -> list[object]:
        """All rows as JSON values, sorted."""
        ordered = sorted(self._rows.items(), key=lambda item: tuple(part or "" for part in item[0]))
        return [[list(cell), counts.tolist(), sums.tolist()] for cell, (counts, sums) in ordered]

    def load(self, state: object) -> None:
        """Restores what `state` gave."""
        self._rows = {
            tuple(cell): (np.array(counts, dtype=float), np.array(sums, dtype=float))
            for cell, counts, sums in cast("list[tuple[list[str | None], list[float], list[float]]]", state)
        }


def joint_cell(context: Context, factors: Sequence[Factor]) -> Cell:
    """The one cell of a question by all factors together; several regions are a cell of their own.

    Example:
        >>> joint_cell(Context("chat", "de", ("dach", "china")), ("topic", "region", "task"))
        ('chat', 'china+dach', None)
    """
    return tuple("+".join(sorted(context.rows(factor))) or None for factor in factors)


def usable(
    observations: Sequence[Observation], arms: Mapping[str, int], learn_from_quota: bool
) -> list[tuple[Observation, int]]:
    """Observations that may teach a router, with their arm: judged, of a known language, no quota unless asked for."""
    return [
        (seen, arms[seen.lang])
        for seen in observations
        if not math.isnan(seen.reward) and seen.lang in arms and (learn_from_quota or not seen.is_quota)
    ]


def by_joint_cell(
    observations: Sequence[tuple[Observation, int]], factors: Sequence[Factor]
) -> dict[tuple[Cell, int], list[float]]:
    """Rewards of a step by (joint cell, arm)."""
    found: dict[tuple[Cell, int], list[float]] = defaultdict(list)
    for seen, arm in observations:
        found[joint_cell(seen.context, factors), arm].append(seen.reward)
    return found
