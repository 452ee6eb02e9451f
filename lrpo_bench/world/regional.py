"""Regional questions: what is the capital, the longest river, the author ...?

A problem is a fact and one of two ways to ask for it; the sentences are in `templates/regional/<lang>.toml`, worded so
that no name needs an article or a case ending. Whether an answer is right is read from the names that a text mentions::

    named_answer("Столица страны Кения — Найроби.", fact("kenya-capital"))  ->  ("Найроби", correct)

Limits of `named_answer`: it knows the names as the facts write them, so "Cervantes" alone or an inflected Russian or
Bengali name is not found; and it does not understand negation ("not Nairobi").
"""

from __future__ import annotations

import hashlib
import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import zip_longest

from lrpo_bench.errors import DataError, UnknownNameError
from lrpo_bench.world.facts import RELATIONS, Fact, load_facts
from lrpo_bench.world.questions import WORLD_LANGUAGES, WorldQuestion, split_of

PHRASINGS = 2
"""Ways to ask for one fact."""

_UNSPACED = "\u0e00-\u0e7f\u3005-\u3007\u3040-\u30ff\u3400-\u9fff"  # Thai, kana, Han: no spaces between words
_KATAKANA = "\u30a1-\u30ff"  # but a run of katakana is one word: no Lomé in Salome
_INDIC = "\u0900-\u09ff"  # vowel signs are part of a word, but \w leaves them out


@dataclass(frozen=True, slots=True)
class RegionalProblem:
    """A fact and the way it is asked for."""

    fact: Fact
    phrasing: int
    """0 or 1."""

    @property
    def source_id(self) -> str:
        """The fact's id; both phrasings share it, so they never lie in different splits."""
        return f"regional/{self.fact.id}"

    def render(self, lang: str) -> WorldQuestion:
        """The question and its answer sentence in one language."""
        template = templates(lang)[self.fact.relation]
        subject, answer = self.fact.subject[lang], self.fact.answer[lang]
        others = (name for name in self.fact.answer.values() if name != answer)
        return WorldQuestion(
            source_id=self.source_id,
            kind="regional",
            regions=(self.fact.region,),
            lang=lang,
            question=_sentence(template[self.phrasing].format(subject=subject)),
            reference=_sentence(template[-1].format(subject=subject, answer=answer)),
            gold=answer,
            aliases=tuple(dict.fromkeys(others)),
        )

    def answered(self, lang: str, name: str) -> str | None:
        """What an answer that names `name`, in any language, says in `lang`; None for what is no answer's name."""
        wanted = normalise(name)
        for other in (self.fact, *load_facts()):
            if other.relation == self.fact.relation and wanted in map(normalise, other.answer.values()):
                subject, answer = self.fact.subject[lang], other.answer[lang]
                return _sentence(templates(lang)[self.fact.relation][-1].format(subject=subject, answer=answer))
        return None


def problems(split: str) -> list[RegionalProblem]:
    """The problems of `train` or `test`, one a fact, phrased by a hash of the fact's id.

    All facts are seen in pre-training; what differs is the languages in which they are. So there is no third part.
    Regions take turns, so that the first n problems cover them alike.
    """
    if split not in ("train", "test"):
        raise UnknownNameError("split", split, ("train", "test"), "for pre-training use all_problems()")
    chosen = [RegionalProblem(fact, _usual_phrasing(fact)) for fact in load_facts()]
    by_region: dict[str, list[RegionalProblem]] = {}
    for problem in chosen:
        if split_of(problem.source_id) == split:
            by_region.setdefault(problem.fact.region, []).append(problem)
    turns = zip_longest(*by_region.values())
    return [problem for turn in turns for problem in turn if problem is not None]


def all_problems() -> list[RegionalProblem]:
    """Every fact in each phrasing, the material of pre-training."""
    return [RegionalProblem(fact, phrasing) for fact in load_facts() for phrasing in range(PHRASINGS)]


@lru_cache(maxsize=len(WORLD_LANGUAGES))
def templates(lang: str) -> Mapping[str, tuple[str, ...]]:
    """Relation -> the ways to ask and, last, the answer sentence."""
    if lang not in WORLD_LANGUAGES:
        raise UnknownNameError("world language", lang, WORLD_LANGUAGES)
    source = files("lrpo_bench.world") / "templates" / "regional" / f"{lang}.toml"
    table = tomllib.loads(source.read_text(encoding="utf-8"))
    for relation in RELATIONS:
        if len(table.get(relation, ())) != PHRASINGS + 1:
            raise DataError(f"regional/{lang}.toml: {relation} needs {PHRASINGS} questions and one answer sentence")
    return {relation: tuple(table[relation]) for relation in RELATIONS}


