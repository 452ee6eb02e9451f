"""`lrpo-bench sweep` in a terminal: a live table of cells, one line a cell in a log, the summary at the end."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lrpo_bench.errors import ConfigError
from lrpo_bench.sweeps.cells import progress_of, read_state
from lrpo_bench.sweeps.engines import Engine, LocalEngine, RayEngine
from lrpo_bench.sweeps.file import Sweep, load_sweep
from lrpo_bench.sweeps.runner import POLL_S, CellRow, SweepRun, interruptible

EXIT_FAILED_CELLS = 1
_LOG_WIDTH = 140  # a file has no width, and 80 characters would cut the tables
_STYLES = {"complete": "green", "running": "bold", "failed": "red", "refused": "red", "waiting": "dim"}
_RESERVED_LINES = 8  # of the terminal, for the title, the header, the counts and the prompt


def sweep_command(arguments: argparse.Namespace) -> int:
    """Carries out `lrpo-bench sweep`; returns 1 where a cell failed, so that scripts notice."""
    sweep = load_sweep(arguments.file, arguments.out)
    console = Console(width=None if sys.stdout.isatty() else _LOG_WIDTH)
    if arguments.dry_run:
        _print_plan(sweep, console)
        return 0
    run = SweepRun(sweep, _engine(arguments), retry_failed=arguments.retry_failed)
    with interruptible():
        watch(run, Console(stderr=True))
    console.print(cells_table(run.rows))
    for row in run.rows:
        if row.reason:
            console.print(f"{row.status}: {row.cell.name}: {row.reason}", markup=False, highlight=False, soft_wrap=True)
    _print_hint(run.rows, console)
    _print_summary(sweep, run.rows, console)
    if arguments.slim:
        _slim(run.rows, console)
    return EXIT_FAILED_CELLS if any(row.status in ("failed", "refused") for row in run.rows) else 0


def watch(run: SweepRun, console: Console) -> None:
    """Steps a sweep until nothing is left to do; an interrupt stops its cells, which keep what they have."""
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
    try:
        if live:
            live.start()
        while not run.is_done:
            for row in run.step():
                if not live:
                    console.print(_line(row), markup=False, highlight=False, soft_wrap=True)
            if live:
                live.update(_view(run.rows, console.height - _RESERVED_LINES), refresh=True)
            time.sleep(POLL_S)
        run.finish()
    except KeyboardInterrupt:
        run.stop()
        raise
    finally:
        if live:
            live.stop()


def cells_table(rows: Sequence[CellRow]) -> Table:
    """One row a cell."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("cell", "status", "progress", "seconds", "headline"):
        table.add_column(name, justify="left" if name in ("cell", "status", "progress") else "right", no_wrap=True)
    for row in rows:
        progress = progress_of(row.cell, row.plan.n_responses)[0] if row.status in ("running", "stopped") else ""
        if row.shared_from and row.status == "complete":
            progress = f"before from {row.shared_from}"
        seconds = "" if row.seconds is None else f"{row.seconds:.0f}"
        status = "running elsewhere" if row.status == "elsewhere" else row.status
        cells = (row.cell.name, status, progress, seconds, row.headline)
        table.add_row(*(Text(cell, style=_STYLES.get(row.status, "")) for cell in cells))
    return table


def _view(rows: Sequence[CellRow], room: int) -> Group:
    counts = Counter(row.status for row in rows)
    footer = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    shown = list(rows)
    if len(shown) > max(4, room):  # what moves first, then what ended last
        order = ("running", "failed", "refused", "elsewhere", "complete", "stopped", "waiting")
        shown = sorted(shown, key=lambda row: order.index(row.status))[: max(4, room)]
    return Group(cells_table(shown), Text(f"{len(rows)} cells: {footer}", style="dim"))


def _line(row: CellRow) -> str:
    seconds = "" if row.seconds is None else f" in {row.seconds:.0f} s"
    tail = f": {row.reason}" if row.reason else f": {row.headline}" if row.headline else ""
    return f"{row.cell.name} {row.status}{seconds}{tail}"


def _print_plan(sweep: Sweep, console: Console) -> None:
    """The cells and what is done of them; reads no data and loads no model."""
    table = Table(box=box.SIMPLE_HEAD, title=f"{len(sweep.cells)} cells in {sweep.out}")
    for name in ("cell", "model", "method", "seed", "status"):
        table.add_column(name, no_wrap=True)
    for cell in sweep.cells:
        config, state = cell.config, read_state(cell)
        status = f"{state.status}: {state.reason}" if state.reason else state.status
        table.add_row(*map(Text, (cell.name, config.model.name, config.train.method, str(config.seed), status)))
    console.print(table)


def _print_hint(rows: Sequence[CellRow], console: Console) -> None:
    counts = Counter(row.status for row in rows)
    if counts["failed"]:
        console.print(f"{counts['failed']} cells failed; --retry-failed tries them again", highlight=False)
    if counts["elsewhere"]:
        console.print(f"{counts['elsewhere']} cells are running elsewhere; run again when they end", highlight=False)


def _print_summary(sweep: Sweep, rows: Sequence[CellRow], console: Console) -> None:
    if not any(row.status == "complete" for row in rows):
        return
    from lrpo_bench.results.leaderboard import write_leaderboard
    from lrpo_bench.results.study_table import study_tables, study_terminal
    from lrpo_bench.results.sweep_summary import sweep_summary
    from lrpo_bench.results.sweep_summary_text import summary_tables, write_summary

    summary = sweep_summary(sweep.out)
    for table in [*study_terminal(study_tables(summary)), *summary_tables(summary)]:
        console.print(table)
    for note in summary.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    for path in write_summary(summary, sweep.out):
        sys.stdout.write(f"summary      {path}\n")
    sys.stdout.write(f"leaderboard  {write_leaderboard(sweep.out)[0]}\n")


def _slim(rows: Sequence[CellRow], console: Console) -> None:
    from lrpo_bench.results.slim import slim_run

    found = [slim_run(row.cell.folder) for row in rows if row.status == "complete"]
    before, after = (sum(sizes) / 1e6 for sizes in ([f.bytes_before for f in found], [f.bytes_after for f in found]))
    console.print(f"{len(found)} cells slimmed: {before:.1f} MB to {after:.1f} MB", highlight=False)


def _engine(arguments: argparse.Namespace) -> Engine:
    if arguments.engine == "ray":
        return RayEngine(arguments.cpus_per_cell or 1, arguments.gpus_per_cell or 0.0, arguments.workers)
    if arguments.gpus_per_cell is not None or arguments.cpus_per_cell is not None:
        raise ConfigError("--gpus-per-cell and --cpus-per-cell are for --engine ray; here cells share this machine")
    return LocalEngine(1 if arguments.workers is None else arguments.workers)
