"""Token sequences packed as trees, so that a token that several sequences begin with is computed once.

The options of a question share the question; XNLI's three hypotheses share their premise; worked examples stand before
every question of a task. Sorted sequences are laid out in the order of a depth-first walk over their tree: a token may
look at itself and at its ancestors only, which `last` tells (token j is an ancestor of token i, or i itself, exactly
when j <= i <= last[j]). Only inputs are laid out: the last token of a sequence is predicted, never read.

Nothing here imports torch. The idea of one mask over a tree of continuations is SpecInfer's (arXiv 2305.09781).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_CHEAP = 32
"""Tokens that are rather computed again in a new pack than made to lengthen a full one."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence and what of it is scored."""

    tokens: tuple[int, ...]
    first: int
    """Position of the first scored token, at least 1; `len(tokens)` when nothing is scored."""


@dataclass(slots=True)
class Pack:
    """Sequences laid out as one, without the `start` tokens that all of them begin with."""

    start: int
    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    """Position of each token in its own sequence."""
    last: list[int] = field(default_factory=list)
    """For each token, the last one that may look at it."""
    parents: list[int] = field(default_factory=list)
    """For each prediction, the token after which it is made."""
    targets: list[int] = field(default_factory=list)
    rows: list[tuple[int, list[int]]] = field(default_factory=list)
    """Number of a sequence, and which predictions it is made of."""


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences (by number, sorted) whose first `start` tokens are computed once and kept."""

    start: int
    members: tuple[int, ...]


def shared(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin alike with.

    Example:
        >>> shared((1, 2, 3), (1, 2, 4, 5))
        2
    """
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def differing(rows: Sequence[Row]) -> list[Row]:
    """The options of one question, scored from where they differ.

    Their sums lose the same addend each, the log-likelihood of what they all begin with; of equal options the last
    token stays. Where the scored parts do not begin at one place (a context was cut), nothing is left out.

    Example:
        >>> differing([Row((1, 5, 6, 7), 1), Row((1, 5, 6, 8), 1)])
        [Row(tokens=(1, 5, 6, 7), first=3), Row(tokens=(1, 5, 6, 8), first=3)]
    """
    if len({row.first for row in rows}) != 1:
        return list(rows)
    tokens = [row.tokens for row in rows]
    common = min(shared(min(tokens), max(tokens)), min(map(len, tokens)) - 1)
    return [Row(row.tokens, max(row.first, common)) for row in rows]


def group_by_prefix(rows: Sequence[Row], *, min_prefix: int, width: int) -> list[Group]:
    """All rows in groups, sorted; those with a long common beginning that would not fit into two packs together.

    A smaller group shares its beginning inside a pack already; `start` is 0 then.

    Example:
        >>> rows = [Row((1, 2, 3, n, 0), 3) for n in (9, 7, 8)]
        >>> group_by_prefix(rows, min_prefix=2, width=1)
        [Group(start=2, members=(1, 2, 0))]
        >>> group_by_prefix(rows, min_prefix=2, width=100)
        [Group(start=0, members=(1, 2, 0))]
    """
    order = sorted(range(len(rows)), key=lambda i: rows[i].tokens)
    runs: list[list[int]] = []
    for i in order:
        if runs and shared(rows[runs[-1][-1]].tokens, rows[i].tokens) >= min_prefix:
            runs[-1].append(i)
        else:
            runs.append([i])
    groups, rest = [], []
    for run in runs:
        # sorted, so what the first and the last have in common, all have
        common = shared(rows[run[0]].tokens, rows[run[-1]].tokens)
        start = min(common, *(rows[i].first - 1 for i in run))
        size = sum(pack_size(rows, run, start))
        if start >= min_prefix and size > 2 * width:
            groups.append(Group(start, tuple(run)))
        else:
            rest += run
    return [*groups, Group(0, tuple(rest))] if rest else groups


def pack_size(rows: Sequence[Row], members: Sequence[int], start: int) -> Iterator[int]:
    """Inputs that each of sorted rows adds to those before it."""
    before: Sequence[int] = ()
    for i in members:
        inputs = rows[i].tokens[start:-1]
        yield len(inputs) - shared(before, inputs)
        before = inputs


def pack(rows: Sequence[Row], group: Group, *, width: int, max_rows: int) -> list[Pack]:
    """A group's rows in packs of about `width` tokens and at most `max_rows` rows each.

    A pack becomes longer than `width`, four times at most, where rows share so much that a new one would cost more.

    Example:
        >>> (found,) = pack([Row((1, 5, 6), 1), Row((1, 5, 7), 1)], Group(0, (0, 1)), width=8, max_rows=8)
        >>> found.tokens, found.last  # the ends, 6 and 7, are predicted after the same token
        ([1, 5], [1, 1])
        >>> list(zip(found.parents, found.targets)), found.rows
        ([(0, 5), (1, 6), (1, 7)], [(0, [0, 1]), (1, [0, 2])])
    """
    packs: list[_Builder] = []
    for i in group.members:
        inputs = rows[i].tokens[group.start : -1]
        if packs:
            common = shared(packs[-1].inputs, inputs)
            size = len(packs[-1].pack.tokens) + len(inputs) - common
            fits = size <= width or (common > _CHEAP and size <= 4 * width)
            if fits and len(packs[-1].pack.rows) < max_rows:
                packs[-1].add(i, rows[i], inputs, common)
                continue
        packs.append(_Builder(Pack(group.start)))
        packs[-1].add(i, rows[i], inputs, 0)
    return [builder.finished() for builder in packs]


class _Builder:
    def __init__(self, pack: Pack) -> None:
        self.pack, self.inputs = pack, ()  # type: Pack, Sequence[int]
        self._path: list[int] = []  # places of the current row's tokens
        self._predictions: dict[tuple[int, int], int] = {}

    def add(self, number: int, row: Row, inputs: Sequence[int], common: int) -> None:
        pack, start = self.pack, self.pack.start
        self._leave(common)
        place = len(pack.tokens)
        new = len(inputs) - common
        self._path += range(place, place + new)
        pack.tokens += inputs[common:]
        pack.positions += range(start + common, start + len(inputs))
        pack.last += [-1] * new
        self.inputs = inputs
        wanted = []
        for position in range(row.first, len(row.tokens)):
            key = (self._path[position - 1 - start], row.tokens[position])
            if key not in self._predictions:
                self._predictions[key] = len(self._predictions)
                pack.parents.append(key[0])
                pack.targets.append(key[1])
            wanted.append(self._predictions[key])
        pack.rows.append((number, wanted))

    def _leave(self, depth: int) -> None:
        for place in self._path[depth:]:
            self.pack.last[place] = len(self.pack.tokens) - 1
        del self._path[depth:]

    def finished(self) -> Pack:
        self._leave(0)
        return self.pack
