"""`hashes.json`: the SHA-256 of every file that a run's numbers rest on, written when the run completes.

    {"algorithm": "sha256", "files": {"before/metrics.json": "9f86...", "manifest.json": "60303..."}}

It shows what was changed, cut or lost afterwards. It is no signature: whoever can write the folder can write it too.
Pages, figures and checkpoints are made from the rest, or are thrown away, and are not in it. A run that was slimmed
(`results.slim`) keeps the hashes of the files that went under `left_out`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from lrpo_bench.errors import StorageError
from lrpo_bench.results.files import read_json, storage_errors, write_json
from lrpo_bench.results.schema import EVALUATIONS, LOGS

HASHES = "hashes.json"
MODEL = "model"
_FOLDERS = (*EVALUATIONS, MODEL)


def result_files(folder: Path) -> list[Path]:
    """The files of a run that its numbers rest on, the manifest apart, relative to the folder and sorted."""
    files = [Path(f"{name}.jsonl") for name in LOGS if (folder / f"{name}.jsonl").is_file()]
    for name in _FOLDERS:
        found = (path for path in (folder / name).rglob("*") if path.is_file() and not path.name.endswith(".tmp"))
        files += [path.relative_to(folder) for path in found]
    return sorted(files)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with storage_errors(path, "read"), path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_hashes(folder: Path, others: Mapping[str, bytes]) -> None:
    """Writes `hashes.json` of a folder; `others` are files about to be written, by name."""
    files = {path.as_posix(): file_hash(folder / path) for path in result_files(folder)}
    files |= {name: hashlib.sha256(content).hexdigest() for name, content in others.items()}
    write_json(folder / HASHES, {"algorithm": "sha256", "files": dict(sorted(files.items()))})


def read_hashes(folder: Path) -> Mapping[str, str] | None:
    """The recorded hash of each file, by name; None where the folder has no `hashes.json`."""
    path = folder / HASHES
    if not path.exists():
        return None
    stored = read_json(path)
    files = stored.get("files") if isinstance(stored, dict) and stored.get("algorithm") == "sha256" else None
    if not isinstance(files, dict) or not all(isinstance(value, str) for value in files.values()):
        raise StorageError(f"{path}: not the hashes of a run; restore it")
    return files


def read_left_out(folder: Path) -> Mapping[str, str]:
    """The hashes of files that `lrpo-bench slim` has left out, by name; none where nothing was."""
    path = folder / HASHES
    stored = read_json(path) if path.exists() else {}
    found = stored.get("left_out", {}) if isinstance(stored, dict) else {}
    return found if isinstance(found, dict) else {}
