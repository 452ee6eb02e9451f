"""`lrpo-bench compare`, `report` and `power`: reading finished evaluations."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_compare(commands: Any) -> None:
    """Adds the parser of `compare`."""
    text = "paired differences between evaluations, per task, language and metric"
    parser = commands.add_parser("compare", help=text, description=f"{text}; the first run is the baseline")
    add = parser.add_argument
    runs = "run folders, or RUN/before or RUN/after; of one run alone, its own before and after"
    add("runs", type=Path, nargs="+", metavar="RUN", help=runs)
    add("--intersect", action="store_true", help="compare only the questions that all of them have")
    add("--format", choices=("terminal", "markdown", "latex", "csv", "json"), default="terminal")
    add("--metrics", metavar="NAMES", help="metrics to show, separated by commas, or all (the main one of each task)")
    add("--flips", type=int, default=0, metavar="N", help="show up to N questions won and N lost of each task (0)")
    parser.set_defaults(handler=_compare)


def add_report(commands: Any) -> None:
    """Adds the parser of `report`."""
    text = "write report.html of a run folder"
    parser = commands.add_parser("report", help=text, description=text)
    parser.add_argument("run", type=Path)
    parser.set_defaults(handler=_report)


def add_power(commands: Any) -> None:
    """Adds the parser of `power`."""
    text = "the smallest difference a finished evaluation can see, and how many questions a wanted one takes"
    parser = commands.add_parser("power", help=text, description=text)
    parser.add_argument("run", type=Path, help="a run folder, or RUN/before or RUN/after")
    parser.add_argument("--effect", type=float, default=0.01, help="the wanted difference, in [0, 1] (0.01)")
    parser.add_argument("--power", type=float, default=0.8, help="probability with which it is to be found (0.8)")
    parser.add_argument("--format", choices=("terminal", "markdown"), default="terminal")
    parser.set_defaults(handler=_power)


def _compare(arguments: argparse.Namespace) -> None:
    from lrpo_bench.commands.compare_console import compare_command

    compare_command(arguments)


def _report(arguments: argparse.Namespace) -> None:
    from lrpo_bench.commands import stages_console

    stages_console.report_run(arguments.run)


def _power(arguments: argparse.Namespace) -> None:
    from lrpo_bench.commands import stages_console

    stages_console.print_power(arguments.run, arguments.effect, arguments.power, arguments.format)
