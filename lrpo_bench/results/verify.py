"""Whether a run folder is whole and says what its responses say: `lrpo-bench verify RUN`.

Two kinds of evidence, which do not depend on each other::

    hashes.json   every result file is byte for byte what it was when the run completed
    recomputed    metrics.json is what responses.parquet gives, the logs hold every step, the weights have their hash

A folder from before `hashes.json` is checked by the second alone, and that is said. A model folder that was not
published, and what `lrpo-bench slim` has left out, is said too, and is no failure. Nothing here guards against someone
who changes a response and then makes everything else anew: only `reproduce` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from lrpo_bench.errors import StorageError
from lrpo_bench.evaluation.metrics import metrics_of
from lrpo_bench.evaluation.statistics import Interval
from lrpo_bench.models.load import weights_hash
from lrpo_bench.results.evaluations import METRICS, PARQUET, SIGNATURE, read_evaluation
from lrpo_bench.results.files import first_difference, read_rows, storage_errors
from lrpo_bench.results.hashes import HASHES, MODEL, file_hash, read_hashes, read_left_out, result_files
from lrpo_bench.results.schema import EVALUATIONS, LOGS, Evaluation, Manifest
from lrpo_bench.results.store import MANIFEST, config_hash, read_manifest
from lrpo_bench.results.verify_metrics import compare_metrics

Outcome = Literal["ok", "failed", "unchecked"]
_SHOWN = 20
"""Wrong numbers that are named one by one."""
_EVALUATION_FILES = (SIGNATURE, PARQUET, METRICS)
_STAGES: dict[str, tuple[str, ...]] = {"eval": ("before",), "train": (), "run": EVALUATIONS}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    """The file, or what was checked of it."""
    outcome: Outcome
    detail: str = ""
    """What is wrong, or why it could not be checked; what was found, where all is well."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Everything that was looked at in one run folder."""

    path: Path
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """What is wrong."""
        return tuple(check for check in self.checks if check.outcome == "failed")

    @property
    def ok(self) -> bool:
        """True where nothing is wrong; what could not be checked is not wrong."""
        return not self.failures


def verify_run(path: Path | str) -> Verification:
    """The checks of a run folder; nothing is written.

    Raises:
        StorageError: where there is no such folder.
    """
    path = Path(path)
    if not path.is_dir():
        raise StorageError(f"{path} is not a folder; name a run folder, such as results/demo")
    try:
        manifest = read_manifest(path)
    except StorageError as error:
        return Verification(path, (Check(MANIFEST, "failed", str(error)),))
    checks = [*_manifest_checks(manifest), *_required(path, manifest), *_hash_checks(path)]
    evaluations: dict[str, Evaluation] = {}
    for name in EVALUATIONS:
        found, more = _evaluation(path / name, manifest)
        checks += more
        if found is not None:
            evaluations[name] = found
    if len(evaluations) == 2:
        checks.append(_same_signature(evaluations["before"], evaluations["after"]))
    checks += [*_log_checks(path, manifest), *_weight_checks(path, manifest)]
    return Verification(path, tuple(checks))


def _manifest_checks(manifest: Manifest) -> Iterator[Check]:
    if manifest.status == "complete":
        yield Check("status", "ok", f"complete, schema {manifest.schema_version}")
    else:
        reason = f" ({manifest.reason})" if manifest.reason else ""
        yield Check("status", "failed", f"{manifest.status}{reason}; the run's command again goes on with it")
    actual = config_hash(manifest.config)
    if actual == manifest.config_hash:
        yield Check("config", "ok", "has the recorded hash")
    else:
        yield Check("config", "failed", f"{MANIFEST}: config has hash {actual}, recorded is {manifest.config_hash}")


def stage_of(manifest: Manifest) -> str | None:
    """`eval`, `train` or `run`: the command that made a run; None where the manifest does not say.

    Example:
        >>> stage_of(Manifest({}, "", ("lrpo-bench", "eval", "--model", "mock")))
        'eval'
    """
    stage = manifest.extra.get("stage") or next((word for word in manifest.command[1:2]), None)
    return stage if stage in _STAGES else None


