"""A study at a glance: methods down, models across, and each method's difference from one of them.

    | method | embedded:low     | embedded:wide    |          | method | embedded:low                      |
    |--------|------------------|------------------|          |--------|-----------------------------------|
    | grpo   | .741 [.71 .77]   | .802 [.78 .83]   |          | lrpo   | +.031 [+.012 +.050]*, MDE .027   |

Both are for new seeds and new questions (`results.seeds`): the seeds that both methods have are subtracted question by
question, so a difference is paired over both. MDE is the smallest true difference found four times out of five.
Holm's correction is over the differences of one table: all methods but the baseline, times all models.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrpo_bench.errors import ConfigError
from lrpo_bench.evaluation.metrics import language_sets
from lrpo_bench.evaluation.statistics import holm
from lrpo_bench.results.collection import Collection, RunGroup
from lrpo_bench.results.seeds import SeedEstimate, over_seeds
from lrpo_bench.results.sweep_summary import ALL_TASKS, PairNumber, SweepSummary, values_for
from lrpo_bench.results.tables import UNKNOWN, number
from lrpo_bench.results.words import SETS

if TYPE_CHECKING:
    from rich.table import Table

BASELINE = "grpo"
"""What methods are compared with where nobody says otherwise, if it was run."""
_SIGNIFICANT = 0.05
LEGEND = (
    "Values in [0, 1] with 95% intervals for new training seeds and new questions. Differences are paired by seed and "
    "question; * marks p < .05 after Holm's correction over the table; MDE is the smallest true difference that would "
    "have been found four times out of five. (n) is the number of seeds where it is not the table's usual one."
)


@dataclass(frozen=True, slots=True)
class StudyCell:
    """A method on a model, or its difference from the baseline."""

    estimate: SeedEstimate
    p_holm: float = math.nan
    """Of a difference; NaN for a value."""


@dataclass(frozen=True, slots=True)
class StudyTable:
    """One table: methods x models."""

    title: str
    task: str
    language: str
    baseline: str
    """What is subtracted; empty in a table of values."""
    methods: tuple[str, ...]
    models: tuple[str, ...]
    cells: Mapping[tuple[str, str], StudyCell]
    """By method and model; what was not run is not there."""


def study_tables(summary: SweepSummary, against: str | None = None) -> list[StudyTable]:
    """Values, then differences from a baseline, for each task and average over languages.

    Args:
        summary: of all runs.
        against: the baseline's method, or its name with its variant; `grpo` when absent, if it was run.

    Raises:
        ConfigError: no group has that name.
    """
    names = {name for group in summary.collection.groups for name in (group.method, group.name)}
    if against is not None and against not in names:
        raise ConfigError(f"no complete run has method {against!r}; there are {', '.join(sorted(names))}")
    baseline = against or (BASELINE if BASELINE in names else "")
    found = []
    for task in dict.fromkeys(n.task for n in summary.numbers):
        for language in (name for name in ("avg:all", "avg:trained", "avg:heldout") if _has(summary, task, name)):
            found.append(_values(summary, task, language))
            if baseline:
                found.append(_differences(summary, task, language, baseline))
    return [table for table in found if table.cells]


def study_markdown(tables: Iterable[StudyTable]) -> str:
    """The tables as Markdown, with their legend."""
    parts = []
    for table in tables:
        header, rows = table_rows(table)
        parts += [f"### {table.title}\n", "| " + " | ".join(header) + " |", "|" + "---|" + "--:|" * len(table.models)]
        parts += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        parts.append("")
    return "\n".join([*parts, LEGEND]) + "\n" if parts else ""


def study_terminal(tables: Iterable[StudyTable]) -> list[Table]:
    """The tables for the terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = []
    for found in tables:
        header, rows = table_rows(found)
        table = Table(title=Text(found.title), box=box.SIMPLE_HEAD)
        for i, name in enumerate(header):
            table.add_column(Text(name), justify="right" if i else "left")
        for row in rows:
            table.add_row(*map(Text, row))
        shown.append(table)
    return shown


