"""Regional knowledge: capitals, rivers, authors, dishes ... of twelve regions, asked in eleven languages.

The answer's name in any language counts: whether the response is in the right language is measured elsewhere.
`lrpo_bench.world.regional.named_answer` says what counts as naming it, and why echoing or hedging earns nothing.
A response that names nothing known is wrong; only an empty one is not attempted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from lrpo_bench.tasks.base import Row, Sample, Score
from lrpo_bench.tasks.world_task import WorldTask
from lrpo_bench.world.facts import fact
from lrpo_bench.world.regional import named_answer, problems


class Regional(WorldTask):
    """Scores a response by the names in it."""

    columns = (*WorldTask.columns, "region", "aliases")

    def rows(self, lang: str, split: str) -> Iterator[Row]:
        for problem in problems(split):
            written = problem.render(lang)
            yield {
                "id": problem.fact.id,
                "region": problem.fact.region,
                "question": written.question,
                "reference": written.reference,
                "gold": written.gold,
                "aliases": written.aliases,
            }

    def sample(self, row: Row, lang: str, index: int) -> Sample:
        found = super().sample(row, lang, index)
        regions, aliases = (row["region"],), tuple(row["aliases"])
        return dataclasses.replace(found, regions=regions, aliases=aliases, extra={"fact": row["id"]})

    def score(self, sample: Sample, completion: str, rollout_lang: str) -> Score:
        if not completion.strip():
            return Score.not_attempted("empty response")
        name, right = named_answer(completion, fact(sample.extra["fact"]))
        return Score.of(right, sample.gold if right else name)


TASK = Regional
