"""The greedy responses of one task as columns: 39 bytes each, where a record without its texts takes a third of a kB.

What many responses have in common (language, outcome, verdicts, reasons) is a `Kind`, kept once and told by a number;
scores and lengths are columns of numbers; a source question is its rank among all; an answer is a hash, since answers
are only compared with one another. Records come in the order of their keys; columns are in that of language and key.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.evaluation.records import CHOICE_REASON, ResponseRecord, known_or_nan
from lrpo_bench.scratch import DiskRanks
from lrpo_bench.tasks.base import Outcome


class Kind(NamedTuple):
    """What a greedy response shares with many others."""

    rollout_lang: str
    outcome: Outcome
    language_ok: bool | None
    language_reason: str
    """`CHOICE_REASON`, or empty."""
    finish_reason: str
    lines_ok: bool | None
    lines_reason: str
    words_ok: bool | None
    words_reason: str
    reason: str
    """Why it is unscored; empty where it is not."""
    in_language: float | None
    """By what its score is multiplied to be the score in language; None where that can not be known."""
    has_answer: bool
    is_cut: bool
    """Whether a prompt of its question did not fit the context."""

    @classmethod
    def of(cls, record: ResponseRecord, is_cut: bool) -> Kind:
        """The kind of a record."""
        in_language = record.score_in_language
        return cls(
            record.rollout_lang,
            record.outcome,
            record.language_ok,
            CHOICE_REASON if record.language_reason == CHOICE_REASON else "",
            record.finish_reason,
            record.lines_ok,
            record.lines_reason,
            record.words_ok,
            record.words_reason,
            record.reason if record.score is None else "",
            None if in_language is None else float(in_language == record.score),
            record.answer is not None,
            is_cut,
        )


class Answer(NamedTuple):
    """What it takes to see whether two responses agree; named as in a record."""

    rollout_lang: str
    language_reason: str
    ranking: Sequence[Hashable]
    score: float | None
    outcome: Outcome
    answer: Hashable | None


@dataclass(frozen=True, slots=True, eq=False)
class Responses:
    """What tells the responses of a task apart, as numbers: one of each a response."""

    languages: tuple[str, ...]
    """Asked languages, sorted."""
    langs: NDArray[np.int16]
    """Place in `languages`."""
    clusters: NDArray[np.intp]
    """Rank of the source question among all of them."""
    is_cut: NDArray[np.bool_]
    """Whether a prompt of the question did not fit the context."""


class Names:
    """Keys and source questions as text, for those who pair responses by them; or nothing, where only means count."""

    def __init__(self, kept: bool) -> None:
        self._kept, self._rows = kept, list[tuple[tuple[str, str], str]]()

    def add(self, record: ResponseRecord) -> None:
        """Takes one record's."""
        if self._kept:
            self._rows.append(((record.rollout_lang, record.sample_id), record.source_id))

    def ordered(self, order: NDArray[np.intp]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
        """Keys (asked language and sample id), and source questions."""
        rows = [self._rows[i] for i in order.tolist()] if self._kept else []
        return tuple(key for key, _ in rows), tuple(source for _, source in rows)


class GreedyColumns:
    """Takes greedy responses in the order of their keys, and then gives columns in that of language and key."""

    def __init__(self, names: bool) -> None:
        """Keeps keys and source questions as text if `names`."""
        self.names = Names(names)
        self._sources = DiskRanks()
        self._kind_codes: dict[Kind, int] = {}
        self._ranking_codes: dict[tuple[int, ...], int] = {}
        self._kinds, self._rankings, self._tokens = array("i"), array("i"), array("i")
        self._scores, self._answers = array("d"), array("q")

    def add(self, record: ResponseRecord, is_cut: bool) -> None:
        """Takes one."""
        self._kinds.append(self._kind_codes.setdefault(Kind.of(record, is_cut), len(self._kind_codes)))
        self._rankings.append(self._ranking_codes.setdefault(record.ranking, len(self._ranking_codes)))
        self._tokens.append(-1 if record.n_tokens is None else record.n_tokens)
        self._scores.append(known_or_nan(record.score))
        self._answers.append(hash(record.answer))
        self._sources.add(record.source_id)
        self.names.add(record)

    def __len__(self) -> int:
        return len(self._kinds)

    def finished(self) -> Greedy:
        """The columns; nothing can be added afterwards."""
        kinds = tuple(self._kind_codes)
        codes = _column(self._kinds, np.int32)
        languages = tuple(sorted({kind.rollout_lang for kind in kinds}))
        langs = np.array([languages.index(kind.rollout_lang) for kind in kinds], dtype=np.int16)[codes]
        is_cut = np.array([kind.is_cut for kind in kinds], dtype=bool)[codes]
        order = slice(None) if len(languages) < 2 else np.argsort(langs, kind="stable")  # a slice copies nothing
        clusters = self._sources.ranks()
        responses = Responses(languages, langs[order], clusters[order].astype(np.intp), is_cut[order])
        return Greedy(
            responses,
            *self.names.ordered(np.arange(len(codes))[order]),
            kinds,
            codes[order],
            _column(self._scores, np.float64)[order],
            _column(self._tokens, np.int32)[order],
            _column(self._answers, np.int64)[order] if len(languages) > 1 else None,
            tuple(self._ranking_codes),
            _column(self._rankings, np.int32)[order] if len(languages) > 1 else None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Greedy:
    """The columns of a task's greedy responses."""

    responses: Responses
    keys: tuple[tuple[str, str], ...]
    """Asked language and sample id; empty where names are not kept."""
    clusters: tuple[str, ...]
    """Source question of each; empty where names are not kept."""
    kinds: tuple[Kind, ...]
    codes: NDArray[np.int32]
    """Place in `kinds`."""
    scores: NDArray[np.float64]
    """In [0, 1], NaN where unscored."""
    tokens: NDArray[np.int32]
    """Completion tokens, -1 where unknown."""
    answers: NDArray[np.int64] | None
    """Hash of the answer; None where all are in one language, and no two can be compared."""
    rankings: tuple[tuple[int, ...], ...]
    ranking_codes: NDArray[np.int32] | None
    """Place in `rankings`; None as for answers."""

    def __len__(self) -> int:
        return len(self.codes)

    def numbers(self, of_kind: Callable[[Kind], float]) -> NDArray[np.float64]:
        """A number that depends on the kind alone, one a response."""
        return np.array([of_kind(kind) for kind in self.kinds], dtype=np.float64)[self.codes]

    def texts(self, of_kind: Callable[[Kind], str]) -> NDArray[np.object_]:
        """A text that depends on the kind alone, one a response; as objects, since a handful of texts recur."""
        return np.array([of_kind(kind) for kind in self.kinds], dtype=object)[self.codes]

    def by_question(self) -> Iterator[tuple[NDArray[np.intp], list[Answer]]]:
        """For each source question the positions of its responses, and these."""
        order = np.argsort(self.responses.clusters, kind="stable")
        sizes = np.bincount(self.responses.clusters)
        start = 0
        for size in sizes[sizes > 0].tolist():
            positions = order[start : start + size]
            yield positions, [self._answer(i) for i in positions.tolist()]
            start += size

    @property
    def is_parallel(self) -> bool:
        """Whether a question was asked in two languages or more."""
        clusters, langs = self.responses.clusters, self.responses.langs
        if len(self.responses.languages) < 2:
            return False
        order = np.argsort(clusters, kind="stable")  # languages rise within a question
        same = clusters[order][1:] == clusters[order][:-1]
        return bool((same & (langs[order][1:] != langs[order][:-1])).any())

    def _answer(self, i: int) -> Answer:
        assert self.answers is not None and self.ranking_codes is not None, "there are two languages"
        kind, score = self.kinds[self.codes[i]], float(self.scores[i])
        return Answer(
            kind.rollout_lang,
            kind.language_reason,
            self.rankings[self.ranking_codes[i]],
            None if math.isnan(score) else score,
            kind.outcome,
            int(self.answers[i]) if kind.has_answer else None,
        )


def _column(values: array[Any], kind: Any) -> NDArray[Any]:
    return np.frombuffer(values, dtype=kind) if values else np.empty(0, dtype=kind)
