"""CARE (Pro): questions of local and cross-cultural knowledge, graded by a judge in four grades.

| grade | score | language |
|---|---|---|
| `CORRECT` | 1 | as asked |
| `CORRECT_BUT_WRONG_LANGUAGE` | 1 | another |
| `INCORRECT` | 0 | the detector's word |
| `NOT_ATTEMPTED` | 0, counted apart | the detector's word |

So our `accuracy_in_language` is the benchmark's accuracy, which counts `CORRECT` only, and the table of outcomes shows
all four grades: right in the language, right in another, wrong, not attempted. The grade stands in a response's
`reason`. An answer asked for in another language than the question's is one that the published text can not judge the
language of: the detector does. Rows hold `question` and `answer` (or `target`), beside what names their language.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from lrpo_bench.tasks.base import Row, Sample, Score
from lrpo_bench.tasks.judged import JudgedTask
from lrpo_bench.tasks.multiple_choice import text_of

GRADES = ("CORRECT", "CORRECT_BUT_WRONG_LANGUAGE", "INCORRECT", "NOT_ATTEMPTED")
_LETTER = re.compile(r"[\s*(\"']*([A-D])[\s*).:\"']*")
_NAME = re.compile(r"\b(CORRECT_BUT_WRONG_LANGUAGE|INCORRECT|NOT[_ ]ATTEMPTED|CORRECT)\b")


class CarePro(JudgedTask):
    """Scores by a judge's grade."""

    judge_file = Path(__file__).with_name("judge.toml")
    published: ClassVar[Mapping[str, str]] = {"grade": "prompt.txt"}
    best_reply = "A"

    def sample(self, row: Row, lang: str, index: int) -> Sample:
        where = f"care_pro, {lang} row {index}"
        answer = text_of(row, "answer" if "answer" in row else "target", where).strip()
        return Sample(
            id=f"care_pro/{lang}/{index}",
            source_id=f"care_pro/{lang}/{index}",
            lang=lang,
            question=text_of(row, "question", where).strip(),
            gold=answer,
            topic=self.info.topic,
            reference=answer,
        )

    def template_of(self, sample: Sample) -> str:
        return "grade"

    def read_verdict(self, sample: Sample, reply: str, rollout_lang: str) -> Score | None:
        grade = read_four_grades(reply)
        if grade is None:
            return None
        note = f"grade {grade}"
        if grade == "NOT_ATTEMPTED":
            return Score.not_attempted(note)
        if grade == "INCORRECT":
            return Score(0.0, "incorrect", None, note)
        language_ok = grade == "CORRECT" if rollout_lang == sample.lang else None
        return Score(1.0, "correct", None, note, language_ok)


def read_four_grades(reply: str) -> str | None:
    """The one grade that a reply names, by its letter alone or by its name; None for none or several.

    Example:
        >>> read_four_grades("B."), read_four_grades("Grade: NOT ATTEMPTED"), read_four_grades("A or C")
        ('CORRECT_BUT_WRONG_LANGUAGE', 'NOT_ATTEMPTED', None)
    """
    alone = _LETTER.fullmatch(reply)
    named = {name.replace(" ", "_") for name in _NAME.findall(reply)}
    if alone:
        return GRADES["ABCD".index(alone[1])]
    return named.pop() if len(named) == 1 else None


TASK = CarePro
