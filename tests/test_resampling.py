"""Groups without advantages are replaced: tensors by hand, a bounded budget, and an exact resume."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_trainer import make_job, same_weights, train  # noqa: F401
from test_update import assert_same_weights

from lrpo_bench.models.load import ModelSpec, load_hf_model
from lrpo_bench.training.resampling import degenerate_groups, replace_rows, replacement_questions
from lrpo_bench.training.run import build_trainer, train_policy


def zero_groups(step, size):
    rows = step.rollouts
    groups = [[row["reward"] for row in rows[i : i + size]] for i in range(0, len(rows), size)]
    return [len(set(rewards)) == 1 for rewards in groups]


def test_rows_are_replaced_by_hand():
    batch = {
        "prompt_ids": torch.tensor([[0, 1], [2, 3]]), "prompt_mask": torch.tensor([[0, 1], [1, 1]]),
        "completion_ids": torch.tensor([[4, 5, 6], [7, 0, 0]]), "completion_mask": torch.tensor([[1, 1, 1], [1, 0, 0]]),
        "advantages": torch.tensor([0.0, 1.0]), "num_items_in_batch": torch.tensor(4),
    }  # fmt: skip
    fresh = {
        "prompt_ids": torch.tensor([[8, 9, 9]]), "prompt_mask": torch.tensor([[1, 1, 1]]),
        "completion_ids": torch.tensor([[8, 8]]), "completion_mask": torch.tensor([[1, 1]]),
        "advantages": torch.tensor([-2.0]), "num_items_in_batch": torch.tensor(2),
    }  # fmt: skip
    found = replace_rows(batch, fresh, [0], [0])
    assert found["prompt_ids"].tolist() == [[8, 9, 9], [0, 2, 3]]
    assert found["prompt_mask"].tolist() == [[1, 1, 1], [0, 1, 1]]
    assert found["completion_ids"].tolist() == [[8, 8, 0], [7, 0, 0]]
    assert found["completion_mask"].tolist() == [[1, 1, 0], [1, 0, 0]]
    assert found["advantages"].tolist() == [-2.0, 1.0]
    assert found["num_items_in_batch"].item() == 3
    assert batch["completion_ids"].tolist() == [[4, 5, 6], [7, 0, 0]], "the old step is left as it was"


names = st.sets(st.text("abcdef", min_size=1, max_size=2), max_size=8)


@given(names, names, st.integers(0, 9), st.integers(0, 3))
def test_replacements_are_other_questions_and_depend_on_the_key_alone(pool, taken, n, attempt):
    found = replacement_questions(list(pool), list(taken), n, (1, 2, attempt))
    assert len(found) == len(set(found)) == min(n, len(pool - taken))
    assert set(found) <= pool - taken
    assert found == replacement_questions(sorted(pool, reverse=True), list(taken), n, (1, 2, attempt))


def test_rounding_is_no_advantage():
    """Eight rewards of 0.1 in single precision, by TRL's own arithmetic."""
    rewards = torch.full((8,), 0.1)
    advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
    assert degenerate_groups(advantages.tolist(), 8) == [0]
    rewards[0] += 1e-6
    advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
    assert degenerate_groups(advantages.tolist(), 8) == []


def test_poor_groups_give_way_and_good_ones_stay(make_job, tiny_model_folder):  # noqa: F811
    """The first step begins as it would without: what was good is the same, and everything is counted.

    Groups of two with rewards of 0 or 1: about half of them teach nothing.
    """
    common = {"steps": 1, "questions_per_step": 6, "group_size": 2, "save_every": 100}
    _, plain = train(make_job("a", **common), tiny_model_folder)
    poor = zero_groups(plain[0], 2)
    assert any(poor) and not all(poor)
    _, found = train(make_job("b", resample_degenerate=3, **common), tiny_model_folder)
    step, counts = found[0], found[0].router["resampled"]
    still_poor = zero_groups(step, 2)
    assert sum(still_poor) < sum(poor)
    for number, was_poor in enumerate(poor):
        if not was_poor:
            assert step.rollouts[2 * number : 2 * number + 2] == plain[0].rollouts[2 * number : 2 * number + 2]
    assert len({row["sample_id"] for row in step.rollouts}) == 6
    assert counts["groups"] == sum(counts["causes"].values()) >= sum(poor) - sum(still_poor)
    assert counts["rollouts"] == 6 * 2 + counts["groups"] * 2 <= 4 * 6 * 2
    assert "resampled" not in plain[0].router


def test_the_update_and_the_router_use_the_new_step(make_job, tiny_model_folder):  # noqa: F811
    """With and without padding the same weights; the router sees every rollout, replaced ones too."""
    common = {"steps": 3, "kl_beta": 0.0, "learning_rate": 1e-3, "save_every": 100, "resample_degenerate": 2}
    padded, before = train(make_job("a", length_bucketed=False, **common), tiny_model_folder)
    job, steps = make_job("b", **common), []
    loaded = load_hf_model(ModelSpec(str(tiny_model_folder), device="cpu"))
    trainer = build_trainer(job, loaded.model, loaded.tokenizer, steps.append)
    observe, seen = trainer.routing.router.observe, []
    trainer.routing.router.observe = lambda rows, step: (seen.append(len(rows)), observe(rows, step))
    trainer.train()
    assert sum(step.router["resampled"]["groups"] for step in steps) > 0
    assert seen == [step.router["resampled"]["rollouts"] for step in steps]
    assert [step.rollouts for step in steps] == [step.rollouts for step in before]
    assert_same_weights(padded, loaded.model, atol=5e-5)


def test_resume_is_exact(make_job, tiny_model_folder):  # noqa: F811
    from transformers import TrainerCallback

    class Crash(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == 3:
                raise RuntimeError("crash")

    extra = {"resample_degenerate": 2}
    whole, all_steps = train(make_job("whole", **extra), tiny_model_folder)
    assert sum(step.router["resampled"]["groups"] for step in all_steps[2:]) > 0
    job = make_job("resumed", **extra)
    loaded = load_hf_model(ModelSpec(str(tiny_model_folder), device="cpu"))
    with pytest.raises(RuntimeError, match="crash"):
        train_policy(job, loaded.model, loaded.tokenizer, None, [Crash()])
    resumed, steps = train(job, tiny_model_folder)
    assert [step.rollouts for step in steps] == [step.rollouts for step in all_steps[2:]]
    assert same_weights(whole, resumed)
