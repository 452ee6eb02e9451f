"""The decoding loop against transformers' `generate`: the same greedy tokens, less work."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from conftest import make_tiny_tokenizer
from test_models import PROMPTS, asked, lively_model, wrap
from test_scoring import bloom, gpt2

from lrpo_bench.errors import ModelError, UnknownNameError
from lrpo_bench.models import batches
from lrpo_bench.models.base import Sampling
from lrpo_bench.models.decoding import Decoder, until_eos
from lrpo_bench.models.generation import Ends, Loop, nucleus, refusal
from lrpo_bench.models.hf import HFModel


@pytest.fixture(scope="module")
def raw():
    return lively_model(make_tiny_tokenizer())


def random_prompts(n, seed=0, prefix=()):
    rng = np.random.default_rng(seed)
    return [[*prefix, *rng.integers(5, 260, size=rng.integers(1, 9)).tolist()] for _ in range(n)]


def reading(model):
    """Counts (rows, tokens a row) of every forward pass."""
    seen = []
    handle = model.get_input_embeddings().register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    return seen, handle


def by_generate(model, prompts, tokens, eos=1):
    """One prompt at a time, no padding."""
    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        whole = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False,
            eos_token_id=eos, pad_token_id=0,
        )  # fmt: skip
        found.append(whole[0, len(prompt) :].tolist())
    return found


def decoded(model, prompts, sampling, way="loop", eos=(1,)):
    return Decoder(model, eos, 0, way).decode(prompts, sampling, 0, lambda ids: "")


# --- the same tokens


@pytest.mark.parametrize("way", ["auto", "loop", "generate", "static"])
def test_every_way_says_what_generate_says(raw, way):
    prompts = random_prompts(7)
    assert decoded(raw, prompts, Sampling(14), way) == by_generate(raw, prompts, 14)


@pytest.mark.slow
def test_on_the_embedded_model_too():
    from lrpo_bench.models.load import ModelSpec, load_hf_model

    texts = ["What is 12 + 7?", "Anna hat 3 Äpfel.", "Tom", "ทอมมีแอปเปิล 5 ผล ซื้ออีก 3 ผล รวมมีกี่ผล", "x " * 40]
    answers = [
        load_hf_model(ModelSpec("embedded:default", device="cpu", generation=way)).generate(
            [asked(text) for text in texts], Sampling(48)
        )
        for way in ("loop", "generate")
    ]
    assert answers[0] == answers[1]


def test_gpt2_positions(raw):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = gpt2().eval()
    prompts = random_prompts(4)
    assert refusal(model, prompts, 0) == ""
    assert decoded(model, prompts, Sampling(9)) == by_generate(model, prompts, 9)


# --- less work


def test_rows_that_ended_leave_the_batch(raw):
    prompts = random_prompts(8)
    full = by_generate(raw, prompts, 24, eos=0)
    ends = full[0][1]  # what the first prompt says second becomes the end
    expected = by_generate(raw, prompts, 24, eos=ends)
    seen, handle = reading(raw)
    found = Loop(raw, Ends((ends,)), 0).decode(prompts, Sampling(24), 0)
    handle.remove()
    assert [until_eos(row, (ends,)) for row in found] == expected
    steps = [rows for rows, width in seen if width == 1]
    assert steps[-1] < steps[0]
    assert min(len(row) for row in expected) < 24


def test_draws_share_their_prompt(raw):
    loop = Loop(raw, Ends((1,)), 0)
    seen, handle = reading(raw)
    found = loop.decode([[5, 6, 7], [8, 9]], Sampling(4, 1.0, n=5), 0)
    handle.remove()
    assert len(found) == 10
    assert seen[0] == (2, 3), "two prompts are read, not ten"
    assert seen[1][1] == 1 and seen[1][0] <= 10


def test_a_long_common_beginning_is_read_once(raw, monkeypatch):
    monkeypatch.setattr(batches, "MIN_PREFIX", 8)
    prompts = random_prompts(5, prefix=range(10, 40))
    seen, handle = reading(raw)
    found = decoded(raw, prompts, Sampling(6))
    handle.remove()
    assert (1, 30) in seen
    assert found == by_generate(raw, prompts, 6)


@pytest.mark.parametrize("prefix", [(), range(10, 40)])
def test_prompts_of_like_length_are_read_together_and_without_pads(raw, monkeypatch, prefix):
    monkeypatch.setattr(batches, "MIN_PREFIX", 8)
    monkeypatch.setattr(batches, "_ENOUGH", {"cpu": 1, "other": 1})
    prompts = random_prompts(7, prefix=prefix)
    seen, handle = reading(raw)
    found = Loop(raw, Ends((1,)), 0).decode(prompts, Sampling(6), 0)
    handle.remove()
    lengths = [len(prompt) - len(prefix) for prompt in prompts]
    read = [rows * width for rows, width in seen[bool(prefix) :] if (rows, width) != (7, 1)]
    assert len(set(lengths)) > 2 and sum(read) == sum(lengths), "no position is read that is no token of a prompt"
    assert [until_eos(row, (1,)) for row in found] == by_generate(raw, prompts, 6)


def test_a_stop_string_ends_a_response(raw):
    """Decoding stops within eight tokens of the stop string, and the text is what a full response cut there is."""
    model = wrap(raw, make_tiny_tokenizer())
    answers = [draws[0].text for draws in model.generate(PROMPTS, Sampling(60))]
    prompt, whole = max(zip(PROMPTS, answers, strict=True), key=lambda pair: len(pair[1]))
    stop = whole[len(whole) // 4]
    seen, handle = reading(raw)
    cut = model.generate([prompt], Sampling(60, stop=(stop,)))[0][0]
    handle.remove()
    assert cut.text == whole.partition(stop)[0]
    assert cut.finish_reason == "stop"
    assert cut.n_tokens <= len(seen) < 50
    assert (
        wrap(raw, make_tiny_tokenizer(), generation="generate").generate([prompt], Sampling(60, stop=(stop,)))[0][0]
        == cut
    )


# --- sampling


@pytest.mark.parametrize("top_p", [0.2, 0.5, 0.9, 0.999])
def test_nucleus_keeps_what_transformers_keeps(top_p):
    from transformers import TopPLogitsWarper

    logits = torch.randn(6, 40, generator=torch.Generator().manual_seed(3))
    kept = TopPLogitsWarper(top_p)(None, logits.clone()).isfinite()
    assert torch.equal(nucleus(torch.softmax(logits, -1), top_p) > 0, kept)


def test_draws_follow_the_models_distribution(raw):
    """3,000 first tokens of one prompt against its softmax at temperature 2; chi-square over the likely tokens."""
    from scipy.stats import chisquare

    draws = [ids[0] for ids in Loop(raw, Ends((1,)), 0).decode([[5, 6, 7]], Sampling(1, 2.0, n=3000, seed=4), 0)]
    with torch.no_grad():
        probs = torch.softmax(raw(input_ids=torch.tensor([[5, 6, 7]])).logits[0, -1].double() / 2.0, -1).numpy()
    likely = [token for token in range(len(probs)) if probs[token] * 3000 > 10]
    counts = [draws.count(token) for token in likely]
    counts, expected = [*counts, 3000 - sum(counts)], [*(3000 * probs[likely]), 3000 * (1 - probs[likely].sum())]
    assert len(likely) > 5
    assert chisquare(counts, expected).pvalue > 1e-3


def test_a_batch_has_its_own_stream(raw):
    loop, sampling = Loop(raw, Ends((1,)), 0), Sampling(8, 1.0, n=2, seed=7)
    first, again, other = (loop.decode([[5, 6]], sampling, stream) for stream in (0, 0, 1))
    assert first == again != other


# --- which way


def test_a_model_without_positions_gets_generate_and_says_why(caplog):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = bloom().eval()
    decoder = Decoder(model, (1,), 0)
    with caplog.at_level(logging.INFO, logger="lrpo_bench"):
        decoder.decode([[5, 6]], Sampling(2), 0, lambda ids: "")
    assert decoder.way == "generate"
    assert "the model takes no positions" in caplog.text
    with pytest.raises(
        ModelError, match=r"'loop', as configured, does not suit .* takes no positions; use generation 'a"
    ):
        decoded(model, [[5, 6]], Sampling(2), "loop")
    kept = Decoder(model, (1,), 0)
    kept.keep("loop")
    with pytest.raises(ModelError, match=r"'loop', as this run began, does not suit .*; begin again with --overwrite"):
        kept.decode([[5, 6]], Sampling(2), 0, lambda ids: "")


def test_a_sliding_window_is_refused(raw):
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=261, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=4,
    )  # fmt: skip
    assert "layers of other kinds: DynamicSlidingWindowLayer" in refusal(MistralForCausalLM(config), [[5, 6]], 0)


def test_a_model_that_ignores_the_mask_is_found_out(raw, monkeypatch):
    forward = raw.model.forward
    monkeypatch.setattr(raw.model, "forward", lambda *a, attention_mask=None, **k: forward(*a, **k))
    assert "off a plain forward pass" in refusal(raw, [[5, 6], [7, 8, 9]], 0)


def test_unknown_ways_are_refused(raw):
    with pytest.raises(UnknownNameError, match="unknown way of generation 'lop'; did you mean 'loop'"):
        HFModel(raw, make_tiny_tokenizer(), None, generation="lop")
