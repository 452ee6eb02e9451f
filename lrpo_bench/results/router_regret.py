"""A run's router against the truth of the embedded world, from the `regret` of the rows in `router.jsonl`.

Regret is expected accuracy given away per question, against the best language for each (`lrpo_bench.training.regret`
says how it is known). The best fixed language is chosen in hindsight over the whole run, so no router could have known
it; a router beats it only where the best language depends on the question.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

POLICIES = ("router", "rollouts", "uniform", "source")
"""What regret is logged for beside each fixed language; `rollouts` is what was sampled, quota included."""


@dataclass(frozen=True, slots=True)
class RegretSummary:
    """Means over the questions of a run whose truth is known, each in [0, 1]."""

    router: float
    """Of the distribution from which the router drew, exploration included."""
    rollouts: float
    """Of all sampled rollouts, the quota in the source language included."""
    uniform: float
    source: float
    """Of always answering in the question's language."""
    fixed: float
    """Of the best fixed language."""
    fixed_lang: str
    questions: int
    unknown: int
    """Questions without a known truth, left out."""


def regret_summary(rows: Sequence[Mapping[str, Any]]) -> RegretSummary | None:
    """The run's regrets; None where no step has any.

    Example:
        >>> step = {"router": 0.2, "rollouts": 0.3, "uniform": 0.25, "source": 0.4, "questions": 4, "unknown": 0}
        >>> found = regret_summary([{"regret": step | {"fixed": {"de": 0.4, "en": 0.1}}}, {"regret": None}])
        >>> found.router, found.fixed_lang, found.fixed
        (0.2, 'en', 0.1)
    """
    known = _known(rows)
    if not known:
        return None
    means = {name: _mean([row[name] for row in known], known) for name in POLICIES}
    fixed = _fixed(known)
    best = min(fixed, key=lambda lang: (fixed[lang], lang))
    return RegretSummary(
        **means,
        fixed=fixed[best],
        fixed_lang=best,
        questions=sum(row["questions"] for row in known),
        unknown=sum(row["unknown"] for row in known),
    )


def cumulative_regrets(rows: Sequence[Mapping[str, Any]]) -> tuple[list[int], dict[str, list[float]]] | None:
    """Steps, and by policy the sum up to each of the mean regret per question; None where no step has any.

    Example:
        >>> step = {"router": 0.25, "rollouts": 0.5, "uniform": 0.5, "source": 0.5, "questions": 4, "unknown": 0}
        >>> rows = [{"step": i, "regret": step | {"fixed": {"de": 0.5, "en": 0.0}}} for i in (1, 2)]
        >>> cumulative_regrets(rows)
        ([1, 2], {'router': [0.25, 0.5], 'uniform': [0.5, 1.0], 'source': [0.5, 1.0], 'always en': [0.0, 0.0]})
    """
    known = _known(rows)
    if not known:
        return None
    steps = [int(row["step"]) for row in rows if _is_known(row)]
    fixed = _fixed(known)
    best = min(fixed, key=lambda lang: (fixed[lang], lang))
    series = {name: [float(row[name]) for row in known] for name in ("router", "uniform", "source")}
    series[f"always {best}"] = [float(row["fixed"][best]) for row in known]
    return steps, {name: list(itertools.accumulate(values)) for name, values in series.items()}


def _is_known(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("regret"), Mapping)


def _known(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row["regret"] for row in rows if _is_known(row)]


def _fixed(known: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {lang: _mean([row["fixed"][lang] for row in known], known) for lang in known[0]["fixed"]}


def _mean(values: Sequence[float], known: Sequence[Mapping[str, Any]]) -> float:
    weights = [row["questions"] for row in known]
    return float(sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights))
