"""What of lm-eval's results an import takes: for each task its language, its metric and filter, and its rows.

A file does not always say the language of a task or which of its metrics counts; what it leaves open is an option or an
error, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lrpo_bench.errors import ConfigError, DataError, UnknownNameError
from lrpo_bench.languages import parse_language
from lrpo_bench.results.exchange.lm_eval_files import LmEvalResults
from lrpo_bench.tasks.registry import LM_EVAL_PREFIX

_KINDS = {"generate_until": "generate", "multiple_choice": "choice"}


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a results file does not say, or leaves open."""

    languages: Mapping[str, str] = field(default_factory=dict)
    """Language of a task, by lm-eval's name of it, where it does not say so itself."""
    join: str | None = None
    """One task of this name for all, with a language each; None for one a task."""
    metric: str | None = None
    """`METRIC,FILTER` for tasks that have it; otherwise a task's first metric under its last filter."""
    parallel: bool = False
    """Documents of equal number are translations of each other; needs `join`."""
    detector: str = "auto"
    """Tells the language of a response; `none` for none."""
    seed: int | None = None
    """Of the evaluation, where the file does not say."""


@dataclass(frozen=True, slots=True)
class TaskRows:
    """One task of lm-eval, with everything settled that its import needs."""

    theirs: str
    name: str
    lang: str
    kind: str
    metric: str
    filter: str
    config: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]


def task_rows(found: LmEvalResults, name: str, options: ImportOptions) -> TaskRows:
    """One task of the results with everything settled.

    Raises:
        DataError: for a task that can not be imported.
        ConfigError: for a language or metric that must be given.
    """
    config = found.results["configs"].get(name, {})
    kind = _KINDS.get(config.get("output_type"))
    if kind is None:
        asked = config.get("output_type")
        raise DataError(f"{found.file}: task {name!r} asks for {asked!r}; only {', '.join(_KINDS)} can be imported")
    if int(config.get("repeats") or 1) > 1:
        raise DataError(
            f"{found.file}: task {name!r} draws {config['repeats']} responses a question, which have no score each"
        )
    metric, filtered = _metric(found, name, config, options.metric)
    rows = tuple(row for row in found.samples[name] if row["filter"] == filtered)
    ours = options.join or f"{LM_EVAL_PREFIX}{name}"
    return TaskRows(name, ours, _language(name, config, options), kind, metric, filtered, config, rows)


def _metric(found: LmEvalResults, name: str, config: Mapping[str, Any], asked: str | None) -> tuple[str, str]:
    """Metric and filter of a task: those asked for where it has them, its first metric under its last filter else."""
    stored = _stored(found, name)
    if asked is not None and not any(_pair(asked) in _stored(found, task) for task in found.tasks):
        raise UnknownNameError(
            "metric", asked, sorted({",".join(pair) for t in found.tasks for pair in _stored(found, t)})
        )
    if asked is not None and _pair(asked) in stored:
        return _pair(asked)
    last = found.samples[name][-1]["filter"]
    listed = [str(row.get("metric")) for row in config.get("metric_list") or () if isinstance(row, dict)]
    choices = [(metric, last) for metric in listed if (metric, last) in stored]
    if not choices:
        known = sorted(",".join(pair) for pair in stored)
        raise DataError(f"{found.file}: no metric of task {name!r} under filter {last!r}; it has {', '.join(known)}")
    return choices[0]


def _stored(found: LmEvalResults, name: str) -> set[tuple[str, str]]:
    """Metrics and filters of which a task has a value."""
    keys = found.results["results"].get(name, {})
    return {_pair(key) for key in keys if "," in key and "_stderr," not in key}


def _pair(key: str) -> tuple[str, str]:
    metric, _, filtered = key.partition(",")
    return metric, filtered


def _language(name: str, config: Mapping[str, Any], options: ImportOptions) -> str:
    if name in options.languages:
        return parse_language(options.languages[name]).code
    from lrpo_bench.tasks.lm_eval_index import languages_named

    codes = languages_named(name, config)
    if len(codes) == 1:
        return codes.pop()
    said = f"says {', '.join(sorted(codes))}" if codes else "does not say it"
    raise ConfigError(f"which language is task {name!r} in? Its name {said}; give --language {name}=en or so")


def refuse_clashes(tasks: Sequence[TaskRows]) -> None:
    """Raises a `ConfigError` where tasks that are to be joined have the same language or are not scored alike."""
    seen: dict[tuple[str, str], TaskRows] = {}
    for task in tasks:
        first = seen.setdefault((task.name, task.lang), task)
        if first is not task:
            raise ConfigError(
                f"tasks {first.theirs!r} and {task.theirs!r} are both in {task.lang!r}; leave out --as, or one of them"
            )
        other = next(iter(seen.values()))
        if task.name == other.name and (task.kind, task.metric, task.filter) != (
            other.kind,
            other.metric,
            other.filter,
        ):
            raise ConfigError(
                f"tasks {other.theirs!r} and {task.theirs!r} are not scored alike; leave out --as, or give --metric"
            )
