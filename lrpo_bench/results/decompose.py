"""Why the headline number moved: more right answers, or the same answers in the right language; and which questions.

The headline score of a response is the product c * l of right (c) and in the asked language (l). Its change is split
symmetrically (the Shapley value of the two factors), which adds up exactly::

    c1*l1 - c0*l0 = (c1 - c0) * (l0 + l1) / 2  +  (l1 - l0) * (c0 + c1) / 2
                    more correct                  same answers, right language
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lrpo_bench.evaluation.metrics import language_sets
from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.evaluation.statistics import Estimate, clustered_mean

Pair = tuple[ResponseRecord, ResponseRecord]


@dataclass(frozen=True, slots=True)
class Decomposition:
    """The change of accuracy in the asked language, in two parts that add up to it."""

    task: str
    language: str
    more_correct: Estimate
    """From answers that became right or wrong."""
    right_language: Estimate
    """From responses that moved into or out of the asked language."""

    @property
    def total(self) -> float:
        """The change of the headline number."""
        return self.more_correct.value + self.right_language.value


@dataclass(frozen=True, slots=True)
class Flip:
    """A question whose score crossed one half: of being right in the asked language, where that is known."""

    kind: Literal["gained", "lost"]
    cause: Literal["answer", "language", "both"]
    """What changed: the answer, the language, or both."""
    before: ResponseRecord
    after: ResponseRecord


def decompose(pairs: Sequence[Pair], trained: Iterable[str] | None) -> list[Decomposition]:
    """Decompositions per task and language, averages last."""
    by_task: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_task[pair[0].task].append(pair)
    found = []
    for task, members in sorted(by_task.items()):
        parts = np.array([_parts(pair) for pair in members])
        langs = np.array([old.rollout_lang for old, _ in members])
        clusters = np.array([old.source_id for old, _ in members])
        for name, chosen in language_sets(langs.tolist(), trained).items():
            kept = np.isin(langs, chosen)
            groups = None if name in chosen else langs[kept]
            correct, language = (
                clustered_mean(parts[kept, i], clusters[kept], groups, (-1.0, 1.0), "t") for i in (0, 1)
            )
            found.append(Decomposition(task, name, correct, language))
    return found


def flips_of(pairs: Iterable[Pair]) -> list[Flip]:
    """Questions gained and lost, in the order of the pairs; those unknown on either side are none.

    By the headline score; by right or wrong alone in a task where the language is nowhere the model's own choice or
    known, such as multiple choice.
    """
    pairs = list(pairs)
    by_headline = {old.task for old, new in pairs if None not in (old.score_in_language, new.score_in_language)}
    found = []
    for old, new in pairs:
        in_language = old.task in by_headline
        was, now = (r.score_in_language if in_language else r.score for r in (old, new))
        if was is None or now is None or (was >= 0.5) == (now >= 0.5):
            continue
        answer, language = old.outcome != new.outcome, in_language and old.language_ok is not new.language_ok
        cause: Literal["answer", "language", "both"] = (
            "both" if answer and language else "language" if language else "answer"
        )
        found.append(Flip("gained" if now > was else "lost", cause, old, new))
    return found


def _parts(pair: Pair) -> tuple[float, float]:
    """The two parts for one question; NaN where its headline score is unknown on either side."""
    (c0, l0), (c1, l1) = (_factors(record) for record in pair)
    # Only a response without an answer may have an unknown language here (c = 0). Whatever it was written in, what
    # changes is that there is an answer now, or no longer: give it the language of its counterpart.
    l0, l1 = (l1 if l0 is None else l0), (l0 if l1 is None else l1)
    l0, l1 = float(l0 or 0.0), float(l1 or 0.0)
    return (c1 - c0) * (l0 + l1) / 2, (l1 - l0) * (c0 + c1) / 2


def _factors(record: ResponseRecord) -> tuple[float, float | None]:
    """Right and in the asked language; NaN where the headline score is unknown, None for a language that is."""
    if record.score is None or record.score_in_language is None:
        return math.nan, math.nan
    return record.score, None if record.language_ok is None else float(record.language_ok)
