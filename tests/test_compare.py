import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from small_records import RECORD

from lrpo_bench.errors import IncomparableResultsError
from lrpo_bench.evaluation.fidelity import LINE_FAILED, TOO_SHORT
from lrpo_bench.evaluation.metrics import find_metric, metrics_of
from lrpo_bench.results.compare import compare
from lrpo_bench.results.schema import Evaluation, Signature, TaskSignature

BASE = RECORD
SIGNATURE = Signature(
    {"toy": TaskSignature("1", "default", "generate", ("de", "en"), "p", "d")}, {"n": 1}, "script", "1", "1"
)
# right/wrong, in language: what a letter stands for in the strings below
LETTERS = {
    "R": {},
    "r": {"language_ok": False},
    "W": {"score": 0.0, "outcome": "incorrect"},
    "w": {"score": 0.0, "outcome": "incorrect", "language_ok": False},
    "-": {"score": None, "outcome": "unscored"},
    "0": {"score": 0.0, "outcome": "not_attempted", "language_ok": None},
    "?": {"language_ok": None},
}


def evaluation(label: str = "before", trained=None, signature=SIGNATURE, **by_lang: str) -> Evaluation:
    """One letter a question, one string a language; questions are parallel."""
    records = [
        dataclasses.replace(
            BASE,
            source_lang=lang,
            rollout_lang=lang,
            sample_id=f"toy/{lang}/{i}",
            source_id=f"toy/{i}",
            question=f"q{i}",
            **LETTERS[letter],
        )
        for lang, letters in by_lang.items()
        for i, letter in enumerate(letters)
    ]
    return Evaluation(signature, tuple(records), (), trained, label)


def both(before: str, after: str):
    return compare(evaluation(de=before), evaluation("after", de=after))


# --- differences ---------------------------------------------------------------------------------------------------


def test_a_gain_by_hand():
    # Right and in language: W w r R R R R R -> 5/8; all R -> 8/8. Differences 1 1 1 0 0 0 0 0.
    comparison = both("WwrRRRRR", "RRRRRRRR")
    headline = comparison.find("accuracy_in_language", "de")
    change = stats.ttest_1samp([1, 1, 1, 0, 0, 0, 0, 0], 0).confidence_interval(0.95)
    assert (headline.before, headline.after, headline.change.value) == (5 / 8, 1.0, 3 / 8)
    assert headline.change.ci95 == pytest.approx((change.low, change.high))
    assert headline.test == "mcnemar" and headline.p == pytest.approx(2 * 0.5**3)
    accuracy, fidelity = comparison.find("accuracy", "de"), comparison.find("fidelity", "de")
    assert accuracy.change.value == 2 / 8 and fidelity.change.value == 2 / 8
    assert headline.detectable == pytest.approx(headline.change.stderr * (2.3646 + 0.8960), abs=1e-3)


def test_what_is_unknown_on_one_side_leaves_both():
    headline = both("RW-RWW", "R-RRRW").find("accuracy_in_language", "de")
    # pairs known: 0, 3, 4, 5 -> before 2/4, after 3/4
    assert (headline.before, headline.after) == (0.5, 0.75) and headline.change.n_unscored == 2


def test_averages_cluster_parallel_questions_and_use_sign_flips():
    before, after = "WWWRRRWWRR" * 2, "RRRRRRWWRR" * 2
    one = compare(evaluation(de=before), evaluation("after", de=after)).find("accuracy", "avg:all")
    three = compare(evaluation(de=before, en=before, sw=before), evaluation("after", de=after, en=after, sw=after))
    average = three.find("accuracy", "avg:all")
    assert average.change.stderr == pytest.approx(one.change.stderr) and average.test == "sign-flip"
    assert average.p == pytest.approx(2 * 0.5**6)  # six questions gained, whatever the number of languages


def test_holm_over_languages_not_averages():
    before, after = {"de": "W" * 7 + "R", "en": "WR" * 4}, {"de": "R" * 8, "en": "RW" * 4}
    comparison = compare(evaluation(**before), evaluation("after", **after))
    de = comparison.find("accuracy", "de")
    assert de.p == pytest.approx(2 * 0.5**7) and de.p_holm == pytest.approx(2 * de.p)
    average = comparison.find("accuracy", "avg:all")
    assert average.p_holm == average.p


def test_trained_and_held_out_averages():
    before = evaluation(trained=("de",), de="WWWW", en="WWWW")
    comparison = compare(before, evaluation("after", trained=("de",), de="RRRR", en="WWWW"))
    assert comparison.find("accuracy", "avg:trained").change.value == 1.0
    assert comparison.find("accuracy", "avg:heldout").change.value == 0.0
    other = compare(before, evaluation("after", trained=("en",), de="RRRR", en="WWWW"))
    assert other.find("accuracy", "avg:trained") is None and "trained on different ones" in other.notes[0]


