"""Each tracker gets what `train.jsonl` holds, offline, in a short training; skipped where it is not installed."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_tasks import write_task

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TRAIN = {
    "steps": 2, "questions_per_step": 2, "group_size": 4, "quota": 1, "max_completion_tokens": 4, "gate": "none",
}  # fmt: skip


def trained(tmp_path, model, tracker, method="lrpo", **environment) -> Path:
    """A run folder of `lrpo-bench train` in a process of its own: trackers keep threads, and state of the process."""
    train = TRAIN | {"method": method, "scale": {"report_to": [tracker]}}
    config = {
        "tasks": ["letters"], "tasks_dirs": [str(write_task(tmp_path))], "out": str(tmp_path / "my-run"),
        "model": {"name": str(model), "device": "cpu"}, "train": train,
    }  # fmt: skip
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    root = Path(__file__).resolve().parents[1]
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
    found = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | environment
    command = [sys.executable, "-m", "lrpo_bench", "train", "--config", str(file)]
    done = subprocess.run(command, cwd=tmp_path, env=found, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return tmp_path / "my-run"


def logged(run: Path, key: str) -> list[float]:
    rows = [json.loads(line) for line in (run / "train.jsonl").read_text().splitlines()]
    return [row[key] for row in rows if key in row]


@pytest.mark.parametrize("method", ["lrpo", "dpo"])
def test_tensorboard(tmp_path, tiny_model_folder, method):
    """Its files lie in the run folder and are still there when the checkpoints are gone."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = trained(tmp_path, tiny_model_folder, "tensorboard", method)
    assert not (run / "checkpoints").exists()
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    shown = [event.value for event in events.Scalars("train/loss")]
    assert len(shown) == 2 and shown == pytest.approx(logged(run, "loss"), rel=1e-5, abs=1e-7)


def test_wandb_offline(tmp_path, tiny_model_folder):
    pytest.importorskip("wandb")
    run = trained(tmp_path, tiny_model_folder, "wandb", WANDB_MODE="offline", WANDB_SILENT="true")
    files = list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 1
    content = files[0].read_bytes()
    assert b"train/loss" in content and b"my-run" in content and len(logged(run, "loss")) == 2


def test_trackio(tmp_path, tiny_model_folder):
    pytest.importorskip("trackio")
    run = trained(tmp_path, tiny_model_folder, "trackio", TRACKIO_DIR=str(tmp_path / "trackio"))
    databases = list((tmp_path / "trackio").glob("lrpo-bench*.db"))
    assert len(databases) == 1
    with sqlite3.connect(databases[0]) as connection:
        rows = connection.execute("select run_name, step, metrics from metrics order by step").fetchall()
    losses = [json.loads(metrics)["train/loss"] for _, _, metrics in rows if "train/loss" in json.loads(metrics)]
    assert {name for name, _, _ in rows} == {"my-run"}
    assert losses == pytest.approx(logged(run, "loss"), rel=1e-5, abs=1e-7)
