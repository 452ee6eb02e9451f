"""langdetect's profiles in batches, against langdetect's own reading of a text, n-gram by n-gram."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrpo_bench.language_id.base import Detection
from lrpo_bench.language_id.cleaning import _LANGUAGELESS, _MARKS, _OPENING_QUOTES, _QUOTED_NAME
from lrpo_bench.language_id.detectors import ProfilesDetector
from lrpo_bench.language_id.profiles import ProfileModel, _letters, posteriors

TEXTS = [
    "Am Nachmittag backt sie noch drei Kuchen, also hat sie am Ende zwölf Stück.",
    "Днём она печёт ещё три пирога,  поэтому в итоге   у неё двенадцать штук.",
    "Buổi chiều cô ấy nướng thêm ba cái bánh nữa",
    "في فترة ما بعد الظهر تخبز ثلاث كعكات أخرى",
    "午後に彼女は さらに三つのケーキを焼くので 五個",
    "NATO und USA: 3 Kuchen, a b c",
]


def langdetects_own(text):
    """What langdetect would multiply if it took each of the text's n-grams once, and the names of its columns."""
    from langdetect import detector_factory

    detector_factory.init_factory()
    model = detector_factory._factory.create()
    model.append(text + " ")  # a blank behind the text, or its last word has no end
    rows = [[math.log(p + 0.5 / 10_000) for p in model.word_lang_prob_map[gram]] for gram in model._extract_ngrams()]
    return [sum(column) for column in zip(*rows, strict=True)], detector_factory._factory.langlist


def test_likelihoods_are_langdetects(monkeypatch):
    expected = [langdetects_own(text)[0] for text in TEXTS]
    model = ProfileModel(langdetects_own("a")[1])
    assert model.log_likelihoods(TEXTS) == pytest.approx(np.array(expected), rel=1e-5)
    monkeypatch.setattr("lrpo_bench.language_id.profiles._CHUNK_CHARACTERS", 1)
    assert model.log_likelihoods(TEXTS) == pytest.approx(np.array(expected), rel=1e-5)


def test_the_order_of_columns_is_that_of_the_names():
    both, turned = (ProfileModel(names).log_likelihoods(TEXTS[:1])[0] for names in (["de", "en"], ["en", "de"]))
    assert both[0] > both[1] and list(both) == list(turned[::-1])


def test_letters_by_hand():
    """Two blanks, then the letters of each text with one blank behind; digits and signs are blanks, never doubled."""
    letters, ends = _letters(["a 1b", "", "-c"])
    assert "".join(map(chr, letters)) == "  " + "a b " + "c "
    assert ends.tolist() == [4, 4, 6]


def test_posteriors_by_hand():
    """Three times log 8 apart, divided by three: 1 to 8; a text without a known n-gram is 1 to 1."""
    found = posteriors(np.array([[0.0, 3 * math.log(8)], [0.0, 0.0]]))
    assert found == pytest.approx(np.array([[1 / 9, 8 / 9], [0.5, 0.5]]))


def test_chinese_has_two_profiles_and_one_code():
    detector = ProfilesDetector(["zh", "en"])
    assert detector._codes == ["en", "zh"] and len(detector._columns) == 3
    shares = posteriors(detector._model.log_likelihoods(["國家"]))[0]
    assert detector._classify(["國家"])[0].confidence == pytest.approx(shares[1] + shares[2], abs=1e-6)


def test_letters_of_no_profile_fit_no_language():
    assert ProfilesDetector(["de", "en"])._classify(["ʘʘʘ ʘʘ"]) == [Detection(None, 0.0, "no language fits")]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(), max_size=40) | st.sampled_from(TEXTS), max_size=6))
def test_odd_text_and_any_batch(texts):
    detector = profiles()
    found = detector.detect(texts)
    assert found == [detector.detect([text])[0] for text in texts]
    for detection in found:
        assert (detection.lang is None) == (detection.confidence == 0.0) == bool(detection.reason)


_DETECTORS = []


def profiles():
    if not _DETECTORS:
        _DETECTORS.append(ProfilesDetector(["de", "en", "ru", "uk", "vi", "zh", "ja"]))
    return _DETECTORS[0]


@given(st.text(st.sampled_from('aé $\\`<>@.:/w"“”«»「」《》„x答1\n[]()|'), max_size=30))
def test_the_marks_that_cleaning_looks_for_are_in_every_match(text):
    """Cleaning skips its patterns where no mark is: then they must match nothing."""
    for pattern, marks in ((_LANGUAGELESS, _MARKS), (_QUOTED_NAME, _OPENING_QUOTES)):
        assert all(any(mark in match for mark in marks) for match in (m.group() for m in pattern.finditer(text)))
