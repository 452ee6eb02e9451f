"""Inference questions: does it follow, is it excluded, or can it not be said?

A problem is a few claims and one more that is asked about; its label is worked out from the claims, never stored::

    premises  older(maria, bruno), younger(tito, bruno)
    question  older(maria, tito)                            -> yes
    English   "Maria is older than Bruno. Tito is younger than Bruno. Is Maria older than Tito?"
    reference "Yes, from this it follows that Maria is older than Tito."

Claims compare two people or things, or put a thing into a container or room. The words of a language are in
`templates/inference/<lang>.toml`; names are chosen so that they need no inflection in any of the languages.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from lrpo_bench.errors import ConfigError, UnknownNameError
from lrpo_bench.world.questions import WORLD_LANGUAGES, Split, WorldQuestion

LABELS = ("yes", "no", "unknown")
PAIRS = (
    ("older", "younger"),
    ("taller", "shorter"),
    ("heavier", "lighter"),
    ("faster", "slower"),
    ("earlier", "later"),
    ("dearer", "cheaper"),
)
"""Comparisons, each with its converse: `older(x, y)` says the same as `younger(y, x)`."""

_SPLIT_ENDS: Mapping[Split, tuple[float, float]] = {"pretrain": (0, 0.6), "train": (0.6, 0.75), "test": (0.75, 1)}
_SHAPES = (((0, 1), (1, 2)), ((0, 1), (0, 2)), ((0, 2), (1, 2)), ((0, 1),))
"""Which of three entities is said to be ahead of which: a chain, a fork, a join, one claim and a stranger."""
_BETWEEN_CLAIMS = re.compile(rf"_(?=(?:in|{'|'.join(word for pair in PAIRS for word in pair)})\.)")  # "living_room"
_SENTENCE_PARTS = re.compile(r"[.!?…。！？।,，、;；:：\n—–]|\s-\s")


@dataclass(frozen=True, slots=True)
class Claim:
    """A predicate of `PAIRS`, or `in`, about two entities."""

    predicate: str
    first: str
    second: str

    @property
    def ahead(self) -> tuple[str, str]:
        """The two entities in the order that the first of a pair of converses would name them."""
        flipped = any(self.predicate == converse for _, converse in PAIRS)
        return (self.second, self.first) if flipped else (self.first, self.second)

    def __str__(self) -> str:
        return f"{self.predicate}.{self.first}.{self.second}"


@dataclass(frozen=True, slots=True)
class InferenceProblem:
    """Claims that are given, and a claim of the same kind that is asked about."""

    premises: tuple[Claim, ...]
    question: Claim

    @property
    def source_id(self) -> str:
        """The claims, spelled out."""
        return "inference/" + "_".join(str(claim) for claim in (*self.premises, self.question))

    @property
    def label(self) -> str:
        """One of `LABELS`."""
        first, second = self.question.ahead
        if second in self._beyond(first):
            return "yes"
        excluded = self._room_of(first) if self.question.predicate == "in" else first in self._beyond(second)
        return "no" if excluded else "unknown"

    def conclusion(self) -> Claim:
        """What the reference answer states: the question if it is true or open, what holds instead if it is false."""
        if self.label != "no":
            return self.question
        first, second = self.question.first, self.question.second
        room = self._room_of(first) if self.question.predicate == "in" else None
        return Claim("in", first, room) if room else Claim(self.question.predicate, second, first)

    def render(self, lang: str) -> WorldQuestion:
        """The premises and the question, and the reference answer, in one language."""
        words, label = grammar(lang), self.label
        given = [_sentence(words["statement"].format(claim=_clause(claim, words, 0))) for claim in self.premises]
        return WorldQuestion(
            source_id=self.source_id,
            kind="inference",
            regions=(),
            lang=lang,
            question=words["join"].join([*given, _sentence(_clause(self.question, words, 1))]),
            reference=self._answered(lang, label, self.conclusion()),
            gold=label,
        )

    def answered(self, lang: str, label: str) -> str:
        """What an answer with that label, right or wrong, says in a language.

        A wrong "no" states the converse of the question or, of a place, the first of the other rooms.
        """
        if label not in LABELS:
            raise UnknownNameError("label", label, LABELS)
        if label == self.label:
            return self._answered(lang, label, self.conclusion())
        claim = self.question
        if label == "no":
            rooms = [room for room in grammar("en")["rooms"] if room != claim.second]
            place = claim.predicate == "in"
            claim = Claim("in", claim.first, rooms[0]) if place else Claim(claim.predicate, claim.second, claim.first)
        return self._answered(lang, label, claim)

    @classmethod
    def from_source_id(cls, source_id: str) -> InferenceProblem:
        """The problem with that id.

        Example:
            >>> InferenceProblem.from_source_id("inference/older.rita.bruno_younger.rita.bruno").label
            'no'
        """
        claims = _BETWEEN_CLAIMS.split(source_id.removeprefix("inference/"))
        *premises, question = (Claim(*claim.split(".")) for claim in claims)
        return cls(tuple(premises), question)

    @staticmethod
    def _answered(lang: str, label: str, claim: Claim) -> str:
        words = grammar(lang)
        return _sentence(words[label].format(claim=_clause(claim, words, 0), clause=_clause(claim, words, -1)))

    def _beyond(self, entity: str) -> set[str]:
        """All that the premises put behind `entity`, directly or through others; for `in`, all that it is in."""
        reached: set[str] = set()
        frontier = [entity]
        while frontier:
            current = frontier.pop()
            following = {after for before, after in (claim.ahead for claim in self.premises) if before == current}
            frontier += following - reached
            reached |= following
        return reached

    def _room_of(self, thing: str) -> str | None:
        """The room that a thing is known to be in; rooms exclude one another, containers do not."""
        return next((place for place in self._beyond(thing) if place in grammar("en")["rooms"]), None)


def problems(rng: np.random.Generator, n: int, split: str) -> list[InferenceProblem]:
    """`n` different problems of one split, each label a third of them, in random order.

    The splits (60 % pretrain, 15 % train, 25 % test) are decided by a hash of the problem's id: no two share one.
    """
    if split not in _SPLIT_ENDS:
        raise UnknownNameError("split", split, _SPLIT_ENDS)
    found: dict[str, InferenceProblem] = {}
    labels = rng.permutation(np.arange(n) % len(LABELS))
    for attempt in range(1000 + 200 * n):
        if len(found) == n:
            return list(found.values())
        problem = _containment(rng) if attempt % 8 == 0 else _comparison(rng)
        wanted = LABELS[labels[len(found)]]
        if split_of_inference(problem.source_id) == split and problem.label == wanted:
            found.setdefault(problem.source_id, problem)
    raise ConfigError(
        f"n is {n}, but only {len(found)} different inference problems of {split!r} were found; ask for fewer"
    )


def split_of_inference(source_id: str) -> Split:
    """The split a problem belongs to, a pure function of its id."""
    share = int.from_bytes(hashlib.sha256(source_id.encode()).digest()[:8], "big") / 2**64
    return next(split for split, (start, end) in _SPLIT_ENDS.items() if start <= share < end)


def read_label(text: str, lang: str) -> str | None:
    """The label that a response states, or None if it states none, or two that contradict each other.

    A response is cut at its punctuation. A part that is just a word for yes or no ("Yes", "Nein"), or that opens with
    a way to say that it can not be known, states a label. It is read as `lang` where it means something there, and
    otherwise as any language of the world. A yes or no without punctuation after it is not read: in "No one can say"
    and "No se puede saber" it is no answer.

    Example:
        >>> read_label("Yes, Maria is older.", "en"), read_label("Nein.", "en"), read_label("Yes and no", "en")
        ('yes', 'no', None)
    """
    languages = (lang, *(other for other in WORLD_LANGUAGES if other != lang))
    found = set()
    for part in _SENTENCE_PARTS.split(unicodedata.normalize("NFKC", text).casefold()):
        found.add(next(filter(None, (_stated(part, other) for other in languages)), None))
    found.discard(None)
    return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=len(WORLD_LANGUAGES))
def grammar(lang: str) -> Mapping[str, Any]:
    """The words and sentence forms of a language, as its template file has them."""
    if lang not in WORLD_LANGUAGES:
        raise UnknownNameError("world language", lang, WORLD_LANGUAGES)
    source = files("lrpo_bench.world") / "templates" / "inference" / f"{lang}.toml"
    return tomllib.loads(source.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def people() -> tuple[str, ...]:
    """Ids of the people, women first: their English names in lower case."""
    names = grammar("en")["names"]
    return tuple(name.casefold() for name in (*names["women"], *names["men"]))


def _comparison(rng: np.random.Generator) -> InferenceProblem:
    pair = PAIRS[rng.integers(len(PAIRS))]
    entities = tuple(grammar("en")["things"]) if "dearer" in pair else people()
    three = [entities[index] for index in rng.permutation(len(entities))[:3]]
    shape = _SHAPES[rng.integers(len(_SHAPES))]
    premises = [
        _either_way(rng, pair, three[shape[index][0]], three[shape[index][1]]) for index in rng.permutation(len(shape))
    ]
    asked = rng.permutation(3)
    return InferenceProblem(tuple(premises), _either_way(rng, pair, three[asked[0]], three[asked[1]]))


def _either_way(rng: np.random.Generator, pair: tuple[str, str], ahead: str, behind: str) -> Claim:
    return Claim(pair[0], ahead, behind) if rng.integers(2) else Claim(pair[1], behind, ahead)


def _containment(rng: np.random.Generator) -> InferenceProblem:
    """A thing in a container; and that container, another one or another thing in a room."""
    words = grammar("en")
    things, containers, rooms = ([*words[kind]] for kind in ("things", "containers", "rooms"))
    for kind in (things, containers, rooms):
        rng.shuffle(kind)
    placed = (containers[0], containers[0], containers[1], things[1])[rng.integers(4)]
    premises = [Claim("in", things[0], containers[0]), Claim("in", placed, rooms[0])]
    rng.shuffle(premises)  # type: ignore[arg-type]
    return InferenceProblem(tuple(premises), Claim("in", things[0], rooms[rng.integers(2)]))


def _clause(claim: Claim, words: Mapping[str, Any], form: int) -> str:
    """A claim in one of its forms: 0 statement, 1 question, -1 subordinate clause (by default the statement)."""
    forms = words["claims"][claim.predicate]
    chosen = forms[0] if form == -1 and len(forms) == 2 else forms[form]
    ending = words["gender"][people().index(claim.first) >= 12] if "{g}" in chosen else ""
    place = claim.predicate == "in"
    return chosen.format(
        a=_noun(claim.first, words),
        b=_place(claim.second, words) if place else _noun(claim.second, words),
        be=words["copula"][claim.first] if "{be}" in chosen else "",
        g=ending,
    )


def _noun(entity: str, words: Mapping[str, Any]) -> str:
    if entity in people():
        return str((words["names"]["women"] + words["names"]["men"])[people().index(entity)])
    return str(words["things"][entity] if entity in words["things"] else words["containers"][entity][0])


def _place(entity: str, words: Mapping[str, Any]) -> str:
    return str(words["rooms"][entity] if entity in words["rooms"] else words["containers"][entity][1])


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _stated(part: str, lang: str) -> str | None:
    """The label that a part of a response states in one language."""
    openings = grammar(lang)["openings"]
    # Thai ends sentences with spaces, and both its "yes" and its "no" stand before one.
    pieces = part.split() if lang == "th" else [part]
    bare = [_trimmed(piece) for piece in pieces]
    for label in LABELS[:2]:
        if any(piece in _folded(openings[label]) for piece in bare):
            return label
    return "unknown" if bare and any(bare[0].startswith(opening) for opening in _folded(openings["unknown"])) else None


def _folded(openings: list[str]) -> list[str]:
    return [unicodedata.normalize("NFKC", opening).casefold() for opening in openings]


def _trimmed(text: str) -> str:
    """The text without the spaces, quotation marks, asterisks and brackets around it."""
    start, end = 0, len(text)
    while start < end and unicodedata.category(text[start])[0] in "PSZC":
        start += 1
    while end > start and unicodedata.category(text[end - 1])[0] in "PSZC":
        end -= 1
    return text[start:end]
