"""What another routing policy would have earned, estimated from the propensities of logged rollouts.

With w = target probability / logged propensity of the language that was drawn, over n rollouts that the router chose,

    IPS   = sum(w r) / n          unbiased where the logged policy could draw whatever the target draws
    SNIPS = sum(w r) / sum(w)     self-normalised: slightly biased, far less noisy, always within the rewards' range

(Horvitz and Thompson 1952; Swaminathan and Joachims, "The Self-Normalized Estimator for Counterfactual Learning",
NeurIPS 2015.) Standard errors come from the linearised estimators, clustered by group: the rollouts of one question
share its difficulty. The mean weight is 1 in expectation; one far below says that the target draws what the logged
policy never did, and then neither estimate means anything.

The rewards are those of a policy that was trained while the log was written. Another routing would have trained another
policy: this values choices, not trainings.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from lrpo_bench.errors import ConfigError

LEAST_SUPPORT = 0.8
"""Mean weight below which a target counts as not supported by the log."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One rollout that a router chose."""

    group: str
    """What shares a question and a step."""
    lang: str
    propensity: float
    reward: float


@dataclass(frozen=True, slots=True)
class OffPolicyValue:
    """Estimated mean reward of a target policy; NaN where it can not be told."""

    ips: float
    ips_stderr: float
    snips: float
    snips_stderr: float
    regret: float
    """SNIPS less the mean reward of the rollouts as they were routed."""
    regret_stderr: float
    mean_weight: float
    effective: float
    """Kish's effective number of rollouts, sum(w)^2 / sum(w^2)."""

    @property
    def is_supported(self) -> bool:
        """Whether the log could have drawn nearly all that the target draws."""
        return self.mean_weight >= LEAST_SUPPORT


def off_policy_value(logged: Sequence[Logged], target: Sequence[float]) -> OffPolicyValue:
    """The value of a target policy.

    Args:
        logged: rollouts with known rewards; propensities above 0.
        target: the target's probability of each rollout's language, for that rollout's question.

    Example:
        >>> log = [Logged("a", "de", 0.5, 1.0), Logged("b", "en", 0.5, 0.0), Logged("c", "de", 0.5, 0.5)]
        >>> value = off_policy_value(log, [1.0, 0.0, 1.0])  # always German: weights 2, 0, 2
        >>> value.ips, value.snips, value.effective
        (1.0, 0.75, 2.0)
    """
    if not logged:
        raise ConfigError("an off-policy value needs at least one routed rollout with a known reward, got none")
    for item in logged:
        if not 0.0 < item.propensity <= 1.0:
            raise ConfigError(f"propensities of drawn rollouts are in (0, 1], got {item.propensity}")
    n = len(logged)
    weights = [p / item.propensity for p, item in zip(target, logged, strict=True)]
    total = math.fsum(weights)
    ips = math.fsum(w * item.reward for w, item in zip(weights, logged, strict=True)) / n
    routed = math.fsum(item.reward for item in logged) / n
    groups = [item.group for item in logged]
    ips_stderr = _clustered(groups, [w * item.reward - ips for w, item in zip(weights, logged, strict=True)])
    if total == 0.0:
        return OffPolicyValue(ips, ips_stderr, math.nan, math.nan, math.nan, math.nan, 0.0, 0.0)
    snips = ips * n / total
    pulls = [w * (item.reward - snips) * n / total for w, item in zip(weights, logged, strict=True)]
    return OffPolicyValue(
        ips=ips,
        ips_stderr=ips_stderr,
        snips=snips,
        snips_stderr=_clustered(groups, pulls),
        regret=snips - routed,
        regret_stderr=_clustered(groups, [p - (item.reward - routed) for p, item in zip(pulls, logged, strict=True)]),
        mean_weight=total / n,
        effective=total**2 / math.fsum(w * w for w in weights),
    )


def _clustered(groups: Sequence[str], influence: Sequence[float]) -> float:
    """Standard error of a mean from each rollout's influence on it; NaN with a single group."""
    sums: dict[str, float] = defaultdict(float)
    for group, value in zip(groups, influence, strict=True):
        sums[group] += value
    g = len(sums)
    if g < 2:
        return math.nan
    return math.sqrt(g / (g - 1) * math.fsum(value * value for value in sums.values())) / len(influence)
