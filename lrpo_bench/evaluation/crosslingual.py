"""Across languages: are parallel questions answered alike, and what does a model know that it does not say in one?

`consistency` of a question in one language is its mean agreement with its translations. Of generated answers, agreement
is 1 where both are right or give the same wrong answer, else 0; of multiple choice it is RankC, over all options::

    de: 18 right    en: 18 right    sw: 7 wrong        de and en agree, sw with neither: de 1/2, en 1/2, sw 0

Headroom needs each question asked for in every evaluated language (`eval.headroom`), greedily, and counts right answers
whatever language they are written in:

| metric | right when asked for in |
|---|---|
| `headroom_source` | the question's own language: the same as `accuracy` |
| `headroom_routed` | the language that a router would choose |
| `headroom_oracle` | any of the languages |

The router is the run's learned one at its last state, where there is one (`ResponseRecord.router_lang`). Otherwise it
is cross-fitted: questions fall in two halves by a hash of their source id, all translations on one side, and a question
is routed to the language with the best mean score over the *other* half's questions of its topic and region, so that no
answer chooses its own language. Intervals take the choice as given.

The oracle is an upper bound that guessing lifts: of L languages, three-way guessing alone is right in one with
probability 1 - (2/3)^L. Compare oracles, and read them with that in mind.

Source: RankC, Qi et al. 2023 (arXiv 2310.10378, Eq. 1 and 2).

Departures:
    - RankC's `consistency` in the paper is over questions known in both languages; here it is over all of them.
    - Where several languages are equally good, the router stays in the question's own language if that is among them.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.evaluation.columns import Answer, Greedy, GreedyColumns
from lrpo_bench.evaluation.records import CHOICE_REASON, ResponseRecord, known_or_nan
from lrpo_bench.lrpo.routing import Context

MetricValues = dict[str, tuple[NDArray[np.float64], str]]
"""By metric: a value a record, NaN where unknown, and a note."""

_TIE = 1e-9  # means of the same scores in another order differ by rounding
_Cell = tuple[str | None, ...]  # topic and region (None where the question names none), or a topic alone
_Sums = dict[tuple[int, _Cell], dict[str, list[float]]]


@lru_cache(maxsize=4096)
def rank_consistency(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """RankC of two rankings of the same options, the most likely first: in [0, 1], 1 where they agree.

    `sum_j w_j |top_j(a) & top_j(b)| / j`, with w the softmax over (N, N - 1, ..., 1), so that the first counts most.
    NaN where there are no options.

    Example:
        >>> rank_consistency((0, 1, 2), (0, 1, 2))
        1.0
        >>> round(rank_consistency((0, 1, 2), (0, 2, 1)), 4)  # weights .6652 .2447 .0900; overlaps 1, 1/2, 1
        0.8776
    """
    if set(a) != set(b) or len(set(a)) != len(a) or len(a) != len(b):
        raise ValueError(f"RankC needs two rankings of the same options, got {a!r} and {b!r}")
    if not a:
        return math.nan
    weights = [math.exp(-j) for j in range(len(a))]
    overlaps = [len(set(a[:j]) & set(b[:j])) / j for j in range(1, len(a) + 1)]
    return math.fsum(w * overlap for w, overlap in zip(weights, overlaps, strict=True)) / math.fsum(weights)


def answered_alike(a: ResponseRecord | Answer, b: ResponseRecord | Answer) -> float:
    """How far two responses to translations of one question agree; NaN where that can not be known.

    Two right answers agree however they are spelt. A response without an answer, or cut, agrees with none: to leave it
    out would make a model that says nothing consistent. Options are told by their position, which translations share.
    """
    if a.language_reason == CHOICE_REASON:
        return rank_consistency(a.ranking, b.ranking) if len(a.ranking) == len(b.ranking) else math.nan
    if a.score is None or b.score is None:
        return math.nan
    if a.score == b.score == 1.0:
        return 1.0
    if {a.outcome, b.outcome} & {"not_attempted", "truncated"}:
        return 0.0
    return math.nan if a.answer is None or b.answer is None else float(a.answer == b.answer)


def consistency_values(records: Sequence[ResponseRecord]) -> MetricValues:
    """`consistency` of each greedy response of one task; nothing where no question was asked in two languages.

    Its mean over languages is the mean over ordered pairs of languages.
    """
    columns = GreedyColumns(names=False)
    for record in records:
        columns.add(record, is_cut=False)
    places = np.argsort([record.rollout_lang for record in records], kind="stable")
    values = np.empty(len(records))
    found = consistency(columns.finished()) if records else None
    if found is None:
        return {}
    values[places] = found[0]
    return {"consistency": (values, found[1])}


def consistency(greedy: Greedy) -> tuple[NDArray[np.float64], str] | None:
    """The same from columns, in their order, with its note; None where no question was asked in two languages."""
    if not greedy.is_parallel:
        return None
    values = np.empty(len(greedy))
    for positions, answers in greedy.by_question():
        values[positions] = [
            _mean_known([answered_alike(one, other) for other in answers if other.rollout_lang != one.rollout_lang])
            for one in answers
        ]
    by_rank = any(kind.language_reason == CHOICE_REASON for kind in greedy.kinds)
    return values, "RankC" if by_rank else "share answered alike"


def headroom_values(records: Sequence[ResponseRecord], elsewhere: Sequence[ResponseRecord]) -> MetricValues:
    """`headroom_source`, `headroom_routed` and `headroom_oracle` of each greedy response of one task.

    Args:
        records: responses in the questions' own languages.
        elsewhere: greedy responses to the same questions, asked for in other languages; without any, there is nothing.
    """
    if not elsewhere:
        return {}
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for record in (*records, *elsewhere):
        scores[record.sample_id][record.rollout_lang] = known_or_nan(record.score)
    languages = sorted({record.rollout_lang for record in (*records, *elsewhere)})
    routes, router = _routes(records, scores, languages)
    routed = [scores[r.sample_id].get(lang, math.nan) for r, lang in zip(records, routes, strict=True)]
    oracle = [_best([scores[r.sample_id].get(lang, math.nan) for lang in languages]) for r in records]
    return {
        "headroom_source": (np.array([known_or_nan(r.score) for r in records]), "right in any language"),
        "headroom_routed": (np.array(routed), router),
        "headroom_oracle": (np.array(oracle), f"best of {len(languages)} languages"),
    }


def cross_fitted_routes(
    records: Sequence[ResponseRecord], scores: Mapping[str, Mapping[str, float]], languages: Sequence[str]
) -> list[str]:
    """For each response the language that did best on the other half's questions of its topic and region.

    Where the other half has no such question its topic decides, and where it has none of these, nothing is routed.

    Args:
        records: responses in the questions' own languages.
        scores: by sample id and asked language; NaN where unknown.
        languages: those to choose from.
    """
    sums: _Sums = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
    for record in records:
        for cell in (*_cells(record), (record.topic,)):
            for lang, score in scores[record.sample_id].items():
                if not math.isnan(score):
                    entry = sums[half_of(record.source_id), cell][lang]
                    entry[0], entry[1] = entry[0] + score, entry[1] + 1
    return [_best_language(record, sums, languages) for record in records]


def half_of(source_id: str) -> int:
    """The half, 0 or 1, in which a source question falls: a pure function of its id.

    Example:
        >>> sum(half_of(f"mgsm/{i}") for i in range(1000)) in range(450, 550)
        True
    """
    return hashlib.sha256(f"headroom\0{source_id}".encode("utf-8", "replace")).digest()[0] & 1


def _routes(
    records: Sequence[ResponseRecord], scores: Mapping[str, Mapping[str, float]], languages: Sequence[str]
) -> tuple[list[str], str]:
    chosen = [record.router_lang for record in records]
    if all(lang is not None for lang in chosen):
        return [str(lang) for lang in chosen], "routed by the run's router"
    return cross_fitted_routes(records, scores, languages), "routed by the best language on the other half"


def _best_language(record: ResponseRecord, sums: _Sums, languages: Sequence[str]) -> str:
    other = 1 - half_of(record.source_id)
    cells = [cell for cell in _cells(record) if (other, cell) in sums] or [(record.topic,)]
    rows = [sums.get((other, cell), {}) for cell in cells]
    means = {lang: _mean_known([row[lang][0] / row[lang][1] for row in rows if lang in row]) for lang in languages}
    best = max((mean for mean in means.values() if not math.isnan(mean)), default=math.nan)
    tied = [lang for lang in languages if means[lang] >= best - _TIE]
    return record.source_lang if record.source_lang in tied or not tied else tied[0]


def _cells(record: ResponseRecord) -> tuple[_Cell, ...]:
    return Context(record.topic, record.source_lang, record.regions).cells


def _best(scores: Sequence[float]) -> float:
    """The highest; unknown unless all are known or one is perfect already."""
    known = [score for score in scores if not math.isnan(score)]
    top = max(known, default=math.nan)
    return top if top == 1.0 or len(known) == len(scores) else math.nan


def _mean_known(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
