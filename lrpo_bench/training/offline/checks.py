"""What can be refused of an offline method before any model is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from lrpo_bench.config import TrainConfig
from lrpo_bench.errors import ConfigError
from lrpo_bench.training.methods import Method
from lrpo_bench.training.steps import dominant_rollouts


def check_offline(train: TrainConfig, method: Method, tasks: Sequence[str], arms: Sequence[str]) -> None:
    """Checks group shares, translator and languages; raises `ConfigError`, or a translator's error."""
    dominant_rollouts(train, method)
    if method.objective in ("mapo", "lidr") and train.offline.translator.kind == "world":
        from lrpo_bench.training.offline.world_translation import WorldTranslator

        WorldTranslator().check(tasks, arms)
    if method.objective == "sft" or train.warm_start.enabled:
        check_answer_languages(train, arms)


def check_answer_languages(train: TrainConfig, arms: Sequence[str]) -> None:
    """Raises `ConfigError` where a question has fewer other languages than answers."""
    if len(arms) <= train.warm_start.answers:
        raise ConfigError(
            f"train.warm_start.answers {train.warm_start.answers} needs more languages than {', '.join(arms)}: every "
            "answer is in another one than the question; give train.arms more, or lower it"
        )
