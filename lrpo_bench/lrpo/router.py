"""The learned router: a contextual bandit over response languages (paper, Sec. 3.1, Alg. 1, Eq. 6 and 7).

`z = A[topic] + mean over regions B[region]`, `p = softmax(z / temperature)`, mixed with a uniform distribution by the
exploration rate. Every `update_every` steps the buffered rewards move A and B towards the mean reward of each language
by an exponential moving average of rate `alpha`.

Departures from the paper and its public implementation:

- A sample with several regions uses the mean of their rows (the paper's `g` is a set; a sum would grow with its size).
- A topic's row is updated once per update from all its rewards, not once per region cell (24 cells moved a logit by .92
  instead of alpha = .1).
- A sample without region never touches B; there is no row "None".
- Rewards are normalised over the languages of a cell only where their spread is at least `min_spread`: two means of
  .9701 and .9702 would otherwise become -1 and +1.
- With a normalisation, a cell in which only one language was seen teaches nothing: compared with itself alone it would
  always be worth 0, and pull down the very language that the router has come to prefer (in a simulation of 1,500 steps
  the best language's logit fell from 1.52 to 0.18).
- A NaN reward is ignored, so it never spreads.
- The context may have other factors than topic and region (`factors`): each adds a table of its own, updated alike.
- Quota rollouts were not chosen by the router; they train it only with `learn_from_quota`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.errors import ConfigError, StorageError
from lrpo_bench.lrpo.routing import PAPER_FACTORS, Cell, Context, Factor, Observation
from lrpo_bench.lrpo.schedules import ExponentialDecay

Normalization = Literal["none", "center", "zscore"]
Table = dict[str, NDArray[np.float64]]
"""Row of a factor -> value of each language."""


@dataclass(frozen=True, slots=True)
class LearnedRouterConfig:
    """The paper's values are the defaults."""

    alpha: float = 0.1
    """Rate of the moving average, in (0, 1]."""
    update_every: int = 5
    """Steps between two updates (U)."""
    temperature: ExponentialDecay = field(default=ExponentialDecay(1.0, 0.3, 0.999))
    """`router_temperature` over steps."""
    exploration: ExponentialDecay = field(default=ExponentialDecay(0.2, 0.0, 0.995))
    """`explore_epsilon` over steps."""
    normalization: Normalization = "zscore"
    """How mean rewards are made comparable over the languages of a (topic, region) cell."""
    min_spread: float = 0.01
    """Standard deviation of a cell's mean rewards below which they count as equal."""
    learn_from_quota: bool = False
    """Let rollouts that the router did not choose train it too."""

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha <= 1.0:
            raise ConfigError(f"router.alpha must be in (0, 1], got {self.alpha}")
        if self.update_every < 1:
            raise ConfigError(f"router.update_every must be >= 1, got {self.update_every}")
        if self.temperature.end <= 0.0:
            raise ConfigError(f"router temperature must stay above 0, got end {self.temperature.end}")
        if self.exploration.start > 1.0:
            raise ConfigError(f"explore_epsilon must be in [0, 1], got {self.exploration.start}")


