"""Word problems of the embedded world: one and two steps, the same problems in eleven languages.

The problems follow from a seed and from nothing else, so there is no data file. Answers are compared as exact decimals,
read by the number conventions of the language that was asked for: "12,5" is right in German and English, but "1.500"
is 1500 in German and 1.5 in English.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import numpy as np

from lrpo_bench.errors import UnknownNameError
from lrpo_bench.tasks.base import Row, Sample, Score
from lrpo_bench.tasks.extraction import read_final_number
from lrpo_bench.tasks.world_task import WorldTask
from lrpo_bench.world.questions import Split
from lrpo_bench.world.reasoning import problems

SEED = 20260
SIZES: dict[str, tuple[Split, int]] = {"train": ("train", 2000), "test": ("test", 300)}


class Arithmetic(WorldTask):
    """Scores a response by its final number."""

    def rows(self, lang: str, split: str) -> Iterator[Row]:
        if split not in SIZES:
            raise UnknownNameError("split of task 'arithmetic'", split, SIZES)
        part, size = SIZES[split]
        for problem in problems(np.random.default_rng(SEED), size, part):
            written = problem.render(lang)
            yield {
                "id": problem.slug,
                "question": written.question,
                "reference": written.reference,
                "gold": written.gold,
            }

    def score(self, sample: Sample, completion: str, rollout_lang: str) -> Score:
        answer = read_final_number(completion, rollout_lang)
        if answer is None:
            return Score.not_attempted("no number")
        return Score.of(answer == Decimal(sample.gold), f"{answer:f}")


TASK = Arithmetic
