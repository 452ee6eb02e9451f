"""A study at a glance: methods down, models across, and each method's difference from one of them.

    | method | embedded:low     | embedded:wide    |          | method | embedded:low                      |
    |--------|------------------|------------------|          |--------|-----------------------------------|
    | grpo   | .741 [.71 .77]   | .802 [.78 .83]   |          | lrpo   | +.031 [+.012 +.050]*, MDE .027   |

Both are for new seeds and new questions (`results.seeds`): the seeds that both methods have are subtracted question by
question, so a difference is paired over both. MDE is the smallest true difference found four times out of five.
Holm's correction is over the differences of one table: all methods but the baseline, times all models. Only averages
over languages, and only pairs with the baseline, are computed: a study has several times as many of the others.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrpo_bench.errors import ConfigError
from lrpo_bench.evaluation.metrics import ALL, HELD_OUT, TRAINED
from lrpo_bench.evaluation.significance import holm
from lrpo_bench.results.collection import RunGroup
from lrpo_bench.results.seeds import SeedEstimate
from lrpo_bench.results.sweep_summary import SweepSummary, end_values, paired_differences
from lrpo_bench.results.tables import UNKNOWN, number
from lrpo_bench.results.words import SETS

if TYPE_CHECKING:
    from rich.table import Table

BASELINE = "grpo"
"""What methods are compared with where nobody says otherwise, if it was run."""
AVERAGES = (ALL, TRAINED, HELD_OUT)
"""The sets of languages that have tables, in this order."""
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
    for task in summary.tasks:
        values = [(group, _ends(summary, group, task)) for group in summary.collection.groups]
        differences = _from_baseline(summary, task, baseline) if baseline else []
        for language in AVERAGES:
            found.append(_table(task, language, "", _only(values, language)))
            found.append(_table(task, language, baseline, _only(differences, language)))
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


def _ends(summary: SweepSummary, group: RunGroup, task: str) -> Mapping[str, SeedEstimate]:
    """A group's averages; if it was not trained, on the languages that the others of its model trained on."""
    usual = {g.trained for g in summary.collection.groups if g.model == group.model and g.trained}
    return end_values(summary, group, task, AVERAGES, next(iter(usual)) if len(usual) == 1 else None)


def _from_baseline(
    summary: SweepSummary, task: str, baseline: str
) -> list[tuple[RunGroup, Mapping[str, SeedEstimate]]]:
    """Each group that has a baseline, with its differences from it, in the order of the groups."""
    place = {id(group): i for i, group in enumerate(summary.collection.groups)}
    found: list[tuple[RunGroup, Mapping[str, SeedEstimate]]] = []
    for a, b in itertools.combinations(summary.collection.groups, 2):
        forth, back = _is_baseline(a, b, baseline), _is_baseline(b, a, baseline)
        if a.model == b.model and (forth or back):
            differences = paired_differences(summary, a, b, task, AVERAGES)
            found += [(b, differences)] if forth else []
            found += [(a, {language: negated(e) for language, e in differences.items()})] if back else []
    return sorted(found, key=lambda row: place[id(row[0])])


def _only(
    rows: Iterable[tuple[RunGroup, Mapping[str, SeedEstimate]]], language: str
) -> list[tuple[RunGroup, SeedEstimate]]:
    return [(group, estimates[language]) for group, estimates in rows if language in estimates]


def _table(task: str, language: str, baseline: str, rows: Sequence[tuple[RunGroup, SeedEstimate]]) -> StudyTable:
    """Values, or differences where there is a baseline."""
    found = {(group.name, group.model): estimate for group, estimate in rows}
    corrected = holm([e.p for e in found.values()]) if baseline and found else [math.nan] * len(found)
    cells = {key: StudyCell(e, float(p)) for (key, e), p in zip(found.items(), corrected, strict=True)}
    title = f"{task}, {SETS.get(language, language)}" + (f": difference from {baseline}" if baseline else "")
    return StudyTable(title, task, language, baseline, *_axes([group for group, _ in rows]), cells)


def _is_baseline(group: RunGroup, other: RunGroup, baseline: str) -> bool:
    """Whether a group is what another is to be compared with: by name, or by method where variants agree."""
    if group.name == baseline:
        return True
    return group.method == baseline and other.method != baseline and group.variant in ("", other.variant)


def negated(difference: SeedEstimate) -> SeedEstimate:
    """A difference the other way round: a - b for b - a."""
    low, high = difference.ci95
    return dataclasses.replace(difference, value=-difference.value, ci95=(-high, -low))


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
