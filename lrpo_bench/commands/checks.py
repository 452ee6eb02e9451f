"""`lrpo-bench verify` and `reproduce`: options of both."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_verify(commands: Any) -> None:
    """Adds the parser of `verify`."""
    text = "check that run folders are whole and unchanged, and that their metrics are what their responses give"
    parser = commands.add_parser("verify", help=text, description=f"{text}; exit code 2 where one is not")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--format", choices=("terminal", "json"), default="terminal")
    parser.set_defaults(handler=_verify)


def add_reproduce(commands: Any) -> None:
    """Adds the parser of `reproduce`."""
    text = "make a run again from its manifest, and say of each number whether it came out the same"
    parser = commands.add_parser("reproduce", help=text, description=f"{text}; exit code 2 where one is different")
    add = parser.add_argument
    add("run", type=Path)
    add("--out", type=Path, help="the new run's folder (RUN-reproduced)")
    add("--model", help="where the model is now; its weights must have the recorded hash")
    add("--data", action="append", default=[], metavar="TASK=PATH", help="where a task's data is now")
    add("--tasks-dir", type=Path, action="append", default=[], help="where an extra folder of tasks is now")
    add("--force", action="store_true", help="go on although data, prompts or weights are not those of the run")
    add("--all", action="store_true", help="print every number, not only those that are not identical")
    add("--format", choices=("terminal", "json"), default="terminal")
    parser.set_defaults(handler=_reproduce)


def _verify(arguments: argparse.Namespace) -> int:
    from lrpo_bench.commands.checks_console import verify_command

    return verify_command(arguments)


def _reproduce(arguments: argparse.Namespace) -> int:
    from lrpo_bench.commands.checks_console import reproduce_command

    return reproduce_command(arguments)
