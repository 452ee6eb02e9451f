"""Did a run get worse than a baseline, in one number? What `pytest` asks of stored runs.

A side is a run folder, one of its evaluations (`RUN/before`), or a folder of runs that differ by their seed: repeats.
Sides must have been asked the same questions the same way, the seed of sampled responses apart. How sure the answer is
comes from `evaluation.regression`; how many such questions are asked at once, from the caller: see `decide`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lrpo_bench.errors import ConfigError, IncomparableResultsError, UnknownNameError
from lrpo_bench.evaluation.metrics import ALL, language_sets
from lrpo_bench.evaluation.observations import HEADLINE, SHARE, Observations
from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.evaluation.regression import RegressionTest, Worse, regression_test
from lrpo_bench.evaluation.significance import holm
from lrpo_bench.results.files import first_difference
from lrpo_bench.results.pairing import TOLERATED
from lrpo_bench.results.schema import Evaluation
from lrpo_bench.results.sides import Results, evaluations_at

MAX_NEWLY_UNKNOWN = 0.1
"""Share of questions that may have become impossible to judge; above, leaving them out could hide a regression."""
_LOWER_IS_WORSE: tuple[str, ...] = (
    HEADLINE,
    "accuracy",
    "fidelity",
    "lpr",
    "wpr",
    "lcpr",
    "consistency",
    "sampled_accuracy",
)
_LOWER_IS_WORSE += ("sampled_accuracy_in_language", "distinct_2", "distinct_2_ead", "group:informative")
_LOWER_IS_WORSE += (f"{SHARE}right_in_language",)
_HIGHER_IS_WORSE: tuple[str, ...] = (
    "truncation_rate",
    "self_bleu",
    "zero_advantage",
    f"{SHARE}not_attempted",
    f"{SHARE}truncated",
)
_HIGHER_IS_WORSE += (f"{SHARE}unscored", f"{SHARE}wrong_in_language", f"{SHARE}wrong_in_other_language")
_RULED = ("lpr", "wpr", "lcpr")
"""Metrics that mean something else under other rules or another word list."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question: is this number of the run worse than the baseline's?"""

    run: Path
    baseline: Path
    metric: str = HEADLINE
    language: str = ALL
    """A code, or `avg:all`, `avg:trained`, `avg:heldout`."""
    task: str | None = None
    """May be left out where there is one."""
    tolerance: float = 0.0
    """How much worse it may be: in the metric's own unit."""


@dataclass(frozen=True, slots=True)
class Change:
    """One question whose value changed, with a response of each side."""

    was: float
    now: float
    before: ResponseRecord
    after: ResponseRecord


@dataclass(frozen=True, slots=True)
class Regression:
    """The answer to a check, before it is decided."""

    check: Check
    task: str
    test: RegressionTest
    baselines: tuple[Path, ...]
    """The evaluations of each side."""
    runs: tuple[Path, ...]
    lost: tuple[Change, ...]
    """Questions whose value got worse, the most first; averaged over repeats."""
    gained: int
    """How many got better."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a regression is one, among all that were asked about at once."""

    regression: Regression
    p_holm: float
    """Corrected over the checks decided together."""
    level: float
    """What it is compared to."""
    allowed: float
    """How much worse the number may come out before it fails, were it the worst of those decided together."""

    @property
    def failed(self) -> bool:
        """True where the number got worse by more than the tolerance, and chance does not explain it."""
        return self.p_holm <= self.level


def check_regression(check: Check, results: Results) -> Regression:
    """The test of one number, with the questions behind it.

    Raises:
        LrpoBenchError: where it can not be told: in one line, with the next step.
    """
    worse = worse_direction(check.metric)
    baselines, runs = evaluations_at(check.baseline), evaluations_at(check.run)
    if twice := set(baselines) & set(runs):
        raise ConfigError(f"{min(twice)} is both run and baseline; compare a new run with a stored one")
    task = _task_of(check, results.evaluation(runs[0]))
    for folder in (*baselines[1:], *runs):
        _refuse_other_questions(results, baselines[0], folder, task, check.metric)
    sides = [[_observations(results, folder, task, check.metric) for folder in side] for side in (baselines, runs)]
    first = sides[0][0]
    for folder, seen in zip((*baselines, *runs), (*sides[0], *sides[1]), strict=True):
        if seen.keys != first.keys:
            raise IncomparableResultsError(f"{folder} was not asked the same questions as {baselines[0]}")
    trained = _trained(results, baselines[0], runs[0])
    chosen = _languages(check.language, first, trained, task)
    kept = np.isin(first.languages, chosen)
    old, new = (np.array([seen.values[kept] for seen in side]) for side in sides)
    _refuse_newly_unknown(old, new, sides[1][0].is_outside[kept], check)
    test = regression_test(
        old,
        new,
        np.array(first.clusters)[kept],
        None if check.language in chosen else np.array(first.languages)[kept],
        worse=worse,
        tolerance=check.tolerance,
        bounds=first.bounds,
    )
    if np.isnan(test.p):
        raise ConfigError(
            f"{check.metric} of {task} in {check.language} can not be tested: {test.change.n_clusters} source "
            "questions are known on both sides, or nothing varies; evaluate more questions"
        )
    keys = [key for key, is_kept in zip(first.keys, kept, strict=True) if is_kept]
    lost, gained = _changes(results, (baselines[0], runs[0]), task, keys, (old.mean(axis=0), new.mean(axis=0)), worse)
    return Regression(check, task, test, baselines, runs, lost, gained)


