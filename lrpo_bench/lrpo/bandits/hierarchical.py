"""Hierarchical back-off: the mean reward of a narrow context, shrunk towards that of the next wider one by its count.

Levels follow the factors of the context in their order: all questions, then the topic, then topic and region, and so
on. With n rewards of sum s for a language in a cell, and the estimate e of the cell one level up,

    estimate = (s + strength * e) / (n + strength)

which is the posterior mean of a Gaussian hierarchy with known variances, `strength` being noise variance over the
variance between cells (Efron and Morris, "Data Analysis Using Stein's Estimator and its Generalizations", JASA 1975;
Gelman and Hill 2007, Eq. 12.1). At the top a language is shrunk towards the mean of all languages. A new region thus
starts from what its topic has taught, and departs from it as its own rollouts come in.

- Several regions: the mean of their estimates. A factor that a question does not have is skipped.
- Languages are drawn by the softmax of `estimate / scale` over the temperature, mixed with uniform exploration; both
  anneal as the paper's. `scale` turns rewards into logits: no z-score, which would blow up differences of chance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.errors import ConfigError
from lrpo_bench.lrpo.bandits.pulls import Pulls, usable
from lrpo_bench.lrpo.router import explored_softmax, require_arms, require_state
from lrpo_bench.lrpo.routing import PAPER_FACTORS, Cell, Context, Factor, Observation
from lrpo_bench.lrpo.schedules import ExponentialDecay


class HierarchicalRouter:
    """Shrunk means, softmax and exploration."""

    draws_evenly = False

    def __init__(
        self,
        arms: Sequence[str],
        schedules: tuple[ExponentialDecay, ExponentialDecay],
        factors: Sequence[Factor] = PAPER_FACTORS,
        *,
        strength_and_scale: tuple[float, float] = (8.0, 0.1),
        discount: float = 1.0,
        learn_from_quota: bool = False,
    ) -> None:
        """Takes temperature and exploration over steps."""
        require_arms(arms)
        self._strength, self._scale = strength_and_scale
        if self._strength <= 0 or self._scale <= 0 or schedules[0].end <= 0:
            raise ConfigError(
                f"router hierarchical needs strength, scale and temperature above 0, got {self._strength}, "
                f"{self._scale} and {schedules[0].end}"
            )
        self.arms, self.factors = tuple(arms), tuple(factors)
        self._index = {lang: i for i, lang in enumerate(self.arms)}
        self._temperature, self._exploration = schedules
        self._learn_from_quota = learn_from_quota
        self.pulls = Pulls(len(self.arms), discount)

    def estimates(self, context: Context) -> NDArray[np.float64]:
        """Expected reward of each language, (arms,); all equal where nothing was seen."""
        return np.asarray(np.mean([self._estimate(cell) for cell in context.cells_by(self.factors)], axis=0))

    def _estimate(self, cell: Cell) -> NDArray[np.float64]:
        counts, sums = self.pulls.of(())
        start = sums.sum() / counts.sum() if counts.sum() else 0.0
        estimate: NDArray[np.float64] = self._shrunk((), np.full(len(self.arms), start))
        for level in range(1, len(cell) + 1):
            if cell[level - 1] is not None:
                estimate = self._shrunk(cell[:level], estimate)
        return estimate

    def _shrunk(self, cell: Cell, wider: NDArray[np.float64]) -> NDArray[np.float64]:
        counts, sums = self.pulls.of(cell)
        return (sums + self._strength * wider) / (counts + self._strength)

    def probs(self, context: Context, step: int) -> NDArray[np.float64]:
        """The sampling distribution at `step`."""
        z = self.estimates(context) / (self._scale * self._temperature(step))
        return explored_softmax(z, epsilon=self._exploration(step))

    def observe(self, observations: Sequence[Observation], step: int) -> None:
        """Counts each rollout of a step once in every cell it belongs to, at every level."""
        rewards: dict[tuple[Cell, int], list[float]] = defaultdict(list)
        for seen, arm in usable(observations, self._index, self._learn_from_quota):
            for cell in self._cells(seen.context):
                rewards[cell, arm].append(seen.reward)
        self.pulls.add_step(rewards)

    def _cells(self, context: Context) -> set[Cell]:
        cells = context.cells_by(self.factors)
        levels = range(1, len(self.factors) + 1)
        return {()} | {cell[:level] for cell in cells for level in levels if cell[level - 1] is not None}

    def state_dict(self) -> dict[str, object]:
        """Counts and sums by cell, as JSON values."""
        return {"arms": list(self.arms), "factors": list(self.factors), "hierarchical": self.pulls.state()}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restores a state; refuses one of another kind of router, or over other languages or factors."""
        require_state(state, ["arms", "factors", "hierarchical"], self.arms, "hierarchical", self.factors)
        self.pulls.load(state["hierarchical"])
