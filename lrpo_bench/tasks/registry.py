"""Which tasks exist, and how to get one.

A task is a folder with `task.toml` (metadata), `task.py` (a module-level `TASK` class), `prompts.toml` (variant ->
language -> template) and `rows.jsonl` (a few fixture rows, each with "lang"). Folders come from three places: the
bundled ones, the entry-point group `lrpo_bench.tasks`, and folders that the user names. A name used twice is refused.

Listing reads only `task.toml`; a task's code runs when it is loaded. Names that begin with `lm_eval:` are lm-eval's own
tasks (see `lm_eval_bridge`), which are loaded by name and not listed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable

import lrpo_bench
from lrpo_bench.errors import ConfigError, DataError, UnknownNameError
from lrpo_bench.tasks.base import Row, Sample, Task, TaskInfo
from lrpo_bench.tasks.datasource import DataSpec, read_rows
from lrpo_bench.tasks.local_files import read_file
from lrpo_bench.tasks.task_info import read_task_info, read_toml

ENTRY_POINT_GROUP = "lrpo_bench.tasks"
LM_EVAL_PREFIX = "lm_eval:"
_INFO_FILE = "task.toml"
_HINT = 'run "lrpo-bench list"'
_FOLDERS: dict[type[Task], Path] = {}
"""Where each loaded class came from."""


@runtime_checkable
class ReadsLocalData(Protocol):
    """A task that reads the user's data itself, because its rows need more than columns."""

    def local_rows(self, lang: str, split: str, path: Path) -> Iterator[Row]:
        """The rows of one language and split at `path`."""
        ...


def list_tasks(extra_dirs: Sequence[Path] = ()) -> list[TaskInfo]:
    """The metadata of every task, by name; imports no task code.

    Args:
        extra_dirs: task folders, or folders of task folders.

    Raises:
        ConfigError: for a malformed `task.toml`, a name used twice, or a place that holds no task.
    """
    return [info for _, info in sorted(_discover(extra_dirs).values(), key=lambda found: found[1].name)]


def load_task(name: str, variant: str | None = None, extra_dirs: Sequence[Path] = ()) -> Task:
    """The task `name` under one of its prompt variants, the first by default.

    Raises:
        UnknownNameError: for an unknown task or variant, with the nearest name.
        ConfigError: for a task folder that does not keep the contract.
    """
    if name.startswith(LM_EVAL_PREFIX):
        from lrpo_bench.tasks.lm_eval_bridge import load_lm_eval_task

        return load_lm_eval_task(name, variant)
    found = _discover(extra_dirs)
    if name not in found:
        raise UnknownNameError("task", name, found, _HINT)
    folder, info = found[name]
    if variant is not None and variant not in info.variants:
        raise UnknownNameError(f"variant of task {name!r}", variant, info.variants)
    return _task_class(folder)(info, _read_prompts(folder, info), variant)


def load_samples(task: Task, lang: str, split: str, path: Path | None = None, limit: int | None = None) -> list[Sample]:
    """The samples of one language and split, in the data's order; arguments and errors are those of `iter_samples`."""
    return list(iter_samples(task, lang, split, path, limit))


def iter_samples(
    task: Task, lang: str, split: str, path: Path | None = None, limit: int | None = None
) -> Iterator[Sample]:
    """The samples of one language and split, in the data's order, each made when it is asked for.

    Args:
        task: a loaded task.
        lang: code of a language that the task has.
        split: a split that the task has.
        path: the user's data in place of the task's own; may hold `{lang}` and `{split}`.
        limit: take only the first rows, the same ones in every language, so that parallel questions stay parallel.

    Raises:
        UnknownNameError: for a language that the task does not have.
        DataError: for rows that can not be used, and, after the last one, for sample ids that occur twice.
    """
    if lang not in task.info.languages:
        raise UnknownNameError(f"language of task {task.info.name!r}", lang, task.info.languages)
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be >= 1, got {limit}")
    hashes = array("q")  # eight bytes a sample, where a set of ids takes a hundred and more
    for index, row in enumerate(islice(_rows(task, lang, split, path), limit)):
        sample = task.sample(row, lang, index)
        hashes.append(hash(sample.id))
        yield sample
    suspects = _repeated(hashes)
    if suspects:
        rows = enumerate(islice(_rows(task, lang, split, path), limit))
        _refuse_repeated_ids(task, lang, ((i, task.sample(row, lang, i).id) for i, row in rows if i in suspects))


def _rows(task: Task, lang: str, split: str, path: Path | None) -> Iterator[Row]:
    if path is not None and isinstance(task, ReadsLocalData):
        return task.local_rows(lang, split, path)
    rows = task.rows(lang, split) if path is None else None
    return read_rows(DataSpec.of(task.info), lang, split, path) if rows is None else rows


