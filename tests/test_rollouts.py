"""Rollouts by our loop: TRL's tokens, TRL's random state, and a clear word where the loop can not be used."""

from __future__ import annotations

import pytest
import torch
from test_trainer import make_job, train  # noqa: F401
from test_update import assert_same_weights, changed

from lrpo_bench.errors import ConfigError
from lrpo_bench.models.load import ModelSpec, load_hf_model
from lrpo_bench.training import rollouts
from lrpo_bench.training.rollouts import Rollouts


@pytest.mark.parametrize(
    "extra",
    [{"micro_batch_size": 3}, {"top_p": 0.8, "sampling_temperature": 1.3}, {"method": "grpo", "quota": 4}],
    ids=["micro-batches", "nucleus", "grpo"],
)
def test_a_training_is_the_same_as_with_trls_generate(make_job, tiny_model_folder, extra):  # noqa: F811
    """Three steps: completions to the letter, rewards and advantages, and weights up to the order of sums.

    Micro-batches are made by a random shuffle after generation: they agree only if as much noise was drawn.
    """
    common = {"steps": 3, "kl_beta": 0.0, "learning_rate": 1e-3, "save_every": 100, **extra}
    theirs, before = train(make_job("a", generation="trl", **common), tiny_model_folder)
    ours, after = train(make_job("b", generation="loop", **common), tiny_model_folder)
    pairs = [
        [[(row["completion"], row["reward"]) for row in step.rollouts] for step in steps] for steps in (before, after)
    ]
    assert pairs[0] == pairs[1]
    assert len({completion for step in pairs[0] for completion, _ in step}) > 20
    assert changed(theirs, tiny_model_folder) > 1e-3
    assert_same_weights(theirs, ours, atol=5e-5)


def test_a_completion_ends_with_its_first_end_token(tiny_model_folder):
    loaded = load_hf_model(ModelSpec(str(tiny_model_folder), device="cpu"))
    prompts = [[40, 41, 42], [40, 41, 42], [50, 51, 52, 53]]
    ends = tuple(range(2, 60))
    sampler = Rollouts(limit=12, temperature=1.0, top_p=1.0, eos_ids=ends, pad_id=0)
    torch.manual_seed(3)
    loaded.model.train()
    found = sampler.sample(loaded.model, prompts)
    assert loaded.model.training, "the model is handed back as it came"
    assert len(found) == 3 and any(len(tokens) < 12 for tokens in found)
    for tokens in found:
        assert not set(tokens[:-1]) & set(ends)
        assert tokens[-1] in ends or len(tokens) == 12


def test_a_model_that_the_loop_can_not_decode_is_refused(make_job, tiny_model_folder, monkeypatch):  # noqa: F811
    monkeypatch.setattr(rollouts, "refusal", lambda *_: "the model takes no positions")
    with pytest.raises(ConfigError, match=r"generation loop can not be used .*takes no positions.* set it to trl"):
        train(make_job(steps=1, generation="loop"), tiny_model_folder)
