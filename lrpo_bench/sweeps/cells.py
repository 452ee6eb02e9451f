"""A cell on disk: whether it is done, how far it is, how it failed.

Everything is read from its run folder, so that two sweeps into one folder, and a sweep begun again, see the same.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from lrpo_bench.config import parse_config
from lrpo_bench.errors import ConfigError, StorageError
from lrpo_bench.plan import Plan
from lrpo_bench.results.files import first_difference, plain, read_json, storage_errors
from lrpo_bench.results.lock import LOCK_NAME
from lrpo_bench.results.schema import Manifest
from lrpo_bench.results.store import MANIFEST, Store, read_manifest
from lrpo_bench.sweeps.file import CONFIGS, Cell, Sweep, cell_values
from lrpo_bench.training.methods import get_method
from lrpo_bench.training.steps import training_steps

Status = Literal["waiting", "stopped", "running", "elsewhere", "complete", "failed", "refused"]
"""`stopped`: half done, to be continued; `elsewhere`: another process writes it; `refused`: can not be made here."""


@dataclass(frozen=True, slots=True)
class CellState:
    """What a cell's folder says."""

    status: Status
    reason: str = ""
    """Why it failed or is refused; empty otherwise."""


def read_state(cell: Cell) -> CellState:
    """The state of a cell that this process is not running."""
    if not (cell.folder / MANIFEST).exists():
        return CellState("elsewhere" if is_locked(cell.folder) else "waiting")
    try:
        manifest = read_manifest(cell.folder)
    except StorageError as error:
        return CellState("refused", str(error))
    difference = first_difference(manifest.config, plain(decisive_config(cell)))
    if difference and manifest.status == "complete" and _is_same_today(manifest, cell):
        return CellState("complete")
    if difference:
        key, was, now = difference
        return CellState("refused", f"was made with another config: {key} was {was!r}, now {now!r}")
    if manifest.status == "complete":
        return CellState("complete")
    if is_locked(cell.folder):
        return CellState("elsewhere")
    # Ctrl-C is no fault of the cell's.
    if manifest.status == "failed" and not manifest.reason.startswith("KeyboardInterrupt"):
        return CellState("failed", manifest.reason)
    return CellState("stopped")


def decisive_config(cell: Cell) -> dict[str, Any]:
    """What the cell's manifest will hold as its configuration; reads no data."""
    return Plan(cell.config, (), get_method(cell.config.train.method), (), ()).decisive_config()


def _is_same_today(manifest: Manifest, cell: Cell) -> bool:
    """Whether a finished run's configuration means what the cell's does: a newer version may have more keys."""
    try:
        then = parse_config(manifest.config)
    except ConfigError:
        return False
    return decisive_config(dataclasses.replace(cell, config=then)) == decisive_config(cell)


def is_locked(folder: Path) -> bool:
    """True while another process writes a run folder; leaves no trace."""
    import fcntl

    try:
        handle = os.open(folder / LOCK_NAME, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def record_failure(cell: Cell, reason: str, command: tuple[str, ...]) -> str:
    """Leaves the reason in the cell's manifest where its process could not (killed, or refused before it began).

    Returns:
        The reason, with a remark where it could not be stored.
    """
    try:
        with Store.open(cell.folder, decisive_config(cell), command=command) as store:
            if not store.is_complete:
                store.fail(reason)
    except StorageError as error:
        return f"{reason} (not stored: {error})"
    return reason


def write_configs(sweep: Sweep) -> dict[str, Path]:
    """The configuration files of all cells, by cell, written where they are missing.

    Raises:
        ConfigError: where a file of that name holds another configuration.
    """
    paths = {}
    for cell in sweep.cells:
        path = paths[cell.name] = sweep.out / CONFIGS / f"{cell.file_name}.yaml"
        values = cell_values(cell)
        if not path.exists():
            _create(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
        with storage_errors(path, "read"):
            stored = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(stored, dict):
            raise ConfigError(f"{path} holds no configuration; delete it to have it written again")
        difference = first_difference(stored, values)
        if difference and parse_config(stored) != cell.config:  # keys that a newer version has may be missing
            key, was, now = difference
            raise ConfigError(
                f"{path} belongs to another sweep: {key} was {was!r}, now {now!r}; "
                "use another --out, or delete that file and the cell's folder to make the cell again"
            )
    return paths


def progress_of(cell: Cell, n_responses: int) -> tuple[str, float]:
    """What a running cell is doing, in words and as a share of its own work."""
    trains = get_method(cell.config.train.method).routing != "none"
    stages: list[tuple[str, Callable[[], int], int, bool]] = [
        ("before", lambda: _lines(cell.folder / "before" / "responses.jsonl"), n_responses, _evaluated(cell, "before")),
    ]
    if trains:
        steps = training_steps(cell.config.train, get_method(cell.config.train.method))
        stages.append(
            ("train", lambda: _lines(cell.folder / "train.jsonl"), steps, (cell.folder / "model").exists()),
        )
    stages.append(
        ("after", lambda: _lines(cell.folder / "after" / "responses.jsonl"), n_responses, _evaluated(cell, "after"))
    )
    for i, (name, count, total, done) in enumerate(stages):
        if not done:
            n = min(count(), total)
            return f"{name} {n}/{total}", (i + n / max(1, total)) / len(stages)
    return "report", 1.0


def headline_of(folder: Path) -> str:
    """The headline number of a finished cell with its change, averaged over tasks; a dash where there is none."""
    from lrpo_bench.evaluation.observations import HEADLINE

    means = {}
    for name in ("before", "after"):
        path = folder / name / "metrics.json"
        if not path.exists():
            continue
        rows = [row for row in read_json(path)["metrics"] if row["language"] == "avg:all"]
        by_task: dict[str, float | None] = {}
        for metric in ("accuracy", HEADLINE):  # the headline wins where it is known
            known = {row["task"]: row["value"] for row in rows if row["metric"] == metric and row["value"] is not None}
            by_task |= known
        values = [value for value in by_task.values() if value is not None]
        if values:
            means[name] = sum(values) / len(values)
    if "after" not in means:
        return "—"
    change = f" ({means['after'] - means['before']:+.3f})" if "before" in means else ""
    return f"{means['after']:.3f}{change}"


def seconds_of(manifest: Manifest) -> float | None:
    """Seconds of all stages that the manifest has recorded; None where it has none."""
    found = [value for key, value in manifest.extra.items() if key.startswith("seconds_") and value is not None]
    return sum(found) if found else None


def _evaluated(cell: Cell, name: str) -> bool:
    return (cell.folder / name / "metrics.json").exists()


def _lines(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    except FileNotFoundError:
        return 0


def _create(path: Path, text: str) -> None:
    """A file that appears whole or not at all, and never replaces one that another sweep has just written."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).chmod(0o644)
            os.link(name, path)
        except FileExistsError:
            pass  # the other sweep's file is compared with ours next
        finally:
            Path(name).unlink(missing_ok=True)
