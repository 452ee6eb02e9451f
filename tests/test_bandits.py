"""One contract for every router, and each alternative against hand-worked or independent figures."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from lrpo_bench.config import parse_config
from lrpo_bench.errors import ConfigError, StorageError
from lrpo_bench.lrpo.bandits.exp3 import Exp3Router
from lrpo_bench.lrpo.bandits.hierarchical import HierarchicalRouter
from lrpo_bench.lrpo.bandits.thompson import ThompsonRouter, chance_of_largest
from lrpo_bench.lrpo.bandits.ucb1 import Ucb1Router
from lrpo_bench.lrpo.routing import Context, Observation, route_group, uniform_draw
from lrpo_bench.lrpo.schedules import ExponentialDecay
from lrpo_bench.router_config import ROUTER_KINDS
from lrpo_bench.training.methods import get_method
from lrpo_bench.training.routers import build_router

ARMS = ("de", "en", "sw", "zh")
KINDS = (*ROUTER_KINDS, "uniform")
LEARNING = ROUTER_KINDS
CONTEXTS = (
    Context("reasoning", "de", (), "math"),
    Context("chat", "sw", ("east-africa",), "talk"),
    Context("chat", "zh", ("china", "dach"), "talk"),
    Context("", "de", (), "talk"),
)
HERE = CONTEXTS[0]


def build(name, **router):
    method = "lrpo-fixed-uniform" if name == "uniform" else "lrpo"
    settings = {} if name == "uniform" else {"kind": name, "update_every": 1} | router
    train = {"group_size": 8, "quota": 2, "steps": 20, "questions_per_step": 4, "router": settings}
    config = parse_config({"tasks": ["arithmetic"], "train": train})
    return build_router(get_method(method), ARMS, config.train)


def seen(context, lang, *rewards, propensity=0.25, is_quota=False):
    return [Observation(context, lang, reward, propensity, is_quota) for reward in rewards]


def rollouts(router, step, n_questions=4):
    """What a training step would hand to the router, rewards included."""
    found = []
    for i in range(n_questions):
        context = CONTEXTS[i % len(CONTEXTS)]
        for k, route in enumerate(route_group(router, context, f"q/{i}", group_size=8, quota=2, seed=9, step=step)):
            reward = math.nan if (step + k) % 7 == 3 else uniform_draw(1, step, f"reward/{i}", k)
            found.append(Observation(context, route.lang, reward, route.propensity, route.is_quota))
    return found


def taught(kind, steps=6, **router):
    made = build(kind, **router)
    for step in range(steps):
        made.observe(rollouts(made, step), step)
    return made


# --- the contract


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=15)
@given(data=st.data(), step=st.integers(0, 10**4))
def test_probabilities_are_a_distribution_whatever_was_seen(kind, data, step):
    router = build(kind)
    for _ in range(3):
        draws = st.tuples(st.sampled_from(CONTEXTS), st.sampled_from(ARMS), st.floats(0, 1), st.floats(0.01, 1))
        batch = [Observation(*row) for row in data.draw(st.lists(draws, max_size=12))]
        router.observe(batch, step)
    for context in CONTEXTS:
        probs = router.probs(context, step)
        assert probs.shape == (4,) and (probs >= 0).all() and probs.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_quota_comes_first_and_propensities_are_what_was_drawn_from(kind):
    router = taught(kind)
    for context in CONTEXTS:
        probs = dict(zip(ARMS, router.probs(context, 7), strict=True))
        routes = route_group(router, context, "q", group_size=8, quota=3, seed=1, step=7)
        assert [(r.lang, r.propensity, r.is_quota) for r in routes[:3]] == [(context.source_lang, 1.0, True)] * 3
        assert all(r.propensity == probs[r.lang] > 0 and not r.is_quota for r in routes[3:])


@pytest.mark.parametrize("kind", KINDS)
def test_sampled_frequencies_match_the_propensities(kind):
    """For every position in the group by itself, since a systematic draw ties the positions of a group together."""
    router = taught(kind)
    context = CONTEXTS[1]
    groups = [route_group(router, context, f"q/{i}", group_size=8, quota=2, seed=11, step=7)[2:] for i in range(1200)]
    probs = router.probs(context, 7)
    possible = probs > 0
    for position in range(6):
        counts = Counter(group[position].lang for group in groups)
        observed = np.array([counts[arm] for arm in ARMS])
        assert not observed[~possible].any()
        expected = probs[possible] * len(groups)
        if possible.sum() > 1:
            assert stats.chisquare(observed[possible], expected * observed.sum() / expected.sum()).pvalue > 1e-4
    if kind == "ucb1":
        assert len({tuple(sorted(route.lang for route in group)) for group in groups}) == 1, "the plan is met exactly"


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=5)
@given(order=st.permutations(range(8)), dropped=st.sets(st.integers(0, 7)))
def test_routes_depend_neither_on_batch_order_nor_on_which_process_asks(kind, order, dropped):
    router, twin = taught(kind), taught(kind)

    def routes(asked, i):
        return route_group(asked, CONTEXTS[i % 4], f"toy/{i}", group_size=8, quota=2, seed=5, step=6)

    alone = {i: routes(router, i) for i in range(8)}
    assert {i: routes(twin, i) for i in order if i not in dropped} == {i: alone[i] for i in alone if i not in dropped}


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_observations_does_not_change_a_bit(kind):
    generator = np.random.default_rng(0)
    batch = [
        Observation(CONTEXTS[i % 4], ARMS[i % 3], float(generator.uniform()), float(generator.uniform(0.1, 1)))
        for i in range(90)
    ]
    states = set()
    for _ in range(10):
        router = build(kind)
        router.observe([batch[i] for i in generator.permutation(len(batch))], 0)
        states.add(json.dumps(router.state_dict()))
    assert len(states) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_nan_and_empty_rewards_never_spread(kind):
    with_nan, without = taught(kind), taught(kind)
    batch = seen(HERE, "de", 1.0) + seen(HERE, "en", 0.5)
    with_nan.observe([*batch, *seen(HERE, "sw", math.nan), *seen(CONTEXTS[2], "zh", math.nan)], 6)
    without.observe(batch, 6)
    assert json.dumps(with_nan.state_dict()) == json.dumps(without.state_dict())
    for step in range(7, 10):
        with_nan.observe([], step)
    for context in CONTEXTS:
        assert np.isfinite(with_nan.probs(context, 10)).all()


@pytest.mark.parametrize("kind", LEARNING)
def test_quota_teaches_only_when_asked_for(kind):
    batch = seen(HERE, "de", 1.0, 0.9, propensity=1.0, is_quota=True)
    learner, untouched = build(kind), build(kind)
    learner.observe([*batch, *seen(HERE, "en", 0.2), *seen(HERE, "sw", 0.3)], 0)
    untouched.observe([*seen(HERE, "en", 0.2), *seen(HERE, "sw", 0.3)], 0)
    assert json.dumps(learner.state_dict()) == json.dumps(untouched.state_dict())
    if kind != "exp3":
        learner = build(kind, learn_from_quota=True)
        learner.observe([*batch, *seen(HERE, "en", 0.2)], 0)
        assert json.dumps(learner.state_dict()) != json.dumps(untouched.state_dict())


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=5)
@given(saved_at=st.integers(1, 9))
def test_a_resumed_router_goes_on_exactly(kind, saved_at):
    router = taught(kind, saved_at)
    resumed = build(kind)
    resumed.load_state_dict(json.loads(json.dumps(router.state_dict())))
    for step in range(saved_at, 12):
        batch = rollouts(router, step)
        assert repr(rollouts(resumed, step)) == repr(batch)
        router.observe(batch, step)
        resumed.observe(batch, step)
        assert resumed.state_dict() == router.state_dict()


@pytest.mark.parametrize("kind", LEARNING)
def test_every_router_finds_a_clearly_best_language(kind):
    router = build(kind)
    for step in range(60):
        groups = [route_group(router, HERE, f"q/{i}", group_size=8, quota=2, seed=3, step=step) for i in range(4)]
        batch = [
            Observation(HERE, r.lang, float(r.lang == "sw"), r.propensity, r.is_quota)
            for group in groups
            for r in group
        ]
        router.observe(batch, step)
    assert router.probs(HERE, 60)[2] > 0.6


@pytest.mark.parametrize("kind", LEARNING)
def test_a_question_without_labels_is_routed_and_teaches_no_other(kind):
    router = build(kind)
    for step in range(5):
        router.observe(seen(CONTEXTS[3], "sw", 1.0, 1.0) + seen(CONTEXTS[3], "de", 0.0, 0.0), step)
    fresh = build(kind).probs(HERE, 5)
    if kind != "hierarchical":  # which learns of all questions together, on purpose
        assert router.probs(HERE, 5) == pytest.approx(fresh)


@pytest.mark.parametrize("kind", LEARNING)
def test_contexts_follow_the_configuration(kind):
    """A router that knows only the task can not tell its languages apart; one that knows the source language can."""
    batch = [
        item
        for lang, best in (("de", "en"), ("sw", "zh"))
        for arm in ARMS
        for item in seen(Context("chat", lang, (), "t"), arm, *[float(arm == best)] * 8)
    ]
    by_task, by_source = build(kind, context=["task"]), build(kind, context=["task", "source_lang"])
    for step in range(20):
        by_task.observe(batch, step)
        by_source.observe(batch, step)
    german, swahili = Context("chat", "de", (), "t"), Context("chat", "sw", (), "t")
    assert by_task.probs(german, 20).tolist() == by_task.probs(swahili, 20).tolist()
    assert by_source.probs(german, 20)[1] > by_source.probs(german, 20)[3]
    assert by_source.probs(swahili, 20)[3] > by_source.probs(swahili, 20)[1]


@pytest.mark.parametrize("kind", LEARNING)
def test_a_foreign_state_is_refused(kind):
    router = build(kind)
    for other in LEARNING:
        if other != kind:
            with pytest.raises(StorageError, match=r"router state (lacks|has)"):
                router.load_state_dict(build(other).state_dict())
    with pytest.raises(StorageError, match=r"router state (lacks|has)"):
        router.load_state_dict(build(kind, context=["topic"]).state_dict())


# --- UCB1


def test_ucb1_plays_each_language_once_and_then_the_largest_bound():
    router = Ucb1Router(ARMS, 6)
    # 6 plays of 4 unplayed languages: each once, and the first two, of equal bounds, again.
    assert router.probs(HERE, 0) == pytest.approx([2 / 6, 2 / 6, 1 / 6, 1 / 6])
    one = Ucb1Router(("de", "en"), 1)
    one.observe(seen(HERE, "de", 1.0, 0.0, 0.5, 0.5) + seen(HERE, "en", 0.4), 0)
    # n = 5, sqrt(2 ln 5) = 1.794: de .5 + 1.794 / 2 = 1.397, en .4 + 1.794 = 2.194.
    assert one.probs(HERE, 1).tolist() == [0.0, 1.0]
    two = Ucb1Router(("de", "en"), 2)
    two.observe(seen(HERE, "de", *[1.0] * 4) + seen(HERE, "en", *[0.0] * 4), 0)
    # n = 8: de 1 + sqrt(2 ln 8 / 4) = 2.02, en 1.02. Then n = 9, de 1 + sqrt(2 ln 9 / 5) = 1.94, en 1.05: German twice.
    assert two.probs(HERE, 1).tolist() == [1.0, 0.0]


def test_ucb1_spreads_a_group_over_languages_in_doubt():
    router = Ucb1Router(("de", "en", "sw"), 4)
    router.observe(seen(HERE, "de", 0.5, 0.5) + seen(HERE, "en", 0.5, 0.5) + seen(HERE, "sw", *[0.0] * 50), 0)
    assert router.probs(HERE, 1).tolist() == [0.5, 0.5, 0.0]


def test_ucb1_needs_something_to_plan():
    with pytest.raises(ConfigError, match="at least one routed rollout a group, got 0; lower the quota"):
        Ucb1Router(ARMS, 0)


# --- Thompson sampling


def test_thompsons_posterior_worked_by_hand():
    router = ThompsonRouter(("de", "en"), prior=(0.0, 1.0), noise_std=1.0)
    router.observe(seen(HERE, "de", 1.0, 0.5, 0.9), 0)
    means, stds = router.posterior(*router.pulls.of(("reasoning", None)))
    # Agrawal and Goyal: N(2.4 / 4, 1 / 4) and N(0, 1).
    assert means == pytest.approx([0.6, 0.0]) and stds == pytest.approx([0.5, 1.0])
    # Two arms: Phi(.6 / sqrt(.25 + 1)) = Phi(.536656) = .70425.
    assert router.probs(HERE, 0) == pytest.approx([0.70425, 0.29575], abs=1e-5)
    other = ThompsonRouter(("de", "en"), prior=(0.5, 0.5), noise_std=0.25)
    other.observe(seen(HERE, "de", 1.0), 0)
    # Precision 4 + 16 = 20, mean (2 + 16) / 20.
    means, stds = other.posterior(*other.pulls.of(("reasoning", None)))
    assert means == pytest.approx([0.9, 0.5]) and stds == pytest.approx([20**-0.5, 0.5])


@settings(deadline=None, max_examples=10)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 0.5)), min_size=2, max_size=5))
def test_chances_equal_scipys_integral(arms):
    means, stds = (np.array(column) for column in zip(*arms, strict=True))

    def density(x, arm):
        others = [0.5 * math.erfc((means[i] - x) / stds[i] / 2**0.5) for i in range(len(arms)) if i != arm]
        return (
            math.exp(-0.5 * ((x - means[arm]) / stds[arm]) ** 2) / stds[arm] / math.sqrt(math.tau) * math.prod(others)
        )

    for arm, chance in enumerate(chance_of_largest(means, stds)):
        low, high = means[arm] - 9 * stds[arm], means[arm] + 9 * stds[arm]
        kinks = np.clip(np.sort(np.concatenate([means, means - 4 * stds, means + 4 * stds])), low, high)
        exact = integrate.quad(density, low, high, args=(arm,), points=np.unique(kinks), limit=500)[0]
        assert chance == pytest.approx(exact, abs=1e-6)


# --- EXP3


def test_exp3_worked_by_hand():
    router = Exp3Router(("de", "en"), 0.1, ExponentialDecay(0.2, 0.0, 0.5))
    router.observe(seen(HERE, "de", 0.75, propensity=0.5) + seen(HERE, "en", 0.0, 0.0, propensity=0.8), 0)
    # Losses .25 / .5 = .5 and 2 / .8 = 2.5; log weights -.05 and -.25; e^.2 / (1 + e^.2) = .549834.
    assert router.log_weights["reasoning", None] == pytest.approx([-0.05, -0.25])
    assert router.probs(HERE, 0) == pytest.approx([0.8 * 0.549834 + 0.1, 0.8 * 0.450166 + 0.1], abs=1e-6)
    assert router.probs(HERE, 1) == pytest.approx([0.9 * 0.549834 + 0.05, 0.9 * 0.450166 + 0.05], abs=1e-6)


def test_exp3s_estimates_are_unbiased():
    """Of 4,000 rollouts drawn with very unequal propensities; a mean without weights would say .1 and .02."""
    generator = np.random.default_rng(0)
    langs = generator.choice(["de", "en"], size=4000, p=[0.8, 0.2])
    rewards = {"de": 0.1, "en": 0.1}
    router = Exp3Router(("de", "en"), 1.0, ExponentialDecay(0.0, 0.0, 1.0))
    router.observe([Observation(HERE, lang, rewards[lang], {"de": 0.8, "en": 0.2}[lang]) for lang in langs], 0)
    # Both lose .9 a rollout; the estimates' standard errors are .9 * sqrt(1 / p - 1) / sqrt(4000): .007 and .028.
    assert -router.log_weights["reasoning", None] / 4000 == pytest.approx([0.9, 0.9], abs=0.1)


def test_exp3_is_not_taught_by_the_quota():
    with pytest.raises(ConfigError, match="learn_from_quota can not be used with kind exp3"):
        build("exp3", learn_from_quota=True)


# --- hierarchical back-off


def hierarchical(strength=4.0, **changes):
    schedules = (ExponentialDecay(1.0, 1.0, 1.0), ExponentialDecay(0.0, 0.0, 1.0))
    return HierarchicalRouter(("de", "en"), schedules, strength_and_scale=(strength, 0.1), **changes)


def test_shrinkage_worked_by_hand():
    router = hierarchical()
    china, dach = Context("chat", "de", ("china",)), Context("chat", "de", ("dach",))
    router.observe(seen(china, "de", *[1.0] * 4) + seen(dach, "en", *[0.0] * 4), 0)
    # All: mean .5. de: (4 + 4 * .5) / 8 = .75, en: (0 + 2) / 8 = .25.
    assert router._estimate((None, None)) == pytest.approx([0.75, 0.25])
    # Chat: de (4 + 4 * .75) / 8 = .875, en (0 + 4 * .25) / 8 = .125.
    assert router.estimates(Context("chat", "sw")) == pytest.approx([0.875, 0.125])
    # China: de (4 + 4 * .875) / 8 = .9375, en was never tried there: .125.
    assert router.estimates(china) == pytest.approx([0.9375, 0.125])
    # A region that was never seen has its topic's, a topic that was never seen those of all.
    assert router.estimates(Context("chat", "de", ("japan",))) == pytest.approx([0.875, 0.125])
    assert router.estimates(Context("safety", "de", ("china",))) == pytest.approx([0.75, 0.25])
    # Two regions: the mean of theirs. DACH: de .875, en (0 + 4 * .125) / 8 = .0625.
    both = Context("chat", "de", ("china", "dach"))
    assert router.estimates(both) == pytest.approx([(0.9375 + 0.875) / 2, (0.125 + 0.0625) / 2])


def test_estimates_become_logits_by_the_scale():
    router = hierarchical(strength=1e-9)
    router.observe(seen(HERE, "de", 0.6) + seen(HERE, "en", 0.5), 0)
    # A difference of .1 is one unit: e / (1 + e) = .731059.
    assert router.probs(HERE, 0) == pytest.approx([0.731059, 0.268941], abs=1e-6)


def test_a_discount_forgets():
    plain, forgetful = hierarchical(), hierarchical(discount=0.5)
    for router in (plain, forgetful):
        router.observe(seen(HERE, "de", 1.0), 0)
        router.observe(seen(HERE, "de", 0.0), 1)
    assert plain.pulls.of(())[0].tolist() == [2.0, 0.0]
    counts, sums = forgetful.pulls.of(())
    assert (counts.tolist(), sums.tolist()) == ([1.5, 0.0], [0.5, 0.0])


# --- configuration


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "ucb"}, "unknown router 'ucb'; did you mean 'ucb1'"),
        ({"context": ["topic", "topic"]}, "names one thing twice"),
        ({"context": ["moon"]}, "train.router.context.0"),
        ({"context": []}, "train.router.context"),
        ({"kind": "ucb1", "init": "prior"}, "needs kind paper and topic in context, got kind ucb1"),
        ({"init": "prior", "context": ["region"]}, "needs kind paper and topic in context"),
        ({"thompson": {"noise_std": 0}}, "train.router.thompson.noise_std"),
        ({"exp3": {"rate": -1}}, "train.router.exp3.rate"),
        ({"hierarchical": {"strength": 0}}, "train.router.hierarchical.strength"),
        ({"ucb1": {"discount": 1.5}}, "train.router.ucb1.discount"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        build("paper", **changes)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("ucb1", {"ucb1": {"width": 0.0}}),
        ("ucb1", {"ucb1": {"discount": 0.3}}),
        ("thompson", {"thompson": {"noise_std": 0.1}}),
        ("thompson", {"thompson": {"prior_mean": 2.0}}),
        ("thompson", {"thompson": {"prior_std": 5.0}}),
        ("exp3", {"exp3": {"rate": 0.5}}),
        ("exp3", {"explore_start": 0.9}),
        ("hierarchical", {"hierarchical": {"strength": 90.0}}),
        ("hierarchical", {"hierarchical": {"scale": 1.0}}),
        ("paper", {"anneal": False, "temperature_decay": 0.5}),
        ("hierarchical", {"anneal": False, "temperature_decay": 0.5}),
        ("exp3", {"anneal": False, "explore_decay": 0.5}),
    ],
)
def test_every_setting_does_something(kind, changes):
    base = {"temperature_decay": 0.5} if "temperature_decay" in changes else {}
    base |= {"explore_decay": 0.5} if "explore_decay" in changes else {}
    batches = [rollouts(build("uniform"), step) for step in range(6)]
    found = []
    for settings_ in (base, changes):
        router = build(kind, **settings_)
        for step, batch in enumerate(batches):
            router.observe(batch, step)
        found.append([router.probs(context, 8).tolist() for context in CONTEXTS])
    assert found[0] != found[1]
