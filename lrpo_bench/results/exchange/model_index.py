"""The `model-index` of a Hugging Face model card: each main metric per task and language, with its interval.

A file that ends in `.md` is a whole card, its front matter and a table; any other is the YAML alone, to be pasted into
a card. The YAML is made and read back by `huggingface_hub`, so that it is what the hub reads. Values are in [0, 1].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrpo_bench.evaluation.metrics import Metric, language_sets
from lrpo_bench.evaluation.observations import HEADLINE
from lrpo_bench.results.exchange.source import (
    OWN,
    DataSource,
    data_source,
    known_metrics,
    metrics_in,
    model_name,
    refuse_existing,
)
from lrpo_bench.results.files import write_bytes
from lrpo_bench.results.named import NamedEvaluation
from lrpo_bench.results.untrusted import markdown_line
from lrpo_bench.results.words import SETS, metric_name

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_METRICS = (HEADLINE, "accuracy", "fidelity")
_TASK_TYPES = {"generate": "text-generation", "choice": "multiple-choice"}


def export_model_index(found: NamedEvaluation, out: Path, name: str | None = None) -> list[Path]:
    """Writes the metadata, or a card with it, and returns the file."""
    from huggingface_hub import EvalResult, ModelCardData

    refuse_existing(out)
    named = model_name(found, name)
    rows = list(_rows(found))
    results: list[EvalResult] = [EvalResult(**row) for row in rows]
    languages = sorted({lang for task in found.evaluation.signature.tasks.values() for lang in task.languages})
    card = ModelCardData(model_name=named, eval_results=results, language=languages, tags=[OWN])
    text = card.to_yaml()
    if out.suffix == ".md":
        text = f"---\n{text}\n---\n\n{_body(named, rows)}"
    write_bytes(out, (text.rstrip("\n") + "\n").encode())
    return [out]


def _rows(found: NamedEvaluation) -> Iterator[dict[str, Any]]:
    """Arguments of `EvalResult`, one a task, language and known metric."""
    tasks = found.evaluation.signature.tasks
    sources = {task: data_source(found, task) for task in tasks}
    places = Counter(_place(task, source) for task, source in sources.items())
    for task, signature in sorted(tasks.items()):
        source = sources[task]
        shared = places[_place(task, source)] > 1  # the hub tells results apart by data set and config alone
        for language in language_sets(signature.languages, found.evaluation.trained_languages):
            for metric in known_metrics(metrics_in(found, task, language), _METRICS):
                config = SETS.get(language, language)
                yield {
                    "task_type": _TASK_TYPES[signature.kind],
                    "task_name": f"{task} {signature.version}, {signature.variant}",
                    "dataset_type": _place(task, source),
                    "dataset_name": source.title,
                    "dataset_config": f"{config} ({task})" if shared else config,
                    "dataset_split": source.split,
                    "dataset_revision": source.revision,
                    "dataset_args": {"limit": signature.limit} if signature.limit else None,
                    "metric_type": metric.metric,
                    "metric_name": metric_name(metric.metric),
                    "metric_value": metric.value,
                    "metric_args": _uncertainty(metric),
                }


def _place(task: str, source: DataSource) -> str:
    return source.hub or f"{OWN}/{task}"


def _uncertainty(metric: Metric) -> dict[str, Any]:
    return {
        "stderr": metric.stderr,
        "ci95": list(metric.ci95),
        "n": metric.n,
        "n_questions": metric.n_clusters,
        "n_unscored": metric.n_unscored,
    }


def _body(named: str, rows: list[dict[str, Any]]) -> str:
    lines = [
        f"# {markdown_line(named)}",
        "",
        "Measured by lrpo-bench; 95% intervals over questions.",
        "",
        "| task | languages | metric | value | 95% interval | n |",
        "|---|---|---|--:|--:|--:|",
    ]
    for row in rows:
        args: Mapping[str, Any] = row["metric_args"]
        low, high = args["ci95"]
        interval = "—" if low is None else f"[{low:.3f}, {high:.3f}]"
        names = (row["task_name"], row["dataset_config"], row["metric_name"])
        cells = [*map(markdown_line, names), f"{row['metric_value']:.3f}", interval, str(args["n"])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
