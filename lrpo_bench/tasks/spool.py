"""Samples on disk: a sequence that reads each one when it is asked for, so that a million of them take no memory.

Up to `HELD` samples are a tuple. Beyond, each goes to a temporary file as it is made, and what stays in memory is 22
bytes a sample: its place there, its language, the length of its question, its rank and its place in an order. Both
kinds can be cut, ordered and hashed by the functions below, with the same outcome.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice
from operator import attrgetter
from typing import Any, cast, overload

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.errors import DataError
from lrpo_bench.scratch import DiskRanks, DiskSorter, ScratchFile, dumped, is_plain, loaded
from lrpo_bench.tasks.base import Sample

HELD = 10_000
"""Samples of one task that are held in memory; beyond, all of them are on disk."""

_ID, _LANG, _QUESTION = 0, 2, 3
_fields = attrgetter(*Sample.__dataclass_fields__)
_hashed = attrgetter("id", "source_id", "question", "gold", "choices")
Rows = NDArray[np.int32]


class _Spool:
    """The file and one number of each kind a sample."""

    def __init__(self) -> None:
        self._file = ScratchFile()
        self._starts, self._lengths, self._langs = array("q", [0]), array("i"), array("H")
        self._codes: dict[str, int] = {}

    def append(self, sample: Sample) -> None:
        """Stores one sample; raises `DataError` where it holds other than plain values."""
        values = (*_fields(sample)[:-1], dict(sample.extra))
        if not is_plain(values):
            raise DataError(f"sample {sample.id!r} must hold plain text, numbers, tuples and lists only")
        content = dumped(values)
        self._file.append(content)
        self._starts.append(self._starts[-1] + len(content))
        self._lengths.append(length_of(sample))
        self._langs.append(self._codes.setdefault(sample.lang, len(self._codes)))

    def __len__(self) -> int:
        return len(self._lengths)

    def read(self, row: int) -> Sample:
        """The sample of that number."""
        return Sample(*self.values(row))

    def values(self, row: int) -> tuple[Any, ...]:
        """Its fields."""
        start = self._starts[row]
        return cast(tuple[Any, ...], loaded(self._file.read(start, self._starts[row + 1] - start)))

    @property
    def languages(self) -> Sequence[str]:
        """By the codes in `langs`."""
        return tuple(self._codes)

    @property
    def langs(self) -> NDArray[np.uint16]:
        """Code of each sample's language."""
        return np.frombuffer(self._langs, dtype=np.uint16)

    @property
    def lengths(self) -> Rows:
        """Bytes of each question."""
        return np.frombuffer(self._lengths, dtype=np.int32)

    @property
    def id_ranks(self) -> Rows:
        """Place of each sample's id among all ids; equal ones have one place."""
        return self._by_id[0]

    @property
    def digest(self) -> str:
        """`hash_samples` of all samples."""
        return self._by_id[1]

    @cached_property
    def text_ranks(self) -> Rows:
        """Place of each sample by its question, then its id."""
        ranks = DiskRanks()
        for row in range(len(self)):
            values = self.values(row)
            ranks.add(values[_QUESTION], values[_ID])
        return ranks.ranks()

    @cached_property
    def _by_id(self) -> tuple[Rows, str]:
        """Ranks and digest, which need the same order."""
        sorter = DiskSorter()
        for row in range(len(self)):
            sorter.add((*_hashed(self.read(row)), row))
        ranks = np.empty(len(self), dtype=np.int32)
        return ranks, _sha256_of_sorted(_ranked(sorter, ranks))


