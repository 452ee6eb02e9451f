"""From the command line's options to a configuration."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lrpo_bench.config import RunConfig, parse_config
from lrpo_bench.config_files import apply_override, load_config
from lrpo_bench.errors import ConfigError


def config_of(arguments: argparse.Namespace) -> RunConfig:
    """The configuration file, the options and `--set`, in this order of precedence from low to high."""
    values: dict[str, Any] = load_config(arguments.config) if arguments.config else {}
    _apply_options(values, arguments)
    for assignment in arguments.set:
        apply_override(values, assignment)
    config = parse_config(values)
    if "out" not in values:
        config = config.model_copy(update={"out": _default_out(config, arguments.stage)})
    return config


def _apply_options(values: dict[str, Any], arguments: argparse.Namespace) -> None:
    for option, path in (
        ("model", "model.name"),
        ("out", "out"),
        ("seed", "seed"),
        ("method", "train.method"),
        ("steps", "train.steps"),
        ("train_languages", "train.languages"),
    ):
        value = getattr(arguments, option, None)
        if value is not None:
            _put(values, path, value)
    if arguments.tasks_dir:
        listed = values.get("tasks_dirs") or []
        values["tasks_dirs"] = [*([listed] if isinstance(listed, str) else listed), *arguments.tasks_dir]
    tasks = values.get("tasks") if arguments.tasks is None else arguments.tasks
    if isinstance(tasks, str):
        tasks = [name.strip() for name in tasks.split(",") if name.strip()]
    if isinstance(tasks, list):
        values["tasks"] = tasks = [_task_options(entry, arguments) for entry in tasks]
    known = [entry.get("name") for entry in (tasks if isinstance(tasks, list) else ()) if isinstance(entry, dict)]
    for assignment in arguments.data:
        name, _, path = assignment.partition("=")
        if not path:
            raise ConfigError(f"--data takes TASK=PATH, such as mgsm=./mgsm, got {assignment!r}")
        if name not in known:
            raise ConfigError(
                f"--data names task {name!r}, which is not among the tasks of this run: {sorted(map(str, known))}"
            )


def _task_options(entry: Any, arguments: argparse.Namespace) -> Any:
    task = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(task, dict):
        return task
    task = dict(task)
    if arguments.languages is not None:
        task["languages"] = arguments.languages
    if arguments.limit is not None:
        task["limit"] = arguments.limit
    for assignment in arguments.data:
        name, _, path = assignment.partition("=")
        if name == task.get("name") and path:
            task["data"] = path
    return task


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, leaf = path.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"config key {parent!r} must hold a section, got {values!r}")
    values[leaf] = value


def _default_out(config: RunConfig, stage: str) -> Path:
    model = config.model.name.rstrip("/").rpartition("/")[2].replace(":", "-")
    what = "eval" if stage == "eval" else config.train.method
    return Path("results") / f"{model}-{what}-seed{config.seed}"
