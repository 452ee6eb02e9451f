"""Which of several ways to decode is the fastest here, by a short trial on the first prompts that are asked.

A way counts only where its greedy tokens are those of the reference, and replaces the preferred way only where it is
faster by `MARGIN`: times vary from run to run, and a choice that flips would change sampled responses. What was
measured goes into the run's manifest, and a run that is continued or reproduced keeps the way that was chosen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

PROMPTS, TOKENS = 8, 16
"""Size of a trial."""
WORTH = 32 * PROMPTS * TOKENS
"""Tokens of a first batch from which on a trial is worth its time."""
MARGIN = 1.2

Way = Callable[[], list[list[int]]]
"""Decodes the trial's prompts greedily; the tokens of each, up to its end."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The way that was chosen, and what was found out about all of them."""

    way: str
    why: str
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Of a trial, by way; empty where none was made."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why a way can not be used, by way."""

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)


def fastest(
    ways: Mapping[str, Way],
    reference: str,
    preferred: str,
    refused: Mapping[str, str],
    clock: Callable[[], float] = time.perf_counter,
) -> Choice:
    """The choice among `ways`, each run twice and timed the second time.

    Args:
        ways: what can be chosen; must hold `reference`.
        reference: the way whose tokens the others must give, and which is taken where they do not.
        preferred: taken unless another one is faster by `MARGIN`.
        refused: ways that were ruled out before, with reasons.
        clock: seconds.
    """
    why_not, seconds = dict(refused), {}
    expected = ways[reference]()
    for name, way in ways.items():
        try:
            found = expected if name == reference else way()  # the first time may compile, allocate, load
            started = clock()
            again = way()
        except Exception as error:  # compilers and model code of others raise whatever they like
            if name == reference:
                raise
            why_not[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")
            continue
        elapsed = clock() - started
        if name == reference or found == again == expected:
            seconds[name] = round(elapsed, 5)
        else:
            why_not[name] = f"{_n_different(again, expected)} of {len(expected)} greedy responses are not {reference}'s"
    best = min(seconds, key=lambda name: seconds[name])
    base = preferred if preferred in seconds else reference
    if best != base and seconds[base] < MARGIN * seconds[best]:
        best = base
    return Choice(best, f"trial of {len(expected)} prompts", seconds, why_not)


def spread(prompts: Sequence[list[int]], n: int = PROMPTS) -> list[list[int]]:
    """At most `n` of the prompts, evenly, so that long and short ones are among them.

    Example:
        >>> spread([[1], [2], [3], [4], [5]], 2)
        [[1], [3]]
    """
    n = min(n, len(prompts))
    return [prompts[i * len(prompts) // n] for i in range(n)]


def _n_different(found: Sequence[list[int]], expected: Sequence[list[int]]) -> int:
    return sum(a != b for a, b in zip(found, expected, strict=True))
