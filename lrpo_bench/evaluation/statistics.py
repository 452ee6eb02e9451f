"""How sure a number is: intervals, and what could have been seen at all; tests are in `evaluation.significance`.

Parallel translations of a question are not independent, so everything clusters by source question. Values may be NaN
(unscored): they are left out, and counted.

Sources: Miller 2024, "Adding Error Bars to Evals" (arXiv 2411.00640) for clustered and paired standard errors; Wilson
1927 with the effective sample size of clustered data (Kish 1965) and Student's t, as Korn and Graubard 1998 and Dean
and Pagano 2015 use it for surveys, for intervals of a share; Cameron, Gelbach, Miller 2011 and Satterthwaite 1946 for
the interval over seeds and questions.

Departures:
    - A macro average weighs each language equally; residuals are then taken from the language's own mean (a linearised
      stratified estimator). With one language it is Miller's formula.
    - The design effect of a share is that of its questions and half a question more, of that half all right and half
      all wrong. Near 0 or 1 few questions differ, and without it they show no clustering when there is some: of 30
      questions in eleven languages at accuracy .98, Wilson's interval then covers 88%, with it 98%
      (`benchmarks/simulation.py`, which chose the half).
    - t intervals are cut at the bounds of the score: a difference of .99 +- .02 can not be 1.01.
    - Where no cluster differs from another the standard error is 0, and so would the interval be. Instead the share of
      clusters that differ is bounded as by Clopper and Pearson when 0 of C were seen: u = 1 - (alpha/2)^(1/C). The mean
      then lies between value - u * (value - low) and value + u * (high - value). For 0 or C successes this is exactly
      the Clopper-Pearson interval.
    - The minimal detectable effect is (t_{1-alpha/2} + t_power) * SE, central t quantiles in place of the noncentral t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lrpo_bench.evaluation.clusters import Floats, as_floats, codes_of, equal_weights, known_values

ALPHA = 0.05
POWER = 0.8
_SMOOTHED = 0.25
"""Questions that are all right, and as many that are all wrong, added to those of a share to judge its clustering."""
_TIE = 1e-9  # sums of the same numbers in another order differ by rounding

Bounds = tuple[float, float]
Interval = Literal["wilson", "t"]
"""`wilson` for means of scores between two bounds, `t` for differences and for what has no bounds."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and how sure it is; NaN where it can not be known."""

    value: float
    stderr: float
    ci95: tuple[float, float]
    n: int
    """Values that were counted."""
    n_clusters: int
    n_unscored: int
    """Values left out because they are NaN."""

    @property
    def excludes_zero(self) -> bool:
        """True where the whole interval lies on one side of zero; False where there is none."""
        return self.ci95[0] > 0 or self.ci95[1] < 0

    @property
    def detectable(self) -> float:
        """The smallest true effect that would have been found with 80% power at a two-sided 5%."""
        return minimal_detectable_effect(self.stderr, self.n_clusters)


def clustered_mean(
    values: ArrayLike,
    clusters: Sequence[Any] | NDArray[Any],
    groups: Sequence[Any] | NDArray[Any] | None = None,
    bounds: Bounds | None = (0.0, 1.0),
    interval: Interval = "wilson",
    is_share: bool | None = None,
) -> Estimate:
    """The mean with its clustered standard error and a 95% interval on C - 1 degrees of freedom.

    Args:
        values: one a response; NaN for unscored.
        clusters: source question of each.
        groups: language of each, for a macro average in which every language weighs the same; a language of which
            nothing is known has no weight.
        bounds: lowest and highest possible value; None where there are none.
        interval: how it is made; without bounds it is a t interval in any case.
        is_share: whether `values` are right or wrong, or means of such; None to look whether all of them are bounds.

    Example:
        >>> e = clustered_mean([1, 0, 1, 1], ["a", "b", "c", "d"])
        >>> e.value, e.stderr
        (0.75, 0.25)
    """
    scores, known, codes, n_unscored = known_values(values, clusters)
    if scores.size == 0:
        return Estimate(math.nan, math.nan, (math.nan, math.nan), 0, 0, n_unscored)
    mean, sums = _cluster_sums(scores, codes, None if groups is None else np.asarray(groups)[known])
    count = sums.size
    stderr = math.sqrt(count / (count - 1) * float(sums @ sums)) if count > 1 else math.nan
    if stderr < _TIE:
        stderr = 0.0
    if interval == "wilson" and bounds is not None and stderr > 0:
        is_share = bool(np.isin(scores, bounds).all()) if is_share is None else is_share
        found = _wilson(mean, as_floats(sums), bounds, _SMOOTHED if is_share else 0.0)
    else:
        found = _interval(mean, stderr, count - 1, count, bounds)
    return Estimate(mean, stderr, found, scores.size, count, n_unscored)


