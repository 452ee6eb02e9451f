"""Tables of one evaluation's numbers, for runs that have nothing to compare them with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from lrpo_bench.evaluation.metrics import Metric
from lrpo_bench.evaluation.draws import GROUP
from lrpo_bench.evaluation.observations import HEADLINE
from lrpo_bench.languages import LANGUAGES
from lrpo_bench.results.report_blocks import Block, Rows, Section, Text
from lrpo_bench.results.schema import Evaluation, Run
from lrpo_bench.results.words import SETS, metric_name, percent

_NOT_SHARES = ("completion_tokens", "distinct_answers", "answer_entropy", "self_bleu", "vendi")
"""Metrics that are no share of anything: shown as they are."""
_FIRST = (HEADLINE, "accuracy", "fidelity", "lpr", "wpr", "lcpr")
_HIDDEN = ("share:",)
"""Cells that the bars of outcomes show."""


def single_evaluation(run: Run) -> list[Section]:
    """The numbers of a run with one evaluation alone; none where it has two, which the comparison shows."""
    found = [e for e in (run.before, run.after) if e is not None]
    return evaluation_sections(found[0]) if len(found) == 1 else []


def evaluation_sections(evaluation: Evaluation) -> list[Section]:
    """A section a task: the main metrics by language, everything else averaged over languages."""
    sections = []
    for task in evaluation.signature.tasks:
        metrics = [m for m in evaluation.metrics if m.task == task and not m.metric.startswith(_HIDDEN)]
        known = [m for m in metrics if m.value is not None]
        if not metrics:
            continue
        blocks: list[Block] = []
        for name in _FIRST:
            rows = [_row(m) for m in metrics if m.metric == name]
            if any(m.metric == name for m in known):
                header = (metric_name(name), "value", "95% interval", "responses", "questions", "unknown")
                blocks.append(Rows(header, rows))
        rest = [m for m in known if m.language == "avg:all" and m.metric not in _FIRST]
        rest = [m for m in rest if not (m.metric.startswith(GROUP) and m.value == 0.0)]
        if rest:
            header = ("all languages", "value", "95% interval", "counted", "questions", "unknown")
            blocks.append(Rows(header, [(metric_name(m.metric), *_row(m)[1:]) for m in rest]))
        kind = "Wilson's, on as many independent answers as the questions are worth" if _has_wilson(known) else "t intervals"
        text = f"Intervals are at 95% and cluster by source question ({kind}); unknown is left out and counted."
        blocks.append(Text(text))
        sections.append(Section(f"Results: {task}, {evaluation.label}", blocks))
    return sections


def _has_wilson(metrics: Iterable[Metric]) -> bool:
    return any(metric.interval == "wilson" for metric in metrics)


def _row(metric: Metric) -> Sequence[str]:
    code = metric.language
    name = SETS.get(code) or (f"{LANGUAGES[code].name} ({code})" if code in LANGUAGES else code)
    label = f"Average, {name}" if code in SETS else name
    low, high = (_shown(metric.metric, end) for end in metric.ci95)
    span = "—" if metric.ci95[0] is None else f"{low} to {high}"
    counts = (str(metric.n), str(metric.n_clusters), str(metric.n_unscored or ""))
    return (label, _shown(metric.metric, metric.value), span, *counts)


def _shown(metric: str, value: float | None) -> str:
    if value is None or math.isnan(value):
        return "—"
    return f"{value:.2f}" if metric.startswith(_NOT_SHARES) else percent(value)
