"""Several runs beside the first, in one table: a row a language, a column a run.

The cell of a run holds its value, the change against the first run with its mark, and the interval of the change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lrpo_bench.results.compare import Comparison, Difference
from lrpo_bench.results.tables import MARKS, UNKNOWN, differences_of, interval, known, mark, number
from lrpo_bench.results.untrusted import markdown_line, one_line

if TYPE_CHECKING:
    from rich.table import Table

LEGEND = f"{MARKS}; Holm's correction is over languages and runs"
_CELL, _FIRST = 18, 22
"""Columns that a run's cell needs in a terminal, and the first two columns of a table."""

Matrix = dict[str, list[Difference | None]]
"""A language or average -> the difference of each run, None where it has none."""


def matrix(comparisons: Sequence[Comparison], metric: str, task: str) -> Matrix:
    """Differences by language, in the order of the tables; averages last."""
    rows: Matrix = {}
    for i, comparison in enumerate(comparisons):
        for difference in differences_of(comparison, metric, task):
            rows.setdefault(difference.language, [None] * len(comparisons))[i] = difference
    return dict(sorted(rows.items(), key=lambda row: row[0].startswith("avg:")))


def rich_matrices(comparisons: Sequence[Comparison], metric: str, task: str, width: int) -> list[Table]:
    """Tables for a terminal: as many runs to a table as it has room for."""
    from rich.text import Text

    room = max(1, (width - _FIRST) // _CELL)
    starts = range(0, len(comparisons), room)
    cell = (width - _FIRST) // min(room, len(comparisons)) - 1
    tables = [_rich_matrix(comparisons[i : i + room], metric, task, cell) for i in starts]
    tables[-1].caption = Text(LEGEND, justify="left")
    return tables


def markdown_matrix(comparisons: Sequence[Comparison], metrics: Sequence[str]) -> str:
    """One Markdown table a task and metric, with a legend and notes below."""
    parts = []
    labels = [markdown_line(c.after) for c in comparisons]
    for task in tasks_of(comparisons):
        for metric in metrics:
            if not any(known(c, metric, task) for c in comparisons):
                continue
            parts.append(
                f"**{markdown_line(task)}, {metric}**, changes against {markdown_line(comparisons[0].before)}\n"
            )
            parts.append(f"| language | {markdown_line(comparisons[0].before)} | {' | '.join(labels)} |")
            parts.append("|---|" + "--:|" * (len(labels) + 1))
            for language, row in matrix(comparisons, metric, task).items():
                cells = [" ".join(cell_parts(d)) for d in row]
                parts.append(f"| {language} | {number(first_value(row))} | {' | '.join(cells)} |")
            parts.append("")
    return "\n".join([*parts, LEGEND, *(f"\nNote: {markdown_line(note)}." for note in notes_of(comparisons))]) + "\n"


def tasks_of(comparisons: Sequence[Comparison]) -> list[str]:
    """Tasks that any of the comparisons has."""
    return sorted({task for comparison in comparisons for task in comparison.tasks})


def notes_of(comparisons: Sequence[Comparison]) -> list[str]:
    """Notes of all of them, each once, with the run that it is about where it is not about all."""
    notes = []
    for note in dict.fromkeys(note for comparison in comparisons for note in comparison.notes):
        having = [c.after for c in comparisons if note in c.notes]
        notes.append(note if len(having) == len(comparisons) else f"{', '.join(having)}: {note}")
    return notes


def first_value(row: Sequence[Difference | None]) -> float:
    """The first run's value; NaN where its pairs with the other runs give different ones."""
    values = {round(d.before, 12) for d in row if d is not None and not math.isnan(d.before)}
    return values.pop() if len(values) == 1 else math.nan


def cell_parts(difference: Difference | None) -> tuple[str, str]:
    """A run's value with its change and mark, and the interval of the change."""
    if difference is None or math.isnan(difference.change.value):
        return UNKNOWN, ""
    sign = mark(difference)
    change = number(difference.change.value, signed=True)
    return f"{number(difference.after)} {change} {sign}", interval(difference)


def _rich_matrix(comparisons: Sequence[Comparison], metric: str, task: str, cell: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    first = comparisons[0].before
    title = Text(one_line(f"{task}, {metric}: changes against {first}"), style="bold not italic", justify="left")
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("language", no_wrap=True)
    table.add_column(Text(one_line(first)), justify="right", max_width=_FIRST - 13, overflow="fold")
    for comparison in comparisons:
        table.add_column(Text(one_line(comparison.after)), justify="left", max_width=cell, overflow="fold")
    previous = ""
    for language, row in matrix(comparisons, metric, task).items():
        if language.startswith("avg:") and previous and not previous.startswith("avg:"):
            table.add_section()
        cells = [Text("\n".join(filter(None, cell_parts(d))), style=_style(d)) for d in row]
        table.add_row(language, number(first_value(row)), *cells)
        previous = language
    return table


def _style(difference: Difference | None) -> str:
    return "bold" if difference is not None and difference.change.excludes_zero else ""