def paired_difference(
    before: ArrayLike,
    after: ArrayLike,
    clusters: Sequence[Any] | NDArray[Any],
    groups: Sequence[Any] | NDArray[Any] | None = None,
    bounds: Bounds | None = (-1.0, 1.0),
) -> Estimate:
    """The mean of after - before over pairs of which both are known, with its 95% t interval.

    Example:
        >>> paired_difference([0, 0, 1, 1], [1, 1, 1, 1], ["a", "b", "c", "d"]).value
        0.5
    """
    return clustered_mean(as_floats(after) - as_floats(before), clusters, groups, bounds, "t")


def minimal_detectable_effect(stderr: float, n_clusters: int, alpha: float = ALPHA, power: float = POWER) -> float:
    """The smallest true difference found with probability `power` at a two-sided level `alpha`.

    NaN where the standard error is unknown, or 0: with no spread seen, there is nothing to scale.

    Example:
        >>> round(minimal_detectable_effect(0.02, 10_000), 3)
        0.056
    """
    if not stderr > 0 or n_clusters < 2:
        return math.nan
    return stderr * _quantile_sum(n_clusters - 1, alpha, power)


def questions_needed(effect: float, estimate: Estimate, alpha: float = ALPHA, power: float = POWER) -> int | None:
    """Source questions needed to detect a true difference `effect`, given the spread of a paired difference seen.

    None where that spread is unknown or 0.

    Example:
        >>> questions_needed(0.02, Estimate(0.03, 0.02, (-0.01, 0.07), 250, 250, 0))
        1965
    """
    if effect <= 0:
        raise ValueError(f"effect must be > 0, got {effect}")
    if not estimate.stderr > 0:
        return None
    variance = estimate.stderr**2 * estimate.n_clusters  # of one question
    normal = float(special.ndtri(1 - alpha / 2) + special.ndtri(power))
    needed = max(2, math.ceil(normal**2 * variance / effect**2))
    while _quantile_sum(needed - 1, alpha, power) ** 2 * variance / effect**2 > needed:
        needed += 1  # Student's t asks for a few more than the normal does
    return needed


