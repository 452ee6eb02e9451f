"""One evaluation as tables for the terminal: a row a language, averages below.

A task has a table of accuracies, one of where its responses fall (right answer, wrong language, ...), one of lines,
words, translations and draws, and one of headroom.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lrpo_bench.evaluation.metrics import Metric
from lrpo_bench.evaluation.observations import HEADLINE, SHARE
from lrpo_bench.results.schema import Evaluation

if TYPE_CHECKING:
    from rich.table import Table

_COLUMNS = {
    HEADLINE: "right, in\nlanguage",
    "accuracy": "right",
    "fidelity": "in\nlanguage",
    "truncation_rate": "cut",
}
"""Metrics that are shown, in this order; a column in which nothing is known is left out."""
_CELL_COLUMNS = {
    SHARE + "right_in_language": "right, in\nlanguage",
    SHARE + "right_in_other_language": "right, in\nanother",
    SHARE + "right_language_unknown": "right,\nin which?",
    SHARE + "wrong_in_language": "wrong, in\nlanguage",
    SHARE + "wrong_in_other_language": "wrong, in\nanother",
    SHARE + "wrong_language_unknown": "wrong,\nin which?",
    SHARE + "not_attempted": "no\nanswer",
    SHARE + "truncated": "cut",
    SHARE + "unscored": "not\njudged",
}
"""Every response falls in one of these; those that none falls in are left out."""
_LINE_COLUMNS = {
    "lpr": "lines\n(LPR)",
    "wpr": "words\n(WPR)",
    "lcpr": "both\n(LCPR)",
    "consistency": "alike across\nlanguages",
    "sampled_accuracy": "right,\nsampled",
}
_HEADROOM_COLUMNS = {
    "headroom_source": "right, asked for\nin its language",
    "headroom_routed": "right, asked for\nin the router's",
    "headroom_oracle": "right, asked for\nin the best one",
}
_VENDI_COLUMNS = {
    "vendi": "said in one\nlanguage",
    "vendi_within": "inside\nlanguages",
    "vendi_between": "between\nlanguages",
}
_TABLES = (
    ("values in [0, 1] with 95% intervals", _COLUMNS),
    ("where responses fall, as shares", _CELL_COLUMNS),
    ("lines and words, translations, draws", _LINE_COLUMNS),
    ("headroom, right in any language", _HEADROOM_COLUMNS),
    ("different things that draws say (Vendi)", _VENDI_COLUMNS),
)
_WITH_INTERVAL = (HEADLINE, "accuracy", *_HEADROOM_COLUMNS)


def main_metric(evaluation: Evaluation, task: str) -> str:
    """The metric that sums a task up: accuracy for choice, where the language is given, the headline otherwise."""
    return "accuracy" if evaluation.signature.tasks[task].kind == "choice" else HEADLINE


def evaluation_tables(evaluation: Evaluation) -> list[Table]:
    """The tables of each task of which anything is known; a dash where nothing is."""
    tables = []
    for task in evaluation.signature.tasks:
        metrics = [m for m in evaluation.metrics if m.task == task]
        for title, columns in _TABLES:
            if columns is _CELL_COLUMNS and evaluation.signature.tasks[task].kind == "choice":
                continue  # the language of given options is nobody's choice
            if columns is _COLUMNS or any(m.value is not None for m in metrics if m.metric in columns):
                tables.append(_table(f"{task}: {title}", metrics, columns))
    return tables


def _table(title: str, metrics: list[Metric], columns: Mapping[str, str]) -> Table:
    from rich import box
    from rich.table import Table

    cells = {(m.language, m.metric): m for m in metrics}
    # Nothing was cut, or fell there: that needs no column.
    hidden_at_0 = ("truncation_rate", *_CELL_COLUMNS)
    known = {m.metric for m in metrics if m.value is not None and (m.value or m.metric not in hidden_at_0)}
    shown = [name for name in columns if name in known]
    counted = "accuracy" if columns is _COLUMNS else shown[0]
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("language", no_wrap=True)
    for name in shown:
        table.add_column(columns[name], justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    languages = sorted({m.language for m in metrics}, key=lambda lang: (lang.startswith("avg:"), lang))
    for i, lang in enumerate(languages):
        if i and lang.startswith("avg:") and not languages[i - 1].startswith("avg:"):
            table.add_section()
        row = [_cell(cells.get((lang, name)), with_interval=name in _WITH_INTERVAL) for name in shown]
        table.add_row(lang, *row, _count(cells.get((lang, counted))))
    return table


def _cell(metric: Metric | None, *, with_interval: bool) -> str:
    if metric is None or metric.value is None:
        return "—"
    low, high = metric.ci95
    if not with_interval or low is None or high is None:
        return f"{metric.value:.2f}"
    return f"{metric.value:.3f} [{low:.2f} {high:.2f}]".replace("[0.", "[.").replace(" 0.", " .")


def _count(metric: Metric | None) -> str:
    if metric is None:
        return "—"
    return f"{metric.n}" + (f" (+{metric.n_unscored} unscored)" if metric.n_unscored else "")
