"""Several runs that differ by their seed alone, as one number with an interval for new seeds and new questions.

`statistics.seeds_and_questions` wants a table of seeds x questions. A macro average over languages is no plain mean
over questions, so each seed's row is linearised: with weights w = 1 / (tasks * languages of the task * responses of
the language), C source questions and m_l the seed's mean in language l of a task, question c stands for

    z_c = mean + C * sum_{i in c} w_i * (s_i - m_l)

The mean of a row is then exactly the average that the run itself reports, and its spread over questions is the
clustered variance of `statistics.clustered_mean`. Where every question is known in every language, z_c is the mean of
the question over languages. A response that is unknown for a seed is left out of that seed, and counted.

With one seed there is no interval over seeds: the interval is then over questions alone, and `n_seeds` says so.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from lrpo_bench.evaluation.observations import Observations
from lrpo_bench.evaluation.statistics import ALPHA, POWER, Bounds, Estimate, Interval, clustered_mean, seeds_and_questions

Key = tuple[str, str, str]
"""Task, language and sample id."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Values:
    """One number a response, for one seed."""

    keys: tuple[Key, ...]
    clusters: tuple[str, ...]
    """Source question of each key, with its task."""
    values: Floats
    """NaN where unknown."""

    def only(self, languages: Iterable[str] | None) -> Values:
        """Those of some languages; all for None."""
        if languages is None:
            return self
        wanted = frozenset(languages)
        kept = [i for i, (_, lang, _) in enumerate(self.keys) if lang in wanted]
        return Values(tuple(self.keys[i] for i in kept), tuple(self.clusters[i] for i in kept), self.values[kept])


@dataclass(frozen=True, slots=True)
class SeedEstimate:
    """A number over seeds and questions; NaN where it can not be known."""

    value: float
    stderr: float
    ci95: tuple[float, float]
    n_seeds: int
    n_questions: int
    """Source questions."""
    n_unscored: int
    """Responses, over all seeds, of which the number is unknown."""
    p: float
    """Two-sided p of the value being zero: of use for differences."""
    detectable: float
    """Smallest true value found with 80% power at a two-sided 5%; NaN where nothing varied."""

    @property
    def excludes_zero(self) -> bool:
        """True where the whole interval lies on one side of zero."""
        return self.ci95[0] > 0 or self.ci95[1] < 0


@dataclass(frozen=True, slots=True)
class SeedTable:
    """The linearised values of some seeds: a row a seed, a column a source question."""

    names: tuple[str, ...]
    """Source questions."""
    cells: Floats
    """(seeds, questions); the mean of a row is the average that the seed's run reports."""
    n_unscored: int
    is_share: bool = False
    """Whether the values are right or wrong."""


def values_of(seen: Sequence[Observations]) -> Values:
    """The observations of one metric, of one task or of several, as values."""
    keys = tuple((o.task, lang, sample) for o in seen for lang, sample in o.keys)
    clusters = tuple(f"{o.task}\0{cluster}" for o in seen for cluster in o.clusters)
    return Values(keys, clusters, np.concatenate([o.values for o in seen]) if seen else np.zeros(0))


def joined(parts: Sequence[Values]) -> Values:
    """Values of several tasks or languages, together."""
    keys = tuple(key for part in parts for key in part.keys)
    clusters = tuple(cluster for part in parts for cluster in part.clusters)
    return Values(keys, clusters, np.concatenate([part.values for part in parts]) if parts else np.zeros(0))


def difference_of(before: Values, after: Values) -> Values:
    """After minus before for the responses that both have; NaN where either is unknown."""
    old = dict(zip(before.keys, before.values, strict=True))
    kept = [i for i, key in enumerate(after.keys) if key in old]
    keys = tuple(after.keys[i] for i in kept)
    changes = np.array([after.values[i] - old[after.keys[i]] for i in kept], dtype=np.float64)
    return Values(keys, tuple(after.clusters[i] for i in kept), changes)


def over_seeds(rows: Sequence[Values], bounds: Bounds | None) -> SeedEstimate:
    """The average over seeds, languages and questions; tasks, then languages within a task, weigh the same.

    Args:
        rows: one a seed.
        bounds: lowest and highest possible value; None where there are none.
    """
    return estimate(tabulate(rows), bounds)


def tabulate(rows: Sequence[Values]) -> SeedTable:
    """The linearised table of some seeds; without questions where a seed knows nothing."""
    unscored = sum(int(np.isnan(row.values).sum()) for row in rows)
    names = sorted({c for row in rows for c, v in zip(row.clusters, row.values, strict=True) if not math.isnan(v)})
    if not names or any(np.isnan(row.values).all() for row in rows):
        return SeedTable((), np.zeros((len(rows), 0)), unscored)
    is_share = all(np.isin(row.values[~np.isnan(row.values)], (0.0, 1.0)).all() for row in rows)
    return SeedTable(tuple(names), np.stack([_linearised(row, names) for row in rows]), unscored, is_share)


