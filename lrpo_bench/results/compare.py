"""What changed between two evaluations, for which languages, and whether the change is real.

Both must have been asked the same questions the same way: signatures agree, and every response has its counterpart.
Differences are then taken question by question (`evaluation.observations`), so that a question's difficulty cancels.

Each difference carries a clustered interval, a p value (McNemar's exact test where scores are 0 or 1 and no source
question occurs twice; a sign-flip permutation of whole source questions otherwise), Holm's correction over the
languages of one task and metric, and the smallest difference that could have been seen.

The interval is over questions. One training run on each side says nothing about another seed: see
`statistics.seeds_and_questions` for several.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrpo_bench.errors import IncomparableResultsError
from lrpo_bench.evaluation.metrics import language_sets
from lrpo_bench.evaluation.observations import HEADLINE, SHARE, Observations, is_counted, observe
from lrpo_bench.evaluation.significance import holm, mcnemar_exact, sign_flip_test
from lrpo_bench.evaluation.statistics import Estimate, clustered_mean, minimal_detectable_effect, paired_difference
from lrpo_bench.results.decompose import Decomposition, Flip, decompose, flips_of
from lrpo_bench.results.files import first_difference
from lrpo_bench.results.pairing import TOLERATED, like_for_like, pair_records
from lrpo_bench.results.schema import Evaluation, Signature

_FLIP_SEED = 20260
"""Permutations are drawn from a fixed stream, so that a comparison made twice is the same."""
_INTERSECTABLE = ("languages", "data_hash", "limit")
"""Fields of a task's signature that say which questions were asked, not how."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of one task and language, before and after; NaN where it can not be known."""

    task: str
    language: str
    """A code, or `avg:all`, `avg:trained`, `avg:heldout`."""
    metric: str
    before: float
    after: float
    change: Estimate
    """After minus before over questions of which both are known; `before` and `after` are of the same questions."""
    p: float
    p_holm: float
    """Corrected over the languages of the task and metric; an average is one test and keeps its p. Where several runs
    are compared with one, also over these (`compare_many`)."""
    test: str
    """`mcnemar` or `sign-flip`."""
    detectable: float
    """Smallest true difference found with 80% power at a two-sided 5%; NaN where nothing changed."""
    note: str = ""

    @property
    def is_average(self) -> bool:
        """True for a mean over several languages."""
        return self.language.startswith("avg:")

    @property
    def is_real(self) -> bool:
        """True where the interval excludes zero and the corrected p is below 5%."""
        return self.change.excludes_zero and self.p_holm < 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that tells two evaluations apart."""

    before: str
    """Label of the first evaluation."""
    after: str
    differences: tuple[Difference, ...]
    decompositions: tuple[Decomposition, ...]
    flips: tuple[Flip, ...]
    trained_languages: tuple[str, ...] | None
    n_samples: int
    """Greedy responses that were compared, in the questions' own languages."""
    notes: tuple[str, ...] = ()
    """What a reader must know: questions left out, averages that could not be formed."""

    def main_metric(self, task: str) -> str:
        """The metric that sums a task up: the headline, or accuracy where no language of a response is known."""
        known = any((d.task, d.metric) == (task, HEADLINE) and d.change.n for d in self.differences)
        return HEADLINE if known else "accuracy"

    def find(self, metric: str, language: str = "avg:all", task: str | None = None) -> Difference | None:
        """The difference of that name, or None; `task` may be left out where there is one."""
        wanted = (metric, language)
        return next((d for d in self.differences if (d.metric, d.language) == wanted and task in (None, d.task)), None)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, sorted."""
        return tuple(sorted({d.task for d in self.differences}))


def compare(before: Evaluation, after: Evaluation, *, intersect: bool = False) -> Comparison:
    """The comparison of two evaluations of the same questions.

    Args:
        before: the earlier evaluation, or A.
        after: the later one, or B.
        intersect: compares the questions both have, where tasks, languages, data or limits differ; how a question is
            asked, answered and judged must still agree.

    Raises:
        IncomparableResultsError: naming the first field that differs, with both values.
    """
    labels = (before.label or "before", after.label or "after")
    _refuse_different_signatures(before, after, labels, intersect)
    pairs, notes = pair_records(before.records, after.records, labels, intersect)
    pairs, more = like_for_like(pairs, before.signature, after.signature)
    notes += more + _seed_note(before, after)
    old, new = [a for a, _ in pairs], [b for _, b in pairs]
    trained = before.trained_languages if before.trained_languages is not None else after.trained_languages
    both_say = before.trained_languages is not None and after.trained_languages is not None
    if both_say and set(before.trained_languages or ()) != set(after.trained_languages or ()):
        trained = None
        notes.append("no averages over trained and held-out languages: the two were trained on different ones")
    differences: list[Difference] = []
    for seen_before, seen_after in zip(observe(old), observe(new), strict=True):
        differences += _differences(seen_before, seen_after, trained)
    greedy = [(a, b) for a, b in pairs if is_counted(a)]
    return Comparison(
        before=labels[0],
        after=labels[1],
        differences=tuple(differences),
        decompositions=tuple(decompose(greedy, trained)),
        flips=tuple(flips_of(greedy)),
        trained_languages=trained,
        n_samples=len(greedy),
        notes=tuple(notes),
    )


def _refuse_different_signatures(
    before: Evaluation, after: Evaluation, labels: tuple[str, str], intersect: bool
) -> None:
    old, new = (comparable(e.signature) for e in (before, after))
    hint = "evaluate both with the same settings"
    if intersect:
        common = old["tasks"].keys() & new["tasks"].keys()
        old["tasks"], new["tasks"] = (_how_asked(row["tasks"], common) for row in (old, new))
    difference = first_difference(old, new)
    if difference is None:
        return
    field, was, now = difference
    if not intersect and field.startswith("tasks.") and (field.count(".") == 1 or field.endswith(_INTERSECTABLE)):
        hint = "use --intersect to compare the questions that both have, or " + hint
    raise IncomparableResultsError(
        f"can not compare: {field} is {_short(was)} in {labels[0]}, {_short(now)} in {labels[1]}; {hint}"
    )


def comparable(signature: Signature) -> dict[str, Any]:
    """The fields of a signature that two evaluations must share; the seed of sampled draws is not one of them."""
    row = {name: value for name, value in signature.to_dict().items() if name not in TOLERATED}
    row["decoding"] = {name: value for name, value in row["decoding"].items() if name != "seed"}
    return row


def _seed_note(before: Evaluation, after: Evaluation) -> list[str]:
    seeds = [e.signature.decoding.get("seed") for e in (before, after)]
    drawn = any(record.k for e in (before, after) for record in e.records)
    return [f"sampled draws have different seeds: {seeds[0]} and {seeds[1]}"] if drawn and seeds[0] != seeds[1] else []


def _how_asked(tasks: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> dict[str, Any]:
    return {name: {k: v for k, v in tasks[name].items() if k not in _INTERSECTABLE} for name in names}


def _differences(before: Observations, after: Observations, trained: Iterable[str] | None) -> list[Difference]:
    if before.keys != after.keys or before.metric != after.metric:  # both come from the same keys
        raise AssertionError(f"observations of {before.metric} and {after.metric} do not pair")
    langs, clusters = np.array(before.languages), np.array(before.clusters)
    outside = before.is_outside | after.is_outside
    found = []
    for name, chosen in language_sets(before.languages, trained).items():
        kept = np.isin(langs, chosen)
        rows = (before.values[kept], after.values[kept], clusters[kept], langs[kept])
        found.append(_difference(before, name, rows, int(outside[kept].sum()), is_average=name not in chosen))
    singles = [i for i, difference in enumerate(found) if not difference.is_average]
    for i, p_holm in zip(singles, holm([found[i].p for i in singles]), strict=True):
        found[i] = dataclasses.replace(found[i], p_holm=float(p_holm))
    return found


_Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Values before and after, source questions and languages of the same responses."""