def _repeated(hashes: array[int]) -> frozenset[int]:
    """Positions of the numbers that occur more than once."""
    import numpy as np  # not above: to list tasks takes none of it

    ordered = np.sort(np.frombuffer(hashes, dtype=np.int64)) if hashes else np.empty(0, dtype=np.int64)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if not repeated.size:
        return frozenset()
    return frozenset(np.flatnonzero(np.isin(np.frombuffer(hashes, dtype=np.int64), repeated)).tolist())


def _refuse_repeated_ids(task: Task, lang: str, suspects: Iterable[tuple[int, str]]) -> None:
    """Raises a `DataError` for the first id that occurred before; different ids may have one hash."""
    seen: set[str] = set()
    for index, sample_id in suspects:
        if sample_id in seen:
            raise DataError(f"task {task.info.name!r}, {lang} row {index}: sample id {sample_id!r} occurs twice")
        seen.add(sample_id)


def fixture_rows(task: Task) -> list[Row]:
    """The rows that ship with a loaded task for tests, each with "lang"; empty if it ships none."""
    file = _FOLDERS.get(type(task), Path()) / "rows.jsonl"
    return list(read_file(file)) if type(task) in _FOLDERS and file.is_file() else []


def task_folder(task: Task) -> Path:
    """The folder that a loaded task came from."""
    return _FOLDERS[type(task)]


def bundled_folder() -> Path:
    """The tasks that ship with lrpo-bench: inside the installed package, or beside it in a checkout."""
    package = Path(lrpo_bench.__path__[0])
    installed = package / "bundled_tasks"
    return installed if installed.is_dir() else package.parent / "tasks"


def _discover(extra_dirs: Sequence[Path]) -> dict[str, tuple[Path, TaskInfo]]:
    found: dict[str, tuple[Path, TaskInfo]] = {}
    for folder in dict.fromkeys(path.resolve() for path in _task_folders(extra_dirs)):
        info = read_task_info(folder / _INFO_FILE)
        if info.name in found:
            raise ConfigError(f"two tasks are named {info.name!r}: {found[info.name][0]} and {folder}; rename one")
        found[info.name] = (folder, info)
    return found


def _task_folders(extra_dirs: Sequence[Path]) -> Iterator[Path]:
    yield from sorted(file.parent for file in bundled_folder().glob(f"*/{_INFO_FILE}"))
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        yield _entry_point_folder(entry_point.name, entry_point.value)
    for place in map(Path, extra_dirs):
        if not place.is_dir():
            raise ConfigError(f"tasks folder {place} does not exist")
        inside = [place] if (place / _INFO_FILE).is_file() else sorted(f.parent for f in place.glob(f"*/{_INFO_FILE}"))
        if not inside:
            raise ConfigError(f"tasks folder {place} holds no task; a task is a folder with {_INFO_FILE} and task.py")
        yield from inside


def _entry_point_folder(name: str, value: str) -> Path:
    """The folder behind an entry point, whose value is a package, a module beside `task.toml`, or a folder."""
    folder = Path(value)
    if not folder.is_dir():
        try:
            spec = importlib.util.find_spec(value.partition(":")[0].strip())
        except (ImportError, ValueError):
            spec = None
        if spec is None or spec.origin is None:
            raise ConfigError(f"entry point {name!r} of {ENTRY_POINT_GROUP} names {value!r}, which can not be found")
        folder = Path(spec.origin).parent
    if not (folder / _INFO_FILE).is_file():
        raise ConfigError(f"entry point {name!r} of {ENTRY_POINT_GROUP}: {folder} has no {_INFO_FILE}")
    return folder


def _task_class(folder: Path) -> type[Task]:
    """`TASK` of a folder's `task.py`, imported once under a private name that no other folder shares."""
    file = folder / "task.py"
    name = f"lrpo_bench_task_{folder.name}_{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    module = sys.modules.get(name)
    if module is None:
        spec = importlib.util.spec_from_file_location(name, file)
        if not file.is_file() or spec is None or spec.loader is None:
            raise ConfigError(f"task folder {folder} has no task.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    task = getattr(module, "TASK", None)
    if not (isinstance(task, type) and issubclass(task, Task)):
        raise ConfigError(f"{file} defines no class TASK derived from lrpo_bench.tasks.base.Task")
    _FOLDERS[task] = folder
    return task


def _read_prompts(folder: Path, info: TaskInfo) -> Mapping[str, Mapping[str, str]]:
    file = folder / "prompts.toml"
    prompts = read_toml(file)
    for variant, templates in prompts.items():
        if variant not in info.variants:
            raise ConfigError(f"{file}: {UnknownNameError('variant', variant, info.variants)}")
        for lang, template in templates.items() if isinstance(templates, dict) else [("", None)]:
            if not isinstance(template, str):
                raise ConfigError(
                    f"{file}: [{variant}] must map language codes to templates, got {lang!r}: {template!r}"
                )
    missing = [variant for variant in info.variants if variant not in prompts]
    if missing:
        raise ConfigError(f"{file}: no prompts for variant {missing[0]!r}")
    return prompts
