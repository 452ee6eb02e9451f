"""The consensus detector: claims what all claim, abstains otherwise, and says which languages it can claim."""

from __future__ import annotations

import pytest

from lrpo_bench.language_id.base import Detection, language_verdict
from lrpo_bench.language_id.consensus import DISAGREE, ConsensusDetector
from lrpo_bench.language_id.registry import get_detector


class Scripted:
    """Says what it is told to of each text; remembers which texts it saw."""

    def __init__(self, name, languages, **says):
        self.signature, self.languages, self.says, self.seen = (
            f"{name}[{','.join(languages)}]|{name}-1.0",
            frozenset(languages),
            says,
            [],
        )

    def detect(self, texts):
        self.seen += texts
        return [self.says[text] for text in texts]


A = Scripted(
    "a", ("de", "nl", "te"),
    same=Detection("de", 0.9), other=Detection("de", 0.9), second=Detection("nl", 0.7),
    first=Detection(None, reason="too short"),
)  # fmt: skip
B = Scripted(
    "b", ("de", "en", "nl"),
    same=Detection("de", 0.8), other=Detection("nl", 1.0), second=Detection(None, reason="no language fits"),
)  # fmt: skip


def test_it_claims_what_both_claim():
    detector = ConsensusDetector([A, B])
    assert detector.detect(["same", "other", "first", "second"]) == [
        Detection("de", 0.8),
        Detection(None, reason=DISAGREE),
        Detection(None, reason="too short"),
        Detection(None, reason="no language fits"),
    ]
    assert "first" not in B.seen  # nothing was claimed that it could agree to
    assert detector.detect([]) == []


def test_a_language_that_one_of_them_lacks_is_not_measurable():
    detector = ConsensusDetector([A, B])
    assert detector.languages == {"de", "nl"}
    verdict, reason = language_verdict(Detection(None, reason=DISAGREE), "te", detector)
    assert verdict is None and "te" in reason


def test_the_signature_names_both_with_candidates_and_versions():
    assert ConsensusDetector([A, B]).signature == "consensus(a[de,nl,te] & b[de,en,nl])|a-1.0+b-1.0"


def test_one_detector_is_no_consensus():
    with pytest.raises(ValueError, match="two detectors or more, got 1"):
        ConsensusDetector([A])


def test_the_real_ones_agree_on_a_sentence_and_abstain_on_a_word():
    """Two words that Danish and Norwegian share: lingua and langdetect need not agree, and nothing may be guessed."""
    detector = get_detector("consensus", ["de", "sw", "ca", "es"])
    found = detector.detect(
        ["Am Nachmittag backt sie noch drei Kuchen.", "Alasiri anaoka keki nyingine tatu, kwa hiyo ana kumi.", "42", ""]
    )
    assert [d.lang for d in found] == ["de", "sw", None, None]
    assert "lingua" in detector.signature and "langdetect" in detector.signature
    name, _, version = detector.signature.partition("|")
    assert "|" not in version and name.startswith("consensus(")
