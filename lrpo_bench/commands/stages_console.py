"""What the commands do once their arguments are read: plan, execute, print.

What only some of them need is imported where it is needed: comparisons, intervals and figures take a second to load.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from lrpo_bench.config import RunConfig
from lrpo_bench.console import ConsoleReporter
from lrpo_bench.pipeline import execute, is_main_process
from lrpo_bench.plan import Plan, make_plan
from lrpo_bench.results.schema import EVALUATIONS, Evaluation
from lrpo_bench.results.store import read_run
from lrpo_bench.results.summary import evaluation_tables


def run_stage(config: RunConfig, arguments: argparse.Namespace) -> None:
    """Carries out `eval`, `train` or `run`, and prints its result."""
    plan = make_plan(config, train=arguments.stage != "eval")
    if arguments.dry_run:
        from lrpo_bench.estimate import describe

        sys.stdout.write(describe(plan, arguments.stage))
        return
    folder = execute(plan, arguments.stage, arguments.command, ConsoleReporter(), overwrite=arguments.overwrite)
    if is_main_process():
        _print_result(plan, folder)


def _print_result(plan: Plan, folder: Path) -> None:
    from lrpo_bench.results.report import write_report

    run = read_run(folder)
    console = Console()
    if run.before is not None and run.after is not None:
        from lrpo_bench.commands.compare_console import print_comparisons
        from lrpo_bench.results.compare import compare

        print_comparisons([compare(run.before, run.after)], console)
    elif run.before is not None:
        for table in evaluation_tables(run.before):
            console.print(table)
    report = write_report(folder)
    console.print(f"results  {folder}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"report   {report}", markup=False, highlight=False, soft_wrap=True)


def load_evaluation(path: Path) -> Evaluation:
    """The evaluation at RUN/before or RUN/after, or a run's last one."""
    from lrpo_bench.results.named import named_evaluation

    return named_evaluation(path).evaluation


def print_power(path: Path, effect: float, power: float, output: str) -> None:
    """Prints what a run's evaluation, or the difference between its two, can tell apart."""
    from lrpo_bench.results.power import power_markdown, power_of, power_tables

    run = None if path.name in EVALUATIONS else read_run(path)
    both = () if run is None else tuple(e for e in (run.before, run.after) if e is not None)
    found = power_of(both if len(both) == 2 else (load_evaluation(path),), effect, power)
    if output == "markdown":
        sys.stdout.write(power_markdown(found, effect, power))
        return
    for table in power_tables(found, effect, power):
        Console().print(table)


def report_run(folder: Path) -> None:
    """Writes the report of a run folder again and prints where it is."""
    from lrpo_bench.results.report import write_report

    sys.stdout.write(f"{write_report(folder)}\n")
