"""The numbers of leaderboard rows on one task, or on all, and one set of languages.

An average over tasks needs all of them: a row that lacks one has no number, and the cell says so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lrpo_bench.evaluation.observations import Observations
from lrpo_bench.evaluation.statistics import Bounds
from lrpo_bench.results.collection import Collection, RunGroup, Seen
from lrpo_bench.results.ranks import Rank, rank
from lrpo_bench.results.seeds import (
    SeedEstimate,
    SeedTable,
    Values,
    difference_of,
    estimate,
    joined,
    over_seeds,
    table_difference,
    tabulate,
    values_of,
)

MAIN, BEFORE, CHANGE = "main", "before", "change"
METRICS = (MAIN, BEFORE, CHANGE, "accuracy", "fidelity", "pass@k", "distinct_answers")
"""What each cell can hold; `main` is the metric that sums the task up."""
_BOUNDS: Mapping[str, Bounds | None] = {CHANGE: (-1.0, 1.0), "distinct_answers": None}

Chosen = Mapping[str, tuple[str, ...]]
"""Languages by task."""


@dataclass
class Numbers:
    """Numbers of groups of runs; keeps observations split by language, as every set of languages needs them again."""

    collection: Collection
    _split: dict[int, dict[str, Values]] = field(default_factory=dict)

    def of(self, group: RunGroup, chosen: Chosen) -> tuple[dict[str, SeedEstimate], SeedTable | None]:
        """What is known of a group by metric, and the table of its main one."""
        names = self._metrics(tuple(chosen))
        found: dict[str, SeedEstimate] = {}
        main = None
        for metric, by_task in names.items():
            table = tabulate([v for run in group.runs if (v := self._values(run.after, by_task, chosen)) is not None])
            if table.names:
                found[metric] = estimate(table, _BOUNDS.get(metric, (0.0, 1.0)))
                main = table if metric == MAIN else main
        pairs = [
            (before, after)
            for run in group.runs
            if run.after is not run.before  # nothing was evaluated twice
            and (before := self._values(run.before, names[MAIN], chosen)) is not None
            and (after := self._values(run.after, names[MAIN], chosen)) is not None
        ]
        change = over_seeds([difference_of(before, after) for before, after in pairs], _BOUNDS[CHANGE])
        if not math.isnan(change.value):
            found[BEFORE] = over_seeds([before for before, _ in pairs], (0.0, 1.0))
            found[CHANGE] = change
        return found, main

    def _metrics(self, tasks: Sequence[str]) -> dict[str, dict[str, str]]:
        """Each metric's name by task."""
        names = {metric: dict.fromkeys(tasks, metric) for metric in ("accuracy", "fidelity", "distinct_answers")}
        names[MAIN] = {task: self.collection.metric_of(task) for task in tasks}
        names["pass@k"] = {task: pass_metric(self.collection, task) for task in tasks}
        return names

    def _values(self, seen: Seen, metric: Mapping[str, str], chosen: Chosen) -> Values | None:
        """Values of a metric over tasks, each in its languages; None unless every task has the metric."""
        parts = []
        for task, languages in chosen.items():
            observed = seen.get((task, metric[task]))
            if observed is None:
                return None
            by_language = self._by_language(observed)
            parts += [by_language[lang] for lang in languages if lang in by_language]
        return joined(parts)

    def _by_language(self, observed: Observations) -> dict[str, Values]:
        if id(observed) not in self._split:
            values = values_of([observed])
            self._split[id(observed)] = {lang: values.only([lang]) for lang in set(observed.languages)}
        return self._split[id(observed)]


def pass_metric(collection: Collection, task: str) -> str:
    """The largest pass@k that a task's runs have."""
    ks = {
        int(metric.removeprefix("pass@"))
        for group in collection.groups
        for name, metric in group.runs[0].after
        if name == task and metric.startswith("pass@")
    }
    return f"pass@{max(ks)}" if ks else "pass@k"


def ranks_of(groups: Mapping[int, RunGroup], tables: Mapping[int, SeedTable]) -> dict[int, Rank]:
    """Ranks of rows by their tables."""
    differences = {}
    for a, b in itertools.combinations(sorted(tables), 2):
        first, second = _same_seeds(groups[a].seeds, groups[b].seeds, tables[a], tables[b])
        found = estimate(table_difference(first, second), None)
        differences[a, b] = (found.value, found.p)
    return rank({i: float(table.cells.mean()) for i, table in tables.items()}, differences)


def _same_seeds(a: Sequence[int], b: Sequence[int], first: SeedTable, second: SeedTable) -> tuple[SeedTable, SeedTable]:
    """The tables' rows of seeds that both have; as they are where no seed is shared."""
    common = sorted(set(a) & set(b))
    if not common or len(a) != first.cells.shape[0] or len(b) != second.cells.shape[0]:
        return first, second
    kept = [
        replace(table, cells=table.cells[[seeds.index(seed) for seed in common]])
        for seeds, table in ((a, first), (b, second))
    ]
    return kept[0], kept[1]