def decide(regressions: Sequence[Regression], level: float) -> list[Decision]:
    """Decisions on checks that are made together, with a chance of at most `level` that any is a false alarm (Holm)."""
    if not regressions:
        return []
    corrected = holm([regression.test.p for regression in regressions])
    share = level / len(regressions)
    return [
        Decision(regression, float(p), level, regression.test.allowed(share))
        for regression, p in zip(regressions, corrected, strict=True)
    ]


def worse_direction(metric: str) -> Worse:
    """Whether lower or higher is worse.

    Raises:
        ConfigError: for a metric of which neither is, such as the number of tokens.

    Example:
        >>> worse_direction("pass@4"), worse_direction("self_bleu")
        ('lower', 'higher')
    """
    if metric in _LOWER_IS_WORSE or metric.startswith("pass@"):
        return "lower"
    if metric in _HIGHER_IS_WORSE:
        return "higher"
    known = ", ".join(sorted((*_LOWER_IS_WORSE, *_HIGHER_IS_WORSE, "pass@k")))
    raise ConfigError(
        f"metric {metric!r} has no direction that is worse, so it can not be guarded; choose among {known}"
    )


def _task_of(check: Check, evaluation: Evaluation) -> str:
    known = sorted(evaluation.signature.tasks)
    if check.task is None and len(known) > 1:
        raise ConfigError(f"{check.run} has several tasks; name one with task=: {', '.join(known)}")
    task = known[0] if check.task is None else check.task
    if task not in known:
        raise UnknownNameError(f"task of {check.run}", task, known)
    return task


def _refuse_other_questions(results: Results, reference: Path, folder: Path, task: str, metric: str) -> None:
    """Refuses where the task was asked or judged otherwise; the seed of draws is what repeats differ in."""
    rows = []
    for path in (reference, folder):
        row = results.evaluation(path).signature.to_dict()
        if task not in row["tasks"]:
            raise UnknownNameError(f"task of {path}", task, row["tasks"])
        row["tasks"] = {task: row["tasks"][task]}
        row["decoding"] = {key: value for key, value in row["decoding"].items() if key != "seed"}
        rows.append({key: value for key, value in row.items() if metric in _RULED or key not in TOLERATED})
    difference = first_difference(rows[0], rows[1])
    if difference:
        field, was, now = difference
        raise IncomparableResultsError(
            f"can not compare: {field} is {was!r} in {reference}, {now!r} in {folder}; "
            "evaluate both with the same settings"
        )


def _observations(results: Results, folder: Path, task: str, metric: str) -> Observations:
    seen = results.observed(folder)
    if (task, metric) not in seen:
        raise UnknownNameError(f"metric of {task} in {folder}", metric, [name for of, name in seen if of == task])
    return seen[task, metric]


def _trained(results: Results, baseline: Path, run: Path) -> tuple[str, ...] | None:
    """Languages that both sides trained on, or the one that says; None where they differ."""
    old, new = (results.evaluation(path).trained_languages for path in (baseline, run))
    if old is None or new is None:
        return new if old is None else old
    return old if set(old) == set(new) else None


def _languages(language: str, seen: Observations, trained: Sequence[str] | None, task: str) -> tuple[str, ...]:
    sets = language_sets(seen.languages, trained)
    if language not in sets:
        raise UnknownNameError(f"language of {task} in these runs", language, sets)
    return sets[language]


def _refuse_newly_unknown(old: Any, new: Any, outside: Any, check: Check) -> None:
    known = ~np.isnan(old).any(axis=0)
    lost = known & np.isnan(new).any(axis=0) & ~outside
    if lost.sum() > MAX_NEWLY_UNKNOWN * max(1, known.sum()):
        raise IncomparableResultsError(
            f"{check.metric} in {check.language} can not be told for {int(lost.sum())} of {int(known.sum())} questions "
            f"in {check.run} for which {check.baseline} has it; leaving out so many could hide a regression"
        )


def _changes(
    results: Results,
    folders: tuple[Path, Path],
    task: str,
    keys: Sequence[tuple[str, str]],
    values: tuple[Any, Any],
    worse: Worse,
) -> tuple[tuple[Change, ...], int]:
    """Questions that got worse, the most first, and how many got better."""
    sign = 1.0 if worse == "higher" else -1.0
    worsening = sign * (values[1] - values[0])
    with np.errstate(invalid="ignore"):
        lost = [i for i in np.argsort(-worsening, kind="stable") if worsening[i] > 0]
        gained = int((worsening < 0).sum())
    old, new = (_responses(results.evaluation(folder), task) for folder in folders)
    found = [Change(float(values[0][i]), float(values[1][i]), old[keys[i]], new[keys[i]]) for i in lost]
    return tuple(found), gained


def _responses(evaluation: Evaluation, task: str) -> dict[tuple[str, str], ResponseRecord]:
    """One response to each question, in its own language: the greedy one where there is one."""
    found: dict[tuple[str, str], ResponseRecord] = {}
    for record in evaluation.records:
        key = (record.rollout_lang, record.sample_id)
        if record.task == task and (key not in found or record.k < found[key].k):
            found[key] = record
    return found
