"""The trainer against TRL's own, exact resume, and what a step logs."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import LANGS, WordDetector

from lrpo_bench.config import parse_config
from lrpo_bench.errors import ConfigError
from lrpo_bench.lrpo.advantages import group_advantages
from lrpo_bench.models.load import ModelSpec, load_hf_model
from lrpo_bench.training.run import TrainingJob, data_order, train_policy
from lrpo_bench.training.trainer import last_whole_checkpoint


def settings(**train):
    defaults = {
        "steps": 4, "questions_per_step": 3, "group_size": 4, "quota": 1, "max_completion_tokens": 6,
        "learning_rate": 0.05, "kl_beta": 0.01, "save_every": 2, "gate": "none",
        "router": {"update_every": 1, "alpha": 0.5},
    }  # fmt: skip
    return parse_config({"tasks": ["parity"], "model": {"device": "cpu"}, "train": defaults | train})


@pytest.fixture
def make_job(parity_task, parity_samples, tmp_path):
    def make(name="run", **train):
        samples = {sample.id: (parity_task, sample) for sample in parity_samples}
        return TrainingJob(settings(**train), samples, LANGS, "tag", WordDetector(), tmp_path / name)

    return make


def train(job, folder):
    loaded = load_hf_model(ModelSpec(str(folder), device="cpu"))
    steps = []
    train_policy(job, loaded.model, loaded.tokenizer, steps.append)
    return loaded.model, steps


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


class TrlReward:
    """What the trainer's reward would be, as a plain TRL reward function."""

    __name__ = "parity"

    def __call__(self, completions, sample_id, **_):
        texts = [completion[0]["content"] for completion in completions]
        return [float(bool(t) and len(t) % 2 == int(name[-1]) % 2) for name, t in zip(sample_id, texts, strict=True)]


