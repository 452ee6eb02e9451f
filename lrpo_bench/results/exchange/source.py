"""What every export starts from: one evaluation, cut by task and language, and names for its model and data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrpo_bench.errors import StorageError
from lrpo_bench.evaluation.metrics import Metric
from lrpo_bench.evaluation.observations import is_counted
from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.results.named import NamedEvaluation
from lrpo_bench.results.schema import TaskSignature
from lrpo_bench.tasks.base import TaskInfo
from lrpo_bench.tasks.registry import list_tasks

OWN = "lrpo-bench"
"""Stands for the organisation where a model or data set has none."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One task in one language: its greedy responses and what they amount to."""

    task: str
    language: str
    signature: TaskSignature
    records: tuple[ResponseRecord, ...]
    metrics: Mapping[str, Metric]
    """By name."""


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where a task's questions come from."""

    title: str
    hub: str | None
    """The data set's id on the hub; None for data made by the package, local data and tasks that are not ours."""
    revision: str | None
    split: str | None


def slices(found: NamedEvaluation) -> list[Slice]:
    """The evaluation by task and language; sampled draws and questions asked in another language are not in it."""
    rows: dict[tuple[str, str], list[ResponseRecord]] = {}
    for record in found.evaluation.records:
        if is_counted(record):
            rows.setdefault((record.task, record.rollout_lang), []).append(record)
    tasks = found.evaluation.signature.tasks
    return [
        Slice(task, lang, tasks[task], tuple(records), metrics_in(found, task, lang))
        for (task, lang), records in sorted(rows.items())
    ]


def metrics_in(found: NamedEvaluation, task: str, language: str) -> dict[str, Metric]:
    """Metrics of a task in a language, or averaged over languages, by name."""
    return {m.metric: m for m in found.evaluation.metrics if (m.task, m.language) == (task, language)}


def model_name(found: NamedEvaluation, given: str | None) -> str:
    """What to call the model: the given name, the hub's id of an untrained one, or one made of the run's folder.

    A path is never shown: it says nothing to others, and may say too much.
    """
    if given:
        return given
    if found.name == "after":
        return f"{OWN}/{found.run.resolve().name}"
    name = str(found.manifest.config.get("model", {}).get("name", "unknown"))
    is_hub_id = name.count("/") == 1 and name[0] not in "./~" and not Path(name).exists()
    return name if is_hub_id else f"{OWN}/{name.rstrip('/').rpartition('/')[2].replace(':', '-')}"


def data_source(found: NamedEvaluation, task: str) -> DataSource:
    """Where the questions of a task come from, as far as its declaration and the run's configuration tell."""
    info = _infos().get(task)
    entry: Mapping[str, Any] = next(
        (row for row in found.manifest.config.get("tasks", ()) if isinstance(row, dict) and row.get("name") == task), {}
    )
    if info is None:
        return DataSource(task, None, None, entry.get("split"))
    hub = None if entry.get("data") else info.source.get("hub") or None
    return DataSource(
        title=info.title,
        hub=hub,
        revision=info.source.get("revision") if hub else None,
        split=entry.get("split") or info.source.get("eval_split"),
    )


def refuse_existing(out: Path) -> None:
    """Raises where an export would write over something.

    Raises:
        StorageError: there is a file, or a folder that is not empty.
    """
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists():
        raise StorageError(f"{out} exists already; name another --out or delete it first")


def known_metrics(metrics: Mapping[str, Metric], names: tuple[str, ...]) -> Iterator[Metric]:
    """Those of the named metrics of which a value is known."""
    return (metrics[name] for name in names if name in metrics and metrics[name].value is not None)


def _infos() -> dict[str, TaskInfo]:
    return {info.name: info for info in list_tasks()}
