"""The two lines that data flows along, joined: evaluate, train, evaluate again, compare, report.

Each stage finds out from the run folder what is already done, so the same command after a crash goes on where it
stopped.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Protocol

from lrpo_bench.config import RunConfig
from lrpo_bench.errors import ConfigError, StorageError
from lrpo_bench.evaluation.answer_judge import EndpointJudge, judge_signature, judged_by, judged_tasks, make_judge
from lrpo_bench.evaluation.embedding_diversity import embedding_metrics
from lrpo_bench.evaluation.evaluator import EvaluationSettings, count_responses, evaluate
from lrpo_bench.evaluation.fidelity import judge_records
from lrpo_bench.evaluation.fidelity_rules import FIDELITY_VERSION, WordList, read_word_list
from lrpo_bench.evaluation.metrics import Metric, metrics_of
from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.evaluation.router_choice import with_router_choice
from lrpo_bench.language_id.base import LanguageDetector
from lrpo_bench.language_id.registry import get_detector
from lrpo_bench.lrpo.routing import Router
from lrpo_bench.models.base import Model
from lrpo_bench.models.cache import CachedModel, ResponseCache
from lrpo_bench.models.encoder import load_encoder
from lrpo_bench.models.load import ModelSpec, load_model, load_tokenizer, require_vllm, weights_hash
from lrpo_bench.models.prompting import SYSTEM_PROMPTS, build_prompt, render, resolve_instruct, untagged_languages
from lrpo_bench.plan import Plan
from lrpo_bench.results.files import first_difference, read_json, read_rows, remove
from lrpo_bench.results.schema import Signature, TaskSignature
from lrpo_bench.results.store import MANIFEST, Store, read_manifest
from lrpo_bench.startup import import_libraries
from lrpo_bench.tasks.extraction import EXTRACTION_VERSION
from lrpo_bench.tasks.selection import Selection
from lrpo_bench.training.methods import get_method
from lrpo_bench.training.reward_functions.factory import check_encoder
from lrpo_bench.training.routers import load_learned_router
from lrpo_bench.training.steps import OFFLINE, SUMMARY, TENSORBOARD, WARM_START, training_steps

Stage = Literal["eval", "train", "run"]


class Reporter(Protocol):
    """Where a pipeline says what it is doing."""

    def progress(self, title: str, total: int) -> AbstractContextManager[Any]:
        """A bar with time left; the context's value is called with a number of finished units."""
        ...

    def note(self, text: str) -> None:
        """One line that the user should see."""
        ...


@dataclasses.dataclass(frozen=True)
class Session:
    """One command's plan and folder."""

    plan: Plan
    store: Store
    reporter: Reporter

    @property
    def config(self) -> RunConfig:
        """The configuration."""
        return self.plan.config


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
        _train_beside_rank_zero(plan)
        return config.out
    if stage != "train":
        make_judge(plan.tasks, config.eval.judge)  # refuses a task that needs one and has none
    detector = None
    if overwrite or not (config.out / MANIFEST).exists():
        detector = _early_detector(plan, stage)
        _refuse_unusable_model(plan)
    else:
        _refuse_changed_inputs(config.out, plan)
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
        detector = detector or get_detector(config.eval.detector, _asked_languages(plan))
        _refuse_arms_without_detector(plan, detector)
        if stage != "train":
            _evaluate(session, "before", config.model.name, detector)
        if stage != "eval":
            _train(session, detector)
        if stage == "run":
            trained = str(config.out / "model") if plan.trained else config.model.name
            _evaluate(session, "after", trained, detector)
        store.update(extra={"stage": stage})  # last: a folder that `train` completed is not yet a complete `run`
        store.complete()
    return config.out


def _early_detector(plan: Plan, stage: Stage) -> LanguageDetector | None:
    """The detector, begun before the libraries of a model are imported; None where it would have nothing to wait for.

    Not for training, which asks it at every step and starts processes of its own.
    """
    if stage != "eval" or plan.config.model.name == "mock":
        return None
    return get_detector(plan.config.eval.detector, _asked_languages(plan), early=True)


def _refuse_arms_without_detector(plan: Plan, detector: LanguageDetector) -> None:
    # Under the gate every rollout in such a language would earn 0, whatever it says.
    train = plan.config.train
    blind = [lang for lang in plan.arms if lang not in detector.languages]
    if blind and train.gate != "none" and train.gate_abstain == "fail":
        raise ConfigError(
            f"detector {plan.config.eval.detector!r} can not tell {', '.join(blind)}, so every rollout in it would "
            "earn 0; take it out of train.arms, use another eval.detector, or set train.gate_abstain to pass"
        )


def _asked_languages(plan: Plan) -> tuple[str, ...]:
    langs = {lang for selection in plan.selections for lang in selection.languages}
    return tuple(sorted(langs | set(plan.arms)))


def _refuse_unusable_model(plan: Plan) -> None:
    """Finds a misspelt model, detector or instruct before a folder is made, or an earlier run is overwritten."""
    config, task, sample = plan.config, plan.selections[0].task, plan.selections[0].evaluation[0]
    get_detector(config.eval.detector, ())
    _word_list(config)
    if config.eval.diversity_encoder is not None:
        load_encoder(config.eval.diversity_encoder, device=config.model.device)
    if plan.trained and plan.n_rollouts:
        check_encoder(config.train.reward, config.model.device)
    if config.model.backend == "vllm":
        require_vllm()
    if config.model.name != "mock":
        import_libraries()
        tokenizer = load_tokenizer(ModelSpec(**config.model.model_dump()))
        render(build_prompt(task, sample, sample.lang, resolve_instruct(plan.instruct, tokenizer)), tokenizer)


