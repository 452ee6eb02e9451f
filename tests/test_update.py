"""The update without padding: TRL's loss, gradients and weights up to rounding, under every loss type."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from conftest import make_tiny_model, make_tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trainer import make_job, train  # noqa: F401
from trl.trainer.utils import add_fused_lm_head

from lrpo_bench.models.load import ModelSpec, load_hf_model
from lrpo_bench.training.scoring_head import TokenLogps, add_compact_head
from lrpo_bench.training.update import StepTokens, length_buckets, policy_logps

LOSSES = ("dapo", "grpo", "bnpo", "dr_grpo")


# --- buckets


def cost(buckets, lengths, pass_cost):
    return sum(len(bucket) * max(lengths[i] for i in bucket) + pass_cost for bucket in buckets)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=7), st.integers(0, 60), st.integers(1, 4))
def test_buckets_are_the_cheapest_of_all_cuts(lengths, pass_cost, most):
    """Against every way to cut the sorted rows."""
    found = length_buckets(lengths, most=most, pass_cost=pass_cost)
    assert sorted(np.concatenate(found).tolist()) == list(range(len(lengths)))
    assert len(found) <= most
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    cheapest = math.inf
    for n_cuts in range(min(most, len(lengths))):
        for cuts in itertools.combinations(range(1, len(lengths)), n_cuts):
            edges = [0, *cuts, len(lengths)]
            ways = [order[a:b] for a, b in itertools.pairwise(edges)]
            cheapest = min(cheapest, cost(ways, lengths, pass_cost))
    assert cost(found, lengths, pass_cost) == cheapest


# --- log-probabilities of one micro-batch


@pytest.fixture(scope="module")
def scorer():
    tokenizer = make_tiny_tokenizer()
    model = make_tiny_model(tokenizer)
    add_fused_lm_head(model, temperature=0.7, outputs=("log_probs", "entropy"))
    fused = model.forward
    add_compact_head(model, 0.7)
    return model, fused


def ragged_batch(generator, rows):
    prompts = [torch.randint(5, 200, (int(n),)) for n in generator.integers(1, 12, rows)]
    completions = [torch.randint(5, 200, (int(n),)) for n in generator.integers(1, 15, rows)]
    ids = torch.zeros(rows, 12 + 15, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        ids[i, 12 - len(prompt) : 12 + len(completion)] = torch.cat([prompt, completion])
        mask[i, 12 - len(prompt) : 12 + len(completion)] = 1
    return StepTokens(ids, mask, 15), prompts, completions


def one_by_one(model, prompts, completions, temperature):
    """Each row alone, without padding, by the model's own logits."""
    logps, entropies = torch.zeros(len(prompts), 15), torch.zeros(len(prompts), 15)
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        logits = model(input_ids=torch.cat([prompt, completion])[None]).logits[0, len(prompt) - 1 : -1] / temperature
        distribution = torch.distributions.Categorical(logits=logits)
        logps[i, : len(completion)] = distribution.log_prob(completion)
        entropies[i, : len(completion)] = distribution.entropy()
    return logps, entropies


