"""Whether a number got worse: a one-sided test of runs against a baseline, over questions and over repeats.

Runs on both sides answer the same questions. What a run scores on a question is

    question + run + rest      (a run's own shift moves all its questions; the rest is of one run and one question)

so the difference of the two sides' means varies with the questions that were asked, and, where a run made again would
come out otherwise (another training seed, other draws), with the run. With m and n runs on the two sides:

    V = B + max(0, A - R)
    B  clustered variance of the paired difference, averaged over each side's runs: questions, and the rest
    A  (1/m + 1/n) x variance of the runs' means within a side: the runs' own shifts, and the rest once more
    R  (1/m + 1/n) x clustered variance of the rest, within a side: what A holds of it

A rests on m + n - 2 degrees of freedom only, and where it came out small by chance, a test that took V for known would
reject far too often (0.17 in place of 0.05 over twenty checks, simulated). So p is a generalized p value (Tsui and
Weerahandi 1989, JASA 84): the mean, over what A may have been, A (m + n - 2) / chi2, of Student's tail probability with
that V on C - 1 degrees of freedom, C being the source questions. B's own uncertainty is Student's; R's is neglected.
With one run on each side A and R can not be known: the test is then over questions alone.

Departures: where no question differs from another and no run from another, the variance is 0; p then bounds the share
of questions that differ, as the interval of `statistics` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lrpo_bench.evaluation.clusters import Floats
from lrpo_bench.evaluation.statistics import ALPHA, POWER, Bounds, Estimate, clustered_mean

Worse = Literal["lower", "higher"]
_POINTS = 512
"""Of the mean over what the variance between runs may have been."""


@dataclass(frozen=True, slots=True)
class Noise:
    """What a difference varies with; the variances B, A and R of the module's text."""

    questions: float
    runs: float
    rest: float
    n_clusters: int
    repeats: int
    """Degrees of freedom of `runs`: m + n - 2."""

    @property
    def stderr(self) -> float:
        """Square root of V."""
        return math.sqrt(self.questions + self.between_runs)

    @property
    def between_runs(self) -> float:
        """The part of V that is between runs."""
        return max(0.0, self.runs - self.rest)

    def tail(self, excess: float) -> float:
        """Probability that chance alone gives a difference as large as `excess`."""
        variances, weights = np.array([self.questions]), np.ones(1)
        if self.repeats and self.runs:
            scales, weights = _inverse_chi2(self.repeats)
            variances = self.questions + np.maximum(0.0, self.runs * scales - self.rest)
        known = variances > 0
        scaled = np.full(variances.shape, math.copysign(math.inf, -excess) if excess else 0.0)
        scaled[known] = -excess / np.sqrt(variances[known])
        return float(special.stdtr(self.n_clusters - 1, scaled) @ weights)

    def quantile(self, level: float) -> float:
        """The difference that chance alone exceeds with probability `level`, below one half."""
        return _decreasing_root(lambda excess: self.tail(excess) - level, self.stderr)


@dataclass(frozen=True, slots=True)
class RegressionTest:
    """A difference between two sides, and how sure it is that it is for the worse."""

    before: float
    after: float
    """Means over the same questions: those known in every run."""
    change: Estimate
    """After minus before, with the interval for new questions and new runs."""
    noise: Noise
    p: float
    """One-sided, of the hypothesis that it got worse by no more than the tolerance; NaN where it can not be known."""
    worse: Worse
    tolerance: float

    def allowed(self, level: float) -> float:
        """How much worse it may come out before the test rejects at a one-sided `level`, as a positive number."""
        return self.tolerance + (self.noise.quantile(level) if self.change.stderr > 0 else 0.0)

    def detectable(self, level: float) -> float:
        """The smallest true worsening that is found with 80% power at `level`; NaN where nothing varied."""
        if not self.change.stderr > 0:
            return math.nan
        return self.tolerance + self.noise.quantile(level) + self.noise.quantile(1 - POWER)


