"""Questions with lettered options, asked in two ways.

`likelihood` (kind `choice`) takes the option with the highest log-likelihood, worded as lm-eval words it and given to
the model verbatim. `letter` (kind `generate`) asks for the option's letter in the language of the question and reads
it. An adapter says only how a row becomes a `Question`; templates may use `{question}`, `{a}`, `{b}`, ... and the
question's own fields.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lrpo_bench.errors import DataError
from lrpo_bench.tasks.base import Row, Sample, Score, Task, TaskInfo
from lrpo_bench.tasks.labels import read_option_letter

LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True, slots=True)
class Question:
    """One row, read."""

    text: str
    options: tuple[str, ...]
    answer: int
    """Index of the right option."""
    source: str | None = None
    """The data's own id, shared by translations; the row's number where there is none."""
    topic: str | None = None
    """The task's topic when absent."""
    regions: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    """Further texts that templates use."""


class MultipleChoiceTask(Task):
    """Scores an option chosen by likelihood, or the option letter that a response names.

    Attributes:
        delimiter: what stands between a verbatim prompt and an option; lm-eval's `target_delimiter`.
    """

    delimiter = " "

    def __init__(self, info: TaskInfo, prompts: Mapping[str, Mapping[str, str]], variant: str | None = None) -> None:
        """Likelihoods are compared after the bare text, as lm-eval does by default."""
        super().__init__(info, prompts, variant)
        self.verbatim = self.kind == "choice"

    @abstractmethod
    def read(self, row: Row, where: str) -> Question:
        """The question of one data row; raises `DataError` that begins with `where` for a row that can not be used."""

    def sample(self, row: Row, lang: str, index: int) -> Sample:
        """The sample of one data row, its options lettered in the data's order."""
        name = self.info.name
        where = f"{name}, {lang} row {index}"
        question = self.read(row, where)
        if not 2 <= len(question.options) <= len(LETTERS):
            raise DataError(f"{where}: 2 to {len(LETTERS)} options expected, found {len(question.options)}")
        if not 0 <= question.answer < len(question.options):
            raise DataError(f"{where}: the answer is option {question.answer + 1} of {len(question.options)}")
        letters = tuple(LETTERS[: len(question.options)])
        source = question.source or str(index)
        return Sample(
            id=f"{name}/{lang}/{source}",
            source_id=f"{name}/{source}" if self.parallel else f"{name}/{lang}/{source}",
            lang=lang,
            question=question.text.strip(),
            gold=letters[question.answer],
            topic=question.topic or self.info.topic,
            regions=question.regions,
            choices=letters,
            extra={**dict(zip(map(str.lower, letters), question.options, strict=True)), **question.fields},
        )

    def options(self, sample: Sample, rollout_lang: str) -> Sequence[str]:
        """The letters, each after the delimiter."""
        return [f"{self.delimiter}{letter}" for letter in sample.choices]

    def score(self, sample: Sample, completion: str, rollout_lang: str) -> Score:
        """Right if the chosen option, or the only letter that the response names, is the gold one."""
        answer = None
        if self.kind == "choice":
            answer = dict(zip(self.options(sample, rollout_lang), sample.choices, strict=True)).get(completion)
        answer = answer or read_option_letter(completion, sample.choices, rollout_lang)
        return Score.not_attempted("no single letter") if answer is None else Score.of(answer == sample.gold, answer)


def text_of(row: Row, column: str, where: str) -> str:
    """The text in a column, as it is.

    Raises:
        DataError: when the column is missing, empty or no text.
    """
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: column {column!r} must be a text that is not empty, got {value!r}")
    return value


def answer_index(row: Row, column: str, where: str, first: int = 0) -> int:
    """The index of the right option: a letter, or a number counted from `first`.

    Example:
        >>> answer_index({"answer": "C"}, "answer", "row 0"), answer_index({"answer": "3"}, "answer", "row 0", first=1)
        (2, 2)

    Raises:
        DataError: for anything else.
    """
    value = row.get(column)
    text = "" if isinstance(value, bool) else str(value).strip()
    if len(text) == 1 and text in LETTERS:
        return LETTERS.index(text)
    if not (text.isascii() and text.isdecimal()):
        raise DataError(f"{where}: column {column!r} must be a letter or a number, got {value!r}")
    return int(text) - first
