"""`lrpo-bench export` and `import`: options of both."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_export(commands: Any) -> None:
    """Adds the parser of `export`."""
    text = "write a run's evaluation in a format that others read"
    parser = commands.add_parser("export", help=text, description=text)
    add = parser.add_argument
    add("run", type=Path, help="a run folder, or RUN/before or RUN/after")
    add("--format", choices=("lm-eval", "every-eval-ever", "datasets", "model-index"), required=True)
    add("--out", type=Path, required=True, help="what to write: a folder, or a .parquet, .jsonl, .yaml or .md file")
    add("--name", metavar="ORG/MODEL", help="what the model is called (its hub id, or lrpo-bench/RUN)")
    parser.set_defaults(handler=_export)


def add_import(commands: Any) -> None:
    """Adds the parser of `import`."""
    text = "make a run of lm-eval's results and samples (--log_samples), for compare, leaderboard and report"
    parser = commands.add_parser("import", help=text, description=text)
    add = parser.add_argument
    add("path", type=Path, help="results_*.json, or the folder that lm-eval wrote")
    add("--format", choices=("lm-eval",), required=True)
    add("--out", type=Path, required=True, help="the run folder to make")
    language = "language of a task that does not say it"
    add("--language", action="append", default=[], metavar="TASK=LANG", help=language)
    add("--as", dest="join", metavar="NAME", help="one task of this name, with the language of each (one a task)")
    add("--parallel", action="store_true", help="documents of equal number are translations; with --as")
    add("--metric", metavar="METRIC,FILTER", help="what counts as right (each task's first, under its last filter)")
    detector = "tells the language of responses: as eval.detector, or none (auto)"
    add("--detector", default="auto", help=detector)
    add("--seed", type=int, help="of the evaluation, where the file does not say")
    parser.set_defaults(handler=_import)


def _export(arguments: argparse.Namespace) -> None:
    from lrpo_bench.commands.exchange_console import export_command

    export_command(arguments)


def _import(arguments: argparse.Namespace) -> None:
    from lrpo_bench.commands.exchange_console import import_command

    import_command(arguments)
