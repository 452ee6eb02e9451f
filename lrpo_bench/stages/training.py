"""Training between two evaluations, in one process or several."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

from lrpo_bench.language_id.base import LanguageDetector
from lrpo_bench.language_id.registry import get_detector
from lrpo_bench.models.load import weights_hash
from lrpo_bench.models.prompting import resolve_instruct
from lrpo_bench.plan import Plan
from lrpo_bench.results.files import read_json, read_rows
from lrpo_bench.stages.session import Session, asked_languages, load_policy
from lrpo_bench.training.methods import get_method
from lrpo_bench.training.steps import OFFLINE, SUMMARY, WARM_START, training_steps


def train_model(session: Session, detector: LanguageDetector) -> None:
    """Trains the policy into the run folder's `model/`, from the last whole checkpoint where there is one."""
    plan, store = session.plan, session.store
    if not plan.trained:
        return
    if (store.path / "model").exists():
        session.reporter.note("train: already trained")
        return
    from lrpo_bench.training.logs import TrainingLog
    from lrpo_bench.training.offline.rollouts import parallel_by_id
    from lrpo_bench.training.offline.warm_start import add_language_tags
    from lrpo_bench.training.run import TrainingJob, train_policy
    from lrpo_bench.training.trainer import last_whole_checkpoint

    started = time.monotonic()
    hf_model, tokenizer = load_policy(plan.config, plan.config.model.name, train=True)
    if plan.config.train.warm_start.add_tags:
        add_language_tags(hf_model.model, tokenizer, plan.arms, plan.config.seed)  # type: ignore[attr-defined]
    instruct = resolve_instruct(plan.instruct, tokenizer)
    store.update(
        hashes={"weights": hf_model.info.weights_hash}, extra={"train_instruct": instruct, "arms": list(plan.arms)}
    )
    checkpoint = last_whole_checkpoint(store.path / "checkpoints")
    done = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    store.rewind(done)
    samples = plan.training_samples
    job = TrainingJob(session.config, samples, plan.arms, instruct, detector, store.path, plan.parallel)
    steps = training_steps(job.config.train, get_method(job.config.train.method), len(samples))
    with session.reporter.progress(f"train {session.config.train.method}", steps) as advance:
        advance(done)
        log = TrainingLog(store, {**samples, **parallel_by_id(job)}, advance)
        folder = train_policy(job, hf_model.model, tokenizer, log.sink, [log.callback()])  # type: ignore[attr-defined]
    store.update(
        hashes={"weights_after": weights_hash(str(folder), hf_model.model)},  # type: ignore[attr-defined]
        extra={"seconds_train": round(time.monotonic() - started, 1), **_built_before(store.path)},
    )
    _note_unscored(session)
    del hf_model
    gc.collect()


def _note_unscored(session: Session) -> None:
    """Says how many rollouts had no reward (NaN, a judge that failed): they are counted, and move nothing."""
    steps = read_rows(session.store.path / "router.jsonl")
    unscored, total = sum(row["unscored"] for row in steps), sum(sum(row["sampled"].values()) for row in steps)
    if total and unscored == total:
        session.reporter.note(f"train: none of {total} rollouts has a known reward, so nothing was learned from them")
    elif unscored:
        session.reporter.note(f"train: {unscored} of {total} rollouts have no known reward, and moved nothing")


def _built_before(folder: Path) -> dict[str, Any]:
    """What was built before the first step, for the manifest: pairs, a warm start."""
    found = {name: folder / name / SUMMARY for name in (OFFLINE, WARM_START)}
    return {name: read_json(path) for name, path in found.items() if path.exists()}


def train_beside_rank_zero(plan: Plan) -> None:
    """The part of the other ranks in a training; the run folder is rank 0's to write."""
    if not plan.trained or (plan.config.out / "model").exists():
        return
    from lrpo_bench.training.run import TrainingJob, train_policy

    detector = get_detector(plan.config.eval.detector, asked_languages(plan))
    hf_model, tokenizer = load_policy(plan.config, plan.config.model.name, train=True)
    instruct = resolve_instruct(plan.instruct, tokenizer)
    job = TrainingJob(plan.config, plan.training_samples, plan.arms, instruct, detector, plan.config.out, plan.parallel)
    train_policy(job, hf_model.model, tokenizer, None)  # type: ignore[attr-defined]
