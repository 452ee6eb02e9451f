"""`lrpo-bench sweep`, `leaderboard`, `summary` and `slim`: many runs at once."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add_sweep(commands: Any) -> None:
    """Adds the parser of `sweep`."""
    text = "many runs from one file: methods x seeds x models, resumable, one folder each"
    parser = commands.add_parser("sweep", help=text, description=text)
    add = parser.add_argument
    add("file", type=Path, help="a YAML file with base, grid, cells, names and out")
    add("--out", type=Path, help="the folder for all cells (out)")
    add("--workers", type=int, help="cells at a time (1; with --engine ray, what the cluster has room for)")
    add("--retry-failed", action="store_true", help="try cells again that failed")
    add("--engine", choices=("local", "ray"), default="local", help="processes here, or tasks of a Ray cluster")
    add("--cpus-per-cell", type=int, help="CPUs of a cell on the cluster (1)")
    add("--gpus-per-cell", type=float, help="GPUs of a cell on the cluster (0)")
    add("--slim", action="store_true", help="at the end, drop from finished cells what `lrpo-bench slim` drops")
    add("--dry-run", action="store_true", help="list the cells and what is done of them, and stop")
    parser.set_defaults(handler=_sweep)


def add_leaderboard(commands: Any) -> None:
    """Adds the parser of `leaderboard`."""
    text = "all runs below a folder as a web page, Markdown and CSV"
    parser = commands.add_parser("leaderboard", help=text, description=text)
    parser.add_argument("results", type=Path, help="a folder of runs, such as a sweep's")
    parser.add_argument("--out", type=Path, help="the folder to write into (RESULTS)")
    parser.add_argument("--title", help="of the page (the folder's name)")
    parser.set_defaults(handler=_leaderboard)


def add_summary(commands: Any) -> None:
    """Adds the parser of `summary`."""
    text = "methods x models over seeds, and differences from one method, of all runs below a folder"
    parser = commands.add_parser("summary", help=text, description=text)
    parser.add_argument("results", type=Path, help="a folder of runs, such as a sweep's")
    parser.add_argument("--against", metavar="METHOD", help="what methods are compared with (grpo, if it was run)")
    parser.add_argument("--all", action="store_true", help="with markdown, also every language and pair of methods")
    parser.add_argument("--format", choices=("markdown", "csv", "json"), default="markdown")
    parser.set_defaults(handler=_summary)


def add_slim(commands: Any) -> None:
    """Adds the parser of `slim`."""
    text = "drop from finished runs what no number rests on: rollouts, weights, checkpoints, pages"
    parser = commands.add_parser("slim", help=text, description=f"{text}; what stays still verifies")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders, or folders of runs")
    parser.add_argument(
        "--keep", action="append", default=[], metavar="PARTS", help="of rollouts, model, checkpoints, pages"
    )
    parser.set_defaults(handler=_slim)


def _sweep(arguments: argparse.Namespace) -> int:
    from lrpo_bench.sweeps.console import sweep_command

    return sweep_command(arguments)


def _leaderboard(arguments: argparse.Namespace) -> None:
    from lrpo_bench.results.leaderboard import write_leaderboard

    for path in write_leaderboard(arguments.results, arguments.out, arguments.title):
        sys.stdout.write(f"{path}\n")


def _summary(arguments: argparse.Namespace) -> None:
    from lrpo_bench.commands.folders_console import summary_command

    summary_command(arguments)


def _slim(arguments: argparse.Namespace) -> None:
    from lrpo_bench.commands.folders_console import slim_command

    slim_command(arguments)
