"""What a run cost: rollouts, tokens and seconds of its training, from its log, and device-hours of all of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lrpo_bench.results.collection import RunData
from lrpo_bench.results.files import read_rows
from lrpo_bench.results.schema import Manifest
from lrpo_bench.results.verify import stage_of

COSTS = {
    "rollouts": "training rollouts",
    "tokens": "training tokens",
    "seconds": "training seconds",
    "device_hours": "device-hours",
}

_STAGES = {"eval": ("before",), "train": ("train",), "run": ("before", "train", "after")}


@dataclass(frozen=True, slots=True)
class Spread:
    """A measured quantity over seeds: it has no interval, but a range."""

    mean: float
    low: float
    high: float


def costs_of(runs: Iterable[RunData]) -> dict[str, Spread | None]:
    """Each cost over the runs of a group; None where it is unknown for one of them, 0 where nothing is trained."""
    rows = [_cost_of(run) for run in runs]
    return {name: _spread([row[name] for row in rows]) for name in COSTS}


def device_of(runs: Iterable[RunData]) -> str:
    """Accelerators that the runs used, or the processor's cores."""
    found = []
    for run in runs:
        hardware = run.manifest.hardware
        gpus = hardware.get("gpus") or []
        found.append(", ".join(gpus) if gpus else f"{hardware.get('cpu_count', '?')} CPU cores")
    return "; ".join(dict.fromkeys(found))


def device_hours(manifest: Manifest) -> float | None:
    """Wall time of all stages times accelerators, or times one machine without; None where it is not known.

    A stage's time is of its last attempt, so it is unknown of a run that was continued. An evaluation that was taken
    over from a sibling cost nothing here.

    Example:
        >>> extra = {"stage": "eval", "seconds_before": 1800.0}
        >>> device_hours(Manifest({}, "", hardware={"gpus": ["H200", "H200"]}, extra=extra))
        1.0
    """
    shared = "before_shared" in manifest.extra
    gpus = manifest.hardware.get("gpus")
    # A cell that takes an evaluation over is begun by the sweep, and its own process counts as one continuation.
    if gpus is None or len(manifest.resumed) > shared:
        return None
    trained = bool(manifest.extra.get("trained_languages"))
    stages = _STAGES.get(stage_of(manifest) or "")
    wanted = [name for name in stages or () if (name != "train" or trained) and not (name == "before" and shared)]
    seconds = [_number(manifest.extra.get(f"seconds_{name}")) for name in wanted]
    if stages is None or any(map(math.isnan, seconds)):
        return None
    return sum(seconds) * max(1, len(gpus)) / 3600


def _cost_of(run: RunData) -> Mapping[str, float]:
    hours = device_hours(run.manifest)
    training = dict.fromkeys(("rollouts", "tokens", "seconds"), 0.0) if run.trained is None else _training_cost(run)
    return {**training, "device_hours": math.nan if hours is None else hours}


def _training_cost(run: RunData) -> Mapping[str, float]:
    steps = read_rows(run.path / "train.jsonl")
    train = run.manifest.config.get("train", {})
    per_step = train.get("questions_per_step", math.nan) * train.get("group_size", math.nan)
    # TRL counts tokens of prompts and completions from the start. A step's own time survives an interruption, the
    # stage's does not.
    tokens = max((_number(row.get("num_tokens")) for row in steps), default=math.nan)
    times = [_number(row.get("step_time")) for row in steps]
    seconds = sum(times) if times and not any(map(math.isnan, times)) else math.nan
    if math.isnan(seconds) and not run.manifest.resumed:
        seconds = _number(run.manifest.extra.get("seconds_train"))
    return {"rollouts": len(steps) * per_step if steps else math.nan, "tokens": tokens, "seconds": seconds}


def _spread(values: list[float]) -> Spread | None:
    if not values or any(math.isnan(value) for value in values):
        return None
    return Spread(sum(values) / len(values), min(values), max(values))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
