"""What one training step leaves in the logs: the router's distribution, what was sampled and earned, idle groups."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrpo_bench.evaluation.judging import Judgement
from lrpo_bench.lrpo.advantages import group_degeneracy
from lrpo_bench.lrpo.rewards import RewardParts
from lrpo_bench.lrpo.routing import UNLABELLED, Context, Factor, Route, Router, cell_label
from lrpo_bench.training.regret import RegretMeter


@dataclass(frozen=True, slots=True)
class RolloutRow:
    """One rollout of a step with everything that was decided about it."""

    sample_id: str
    context: Context
    route: Route
    completion: str
    judgement: Judgement
    parts: RewardParts
    truncated: bool
    advantage: float


@dataclass(frozen=True, slots=True)
class StepTelemetry:
    """JSON rows of one step for `router.jsonl` and `rollouts.jsonl`; steps count from 1."""

    router: Mapping[str, Any]
    rollouts: Sequence[Mapping[str, Any]]


def step_telemetry(
    rows: Sequence[RolloutRow],
    router: Router,
    step: int,
    group_size: int,
    n_prompts_truncated: int,
    meter: RegretMeter | None = None,
) -> StepTelemetry:
    """The rows of `step` (counted from 0), before the router learns from it; without a meter there is no regret."""
    contexts = {row.sample_id: row.context for row in rows}
    probs = {name: router.probs(context, step) for name, context in contexts.items()}
    mean_probs = np.mean(list(probs.values()), axis=0)
    regret = None if meter is None else meter.step(probs, [(row.sample_id, row.route.lang) for row in rows])
    summary = {
        "step": step + 1,
        "arms": dict(zip(router.arms, mean_probs.tolist(), strict=True)),
        "contexts": _by_context(contexts, probs, router),
        "entropy": _entropy(mean_probs),
        "router_regret": None if regret is None else regret["router"],
        "regret": regret,
        "sampled": dict(sorted(Counter(row.route.lang for row in rows).items())),
        "mean_reward": _mean([row.parts.reward for row in rows]),
        "reward_by_lang": _mean_by_lang(rows, lambda row: row.parts.reward),
        "quality_by_lang": _mean_by_lang(rows, lambda row: row.parts.quality),
        "gate_by_lang": _mean_by_lang(rows, lambda row: row.parts.gate),
        "groups": _degeneracy(rows, group_size),
        "truncated": sum(row.truncated for row in rows),
        "prompts_truncated": n_prompts_truncated,
        "unscored": sum(math.isnan(row.parts.reward) for row in rows),
        "unlabelled": sum(context.topic == UNLABELLED for context in contexts.values()),
    }
    return StepTelemetry(summary, [_rollout(row, step, router.factors) for row in rows])


def with_resampled(telemetry: StepTelemetry, replaced: Sequence[RolloutRow], group_size: int) -> StepTelemetry:
    """The same step with what it took to make it: groups that were replaced, or tried and not taken."""
    causes = _degeneracy(replaced, group_size)
    counts = {"groups": sum(causes.values()), "causes": causes, "rollouts": len(telemetry.rollouts) + len(replaced)}
    return StepTelemetry({**telemetry.router, "resampled": counts}, telemetry.rollouts)


def _rollout(row: RolloutRow, step: int, factors: Sequence[Factor]) -> dict[str, Any]:
    return {
        "step": step + 1,
        "sample_id": row.sample_id,
        "source_lang": row.context.source_lang,
        "rollout_lang": row.route.lang,
        "is_quota": row.route.is_quota,
        "propensity": row.route.propensity,
        "cells": [cell_label(cell) for cell in row.context.cells_by(factors)],
        "detected_lang": row.judgement.detection.lang,
        "completion": row.completion,
        "answer": row.judgement.score.answer,
        "outcome": row.judgement.score.outcome,
        "truncated": row.truncated,
        "rewards": {
            "quality": _or_none(row.parts.quality),
            "gate": _or_none(row.parts.gate),
            **{name: _or_none(value) for name, value in row.parts.details.items()},
        },
        "reward": _or_none(row.parts.reward),
        "advantage": row.advantage,
    }


def _by_context(
    contexts: Mapping[str, Context], probs: Mapping[str, np.ndarray], router: Router
) -> dict[str, dict[str, float]]:
    grouped: dict[str, list[np.ndarray]] = defaultdict(list)
    for name, context in contexts.items():
        for cell in context.cells_by(router.factors):
            grouped[cell_label(cell)].append(probs[name])
    return {
        cell: dict(zip(router.arms, np.mean(values, axis=0).tolist(), strict=True))
        for cell, values in sorted(grouped.items())
    }


def _degeneracy(rows: Sequence[RolloutRow], group_size: int) -> dict[str, int]:
    causes: Counter[str] = Counter()
    for start in range(0, len(rows), group_size):
        group = rows[start : start + group_size]
        causes[
            group_degeneracy(
                [row.parts.reward for row in group],
                [row.parts.quality for row in group],
                [row.parts.gate for row in group],
                [row.truncated for row in group],
            )
        ] += 1
    return dict(sorted(causes.items()))


def _mean_by_lang(rows: Sequence[RolloutRow], value: Any) -> dict[str, float | None]:
    by_lang: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        by_lang[row.route.lang].append(value(row))
    return {lang: _mean(values) for lang, values in sorted(by_lang.items())}


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else None


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _entropy(probs: np.ndarray) -> float:
    positive = probs[probs > 0]
    return float(-(positive * np.log(positive)).sum())
