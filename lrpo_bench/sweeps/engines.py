"""Where the cells of a sweep run: processes of this machine, or tasks of a Ray cluster.

Every cell is a process of its own, so that a crash, a leak or a library's global state ends with it: `python -m
lrpo_bench run --config CELL.yaml`, or on this machine a fork of a process that has only imported what that needs
(`sweeps.warm`). A cluster must share the file system that the sweep's folder lies on, and have lrpo-bench installed at
the same place. Ray shows each cell the accelerators that it was given; one that declares none sees none, so that two
cells never meet on a device by chance.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lrpo_bench.errors import ConfigError
from lrpo_bench.machine import available_cores
from lrpo_bench.sweeps.interrupts import heard_by_children
from lrpo_bench.sweeps.warm import argv_of, can_fork, start, stop

_STOP_S = 60.0  # a cell that is asked to stop may be writing a checkpoint
_LOOK_S = 0.2
_NO_GPUS = (("CUDA_VISIBLE_DEVICES", ""), ("HIP_VISIBLE_DEVICES", ""))


@dataclass(frozen=True, slots=True)
class Job:
    """A process to run, as values that can be sent to another machine."""

    command: tuple[str, ...]
    log: str
    cwd: str
    threads: int
    env: tuple[tuple[str, str], ...] = ()
    """Variables that the process has beside those of whoever starts it."""

    def environment(self) -> dict[str, str]:
        """The variables of the process."""
        return {**os.environ, **_thread_limits(self.threads), "PYTHONUNBUFFERED": "1", **dict(self.env)}

    def run(self) -> subprocess.Popen[bytes]:
        """The process, started; its output is appended to the log."""
        with Path(self.log).open("ab") as log, heard_by_children():
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.cwd,
                env=self.environment(),
                start_new_session=True,  # Ctrl-C reaches the sweep alone, which then interrupts each cell once
            )


class Engine(Protocol):
    """What runs jobs."""

    slots: int
    """How many jobs run at a time."""
    threads: int
    """Compute threads of each."""

    def start(self, job: Job) -> Any:
        """Starts a job; returns a handle."""
        ...

    def poll(self, handle: Any) -> int | None:
        """The exit code of a job, None while it runs."""
        ...

    def stop(self, handles: Sequence[Any]) -> None:
        """Asks jobs to stop, and waits for them."""
        ...


def cell_command(config: Path) -> tuple[str, ...]:
    """The command that runs one cell, with this interpreter."""
    return (sys.executable, "-m", "lrpo_bench", *shown_command(config)[1:])


def shown_command(config: Path) -> tuple[str, ...]:
    """The same command as a manifest records it, for any machine."""
    return ("lrpo-bench", "run", "--config", str(config))


class LocalEngine:
    """At most `workers` processes of this machine, which share its cores evenly."""

    def __init__(self, workers: int, *, warm: bool | None = None) -> None:
        """`warm` forks cells from a process that has imported everything (`sweeps.warm`), where that can be done."""
        if workers < 1:
            raise ConfigError(f"--workers must be at least 1, got {workers}")
        self.slots = workers
        self.threads = max(1, available_cores() // workers)
        self.warm = can_fork() if warm is None else warm

    def start(self, job: Job) -> Any:
        """The started process."""
        argv = argv_of(job.command) if self.warm else None
        return job.run() if argv is None else start(argv, job.log, job.cwd, job.environment())

    def poll(self, handle: Any) -> int | None:
        """The exit code, None while it runs."""
        return handle.poll() if isinstance(handle, subprocess.Popen) else handle.exitcode

    def stop(self, handles: Sequence[Any]) -> None:
        """Interrupts the processes, so that they can mark their runs; kills them after a minute."""
        _stop([handle for handle in handles if isinstance(handle, subprocess.Popen)])
        stop([handle for handle in handles if not isinstance(handle, subprocess.Popen)])


class RayEngine:
    """Jobs as tasks of a Ray cluster: the one at RAY_ADDRESS, one that was joined already, or a local one.

    A local one is begun without a dashboard, and says nothing about its use to anyone.
    """

    def __init__(self, cpus: int = 1, gpus: float = 0.0, workers: int | None = None) -> None:
        if cpus < 1 or gpus < 0:
            raise ConfigError(f"a cell needs at least one CPU and no fewer than 0 GPUs, got {cpus} and {gpus}")
        if workers is not None and workers < 1:
            raise ConfigError(f"--workers must be at least 1, got {workers}")
        self._ray = _import_ray()
        if not self._ray.is_initialized():
            _join_or_begin(self._ray)
        have = self._ray.cluster_resources()
        fits = int(have.get("CPU", 0) // cpus)
        if gpus:
            fits = min(fits, int(have.get("GPU", 0) / gpus))
        if not fits:
            raise ConfigError(
                f"the Ray cluster has {have.get('CPU', 0):g} CPUs and {have.get('GPU', 0):g} GPUs, and a cell asks for "
                f"{cpus} and {gpus:g}; lower --cpus-per-cell or --gpus-per-cell"
            )
        self.slots = min(fits, workers) if workers else fits
        self.threads = cpus
        self._env = () if gpus else _NO_GPUS
        # A cell continues from its folder when the sweep is run again; a retry by Ray would hide the crash.
        self._task = self._ray.remote(_run_to_end).options(num_cpus=cpus, num_gpus=gpus, max_retries=0)

    def start(self, job: Job) -> tuple[Any, str]:
        """A reference to the task's exit code, and the job's log."""
        return self._task.remote(dataclasses.replace(job, env=(*job.env, *self._env))), job.log

    def poll(self, handle: tuple[Any, str]) -> int | None:
        """The exit code, None while it runs; 1 where Ray lost the task, whose log then ends with Ray's reason."""
        task, log = handle
        ready, _ = self._ray.wait([task], timeout=0)
        if not ready:
            return None
        try:
            return int(self._ray.get(task))
        except self._ray.exceptions.RayError as error:
            with Path(log).open("a", encoding="utf-8") as file:
                file.write(f"\nRay lost the cell: {type(error).__name__}: {' '.join(str(error).split())}\n")
            return 1

    def stop(self, handles: Sequence[tuple[Any, str]]) -> None:
        """Cancels the tasks, which interrupts their cells' processes."""
        tasks = [task for task, _ in handles]
        for task in tasks:
            self._ray.cancel(task)
        self._ray.wait(tasks, num_returns=len(tasks), timeout=_STOP_S)