class SpooledSamples(Sequence[Sample]):
    """Samples of a spool, some or all of them, in any order; equal to any sequence of the same samples."""

    def __init__(self, spool: _Spool, rows: Rows | None = None) -> None:
        """Use `collected`."""
        self._spool = spool
        self._rows = np.arange(len(spool), dtype=np.int32) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> SpooledSamples: ...
    def __getitem__(self, index: int | slice) -> Sample | SpooledSamples:
        """Reads one sample; a slice reads nothing."""
        if isinstance(index, slice):
            return SpooledSamples(self._spool, self._rows[index])
        return self._spool.read(int(self._rows[index]))

    def __iter__(self) -> Iterator[Sample]:
        for row in self._rows:
            yield self._spool.read(int(row))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    @property
    def languages(self) -> frozenset[str]:
        """Languages of the questions."""
        names = self._spool.languages
        present = np.bincount(self._spool.langs[self._rows], minlength=len(names)) > 0
        return frozenset(name for name, there in zip(names, present.tolist(), strict=True) if there)

    def in_languages(self, languages: Collection[str]) -> SpooledSamples:
        """Those whose question is in one of `languages`."""
        wanted = np.array([name in languages for name in self._spool.languages])
        return SpooledSamples(self._spool, self._rows[wanted[self._spool.langs[self._rows]]])

    def ordered(self, *, by_text: bool) -> SpooledSamples:
        """Sorted by question, or by its length, then by id."""
        ranks = (self._spool.text_ranks if by_text else self._spool.id_ranks)[self._rows]
        keys = (ranks,) if by_text else (ranks, self._spool.lengths[self._rows])
        return SpooledSamples(self._spool, self._rows[np.lexsort(keys)])

    def first_of_each(self, limit: int | None) -> SpooledSamples:
        """The first `limit` of each language; all of them for None."""
        langs = self._spool.langs[self._rows]
        kept = [np.flatnonzero(langs == code)[:limit] for code in range(len(self._spool.languages))]
        return SpooledSamples(self._spool, self._rows[np.sort(np.concatenate(kept))])

    @property
    def digest(self) -> str:
        """`hash_samples` of the whole spool."""
        assert len(self) == len(self._spool), "a part is not what was selected"
        return self._spool.digest


def collected(samples: Iterable[Sample]) -> Sequence[Sample]:
    """The samples, read once and in order: a tuple, or on disk beyond `HELD`."""
    samples = iter(samples)
    held = list(islice(samples, HELD))
    more = next(samples, None)
    if more is None:
        return tuple(held)
    spool = _Spool()
    for sample in chain(held, (more,), samples):
        spool.append(sample)
    return SpooledSamples(spool)


def languages_of(samples: Sequence[Sample]) -> frozenset[str]:
    """Languages of the questions."""
    if isinstance(samples, SpooledSamples):
        return samples.languages
    return frozenset(sample.lang for sample in samples)


def in_languages(samples: Sequence[Sample], languages: Collection[str]) -> Sequence[Sample]:
    """Samples whose question is in one of `languages`, in their order."""
    if isinstance(samples, SpooledSamples):
        return samples.in_languages(languages)
    return tuple(sample for sample in samples if sample.lang in languages)


def ordered(samples: Sequence[Sample], *, by_text: bool) -> Sequence[Sample]:
    """Samples sorted by question, or by the length of its question in bytes, then by id."""
    if isinstance(samples, SpooledSamples):
        return samples.ordered(by_text=by_text)
    return tuple(sorted(samples, key=lambda s: (s.question if by_text else length_of(s), s.id)))


def first_of_each(samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
    """The first `limit` samples of each language, in their order; all of them for None."""
    if isinstance(samples, SpooledSamples):
        return samples.first_of_each(limit)
    seen: dict[str, int] = {}
    kept = []
    for sample in samples:
        seen[sample.lang] = seen.get(sample.lang, 0) + 1
        if limit is None or seen[sample.lang] <= limit:
            kept.append(sample)
    return tuple(kept)


def hash_samples(samples: Sequence[Sample]) -> str:
    """SHA-256 of ids, questions, answers and options, whatever the order of the samples."""
    return samples.digest if isinstance(samples, SpooledSamples) else _sha256_of_sorted(sorted(map(_hashed, samples)))


def length_of(sample: Sample) -> int:
    """Bytes of the question in UTF-8."""
    return len(sample.question.encode("utf-8", "replace"))


def _ranked(rows: Iterable[tuple[Any, ...]], ranks: Rows) -> Iterator[tuple[Any, ...]]:
    """Rows without their last value, a position, at which the rank of their first value is written to `ranks`."""
    rank, last = -1, None
    for *values, position in rows:
        rank, last = rank + (values[_ID] != last), values[_ID]
        ranks[position] = rank
        yield tuple(values)


def _sha256_of_sorted(rows: Iterable[tuple[Any, ...]]) -> str:
    """SHA-256 of the JSON text of a list of these rows, a row at a time."""
    digest, before = hashlib.sha256(b"["), ""
    for row in rows:
        digest.update((before + json.dumps(row, ensure_ascii=True)).encode())
        before = ", "
    digest.update(b"]")
    return digest.hexdigest()
