"""Dynamic sampling: groups that teach nothing are replaced by groups of other questions (DAPO, arXiv 2503.14476, 3.2).

A group whose rollouts all earned the same has no advantages; the fewer of them a step holds, the more of its rollouts
move the policy. Departures from DAPO: at most `tries` rounds instead of until the step is full, so that the rollouts of
a step are bounded by (1 + tries) x B x G; a group that finds no better one in these rounds stays; degenerate are all
groups without advantages, also those of graded rewards and of other causes than right or wrong answers.

The router learns from every rollout, replaced ones too: leaving them out would hide from it the languages in which all
answers are right, or all wrong. Replacements are a function of (seed, step, try), so resume stays exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

NOTHING = 1e-3
"""Advantages below it come from rounding: equal rewards of 0.1 in single precision over TRL's eps of 1e-4."""


def degenerate_groups(advantages: Sequence[float], group_size: int) -> list[int]:
    """Numbers of the groups in which no rollout has an advantage.

    Example:
        >>> degenerate_groups([0.0, 0.0, 0.7, -0.7, 1e-5, 1e-5], group_size=2)
        [0, 2]
    """
    sizes = np.abs(np.asarray(advantages)).reshape(-1, group_size).max(axis=1)
    return np.flatnonzero(sizes < NOTHING).tolist()


def replacement_questions(pool: Sequence[str], taken: Sequence[str], n: int, key: tuple[int, int, int]) -> list[str]:
    """Up to `n` other questions, each once, drawn evenly.

    Args:
        pool: all training questions.
        taken: those that the step has already asked.
        n: how many are wanted; there are fewer where the pool is exhausted.
        key: (seed, step, try).

    Example:
        >>> sorted(replacement_questions(["a", "b", "c"], ["b"], 5, (0, 0, 1)))
        ['a', 'c']
    """
    free = sorted(set(pool) - set(taken))
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence([*key, _STREAM]))).permutation(len(free))
    return [free[i] for i in order[:n]]


_STREAM = 0xDA90
"""Keeps these draws apart from others of the same seed and step."""


def replace_rows(
    batch: dict[str, Any], fresh: dict[str, Any], rows: Sequence[int], fresh_rows: Sequence[int]
) -> dict[str, Any]:
    """A step's tensors with `rows` replaced by `fresh_rows` of another generation, both padded to the wider one.

    New padding holds token 0, which nothing reads under the mask. `num_items_in_batch` becomes
    the tokens of the completions that are now in the step.

    Args:
        batch: TRL's output for N rows: prompts padded on the left, completions and their values on the right.
        fresh: TRL's output for other rows, with the same names.
        rows: rows of `batch` that go.
        fresh_rows: rows of `fresh` that take their places.
    """
    replaced = dict(batch)
    n_rows, n_fresh = len(batch["advantages"]), len(fresh["advantages"])
    for name, old in batch.items():
        new = fresh.get(name)
        if not isinstance(old, torch.Tensor) or not isinstance(new, torch.Tensor):
            continue
        if not old.dim() or (len(old), len(new)) != (n_rows, n_fresh):
            continue
        if old.dim() == 2:
            width = max(old.size(1), new.size(1))
            old, new = (_widened(each, width, on_the_left=name.startswith("prompt_")) for each in (old, new))
        replaced[name] = old.clone()
        replaced[name][list(rows)] = new[list(fresh_rows)]
    replaced["num_items_in_batch"] = replaced["completion_mask"].sum().to(batch["num_items_in_batch"])
    return replaced


def _widened(values: torch.Tensor, width: int, *, on_the_left: bool) -> torch.Tensor:
    missing = width - values.size(1)
    return torch.nn.functional.pad(values, (missing, 0) if on_the_left else (0, missing))
