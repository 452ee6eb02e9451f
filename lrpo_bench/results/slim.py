"""A finished run without its heavy parts, small enough to commit; what stays still verifies.

Everything that a number rests on stays, byte for byte: responses, metrics, signatures, manifest, the logs of the router
and of training, and `report.md`. What goes, unless it is asked for:

    part          what                                    what is lost with it
    rollouts      rollouts.jsonl, all texts of training   the browser of rollouts, the audit of the gate, the check
                                                          that nothing trained on is evaluated, training in `reproduce`
    model         model/, the trained weights             using them, verifying them
    checkpoints   checkpoints/                            nothing: training has ended
    pages         report.html and figures/                nothing: `lrpo-bench report` makes the rest of them again

The SHA-256 of what has gone stays in `hashes.json` under `left_out`, so that a copy found elsewhere can be told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from lrpo_bench.errors import ConfigError, StorageError
from lrpo_bench.results.files import remove, write_json
from lrpo_bench.results.hashes import HASHES, MODEL, file_hash, read_hashes, read_left_out
from lrpo_bench.results.lock import FolderLock
from lrpo_bench.results.store import read_manifest

PARTS = {
    "rollouts": ("rollouts.jsonl",),
    "model": (MODEL, f"{MODEL}.tmp"),
    "checkpoints": ("checkpoints",),
    "pages": ("report.html", "figures"),
}


@dataclass(frozen=True, slots=True)
class Slimmed:
    """What became of one run folder."""

    path: Path
    dropped: tuple[str, ...]
    """Files and folders that were deleted."""
    bytes_before: int
    bytes_after: int


def slim_run(path: Path, keep: Collection[str] = ()) -> Slimmed:
    """Deletes the heavy parts of a complete run, but for those to keep.

    Raises:
        ConfigError: `keep` names no part.
        StorageError: the run is not complete, has no hashes, or what stays has been changed since.
    """
    for name in keep:
        if name not in PARTS:
            raise ConfigError(f"--keep {name!r} is no part of a run; allowed: {', '.join(PARTS)}")
    manifest = read_manifest(path)
    if manifest.status != "complete":
        raise StorageError(f"{path} is {manifest.status}; only a complete run can be slimmed, as it needs its rollouts")
    lock = FolderLock(path)
    try:
        return _slim(path, [name for part, names in PARTS.items() if part not in keep for name in names])
    finally:
        lock.release()


def _slim(path: Path, unwanted: Iterable[str]) -> Slimmed:
    recorded = read_hashes(path)
    if recorded is None:
        raise StorageError(f"{path} has no {HASHES}, so what is left could not be verified; make the run again")
    gone = [name for name in unwanted if (path / name).exists()]
    left_out = dict(read_left_out(path))
    kept = dict(recorded)
    for name, value in recorded.items():
        if any(name == top or name.startswith(f"{top}/") for top in unwanted):
            left_out[name] = kept.pop(name)
        elif not (path / name).is_file() or file_hash(path / name) != value:
            raise StorageError(f"{path / name} is not what it was when the run completed; see `lrpo-bench verify`")
    before = _size(path)
    # The record first: a crash after it leaves files that are deleted by the same command.
    files = {"algorithm": "sha256", "files": kept, "left_out": dict(sorted(left_out.items()))}
    if left_out != dict(read_left_out(path)):
        write_json(path / HASHES, files)
    remove(path / name for name in gone)
    return Slimmed(path, tuple(gone), before, _size(path))


def summary_line(found: Slimmed) -> str:
    """What was done, in one line.

    Example:
        >>> summary_line(Slimmed(Path("runs/a"), ("rollouts.jsonl",), 4_000_000, 500_000))
        'runs/a: 4.0 MB to 0.5 MB, without rollouts.jsonl'
    """
    sizes = f"{found.bytes_before / 1e6:.1f} MB to {found.bytes_after / 1e6:.1f} MB"
    dropped = f", without {', '.join(found.dropped)}" if found.dropped else ", nothing to drop"
    return f"{found.path}: {sizes}{dropped}"


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
