"""What is counted: for each metric, one number a question and asked language.

An observation is the value of one metric for one question, before any averaging. Metrics average them, comparisons
subtract them pair by pair, so that a table and a difference can not disagree about what was counted::

    Observations(task="mgsm", metric="accuracy", keys=(("de", "mgsm/de/17"), ...), values=[1.0, nan, ...], ...)

Responses asked for in another language than the question's serve headroom alone; every other metric leaves them out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.evaluation import diversity
from lrpo_bench.evaluation.crosslingual import consistency_values, headroom_values
from lrpo_bench.evaluation.fidelity import LINE_FAILED, fidelity_values
from lrpo_bench.evaluation.fidelity_rules import CORRECTED
from lrpo_bench.evaluation.records import ResponseRecord, known_or_nan
from lrpo_bench.evaluation.statistics import Bounds
from lrpo_bench.lrpo.advantages import Degeneracy, group_degeneracy

Cell = str
CELLS: tuple[Cell, ...] = (
    "right_in_language",
    "right_in_other_language",
    "right_language_unknown",
    "wrong_in_language",
    "wrong_in_other_language",
    "wrong_language_unknown",
    "not_attempted",
    "truncated",
    "unscored",
)
"""Where a response can fall; every response falls in exactly one."""

HEADLINE = "accuracy_in_language"
SHARE = "share:"
"""Prefix of the metric that is a cell's share of all responses."""
GROUP = "group:"
"""Prefix of the metric that is the share of groups of draws that teach nothing for one reason (or are informative)."""


@dataclass(frozen=True, slots=True)
class Observations:
    """The values of one metric on one task."""

    task: str
    metric: str
    keys: tuple[tuple[str, str], ...]
    """Asked language and sample id."""
    values: NDArray[np.float64]
    """One a key; NaN where the metric is unknown for it."""
    clusters: tuple[str, ...]
    """Source question of each key."""
    bounds: Bounds | None
    """Lowest and highest possible value; None where there is no highest."""
    note: str = ""
    reasons: NDArray[np.object_] | None = None
    """Why each value is unknown, empty where it is not; None where no reasons are kept."""
    outside: str = ""
    """The reason that means: the metric does not ask about this response. Such are left out and not unknown."""

    @property
    def is_outside(self) -> NDArray[np.bool_]:
        """Where a response is one that the metric does not ask about."""
        if self.reasons is None or not self.outside:
            return np.zeros(len(self.keys), dtype=bool)
        return np.asarray(self.reasons == self.outside, dtype=bool)

    @property
    def languages(self) -> tuple[str, ...]:
        """Asked language of each key."""
        return tuple(lang for lang, _ in self.keys)


def cell_of(record: ResponseRecord) -> Cell:
    """The cell of `CELLS` a response falls in."""
    if record.outcome not in ("correct", "incorrect"):
        return record.outcome
    side = {True: "in_language", False: "in_other_language", None: "language_unknown"}[record.language_ok]
    return f"{'right' if record.outcome == 'correct' else 'wrong'}_{side}"


def observe(records: Iterable[ResponseRecord]) -> list[Observations]:
    """Observations of every metric that the records allow, tasks in the order of their names."""
    by_task: dict[str, list[ResponseRecord]] = defaultdict(list)
    for record in records:
        by_task[record.task].append(record)
    found: list[Observations] = []
    for task in sorted(by_task):
        ordered = sorted(by_task[task], key=lambda r: (r.rollout_lang, r.sample_id, r.k))
        greedy = [record for record in ordered if is_counted(record)]
        names = _Names.of(greedy)
        found += _greedy(task, greedy, names)
        found += _fidelity(task, greedy, names)
        found += _across_languages(task, greedy, [r for r in ordered if r.k == 0 and r.is_cross_lingual], names)
        found += _sampled(task, [record for record in ordered if record.k > 0 and not record.is_cross_lingual])
    return found


@dataclass(frozen=True, slots=True)
class _Names:
    """What tells greedy responses apart: made once, and shared by all of their observations."""

    keys: tuple[tuple[str, str], ...]
    clusters: tuple[str, ...]

    @classmethod
    def of(cls, records: Sequence[ResponseRecord]) -> _Names:
        return cls(tuple((r.rollout_lang, r.sample_id) for r in records), tuple(r.source_id for r in records))


def is_counted(record: ResponseRecord) -> bool:
    """Whether it is a greedy response in the question's own language: what accuracy and fidelity are about."""
    return record.k == 0 and not record.is_cross_lingual


def _is_cut(record: ResponseRecord) -> bool | None:
    return None if record.finish_reason == "unknown" else record.finish_reason == "length"


_GREEDY: Mapping[str, tuple[Callable[[ResponseRecord], float], Bounds | None]] = {
    HEADLINE: (lambda r: known_or_nan(r.score_in_language), (0.0, 1.0)),
    "accuracy": (lambda r: known_or_nan(r.score), (0.0, 1.0)),
    "fidelity": (lambda r: known_or_nan(r.language_ok), (0.0, 1.0)),
    "truncation_rate": (lambda r: known_or_nan(_is_cut(r)), (0.0, 1.0)),
    "completion_tokens": (lambda r: known_or_nan(r.n_tokens), None),
}


