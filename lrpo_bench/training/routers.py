"""The router that a method and a configuration stand for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lrpo_bench.config import TrainConfig
from lrpo_bench.errors import ConfigError
from lrpo_bench.lrpo.bandits.exp3 import Exp3Router, default_rate
from lrpo_bench.lrpo.bandits.hierarchical import HierarchicalRouter
from lrpo_bench.lrpo.bandits.thompson import ThompsonRouter
from lrpo_bench.lrpo.bandits.ucb1 import Ucb1Router
from lrpo_bench.lrpo.mixes import FixedMix
from lrpo_bench.lrpo.router import LearnedRouter, LearnedRouterConfig
from lrpo_bench.lrpo.routing import Router
from lrpo_bench.lrpo.schedules import ExponentialDecay
from lrpo_bench.router_config import RouterConfig
from lrpo_bench.training.ablations import router_settings
from lrpo_bench.training.methods import Method

ROUTER_STATE = "router_state.json"
"""Beside a trained policy: the router as training left it."""


def quota_of(method: Method, train: TrainConfig) -> int:
    """Rollouts of a group that stay in the source language.

    A fixed mix already contains its source share, so its quota is 0 (paper, LRPO-Fixed).
    """
    if method.routing == "source":
        return train.group_size
    return 0 if method.routing == "fixed" else train.quota


def build_router(
    method: Method,
    arms: tuple[str, ...],
    train: TrainConfig,
    prior: Mapping[str, Mapping[str, float]] | None = None,
) -> Router:
    """The router of a method over `arms`, which starts from `prior` (topic -> language -> value) if it learns.

    Raises:
        ConfigError: when there is nothing to choose.
    """
    if method.routing in ("source", "fixed"):
        return FixedMix(arms, method.mix or "monolingual")
    if len(arms) < 2:
        raise ConfigError(f"method {method.name!r} needs at least two languages to choose from, got {list(arms)}")
    settings = router_settings(method, train)
    if prior is not None and settings.kind != "paper":
        raise ConfigError(f"method {method.name!r} sets the paper's router's values: it needs train.router.kind paper")
    return _learned(arms, settings, train, prior)


def _learned(
    arms: tuple[str, ...],
    settings: RouterConfig,
    train: TrainConfig,
    prior: Mapping[str, Mapping[str, float]] | None,
) -> Router:
    temperature = ExponentialDecay(settings.temperature_start, settings.temperature_end, settings.temperature_decay)
    exploration = ExponentialDecay(settings.explore_start, settings.explore_end, settings.explore_decay)
    factors, n_routed = settings.context, train.group_size - train.quota
    if settings.kind == "ucb1":
        return Ucb1Router(
            arms, n_routed, factors, **settings.ucb1.model_dump(), learn_from_quota=settings.learn_from_quota
        )
    if settings.kind == "thompson":
        own = settings.thompson
        return ThompsonRouter(
            arms,
            factors,
            prior=(own.prior_mean, own.prior_std),
            noise_std=own.noise_std,
            discount=own.discount,
            learn_from_quota=settings.learn_from_quota,
        )
    if settings.kind == "exp3":
        n_rollouts = train.steps * train.questions_per_step * n_routed
        return Exp3Router(arms, settings.exp3.rate or default_rate(len(arms), n_rollouts), exploration, factors)
    if settings.kind == "hierarchical":
        return HierarchicalRouter(
            arms,
            (temperature, exploration),
            factors,
            strength_and_scale=(settings.hierarchical.strength, settings.hierarchical.scale),
            discount=settings.hierarchical.discount,
            learn_from_quota=settings.learn_from_quota,
        )
    config = LearnedRouterConfig(
        alpha=settings.alpha,
        update_every=settings.update_every,
        temperature=temperature,
        exploration=exploration,
        normalization=settings.normalization,
        min_spread=settings.min_spread,
        learn_from_quota=settings.learn_from_quota,
    )
    return LearnedRouter(arms, config, prior, factors)


def save_router(folder: Path, router: Router) -> None:
    """Writes the router's last state into the folder of the trained policy."""
    (folder / ROUTER_STATE).write_text(json.dumps(router.state_dict()), encoding="utf-8")


def load_learned_router(
    folder: Path, method: Method | None, arms: tuple[str, ...], train: TrainConfig
) -> Router | None:
    """The learned router beside a trained policy, at its last state; None where none was learned or kept."""
    file = folder / ROUTER_STATE
    if method is None or method.routing != "learned" or not file.exists():
        return None
    router = build_router(method, arms, train)
    router.load_state_dict(json.loads(file.read_text(encoding="utf-8")))
    return router
