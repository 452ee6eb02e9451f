"""Inference: does a claim follow from two others, is it excluded, or can it not be said? In eleven languages.

The same problems in every language, 2,000 to train on and 300 to test, drawn with a fixed seed and a third of each
label. `lrpo_bench.world.inference.read_label` reads the label; a response that states none, or two, is not attempted.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from lrpo_bench.errors import DataError, UnknownNameError
from lrpo_bench.tasks.base import Row, Sample, Score
from lrpo_bench.tasks.world_task import WorldTask
from lrpo_bench.world.inference import LABELS, InferenceProblem, problems, read_label

SIZES = {"train": 2000, "test": 300}
_SEED = 20260


class Inference(WorldTask):
    """Scores a response by the label that it states."""

    def rows(self, lang: str, split: str) -> Iterator[Row]:
        for problem in _problems(split):
            written = problem.render(lang)
            slug = problem.source_id.removeprefix("inference/")
            yield {"id": slug, "question": written.question, "reference": written.reference, "gold": written.gold}

    def sample(self, row: Row, lang: str, index: int) -> Sample:
        found = super().sample(row, lang, index)
        if found.gold not in LABELS:
            raise DataError(f"inference, {lang} row {index}: 'gold' must be yes, no or unknown, got {found.gold!r}")
        return found

    def score(self, sample: Sample, completion: str, rollout_lang: str) -> Score:
        label = read_label(completion, rollout_lang)
        return Score.not_attempted("no single label") if label is None else Score.of(label == sample.gold, label)


@lru_cache(maxsize=len(SIZES))
def _problems(split: str) -> tuple[InferenceProblem, ...]:
    if split not in SIZES:
        raise UnknownNameError("split", split, SIZES)
    return tuple(problems(np.random.default_rng(_SEED), SIZES[split], split))


TASK = Inference
