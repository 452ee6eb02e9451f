"""Sections of a report that show averages over languages alone: diversity of draws, and what crosses languages."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lrpo_bench.evaluation.draws import GROUP
from lrpo_bench.results.compare import Comparison, Difference
from lrpo_bench.results.html import Cell, paragraph, table, tag
from lrpo_bench.results.report_sections import tone, verdict
from lrpo_bench.results.tables import number
from lrpo_bench.results.words import metric_name

_DIVERSITY = ("distinct_answers", "answer_entropy", "distinct_2", "distinct_2_ead", "self_bleu", "zero_advantage")
_ACCURACIES = ("pass@", "sampled_", "headroom_", "consistency")
_HEADROOM = ("headroom_source", "headroom_routed", "headroom_oracle")


def diversity(comparison: Comparison | None) -> str:
    """How different the draws of a question are, before and after."""
    if comparison is None or comparison.find(_DIVERSITY[0]) is None:
        return ""
    shown = [
        name
        for name in dict.fromkeys(d.metric for d in comparison.differences)
        if name in _DIVERSITY or name.startswith(("pass@", "sampled_", GROUP))
    ]
    parts = [_table(comparison, task, shown) for task in comparison.tasks]
    return tag("h2", "Diversity of sampled draws") + "".join(parts)


def across_languages(comparison: Comparison | None) -> str:
    """Whether parallel questions are answered alike, and what a model knows when asked for in another language."""
    if comparison is None:
        return ""
    parts = [_table(comparison, task, ("consistency", *_HEADROOM)) for task in comparison.tasks]
    if not any(parts):
        return ""
    if any(comparison.find(name) for name in _HEADROOM):
        parts.append(
            paragraph(
                "What the best language would add over the question's own is headroom: the model knows it and does not "
                "say it. Guessing lifts the best of many languages too, so read it as an upper bound.",
                "note",
            )
        )
    return tag("h2", "Across languages") + "".join(parts)


def _table(comparison: Comparison, task: str, metrics: Iterable[str]) -> str:
    found = [comparison.find(name, "avg:all", task) for name in metrics]
    rows = [
        ("", [metric_name(d.metric), *_cells(d)])
        for d in found
        if d is not None and not (d.metric.startswith(GROUP) and d.before == d.after == 0.0)
    ]
    header = (f"{task}, all languages", "before", "after", "change", "95% interval", "")
    return table(header, rows) if rows else ""


def _cells(d: Difference) -> list[Cell]:
    low, high = d.change.ci95
    span = "—" if math.isnan(low) else f"{number(low, True)} to {number(high, True)}"
    # More distinct is neither good nor bad in itself, so only accuracies have a colour.
    style = tone(d) if d.metric.startswith(_ACCURACIES) or not d.change.excludes_zero else "strong"
    change, span = (text.replace("-", "−") for text in (number(d.change.value, True), span))
    return [number(d.before), number(d.after), (change, style), span, (verdict(d), style)]
