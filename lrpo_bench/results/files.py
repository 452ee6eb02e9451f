"""Files that survive a crash: atomic writes, durable appends, and one-line errors when the disk says no.

Two ways to write, and no third. A whole file is written beside its name, synced and renamed over it, so a reader sees
the old text or the new one. A log grows by whole lines in one synced append; what a crash tears off is at most the last
line, and readers drop it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from lrpo_bench.errors import StorageError

_BLOCK = 1 << 20
_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the file system is read-only; choose another --out",
    errno.EACCES: "permission denied; choose another --out",
    errno.EPERM: "permission denied; choose another --out",
}


@contextlib.contextmanager
def storage_errors(path: Path, verb: str = "write") -> Iterator[None]:
    """A block in which the operating system's refusals become one-line `StorageError`s."""
    try:
        yield
    except OSError as error:
        reason = _ADVICE.get(error.errno or 0, os.strerror(error.errno) if error.errno else str(error))
        raise StorageError(
            f"can not {verb} {path}: {reason}; what was written before is kept, run the same command again to continue"
            if verb == "write"
            else f"can not {verb} {path}: {reason}"
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a whole file, atomically and durably."""
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which replaces `path` when the block ends and is thrown away when it is left by an exception."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)  # mkstemp makes it private; a result is to be read by others
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replaces a file with indented JSON; see `plain` for what becomes of values JSON does not have."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """What `write_json` writes."""
    return (dumps(value, indent=2) + "\n").encode()


def read_json(path: Path) -> Any:
    """The value in a JSON file; a missing or broken one is a `StorageError`."""
    with storage_errors(path, "read"):
        content = path.read_bytes()
    try:
        return json.loads(content)
    except ValueError as error:
        raise StorageError(f"can not read {path}: not JSON ({error}); restore it or delete the folder") from None


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Appends whole lines durably; when the disk refuses, the file is cut back to what it was."""
    if not lines:
        return
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        content = memoryview("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
        # Unbuffered: a buffer would be written again on closing, behind the cut.
        with path.open("ab", buffering=0) as file:
            start = file.tell()
            try:
                while content:
                    content = content[file.write(content) :]
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):  # the first refusal is the one to report
                    os.ftruncate(file.fileno(), start)
                raise
        if is_new:
            _sync_folder(path.parent)


def read_lines(path: Path) -> list[str]:
    """The complete lines of a log, none if there is no file; a torn last line is left out.

    Lines end at a newline only: `str.splitlines` would also cut at U+2028, which models do write.
    """
    if not path.exists():
        return []
    with storage_errors(path, "read"):
        content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1].decode("utf-8", "replace").split("\n")[:-1]


def drop_torn_line(path: Path) -> int:
    """Cuts an incomplete last line off a log before it is continued; returns how many bytes went."""
    if not path.exists():
        return 0
    with storage_errors(path), path.open("rb+") as file:
        size = start = file.seek(0, os.SEEK_END)
        keep = 0
        while start and not keep:  # block by block from the end: a log may be larger than the memory
            start = max(0, start - _BLOCK)
            file.seek(start)
            found = file.read(_BLOCK).rfind(b"\n")
            keep = start + found + 1 if found >= 0 else 0
        if keep < size:
            file.truncate(keep)
            os.fsync(file.fileno())
        return size - keep


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a log, one a line; none if there is no file."""
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise StorageError(f"{path}:{number}: not JSON ({error}); delete this line to go on") from None
        if not isinstance(row, dict):
            raise StorageError(f"{path}:{number}: expected a JSON object, got {type(row).__name__}")
        rows.append(row)
    return rows


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON text of a value made plain."""
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=indent)


def plain(value: Any) -> Any:
    """The value in JSON's own types: NaN and infinities become None, tuples lists, numpy numbers Python's.

    Raises:
        TypeError: for anything else. A number must not end up as the text of its repr.

    Example:
        >>> plain({"a": (1, float("nan")), 2: True})
        {'a': [1, None], '2': True}
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return [plain(item) for item in sorted(value)]
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "tolist"):  # numpy and torch, without importing either
        return plain(value.tolist())
    raise TypeError(f"can not store a {type(value).__name__} as JSON: {value!r}")


def first_difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> tuple[str, Any, Any] | None:
    """The first key, dotted and in sorted order, whose values differ, with both values; None if none does.

    Example:
        >>> first_difference({"train": {"lr": 1, "seed": 0}}, {"train": {"lr": 2, "seed": 1}})
        ('train.lr', 1, 2)
    """
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key, "(absent)"), new.get(key, "(absent)")
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            inner = first_difference(a, b, f"{prefix}{key}.")
            if inner:
                return inner
        elif a != b:
            return f"{prefix}{key}", a, b
    return None


def remove(paths: Iterable[Path]) -> None:
    """Deletes files and folders that exist, in the order given."""
    import shutil

    for path in paths:
        with storage_errors(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # Without this a crash of the machine may forget the rename; not every file system allows it.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
