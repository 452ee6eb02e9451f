"""How many optimizer steps a training takes, and where what it makes before them lies in a run folder."""

from __future__ import annotations

import math

from lrpo_bench.config import TrainConfig
from lrpo_bench.errors import ConfigError
from lrpo_bench.training.methods import Method

OFFLINE = "offline"
"""Folder of rollouts and pairs."""
WARM_START = "warm_start"
"""Folder of the warm-started policy."""
TENSORBOARD = "tensorboard"
"""Folder of TensorBoard's files, where it is among `train.scale.report_to`."""
SUMMARY = "summary.json"
"""In the first two: what was made, for the manifest."""


def training_steps(train: TrainConfig, method: Method, n_questions: int | None = None) -> int:
    """The optimizer steps of a method's own training, a warm start before it not counted.

    Args:
        train: the configuration.
        method: what is trained; `sft` takes `warm_start.steps`, the others `steps`.
        n_questions: training questions there are; unlimited when absent.
    """
    return warm_start_steps(train, n_questions) if method.objective == "sft" else train.steps


def warm_start_steps(train: TrainConfig, n_questions: int | None = None) -> int:
    """The steps of a warm start: as configured, or one pass over its answers."""
    start = train.warm_start
    n_prompts = start.prompts if n_questions is None else min(start.prompts, n_questions)
    return start.steps or math.ceil(n_prompts * start.answers / start.answers_per_step)


def dominant_rollouts(train: TrainConfig, method: Method) -> int:
    """How many rollouts of a group are in the dominant language; 0 for methods without one.

    Raises:
        ConfigError: where that leaves too few on either side.
    """
    if not method.needs_dominant:
        return 0
    n = train.offline.dominant_rollouts or train.group_size // 2
    least = 2 if method.objective == "mpo" else 1
    most = train.group_size - (1 if method.objective == "lidr" else 2)
    if not least <= n <= most:
        raise ConfigError(
            f"train.offline.dominant_rollouts must be in {least}..{most} for method {method.name!r} with "
            f"train.group_size {train.group_size}, got {n}"
        )
    return n
