"""The vLLM backend on a fake of vLLM's interface that computes with transformers: the same answers as our own backend.

The fake takes only arguments that vLLM documents (0.22 to 0.31). What vLLM itself answers was never seen.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from conftest import make_tiny_tokenizer
from test_models import PROMPTS, lively_model

from lrpo_bench.cli import main
from lrpo_bench.errors import ModelError
from lrpo_bench.models.base import Sampling
from lrpo_bench.models.cache import identity_of
from lrpo_bench.models.load import ModelSpec, load_model

ENGINES = []


@dataclass
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: list = field(default_factory=list)
    stop_token_ids: list = field(default_factory=list)
    max_tokens: int = 16
    prompt_logprobs: int | None = None
    detokenize: bool = True


@dataclass
class Logprob:
    logprob: float


@dataclass
class CompletionOutput:
    index: int
    token_ids: tuple
    finish_reason: str
    stop_reason: object = None


@dataclass
class RequestOutput:
    outputs: list
    prompt_logprobs: list | None


class LLM:
    """One prompt at a time, by plain forward passes; leaves the end token out of `token_ids` on request."""

    lists_the_end = True

    def __init__(
        self, model, *, tokenizer, revision, tokenizer_revision, trust_remote_code, dtype, max_model_len,
        tensor_parallel_size, gpu_memory_utilization, enable_prefix_caching, generation_config, seed,
    ):  # fmt: skip
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.arguments = {"dtype": dtype, "tensor_parallel_size": tensor_parallel_size, "max_model_len": max_model_len}
        self.model = AutoModelForCausalLM.from_pretrained(model).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(tokenizer)
        self.seeds, self.context = [], max_model_len
        ENGINES.append(self)

    def generate(self, prompts, sampling_params, *, use_tqdm):
        assert not use_tqdm
        alike = [sampling_params] * len(prompts) if isinstance(sampling_params, SamplingParams) else sampling_params
        return [self._answer(prompt["prompt_token_ids"], asked) for prompt, asked in zip(prompts, alike, strict=True)]

    @torch.no_grad()
    def _answer(self, ids, asked):
        assert all(isinstance(token, int) for token in ids)
        assert 0 < len(ids) < self.context, "vLLM wants room for a token"
        self.seeds.append(asked.seed)
        outputs = [self._complete(ids, asked, index) for index in range(asked.n)]
        scored = None
        if asked.prompt_logprobs is not None:
            logps = torch.log_softmax(self.model(input_ids=torch.tensor([ids])).logits[0].double(), -1)
            scored = [None, *({t: Logprob(float(logps[i, t]))} for i, t in enumerate(ids[1:]))]
        return RequestOutput(outputs[::-1], scored)  # vLLM does not promise their order

    def _complete(self, ids, asked, index):
        generator = torch.Generator().manual_seed(((asked.seed or 0) + index) % 2**63)
        new = []
        while len(new) < asked.max_tokens:
            logits = self.model(input_ids=torch.tensor([[*ids, *new]])).logits[0, -1]
            if asked.temperature == 0:
                token = int(logits.argmax())
            else:
                token = int(torch.multinomial(torch.softmax(logits / asked.temperature, -1), 1, generator=generator))
            new.append(token)
            if token in asked.stop_token_ids:
                return CompletionOutput(index, tuple(new if self.lists_the_end else new[:-1]), "stop", token)
            text = self.tokenizer.decode(new, skip_special_tokens=True)
            if any(stop in text for stop in asked.stop):
                return CompletionOutput(index, tuple(new), "stop", next(s for s in asked.stop if s in text))
        return CompletionOutput(index, tuple(new), "length")


@pytest.fixture
def fake(monkeypatch):
    module = types.ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams
    module.__spec__ = types.SimpleNamespace(name="vllm", loader=None)
    monkeypatch.setitem(sys.modules, "vllm", module)
    ENGINES.clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("lively")
    tokenizer = make_tiny_tokenizer()
    lively_model(tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture
def both(fake, folder):
    spec = ModelSpec(folder, dtype="float32", device="cpu")
    return load_model(spec), load_model(ModelSpec(folder, dtype="float32", backend="vllm"))


def test_greedy_answers_are_those_of_the_other_backend(both, monkeypatch):
    ours, theirs = both
    expected = ours.generate(PROMPTS, Sampling(20))
    assert {row[0].finish_reason for row in expected} == {"stop", "length"}
    assert theirs.generate(PROMPTS, Sampling(20)) == expected
    monkeypatch.setattr(LLM, "lists_the_end", False)
    assert theirs.generate(PROMPTS, Sampling(20)) == expected


def test_log_likelihoods_too(both):
    options = [("yes", "no", ""), (" a", "ab ab"), ("x",), ("drei", "vier"), ("ใช่",), ("c", "d")]
    for a, b in zip(*(model.loglikelihood(PROMPTS, options) for model in both), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_what_does_not_fit_the_context_is_cut_and_scored(both):
    """A row of more tokens than the engine takes keeps its end: the same last tokens, given a shorter beginning."""
    _, model = both
    long = ({"role": "user", "content": "a" * 1000},)
    (found,) = model.loglikelihood([long], [("bc", "xc")])
    ids = [*model.tokenizer("a" * 1000 + "\n>bc", add_special_tokens=False)["input_ids"]][-(model.scorer.context - 1) :]
    with torch.no_grad():
        logps = torch.log_softmax(ENGINES[0].model(input_ids=torch.tensor([ids])).logits[0].double(), -1)
    assert found[0] == pytest.approx(float(logps[-3, ids[-2]] + logps[-2, ids[-1]]), rel=1e-5)


def test_a_stop_string_ends_a_response(both):
    ours, _theirs = both
    whole = max((draws[0].text for draws in ours.generate(PROMPTS, Sampling(40))), key=len)
    stop = whole[len(whole) // 3]
    expected, found = (model.generate(PROMPTS, Sampling(40, stop=(stop, ""))) for model in both)
    assert [row[0].text for row in found] == [row[0].text for row in expected]
    assert [row[0].finish_reason for row in found] == [row[0].finish_reason for row in expected]
    assert all(stop not in row[0].text for row in found)


def test_draws_have_seeds_of_their_own(both):
    _, model = both
    first, again, other = (model.generate(PROMPTS, Sampling(12, 1.0, n=3, seed=seed)) for seed in (4, 4, 5))
    assert first == again != other
    assert all(len(row) == 3 for row in first)
    assert any(len({completion.text for completion in row}) > 1 for row in first)
    seeds = ENGINES[0].seeds
    n = len(PROMPTS)
    assert len(set(seeds[:n])) == n and seeds[:n] == seeds[n : 2 * n] != seeds[2 * n :]


def test_identity_is_that_of_the_other_backend(both):
    assert both[0].info == both[1].info
    assert ENGINES[0].arguments == {"dtype": "float32", "tensor_parallel_size": 1, "max_model_len": 256}


def test_an_engine_that_does_not_start_is_one_line(fake, folder, monkeypatch):
    def no_gpu(*_, **__):
        raise RuntimeError("Failed to infer device type\nsee the trace above")

    monkeypatch.setattr(sys.modules["vllm"], "LLM", no_gpu)
    with pytest.raises(ModelError, match=r"could not load model by vLLM from .*: Failed to infer device type$"):
        load_model(ModelSpec(folder, backend="vllm"))


def test_a_whole_evaluation(fake, folder, tmp_path):
    def evaluate(name, *settings):
        out = tmp_path / name
        options = ["--model", folder, "--tasks", "arithmetic", "--languages", "de", "--limit", "3", "--out", str(out)]
        more = ("eval.draws=0", "eval.max_completion_tokens=8", "model.dtype=float32", *settings)
        assert main(["eval", *options, *(part for each in more for part in ("--set", each))]) == 0
        return (out / "before" / "responses.parquet").read_bytes()

    assert evaluate("vllm", "model.backend=vllm") == evaluate("hf", "model.device=cpu")


def test_without_vllm_it_is_one_line_and_nothing_is_made(tmp_path, capsys, folder):
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vLLM is here")
    out = tmp_path / "run"
    options = ["--model", folder, "--tasks", "arithmetic", "--limit", "2", "--out", str(out)]
    assert main(["eval", *options, "--set", "model.backend=vllm"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert 'needs the package vllm, which is not installed; pip install "lrpo-bench[vllm]"' in error
    assert not out.exists()


def test_the_number_of_cards_is_part_of_what_identifies_cached_responses(both):
    _, model = both
    before = identity_of(model)
    model.tensor_parallel = 2
    assert identity_of(model) != before
    model.tensor_parallel, model.card = 1, "another card"
    assert identity_of(model) != before
