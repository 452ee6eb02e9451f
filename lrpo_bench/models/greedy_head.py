"""The likeliest token without all logits: a coarse pass over the vocabulary, then exact logits of what is left.

With 50,000 tokens and a width of 768 the output head is 38% of a 100M model's arithmetic, and greedy decoding asks it
for one number a row: which logit is largest. Weights and states are rounded to bfloat16, in which a CPU that has
instructions for it multiplies two to three times as fast. The error of such a logit is bounded (below), so whatever
lies further below the largest coarse logit than twice the bound can not be the largest; of the few tokens left, logits
are computed in float32. The token is the one that all logits would give, up to the order of sums in float32.

Bound: rounding to bfloat16 changes a number by a share of at most u = 2^-8 (Higham 2002, Thm 2.2), so a product by 2u +
u^2, and by Cauchy and Schwarz the sum by (2u + u^2) * |w| * |h|; adding n products in float32 adds n * 2^-24 * |w| *
|h| at most (Thm 3.1), and rounding the sum to bfloat16 a share u of it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_U = 2.0**-8
_MOST = 512
"""Tokens left in a row from which on all of its logits are computed."""
_WORTH = (16_384, 16)
"""Vocabulary and tokens of a response from which on a coarse copy of the head pays."""
_FASTER = 1.3


class GreedyHead:
    """Stands in for a linear output head, and keeps the likeliest token of each row in `tokens`."""

    def __init__(self, head: torch.nn.Linear) -> None:
        """Takes a copy of the weights in bfloat16: it is for as long as they do not change."""
        self._head, self._coarse = head, head.weight.detach().to(torch.bfloat16)
        error = (2 * _U + _U**2) + head.in_features * 2.0**-24
        self._error = 1.01 * error * float(head.weight.detach().norm(dim=1).max())
        self.tokens = torch.empty(0, dtype=torch.long)

    @contextmanager
    def in_place(self, *, checked: bool = False) -> Iterator[None]:
        """In this block the model's head finds tokens only, and its logits mean nothing unless they are `checked`."""

        def forward(hidden: torch.Tensor) -> torch.Tensor:
            self.tokens = self.best(hidden[:, -1])
            return torch.nn.functional.linear(hidden, self._head.weight) if checked else hidden[..., :1]

        vars(self._head)["forward"] = forward
        try:
            yield
        finally:
            del self._head.forward

    def best(self, hidden: torch.Tensor) -> torch.Tensor:
        """The token with the largest logit for each state, shape (rows,); the first of several.

        Args:
            hidden: `(rows, width)`.
        """
        coarse = torch.nn.functional.linear(hidden.to(torch.bfloat16), self._coarse)  # (rows, V)
        top = coarse.amax(dim=1).float()
        least = top - 2 * self._error * hidden.norm(dim=1) - 1.01 * 2 * _U * top.abs()
        # Rounded to bfloat16, and down, so that the comparison needs no float32 copy.
        least = torch.nextafter(least.to(torch.bfloat16), torch.tensor(-torch.inf, dtype=torch.bfloat16))
        left = coarse >= least[:, None]
        rows, tokens = left.nonzero(as_tuple=True)
        counts = torch.bincount(rows, minlength=len(hidden))
        whole = (counts > _MOST) | (counts == 0)  # none is left where a state is not a number
        if bool(whole.any()):
            few = ~whole[rows]
            rows, tokens = rows[few], tokens[few]
        exact = (hidden[rows] * self._head.weight[tokens]).sum(dim=1)
        largest = exact.new_full((len(hidden),), -torch.inf).scatter_reduce(0, rows, exact, "amax")
        chosen = exact == largest[rows]
        found = torch.full((len(hidden),), self._head.out_features, dtype=torch.long)
        found = found.scatter_reduce(0, rows[chosen], tokens[chosen], "amin")
        if bool(whole.any()):
            found[whole] = torch.nn.functional.linear(hidden[whole], self._head.weight).argmax(dim=1)
        return found


def greedy_head(model: Any, limit: int) -> GreedyHead | None:
    """A head for decoding up to `limit` tokens greedily, None where it does not suit the model or does not pay."""
    head = model.get_output_embeddings()
    plain = type(head) is torch.nn.Linear and head.bias is None and head.weight.dtype == torch.float32
    if not plain or head.weight.device.type != "cpu" or "forward" in vars(head):
        return None
    if head.out_features < _WORTH[0] or limit < _WORTH[1] or not has_fast_bfloat16():
        return None
    return GreedyHead(head)


def agrees(tokens: torch.Tensor, logits: torch.Tensor) -> bool:
    """Whether the tokens' logits are the largest of their rows, up to rounding: models may change what a head says.

    Without a token a row they do not: the model multiplies by the head's weights itself, and never asked it.
    """
    if len(tokens) != len(logits):
        return False
    largest = logits.amax(dim=1)
    found = (
        logits.gather(1, tokens[:, None])[:, 0]
        if tokens.max() < logits.shape[1]
        else torch.full_like(largest, -torch.inf)
    )
    return bool((found.nan_to_num(0.0) >= largest.nan_to_num(0.0) - 1e-4 * largest.abs().nan_to_num(0.0) - 1e-6).all())


@functools.cache
def has_fast_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16 faster than in float32: measured, once a process."""
    seconds = []
    for dtype in (torch.float32, torch.bfloat16):
        state, weight = torch.ones(16, 512, dtype=dtype), torch.ones(4096, 512, dtype=dtype)
        trials = []
        for _ in range(4):
            started = time.perf_counter()
            torch.nn.functional.linear(state, weight)
            trials.append(time.perf_counter() - started)
        seconds.append(min(trials))
    return seconds[0] > _FASTER * seconds[1]
