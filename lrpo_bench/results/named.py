"""One evaluation by its path on the command line: `RUN`, `RUN/before` or `RUN/after`."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lrpo_bench.errors import StorageError
from lrpo_bench.results.evaluations import read_evaluation
from lrpo_bench.results.schema import EVALUATIONS, Evaluation, Manifest
from lrpo_bench.results.store import MANIFEST, read_manifest


@dataclass(frozen=True, slots=True)
class NamedEvaluation:
    """An evaluation and where it came from."""

    path: Path
    """As the user wrote it."""
    run: Path
    name: str
    """`before` or `after`."""
    manifest: Manifest
    evaluation: Evaluation


def named_evaluation(path: Path) -> NamedEvaluation:
    """The evaluation at a path: of a run folder, its last one.

    Raises:
        StorageError: there is no run, or it has no such evaluation.
    """
    named = path.name in EVALUATIONS and (path.parent / MANIFEST).exists()
    run = path.parent if named else path
    manifest = read_manifest(run)
    for name in (path.name,) if named else reversed(EVALUATIONS):
        found = read_evaluation(run / name)
        if found is not None:
            return NamedEvaluation(path, run, name, manifest, found)
    raise StorageError(f"{path} has no finished evaluation; run `lrpo-bench eval` or `lrpo-bench run` first")


def before_and_after(path: Path) -> list[Evaluation]:
    """Both evaluations of one run.

    Raises:
        StorageError: there is no run, or it lacks one of them.
    """
    read_manifest(path)
    found = [read_evaluation(path / name) for name in EVALUATIONS]
    missing = [name for name, evaluation in zip(EVALUATIONS, found, strict=True) if evaluation is None]
    if missing:
        raise StorageError(f"{path} has no finished {' and no '.join(missing)} evaluation; name two runs to compare")
    return [evaluation for evaluation in found if evaluation is not None]


def with_labels(found: Sequence[NamedEvaluation]) -> list[Evaluation]:
    """The evaluations, labelled so that they can be told apart: by run, else by run and stage, else by path."""
    ways = (
        [one.run.resolve().name for one in found],
        [f"{one.run.resolve().name}/{one.name}" for one in found],
        [one.path.as_posix() for one in found],
    )
    labels = next((way for way in ways if max(Counter(way).values()) == 1), None)
    if labels is None:
        twice = next(path for path, count in Counter(ways[-1]).items() if count > 1)
        raise StorageError(f"{twice} is named twice; name different runs to compare")
    return [dataclasses.replace(one.evaluation, label=label) for one, label in zip(found, labels, strict=True)]
