"""The paper's ablations of the router, as changes of what the router starts with (METHOD.md, Sec. 5).

`lrpo-prior`: without the uniform start. The paper takes its prior from hand-made mixes and does not print it; here a
topic's row begins at `temperature * log p`, with `p` the mean of the mix over the training questions of the topic, so
that the first distribution is that mix. Shares below `LEAST_SHARE` count as that: a logarithm needs them positive.

`lrpo-no-annealing`: temperature and exploration stay at their start values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from lrpo_bench.config import TrainConfig
from lrpo_bench.lrpo.mixes import FixedMix
from lrpo_bench.lrpo.routing import Context
from lrpo_bench.router_config import RouterConfig
from lrpo_bench.training.methods import Method

LEAST_SHARE = 0.01


def router_settings(method: Method, train: TrainConfig) -> RouterConfig:
    """The router's settings, without annealing where method or settings want none."""
    settings = train.router
    if method.anneals and settings.anneal:
        return settings
    return settings.model_copy(
        update={"temperature_end": settings.temperature_start, "explore_end": settings.explore_start}
    )


def mix_prior(
    mix: str, arms: tuple[str, ...], contexts: Iterable[Context], temperature: float
) -> Mapping[str, Mapping[str, float]]:
    """Topic -> language -> the value with which a learned router first samples from a mix.

    Example:
        >>> prior = mix_prior("en-dominant", ("en", "sw"), [Context("chat", "sw")], temperature=1.0)
        >>> {lang: round(float(np.exp(value)), 2) for lang, value in prior["chat"].items()}
        {'en': 0.75, 'sw': 0.25}
    """
    router = FixedMix(arms, mix)
    by_topic = defaultdict(list)
    for context in contexts:
        by_topic[context.topic].append(router.probs(context, 0))
    return {
        topic: dict(
            zip(arms, (temperature * np.log(np.maximum(np.mean(probs, axis=0), LEAST_SHARE))).tolist(), strict=True)
        )
        for topic, probs in sorted(by_topic.items())
    }
