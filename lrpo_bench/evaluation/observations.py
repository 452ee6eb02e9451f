"""What is counted: for each metric, one number a question and asked language.

An observation is the value of one metric for one question, before any averaging. Metrics average them, comparisons
subtract them pair by pair, so that a table and a difference can not disagree about what was counted::

    Observations(task="mgsm", metric="accuracy", keys=(("de", "mgsm/de/17"), ...), values=[1.0, nan, ...], ...)

Responses asked for in another language than the question's serve headroom alone; every other metric leaves them out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.evaluation.columns import Greedy, GreedyColumns, Kind, Responses
from lrpo_bench.evaluation.crosslingual import consistency, headroom_values
from lrpo_bench.evaluation.draws import DrawColumns
from lrpo_bench.evaluation.fidelity import LINE_FAILED, fidelity_values
from lrpo_bench.evaluation.fidelity_rules import CORRECTED
from lrpo_bench.evaluation.records import ResponseRecord, known_or_nan, without_texts
from lrpo_bench.evaluation.statistics import Bounds

Cell = str
CELLS: tuple[Cell, ...] = (
    "right_in_language",
    "right_in_other_language",
    "right_language_unknown",
    "wrong_in_language",
    "wrong_in_other_language",
    "wrong_language_unknown",
    "not_attempted",
    "truncated",
    "unscored",
)
"""Where a response can fall; every response falls in exactly one."""

HEADLINE = "accuracy_in_language"
SHARE = "share:"
"""Prefix of the metric that is a cell's share of all responses."""


@dataclass(frozen=True, slots=True)
class Observations:
    """The values of one metric on one task."""

    task: str
    metric: str
    keys: tuple[tuple[str, str], ...]
    """Asked language and sample id of each value; none of them where `iter_observations` was asked for no names."""
    values: NDArray[np.float64]
    """NaN where the metric is unknown."""
    clusters: tuple[str, ...]
    """Source question of each key."""
    bounds: Bounds | None
    """Lowest and highest possible value; None where there is no highest."""
    note: str = ""
    reasons: NDArray[np.object_] | None = None
    """Why each value is unknown, empty where it is not; None where no reasons are kept."""
    outside: str = ""
    """The reason that means: the metric does not ask about this response. Such are left out and not unknown."""
    responses: Responses | None = None
    """The same as keys and clusters say, as numbers; None where these are all there is."""

    @property
    def is_outside(self) -> NDArray[np.bool_]:
        """Where a response is one that the metric does not ask about."""
        if self.reasons is None or not self.outside:
            return np.zeros(len(self.values), dtype=bool)
        return np.asarray(self.reasons == self.outside, dtype=bool)

    @property
    def languages(self) -> tuple[str, ...]:
        """Asked language of each key."""
        return tuple(lang for lang, _ in self.keys)


@runtime_checkable
class SortedOnDisk(Protocol):
    """Records that are read anew at each look, in the order of their keys."""

    def without_texts(self) -> Iterator[ResponseRecord]:
        """The records without prompts, questions and gold answers."""
        ...

    def __iter__(self) -> Iterator[ResponseRecord]: ...


def cell_of(record: ResponseRecord | Kind) -> Cell:
    """The cell of `CELLS` a response falls in."""
    if record.outcome not in ("correct", "incorrect"):
        return record.outcome
    side = {True: "in_language", False: "in_other_language", None: "language_unknown"}[record.language_ok]
    return f"{'right' if record.outcome == 'correct' else 'wrong'}_{side}"


def is_counted(record: ResponseRecord) -> bool:
    """Whether it is a greedy response in the question's own language: what accuracy and fidelity are about."""
    return record.k == 0 and not record.is_cross_lingual


def observe(records: Iterable[ResponseRecord]) -> list[Observations]:
    """Observations of every metric that the records allow, tasks in the order of their names."""
    return list(iter_observations(records, names=True))


def iter_observations(records: Iterable[ResponseRecord], *, names: bool) -> Iterator[Observations]:
    """The same one by one, so that those that were looked at can go.

    Args:
        records: in any order. Those on disk that are in the order of their keys are read one by one; of others, the
            texts that no metric reads are left out.
        names: whether to give keys and clusters, and not only the numbers that stand for them.
    """
    if isinstance(records, SortedOnDisk):
        ordered = records.without_texts()
    else:
        records = list(without_texts(records))  # read once: they may come from a file that does not fit in memory
        ordered = iter(sorted(records, key=attrgetter("key")))
    for task, mine in groupby(ordered, attrgetter("task")):
        columns, draws, asked_elsewhere = GreedyColumns(names), DrawColumns(names), False
        for _, same in groupby(mine, attrgetter("sample_id", "rollout_lang")):
            group = list(same)
            asked_elsewhere |= _add(group, columns, draws)
        greedy = columns.finished()
        del columns
        yield from _greedy(task, greedy)
        yield from _fidelity(task, greedy)
        yield from _across_languages(task, greedy, records if asked_elsewhere else ())
        yield from _sampled(task, draws)


