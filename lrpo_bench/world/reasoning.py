"""Word problems of one and two steps, language-free: who, what, how many.

A problem is a template, one or two persons, a noun and two or three numbers; `lrpo_bench.world.grammar` writes it in a
language. Operands and results are whole numbers from 2 to 60, small enough for a model of 2M parameters, except in two
templates whose numbers need the separators of a language: `price` (12.5) and `travel` (1,500). Example::

    ReasoningProblem("buy", ("tom",), "apple", (Decimal(3), Decimal(5))).render("en")
    question:  Tom has 3 apples and buys 5 more. How many apples does Tom have now?
    reference: Tom buys 5 more apples, so 3 + 5 = 8. Now Tom has 8 apples in all.

There are 6,671,904 problems. Splits are disjoint in problems, not in calculations: the sum of a test problem occurs in
pretraining about other things.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

import numpy as np

from lrpo_bench.errors import ConfigError, UnknownNameError
from lrpo_bench.world.grammar import NOUNS, PERSONS, Scene, load_grammar
from lrpo_bench.world.grammar.numbers import SOMETIMES_NATIVE
from lrpo_bench.world.questions import Split, WorldQuestion

PRETRAIN_SHARE, TRAIN_SHARE = 0.6, 0.15
"""The rest, 0.25, is the test split."""

_SMALLEST = Decimal(2)
_MAX_REJECTIONS = 20_000
_DRAWS_PER_BLOCK = 512

Step = tuple[Decimal, str, Decimal, Decimal]


@dataclass(frozen=True, slots=True)
class Template:
    """The arithmetic of a template; its sentences are in the grammars."""

    steps: tuple[str, ...]
    """Each `left operator right`, of `a`, `b`, `c`, a constant, or `s`, the result of the step before."""
    ranges: tuple[tuple[Decimal, ...], ...]
    """Values that `a`, `b` and `c` take."""
    largest: int = 60
    """No result, on the way or at the end, is above this or below 2."""
    persons: int = 1
    has_noun: bool = True


def _whole(first: int, last: int, unit: int = 1) -> tuple[Decimal, ...]:
    return tuple(Decimal(value * unit) for value in range(first, last + 1))


_ANY, _HALF, _FACTOR = _whole(2, 60), _whole(2, 30), _whole(2, 9)
_TENTHS = tuple(Decimal(value) / 10 for value in range(21, 300) if value % 10)

TEMPLATES = {
    "buy": Template(("a + b",), (_ANY, _ANY)),
    "give": Template(("a - b",), (_ANY, _ANY)),
    "boxes": Template(("a * b",), (_FACTOR, _FACTOR)),
    "share": Template(("a / b",), (_ANY, _FACTOR)),
    "together": Template(("a + b",), (_ANY, _ANY), persons=2),
    "difference": Template(("a - b",), (_ANY, _ANY), persons=2),
    "times": Template(("b * a",), (_HALF, _FACTOR), persons=2),
    "twice": Template(("2 * a", "a + s"), (_HALF,), persons=2),
    "cost": Template(("a * b",), (_FACTOR, _FACTOR)),
    "fee": Template(("a * b", "s + c"), (_FACTOR, _FACTOR, _FACTOR)),
    "change": Template(("b * c", "a - s"), (_ANY, _FACTOR, _FACTOR)),
    "buy_give": Template(("a + b", "s - c"), (_HALF, _HALF, _HALF)),
    "give_lose": Template(("a - b", "s - c"), (_ANY, _HALF, _HALF)),
    "boxes_buy": Template(("a * b", "s + c"), (_FACTOR, _FACTOR, _HALF)),
    "boxes_give": Template(("a * b", "s - c"), (_FACTOR, _FACTOR, _HALF)),
    "box_take": Template(("a / b", "s - c"), (_ANY, _FACTOR, _FACTOR)),
    "travel": Template(("a + b",), (_whole(10, 60, 100), _whole(2, 39, 100)), largest=9_999, has_noun=False),
    "price": Template(("a + b",), (_TENTHS, _HALF)),
}


@dataclass(frozen=True, slots=True)
class ReasoningProblem:
    """One word problem, in no language yet."""

    template: str
    """A name of `TEMPLATES`."""
    persons: tuple[str, ...]
    """One or two ids of `PERSONS`."""
    noun: str
    """An id of `NOUNS`, or `""` where the template counts no things."""
    numbers: tuple[Decimal, ...]
    """The values of `a`, `b` and `c`."""

    @property
    def slug(self) -> str:
        """`template-persons-noun-numbers`, the same on every machine and in every version."""
        noun = (self.noun,) if self.noun else ()
        return "-".join((self.template, *self.persons, *noun, *map(str, self.numbers)))

    @property
    def source_id(self) -> str:
        """The slug under its kind."""
        return f"reasoning/{self.slug}"

    @property
    def steps(self) -> tuple[Step, ...]:
        """The working: left, operator, right and result of each step."""
        return tuple(_work(TEMPLATES[self.template].steps, self.numbers))

    @property
    def answer(self) -> Decimal:
        """The result of the last step."""
        return self.steps[-1][-1]

    def render(self, lang: str) -> WorldQuestion:
        """The problem in one of `WORLD_LANGUAGES`; raises `UnknownNameError` for another."""
        grammar, scene = load_grammar(lang), self._scene(lang, self.steps)
        question, reference = grammar.question(self.template, scene), grammar.reference(self.template, scene)
        return WorldQuestion(self.source_id, "reasoning", (), lang, question, reference, gold=f"{self.answer:f}")

    def answered(self, lang: str, result: Decimal) -> str:
        """The reference answer with another result of the last step: what a wrong answer says in a language."""
        *before, (left, operator, right, _) = self.steps
        scene = self._scene(lang, (*before, (left, operator, right, result)))
        return load_grammar(lang).reference(self.template, scene)

    @classmethod
    def from_slug(cls, slug: str) -> ReasoningProblem:
        """The problem with that slug; raises `UnknownNameError` for what no problem is called.

        Example:
            >>> ReasoningProblem.from_slug("buy-tom-apple-3-5").answer
            Decimal('8')
        """
        name, *rest = slug.split("-")
        if name not in TEMPLATES:
            raise UnknownNameError("template of a word problem", name, TEMPLATES)
        template = TEMPLATES[name]
        persons, rest = tuple(rest[: template.persons]), rest[template.persons :]
        noun, numbers = (rest[0], rest[1:]) if template.has_noun and rest else ("", rest)
        return cls(name, persons, noun, tuple(map(Decimal, numbers)))

    def _scene(self, lang: str, steps: tuple[Step, ...]) -> Scene:
        return Scene(
            numbers={**dict(zip("abc", self.numbers, strict=False)), "r": steps[-1][-1]},
            persons=dict(zip("pq", self.persons, strict=False)),
            noun=self.noun,
            steps=steps,
            native_digits=lang in SOMETIMES_NATIVE and self._writes_native_digits,
        )

    @property
    def _writes_native_digits(self) -> bool:
        """True for a third of the problems."""
        return hashlib.sha256(f"digits/{self.slug}".encode()).digest()[0] < 256 // 3


def problems(rng: np.random.Generator, n: int, split: Split) -> list[ReasoningProblem]:
    """`n` distinct problems of a split; templates have equal shares until the smallest ones run out.

    Raises:
        ConfigError: when the split has too few problems for `n`.
    """
    if split not in ("pretrain", "train", "test"):
        raise UnknownNameError("split", split, ("pretrain", "train", "test"))
    chosen: dict[ReasoningProblem, None] = {}
    rejected, draws = 0, _draws(rng)
    while len(chosen) < n:
        problem = next(draws)
        if problem in chosen or split_of_reasoning(problem.source_id) != split:
            rejected += 1
            if rejected > _MAX_REJECTIONS:
                raise ConfigError(f"the {split} split has too few reasoning problems for n = {n}; ask for fewer")
            continue
        chosen[problem], rejected = None, 0
    return list(chosen)


def split_of_reasoning(source_id: str) -> Split:
    """The split of a problem, a pure function of its id: 60% pretrain, 15% train, 25% test.

    Example:
        >>> split_of_reasoning("reasoning/buy-tom-apple-3-5")
        'train'
    """
    share = int.from_bytes(hashlib.sha256(source_id.encode()).digest()[:8], "big") / 2**64
    if share < PRETRAIN_SHARE:
        return "pretrain"
    return "train" if share < PRETRAIN_SHARE + TRAIN_SHARE else "test"


def count_problems() -> int:
    """How many distinct problems there are, over all splits."""
    total = 0
    for name, template in TEMPLATES.items():
        persons = len(PERSONS) * (len(PERSONS) - 1) if template.persons == 2 else len(PERSONS)
        total += len(_valid_numbers(name)) * persons * (len(NOUNS) if template.has_noun else 1)
    return total


def _draws(rng: np.random.Generator) -> Iterator[ReasoningProblem]:
    """Random problems without end, drawn in blocks because single draws are slow."""
    names = tuple(TEMPLATES)
    while True:
        for name, first, second, noun, numbers in rng.random((_DRAWS_PER_BLOCK, 5)).tolist():
            yield _problem(names[int(name * len(names))], (first, second), noun, numbers)


def _problem(name: str, persons: tuple[float, float], noun: float, numbers: float) -> ReasoningProblem:
    """The problem of a template that numbers in [0, 1) stand for."""
    template, choices = TEMPLATES[name], _valid_numbers(name)
    first = int(persons[0] * len(PERSONS))
    other = (first + 1 + int(persons[1] * (len(PERSONS) - 1))) % len(PERSONS)
    return ReasoningProblem(
        template=name,
        persons=(PERSONS[first], PERSONS[other])[: template.persons],
        noun=NOUNS[int(noun * len(NOUNS))] if template.has_noun else "",
        numbers=choices[int(numbers * len(choices))],
    )


@lru_cache(maxsize=len(TEMPLATES))
def _valid_numbers(name: str) -> tuple[tuple[Decimal, ...], ...]:
    """All values of a template's numbers whose results are in range and whose divisions are exact."""
    template = TEMPLATES[name]
    found: list[tuple[Decimal, ...]] = [()]
    for values in template.ranges:  # number by number, since most are refused by the first two
        found = [numbers for known in found for x in values if _is_valid(template, numbers := (*known, x))]
    return tuple(found)


def _is_valid(template: Template, numbers: tuple[Decimal, ...]) -> bool:
    """Whether the steps that these numbers, the first ones or all, settle have exact results in range."""
    for left, operator, right, result in _work(template.steps, numbers):
        if operator == "/" and left % right:
            return False
        if not _SMALLEST <= result <= template.largest:
            return False
    return True


def _work(steps: tuple[str, ...], numbers: tuple[Decimal, ...]) -> Iterator[Step]:
    """The steps with their values, as far as the numbers go."""
    values = dict(zip("abc", numbers, strict=False))
    for left, operator, right in _split_steps(steps):
        x, y = values.get(left), values.get(right)
        if (x is None and left.isalpha()) or (y is None and right.isalpha()):
            return
        x, y = Decimal(left) if x is None else x, Decimal(right) if y is None else y
        values["s"] = _OPERATIONS[operator](x, y)
        yield x, operator, y, values["s"]


@lru_cache(maxsize=len(TEMPLATES))
def _split_steps(steps: tuple[str, ...]) -> tuple[list[str], ...]:
    return tuple(step.split() for step in steps)


_OPERATIONS = {"+": Decimal.__add__, "-": Decimal.__sub__, "*": Decimal.__mul__, "/": Decimal.__truediv__}
