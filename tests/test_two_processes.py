"""Two processes on a CPU (gloo) train as one with the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ddp_worker import run
from safetensors.torch import load_file

TESTS = Path(__file__).parent
SETTINGS = {
    "steps": 3, "questions_per_step": 3, "kl_beta": 0.0, "learning_rate": 1e-3, "save_every": 2,
    "top_p": 1e-6, "generation": "loop",
}  # fmt: skip
"""So little of the nucleus that a prompt has one completion: processes draw their noise apart from each other.

Three groups of four on two processes of six rows: the second group lies across both.
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("extra", [{}, {"loss_type": "grpo", "baseline_mix": 0.5}])
def test_two_processes_train_as_one(tiny_model_folder, tmp_path, extra):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    run(one, tiny_model_folder, SETTINGS | extra)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = [str(TESTS / "ddp_worker.py"), str(two), str(tiny_model_folder), json.dumps(SETTINGS | extra)]
    environment = os.environ | {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    ours, theirs = (json.loads((folder / "steps.json").read_text()) for folder in (one, two))
    assert any(row["advantage"] for step in ours["rollouts"] for row in step)
    for step, other in zip(ours["rollouts"], theirs["rollouts"], strict=True):
        for row, same in zip(step, other, strict=True):
            assert row.pop("advantage") == pytest.approx(same.pop("advantage"), abs=1e-5)
            assert row == same
    assert ours["router"] == theirs["router"]
    weights = [load_file(folder / "run" / "model" / "model.safetensors") for folder in (one, two)]
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=0, atol=5e-5)
    states = [json.loads((folder / "run" / "model" / "router_state.json").read_text()) for folder in (one, two)]
    assert states[0] == states[1]