def test_grpo_equals_trl_to_the_bit(make_job, tiny_model_folder):
    """Same data, same seed, same reward: plain `trl.GRPOTrainer` and our `grpo` end with the same weights.

    Without the bucketed update, which adds the same numbers in another order; `test_update` holds that one to TRL's.
    """
    from datasets import Dataset
    from trl import GRPOTrainer

    from lrpo_bench.training.run import trl_arguments
    from lrpo_bench.training.trainer import _step_seed

    class SeededTRL(GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            torch.manual_seed(_step_seed(0, self.state.global_step, 0))
            return super()._generate_and_score_completions(inputs)

    job = make_job(method="grpo", steps=3, save_every=100, length_bucketed=False)
    ours, steps = train(job, tiny_model_folder)
    loaded = load_hf_model(ModelSpec(str(tiny_model_folder), device="cpu"))
    order = data_order(list(job.samples), 9, 0)
    prompts = [
        [{"role": "user", "content": f"{job.samples[name][1].question} <|out_lang_{job.samples[name][1].lang}|>"}]
        for name in order
    ]
    theirs = SeededTRL(
        model=loaded.model,
        reward_funcs=[TrlReward()],
        args=trl_arguments(job.config, job.folder / "trl"),
        train_dataset=Dataset.from_dict({"prompt": prompts, "sample_id": order}),
        processing_class=loaded.tokenizer,
    )
    theirs.train()
    assert any(row["reward"] for step in steps for row in step.rollouts), "a run without rewards would test nothing"
    assert same_weights(ours, loaded.model)


def test_lrpo_with_full_quota_is_grpo_to_the_bit(make_job, tiny_model_folder):
    a, steps = train(make_job("a", method="grpo", steps=3), tiny_model_folder)
    b, _ = train(make_job("b", method="lrpo", quota=4, steps=3), tiny_model_folder)
    assert any(row["advantage"] for step in steps for row in step.rollouts)
    assert same_weights(a, b)


def test_lrpo_differs_from_grpo(make_job, tiny_model_folder):
    a, _ = train(make_job("a", method="grpo"), tiny_model_folder)
    b, steps = train(make_job("b", method="lrpo"), tiny_model_folder)
    assert not same_weights(a, b)
    routed = [row for step in steps for row in step.rollouts if not row["is_quota"]]
    assert {row["rollout_lang"] for row in routed} == set(LANGS)


def test_advantages_are_the_reference_ones(make_job, tiny_model_folder):
    """TRL's group advantages equal `lrpo.advantages`, which was worked out by hand elsewhere."""
    _, steps = train(make_job(steps=4), tiny_model_folder)
    for step in steps:
        rewards = [row["reward"] for row in step.rollouts]
        expected = group_advantages(torch.tensor(rewards, dtype=torch.float64).numpy(), 4)
        assert [row["advantage"] for row in step.rollouts] == pytest.approx(expected.tolist(), abs=1e-5)


def test_quota_rows_lead_each_group(make_job, tiny_model_folder):
    _, steps = train(make_job(steps=2), tiny_model_folder)
    for step in steps:
        flags = [row["is_quota"] for row in step.rollouts]
        assert flags == [True, False, False, False] * 3
        assert all(row["rollout_lang"] == row["source_lang"] for row in step.rollouts if row["is_quota"])


def test_resumed_run_equals_uninterrupted_one(make_job, tiny_model_folder):
    from transformers import TrainerCallback

    class Crash(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == 3:
                raise RuntimeError("crash")

    whole, all_steps = train(make_job("whole"), tiny_model_folder)
    job = make_job("resumed")
    loaded = load_hf_model(ModelSpec(str(tiny_model_folder), device="cpu"))
    with pytest.raises(RuntimeError, match="crash"):
        train_policy(job, loaded.model, loaded.tokenizer, None, [Crash()])
    assert last_whole_checkpoint(job.folder / "checkpoints").name == "checkpoint-2"
    resumed, steps = train(job, tiny_model_folder)
    assert [step.router["step"] for step in steps] == [3, 4]
    assert json.dumps([s.router for s in steps]) == json.dumps([s.router for s in all_steps[2:]])
    assert json.dumps([s.rollouts for s in steps]) == json.dumps([s.rollouts for s in all_steps[2:]])
    assert same_weights(whole, resumed)


def test_a_torn_checkpoint_is_not_used(tmp_path):
    for name, whole in (("checkpoint-2", True), ("checkpoint-4", False)):
        (tmp_path / name).mkdir()
        if whole:
            (tmp_path / name / "lrpo_state.json").write_text("{}")
    assert last_whole_checkpoint(tmp_path).name == "checkpoint-2"


def test_accumulation_does_not_change_the_update(make_job, tiny_model_folder):
    """With the token-level loss (dapo), four micro-batches of 3 rollouts are one batch of 12, up to rounding."""
    a, _ = train(make_job("a", method="grpo", steps=1, kl_beta=0.0, learning_rate=1e-3), tiny_model_folder)
    b, _ = train(
        make_job("b", method="grpo", steps=1, kl_beta=0.0, learning_rate=1e-3, micro_batch_size=3), tiny_model_folder
    )
    for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=2e-5)


def test_long_prompts_are_cut_and_counted(make_job, tiny_model_folder):
    _, steps = train(make_job(steps=1, max_prompt_tokens=2), tiny_model_folder)
    assert steps[0].router["prompts_truncated"] == 12


def test_prompt_and_completion_fit_the_context(make_job, tiny_model_folder):
    """Context 256: with 254 completion tokens two are left for a prompt of about five, whatever the limit says."""
    _, steps = train(make_job(steps=1, max_completion_tokens=254, max_prompt_tokens=None), tiny_model_folder)
    assert steps[0].router["prompts_truncated"] == 12
    with pytest.raises(ConfigError, match=r"max_completion_tokens 256 leaves no room .* 256 tokens"):
        train(make_job("b", steps=1, max_completion_tokens=256), tiny_model_folder)


def test_telemetry_of_a_step(make_job, tiny_model_folder):
    _, steps = train(make_job(steps=2), tiny_model_folder)
    row = steps[0].router
    assert row["step"] == 1
    assert sum(row["arms"].values()) == pytest.approx(1.0)
    assert sum(row["sampled"].values()) == 12
    assert sum(row["groups"].values()) == 3
    assert all(name.startswith("reasoning|") for name in row["contexts"])
