"""A comparison as a table: for the terminal (rich), for a paper (Markdown; LaTeX is in `latex`) and for a spreadsheet.

Values are in [0, 1], as everywhere but in the report. A mark says that an interval excludes zero: gained or lost. What
is unknown is a dash. Several runs beside one are in `matrix`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lrpo_bench.results.compare import HEADLINE, Comparison, Difference
from lrpo_bench.results.untrusted import markdown_line, one_line

if TYPE_CHECKING:
    from rich.table import Table

GAINED, LOST, UNDECIDED, UNKNOWN = "▲", "▼", "·", "—"
MAIN_METRICS = (
    HEADLINE,
    "accuracy",
    *("fidelity", "lpr", "wpr", "lcpr"),
    "consistency",
    *("headroom_source", "headroom_routed", "headroom_oracle"),
)
"""Shown in this order; one of which nothing is known on either side is left out."""
MARKS = f"{GAINED} {LOST} the 95% interval excludes zero; * also p < .05 after Holm's correction; {UNKNOWN} unknown"
LEGEND = (
    f"{MARKS}; n: questions known on both sides; MDE: the smallest true difference that is found four times out of five"
)
_CSV_COLUMNS = (
    "before_run after_run task language metric before after change stderr ci95_low ci95_high p p_holm test detectable "
    "n n_clusters n_unscored note"
)
_COLUMNS = ("language", "before", "after", "change", "95% interval", "", "p (Holm)", "n", "MDE")
_LEFT = ("language", "")
_SHORT = 8
"""Longest label that may stand at the head of a column of numbers."""


def differences_of(comparison: Comparison, metric: str, task: str | None = None) -> list[Difference]:
    """Differences in one metric: languages by name, then averages over trained, held-out and all of them."""
    found = [d for d in comparison.differences if d.metric == metric and task in (None, d.task)]
    return sorted(found, key=lambda d: d.task)  # stable: within a task they are in this order already


def known(comparison: Comparison, metric: str, task: str) -> bool:
    """Whether anything is known of a metric."""
    return any(not math.isnan(d.change.value) for d in differences_of(comparison, metric, task))


def mark(difference: Difference) -> str:
    """A sign for the direction of a change whose interval excludes zero, starred where the corrected test agrees."""
    if not difference.change.excludes_zero:
        return UNDECIDED
    return (GAINED if difference.change.value > 0 else LOST) + ("*" if difference.is_real else "")


def number(value: float, signed: bool = False, digits: int = 3) -> str:
    """A value for reading; a dash for NaN.

    Example:
        >>> number(0.12345), number(-0.5, signed=True), number(float("nan"))
        ('0.123', '-0.500', '—')
    """
    if math.isnan(value):
        return UNKNOWN
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return text.replace("-0." + "0" * digits, "+0." + "0" * digits) if signed else text


def interval(difference: Difference) -> str:
    """The interval of a change, in brackets; a dash where there is none."""
    low, high = difference.change.ci95
    if math.isnan(low):
        return UNKNOWN
    # A bound that rounds to zero keeps its sign, or a mark beside it would seem wrong.
    return f"[{low + 0.0:+.3f}, {high + 0.0:+.3f}]"


def p_value(value: float) -> str:
    """A p value for reading.

    Example:
        >>> p_value(0.0004), p_value(0.1371), p_value(float("nan"))
        ('<0.001', '0.137', '—')
    """
    return "<0.001" if value < 0.001 else number(value)


def column_names(before: str, after: str) -> tuple[str, str]:
    """What two runs are called at the head of a column: by name where both are short, A and B otherwise.

    Example:
        >>> column_names("before", "after"), column_names("runs/lrpo-seed0", "runs/grpo-seed0")
        (('before', 'after'), ('A', 'B'))
    """
    return (before, after) if max(len(before), len(after)) <= _SHORT else ("A", "B")


def title(comparison: Comparison, metric: str, task: str | None = None) -> str:
    """What a table shows, in one line."""
    names = column_names(comparison.before, comparison.after)
    labels = (comparison.before, comparison.after)
    sides = [label if name == label else f"{name} {label}" for name, label in zip(names, labels, strict=True)]
    return f"{task}, {metric}: {' → '.join(sides)}" if task else f"{metric}: {' → '.join(sides)}"


def rich_table(comparison: Comparison, metric: str = HEADLINE, task: str | None = None) -> Table:
    """A table for a terminal of 80 columns or more; averages stand below the languages."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    caption = Text(LEGEND, justify="left")
    heading = Text(one_line(title(comparison, metric, task)), style="bold not italic", justify="left")
    table = Table(title=heading, caption=caption, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    found = differences_of(comparison, metric, task)
    many = len({d.task for d in found}) > 1
    for name in _headers(comparison):
        text = Text(name.replace("p (Holm)", "p\n(Holm)"))
        table.add_column(text, justify="left" if name in _LEFT else "right", no_wrap=name != "n")
    for i, difference in enumerate(found):
        if i and difference.is_average and not found[i - 1].is_average:
            table.add_section()
        cells = list(_cells(difference))
        cells[0] = one_line(f"{difference.task} {cells[0]}" if many else cells[0])
        style = "bold" if difference.change.excludes_zero else ""
        table.add_row(*(Text(cell, style=style) for cell in cells))
    return table


def markdown(comparison: Comparison, metrics: Sequence[str] = MAIN_METRICS) -> str:
    """One Markdown table a task and metric, with a legend and the comparison's notes below."""
    parts = []
    header = _headers(comparison)
    for task in comparison.tasks:
        for metric in metrics:
            found = differences_of(comparison, metric, task)
            if not known(comparison, metric, task):
                continue
            label = markdown_line(title(comparison, metric, task).partition(": ")[2])
            parts.append(f"**{markdown_line(task)}, {metric}**: {label}\n")
            parts.append("| " + " | ".join(markdown_line(name) for name in header) + " |")
            parts.append("|" + "|".join("---" if c in _LEFT else "--:" for c in header) + "|")
            parts += ["| " + " | ".join(_cells(difference)) + " |" for difference in found]
            parts.append("")
    notes = (f"\nNote: {markdown_line(note)}." for note in comparison.notes)
    return "\n".join([*parts, LEGEND, *notes]) + "\n"


def to_csv(*comparisons: Comparison) -> str:
    """All differences at full precision; what is unknown is an empty cell."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS.split())
    for comparison in comparisons:
        for d in comparison.differences:
            c = d.change
            numbers = (d.before, d.after, c.value, c.stderr, *c.ci95, d.p, d.p_holm)
            row: list[object] = [_inert(text) for text in (comparison.before, comparison.after, d.task)]
            row += [d.language, d.metric, *(_blank(x) for x in numbers), d.test, _blank(d.detectable)]
            writer.writerow([*row, c.n, c.n_clusters, c.n_unscored, _inert(d.note)])
    return file.getvalue()


def _headers(comparison: Comparison) -> tuple[str, ...]:
    return (_COLUMNS[0], *column_names(comparison.before, comparison.after), *_COLUMNS[3:])


def _cells(difference: Difference) -> tuple[str, ...]:
    change = difference.change
    count = str(change.n) + (f" of {change.n + change.n_unscored}" if change.n_unscored else "")
    return (
        difference.language,
        number(difference.before),
        number(difference.after),
        number(change.value, signed=True),
        interval(difference),
        mark(difference),
        p_value(difference.p_holm),
        count,
        number(difference.detectable),
    )


def _inert(text: str) -> str:
    # A spreadsheet runs a cell that begins so as a formula; names of runs and tasks are other people's text.
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _blank(value: float) -> float | str:
    return "" if math.isnan(value) else value
