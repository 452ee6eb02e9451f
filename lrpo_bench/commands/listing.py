"""`lrpo-bench list`: tasks, methods and embedded models."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add_list(commands: Any) -> None:
    """Adds the parser of `list`."""
    parser = commands.add_parser("list", help="tasks, methods and embedded models")
    parser.add_argument("what", nargs="?", choices=("methods",), help="methods: their sources, what departs from them")
    parser.add_argument("--format", choices=("terminal", "markdown"), default="terminal", help="of `list methods`")
    parser.add_argument("--tasks-dir", type=Path, action="append", default=[], help="an extra folder of tasks")
    parser.set_defaults(handler=_list)


def _list(arguments: argparse.Namespace) -> None:
    from lrpo_bench.tasks.registry import list_tasks
    from lrpo_bench.training.methods import METHODS, methods_markdown, methods_text
    from lrpo_bench.world import shipped_profiles

    write = sys.stdout.write
    if arguments.what == "methods":
        write(methods_markdown() if arguments.format == "markdown" else methods_text())
        return
    write("tasks\n")
    for info in list_tasks(arguments.tasks_dir):
        variants = ", ".join(info.variants)
        write(f"  {info.name:<18}{info.title} [{len(info.languages)} languages; variants: {variants}]\n")
    write("methods\n")
    for method in METHODS.values():
        write(f"  {method.name:<32}{method.title}\n")
    write("embedded models\n")
    for name in shipped_profiles():
        write(f"  embedded:{name}\n")