def named_answer(text: str, fact: Fact) -> tuple[str | None, bool]:
    """The answer that a text names, as it is written there once normalised, and whether it is the right one.

    Right is: the fact's answer is named in any language, and no answer of another fact of the same relation is. Of
    overlapping names the longest counts, so "Mexico City" is no mention of Mexico and "University of Oxford" none of
    Oxford. A name that is both subject and answer (Singapore) counts from its second mention on, or where it is all
    that the text says: repeating a question earns nothing.

    Returns:
        (None, False) if nothing that could be an answer is named; the wrong name and False where there is one.
    """
    subject = {normalise(name) for name in fact.subject.values()}
    right = {normalise(name) for name in fact.answer.values()}
    text = normalise(text)
    mentions = _mentions(text, fact.relation)
    shared = [index for index, name in enumerate(mentions) if name in subject & right]
    if shared and mentions[shared[0]] != text:
        del mentions[shared[0]]
    hits = [name for name in mentions if name in right]
    wrong = [name for name in mentions if name in _answer_names(fact.relation) - right - subject]
    if wrong:
        return wrong[0], False
    return (hits[0], True) if hits else (None, False)


def normalise(text: str) -> str:
    """The text as names are compared: NFKC, casefolded, without accents and punctuation.

    Only the accents of Latin and Cyrillic letters and the Devanagari nukta are dropped: other marks are vowels.

    Example:
        >>> normalise("São Tomé, Côte-d’Or!"), normalise("レフ・トルストイ")
        ('sao tome cote d or', 'レフトルストイ')
    """
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    bare = unicodedata.normalize("NFC", re.sub("[\u0300-\u036f\u093c]", "", decomposed))
    spaced = "".join(" " if unicodedata.category(char)[0] in "PSZC" else char for char in bare)
    words = " ".join(spaced.split())
    return re.sub(rf" ?(?<=[{_UNSPACED}]) | (?=[{_UNSPACED}])", "", words)


@lru_cache(maxsize=len(RELATIONS))
def _answer_names(relation: str) -> frozenset[str]:
    return frozenset(normalise(name) for name in _names(relation, "answer"))


@lru_cache(maxsize=len(RELATIONS))
def _names_by_start(relation: str) -> Mapping[str, tuple[str, ...]]:
    """First character -> the subjects and answers of a relation that begin with it, the longest first."""
    names = {normalise(name) for role in ("subject", "answer") for name in _names(relation, role)}
    index: dict[str, tuple[str, ...]] = {}
    for name in sorted(names, key=lambda name: (-len(name), name)):
        index[name[0]] = (*index.get(name[0], ()), name)
    return index


def _mentions(text: str, relation: str) -> list[str]:
    """The names in a normalised text, from left to right, without those inside a longer one."""
    index, found, start = _names_by_start(relation), [], 0
    while start < len(text):
        named = None
        if not _inside_word(text, start):
            candidates = (name for name in index.get(text[start], ()) if text.startswith(name, start))
            named = next((name for name in candidates if not _inside_word(text, start + len(name))), None)
        if named:
            found.append(named)
        start += len(named or " ")
    return found


def _names(relation: str, role: str) -> Iterator[str]:
    for fact in load_facts():
        if fact.relation == relation:
            yield from (fact.subject if role == "subject" else fact.answer).values()


def _inside_word(text: str, index: int) -> bool:
    """Whether the characters before and at `index` belong to one word, where their script shows what that is."""
    if not 0 < index < len(text):
        return False
    kind = _kind(text[index])
    return kind in ("spaced", "katakana") and _kind(text[index - 1]) == kind


@lru_cache(maxsize=4096)
def _kind(char: str) -> str:
    if re.match(f"[{_KATAKANA}]", char):
        return "katakana"
    if re.match(f"[{_UNSPACED}]", char):
        return "unspaced"
    return "spaced" if re.match(rf"\w|[{_INDIC}]", char) else "mark"


def _usual_phrasing(fact: Fact) -> int:
    return hashlib.sha256(f"phrasing/{fact.id}".encode()).digest()[0] % PHRASINGS


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
