"""One-sided regression tests: against scipy, by simulation, and on stored runs."""

from __future__ import annotations

import math
import shutil
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from stored_runs import records, write_run

from lrpo_bench.errors import ConfigError, IncomparableResultsError, StorageError, UnknownNameError
from lrpo_bench.evaluation.regression import Noise, regression_test
from lrpo_bench.evaluation.significance import holm
from lrpo_bench.results.regression import Check, check_regression, decide, worse_direction
from lrpo_bench.results.regression_text import failure_text, number, quoted
from lrpo_bench.results.sides import Results, evaluations_at

# --- against independent sources


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_one_run_a_side_is_the_paired_t_test(rng):
    old, new = (rng.random((2, 80)) < 0.6).astype(float)
    ours = regression_test(old, new, range(80))
    theirs = stats.ttest_rel(new, old, alternative="less")
    two_sided = stats.ttest_rel(new, old).confidence_interval(0.95)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours.change.ci95 == pytest.approx((two_sided.low, two_sided.high))
    assert ours.allowed(0.01) == pytest.approx(stats.t.ppf(0.99, 79) * ours.change.stderr)
    assert ours.allowed(0.01) > ours.allowed(0.05) > 0
    assert (ours.before, ours.after) == pytest.approx((old.mean(), new.mean()))


def test_higher_is_worse_is_the_other_side(rng):
    old, new = rng.random((2, 50))
    lower = regression_test(old, new, range(50), worse="lower")
    higher = regression_test(old, new, range(50), worse="higher")
    assert lower.p + higher.p == pytest.approx(1)
    assert higher.p == pytest.approx(regression_test(1 - old, 1 - new, range(50)).p)


def test_tolerance_moves_the_hypothesis(rng):
    old, new = rng.random((2, 50))
    ours = regression_test(old, new - 0.1, range(50), tolerance=0.1, bounds=None)
    assert ours.p == pytest.approx(stats.ttest_rel(new - 0.1, old - 0.1, alternative="less").pvalue)
    assert ours.allowed(0.05) == pytest.approx(0.1 + stats.t.ppf(0.95, 49) * ours.change.stderr)


def test_clusters_are_whole_source_questions(rng):
    """Three translations of each question: the standard error is that of the questions' sums."""
    old, new = (rng.random((2, 60)) < 0.5).astype(float)
    clusters = np.repeat(np.arange(20), 3)
    sums = (new - old).reshape(20, 3).sum(axis=1)
    expected = math.sqrt(20 / 19 * ((sums - 3 * (new - old).mean()) ** 2).sum()) / 60
    assert regression_test(old, new, clusters).change.stderr == pytest.approx(expected)


def by_hand(old, new):
    """B, A and R of balanced data, one question a cluster, from textbook mean squares."""
    m, n, q = len(old), len(new), old.shape[1]
    factor, f = 1 / m + 1 / n, m + n - 2
    b = np.var(new.mean(0) - old.mean(0), ddof=1) / q
    a = factor * sum(((side.mean(1) - side.mean()) ** 2).sum() for side in (old, new)) / f
    rest = sum(
        ((side - side.mean(0) - side.mean(1, keepdims=True) + side.mean()) ** 2).sum() / (q - 1) for side in (old, new)
    )
    return b, a, factor * rest / f / q, f


@pytest.mark.parametrize(("m", "n"), [(3, 1), (2, 2), (1, 4), (5, 3)])
def test_repeats_by_hand_and_by_quadrature(rng, m, n):
    old, new = rng.random((m, 40)) + rng.normal(0, 0.2, (m, 1)), rng.random((n, 40)) - 0.1
    ours = regression_test(old, new, range(40), bounds=None)
    b, a, r, f = by_hand(old, new)
    noise = ours.noise
    assert (noise.questions, noise.runs, noise.rest, noise.repeats) == pytest.approx((b, a, r, f))

    def given(u):
        variance = b + max(0.0, a * f / stats.chi2.ppf(u, f) - r)
        return stats.t.cdf(ours.change.value / math.sqrt(variance), 39)

    expected = integrate.quad(given, 0, 1, limit=200, points=[1e-6, 1e-4, 1e-2])[0]
    assert ours.p == pytest.approx(expected, rel=1e-3)
    assert noise.tail(noise.quantile(0.003)) == pytest.approx(0.003, rel=1e-6)


