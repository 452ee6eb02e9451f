"""What a run folder holds, as values: the manifest, a signature, an evaluation, a whole run.

    run/
      manifest.json      Manifest: status, command, config, versions, git, hashes, seeds
      before/            Evaluation: responses.parquet, metrics.json, signature.json
      after/             the same; while it is being made, responses.jsonl
      router.jsonl       one row a step: step, arms, contexts, mean_reward
      train.jsonl        one row a step: step, reward, kl, loss
      rollouts.jsonl     training rollouts, whole
      hashes.json        SHA-256 of the files above and of model/, written when the run completes
      checkpoints/  figures/  report.html

Two evaluations may be compared when their signatures agree: the idea is sacreBLEU's (Post 2018, arXiv 1804.08771).
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lrpo_bench.errors import StorageError
from lrpo_bench.evaluation.metrics import Metric
from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.results.files import plain

SCHEMA_VERSION = 1
"""Version of the folder's layout and of the files in it, records apart (they carry their own)."""

Status = Literal["running", "complete", "failed"]
EVALUATIONS = ("before", "after")
LOGS = ("router", "train", "rollouts")


@dataclass(frozen=True, slots=True)
class TaskSignature:
    """What must agree, for one task, before two results of it are comparable."""

    version: str
    variant: str
    kind: str
    languages: tuple[str, ...]
    """Languages that were evaluated, sorted."""
    prompt_hash: str
    """Of the templates in use."""
    data_hash: str
    """Of the samples in use, so that another revision or `limit` shows."""
    limit: int | None = None
    """Questions per language; None for all."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What must agree before two evaluations are comparable: the question asked, not the model that answered."""

    tasks: Mapping[str, TaskSignature]
    decoding: Mapping[str, Any]
    """Fields of `Sampling` for greedy and sampled responses."""
    detector: str
    """Name of the language detector, with its candidate languages where it has any."""
    detector_version: str
    extraction_version: str
    """Of the code that reads an answer from a response."""
    fidelity_rules: str = ""
    """By which lines and words were judged; empty where they were not."""
    word_list: str = ""
    """Name, size and digest of the English words looked up; empty where there were none."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values, in a stable order."""
        fields = plain(dataclasses.asdict(self))
        fields["tasks"] = dict(sorted(fields["tasks"].items()))
        for task in fields["tasks"].values():
            task["languages"] = sorted(task["languages"])
        return fields

    @classmethod
    def from_dict(cls, row: Mapping[str, Any], where: str = "signature.json") -> Signature:
        """The signature that `to_dict` gave; unknown or missing fields are a `StorageError`."""
        try:
            tasks = {
                name: TaskSignature(**{**t, "languages": tuple(t["languages"])}) for name, t in row["tasks"].items()
            }
            return cls(**{**row, "tasks": tasks})
        except (KeyError, TypeError, AttributeError) as error:
            raise StorageError(f"{where}: not a signature of schema {SCHEMA_VERSION} ({error})") from None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All judged responses of one model, and what they amount to."""

    signature: Signature
    records: Sequence[ResponseRecord]
    """Of a large evaluation, a view of its file: iterate it, and keep no more of it than you need."""
    metrics: tuple[Metric, ...] = ()
    trained_languages: tuple[str, ...] | None = None
    """Languages the run trained on; None where unknown, and then there are no averages over them."""
    label: str = ""
    """How tables call it: `before`, `after`, a run's name."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """How a run was made, and how it ended."""

    config: Mapping[str, Any]
    """Everything that decides the outcome; a run is continued only under an equal one."""
    config_hash: str
    command: tuple[str, ...] = ()
    status: Status = "running"
    reason: str = ""
    """Why it failed; empty otherwise."""
    created_at: str = ""
    finished_at: str | None = None
    package_version: str | None = None
    versions: Mapping[str, str | None] = field(default_factory=dict)
    python: str = ""
    platform: str = ""
    hardware: Mapping[str, Any] = field(default_factory=dict)
    git: Mapping[str, Any] = field(default_factory=dict)
    """`commit` and `dirty` of the repository of the working directory; None where there is none."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of data, prompts and weights, by name."""
    seeds: Mapping[str, int] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What else the run wants to say: model info, trained languages, wall times."""
    resumed: tuple[Mapping[str, Any], ...] = ()
    """One entry for each time it was continued: `at`, `command`, and what of the environment had `changed`."""
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values, the schema version first."""
        fields = plain({f.name: getattr(self, f.name) for f in dataclasses.fields(self)})
        return {"schema_version": fields.pop("schema_version"), **fields}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any], where: str = "manifest.json") -> Manifest:
        """The manifest that `to_dict` gave; another schema version is a `StorageError` that names both."""
        version = row.get("schema_version") if isinstance(row, Mapping) else None
        if version != SCHEMA_VERSION:
            raise StorageError(
                f"{where}: schema version {version!r}, this lrpo-bench reads {SCHEMA_VERSION}; "
                f"read it with lrpo-bench {row.get('package_version') if isinstance(row, Mapping) else '?'}"
                " or make the run again in another --out"
            )
        try:
            return cls(**{**row, "command": tuple(row["command"]), "resumed": tuple(row["resumed"])})
        except (KeyError, TypeError) as error:
            raise StorageError(f"{where}: not a manifest of schema {SCHEMA_VERSION} ({error})") from None


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder, read: whatever of it exists."""

    path: Path
    manifest: Manifest
    before: Evaluation | None
    after: Evaluation | None
    router: tuple[Mapping[str, Any], ...]
    train: tuple[Mapping[str, Any], ...]
    rollouts: tuple[Mapping[str, Any], ...]

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name


def now() -> str:
    """The time in UTC, to the second, as ISO 8601.

    Example:
        >>> len(now())
        20
    """
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
