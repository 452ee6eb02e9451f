"""Prompts of one question are read once: which share a stem, the same tokens as without, fewer positions."""

from __future__ import annotations

import pytest
import torch
from conftest import make_tiny_tokenizer
from test_generation import random_prompts, reading
from test_models import lively_model

from lrpo_bench.models.base import Sampling
from lrpo_bench.models.generation import Ends, Loop
from lrpo_bench.models.stems import Stems, batch_by_stems, find_stems


@pytest.fixture(scope="module")
def raw():
    return lively_model(make_tiny_tokenizer())


def questions(n, length=20, step=3):
    """Questions of different lengths that begin differently."""
    return [tuple((7 * i + j) % 200 + 20 for j in range(length + step * i)) for i in range(n)]


def tagged(question, *tags):
    return [(*question, *tag) for tag in tags]


def test_stems_are_what_a_groups_prompts_have_in_common():
    a, b = questions(2)
    prompts = [*tagged(a, (3,), (4,)), *tagged(b, (3,), (5, 6), (5, 7)), *tagged(a, (8, 9))]
    found = find_stems(prompts)
    assert {found.stems[number] for number in found.of} == {a, b}
    assert [found.stems[number] for number in found.of] == [a, a, b, b, b, a]


def test_a_prompt_that_is_the_beginning_of_another_keeps_a_token_of_its_own():
    (question,) = questions(1)
    assert find_stems([question, (*question, 3), (*question, 4)]) == Stems((question[:-1],), (0, 0, 0))


@pytest.mark.parametrize(
    "prompts",
    [
        random_prompts(6),
        [(3, *q) for q in questions(1)] + [(4, *q) for q in questions(1)],  # what differs stands before
        [(5,), (6,)],
        questions(3),  # three questions, asked once each
    ],
    ids=["random", "prefixes", "single tokens", "one prompt a question"],
)
def test_nothing_is_shared_where_nothing_is_saved(prompts):
    assert find_stems(prompts) is None


def decode(model, prompts, *, by_stems, sources=None, temperature=0.0):
    loop = Loop(model, Ends((1,)), 0)
    if by_stems:
        loop.new_batch = batch_by_stems
    if sources is None:
        return loop.decode(prompts, Sampling(14, temperature, n=1 if temperature == 0 else 3, seed=5), 0)
    return loop.sample(prompts, sources, 14, lambda logits, rows: logits.argmax(-1))


CASES = {
    "equal lengths": [p for q in questions(3, step=0) for p in tagged(q, (3,), (4,), (5,))],
    "questions of other lengths": [p for q in questions(4) for p in tagged(q, (3,), (4,))],
    "tags of other lengths": [p for q in questions(3) for p in tagged(q, (3,), (4, 5, 6), (7, 8))],
    "one alone": [*tagged(questions(2)[0], (3,), (4,), (5,)), questions(2)[1]],
}


@pytest.mark.parametrize("prompts", CASES.values(), ids=CASES)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_tokens_are_those_of_prompts_read_whole(raw, prompts, temperature):
    assert find_stems(prompts) is not None
    seen, handle = reading(raw)
    found = decode(raw, prompts, by_stems=True, temperature=temperature)
    handle.remove()
    assert found == decode(raw, prompts, by_stems=False, temperature=temperature)
    n_questions = len(set(find_stems(prompts).of))
    assert seen[0][0] == n_questions, "a question is read once"
    assert seen[1][0] == len(prompts) and seen[1][1] <= 5, "and then only the ends"


def test_rollouts_come_in_the_order_of_their_sources(raw):
    prompts = CASES["tags of other lengths"]
    sources = [4, 0, 0, 8, 2, 4]
    found = decode(raw, prompts, by_stems=True, sources=sources)
    assert found == decode(raw, prompts, by_stems=False, sources=sources)
    assert found[1] == found[2] and found[0] == found[5] and len({tuple(row) for row in found}) > 2


def test_logits_are_those_of_plain_passes(raw):
    prompts = CASES["tags of other lengths"]
    with torch.no_grad():
        found = batch_by_stems(raw, prompts, 4, 0).prefill()
        expected = torch.cat([raw(input_ids=torch.tensor([prompt])).logits[:, -1] for prompt in prompts])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
