"""Translation by a model, on a tiny random one whose own loss is the independent expectation."""

from __future__ import annotations

import pytest
import torch

from lrpo_bench.errors import ConfigError, ModelError
from lrpo_bench.offline_config import TranslatorConfig
from lrpo_bench.tasks.base import Sample
from lrpo_bench.training.offline.seq2seq import Seq2SeqTranslator
from lrpo_bench.training.offline.translation import Answer, load_translator

TOKENS = ("<pad>", "</s>", "eng_Latn", "swh_Latn", "__de__", "<klingon>")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A two-layer M2M100 with bytes as tokens and language tokens of NLLB, M2M100 and its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import M2M100Config, M2M100ForConditionalGeneration, PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate([*TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>")
    tokenizer.add_special_tokens({"additional_special_tokens": list(TOKENS[2:])})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = M2M100ForConditionalGeneration(
            M2M100Config(
                vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
                decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64,
                pad_token_id=0, eos_token_id=1, bos_token_id=1, decoder_start_token_id=1, init_std=0.5,
            )
        )  # fmt: skip
    path = tmp_path_factory.mktemp("seq2seq") / "tiny"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def answer(text, lang):
    return Answer(None, Sample("t/x/1", "t/1", lang, "?", ""), lang, text)


def translator(folder, **settings):
    return Seq2SeqTranslator(TranslatorConfig(kind="seq2seq", name=str(folder), max_tokens=32, **settings), "cpu")


def own_loss(folder, source, target):
    """The model's own mean loss of one target, with token ids put together by hand."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder)
    rows = [
        [TOKENS.index(code), *tokenizer(text, add_special_tokens=False).input_ids, 1] for code, text in (source, target)
    ]
    with torch.no_grad():
        return model(input_ids=torch.tensor(rows[:1]), labels=torch.tensor(rows[1:])).loss.item()


def test_alignment_is_the_inverse_of_the_models_own_loss_whatever_the_batch(folder):
    pairs = [("jibu 8", "it is 8"), ("j", "the answer is 12"), ("ndiyo", "yes")]
    expected = [1 / own_loss(folder, ("swh_Latn", own), ("eng_Latn", target)) for own, target in pairs]
    own, targets = zip(*((answer(a, "sw"), answer(b, "en")) for a, b in pairs), strict=True)
    for size in (1, 3):  # together, the shorter ones are padded
        assert translator(folder, batch_size=size).score(own, targets) == pytest.approx(expected, rel=1e-4)
    assert len(set(expected)) == 3


def test_an_empty_answer_aligns_with_nothing_and_has_no_translation(folder):
    found = translator(folder)
    assert found.score([answer(" ", "sw")], [answer("8", "en")]) == [0.0]
    assert found.translate([answer("", "sw")], "en") == [None]


def test_translations_do_not_depend_on_the_batch_and_begin_in_the_wanted_language(folder):
    answers = [answer(text, "sw") for text in ("jibu ni 8", "a", "mbili")]
    alone = [translator(folder, batch_size=1).translate([each], "en")[0] for each in answers]
    assert translator(folder, batch_size=3).translate(answers, "en") == alone
    assert alone != translator(folder, batch_size=1).translate(answers, "de")


def test_language_tokens_of_nllb_m2m100_and_the_users_own(folder):
    found = translator(folder, codes={"ja": "<klingon>"})
    assert [found._token(lang) for lang in ("en", "sw", "de", "ja")] == [2, 3, 4, 5]
    with pytest.raises(ConfigError, match=r"no token for 'bn'; name it in train.offline.translator.codes"):
        found.check(["any"], ["en", "bn"])


def test_a_folder_that_is_none_is_one_line(tmp_path):
    with pytest.raises(ModelError, match=r"could not load translation model .*no such folder") as caught:
        translator(tmp_path / "none").check([], ["en"])
    assert "\n" not in str(caught.value)


def test_the_configured_translator(folder):
    assert type(load_translator(TranslatorConfig())).__name__ == "WorldTranslator"
    assert type(load_translator(TranslatorConfig(kind="seq2seq", name=str(folder)))).__name__ == "Seq2SeqTranslator"
