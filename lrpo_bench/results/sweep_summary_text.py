"""A summary over seeds written down: `summary.json` (everything), `summary.md` and tables (what is printed)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrpo_bench.results.collection import below
from lrpo_bench.results.files import write_bytes, write_json
from lrpo_bench.results.seeds import SeedEstimate, estimate_to_dict
from lrpo_bench.results.sweep_summary import ALL_TASKS, SweepSummary
from lrpo_bench.results.tables import UNKNOWN, number

if TYPE_CHECKING:
    from rich.table import Table

JSON, MARKDOWN = "summary.json", "summary.md"


def write_summary(summary: SweepSummary, folder: Path) -> list[Path]:
    """Paths of `summary.json` and `summary.md`, written into a folder."""
    write_json(folder / JSON, to_dict(summary))
    from lrpo_bench.results.study_table import study_markdown, study_tables

    study = study_markdown(study_tables(summary))
    at_a_glance = f"# Methods and models\n\n{study}\n" if study else ""
    write_bytes(folder / MARKDOWN, (at_a_glance + to_markdown(summary)).encode())
    return [folder / JSON, folder / MARKDOWN]


def to_dict(summary: SweepSummary) -> dict[str, Any]:
    """Everything, JSON-ready."""
    groups = summary.collection.groups
    place = {id(group): i for i, group in enumerate(groups)}
    root = summary.collection.folder
    return {
        "schema_version": 1,
        "groups": [
            {"model": g.model, "method": g.method, "variant": g.variant, "seeds": list(g.seeds)}
            | {"trained_languages": None if g.trained is None else list(g.trained)}
            | {"runs": [below(root, run.path) for run in g.runs]}
            for g in groups
        ],
        "metrics": {task: summary.collection.metric_of(task) for task in summary.collection.tasks},
        "numbers": [
            {"group": place[id(n.group)], "task": n.task, "language": n.language}
            | {name: estimate_to_dict(getattr(n, name)) for name in ("before", "after", "change")}
            for n in summary.numbers
        ],
        "differences": [
            {"a": place[id(p.a)], "b": place[id(p.b)], "task": p.task, "language": p.language}
            | dict(estimate_to_dict(p.difference))
            | {"p": p.difference.p, "p_holm": p.p_holm, "detectable": p.difference.detectable}
            for p in summary.pairs
        ],
        "missing": [
            {"run": below(root, m.path), "status": m.status, "reason": m.reason} for m in summary.collection.missing
        ],
        "notes": list(summary.notes),
    }


def summary_tables(summary: SweepSummary) -> list[Table]:
    """Tables for the terminal: averages of each method, and differences between methods."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    tables = []
    models = {group.model for group in summary.collection.groups}
    for title, header, rows in _sections(summary, with_languages=False):
        first = 1 if len(models) == 1 else 0  # the model, which the title then names
        table = Table(title=Text(f"{title}; {', '.join(models)}" if first else title), box=box.SIMPLE_HEAD)
        for i, name in enumerate(header[first:], first):
            table.add_column(name, justify="left" if i < 3 else "right", no_wrap=i > 1)
        for row in rows:
            table.add_row(*map(Text, row[first:]))
        tables.append(table)
    return tables


def to_markdown(summary: SweepSummary) -> str:
    """The same tables in Markdown, with every language."""
    parts = ["# Summary over seeds\n"]
    for title, header, rows in _sections(summary, with_languages=True):
        parts += [f"## {title}\n", "| " + " | ".join(header) + " |"]
        parts.append("|" + "|".join("---" if i < 3 else "--:" for i in range(len(header))) + "|")
        parts += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        parts.append("")
    parts.append("Values in [0, 1]. Intervals at 95%, for new seeds and new questions.")
    return "\n".join([*parts, *(f"\nNote: {note}." for note in summary.notes)]) + "\n"


def _sections(
    summary: SweepSummary, *, with_languages: bool
) -> Iterable[tuple[str, Sequence[str], list[tuple[str, ...]]]]:
    tasks = list(dict.fromkeys(n.task for n in summary.numbers))
    for task in tasks:
        metric = "mean of the tasks' metrics" if task == ALL_TASKS else summary.collection.metric_of(task)
        rows: list[tuple[str, ...]] = [
            (
                *(n.group.model, n.group.name, n.language, number(n.before.value)),
                *(_with_interval(n.after), _with_interval(n.change, signed=True)),
                *(str(n.after.n_seeds), str(n.after.n_questions)),
            )
            for n in summary.numbers
            if n.task == task and (with_languages or n.language.startswith("avg:"))
        ]
        header: Sequence[str] = ("model", "method", "languages", "before", "after", "change", "seeds", "questions")
        yield f"{task}: {metric}", header, rows
        pairs: list[tuple[str, ...]] = [
            (
                *(p.a.model, f"{p.b.name} − {p.a.name}", p.language),
                *(_with_interval(p.difference, signed=True), number(p.p_holm)),
                *(number(p.difference.detectable), str(p.difference.n_seeds)),
            )
            for p in summary.pairs
            if p.task == task and (with_languages or p.language.startswith("avg:"))
        ]
        if pairs:
            header = ("model", "methods", "languages", "difference", "p (Holm)", "detectable", "seeds")
            yield f"{task}: method against method, same seeds and questions", header, pairs


def _with_interval(estimate: SeedEstimate, *, signed: bool = False) -> str:
    low, high = (number(end, signed, 2).replace("0.", ".", 1) for end in estimate.ci95)
    span = UNKNOWN if math.isnan(estimate.ci95[0]) else f"[{low} {high}]"
    return f"{number(estimate.value, signed)} {span}"
