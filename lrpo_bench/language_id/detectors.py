"""Detectors: lingua (the default), langdetect (slow, seeded) and langdetect's profiles in batches (the fastest).

All are behind script rules and abstention. They see cleaned text. A text without enough letters is an abstention, never
a guess; so is one whose two best languages are too close to call.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np

from lrpo_bench.errors import ConfigError, UnknownNameError
from lrpo_bench.language_id.base import Detection
from lrpo_bench.language_id.cleaning import strip_languageless
from lrpo_bench.language_id.profiles import ProfileModel, posteriors
from lrpo_bench.language_id.scripts import (
    count_scripts,
    count_scripts_of,
    dominant_scripts,
    is_japanese,
    languages_by_script,
)

RULES_VERSION = 1
"""Of cleaning, script rules and abstention: they decide fidelity as much as the model does.

Still 1 with `_settled`, which says one of the two that lingua said by chance before.
"""
MIN_LETTERS = 4
"""Letters of an alphabet below which nothing is claimed; half of it for Han, kana, Hangul."""
MIN_MARGIN = 0.05
"""Lead in confidence of the best language over the second below which the detector abstains."""
_BLANKS = re.compile(r"\s{3,}")  # thousands of line feeds must not crowd out the text
_MAX_CHARACTERS = 4000  # more text says nothing more about its language
_SURROGATES = re.compile("[\ud800-\udfff]")  # halves of a character, which no native detector can be given
_HAN = frozenset(("ja", "zh"))
_DENSE_SCRIPTS = ("Hani", "Kana", "Hang")


class ScriptFirstDetector(ABC):
    """Cleaning, script rules and abstention in front of a statistical model, which sees only what they leave open."""

    name: str
    package: str

    def __init__(self, languages: Sequence[str]) -> None:
        """Takes the candidate languages, codes of ours; raises `ConfigError` when there are none."""
        if not languages:
            raise ConfigError(f"detector {self.name} needs at least one candidate language, got none")
        self._languages = frozenset(languages)
        self._by_script = languages_by_script(sorted(languages))

    @property
    def languages(self) -> frozenset[str]:
        """Candidate languages."""
        return self._languages

    @property
    def signature(self) -> str:
        """`rulesN+name[candidates]|package version`."""
        return f"rules{RULES_VERSION}+{self.name}[{','.join(sorted(self._languages))}]|{metadata.version(self.package)}"

    def detect(self, texts: Sequence[str]) -> list[Detection]:
        """One detection per text; equal texts are looked at once."""
        unique = list(dict.fromkeys(texts))
        found = dict(zip(unique, self._detect_unique(unique), strict=True))
        return [found[text] for text in texts]

    def _detect_unique(self, texts: Sequence[str]) -> list[Detection]:
        if _SURROGATES.search("".join(texts)):
            texts = [_SURROGATES.sub(" ", text) for text in texts]
        cleaned = [_shortened(strip_languageless(text)) for text in texts]
        detections = self._by_rules(cleaned)
        open_ones = [i for i, detection in enumerate(detections) if detection is None]
        for i, detection in zip(open_ones, self._classify([cleaned[i] for i in open_ones]), strict=True):
            detections[i] = detection
        return [detection for detection in detections if detection is not None]

    def _by_rules(self, texts: Sequence[str]) -> list[Detection | None]:
        """What letters and scripts settle, None where the model has to say."""
        counts = count_scripts_of(texts)
        letters = counts.sum(axis=1).tolist()
        return [self._by_rule(*found) for found in zip(dominant_scripts(counts), letters, strict=True)]

    def _by_rule(self, script: str | None, letters: int) -> Detection | None:
        if not letters:
            return Detection(None, reason="no letters")
        if letters < (MIN_LETTERS // 2 if script in _DENSE_SCRIPTS else MIN_LETTERS):
            return Detection(None, reason="too short")
        if script is None:
            return None
        candidates = self._by_script.get(script, [])
        if not candidates:
            return Detection(None, reason=f"no candidate language is written in {script}")
        return Detection(candidates[0], 1.0) if len(candidates) == 1 else None

    @abstractmethod
    def _classify(self, texts: Sequence[str]) -> list[Detection]:
        """Detections of cleaned texts that the rules left open."""


class LinguaDetector(ScriptFirstDetector):
    """lingua's n-gram models, restricted to the candidates, over all cores."""

    name, package = "lingua", "lingua-language-detector"

    def __init__(self, languages: Sequence[str]) -> None:
        """Raises `UnknownNameError` for a language that lingua has no model of."""
        from lingua import LanguageDetectorBuilder

        known = lingua_languages()
        for code in languages:
            if code not in known:
                raise UnknownNameError("language of detector lingua", code, known)
        super().__init__(languages)
        self._model = LanguageDetectorBuilder.from_languages(*(known[code] for code in sorted(languages))).build()
        self._codes = {known[code]: code for code in languages}

    def _classify(self, texts: Sequence[str]) -> list[Detection]:
        rows = self._model.compute_language_confidence_values_in_parallel(list(texts))
        found = [_decide([(self._codes[value.language], value.value) for value in row[:2]]) for row in rows]
        return [self._settled(text, detection) for text, detection in zip(texts, found, strict=True)]

    def _settled(self, text: str, found: Detection) -> Detection:
        """Of Han among other letters, with kana, lingua says Japanese or Chinese by a draw: 20 and 30 of 50 calls."""
        if found.lang not in _HAN or not self._languages >= _HAN or "Kana" not in count_scripts(text):
            return found
        return Detection("ja" if is_japanese(text) else "zh", found.confidence)


