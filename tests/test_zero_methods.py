"""Methods that name the language by a system prompt are evaluated as they are trained, and never mixed with others."""

from __future__ import annotations

import pytest
from small_tasks import CommandLine, assert_one_line, write_task

from lrpo_bench.cli import main
from lrpo_bench.models.prompting import SYSTEM_PROMPTS
from lrpo_bench.results.store import read_run

SETTINGS = (
    "train.steps=1", "train.questions_per_step=2", "train.group_size=4", "train.quota=1", "train.gate=none",
    "train.max_completion_tokens=4", "eval.max_completion_tokens=4", "eval.draws=0", "model.device=cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tiny_model_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("zero")
    common = ["run", "--model", str(tiny_model_folder), "--tasks", "letters", "--tasks-dir", str(write_task(root))]
    for setting in SETTINGS:
        common += ["--set", setting]
    for method in ("lrpo", "lrpo-zero"):
        assert main([*common, "--method", method, "--out", str(root / method)]) == 0
    return root


def test_a_zero_method_is_asked_by_system_prompts_before_and_after(runs):
    run = read_run(runs / "lrpo-zero")
    assert run.manifest.extra["train_instruct"] == run.manifest.extra["instruct"] == "system"
    for evaluation in (run.before, run.after):
        assert evaluation.signature.decoding["instruct"] == "system"
        assert evaluation.signature.decoding["system_prompts"] == sorted(SYSTEM_PROMPTS)
        assert all(SYSTEM_PROMPTS[record.rollout_lang] in record.prompt for record in evaluation.records)
        assert not any("<|out_lang_" in record.prompt for record in evaluation.records)
    other = read_run(runs / "lrpo")
    assert {e.signature.decoding["instruct"] for e in (other.before, other.after)} == {"tag"}


def test_compare_refuses_to_mix_the_two(runs, capsys):
    assert main(["compare", str(runs / "lrpo" / "after"), str(runs / "lrpo-zero" / "after")]) == 2
    assert "can not compare: decoding.instruct is 'tag'" in capsys.readouterr().err
    assert main(["compare", str(runs / "lrpo-zero" / "before"), str(runs / "lrpo-zero" / "after")]) == 0


@pytest.mark.parametrize("instruct", ["tag", "prompt"])
def test_another_way_of_asking_is_refused(tiny_model_folder, tmp_path, capsys, instruct):
    call = CommandLine(write_task(tmp_path), tmp_path / "run", capsys)
    options = ("--model", tiny_model_folder, "--tasks", "letters", "--method", "lrpo-fixed-uniform-zero")
    result = call("run", *options, "--set", f"instruct={instruct}")
    assert_one_line(
        result, f"'lrpo-fixed-uniform-zero' names the language by a system prompt, got instruct '{instruct}'"
    )
    assert "use method 'lrpo-fixed-uniform'" in result[2]
