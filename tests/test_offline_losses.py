"""The losses of offline methods, against TRL's and against numbers worked out by hand."""

from __future__ import annotations

import copy
import inspect
import math

import pytest
import torch
from conftest import make_tiny_model, make_tiny_tokenizer
from datasets import Dataset
from trl import DPOConfig, DPOTrainer, SFTTrainer

from lrpo_bench.training.offline.trainers import (
    AnswerTrainer,
    MPOCollator,
    MPOTrainer,
    PairTrainer,
    margin_loss,
    reward_gaps,
    sequence_statistics,
)

ROWS = [
    {"prompt_ids": [10, 11, 12], "chosen_ids": [20, 21, 1], "rejected_ids": [30, 1]},
    {"prompt_ids": [13], "chosen_ids": [22, 1], "rejected_ids": [31, 32, 33, 34]},
]


@pytest.fixture(scope="module")
def tokenizer():
    return make_tiny_tokenizer()


@pytest.fixture(scope="module")
def policy(tokenizer):
    return make_tiny_model(tokenizer, seed=0)


@pytest.fixture(scope="module")
def frozen(tokenizer):
    return make_tiny_model(tokenizer, seed=1)


def trainer_of(kind, policy, frozen, tokenizer, rows, tmp_path, *, settings=None, **extra):
    args = DPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=2, max_steps=1, learning_rate=1e-9, max_length=None,
        report_to="none", remove_unused_columns=False, use_cpu=True, bf16=False, activation_checkpointing=False,
        save_strategy="no", disable_tqdm=True, logging_steps=1, train_sampling_strategy="sequential",
        **(settings or {}),
    )  # fmt: skip
    return kind(
        model=copy.deepcopy(policy), ref_model=copy.deepcopy(frozen), args=args, train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer, **extra,
    )  # fmt: skip


def loss_of(trainer):
    trainer.train()
    return trainer.state.log_history[0]["loss"]


def logps(model, prompt, completion):
    """Log-probabilities of a completion's tokens, one sequence at a time and without padding."""
    ids = torch.tensor([[*prompt, *completion]])
    with torch.no_grad():
        scores = torch.log_softmax(model(input_ids=ids).logits[0].double(), dim=-1)
    return [scores[len(prompt) + i - 1, token].item() for i, token in enumerate(completion)]


def dpo_by_hand(policy, frozen, beta):
    losses = []
    for row in ROWS:
        ratios = [
            sum(logps(policy, row["prompt_ids"], row[side])) - sum(logps(frozen, row["prompt_ids"], row[side]))
            for side in ("chosen_ids", "rejected_ids")
        ]
        losses.append(math.log1p(math.exp(-beta * (ratios[0] - ratios[1]))))
    return sum(losses) / len(losses)


def test_dpo_is_rafailovs_equation_7(policy, frozen, tokenizer, tmp_path):
    trainer = trainer_of(PairTrainer, policy, frozen, tokenizer, ROWS, tmp_path, settings={"beta": 0.7})
    assert loss_of(trainer) == pytest.approx(dpo_by_hand(policy, frozen, 0.7), rel=1e-4)


def test_lidr_adds_the_likelihood_of_the_better_answers_tokens(policy, frozen, tokenizer, tmp_path):
    settings = {"beta": 0.1, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}
    trainer = trainer_of(PairTrainer, policy, frozen, tokenizer, ROWS, tmp_path, settings=settings)
    tokens = [value for row in ROWS for value in logps(policy, row["prompt_ids"], row["chosen_ids"])]
    expected = dpo_by_hand(policy, frozen, 0.1) - 0.5 * sum(tokens) / len(tokens)
    assert loss_of(trainer) == pytest.approx(expected, rel=1e-4)


def test_mpo_by_hand():
    # gaps: target -0.5 - -1.5 = 1 and -2 - -1 = -1; dominant 3 and 1
    target = reward_gaps(torch.tensor([-0.5, -2.0, -1.5, -1.0]))
    dominant = reward_gaps(torch.tensor([-1.0, -1.0, -4.0, -2.0]))
    assert target.tolist() == [1.0, -1.0]
    assert dominant.tolist() == [3.0, 1.0]
    # (1.5 - 3)^2 = 2.25 and (-1.5 - 1)^2 = 6.25
    assert margin_loss(target, dominant, beta=1.5).item() == pytest.approx(4.25)