class LangdetectDetector(ScriptFirstDetector):
    """langdetect, seeded so that it says the same each time; restricted to the candidates by its prior."""

    name, package = "langdetect", "langdetect"

    def __init__(self, languages: Sequence[str]) -> None:
        """Raises `UnknownNameError` for a language that langdetect has no profile of."""
        known = langdetect_languages()
        for code in languages:
            if code not in known:
                raise UnknownNameError("language of detector langdetect", code, known)
        super().__init__(languages)
        self._profiles = [name for code in languages for name in _profiles_of(code)]

    def _classify(self, texts: Sequence[str]) -> list[Detection]:
        return [self._classify_one(text) for text in texts]

    def _classify_one(self, text: str) -> Detection:
        from langdetect import detector_factory
        from langdetect.lang_detect_exception import LangDetectException

        detector_factory.init_factory()  # reads the profiles, once a process
        model = detector_factory._factory.create()  # what `detect_langs` does, which takes neither seed nor prior
        model.seed = 0  # without it the answer is random
        model.set_prior_map(dict.fromkeys(self._profiles, 1.0))
        model.append(text)
        try:
            guesses = model.get_probabilities()
        except LangDetectException as error:
            return Detection(None, reason=f"langdetect: {error}")
        confidences: dict[str, float] = defaultdict(float)
        for guess in guesses:
            confidences[_OURS.get(guess.lang, guess.lang)] += guess.prob
        return _decide(sorted(confidences.items(), key=lambda item: -item[1]))


class ProfilesDetector(ScriptFirstDetector):
    """langdetect's profiles, all n-grams of a batch at once: the fastest, and no random numbers (`profiles`)."""

    name, package = "profiles", "langdetect"

    def __init__(self, languages: Sequence[str]) -> None:
        """Raises `UnknownNameError` for a language that langdetect has no profile of."""
        known = langdetect_languages()
        for code in languages:
            if code not in known:
                raise UnknownNameError("language of detector profiles", code, known)
        super().__init__(languages)
        self._codes = sorted(set(languages))
        columns = [(name, i) for i, code in enumerate(self._codes) for name in _profiles_of(code)]
        self._model = ProfileModel([name for name, _ in columns])
        self._columns = np.array([i for _, i in columns])  # of `_codes`; Chinese has two profiles

    def _classify(self, texts: Sequence[str]) -> list[Detection]:
        if not texts:
            return []
        likelihoods = self._model.log_likelihoods(texts)
        by_profile = posteriors(likelihoods)
        shares = np.zeros((len(texts), len(self._codes)))
        np.add.at(shares.T, self._columns, by_profile.T)
        best = shares.argmax(axis=1)
        rows = np.arange(len(texts))
        first = shares[rows, best].round(6)
        shares[rows, best] = -1.0
        second = np.maximum(shares.max(axis=1), 0.0)
        known = (likelihoods != 0.0).max(axis=1)
        return [
            _verdict(self._codes[i], share if fits else 0.0, other)
            for i, share, other, fits in zip(
                best.tolist(), first.tolist(), second.round(6).tolist(), known.tolist(), strict=True
            )
        ]


def _profiles_of(code: str) -> list[str]:
    """Langdetect's names of a language."""
    return [name for name, ours in _OURS.items() if ours == code] or [code]


_OURS = {"zh-cn": "zh", "zh-tw": "zh", "no": "nb"}
"""langdetect's own spellings, mapped once."""


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else _BLANKS.sub(" ", text)[:_MAX_CHARACTERS]


def lingua_languages() -> dict[str, Any]:
    """Lingua's languages by our codes."""
    from lingua import Language

    return {language.iso_code_639_1.name.lower(): language for language in Language.all()}


def langdetect_languages() -> frozenset[str]:
    """Languages that langdetect has profiles of, by our codes."""
    from pathlib import Path

    from langdetect.detector_factory import PROFILES_DIRECTORY

    return frozenset(_OURS.get(path.name, path.name) for path in Path(PROFILES_DIRECTORY).iterdir())


def _decide(best: Sequence[tuple[str, float]]) -> Detection:
    # Rounded, because lingua adds in hash order: the last bits of a confidence differ from call to call.
    first, second = ([round(float(confidence), 6) for _, confidence in best[:2]] + [0.0, 0.0])[:2]
    return _verdict(best[0][0] if best else "", first, second)


def _verdict(lang: str, first: float, second: float) -> Detection:
    if first <= 0.0:
        return Detection(None, reason="no language fits")
    if first - second < MIN_MARGIN:
        return Detection(None, reason="two languages fit alike")
    return Detection(lang, min(1.0, first))
