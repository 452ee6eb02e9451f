"""The router of the public reference implementation, restated from what it is known to do (METHOD.md, section 7), run
beside ours on the same stream of rewards.

Where theirs is right both give the same values, to the last digit that floating point allows: one region a topic, every
reward known, spreads that are no accident, no quota. Where they differ:

1. Nothing of it is in a checkpoint: a resumed run starts with empty tables. Ours continues exactly.
2. A topic's row moves once for each of its region cells: 24 regions carry it to 1 - .9^24 = .92 of the target in one
   step where alpha = .1 was asked for. Ours moves it once, towards the mean of the cells weighted by their rewards.
3. A question without region is learned as a row "None" that sampling never reads. Ours learns the topic alone.
4. epsilon anneals in the same branch as the temperature: with a constant temperature it stays. Ours has two schedules.
5. Quota rollouts, which the router did not choose, train it. Ours leaves them out unless `learn_from_quota`.
6. Draws come from numpy's global generator; the probability returned is the softmax of the topic's row alone, so that
   neither epsilon nor the region is in it. Ours draws by (seed, step, sample, rollout), and returns what it drew from.
7. One NaN makes a mean, a z-score and then every later value of the row NaN; and two means of .9701 and .9702 become -1
   and +1. Ours leaves NaN out, and only centers where the spread is below `min_spread`.
"""

import json
import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from lrpo_bench.lrpo.router import LearnedRouter, LearnedRouterConfig
from lrpo_bench.lrpo.routing import Context, Observation, route_group
from lrpo_bench.lrpo.schedules import ExponentialDecay

ARMS = ("de", "en", "sw")
DACH, NOWHERE = Context("chat", "de", ("dach",)), Context("chat", "de")


class PublicRouter:
    """As published, for one region a question."""

    def __init__(self, alpha=0.1, temperature=(1.0, 0.3, 0.999), epsilon=(0.2, 0.0, 0.995), seed=0):
        self.alpha, self.temperature, self.epsilon = alpha, temperature, epsilon
        self.topics, self.regions = {}, {}
        self.numpy = np.random.RandomState(seed)  # stands for the global generator, which anything else may move

    def annealed(self, step):
        temperature, epsilon = self.temperature[0], self.epsilon[0]
        if self.temperature[0] != self.temperature[1]:  # fault 4
            temperature = max(self.temperature[1], self.temperature[0] * self.temperature[2] ** step)
            epsilon = max(self.epsilon[1], self.epsilon[0] * self.epsilon[2] ** step)
        return temperature, epsilon

    def softmax(self, logits, temperature):
        values = np.exp((logits - logits.max()) / temperature)
        return values / values.sum()

    def sample(self, context, step):
        """A language, and the probability that it returns with it."""
        temperature, epsilon = self.annealed(step)
        topic = np.array(list(self.topics.get(context.topic, dict.fromkeys(ARMS, 0.0)).values()))
        logits = topic.copy()
        for region in context.regions:  # never the row "None": fault 3
            logits += np.array(list(self.regions.get(region, dict.fromkeys(ARMS, 0.0)).values()))
        if self.numpy.random() < epsilon:
            arm = self.numpy.randint(len(ARMS))
        else:
            arm = self.numpy.choice(len(ARMS), p=self.softmax(logits, temperature))
        return ARMS[arm], self.softmax(topic, temperature)[arm]  # fault 6

    def update(self, batch):
        cells = defaultdict(lambda: defaultdict(list))
        for item in batch:  # quota included: fault 5
            for region in item.context.regions or ("None",):
                cells[item.context.topic, region][item.lang].append(item.reward)
        for (topic, region), by_lang in cells.items():
            means = {lang: sum(rewards) / len(rewards) for lang, rewards in by_lang.items()}
            mean = sum(means.values()) / len(means)
            std = math.sqrt(sum((m - mean) ** 2 for m in means.values()) / len(means))
            for lang, value in means.items():
                reward = (value - mean) / std if std != 0 else 0.0
                for table, row in ((self.topics, topic), (self.regions, region)):  # once a cell: fault 2
                    values = table.setdefault(row, dict.fromkeys(ARMS, 0.0))
                    values[lang] = (1 - self.alpha) * values[lang] + self.alpha * reward


def ours(**changes):
    return LearnedRouter(ARMS, LearnedRouterConfig(**{"update_every": 1} | changes))


def seen(context, lang, *rewards, is_quota=False):
    return [Observation(context, lang, reward, 1 / 3, is_quota) for reward in rewards]


def stream(contexts, steps=12, seed=4):
    generator = np.random.default_rng(seed)
    return [
        [Observation(c, lang, float(generator.uniform())) for c in contexts for lang in ARMS for _ in range(3)]
        for _ in range(steps)
    ]


def run_both(batches):
    mine, public = ours(), PublicRouter()
    for step, batch in enumerate(batches):
        mine.observe(batch, step)
        public.update(batch)
    return mine, public


def test_equal_where_each_topic_has_one_region():
    mine, public = run_both(stream([DACH, Context("safety", "de", ("china",))]))
    for theirs, table in ((public.topics, mine.values["topic"]), (public.regions, mine.values["region"])):
        assert table.keys() == theirs.keys()
        for row, values in theirs.items():
            assert table[row] == pytest.approx(list(values.values()))
            assert any(values.values())


