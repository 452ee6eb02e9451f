"""Which language a learned router would choose for a question, noted with each response that it concerns.

The choice is the router's most probable language among those in which the task is evaluated: sampling and exploration
are for training. A router that prefers none of them leaves the question in its own language.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.lrpo.routing import Context, Router

_TIE = 1e-12


def router_choice(router: Router, context: Context, languages: Iterable[str], step: int) -> str | None:
    """The language that `router` would choose at `step` among `languages`; None where it knows none of them."""
    allowed = set(languages)
    probs = {
        lang: float(p) for lang, p in zip(router.arms, router.probs(context, step), strict=True) if lang in allowed
    }
    if not probs:
        return None
    top = max(probs.values())
    tied = [lang for lang, p in probs.items() if p >= top - _TIE]
    if context.source_lang in tied or len(tied) == len(probs) > 1:
        return context.source_lang
    return tied[0]


def with_router_choice(
    records: Sequence[ResponseRecord], router: Router | None, languages: Mapping[str, Sequence[str]], step: int
) -> list[ResponseRecord]:
    """The records with the router's choice for their question; without a router, as they are.

    Args:
        records: of any number of tasks.
        router: at its last state.
        languages: evaluated languages, by task.
        step: of which the router's annealing is to be taken: the last one.
    """
    if router is None:
        return list(records)
    return [
        replace(record, router_lang=router_choice(router, _context(record), languages[record.task], step))
        for record in records
    ]


def _context(record: ResponseRecord) -> Context:
    return Context(record.topic, record.source_lang, record.regions, record.task)
