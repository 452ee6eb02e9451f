"""Responses on disk as sequences that read them when asked, so that no more than a batch of them is in memory.

`LoggedResponses` is the log of an evaluation that is being made, `StoredResponses` the Parquet file of a finished one.
Both can be iterated any number of times, and read the file each time. `write_parquet` sorts a log into a Parquet file
by runs on disk that are then merged, the way databases sort what does not fit.

What an evaluation keeps in memory for each response is 12 bytes of its key (`stored_keys`), and while metrics are
counted the numbers that they average (`evaluation.columns`).
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import IO, Any, overload

from lrpo_bench.errors import StorageError
from lrpo_bench.evaluation.records import (
    FIELDS,
    RECORD_VERSION,
    ResponseRecord,
    record_from_json,
    record_from_row,
    record_to_json,
    refuse_unknown_version,
    sort_records,
)
from lrpo_bench.results.files import remove, replacing, storage_errors
from lrpo_bench.scratch import DiskSorter

BATCH = 5_000
"""Responses that are sorted, converted or read at once; files of as many or fewer are read whole."""
_SORT_PREFIX = ".sort."
_TEXTS = ("prompt", "question", "gold")
_FIELDS = attrgetter(*FIELDS)
_KEY = itemgetter(*map(FIELDS.index, ("task", "sample_id", "rollout_lang", "k")))  # as `ResponseRecord.key`


class _Responses(Sequence[ResponseRecord]):
    """What both have in common: they equal any sequence of the same records."""

    path: Path

    def __iter__(self) -> Iterator[ResponseRecord]:
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> ResponseRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ResponseRecord]: ...
    def __getitem__(self, index: int | slice) -> ResponseRecord | Sequence[ResponseRecord]:
        """Reads the file from its beginning: for a look, not for a loop."""
        if isinstance(index, slice):
            return tuple(itertools.islice(self, *index.indices(len(self))))
        position = range(len(self))[index]
        return next(itertools.islice(self, position, None))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class LoggedResponses(_Responses):
    """The responses in a JSONL file, in order of arrival; `n_stored` is what the writer has appended."""

    def __init__(self, path: Path) -> None:
        """Counts what is there; a file that does not exist holds none."""
        self.path = path
        self.n_stored = sum(1 for _ in _lines(path))

    def __len__(self) -> int:
        return self.n_stored

    def __iter__(self) -> Iterator[ResponseRecord]:
        for number, line in enumerate(_lines(self.path), 1):
            yield record_from_json(line, f"{self.path}:{number}")


class StoredResponses(_Responses):
    """The responses in a Parquet file, in the order of their keys."""

    def __init__(self, path: Path) -> None:
        """Reads the file's footer only; raises `StorageError` where it is none that this version reads."""
        self.path = path
        with _opened(path) as file:
            text = (file.schema_arrow.metadata or {}).get(b"record_version", b"").decode()
            self._count = file.metadata.num_rows
        self._version = int(text) if text.isdecimal() else None
        refuse_unknown_version(self._version, str(path))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ResponseRecord]:
        return self._read(())

    def without_texts(self) -> Iterator[ResponseRecord]:
        """The records with empty prompts, questions and gold answers, which are not even read."""
        return self._read(_TEXTS)

    def _read(self, left_out: Collection[str]) -> Iterator[ResponseRecord]:
        number, empty = 0, dict.fromkeys(left_out, "")
        with _opened(self.path) as file:
            names = [name for name in file.schema_arrow.names if name not in left_out]
            for batch in _checked(file.iter_batches(BATCH, columns=names), self.path):
                for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    values = dict(zip(names, row, strict=True)) | empty
                    yield record_from_row(values, self._version, f"{self.path} row {number}")
                    number += 1


def write_parquet(path: Path, records: Iterable[ResponseRecord]) -> None:
    """Writes a Parquet file of records in the order of their keys, atomically; equal records give equal bytes.

    Text that UTF-8 can not hold (lone surrogates) is replaced by U+FFFD here; the JSONL kept it.
    """
    drop_unfinished_sorting(path.parent)
    with replacing(path) as file:
        sorter = DiskSorter(_KEY, path.parent, BATCH)
        sorter.add_all(map(_FIELDS, records))
        _write_sorted(file, itertools.starmap(ResponseRecord, sorter))


def to_parquet(records: Iterable[ResponseRecord]) -> bytes:
    """The bytes of the Parquet file that `write_parquet` makes of records that fit in memory."""
    buffer = io.BytesIO()
    _write_sorted(buffer, iter(sort_records(records)))
    return buffer.getvalue()


def _write_sorted(file: IO[bytes], records: Iterable[ResponseRecord]) -> None:
    import pyarrow.parquet as pq

    schema = _schema()
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        batches = _batches(iter(records))
        for batch in itertools.chain([next(batches, [])], batches):  # a file without records has one empty table
            writer.write_table(_table(batch, schema))


def _table(records: Sequence[ResponseRecord], schema: Any) -> Any:
    import pyarrow as pa

    columns = []
    for field in schema:
        values = [getattr(record, field.name) for record in records]
        try:
            columns.append(pa.array(values, field.type))
        except UnicodeEncodeError:
            columns.append(pa.array([_clean(value) for value in values], field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def drop_unfinished_sorting(folder: Path) -> None:
    """Deletes what a process of an older version left that died while it sorted."""
    remove(folder.glob(f"{_SORT_PREFIX}*.tmp"))


def _batches(records: Iterator[ResponseRecord]) -> Iterator[list[ResponseRecord]]:
    while batch := list(itertools.islice(records, BATCH)):
        yield batch


def _lines(path: Path) -> Iterator[str]:
    """The complete lines of a file; they end at a newline only, and a torn last one is left out."""
    if not path.exists():
        return
    with storage_errors(path, "read"), path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line[:-1].decode("utf-8", "replace")


def _schema() -> Any:
    import pyarrow as pa

    kinds: dict[str, Any] = dict.fromkeys(FIELDS, pa.string())
    kinds |= {"regions": pa.list_(pa.string()), "k": pa.int32(), "n_tokens": pa.int32(), "score": pa.float64()}
    kinds |= dict.fromkeys(("prompt_truncated", "language_ok", "lines_ok", "words_ok"), pa.bool_())
    kinds |= {"ranking": pa.list_(pa.int32())}
    return pa.schema(list(kinds.items()), metadata={"record_version": str(RECORD_VERSION)})


def _opened(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with storage_errors(path, "read"):
        path.open("rb").close()
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _not_parquet(path, error) from None


def _checked(batches: Iterator[Any], path: Path) -> Iterator[Any]:
    import pyarrow as pa

    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _not_parquet(path, error) from None
        if batch is None:
            return
        yield batch


def _not_parquet(path: Path, error: Exception) -> StorageError:
    return StorageError(f"{path}: not a Parquet file ({error}); restore it or delete the folder")


def _clean(value: Any) -> Any:
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else value
