"""Packed log-likelihoods against one forward pass a token; packing against the set of distinct beginnings."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from conftest import make_tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from test_models import asked, lively_model, log_likelihood_by_loop, wrap

from lrpo_bench.models import scoring
from lrpo_bench.models.packing import Group, Row, differing, group_by_prefix, pack
from lrpo_bench.models.scoring import Scorer

# --- packing


@st.composite
def rows_of_few_tokens(draw):
    tokens = draw(st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=7), min_size=1, max_size=12))
    return [Row(tuple(row), draw(st.integers(1, len(row)))) for row in tokens]


def seen_by(found, place):
    """Tokens that a token may look at, itself last, by the rule of the mask."""
    return [found.tokens[j] for j in range(place + 1) if found.last[j] >= place]


@settings(max_examples=150, deadline=None)
@given(rows_of_few_tokens(), st.integers(1, 40), st.integers(1, 5))
def test_each_prediction_sees_its_own_row_and_nothing_else(rows, width, max_rows):
    (group,) = group_by_prefix(rows, min_prefix=99, width=width)
    packs = pack(rows, group, width=width, max_rows=max_rows)
    numbers = []
    for found in packs:
        assert len(found.rows) <= max_rows
        for number, wanted in found.rows:
            row = rows[number]
            numbers.append(number)
            assert [found.targets[i] for i in wanted] == list(row.tokens[row.first :])
            for offset, i in enumerate(wanted):
                assert seen_by(found, found.parents[i]) == list(row.tokens[: row.first + offset])
                assert found.positions[found.parents[i]] == row.first + offset - 1
    assert sorted(numbers) == list(range(len(rows)))


@given(rows_of_few_tokens())
def test_in_one_pack_every_distinct_beginning_stands_once(rows):
    (found,) = pack(rows, Group(0, group_by_prefix(rows, min_prefix=99, width=1)[0].members), width=999, max_rows=99)
    beginnings = {row.tokens[:n] for row in rows for n in range(1, len(row.tokens))}
    assert len(found.tokens) == len(beginnings)
    scored = {row.tokens[: n + 1] for row in rows for n in range(row.first, len(row.tokens))}
    assert len(found.targets) == len(scored)


@given(rows_of_few_tokens(), st.integers(1, 4), st.integers(1, 5))
def test_groups_hold_every_row_once_and_begin_alike(rows, min_prefix, width):
    groups = group_by_prefix(rows, min_prefix=min_prefix, width=width)
    assert sorted(i for group in groups for i in group.members) == list(range(len(rows)))
    for group in groups:
        assert len({rows[i].tokens[: group.start] for i in group.members}) == 1
        assert all(rows[i].first > group.start for i in group.members)


def test_equal_options_still_ask_the_model():
    """So that a model that says no numbers is found out, whatever the options."""
    assert differing([Row((1, 2, 3), 1)] * 2) == [Row((1, 2, 3), 2)] * 2
    assert differing([Row((1, 2, 3), 1)]) == [Row((1, 2, 3), 2)]
    assert differing([Row((1, 2), 2), Row((1, 2, 3), 2)]) == [Row((1, 2), 2), Row((1, 2, 3), 2)]


@given(rows_of_few_tokens())
def test_options_lose_one_addend_all_alike(rows):
    """Whatever the options are, what is not scored any more are the same tokens at the same places."""
    first = min(len(row.tokens) for row in rows) - 1
    options = [Row(row.tokens, first) for row in rows] if first else rows
    dropped = {
        (row.first, row.tokens[row.first : new.first]) for row, new in zip(options, differing(options), strict=True)
    }
    assert len({tokens for _, tokens in dropped}) == 1


# --- the three ways


def random_rows(n, seed=0, prefix=()):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        question = rng.integers(5, 260, size=rng.integers(1, 9)).tolist()
        for _ in range(3):
            option = rng.integers(5, 260, size=rng.integers(0, 5)).tolist()
            rows.append(Row((1, *prefix, *question, *option), 1 + len(prefix) + len(question)))
    return rows


def by_loop(model, rows):
    return [log_likelihood_by_loop(model, row.tokens[: row.first], row.tokens[row.first :]) for row in rows]


@pytest.fixture(scope="module")
def raw():
    return lively_model(make_tiny_tokenizer())


@pytest.mark.parametrize("way", ["packed", "batched", "full"])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_every_way_equals_one_pass_a_token(raw, way, batch_size):
    rows = random_rows(4)
    scorer = Scorer(raw, batch_size, 0)
    scorer.way = way
    assert scorer.sums(rows).tolist() == pytest.approx(by_loop(raw, rows), abs=1e-3)


def test_a_long_common_beginning_is_computed_once(raw, monkeypatch):
    """Forty tokens before every question: the model reads them once, and the values are those of a plain loop."""
    monkeypatch.setattr(scoring, "MIN_PREFIX", 8)
    monkeypatch.setattr(scoring, "PACK_WIDTH", 16)
    rows = random_rows(6, prefix=tuple(range(10, 50)))
    read = []
    handle = raw.get_input_embeddings().register_forward_pre_hook(lambda _, given: read.append(given[0].numel()))
    scorer = Scorer(raw, 100, 0)
    scorer.way = "packed"
    found = scorer.sums(rows)
    handle.remove()
    assert read[0] == 41, "the shared tokens, by themselves"
    assert sum(read) < 41 + sum(len(row.tokens) - 41 for row in rows) + 60
    assert found.tolist() == pytest.approx(by_loop(raw, rows), abs=1e-3)


def test_one_token_options_take_one_pass_and_one_position_with_logits(raw):
    model = wrap(raw, make_tiny_tokenizer())
    model.loglikelihood([asked("Hi")], [["a", "b"]])  # decides
    shapes = []
    handle = raw.get_output_embeddings().register_forward_hook(lambda *given: shapes.append(tuple(given[2].shape)))
    model.loglikelihood([asked("What is it?")], [["A", "B", "C", "D"]])
    handle.remove()
    assert shapes == [(1, 1, 261)]


def test_logits_exist_at_option_positions_only_and_within_the_limit(raw):
    rows = [Row((1, *range(5, 35), 40 + i, 60 + i, 80), 31) for i in range(9)]
    scorer = Scorer(raw, 100, 0)
    scorer.way, scorer.limits = "packed", scoring.Limits(rows=100, logits=261 * 20, tokens=1024)
    shapes = []
    handle = raw.get_output_embeddings().register_forward_hook(lambda *given: shapes.append(given[2].shape[1]))
    scorer.sums(rows)
    handle.remove()
    # one position for the first token of all, and two more for each row
    assert sum(shapes) == 1 + 9 * 2


def test_nothing_to_score_is_nothing(raw):
    scorer = Scorer(raw, 4, 0)
    assert scorer.sums([]).shape == (0,)
    assert scorer.sums([Row((1, 7, 8), 3)] * 2).tolist() == [0.0, 0.0]


# --- models of other kinds


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=261, n_positions=64, n_embd=16, n_layer=2, n_head=2))


def bloom():
    from transformers import BloomConfig, BloomForCausalLM

    return BloomForCausalLM(BloomConfig(vocab_size=261, hidden_size=16, n_layer=2, n_head=2))


def gemma2():
    from transformers import Gemma2Config, Gemma2ForCausalLM

    return Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=261, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8, sliding_window=16, final_logit_softcapping=2.0,
        )
    )  # fmt: skip


OTHERS = {"gpt2": (gpt2, "packed"), "bloom": (bloom, "batched"), "gemma2": (gemma2, "packed")}


@pytest.mark.parametrize(("make", "way"), OTHERS.values(), ids=OTHERS.keys())
def test_other_kinds_of_models_get_a_way_that_is_right(make, way, caplog):
    """Bloom has no positions to give; Gemma 2 caps its logits, and its windows are shorter than some of the rows."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = make().eval()
    short, long = random_rows(2), random_rows(2, seed=3, prefix=tuple(range(30, 45)))
    scorer = Scorer(model, 8, 0)
    with caplog.at_level(logging.INFO, logger="lrpo_bench"):
        found = scorer.sums(short)
    assert scorer.way == way
    assert found.tolist() == pytest.approx(by_loop(model, short), abs=1e-3)
    assert scorer.sums(long).tolist() == pytest.approx(by_loop(model, long), abs=1e-3)
    assert ("not computed packed" in caplog.text) == (way != "packed")
