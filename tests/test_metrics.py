import dataclasses
import math

import pytest
from small_records import RECORD

from lrpo_bench.evaluation.metrics import Metric, find_metric, language_sets, metrics_of
from lrpo_bench.evaluation.observations import CELLS, cell_of, observe
from lrpo_bench.evaluation.records import ResponseRecord

BASE = dataclasses.replace(RECORD, sample_id="toy/de/0", source_id="toy/0", completion="Die Antwort ist 2.")
WRONG = {"score": 0.0, "outcome": "incorrect"}
UNSCORED = {"score": None, "outcome": "unscored"}


def record(question: int, lang: str = "de", **changes) -> ResponseRecord:
    ids = {"sample_id": f"toy/{lang}/{question}", "source_id": f"toy/{question}", "source_lang": lang}
    return dataclasses.replace(BASE, rollout_lang=lang, **ids | changes)


def value(metrics: list[Metric], name: str, language: str = "avg:all") -> float | None:
    found = find_metric(metrics, name, language)
    assert found is not None, name
    return found.value


def test_right_and_right_language_are_told_apart():
    metrics = metrics_of(
        [
            record(0),
            record(1, language_ok=False),
            record(2, **WRONG),
            record(3, **WRONG, language_ok=False),
            record(4, language_ok=None),
            record(5, **UNSCORED),
            record(6, score=0.0, outcome="not_attempted", language_ok=None),
            record(7, score=0.0, outcome="truncated", finish_reason="length", n_tokens=13, prompt_truncated=True),
        ]
    )
    # accuracy: 0, 1, 4 right of all but 5; in language: 0 right of 0 1 2 3 6 7; fidelity: 0 2 5 7 of 0 1 2 3 5 7
    assert value(metrics, "accuracy") == pytest.approx(3 / 7)
    assert value(metrics, "accuracy_in_language") == pytest.approx(1 / 6)
    assert value(metrics, "fidelity") == pytest.approx(4 / 6)
    assert value(metrics, "truncation_rate") == 1 / 8 and value(metrics, "completion_tokens") == (7 * 5 + 13) / 8
    shares = {cell: value(metrics, f"share:{cell}") for cell in CELLS}
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares == dict.fromkeys(CELLS, 1 / 8) | {"wrong_language_unknown": 0.0}
    headline = find_metric(metrics, "accuracy_in_language")
    assert (headline.n, headline.n_unscored, headline.n_errors) == (6, 2, 1)


def test_nothing_known_is_none():
    metrics = metrics_of([record(0, **UNSCORED, language_ok=None)])
    accuracy = find_metric(metrics, "accuracy", "de")
    assert accuracy == Metric("toy", "de", "accuracy", None, None, (None, None), 0, 0, 1, 0, interval="wilson")


def test_one_question_has_no_stderr():
    accuracy = find_metric(metrics_of([record(0)]), "accuracy")
    assert accuracy.value == 1.0 and accuracy.stderr is None and accuracy.ci95 == (None, None)


def test_parallel_questions_cluster_across_languages():
    records = [record(q, lang, **(WRONG if q % 2 else {})) for q in range(20) for lang in ("de", "en", "sw")]
    metrics = metrics_of(records, trained_languages=["de", "en", "fr"])
    one, average = find_metric(metrics, "accuracy", "de"), find_metric(metrics, "accuracy", "avg:all")
    assert average.stderr == pytest.approx(one.stderr) and (average.n, average.n_clusters) == (60, 20)
    assert find_metric(metrics, "accuracy", "avg:trained").n == 40
    assert find_metric(metrics, "accuracy", "avg:heldout").n == 20


def test_a_language_no_detector_knows_is_named():
    records = [record(q, "de") for q in range(3)] + [record(q, "ig", language_ok=None) for q in range(3)]
    fidelity = find_metric(metrics_of(records), "fidelity")
    assert fidelity.value == 1.0 and fidelity.n_unscored == 3 and fidelity.note == "without ig: nothing known"
    assert find_metric(metrics_of(records), "fidelity", "ig").value is None


def test_language_sets_without_held_out_languages():
    assert list(language_sets(["de"], ["de", "en"])) == ["de", "avg:trained", "avg:all"]
    assert list(language_sets(["de"], None)) == ["de", "avg:all"]


def test_draws():
    # Question 0: answers 2 2 3 and one unscored; question 1: four times wrong, all the same text.
    draws = [
        record(0, k=1),
        record(0, k=2, completion="Das ist 2, denke ich heute."),
        record(0, k=3, **WRONG, answer="3", completion="Es sind drei, glaube ich wohl."),
        record(0, k=4, **UNSCORED, answer=None, completion=""),
        *(record(1, k=k, **WRONG, answer="7", completion="Es sind 7 Eier im Korb.") for k in (1, 2, 3, 4)),
    ]
    metrics = metrics_of(draws)
    assert find_metric(metrics, "accuracy") is None  # no greedy response, no greedy metric
    assert value(metrics, "sampled_accuracy") == pytest.approx((2 / 3 + 0) / 2)
    assert value(metrics, "pass@2") == pytest.approx((1.0 + 0) / 2)  # of 3 scored draws, no pair is without a right one
    pass_at_4 = find_metric(metrics, "pass@4")
    assert pass_at_4.value == 0.0 and pass_at_4.n_unscored == 1  # three scored draws can not tell
    assert value(metrics, "distinct_answers") == 1.5
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert value(metrics, "answer_entropy") == pytest.approx(entropy / 2)
    bleu = next(o for o in observe(draws) if o.metric == "self_bleu")
    assert bleu.values[1] == pytest.approx(1.0) and bleu.values[0] < 0.5 and bleu.note == "tokens by de:13a"


def test_why_groups_of_draws_would_teach_nothing():
    away, unknown = {"language_ok": False}, {"language_ok": None}
    groups = {
        "informative": [{}, WRONG],
        "all_right": [{}, {}],
        "all_wrong": [WRONG, WRONG],
        "all_gated": [away, WRONG | away],  # right, but in another language
        "all_truncated": [{"score": 0.0, "outcome": "truncated", "finish_reason": "length"}] * 2,
        "unscored": [{}, unknown, UNSCORED],  # one known score is no group
        "all_equal": [{"score": 0.5, "outcome": "incorrect"}] * 2,
    }
    for number, (cause, draws) in enumerate(groups.items()):
        metrics = metrics_of([record(number, k=k, **change) for k, change in enumerate(draws, 1)])
        assert {name: value(metrics, f"group:{name}") for name in groups} == {n: float(n == cause) for n in groups}
        zero = find_metric(metrics, "zero_advantage")
        expected = {"informative": (0.0, 0), "unscored": (None, 1)}.get(cause, (1.0, 0))
        assert (zero.value, zero.n_unscored) == expected, cause
    everything = [record(i, k=k, **c) for i, draws in enumerate(groups.values()) for k, c in enumerate(draws, 1)]
    assert value(metrics_of(everything), "zero_advantage") == pytest.approx(5 / 6)
    assert value(metrics_of(everything), "group:all_right") == pytest.approx(1 / 7)


def test_every_record_has_exactly_one_cell():
    for outcome, score in (("correct", 1.0), ("incorrect", 0.0), ("not_attempted", 0.0), ("unscored", None)):
        for language_ok in (True, False, None):
            assert cell_of(record(0, outcome=outcome, score=score, language_ok=language_ok)) in CELLS


def test_no_records():
    assert metrics_of([]) == []
