"""Gaussian Thompson sampling with its propensities.

Agrawal and Goyal, "Further Optimal Regret Bounds for Thompson Sampling" (AISTATS 2013), Alg. 2: draw a value for each
arm from its Gaussian posterior, play the largest. They use N(sum / (n + 1), 1 / (n + 1)); the posterior here is the
conjugate one (Russo, Van Roy, Kazerouni, Osband and Wen, "A Tutorial on Thompson Sampling", 2018) for a prior N(m, s^2)
and noise of standard deviation sigma:

    1 / v = 1 / s^2 + n / sigma^2        mean = v * (m / s^2 + sum / sigma^2)

With m = 0 and s = sigma = 1 it is Agrawal and Goyal's.

The chance that an arm's draw is the largest is `integral of phi_a(x) * product over b of Phi_b(x) dx`, computed by the
trapezoid rule on `NODES` points within 8 standard deviations of each arm and normalised to sum to 1. A language is
then drawn from these probabilities, which is the same as drawing the values; so the logged propensity is exactly the
probability that was drawn from, and only its equality with Thompson sampling is subject to the quadrature (its error
is below 1e-6 for posteriors whose spreads differ by a factor of 50, see the tests).

Departures: each rollout of a group is a draw of its own from the same posterior (parallel Thompson sampling: Kandasamy
et al., AISTATS 2018); `discount` forgets. Nothing anneals: the posterior narrows by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.errors import ConfigError
from lrpo_bench.lrpo.bandits.counting import CountingRouter
from lrpo_bench.lrpo.routing import PAPER_FACTORS, Factor

NODES = 1025
_REACH = 8.0  # standard deviations; what lies beyond weighs 1e-15


class ThompsonRouter(CountingRouter):
    """Each language with the probability that it is the best one, given what was seen."""

    kind = "thompson"

    def __init__(
        self,
        arms: Sequence[str],
        factors: Sequence[Factor] = PAPER_FACTORS,
        *,
        prior: tuple[float, float] = (0.5, 0.5),
        noise_std: float = 0.5,
        discount: float = 1.0,
        learn_from_quota: bool = False,
    ) -> None:
        """Takes mean and standard deviation of the prior, and that of one reward."""
        super().__init__(arms, factors, discount=discount, learn_from_quota=learn_from_quota)
        if prior[1] <= 0 or noise_std <= 0:
            raise ConfigError(f"router thompson needs spreads above 0, got prior {prior[1]} and noise {noise_std}")
        self._prior, self._noise_std = prior, noise_std

    def posterior(
        self, counts: NDArray[np.float64], sums: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Means and standard deviations, (arms,) each."""
        mean, std = self._prior
        precision = 1.0 / std**2 + counts / self._noise_std**2
        return (mean / std**2 + sums / self._noise_std**2) / precision, precision**-0.5

    def distribution(self, counts: NDArray[np.float64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """The chance of each language to have the largest value."""
        return chance_of_largest(*self.posterior(counts, sums))


def chance_of_largest(means: NDArray[np.float64], stds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The chance of each of several independent Gaussians to be the largest, (arms,).

    Example:
        >>> chance_of_largest(np.array([0.0, 1.0]), np.array([0.6, 0.8])).round(4).tolist()  # Phi(1) = .8413
        [0.1587, 0.8413]
    """
    from scipy.special import ndtr

    z = np.linspace(-_REACH, _REACH, NODES)
    density = np.exp(-0.5 * z**2)
    chances = np.empty(len(means))
    for arm in range(len(means)):
        x = means[arm] + stds[arm] * z
        others = np.delete(np.arange(len(means)), arm)
        below = ndtr((x[:, None] - means[others]) / stds[others])  # (nodes, arms - 1)
        chances[arm] = density @ below.prod(axis=1)
    result: NDArray[np.float64] = chances / chances.sum()
    return result
