"""Regret in the telemetry, its summary over a run, and what the report says of it."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrpo_bench.config import parse_config
from lrpo_bench.errors import StorageError
from lrpo_bench.lrpo.mixes import FixedMix
from lrpo_bench.lrpo.routing import Context
from lrpo_bench.plan import make_plan
from lrpo_bench.results import report_router
from lrpo_bench.results.router_regret import cumulative_regrets, regret_summary
from lrpo_bench.results.schema import Manifest, Run
from lrpo_bench.training.regret import RegretMeter, regret_meter, truth_of
from lrpo_bench.training.telemetry import step_telemetry
from lrpo_bench.world.build import embedded_path
from lrpo_bench.world.truth import AskedAbout

ARMS = ("bn", "en", "sw")
KENYA, JAPAN = AskedAbout("regional", "bn", ("east_africa",)), AskedAbout("regional", "bn", ("japan",))


class GivenTruth:
    """Kenya: best in Swahili; Japan: best in English."""

    def accuracy(self, asked):
        if asked == KENYA:
            return {"bn": 0.1, "en": 0.5, "sw": 0.9, "zh": 1.0}
        return {"bn": 0.2, "en": 0.6, "sw": 0.0, "zh": 1.0}


METER = RegretMeter(GivenTruth(), {"k": KENYA, "j": JAPAN}, ARMS)


def test_a_step_worked_by_hand():
    probs = {"k": np.array([0.0, 0.5, 0.5]), "j": np.array([0.5, 0.5, 0.0])}
    found = METER.step(probs, [("k", "bn"), ("k", "sw"), ("j", "bn"), ("j", "en")])
    # Router: Kenya .9 - (.25 + .45) = .2; Japan .6 - (.1 + .3) = .2. Chinese is no arm, so its 1.0 is out of reach.
    assert found["router"] == pytest.approx(0.2)
    # Rollouts: .8, 0, .4, 0. Uniform: .9 - .5 = .4 and .6 - .8 / 3 = 1 / 3. Source (Bengali): .8 and .4.
    assert found["rollouts"] == pytest.approx(0.3)
    assert found["uniform"] == pytest.approx((0.4 + 1 / 3) / 2)
    assert found["source"] == pytest.approx(0.6)
    assert found["fixed"] == pytest.approx({"bn": 0.6, "en": 0.2, "sw": 0.3})
    assert (found["questions"], found["unknown"]) == (2, 0)


def test_unknown_questions_are_left_out_and_counted():
    uniform = np.ones(3) / 3
    found = METER.step({"k": uniform, "?": np.array([1.0, 0.0, 0.0])}, [("k", "sw"), ("?", "bn")])
    assert found["router"] == pytest.approx(0.4)
    assert found["rollouts"] == 0.0
    assert (found["questions"], found["unknown"]) == (1, 1)
    assert METER.step({"?": uniform}, [("?", "bn")]) is None


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(any))
def test_equals_the_truths_own_regret(parts):
    arms, asked = ("bn", "en", "sw", "th"), AskedAbout("regional", "th", ("east_africa",))
    truth, probs = EMBEDDED, np.array(parts) / sum(parts)
    found = RegretMeter(truth, {"q": asked}, arms).step({"q": probs}, [("q", "en")])
    assert found["router"] == pytest.approx(truth.regret(dict(zip(arms, probs, strict=True)), asked))
    assert found["rollouts"] == pytest.approx(truth.regret({"bn": 0, "en": 1, "sw": 0, "th": 0}, asked))


EMBEDDED = truth_of("embedded:default")


@pytest.fixture(scope="module")
def plan():
    tasks = [{"name": name, "languages": ["bn"], "limit": 1} for name in ("regional", "arithmetic")]
    train = {"languages": ["bn"], "arms": ["bn", "en"], "questions": 5}
    return make_plan(parse_config({"tasks": tasks, "train": train}), train=True)


def test_questions_of_the_world_are_known_with_their_kind_and_regions(plan):
    meter = regret_meter(plan.config, plan.training_samples, plan.arms)
    probs = {name: np.array([1.0, 0.0]) for name in plan.training_samples}
    found = meter.step(probs, [(name, "bn") for name in probs])
    assert (found["questions"], found["unknown"]) == (10, 0)
    expected = []
    for task, sample in plan.training_samples.values():
        kind = {"regional": "regional", "arithmetic": "reasoning"}[task.info.name]
        expected.append(EMBEDDED.regret({"bn": 1.0, "en": 0.0}, AskedAbout(kind, "bn", sample.regions)))
    assert found["router"] == pytest.approx(np.mean(expected))
    assert found["router"] > 0.05, "a truth without differences tests nothing"


@pytest.mark.parametrize("model", ["some/hub-model", "results/run/model", "results/run/policy"])
def test_no_truth_about_other_models(plan, model):
    assert truth_of(model) is None
    config = plan.config.model_copy(update={"model": plan.config.model.model_copy(update={"name": model})})
    assert regret_meter(config, plan.training_samples, plan.arms) is None


def test_no_truth_about_a_language_outside_the_world(plan):
    assert regret_meter(plan.config, plan.training_samples, ("bn", "it")) is None


def test_no_truth_about_a_users_own_rows(plan):
    own = parse_config({"tasks": [{"name": name, "data": "my.jsonl"} for name in ("regional", "arithmetic")]})
    assert regret_meter(own, plan.training_samples, plan.arms) is None


def test_a_built_world_counts_while_its_weights_are_as_built(tmp_path):
    world = tmp_path / "world"
    (world / "policy").mkdir(parents=True)
    for name in ("eval.json", "profile.yaml"):
        shutil.copy(embedded_path("default") / name, world / name)
    weights = world / "policy" / "model.safetensors"
    weights.write_bytes(b"as built")
    digest = hashlib.sha256(b"as built").hexdigest()
    assert truth_of(str(weights.parent)) is None  # no hashes
    (world / "hashes.json").write_text(json.dumps({"policy/model.safetensors": digest}))
    asked = AskedAbout("inference", "de")
    assert truth_of(str(weights.parent)).accuracy(asked) == EMBEDDED.accuracy(asked)
    weights.write_bytes(b"trained since")
    assert truth_of(str(weights.parent)) is None
    (world / "hashes.json").write_text("{")
    with pytest.raises(StorageError, match="can not be read"):
        truth_of(str(weights.parent))


# --- telemetry, summary, report


def row_of(sample_id, lang):
    from lrpo_bench.evaluation.judging import Judgement
    from lrpo_bench.language_id.base import Detection
    from lrpo_bench.lrpo.rewards import RewardParts
    from lrpo_bench.lrpo.routing import Route
    from lrpo_bench.tasks.base import Score
    from lrpo_bench.training.telemetry import RolloutRow

    judgement = Judgement(Score.of(True, "1"), Detection(lang, 1.0), True, "")
    context = Context("regional knowledge", "bn")
    return RolloutRow(sample_id, context, Route(lang, 1.0, False), "x", judgement, RewardParts(1.0, 1.0), False, 0.0)


def test_telemetry_holds_the_regret_of_the_routers_own_distribution():
    rows = [row_of("k", "bn"), row_of("k", "sw")]
    row = step_telemetry(rows, FixedMix(ARMS, "uniform"), 0, 2, 0, METER).router
    # 25% Bengali, 37.5% each of English and Swahili: .9 - (.025 + .1875 + .3375) = .35.
    assert row["router_regret"] == row["regret"]["router"] == pytest.approx(0.35)
    assert row["regret"]["rollouts"] == pytest.approx(0.4)
    json.dumps(row)
    for meter in (None, RegretMeter(GivenTruth(), {}, ARMS)):
        row = step_telemetry(rows, FixedMix(ARMS, "uniform"), 0, 2, 0, meter).router
        assert row["router_regret"] is row["regret"] is None


def regret_row(router, fixed, questions=4, unknown=0):
    policies = {"router": router, "rollouts": 0.5, "uniform": 0.4, "source": 0.3}
    return {"regret": policies | {"fixed": fixed, "questions": questions, "unknown": unknown}}


ROWS = [
    {"step": 1} | regret_row(0.4, {"de": 0.0, "en": 0.3}, questions=1, unknown=3),
    {"step": 2, "regret": None},
    {"step": 3} | regret_row(0.2, {"de": 0.4, "en": 0.2}, questions=4),
]


def test_the_best_fixed_language_is_chosen_over_the_whole_run():
    found = regret_summary(ROWS)
    # Weighted by questions: German (0 + 4 * .4) / 5 = .32, English (.3 + .8) / 5 = .22; a step alone would say German.
    assert (found.fixed_lang, found.fixed) == ("en", pytest.approx(0.22))
    assert found.router == pytest.approx((0.4 + 0.8) / 5)
    assert (found.uniform, found.source, found.rollouts) == pytest.approx((0.4, 0.3, 0.5))
    assert (found.questions, found.unknown) == (5, 3)
    steps, series = cumulative_regrets(ROWS)
    assert steps == [1, 3]
    assert series["router"] == pytest.approx([0.4, 0.6])
    assert series["always en"] == pytest.approx([0.3, 0.5])


def test_nothing_is_made_up_where_the_truth_is_unknown():
    for rows in ([], [{"step": 1}], [{"step": 1, "router_regret": None, "regret": None}]):
        assert regret_summary(rows) is None
        assert cumulative_regrets(rows) is None


def run_of(rows):
    return Run(Path("x"), Manifest({}, "h"), None, None, tuple(rows), (), ())


def test_the_report_tells_the_regret():
    run = run_of(ROWS)
    figures = report_router.figures(run)
    text = report_router.regret(run, figures)
    assert "Regret against the world" in text
    for part in ("24.0%", "50.0%", "40.0%", "30.0%", "always en, the best fixed language in hindsight", "22.0%"):
        assert part in text
    assert "3 questions have no known truth" in text
    assert figures["router-regret"].startswith("<svg") and figures["router-regret"] in text
    assert "always en" in figures["router-regret"]


def test_the_report_is_silent_without_truth():
    run = run_of([{"step": 1, "arms": {"de": 1.0}, "regret": None}])
    assert report_router.figures(run) == {} and report_router.regret(run, {}) == ""
