"""CARE: questions about a region's culture in its own language, graded from 1 to 10 by a judge.

A rating r is the score r / 10, so that 100 times our `accuracy` is the benchmark's own number (the mean rating times
ten); the lowest rating is .1, and only an empty response, which is not sent, is 0. In the table of outcomes an answer
is right from 7 on, which the judge's scale calls good. The rating stands in a response's `reason`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from lrpo_bench.errors import DataError
from lrpo_bench.tasks.base import Row, Sample, Score
from lrpo_bench.tasks.judged import JudgedTask
from lrpo_bench.tasks.multiple_choice import text_of

LOWEST, GOOD, HIGHEST = 1, 7, 10
TEMPLATES = {
    "Cultural entities": "entities_opinion",
    "Opinion": "entities_opinion",
    "Social norms": "norms_commonsense",
    "Cultural commonsense": "norms_commonsense",
    "Literacy": "literacy",
}
_RATING = re.compile(r"\[\[\s*(\d+(?:\.\d+)?)\s*\]\]")
_PLAIN = re.compile(r"\**rating\**\s*:?\**\s*(\d+(?:\.\d+)?)\s*(?:/\s*10)?\s*[.*]*", re.IGNORECASE)


class Care(JudgedTask):
    """Scores by a judge's rating."""

    judge_file = Path(__file__).with_name("judge.toml")
    published: ClassVar[Mapping[str, str]] = {name: f"prompts/{name}.txt" for name in sorted(set(TEMPLATES.values()))}
    best_reply = "All true. Rating: [[10]]"

    def sample(self, row: Row, lang: str, index: int) -> Sample:
        where = f"care, {lang} row {index}"
        kind = text_of(row, "culture_type", where)
        if kind not in TEMPLATES:
            raise DataError(f"{where}: 'culture_type' must be one of {', '.join(TEMPLATES)}, got {kind!r}")
        answer = text_of(row, "answer", where).strip()
        region = re.search(r"\((.+)\)", str(row.get("associated_culture", "")))
        return Sample(
            id=f"care/{lang}/{index}",
            source_id=f"care/{lang}/{index}",
            lang=lang,
            question=text_of(row, "question", where).strip(),
            gold=answer,
            topic=self.info.topic,
            regions=(region[1],) if region else (),
            reference=answer,
            extra={"culture_type": kind},
        )

    def template_of(self, sample: Sample) -> str:
        return TEMPLATES[sample.extra["culture_type"]]

    def read_verdict(self, sample: Sample, reply: str, rollout_lang: str) -> Score | None:
        """The last rating counts: judges think aloud, and may quote the form."""
        last = (reply.strip().splitlines() or [""])[-1].strip()
        found, plain = _RATING.findall(reply), _PLAIN.fullmatch(last)
        text = found[-1] if found else plain[1] if plain else None
        if text is None or not LOWEST <= float(text) <= HIGHEST:
            return None
        return Score(
            float(text) / HIGHEST, "correct" if float(text) >= GOOD else "incorrect", None, f"rating {float(text):g}"
        )


TASK = Care