def test_repeats_that_never_vary_add_nothing(rng):
    old, new = (rng.random((2, 40)) < 0.5).astype(float)
    once, thrice = regression_test(old, new, range(40)), regression_test([old] * 3, new, range(40))
    assert thrice.p == pytest.approx(once.p)
    assert thrice.noise.between_runs == 0


def test_a_macro_average_weighs_languages_alike():
    old = np.array([1.0, 1, 1, 1, 1, 0])
    new = np.array([1.0, 1, 1, 0, 0, 0])
    ours = regression_test(old, new, ["a", "b", "c", "d", "a", "b"], ["de"] * 4 + ["sw"] * 2)
    assert (ours.before, ours.after) == pytest.approx(((1 + 0.5) / 2, (0.75 + 0) / 2))


def test_where_nothing_varies_the_unseen_is_bounded():
    """All 5 right before and all 5 wrong after: (1/2)^5, as in a sign test."""
    lost = regression_test(np.ones(5), np.zeros(5), range(5))
    assert lost.p == pytest.approx(0.5**5)
    assert regression_test(np.ones(5), np.ones(5), range(5)).p == 1.0
    assert math.isnan(regression_test(np.full(5, 9.0), np.full(5, 8.0), range(5), bounds=None).p)


def test_unknown_values_are_left_out_and_counted():
    old = [1, 1, math.nan, 1, 0, 1]
    new = [0, 1, 1, math.nan, 0, 0]
    ours = regression_test(old, new, range(6))
    assert (ours.change.n, ours.change.n_unscored, ours.change.value) == (4, 2, -0.5)
    nothing = regression_test([math.nan] * 3, [1, 1, 1], range(3))
    assert math.isnan(nothing.p) and nothing.change.n == 0
    assert math.isnan(regression_test([1.0], [0.0], "a").p)  # one question


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=12, max_size=40),
    st.integers(1, 3),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_properties(values, m, n, random):
    cells = np.array([[random.choice(values) for _ in values] for _ in range(m + n)])
    test = regression_test(cells[:m], cells[m:], range(len(values)))
    assert 0 <= test.p <= 1
    low, high = test.change.ci95
    assert -1 <= low <= test.change.value + 1e-12 and test.change.value - 1e-12 <= high <= 1
    if test.change.stderr > 0:
        # Rejected exactly where the change is beyond what is allowed.
        for level in (0.2, 0.01):
            assert (test.p <= level) == (-test.change.value >= test.allowed(level) - 1e-9) or math.isclose(
                -test.change.value, test.allowed(level), rel_tol=1e-6
            )
        assert test.detectable(0.01) > test.allowed(0.01)


# --- false alarms and power, simulated


def say(text):
    sys.stdout.write(f"\n{text}\n")  # seen with `pytest -s` or `-rP`


def simulate(seed, *, sessions=500, checks=10, questions=100, repeats=1, sd_run=0.0, drop=0.0):
    """Share of sessions with a false alarm by our rule, by uncorrected tests, and of true regressions found.

    A question is right with chance logistic(question + language + run); runs shift all questions of a language. With
    `drop`, the first check's new run is worse by that much (in logits), and is no false alarm.
    """
    rng = np.random.default_rng(seed)
    alarms = naive = found = 0
    for _ in range(sessions):
        question, p = rng.normal(0, 2, questions), []
        for check in range(checks):
            shift = rng.normal(0, sd_run, (repeats + 1, 1)) + rng.normal(0, 0.5)
            shift[-1] -= drop if check == 0 else 0.0
            values = (rng.random((repeats + 1, questions)) < 1 / (1 + np.exp(-question - shift))).astype(float)
            p.append(regression_test(values[:-1], values[-1], range(questions)).p)
        null = p[1:] if drop else p
        alarms += min(null) <= 0.05 / checks
        naive += min(null) <= 0.05
        found += p[0] <= 0.05 / checks
    return alarms / sessions, naive / sessions, found / sessions


