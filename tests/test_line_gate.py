"""The gate by lines: shares by hand, abstention, and what it makes of code-switched answers with a real detector."""

from __future__ import annotations

import pytest
from conftest import LANGS
from hypothesis import given
from hypothesis import strategies as st

from lrpo_bench.config import parse_config
from lrpo_bench.errors import ConfigError
from lrpo_bench.evaluation.judging import Judgement
from lrpo_bench.language_id.base import Detection, language_verdict
from lrpo_bench.language_id.registry import get_detector
from lrpo_bench.lrpo.rewards import GateConfig
from lrpo_bench.tasks.base import Score
from lrpo_bench.training.line_gate import gate_values

LINE = {"de": "das ist nun eine deutsche Zeile", "en": "this is now an English line", "??": "zzz yyy xxx www vvv uuu"}


class FirstWord:
    """Knows a text by its first word."""

    signature, languages = "first|1", frozenset(LANGS)

    def detect(self, texts):
        known = {"das": Detection("de", 0.9), "this": Detection("en", 0.7)}
        return [known.get(text.split()[0] if text.split() else "", Detection(None, reason="odd")) for text in texts]


def gates(texts, asked, **config):
    detector = FirstWord()
    judged = []
    for text, lang in zip(texts, asked, strict=True):
        detection = detector.detect([text])[0]
        judged.append(Judgement(Score.of(True, "x"), detection, *language_verdict(detection, lang, detector)))
    return gate_values(texts, asked, judged, detector, GateConfig(**{"unit": "line"} | config))


def lines(*langs):
    return "\n".join(LINE[lang] for lang in langs)


def test_shares_by_hand():
    texts = [lines("de", "de", "en", "de"), lines("en", "de"), lines("de", "??"), lines("??"), "das kurz", ""]
    assert gates(texts, ["de"] * 6) == pytest.approx([0.75, 0.5, 1.0, 0.0, 1.0, 0.0])
    assert gates(texts, ["de"] * 6, mode="soft")[:3] == pytest.approx([0.75 * 0.9, 0.5 * 0.9, 0.9])
    assert gates(texts, ["de"] * 6, abstain="pass")[3] == 1.0
    assert gates(texts, ["de"] * 6, unit="document") == [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    assert gates(texts, ["de"] * 6, mode="none") == [1.0] * 6


@given(st.lists(st.sampled_from(["de", "en", "??"]), min_size=1, max_size=6), st.randoms())
def test_order_of_lines_does_not_matter(langs, random):
    shuffled = random.sample(langs, len(langs))
    told = [lang for lang in langs if lang != "??"]
    found = gates([lines(*shuffled)], ["de"])[0]
    assert found == pytest.approx(told.count("de") / len(told) if told else 0.0)


def test_a_gate_that_is_off_has_no_lines():
    with pytest.raises(ConfigError, match="gate_unit line"):
        parse_config({"tasks": ["parity"], "train": {"gate": "none", "gate_unit": "line"}})


GERMAN = (
    "Zuerst zählen wir die Äpfel in jedem Korb.",
    "Danach addieren wir die beiden Zahlen miteinander.",
    "Das Ergebnis teilen wir durch die Anzahl der Kinder.",
    "Jedes Kind bekommt also genau sieben Äpfel.",
)
ENGLISH = (
    "First we count the apples in every basket.",
    "Then we add the two numbers together.",
    "We divide the result by the number of children.",
    "So every child gets exactly seven apples.",
)


def test_code_switched_answers_with_a_real_detector():
    """Asked for German, with k of four lines in English: by lines 1, 3/4, 1/2, 1/4, 0; as documents all or nothing.

    Lingua calls the document with one English line German, so the document gate pays nothing for bringing it back.
    """
    detector = get_detector("lingua", ("de", "en", "fr", "sw"))
    texts = ["\n".join((*ENGLISH[:k], *GERMAN[k:])) for k in range(5)]
    judged = [
        Judgement(Score.of(True, "7"), detection, *language_verdict(detection, "de", detector))
        for detection in detector.detect(texts)
    ]
    by_line = gate_values(texts, ["de"] * 5, judged, detector, GateConfig(unit="line"))
    by_document = gate_values(texts, ["de"] * 5, judged, detector, GateConfig())
    assert by_line == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert set(by_document) == {0.0, 1.0}
    assert by_document[0] == 1.0 and by_document[-1] == 0.0
    assert by_document[1] == by_document[0], "the document gate does not see one stray line"
