import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrpo_bench.config import RouterConfig
from lrpo_bench.errors import ConfigError, StorageError
from lrpo_bench.lrpo.mixes import FixedMix
from lrpo_bench.lrpo.router import LearnedRouter, LearnedRouterConfig, normalize
from lrpo_bench.lrpo.routing import Context, Observation
from lrpo_bench.lrpo.schedules import ExponentialDecay

ARMS = ("de", "en", "sw")
DACH, CHINA, NOWHERE = Context("chat", "de", ("dach",)), Context("chat", "de", ("china",)), Context("chat", "de")


def router(**changes) -> LearnedRouter:
    return LearnedRouter(ARMS, LearnedRouterConfig(**{"update_every": 1, "normalization": "none"} | changes))


def seen(context, lang, *rewards, is_quota=False):
    return [Observation(context, lang, reward, 0.5, is_quota) for reward in rewards]


def test_moving_average_worked_by_hand():
    learner = router()
    learner.observe(seen(DACH, "de", 1.0, 0.5) + seen(DACH, "en", 0.2), 0)
    # Means .75 and .2; alpha .1 from 0.
    assert learner.values["topic"]["chat"] == pytest.approx([0.075, 0.02, 0.0])
    assert learner.values["region"]["dach"] == pytest.approx([0.075, 0.02, 0.0])
    learner.observe(seen(DACH, "de", 0.25), 1)
    # .9 * .075 + .1 * .25 = .0925; a language without rewards stays.
    assert learner.values["topic"]["chat"] == pytest.approx([0.0925, 0.02, 0.0])
    assert learner.logits(DACH) == pytest.approx([0.185, 0.04, 0.0])


def test_a_topic_row_weighs_its_cells_by_their_rewards():
    learner = router()
    learner.observe(seen(DACH, "de", 0.8) + seen(CHINA, "de", 0.2, 0.1, 0.3), 0)
    # Topic: (.8 + .2 + .1 + .3) / 4 = .35. Regions: .8 and .2.
    assert learner.values["topic"]["chat"][0] == pytest.approx(0.035)
    assert learner.values["region"]["dach"][0] == pytest.approx(0.08)
    assert learner.values["region"]["china"][0] == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        ("none", [0.1, 0.05, 0.0]),
        ("center", [0.05, 0.0, -0.05]),
        # Deviations .5 0 -.5: std sqrt(.5 / 3) = .408248; .5 / .408248 = 1.224745.
        ("zscore", [0.1224745, 0.0, -0.1224745]),
    ],
)
def test_normalization_worked_by_hand(normalization, expected):
    learner = router(normalization=normalization)
    learner.observe(seen(DACH, "de", 1.0) + seen(DACH, "en", 0.5) + seen(DACH, "sw", 0.0), 0)
    assert learner.values["topic"]["chat"] == pytest.approx(expected)
    assert learner.values["region"]["dach"] == pytest.approx(expected)


def test_each_cell_is_normalised_by_itself():
    # Chinese questions are harder for everybody; within both regions English leads by the same number of deviations.
    learner = router(normalization="zscore")
    learner.observe(seen(DACH, "en", 0.9) + seen(DACH, "de", 0.7) + seen(CHINA, "en", 0.3) + seen(CHINA, "de", 0.1), 0)
    assert learner.values["topic"]["chat"] == pytest.approx([-0.1, 0.1, 0.0])
    assert learner.values["region"]["china"] == pytest.approx([-0.1, 0.1, 0.0])


def test_tiny_spreads_are_not_blown_up():
    config = LearnedRouterConfig()
    assert normalize({"de": 0.9701, "en": 0.9702}, config) == pytest.approx({"de": -5e-5, "en": 5e-5})
    # A spread of .02 is above the default .01, and counts in full.
    assert normalize({"de": 0.95, "en": 0.99}, config) == pytest.approx({"de": -1.0, "en": 1.0})
    assert normalize({"de": 0.9701, "en": 0.9702}, LearnedRouterConfig(min_spread=0.0)) == pytest.approx(
        {"de": -1.0, "en": 1.0}
    )
    assert normalize({"de": 0.4}, config) == {"de": 0.0}
    assert normalize({"de": 0.4, "en": 0.4}, LearnedRouterConfig(min_spread=0.001)) == {"de": 0.0, "en": 0.0}


def test_a_cell_with_one_language_teaches_nothing():
    """Compared with itself alone a language is worth 0; the value it had earned must stay."""
    learner = router(alpha=0.5, normalization="zscore")
    context = Context("chat", "de")
    learner.observe([*seen(context, "de", 0.0), *seen(context, "en", 1.0)], 0)
    before = learner.logits(context).copy()
    assert before.any()
    learner.observe(seen(context, "en", 1.0, 1.0, 0.5), 1)
    assert learner.logits(context).tolist() == before.tolist()
    plain = router(alpha=0.5)
    plain.observe(seen(context, "en", 1.0), 0)
    assert plain.logits(context).max() == 0.5


