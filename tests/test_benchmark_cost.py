"""The arithmetic of the page on cost at scale, against published counts and hand calculation; the page against it."""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS, PAGE = ROOT / "benchmarks", ROOT / "docs" / "cost-at-scale.md"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="benchmarks are not part of an installed copy")


@pytest.fixture
def cost(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import cost_model

    return cost_model


@pytest.fixture
def shown(cost):
    import cost_at_scale

    return cost_at_scale


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_parameters_are_the_published_counts(cost):
    """Tensors of the released checkpoints, added up."""
    counts = [model.parameters for model in cost.MODELS]
    assert counts == [1_543_714_304, 3_085_938_688, 8_030_261_248]
    assert cost.MODELS[2].multiplied == 8_030_261_248 - 128_256 * 4096
    assert [model.kv_bytes for model in cost.MODELS] == [28_672, 36_864, 131_072]


def test_steps_and_rollouts(cost):
    assert (cost.STEPS, cost.ROLLOUTS) == (76, 2048)  # 19,540 questions in steps of 256


def test_decoding_by_hand(cost):
    found = cost.decode(cost.MODELS[0], cost.GPUS["H100"], cost.HIGH, 256)
    moved = 1024 * 3_087_428_608 + 256 * 1024 * 1024 * 28_672  # weights every iteration; half the answer on average
    assert (found.slots, found.iterations) == (256, 1024)
    assert found.floor_s == pytest.approx(moved / 3.35e12)
    assert found.seconds == pytest.approx(2 * moved / 3.35e12 + 15.36)


def test_rollouts_that_do_not_fit_at_once_take_turns(cost):
    room = 24e9 - 2 * 8_030_261_248
    found = cost.decode(cost.MODELS[2], cost.GPUS["H100"], cost.HIGH, 256)
    assert found.slots == room // (131_072 * 1536) == 39
    assert found.iterations == pytest.approx(256 * 1024 / 39)


def test_a_model_that_leaves_no_room_does_not_fit(cost, shown):
    small = replace(cost.GPUS["H100"], memory=40e9)
    assert shown.number(cost.run_hours(cost.MODELS[2], small, cost.LOW, 8)) == "does not fit"


def test_update_by_hand(cost):
    forward = 2 * 1_543_714_304 * 1536 + 2 * 28 * 1536 * 1536**2
    parts = cost.step_parts(cost.MODELS[0], cost.GPUS["H100"], cost.HIGH, 8)
    assert parts["update"] == pytest.approx(256 * 6 * forward / (989e12 * 0.10))
    assert parts["reward"] == pytest.approx(256 * 0.0022 + 256 * 1024 * 220e6 / (989e12 * 0.05))


def test_passes_of_a_row(cost):
    assert (cost.LOW.forwards, cost.HIGH.forwards) == (5, 6)
    least = replace(cost.LOW, kl=False, vllm=False)
    assert least.forwards == 3
    assert replace(least, skipped=0.25).forwards == 2.25


def test_every_change_that_should_save_does(cost, shown):
    model, gpu = cost.MODELS[0], cost.GPUS["H100"]
    hours = {
        name: [cost.run_hours(model, gpu, case, 8) for case in cases]
        for name, cases in shown.changes((cost.LOW, cost.HIGH)).items()
    }
    for name in ("`kl_beta: 0`", "completions half as long, the limit unchanged"):
        assert all(a < b for a, b in zip(hours[name], hours["as above"], strict=True))


def test_shortest_last_schedule(cost):
    assert cost.makespan([5.0, 4.0, 3.0, 3.0, 3.0], 2) == 10.0  # 5 + 3 and 4 + 3 + 3
    assert cost.makespan([1.0] * 9, 4) == 3.0


def test_sweep_counts(cost):
    gpu, case = cost.GPUS["H100"], cost.LOW
    hours = [cost.run_hours(model, gpu, case, 8) for model in cost.MODELS]
    evaluations = [cost.evaluation_hours(model, gpu, case) for model in cost.MODELS]
    wall, gpu_hours = cost.sweep_hours(gpu, case, 8)
    assert gpu_hours == pytest.approx(8 * 30 * sum(hours) + 35 * sum(evaluations))  # 90 trainings, 105 evaluations
    assert wall >= 30 * sum(hours)
    assert cost.sweep_hours(gpu, case, 64)[0] < wall / 6


@pytest.mark.parametrize(
    ("value", "text"), [(0.0456, "0.046"), (1.26, "1.3"), (9.96, "10"), (34.7, "35"), (4600.0, "4,600")]
)
def test_two_digits(shown, value, text):
    assert float(shown.number(value).replace(",", "")) == float(text.replace(",", ""))


def test_share_of_idle_groups_is_the_committed_runs(cost):
    path = ROOT / "results" / "demo-seed0" / "router.jsonl"
    groups = [json.loads(line)["groups"] for line in path.read_text(encoding="utf-8").splitlines()]
    idle = sum(n for row in groups for name, n in row.items() if name != "informative")
    assert idle / sum(sum(row.values()) for row in groups) == cost.IDLE_SHARE


def test_page_holds_the_tables(shown):
    page = PAGE.read_text(encoding="utf-8")
    for table in shown.tables():
        assert table in page, "fill docs/cost-at-scale.md again from benchmarks/cost_at_scale.py"


def test_summary_of_the_page(cost, shown):
    page, gpu, cases = PAGE.read_text(encoding="utf-8"), cost.GPUS["H100"], (cost.LOW, cost.HIGH)
    run = shown.between(*(cost.run_hours(cost.MODELS[0], gpu, case, 8) for case in cases))
    total = shown.between(*(cost.sweep_hours(gpu, case, 8)[1] for case in cases))
    assert f"takes {run} hours on 8 GPUs" in page and f"take {total} GPU-hours" in page


def test_configurations_of_the_page_are_accepted(tmp_path, monkeypatch):
    from lrpo_bench.config import parse_config
    from lrpo_bench.sweeps.file import parse_sweep

    paper, sweep = blocks("yaml")
    config = parse_config(yaml.safe_load(paper))
    assert config.train.steps == 76
    monkeypatch.chdir(tmp_path)
    Path("paper.yaml").write_text(paper, encoding="utf-8")
    assert len(parse_sweep(yaml.safe_load(sweep)).cells) == 20


def test_commands_of_the_page_are_accepted():
    from lrpo_bench.cli import _parser

    commands = [shlex.split(line) for block in blocks("bash") for line in block.splitlines()]
    for words in commands:
        own = words[words.index("lrpo_bench") + 1 :] if words[0] == "accelerate" else words[1:]
        assert _parser().parse_args(own).handler
