"""Making a run again from its manifest alone: `lrpo-bench reproduce RUN`.

First everything that can be told without computing: the run is whole (`verify`), and data, prompts and weights are what
it was made with. Then the same stages with the same settings, into another folder, and the comparison of every number
(`reproduction`). A reproduction that was interrupted is continued by the same command.

The manifest does not hold the folder of results, which changes no number. Local paths of data, model and tasks are as
they were typed; where they have moved, the caller says where to, and the hashes say whether it is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from lrpo_bench.errors import ConfigError, StorageError
from lrpo_bench.results.reproduction import Reproduction, compare_runs
from lrpo_bench.results.schema import Manifest
from lrpo_bench.results.store import read_manifest, read_run
from lrpo_bench.results.verify import stage_of, verify_run

if TYPE_CHECKING:
    from lrpo_bench.stages.session import Reporter
    from lrpo_bench.plan import Plan

_HUB = "hub:"
Stage = Literal["eval", "train", "run"]


@dataclass(frozen=True, slots=True)
class Moved:
    """Where things are now that lay elsewhere when the run was made."""

    model: str | None = None
    data: Mapping[str, Path] = field(default_factory=dict)
    """By task."""
    tasks_dirs: Sequence[Path] = ()


@dataclass(frozen=True, slots=True)
class Inputs:
    """A run made ready to be made again, and what of its inputs is no longer the same."""

    plan: Plan
    stage: Stage
    same: tuple[str, ...]
    """Names of the hashes that agree: `data/mgsm`, `weights`."""
    differences: tuple[str, ...]
    """What does not agree, with both hashes."""


def reproduce(run: Path, out: Path, inputs: Inputs, reporter: Reporter, command: Sequence[str] = ()) -> Reproduction:
    """Makes a run again in `out` and compares every number; `inputs` are from `check_inputs`."""
    from lrpo_bench.pipeline import execute

    execute(inputs.plan, inputs.stage, command, reporter, overwrite=False)
    return compare_runs(read_run(run), read_run(out))


def check_inputs(run: Path, out: Path, moved: Moved, *, force: bool = False) -> Inputs:
    """The plan of a run's manifest, with data, prompts and weights compared to what they were.

    Args:
        run: the run to make again.
        out: the folder for it.
        moved: where things are now.
        force: goes on where the run is not whole or its inputs have changed; the differences are in the result.

    Raises:
        StorageError: the run is not whole, or its inputs have changed: which, with both hashes.
        ConfigError: the manifest can not be made again by this version.
    """
    if out.resolve() == run.resolve():
        raise StorageError(f"--out is the run itself ({out}); a reproduction needs a folder of its own")
    manifest = read_manifest(run)
    failures = verify_run(run).failures
    if failures and not force:
        raise StorageError(
            f"{run} is not whole: {failures[0].name} {failures[0].detail}; see `lrpo-bench verify {run}`, "
            "or use --force to compare with it all the same"
        )
    stage = stage_of(manifest)
    if stage is None:
        raise StorageError(f"{run}: the manifest does not say whether this was eval, train or run")
    plan = _plan_of(manifest, out, moved, stage)
    actual = {**plan.hashes(), "weights": _weights_now(plan, manifest)}
    recorded = {key: value for key, value in manifest.hashes.items() if key != "weights_after"}
    differences = tuple(
        f"{key} was {_short(recorded.get(key, 'not recorded'))}, now {_short(actual.get(key, 'not there'))}"
        for key in sorted(recorded.keys() | actual.keys())
        if recorded.get(key) != actual.get(key)
    )
    if differences and not force:
        raise StorageError(
            f"{run} can not be made again with these inputs: {'; '.join(differences)}; give the original ones with "
            "--data, --model or --tasks-dir, or use --force to see what they change"
        )
    same = tuple(key for key in sorted(actual) if recorded.get(key) == actual[key])
    return Inputs(plan, cast("Stage", stage), same, differences)


def _plan_of(manifest: Manifest, out: Path, moved: Moved, stage: str) -> Plan:
    from lrpo_bench.config import parse_config
    from lrpo_bench.plan import make_plan

    values: dict[str, Any] = {**manifest.config, "out": out}
    values["tasks_dirs"] = [str(path) for path in moved.tasks_dirs or manifest.extra.get("tasks_dirs", ())]
    model = dict(values["model"])
    recorded = manifest.hashes.get("weights", "")
    if recorded.startswith(_HUB) and recorded != f"{_HUB}None":
        model["revision"] = recorded.removeprefix(_HUB)  # a branch of the hub may have moved on
    if moved.model is not None:
        model["name"] = moved.model
    if model.get("generation", "auto") == "auto" and "generation" in manifest.extra:
        model["generation"] = manifest.extra["generation"]["way"]  # a stopwatch chose it, and might choose another
    values["model"] = model
    values["tasks"] = tasks = [dict(task) for task in values["tasks"]]
    for name, path in moved.data.items():
        entries = [task for task in tasks if task["name"] == name]
        if not entries:
            known = ", ".join(task["name"] for task in tasks)
            raise ConfigError(f"--data names task {name!r}, which is not among the tasks of this run: {known}")
        entries[0]["data"] = str(path)
    return make_plan(parse_config(values), train=stage != "eval")


def _weights_now(plan: Plan, manifest: Manifest) -> str:
    """The hash of the weights that would be loaded, without loading them."""
    from lrpo_bench.models.load import resolve_path, weights_hash

    model = plan.config.model
    if model.name == "mock":
        return "mock:mock"
    path = Path(resolve_path(model.name))
    if any(path.glob("*.safetensors")):
        return weights_hash(str(path), None)
    recorded = manifest.hashes.get("weights", "")
    if recorded.startswith(_HUB):
        return recorded  # pinned to its commit, which is checked when it is loaded
    raise StorageError(f"the model {model.name!r} of this run is not here (no weights in {path}); pass --model PATH")


def _short(value: str) -> str:
    return value if len(value) <= 24 else f"{value[:20]}..."