@pytest.mark.parametrize("context", [DACH, NOWHERE])
def test_nan_rewards_are_ignored(context):
    with_nan, without = router(), router()
    with_nan.observe(seen(context, "de", 1.0, math.nan) + seen(context, "en", math.nan), 0)
    without.observe(seen(context, "de", 1.0), 0)
    assert with_nan.state_dict() == without.state_dict()
    assert np.isfinite(with_nan.probs(context, 1)).all()


def test_quota_rollouts_train_only_when_asked_for():
    batch = seen(DACH, "de", 1.0, is_quota=True) + seen(DACH, "en", 0.5)
    learner = router()
    learner.observe(batch, 0)
    assert learner.values["topic"]["chat"] == pytest.approx([0.0, 0.05, 0.0])
    learner = router(learn_from_quota=True)
    learner.observe(batch, 0)
    assert learner.values["topic"]["chat"] == pytest.approx([0.1, 0.05, 0.0])


def test_a_sample_without_region_never_touches_the_region_matrix():
    learner = router()
    learner.observe(seen(NOWHERE, "de", 1.0), 0)
    assert learner.values["region"] == {}
    assert learner.values["topic"]["chat"][0] == pytest.approx(0.1)


def test_a_language_that_is_no_arm_teaches_nothing():
    learner = router(learn_from_quota=True)
    learner.observe(seen(Context("chat", "fr"), "fr", 1.0, is_quota=True), 0)
    assert learner.values["topic"] == {}


def test_updates_come_every_u_steps_and_use_the_whole_buffer():
    learner = router(update_every=3)
    for step, reward in enumerate((1.0, 0.5, 0.0)):
        assert learner.values["topic"] == {}
        learner.observe(seen(NOWHERE, "de", reward), step)
    assert learner.values["topic"]["chat"] == pytest.approx([0.05, 0.0, 0.0])  # .1 * mean .5
    learner.observe([], 3)
    assert learner.state_dict()["buffer"] == []


def test_several_regions_use_the_mean_of_their_rows():
    learner = router()
    learner.values["topic"] = {"chat": np.array([0.1, 0.0, 0.0])}
    learner.values["region"] = {"dach": np.array([0.4, 0.0, 0.0]), "china": np.array([0.0, 0.0, 0.6])}
    both = Context("chat", "de", ("dach", "china"))
    assert learner.logits(both) == pytest.approx([0.3, 0.0, 0.3])
    # An unseen region counts as zeros: (.4 + 0) / 2.
    assert learner.logits(Context("chat", "de", ("dach", "atlantis"))) == pytest.approx([0.3, 0.0, 0.0])
    assert learner.logits(NOWHERE) == pytest.approx([0.1, 0.0, 0.0])
    assert learner.values["topic"]["chat"] == pytest.approx([0.1, 0.0, 0.0])  # logits hands out no view of its row


# --- sampling distribution


def test_probs_worked_by_hand():
    prior = {"chat": {"de": math.log(3.0)}}
    config = LearnedRouterConfig(
        temperature=ExponentialDecay(1.0, 0.5, 0.5), exploration=ExponentialDecay(0.2, 0.0, 0.5)
    )
    learner = LearnedRouter(("de", "en"), config, prior)
    # Step 0: softmax (.75, .25); .8 * .75 + .2 / 2 = .7. Step 1: temperature .5 squares the odds to 9 : 1, epsilon .1.
    assert learner.probs(NOWHERE, 0) == pytest.approx([0.7, 0.3])
    assert learner.probs(NOWHERE, 1) == pytest.approx([0.9 * 0.9 + 0.05, 0.9 * 0.1 + 0.05])
    assert learner.probs(Context("safety", "de"), 1) == pytest.approx([0.5, 0.5])


def test_exploration_anneals_beside_a_constant_temperature():
    # The public implementation anneals both in one branch, so that this epsilon would stay at .2.
    config = LearnedRouterConfig(temperature=ExponentialDecay(1.0, 1.0, 1.0))
    learner = LearnedRouter(("de", "en"), config, {"chat": {"de": math.log(3.0)}})
    assert learner.probs(NOWHERE, 0) == pytest.approx([0.7, 0.3])
    # After 1000 steps epsilon is .2 * exp(1000 ln .995) = .00133; .99867 * .75 + .00067 = .74967.
    assert learner.probs(NOWHERE, 1000) == pytest.approx([0.74967, 0.25033], abs=1e-5)


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3), st.integers(0, 10**5))
@settings(deadline=None)
def test_probs_are_a_distribution_with_an_exploration_floor(values, step):
    learner = LearnedRouter(ARMS, prior={"chat": dict(zip(ARMS, values, strict=True))})
    probs = learner.probs(NOWHERE, step)
    assert probs.sum() == pytest.approx(1.0)
    assert probs.min() >= learner.config.exploration(step) / 3
    assert probs[np.argmax(values)] == probs.max()


# --- order

observation = st.builds(
    Observation,
    context=st.sampled_from([DACH, CHINA, NOWHERE, Context("chat", "sw", ("dach", "china")), Context("safety", "sw")]),
    lang=st.sampled_from(ARMS),
    reward=st.one_of(st.floats(0, 1), st.just(math.nan)),
    is_quota=st.booleans(),
)


