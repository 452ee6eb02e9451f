"""Log-probabilities for the update without computing what nothing reads: padding, prompt positions, idle rollouts.

TRL pads every rollout of a micro-batch to the longest prompt plus the longest completion, and on a CPU it projects all
of these positions to the vocabulary, prompts included. Here each rollout's tokens are put together without the gap
between prompt and completion, rollouts are sorted by length into a few batches (`length_buckets`), and only positions
whose next token is scored reach the vocabulary (`training.scoring_head`). Rows with advantage 0 can be left out: their
loss and its gradient are 0 under every loss type as long as the KL coefficient is 0. The loss itself stays TRL's own.

The values are TRL's up to the order of floating-point sums, where positions are relative (rotary): TRL numbers the
positions of a padded prompt from its first padding token, here the first token of the prompt is position 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

FORWARD_COST_TOKENS = 64
"""What one more forward and backward pass costs, in padded tokens: its launches, and the work that does not shrink."""
MAX_BUCKETS = 8
RANK_BUCKETS = 4
"""Passes a micro-batch with several processes: each pass is a collective call, so all ranks must make as many."""

Score = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor | None]]
"""Log-probabilities and entropies (b, L - 1) of the next tokens, from ids (b, L) and labels (b, L), -100 unscored."""


def length_buckets(
    lengths: Sequence[int], *, most: int = MAX_BUCKETS, pass_cost: int = FORWARD_COST_TOKENS
) -> list[NDArray[np.int64]]:
    """Rows in buckets of like length, shortest first, such that padded tokens plus the cost of passes are least.

    Args:
        lengths: tokens of each row, at least one row.
        most: buckets at most.
        pass_cost: cost of a bucket, in tokens.

    Example:
        >>> [bucket.tolist() for bucket in length_buckets([100, 10, 90, 12], pass_cost=5)]
        [[1, 3], [2], [0]]
        >>> [bucket.tolist() for bucket in length_buckets([100, 10, 90, 12], pass_cost=500)]
        [[1, 3, 2, 0]]
    """
    order = np.argsort(np.asarray(lengths), kind="stable")
    widths = np.asarray(lengths, dtype=np.int64)[order]
    rows = len(widths)
    costs = np.full((min(most, rows) + 1, rows + 1), np.inf)  # [k, j]: the first j rows in k buckets
    costs[0, 0] = 0.0
    starts = np.zeros(costs.shape, dtype=np.int64)
    for k in range(1, len(costs)):
        for j in range(k, rows + 1):
            candidates = costs[k - 1, :j] + (j - np.arange(j)) * widths[j - 1] + pass_cost
            starts[k, j] = int(candidates.argmin())
            costs[k, j] = candidates[starts[k, j]]
    buckets, end = [], rows
    for k in range(int(costs[:, rows].argmin()), 0, -1):
        begin = int(starts[k, end])
        buckets.append(order[begin:end])
        end = begin
    return buckets[::-1]


@dataclass(frozen=True, slots=True)
class StepTokens:
    """A micro-batch as TRL pads it: N rows, P + T wide."""

    input_ids: torch.Tensor
    """(N, P + T), prompts padded on the left to P, completions on the right to T."""
    attention_mask: torch.Tensor
    """(N, P + T), 1 on tokens; every prompt has at least one."""
    completion_width: int
    """T."""

    @property
    def prompt_lengths(self) -> torch.Tensor:
        """Tokens of each prompt, (N,)."""
        return self.attention_mask[:, : -self.completion_width].sum(dim=1)


def policy_logps(
    score: Score,
    batch: StepTokens,
    moving: torch.Tensor | None = None,
    chunk: int | None = None,
    n_passes: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Log-probabilities and entropies (N, T) of completions; 0 where there is no token, or the row is left out.

    Entropies of rows that are left out are the mean of the others', so that the mean over all tokens is theirs.

    Args:
        score: one pass of the model.
        batch: the rows.
        moving: which rows (N,) to compute; all when absent, and one of them when none moves, since a backward pass
            needs a graph, and with several processes every rank's.
        chunk: rows at once, for a call without gradient that must not hold them all; all when absent.
        n_passes: exactly how many passes to make for a chunk; as many as pay when absent.
    """
    n_rows = len(batch.input_ids)
    chosen = torch.arange(n_rows, device=batch.input_ids.device)
    if moving is not None:
        chosen = moving.nonzero().squeeze(1) if bool(moving.any()) else chosen[:1]
    parts = [_chunk_logps(score, batch, rows, n_passes) for rows in torch.split(chosen, chunk or n_rows)]
    places, values, entropies = (torch.cat(column, dim=-1) for column in zip(*parts, strict=True))
    where, full = tuple(places), (n_rows, batch.completion_width)
    logps = values.new_zeros(full).index_put(where, values)
    if not len(entropies):
        return logps, None
    return logps, entropies.detach().mean().expand(full).index_put(where, entropies)


def _chunk_logps(
    score: Score, batch: StepTokens, rows: torch.Tensor, n_passes: int | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Places (2, n) of the rows' n tokens in (N, T), their log-probabilities and, where computed, entropies (n,)."""
    prompts, lengths = batch.prompt_lengths, batch.attention_mask.sum(dim=1)
    buckets = (
        length_buckets(lengths[rows].tolist())
        if n_passes is None
        else length_buckets(lengths[rows].tolist(), most=n_passes, pass_cost=0)
    )
    places, logps, entropies = [], [], []
    for bucket in buckets:
        chosen = rows[torch.as_tensor(bucket, device=rows.device)]
        ids, labels = _contiguous(batch, prompts[chosen], lengths[chosen], chosen)
        found, entropy = score(ids, labels)
        scored = labels[:, 1:] != -100
        row, column = scored.nonzero(as_tuple=True)
        places.append(torch.stack([chosen[row], column + 1 - prompts[chosen][row]]))
        logps.append(found[scored])
        entropies.append(found.new_zeros(0) if entropy is None else entropy[scored])
    with torch.no_grad():  # passes that only keep step with the other ranks
        for _ in range((n_passes or 0) - len(buckets)):
            score(batch.input_ids[:1, :2], torch.full_like(batch.input_ids[:1, :2], -100))
    return torch.cat(places, dim=1), torch.cat(logps), torch.cat(entropies)


def _contiguous(
    batch: StepTokens, prompts: torch.Tensor, lengths: torch.Tensor, rows: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of rows without the padding in front, padded on the right, and labels on their completions alone.

    No attention mask is needed: in a causal model no token sees the padding behind it.
    """
    width = batch.input_ids.size(1)
    positions = torch.arange(int(lengths.max()), device=rows.device)  # (L,)
    source = (width - batch.completion_width - prompts)[:, None] + positions
    ids = batch.input_ids[rows].gather(1, source.clamp(max=width - 1))  # (b, L)
    scored = (positions >= prompts[:, None]) & (positions < lengths[:, None])
    return ids, ids.masked_fill(~scored, -100)
