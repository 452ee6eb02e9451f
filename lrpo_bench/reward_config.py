"""The `train.reward` section: what a rollout is worth before its language is gated.

Example::

    train:
      reward:
        kind: mixture
        mixture: {weights: {verifiable: 0.7, similarity: 0.3}}
        similarity: {encoder: "embedded:default", calibration: mean, table: table.json}
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from lrpo_bench.config_base import Section
from lrpo_bench.errors import ConfigError, UnknownNameError

SINGLE_KINDS = ("verifiable", "similarity", "overlap", "judge")
"""Rewards that a mixture can hold."""
REWARD_KINDS = (*SINGLE_KINDS, "mixture")


def _known(value: Any, known: tuple[str, ...]) -> Any:
    if isinstance(value, str) and value not in known:
        raise ValueError(UnknownNameError("reward", value, known))  # pydantic adds the key to a ValueError only
    return value


def _kind(value: Any) -> Any:
    return _known(value, REWARD_KINDS)


def _weights(value: Any) -> Any:
    if isinstance(value, dict):
        for name in value:
            _known(name, SINGLE_KINDS)
    return value


class SimilarityConfig(Section):
    """Cosine to the reference, calibrated by language pair."""

    encoder: str = "embedded:default"
    """`embedded:PROFILE`, a folder, a hub id, or `mock`."""
    revision: str | None = None
    trust_remote_code: bool = False
    calibration: Literal["none", "mean", "quantile"] = "mean"
    table: Path | None = None
    """The calibration table that `lrpo-bench calibrate` wrote for this encoder; needed unless calibration is none."""
    strength: float = Field(default=1.0, ge=0)
    """Share of a pair's offset that mean calibration takes out (the paper's lambda)."""
    missing: Literal["error", "global", "identity"] = "error"
    """A language pair that the table lacks: refuse, use all pairs' values, or leave the cosine as it is."""


class OverlapConfig(Section):
    """Overlap with the reference in the routed language."""

    metric: Literal["chrf", "bleu"] = "chrf"


class JudgeConfig(Section):
    """An LLM judge behind an OpenAI-compatible endpoint."""

    url: str | None = None
    """Base address, such as `http://127.0.0.1:8000/v1`."""
    model: str | None = None
    api_key_env: str | None = None
    """Environment variable that holds the key; the key itself belongs in no file."""
    timeout_s: float = Field(default=60.0, gt=0)
    retries: int = Field(default=4, ge=0)
    backoff_s: float = Field(default=1.0, ge=0)
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Of each process; unlimited when absent."""
    concurrency: int = Field(default=8, ge=1)
    max_completion_tokens: int = Field(default=512, ge=1)
    usd_per_million_prompt_tokens: float = Field(default=0.0, ge=0)
    usd_per_million_completion_tokens: float = Field(default=0.0, ge=0)
    max_cost_usd: float | None = Field(default=None, gt=0)
    """The command stops, and can be continued, once calls have cost more."""


class EvalJudgeConfig(JudgeConfig):
    """The judge of tasks that an LLM grades, such as CARE."""

    max_completion_tokens: int = Field(default=2048, ge=1)
    """Judges are asked to comment before they grade."""


class MixtureConfig(Section):
    """A weighted mean of several rewards."""

    weights: Annotated[dict[str, Annotated[float, Field(gt=0)]], BeforeValidator(_weights)] = Field(
        default_factory=dict
    )
    """Weight by reward; they need not sum to 1."""
    unknown: Literal["renormalize", "unscored"] = "renormalize"
    """A part that can not judge a rollout: the others share its weight, or the rollout is unscored."""


class RewardConfig(Section):
    """Which reward, and the settings of each."""

    kind: Annotated[Literal["verifiable", "similarity", "overlap", "judge", "mixture"], BeforeValidator(_kind)] = (
        "verifiable"
    )
    """`verifiable`: the task's own scorer; the others compare with a reference, ask a judge, or mix."""
    similarity: SimilarityConfig = SimilarityConfig()
    overlap: OverlapConfig = OverlapConfig()
    judge: JudgeConfig = JudgeConfig()
    mixture: MixtureConfig = MixtureConfig()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The rewards that are computed: one, or those of the mixture."""
        return tuple(self.mixture.weights) if self.kind == "mixture" else (self.kind,)

    @model_validator(mode="after")
    def _complete(self) -> RewardConfig:
        if self.kind == "mixture" and not self.mixture.weights:
            raise ConfigError("train.reward.mixture.weights is missing, such as {verifiable: 0.7, similarity: 0.3}")
        similarity, judge = self.similarity, self.judge
        if "similarity" in self.kinds and similarity.calibration != "none" and similarity.table is None:
            raise ConfigError(
                f"train.reward.similarity.table is missing: calibration {similarity.calibration!r} needs the table "
                "that `lrpo-bench calibrate` writes, or set calibration to none"
            )
        if "judge" in self.kinds and (judge.url is None or judge.model is None):
            key = "url" if judge.url is None else "model"
            raise ConfigError(f"train.reward.judge.{key} is missing: a judge needs url and model")
        return self