def regression_test(
    baseline: ArrayLike,
    runs: ArrayLike,
    clusters: Sequence[Any] | NDArray[Any],
    groups: Sequence[Any] | NDArray[Any] | None = None,
    *,
    worse: Worse = "lower",
    tolerance: float = 0.0,
    bounds: Bounds | None = (0.0, 1.0),
) -> RegressionTest:
    """The test of `runs` against `baseline`.

    Args:
        baseline: `(m, questions)`, or one run's values; NaN for unscored. A question unknown in any run is left out.
        runs: `(n, questions)` of the same questions, or one run's values.
        clusters: source question of each.
        groups: language of each, for a macro average in which every language weighs the same.
        worse: which direction is a regression.
        tolerance: how much worse it may be without being one.
        bounds: lowest and highest possible value; None where there are none.

    Example:
        >>> test = regression_test([1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 0], "abcdef")
        >>> round(test.change.value, 3), round(test.p, 3)
        (-0.667, 0.013)
    """
    sides = [np.atleast_2d(np.asarray(side, dtype=np.float64)) for side in (baseline, runs)]
    known = ~np.isnan(np.concatenate(sides)).any(axis=0)
    names = np.asarray(list(clusters))[known]
    langs = None if groups is None else np.asarray(groups)[known]
    old, new = (side[:, known] for side in sides)
    width = None if bounds is None else (bounds[0] - bounds[1], bounds[1] - bounds[0])
    paired = clustered_mean(new.mean(axis=0) - old.mean(axis=0), names, langs, width, "t")
    before, after = (clustered_mean(side.mean(axis=0), names, langs, bounds).value for side in (old, new))
    noise = _noise(old, new, paired, names, langs)
    interval = paired.ci95
    if noise.stderr > 0:
        half, (low, high) = noise.quantile(ALPHA / 2), width or (-math.inf, math.inf)
        interval = max(low, paired.value - half), min(high, paired.value + half)
    change = Estimate(paired.value, noise.stderr, interval, paired.n, paired.n_clusters, int((~known).sum()))
    p = _p_value(change, noise, worse, tolerance, width)
    return RegressionTest(before, after, change, noise, p, worse, tolerance)


def _noise(old: Floats, new: Floats, paired: Estimate, names: NDArray[Any], langs: NDArray[Any] | None) -> Noise:
    repeats, factor = len(old) + len(new) - 2, 1 / len(old) + 1 / len(new)
    questions = paired.stderr**2
    if not repeats or paired.n_clusters < 2:
        return Noise(questions, 0.0, 0.0, paired.n_clusters, 0)
    spread, rest = 0.0, 0.0
    for side in (old, new):
        means = np.array([clustered_mean(row, names, langs, None).value for row in side])
        spread += float(((means - means.mean()) ** 2).sum())
        if len(side) > 1:
            rest += sum(clustered_mean(row, names, langs, None).stderr ** 2 for row in side - side.mean(axis=0))
    return Noise(questions, factor * spread / repeats, factor * rest / repeats, paired.n_clusters, repeats)


def _p_value(change: Estimate, noise: Noise, worse: Worse, tolerance: float, width: Bounds | None) -> float:
    if math.isnan(change.stderr):
        return math.nan
    excess = (change.value if worse == "higher" else -change.value) - tolerance
    if change.stderr > 0:
        return noise.tail(excess)
    if excess <= 0:
        return 1.0
    if width is None:
        return math.nan  # all questions differ by the same, and nothing bounds what another question might do
    # The share of questions that could undo the excess was seen in none of C: its bound u has (1 - u)^C = p.
    room = (change.value - width[0]) if worse == "higher" else (width[1] - change.value)
    return float((1 - excess / room) ** change.n_clusters)


@cache
def _inverse_chi2(freedom: int) -> tuple[Floats, Floats]:
    """`freedom` / chi2 at points of the chi2 distribution, dense where chi2 is small, and their probabilities."""
    points = (np.arange(_POINTS) + 0.5) / _POINTS
    return freedom / (2.0 * special.gammaincinv(freedom / 2.0, points**3)), points**2 / (points**2).sum()


def _decreasing_root(function: Callable[[float], float], scale: float) -> float:
    from scipy import optimize

    high = scale
    while function(high) > 0:
        high *= 2.0
    return float(optimize.brentq(function, 0.0, high, rtol=1e-12))