HIGHEST = 0.05 + 3 * math.sqrt(0.05 * 0.95 / 500)


def test_noise_is_not_flagged():
    """500 sessions of 10 checks in which nothing changed."""
    alarms, naive, _ = simulate(1)
    say(f"nothing changed: {alarms:.3f} of sessions have a false alarm; {naive:.3f} without correction")
    assert alarms <= HIGHEST
    assert naive > 0.25  # the simulation can tell: about 1 - 0.95^10


def test_noise_between_seeds_is_not_flagged():
    """Every run is trained with another seed; three stored repeats measure what that does."""
    with_repeats, _, _ = simulate(2, checks=3, repeats=3, sd_run=0.3)
    alone, _, _ = simulate(2, checks=3, repeats=1, sd_run=0.3)
    say(f"seeds differ: {with_repeats:.3f} false alarms with three baselines, {alone:.3f} with one")
    assert with_repeats <= HIGHEST
    assert alone > 0.12  # what repeats are for


def test_a_true_regression_is_found():
    alarms, _, found = simulate(3, sessions=200, questions=250, drop=1.5)
    say(f"one of ten numbers got worse: found in {found:.3f} of sessions, {alarms:.3f} false alarms elsewhere")
    assert found > 0.9 and alarms <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("checks", "questions", "repeats", "sd_run"),
    [
        (1, 250, 1, 0), (20, 250, 1, 0), (20, 20, 1, 0), (20, 250, 3, 0), (20, 250, 3, 0.3), (20, 250, 3, 1),
        (20, 250, 5, 0.3), (20, 250, 2, 0.3), (1, 250, 2, 0.1),
    ],
)  # fmt: skip
def test_false_alarms_in_many_settings(checks, questions, repeats, sd_run):
    alarms, _, _ = simulate(4, checks=checks, questions=questions, repeats=repeats, sd_run=sd_run)
    say(f"{checks} checks, {questions} questions, {repeats} repeats, seeds {sd_run}: {alarms:.3f}")
    assert alarms <= HIGHEST


def test_holm_within_a_test_keeps_the_rate():
    """What `decide` does with several checks of one test: the family's rate is at most the level, and Holm's."""
    rng = np.random.default_rng(5)
    alarms = sum(float(holm(rng.random(4)).min()) <= 0.05 for _ in range(2000)) / 2000
    assert 0.03 < alarms < 0.065


# --- stored runs


def check(run, baseline, **more):
    return check_regression(Check(run, baseline, **more), Results())


@pytest.fixture
def baseline(tmp_path):
    return write_run(tmp_path / "base", {"de": "R" * 30 + "W" * 10, "sw": "R" * 20 + "W" * 20})


def test_a_lost_language_is_found_with_its_questions(baseline, tmp_path):
    run = write_run(tmp_path / "new", {"de": "R" * 30 + "W" * 10, "sw": "W" * 14 + "R" * 6 + "W" * 18 + "RR"})
    found = check(run, baseline, language="sw")
    assert (found.test.before, found.test.after) == (0.5, 0.2)
    assert found.test.p == pytest.approx(
        stats.ttest_1samp([-1] * 14 + [1] * 2 + [0] * 24, 0, alternative="less").pvalue
    )
    assert [change.before.sample_id for change in found.lost[:3]] == ["toy/sw/0", "toy/sw/1", "toy/sw/10"]
    assert (len(found.lost), found.gained) == (14, 2)
    assert found.lost[0].after.completion == "It is 41."
    (decision,) = decide([found], 0.05)
    assert decision.failed
    assert not decide([check(run, baseline, language="de")], 0.05)[0].failed
    assert check(run, baseline).check.language == "avg:all"


