"""The runs behind a leaderboard, one a row: its own numbers, cost, report, and the command that makes it again."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lrpo_bench.results.collection import RunGroup
from lrpo_bench.results.costs import device_hours
from lrpo_bench.results.html import details, escape, paragraph, tag
from lrpo_bench.results.leaderboard_cells import CHANGE, MAIN, Numbers
from lrpo_bench.results.leaderboard_data import Leaderboard, Row, languages_of
from lrpo_bench.results.seeds import SeedEstimate
from lrpo_bench.results.sweep_summary import ALL_TASKS
from lrpo_bench.results.words import percent, points

_FOLDED = 12
"""Rows from which the table is folded away at first."""
_HEADER = ("model", "method", "seed", "value", "change", "device-hours", "report", "make it again")


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run."""

    row: Row
    seed: int | None
    numbers: Mapping[str, SeedEstimate]
    """Over questions alone, on the first task of the leaderboard and all its languages."""
    hours: float | None
    report: str | None
    """Relative address; None where there is none."""
    command: str
    """`lrpo-bench reproduce` with the run's folder, relative to the leaderboard's."""
    missing: str = ""
    """Why there are no numbers."""


def run_rows(board: Leaderboard, folder: Path) -> list[RunRow]:
    """All runs, in the order of the leaderboard's rows; those that are not complete with the reason.

    Numbers are over all tasks; where no run has all of them, each run's are those of the first task that it has.
    """
    has_all = board.tasks[:1] == (ALL_TASKS,)
    numbers = Numbers(board.collection)
    found = []
    for row in board.rows:
        for run in row.group.runs if row.group else ():
            alone = RunGroup(row.model, row.method, row.variant, (run,))
            hours = device_hours(run.manifest)
            command = f"lrpo-bench reproduce {shlex.quote(_below(run.path, folder))}"
            own = sorted({task for task, _ in (*run.before, *run.after)})
            tasks = board.collection.tasks if has_all else own[:1]
            shown = numbers.of(alone, {task: languages_of(board.collection, task) for task in tasks})[0]
            found.append(RunRow(row, run.seed, shown, hours, link_to(run.path, folder), command))
        for m in row.missing:
            reason = f"{m.status}{f': {m.reason}' if m.reason else ''}"
            found.append(RunRow(row, m.seed, {}, None, link_to(m.path, folder), "", reason))
    return found


def link_to(run: Path, folder: Path) -> str | None:
    """The relative address of a run's report, of its Markdown where there is no page; None where it has neither."""
    file = next((run / name for name in ("report.html", "report.md") if (run / name).is_file()), None)
    if file is None:
        return None
    return "./" + quote(_below(file, folder))  # a name with a colon would be a scheme otherwise


def runs_section(board: Leaderboard, folder: Path) -> str:
    """The table as HTML that needs no script."""
    rows = run_rows(board, folder)
    head = tag("tr", "".join(tag("th", escape(name), scope="col") for name in _HEADER))
    body = "".join(_html(row) for row in rows)
    table = tag("table", tag("thead", head) + tag("tbody", body), class_="runs")
    scroll = tag("div", table, class_="scroll", tabindex="0")
    task = board.tasks[0] if board.tasks else "no task"
    note = paragraph(
        f"One row a run: {task}, all languages, with intervals over questions alone. Device-hours are wall time of all "
        "stages times accelerators (or one machine without); unknown where a run was continued. Paths are relative to "
        "this page's folder.",
        "note",
    )
    inner = details(f"{len(rows)} runs", scroll) if len(rows) >= _FOLDED else scroll
    return tag("h2", "Every run", id="runs") + note + inner


def _html(run: RunRow) -> str:
    main, change = run.numbers.get(MAIN), run.numbers.get(CHANGE)
    value = _with_span(percent(main.value), *map(percent, main.ci95)) if main else _missing(run.missing or "missing")
    moved = _with_span(points(change.value), *map(points, change.ci95)) if change else "—"
    hours = "unknown" if run.hours is None else f"{run.hours:.3g}"
    link = tag("a", "report", href=run.report) if run.report else "none"
    command = tag("code", escape(run.command)) if run.command else "—"
    seed = "—" if run.seed is None else str(run.seed)
    cells = (escape(run.row.model), escape(run.row.name), seed, value, moved, hours, link, command)
    return tag("tr", "".join(_cell(name, cell) for name, cell in zip(_HEADER, cells, strict=True)))


def _cell(label: str, content: str) -> str:
    words = label in ("model", "method", "make it again")
    class_ = {"class_": "words left"} if words else {}
    return tag("td", tag("div", content, class_="box"), data_label=label, **class_)


def _with_span(value: str, low: str, high: str) -> str:
    span = "no interval" if low == "—" else f"{low} to {high}"
    return escape(value) + " " + tag("span", escape(span), class_="span")


def _missing(reason: str) -> str:
    return tag("span", escape(reason), class_="missing")


def _below(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
