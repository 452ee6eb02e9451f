import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lrpo_bench.errors import ConfigError
from lrpo_bench.lrpo.mixes import MIXES, FixedMix
from lrpo_bench.lrpo.router import LearnedRouter, LearnedRouterConfig
from lrpo_bench.lrpo.routing import Context, Observation, route_group, uniform_draw

ARMS = ("de", "en", "sw", "zh")
CONTEXTS = (
    Context("reasoning", "de"),
    Context("chat", "sw", ("east-africa",)),
    Context("chat", "zh", ("china", "dach")),
)


class GivenProbs:
    """A router with a given distribution; the others' learning plays no part in these tests."""

    draws_evenly = False

    def __init__(self, probs):
        self.arms, self.given = ARMS, np.array(probs)

    def probs(self, context, step):
        return self.given


def distributions():
    weights = st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(any)
    return weights.map(lambda parts: [part / sum(parts) for part in parts])


@settings(deadline=None)
@given(
    distributions(), st.integers(1, 12), st.data(), st.integers(0, 2**40), st.integers(0, 10**6), st.text(max_size=9)
)
def test_quota_comes_first_and_propensities_are_the_routers(probs, group_size, data, seed, step, sample_id):
    quota = data.draw(st.integers(0, group_size))
    router = GivenProbs(probs)
    routes = route_group(router, CONTEXTS[1], sample_id, group_size=group_size, quota=quota, seed=seed, step=step)
    assert len(routes) == group_size
    assert [(r.lang, r.propensity) for r in routes[:quota]] == [("sw", 1.0)] * quota
    assert [r.is_quota for r in routes] == [i < quota for i in range(group_size)]
    for route in routes[quota:]:
        assert route.propensity == probs[ARMS.index(route.lang)] > 0.0


@settings(deadline=None)
@given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
def test_routes_depend_neither_on_batch_order_nor_on_the_rest_of_the_batch(order, dropped):
    router = LearnedRouter(ARMS, prior={"chat": {"en": 1.0}})

    def routes(i):
        return route_group(router, CONTEXTS[i % 3], f"toy/{i}", group_size=8, quota=2, seed=5, step=3)

    alone = {i: routes(i) for i in range(12)}
    assert {i: routes(i) for i in order if i not in dropped} == {i: alone[i] for i in alone if i not in dropped}


def test_a_smaller_quota_leaves_the_later_rollouts_as_they_are():
    router = GivenProbs([0.25] * 4)
    by_quota = [route_group(router, CONTEXTS[0], "q", group_size=8, quota=q, seed=0, step=0) for q in (0, 2, 5)]
    assert by_quota[0][5:] == by_quota[1][5:] == by_quota[2][5:]


@pytest.mark.parametrize("step", [0, 40])
def test_sampled_frequencies_match_the_logged_propensities(step):
    router = LearnedRouter(ARMS, prior={"reasoning": {"de": 0.9, "en": 0.1, "sw": -1.5}})
    probs = router.probs(CONTEXTS[0], step)
    draws = [
        route.lang
        for i in range(1500)
        for route in route_group(router, CONTEXTS[0], f"toy/{i}", group_size=8, quota=2, seed=11, step=step)[2:]
    ]
    counts = Counter(draws)
    assert stats.chisquare([counts[arm] for arm in ARMS], probs * len(draws)).pvalue > 0.001
    # The test can fail: the same draws do not fit the softmax without exploration.
    softmax = (probs - router.config.exploration(step) / 4) / (1 - router.config.exploration(step))
    assert stats.chisquare([counts[arm] for arm in ARMS], softmax * len(draws)).pvalue < 1e-6


def test_draws_are_uniform_and_independent_over_every_argument():
    base = np.array([uniform_draw(0, 0, f"s/{i}", 0) for i in range(1000)])
    assert stats.kstest(base, "uniform").pvalue > 0.001
    for seed, step, index in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        other = np.array([uniform_draw(seed, step, f"s/{i}", index) for i in range(1000)])
        assert stats.kstest(other, "uniform").pvalue > 0.001
        assert abs(stats.spearmanr(base, other).statistic) < 0.1  # 3.2 standard errors


def test_the_draw_itself_never_changes():
    # Published runs must route alike on every later version and machine.
    assert uniform_draw(0, 3, "mgsm/de/17", 2) == 0.04651702456883511


def test_a_language_of_probability_zero_is_never_drawn():
    for probs in ([0, 0, 1, 0], [0.5, 0, 0.5, 0], [1, 0, 0, 0]):
        router = GivenProbs(probs)
        routes = [
            r
            for i in range(200)
            for r in route_group(router, CONTEXTS[0], str(i), group_size=4, quota=0, seed=0, step=0)
        ]
        assert {r.lang for r in routes} == {arm for arm, p in zip(ARMS, probs, strict=True) if p}


@pytest.mark.parametrize("quota", [-1, 9])
def test_a_quota_outside_the_group_is_refused(quota):
    with pytest.raises(ConfigError, match=rf"quota must be in 0\.\.group_size \(8\), got {quota}"):
        route_group(GivenProbs([0.25] * 4), CONTEXTS[0], "q", group_size=8, quota=quota, seed=0, step=0)


def test_a_full_quota_asks_the_router_nothing():
    # GRPO's source language need not be among the arms.
    routes = route_group(FixedMix(("de", "en"), "monolingual"), CONTEXTS[1], "q", group_size=3, quota=3, seed=0, step=0)
    assert [r.lang for r in routes] == ["sw"] * 3


def rollouts(router, step):
    seen = []
    for i, context in enumerate(CONTEXTS):
        for k, route in enumerate(route_group(router, context, f"toy/{i}", group_size=8, quota=2, seed=9, step=step)):
            reward = math.nan if (step + k) % 7 == 3 else uniform_draw(1, step, f"reward/{i}", k)
            seen.append(Observation(context, route.lang, reward, route.propensity, route.is_quota))
    return seen


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 14), st.booleans())
def test_a_resumed_router_goes_on_exactly(saved_at, learn_from_quota):
    config = LearnedRouterConfig(alpha=0.5, learn_from_quota=learn_from_quota)
    router = LearnedRouter(ARMS, config)
    for step in range(saved_at):
        router.observe(rollouts(router, step), step)
    resumed = LearnedRouter(ARMS, config)
    resumed.load_state_dict(json.loads(json.dumps(router.state_dict())))
    for step in range(saved_at, 20):
        batch = rollouts(router, step)
        assert repr(rollouts(resumed, step)) == repr(batch)  # floats print exactly, and NaN like NaN
        router.observe(batch, step)
        resumed.observe(batch, step)
        assert resumed.state_dict() == router.state_dict()
    assert any(np.any(values) for values in router.values["topic"].values())


@pytest.mark.parametrize("mix", MIXES)
def test_fixed_mixes_resume_too(mix):
    router = FixedMix(ARMS, mix)
    resumed = FixedMix(ARMS, mix)
    resumed.load_state_dict(json.loads(json.dumps(router.state_dict())))
    assert repr(rollouts(resumed, 3)) == repr(rollouts(router, 3))