def _required(path: Path, manifest: Manifest) -> Iterator[Check]:
    stage = stage_of(manifest)
    if stage is None:
        yield Check("files", "unchecked", f"{MANIFEST} does not say whether this was eval, train or run")
        return
    names = [f"{name}/{file}" for name in _STAGES[stage] for file in _EVALUATION_FILES]
    names += [f"{name}.jsonl" for name in LOGS if _was_trained(manifest)]
    try:
        left_out = read_left_out(path)
    except StorageError:  # said of hashes.json itself by the checks of hashes
        left_out = {}
    absent = [name for name in names if not (path / name).is_file()]
    missing = [name for name in absent if name not in left_out]
    for name in missing:
        yield Check(name, "failed", "is missing")
    for name in absent:
        if name in left_out:
            yield Check(name, "unchecked", f"was left out by `lrpo-bench slim`; its SHA-256 was {left_out[name]}")
    if not missing:
        yield Check("files", "ok", f"{len(names) - len(absent)} of {len(names)} that `lrpo-bench {stage}` leaves")


def _was_trained(manifest: Manifest) -> bool:
    return stage_of(manifest) in ("train", "run") and bool(manifest.extra.get("trained_languages"))


def _hash_checks(path: Path) -> Iterator[Check]:
    try:
        recorded = read_hashes(path)
    except StorageError as error:
        yield Check(HASHES, "failed", str(error))
        return
    if recorded is None:
        yield Check(HASHES, "unchecked", "the folder has none, as before it was introduced; checked by recomputation")
        return
    published = (path / MODEL).exists()
    wrong = False
    for name, expected in recorded.items():
        if name.startswith(f"{MODEL}/") and not published:
            continue
        if not (path / name).is_file():
            wrong = True
            yield Check(name, "failed", "was deleted after the run completed")
        elif file_hash(path / name) != expected:
            wrong = True
            yield Check(name, "failed", "was changed after the run completed: its SHA-256 is another one")
    for file in result_files(path):
        if file.as_posix() not in recorded:
            yield Check(file.as_posix(), "unchecked", "was added after the run completed")
    if not wrong:
        yield Check(HASHES, "ok", f"{len(recorded)} files are as they were when the run completed")


def _evaluation(folder: Path, manifest: Manifest) -> tuple[Evaluation | None, list[Check]]:
    name = folder.name
    if not all((folder / file).is_file() for file in _EVALUATION_FILES):
        return None, []  # `_required` has named what is missing
    found, check = _readable(f"{name}/{PARQUET}", lambda: read_evaluation(folder))
    if found is None:
        return None, [check]
    checks = [Check(f"{name}/{PARQUET}", "ok", f"{len(found.records)} responses")]
    keys = {record.key for record in found.records}
    if len(keys) < len(found.records):
        checks.append(
            Check(f"{name}/{PARQUET}", "failed", f"{len(found.records) - len(keys)} responses are there twice")
        )
    checks += _metric_checks(f"{name}/{METRICS}", found, manifest.package_version)
    checks += _signature_checks(name, found, manifest)
    return found, checks


def _metric_checks(name: str, found: Evaluation, version: str | None) -> Iterator[Check]:
    # Runs from before intervals had names hold t intervals, and are held to those.
    interval: Interval = "wilson" if any(metric.interval == "wilson" for metric in found.metrics) else "t"
    wrong, unknown = compare_metrics(found.metrics, metrics_of(found.records, found.trained_languages, interval))
    here = metadata.version("lrpo-bench")
    hint = f"; lrpo-bench {version} wrote it, this is {here}" if version not in (None, here) else ""
    for text in wrong[:_SHOWN]:
        yield Check(name, "failed", text + hint)
    if len(wrong) > _SHOWN:
        yield Check(name, "failed", f"{len(wrong) - _SHOWN} more numbers are not what the responses give")
    for text in unknown:
        yield Check(name, "unchecked", text + hint)
    if not wrong:
        yield Check(name, "ok", f"{len(found.metrics)} numbers are what the responses give")


def _readable(name: str, read: Callable[[], Any]) -> tuple[Any, Check]:
    """What `read` gives, or None and the failed check; damaged Parquet pages raise OSError and UnicodeDecodeError."""
    try:
        return read(), Check(name, "ok")
    except StorageError as error:
        return None, Check(name, "failed", str(error))
    except (OSError, ValueError) as error:
        return None, Check(name, "failed", f"is damaged: {' '.join(str(error).split())}")


