"""What a folder of runs amounts to: each method over its seeds, and methods against each other.

Every number has an interval for new seeds and new questions (`results.seeds`). Methods of one model are compared pair
by pair on the seeds that both have, question by question; p values are corrected by Holm over the pairs of one task
and set of languages. Numbers and pairs are computed when they are first asked for: the study's tables show some
averages only, and ask for those alone. `results.sweep_summary_text` writes them down.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection as Some
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lrpo_bench.evaluation.metrics import language_sets
from lrpo_bench.evaluation.significance import holm
from lrpo_bench.evaluation.statistics import Bounds
from lrpo_bench.results.collection import Collection, RunData, RunGroup, Seen, below, collect
from lrpo_bench.results.seeds import SeedEstimate, Values, difference_of, over_seeds, values_of

ALL_TASKS = "all tasks"
_SHARE: Bounds = (0.0, 1.0)
_CHANGE: Bounds = (-1.0, 1.0)


@dataclass(frozen=True, slots=True)
class GroupNumber:
    """One method on one task and set of languages."""

    group: RunGroup
    task: str
    """A task, or `all tasks`: tasks weigh the same."""
    language: str
    """A code, or `avg:all`, `avg:trained`, `avg:heldout`."""
    before: SeedEstimate
    after: SeedEstimate
    change: SeedEstimate


@dataclass(frozen=True, slots=True)
class PairNumber:
    """One method against another of the same model: b - a."""

    a: RunGroup
    b: RunGroup
    task: str
    language: str
    difference: SeedEstimate
    p_holm: float


@dataclass(frozen=True)
class SweepSummary:
    """All of it."""

    collection: Collection

    @property
    def tasks(self) -> dict[str, tuple[str, ...]]:
        """The tasks that have numbers, each with its members: `all tasks` follows where there are several."""
        tasks = self.collection.tasks
        return {task: (task,) for task in tasks} | ({ALL_TASKS: tasks} if len(tasks) > 1 else {})

    @cached_property
    def numbers(self) -> tuple[GroupNumber, ...]:
        """Each group on each task and set of languages."""
        groups = self.collection.groups
        return tuple(n for task in self.tasks for group in groups for n in group_numbers(self, group, task))

    @cached_property
    def pairs(self) -> tuple[PairNumber, ...]:
        """Each two groups of one model, on each task and set of languages."""
        return tuple(pair for task in self.tasks for pair in _pairs(self, task))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers must know."""
        return tuple(_notes(self.collection))


def sweep_summary(folder: Path | str) -> SweepSummary:
    """The summary of all complete runs below a folder."""
    return SweepSummary(collect(folder))


def values_for(collection: Collection, seen: Seen, tasks: Sequence[str]) -> Values | None:
    """The main metric of some tasks as values; None unless all of them were evaluated."""
    found = [seen.get((task, collection.metric_of(task))) for task in tasks]
    return values_of([o for o in found if o is not None]) if all(found) else None


def group_numbers(
    summary: SweepSummary, group: RunGroup, task: str, languages: Some[str] | None = None
) -> Iterable[GroupNumber]:
    """The numbers of a group on a task, a set of languages each; none where a run lacks one of the tasks."""
    members = summary.tasks[task]
    before = [values_for(summary.collection, run.before, members) for run in group.runs]
    after = [values_for(summary.collection, run.after, members) for run in group.runs]
    both = [(b, a) for b, a in zip(before, after, strict=True) if b is not None and a is not None]
    ends = [a for a in after if a is not None]
    for language, chosen in _sets(ends, group.trained, languages).items():
        yield GroupNumber(
            group,
            task,
            language,
            over_seeds([b.only(chosen) for b, _ in both], _SHARE),
            over_seeds([a.only(chosen) for a in ends], _SHARE),
            over_seeds([difference_of(b, a).only(chosen) for b, a in both], _CHANGE),
        )


def end_values(
    summary: SweepSummary,
    group: RunGroup,
    task: str,
    languages: Some[str] | None = None,
    trained: Iterable[str] | None = None,
) -> dict[str, SeedEstimate]:
    """What a group has in the end on a task, by set of languages.

    Args:
        summary: of all runs.
        group: one of its groups.
        task: one of its tasks.
        languages: the sets that are wanted; all when absent.
        trained: stands in for the trained languages of a group that was not trained.
    """
    found = [values_for(summary.collection, run.after, summary.tasks[task]) for run in group.runs]
    ends = [values for values in found if values is not None]
    sets = _sets(ends, group.trained or trained, languages)
    return {language: over_seeds([end.only(chosen) for end in ends], _SHARE) for language, chosen in sets.items()}


def paired_differences(
    summary: SweepSummary, a: RunGroup, b: RunGroup, task: str, languages: Some[str] | None = None
) -> dict[str, SeedEstimate]:
    """Differences b - a by set of languages, on the seeds and questions that both have."""
    collection, members = summary.collection, summary.tasks[task]
    rows = [
        difference_of(x, y)
        for first, second in _same_seeds(a, b)
        if (x := values_for(collection, first.after, members)) is not None
        and (y := values_for(collection, second.after, members)) is not None
    ]
    trained = a.trained if a.trained == b.trained or b.trained is None else b.trained if a.trained is None else None
    sets = _sets(rows, trained, languages)
    return {language: over_seeds([row.only(chosen) for row in rows], _CHANGE) for language, chosen in sets.items()}


def _pairs(summary: SweepSummary, task: str) -> list[PairNumber]:
    found = [
        (a, b, language, difference)
        for a, b in itertools.combinations(summary.collection.groups, 2)
        if a.model == b.model
        for language, difference in paired_differences(summary, a, b, task).items()
    ]
    corrected = [math.nan] * len(found)
    for language in {row[2] for row in found}:
        places = [i for i, row in enumerate(found) if row[2] == language]
        for i, p in zip(places, holm([found[i][3].p for i in places]), strict=True):
            corrected[i] = float(p)
    return [PairNumber(a, b, task, lang, e, p) for (a, b, lang, e), p in zip(found, corrected, strict=True)]


def _same_seeds(a: RunGroup, b: RunGroup) -> list[tuple[RunData, RunData]]:
    seeds = {run.seed: run for run in b.runs}
    return [(run, seeds[run.seed]) for run in a.runs if run.seed in seeds]


def _sets(
    rows: Sequence[Values], trained: Iterable[str] | None, wanted: Some[str] | None
) -> Mapping[str, tuple[str, ...]]:
    """Sets of languages, averages first; the wanted ones alone, if any are named."""
    langs = [lang for row in rows for _, lang, _ in row.keys]
    sets = language_sets(langs, trained) if langs else {}
    ordered = sorted(sets.items(), key=lambda item: not item[0].startswith("avg:"))
    return {name: langs for name, langs in ordered if wanted is None or name in wanted}


def _notes(collection: Collection) -> list[str]:
    notes = list(collection.notes)
    single = [f"{g.name} on {g.model}" for g in collection.groups if len(g.runs) == 1]
    if single:
        notes.append(f"one seed only, so its interval is over questions alone: {', '.join(single)}")
    two = [f"{g.name} on {g.model}" for g in collection.groups if len(g.runs) == 2]
    if two:
        notes.append(f"two seeds only, which measure the spread of seeds badly: {', '.join(two)}")
    notes += [
        f"{below(collection.folder, m.path)} is {m.status}{reason} and counts for nothing here"
        for m in collection.missing
        for reason in [f" ({m.reason})" if m.reason else ""]
    ]
    return notes
