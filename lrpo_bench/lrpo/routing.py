"""Which language each rollout of a group is written in (paper, Alg. 1).

Routing is a pure function of (seed, step, sample id, rollout index, router state): every draw comes from a
counter-based generator keyed by them, so it does not depend on batch order, world size or resume. The first `quota`
rollouts of a group stay in the source language; the others are drawn from the router's distribution, whose
probabilities (exploration included) are logged as the true propensities.

A router that `draws_evenly` gets the same marginal probabilities by systematic sampling: one draw u a group, and its
i-th of n routed rollouts at the point (u + i / n) mod 1. Each rollout alone is distributed as before, so its propensity
is unchanged, but a language of probability p gets floor(n p) or ceil(n p) rollouts of the group.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.errors import ConfigError

Factor = Literal["topic", "region", "source_lang", "task"]
"""One thing that a router may know of a question."""
PAPER_FACTORS: tuple[Factor, ...] = ("topic", "region")
UNLABELLED = ""
"""The topic of a question that could not be labelled; it has no row in any table, so nothing is learned for it."""
Cell = tuple[str | None, ...]
"""One row for each factor; None where a question has none."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a router knows of a sample before it chooses."""

    topic: str
    source_lang: str
    regions: tuple[str, ...] = ()
    task: str = ""

    def rows(self, factor: Factor) -> tuple[str, ...]:
        """What the question is, in one respect; several regions, or none.

        Example:
            >>> Context("chat", "de", ("china", "dach")).rows("region")
            ('china', 'dach')
        """
        if factor == "region":
            return self.regions
        value = {"topic": self.topic, "source_lang": self.source_lang, "task": self.task}[factor]
        return (value,) if value else ()

    @property
    def cells(self) -> tuple[tuple[str, str | None], ...]:
        """The paper's (topic, region) cells it belongs to; region None when the sample names none."""
        return tuple((self.topic, region) for region in self.regions) or ((self.topic, None),)

    def cells_by(self, factors: Sequence[Factor]) -> tuple[Cell, ...]:
        """The cells it belongs to by these factors, one for each combination of its rows.

        Example:
            >>> Context("chat", "de", ("china", "dach")).cells_by(("topic", "region"))
            (('chat', 'china'), ('chat', 'dach'))
            >>> Context("chat", "de").cells_by(("topic", "region", "source_lang"))
            (('chat', None, 'de'),)
        """
        return tuple(itertools.product(*(self.rows(factor) or (None,) for factor in factors)))


def cell_label(cell: Cell) -> str:
    """The name of a cell in logs: what is known of it, by bars.

    Example:
        >>> cell_label(("chat", "china")), cell_label(("chat", None)), cell_label((None, None))
        ('chat|china', 'chat', 'unlabelled')
    """
    return "|".join(row for row in cell if row is not None) or "unlabelled"


@dataclass(frozen=True, slots=True)
class Route:
    """The language of one rollout and how it was chosen."""

    lang: str
    propensity: float
    """Probability with which this language was drawn; 1 for quota rollouts."""
    is_quota: bool


@dataclass(frozen=True, slots=True)
class Observation:
    """What one rollout earned; the router learns from these alone."""

    context: Context
    lang: str
    reward: float
    """Final reward; NaN (could not be judged) is ignored by every router."""
    propensity: float = 1.0
    is_quota: bool = False


class Router(Protocol):
    """A policy over languages.

    Attributes:
        arms: the languages it chooses from, in a fixed order.
        factors: what of a context it looks at; logs list its distributions by them.
        draws_evenly: whether the rollouts of a group are drawn together, each language getting its share of them.
    """

    arms: tuple[str, ...]
    factors: tuple[Factor, ...]
    draws_evenly: bool

    def probs(self, context: Context, step: int) -> NDArray[np.float64]:
        """The distribution from which non-quota rollouts are drawn, exploration included; shape (len(arms),)."""
        ...

    def observe(self, observations: Sequence[Observation], step: int) -> None:
        """Takes in all rollouts of one step, in any order."""
        ...

    def state_dict(self) -> dict[str, object]:
        """Everything needed to continue exactly, as JSON values."""
        ...

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restores what `state_dict` gave."""
        ...


def uniform_draw(seed: int, step: int, sample_id: str, rollout_index: int) -> float:
    """A number in [0, 1) that depends on nothing but its arguments (Philox keyed by them).

    Example:
        >>> uniform_draw(0, 3, "mgsm/de/17", 2) == uniform_draw(0, 3, "mgsm/de/17", 2)
        True
    """
    digest = hashlib.blake2b(f"{seed}\0{step}\0{sample_id}\0{rollout_index}".encode(), digest_size=16).digest()
    key = np.frombuffer(digest, dtype="<u8").astype(np.uint64)  # the same key on every machine
    return float(np.random.Generator(np.random.Philox(key=key)).random())


def route_group(
    router: Router, context: Context, sample_id: str, *, group_size: int, quota: int, seed: int, step: int
) -> list[Route]:
    """Routes of the `group_size` rollouts of one sample: `quota` in the source language, then draws from the router.

    Raises:
        ConfigError: when the quota is not in 0..group_size.
    """
    if not 0 <= quota <= group_size:
        raise ConfigError(f"quota must be in 0..group_size ({group_size}), got {quota}")
    routes = [Route(context.source_lang, 1.0, is_quota=True) for _ in range(quota)]
    if quota == group_size:
        return routes
    probs = router.probs(context, step)
    edges = np.cumsum(probs)
    n = group_size - quota
    if router.draws_evenly:
        start = uniform_draw(seed, step, sample_id, -1)  # no rollout's own index
        draws = [(start + i / n) % 1.0 for i in range(n)]
    else:
        draws = [uniform_draw(seed, step, sample_id, index) for index in range(quota, group_size)]
    for draw in draws:
        arm = min(int(np.searchsorted(edges, draw * edges[-1], side="right")), len(probs) - 1)
        routes.append(Route(router.arms[arm], float(probs[arm]), is_quota=False))
    return routes
