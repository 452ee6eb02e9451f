"""The sampled draws of one task, a question at a time: a row of numbers each, and the texts are forgotten."""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Sequence
from sys import intern
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.evaluation import diversity
from lrpo_bench.evaluation.columns import Names, Responses
from lrpo_bench.evaluation.records import ResponseRecord, known_or_nan
from lrpo_bench.evaluation.statistics import Bounds
from lrpo_bench.lrpo.advantages import Degeneracy, group_degeneracy
from lrpo_bench.scratch import DiskRanks

GROUP = "group:"
"""Prefix of the metric that is the share of groups of draws that teach nothing for one reason (or are informative)."""

_ACCURACIES = ("sampled_accuracy", "sampled_accuracy_in_language")  # `pass@k` stands after them


class DrawColumns:
    """Takes groups of draws in the order of their keys, and then gives columns in that of language and key."""

    def __init__(self, names: bool) -> None:
        """Keeps keys and source questions as text if `names`."""
        self.names = Names(names)
        self.largest = 0
        """Draws of the largest group."""
        self._sources = DiskRanks()
        self._langs: list[str] = []
        self._cut, self._scored, self._right = array("b"), array("i"), array("i")
        self._values: dict[str, array[float]] = defaultdict(lambda: array("d"))

    def __len__(self) -> int:
        return len(self._langs)

    def add(self, group: Sequence[ResponseRecord], is_cut: bool) -> None:
        """Takes the draws of one question."""
        first = group[0]
        self.names.add(first)
        self._sources.add(first.source_id)
        self._langs.append(intern(first.rollout_lang))  # as read from a file, each is a text of its own
        self._cut.append(is_cut)
        self._scored.append(sum(record.score is not None for record in group))
        self._right.append(sum(record.outcome == "correct" for record in group))
        self.largest = max(self.largest, len(group))
        for name, value in values_of(group).items():
            self._values[name].append(value)

    @property
    def order(self) -> NDArray[np.intp]:
        """Positions of the groups, by language and then as they came."""
        return np.argsort(np.array(self._langs), kind="stable")

    @property
    def languages(self) -> tuple[str, ...]:
        """Asked languages, sorted."""
        return tuple(sorted(set(self._langs)))

    def responses(self) -> Responses:
        """What tells the groups apart."""
        order, languages = self.order, self.languages
        langs = np.array([languages.index(lang) for lang in self._langs], dtype=np.int16)[order]
        clusters = self._sources.ranks()[order].astype(np.intp)
        return Responses(languages, langs, clusters, np.array(self._cut, dtype=bool)[order])

    def values(self) -> dict[str, NDArray[np.float64]]:
        """By metric, one value a group."""
        order = self.order
        found = {name: np.array(column)[order] for name, column in self._values.items()}
        return {
            **{name: found.pop(name) for name in _ACCURACIES},
            **{f"pass@{k}": self._pass_at(k)[order] for k in pass_ks(self.largest)},
            **found,
        }

    def bounds(self, metric: str) -> Bounds | None:
        """Lowest and highest possible value of a metric; None where there is no highest."""
        if metric == "distinct_2_ead":
            return None
        known = {"distinct_answers": (1.0, float(self.largest)), "answer_entropy": (0.0, math.log(self.largest))}
        return known.get(metric, (0.0, 1.0))

    def note(self, metric: str) -> str:
        """How texts were cut into tokens, where that decides the value."""
        if metric not in ("distinct_2", "distinct_2_ead", "self_bleu"):
            return ""
        return "tokens by " + ", ".join(f"{lang}:{diversity.tokenizer_of(lang)}" for lang in self.languages)

    def _pass_at(self, k: int) -> NDArray[np.float64]:
        counts = zip(self._scored, self._right, strict=True)
        return np.array([diversity.pass_at_k(scored, right, k) for scored, right in counts])


def pass_ks(largest: int) -> list[int]:
    """The k of `pass@k` for groups of at most `largest` draws: powers of two, and all draws.

    Example:
        >>> pass_ks(1), pass_ks(6)
        ([], [2, 4, 6])
    """
    return sorted({2**i for i in range(1, largest.bit_length()) if 2**i <= largest} | {largest} - {1})


def values_of(group: Sequence[ResponseRecord]) -> dict[str, float]:
    """Every metric but `pass@k` of the draws of one question."""
    lang = group[0].rollout_lang
    answers = [r.answer for r in group if r.answer is not None]
    texts = [diversity.tokens(r.completion, lang) for r in group]
    return {
        "sampled_accuracy": _mean([r.score for r in group if r.score is not None]),
        "sampled_accuracy_in_language": _mean([s for r in group if (s := r.score_in_language) is not None]),
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
