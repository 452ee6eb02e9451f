import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lrpo_bench.evaluation.significance import holm, mcnemar_exact, sign_flip_test
from lrpo_bench.evaluation.statistics import (
    Estimate,
    clustered_mean,
    minimal_detectable_effect,
    paired_difference,
    questions_needed,
    seeds_and_questions,
)

NAN = math.nan


# --- the mean and its interval -------------------------------------------------------------------------------------


def test_clustered_mean_by_hand():
    # Two questions in two languages. Mean 3/4; cluster sums of residuals: a: 1/4 - 3/4 = -1/2, b: 1/4 + 1/4 = 1/2.
    # SE = sqrt(2/1 * (1/4 + 1/4)) / 4 = 1/4; t with 1 degree of freedom: 12.706 -> cut at [0, 1].
    estimate = clustered_mean([1, 0, 1, 1], ["a", "a", "b", "b"], bounds=None)
    assert estimate.value == 0.75 and estimate.stderr == pytest.approx(0.25)
    assert estimate.ci95 == pytest.approx((0.75 - 12.706 * 0.25, 0.75 + 12.706 * 0.25), abs=1e-3)
    assert (estimate.n, estimate.n_clusters, estimate.n_unscored) == (4, 2, 0)
    assert clustered_mean([1, 0, 1, 1], ["a", "a", "b", "b"], interval="t").ci95 == (0.0, 1.0)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30).filter(lambda v: np.std(v) > 1e-6))
def test_without_clusters_it_is_the_textbook_interval(values):
    estimate = clustered_mean(values, range(len(values)), bounds=None)
    assert estimate.stderr == pytest.approx(stats.sem(values), rel=1e-9)
    expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert estimate.ci95 == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_interval_of_a_share_by_hand():
    # 8 of 10 right. With a quarter of a question all right and as much all wrong: 10.5 questions, share 8.25 / 10.5 =
    # .785714; squares 8 * .214286^2 + 2 * .785714^2 + .25 * (.214286^2 + .785714^2) = 1.767857; effective size
    # .785714 * .214286 * 10.5 * 9.5 / 1.767857 = 9.5. t with 9 degrees of freedom: 2.262157; t^2 / 9.5 = .538670.
    # Centre (.8 + .269335) / 1.538670 = .694974, half sqrt(.538670 * .16 + .072541) / 1.538670 = .258930.
    estimate = clustered_mean([1] * 8 + [0] * 2, range(10))
    assert estimate.ci95 == pytest.approx((0.694974 - 0.258930, 0.694974 + 0.258930), abs=2e-6)
    assert estimate.stderr == pytest.approx(math.sqrt(0.16 / 9))


@given(st.integers(1, 39), st.sampled_from([40, 100, 1000]))
def test_interval_of_a_share_is_where_wilsons_equation_holds(right, n):
    """Each end p solves (share - p)^2 = t^2 * p * (1 - p) / size; independent answers are worth n - 1/2."""
    estimate = clustered_mean([1.0] * right + [0.0] * (n - right), range(n))
    for p in estimate.ci95:
        expected = stats.t.ppf(0.975, n - 1) ** 2 * p * (1 - p) / (n - 0.5)
        assert (estimate.value - p) ** 2 == pytest.approx(expected, rel=1e-9)
    assert 0 < estimate.ci95[0] < estimate.value < estimate.ci95[1] < 1


@given(st.lists(st.booleans(), min_size=3, max_size=30).filter(lambda v: 0 < sum(v) < len(v)))
def test_interval_of_a_share_turns_with_right_and_wrong_and_with_its_scale(right):
    values = np.array(right, dtype=float)
    low, high = clustered_mean(values, range(len(right))).ci95
    assert clustered_mean(1 - values, range(len(right))).ci95 == pytest.approx((1 - high, 1 - low))
    scaled = clustered_mean(2 + 3 * values, range(len(right)), bounds=(2.0, 5.0)).ci95
    assert scaled == pytest.approx((2 + 3 * low, 2 + 3 * high))


def test_copies_of_all_questions_leave_the_interval_of_a_share():
    values = [1, 0, 1, 1, 1, 1]
    assert clustered_mean(values * 11, list(range(6)) * 11).ci95 == pytest.approx(clustered_mean(values, range(6)).ci95)


