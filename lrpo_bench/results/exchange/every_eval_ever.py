"""A run in the EvalEval Coalition's shared schema, "Every Eval Ever", version 0.2.2.

    OUT/data/TASK/ORGANISATION/MODEL/UUID.json             the numbers of one task
    OUT/data/TASK/ORGANISATION/MODEL/UUID_samples.jsonl    its greedy responses

The layout is the data store's. The version is pinned: the schema is before 1.0 and has changed several times in its
first year. Of the rules that came after 0.2.2 the two model details (who deployed it, whether its weights are open) are
given as well, `unknown` where a run does not tell. Checked against the published schema files (github.com/evaleval/
every_eval_ever, `every_eval_ever/schemas`).

Decisions: a response belongs to the accuracy of its task and language, and its other judgements stand in its metadata.
The schema has no place for a score that is unknown, so such numbers and responses are left out, and counted in
`n_unscored`. File names follow from the content, and `retrieved_timestamp` is the time at which the run finished, so
that the same run gives the same files.
"""

from __future__ import annotations

import datetime
import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lrpo_bench.evaluation.metrics import Metric, language_sets
from lrpo_bench.evaluation.observations import HEADLINE
from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.results.exchange.source import (
    OWN,
    Slice,
    data_source,
    known_metrics,
    metrics_in,
    model_name,
    refuse_existing,
    slices,
)
from lrpo_bench.results.files import dumps, json_bytes, write_bytes
from lrpo_bench.results.named import NamedEvaluation
from lrpo_bench.results.words import SETS, metric_name

SCHEMA_VERSION = "0.2.2"
INSTANCE_VERSION = f"instance_level_eval_{SCHEMA_VERSION}"
_METRICS = (HEADLINE, "accuracy", "fidelity", "lpr", "wpr", "lcpr", "truncation_rate", "consistency")
_LOWER_IS_BETTER = ("truncation_rate",)


def export_every_eval_ever(found: NamedEvaluation, out: Path, name: str | None = None) -> list[Path]:
    """Writes two files a task and returns them."""
    refuse_existing(out)
    model = model_name(found, name)
    organisation, _, rest = model.rpartition("/")
    files = []
    for task in sorted(found.evaluation.signature.tasks):
        folder = Path("data") / _plain(task) / _plain(organisation or OWN) / _plain(rest)
        identity = f"{task}/{model}/{_timestamp(found)}"
        rows = [row for part in slices(found) if part.task == task for row in _instances(part, identity, model)]
        lines = "".join(f"{dumps(row)}\n" for row in rows).encode("utf-8", "backslashreplace")
        aggregate = _aggregate(found, task, identity, model)
        digest = hashlib.sha256(json_bytes(aggregate) + lines).digest()
        stem = folder / str(uuid.UUID(bytes=digest[:16], version=4))
        samples = stem.with_name(f"{stem.name}_samples.jsonl")
        if rows:
            aggregate["detailed_evaluation_results"] = {
                "format": "jsonl",
                "file_path": samples.as_posix(),
                "hash_algorithm": "sha256",
                "checksum": hashlib.sha256(lines).hexdigest(),
                "total_rows": len(rows),
                "additional_details": {"n_unscored": str(_unscored(found, task))},
            }
            write_bytes(out / samples, lines)
            files.append(out / samples)
        write_bytes(out / f"{stem}.json", json_bytes(aggregate))
        files.append(out / f"{stem}.json")
    return files


def _aggregate(found: NamedEvaluation, task: str, identity: str, model: str) -> dict[str, Any]:
    manifest = found.manifest
    details = {
        "deployment_type": "self_deployed",
        "model_availability": "unknown",
        "weights_sha256": str(manifest.hashes.get("weights_after" if found.name == "after" else "weights", "unknown")),
    }
    version = str(manifest.package_version or "unknown")
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": identity,
        "evaluation_timestamp": _timestamp(found),
        "retrieved_timestamp": _timestamp(found),
        "source_metadata": {
            "source_name": OWN,
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "other",
            "additional_details": {"run": found.run.resolve().name, "evaluation": found.name},
        },
        "eval_library": {"name": OWN, "version": version},
        "model_info": {"name": model, "id": model, "additional_details": details},
        "evaluation_results": list(_results(found, task)),
    }