class LearnedRouter:
    """Value tables over languages, one a factor of the context, with epsilon-greedy softmax sampling."""

    draws_evenly = False

    def __init__(
        self,
        arms: Sequence[str],
        config: LearnedRouterConfig | None = None,
        prior: Mapping[str, Mapping[str, float]] | None = None,
        factors: Sequence[Factor] = PAPER_FACTORS,
    ) -> None:
        """Starts from empty tables (a uniform distribution), or from `prior`: topic -> language -> initial value."""
        require_arms(arms)
        self.arms = tuple(arms)
        self.config = config or LearnedRouterConfig()
        self.factors = tuple(factors)
        self._index = {lang: i for i, lang in enumerate(self.arms)}
        self.values: dict[Factor, Table] = {factor: {} for factor in self.factors}
        for topic, values in (prior or {}).items():
            self.values["topic"][topic] = np.array([values.get(lang, 0.0) for lang in self.arms])
        self._buffer: list[tuple[Cell, str, float]] = []

    def logits(self, context: Context) -> NDArray[np.float64]:
        """`A[t] + mean of B[g]`, and so on for further factors, before temperature; zeros for what was never seen."""
        zeros = np.zeros(len(self.arms))
        logits = zeros.copy()
        for factor in self.factors:
            rows = context.rows(factor)
            if rows:
                logits += np.mean([self.values[factor].get(row, zeros) for row in rows], axis=0)
        return logits

    def probs(self, context: Context, step: int) -> NDArray[np.float64]:
        """The sampling distribution at `step`: softmax mixed with the uniform exploration."""
        return explored_softmax(
            self.logits(context) / self.config.temperature(step), epsilon=self.config.exploration(step)
        )

    def observe(self, observations: Sequence[Observation], step: int) -> None:
        """Buffers the rewards of a step and updates all tables every `update_every` steps."""
        for seen in observations:
            if np.isnan(seen.reward) or seen.lang not in self._index:
                continue
            if seen.is_quota and not self.config.learn_from_quota:
                continue
            for cell in seen.context.cells_by(self.factors):
                self._buffer.append((cell, seen.lang, float(seen.reward)))
        if (step + 1) % self.config.update_every == 0:
            self._update()

    def _update(self) -> None:
        cells = _cell_means(self._buffer)
        self._buffer = []
        targets: dict[Factor, dict[str, dict[str, list[tuple[float, int]]]]] = {
            factor: defaultdict(lambda: defaultdict(list)) for factor in self.factors
        }
        for cell, means in sorted(cells.items(), key=lambda item: _sortable(item[0])):
            if len(means) < 2 and self.config.normalization != "none":
                continue
            values = normalize({lang: mean for lang, (mean, _) in means.items()}, self.config)
            for lang, value in values.items():
                for factor, row in zip(self.factors, cell, strict=True):
                    if row is not None:
                        targets[factor][row][lang].append((value, means[lang][1]))
        for factor in self.factors:
            self._move(self.values[factor], targets[factor])

    def _move(self, table: Table, targets: Mapping[str, Mapping[str, Sequence[tuple[float, int]]]]) -> None:
        for row, by_lang in targets.items():
            values = table.setdefault(row, np.zeros(len(self.arms)))
            for lang, pairs in by_lang.items():
                target = sum(value * weight for value, weight in pairs) / sum(weight for _, weight in pairs)
                i = self._index[lang]
                values[i] = (1.0 - self.config.alpha) * values[i] + self.config.alpha * target

    def state_dict(self) -> dict[str, object]:
        """All tables and the buffer, as JSON values; floats survive JSON exactly."""
        tables = {
            f"{factor}_values": {row: values.tolist() for row, values in sorted(self.values[factor].items())}
            for factor in self.factors
        }
        return {
            "arms": list(self.arms),
            **tables,
            "buffer": [[*cell, lang, reward] for cell, lang, reward in self._buffer],
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restores a state; refuses one of another kind of router, or of other languages or factors."""
        expected = ["arms", *(f"{factor}_values" for factor in self.factors), "buffer"]
        require_state(state, expected, self.arms, "paper")
        for factor in self.factors:
            table = cast("dict[str, list[float]]", state[f"{factor}_values"])
            self.values[factor] = {row: np.array(values) for row, values in table.items()}
        rows = cast("list[list[object]]", state["buffer"])
        self._buffer = [
            (
                tuple(None if part is None else str(part) for part in cell),
                str(lang),
                float(cast("float", reward)),
            )
            for *cell, lang, reward in rows
        ]


def explored_softmax(z: NDArray[np.float64], *, epsilon: float) -> NDArray[np.float64]:
    """The softmax of `z`, mixed with a share `epsilon` of the uniform distribution.

    Example:
        >>> explored_softmax(np.log(np.array([3.0, 1.0])), epsilon=0.2).round(3).tolist()
        [0.7, 0.3]
    """
    softmax = np.exp(z - z.max())
    softmax /= softmax.sum()
    return (1.0 - epsilon) * softmax + epsilon / len(z)


def require_arms(arms: Sequence[str]) -> None:
    """Refuses (`ConfigError`) fewer than two languages, or one that is named twice."""
    if len(set(arms)) != len(arms) or len(arms) < 2:
        raise ConfigError(f"a router needs at least two different languages, got {list(arms)}")


def require_state(
    state: Mapping[str, object], expected: Sequence[str], arms: Sequence[str], kind: str, factors: Sequence[str] = ()
) -> None:
    """Refuses (`StorageError`) a state that another kind of router wrote, or one over other languages or factors."""
    missing = [key for key in expected if key not in state]
    if missing:
        raise StorageError(f"router state lacks {', '.join(missing)}: it was not written by a router of kind {kind}")
    foreign = sorted(set(state) - set(expected))
    if foreign:
        raise StorageError(f"router state has {', '.join(foreign)}, which this run's router of kind {kind} does not")
    for name, now in (("arms", arms), ("factors", factors)):
        found = cast("list[str]", state.get(name, []))
        if list(found) != list(now):
            what = "languages" if name == "arms" else "context"
            raise StorageError(f"router state has {what} {list(found)}, this run has {list(now)}")


def _sortable(cell: Cell) -> tuple[str, ...]:
    return tuple(row or "" for row in cell)


def _cell_means(buffer: Sequence[tuple[Cell, str, float]]) -> dict[Cell, dict[str, tuple[float, int]]]:
    # Sorted before summing, so that the means do not depend on the order in which ranks hand in their rollouts.
    rewards: dict[Cell, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for cell, lang, reward in sorted(buffer, key=lambda item: (_sortable(item[0]), item[1], item[2])):
        rewards[cell][lang].append(reward)
    return {
        cell: {lang: (float(np.mean(values)), len(values)) for lang, values in by_lang.items()}
        for cell, by_lang in rewards.items()
    }


def normalize(means: Mapping[str, float], config: LearnedRouterConfig) -> dict[str, float]:
    """Mean rewards of one cell made comparable over its languages (paper, Sec. 3.1).

    With a spread below `min_spread`, `zscore` only centers.

    Example:
        >>> normalize({"de": 0.25, "en": 0.75}, LearnedRouterConfig(normalization="center"))
        {'de': -0.25, 'en': 0.25}
        >>> max(abs(v) for v in normalize({"de": 0.9701, "en": 0.9702}, LearnedRouterConfig()).values()) < 0.001
        True
    """
    if config.normalization == "none":
        return dict(means)
    center = float(np.mean(list(means.values())))
    spread = float(np.std(list(means.values())))
    scale = spread if config.normalization == "zscore" and spread >= config.min_spread else 1.0
    return {lang: (mean - center) / scale for lang, mean in means.items()}