def _greedy(task: str, records: Sequence[ResponseRecord], names: _Names) -> list[Observations]:
    if not records:
        return []
    keys, clusters = names.keys, names.clusters
    why = np.array([r.reason if r.score is None else "" for r in records], dtype=object)
    found = [
        Observations(
            task, name, keys, np.array([value(r) for r in records]), clusters, bounds,
            reasons=why if name == "accuracy" else None,
        )
        for name, (value, bounds) in _GREEDY.items()
    ]  # fmt: skip
    cells = np.array([CELLS.index(cell_of(r)) for r in records])
    for number, cell in enumerate(CELLS):
        found.append(Observations(task, SHARE + cell, keys, (cells == number) * 1.0, clusters, (0.0, 1.0)))
    return found


def _fidelity(task: str, records: Sequence[ResponseRecord], names: _Names) -> list[Observations]:
    if not records:
        return []
    keys, clusters = names.keys, names.clusters
    note = f"{CORRECTED.name} rules"
    return [
        Observations(
            task, name, keys, values, clusters, (0.0, 1.0), note, reasons, LINE_FAILED if name == "wpr" else ""
        )
        for name, (values, reasons) in fidelity_values(records).items()
    ]


def _across_languages(
    task: str, records: Sequence[ResponseRecord], elsewhere: Sequence[ResponseRecord], names: _Names
) -> list[Observations]:
    """Consistency over parallel questions, and headroom where questions were also asked in other languages."""
    keys, clusters = names.keys, names.clusters
    found = consistency_values(records) | headroom_values(records, elsewhere)
    return [
        Observations(task, name, keys, values, clusters, (0.0, 1.0), note) for name, (values, note) in found.items()
    ]


def _sampled(task: str, records: Sequence[ResponseRecord]) -> list[Observations]:
    groups: dict[tuple[str, str], list[ResponseRecord]] = defaultdict(list)
    for record in records:
        groups[record.rollout_lang, record.sample_id].append(record)
    if not groups:
        return []
    largest = max(len(group) for group in groups.values())
    ks = sorted({2**i for i in range(1, largest.bit_length()) if 2**i <= largest} | {largest} - {1})
    rows = [_of_group(group, ks) for group in groups.values()]
    keys, clusters = tuple(groups), tuple(group[0].source_id for group in groups.values())
    tokenizers = {lang: diversity.tokenizer_of(lang) for lang, _ in keys}
    note = "tokens by " + ", ".join(f"{lang}:{name}" for lang, name in sorted(tokenizers.items()))
    bounds = {"distinct_answers": (1.0, float(largest)), "answer_entropy": (0.0, math.log(largest))}
    return [
        Observations(
            task,
            name,
            keys,
            np.array([row[name] for row in rows]),
            clusters,
            None if name == "distinct_2_ead" else bounds.get(name, (0.0, 1.0)),
            note if name in ("distinct_2", "distinct_2_ead", "self_bleu") else "",
        )
        for name in rows[0]
    ]


def _of_group(group: Sequence[ResponseRecord], ks: Sequence[int]) -> dict[str, float]:
    lang = group[0].rollout_lang
    scores = [r.score for r in group if r.score is not None]
    in_language = [s for r in group if (s := r.score_in_language) is not None]
    right = sum(r.outcome == "correct" for r in group)
    answers = [r.answer for r in group if r.answer is not None]
    texts = [diversity.tokens(r.completion, lang) for r in group]
    return {
        "sampled_accuracy": _mean(scores),
        "sampled_accuracy_in_language": _mean(in_language),
        **{f"pass@{k}": diversity.pass_at_k(len(scores), right, k) for k in ks},
        "distinct_answers": float(len(set(answers))) if answers else math.nan,
        "answer_entropy": diversity.entropy(answers),
        "distinct_2": diversity.distinct_n(texts, 2),
        "distinct_2_ead": diversity.expectation_adjusted_distinct(texts, 2),
        "self_bleu": diversity.self_bleu_of_tokens(texts),
        **_degeneracy(group),
    }


def _degeneracy(group: Sequence[ResponseRecord]) -> dict[str, float]:
    """What training would make of the group: one cause, and whether no draw would move the policy."""
    cause = group_degeneracy(
        [known_or_nan(r.score_in_language) for r in group],
        [known_or_nan(r.score) for r in group],
        [known_or_nan(r.language_ok) for r in group],
        [r.finish_reason == "length" for r in group],
    )
    zero_advantage = math.nan if cause == "unscored" else float(cause != "informative")
    shares = {GROUP + name.replace(" ", "_"): float(name == cause) for name in get_args(Degeneracy)}
    return {"zero_advantage": zero_advantage, **shares}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