def _difference(seen: Observations, language: str, rows: _Rows, n_outside: int, *, is_average: bool) -> Difference:
    old, new, clusters, langs = rows
    groups = langs if is_average else None
    width = None if seen.bounds is None else seen.bounds[1] - seen.bounds[0]
    change = paired_difference(old, new, clusters, groups, None if width is None else (-width, width))
    change = dataclasses.replace(change, n_unscored=change.n_unscored - n_outside)
    known = ~np.isnan(new - old)
    is_binary = bool(np.isin(old[known], (0, 1)).all() and np.isin(new[known], (0, 1)).all())
    if is_binary and change.n == change.n_clusters:
        test, p = "mcnemar", mcnemar_exact(old, new)
    else:
        rng = np.random.Generator(np.random.Philox(_FLIP_SEED))
        test, p = "sign-flip", sign_flip_test(new - old, clusters, rng, groups)
    means = [clustered_mean(np.where(known, values, np.nan), clusters, groups, None).value for values in (old, new)]
    unknown = sorted(set(langs.tolist()) - set(langs[known].tolist())) if is_average else []
    notes = [seen.note, f"{n_outside} pairs left out: {seen.outside}" if n_outside else ""]
    notes.append(f"without {', '.join(unknown)}: nothing known" if unknown else "")
    return Difference(
        task=seen.task,
        language=language,
        metric=seen.metric,
        before=means[0],
        after=means[1],
        change=change,
        p=p,
        p_holm=p,
        test=test,
        detectable=minimal_detectable_effect(change.stderr, change.n_clusters),
        note="; ".join(filter(None, notes)),
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


__all__ = ["HEADLINE", "SHARE", "Comparison", "Decomposition", "Difference", "Flip", "compare"]