def test_no_change_is_not_certainty():
    headline = both("RW" * 10, "RW" * 10).find("accuracy_in_language", "de")
    assert headline.change.value == 0 and headline.change.ci95[0] < -0.1 < 0.1 < headline.change.ci95[1]
    assert headline.p == 1.0 and math.isnan(headline.detectable) and not headline.is_real


def test_a_real_change_is_called_real():
    assert both("W" * 30 + "R" * 10, "R" * 40).find("accuracy_in_language", "de").is_real
    assert not both("W" * 2 + "R" * 10, "R" * 12).find("accuracy_in_language", "de").is_real


def test_the_same_comparison_twice_is_the_same():
    rng = np.random.default_rng(0)
    letters = {
        lang: ("".join(rng.choice(list("RrWw-"), 60)), "".join(rng.choice(list("RrWw?"), 60))) for lang in ("de", "en")
    }
    sides = [evaluation(**{lang: pair[i] for lang, pair in letters.items()}) for i in (0, 1)]
    first, second = compare(*sides), compare(*sides)
    assert repr(first) == repr(second)


def test_before_and_after_agree_with_metrics_when_all_is_known():
    before, after = evaluation(de="RrWwRR", en="RWRWRW"), evaluation("after", de="RRRWrR", en="RRRRWW")
    comparison = compare(before, after)
    for difference in comparison.differences:
        for side, value in ((before, difference.before), (after, difference.after)):
            metric = find_metric(metrics_of(side.records), difference.metric, difference.language)
            assert (math.nan if metric.value is None else metric.value) == pytest.approx(value, nan_ok=True)


def test_diversity_of_draws_is_compared():
    def draws(texts):
        rows = []
        for i in range(6):
            for k, text in enumerate(texts, 1):
                ids = {"sample_id": f"toy/de/{i}", "source_id": f"toy/{i}"}
                rows.append(dataclasses.replace(BASE, k=k, completion=text, answer=text[-1], **ids))
        return Evaluation(SIGNATURE, tuple(rows))

    comparison = compare(draws(["es sind genau 2", "das macht dann 3"]), draws(["es sind genau 2"] * 2))
    assert comparison.find("distinct_answers", "de").change.value == -1
    assert comparison.find("self_bleu", "de").change.value > 0.5
    assert comparison.n_samples == 0 and comparison.flips == ()


# --- lines and words: P pass, L a line failed, S a stray word, - too short; words are looked up in all languages

VERDICTS = {
    "P": {"lines_ok": True, "lines_reason": "", "words_ok": True, "words_reason": ""},
    "S": {"lines_ok": True, "lines_reason": "", "words_ok": False, "words_reason": ""},
    "L": {"lines_ok": False, "lines_reason": "", "words_ok": None, "words_reason": LINE_FAILED},
    "-": {"lines_ok": None, "lines_reason": TOO_SHORT, "words_ok": None, "words_reason": TOO_SHORT},
}
JUDGED = dataclasses.replace(SIGNATURE, fidelity_rules="corrected 1", word_list="words:2:abc")


def judged(letters: str, label: str = "before", signature: Signature = JUDGED) -> Evaluation:
    plain = evaluation(label, signature=signature, de="R" * len(letters))
    records = [dataclasses.replace(r, **VERDICTS[letter]) for r, letter in zip(plain.records, letters, strict=True)]
    return dataclasses.replace(plain, records=tuple(records))


def test_lines_and_words_are_compared_over_the_same_questions():
    # Known on both sides: the first eight. LPR 6/8 -> 8/8; WPR 4/6 -> 7/8; LCPR 2/(8/6 + 6/4) -> 2/(1 + 8/7).
    comparison = compare(judged("PPPPSSLL-P"), judged("PPSPPPPPP-", "after"))
    lpr, wpr, lcpr = (comparison.find(name, "de") for name in ("lpr", "wpr", "lcpr"))
    assert (lpr.before, lpr.after, lpr.change.n, lpr.change.n_unscored) == (0.75, 1.0, 8, 2)
    assert (lcpr.before, lcpr.after) == (pytest.approx(12 / 17), pytest.approx(14 / 15))
    assert lcpr.change.value == pytest.approx(14 / 15 - 12 / 17) and lcpr.change.n == 8
    # Words pair by pair where both sides have clean lines: questions 0 to 5, 4/6 -> 5/6.
    assert (wpr.before, wpr.after) == (pytest.approx(4 / 6), pytest.approx(5 / 6))
    assert (wpr.change.n, wpr.change.n_unscored) == (6, 2) and f"2 pairs left out: {LINE_FAILED}" in wpr.note


