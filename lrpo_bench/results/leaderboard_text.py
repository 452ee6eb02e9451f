"""A leaderboard in Markdown, for a README or a paper, and as CSV, for a spreadsheet."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path

from lrpo_bench.results.costs import COSTS, Spread
from lrpo_bench.results.leaderboard_cells import BEFORE, CHANGE, MAIN, METRICS, pass_metric
from lrpo_bench.results.leaderboard_data import Cell, Leaderboard, Row
from lrpo_bench.results.leaderboard_page import LEGEND
from lrpo_bench.results.leaderboard_runs import link_to
from lrpo_bench.results.seeds import SeedEstimate
from lrpo_bench.results.sweep_summary import ALL_TASKS
from lrpo_bench.results.words import metric_name, percent, points

_COLUMNS = (
    "model method variant seeds task languages metric value ci95_low ci95_high n_seeds n_questions n_unscored "
    "rank_best rank_worst rollouts tokens seconds device_hours missing"
)


def to_markdown(board: Leaderboard, title: str, folder: Path) -> str:
    """A table a task with averages, then one with languages; the rows' runs and commands below."""
    parts = [f"# {_plain(title)}", ""]
    for task in board.tasks:
        metric = "mean of the tasks" if task == ALL_TASKS else metric_name(board.collection.metric_of(task))
        parts += [f"## {_plain(task)}: {metric}", "", *_averages(board, task), ""]
        parts += [f"### {_plain(task)}, language by language", "", *_languages(board, task), ""]
    parts += [LEGEND, "", *(f"- {_plain(note)}" for note in board.notes), "", "## Runs", ""]
    for row in board.rows:
        parts += [f"**{_plain(row.model)}, {_plain(row.name)}**", "", *_runs(row, folder), ""]
    return "\n".join(parts)


def to_csv(board: Leaderboard) -> str:
    """One line a number, in [0, 1] and at full precision; a missing one is a line with an empty value and a reason."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS.split())
    for (i, task, languages), cell in board.cells.items():
        row = board.rows[i]
        seeds = len(row.group.runs) if row.group else 0
        head: list[object] = [row.model, row.method, row.variant, seeds, task, languages]
        rank = [cell.rank.best, cell.rank.worst] if cell.rank else ["", ""]
        costs = [spread.mean if (spread := row.costs.get(name)) else "" for name in COSTS]
        for metric in METRICS:
            found = cell.numbers.get(metric)
            if found is None and metric != MAIN:
                continue
            name = _metric_in_csv(board, task, metric)
            shown = rank if metric == MAIN else ["", ""]
            writer.writerow([*map(_safe, head), name, *_numbers(found), *shown, *costs, _safe(cell.missing)])
    return file.getvalue()


def _metric_in_csv(board: Leaderboard, task: str, metric: str) -> str:
    if task == ALL_TASKS:
        return metric
    if metric in (MAIN, BEFORE, CHANGE):
        name = board.collection.metric_of(task)
        return name if metric == MAIN else f"{name} ({metric})"
    return pass_metric(board.collection, task) if metric == "pass@k" else metric


def _numbers(found: SeedEstimate | None) -> list[object]:
    if found is None:
        return [""] * 6
    values: list[object] = ["" if math.isnan(value) else value for value in (found.value, *found.ci95)]
    return [*values, found.n_seeds, found.n_questions, found.n_unscored]


def _safe(value: object) -> object:
    # A spreadsheet runs text that begins so as a formula; names of models are other people's text.
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _averages(board: Leaderboard, task: str) -> list[str]:
    sets = [s for s in board.sets if s.kind == "average"]
    pass_k = "pass@k" if task == ALL_TASKS else pass_metric(board.collection, task)
    header = ["rank", "model", "method", "seeds", *(s.label for s in sets), "change", "right, any language"]
    header += ["language fidelity", pass_k, "distinct answers", *COSTS.values()]
    lines = [_line(header), "|" + "|".join("--:" if i not in (1, 2) else "---" for i in range(len(header))) + "|"]
    for i in _order(board, task):
        row, cell = board.rows[i], board.cell(i, task, "avg:all")
        seeds = len(row.group.runs) if row.group else 0
        cells = [str(cell.rank) if cell.rank else "—", _plain(row.model), _plain(row.name), str(seeds)]
        cells += [_share(board.cell(i, task, s.key)) for s in sets]
        cells += [_other(cell, metric) for metric in (CHANGE, "accuracy", "fidelity", "pass@k", "distinct_answers")]
        cells += [_amount(row.costs.get(name)) for name in COSTS]
        lines.append(_line(cells))
    return lines


def _languages(board: Leaderboard, task: str) -> list[str]:
    places = range(len(board.rows))
    sets = [s for s in board.sets if s.kind == "language" and any((i, task, s.key) in board.cells for i in places)]
    header = ["model", "method", *(s.key for s in sets)]
    lines = [_line(header), "|---|---|" + "--:|" * len(sets)]
    for i in _order(board, task):
        row = board.rows[i]
        shown = [_share(board.cell(i, task, s.key)) for s in sets]
        lines.append(_line([_plain(row.model), _plain(row.name), *shown]))
    return lines


def _order(board: Leaderboard, task: str) -> list[int]:
    """Rows by their main number, missing ones last."""

    def value(i: int) -> float:
        found = board.cell(i, task, "avg:all").numbers.get(MAIN)
        return found.value if found else -math.inf

    return sorted(range(len(board.rows)), key=lambda i: -value(i))


def _share(cell: Cell) -> str:
    found = cell.numbers.get(MAIN)
    return f"{percent(found.value)} {_interval(found)}" if found else "missing"


def _other(cell: Cell, metric: str) -> str:
    found = cell.numbers.get(metric)
    if found is None:
        return "—"
    if metric == "distinct_answers":
        return f"{found.value:.2f} [{found.ci95[0]:.2f}, {found.ci95[1]:.2f}]"
    if metric == CHANGE:
        low, high = found.ci95
        return f"{points(found.value)} [{points(low)}, {points(high)}]"
    return f"{percent(found.value)} {_interval(found)}"


def _interval(found: SeedEstimate) -> str:
    low, high = found.ci95
    return "" if math.isnan(low) else f"[{100 * low:.1f}, {100 * high:.1f}]"


def _runs(row: Row, folder: Path) -> list[str]:
    lines = []
    for run in row.group.runs if row.group else ():
        relative = Path(os.path.relpath(run.path.resolve(), folder.resolve())).as_posix()
        address = link_to(run.path, folder)
        link = f"[report]({address})" if address else "no report"
        command = " ".join(run.manifest.command).replace("`", "'") or "(the command was not recorded)"
        lines.append(f"- seed {run.seed}: {link}, `{command}`; again: `lrpo-bench reproduce {relative}`")
    for m in row.missing:
        lines.append(f"- seed {m.seed}: {m.status}{f', {_plain(m.reason)}' if m.reason else ''}")
    return lines


def _amount(spread: Spread | None) -> str:
    return "unknown" if spread is None else f"{spread.mean:,.0f}" if spread.mean >= 10 else f"{spread.mean:.2g}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plain(text: str) -> str:
    r"""Text that is neither markup nor the end of a table cell.

    Example:
        >>> print(_plain("a|b <i>"))
        a\|b &lt;i>
    """
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")