def estimate(table: SeedTable, bounds: Bounds | None) -> SeedEstimate:
    """The mean of a table, with an interval for new seeds and new questions; of one seed, for new questions."""
    seeds, questions = table.cells.shape
    if not questions:
        nan = math.nan
        return SeedEstimate(nan, nan, (nan, nan), seeds, questions, table.n_unscored, nan, nan)
    if seeds == 1:
        # z of a macro average may leave the bounds, its mean may not.
        interval: Interval = "wilson" if bounds and bounds[0] >= 0 else "t"
        found = clustered_mean(table.cells[0], table.names, None, bounds, interval, table.is_share)
        return _with_tests(found, questions - 1, table)
    return _with_tests(
        seeds_and_questions(table.cells, bounds), _freedom(seeds_and_questions(table.cells, None)), table
    )


def table_difference(before: SeedTable, after: SeedTable) -> SeedTable:
    """After minus before, seed by seed and question by question, of the two averages as they are.

    Seeds are paired in their order: they are exchangeable, and those of one method that has more are left out. A
    question of which one side knows nothing stands there for that side's mean.
    """
    seeds = min(before.cells.shape[0], after.cells.shape[0])
    names = sorted({*before.names, *after.names})
    if not seeds or not before.names or not after.names:
        return SeedTable((), np.zeros((seeds, 0)), before.n_unscored + after.n_unscored)
    cells = _aligned(after, names, seeds) - _aligned(before, names, seeds)
    return SeedTable(tuple(names), cells, before.n_unscored + after.n_unscored)


def _aligned(table: SeedTable, names: Sequence[str], seeds: int) -> Floats:
    # Cells are means plus C times a share: with other questions beside them, C grows.
    means = table.cells[:seeds].mean(axis=1, keepdims=True)
    place = {name: i for i, name in enumerate(table.names)}
    aligned = np.repeat(means, len(names), axis=1)
    here = [i for i, name in enumerate(names) if name in place]
    there = [place[names[i]] for i in here]
    aligned[:, here] += (table.cells[:seeds][:, there] - means) * (len(names) / len(table.names))
    return aligned


def _linearised(row: Values, names: Sequence[str]) -> Floats:
    known = ~np.isnan(row.values)
    groups = [(task, lang) for (task, lang, _), ok in zip(row.keys, known, strict=True) if ok]
    values = row.values[known]
    clusters = [cluster for cluster, ok in zip(row.clusters, known, strict=True) if ok]
    codes, means, weights = _strata(groups, values)
    place = {name: i for i, name in enumerate(names)}
    sums = np.zeros(len(names))
    np.add.at(sums, [place[cluster] for cluster in clusters], weights * (values - means[codes]))
    return float(weights @ values) + len(names) * sums


def _strata(groups: Sequence[tuple[str, str]], values: Floats) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Each value's stratum (task and language), the strata's means, and each value's weight."""
    strata = {group: i for i, group in enumerate(sorted(set(groups)))}
    languages: dict[str, int] = defaultdict(int)
    for task, _ in strata:
        languages[task] += 1
    codes = np.array([strata[group] for group in groups], dtype=np.int64)
    sizes = np.bincount(codes, minlength=len(strata))
    share = np.array([1.0 / (len(languages) * languages[task]) for task, _ in strata])
    return codes, np.bincount(codes, weights=values) / sizes, (share / sizes)[codes]


def _with_tests(found: Estimate, freedom: float, table: SeedTable) -> SeedEstimate:
    p = detectable = math.nan
    if found.stderr > 0 and not math.isnan(freedom):
        p = 2.0 * float(special.stdtr(freedom, -abs(found.value) / found.stderr))
        quantiles = special.stdtrit(freedom, 1 - ALPHA / 2) + special.stdtrit(freedom, POWER)
        detectable = found.stderr * float(quantiles)
    seeds, questions = table.cells.shape
    return SeedEstimate(found.value, found.stderr, found.ci95, seeds, questions, table.n_unscored, p, detectable)


def _freedom(unbounded: Estimate) -> float:
    """Degrees of freedom of an interval, from its half-width: `seeds_and_questions` does not say them."""
    if not unbounded.stderr > 0:
        return math.nan
    quantile = (unbounded.ci95[1] - unbounded.value) / unbounded.stderr
    return float(special.stdtridf(1 - ALPHA / 2, quantile))


def estimate_to_dict(found: SeedEstimate) -> Mapping[str, object]:
    """The fields as JSON-ready values."""
    return {
        "value": found.value,
        "ci95": list(found.ci95),
        "stderr": found.stderr,
        "n_seeds": found.n_seeds,
        "n_questions": found.n_questions,
        "n_unscored": found.n_unscored,
    }
