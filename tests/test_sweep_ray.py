"""Cells on a local Ray of two workers: the same bytes as here, reasons kept, devices declared, killed and continued."""

import importlib.util
import io
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from rich.console import Console

from lrpo_bench.errors import ConfigError
from lrpo_bench.results.store import read_manifest, read_run
from lrpo_bench.sweeps.cells import read_state
from lrpo_bench.sweeps.console import watch
from lrpo_bench.sweeps.engines import _NO_GPUS, Job, LocalEngine, RayEngine
from lrpo_bench.sweeps.file import load_sweep, parse_sweep
from lrpo_bench.sweeps.runner import SweepRun

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of Ray's own
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed"),
]
MOCK = {
    "model": {"name": "mock"},
    "tasks": [{"name": "arithmetic", "limit": 3, "languages": ["de", "en"]}],
    "eval": {"draws": 2, "draw_limit": 2},
    "train": {"method": "vanilla"},
}


@pytest.fixture(scope="module")
def local_ray():
    """Two CPUs and two pretended GPUs."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, num_gpus=2, log_to_driver=False, include_dashboard=False)
    yield ray
    ray.shutdown()


def sweep_of(out, **sections):
    return parse_sweep({"out": out, "base": MOCK, "grid": {"seed": [0, 1]}, **sections})


def run(sweep, engine):
    found = SweepRun(sweep, engine)
    watch(found, Console(file=io.StringIO()))
    return {row.cell.name: (row.status, row.reason) for row in found.rows}


def wait_for(engine, handle, seconds=60.0):
    deadline = time.monotonic() + seconds
    while (code := engine.poll(handle)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return code


def test_cells_are_those_of_this_machine_to_the_byte_and_a_failed_one_keeps_its_reason(local_ray, tmp_path, capsys):
    sections = {"cells": {"broken": {"eval.detector": "no-such-detector", "seed": 0}}}
    engine = RayEngine(cpus=1)
    assert engine.slots == 2
    on_ray = run(sweep_of(tmp_path / "ray", **sections), engine)
    here = run(sweep_of(tmp_path / "here", **sections), LocalEngine(1))
    assert on_ray == here
    assert [status for status, _ in on_ray.values()] == ["complete", "complete", "failed"]
    assert "no-such-detector" in on_ray["broken"][1]
    assert "no-such-detector" in read_manifest(tmp_path / "ray" / "broken").reason
    for seed in ("seed0", "seed1"):
        for file in ("before/metrics.json", "after/metrics.json", "after/responses.parquet", "after/signature.json"):
            assert (tmp_path / "ray" / seed / file).read_bytes() == (tmp_path / "here" / seed / file).read_bytes()


def test_each_cell_sees_the_devices_that_it_declared_and_no_other(local_ray, tmp_path):
    code = "import os, time; print(os.environ.get('CUDA_VISIBLE_DEVICES')); time.sleep(2)"
    seen = {}
    for gpus in (0.0, 1.0):
        engine = RayEngine(gpus=gpus)
        assert engine.slots == 2
        jobs = [Job((sys.executable, "-c", code), str(tmp_path / f"{gpus}-{i}"), str(tmp_path), 1) for i in range(2)]
        handles = [engine.start(job) for job in jobs]
        assert [wait_for(engine, handle) for handle in handles] == [0, 0]
        seen[gpus] = sorted((tmp_path / f"{gpus}-{i}").read_text().strip() for i in range(2))
    assert seen == {0.0: ["", ""], 1.0: ["0", "1"]}
    assert dict(_NO_GPUS)["CUDA_VISIBLE_DEVICES"] == ""
    assert (RayEngine(gpus=2.0).slots, RayEngine(gpus=0.5).slots, RayEngine(gpus=0.5, workers=1).slots) == (1, 2, 1)
    with pytest.raises(ConfigError, match=r"has 2 CPUs and 2 GPUs, and a cell asks for 1 and 3; lower"):
        RayEngine(gpus=3.0)


def test_a_task_that_ray_loses_is_a_failure_with_rays_reason(local_ray, tmp_path):
    engine = RayEngine()
    log = tmp_path / "log"
    kill_the_worker = "import os; os.kill(os.getppid(), 9)"
    handle = engine.start(Job((sys.executable, "-c", kill_the_worker), str(log), str(tmp_path), 1))
    assert wait_for(engine, handle) == 1
    last = log.read_text().strip().splitlines()[-1]
    assert last.startswith("Ray lost the cell: WorkerCrashedError")


def test_stopping_interrupts_the_cell_and_waits_until_it_has_stored_what_it_has(local_ray, tmp_path):
    code = (
        "import sys, time, pathlib\n"
        "pathlib.Path('begun').touch()\n"
        "try:\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    time.sleep(1)\n    pathlib.Path('stored').touch()\n    sys.exit(130)"
    )
    engine = RayEngine()
    handle = engine.start(Job((sys.executable, "-c", code), str(tmp_path / "log"), str(tmp_path), 1))
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    engine.stop([handle])
    assert (tmp_path / "stored").exists()


def test_a_sweep_on_ray_killed_while_it_trains_continues_to_the_same_numbers(tmp_path, tiny_model_folder):
    values = {
        "out": str(tmp_path / "o"),
        "base": {
            "model": {"name": str(tiny_model_folder), "device": "cpu"},
            "tasks": [{"name": "arithmetic", "limit": 4, "languages": ["de", "en"]}],
            "eval": {"draws": 2, "max_completion_tokens": 8},
            "train": {"questions_per_step": 2, "group_size": 2, "quota": 1, "max_completion_tokens": 8}
            | {"steps": 30, "save_every": 5, "languages": ["de", "en"], "method": "lrpo"},
        },
        "grid": {"seed": [0]},
    }
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "lrpo_bench", "sweep", str(path), "--engine", "ray", "--workers", "1"]
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=env)
    cell = load_sweep(path).cells[0]
    log = cell.folder / "train.jsonl"
    deadline = time.monotonic() + 150
    while not (log.exists() and log.read_text().count("\n") >= 8):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    assert first.wait(90) == 130
    assert read_state(cell).status == "stopped"
    second = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    assert second.returncode == 0, second.stderr
    alone = [sys.executable, "-m", "lrpo_bench", "sweep", str(path), "--out", str(tmp_path / "p")]
    assert subprocess.run(alone, check=False, capture_output=True).returncode == 0
    one, two = read_run(cell.folder), read_run(tmp_path / "p" / "seed0")
    assert one.manifest.status == "complete" and one.manifest.resumed
    assert [row["step"] for row in one.train] == list(range(1, 31))
    assert one.manifest.hashes["weights_after"] == two.manifest.hashes["weights_after"]
    assert one.after.records == two.after.records
