"""UCB1 (Auer, Cesa-Bianchi and Fischer, "Finite-time Analysis of the Multiarmed Bandit Problem", 2002).

Fig. 1: play each arm once, then the arm that maximizes `mean_j + sqrt(2 ln n / n_j)`, rewards in [0, 1].

How a group of rollouts is spread, since UCB1 is deterministic and learns only after the step: as UCB1 would play them
one after another if each reward equalled its arm's mean so far (the hallucinated update of Desautels, Krause and
Burdick, JMLR 2014). Each play raises n_j and lowers the bound, so a group spreads over the arms that are still in
doubt. `probs` are the shares of that plan; the rollouts of a group are drawn evenly (`routing.route_group`), so the
plan is met exactly, and only which rollout gets which language is drawn. The propensity of a rollout is therefore its
language's share of the plan; languages outside the plan have propensity 0, which off-policy estimates must respect.

Departures:

- all questions of a step with the same context get the same plan (delayed feedback);
- `width` scales the bound, `discount` forgets (Garivier and Moulines 2011); at 1, both are the paper's;
- nothing anneals: the bound shrinks by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.errors import ConfigError
from lrpo_bench.lrpo.bandits.counting import CountingRouter
from lrpo_bench.lrpo.routing import PAPER_FACTORS, Factor


class Ucb1Router(CountingRouter):
    """Optimism in the face of uncertainty."""

    kind = "ucb1"
    draws_evenly = True

    def __init__(
        self,
        arms: Sequence[str],
        n_routed: int,
        factors: Sequence[Factor] = PAPER_FACTORS,
        *,
        width: float = 1.0,
        discount: float = 1.0,
        learn_from_quota: bool = False,
    ) -> None:
        """Plans `n_routed` rollouts a group: the group's size less its quota."""
        super().__init__(arms, factors, discount=discount, learn_from_quota=learn_from_quota)
        if n_routed < 1:
            raise ConfigError(f"router ucb1 needs at least one routed rollout a group, got {n_routed}; lower the quota")
        self._n_routed, self._width = n_routed, width

    def distribution(self, counts: NDArray[np.float64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """The share of each language in the plan of one group."""
        played = counts.copy()
        average = sums.sum() / counts.sum() if counts.sum() else 0.0
        # A language that only the plan has played has no mean yet: it counts as the average of the others.
        means = np.divide(sums, counts, out=np.full(len(counts), average), where=counts > 0)
        plan = np.zeros(len(counts))
        for _ in range(self._n_routed):
            arm = int(np.argmax(self._bounds(means, played)))  # of equal bounds, the first language's
            played[arm] += 1
            plan[arm] += 1
        return plan / self._n_routed

    def _bounds(self, means: NDArray[np.float64], played: NDArray[np.float64]) -> NDArray[np.float64]:
        if not played.all():
            return np.where(played == 0, np.inf, -np.inf)
        log_n = np.log(max(1.0, played.sum()))  # discounted counts may sum to less than 1
        bounds: NDArray[np.float64] = means + self._width * np.sqrt(2.0 * log_n / played)
        return bounds
