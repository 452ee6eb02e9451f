"""The part that UCB1 and Thompson sampling share: counts by joint context, and distributions that follow from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.lrpo.bandits.pulls import Pulls, by_joint_cell, joint_cell, usable
from lrpo_bench.lrpo.router import require_arms, require_state
from lrpo_bench.lrpo.routing import PAPER_FACTORS, Cell, Context, Factor, Observation


class CountingRouter(ABC):
    """A router whose distribution in a context follows from the counts and sums of its languages there."""

    kind = ""
    draws_evenly = False

    def __init__(
        self,
        arms: Sequence[str],
        factors: Sequence[Factor] = PAPER_FACTORS,
        *,
        discount: float = 1.0,
        learn_from_quota: bool = False,
    ) -> None:
        """Starts without counts."""
        require_arms(arms)
        self.arms, self.factors = tuple(arms), tuple(factors)
        self._index = {lang: i for i, lang in enumerate(self.arms)}
        self._learn_from_quota = learn_from_quota
        self.pulls = Pulls(len(self.arms), discount)
        self._known: dict[Cell, NDArray[np.float64]] = {}  # every rollout of a step asks again

    @abstractmethod
    def distribution(self, counts: NDArray[np.float64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of the languages, (arms,), from their counts and sums."""

    def probs(self, context: Context, step: int) -> NDArray[np.float64]:
        """The sampling distribution; it changes with what was seen, not with the step."""
        cell = joint_cell(context, self.factors)
        if cell not in self._known:
            self._known[cell] = self.distribution(*self.pulls.of(cell))
        return self._known[cell].copy()

    def observe(self, observations: Sequence[Observation], step: int) -> None:
        """Counts the rollouts of a step."""
        self.pulls.add_step(by_joint_cell(usable(observations, self._index, self._learn_from_quota), self.factors))
        self._known.clear()

    def state_dict(self) -> dict[str, object]:
        """Counts and sums by context, as JSON values."""
        return {"arms": list(self.arms), "factors": list(self.factors), self.kind: self.pulls.state()}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restores a state; refuses one of another kind of router, or over other languages or factors."""
        require_state(state, ["arms", "factors", self.kind], self.arms, self.kind, self.factors)
        self.pulls.load(state[self.kind])
        self._known.clear()
