"""What does not fit in memory: rows in a temporary file without a name, read back by place or in order.

`DiskSorter` sorts runs of a few thousand rows, keeps them in the file and merges them as they are read, the way
databases sort. Rows are plain tuples (text, numbers, None, and tuples or lists of such). Nothing is left behind, not
even by a process that is killed. The file lies in `TMPDIR` unless a folder is named.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import marshal
import os
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.errors import StorageError

Row = tuple[Any, ...]

RUN = 5_000
"""Rows that are sorted at once; as many or fewer never touch the disk."""
_BLOCK = 16  # rows of a run that are read at once while runs are merged
_BUFFERED = 1 << 20


class ScratchFile:
    """Bytes by place, in a file that only this object can open; deleted with it."""

    def __init__(self, folder: Path | None = None) -> None:
        """Makes the file; raises `StorageError` where the folder refuses."""
        with _scratch_errors(folder):
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 (lives as long as this object)
        weakref.finalize(self, self._file.close)
        self._folder, self._pending, self._written = folder, bytearray(), 0

    def append(self, content: bytes) -> int:
        """Adds to the end; returns where `content` begins."""
        start = self._written + len(self._pending)
        self._pending += content
        if len(self._pending) >= _BUFFERED:
            self._flush()
        return start

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from `start`."""
        if start + size > self._written:
            self._flush()
        with _scratch_errors(self._folder):
            if hasattr(os, "pread"):  # a forked process and another thread have the same place in the file
                return os.pread(self._file.fileno(), size, start)
            self._file.seek(start)
            return self._file.read(size)

    def _flush(self) -> None:
        with _scratch_errors(self._folder):
            self._file.seek(self._written)
            content = memoryview(bytes(self._pending))
            while content:
                written = self._file.write(content)
                content = content[written:]
                self._written += written
        self._pending.clear()


class DiskSorter:
    """Takes rows one by one and gives them back sorted, equal ones in the order in which they came."""

    def __init__(self, key: Callable[[Row], Any] | None = None, folder: Path | None = None, run: int = 0) -> None:
        """Orders by `key`, or by the rows themselves; `run` rows (0: `RUN`) are in memory at a time."""
        self._key, self._folder, self._run = key, folder, run or RUN
        self._recent: list[Row] = []
        self._runs: list[array[int]] = []
        """Where the blocks of each run begin, and where its last one ends."""
        self._file: ScratchFile | None = None

    def add(self, row: Row) -> None:
        """Takes one row."""
        if len(self._recent) == self._run:
            self._store()
        self._recent.append(row)

    def add_all(self, rows: Iterable[Row]) -> None:
        """Takes rows."""
        for row in rows:
            self.add(row)

    def __iter__(self) -> Iterator[Row]:
        self._recent.sort(key=self._key)
        if not self._runs:
            return iter(self._recent)
        return heapq.merge(*map(self._stored, self._runs), self._recent, key=self._key)

    def _store(self) -> None:
        self._recent.sort(key=self._key)
        self._file = self._file or ScratchFile(self._folder)
        places = array("q")
        for i in range(0, len(self._recent), _BLOCK):
            block = dumped(self._recent[i : i + _BLOCK])
            places.append(self._file.append(block))
        places.append(places[-1] + len(block))
        self._runs.append(places)
        self._recent.clear()

    def _stored(self, places: array[int]) -> Iterator[Row]:
        assert self._file is not None, "there are runs, so there is a file"
        for start, end in pairwise(places):
            yield from loaded(self._file.read(start, end - start))


class DiskRanks:
    """Takes texts one by one and numbers them in the order of their code points, equal ones alike.

    Example:
        >>> ranks = DiskRanks()
        >>> for text in ("b", "a", "b", "c"):
        ...     ranks.add(text)
        >>> ranks.ranks().tolist()
        [1, 0, 1, 2]
    """

    def __init__(self) -> None:
        self._sorter, self._count = DiskSorter(), 0

    def add(self, *texts: str) -> None:
        """Takes one text, or a few that are compared one after another."""
        self._sorter.add((texts, self._count))
        self._count += 1

    def ranks(self) -> NDArray[np.int32]:
        """The number of each text, from 0 without gaps, in the order in which they came."""
        ranks = np.empty(self._count, dtype=np.int32)
        rank, last = -1, None
        for texts, position in self._sorter:
            rank, last = rank + (texts != last), texts
            ranks[position] = rank
        return ranks


def dumped(row: Any) -> bytes:
    """Bytes of a plain value (`is_plain`), which only this process can read."""
    return marshal.dumps(row)


def is_plain(value: Any) -> bool:
    """Whether a value comes back from `dumped` as it was; a number of numpy's would come back as bytes.

    Example:
        >>> is_plain(("a", 1, [None, {"b": 0.5}])), is_plain((np.int64(1),))
        (True, False)
    """
    if type(value) in (tuple, list):
        return all(map(is_plain, value))
    if type(value) is dict:
        return all(map(is_plain, value)) and all(map(is_plain, value.values()))
    return type(value) in (str, int, float, bool, type(None))


def loaded(content: bytes) -> Any:
    """The value of `dumped`."""
    return marshal.loads(content)


@contextlib.contextmanager
def _scratch_errors(folder: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = folder or tempfile.gettempdir()
        reason = "the disk is full" if error.errno == errno.ENOSPC else os.strerror(error.errno or 0)
        hint = "free some space" if folder else "free some space, or set TMPDIR to a folder that has more"
        raise StorageError(f"can not keep temporary data in {place}: {reason}; {hint}") from error