def test_decisions_share_their_level(baseline, tmp_path):
    run = write_run(tmp_path / "new", {"de": "R" * 30 + "W" * 10, "sw": "W" * 4 + "R" * 16 + "W" * 20})
    sw, de = check(run, baseline, language="sw"), check(run, baseline, language="de")
    alone, (first, second) = decide([sw], 0.05)[0], decide([sw, de], 0.05)
    assert alone.p_holm == sw.test.p and first.p_holm == pytest.approx(2 * sw.test.p)
    assert alone.failed and first.failed is (2 * sw.test.p <= 0.05) and not second.failed
    assert first.allowed == pytest.approx(sw.test.allowed(0.025)) and first.allowed > alone.allowed
    assert decide([], 0.05) == []


def test_repeats_are_folders_of_runs(tmp_path):
    for seed, right in enumerate((20, 22, 24)):
        write_run(tmp_path / "base" / f"seed{seed}", {"sw": "R" * right + "W" * (40 - right)}, seed=seed)
    run = write_run(tmp_path / "new", {"sw": "R" * 12 + "W" * 28}, seed=9)
    found = check(run, tmp_path / "base")
    assert len(found.baselines) == 3 and found.test.before == pytest.approx(22 / 40)
    assert found.test.noise.repeats == 2
    assert found.test.p > check(run, tmp_path / "base" / "seed1").test.p
    assert len(found.lost) == 12 and found.lost[0].was - found.lost[0].now == 1.0
    assert "3 baseline runs and 1 new run" in failure_text(decide([found], 0.05)[0], "0.05 over 1 test")


def test_metrics_where_higher_is_worse(baseline, tmp_path):
    cut = records({"de": "R" * 40, "sw": "R" * 40}, finish_reason="length")
    run = write_run(tmp_path / "new", {}, rows=cut)
    found = check(run, baseline, metric="truncation_rate", language="sw")
    assert (found.test.before, found.test.after, found.test.worse) == (0.0, 1.0, "higher")
    assert found.test.p < 1e-6 and len(found.lost) == 40


def test_before_and_after_of_a_run(baseline, tmp_path):
    assert evaluations_at(baseline) == (baseline / "before",)
    assert evaluations_at(baseline / "before") == (baseline / "before",)


# --- what can not be told is said in one line


