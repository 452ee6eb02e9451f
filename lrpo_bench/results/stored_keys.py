"""Which records an evaluation has, in 12 bytes each: a million keys as tuples of text would take 300 MB."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.evaluation.records import RecordKey, ResponseRecord

_DIGEST_BYTES = 12
Digests = NDArray[np.bytes_]


def key_digest(key: RecordKey) -> bytes:
    """96 bits that stand for a key: of a million keys, two share one with a probability of 6e-18."""
    text = "\0".join(map(str, key)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=_DIGEST_BYTES).digest()


class StoredKeys(Set[RecordKey]):
    """The keys of records that are stored, as a set; looking at them one by one reads the records."""

    def __init__(self, records: Sequence[ResponseRecord]) -> None:
        """Takes the keys of what is there; what comes later is told by `add`."""
        self._records = records
        self._parts: list[Digests] = []
        """Sorted, each at least twice as long as the next, so that there are few."""
        batch: list[bytes] = []
        for record in records:
            batch.append(key_digest(record.key))
            if len(batch) == 1 << 16:
                self._keep(_array(batch))
                batch.clear()
        self._keep(_array(batch))

    def lacks(self, keys: Sequence[RecordKey]) -> bool:
        """Whether none of these keys is there, and none is given twice."""
        digests = _array([key_digest(key) for key in keys])
        repeated = bool((digests[1:] == digests[:-1]).any())
        return not repeated and not any(_held(part, digests).any() for part in self._parts)

    def add(self, keys: Sequence[RecordKey]) -> None:
        """Takes keys that it `lacks`."""
        self._keep(_array([key_digest(key) for key in keys]))

    def frozen(self) -> StoredKeys:
        """The keys as they are now; looking for one takes some microseconds."""
        found = StoredKeys(())
        found._records, found._parts = self._records, [_merged(self._parts)] if self._parts else []
        return found

    def __contains__(self, key: object) -> bool:
        if not self._parts:
            return False
        digest = np.array([key_digest(key)], dtype=f"S{_DIGEST_BYTES}")  # type: ignore[arg-type]
        return any(bool(_held(part, digest)[0]) for part in self._parts)

    def __iter__(self) -> Iterator[RecordKey]:
        return (record.key for record in islice(self._records, len(self)))

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @classmethod
    def _from_iterable(cls, it: Iterable[RecordKey]) -> frozenset[RecordKey]:  # type: ignore[override]
        return frozenset(it)  # of set operations, whose outcome has no records

    def _keep(self, digests: Digests) -> None:
        if not digests.size:
            return
        self._parts.append(digests)
        while len(self._parts) > 1 and len(self._parts[-2]) < 2 * len(self._parts[-1]):
            self._parts.append(_merged([self._parts.pop(), self._parts.pop()]))


def _array(digests: Sequence[bytes]) -> Digests:
    found = np.array(digests, dtype=f"S{_DIGEST_BYTES}")
    found.sort()
    return found


def _merged(parts: Sequence[Digests]) -> Digests:
    merged = np.concatenate(parts)
    merged.sort()
    return merged


def _held(part: Digests, wanted: Digests) -> NDArray[np.bool_]:
    """Which of `wanted` are in a sorted array that is not empty."""
    places = np.minimum(np.searchsorted(part, wanted), len(part) - 1)
    return np.asarray(part[places] == wanted)