def _add(group: Sequence[ResponseRecord], greedy: GreedyColumns, draws: DrawColumns) -> bool:
    """Adds all responses to one question asked for in one language; True if that is not the question's."""
    is_cut = any(record.prompt_truncated for record in group)
    for record in filter(is_counted, group):
        greedy.add(record, is_cut)
    drawn = [record for record in group if record.k > 0 and not record.is_cross_lingual]
    if drawn:
        draws.add(drawn, is_cut)
    return any(record.k == 0 and record.is_cross_lingual for record in group)


def _is_cut(kind: Kind) -> bool | None:
    return None if kind.finish_reason == "unknown" else kind.finish_reason == "length"


def _number(of_kind: Callable[[Kind], float | bool | None]) -> Callable[[Greedy], NDArray[np.float64]]:
    return lambda greedy: greedy.numbers(lambda kind: known_or_nan(of_kind(kind)))


_GREEDY: Mapping[str, tuple[Callable[[Greedy], NDArray[np.float64]], Bounds | None]] = {
    HEADLINE: (lambda g: g.scores * g.numbers(lambda kind: known_or_nan(kind.in_language)), (0.0, 1.0)),
    "accuracy": (lambda g: g.scores, (0.0, 1.0)),
    "fidelity": (_number(lambda kind: kind.language_ok), (0.0, 1.0)),
    "truncation_rate": (_number(_is_cut), (0.0, 1.0)),
    "completion_tokens": (lambda g: np.where(g.tokens < 0, math.nan, g.tokens), None),
}


def _greedy(task: str, greedy: Greedy) -> Iterator[Observations]:
    if not len(greedy):
        return
    for name, (values, bounds) in _GREEDY.items():
        why = greedy.texts(lambda kind: kind.reason) if name == "accuracy" else None
        yield _of_greedy(task, name, greedy, values(greedy), bounds, reasons=why)
    for cell in CELLS:
        yield _of_greedy(task, SHARE + cell, greedy, _share(greedy, cell))


def _share(greedy: Greedy, cell: Cell) -> NDArray[np.float64]:
    return greedy.numbers(lambda kind: cell_of(kind) == cell)


def _fidelity(task: str, greedy: Greedy) -> Iterator[Observations]:
    if not len(greedy):
        return
    note = f"{CORRECTED.name} rules"
    for name, values, reasons in fidelity_values(greedy):
        outside = LINE_FAILED if name == "wpr" else ""
        yield _of_greedy(task, name, greedy, values, note=note, reasons=reasons, outside=outside)
        del values, reasons  # before the next ones are made


def _across_languages(task: str, greedy: Greedy, records: Iterable[ResponseRecord]) -> Iterator[Observations]:
    """Consistency over parallel questions, and headroom where questions were also asked in other languages.

    Headroom reads `records` again, and holds those of the task that it needs.
    """
    found = consistency(greedy)
    if found is not None:
        yield _of_greedy(task, "consistency", greedy, found[0], note=found[1])
    kept = list(without_texts(r for r in records if r.task == task and r.k == 0))
    kept.sort(key=attrgetter("rollout_lang", "sample_id"))
    home, elsewhere = [r for r in kept if is_counted(r)], [r for r in kept if r.is_cross_lingual]
    for name, (values, note) in headroom_values(home, elsewhere).items():
        yield _of_greedy(task, name, greedy, values, note=note)


def _of_greedy(
    task: str,
    metric: str,
    greedy: Greedy,
    values: NDArray[np.float64],
    bounds: Bounds | None = (0.0, 1.0),
    **more: Any,
) -> Observations:
    return Observations(task, metric, greedy.keys, values, greedy.clusters, bounds, responses=greedy.responses, **more)


def _sampled(task: str, draws: DrawColumns) -> Iterator[Observations]:
    if not len(draws):
        return
    responses = draws.responses()
    keys, clusters = draws.names.ordered(draws.order)
    for name, values in draws.values().items():
        yield Observations(
            task, name, keys, values, clusters, draws.bounds(name), draws.note(name), responses=responses
        )
