"""The references of the world are in the language that they claim: detectors, which know nothing of it, agree."""

import numpy as np
import pytest

from lrpo_bench.language_id.registry import get_detector
from lrpo_bench.language_id.segmentation import count_words
from lrpo_bench.world import inference, reasoning, regional
from lrpo_bench.world.questions import WORLD_LANGUAGES

SHARE = 0.97
LANGDETECT_SHARE = 0.96  # it takes a tenth of "David hat 3-mal so viele Blumen wie Sara" for English: German is 0.967


def _problems(kind, n):
    rng = np.random.default_rng(0)
    if kind == "regional":
        return [regional.all_problems()[i] for i in rng.permutation(len(regional.all_problems()))[:n]]
    return {"reasoning": reasoning, "inference": inference}[kind].problems(rng, n, "test")


def _found_rightly(detector, kind, lang, n):
    texts = [problem.render(lang).reference for problem in _problems(kind, n)]
    long_enough = [text for text in texts if count_words(text) >= 10]
    assert len(long_enough) >= n / 3, f"{kind} {lang}: too few references of ten words to judge"
    return np.mean([detection.lang == lang for detection in detector.detect(long_enough)])


@pytest.mark.parametrize("kind", ["reasoning", "inference", "regional"])
def test_lingua_knows_the_language_of_references(kind):
    detector = get_detector("lingua", WORLD_LANGUAGES)
    shares = {lang: _found_rightly(detector, kind, lang, 60) for lang in WORLD_LANGUAGES}
    assert min(shares.values()) >= SHARE, shares


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reasoning", "inference", "regional"])
@pytest.mark.parametrize(("name", "least"), [("lingua", SHARE), ("langdetect", LANGDETECT_SHARE)])
def test_both_detectors_know_the_language_of_references(name, least, kind):
    detector = get_detector(name, WORLD_LANGUAGES)
    shares = {lang: _found_rightly(detector, kind, lang, 300) for lang in WORLD_LANGUAGES}
    assert min(shares.values()) >= least, shares
