"""One evaluation of the untrained model for all cells that would make the very same one.

A cell may take over a sibling's finished `before/` when everything that decides it agrees: the sections of the
configuration on model and evaluation, the seed, the SHA-256 of the weights as they are now, hashes of data and prompts,
languages and variants, the detector and the code that reads answers (against the sibling's signature), package
versions, commit and hardware. Batch and chunk sizes are among them, so draws are the same to the bit. The records are
copied unchanged; averages are computed again where the cells train on other languages.
The manifest says where they come from, under `extra.before_shared`. As the folder is begun before the cell's own
process, the manifest also counts one continuation.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lrpo_bench.config import ModelConfig
from lrpo_bench.evaluation.embedding_diversity import carried_over
from lrpo_bench.evaluation.fidelity_rules import FIDELITY_VERSION, read_word_list
from lrpo_bench.evaluation.metrics import metrics_of
from lrpo_bench.language_id.registry import get_detector
from lrpo_bench.plan import Plan
from lrpo_bench.results import environment
from lrpo_bench.results.evaluations import read_evaluation
from lrpo_bench.results.files import plain
from lrpo_bench.results.schema import Evaluation, Manifest
from lrpo_bench.results.store import Store, read_manifest
from lrpo_bench.sweeps.file import Cell
from lrpo_bench.tasks.extraction import EXTRACTION_VERSION
from lrpo_bench.training.methods import METHODS

BEFORE = "before"
_DECISIVE = ("model", "eval", "seed")
"""Sections of the configuration; those on tasks are compared by hashes, as training data do not matter here, and how
the policy is told its language by `Plan.instruct`."""


def before_key(plan: Plan) -> str:
    """A hash of what decides the evaluation of the untrained model, as far as it is known without the model.

    Cells with equal keys wait for the first of them to finish it.
    """
    config = plan.config
    asked = [
        [s.task.info.name, s.task.info.version, s.task.variant, s.data_hash, s.prompt_hash, *s.languages]
        for s in plan.selections
    ]
    values = [config.model.model_dump_json(), config.eval.model_dump_json(), plan.instruct, config.seed, asked]
    limits = [entry.limit for entry in config.tasks]
    text = json.dumps([*values, limits, _candidates(plan), plan.arms if _asks_across(plan) else None], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def has_before(folder: Path) -> bool:
    """True once a run folder holds a finished evaluation of the untrained model."""
    return (folder / BEFORE / "metrics.json").exists()


def share_before(cell: Cell, plan: Plan, donors: Iterable[Cell], command: tuple[str, ...]) -> Cell | None:
    """The sibling whose `before/` the cell took over, None where it has begun its own or no sibling's would be exact.

    Raises:
        StorageError: another process writes the cell.
    """
    if (cell.folder / BEFORE).exists():
        return None
    weights = None
    for donor in donors:
        if not has_before(donor.folder):
            continue
        manifest = read_manifest(donor.folder)
        weights = weights or current_weights(cell.config.model)
        if not _same_conditions(plan, manifest, weights):
            continue
        found = read_evaluation(donor.folder / BEFORE)
        if found is None or not _same_judges(plan, found):
            continue
        _take_over(cell, plan, donor, manifest, found, command)
        return donor
    return None


def current_weights(model: ModelConfig) -> str | None:
    """The hash that a manifest would record for the model as it is now; None where it can not be told."""
    from lrpo_bench.models.load import resolve_path, weights_hash

    if model.name == "mock":
        from lrpo_bench.models.fake import MockModel

        return MockModel().info.weights_hash
    path = resolve_path(model.name)
    if Path(path).is_dir():
        found = weights_hash(path, SimpleNamespace(config=None))
        return found if found.startswith("sha256:") else None
    return _hub_weights(path, model)


def _hub_weights(name: str, model: ModelConfig) -> str | None:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(
            name, revision=model.revision, trust_remote_code=model.trust_remote_code, local_files_only=True
        )
    except (OSError, ValueError):
        return None  # the cell's own process will say what is wrong with the model
    commit = getattr(config, "_commit_hash", None)
    return f"hub:{commit}" if commit else None


def _same_conditions(plan: Plan, donor: Manifest, weights: str | None) -> bool:
    if weights is None or donor.hashes.get("weights") != weights or "instruct" not in donor.extra:
        return False
    if any(donor.hashes.get(key) != value for key, value in plan.hashes().items() if not key.startswith("training")):
        return False
    here, there = environment.hardware(), dict(donor.hardware)
    here["gpus"] = there["gpus"] = None  # known only to a process that has imported torch
    same_place = plain(here) == plain(there) and plain(environment.versions()) == plain(donor.versions)
    same_code = environment.git_state()["commit"] == donor.git.get("commit")
    config = plan.decisive_config()
    if _asked_by(donor.config) != plan.instruct:
        return False
    return same_place and same_code and all(donor.config.get(key) == config[key] for key in _DECISIVE)


def _asked_by(config: Mapping[str, Any]) -> str:
    """How a run told its policy the language, as `Plan.instruct` says it."""
    method = METHODS.get(config.get("train", {}).get("method", ""))
    return "system" if method is not None and method.zero else str(config["instruct"])


def _same_judges(plan: Plan, found: Evaluation) -> bool:
    """Whether answers and languages would be judged now as they were, by versions and by the files of word lists."""
    signature, section = found.signature, plan.config.eval
    detector = f"{signature.detector}|{signature.detector_version}"
    if detector != get_detector(section.detector, _candidates(plan)).signature:
        return False
    words = "" if section.word_list is None else read_word_list(section.word_list).signature
    versions = (signature.extraction_version, signature.fidelity_rules, signature.word_list)
    asked = {s.task.info.name: tuple(sorted(s.languages)) for s in plan.selections}
    same_languages = {name: tuple(sorted(task.languages)) for name, task in signature.tasks.items()} == asked
    return same_languages and versions == (EXTRACTION_VERSION, FIDELITY_VERSION, words)


def _candidates(plan: Plan) -> list[str]:
    """Languages that the pipeline gives its detector as candidates."""
    return sorted({lang for selection in plan.selections for lang in selection.languages} | set(plan.arms))


def _asks_across(plan: Plan) -> bool:
    """Whether questions are also asked for in other languages, among them the arms."""
    return bool(plan.config.eval.headroom)


def _take_over(
    cell: Cell, plan: Plan, donor: Cell, manifest: Manifest, found: Evaluation, command: tuple[str, ...]
) -> None:
    trained = plan.trained or None
    # How responses were decoded, so that those after training, and the run made again, are decoded as they were.
    kept = {key: manifest.extra[key] for key in ("model", "instruct", "generation") if key in manifest.extra}
    same = (found.trained_languages or None) == (None if trained is None else tuple(sorted(trained)))
    with Store.open(cell.folder, plan.decisive_config(), command=command) as store:
        writer = store.evaluation(BEFORE, found.signature)
        store.update(
            hashes={**plan.hashes(), "weights": manifest.hashes["weights"]},
            seeds={"run": cell.config.seed},
            extra={
                **kept,
                "trained_languages": list(plan.trained),
                "before_shared": {
                    "from": Path(os.path.relpath(donor.folder, cell.folder)).as_posix(),
                    "config_hash": manifest.config_hash,
                    "seconds_saved": manifest.extra.get("seconds_before"),
                },
            },
        )
        writer.append(found.records)
        metrics = found.metrics if same else [*metrics_of(found.records, trained), *carried_over(found.metrics)]
        writer.finish(metrics, trained)
