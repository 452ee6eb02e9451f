"""Lingua in a process beside: the same answers, whatever becomes of that process."""

import gc
import json
import sys

import pytest

from lrpo_bench.language_id import beside
from lrpo_bench.language_id.base import Detection
from lrpo_bench.language_id.beside import LinguaBeside
from lrpo_bench.language_id.detectors import LinguaDetector
from lrpo_bench.language_id.registry import get_detector

LANGUAGES = ("de", "en", "fr", "ru", "uk", "th")
TEXTS = (
    "Am Nachmittag backt sie noch drei Kuchen, also hat sie am Ende zwölf Stück.",
    "She bakes three more cakes in the afternoon, so she ends up with twelve of them.",
    "Днём она печёт ещё три пирога, поэтому в итоге у неё двенадцать штук.",
    "ตอนบ่ายเธออบเค้กเพิ่มอีกสามชิ้น",
    *("", "12 + 7 = 19", "a\nb", "two\nlines \u2028 of \x00 English \ud800 words\r\nhere", "so"),
)


@pytest.fixture
def detector():
    return LinguaBeside(LANGUAGES)


def test_the_answers_are_those_of_lingua_here(detector):
    here = LinguaDetector(LANGUAGES)
    assert detector.detect(TEXTS) == here.detect(TEXTS)
    assert detector.detect(TEXTS[1:2]) == here.detect(TEXTS[1:2])
    assert detector._process is not None, "it was the other process that answered"
    assert (detector.signature, detector.languages) == (here.signature, here.languages)


def test_a_process_that_died_costs_nothing_but_time(detector):
    process = detector._process
    process.kill()
    process.wait()
    assert [found.lang for found in detector.detect(TEXTS[:2])] == ["de", "en"]
    assert detector._process is None


def test_a_process_that_can_not_start_costs_nothing_but_time(monkeypatch):
    monkeypatch.setattr(beside, "_PROGRAM", "raise SystemExit(3)")
    assert [found.lang for found in LinguaBeside(LANGUAGES).detect(TEXTS[:2])] == ["de", "en"]


@pytest.mark.parametrize("said", ["hello", "[]", "[1, 2]", "null"])
def test_what_else_is_printed_there_is_no_answer(monkeypatch, said):
    """`sitecustomize` may print, before any line of ours runs."""
    monkeypatch.setattr(beside, "_PROGRAM", f"print({said!r}); " + beside._PROGRAM)
    assert [found.lang for found in LinguaBeside(LANGUAGES).detect(TEXTS[:2])] == ["de", "en"]


def test_where_no_process_can_be_started_this_one_answers(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert [found.lang for found in LinguaBeside(LANGUAGES).detect(TEXTS[:2])] == ["de", "en"]


def test_an_answer_that_was_not_waited_for_is_not_the_next_ones(detector, monkeypatch):
    def interrupted(process, texts):
        process.stdin.write(json.dumps(texts) + "\n")
        process.stdin.flush()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(beside, "_ask", interrupted)
        detector.detect(TEXTS[:1])
    assert [found.lang for found in detector.detect(TEXTS[1:2])] == ["en"]


def test_the_process_ends_with_the_detector():
    detector = LinguaBeside(LANGUAGES)
    process = detector._process
    del detector
    gc.collect()
    assert process.returncode is not None


def test_an_error_in_a_text_is_raised_here(detector, monkeypatch):
    monkeypatch.setattr(beside, "_ask", lambda *_: None)
    monkeypatch.setattr(LinguaDetector, "_classify", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        detector.detect(TEXTS[:1])


def test_only_a_process_without_lingua_begins_another(monkeypatch):
    monkeypatch.setattr(beside, "available_cores", lambda: 2)
    assert "lingua" in sys.modules
    assert type(get_detector("auto", LANGUAGES, early=True)) is LinguaDetector
    monkeypatch.delitem(sys.modules, "lingua")
    assert beside.is_useful()
    monkeypatch.setattr(beside, "available_cores", lambda: 1)
    assert not beside.is_useful()


def test_answers_come_a_line_each(monkeypatch, capsys):
    monkeypatch.setattr(beside.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "stdin", iter([json.dumps(TEXTS[:2]) + "\n", json.dumps(["zz"]) + "\n"]))
    beside.answer(LANGUAGES)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert [Detection(*each).lang for each in first] == ["de", "en"]
    assert len(second) == 1