def table_rows(table: StudyTable) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Header and rows as text."""
    seeds = [cell.estimate.n_seeds for cell in table.cells.values()]
    usual = max(set(seeds), key=lambda n: (seeds.count(n), n))
    rows = []
    for method in table.methods:
        cells = [table.cells.get((method, model)) for model in table.models]
        rows.append([method, *("missing" if cell is None else _shown(cell, table, usual) for cell in cells)])
    return ["method", *table.models], [list(row) for row in rows]


def study_rows(tables: Iterable[StudyTable]) -> list[dict[str, object]]:
    """Every cell of every table as one flat row, for CSV and JSON."""
    return [_flat(table, *place, cell) for table in tables for place, cell in table.cells.items()]


def _flat(table: StudyTable, method: str, model: str, cell: StudyCell) -> dict[str, object]:
    estimate, is_difference = cell.estimate, bool(table.baseline)
    return {
        "task": table.task,
        "languages": table.language,
        "method": method,
        "model": model,
        "minus": table.baseline,
        "value": estimate.value,
        "ci95_low": estimate.ci95[0],
        "ci95_high": estimate.ci95[1],
        "p": estimate.p if is_difference else math.nan,
        "p_holm": cell.p_holm,
        "mde": estimate.detectable if is_difference else math.nan,
        "n_seeds": estimate.n_seeds,
        "n_questions": estimate.n_questions,
    }


def _has(summary: SweepSummary, task: str, language: str) -> bool:
    return any((n.task, n.language) == (task, language) for n in summary.numbers)


def _values(summary: SweepSummary, task: str, language: str) -> StudyTable:
    numbers = [n for n in summary.numbers if (n.task, n.language) == (task, language)]
    known = {id(n.group): n.after for n in numbers}
    known |= _untrained(summary.collection, task, language, known)
    groups = [group for group in summary.collection.groups if id(group) in known]
    cells = {(group.name, group.model): StudyCell(known[id(group)]) for group in groups}
    title = f"{task}, {SETS.get(language, language)}"
    return StudyTable(title, task, language, "", *_axes(groups), cells)


def _untrained(
    collection: Collection, task: str, language: str, known: Mapping[int, SeedEstimate]
) -> dict[int, SeedEstimate]:
    """Groups that were not trained, on the languages that the others of their model were trained on."""
    members = collection.tasks if task == ALL_TASKS else (task,)
    found = {}
    for group in collection.groups:
        usual = {g.trained for g in collection.groups if g.model == group.model and g.trained}
        if id(group) in known or group.trained or len(usual) != 1:
            continue
        rows = [v for run in group.runs if (v := values_for(collection, run.after, members)) is not None]
        sets = language_sets([lang for row in rows for _, lang, _ in row.keys], next(iter(usual))) if rows else {}
        if language in sets:
            found[id(group)] = over_seeds([row.only(sets[language]) for row in rows], (0.0, 1.0))
    return found


def _differences(summary: SweepSummary, task: str, language: str, baseline: str) -> StudyTable:
    pairs = [p for p in summary.pairs if (p.task, p.language) == (task, language)]
    found: dict[tuple[str, str], SeedEstimate] = {}
    groups: list[RunGroup] = []
    for pair in pairs:
        for group, other, sign in ((pair.b, pair.a, 1), (pair.a, pair.b, -1)):
            if _is_baseline(other, group, baseline):
                found[group.name, group.model] = pair.difference if sign > 0 else negated(pair)
                groups.append(group)
    corrected: Iterable[float] = holm([estimate.p for estimate in found.values()]) if found else ()
    cells = {key: StudyCell(e, float(p)) for (key, e), p in zip(found.items(), corrected, strict=True)}
    order = [group for group in summary.collection.groups if group in groups]
    title = f"{task}, {SETS.get(language, language)}: difference from {baseline}"
    return StudyTable(title, task, language, baseline, *_axes(order), cells)


def _is_baseline(group: RunGroup, other: RunGroup, baseline: str) -> bool:
    """Whether a group is what another is to be compared with: by name, or by method where variants agree."""
    if group.name == baseline:
        return True
    return group.method == baseline and other.method != baseline and group.variant in ("", other.variant)


def negated(pair: PairNumber) -> SeedEstimate:
    """The difference of a pair the other way round: a - b."""
    low, high = pair.difference.ci95
    return dataclasses.replace(pair.difference, value=-pair.difference.value, ci95=(-high, -low))


def _axes(groups: Iterable[RunGroup]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Methods and models in the order of the groups, models by name."""
    found = list(groups)
    return tuple(dict.fromkeys(g.name for g in found)), tuple(sorted({g.model for g in found}))


def _shown(cell: StudyCell, table: StudyTable, usual: int) -> str:
    e, signed = cell.estimate, bool(table.baseline)
    low, high = (_short(end, signed, 3 if signed else 2) for end in e.ci95)
    span = f" [{low} {high}]" if not math.isnan(e.ci95[0]) else f" {UNKNOWN}"
    star = "*" if cell.p_holm < _SIGNIFICANT else ""
    mde = f", MDE {_short(e.detectable, False, 3)}" if signed and not math.isnan(e.detectable) else ""
    count = f" ({e.n_seeds})" if e.n_seeds != usual else ""
    return f"{_short(e.value, signed, 3)}{span}{star}{mde}{count}"


def _short(value: float, signed: bool, digits: int) -> str:
    return number(value, signed, digits).replace("0.", ".", 1) if abs(value) < 1 else number(value, signed, digits)