def test_intervals_far_from_the_bounds_are_t_intervals_in_the_limit():
    values = np.random.default_rng(0).uniform(0.4, 0.6, 2000)
    wilson, plain = (clustered_mean(values, range(2000), interval=kind) for kind in ("wilson", "t"))
    assert wilson.ci95 == pytest.approx(plain.ci95, abs=2e-5)


def test_copies_of_a_question_add_no_certainty():
    values = np.array([1, 0, 0, 1, 1, 0, 1, 1.0])
    once = clustered_mean(values, range(8))
    eleven_times = clustered_mean(np.tile(values, 11), list(range(8)) * 11)
    assert eleven_times.stderr == pytest.approx(once.stderr) and eleven_times.n == 88
    assert clustered_mean(np.tile(values, 11), range(88)).stderr < once.stderr / 3


def test_macro_average_weighs_languages_equally_by_hand():
    # de: 1, 1 (mean 1); en: 0, 1, 0, 1 (mean 1/2). Macro mean 3/4, pooled would be 2/3.
    # Residuals: de 0 0; en -1/2 +1/2 -1/2 +1/2, each weighing 1/(2*4) -> +-1/16; six clusters.
    # SE = sqrt(6/5 * 4/256) = sqrt(3/160)
    estimate = clustered_mean([1, 1, 0, 1, 0, 1], range(6), ["de", "de", "en", "en", "en", "en"])
    assert estimate.value == 0.75 and estimate.stderr == pytest.approx(math.sqrt(3 / 160))


def test_macro_average_of_one_language_is_its_mean():
    values, clusters = [1, 0, 1, 1, 0], ["a", "a", "b", "c", "c"]
    assert clustered_mean(values, clusters, ["de"] * 5) == clustered_mean(values, clusters)


def test_nan_is_counted_and_never_zero():
    estimate = clustered_mean([1, NAN, 1, 0, NAN], ["a", "a", "b", "c", "d"])
    assert estimate.value == pytest.approx(2 / 3)
    assert (estimate.n, estimate.n_clusters, estimate.n_unscored) == (3, 3, 2)


def test_nothing_known():
    estimate = clustered_mean([NAN, NAN], ["a", "b"])
    assert math.isnan(estimate.value) and math.isnan(estimate.stderr) and estimate.n_unscored == 2
    assert clustered_mean([], []).n == 0
    assert not estimate.excludes_zero and math.isnan(estimate.detectable)


def test_one_question_has_no_standard_error():
    estimate = clustered_mean([1, 1, 0], ["a", "a", "a"])
    assert estimate.value == pytest.approx(2 / 3)
    assert math.isnan(estimate.stderr) and all(math.isnan(end) for end in estimate.ci95)


@pytest.mark.parametrize("count", [2, 10, 250])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_scores_give_clopper_pearson(count, value):
    estimate = clustered_mean([value] * count, range(count))
    expected = stats.binomtest(int(value * count), count).proportion_ci(0.95, method="exact")
    assert estimate.stderr == 0.0 and estimate.ci95 == pytest.approx((expected.low, expected.high))


def test_no_difference_seen_is_not_no_difference():
    estimate = paired_difference([1, 0, 1] * 10, [1, 0, 1] * 10, range(30))
    share = stats.binomtest(0, 30).proportion_ci(0.95, method="exact").high
    assert estimate.value == 0 and estimate.ci95 == pytest.approx((-share, share)) and not estimate.excludes_zero


def test_pairs_of_which_one_is_unknown_are_left_out():
    estimate = paired_difference([1, NAN, 0, 0], [0, 1, NAN, 1], "abcd")
    assert estimate.value == 0 and estimate.n == 2 and estimate.n_unscored == 2


def test_pairing_beats_two_separate_errors():
    rng = np.random.default_rng(1)
    before = rng.random(400)
    after = before + 0.01 + 0.02 * rng.standard_normal(400)
    paired = paired_difference(before, after, range(400))
    apart = math.hypot(stats.sem(before), stats.sem(after))
    assert paired.stderr < apart / 10
    assert paired.stderr == pytest.approx(stats.sem(after - before))


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="got 2 and 3"):
        clustered_mean([1, 2, 3], ["a", "b"])


# --- tests ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_the_binomial_test_on_discordant_pairs(pairs):
    before, after = np.array(pairs, dtype=float).T
    gained = sum(b < a for b, a in pairs)
    lost = sum(b > a for b, a in pairs)
    expected = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar_exact(before, after) == pytest.approx(expected)
    assert mcnemar_exact(after, before) == pytest.approx(expected)


