"""EXP3: exponential weights over importance-weighted rewards, for rewards that may change in any way.

Auer, Cesa-Bianchi, Freund and Schapire, "The Nonstochastic Multiarmed Bandit Problem" (SIAM J. Comput. 2002), Fig. 1:
`p = (1 - gamma) w / sum(w) + gamma / L`, and after a reward r of arm j, `w_j *= exp(gamma * (r / p_j) / L)`.

Departures:

- losses (1 - r) / p_j instead of gains, `w_j *= exp(-rate * (1 - r) / p_j)` (Bubeck and Cesa-Bianchi, "Regret Analysis
  of Stochastic and Nonstochastic Multi-armed Bandit Problems", 2012, Fig. 3.1): gains need gamma > 0 to stay bounded,
  and gamma is annealed here (`explore_start`, `explore_end`, `explore_decay`);
- the rate is apart from gamma, by default sqrt(2 ln L / (L T)) for T rollouts (their Theorem 3.1);
- p_j is the propensity with which the rollout was really drawn; feedback comes after the step (delayed);
- every joint context has weights of its own, and T is the whole run's, so that with many contexts each learns slowly;
- the quota never trains it: those rollouts were not drawn, so there is no p to divide by.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.errors import ConfigError
from lrpo_bench.lrpo.bandits.pulls import joint_cell, usable
from lrpo_bench.lrpo.router import explored_softmax, require_arms, require_state
from lrpo_bench.lrpo.routing import PAPER_FACTORS, Cell, Context, Factor, Observation
from lrpo_bench.lrpo.schedules import ExponentialDecay


class Exp3Router:
    """Exponential weights by joint context."""

    draws_evenly = False

    def __init__(
        self, arms: Sequence[str], rate: float, exploration: ExponentialDecay, factors: Sequence[Factor] = PAPER_FACTORS
    ) -> None:
        """Starts with equal weights; `exploration` is gamma over steps."""
        require_arms(arms)
        if rate <= 0 or exploration.start > 1:
            raise ConfigError(
                f"router exp3 needs a rate above 0 and gamma in [0, 1], got {rate} and {exploration.start}"
            )
        self.arms, self.factors = tuple(arms), tuple(factors)
        self._index = {lang: i for i, lang in enumerate(self.arms)}
        self._rate, self._exploration = rate, exploration
        self.log_weights: dict[Cell, NDArray[np.float64]] = {}

    def probs(self, context: Context, step: int) -> NDArray[np.float64]:
        """The sampling distribution at `step`."""
        weights = self.log_weights.get(joint_cell(context, self.factors), np.zeros(len(self.arms)))
        return explored_softmax(weights, epsilon=self._exploration(step))

    def observe(self, observations: Sequence[Observation], step: int) -> None:
        """Lowers each drawn language's weight by its importance-weighted losses of the step."""
        losses: dict[tuple[Cell, int], list[float]] = defaultdict(list)
        for seen, arm in usable(observations, self._index, learn_from_quota=False):
            losses[joint_cell(seen.context, self.factors), arm].append((1.0 - seen.reward) / seen.propensity)
        for (cell, arm), values in losses.items():
            weights = self.log_weights.setdefault(cell, np.zeros(len(self.arms)))
            weights[arm] -= self._rate * math.fsum(values)  # correctly rounded: their order does not matter

    def state_dict(self) -> dict[str, object]:
        """Weights by context, as JSON values."""
        ordered = sorted(self.log_weights.items(), key=lambda item: tuple(part or "" for part in item[0]))
        rows = [[list(cell), weights.tolist()] for cell, weights in ordered]
        return {"arms": list(self.arms), "factors": list(self.factors), "exp3": rows}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restores a state; refuses one of another kind of router, or over other languages or factors."""
        require_state(state, ["arms", "factors", "exp3"], self.arms, "exp3", self.factors)
        rows = cast("list[tuple[list[str | None], list[float]]]", state["exp3"])
        self.log_weights = {tuple(cell): np.array(weights) for cell, weights in rows}


def default_rate(n_arms: int, n_rollouts: int) -> float:
    """The rate that minimizes the bound on regret for `n_rollouts` (Bubeck and Cesa-Bianchi 2012, Theorem 3.1).

    Example:
        >>> round(default_rate(4, 5760), 4)
        0.011
    """
    return math.sqrt(2.0 * math.log(n_arms) / (n_arms * max(1, n_rollouts)))