def test_equal_distributions_where_nothing_explores():
    batches = stream([DACH])
    mine, public = run_both(batches)
    temperature, _ = public.annealed(12)
    logits = np.array(list(public.topics["chat"].values())) + np.array(list(public.regions["dach"].values()))
    softmax = public.softmax(logits, temperature)
    epsilon = mine.config.exploration(12)
    assert mine.probs(DACH, 12) == pytest.approx((1 - epsilon) * softmax + epsilon / 3)


def test_fault_1_a_resumed_run_forgets():
    batches = stream([DACH])
    mine, public = run_both(batches[:6])
    assert not hasattr(public, "state_dict")
    resumed_public, resumed = PublicRouter(), ours()
    resumed.load_state_dict(json.loads(json.dumps(mine.state_dict())))
    for step, batch in enumerate(batches[6:], 6):
        for router in (mine, resumed):
            router.observe(batch, step)
        for router in (public, resumed_public):
            router.update(batch)
    assert resumed.state_dict() == mine.state_dict()
    assert resumed_public.topics["chat"] != pytest.approx(public.topics["chat"])


def test_fault_2_24_regions_move_a_topic_24_times():
    # In every region German earns 1 and English 0: z-scores +1 and -1.
    contexts = [Context("chat", "de", (f"region{i}",)) for i in range(24)]
    batch = [item for c in contexts for item in seen(c, "de", 1.0) + seen(c, "en", 0.0)]
    mine, public = run_both([batch])
    assert public.topics["chat"]["de"] == pytest.approx(1 - 0.9**24)  # .92
    assert mine.values["topic"]["chat"] == pytest.approx([0.1, -0.1, 0.0])
    assert mine.values["region"]["region7"] == pytest.approx([0.1, -0.1, 0.0])


def test_fault_3_a_row_none_is_learned_and_never_read():
    mine, public = run_both(stream([NOWHERE]))
    assert mine.values["topic"]["chat"] == pytest.approx(list(public.topics["chat"].values()))
    assert public.regions.keys() == {"None"} and any(public.regions["None"].values())
    assert mine.values["region"] == {}


def test_fault_4_exploration_stops_annealing_with_a_constant_temperature():
    assert PublicRouter(temperature=(1.0, 1.0, 1.0)).annealed(1000) == (1.0, 0.2)
    mine = ours(temperature=ExponentialDecay(1.0, 1.0, 1.0))
    assert mine.config.exploration(1000) == pytest.approx(0.2 * 0.995**1000)


def test_fault_5_the_quota_trains():
    batch = seen(DACH, "de", 1.0, is_quota=True) + seen(DACH, "en", 0.5) + seen(DACH, "sw", 0.4)
    mine, public = run_both([batch])
    # Theirs: German, by the quota alone, is far ahead of the two that were chosen.
    assert max(public.topics["chat"], key=public.topics["chat"].get) == "de"
    assert mine.values["topic"]["chat"] == pytest.approx([0.0, 0.1, -0.1])
    asked = ours(learn_from_quota=True)
    asked.observe(batch, 0)
    assert asked.values["topic"]["chat"] == pytest.approx(list(public.topics["chat"].values()))


def test_fault_6_the_returned_probability_is_not_that_of_the_draw():
    batches = stream([DACH, Context("chat", "de", ("china",))])
    mine, public = run_both(batches)
    public.regions["dach"] = {"de": 2.0, "en": 0.0, "sw": -2.0}  # what the region knows and the topic does not
    mine.values["region"]["dach"] = np.array([2.0, 0.0, -2.0])
    theirs = [public.sample(DACH, 0) for _ in range(4000)]
    shares = Counter(lang for lang, _ in theirs)
    returned = dict(theirs)
    assert abs(shares["de"] / 4000 - returned["de"]) > 0.2
    routes = [
        route for i in range(500) for route in route_group(mine, DACH, f"q{i}", group_size=8, quota=0, seed=0, step=0)
    ]
    counts = Counter(route.lang for route in routes)
    for route in routes[:50]:
        assert counts[route.lang] / 4000 == pytest.approx(route.propensity, abs=0.03)
    # Another caller of the global generator changes their draws; nobody can change ours.
    one, other = PublicRouter(), PublicRouter()
    other.numpy.random()
    assert [one.sample(DACH, 0)[0] for _ in range(20)] != [other.sample(DACH, 0)[0] for _ in range(20)]


def test_fault_7_one_nan_poisons_and_a_hairs_breadth_is_a_landslide():
    batch = seen(DACH, "de", 1.0, math.nan) + seen(DACH, "en", 0.5)
    mine, public = run_both([batch, *stream([DACH])])
    assert all(math.isnan(value) for value in (public.topics["chat"]["de"], public.topics["chat"]["en"]))
    clean, _ = run_both([seen(DACH, "de", 1.0) + seen(DACH, "en", 0.5), *stream([DACH])])
    assert mine.state_dict() == clean.state_dict()
    mine, public = run_both([seen(DACH, "de", 0.9701) + seen(DACH, "en", 0.9702)])
    assert public.topics["chat"] == pytest.approx({"de": -0.1, "en": 0.1, "sw": 0.0})
    assert mine.values["topic"]["chat"] == pytest.approx([-5e-6, 5e-6, 0.0])