def refusal(error, *arguments, **more):
    with pytest.raises(error) as caught:
        check(*arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_refusals(baseline, tmp_path):
    same = write_run(tmp_path / "same", {"de": "R" * 40, "sw": "R" * 40})
    assert "has no direction that is worse" in refusal(ConfigError, same, baseline, metric="completion_tokens")
    assert "unknown language of toy in these runs 'fr'" in refusal(UnknownNameError, same, baseline, language="fr")
    assert "unknown task of" in refusal(UnknownNameError, same, baseline, task="mgsm")
    assert "unknown metric of toy" in refusal(UnknownNameError, same, baseline, metric="pass@4")
    assert "both run and baseline" in refusal(ConfigError, baseline, baseline)
    assert "there is no run at" in refusal(StorageError, tmp_path / "none", baseline)
    (tmp_path / "empty").mkdir()
    assert "neither a run folder nor a folder of runs" in refusal(StorageError, tmp_path / "empty", baseline)
    unfinished = write_run(tmp_path / "unfinished", {"de": "R" * 40, "sw": "R" * 40}, complete=False)
    assert "is not complete (running)" in refusal(StorageError, unfinished, baseline)
    other = write_run(tmp_path / "other", {"de": "R" * 40, "sw": "R" * 40}, version="2")
    assert "tasks.toy.version is '1' in" in refusal(IncomparableResultsError, other, baseline)
    fewer = write_run(tmp_path / "fewer", {"de": "R" * 39, "sw": "R" * 40})
    assert "was not asked the same questions as" in refusal(IncomparableResultsError, fewer, baseline)


def test_several_tasks_need_a_name(tmp_path):
    rows = records({"sw": "RW"}, "one") + records({"sw": "RW"}, "two")
    a, b = (write_run(tmp_path / name, {}, rows=rows) for name in "ab")
    assert "has several tasks; name one with task=: one, two" in refusal(ConfigError, a, b)
    assert check(a, b, task="two").task == "two"


def test_other_tasks_may_differ(tmp_path):
    old = write_run(tmp_path / "a", {}, rows=records({"sw": "RWRW"}, "one") + records({"sw": "RW"}, "two"))
    new = write_run(tmp_path / "b", {}, rows=records({"sw": "RWWW"}, "one"))
    assert check(new, old, task="one").test.change.value == -0.25


def test_too_many_newly_unknown_are_refused(baseline, tmp_path):
    """Otherwise a model that stops writing recognisable Swahili would lose nothing but questions."""
    run = write_run(tmp_path / "new", {"de": "R" * 30 + "W" * 10, "sw": "R" * 20 + "?" * 20})
    assert "can not be told for 20 of 40 questions" in refusal(IncomparableResultsError, run, baseline, language="sw")
    few = write_run(tmp_path / "few", {"de": "R" * 30 + "W" * 10, "sw": "R" * 20 + "W" * 17 + "???"})
    assert check(few, baseline, language="sw").test.change.n_unscored == 3


def test_copies_are_no_repeats(tmp_path):
    write_run(tmp_path / "base" / "one", {"sw": "RW" * 20})
    shutil.copytree(tmp_path / "base" / "one", tmp_path / "base" / "two")
    run = write_run(tmp_path / "new", {"sw": "RW" * 20})
    assert "are copies of one run" in refusal(StorageError, run, tmp_path / "base")


def test_one_question_can_not_be_tested(tmp_path):
    old, new = (write_run(tmp_path / name, {"sw": letter}) for name, letter in (("a", "R"), ("b", "W")))
    assert "can not be tested: 1 source questions" in refusal(ConfigError, new, old)


def test_directions():
    assert worse_direction("share:truncated") == "higher" and worse_direction("accuracy") == "lower"
    with pytest.raises(ConfigError, match="'answer_entropy' has no direction that is worse"):
        worse_direction("answer_entropy")


# --- words


def test_failure_text(baseline, tmp_path):
    run = write_run(tmp_path / "new", {"de": "R" * 40, "sw": "W" * 14 + "R" * 6 + "W" * 20})
    text = failure_text(decide([check(run, baseline, language="sw", tolerance=0.02)], 0.0025)[0], "0.05 over 20 tests")
    lines = text.splitlines()
    assert lines[0] == "accuracy_in_language of toy in sw got worse: 0.500 -> 0.150"
    assert lines[1].startswith("  difference  -0.350, 95% interval [-0.50") and "over 40 questions" in lines[1]
    assert lines[2].startswith("  allowed     down by 0.2") and "of which 0.020 is tolerance" in lines[2]
    assert "fails at 0.0025 (0.05 over 20 tests)" in lines[2]
    assert "repeatability is not known" in lines[3]
    assert lines[4] == f"  baseline    {baseline}/before" and lines[5] == f"  run         {run}/before"
    assert lines[6] == "  questions   14 got worse, 0 got better"
    assert lines[7] == "  toy/sw/0 (sw): 1.000 -> 0.000"
    assert lines[8:12] == [
        "    question  |  Question 0 in sw?", "    expected  |  42", "    before    |  It is 42.",
        "    after     |  It is 41.",
    ]  # fmt: skip
    assert lines[-1] == "  ... and 9 more that got worse"


def test_what_a_model_wrote_can_not_give_orders_to_a_log():
    evil = "a\n::error::b\r\n\x1b[2J##[add-mask]secret\u2028::set-env"
    lines = quoted(evil)
    assert lines == ["a", "::error::b\\r", "\\x1b[2J## [add-mask]secret\\u2028::set-env"]
    assert quoted("x" * 501) == ["x" * 500 + " ... (501 characters)"]
    assert number(123.456, signed=True) == "+123.5" and number(float("nan")) == "nan"


def test_noise_without_repeats():
    assert Noise(0.04, 0.0, 0.0, 10, 0).stderr == pytest.approx(0.2)
    assert Noise(0.04, 0.05, 0.01, 10, 2).between_runs == pytest.approx(0.04)
