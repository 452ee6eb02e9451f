"""The GPU benchmark without a GPU: it refuses, its rehearsal runs whole on a CPU, its arithmetic is right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="benchmarks are not part of an installed copy")


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import gpu

    return gpu


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py"), *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line():
    done = run()
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        "gpu.py: torch sees no GPU here; --device cpu --out FOLDER rehearses on a tiny model"
    ]


@pytest.mark.parametrize("out", [(), ("--out", os.path.relpath(BENCHMARKS.parent / "results" / "benchmarks"))])
def test_a_rehearsal_can_not_stand_where_a_gpus_figures_belong(out):
    done = run("--device", "cpu", *out)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "--out FOLDER" in done.stderr


@pytest.mark.slow
def test_the_rehearsal_measures_everything(tmp_path):
    done = run("--device", "cpu", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    values = json.loads((tmp_path / "gpu.json").read_text())
    assert {point["way"] for point in values["generation"]} == {"loop", "generate", "static"}
    assert all(point["tokens_s"] > 0 and point["peak_mib"] > 0 for point in values["generation"])
    (step,) = values["training"]
    assert 0 < step["update_s"] < step["step_s"] and 0 < step["generation_s"] < step["step_s"]
    assert step["rollouts"] == 16 == step["tokens"]["rows"]
    assert 16 <= step["tokens"]["completion"] <= 16 * 8
    assert step["operations"] > 0 and sum(row["share"] for row in step["profile"]) > 0.5
    page = (tmp_path / "gpu.md").read_text()
    assert "CPU (a rehearsal)" in page and "aten::" in page


def test_operations_of_an_update(gpu):
    """Two rows of five tokens, two of them answered: 10 weights inside, a head of 2 x 5, attention over 2 channels."""
    model = {"inside": 10, "hidden": 2, "layers": 1, "vocabulary": 5}
    forward = 2 * 10 * 10 + 2 * (2 * 5) * 4 + (2 * 2 * 2) * 10 * 2.5
    assert gpu.operations(model, {"prompt": 6, "completion": 4, "rows": 2}) == 3 * forward == 1440


def test_batches_double_until_memory_is_full_or_nothing_is_gained(gpu, monkeypatch):
    seconds = {16: 1.0, 32: 1.5, 64: 2.5, 128: 4.9}  # a question: 62, 47, 39, 38 ms
    monkeypatch.setattr(gpu, "train", lambda job, questions: {"questions": questions, "step_s": seconds[questions]})
    job = gpu.Job("cuda", Path(), 128, (64, 16), until=float("inf"))
    assert [point["questions"] for point in gpu.training(job)] == [16, 32, 64, 128]

    def full(job, questions):
        if questions > 32:
            raise torch.cuda.OutOfMemoryError("full")
        return {"questions": questions, "step_s": seconds[questions]}

    monkeypatch.setattr(gpu, "train", full)
    assert [point.get("full", False) for point in gpu.training(job)] == [False, False, True]
    assert len(list(gpu.training(gpu.Job("cuda", Path(), 128, (64, 16), until=0.0)))) == 1, "the time is up"


def test_sizes_are_what_they_are_called(gpu, tmp_path):
    from transformers import AutoConfig, LlamaConfig

    for name, (hidden, layers, heads, intermediate) in gpu.SIZES.items():
        if name == "tiny":
            continue
        folder = tmp_path / name
        LlamaConfig(
            vocab_size=1000, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
            num_key_value_heads=heads, intermediate_size=intermediate, tie_word_embeddings=True,
        ).save_pretrained(folder)  # fmt: skip
        assert AutoConfig.from_pretrained(folder).hidden_size % heads == 0
        assert gpu.counts(folder)["inside"] == pytest.approx(1e6 * int(name.removesuffix("M")), rel=0.1)
