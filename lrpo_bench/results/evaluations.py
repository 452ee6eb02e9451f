"""One evaluation on disk: grown line by line, then closed as Parquet.

While it is being made it is `signature.json` and `responses.jsonl`. Finishing writes `responses.parquet`, then
`metrics.json`, and only then deletes the JSONL: `metrics.json` is the mark that an evaluation is whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from lrpo_bench.errors import StorageError
from lrpo_bench.evaluation.metrics import Metric
from lrpo_bench.evaluation.records import RecordKey, ResponseRecord, record_to_json
from lrpo_bench.results.files import (
    append_lines,
    drop_torn_line,
    first_difference,
    read_json,
    remove,
    write_json,
)
from lrpo_bench.results.responses import (
    BATCH,
    LoggedResponses,
    StoredResponses,
    to_parquet,
    write_parquet,
)
from lrpo_bench.results.schema import Evaluation, Signature
from lrpo_bench.results.stored_keys import StoredKeys

SIGNATURE, METRICS, JSONL, PARQUET = "signature.json", "metrics.json", "responses.jsonl", "responses.parquet"


class EvaluationWriter:
    """An evaluation being made, or continued.

    Attributes:
        records: what is stored so far, read from disk when it is looked at; in order of arrival.
    """

    def __init__(self, folder: Path, signature: Signature) -> None:
        """Reads what an earlier attempt left; use `Store.evaluation`."""
        self.folder, self.signature = folder, signature
        if (folder / SIGNATURE).exists():
            _refuse_other_signature(folder, signature)
        else:
            write_json(folder / SIGNATURE, signature.to_dict())
        self._finished = read_evaluation(folder)
        self.records: Sequence[ResponseRecord]
        if self._finished is None:
            drop_torn_line(folder / JSONL)
            self._log = LoggedResponses(folder / JSONL)
            self.records = self._log
        else:
            self.records = self._finished.records
            remove([folder / JSONL])
        self._keys = StoredKeys(self.records)
        self._sorted: StoredResponses | None = None

    @property
    def is_complete(self) -> bool:
        """True once it was finished, now or by an earlier process."""
        return self._finished is not None

    @property
    def done(self) -> Set[RecordKey]:
        """Keys of the records stored by now: what a second attempt need not generate again."""
        return self._keys.frozen()

    def append(self, records: Iterable[ResponseRecord]) -> None:
        """Stores records; they survive a crash once this returns. A key that is already there is a bug and raises."""
        records = list(records)
        keys = [record.key for record in records]
        if self.is_complete or not self._keys.lacks(keys):
            raise ValueError(f"{self.folder}: finished, or a record twice: skip the keys in `done`")
        append_lines(self.folder / JSONL, [record_to_json(record) for record in records])
        self._keys.add(keys)
        self._log.n_stored += len(records)
        self._sorted = None

    def in_key_order(self) -> Sequence[ResponseRecord]:
        """The stored records in the order of their keys: the file that `finish` leaves, without its metrics."""
        if self._finished is not None:
            return self._finished.records
        if self._sorted is None:
            write_parquet(self.folder / PARQUET, self.records)
            self._sorted = StoredResponses(self.folder / PARQUET)
        return self._sorted

    def finish(self, metrics: Sequence[Metric], trained_languages: Iterable[str] | None = None) -> Evaluation:
        """Closes the evaluation and returns it; finishing twice returns the first one."""
        if self._finished is None:
            trained = None if trained_languages is None else sorted(trained_languages)
            self.in_key_order()
            rows = [dataclasses.asdict(metric) for metric in metrics]
            write_json(self.folder / METRICS, {"trained_languages": trained, "metrics": rows})
            remove([self.folder / JSONL])
            self._finished = read_evaluation(self.folder)
            assert self._finished is not None, "metrics.json was just written"
            self.records = self._finished.records
        return self._finished


def read_evaluation(folder: Path) -> Evaluation | None:
    """The finished evaluation in a folder, None if there is none or it is half done."""
    if not (folder / METRICS).exists():
        return None
    stored = read_json(folder / METRICS)
    try:
        metrics = tuple(Metric(**{**row, "ci95": tuple(row["ci95"])}) for row in stored["metrics"])
        trained = stored["trained_languages"]
    except (KeyError, TypeError) as error:
        raise StorageError(f"{folder / METRICS}: not the metrics of an evaluation ({error})") from None
    responses = StoredResponses(folder / PARQUET)
    return Evaluation(
        signature=Signature.from_dict(read_json(folder / SIGNATURE), str(folder / SIGNATURE)),
        records=tuple(responses) if len(responses) <= BATCH else responses,
        metrics=metrics,
        trained_languages=None if trained is None else tuple(trained),
        label=folder.name,
    )


def read_parquet(path: Path) -> list[ResponseRecord]:
    """The records of a Parquet file; unknown versions and columns are a `StorageError`."""
    return list(StoredResponses(path))


def _refuse_other_signature(folder: Path, signature: Signature) -> None:
    old: Mapping[str, Any] = Signature.from_dict(read_json(folder / SIGNATURE), str(folder / SIGNATURE)).to_dict()
    difference = first_difference(old, signature.to_dict())
    if difference:
        key, was, is_now = difference
        raise StorageError(
            f"{folder} was begun under another signature: {key} was {was!r}, now {is_now!r}; "
            "use --overwrite to begin again or another --out"
        )


__all__ = ["Evaluation", "EvaluationWriter", "read_evaluation", "read_parquet", "to_parquet"]
