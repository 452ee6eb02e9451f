"""Models against transformers' own generate, a plain per-token loop and lm-eval; prompts; load errors."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch
from conftest import make_tiny_model, make_tiny_tokenizer

from lrpo_bench.errors import ConfigError, ModelError, UnknownNameError
from lrpo_bench.models.base import ModelInfo, Sampling
from lrpo_bench.models.fake import MockModel
from lrpo_bench.models.hf import HFModel, eos_token_ids
from lrpo_bench.models.load import ModelSpec, load_hf_model, load_tokenizer
from lrpo_bench.models.prompting import SYSTEM_PROMPTS, build_prompt, render, resolve_instruct

TEXTS = ["What is 3 + 4?", "Hi", "", "Wie viele Äpfel bleiben übrig, wenn Anna drei isst?", "ใช่", "a b c " * 12]


def asked(text):
    return ({"role": "user", "content": text},)


PROMPTS = [asked(text) for text in TEXTS]


def lively_model(tokenizer):
    """Random weights large enough that the tiny model does not say one token for ever, and ends some responses."""
    model = make_tiny_model(tokenizer)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(0.0, 0.6, generator=generator)
    return model.eval()


def wrap(model, tokenizer, batch_size=32, context_length=256, generation="auto"):
    info = ModelInfo("tiny", None, "none", 0, "float32", context_length, bool(tokenizer.chat_template))
    return HFModel(model, tokenizer, info, batch_size, generation)


@pytest.fixture(scope="module")
def tokenizer():
    return make_tiny_tokenizer()


@pytest.fixture(scope="module")
def raw(tokenizer):
    return lively_model(tokenizer)


@pytest.fixture
def model(raw, tokenizer):
    return wrap(raw, tokenizer)


# --- generation


@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
def test_greedy_equals_transformers_one_prompt_at_a_time(raw, tokenizer, batch_size):
    """Neither batching nor the order by length may show."""
    found = wrap(raw, tokenizer, batch_size).generate(PROMPTS, Sampling(max_completion_tokens=20))
    lengths = set()
    for text, (completion,) in zip(TEXTS, found, strict=True):
        ids = tokenizer(f"{text}\n>", return_tensors="pt", add_special_tokens=False)
        whole = raw.generate(**ids, max_new_tokens=20, do_sample=False, eos_token_id=1, pad_token_id=0)[0]
        new = whole[ids["input_ids"].shape[1] :].tolist()
        assert completion.text == tokenizer.decode(new, skip_special_tokens=True).strip()
        assert completion.n_tokens == len(new)
        assert completion.finish_reason == ("stop" if new[-1] == 1 else "length")
        assert not completion.prompt_truncated
        lengths.add(len(new))
    assert len({completion.text for (completion,) in found}) > 3, "one answer to everything would test no order"


def test_a_response_that_ends_stops_there(raw, tokenizer):
    """The token that comes first becomes the end: one token, no text, `stop`, while the other prompt's goes on."""
    model = wrap(raw, tokenizer)
    ids = tokenizer("Hi\n>", return_tensors="pt", add_special_tokens=False)["input_ids"]
    first = int(raw(input_ids=ids).logits[0, -1].argmax())
    model.decoder.eos_ids = (first,)
    short, other = model.generate([asked("Hi"), asked("What is 3 + 4?")], Sampling(max_completion_tokens=6))
    assert (short[0].n_tokens, short[0].finish_reason) == (1, "stop")
    assert other[0].n_tokens > 1


def test_the_repository_defaults_do_not_apply(model, raw):
    """Qwen2.5 ships a repetition penalty of 1.05 and top_k 20: decoding is what `Sampling` says and nothing else."""
    greedy, sampled = Sampling(20), Sampling(20, 1.0, n=2)
    before = model.generate(PROMPTS, greedy), model.generate(PROMPTS, sampled)
    kept = raw.generation_config
    raw.generation_config = type(kept)(**{**kept.to_dict(), "repetition_penalty": 3.0, "top_k": 1, "max_length": 3})
    try:
        assert (model.generate(PROMPTS, greedy), model.generate(PROMPTS, sampled)) == before
        assert raw.generation_config.repetition_penalty == 3.0, "the model's own config must be as it was"
    finally:
        raw.generation_config = kept


def test_sampling_is_reproducible_by_seed(model):
    settings = [Sampling(12, 1.0, n=3, seed=seed) for seed in (0, 0, 1)]
    torch.manual_seed(5)
    first, again, other = (model.generate(PROMPTS, sampling) for sampling in settings)
    assert first == again
    assert first != other
    assert [len(draws) for draws in first] == [3] * len(PROMPTS)
    assert any(len({draw.text for draw in draws}) > 1 for draws in first)


def test_sampling_leaves_the_global_generator_alone(model):
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    model.generate(PROMPTS[:1], Sampling(4, 1.0, seed=3))
    assert torch.equal(torch.rand(2), expected)


def test_low_temperature_is_greedy(model):
    """A check of what temperature is divided by: near 0 every draw is the greedy one."""
    greedy = model.generate(PROMPTS, Sampling(8))
    cold = model.generate(PROMPTS, Sampling(8, sampling_temperature=1e-4, n=2))
    assert [[draw.text for draw in draws] for draws in cold] == [[answer.text] * 2 for (answer,) in greedy]


def test_a_long_prompt_loses_its_beginning_and_says_so(raw, tokenizer):
    """Context 20, 5 tokens reserved: the last 15 bytes of `...\\n>` are what the model reads."""
    model = wrap(raw, tokenizer, context_length=20)
    long, short = "0123456789" * 4, "89"
    (cut,), (whole,) = model.generate([asked(long), asked(short)], Sampling(5))
    assert (cut.prompt_truncated, whole.prompt_truncated) == (True, False)
    (same,) = model.generate([asked("7890123456789")], Sampling(5))[0]
    assert not same.prompt_truncated
    assert cut.text == same.text


def test_no_room_for_a_prompt_is_an_error(raw, tokenizer):
    with pytest.raises(ModelError, match=r"max_completion_tokens 32 .* \(32 tokens\)"):
        wrap(raw, tokenizer, context_length=32).generate(PROMPTS, Sampling(32))


def test_lone_surrogates_and_empty_prompts_are_answered(model):
    found = model.generate([asked("bad \ud800 half"), asked(""), ()], Sampling(4))
    assert [len(draws) for draws in found] == [1, 1, 1]
    assert all(draw.n_tokens >= 1 for draws in found for draw in draws)
    assert model.generate([], Sampling(4)) == []


def test_eos_tokens_are_the_models_and_the_tokenizers(raw, tokenizer):
    kept = raw.generation_config.eos_token_id
    try:
        raw.generation_config.eos_token_id = [9, 7]
        assert eos_token_ids(raw, tokenizer) == [9, 7, 1]
        raw.generation_config.eos_token_id = None
        assert eos_token_ids(raw, tokenizer) == [1]
    finally:
        raw.generation_config.eos_token_id = kept


# --- log-likelihood

CONTEXTS = [asked("What is 3 + 4?"), asked("Hi"), (), asked("x" * 40)]
OPTIONS = [["7", " seven", "eight apples"], ["a", "bc"], ["Yes, it is", "no"], ["", "\ud800", "né"]]


def log_likelihood_by_loop(raw, context_ids, option_ids):
    """One forward pass a token, no batch, no padding."""
    ids, total = list(context_ids), 0.0
    for token in option_ids:
        with torch.no_grad():
            logits = raw(input_ids=torch.tensor([ids])).logits[0, -1].double()
        total += float(logits[token] - torch.logsumexp(logits, dim=0))
        ids.append(token)
    return total


def from_first(values):
    """Log-likelihoods of a prompt's options without their common addend."""
    return [value - values[0] for value in values]


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_loglikelihood_equals_a_plain_loop(raw, tokenizer, batch_size):
    found = wrap(raw, tokenizer, batch_size).loglikelihood(CONTEXTS, OPTIONS)
    for prompt, options, values in zip(CONTEXTS, OPTIONS, found, strict=True):
        context = list(prompt[0]["content"].encode() + b"\n>") if prompt else None
        context_ids = [1] if context is None else tokenizer(bytes(context).decode())["input_ids"]
        expected = [
            log_likelihood_by_loop(raw, context_ids, tokenizer(option.replace("\ud800", "?"))["input_ids"])
            for option in options
        ]
        assert from_first(values) == pytest.approx(from_first(expected), abs=1e-3)
    assert found[3][0] == 0.0, "an option without tokens is certain"


def with_bos(chat=False):
    """A tokenizer that puts a beginning-of-sequence token in front, as Llama's does."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tiny_tokenizer(chat=chat)
    tokenizer.add_special_tokens({"bos_token": "<pad>"})  # any token that stands nowhere else will do
    core = tokenizer.backend_tokenizer
    core.post_processor = TemplateProcessing(single="<pad> $A", special_tokens=[("<pad>", 0)])
    return tokenizer


@pytest.mark.parametrize("make", [lambda: make_tiny_tokenizer(chat=False), with_bos, make_tiny_tokenizer])
@pytest.mark.parametrize("context_length", [256, 12])
def test_loglikelihood_equals_lm_eval(make, context_length):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    tokenizer = make()
    raw = lively_model(tokenizer)
    prompts = [asked("What is 3 + 4?"), asked("Answer: "), asked("Größe"), (), ()]
    options = [["7", " seven"], ["a b", "c"], ["1,5", " 2"], ["Yes, right", "no"], ["<eos>x", "<pad>y"]]
    model = wrap(raw, tokenizer, batch_size=4, context_length=context_length)
    found = model.loglikelihood(prompts, options)
    theirs = HFLM(pretrained=raw, tokenizer=tokenizer, batch_size=2, device="cpu", max_length=context_length)
    requests = [
        Instance("loglikelihood", {}, (render(prompt, tokenizer), option), i)
        for i, (prompt, choices) in enumerate(zip(prompts, options, strict=True))
        for option in choices
    ]
    expected = iter([value for value, _ in theirs.loglikelihood(requests, disable_tqdm=True)])
    for values in found:
        assert from_first(values) == pytest.approx(from_first([next(expected) for _ in values]), abs=1e-3)


def test_what_all_options_begin_alike_with_is_read_and_not_scored(raw, tokenizer):
    """As in XNLI, where the premise stands in every option: no logits are computed for it."""
    model = wrap(raw, tokenizer)
    options = ["Rain fell, right? Yes, it did", "Rain fell, right? No, it did not"]
    shapes = []
    handle = raw.get_output_embeddings().register_forward_hook(lambda *given: shapes.append(given[2].shape[1]))
    model.scorer.way = "packed"
    (found,) = model.loglikelihood([()], [options])
    handle.remove()
    apart = [tokenizer(option)["input_ids"] for option in options]
    common = len("Rain fell, right? ")
    assert sum(shapes) == 1 + (len(apart[0]) - common - 1) + (len(apart[1]) - common - 1)
    expected = [log_likelihood_by_loop(raw, [1, *ids[:common]], ids[common:]) for ids in apart]
    assert found.tolist() == pytest.approx(expected, abs=1e-3)


# --- the mock


def test_mock_cuts_long_answers_and_draws_by_seed():
    model = MockModel(lambda prompt, draw: f"{prompt} {draw} c d")
    assert model.generate([asked("a")], Sampling(4))[0][0].finish_reason == "stop"
    cut = model.generate([asked("a")], Sampling(2))[0][0]
    assert (cut.text, cut.n_tokens, cut.finish_reason) == ("a 0", 2, "length")
    texts = [[d.text for d in model.generate([asked("a")], Sampling(9, 1.0, n=2, seed=s))[0]] for s in (0, 0, 8)]
    assert texts[0] == texts[1] == ["a 1 c d", "a 2 c d"]
    assert texts[2] != texts[0]


def test_mock_answers_surrogates():
    assert MockModel().generate([asked("\ud800")], Sampling(9))[0][0].text.startswith("The answer is ")
    assert np.isfinite(MockModel().loglikelihood([asked("\ud800")], [["\udfff", ""]])[0]).all()


# --- prompts


def test_three_ways_of_asking(parity_task, parity_samples):
    sample = next(s for s in parity_samples if s.lang == "de")
    assert build_prompt(parity_task, sample, "sw", "tag") == asked("a? <|out_lang_sw|>")
    assert build_prompt(parity_task, sample, "sw", "prompt") == asked("a?")
    assert build_prompt(parity_task, sample, "sw", "system") == (
        {"role": "system", "content": "Jibu kwa Kiswahili."},
        *asked("a?"),
    )


def test_only_instructions_follow_the_routed_language(parity_task, parity_samples):
    parity_task.prompts = {"default": {"de": "{question} Antworte!", "sw": "{question} Jibu!"}}
    sample = next(s for s in parity_samples if s.lang == "de")
    assert build_prompt(parity_task, sample, "sw", "prompt") == asked("a? Jibu!")
    assert build_prompt(parity_task, sample, "sw", "tag") == asked("a? Antworte! <|out_lang_sw|>")
    with pytest.raises(UnknownNameError, match="prompt language of task parity 'en'"):
        build_prompt(parity_task, sample, "en", "prompt")


def test_an_empty_template_is_a_bare_continuation(parity_task, parity_samples):
    parity_task.prompts = {"default": {"de": ""}}
    assert build_prompt(parity_task, parity_samples[0], "de", "tag") == ()
    assert render((), make_tiny_tokenizer()) == ""


def test_a_language_without_system_prompt_is_refused(parity_task, parity_samples):
    assert "qu" not in SYSTEM_PROMPTS
    with pytest.raises(UnknownNameError, match="language with a system prompt 'qu'"):
        build_prompt(parity_task, parity_samples[0], "qu", "system")


def test_resolve_instruct(tokenizer):
    assert resolve_instruct("auto", tokenizer) == "tag"
    assert resolve_instruct("auto", None) == "system"
    assert resolve_instruct("system", tokenizer) == "system"
    assert resolve_instruct("prompt", None) == "prompt"
    with pytest.raises(ConfigError, match="instruct 'tag' needs a tokenizer with the tokens"):
        resolve_instruct("tag", None)
    with pytest.raises(UnknownNameError, match="instruct 'sytem'; did you mean 'system'"):
        resolve_instruct("sytem", tokenizer)


def test_a_template_that_refuses_system_prompts_is_one_line():
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"  # as Gemma 2's
    with pytest.raises(ModelError, match="refuses a conversation of system, user: System role not supported; use"):
        render(({"role": "system", "content": "s"}, *asked("u")), tokenizer)


# --- loading


def test_loaded_model_says_what_it_is(tiny_model_folder):
    info = load_hf_model(ModelSpec(str(tiny_model_folder), device="cpu")).info
    assert (info.dtype, info.context_length, info.chat_template, info.revision) == ("float32", 256, True, None)
    assert info.n_parameters == 261 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 64 + 2 * 32) + 32
    assert info.weights_hash.startswith("sha256:")


def test_weights_hash_follows_the_weights(tiny_model_folder, tmp_path):
    other = make_tiny_model(make_tiny_tokenizer(), seed=1)
    shutil.copytree(tiny_model_folder, tmp_path / "copy")
    shutil.copytree(tiny_model_folder, tmp_path / "other")
    other.save_pretrained(tmp_path / "other")
    hashes = [
        load_hf_model(ModelSpec(str(p), device="cpu")).info.weights_hash
        for p in (tiny_model_folder, tmp_path / "copy", tmp_path / "other")
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def _drop(name):
    return lambda folder: (folder / name).unlink()


def _write(name, text):
    return lambda folder: (folder / name).write_text(text)


BROKEN = {
    "no tokenizer": lambda folder: [path.unlink() for path in folder.glob("tokenizer*")],
    "no weights": _drop("model.safetensors"),
    "torn weights": _write("model.safetensors", "not safetensors"),
    "no config": _drop("config.json"),
    "config is not JSON": _write("config.json", "{"),
    "unknown architecture": _write("config.json", json.dumps({"model_type": "nonesuch"})),
    "tokenizer is not JSON": _write("tokenizer.json", "{"),
    "tokenizer of another kind": _write("tokenizer.json", json.dumps({"version": "9"})),
}


@pytest.mark.parametrize("breaks", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_folder_is_one_line(tiny_model_folder, tmp_path, breaks):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_model_folder, folder)
    breaks(folder)
    with pytest.raises(ModelError) as caught:
        load_hf_model(ModelSpec(str(folder), device="cpu"))
    assert "\n" not in str(caught.value)
    assert "broken" in str(caught.value)


@pytest.mark.parametrize("name", ["no/such-model", "./nowhere", "not a name at all", ""])
def test_an_unknown_name_is_one_line(name):
    with pytest.raises(ModelError) as caught:
        load_hf_model(ModelSpec(name, device="cpu"))
    assert "\n" not in str(caught.value)
    assert repr(name) in str(caught.value)


def test_a_device_that_is_not_there_is_one_line(tiny_model_folder):
    with pytest.raises(ModelError, match="gpu"):
        load_hf_model(ModelSpec(str(tiny_model_folder), device="gpu"))


def test_tokenizer_without_pad_token_pads_with_eos(tmp_path):
    tokenizer = make_tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(ModelSpec(str(tmp_path)))
    assert (loaded.pad_token, loaded.padding_side) == ("<eos>", "left")


def test_tokenizer_without_eos_is_refused(raw):
    tokenizer = make_tiny_tokenizer()
    tokenizer.eos_token = None
    kept, raw.generation_config.eos_token_id = raw.generation_config.eos_token_id, None
    try:
        with pytest.raises(ModelError, match="no end-of-sequence token"):
            wrap(raw, tokenizer)
    finally:
        raw.generation_config.eos_token_id = kept


def test_nan_weights_do_not_pass_for_a_choice(raw, tokenizer):
    """Log-likelihoods stay NaN, so that the evaluator can see that nothing was chosen."""
    broken = make_tiny_model(tokenizer)
    with torch.no_grad():
        broken.model.norm.weight.fill_(math.nan)
    assert np.isnan(wrap(broken, tokenizer).loglikelihood([asked("a")], [["b", "c"]])[0]).all()


def test_languages_without_a_tag_are_named():
    from lrpo_bench.models.prompting import untagged_languages

    assert untagged_languages(["de", "te", "sw", "ar"], make_tiny_tokenizer()) == ["te", "ar"]