def test_verdicts_by_other_rules_or_words_are_not_compared():
    other = dataclasses.replace(JUDGED, word_list="words:9:fff")
    comparison = compare(judged("PPLS"), judged("PPPP", "after", other))
    assert comparison.find("lpr", "de").change.value == 0.25
    assert all(math.isnan(comparison.find(name, "de").change.value) for name in ("wpr", "lcpr"))
    assert any("different lists" in note for note in comparison.notes)
    old = dataclasses.replace(JUDGED, fidelity_rules="", word_list="")
    comparison = compare(judged("PPLS", signature=old), judged("PPPP", "after"))
    assert all(math.isnan(comparison.find(name, "de").change.value) for name in ("lpr", "wpr", "lcpr"))
    assert comparison.find("accuracy", "de").change.value == 0.0
    assert any("different rules" in note for note in comparison.notes)


# --- why, and which ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "correct", "language"),
    [
        ("W", "R", 1, 0),
        ("r", "R", 0, 1),
        ("w", "R", 0.5, 0.5),
        ("R", "r", 0, -1),
        ("0", "R", 1, 0),
        ("r", "W", -0.5, 0.5),
    ],
)
def test_decomposition_by_hand(before, after, correct, language):
    (one, _) = both(before, after).decompositions
    assert (one.more_correct.value, one.right_language.value) == (correct, language)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(st.sampled_from("RrWw-0?"), st.sampled_from("RrWw-0?")), min_size=2, max_size=20))
def test_decomposition_adds_up_to_the_headline(pairs):
    before, after = ("".join(side) for side in zip(*pairs, strict=True))
    comparison = both(before, after)
    for part in comparison.decompositions:
        headline = comparison.find("accuracy_in_language", part.language)
        assert part.total == pytest.approx(headline.change.value, abs=1e-12, nan_ok=True)


def test_flips():
    flips = both("WrwRR-", "RRRWrR").flips
    assert [(f.kind, f.cause) for f in flips] == [
        ("gained", "answer"),
        ("gained", "language"),
        ("gained", "both"),
        ("lost", "answer"),
        ("lost", "language"),
    ]


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"detector_version": "2"}, "can not compare: detector_version is '1' in before, '2' in after; evaluate both"),
        ({"decoding": {"n": 8}}, r"decoding.n is 1 in before, 8 in after"),
        ({"tasks": {}}, r"tasks.toy is .* in before, '\(absent\)' in after; use --intersect"),
    ],
)
def test_different_signatures_are_refused(change, message):
    with pytest.raises(IncomparableResultsError, match=message):
        compare(evaluation(de="R"), evaluation("after", signature=dataclasses.replace(SIGNATURE, **change), de="R"))


def other_data(**changes) -> Signature:
    task = dataclasses.replace(SIGNATURE.tasks["toy"], **changes)
    return dataclasses.replace(SIGNATURE, tasks={"toy": task})


def test_intersect_compares_the_common_questions():
    before = evaluation(de="RWRW", en="RRRR")
    after = evaluation("after", signature=other_data(languages=("de",), data_hash="e", limit=6), de="RRRRWW")
    with pytest.raises(
        IncomparableResultsError, match=r"tasks.toy.data_hash is 'd' in before, 'e' in after; use --inter"
    ):
        compare(before, after)
    comparison = compare(before, after, intersect=True)
    assert comparison.find("accuracy", "de").change.value == 0.5 and comparison.find("accuracy", "en") is None
    assert comparison.notes == ("compared 4 common responses; left out 6 that only one side has",)


def test_intersect_still_refuses_another_prompt():
    with pytest.raises(
        IncomparableResultsError, match=r"tasks.toy.prompt_hash is 'p' in before, 'q' in after; evaluate"
    ):
        compare(evaluation(de="R"), evaluation("after", signature=other_data(prompt_hash="q"), de="R"), intersect=True)


def test_a_missing_response_is_refused():
    with pytest.raises(
        IncomparableResultsError, match="before has 1 responses that after lacks, first 'toy/de/2' of toy"
    ):
        compare(evaluation(de="RRR"), evaluation("after", de="RR"))


def test_another_question_under_the_same_id_is_refused():
    before, after = evaluation(de="RR"), evaluation("after", de="RW")
    changed = dataclasses.replace(after.records[1], gold="3")
    after = dataclasses.replace(after, records=(after.records[0], changed))
    with pytest.raises(IncomparableResultsError, match="question or gold answer of 'toy/de/1'"):
        compare(before, after)
    comparison = compare(before, after, intersect=True)
    assert comparison.n_samples == 1 and "left out 1 responses" in comparison.notes[0]


def test_nothing_in_common_is_refused():
    with pytest.raises(IncomparableResultsError, match="no question in common"):
        compare(evaluation(de="R"), evaluation("after", en="R"), intersect=True)
