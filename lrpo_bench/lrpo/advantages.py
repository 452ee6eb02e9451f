"""Group advantages: the tested reference of what the trainer's engine computes (paper, Sec. 3.3; arXiv 2402.03300).

`A_k = (r_k - mean(r)) / (std(r) + eps)` inside each group of G completions of one sample. As in TRL, std is the sample
standard deviation (n - 1) and eps is 1e-4. A reward that could not be given (NaN) takes no part in its group's mean and
std and gets advantage 0, so one unjudged completion never spreads.

`baseline_mix` is ours, not the paper's: a rollout can also be compared with the rollouts of its own language inside the
group. Beside a strong language's rollouts, a weak language's best rollouts earn negative advantages under the paper's
baseline; `m = (1 - mix) * group mean + mix * language mean` lets a user dial that away. `mix = 0` is the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.errors import ConfigError

EPS = 1e-4
"""TRL's constant, added to the standard deviation."""

GatedOut = Literal["penalty", "minimum"]
Degeneracy = Literal["informative", "all gated", "all right", "all wrong", "all truncated", "all equal", "unscored"]


def group_advantages(
    rewards: NDArray[np.float64],
    group_size: int,
    *,
    languages: Sequence[str] | None = None,
    baseline_mix: float = 0.0,
    scale: bool = True,
) -> NDArray[np.float64]:
    """Advantages of N = B * G rewards whose groups lie one after another.

    Args:
        rewards: shape (N,), NaN where a completion could not be judged.
        group_size: G, at least 2.
        languages: rollout language of each completion, needed when `baseline_mix` is not 0.
        baseline_mix: share in [0, 1] of the language's own mean in the baseline.
        scale: divide by the group's standard deviation.

    Returns:
        Shape (N,); 0 where the reward is NaN.

    Raises:
        ConfigError: for a group size below 2, or one that does not divide N; for a mix outside [0, 1], or one above 0
            without languages.

    Example:
        >>> group_advantages(np.array([1.0, 0.0, 1.0, 0.0]), 4).round(3).tolist()
        [0.866, -0.866, 0.866, -0.866]
    """
    if group_size < 2:
        raise ConfigError(f"group_size must be >= 2 to compute advantages, got {group_size}")
    if not 0.0 <= baseline_mix <= 1.0:
        raise ConfigError(f"baseline_mix must be in [0, 1], got {baseline_mix}")
    if len(rewards) % group_size:
        raise ConfigError(f"{len(rewards)} rewards do not divide into groups of {group_size}")
    grouped = np.asarray(rewards, dtype=np.float64).reshape(-1, group_size)  # (B, G)
    known = ~np.isnan(grouped)
    counts = known.sum(axis=1, keepdims=True)
    means = np.where(known, grouped, 0.0).sum(axis=1, keepdims=True) / np.maximum(counts, 1)
    centered = np.where(known, grouped - means, 0.0)
    stds = np.sqrt((centered**2).sum(axis=1, keepdims=True) / np.maximum(counts - 1, 1))
    if baseline_mix:
        if languages is None:
            raise ConfigError("baseline_mix needs the rollout language of each completion")
        names = np.asarray(languages).reshape(-1, group_size)
        centered -= baseline_mix * np.where(known, _language_means(grouped, known, names) - means, 0.0)
    return (centered / (stds + EPS) if scale else centered).reshape(-1)


def _language_means(
    grouped: NDArray[np.float64], known: NDArray[np.bool_], names: NDArray[np.str_]
) -> NDArray[np.float64]:
    same = (names[:, :, None] == names[:, None, :]) & known[:, None, :]  # (B, G, G)
    sums = (same * np.where(known, grouped, 0.0)[:, None, :]).sum(axis=2)
    return sums / np.maximum(same.sum(axis=2), 1)


def separate_gate_advantages(
    rewards: NDArray[np.float64],
    gates: NDArray[np.float64],
    group_size: int,
    *,
    gated_out: GatedOut = "penalty",
    penalty: float = 1.0,
    languages: Sequence[str] | None = None,
    baseline_mix: float = 0.0,
) -> NDArray[np.float64]:
    """Advantages of N = B * G gated rewards in which a closed gate does not drown the differences in quality.

    Ours, not the paper's. Where rewards of the right language lie close together, one 0 from the gate widens the
    group's standard deviation so much that they get all but the same advantage. Here the rollouts that pass the gate
    are normalised among themselves, and those that do not get a constant:

    - `penalty`: `-penalty`, whatever the others earned;
    - `minimum`: the least advantage of those that pass, which is 0, hence no lesson about language, where all of them
      earned the same.

    A group in which nobody passes teaches nothing, as under the plain gate. A single one that passes gets 0. Advantages
    of a group no longer sum to 0: a wrong language is pushed away, and the push is not paid back to the others.

    Args:
        rewards: shape (N,), NaN where a completion could not be judged.
        gates: shape (N,), 0 where the gate is closed.
        group_size: G, at least 2.
        gated_out: what a closed gate earns.
        penalty: size of the constant, not negative.
        languages: as in `group_advantages`, which normalises the rollouts that pass.
        baseline_mix: as in `group_advantages`; a language's own mean is that of its rollouts that pass.

    Returns:
        Shape (N,); 0 where the reward is NaN.

    Example:
        >>> rewards, gates = np.array([0.9, 0.8, 0.0, 0.0]), np.array([1.0, 1.0, 0.0, 0.0])
        >>> separate_gate_advantages(rewards, gates, group_size=4).round(2).tolist()
        [0.71, -0.71, -1.0, -1.0]
    """
    if penalty < 0:
        raise ConfigError(f"gate penalty must be at least 0, got {penalty}")
    is_open = ~np.isnan(rewards) & (gates > 0)
    is_closed = ~np.isnan(rewards) & (gates == 0)
    advantages = group_advantages(
        np.where(is_open, rewards, np.nan), group_size, languages=languages, baseline_mix=baseline_mix
    ).reshape(-1, group_size)
    any_open = is_open.reshape(-1, group_size).any(axis=1, keepdims=True)
    # Advantages of those that pass sum to 0 and all others are 0, so this is the least of those that pass.
    least = np.minimum(advantages.min(axis=1, keepdims=True), 0.0)
    closed_value = np.where(any_open, least if gated_out == "minimum" else -penalty, 0.0)
    return np.where(is_closed.reshape(-1, group_size), closed_value, advantages).reshape(-1)


def group_degeneracy(
    rewards: Sequence[float], qualities: Sequence[float], gates: Sequence[float], truncated: Sequence[bool]
) -> Degeneracy:
    """Why one group teaches nothing: the cause of equal rewards, or `informative`.

    `all gated` means that the gate is the cause: every reward is 0, and without the gate at least one would not be.

    Args:
        rewards: final rewards of the group, NaN where unscored.
        qualities: quality parts, before the gate.
        gates: gate parts in [0, 1].
        truncated: completions cut at the length limit.

    Example:
        >>> group_degeneracy([0, 0], [1, 1], [0, 0], [False, False])
        'all gated'
        >>> group_degeneracy([0, 1], [0, 1], [1, 1], [False, False])
        'informative'
    """
    known = [reward for reward in rewards if not np.isnan(reward)]
    if len(known) < 2:
        return "unscored"
    if max(known) - min(known) > 1e-9:
        return "informative"
    if all(truncated):
        return "all truncated"
    if known[0] > 0:
        return "all right" if known[0] >= 1.0 - 1e-9 else "all equal"
    if any(quality > 0 and gate <= 0 for quality, gate in zip(qualities, gates, strict=True)):
        return "all gated"
    return "all wrong"