def _refuse_changed_inputs(folder: Path, plan: Plan) -> None:
    """Refuses other data or prompts than a run began with, before the run is opened and could be marked failed."""
    recorded = read_manifest(folder)
    for key, value in plan.hashes().items():
        if recorded.hashes.get(key, value) != value and not first_difference(recorded.config, plan.decisive_config()):
            raise StorageError(
                f"{folder}: {key} is not what it was when the run began; "
                "use --overwrite to begin again or another --out"
            )


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


def _load(run: RunConfig, name: str, *, train: bool = False) -> tuple[Model, Any]:
    config = run.model
    # Small updates vanish in bfloat16 weights: train in float32, under autocast where the dtype asks for it.
    dtype = "float32" if train else config.dtype
    if name == "mock":
        from lrpo_bench.models.fake import MockModel

        return MockModel(), None
    values = config.model_dump() | {"name": name, "dtype": dtype}
    if train:
        values |= {"backend": "hf", "generation": "auto"}
    import_libraries()
    model = load_model(ModelSpec(**values))
    return model, model.tokenizer


def _evaluate(session: Session, name: Literal["before", "after"], model_name: str, detector: LanguageDetector) -> None:
    stored = session.store.path / name / "metrics.json"
    if stored.exists():
        session.reporter.note(f"{name}: already evaluated")
        return
    started = time.monotonic()
    model, tokenizer = _load(session.config, model_name)
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
    words, router = _word_list(session.config), _router(session, name)
    languages = {selection.task.info.name: selection.languages for selection in session.plan.selections}
    writer = session.store.evaluation(name, _signature(session.plan, settings, detector, words))
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


def _word_list(config: RunConfig) -> WordList | None:
    return None if config.eval.word_list is None else read_word_list(config.eval.word_list)


def _router(session: Session, name: str) -> Router | None:
    """The router that headroom is measured with: the learned one, once the run has trained it."""
    plan = session.plan
    if name == "before" or not session.config.eval.headroom:
        return None
    return load_learned_router(session.store.path / "model", plan.method, plan.arms, session.config.train)


def _note_untagged(session: Session, tokenizer: Any) -> None:
    missing = untagged_languages(_asked_languages(session.plan), tokenizer)
    if missing:
        session.reporter.note(
            f"this policy has no language tag for {', '.join(missing)}: there the tag is plain text to it "
            "(instruct 'system' or 'prompt' asks in words)"
        )


def _train(session: Session, detector: LanguageDetector) -> None:
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
    hf_model, tokenizer = _load(plan.config, plan.config.model.name, train=True)
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


def _world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))  # set by torchrun and accelerate


def is_main_process() -> bool:
    """True for the one process that writes the run folder and prints."""
    return int(os.environ.get("RANK", "0")) == 0


def _train_beside_rank_zero(plan: Plan) -> None:
    """The part of the other ranks in a training; the run folder is rank 0's to write."""
    if not plan.trained or (plan.config.out / "model").exists():
        return
    from lrpo_bench.training.run import TrainingJob, train_policy

    detector = get_detector(plan.config.eval.detector, _asked_languages(plan))
    hf_model, tokenizer = _load(plan.config, plan.config.model.name, train=True)
    instruct = resolve_instruct(plan.instruct, tokenizer)
    job = TrainingJob(plan.config, plan.training_samples, plan.arms, instruct, detector, plan.config.out, plan.parallel)
    train_policy(job, hf_model.model, tokenizer, None)  # type: ignore[attr-defined]


def _stops(plan: Plan) -> dict[str, dict[str, list[str]]]:
    """Stop strings by task and language of the question, where there are any."""
    found = {
        s.task.info.name: {lang: list(s.task.stop(lang)) for lang in s.languages if s.task.stop(lang)}
        for s in plan.selections
        if s.task.kind == "generate"
    }
    return {name: stops for name, stops in found.items() if stops}


def _signature(
    plan: Plan, settings: EvaluationSettings, detector: LanguageDetector, words: WordList | None
) -> Signature:
    tasks = {
        selection.task.info.name: TaskSignature(
            version=selection.task.info.version,
            variant=selection.task.variant,
            kind=selection.task.kind,
            languages=selection.languages,
            prompt_hash=selection.prompt_hash,
            data_hash=selection.data_hash,
            limit=entry.limit,
        )
        for selection, entry in zip(plan.selections, plan.config.tasks, strict=True)
    }
    decoding = {
        "instruct": settings.instruct,
        "system_prompts": sorted(SYSTEM_PROMPTS) if settings.instruct == "system" else [],
        "greedy": {"sampling_temperature": 0.0, "max_completion_tokens": settings.max_completion_tokens},
        "draws": {
            "n": settings.draws,
            "limit": settings.draw_limit,
            "sampling_temperature": settings.sampling_temperature,
            "top_p": settings.top_p,
        },
        "seed": settings.seed,
        # Only where there are any, so that results without them stay comparable with older ones.
        **({"stop": stops} if (stops := _stops(plan)) else {}),
        **({"judge": judge} if (judge := judge_signature(plan.tasks, plan.config.eval.judge)) else {}),
    }
    name, _, version = detector.signature.partition("|")
    listed = "" if words is None else words.signature
    return Signature(tasks, decoding, name, version, EXTRACTION_VERSION, FIDELITY_VERSION, listed)
