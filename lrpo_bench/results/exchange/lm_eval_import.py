"""An lm-eval result as a run, which `compare`, `leaderboard`, `report` and the pytest plug-in read.

The judgement is lm-eval's: the value of one metric under one filter, as it wrote it for each sample. The language of a
response is ours, told by a detector from the text that lm-eval kept, unless that is turned off.

Unknown, and stored as such: completion tokens, whether a response was cut, lines and words where no detector is used.
Not known either, and said in the manifest: whether prompts were cut, and what machine it ran on (the manifest describes
the machine that imported it). Source questions are shared across languages only where the caller says that documents
are parallel; otherwise each language has its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrpo_bench.errors import ConfigError
from lrpo_bench.evaluation.fidelity import judge_records
from lrpo_bench.evaluation.fidelity_rules import FIDELITY_VERSION
from lrpo_bench.evaluation.metrics import metrics_of
from lrpo_bench.evaluation.records import CHOICE_REASON, ResponseRecord
from lrpo_bench.language_id.base import LanguageDetector, language_verdict
from lrpo_bench.language_id.registry import get_detector
from lrpo_bench.results.exchange.lm_eval_files import LmEvalResults, read_lm_eval
from lrpo_bench.results.exchange.lm_eval_records import records_of
from lrpo_bench.results.exchange.lm_eval_tasks import ImportOptions, TaskRows, refuse_clashes, task_rows
from lrpo_bench.results.exchange.source import refuse_existing
from lrpo_bench.results.files import plain
from lrpo_bench.results.hashes import file_hash
from lrpo_bench.results.schema import Signature, TaskSignature
from lrpo_bench.results.store import Store

_ASKED = (
    *("doc_to_text", "doc_to_target", "doc_to_choice", "description", "num_fewshot", "fewshot_delimiter"),
    *("target_delimiter", "gen_prefix", "output_type", "process_docs", "filter_list", "metric_list"),
)
"""Fields of a task's configuration that decide how a question is asked and judged."""


def import_lm_eval(source: Path, out: Path, options: ImportOptions, command: Sequence[str] = ()) -> list[str]:
    """Makes a run folder of lm-eval's files and returns what a reader must know about it.

    Raises:
        DataError: a file that can not be used.
        ConfigError: a language, metric or seed that must be given.
        StorageError: `out` exists.
    """
    refuse_existing(out)
    found = read_lm_eval(source)
    tasks = [task_rows(found, name, options) for name in found.tasks]
    refuse_clashes(tasks)
    detector = None
    if options.detector != "none" and any(task.kind == "generate" for task in tasks):
        detector = get_detector(options.detector, sorted({task.lang for task in tasks}))
    records = [record for task in tasks for record in records_of(task, options)]
    records = _with_languages(records, detector)
    config = _run_config(found, tasks, options)
    notes = _notes(tasks, detector, options)
    with Store.open(out, config, command=command) as store:
        store.update(
            hashes={"lm_eval_results": file_hash(found.file)},
            seeds={"run": config["seed"]},
            extra={"stage": "eval", "imported": _origin(found, notes)},
        )
        writer = store.evaluation("before", _signature(tasks, found, detector))
        writer.append(records)
        writer.finish(metrics_of(writer.records))
        store.complete()
    return notes


def _with_languages(records: list[ResponseRecord], detector: LanguageDetector | None) -> list[ResponseRecord]:
    if detector is None:
        return records
    found = detector.detect([record.completion for record in records])
    told = []
    for record, detection in zip(records, found, strict=True):
        if record.language_reason != CHOICE_REASON:
            ok, reason = language_verdict(detection, record.rollout_lang, detector)
            record = dataclasses.replace(
                record,
                detected_lang=detection.lang,
                language_ok=ok,
                language_reason=reason,
                # An answer that was not found is no attempt, as for our own tasks.
                outcome="not_attempted" if record.reason and record.score == 0 else record.outcome,
            )
        told.append(record)
    return judge_records(told, detector, None)