def seeds_and_questions(values: ArrayLike, bounds: Bounds | None = (-1.0, 1.0)) -> Estimate:
    """The mean over training seeds and questions, with an interval for new seeds and new questions.

    Crossed random effects: every seed answers the same questions. The variance of the mean is
    V_seed + V_question - V_cell, each the usual estimate from a mean square, unbiased for balanced data (two-way
    clustering, Cameron et al., Eq. 2.10); degrees of freedom by Satterthwaite, at least seeds - 1. In simulation, 150
    questions and four seeds cover the truth in 95-98% of cases; two seeds that differ much, in 91%: use three or more.

    Args:
        values: `(seeds, questions)`, for instance per-question differences averaged over languages; a question that is
            NaN for any seed is left out and counted.
        bounds: lowest and highest possible value.
    """
    cells = np.atleast_2d(as_floats(values))
    known = ~np.isnan(cells).any(axis=0)
    n_unscored = int((~known).sum()) * cells.shape[0]
    cells = cells[:, known]
    seeds, questions = cells.shape
    if cells.size == 0:
        return Estimate(math.nan, math.nan, (math.nan, math.nan), 0, 0, n_unscored)
    mean = float(cells.mean())
    if seeds < 2 or questions < 2:
        return Estimate(mean, math.nan, (math.nan, math.nan), cells.size, questions, n_unscored)
    by_seed, by_question = cells.mean(axis=1), cells.mean(axis=0)
    rest = cells - by_seed[:, None] - by_question[None, :] + mean
    degrees = np.array([seeds - 1, questions - 1, (seeds - 1) * (questions - 1)], dtype=float)
    parts = np.array(
        [
            float(by_seed.var(ddof=1)) / seeds,
            float(by_question.var(ddof=1)) / questions,
            float((rest**2).sum()) / degrees[2] / cells.size,
        ]
    )
    variance = max(parts[0] + parts[1] - parts[2], parts[1], 0.0)  # seeds can only add to the spread of questions
    stderr = math.sqrt(variance) if variance > _TIE**2 else 0.0
    freedom = variance**2 / float((parts**2 / degrees).sum()) if stderr else degrees[0]
    interval = _interval(mean, stderr, max(freedom, degrees[0]), questions, bounds)
    return Estimate(mean, stderr, interval, cells.size, questions, n_unscored)


def _cluster_sums(scores: Floats, codes: NDArray[Any], groups: NDArray[Any] | None) -> tuple[float, NDArray[Any]]:
    """The (macro) mean, and the sum of each cluster's contributions."""
    mean, contributions = _contributions(scores, groups)
    return mean, np.bincount(codes, weights=contributions)


def _contributions(scores: Floats, groups: NDArray[Any] | None) -> tuple[float, Floats]:
    """The (macro) mean, and each value's weighted distance from the mean of its group."""
    if groups is None:
        mean = float(scores.mean())
        contributions = scores - mean
        contributions *= 1.0 / scores.size
        return mean, contributions
    codes, sizes = codes_of(groups)
    means = np.bincount(codes, weights=scores) / sizes
    contributions = scores - means[codes]
    contributions *= equal_weights(scores.size, groups)
    return float(means.mean()), contributions


def _interval(mean: float, stderr: float, freedom: float, count: int, bounds: Bounds | None) -> tuple[float, float]:
    if math.isnan(stderr):
        return math.nan, math.nan
    low, high = bounds or (-math.inf, math.inf)
    if stderr > 0:
        half = float(special.stdtrit(freedom, 1 - ALPHA / 2)) * stderr
        return max(low, mean - half), min(high, mean + half)
    if bounds is None:
        return math.nan, math.nan
    unseen = 1.0 - (ALPHA / 2) ** (1.0 / count)
    return mean - unseen * (mean - low), mean + unseen * (high - mean)


def _wilson(mean: float, sums: Floats, bounds: Bounds, smoothed: float) -> tuple[float, float]:
    """Wilson's interval, from the mean and each cluster's weighted distance from it, of which not all are 0."""
    (low, high), count = bounds, sums.size
    share, distances = (mean - low) / (high - low), sums / (high - low)
    total = count + 2 * smoothed
    middle = (count * share + smoothed) / total
    squares = count**2 * float(distances @ distances) + count * (share - middle) ** 2
    squares += smoothed * ((1 - middle) ** 2 + middle**2)
    effective = middle * (1 - middle) * total * (total - 1) / squares  # independent answers that would say as much
    ratio = float(special.stdtrit(count - 1, 1 - ALPHA / 2)) ** 2 / effective
    centre = (share + ratio / 2) / (1 + ratio)
    half = math.sqrt(ratio * share * (1 - share) + ratio**2 / 4) / (1 + ratio)
    return low + (high - low) * max(0.0, centre - half), low + (high - low) * min(1.0, centre + half)


def _quantile_sum(freedom: float, alpha: float, power: float) -> float:
    return float(special.stdtrit(freedom, 1 - alpha / 2) + special.stdtrit(freedom, power))
