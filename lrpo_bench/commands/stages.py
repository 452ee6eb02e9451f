"""`lrpo-bench eval`, `train` and `run`: their options, and what they do with them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_stage(commands: Any, stage: str, text: str) -> None:
    """Adds the parser of `eval`, `train` or `run`."""
    parser = commands.add_parser(stage, help=text, description=text)
    add = parser.add_argument
    add("--config", type=Path, help="a YAML file; every option below has its key there")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="set any config key, such as train.steps=10")
    add("--model", help="embedded:PROFILE, a folder, a hub id, or mock (model.name)")
    add("--tasks", help="task names, separated by commas (tasks)")
    add("--data", action="append", default=[], metavar="TASK=PATH", help="local data for a task (tasks[].data)")
    add("--languages", help="languages to evaluate, separated by commas (tasks[].languages)")
    add("--limit", type=int, help="questions per task and language (tasks[].limit)")
    add("--out", type=Path, help="the run folder (out)")
    add("--seed", type=int, help="(seed)")
    add("--tasks-dir", type=Path, action="append", default=[], help="an extra folder of tasks (tasks_dirs)")
    if stage != "eval":
        add("--method", help="see `lrpo-bench list` (train.method)")
        add("--steps", type=int, help="optimizer steps (train.steps)")
        add("--train-languages", help="languages of training questions (train.languages)")
    add("--dry-run", action="store_true", help="print the resolved plan with counts and an estimate, and stop")
    add("--overwrite", action="store_true", help="replace the results in the run folder")
    parser.set_defaults(handler=_stage, stage=stage)


def _stage(arguments: argparse.Namespace) -> None:
    from lrpo_bench.arguments import config_of
    from lrpo_bench.commands import stages_console

    stages_console.run_stage(config_of(arguments), arguments)