def _signature(tasks: Sequence[TaskRows], found: LmEvalResults, detector: LanguageDetector | None) -> Signature:
    rows: dict[str, TaskSignature] = {}
    for name in dict.fromkeys(task.name for task in tasks):
        members = [task for task in tasks if task.name == name]
        first, versions = members[0], found.results.get("versions") or {}
        rows[name] = TaskSignature(
            version=f"lm-eval {'/'.join(sorted({str(versions.get(task.theirs)) for task in members}))}",
            variant=f"{first.metric},{first.filter}",
            kind=first.kind,
            languages=tuple(sorted(task.lang for task in members)),
            prompt_hash=_hash([[task.lang, {key: task.config.get(key) for key in _ASKED}] for task in members]),
            data_hash=_hash(
                [[task.lang, row.get("doc_hash"), row.get("target_hash")] for task in members for row in task.rows]
            ),
            limit=_limit(found),
        )
    decoding = {
        "generation_kwargs": {task.theirs: plain(task.config.get("generation_kwargs")) for task in tasks},
        "gen_kwargs": _config_of(found).get("gen_kwargs"),
        "chat_template_sha": found.results.get("chat_template_sha"),
        "system_instruction_sha": found.results.get("system_instruction_sha"),
        "fewshot_as_multiturn": found.results.get("fewshot_as_multiturn"),
    }
    name, _, version = ("none", "", "") if detector is None else detector.signature.partition("|")
    rules = "" if detector is None else FIDELITY_VERSION
    extraction = f"lm-eval {found.results.get('lm_eval_version')}"
    return Signature(rows, plain(decoding), name, version, extraction, rules)


def _run_config(found: LmEvalResults, tasks: Sequence[TaskRows], options: ImportOptions) -> dict[str, Any]:
    stored = _config_of(found).get("random_seed")
    seed = options.seed if options.seed is not None else stored
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError(f"{found.file} does not say its seed (config.random_seed is {seed!r}); give --seed")
    return {
        "seed": seed,
        "model": {"name": _model(found)},
        "tasks": [{"name": name} for name in dict.fromkeys(task.name for task in tasks)],
        "imported": {"format": "lm-eval", "detector": options.detector, "parallel": options.parallel},
    }


def _model(found: LmEvalResults) -> str:
    """What the model is called; a path on somebody's machine is cut to its last part."""
    arguments = _config_of(found).get("model_args")
    name = arguments.get("pretrained") if isinstance(arguments, dict) else None
    name = str(name or found.results.get("model_name") or _config_of(found).get("model") or "unknown")
    return name.rstrip("/").rpartition("/")[2] if name.startswith((".", "/", "~")) else name


def _config_of(found: LmEvalResults) -> Mapping[str, Any]:
    config = found.results.get("config")
    return config if isinstance(config, dict) else {}


def _limit(found: LmEvalResults) -> int | None:
    limit = _config_of(found).get("limit")
    return int(limit) if isinstance(limit, (int, float)) and limit >= 1 else None


def _origin(found: LmEvalResults, notes: Sequence[str]) -> dict[str, Any]:
    kept = (
        "lm_eval_version",
        "transformers_version",
        "git_hash",
        "date",
        "model_source",
        "total_evaluation_time_seconds",
    )
    return {"file": found.file.name, **{key: plain(found.results.get(key)) for key in kept}, "notes": list(notes)}


def _notes(tasks: Sequence[TaskRows], detector: LanguageDetector | None, options: ImportOptions) -> list[str]:
    scored = ", ".join(dict.fromkeys(f"{task.metric},{task.filter}" for task in tasks))
    notes = [
        f"right and wrong are lm-eval's: {scored}",
        "unknown: completion tokens, responses that were cut, prompts that were cut",
    ]
    if any(task.kind == "generate" for task in tasks):
        how = (
            "unknown"
            if detector is None
            else f"told by {detector.signature.partition('[')[0]} from the stored responses"
        )
        notes.append(f"language of responses: {how}")
    if len({task.lang for task in tasks}) > 1:
        shared = options.parallel and options.join is not None
        how = "translations of each other" if shared else "taken for different ones"
        notes.append(f"questions of different languages are {how}")
    notes.append("the manifest's versions and hardware are of this machine, not of the one that evaluated")
    return notes


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True, ensure_ascii=True).encode()).hexdigest()