def _thread_limits(threads: int) -> dict[str, str]:
    # numpy and torch read the first, lingua the second; a smaller value of the user's own stands.
    limits = {}
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        own = os.environ.get(name, "")
        limits[name] = str(min(threads, int(own)) if own.isdigit() and int(own) else threads)
    return limits


def _join_or_begin(ray: Any) -> None:
    """Joins the cluster at RAY_ADDRESS, or begins a local one."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(log_to_driver=False, include_dashboard=False)
    except ConnectionError as error:
        where = os.environ.get("RAY_ADDRESS", "this machine")
        raise ConfigError(f"no Ray cluster answers at {where}: {' '.join(str(error).split())[:200]}") from error


def _run_to_end(job: Job) -> int:
    # Ray's workers block the interrupt that stops a cell, and a process begins with the mask of its parent's thread.
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    process = job.run()
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    try:
        # Ray cancels by a flag that Python looks at between instructions: it would not end a wait for the process.
        while (code := process.poll()) is None:
            time.sleep(_LOOK_S)
        return code
    except BaseException:  # a cancelled task: its cell must not outlive it
        _stop([process])
        raise


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    for process in processes:
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _import_ray() -> Any:
    try:
        import ray  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise ConfigError(
            "--engine ray needs the package ray, which is not installed; pip install 'lrpo-bench[ray]', "
            "or leave --engine out to run on this machine"
        ) from error
    return ray
