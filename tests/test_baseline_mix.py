"""The mixed baseline in the trainer: own language's mean against the group's, under every gate."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict

import numpy as np
import pytest
import torch
from conftest import LANGS
from hypothesis import given
from hypothesis import strategies as st
from test_gate_separate import LengthDetector

from lrpo_bench.config import TrainConfig, parse_config
from lrpo_bench.errors import ConfigError
from lrpo_bench.lrpo.advantages import group_advantages, separate_gate_advantages
from lrpo_bench.models.load import ModelSpec, load_hf_model
from lrpo_bench.training.run import TrainingJob, advantage_rule, train_policy

G = 8


def by_hand(rewards, gates, languages, mix, *, gate, penalty=1.0):
    """Rollout by rollout, with the statistics module: one group."""
    separate = gate == "separate"
    passed = [i for i, g in enumerate(gates) if not math.isnan(rewards[i]) and (g > 0 or not separate)]
    own = defaultdict(list)
    for i in passed:
        own[languages[i]].append(rewards[i])
    values = []
    for i, reward in enumerate(rewards):
        if math.isnan(reward):
            values.append(0.0)
        elif i not in passed:
            values.append(-penalty if passed else 0.0)
        elif len(passed) < 2:
            values.append(0.0)
        else:
            group = [rewards[j] for j in passed]
            baseline = (1 - mix) * statistics.fmean(group) + mix * statistics.fmean(own[languages[i]])
            values.append((reward - baseline) / (statistics.stdev(group) + 1e-4))
    return values


def test_a_weak_languages_best_rollout_is_no_longer_pushed_down():
    """English earns 1 and .8, Swahili .4 and 0: only with its own baseline is .4 better than expected."""
    rewards, langs = np.array([1.0, 0.8, 0.4, 0.0]), ["en", "en", "sw", "sw"]
    sd = statistics.stdev(rewards) + 1e-4
    paper = group_advantages(rewards, 4)
    assert paper[2] == pytest.approx((0.4 - 0.55) / sd) and paper[2] < 0
    rule = advantage_rule(TrainConfig(group_size=4, baseline_mix=1.0))
    assert rule(rewards, np.ones(4), langs).tolist() == pytest.approx([0.1 / sd, -0.1 / sd, 0.2 / sd, -0.2 / sd])


rollouts = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0, math.nan]), st.sampled_from(LANGS)), min_size=8, max_size=8
)


@given(rollouts, st.floats(0, 1), st.sampled_from(["hard", "separate"]))
def test_the_rule_is_the_hand_worked_one(rows, mix, gate):
    qualities, gates, langs = (list(column) for column in zip(*rows, strict=True))
    rewards = np.array(qualities) * np.array(gates)
    rule = advantage_rule(TrainConfig(group_size=4, gate=gate, baseline_mix=mix))
    if rule is None:
        assert mix == 0.0 and gate == "hard"
        return
    expected = [
        value
        for i in (0, 4)
        for value in by_hand(
            rewards[i : i + 4].tolist(), gates[i : i + 4], langs[i : i + 4], mix, gate=gate
        )
    ]  # fmt: skip
    assert rule(rewards, np.array(gates), langs).tolist() == pytest.approx(expected, abs=1e-6)


@given(rollouts, st.floats(0, 1))
def test_with_minimum_the_closed_gate_is_the_least_of_those_that_pass(rows, mix):
    qualities, gates, langs = (list(column) for column in zip(*rows, strict=True))
    rewards, gates = np.array(qualities) * np.array(gates), np.array(gates)
    found = separate_gate_advantages(rewards, gates, 8, gated_out="minimum", languages=langs, baseline_mix=mix)
    passed = (gates == 1) & ~np.isnan(rewards)
    if passed.any():
        assert found[passed].sum() == pytest.approx(0.0, abs=1e-6)
        assert found[gates == 0].tolist() == pytest.approx([min(found[passed].min(), 0.0)] * int((gates == 0).sum()))


def test_a_mix_outside_the_unit_interval_is_refused():
    with pytest.raises(ConfigError, match=r"train.baseline_mix.* less than or equal to 1.* 1.5"):
        parse_config({"tasks": ["parity"], "train": {"baseline_mix": 1.5}})


@pytest.mark.parametrize("gate", ["hard", "soft", "separate", "none"])
def test_the_trainer_uses_it_under_every_gate(gate, parity_task, parity_samples, tiny_model_folder, tmp_path):
    train = {
        "steps": 2, "questions_per_step": 4, "group_size": G, "quota": 1, "max_completion_tokens": 6, "gate": gate,
        "learning_rate": 0.05, "save_every": 100, "baseline_mix": 0.75,
    }  # fmt: skip
    config = parse_config({"tasks": ["parity"], "model": {"device": "cpu"}, "train": train})
    samples = {sample.id: (parity_task, sample) for sample in parity_samples}
    loaded, steps = load_hf_model(ModelSpec(str(tiny_model_folder), device="cpu")), []
    job = TrainingJob(config, samples, LANGS, "tag", LengthDetector(), tmp_path / "run")
    before = [weight.clone() for weight in loaded.model.state_dict().values()]
    train_policy(job, loaded.model, loaded.tokenizer, steps.append)
    departs = False
    for step in steps:
        for first in range(0, len(step.rollouts), G):
            group = step.rollouts[first : first + G]
            columns = [row["reward"] for row in group], [row["rewards"]["gate"] for row in group]
            langs = [row["rollout_lang"] for row in group]
            found = [row["advantage"] for row in group]
            assert found == pytest.approx(by_hand(*columns, langs, 0.75, gate=gate), abs=1e-5)
            departs |= found != pytest.approx(by_hand(*columns, langs, 0.0, gate=gate), abs=1e-2)
    assert departs, "a group must have held languages that earn differently"
    after = loaded.model.state_dict().values()
    assert not all(torch.equal(x, y) for x, y in zip(before, after, strict=True))