@pytest.mark.parametrize("n_passes", [None, 4])
@pytest.mark.parametrize("chunk", [None, 3])
def test_values_and_gradients_are_those_of_single_rows(scorer, n_passes, chunk):
    model, _ = scorer
    batch, prompts, completions = ragged_batch(np.random.Generator(np.random.Philox(1)), 9)
    passes = []

    def score(ids, labels):
        passes.append(ids.shape)
        output = model(input_ids=ids, labels=labels, fused_lm_head=True)
        return output.log_probs, output.entropy

    weights = torch.randn(9, 15)
    found, entropy = policy_logps(score, batch, chunk=chunk, n_passes=n_passes)
    if n_passes:
        assert len(passes) == n_passes * (3 if chunk else 1)
    expected, expected_entropy = one_by_one(model, prompts, completions, 0.7)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    scored = expected != 0
    torch.testing.assert_close(entropy[scored], expected_entropy[scored], rtol=0, atol=2e-5)
    gradients = []
    for logps in (found, expected):
        model.zero_grad()
        (logps * weights).sum().backward()
        gradients.append([weight.grad.clone() for weight in model.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_rows_left_out_are_zero_and_do_not_move_the_mean_entropy(scorer):
    model, _ = scorer
    batch, *_ = ragged_batch(np.random.Generator(np.random.Philox(2)), 5)

    def score(ids, labels):
        output = model(input_ids=ids, labels=labels, fused_lm_head=True)
        return output.log_probs, output.entropy

    whole, entropies = policy_logps(score, batch)
    moving = torch.tensor([True, False, True, False, False])
    found, filled = policy_logps(score, batch, moving)
    torch.testing.assert_close(found[moving], whole[moving])
    assert (found[~moving] == 0).all()
    mask = batch.attention_mask[:, -15:].bool()
    mean = entropies[moving][mask[moving]].mean()
    assert filled[mask].mean().item() == pytest.approx(mean.item(), rel=1e-5)
    none, _ = policy_logps(score, batch, torch.zeros(5, dtype=torch.bool))
    assert (none != 0).any(dim=1).sum() == 1, "one row stays, for the backward pass"


# --- the head


def test_the_compact_head_is_trls(scorer):
    """TRL's fused head on the same call: values, entropies and gradients."""
    model, fused = scorer
    ids = torch.randint(5, 200, (3, 9))
    labels = ids.clone()
    labels[:, :4] = -100
    labels[1, 6:] = -100
    gradients = []
    for forward in (model.forward, fused):
        model.zero_grad()
        output = forward(input_ids=ids, labels=labels, fused_lm_head=True)
        (output.log_probs * torch.arange(24).view(3, 8)).sum().backward()
        gradients.append((output.log_probs, output.entropy, *(w.grad.clone() for w in model.parameters())))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_heads_gradient_by_differences():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(4, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    weight = torch.randn(6, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    targets = torch.tensor([0, 5, 2, 2])
    assert torch.autograd.gradcheck(lambda h, w: TokenLogps.apply(h, w, targets, 0.7)[0], (hidden, weight))


def test_a_head_that_does_more_is_left_to_trl():
    """A soft cap changes the logits: the compact head must not answer for it."""
    model = make_tiny_model(make_tiny_tokenizer())
    model.config.final_logit_softcapping = 0.5
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    fused = model.forward
    add_compact_head(model, 1.0)
    ids = torch.randint(5, 200, (2, 6))
    ours, theirs = (f(input_ids=ids, labels=ids, fused_lm_head=True).log_probs for f in (model.forward, fused))
    assert torch.equal(ours, theirs)


# --- whole steps


def assert_same_weights(a, b, atol):
    for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=atol)


def changed(model, folder):
    fresh = load_hf_model(ModelSpec(str(folder), device="cpu")).model
    pairs = zip(model.state_dict().values(), fresh.state_dict().values(), strict=True)
    return max((x - y).abs().max().item() for x, y in pairs)


@pytest.mark.parametrize("loss_type", LOSSES)
@pytest.mark.parametrize("extra", [{"kl_beta": 0.0}, {"kl_beta": 0.1}, {"kl_beta": 0.0, "micro_batch_size": 4}])
def test_the_same_weights_as_without(make_job, tiny_model_folder, loss_type, extra):  # noqa: F811
    """Three steps: the same completions and rewards, losses and weights as TRL's update, up to rounding."""
    common = {"steps": 3, "learning_rate": 1e-3, "save_every": 100, "loss_type": loss_type, **extra}
    theirs, before = train(make_job("a", length_bucketed=False, **common), tiny_model_folder)
    ours, after = train(make_job("b", **common), tiny_model_folder)
    assert any(row["advantage"] == 0 for step in before for row in step.rollouts), "nothing was left out"
    written = [[row["completion"] for step in steps for row in step.rollouts] for steps in (before, after)]
    assert written[0] == written[1]
    assert changed(theirs, tiny_model_folder) > 1e-3
    assert_same_weights(theirs, ours, atol=5e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**31))
def test_any_ragged_batch(scorer, rows, seed):
    model, _ = scorer
    batch, prompts, completions = ragged_batch(np.random.Generator(np.random.Philox(seed)), rows)
    found, _ = policy_logps(lambda i, y: (model(input_ids=i, labels=y, fused_lm_head=True).log_probs, None), batch)
    expected, _ = one_by_one(model, prompts, completions, 0.7)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-5)
