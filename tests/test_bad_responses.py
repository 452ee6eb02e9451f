"""What nobody wants to be sent, each with one clear outcome: the response, its record, its JSON and the metrics."""

from __future__ import annotations

import time

import pytest
from conftest import WordDetector
from small_tasks import TABLE_SOURCE, CommandLine, assert_one_line, write_table, write_task

from lrpo_bench.evaluation.evaluator import EvaluationSettings, evaluate, plan_chunks
from lrpo_bench.evaluation.fidelity import judge_records
from lrpo_bench.evaluation.metrics import find_metric, metrics_of
from lrpo_bench.evaluation.records import record_from_json, record_to_json
from lrpo_bench.language_id.registry import get_detector
from lrpo_bench.models.fake import MockModel
from lrpo_bench.tasks.base import Sample
from lrpo_bench.tasks.registry import load_task

SETTINGS = EvaluationSettings("prompt", draws=0)
FILLER = "Zuerst zählen wir alle Äpfel im Korb und dann die Birnen. "
SAID = "Die Antwort ist 18."


def evaluated(response: str, detector, *, lang: str = "de", task_name: str = "mgsm"):
    """The record of one question whose answer is 18, after everything that a pipeline does with it."""
    task = load_task(task_name)
    sample = Sample(f"{task_name}/{lang}/0", f"{task_name}/0", lang, "Wie viele?", "18")
    settings = EvaluationSettings("prompt", draws=0, max_completion_tokens=1_000_000)
    chunks = plan_chunks([(task, [sample])], settings)
    (records,) = evaluate(MockModel(lambda *_: response), chunks, detector, settings)
    (record,) = judge_records(records, detector)
    assert record_from_json(record_to_json(record)) == record, "a stored record is the record"
    return record


@pytest.fixture(scope="module")
def detector():
    return get_detector("auto", ("de", "en", "sw"))


@pytest.mark.parametrize(
    ("response", "outcome", "language_ok"),
    [
        pytest.param(FILLER * 1750 + SAID, "correct", True, id="100k characters, then the answer"),
        pytest.param(SAID + " " + "a" * 100_000, "correct", None, id="100k characters without a space"),
        pytest.param("1" * 100_000, "incorrect", None, id="a number of 100k digits"),
        pytest.param("9" * 4_400, "incorrect", None, id="more digits than int() takes"),
        pytest.param("(" * 100_000, "not_attempted", None, id="100k brackets"),
        pytest.param("\n" * 100_000 + SAID, "correct", True, id="100k line feeds"),
        pytest.param(f"{FILLER}{SAID} \ud800", "correct", True, id="a lone surrogate after"),
        pytest.param(f"\udfff{FILLER}{SAID}", "correct", True, id="a lone surrogate before"),
        pytest.param("\ud800" * 50, "not_attempted", None, id="nothing but surrogates"),
        pytest.param(f"{FILLER}Die\x07 Antwort ist 18.\x1b[31m\x00", "correct", True, id="control characters"),
        pytest.param("\x00\x01\x02", "not_attempted", None, id="nothing but control characters"),
        pytest.param(f"\u200f{FILLER}Die Antwort ist \u202e18\u202c.\u200e", "correct", True, id="direction marks"),
        pytest.param("\u200f\u200b\u202e\ufeff", "not_attempted", None, id="nothing but marks"),
        pytest.param("", "not_attempted", None, id="empty"),
        pytest.param(" \n\t\u3000", "not_attempted", None, id="blank"),
    ],
)
def test_each_has_one_outcome(response, outcome, language_ok, detector):
    started = time.process_time()
    record = evaluated(response, detector)
    assert time.process_time() - started < 5, "no pattern may blow up"
    assert record.outcome == outcome, (record.outcome, record.answer and record.answer[:40], record.reason)
    assert record.score == float(outcome == "correct")
    if language_ok is not None or not response.startswith(SAID):
        assert record.language_ok is language_ok, (record.detected_lang, record.language_reason)
    assert (record.language_reason == "") == (record.language_ok is not None)
    accuracy = find_metric(metrics_of([record]), "accuracy", "de")
    assert (accuracy.value, accuracy.n, accuracy.n_unscored) == (record.score, 1, 0)


def test_a_detector_that_lacks_the_language_measures_nothing():
    """The fake knows de, en and sw. A right answer in Chinese is right, its language unknown: counted, and never 0."""
    record = evaluated("答案是18。", WordDetector(), lang="zh")
    assert (record.outcome, record.score, record.language_ok) == ("correct", 1.0, None)
    assert record.language_reason and "zh" in record.language_reason
    metrics = metrics_of([record])
    for name in ("fidelity", "accuracy_in_language", "lpr", "lcpr"):
        found = find_metric(metrics, name, "zh")
        assert (found.value, found.n, found.n_unscored) == (None, 0, 1), name
    assert find_metric(metrics, "share:right_language_unknown", "zh").value == 1.0


@pytest.fixture
def call(tmp_path, capsys):
    return CommandLine(write_task(tmp_path / "tasks", "table", TABLE_SOURCE), tmp_path / "out", capsys)


def test_a_language_without_data_is_named_with_those_that_have_some(call, tmp_path):
    folder = write_table(tmp_path / "data", "test", {"de": ["a?"], "en": ["b?"]})
    result = call("eval", "--model", "mock", "--tasks", "table", "--data", f"table={folder}")
    assert_one_line(result, "has no 'sw'", "it has de, en")
    assert not call.out.exists()
    code, _, err = call(
        "eval", "--model", "mock", "--tasks", "table", "--data", f"table={folder}", "--languages", "de,en"
    )
    assert code == 0, err


def test_a_language_without_a_prompt_is_named(call, tmp_path):
    prompts = tmp_path / "tasks" / "table" / "prompts.toml"
    prompts.write_text("\n".join(line for line in prompts.read_text().splitlines() if not line.startswith("sw")))
    folder = write_table(tmp_path / "data", "test", {"de": ["a?"], "en": ["b?"], "sw": ["c?"]})
    result = call("eval", "--model", "mock", "--tasks", "table", "--data", f"table={folder}")
    assert_one_line(result, "prompt language of task table", "'sw'")


def test_an_id_that_occurs_twice_is_refused(call, tmp_path):
    code = tmp_path / "tasks" / "table" / "task.py"
    code.write_text(code.read_text().replace('f"table/{lang}/{index}"', "f'table/{lang}/' + row['answer']"))
    folder = write_table(tmp_path / "data", "test", {lang: ["a?", "b?"] for lang in ("de", "en", "sw")})
    (folder / "test-en.tsv").write_text("a?\t0\nb?\t0\n")
    result = call("eval", "--model", "mock", "--tasks", "table", "--data", f"table={folder}")
    assert_one_line(result, "en row 1: sample id 'table/en/0' occurs twice")