def _results(found: NamedEvaluation, task: str) -> Iterator[dict[str, Any]]:
    signature = found.evaluation.signature.tasks[task]
    source = data_source(found, task)
    origin: dict[str, Any] = {"dataset_name": source.title, "source_type": "hf_dataset" if source.hub else "other"}
    if source.hub:
        origin["hf_repo"] = source.hub
        origin["additional_details"] = {"revision": str(source.revision), "split": str(source.split)}
    settings = {"variant": signature.variant, "version": signature.version, "prompt_hash": signature.prompt_hash}
    for language in language_sets(signature.languages, found.evaluation.trained_languages):
        for metric in known_metrics(metrics_in(found, task, language), _METRICS):
            yield {
                "evaluation_result_id": _result_id(task, language, metric.metric),
                "evaluation_name": f"{task}, {SETS.get(language, language)}",
                "source_data": origin,
                "metric_config": {
                    "evaluation_description": metric_name(metric.metric),
                    "metric_id": metric.metric if metric.metric == "accuracy" else f"{OWN}.{metric.metric}",
                    "metric_name": metric_name(metric.metric),
                    "metric_unit": "proportion",
                    "lower_is_better": metric.metric in _LOWER_IS_BETTER,
                    "score_type": "continuous",
                    "min_score": 0,
                    "max_score": 1,
                },
                "score_details": _score(metric),
                "generation_config": {
                    "generation_args": {"temperature": 0.0} if signature.kind == "generate" else {},
                    "additional_details": {**settings, "language": language},
                },
            }


def _score(metric: Metric) -> dict[str, Any]:
    uncertainty: dict[str, Any] = {"num_samples": metric.n}
    if metric.stderr is not None:
        uncertainty["standard_error"] = {"value": metric.stderr, "method": "clustered by source question"}
    low, high = metric.ci95
    if low is not None and high is not None:
        method = f"{metric.interval}, clustered by source question"
        interval = {"lower": low, "upper": high, "confidence_level": 0.95, "method": method}
        uncertainty["confidence_interval"] = interval
    return {
        "score": metric.value,
        "details": {"n_unscored": str(metric.n_unscored), "n_questions": str(metric.n_clusters), "note": metric.note},
        "uncertainty": uncertainty,
    }


def _instances(part: Slice, identity: str, model: str) -> Iterator[dict[str, Any]]:
    for record in sorted(part.records, key=lambda r: r.sample_id):
        if record.score is not None:
            yield _instance(record, part, identity, model)


def _instance(record: ResponseRecord, part: Slice, identity: str, model: str) -> dict[str, Any]:
    judged = {
        "language_asked": record.rollout_lang,
        "language_detected": record.detected_lang,
        "in_language": record.language_ok,
        "outcome": record.outcome,
        "source_id": record.source_id,
    }
    return {
        "schema_version": INSTANCE_VERSION,
        "evaluation_id": identity,
        "model_id": model,
        "evaluation_name": f"{part.task}, {part.language}",
        "evaluation_result_id": _result_id(part.task, part.language, "accuracy"),
        "sample_id": record.sample_id,
        "sample_hash": hashlib.sha256((record.question + record.gold).encode("utf-8", "replace")).hexdigest(),
        "interaction_type": "single_turn",
        "input": {"raw": record.question, "formatted": record.prompt, "reference": [record.gold]},
        "output": {"raw": [record.completion]},
        "messages": None,
        "answer_attribution": [_attribution(record.answer)] if record.answer is not None else [],
        "evaluation": {"score": record.score, "is_correct": record.outcome == "correct"},
        "metadata": {key: str(value) for key, value in judged.items() if value is not None},
    }


def _attribution(answer: str) -> dict[str, Any]:
    return {
        "turn_idx": 0,
        "source": "output.raw",
        "extracted_value": answer,
        "extraction_method": "custom",
        "is_terminal": True,
    }


def _result_id(task: str, language: str, metric: str) -> str:
    return f"{task}/{language}/{metric}"


def _unscored(found: NamedEvaluation, task: str) -> int:
    return sum(record.score is None for part in slices(found) if part.task == task for record in part.records)


def _timestamp(found: NamedEvaluation) -> str:
    text = found.manifest.finished_at or found.manifest.created_at
    return str(int(datetime.datetime.fromisoformat(text).timestamp()))


def _plain(name: str) -> str:
    """A part of a path that every file system takes and that is not the store's reserved `data`."""
    kept = "".join(ch if ch.isalnum() or ch in "._-" else "_" for ch in name).strip("._ ") or "unknown"
    return f"{kept}_" if kept == "data" else kept
