"""Cells of a sweep that begin with everything imported: forks of one process that has loaded the libraries once.

A cell spends some seven seconds of processor time on imports and on lingua's models, nearly half of what a short one
takes. Here a server process, which does nothing else, loads them and forks a child for each cell; their memory is
shared as well. A cell is still a process of its own: what it breaks, leaks or is killed by ends with it, and the server
has run none of it.

Only on Linux machines without an accelerator: a driver that was started before a fork can not be used after it. No
policy is loaded before the fork, and no thread started but an allocator's own, which survives it.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Any

from lrpo_bench.sweeps.interrupts import heard_by_children

MODULES = (
    *(
        "torch",
        "transformers",
        "transformers.models.llama.modeling_llama",
        "datasets",
        "trl",
        "pandas",
        "scipy.special",
    ),
    *("lingua", "sacrebleu", "pyarrow.parquet", "matplotlib.figure"),
    *(
        "lrpo_bench.commands.stages_console",
        "lrpo_bench.commands.compare_console",
        "lrpo_bench.models.hf",
        "lrpo_bench.results.report",
    ),
    *("lrpo_bench.training.run", "lrpo_bench.training.logs", "lrpo_bench.training.offline.rollouts"),
)
"""What a run of a small model has loaded when it ends; another model's code is loaded by its cell."""
_MODULE_PREFIX = ("-m", "lrpo_bench")
_DEVICES = (
    *("/dev/nvidiactl", "/dev/nvhost-ctrl", "/dev/dxg"),  # a card, a Tegra, a card behind Windows' own Linux
    *("/dev/kfd", "/dev/dri/renderD128", "/dev/accel0"),
)
_STOP_S = 60.0

_context: ForkServerContext | None = None


def can_fork() -> bool:
    """Whether this machine's cells may be forks."""
    return sys.platform == "linux" and not any(Path(device).exists() for device in _DEVICES)


def argv_of(command: Sequence[str]) -> list[str] | None:
    """What `main` takes of a command that runs lrpo-bench with this interpreter; None of any other.

    Example:
        >>> argv_of((sys.executable, "-m", "lrpo_bench", "run", "--config", "a.yaml"))
        ['run', '--config', 'a.yaml']
        >>> argv_of(("true",)) is None
        True
    """
    ours = (sys.executable, *_MODULE_PREFIX)
    return list(command[len(ours) :]) if tuple(command[: len(ours)]) == ours else None


def start(argv: Sequence[str], log: str, cwd: str, env: dict[str, str]) -> ForkServerProcess:
    """A started process that runs `main(argv)` and appends what it says to `log`."""
    process = _server(env).Process(target=_run, args=(list(argv), log, cwd, env))
    with _without_main():
        process.start()
    return process


@contextmanager
def _without_main() -> Iterator[None]:
    """A block in which new processes are told of no main module.

    They would import it, need nothing of it, and begin the sweep again where it is a script without a guard.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _server(env: dict[str, str]) -> ForkServerContext:
    """The server, begun with the first cell's environment: libraries read thread limits when they are loaded."""
    global _context
    if _context is None:
        _context = multiprocessing.get_context("forkserver")
        _context.set_forkserver_preload([f"{__name__}_preload"])
        kept = dict(os.environ)
        try:
            os.environ.update(env)
            from multiprocessing import forkserver

            with heard_by_children():  # the server itself ignores interrupts, and forks take them as it did
                forkserver.ensure_running()
        finally:
            os.environ.clear()
            os.environ.update(kept)
    return _context


def preload() -> None:
    """Imports what cells need, in the server."""
    from lrpo_bench.cli import _quiet_libraries

    _quiet_libraries()
    for name in MODULES:
        importlib.import_module(name)
    _load_lingua()


def _load_lingua() -> None:
    """Loads lingua's models of the common languages in Latin script, which are the process's, not a detector's.

    By a call that starts no threads: those of the parallel one would be missing in the cells.
    """
    from lingua import LanguageDetectorBuilder

    from lrpo_bench.language_id.detectors import lingua_languages
    from lrpo_bench.language_id.registry import COMMON_LANGUAGES

    known = lingua_languages()
    detector = LanguageDetectorBuilder.from_languages(*(known[code] for code in COMMON_LANGUAGES)).build()
    detector.compute_language_confidence_values("Tom has twelve apples and buys five more.")


def _run(argv: list[str], log: str, cwd: str, env: dict[str, str]) -> None:
    os.setsid()  # Ctrl-C reaches the sweep alone, which then interrupts each cell once
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for number in (1, 2):
        os.dup2(output, number)
    os.close(output)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    import torch

    torch.set_num_threads(int(env["OMP_NUM_THREADS"]))  # the server's were the first cell's
    from lrpo_bench.cli import main

    sys.exit(main(argv))


def stop(processes: Sequence[Any]) -> None:
    """Interrupts processes, so that they can mark their runs; kills them after a minute."""
    for process in processes:
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGINT)
    for process in processes:
        process.join(_STOP_S)
        if process.exitcode is None:
            process.kill()
            process.join()
