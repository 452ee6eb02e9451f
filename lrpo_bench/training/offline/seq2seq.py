"""Translation by a sequence-to-sequence model of Hugging Face: NLLB-200, M2M100, or any other with language tokens.

Token ids are put together here, `[language] text [end]` on both sides as NLLB and M2M100 are trained, so that it does
not matter which tokenizer class a folder names. Decoding is greedy.

MAPO's alignment (She et al. 2024; as in its public `PPL_batched.py`) is 1 / NLL, the mean negative
log-likelihood a token of the dominant answer given the other one. Departures:

- the mean is over the dominant answer's own tokens; the public code also counts padding as tokens of loss 0, so that a
  score depends on what it is batched with;
- an NLL below 1e-6 counts as 1e-6, since its inverse is to be finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lrpo_bench.errors import ConfigError, ModelError
from lrpo_bench.models.load import load_error
from lrpo_bench.offline_config import TranslatorConfig
from lrpo_bench.training.offline.translation import Answer

NLLB_CODES = {
    "ar": "arb_Arab", "bg": "bul_Cyrl", "bn": "ben_Beng", "cs": "ces_Latn", "de": "deu_Latn", "el": "ell_Grek",
    "en": "eng_Latn", "es": "spa_Latn", "et": "est_Latn", "eu": "eus_Latn", "fa": "pes_Arab", "fi": "fin_Latn",
    "fr": "fra_Latn", "he": "heb_Hebr", "hi": "hin_Deva", "hr": "hrv_Latn", "ht": "hat_Latn", "hu": "hun_Latn",
    "id": "ind_Latn", "it": "ita_Latn", "ja": "jpn_Jpan", "ko": "kor_Hang", "lt": "lit_Latn", "ms": "zsm_Latn",
    "nl": "nld_Latn", "pl": "pol_Latn", "pt": "por_Latn", "ro": "ron_Latn", "ru": "rus_Cyrl", "sr": "srp_Cyrl",
    "sv": "swe_Latn", "sw": "swh_Latn", "ta": "tam_Taml", "te": "tel_Telu", "th": "tha_Thai", "tl": "tgl_Latn",
    "tr": "tur_Latn", "uk": "ukr_Cyrl", "ur": "urd_Arab", "vi": "vie_Latn", "yo": "yor_Latn", "zh": "zho_Hans",
}  # fmt: skip
"""NLLB-200's token of each language (NLLB Team 2022, arXiv 2207.04672)."""
_LEAST_NLL = 1e-6


class Seq2SeqTranslator:
    """A `Translator` for any task; the model is loaded at the first use."""

    def __init__(self, config: TranslatorConfig, device: str = "auto") -> None:
        """Keeps the settings; `device` is the policy's."""
        self._config, self._device = config, device
        self._loaded: tuple[Any, Any] | None = None

    def check(self, tasks: Sequence[str], languages: Sequence[str]) -> None:
        """Raises `ConfigError` for a language that the model has no token for, `ModelError` where it does not load."""
        for lang in languages:
            self._token(lang)

    def translate(self, answers: Sequence[Answer], lang: str) -> list[str | None]:
        """Greedy translations into `lang`; None for an empty answer or translation."""
        import torch

        model, tokenizer = self._model()
        texts: list[str | None] = [None] * len(answers)
        for rows in self._batches([i for i, answer in enumerate(answers) if answer.text.strip()]):
            ids, mask = self._padded([self._encode(answers[i].text, answers[i].lang) for i in rows])
            with torch.no_grad():
                output = model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    forced_bos_token_id=self._token(lang),
                    max_new_tokens=self._config.max_tokens,
                    num_beams=1,
                    do_sample=False,
                )
            for i, row in zip(rows, output.tolist(), strict=True):
                texts[i] = tokenizer.decode(row, skip_special_tokens=True).strip() or None
        return texts

    def score(self, answers: Sequence[Answer], dominant: Sequence[Answer]) -> list[float]:
        """1 / NLL of each dominant answer given the other one; 0 for an empty answer, of which nothing can be said."""
        import torch
        import torch.nn.functional as F

        model, _ = self._model()
        scores = [0.0] * len(answers)
        for rows in self._batches([i for i, answer in enumerate(answers) if answer.text.strip()]):
            ids, mask = self._padded([self._encode(answers[i].text, answers[i].lang) for i in rows])
            labels, real = self._padded([self._encode(dominant[i].text, dominant[i].lang) for i in rows])
            targets = labels.masked_fill(real == 0, -100)  # (R, T)
            with torch.no_grad():
                logits = model(input_ids=ids, attention_mask=mask, labels=targets).logits.float()  # (R, T, V)
            losses = F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=-100, reduction="none")
            means = losses.sum(dim=1) / real.sum(dim=1)
            for i, mean in zip(rows, means.tolist(), strict=True):
                scores[i] = 1.0 / max(mean, _LEAST_NLL)
        return scores

    def _model(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

            name = str(self._config.name)
            try:
                tokenizer = AutoTokenizer.from_pretrained(name, revision=self._config.revision)
                model = AutoModelForSeq2SeqLM.from_pretrained(
                    name, revision=self._config.revision, use_safetensors=True
                )
            except Exception as error:  # anything may be wrong with files that others wrote
                raise load_error("translation model", name, name, error) from error
            if tokenizer.eos_token_id is None:
                raise ModelError(f"translation model {name!r} has no end-of-sequence token")
            cuda = torch.cuda.is_available() and self._device != "cpu"
            self._loaded = (model.eval().to("cuda" if cuda else "cpu"), tokenizer)
        return self._loaded

    def _token(self, lang: str) -> int:
        _, tokenizer = self._model()
        vocabulary = tokenizer.get_vocab()
        for token in (self._config.codes.get(lang), NLLB_CODES.get(lang), f"__{lang}__"):  # the last is M2M100's
            if token is not None and token in vocabulary:
                return int(vocabulary[token])
        raise ConfigError(
            f"translation model {self._config.name!r} has no token for {lang!r}; "
            f"name it in train.offline.translator.codes, such as {{{lang}: TOKEN}}"
        )

    def _encode(self, text: str, lang: str) -> list[int]:
        _, tokenizer = self._model()
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][: self._config.max_tokens]
        return [self._token(lang), *ids, int(tokenizer.eos_token_id)]

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        import torch

        model, tokenizer = self._model()
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        width = max(len(row) for row in rows)
        ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
        return ids, mask

    def _batches(self, rows: Sequence[int]) -> list[Sequence[int]]:
        size = self._config.batch_size
        return [rows[start : start + size] for start in range(0, len(rows), size)]
