"""The two lines that data flows along, joined: evaluate, train, evaluate again, compare, report.

Each stage finds out from the run folder what is already done, so the same command after a crash goes on where it
stopped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from lrpo_bench.errors import ConfigError
from lrpo_bench.evaluation.answer_judge import make_judge
from lrpo_bench.language_id.base import LanguageDetector
from lrpo_bench.language_id.registry import get_detector
from lrpo_bench.plan import Plan
from lrpo_bench.results.files import remove
from lrpo_bench.results.store import MANIFEST, Store
from lrpo_bench.stages.evaluation import evaluate_model
from lrpo_bench.stages.refusals import refuse_arms_without_detector, refuse_changed_inputs, refuse_unusable_model
from lrpo_bench.stages.session import Reporter, Session, asked_languages
from lrpo_bench.stages.training import train_beside_rank_zero, train_model
from lrpo_bench.tasks.selection import Selection
from lrpo_bench.training.steps import OFFLINE, TENSORBOARD, WARM_START

Stage = Literal["eval", "train", "run"]


def execute(plan: Plan, stage: Stage, command: Sequence[str], reporter: Reporter, *, overwrite: bool) -> Path:
    """Carries a plan out into its run folder and returns the folder.

    Raises:
        LrpoBenchError: in one line, with everything computed so far kept.
    """
    config = plan.config
    if _world_size() > 1 and (stage != "train" or overwrite):
        raise ConfigError(
            f"several processes ({_world_size()}) can only train: launch `lrpo-bench train` without --overwrite, then "
            "`lrpo-bench run` by itself with the same --out, which evaluates before and after"
        )
    if stage == "run" and plan.trained and config.train.warm_start.add_tags:
        raise ConfigError(
            "train.warm_start.add_tags changes how the model is asked, so before and after can not be compared; "
            "use `lrpo-bench train`, then `lrpo-bench eval --model OUT/model`"
        )
    if not is_main_process():
        train_beside_rank_zero(plan)
        return config.out
    if stage != "train":
        make_judge(plan.tasks, config.eval.judge)  # refuses a task that needs one and has none
    detector = None
    if overwrite or not (config.out / MANIFEST).exists():
        detector = _early_detector(plan, stage)
        refuse_unusable_model(plan)
    else:
        refuse_changed_inputs(config.out, plan)
    with Store.open(config.out, plan.decisive_config(), command=command, overwrite=overwrite) as store:
        session = Session(plan, store, reporter)
        if overwrite:
            remove([config.out / name for name in ("model", "model.tmp", OFFLINE, WARM_START, TENSORBOARD)])
        if store.is_complete and store.manifest.extra.get("stage") in (stage, "run"):
            reporter.note(f"{config.out} is complete; using its results (--overwrite makes it again)")
            return config.out
        for selection in plan.selections:
            for note in _selection_notes(selection):
                reporter.note(note)
        store.update(
            hashes=plan.hashes(),
            seeds={"run": config.seed},
            extra={
                "trained_languages": list(plan.trained),
                "tasks_dirs": [str(folder) for folder in config.tasks_dirs],  # where `reproduce` looks first
            },
        )
        detector = detector or get_detector(config.eval.detector, asked_languages(plan))
        refuse_arms_without_detector(plan, detector)
        if stage != "train":
            evaluate_model(session, "before", config.model.name, detector)
        if stage != "eval":
            train_model(session, detector)
        if stage == "run":
            trained = str(config.out / "model") if plan.trained else config.model.name
            evaluate_model(session, "after", trained, detector)
        store.update(extra={"stage": stage})  # last: a folder that `train` completed is not yet a complete `run`
        store.complete()
    return config.out


def _early_detector(plan: Plan, stage: Stage) -> LanguageDetector | None:
    """The detector, begun before the libraries of a model are imported; None where it would have nothing to wait for.

    Not for training, which asks it at every step and starts processes of its own.
    """
    if stage != "eval" or plan.config.model.name == "mock":
        return None
    return get_detector(plan.config.eval.detector, asked_languages(plan), early=True)


def _selection_notes(selection: Selection) -> Iterator[str]:
    name = selection.task.info.name
    if selection.shares_split and selection.training:
        held = len({sample.source_id for sample in selection.training})
        shown = len({sample.source_id for sample in selection.evaluation})
        yield (
            f"{name} has no training split: {held} questions are trained on and never evaluated, "
            f"{shown} others are evaluated"
        )
    if selection.n_left_out:
        yield f"{name}: {selection.n_left_out} training questions are left out, since they are also evaluated"


def _world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))  # set by torchrun and accelerate


def is_main_process() -> bool:
    """True for the one process that writes the run folder and prints."""
    return int(os.environ.get("RANK", "0")) == 0