def mean_hidden(model, row, side):
    ids = torch.tensor([[*row["prompt_ids"], *row[side]]])
    with torch.no_grad():
        return model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0].double().mean(dim=0)


def test_mpo_loss_of_a_batch(policy, frozen, tokenizer, tmp_path):
    """Target gaps of the policy, dominant gaps of the frozen model, hidden states of both: sequence by sequence."""
    target, dominant = ROWS, [ROWS[1], ROWS[0]]
    rows = [
        {**own, **{f"dominant_{name}": ids for name, ids in other.items()}}
        for own, other in zip(target, dominant, strict=True)
    ]
    trainer = trainer_of(
        MPOTrainer, policy, frozen, tokenizer, rows, tmp_path, settings={"beta": 1.5},
        data_collator=MPOCollator(tokenizer.pad_token_id), retain_weight=0.5,
    )  # fmt: skip
    margin, retain = 0.0, 0.0
    for own, other in zip(target, dominant, strict=True):
        gaps = []
        for model, row in ((policy, own), (frozen, other)):
            chosen, rejected = (logps(model, row["prompt_ids"], row[side]) for side in ("chosen_ids", "rejected_ids"))
            gaps.append(sum(chosen) / len(chosen) - sum(rejected) / len(rejected))
        margin += (1.5 * gaps[0] - gaps[1]) ** 2 / 2
        for side in ("chosen_ids", "rejected_ids"):
            difference = mean_hidden(policy, other, side) - mean_hidden(frozen, other, side)
            retain += (difference**2).mean().item() / 4
    assert loss_of(trainer) == pytest.approx(margin + 0.5 * retain, rel=1e-4)
    logged = trainer.state.log_history[0]
    assert logged["loss/margin"] == pytest.approx(margin, rel=1e-4)
    assert logged["loss/retain"] == pytest.approx(retain, rel=1e-4)


def test_padding_changes_nothing(policy, tokenizer):
    batch = MPOCollator(tokenizer.pad_token_id)._one(ROWS)
    means, hidden = sequence_statistics(policy, batch)
    expected = [logps(policy, row["prompt_ids"], row[side]) for side in ("chosen_ids", "rejected_ids") for row in ROWS]
    assert means.tolist() == pytest.approx([sum(values) / len(values) for values in expected], rel=1e-4)
    alone = torch.stack([mean_hidden(policy, row, side) for side in ("chosen_ids", "rejected_ids") for row in ROWS])
    assert torch.allclose(hidden.double(), alone, atol=1e-5)


HOOKS = {
    DPOTrainer: {
        "_prepare_dataset": ["self", "dataset", "processing_class", "args", "dataset_name"],
        "_compute_loss": ["self", "model", "inputs", "return_outputs"],
        "_save_checkpoint": ["self", "model", "trial"],
    },
    SFTTrainer: {"_save_checkpoint": ["self", "model", "trial"]},
}
"""Private hooks that are overridden, with TRL 1.16's parameters; see `tests/test_trl_hooks.py` for what to do."""


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in HOOKS.items() for name in names])
def test_hooks_of_trl_are_as_they_were(kind, name):
    assert list(inspect.signature(getattr(kind, name)).parameters) == HOOKS[kind][name]


def test_every_override_of_a_private_method_is_watched():
    for ours, kind in ((PairTrainer, DPOTrainer), (MPOTrainer, DPOTrainer), (AnswerTrainer, SFTTrainer)):
        between = [cls for cls in ours.__mro__ if cls.__module__.startswith("lrpo_bench")]
        names = {name for cls in between for name in vars(cls) if name.startswith("_") and not name.startswith("__")}
        assert {name for name in names if hasattr(kind, name)} - {"_tag_names", "_name", "_paper"} <= HOOKS[kind].keys()
