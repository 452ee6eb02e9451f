"""The likeliest token by a coarse pass and exact logits of what is left, against the logits of all."""

from __future__ import annotations

import pytest
import torch
from conftest import make_tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from test_models import lively_model

from lrpo_bench.models import greedy_head
from lrpo_bench.models.base import Sampling
from lrpo_bench.models.generation import Ends, Loop
from lrpo_bench.models.greedy_head import GreedyHead, agrees


def linear(vocabulary: int, width: int, seed: int, scale: float = 1.0) -> torch.nn.Linear:
    head = torch.nn.Linear(width, vocabulary, bias=False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.copy_(scale * torch.randn(vocabulary, width, generator=generator))
    return head


def states(rows: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([4, 33, 128]), st.sampled_from([1e-3, 1.0, 50.0]))
def test_it_finds_what_all_logits_say(seed, width, scale):
    head, hidden = linear(700, width, seed, scale), states(5, width, seed + 1)
    with torch.no_grad():
        logits = head(hidden)
        found = GreedyHead(head).best(hidden)
    assert (logits.gather(1, found[:, None])[:, 0] >= logits.amax(dim=1) * (1 - 1e-5)).all()


@torch.no_grad()
def test_tokens_that_bfloat16_can_not_tell_apart():
    """All weights round to the same bfloat16 numbers; only exact logits tell which is the largest."""
    head = linear(1000, 64, 0)
    head.weight.copy_(head.weight[:1].to(torch.bfloat16).float().repeat(1000, 1))
    head.weight[417] += 1e-4 * head.weight[417].sign()
    assert len(head.weight.to(torch.bfloat16).unique(dim=0)) == 1
    hidden = head.weight[:2] * torch.tensor([[1.0], [3.0]])
    assert GreedyHead(head).best(hidden).tolist() == [417, 417] == head(hidden).argmax(dim=1).tolist()


@torch.no_grad()
def test_the_first_of_equal_ones_and_states_that_are_no_numbers():
    head = linear(50, 8, 1)
    head.weight[[7, 30]] = 5.0
    hidden = torch.ones(3, 8)
    hidden[1] = torch.nan
    assert GreedyHead(head).best(hidden).tolist() == [7, int(head(hidden)[1].argmax()), 7]
    assert GreedyHead(head).best(torch.zeros(1, 8)).tolist() == [0]


@torch.no_grad()
def test_rounding_that_turns_two_tokens_round():
    """Above 1 bfloat16 has steps of 2^-7. All of token 0's weights lie just below half a step and are rounded down.

    Half of token 1's lie just above and are rounded up, the others are 1: coarsely token 1 is larger, exactly 0 is.
    """
    head = torch.nn.Linear(256, 2, bias=False)
    head.weight[0] = 1 + 2.0**-8 - 2.0**-20
    head.weight[1] = 1.0
    head.weight[1, :128] = 1 + 2.0**-8 + 2.0**-20
    hidden = torch.ones(1, 256)
    coarse = torch.nn.functional.linear(hidden, head.weight.to(torch.bfloat16).float())
    assert coarse.argmax(dim=1).tolist() == [1]
    assert GreedyHead(head).best(hidden).tolist() == [0] == head(hidden).argmax(dim=1).tolist()


@pytest.fixture
def eager(monkeypatch):
    monkeypatch.setattr(greedy_head, "_WORTH", (0, 0))
    monkeypatch.setattr(greedy_head, "has_fast_bfloat16", lambda: True)


def test_decoding_takes_it_and_says_the_same(eager, monkeypatch):
    raw = lively_model(make_tiny_tokenizer())
    prompts = [[5, 6, 7, 8, 9], [8, 9], [11, 4, 5]]
    used = []
    best = GreedyHead.best
    monkeypatch.setattr(GreedyHead, "best", lambda self, hidden: used.append(1) or best(self, hidden))
    found = Loop(raw, Ends((1,)), 0).decode(prompts, Sampling(12), 0)
    assert len(used) > 8
    monkeypatch.setattr(greedy_head, "has_fast_bfloat16", lambda: False)
    used.clear()
    assert Loop(raw, Ends((1,)), 0).decode(prompts, Sampling(12), 0) == found and not used
    assert "forward" not in vars(raw.get_output_embeddings())


def test_a_model_that_changes_what_its_head_says_is_found_out(eager, monkeypatch):
    """Its logits are turned round after the head, so that the head's largest is the model's smallest."""
    raw = lively_model(make_tiny_tokenizer())
    forward = raw.forward

    def turned(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits = -output.logits
        return output

    monkeypatch.setattr(raw, "forward", turned)
    prompts = [[5, 6, 7, 8, 9], [8, 9]]
    found = Loop(raw, Ends((1,)), 0).decode(prompts, Sampling(12), 0)
    monkeypatch.setattr(greedy_head, "has_fast_bfloat16", lambda: False)
    assert Loop(raw, Ends((1,)), 0).decode(prompts, Sampling(12), 0) == found


def test_a_model_that_never_asks_its_head_decodes_without_it(eager, monkeypatch):
    """It multiplies by the head's weights itself."""
    raw = lively_model(make_tiny_tokenizer())
    prompts = [[5, 6, 7, 8, 9], [8, 9]]
    expected = Loop(raw, Ends((1,)), 0).decode(prompts, Sampling(12), 0)
    aside = linear(4, 8, 0)
    aside.weight = raw.get_output_embeddings().weight
    monkeypatch.setattr(raw, "get_output_embeddings", lambda: aside)
    assert Loop(raw, Ends((1,)), 0).decode(prompts, Sampling(12), 0) == expected


def test_agreement():
    logits = torch.tensor([[1.0, 3.0], [2.0, 2.0]])
    assert agrees(torch.tensor([1, 1]), logits) and agrees(torch.tensor([1, 0]), logits)
    assert not agrees(torch.tensor([0, 0]), logits) and not agrees(torch.tensor([1, 2]), logits)
