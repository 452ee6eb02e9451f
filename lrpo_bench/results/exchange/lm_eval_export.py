"""A run in the files that lm-eval 0.4.13 writes: one results JSON, and one samples JSONL for each task and language.

    OUT/MODEL/results_2026-01-31T12-00-00.000000.json
    OUT/MODEL/samples_arithmetic_sw_2026-01-31T12-00-00.000000.jsonl

An lm-eval task is one language of one of ours, `TASK_LANG`; the languages of a task are a group, whose value is our
average over languages with its clustered error. The metrics are `acc,none` for multiple choice, as
lm-eval's own, and `exact_match,lrpo-bench` otherwise: the filter's name says that the answer was read by our rules. A
task that is lm-eval's keeps its own metric and filter.

Departures, because they can not be known from a run: `configs` holds what we know of a task and no templates;
likelihoods of options are not stored, so `resps` of multiple choice is empty and `arguments` hold the chosen option
alone; `doc_hash` is of what we keep of a document. Sampled draws are left out.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrpo_bench.evaluation.metrics import ALL, Metric
from lrpo_bench.evaluation.observations import HEADLINE
from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.results.exchange.source import OWN, Slice, data_source, metrics_in, model_name, refuse_existing, slices
from lrpo_bench.results.files import dumps, write_bytes, write_json
from lrpo_bench.results.named import NamedEvaluation
from lrpo_bench.tasks.registry import LM_EVAL_PREFIX

_OUTPUT_TYPES = {"generate": "generate_until", "choice": "multiple_choice"}


def export_lm_eval(found: NamedEvaluation, out: Path, name: str | None = None) -> list[Path]:
    """Writes the files and returns them, the results first."""
    refuse_existing(out)
    model = model_name(found, name)
    folder = out / re.sub(r"[\"<>:/|\\?*\[\]]+", "__", model)  # as lm-eval's `sanitize_model_name`
    stamp = _stamp(found)
    parts = slices(found)
    names = _task_names(parts)
    samples = {names[part.task, part.language]: [*_samples(part)] for part in parts}
    files = [folder / f"results_{stamp}.json"]
    write_json(files[0], _results(found, parts, samples, model))
    for task, rows in samples.items():
        files.append(folder / f"samples_{task}_{stamp}.jsonl")
        write_bytes(files[-1], "".join(f"{dumps(row)}\n" for row in rows).encode("utf-8", "backslashreplace"))
    return files


def _results(
    found: NamedEvaluation, parts: Sequence[Slice], samples: Mapping[str, list[dict[str, Any]]], model: str
) -> dict[str, Any]:
    names, groups = _task_names(parts), _groups(parts)
    by_name = {names[part.task, part.language]: part for part in parts}
    results = {name: _numbers(name, part.metrics, part, len(part.records)) for name, part in by_name.items()}
    averages = {
        group: _numbers(
            group, metrics_in(found, task, ALL), by_name[members[0]], sum(len(by_name[m].records) for m in members)
        )
        for group, (task, members) in groups.items()
    }
    better = {name: dict.fromkeys((key for key in row["metrics"]), True) for name, (row, *_) in samples.items()}
    versions = {name: part.signature.version for name, part in by_name.items()}
    return {
        "results": results | averages,
        "groups": averages,
        "group_subtasks": {group: members for group, (_, members) in groups.items()},
        "configs": {name: _config(found, name, part) for name, part in sorted(by_name.items())},
        "versions": versions | {group: versions[members[0]] for group, (_, members) in groups.items()},
        "n-shot": dict.fromkeys([*by_name, *groups], 0),
        "higher_is_better": better | {group: better[members[0]] for group, (_, members) in groups.items()},
        "n-samples": {
            name: {"original": len(part.records), "effective": len(part.records)} for name, part in by_name.items()
        },
        **_metadata(found, model),
        "task_hashes": {name: _sha("".join(map(_hashes, rows))) for name, rows in samples.items()},
    }


def _metadata(found: NamedEvaluation, model: str) -> dict[str, Any]:
    manifest = found.manifest
    limits = {task.limit for task in found.evaluation.signature.tasks.values()}
    seconds = manifest.extra.get(f"seconds_{found.name}")
    seed = manifest.config.get("seed")
    return {
        "config": {
            "model": OWN,
            "model_args": {"pretrained": model},
            "limit": limits.pop() if len(limits) == 1 else None,
            "bootstrap_iters": 0,
            "gen_kwargs": None,
            "random_seed": seed,
            "numpy_seed": seed,
            "torch_seed": seed,
            "fewshot_seed": seed,
        },
        "git_hash": manifest.git.get("commit"),
        "date": _finished(found).timestamp(),
        "transformers_version": manifest.versions.get("transformers"),
        "lm_eval_version": manifest.versions.get("lm-eval") or manifest.versions.get("lm_eval"),
        "lrpo_bench": {
            "version": manifest.package_version,
            "run": found.run.resolve().name,
            "evaluation": found.name,
            "signature": found.evaluation.signature.to_dict(),
            "trained_languages": found.evaluation.trained_languages,
        },
        "model_source": OWN,
        "model_name": model,
        "model_name_sanitized": re.sub(r"[\"<>:/|\\?*\[\]]+", "__", model),
        "system_instruction": None,
        "system_instruction_sha": None,
        "fewshot_as_multiturn": None,
        "chat_template": None,
        "chat_template_sha": None,
        "total_evaluation_time_seconds": None if seconds is None else str(seconds),
    }


def _numbers(name: str, metrics: Mapping[str, Metric], part: Slice, length: int) -> dict[str, Any]:
    """One entry of `results`; an unknown value is left out, an unknown error is lm-eval's "N/A"."""
    row: dict[str, Any] = {"alias": name, "name": name, "sample_len": length}
    for theirs, filtered, ours in _metric_keys(part):
        metric = metrics.get(ours)
        if metric is not None and metric.value is not None:
            row[f"{theirs},{filtered}"] = metric.value
            row[f"{theirs}_stderr,{filtered}"] = "N/A" if metric.stderr is None else metric.stderr
    return row


