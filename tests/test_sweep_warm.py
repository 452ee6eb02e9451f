"""Cells forked from a process that has imported everything: the same bytes, and what one breaks harms no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import forkserver
from pathlib import Path
from types import ModuleType

import pytest
from test_sweep import mock_sweep, run, states

from lrpo_bench.results.store import read_manifest
from lrpo_bench.sweeps import warm
from lrpo_bench.sweeps.engines import Job, LocalEngine

pytestmark = pytest.mark.skipif(not warm.can_fork(), reason="cells are not forked here")


def parent_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("PPid"))


def test_a_forked_cell_writes_what_a_new_process_writes(tmp_path):
    found = {}
    for name, is_warm in (("warm", True), ("cold", False)):
        sweep = mock_sweep(tmp_path / name, grid={"seed": [0]})
        assert states(run(sweep, LocalEngine(1, warm=is_warm))) == {"seed0": "complete"}
        folder = sweep.cells[0].folder
        found[name] = [(folder / "before" / part).read_bytes() for part in ("responses.parquet", "metrics.json")]
        assert read_manifest(folder).command[:2] == ("lrpo-bench", "run")
    assert found["warm"] == found["cold"]


def test_a_killed_cell_harms_neither_the_server_nor_the_others(tmp_path):
    servers = []

    class Killing(LocalEngine):
        def start(self, job):
            handle = super().start(job)
            servers.append(parent_of(handle.pid))
            if "seed0" in job.log:
                os.kill(handle.pid, signal.SIGKILL)
            return handle

    found = run(mock_sweep(tmp_path / "o"), Killing(2, warm=True))
    assert states(found) == {"seed0": "failed", "seed1": "complete"}
    assert read_manifest(tmp_path / "o" / "seed0").reason.startswith("killed by signal 9")
    assert len(set(servers)) == 1 and servers[0] != os.getpid(), "both are children of one server"
    threads = {path.joinpath("comm").read_text().strip() for path in Path(f"/proc/{servers[0]}/task").iterdir()}
    others = threads - {Path(f"/proc/{servers[0]}/comm").read_text().strip(), "jemalloc_bg_thd"}
    assert not others, "a fork would lose them; jemalloc begins its own again"


def test_a_wrong_cell_ends_with_its_line_and_code(tmp_path, monkeypatch):
    """Also where the sweep is begun by a script without a guard, which must not run again in the cell."""
    log, script = tmp_path / "log", ModuleType("__main__")
    script.__file__ = str(tmp_path / "script.py")
    Path(script.__file__).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit(3)")
    monkeypatch.setitem(sys.modules, "__main__", script)
    engine = LocalEngine(1, warm=True)
    command = (sys.executable, "-m", "lrpo_bench", "run", "--config", str(tmp_path / "none.yaml"))
    handle = engine.start(Job(command, str(log), str(tmp_path), 1))
    assert sys.modules["__main__"] is script
    handle.join(120)
    assert engine.poll(handle) == 2 and not (tmp_path / "ran").exists()
    assert log.read_text().startswith("lrpo-bench: config file") and "does not exist" in log.read_text()


def test_an_interrupt_reaches_forked_cells_once(tmp_path):
    """A cell that evaluates the embedded model is asked to stop while it does, and says so."""
    engine = LocalEngine(1, warm=True)
    options = ["--model", "embedded:default", "--tasks", "arithmetic", "--out", str(tmp_path / "run")]
    log = tmp_path / "log"
    handle = engine.start(Job((sys.executable, "-m", "lrpo_bench", "eval", *options), str(log), str(tmp_path), 1))
    assert os.getsid(handle.pid) in (handle.pid, os.getsid(0))  # its own, as soon as it runs
    while not (tmp_path / "run" / "manifest.json").exists():
        assert engine.poll(handle) is None, log.read_text()
        time.sleep(0.1)
    assert os.getsid(handle.pid) == handle.pid
    engine.stop([handle])
    assert engine.poll(handle) == 130
    assert "interrupted; what is done is kept" in log.read_text()


def test_the_server_of_a_sweep_that_ignores_interrupts_does_not_hand_that_down(monkeypatch):
    """Forks take signals as the server did when it began, so it must begin with interrupts as Python has them."""
    code = "import signal, sys; sys.exit(7 if signal.getsignal(signal.SIGINT) is signal.default_int_handler else 1)"
    found = []
    monkeypatch.setattr(warm, "_context", None)
    monkeypatch.setattr(
        forkserver, "ensure_running", lambda: found.append(subprocess.run([sys.executable, "-c", code]).returncode)
    )
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        warm._server({})
        assert found == [7] and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, old)


def test_other_commands_and_machines_with_devices_get_new_processes(tmp_path, monkeypatch):
    engine = LocalEngine(1, warm=True)
    handle = engine.start(Job((sys.executable, "-c", "print(7)"), str(tmp_path / "log"), str(tmp_path), 1))
    assert handle.wait() == 0 and engine.poll(handle) == 0
    assert (tmp_path / "log").read_text() == "7\n"
    monkeypatch.setattr(warm, "_DEVICES", (str(tmp_path),))
    assert not warm.can_fork()
