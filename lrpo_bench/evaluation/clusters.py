"""Values by cluster (source question) and group (language), as arrays: what intervals and tests both count with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def as_floats(values: ArrayLike) -> Floats:
    """An array of float64."""
    return np.asarray(values, dtype=np.float64)


def known_values(
    values: ArrayLike, clusters: Sequence[Any] | NDArray[Any]
) -> tuple[Floats, NDArray[np.bool_], Any, int]:
    """The known values, which of all are known, the number of each known one's cluster, how many are unknown.

    Raises:
        ValueError: where there are not as many clusters as values.
    """
    scores = as_floats(values)
    names = clusters if isinstance(clusters, np.ndarray) else np.asarray(list(clusters))
    if names.shape[0] != scores.size:
        raise ValueError(f"as many clusters as values are needed, got {names.shape[0]} and {scores.size}")
    known = ~np.isnan(scores)
    n_unscored = scores.size - int(np.count_nonzero(known))
    codes, _ = codes_of(names[known] if n_unscored else names)
    return scores[known] if n_unscored else scores, known, codes, n_unscored


def codes_of(names: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The rank of each name among the distinct ones, and how often each of these occurs."""
    if np.issubdtype(names.dtype, np.integer) and names.size and names.min() >= 0 and names.max() <= 4 * names.size:
        counts = np.bincount(names)  # the same without sorting, and without four more arrays
        present = counts > 0
        return (names, counts) if present.all() else ((np.cumsum(present) - 1)[names], counts[present])
    _, codes, counts = np.unique(names, return_inverse=True, return_counts=True)
    return codes, counts


def equal_weights(size: int, groups: NDArray[Any] | None) -> Floats:
    """The weight of each value in a mean, or in a macro average over groups, shape (size,); they add up to 1."""
    if groups is None:
        return np.full(size, 1.0 / size)
    codes, sizes = codes_of(groups)
    return 1.0 / (sizes.size * sizes[codes])
