"""A comparison as JSON for other programs: every number at full precision, unknown as null.

The schema is documented in `docs/compare.md`; its name changes when a field changes its meaning or goes.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.evaluation.statistics import Estimate
from lrpo_bench.results.compare import Comparison, Decomposition, Difference, Flip
from lrpo_bench.results.files import dumps
from lrpo_bench.results.flips import examples

SCHEMA = "lrpo-bench/comparison/1"
_TEXTS = ("completion", "answer", "outcome", "score", "detected_lang", "language_ok")


def to_json(comparisons: Sequence[Comparison], n_flips: int = 0) -> str:
    """The comparisons with one baseline as a JSON document.

    Args:
        comparisons: each with the same first run.
        n_flips: questions won, and as many lost, that are given with their texts per task.
    """
    row = {
        "schema": SCHEMA,
        "baseline": comparisons[0].before,
        "comparisons": [_comparison(one, n_flips) for one in comparisons],
    }
    return dumps(row, indent=2) + "\n"


def _comparison(one: Comparison, n_flips: int) -> dict[str, Any]:
    counts = Counter((flip.before.task, flip.kind) for flip in one.flips)
    return {
        "before": one.before,
        "after": one.after,
        "n_responses": one.n_samples,
        "trained_languages": one.trained_languages,
        "notes": one.notes,
        "differences": [_difference(d) for d in one.differences],
        "decompositions": [_decomposition(d) for d in one.decompositions],
        "flips": {
            task: {
                "won": counts[task, "gained"],
                "lost": counts[task, "lost"],
                "examples": [_flip(flip) for flip in examples(one, task, n_flips)],
            }
            for task in one.tasks
        },
    }


def _difference(d: Difference) -> dict[str, Any]:
    return {
        "task": d.task,
        "language": d.language,
        "metric": d.metric,
        "before": d.before,
        "after": d.after,
        **_estimate("change", d.change),
        "p": d.p,
        "p_holm": d.p_holm,
        "test": d.test,
        "detectable": d.detectable,
        "n": d.change.n,
        "n_clusters": d.change.n_clusters,
        "n_unscored": d.change.n_unscored,
        "is_real": d.is_real,
        "note": d.note,
    }


def _decomposition(d: Decomposition) -> dict[str, Any]:
    parts = _estimate("more_correct", d.more_correct) | _estimate("right_language", d.right_language)
    return {"task": d.task, "language": d.language, **parts}


def _estimate(name: str, estimate: Estimate) -> dict[str, Any]:
    return {name: estimate.value, f"{name}_stderr": estimate.stderr, f"{name}_ci95": estimate.ci95}


def _flip(flip: Flip) -> dict[str, Any]:
    asked = flip.before
    return {
        "kind": "won" if flip.kind == "gained" else "lost",
        "cause": flip.cause,
        "sample_id": asked.sample_id,
        "source_id": asked.source_id,
        "language": asked.rollout_lang,
        "question": asked.question,
        "gold": asked.gold,
        "before": _response(flip.before),
        "after": _response(flip.after),
    }


def _response(record: ResponseRecord) -> dict[str, Any]:
    row = dataclasses.asdict(record)
    return {name: row[name] for name in _TEXTS}
