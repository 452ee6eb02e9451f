"""The `train.router` and `train.labels` sections: which bandit routes, and what it knows of a question.

Example::

    train:
      router:
        kind: thompson
        context: [topic, region, source_lang]
        thompson: {noise_std: 0.5}
      labels: metadata
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from lrpo_bench.config_base import Section
from lrpo_bench.errors import ConfigError, UnknownNameError
from lrpo_bench.reward_config import JudgeConfig

ROUTER_KINDS = ("paper", "ucb1", "thompson", "exp3", "hierarchical")
"""The routers that learn; see `lrpo_bench.lrpo.router` and `lrpo_bench.lrpo.bandits`."""


def _kind(value: Any) -> Any:
    if isinstance(value, str) and value not in ROUTER_KINDS:
        raise ValueError(UnknownNameError("router", value, ROUTER_KINDS))  # pydantic adds the key to a ValueError only
    return value


class Ucb1Config(Section):
    """UCB1 (Auer, Cesa-Bianchi, Fischer 2002)."""

    width: float = Field(default=1.0, ge=0)
    """Factor of the confidence bound sqrt(2 ln n / n_j): 1 is the paper's, 0 is greedy."""
    discount: float = Field(default=1.0, gt=0, le=1)
    """What a rollout counts for one step later; below 1 the router follows a policy that changes."""


class ThompsonConfig(Section):
    """Gaussian Thompson sampling (Agrawal and Goyal 2013; Russo et al. 2018)."""

    prior_mean: float = 0.5
    prior_std: float = Field(default=0.5, gt=0)
    noise_std: float = Field(default=0.5, gt=0)
    """Spread of one reward around its language's mean; 0.5 is the most that rewards in [0, 1] can have."""
    discount: float = Field(default=1.0, gt=0, le=1)
    """As for UCB1."""


class Exp3Config(Section):
    """EXP3 (Auer, Cesa-Bianchi, Freund, Schapire 2002); its exploration gamma is explore_start, _end and _decay."""

    rate: float | None = Field(default=None, gt=0)
    """Learning rate of the weights; sqrt(2 ln L / (L T)) for T routed rollouts of L languages when absent."""


class HierarchicalConfig(Section):
    """Means of a context shrunk towards those of the next wider one, by their counts."""

    strength: float = Field(default=8.0, gt=0)
    """Rollouts that the wider context's mean counts for."""
    scale: float = Field(default=0.1, gt=0)
    """Difference in mean reward that is worth one unit of logit at temperature 1."""
    discount: float = Field(default=1.0, gt=0, le=1)
    """As for UCB1."""


class RouterConfig(Section):
    """The learned router; the paper's values are the defaults."""

    kind: Annotated[Literal["paper", "ucb1", "thompson", "exp3", "hierarchical"], BeforeValidator(_kind)] = "paper"
    """The bandit: the paper's moving averages, or an alternative with a section of its own below."""
    context: tuple[Literal["topic", "region", "source_lang", "task"], ...] = Field(
        default=("topic", "region"), min_length=1
    )
    """What the router knows of a question; each adds a table of values to the paper's A[topic] + B[region]."""
    init: Literal["uniform", "prior"] = "uniform"
    """First values of the paper's router: all languages alike, or the mix named by `prior` (the ablation)."""
    prior: Literal["monolingual", "input-dominant", "en-dominant", "uniform"] = "en-dominant"
    """The hand-made mix of init prior, averaged over the training languages."""
    anneal: bool = True
    """Let temperature and exploration fall; without it both stay at their start (the ablation)."""
    alpha: float = Field(default=0.1, gt=0, le=1)
    """Rate of the paper's moving averages."""
    update_every: int = Field(default=5, ge=1)
    """Steps between two updates of the paper's router; the others learn at every step."""
    temperature_start: float = Field(default=1.0, gt=0)
    """Softmax temperature (paper, hierarchical) at step 0; times the decay each step, down to the end."""
    temperature_end: float = Field(default=0.3, gt=0)
    temperature_decay: float = Field(default=0.999, gt=0, le=1)
    explore_start: float = Field(default=0.2, ge=0, le=1)
    """Share of uniform exploration (paper, exp3, hierarchical) at step 0; anneals on its own."""
    explore_end: float = Field(default=0.0, ge=0, le=1)
    explore_decay: float = Field(default=0.995, gt=0, le=1)
    normalization: Literal["none", "center", "zscore"] = "zscore"
    """How the paper's router compares the mean rewards of a cell's languages."""
    min_spread: float = Field(default=0.01, ge=0)
    """Standard deviation of those means below which zscore only centers."""
    learn_from_quota: bool = False
    """Let rollouts that the router did not choose train it too; never for exp3."""
    ucb1: Ucb1Config = Ucb1Config()
    thompson: ThompsonConfig = ThompsonConfig()
    exp3: Exp3Config = Exp3Config()
    hierarchical: HierarchicalConfig = HierarchicalConfig()

    @model_validator(mode="after")
    def _annealing(self) -> RouterConfig:
        for name in ("temperature", "explore"):
            start, end = getattr(self, f"{name}_start"), getattr(self, f"{name}_end")
            if end > start:
                raise ConfigError(f"train.router.{name}_end must be at most {name}_start ({start}), got {end}")
        return self

    @model_validator(mode="after")
    def _fits_kind(self) -> RouterConfig:
        if len(set(self.context)) != len(self.context):
            raise ConfigError(f"train.router.context names one thing twice: {', '.join(self.context)}")
        if self.init == "prior" and (self.kind != "paper" or "topic" not in self.context):
            raise ConfigError(
                "train.router.init prior sets the paper's topic values: it needs kind paper and topic in context, "
                f"got kind {self.kind} and context {', '.join(self.context)}"
            )
        if self.kind == "exp3" and self.learn_from_quota:
            raise ConfigError(
                "train.router.learn_from_quota can not be used with kind exp3: it weighs each reward by the chance "
                "that the router drew it, and the quota was not drawn"
            )
        return self


class LabelsConfig(Section):
    """Where topic and regions of a training question come from."""

    kind: Literal["metadata", "endpoint"] = "metadata"
    """What the task declares, or an LLM's answer, kept in the run folder as `labels.jsonl`."""
    regions: tuple[str, ...] | None = None
    """Regions that the LLM may name; those that the tasks declare when absent."""
    unparsed: Literal["unlabelled", "metadata", "error"] = "unlabelled"
    """A reply without a known topic, or none: a context without topic and regions, the task's own, or stop."""
    endpoint: JudgeConfig = JudgeConfig()
    """The OpenAI-compatible endpoint, with the keys of `train.reward.judge`."""

    @model_validator(mode="after")
    def _complete(self) -> LabelsConfig:
        if self.kind == "endpoint" and (self.endpoint.url is None or self.endpoint.model is None):
            key = "url" if self.endpoint.url is None else "model"
            raise ConfigError(f"train.labels.endpoint.{key} is missing: labels endpoint needs url and model")
        return self


def labels_section(value: Any) -> Any:
    """A bare `metadata` or `endpoint` as a section.

    Example:
        >>> labels_section("metadata")
        {'kind': 'metadata'}
    """
    return {"kind": value} if isinstance(value, str) else value


Labels = Annotated[LabelsConfig, BeforeValidator(labels_section)]
