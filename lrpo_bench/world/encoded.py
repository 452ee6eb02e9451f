"""One training row of the policy as token ids, and how much each token is to be learned."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """Token ids of one row, and the weight of each as a target; both of length T."""

    ids: list[int]
    weights: list[float]
    """0 for what is only read."""
