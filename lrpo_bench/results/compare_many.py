"""Several evaluations against the first: the same comparison for each, corrected for their number.

Holm's correction then covers every language of every run of one task and metric, and averages over the runs, since the
reader looks for the best of them all. With `intersect`, all are cut to the questions that every one of them has, so
that the first has one value in all of the comparisons.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

from lrpo_bench.errors import IncomparableResultsError
from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.evaluation.significance import holm
from lrpo_bench.results.compare import Comparison, Difference, compare
from lrpo_bench.results.schema import Evaluation


def compare_many(evaluations: Sequence[Evaluation], *, intersect: bool = False) -> tuple[Comparison, ...]:
    """Comparisons of the first evaluation with each of the others, in their order.

    Raises:
        IncomparableResultsError: naming the first field that differs between the first and another.
    """
    if len(evaluations) < 2:
        raise ValueError(f"at least two evaluations are needed, got {len(evaluations)}")
    kept, notes = _common(evaluations) if intersect and len(evaluations) > 2 else (list(evaluations), [])
    found = [compare(kept[0], other, intersect=intersect) for other in kept[1:]]
    corrected = _corrected(found) if len(found) > 1 else [list(one.differences) for one in found]
    return tuple(
        dataclasses.replace(one, differences=tuple(rows), notes=(*notes, *one.notes))
        for one, rows in zip(found, corrected, strict=True)
    )


def _common(evaluations: Sequence[Evaluation]) -> tuple[list[Evaluation], list[str]]:
    asked = [{r.key: (r.question, r.gold, r.source_id) for r in e.records} for e in evaluations]
    shared = {key for key, question in asked[0].items() if all(other.get(key) == question for other in asked[1:])}
    if not shared:
        raise IncomparableResultsError(
            f"can not compare: {', '.join(e.label for e in evaluations)} have no question in common"
        )

    def kept(record: ResponseRecord) -> bool:
        return record.key in shared

    cut = [dataclasses.replace(e, records=tuple(filter(kept, e.records))) for e in evaluations]
    left_out = sum(len(e.records) for e in evaluations) - len(shared) * len(evaluations)
    note = f"compared {len(shared)} responses that all {len(evaluations)} have; left out {left_out} that some lack"
    return cut, [note] if left_out else []


def _corrected(found: Sequence[Comparison]) -> list[list[Difference]]:
    """The differences of each comparison with p corrected over all of them."""
    rows = [list(one.differences) for one in found]
    families: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    for i, differences in enumerate(rows):
        for j, d in enumerate(differences):
            families[d.task, d.metric, d.language if d.is_average else ""].append((i, j))
    for members in families.values():
        for (i, j), p in zip(members, holm([rows[i][j].p for i, j in members]), strict=True):
            rows[i][j] = dataclasses.replace(rows[i][j], p_holm=float(p))
    return rows