@settings(deadline=None)
@given(st.data(), st.lists(observation, max_size=20), st.sampled_from(["none", "center", "zscore"]))
def test_the_order_of_observations_does_not_matter(data, batch, normalization):
    one, other = router(normalization=normalization), router(normalization=normalization)
    one.observe(batch, 0)
    other.observe(data.draw(st.permutations(batch)), 0)
    assert one.state_dict() == other.state_dict()  # exactly: ranks must not drift apart


def same_values(one, other):
    plain = [{kind: {cell: row.tolist() for cell, row in table.items()} for kind, table in r.values.items()}
             for r in (one, other)]  # fmt: skip
    return plain[0] == plain[1]


@settings(deadline=None)
@given(st.lists(observation, max_size=20), st.sampled_from(["none", "center", "zscore"]))
def test_unknown_rewards_never_spread(batch, normalization):
    """What a router learns from a batch is what it learns without the NaN; an empty batch teaches nothing."""
    one, other = router(normalization=normalization), router(normalization=normalization)
    one.observe(batch, 0)
    other.observe([item for item in batch if not math.isnan(item.reward)], 0)
    assert same_values(one, other)
    assert np.isfinite(one.probs(DACH, 1)).all() and one.probs(DACH, 1).sum() == pytest.approx(1.0)
    if all(math.isnan(item.reward) for item in batch):
        assert one.probs(DACH, 0).tolist() == router(normalization=normalization).probs(DACH, 0).tolist()


def test_not_even_the_last_bit_depends_on_the_order():
    # Sums of 40 random rewards differ in their last bits from order to order; ranks must not drift apart by them.
    generator = np.random.default_rng(0)
    batch = [Observation(DACH, ARMS[i % 3], float(reward)) for i, reward in enumerate(generator.uniform(size=120))]
    german = [item.reward for item in batch if item.lang == "de"]
    assert len({float(np.mean(generator.permutation(german))) for _ in range(20)}) > 1
    states = set()
    for _ in range(20):
        learner = router(normalization="zscore", min_spread=0.0)
        learner.observe([batch[i] for i in generator.permutation(len(batch))], 0)
        states.add(json.dumps(learner.state_dict()))
    assert len(states) == 1


def stream(contexts, steps=12, seed=4):
    generator = np.random.default_rng(seed)
    return [
        [Observation(c, lang, float(generator.uniform())) for c in contexts for lang in ARMS for _ in range(3)]
        for _ in range(steps)
    ]


# --- state and configuration


def test_state_survives_json_exactly():
    learner = router(update_every=2, normalization="zscore")
    for step, batch in enumerate(stream([DACH, NOWHERE], steps=5)):
        learner.observe(batch, step)
    assert learner.state_dict()["buffer"] and learner.values["region"]
    restored = router(update_every=2, normalization="zscore")
    restored.load_state_dict(json.loads(json.dumps(learner.state_dict())))
    assert restored.state_dict() == learner.state_dict()
    assert restored.probs(DACH, 5).tolist() == learner.probs(DACH, 5).tolist()


def test_a_foreign_state_is_refused():
    with pytest.raises(StorageError, match=r"has languages \['de', 'sw', 'en'\], this run has \['de', 'en', 'sw'\]"):
        router().load_state_dict(LearnedRouter(("de", "sw", "en")).state_dict())
    with pytest.raises(StorageError, match="lacks topic_values, region_values, buffer"):
        router().load_state_dict(FixedMix(ARMS, "uniform").state_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 0.0}, r"router.alpha must be in \(0, 1\], got 0.0"),
        ({"alpha": 1.1}, "got 1.1"),
        ({"update_every": 0}, "router.update_every must be >= 1, got 0"),
        ({"temperature": ExponentialDecay(1.0, 0.0, 0.9)}, "temperature must stay above 0"),
        ({"exploration": ExponentialDecay(1.5, 0.0, 0.9)}, r"explore_epsilon must be in \[0, 1\], got 1.5"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        router(**changes)


@pytest.mark.parametrize("arms", [[], ["de"], ["de", "de"]])
def test_there_must_be_something_to_choose(arms):
    with pytest.raises(ConfigError, match="at least two different languages"):
        LearnedRouter(arms)


def test_defaults_are_the_papers_and_the_configurations():
    ours, config = LearnedRouterConfig(), RouterConfig()
    # alpha, U, tau 1 -> .3 by .999, epsilon .2 -> 0 by .995, zscore.
    assert (ours.alpha, ours.update_every, ours.normalization) == (0.1, 5, "zscore")
    assert ours.temperature == ExponentialDecay(1.0, 0.3, 0.999)
    assert ours.exploration == ExponentialDecay(0.2, 0.0, 0.995)
    assert ours.temperature == ExponentialDecay(
        config.temperature_start, config.temperature_end, config.temperature_decay
    )
    assert ours.exploration == ExponentialDecay(config.explore_start, config.explore_end, config.explore_decay)
    for name in ("alpha", "update_every", "normalization", "min_spread", "learn_from_quota"):
        assert getattr(ours, name) == getattr(config, name)