def _signature_checks(name: str, found: Evaluation, manifest: Manifest) -> Iterator[Check]:
    wrong = False
    for task, signature in found.signature.tasks.items():
        for kind, value in (("data", signature.data_hash), ("prompts", signature.prompt_hash)):
            recorded = manifest.hashes.get(f"{kind}/{task}", value)
            if recorded != value:
                wrong = True
                text = f"hash of {kind} of {task} is {value}, {MANIFEST} says {recorded}"
                yield Check(f"{name}/{SIGNATURE}", "failed", text)
    trained = manifest.extra.get("trained_languages")
    if trained is not None and sorted(found.trained_languages or ()) != sorted(trained):
        wrong = True
        text = f"trained_languages is {list(found.trained_languages or ())}, {MANIFEST} says {list(trained)}"
        yield Check(f"{name}/{METRICS}", "failed", text)
    if not wrong:
        yield Check(f"{name}/{SIGNATURE}", "ok", f"agrees with {MANIFEST}")


def _same_signature(before: Evaluation, after: Evaluation) -> Check:
    difference = first_difference(before.signature.to_dict(), after.signature.to_dict())
    if difference is None:
        return Check("signatures", "ok", "before and after were asked the same")
    field, was, now = difference
    return Check("signatures", "failed", f"{field} is {was!r} before and {now!r} after")


def _log_checks(path: Path, manifest: Manifest) -> Iterator[Check]:
    if not _was_trained(manifest):
        return
    train = manifest.config.get("train", {})
    steps = train.get("steps")
    rollouts = train.get("questions_per_step", 0) * train.get("group_size", 0)
    for log in LOGS:
        name = f"{log}.jsonl"
        if (path / name).is_file():
            _, check = _readable(name, lambda file=path / name: read_rows(file))  # type: ignore[misc]
            yield check if check.outcome == "failed" else _log_check(path / name, steps, rollouts)


def _log_check(file: Path, steps: int | None, rollouts: int) -> Check:
    with storage_errors(file, "read"):
        content = file.read_bytes()
    if content and not content.endswith(b"\n"):
        return Check(file.name, "failed", "is cut: its last line has no end")
    found = [row.get("step") for row in read_rows(file)]
    if steps is None:
        return Check(file.name, "unchecked", f"{len(found)} rows; {MANIFEST} does not say how many steps there were")
    per_step = rollouts if file.stem == "rollouts" else 1
    expected = [step for step in range(1, steps + 1) for _ in range(per_step)]
    if found != expected:
        return Check(file.name, "failed", _difference_of_steps(found, expected))
    return Check(file.name, "ok", f"{len(found)} rows, steps 1 to {steps}")


def _difference_of_steps(found: list[Any], expected: list[int]) -> str:
    for row, (is_there, belongs) in enumerate(zip(found, expected, strict=False), 1):
        if is_there != belongs:
            return f"row {row} is of step {is_there}, expected {belongs}"
    return f"has {len(found)} rows, expected {len(expected)}: " + ("cut" if len(found) < len(expected) else "too many")


def _weight_checks(path: Path, manifest: Manifest) -> Iterator[Check]:
    recorded = manifest.hashes.get("weights_after")
    folder = path / MODEL
    if not folder.is_dir():
        if _was_trained(manifest):
            yield Check(MODEL, "unchecked", f"was not published; the trained weights were {recorded or 'not recorded'}")
        return
    files = sorted(file.name for file in folder.glob("*.safetensors"))
    if not files:
        yield Check(MODEL, "failed", "has no weights: there is no .safetensors file in it")
    elif recorded is None:
        yield Check(MODEL, "unchecked", f"{MANIFEST} records no hash of the trained weights")
    else:
        actual = weights_hash(str(folder), None)
        names = ", ".join(f"{MODEL}/{file}" for file in files)
        if actual == recorded:
            yield Check(names, "ok", "have the recorded hash")
        else:
            yield Check(names, "failed", f"weights have {actual}, {MANIFEST} says weights_after {recorded}")
