"""Preference pairs from groups of rollouts: pure functions, one for each method.

A group is a question's rollouts in its own language and, for MAPO, LIDR and MPO, those of its translation in the
dominant language, `K` together::

    bn question: own  (bn answers)        3 + 5 = 8 (right)   3 + 5 = 9 (wrong)
    en question: dominant (en answers)    3 + 5 = 8 (right)   3 + 5 = 8 (right)

    dpo   bn: right > wrong, by the reward
    mapo  bn: right > wrong, because it translates better into the en answers
    lidr  bn: the first en answer in Bengali > the first bn answer; en: the first en answer > the first bn in English
    mpo   bn: right > wrong, beside en: best > worst (here there is none: both are right)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Rollout:
    """One answer of the policy."""

    sample_id: str
    lang: str
    """The language that it was asked for in."""
    text: str
    finished: bool
    """False where it was cut at the token limit."""
    reward: float
    """NaN where it could not be judged."""
    correct: bool


@dataclass(frozen=True, slots=True)
class Group:
    """The rollouts of one question; `dominant` is empty for methods without a dominant language."""

    own: tuple[Rollout, ...]
    dominant: tuple[Rollout, ...] = ()


@dataclass(frozen=True, slots=True)
class Side:
    """One answer of a pair."""

    text: str
    finished: bool = True
    """Whether an end token follows."""

    @classmethod
    def of(cls, rollout: Rollout) -> Self:
        """A rollout as it is."""
        return cls(rollout.text, rollout.finished)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one question in one language, the better and the worse."""

    sample_id: str
    lang: str
    chosen: Side
    rejected: Side
    dominant: Pair | None = None
    """MPO: the pair of the dominant language whose reward gap this one is drawn to."""

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Pair:
        """The pair that `to_dict` gave."""
        dominant = row["dominant"]
        return cls(
            row["sample_id"],
            row["lang"],
            Side(**row["chosen"]),
            Side(**row["rejected"]),
            None if dominant is None else cls.from_dict(dominant),
        )


def dpo_pairs(groups: Sequence[Group]) -> list[Pair]:
    """The best against the worst rollout of each group, where their rewards differ."""
    return [pair for group in groups if (pair := best_against_worst(group.own)) is not None]


def mpo_pairs(groups: Sequence[Group]) -> list[Pair]:
    """Best against worst in both languages, where there is such a pair in both (Zhao et al. 2025)."""
    pairs = []
    for group in groups:
        own, dominant = best_against_worst(group.own), best_against_worst(group.dominant)
        if own is not None and dominant is not None:
            pairs.append(Pair(own.sample_id, own.lang, own.chosen, own.rejected, dominant))
    return pairs


def mapo_pairs(groups: Sequence[Group], scores: Sequence[Sequence[float]]) -> list[Pair]:
    """All pairs of a group whose better one is right and aligns better with the dominant answers.

    As the paper's public `extract_dpo_data.py`: the language of an answer is not looked at.

    Args:
        groups: the rollouts.
        scores: alignment of each group's own rollouts, in their order; empty where there is nothing to align with.
    """
    pairs = []
    for group, aligned in zip(groups, scores, strict=True):
        ranked = sorted(zip(aligned, group.own, strict=False), key=lambda item: -item[0])  # stable: ties keep order
        for i, (score, better) in enumerate(ranked):
            pairs += [
                Pair(better.sample_id, better.lang, Side.of(better), Side.of(worse))
                for worse_score, worse in ranked[i + 1 :]
                if better.correct and score > worse_score and better.text != worse.text
            ]
    return pairs


def lidr_pairs(
    groups: Sequence[Group],
    to_own: Sequence[Sequence[str | None]],
    to_dominant: Sequence[Sequence[str | None]],
) -> list[Pair]:
    """Same-language pairs of the i-th own and the i-th dominant rollout (Yang et al. 2024, Fig. 1).

    In the question's language the dominant answer's translation is better than the own answer; in the dominant language
    the own one is better than the translation of the other. Right or wrong does not matter.

    Args:
        groups: the rollouts.
        to_own: translations of each group's dominant rollouts into the question's language, None where there is none.
        to_dominant: translations of each group's own rollouts into the dominant language.
    """
    pairs = []
    for group, ours, theirs in zip(groups, to_own, to_dominant, strict=True):
        for own, dominant, in_own, in_dominant in zip(group.own, group.dominant, ours, theirs, strict=False):
            if in_own is not None and in_own != own.text:
                pairs.append(Pair(own.sample_id, own.lang, Side(in_own), Side.of(own)))
            if in_dominant is not None and in_dominant != dominant.text:
                pairs.append(Pair(dominant.sample_id, dominant.lang, Side.of(dominant), Side(in_dominant)))
    return pairs


def best_against_worst(rollouts: Sequence[Rollout]) -> Pair | None:
    """The first of the best against the first of the worst rewards; None where all known ones are equal."""
    known = [rollout for rollout in rollouts if not math.isnan(rollout.reward)]
    if not known:
        return None
    best, worst = (choose(known, key=lambda rollout: rollout.reward) for choose in (max, min))
    if best.reward == worst.reward:
        return None
    return Pair(best.sample_id, best.lang, Side.of(best), Side.of(worst))