def test_mcnemar_edges():
    assert math.isnan(mcnemar_exact([NAN], [1]))
    with pytest.raises(ValueError, match="needs scores of 0 or 1"):
        mcnemar_exact([0.5], [1])


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
@settings(max_examples=50)
def test_sign_flip_by_brute_force(values):
    totals = [
        sum(s * v for s, v in zip(signs, values, strict=True))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    expected = sum(abs(total) >= abs(sum(values)) for total in totals) / len(totals)
    assert sign_flip_test(values, range(len(values)), np.random.default_rng(0)) == pytest.approx(expected)


def test_sign_flip_agrees_with_scipy_when_drawn():
    rng = np.random.default_rng(3)
    values = rng.normal(0.2, 1, 60)
    mine = sign_flip_test(values, range(60), np.random.default_rng(0), n_resamples=20_000)
    theirs = stats.permutation_test(
        (values,), np.sum, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    ).pvalue
    assert mine == pytest.approx(theirs, abs=0.012)
    assert mine == sign_flip_test(values, range(60), np.random.default_rng(0), n_resamples=20_000)


def test_sign_flip_keeps_a_question_together():
    # One question in 20 languages that all gained: one flip, so nothing is shown.
    assert sign_flip_test([1] * 20, ["a"] * 20, np.random.default_rng(0)) == 1.0
    assert sign_flip_test([1] * 40, range(40), np.random.default_rng(0)) < 0.001
    assert sign_flip_test([0, 0, NAN], "abc", np.random.default_rng(0)) == 1.0
    assert math.isnan(sign_flip_test([NAN], "a", np.random.default_rng(0)))


def test_holm_worked_example():
    # Five tests: sorted .001 .008 .039 .041 .6 times 5 4 3 2 1 -> .005 .032 .117 .082->.117 .6
    adjusted = holm([0.041, 0.001, NAN, 0.6, 0.008, 0.039])
    assert adjusted == pytest.approx([0.117, 0.005, NAN, 0.6, 0.032, 0.117], nan_ok=True)
    assert holm([0.6, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).size == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_monotone_and_between_raw_and_bonferroni(p):
    adjusted = holm(p)
    order = np.argsort(p)
    assert (np.diff(adjusted[order]) >= 0).all()
    assert (adjusted >= np.array(p)).all() and (adjusted <= np.minimum(1, np.array(p) * len(p)) + 1e-12).all()


# --- power ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [20, 100, 1000])
def test_detectable_effect_has_the_power_it_claims(count):
    stderr = 0.02
    effect = minimal_detectable_effect(stderr, count)
    critical = stats.t.ppf(0.975, count - 1)
    power = stats.nct.sf(critical, count - 1, effect / stderr) + stats.nct.cdf(-critical, count - 1, effect / stderr)
    assert power == pytest.approx(0.8, abs=0.01)


def test_detectable_effect_is_unknown_without_spread():
    assert math.isnan(minimal_detectable_effect(0.0, 100)) and math.isnan(minimal_detectable_effect(NAN, 1))


def test_questions_needed_inverts_the_detectable_effect():
    pilot = Estimate(0.01, 0.03, (-0.05, 0.07), 100, 100, 0)
    needed = questions_needed(0.02, pilot)
    assert needed is not None
    stderr = 0.03 * math.sqrt(100 / needed)
    assert minimal_detectable_effect(stderr, needed) <= 0.02 < minimal_detectable_effect(stderr, needed - 1) * 1.001
    assert questions_needed(10.0, pilot) in (2, 3)
    assert questions_needed(0.1, Estimate(0, 0.0, (0, 0), 5, 5, 0)) is None
    with pytest.raises(ValueError, match="effect must be > 0"):
        questions_needed(0.0, pilot)


# --- several seeds -------------------------------------------------------------------------------------------------


def test_one_seed_has_no_interval_over_seeds():
    estimate = seeds_and_questions([[0.1, 0.2, 0.3]])
    assert estimate.value == pytest.approx(0.2) and math.isnan(estimate.stderr)


def test_seeds_by_hand():
    # Seed means .25 and .75, question means .5 .5, grand .5; rest: +-.25 in a checkerboard, or 0: see below.
    # [[0, .5], [.5, 1]]: purely additive. Seed var .125 / 2 = .0625; question var .125 / 2 = .0625; rest 0.
    estimate = seeds_and_questions([[0, 0.5], [0.5, 1]], bounds=None)
    assert estimate.value == 0.5 and estimate.stderr == pytest.approx(math.sqrt(0.125))
    # Satterthwaite: .125^2 / (2 * .0625^2) = 2 degrees of freedom, t = 4.3027
    assert estimate.ci95[1] == pytest.approx(0.5 + 4.3027 * math.sqrt(0.125), abs=1e-4)


def test_a_question_unknown_for_one_seed_is_left_out_and_counted():
    estimate = seeds_and_questions([[0, NAN, 1], [1, 0, 1]])
    assert estimate.value == 0.75 and estimate.n == 4 and estimate.n_unscored == 2


# --- do the intervals cover, do the tests err as often as they say ----------------------------------------------------


def clustered_scores(rng, clusters, languages, accuracy):
    """Right or wrong in several languages, correlated within a question; the true share is known: `accuracy`."""
    difficulty = rng.normal(0, 1.5, (clusters, 1))
    threshold = stats.norm.isf(accuracy) * math.hypot(1.5, 1)
    return (difficulty + rng.normal(0, 1, (clusters, languages)) > threshold).astype(float)


def coverage(trials, clusters, languages, seed, accuracy=0.5):
    rng = np.random.default_rng(seed)
    names = np.repeat(np.arange(clusters), languages)
    hits = naive = 0
    for _ in range(trials):
        values = clustered_scores(rng, clusters, languages, accuracy).ravel()
        low, high = clustered_mean(values, names).ci95
        hits += low <= accuracy <= high
        low, high = clustered_mean(values, np.arange(values.size), interval="t").ci95
        naive += low <= accuracy <= high
    return hits / trials, naive / trials


def test_intervals_cover_clustered_data_and_naive_ones_do_not():
    clustered, naive = coverage(1500, 60, 5, seed=0)
    assert 0.93 <= clustered <= 0.97
    assert naive < 0.75


@pytest.mark.parametrize("accuracy", [0.9, 0.98, 0.1])
@pytest.mark.parametrize(("clusters", "languages"), [(30, 3), (30, 11), (100, 11)])
def test_intervals_cover_shares_near_their_bounds(clusters, languages, accuracy):
    """The t interval covers 90, 78 and 87% here; of 30 questions few differ, so that the exact 95% is not to be had."""
    assert 0.935 <= coverage(1500, clusters, languages, seed=5, accuracy=accuracy)[0] <= 0.99


def false_positives(trials, clusters, languages, seed):
    rng = np.random.default_rng(seed)
    names, langs = np.repeat(np.arange(clusters), languages), np.tile(np.arange(languages), clusters)
    found = np.zeros(3)
    for _ in range(trials):
        difficulty = rng.normal(0, 1.5, (clusters, 1)) + rng.normal(0, 0.7, (clusters, languages))
        before, after = ((difficulty + rng.normal(0, 1, difficulty.shape) > 0).astype(float) for _ in range(2))
        found[0] += paired_difference(before.ravel(), after.ravel(), names, langs).excludes_zero
        found[1] += mcnemar_exact(before[:, 0], after[:, 0]) < 0.05
        found[2] += sign_flip_test((after - before).ravel(), names, rng, langs, n_resamples=999) < 0.05
    return found / trials


def test_false_positives_under_the_null():
    assert (false_positives(3000, 60, 4, seed=1) <= 0.055).all()


def seed_coverage(trials, seeds, questions, spread, seed):
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(trials):
        cells = 0.02 + spread * rng.normal(size=(seeds, 1)) + 0.1 * rng.normal(size=(1, questions))
        low, high = seeds_and_questions(cells + 0.3 * rng.normal(size=(seeds, questions)), bounds=None).ci95
        hits += low <= 0.02 <= high
    return hits / trials


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.05])
def test_intervals_over_seeds_cover(spread):
    assert 0.93 <= seed_coverage(1500, 4, 150, spread, seed=2) <= 0.985  # conservative where seeds hardly differ


@pytest.mark.slow
@pytest.mark.parametrize(("clusters", "languages"), [(30, 3), (250, 11)])
def test_coverage_and_false_positives_at_length(clusters, languages):
    clustered, _ = coverage(10_000, clusters, languages, seed=3)
    assert 0.94 <= clustered <= 0.96
    assert (false_positives(6000, clusters, languages, seed=4) <= 0.055).all()
