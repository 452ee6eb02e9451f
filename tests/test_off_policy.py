"""Values of other routing policies from logged propensities, by hand, by simulation, and in the report."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrpo_bench.errors import ConfigError
from lrpo_bench.evaluation.off_policy import Logged, off_policy_value
from lrpo_bench.results import report_router
from lrpo_bench.results.router_value import AS_ROUTED, FINAL, UNIFORM, best_fixed, policy_values
from lrpo_bench.results.schema import Manifest, Run


def test_values_and_errors_worked_by_hand():
    log = [Logged("a", "de", 0.5, 1.0), Logged("a", "en", 0.5, 0.0), Logged("b", "de", 0.25, 0.5)]
    value = off_policy_value(log, [1.0, 0.0, 1.0])  # weights 2, 0, 4
    assert value.ips == pytest.approx(4 / 3)  # (2 * 1 + 4 * .5) / 3
    assert value.snips == pytest.approx(4 / 6)
    assert value.mean_weight == pytest.approx(2.0)
    assert value.effective == pytest.approx(36 / 20)
    assert value.regret == pytest.approx(4 / 6 - 0.5)
    # IPS: terms less 4/3 are 2/3, -4/3 | 2/3; groups -2/3, 2/3; sqrt(2 * 8/9) / 3.
    assert value.ips_stderr == pytest.approx(math.sqrt(2 * 8 / 9) / 3)
    # SNIPS: w (r - 2/3) / 2 are 1/3, 0 | -1/3; sqrt(2 * 2/9) / 3.
    assert value.snips_stderr == pytest.approx(math.sqrt(2 * 2 / 9) / 3)
    # Regret: less r - .5: 1/3 - .5 + 0 + .5 = 1/3 | -1/3 - 0.
    assert value.regret_stderr == pytest.approx(math.sqrt(2 * 2 / 9) / 3)


def test_the_logged_policy_itself_is_the_plain_mean():
    log = [Logged(str(i), "de", p, r) for i, (p, r) in enumerate([(0.2, 0.1), (0.9, 0.4), (0.5, 1.0)])]
    value = off_policy_value(log, [item.propensity for item in log])
    assert (value.ips, value.snips, value.regret, value.mean_weight, value.effective) == pytest.approx(
        (0.5, 0.5, 0.0, 1.0, 3.0)
    )
    assert value.regret_stderr == pytest.approx(0.0)
    assert value.snips_stderr == pytest.approx(np.std([0.1, 0.4, 1.0], ddof=1) / 3**0.5)


def test_a_target_that_was_never_drawn_is_unknown():
    value = off_policy_value([Logged("a", "de", 0.5, 1.0), Logged("b", "de", 0.5, 0.0)], [0.0, 0.0])
    assert math.isnan(value.snips) and math.isnan(value.regret) and not value.is_supported


def test_one_group_has_no_error_and_no_rollout_no_value():
    assert math.isnan(off_policy_value([Logged("a", "de", 1.0, 1.0)], [1.0]).snips_stderr)
    with pytest.raises(ConfigError, match="at least one routed rollout"):
        off_policy_value([], [])
    with pytest.raises(ConfigError, match=r"in \(0, 1\], got 0"):
        off_policy_value([Logged("a", "de", 0.0, 1.0)], [1.0])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.floats(0.05, 1), st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=20))
def test_snips_stays_among_the_rewards_and_moves_with_a_shift(rows):
    targets = [target for _, _, target in rows]
    log = [Logged(str(i % 3), "de", p, r) for i, (p, r, _) in enumerate(rows)]
    value = off_policy_value(log, targets)
    if not math.isnan(value.snips) and value.mean_weight > 1e-6:
        assert min(r for _, r, _ in rows) - 1e-6 <= value.snips <= max(r for _, r, _ in rows) + 1e-6
        shifted = off_policy_value([Logged(x.group, x.lang, x.propensity, x.reward + 1) for x in log], targets)
        assert shifted.snips == pytest.approx(value.snips + 1)


def test_estimates_find_the_truth_and_intervals_cover_it():
    """800 logs of a policy that draws German 7 times in 10; always English earns .6, always German .3."""
    generator = np.random.default_rng(0)
    found, covered = [], 0
    for _ in range(800):
        german = generator.random(150) < 0.7
        rewards = generator.random(150) < np.where(german, 0.3, 0.6)
        log = [
            Logged(str(i), "de" if g else "en", 0.7 if g else 0.3, float(r))
            for i, (g, r) in enumerate(zip(german, rewards, strict=True))
        ]
        value = off_policy_value(log, [float(item.lang == "en") for item in log])
        found.append((value.ips, value.snips, value.regret))
        covered += abs(value.regret - (0.6 - 0.39)) < 1.96 * value.regret_stderr
    assert np.mean(found, axis=0) == pytest.approx([0.6, 0.6, 0.21], abs=0.01)
    assert 0.92 < covered / 800 < 0.97


# --- from a run's files


def rollout(i, lang, p, reward, is_quota=False, **more):
    row = {"step": 1 + i // 4, "sample_id": f"q{i}", "rollout_lang": lang, "propensity": p, "reward": reward}
    return row | {"is_quota": is_quota, "cells": ["chat"]} | more


ROLLOUTS = [
    *(rollout(i, "en" if i % 2 else "de", 0.5, float(i % 2)) for i in range(8)),
    rollout(8, "de", 1.0, 1.0, is_quota=True),
    rollout(9, "de", 0.5, None),
]
ROUTER = [
    {"step": 1, "arms": {"de": 0.5, "en": 0.5}, "contexts": {"chat": {"de": 0.5, "en": 0.5}}},
    {"step": 2, "arms": {"de": 0.2, "en": 0.8}, "contexts": {"chat": {"de": 0.2, "en": 0.8}}},
    {"step": 3, "arms": {"de": 0.5, "en": 0.5}, "contexts": {"other": {"de": 0.5, "en": 0.5}}},
]


def test_values_of_a_run():
    found = policy_values(ROLLOUTS, ROUTER)
    # Of the eight drawn rollouts English earned 1, German 0; quota and unknown rewards are left out.
    expected = {AS_ROUTED: 0.5, UNIFORM: 0.5, "always de": 0.0, "always en": 1.0, FINAL: 0.8}
    assert {name: value.snips for name, value in found.items()} == pytest.approx(expected)
    assert best_fixed(found) == "always en"
    old = [{key: value for key, value in row.items() if key != "cells"} for row in ROLLOUTS]
    assert FINAL not in policy_values(old, ROUTER)


def test_nothing_is_said_where_nothing_was_drawn():
    assert policy_values([], []) == {}
    assert policy_values(ROLLOUTS[8:], ROUTER) == {}
    assert policy_values([rollout(i, "de", 1.0, 1.0) for i in range(4)], ROUTER[:1]) == {}


def test_a_language_that_was_hardly_drawn_is_not_called_best():
    rows = [rollout(i, "de", 0.5, 0.2) for i in range(9)] + [rollout(9, "en", 0.5, 1.0)]
    found = policy_values(rows, ROUTER)
    assert not found["always en"].is_supported and best_fixed(found) == "always de"


def test_the_report_tells_values_and_regrets():
    run = Run(Path("x"), Manifest({}, "h"), None, None, tuple(ROUTER), (), tuple(ROLLOUTS))
    text = report_router.values(run)
    for part in ("Regret by reward", "always en, the best fixed language", "+0.500", "-0.500", "1.000", "left it"):
        assert part in text
    empty = Run(Path("x"), Manifest({}, "h"), None, None, (), (), ())
    assert report_router.values(empty) == ""


def test_the_report_counts_questions_without_labels():
    rows = ({"step": 1, "unlabelled": 2}, {"step": 2}, {"step": 3, "unlabelled": 1})
    run = Run(Path("x"), Manifest({}, "h"), None, None, rows, (), ())
    assert "3 questions had no topic or region label" in report_router.unlabelled(run)
    assert report_router.unlabelled(Run(Path("x"), Manifest({}, "h"), None, None, ROUTER[:1], (), ())) == ""
