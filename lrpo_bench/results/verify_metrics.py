"""Whether stored metrics are what the responses beside them give: each that is not is named, with both values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from lrpo_bench.evaluation.embedding_diversity import EMBEDDING_METRICS
from lrpo_bench.evaluation.metrics import Metric

_TOLERANCE = 1e-9
"""Sums of the same numbers differ in their last digits between builds of numpy."""
_KEY = ("task", "language", "metric")
_FIELDS = tuple(field.name for field in dataclasses.fields(Metric) if field.name not in _KEY)


def compare_metrics(stored: Sequence[Metric], computed: Sequence[Metric]) -> tuple[list[str], list[str]]:
    """What is wrong in `stored`, and what can not be told since one version knows a metric that the other does not."""
    old, new = ({_key(metric): metric for metric in metrics} for metrics in (stored, computed))
    wrong = [f"a number is there twice, among {len(stored)}"] if len(old) < len(stored) else []
    unknown: dict[str, dict[str, None]] = {}
    for key in [*old, *(key for key in new if key not in old)]:
        task, language, metric = key
        here = f"{metric} of {task} in {language}"
        if key in old and key in new:
            wrong += [
                f"{field} of {here} is {_shown(was)}, the responses give {_shown(now)}"
                for field in _FIELDS
                if not _same(was := getattr(old[key], field), now := getattr(new[key], field))
            ]
        elif not any(metric == other for _, _, other in (new if key in old else old)):
            why = "this version does not compute" if key in old else "new in this version, and missing:"
            if metric in EMBEDDING_METRICS:
                why = "not checked, since they rest on an encoder:"
            unknown.setdefault(why, {})[metric] = None
        else:
            wrong.append(f"{here} {'is of no response' if key in old else 'is missing'}")
    return wrong, [f"{why} {', '.join(metrics)}" for why, metrics in unknown.items()]


def _key(metric: Metric) -> tuple[str, str, str]:
    return metric.task, metric.language, metric.metric


def _same(was: Any, now: Any) -> bool:
    if isinstance(was, tuple) and isinstance(now, tuple):
        return len(was) == len(now) and all(_same(a, b) for a, b in zip(was, now, strict=True))
    if isinstance(was, int | float) and isinstance(now, int | float):
        return math.isclose(was, now, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return bool(was == now)


def _shown(value: Any) -> str:
    return "unknown" if value is None else repr(value)
