"""The one door to a run folder: create, continue after a crash, finish, read.

Writing::

    with Store.open(path, config, command=sys.argv) as store:
        store.update(hashes={"data": ...}, seeds={"run": 0})
        before = store.evaluation("before", signature)
        before.append(records)  # durable when it returns; a second attempt skips the keys in `before.done`
        before.finish(metrics_of(before.records, trained), trained)
        store.log("router", {"step": 1, "arms": {...}})
        store.complete()

An exception that leaves the block marks the run failed, with its reason; the same call then continues it. Reading needs
no lock: `read_run(path)`. The layout is drawn in `schema`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lrpo_bench.errors import StorageError
from lrpo_bench.evaluation.metrics import Metric
from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.results import environment
from lrpo_bench.results.evaluations import EvaluationWriter, read_evaluation
from lrpo_bench.results.files import (
    append_lines,
    drop_torn_line,
    dumps,
    first_difference,
    json_bytes,
    plain,
    read_json,
    read_rows,
    remove,
    storage_errors,
    write_bytes,
)
from lrpo_bench.results.hashes import HASHES, MODEL, write_hashes
from lrpo_bench.results.lock import LOCK_NAME, FolderLock
from lrpo_bench.results.schema import EVALUATIONS, LOGS, Evaluation, Manifest, Run, Signature, now

MANIFEST = "manifest.json"
_PAGES = ("figures", "report.html", "report.md")
_OWN = ("checkpoints", MODEL, f"{MODEL}.tmp", *_PAGES, HASHES, *EVALUATIONS, *(f"{name}.jsonl" for name in LOGS))
# A run fails with a message that is read in a terminal, so a traceback's worth of text is cut.
_REASON_CHARACTERS = 500


class Store:
    """A run folder open for writing by this process alone.

    Attributes:
        path: the folder.
        manifest: as it is on disk.
    """

    def __init__(self, path: Path, manifest: Manifest, lock: FolderLock) -> None:
        """Use `Store.open`."""
        self.path, self.manifest, self._lock = path, manifest, lock

    @classmethod
    def open(
        cls, path: Path | str, config: Mapping[str, Any], *, command: Sequence[str] = (), overwrite: bool = False
    ) -> Store:
        """The store of a new run, or of one made with an equal config, ready to be continued.

        Args:
            path: the folder; made if need be.
            config: everything that decides the outcome, and nothing else (no paths, no verbosity).
            command: for the manifest; values of secret-looking options are starred out.
            overwrite: deletes what an earlier run left there, and nothing else.

        Raises:
            StorageError: another config, another schema version, another writer, or no right to write.
        """
        path = Path(path)
        with storage_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        _refuse_foreign_folder(path)
        lock = FolderLock(path)
        try:
            if overwrite:
                remove([*(path / name for name in _OWN), path / MANIFEST])  # last: until then it is known as a run
            store = cls(path, _manifest_of(path, plain(config), command), lock)
            if not store.is_complete:  # a complete one stays byte for byte what `hashes.json` says
                store._write_manifest()
        except BaseException:
            lock.release()
            raise
        return store

    @property
    def is_complete(self) -> bool:
        """True once `complete` was called, now or by an earlier process."""
        return self.manifest.status == "complete"

    def update(
        self,
        *,
        hashes: Mapping[str, str] | None = None,
        seeds: Mapping[str, int] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds to the manifest; a hash or seed that was recorded with another value is a `StorageError`.

        A complete run that is added to (`run` after `train`) is running again, until `complete`.
        """
        old = self.manifest
        changed: dict[str, dict[str, Any]] = {}
        for name, new in (("hashes", hashes or {}), ("seeds", seeds or {})):
            recorded: Mapping[str, Any] = getattr(old, name)
            for key in sorted(recorded.keys() & new.keys()):
                if recorded[key] != new[key]:
                    raise StorageError(
                        f"{self.path}: {name}.{key} was {recorded[key]!r} when the run began, now {new[key]!r}; "
                        "use --overwrite to begin again or another --out"
                    )
            changed[name] = {**recorded, **new}
        changed["extra"] = {**old.extra, **plain(extra or {})}
        if any(getattr(old, name) != value for name, value in changed.items()):
            self._replace(**changed, **({"status": "running", "finished_at": None} if self.is_complete else {}))

    def evaluation(self, name: str, signature: Signature) -> EvaluationWriter:
        """The evaluation `before` or `after`: new, half done, or finished."""
        if name not in EVALUATIONS:
            raise ValueError(f"evaluation must be one of {EVALUATIONS}, got {name!r}")
        return EvaluationWriter(self.path / name, signature)

    def log(self, name: str, row: Mapping[str, Any]) -> None:
        """Appends one durable row to `router.jsonl`, `train.jsonl` or `rollouts.jsonl`."""
        self.log_all(name, [row])

    def log_all(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends rows in one durable write."""
        append_lines(self._log_path(name), [dumps(row) for row in rows])

    def rewind(self, step: int) -> None:
        """Drops rows of every log that come after `step`, since training goes on from its last checkpoint."""
        for name in LOGS:
            path = self._log_path(name)
            if path.exists():
                rows = [row for row in read_rows(path) if row.get("step", 0) <= step]
                write_bytes(path, "".join(dumps(row) + "\n" for row in rows).encode("utf-8", "backslashreplace"))

    def complete(self) -> None:
        """Marks the run complete, and writes `hashes.json` first, so that no complete run is without it."""
        # When the folder was opened, nothing had loaded torch yet, and so the accelerators were not known.
        gpus = self.manifest.hardware.get("gpus") or environment.hardware()["gpus"]
        hardware = {**self.manifest.hardware, "gpus": gpus}
        done = dataclasses.replace(self.manifest, status="complete", reason="", finished_at=now(), hardware=hardware)
        write_hashes(self.path, {MANIFEST: json_bytes(done.to_dict())})
        self.manifest = done
        self._write_manifest()

    def fail(self, reason: str) -> None:
        """Marks the run failed, with the reason; it can be continued."""
        self._replace(status="failed", reason=reason[:_REASON_CHARACTERS], finished_at=now())

    def close(self) -> None:
        """Lets other processes write the folder."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if kind is not None and not self.is_complete:  # what is complete stays so, whatever its reader does
                self.fail(f"{kind.__name__}: {error}")
        except StorageError as second:
            if error is not None:  # the disk may be the very reason; the first error is the one to show
                error.add_note(f"and the manifest could not be marked failed: {second}")
        finally:
            self.close()

    def _log_path(self, name: str) -> Path:
        if name not in LOGS:
            raise ValueError(f"log must be one of {LOGS}, got {name!r}")
        return self.path / f"{name}.jsonl"

    def _replace(self, **fields: Any) -> None:
        self.manifest = dataclasses.replace(self.manifest, **fields)
        self._write_manifest()

    def _write_manifest(self) -> None:
        write_bytes(self.path / MANIFEST, json_bytes(self.manifest.to_dict()))


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of a config, whatever the order of its keys.

    Example:
        >>> config_hash({"a": 1, "b": 2}) == config_hash({"b": 2, "a": 1})
        True
    """
    text = json.dumps(plain(config), sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(path: Path | str) -> Manifest:
    """The manifest of a run folder; a `StorageError` where there is none."""
    file = Path(path) / MANIFEST
    if not file.exists():
        raise StorageError(f"{path} is not a run folder: it has no {MANIFEST}")
    return Manifest.from_dict(read_json(file), str(file))


def read_run(path: Path | str) -> Run:
    """Whatever a run folder holds, finished or not; takes no lock and writes nothing."""
    path = Path(path)
    manifest = read_manifest(path)
    found = {name: read_evaluation(path / name) for name in EVALUATIONS}
    logs = {name: tuple(read_rows(path / f"{name}.jsonl")) for name in LOGS}
    return Run(path=path, manifest=manifest, **found, **logs)  # type: ignore[arg-type]


def _refuse_foreign_folder(path: Path) -> None:
    with storage_errors(path, "read"):
        others = sorted(p.name for p in path.iterdir() if p.name != LOCK_NAME and not p.name.endswith(".tmp"))
    if others and MANIFEST not in others:
        raise StorageError(
            f"{path} is not empty and not a run folder (it has {others[0]!r} but no {MANIFEST}); use another --out"
        )


def _manifest_of(path: Path, config: Mapping[str, Any], command: Sequence[str]) -> Manifest:
    here: dict[str, Any] = {
        "versions": environment.versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "hardware": environment.hardware(),
        "git": environment.git_state(),
    }
    shown = tuple(environment.safe_command(command))
    if not (path / MANIFEST).exists():
        version = here["versions"]["lrpo-bench"]
        return Manifest(config, config_hash(config), shown, created_at=now(), package_version=version, **here)
    old = read_manifest(path)
    difference = first_difference(old.config, config)
    if difference:
        key, was, is_now = difference
        raise StorageError(
            f"{path} was made with another config: {key} was {was!r}, now {is_now!r}; "
            "use --overwrite to replace it or another --out"
        )
    for name in LOGS:
        drop_torn_line(path / f"{name}.jsonl")
    if old.status == "complete":
        return old
    changes = {}
    for key, value in here.items():
        difference = first_difference({key: getattr(old, key)}, {key: plain(value)})
        if difference:
            changes[difference[0]] = list(difference[1:])
    entry = {"at": now(), "command": list(shown), "changed": changes}
    return dataclasses.replace(old, status="running", reason="", finished_at=None, resumed=(*old.resumed, entry))


__all__ = [
    "Evaluation",
    "EvaluationWriter",
    "Manifest",
    "Metric",
    "ResponseRecord",
    "Run",
    "Signature",
    "Store",
    "config_hash",
    "read_manifest",
    "read_run",
]
