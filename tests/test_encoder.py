"""The Hugging Face encoder against plain transformers, windows against a calculation by hand."""

import numpy as np
import pytest
import torch
from conftest import WordDetector

from lrpo_bench.errors import ModelError
from lrpo_bench.lrpo.rewards import GateConfig
from lrpo_bench.models.encoder import (
    CPU_BATCH_TOKENS,
    HFEncoder,
    ReferenceCache,
    SentenceEncoder,
    cosines,
    load_encoder,
)
from lrpo_bench.models.fake_encoder import FakeEncoder
from lrpo_bench.tasks.base import Sample
from lrpo_bench.training.reward_functions.similarity import SimilarityReward

MAX_TOKENS = 12


def make_encoder_folder(folder):
    """Two layers of BERT with random weights over bytes, `<s>` and `</s>` around each text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", model_max_length=MAX_TOKENS)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertModel(
            BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=32,
                pad_token_id=0,
            )
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_encoder_folder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def encoder(folder) -> SentenceEncoder:
    return load_encoder(str(folder), device="cpu")


def hidden_states(encoder, text):
    """Plain transformers, one text at a time, no padding: shape (tokens, 16)."""
    inputs = encoder.tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        return encoder.model(**inputs).last_hidden_state[0].double().numpy()


def unit(vector):
    return vector / np.sqrt((vector**2).sum())


def test_a_short_text_is_the_mean_over_its_tokens(encoder):
    texts = ["abc", "a", "hello wor"]
    for row, text in zip(encoder.encode(texts), texts, strict=True):
        assert row == pytest.approx(unit(hidden_states(encoder, text).mean(axis=0)), abs=1e-5)


def test_a_long_text_is_read_in_windows_weighted_by_their_tokens(encoder):
    """23 bytes with 10 to a window: three windows of 12, 12 and 5 tokens, special ones included."""
    text = "abcdefghijklmnopqrstuvw"
    parts = [hidden_states(encoder, part) for part in ("abcdefghij", "klmnopqrst", "uvw")]
    assert [len(part) for part in parts] == [12, 12, 5]
    means = [part.mean(axis=0) for part in parts]
    expected = unit((12 * means[0] + 12 * means[1] + 5 * means[2]) / 29)
    assert encoder.encode([text])[0] == pytest.approx(expected, abs=1e-5)
    assert not np.allclose(encoder.encode([text[:10]])[0], expected, atol=1e-3), "the rest would not matter"


def test_rows_do_not_depend_on_the_batch(folder, encoder):
    texts = ["x" * n for n in (1, 40, 7, 22, 9, 3)] + ["Grüße", "ไทย", "\ud800"]
    whole = encoder.encode(texts)
    assert np.linalg.norm(whole, axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-6)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert whole == pytest.approx(alone, abs=1e-5)
    small = HFEncoder(encoder.model, encoder.tokenizer, encoder.info, batch_tokens=1)
    assert small.encode(texts) == pytest.approx(whole, abs=1e-5)


def test_equal_texts_have_equal_rows(encoder):
    rows = encoder.encode(["same", "other text", "same"])
    assert (rows[0] == rows[2]).all()
    assert cosines(rows[:1], rows[2:])[0] == pytest.approx(1.0)


def test_rewards_do_not_depend_on_the_encoders_batches(encoder, parity_task):
    """One batch for all, batches that fit a cache, and one text a batch; with repeated completions."""
    rows = {
        str(i): (parity_task, Sample(str(i), f"q{i}", "en", "?", "0", reference="the answer is " + "x" * i))
        for i in range(4)
    }
    texts = [word * n for n in (1, 3, 9) for word in ("the sum ", "abc ", "is ")] + ["", "the sum ", "the sum "]
    asked = [str(i % 4) for i in range(len(texts))]

    def rewards(batch_tokens):
        mine = HFEncoder(encoder.model, encoder.tokenizer, encoder.info, batch_tokens)
        assert mine.batch_tokens == (batch_tokens or CPU_BATCH_TOKENS)
        return SimilarityReward(rows, WordDetector(), GateConfig("none"), encoder=mine)(
            texts, asked, ["en"] * len(texts)
        )

    whole = rewards(100_000)
    assert len(set(whole)) > 5 and whole[9] == 0.0
    for batch_tokens in (None, 64, 1):
        assert rewards(batch_tokens) == pytest.approx(whole, abs=1e-5)


def test_texts_without_tokens_are_nan(encoder):
    rows = encoder.encode(["", "a"])
    assert np.isnan(rows[0]).all() and not np.isnan(rows[1]).any()
    assert np.isnan(cosines(rows[:1], rows[1:]))[0]
    assert encoder.encode([]).shape == (0, 16)


def test_identity(folder, encoder, tmp_path):
    assert encoder.info.dimension == 16
    assert encoder.info.max_tokens == MAX_TOKENS
    assert encoder.info.weights_hash.startswith("sha256:")
    assert load_encoder(str(folder), device="cpu").info.weights_hash == encoder.info.weights_hash


def test_decoders_and_encoder_decoders_load_too(tmp_path, tiny_model_folder):
    from transformers import AutoTokenizer, T5Config, T5Model

    assert load_encoder(str(tiny_model_folder), device="cpu").encode(["ab"]).shape == (1, 32)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    config = T5Config(vocab_size=len(tokenizer), d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    T5Model(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load_encoder(str(tmp_path), device="cpu").encode(["ab", "cd"]).shape == (2, 8)


def test_an_encoder_that_is_not_there_is_one_line():
    with pytest.raises(ModelError, match="could not load encoder 'no/such/folder'") as raised:
        load_encoder("no/such/folder")
    assert len(str(raised.value).splitlines()) == 1


def test_references_are_encoded_once():
    fake = FakeEncoder()
    cache = ReferenceCache(fake)
    first = cache.encode(["a b", "c d", "a b"])
    again = cache.encode(["c d", "e f", "a b"])
    assert fake.n_encoded == 3
    assert (first[0] == again[2]).all() and (first[1] == again[0]).all()
    assert cache.encode([]).shape == (0, 64)


def test_the_fake_encoder_finds_likeness_of_characters():
    fake = load_encoder("mock")
    rows = fake.encode(["the capital is Nairobi", "the capital is Lagos", "数字は九です", ""])
    near, far = cosines(rows[[0, 0]], rows[[1, 2]])
    assert near > 0.5 > far
    assert np.isnan(rows[3]).all()
