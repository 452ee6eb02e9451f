"""Ranks that say how sure they are.

A row is better than another where the difference between them, paired by seed and question, has a p below 5% after
Holm's correction over all pairs. With K rows, a row's rank is then between 1 + (rows that are better) and K - (rows
that it is better than); both hold for all rows at once with 95% (after Mohamad, Goeman and van Zwet 2019, arXiv
1708.02729, with Holm's step-down in place of Tukey's range). Rows that share the better end are tied.

Departure: a row that is known worse than its neighbours may have a lower value than one that is hardly known, and then
have the better rank. Intervals are widened until ranks follow the values, which keeps what they promise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lrpo_bench.evaluation.significance import holm
from lrpo_bench.evaluation.statistics import ALPHA

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Rank:
    """Where a row stands, from best to worst place that the data allow."""

    best: int
    worst: int
    is_tied: bool
    """True where another row has the same best place."""

    def __str__(self) -> str:
        """The rank with its interval, an equals sign before a tied one.

        Example:
            >>> str(Rank(1, 3, True)), str(Rank(4, 4, False))
            ('=1 (1–3)', '4')
        """
        span = f" ({self.best}–{self.worst})" if self.worst > self.best else ""
        return f"{'=' if self.is_tied else ''}{self.best}{span}"


def rank(values: Mapping[int, float], differences: Mapping[Pair, tuple[float, float]]) -> dict[int, Rank]:
    """Ranks of rows, higher values first.

    Args:
        values: by id of the row.
        differences: for pairs (a, b) of ids, value of b minus value of a, and its uncorrected p; a p of NaN decides
            nothing.

    Example:
        >>> tests = {(0, 1): (0.3, 0.001), (0, 2): (0.29, 0.001), (1, 2): (-0.01, 0.8)}
        >>> [str(found) for found in rank({0: 0.5, 1: 0.8, 2: 0.79}, tests).values()]
        ['3', '=1 (1–2)', '=1 (1–2)']
    """
    pairs = list(differences)
    corrected = holm([differences[pair][1] for pair in pairs]).tolist() if pairs else []
    best, worst = dict.fromkeys(values, 1), dict.fromkeys(values, len(values))
    for (a, b), p in zip(pairs, corrected, strict=True):
        value = differences[a, b][0]
        if math.isnan(p) or p >= ALPHA or value == 0:
            continue
        loser, winner = (a, b) if value > 0 else (b, a)
        best[loser] += 1
        worst[winner] -= 1
    best = {row: min(best[other] for other in values if values[other] <= values[row]) for row in values}
    worst = {row: max(worst[other] for other in values if values[other] >= values[row]) for row in values}
    places = list(best.values())
    return {row: Rank(best[row], worst[row], places.count(best[row]) > 1) for row in values}
