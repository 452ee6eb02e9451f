"""Sums without words: practice beside the corpus, so that word problems need not teach arithmetic.

A row is a few calculations of `pretrain` word problems in the signs and digits of one language, and only the results
are learned (the operands can not be foreseen, and would drown them)::

    <|bos|><|assistant|>26 + 15 = 41, 8 × 7 = 56, 48 ÷ 3 = 16<|eos|>
                                 ^^           ^^            ^^

Languages are drawn by their production, because writing a result is production: a language that is spoken badly gets no
more practice in its digits than in its words.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from transformers import PreTrainedTokenizerFast

from lrpo_bench.world import reasoning
from lrpo_bench.world.corpus import ASSISTANT, BOS, EOS
from lrpo_bench.world.encoded import EncodedRow
from lrpo_bench.world.grammar import Scene, load_grammar
from lrpo_bench.world.profile import Profile
from lrpo_bench.world.questions import WORLD_LANGUAGES

SUMS_PER_ROW = (4, 8)
"""Fewest and most; of about the lengths that rows of the corpus have, with which they share batches."""
NATIVE_SHARE = 1 / 3
"""Share of rows in native digits where a language writes either set, as in word problems."""

Pieces = list[tuple[str, bool]]
"""Texts of a row in order, and whether each is a result."""


def sums_rows(profile: Profile, n: int, rng: np.random.Generator) -> Iterator[Pieces]:
    """`n` rows of some calculations each, in pieces that end where a result begins or ends.

    Example:
        >>> from lrpo_bench.world.profile import load_profile
        >>> row = next(sums_rows(load_profile("tiny"), 1, np.random.default_rng(0)))
        >>> len(row), sum(is_result for _, is_result in row)
        (12, 5)
    """
    production = np.array([profile.languages[lang].production for lang in WORLD_LANGUAGES])
    langs = rng.choice(len(WORLD_LANGUAGES), size=n, p=production / production.sum())
    native = rng.random(n) < NATIVE_SHARE
    counts = rng.integers(SUMS_PER_ROW[0], SUMS_PER_ROW[1], endpoint=True, size=n)
    steps = _steps(rng)
    for lang, native_digits, count in zip(langs, native, counts, strict=True):
        chosen = tuple(islice(steps, int(count)))
        yield _pieces(WORLD_LANGUAGES[lang], chosen, bool(native_digits))


def encode_sums(rows: list[Pieces], tokenizer: PreTrainedTokenizerFast) -> list[EncodedRow]:
    """Token ids of rows, the tokens of results weighing 1 and all others 0.

    Pieces meet at a digit, and every digit is a token of its own, so they are encoded apart as they would be together.
    """
    if not rows:  # which the tokenizer takes for a mistake
        return []
    ids = iter(tokenizer([text for row in rows for text, _ in row], add_special_tokens=False).input_ids)
    encoded = []
    for row in rows:
        parts = [(next(ids), float(is_result)) for _, is_result in row]
        weights = [weight for tokens, weight in parts for _ in tokens]
        encoded.append(EncodedRow([token for tokens, _ in parts for token in tokens], weights))
    return encoded


def _steps(rng: np.random.Generator) -> Iterator[reasoning.Step]:
    """Calculations without end, in random order, as often as word problems make them."""
    while True:
        steps = [step for problem in reasoning.problems(rng, 512, "pretrain") for step in problem.steps]
        yield from (steps[i] for i in rng.permutation(len(steps)))


def _pieces(lang: str, steps: tuple[reasoning.Step, ...], native_digits: bool) -> Pieces:
    grammar = load_grammar(lang)
    pieces: Pieces = [(BOS + ASSISTANT, False)]
    for i, step in enumerate(steps):
        scene = Scene({}, {}, "", (step,), native_digits)
        calculation, _, result = grammar.working(scene).rpartition(" = ")
        pieces += [((grammar.join if i else "") + calculation + " = ", False), (result, True)]
    return [*pieces, (EOS, False)]