def _metric_keys(part: Slice) -> list[tuple[str, str, str]]:
    """lm-eval's metric and filter, and our metric, of what is exported."""
    if part.signature.kind == "choice":
        return [("acc", "none", "accuracy")]
    metric, filtered = "exact_match", OWN
    if part.task.startswith(LM_EVAL_PREFIX) and "," in part.signature.variant:
        metric, filtered, *_ = part.signature.variant.split(",")
    return [(metric, filtered, "accuracy"), (HEADLINE, filtered, HEADLINE), ("fidelity", filtered, "fidelity")]


def _samples(part: Slice) -> Iterator[dict[str, Any]]:
    keys = _metric_keys(part)
    for number, record in enumerate(sorted(part.records, key=lambda r: r.sample_id)):
        doc = {
            "sample_id": record.sample_id,
            "source_id": record.source_id,
            "language": part.language,
            "topic": record.topic,
            "regions": list(record.regions),
            "question": record.question,
            "answer": record.gold,
        }
        values: dict[str, Any] = {"accuracy": record.score, HEADLINE: record.score_in_language}
        values["fidelity"] = None if record.language_ok is None else float(record.language_ok)
        yield {
            "doc_id": number,
            "doc": doc,
            "target": record.gold,
            **_responses(record, part.signature.kind),
            "filter": keys[0][1],
            "metrics": [theirs for theirs, _, _ in keys],
            "doc_hash": _sha(json.dumps(doc, indent=2, ensure_ascii=False)),
            "prompt_hash": _sha(record.prompt),
            "target_hash": _sha(record.gold),
            **{theirs: values[ours] for theirs, _, ours in keys},
        }


def _responses(record: ResponseRecord, kind: str) -> dict[str, Any]:
    if kind == "choice":
        arguments: dict[str, Any] = {"arg_0": record.prompt, "arg_1": record.completion}
        return {"arguments": {"gen_args_0": arguments}, "resps": [[]], "filtered_resps": [record.answer or ""]}
    arguments = {"arg_0": record.prompt, "arg_1": {"do_sample": False}}
    read = "[invalid]" if record.answer is None else record.answer
    return {"arguments": {"gen_args_0": arguments}, "resps": [[record.completion]], "filtered_resps": [read]}


def _config(found: NamedEvaluation, name: str, part: Slice) -> dict[str, Any]:
    source = data_source(found, part.task)
    return {
        "task": name,
        "dataset_path": source.hub,
        "dataset_name": part.language,
        "test_split": source.split,
        "num_fewshot": 0,
        "metric_list": [
            {"metric": theirs, "aggregation": "mean", "higher_is_better": True} for theirs, _, _ in _metric_keys(part)
        ],
        "output_type": _OUTPUT_TYPES[part.signature.kind],
        "repeats": 1,
        "metadata": {
            "version": part.signature.version,
            "language": part.language,
            "lrpo_bench_task": part.task,
            "variant": part.signature.variant,
            "prompt_hash": part.signature.prompt_hash,
            "data_hash": part.signature.data_hash,
        },
    }


def _task_names(parts: Sequence[Slice]) -> dict[tuple[str, str], str]:
    """Names of tasks that lm-eval's own file names can hold."""
    names = {}
    for part in parts:
        plain = re.sub(r"[^\w.-]+", "_", part.task.removeprefix(LM_EVAL_PREFIX)).strip("_")
        names[part.task, part.language] = f"{plain}_{part.language}"
    return names


def _groups(parts: Sequence[Slice]) -> dict[str, tuple[str, list[str]]]:
    """Group -> our task and its members, for tasks of several languages."""
    names = _task_names(parts)
    found: dict[str, tuple[str, list[str]]] = {}
    for part in parts:
        name = names[part.task, part.language]
        found.setdefault(name.removesuffix(f"_{part.language}"), (part.task, []))[1].append(name)
    return {group: (task, members) for group, (task, members) in found.items() if len(members) > 1}


def _hashes(row: Mapping[str, Any]) -> str:
    return str(row["doc_hash"] + row["prompt_hash"] + row["target_hash"])


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _finished(found: NamedEvaluation) -> datetime.datetime:
    text = found.manifest.finished_at or found.manifest.created_at
    return datetime.datetime.fromisoformat(text)


def _stamp(found: NamedEvaluation) -> str:
    return _finished(found).strftime("%Y-%m-%dT%H-%M-%S.%f")
