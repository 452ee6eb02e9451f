"""Shared fakes: a tiny random model in Hugging Face's format, a task without data files, the shared real data."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from fake_endpoint import FakeServer

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from lrpo_bench.language_id.base import Detection
from lrpo_bench.languages import language_tag
from lrpo_bench.tasks.base import Sample, Score, Task, TaskInfo

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LANGS = ("de", "en", "sw")
WORDS = {"de": "Antwort ist", "en": "answer is", "sw": "jibu ni"}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets, which the project may not redistribute; tests that need them skip without."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the shared data sets are not beside this checkout")
    return SHARED_DATA


class WordDetector:
    """Knows a language by the first word of a list; abstains otherwise."""

    signature = "words|1"
    languages = frozenset(LANGS)

    def detect(self, texts):
        return [self._one(text) for text in texts]

    def _one(self, text):
        for lang, words in WORDS.items():
            if words.split()[0] in text:
                return Detection(lang, 0.9)
        return Detection(None, reason="no known word")


class ParityTask(Task):
    """Wants an even number of characters from even questions, an odd one from odd: chance is a half."""

    def sample(self, row, lang, index):
        return Sample(
            id=f"parity/{lang}/{index}",
            source_id=f"parity/{index}",
            lang=lang,
            question=f"{row['letter']}?",
            gold=str(index % 2),
            regions=(row["region"],),
        )

    def score(self, sample, completion, rollout_lang):
        if not completion:
            return Score.not_attempted("empty")
        parity = str(len(completion) % 2)
        return Score.of(parity == sample.gold, parity)


@pytest.fixture
def parity_task() -> ParityTask:
    info = TaskInfo("parity", "1", "Letters", "generate", "reasoning", LANGS, "Apache-2.0", "none")
    return ParityTask(info, {"default": dict.fromkeys(LANGS, "{question}")})


@pytest.fixture
def parity_samples(parity_task):
    rows = [{"letter": letter, "region": region} for letter, region in zip("abcdefgh", "xyxyxyxy", strict=True)]
    return [parity_task.sample(row, lang, i) for lang in LANGS for i, row in enumerate(rows)]


CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['content'] + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '>' }}{% endif %}"
)


def make_tiny_tokenizer(chat: bool = True):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<pad>", "<eos>", *(language_tag(lang) for lang in LANGS)]
    vocabulary = {token: i for i, token in enumerate([*special, *alphabet])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", padding_side="left", model_max_length=256
    )
    tokenizer.add_special_tokens({"additional_special_tokens": special[2:]})
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_tiny_model(tokenizer, seed: int = 0):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                max_position_embeddings=256,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                bos_token_id=None,
                tie_word_embeddings=True,
            )
        )
    return model


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory) -> Path:
    """A local model folder: two layers, bytes as tokens, random weights, a chat template, language tags."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = make_tiny_tokenizer()
    make_tiny_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def server(monkeypatch):
    """A running `FakeServer`: what it answers is set by the test."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fake = FakeServer()
    threading.Thread(target=fake.server.serve_forever, args=(0.01,), daemon=True).start()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()
