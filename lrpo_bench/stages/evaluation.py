"""An evaluation before or after training, which goes on where an earlier one stopped."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Sequence
from typing import Any, Literal

from lrpo_bench.config import RunConfig
from lrpo_bench.evaluation.answer_judge import EndpointJudge, judged_by, judged_tasks, make_judge
from lrpo_bench.evaluation.embedding_diversity import embedding_metrics
from lrpo_bench.evaluation.evaluator import count_responses, evaluate
from lrpo_bench.evaluation.fidelity import judge_records
from lrpo_bench.evaluation.metrics import Metric, metrics_of
from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.evaluation.router_choice import with_router_choice
from lrpo_bench.language_id.base import LanguageDetector
from lrpo_bench.lrpo.routing import Router
from lrpo_bench.models.base import Model
from lrpo_bench.models.cache import CachedModel, ResponseCache
from lrpo_bench.models.encoder import load_encoder
from lrpo_bench.models.prompting import resolve_instruct, untagged_languages
from lrpo_bench.stages.session import Session, asked_languages, load_policy, word_list_of
from lrpo_bench.stages.signature import signature_of
from lrpo_bench.training.routers import load_learned_router


def evaluate_model(
    session: Session, name: Literal["before", "after"], model_name: str, detector: LanguageDetector
) -> None:
    """Evaluates a model into the run folder's `before/` or `after/`; responses that are stored already stay."""
    stored = session.store.path / name / "metrics.json"
    if stored.exists():
        session.reporter.note(f"{name}: already evaluated")
        return
    started = time.monotonic()
    model, tokenizer = load_policy(session.config, model_name)
    decoder = _decoder(session, model)
    model, cache = _with_cache(model, session.config)
    instruct = resolve_instruct(session.plan.instruct, tokenizer)
    if instruct == "tag":
        _note_untagged(session, tokenizer)
    if name == "before":
        session.store.update(
            hashes={"weights": model.info.weights_hash},
            extra={"model": dataclasses.asdict(model.info), "instruct": instruct},
        )
    else:
        session.store.update(hashes={"weights_after": model.info.weights_hash})
    settings = session.plan.settings(instruct)
    words, router = word_list_of(session.config), _router(session, name)
    languages = {selection.task.info.name: selection.languages for selection in session.plan.selections}
    writer = session.store.evaluation(name, signature_of(session.plan, settings, detector, words))
    chunks, tasks = session.plan.chunks(instruct), session.plan.tasks
    judge = make_judge(tasks, session.config.eval.judge)
    bar = session.reporter.progress(f"evaluate {name}", count_responses(chunks, settings))
    with judged_by(judge, tasks), bar as advance:
        for records in evaluate(model, chunks, detector, settings, done=writer.done, progress=advance):
            _keep_choice(session, decoder)
            judged = judge_records(records, detector, words)
            writer.append(with_router_choice(judged, router, languages, session.config.train.steps))
    trained = session.plan.trained or None
    del chunks  # metrics are the other place where much is held
    responses = writer.in_key_order()
    metrics = [*metrics_of(responses, trained), *_embedding_metrics(session.config, responses, trained)]
    writer.finish(metrics, trained)
    session.store.update(extra={f"seconds_{name}": round(time.monotonic() - started, 1)})
    if judge is not None:
        _note_judge(session, name, judge)
    if cache is not None:
        session.store.update(extra={f"cache_{name}": {"reused": cache.hits, "generated": cache.misses}})
        session.reporter.note(f"{name}: {cache.hits} responses from the cache, {cache.misses} from the model")
    del model, decoder
    gc.collect()


def _decoder(session: Session, model: Model) -> Any:
    """What decodes for the model, if it is one that chooses among ways: it keeps to what this run chose before."""
    decoder: Any = getattr(model, "decoder", None)
    if getattr(decoder, "wanted", None) != "auto":
        return None
    chosen = session.store.manifest.extra.get("generation")
    if chosen is not None:
        decoder.keep(chosen["way"])
    # Responses from a cache must be those that would be made, so no stopwatch may decide how they are made.
    decoder.timed = session.config.eval.cache is None
    return decoder


def _keep_choice(session: Session, decoder: Any) -> None:
    """Notes in the manifest how responses are decoded, as soon as it is decided, for whoever continues the run."""
    choice = getattr(decoder, "choice", None)
    if choice is not None and "generation" not in session.store.manifest.extra:
        session.store.update(extra={"generation": choice.to_json()})


def _note_judge(session: Session, name: str, judge: EndpointJudge) -> None:
    usage = judge.endpoint.usage
    session.store.update(extra={f"judge_{name}": dataclasses.asdict(usage)})
    for task in judged_tasks(session.plan.tasks):
        for reason, count in sorted(task.unjudged.items()):
            why = f" ({judge.problem})" if judge.problem else ""
            session.reporter.note(f"{name}: {task.info.name}: {count} answers are unscored: {reason}{why}")


def _with_cache(model: Model, config: RunConfig) -> tuple[Model, ResponseCache | None]:
    if config.eval.cache is None:
        return model, None
    cache = ResponseCache(config.eval.cache, int(config.eval.cache_gb * 1e9))
    return CachedModel(model, cache), cache


def _embedding_metrics(
    config: RunConfig, records: Sequence[ResponseRecord], trained: Sequence[str] | None
) -> list[Metric]:
    if config.eval.diversity_encoder is None:
        return []
    encoder = load_encoder(config.eval.diversity_encoder, device=config.model.device)
    return embedding_metrics(records, encoder, trained)


def _router(session: Session, name: str) -> Router | None:
    """The router that headroom is measured with: the learned one, once the run has trained it."""
    plan = session.plan
    if name == "before" or not session.config.eval.headroom:
        return None
    return load_learned_router(session.store.path / "model", plan.method, plan.arms, session.config.train)


def _note_untagged(session: Session, tokenizer: Any) -> None:
    missing = untagged_languages(asked_languages(session.plan), tokenizer)
    if missing:
        session.reporter.note(
            f"this policy has no language tag for {', '.join(missing)}: there the tag is plain text to it "
            "(instruct 'system' or 'prompt' asks in words)"
        )
