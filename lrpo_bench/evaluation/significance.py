"""Tests of a paired difference, and what several of them at once may claim.

Values may be NaN (unscored): they are left out. Sources: McNemar 1947; Holm 1979.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lrpo_bench.evaluation.clusters import Floats, as_floats, equal_weights, known_values

_EXACT_FLIPS = 16
"""Up to 2^16 sign patterns are enumerated; above, they are drawn."""
_TIE = 1e-9  # sums of the same numbers in another order differ by rounding


def mcnemar_exact(before: ArrayLike, after: ArrayLike) -> float:
    """Two-sided p of McNemar's exact test on right/wrong pairs; 1 where no pair differs, NaN where no pair is known.

    Pairs must be independent, so at most one a source question.

    Example:
        >>> mcnemar_exact([0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1])
        0.0625
    """
    differences = as_floats(after) - as_floats(before)
    differences = differences[~np.isnan(differences)]
    if differences.size == 0:
        return math.nan
    if not np.isin(differences, (-1.0, 0.0, 1.0)).all():
        raise ValueError("McNemar's test needs scores of 0 or 1; use sign_flip_test for others")
    gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
    return min(1.0, 2.0 * float(special.bdtr(min(gained, lost), gained + lost, 0.5))) if gained + lost else 1.0


def sign_flip_test(
    differences: ArrayLike,
    clusters: Sequence[Any] | NDArray[Any],
    rng: np.random.Generator,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    n_resamples: int = 10_000,
) -> float:
    """Two-sided p of the hypothesis that a cluster's differences are as likely to have the other sign.

    Every pattern of signs is tried where at most 16 clusters differ from zero; else `n_resamples` are drawn, and the
    observed one counts as one of them, so that p is never 0.

    Example:
        >>> sign_flip_test([1, 1, 1, 1, 1], "abcde", np.random.default_rng(0))
        0.0625
    """
    values, known, codes, _ = known_values(differences, clusters)
    if values.size == 0:
        return math.nan
    weights = equal_weights(values.size, None if groups is None else np.asarray(groups)[known])
    sums = np.bincount(codes, weights=values * weights)
    sums = sums[np.abs(sums) > _TIE * np.abs(sums).max(initial=0.0)]
    if sums.size == 0:
        return 1.0
    observed = abs(float(sums.sum())) - _TIE * float(np.abs(sums).sum())
    if sums.size <= _EXACT_FLIPS:
        totals = np.zeros(1)
        for value in sums:
            totals = np.concatenate([totals + value, totals - value])
        return float((np.abs(totals) >= observed).mean())
    as_extreme = 0
    for start in range(0, n_resamples, 1000):  # chunks bound the memory
        signs = rng.integers(0, 2, size=(min(1000, n_resamples - start), sums.size), dtype=np.int8) * 2.0 - 1.0
        as_extreme += int((np.abs(signs @ sums) >= observed).sum())
    return (1 + as_extreme) / (1 + n_resamples)


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down adjusted p values, in the order given; NaN stays NaN and is not counted as a test.

    Example:
        >>> [round(float(p), 6) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    p = as_floats(p_values)
    adjusted = np.full(p.shape, math.nan)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]  # NaN sorts last
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted
