"""Sums before words: right calculations, only results learned, no practice for what is not spoken; larger sizes."""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from lrpo_bench.errors import ConfigError  # noqa: E402
from lrpo_bench.world.build import BuildOptions, build, stream, world_tokenizer  # noqa: E402
from lrpo_bench.world.corpus import ASSISTANT, BOS, EOS, Corpus  # noqa: E402
from lrpo_bench.world.policy import batch_loss, build_policy, practice_between, train_policy  # noqa: E402
from lrpo_bench.world.profile import PolicyRecipe, Profile, SumsRecipe, load_profile  # noqa: E402
from lrpo_bench.world.questions import WORLD_LANGUAGES  # noqa: E402
from lrpo_bench.world.sizes import parameter_count, parse_size, sized  # noqa: E402
from lrpo_bench.world.sums import SUMS_PER_ROW, Pieces, encode_sums, sums_rows  # noqa: E402

CALCULATION = re.compile(r"([\d.,]+) (\S) ([\d.,]+) = ([\d.,]+)(?:, |<\|eos)")
WORKED = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "×": lambda a, b: a * b,
    "÷": lambda a, b: a / b,
}


def speaking(*langs: str) -> Profile:
    """The tiny profile in which only these languages are spoken."""
    fields = load_profile("tiny").model_dump(mode="json")
    for lang in WORLD_LANGUAGES:
        fields["languages"][lang]["production"] = 1.0 if lang in langs else 0.0
    return Profile.model_validate(fields)


def texts(rows: list[Pieces]) -> list[str]:
    return ["".join(text for text, _ in row) for row in rows]


@pytest.fixture(scope="module")
def tokenizer():  # type: ignore[no-untyped-def]
    profile = load_profile("tiny")
    return world_tokenizer(
        profile.model_copy(update={"policy": profile.policy.model_copy(update={"tokenizer_rows": 300})}), 0
    )


def test_calculations_are_right_and_their_results_are_marked() -> None:
    fewest, most = SUMS_PER_ROW
    rows = list(sums_rows(speaking("en"), 50, np.random.default_rng(0)))
    for row, text in zip(rows, texts(rows), strict=True):
        found = CALCULATION.findall(re.sub(r"(?<=\d),(?=\d)", "", text))
        assert fewest <= len(found) == text.count("=") <= most
        for left, sign, right, result in found:
            assert WORKED[sign](Decimal(left), Decimal(right)) == Decimal(result), text
        marked = [piece for piece, is_result in row if is_result]
        assert marked == re.findall(r"= ([\d.,]*\d)", text)
        assert text.startswith(BOS + ASSISTANT) and text.endswith(EOS)


def test_only_results_have_weight_and_pieces_encode_as_the_whole(tokenizer) -> None:  # type: ignore[no-untyped-def]
    rows = list(sums_rows(load_profile("tiny"), 80, np.random.default_rng(1)))
    for row, text, encoded in zip(rows, texts(rows), encode_sums(rows, tokenizer), strict=True):
        assert encoded.ids == tokenizer(text, add_special_tokens=False).input_ids
        learned = [token for token, weight in zip(encoded.ids, encoded.weights, strict=True) if weight]
        assert tokenizer.decode(learned) == "".join(piece for piece, is_result in row if is_result)


def test_digits_of_a_language_come_with_its_production() -> None:
    bengali, latin = set("০১২৩৪৫৬৭৮৯"), set("0123456789")
    assert not any(
        bengali & set(text) for text in texts(list(sums_rows(speaking("en", "de"), 40, stream(0, "policy"))))
    )
    assert all(
        bengali & set(text) and not latin & set(text)
        for text in texts(list(sums_rows(speaking("bn"), 20, stream(0, "policy"))))
    )
    thai = texts(list(sums_rows(speaking("th"), 300, np.random.default_rng(0))))
    native = sum("๑" in text or "๒" in text or "๓" in text for text in thai) / len(thai)
    assert 0.25 < native < 0.42, "a third, within three standard errors"


def test_sums_are_spread_evenly_over_the_first_chunks(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("lrpo_bench.world.policy.CHUNK_ROWS", 10)
    profile = load_profile("tiny")
    recipe = profile.policy.model_copy(update={"rows": 45, "sums": SumsRecipe(rows=7, until=0.5)})
    chunks = list(practice_between(Corpus(profile, np.random.default_rng(0)), recipe))
    assert [len(rows) for rows, _ in chunks] == [10, 10, 10, 10, 5]
    assert [len(sums) for _, sums in chunks] == [2, 2, 3, 0, 0], "7 over the first half of 5 chunks, rounded up to 3"
    plain = list(practice_between(Corpus(profile, np.random.default_rng(0)), recipe.model_copy(update={"sums": None})))
    assert [len(sums) for _, sums in plain] == [0] * 5


def test_sums_teach_arithmetic(tokenizer, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """A policy that has seen sums finds held-out results likelier than one that has seen as many other rows."""
    profile = speaking("en")
    losses = []
    monkeypatch.setattr("lrpo_bench.world.policy.CHUNK_ROWS", 50)
    for sums in (SumsRecipe(rows=400, until=0.5), None):
        recipe = profile.policy.model_copy(update={"rows": 200 if sums else 600, "sums": sums})
        policy = build_policy(recipe, tokenizer, 0)
        report = train_policy(policy, Corpus(profile, stream(0, "policy")), tokenizer, recipe)
        assert report.rows == 600
        unseen = encode_sums(list(sums_rows(profile, 60, stream(1, "policy"))), tokenizer)
        with torch.no_grad():
            losses.append(batch_loss(policy, unseen).item())
    assert losses[0] < losses[1] - 0.5


def test_parameter_count_is_that_of_transformers() -> None:
    recipe = sized(load_profile("tiny").policy, 5_000_000)
    config = LlamaConfig(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        intermediate_size=recipe.intermediate_size,
        tie_word_embeddings=True,
    )
    assert parameter_count(recipe) == LlamaForCausalLM(config).num_parameters()


@pytest.mark.parametrize("wanted", [10**7, 5 * 10**7, 10**8, 5 * 10**8, 1.5 * 10**9])
def test_sizes_come_near_what_is_asked(wanted: float) -> None:
    recipe = sized(load_profile("default").policy, int(wanted))
    assert parameter_count(recipe) == pytest.approx(wanted, rel=0.25)
    assert PolicyRecipe.model_validate(recipe.model_dump()) == recipe
    assert recipe.hidden_size == 64 * recipe.heads


@pytest.mark.parametrize("text", ["", "big", "0", "-5M", "1e9", "M"])
def test_sizes_that_can_not_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match="give a number of parameters such as 50M"):
        parse_size(text)


def test_size_and_device_out_of_range_are_one_line(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=r"out of range: the nearest shape has .*; choose a size from"):
        sized(load_profile("default").policy, 10**12)
    with pytest.raises(ConfigError, match=r"device is 'abacus', which can not be used here .*; use cpu"):
        build("tiny", 0, tmp_path / "out", BuildOptions(device="abacus"))
