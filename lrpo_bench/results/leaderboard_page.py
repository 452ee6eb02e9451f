"""A leaderboard as one HTML file that opens from disk: sorting, filtering, links to a view, no network.

The page carries its numbers as JSON and draws them with a script of its own; names, commands and reasons reach it as
text only. Style is the report's, with a few lines more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from string import Template
from typing import Any

from lrpo_bench.languages import LANGUAGES
from lrpo_bench.results.costs import COSTS
from lrpo_bench.results.html import details, embed, escape, items, paragraph, table, tag
from lrpo_bench.results.leaderboard_cells import CHANGE, MAIN, pass_metric
from lrpo_bench.results.leaderboard_data import Cell, Leaderboard, Row, languages_of
from lrpo_bench.results.leaderboard_runs import link_to, runs_section
from lrpo_bench.results.seeds import SeedEstimate
from lrpo_bench.results.sweep_summary import ALL_TASKS
from lrpo_bench.results.words import metric_name, percent, points

LEGEND = (
    "Numbers are in percent with 95% intervals for new training seeds and new questions; with one seed, for new "
    "questions alone. A rank's interval counts the rows that are better, and that it is better than, beyond doubt "
    "after Holm's correction; = marks rows that share their best place. Costs are means over seeds, with their range; "
    "device-hours are wall time of training and evaluation times accelerators, or times one machine without. What was "
    "not run is missing, and no average is made over it."
)
_METRICS: Sequence[Mapping[str, Any]] = (
    {"key": MAIN, "label": "right, in language", "share": True},
    {"key": CHANGE, "label": "change", "share": True, "signed": True},
    {"key": "accuracy", "label": "right, any language", "share": True},
    {"key": "fidelity", "label": "language fidelity", "share": True},
    {"key": "pass@k", "label": "pass@k", "share": True},
    {"key": "distinct_answers", "label": "distinct answers"},
)


def render_page(board: Leaderboard, title: str, folder: Path) -> str:
    """The page as text; links are relative to `folder`."""
    template = Template(_template("leaderboard.html"))
    return template.substitute(
        title=escape(title),
        css=_template("report.css") + _template("leaderboard.css"),
        js=_template("leaderboard.js"),
        facts=_facts(board),
        static=_static(board),
        legend=escape(LEGEND),
        runs=runs_section(board, folder),
        notes=_notes(board),
        data=embed("leaderboard-data", payload(board, folder)),
        version=escape(metadata.version("lrpo-bench")),
    )


def payload(board: Leaderboard, folder: Path) -> dict[str, Any]:
    """Everything that the page shows, JSON-ready."""
    return {
        "tasks": [_task(board, task) for task in board.tasks],
        "sets": [
            {"key": s.key, "label": s.label, "kind": s.kind, "languages": _languages_of_set(board, s.key)}
            for s in board.sets
        ],
        "metrics": list(_METRICS),
        "costs": dict(COSTS),
        "trained": None if board.trained is None else list(board.trained),
        "rows": [_row(i, row, folder) for i, row in enumerate(board.rows)],
        "cells": [_cell(key, cell) for key, cell in board.cells.items()],
    }


def _task(board: Leaderboard, task: str) -> dict[str, Any]:
    collection = board.collection
    if task == ALL_TASKS:
        languages = [set(languages_of(collection, name)) for name in collection.tasks]
        return {"name": task, "metric": "mean of tasks", "pass": "pass@k"} | {
            "languages": sorted(set.intersection(*languages))
        }
    label = "right" if collection.metric_of(task) == "accuracy" else "right, in language"
    return {
        "name": task,
        "metric": label,
        "pass": pass_metric(collection, task),
        "languages": list(languages_of(collection, task)),
    }


def _languages_of_set(board: Leaderboard, key: str) -> list[str]:
    languages = {lang for task in board.collection.tasks for lang in languages_of(board.collection, task)}
    if not key.startswith("script:"):
        return [key] if key in languages else sorted(languages)
    script = key.removeprefix("script:")
    return sorted(lang for lang in languages if lang in LANGUAGES and LANGUAGES[lang].script == script)


def _row(i: int, row: Row, folder: Path) -> dict[str, Any]:
    runs = row.group.runs if row.group else ()
    return {
        "id": i,
        "model": row.model,
        "method": row.method,
        "variant": row.variant,
        "seeds": [run.seed for run in runs],
        "device": row.device,
        "costs": {
            name: None if cost is None else {"mean": cost.mean, "low": cost.low, "high": cost.high}
            for name, cost in row.costs.items()
        },
        "missing": [f"seed {m.seed}: {m.status}{f', {m.reason}' if m.reason else ''}" for m in row.missing],
        "runs": [
            {"seed": run.seed, "report": link_to(run.path, folder)}
            | {"command": " ".join(run.manifest.command) or "(the command was not recorded)"}
            for run in runs
        ],
    }


def _cell(key: tuple[int, str, str], cell: Cell) -> dict[str, Any]:
    rank = cell.rank
    return {
        "r": key[0],
        "t": key[1],
        "s": key[2],
        "n": {metric: _number(estimate) for metric, estimate in cell.numbers.items()},
        "k": None if rank is None else {"best": rank.best, "worst": rank.worst, "tied": rank.is_tied},
        "m": cell.missing,
    }


def _number(estimate: SeedEstimate) -> dict[str, Any]:
    low, high = estimate.ci95
    rounded = [None if math.isnan(value) else round(value, 5) for value in (estimate.value, low, high)]
    counts = {"s": estimate.n_seeds, "q": estimate.n_questions, "u": estimate.n_unscored}
    return {"v": rounded[0], "lo": rounded[1], "hi": rounded[2], **counts}


def _facts(board: Leaderboard) -> str:
    groups = board.collection.groups
    runs = sum(len(group.runs) for group in groups)
    counts = {
        "complete run": runs,
        "model": len({group.model for group in groups}),
        "method": len({group.method for group in groups}),
        "task": len(board.collection.tasks),
        "language": sum(s.kind == "language" for s in board.sets),
    }
    parts = [f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items()]
    missing = len(board.collection.missing)
    parts += [f"{missing} run{'' if missing == 1 else 's'} missing"] if missing else []
    return paragraph(" · ".join(parts), "facts")


def _static(board: Leaderboard) -> str:
    """The first view as a plain table."""
    task, languages = board.tasks[0], board.sets[0].key
    order = sorted(range(len(board.rows)), key=lambda i: -_value(board.cell(i, task, languages)))
    rows = []
    for i in order:
        row, cell = board.rows[i], board.cell(i, task, languages)
        main, change = cell.numbers.get(MAIN), cell.numbers.get(CHANGE)
        shown = f"{percent(main.value)} ({_interval(main)})" if main else f"missing: {cell.missing}"
        rank = str(cell.rank) if cell.rank else "—"
        rows.append(("", [row.model, row.name, rank, shown, points(change.value) if change else "—"]))
    metric = "mean of tasks" if task == ALL_TASKS else metric_name(board.collection.metric_of(task))
    return table(("model", "method", "rank", f"{task}: {metric}", "change, points"), rows)


def _value(cell: Cell) -> float:
    return cell.numbers[MAIN].value if MAIN in cell.numbers else -1.0


def _interval(estimate: SeedEstimate) -> str:
    low, high = estimate.ci95
    return "no interval" if math.isnan(low) else f"{percent(low)} to {percent(high)}"


def _notes(board: Leaderboard) -> str:
    if not board.notes:
        return ""
    return tag("h2", "What to know") + (
        items(board.notes) if len(board.notes) < 12 else details(f"{len(board.notes)} notes", items(board.notes))
    )


def _template(name: str) -> str:
    return (resources.files("lrpo_bench.results") / "templates" / name).read_text(encoding="utf-8")
