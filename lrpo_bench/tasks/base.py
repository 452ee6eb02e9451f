"""The task contract: what one benchmark declares, and what a judgement of one response is.

A task declares data, not flow. It turns rows into samples, a sample into the text a model is asked, and a response
into a `Score`. `Task.score` serves evaluation and training alike, so that reward and metric can not drift apart.
Nothing here knows about models, trainers or files of results.

One sample of MGSM::

    Sample(id="mgsm/de/17", source_id="mgsm/17", lang="de", question="Janets Enten legen 16 Eier ...", gold="18",
           topic="reasoning")
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

TOPICS = ("regional knowledge", "general knowledge", "chat", "reasoning", "safety", "translation")
"""The router's topics (paper, Sec. 3.1); a sample names exactly one of them."""

Outcome = Literal["correct", "incorrect", "not_attempted", "truncated", "unscored"]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """One question in one language.

    Parallel translations of a question share `source_id`; statistics cluster by it.
    """

    id: str
    """Unique over all tasks and languages: `<task>/<lang>/<row>`."""
    source_id: str
    """Shared by the translations of one question: `<task>/<row>`."""
    lang: str
    """Code of the language in which the question is written (`source_lang`)."""
    question: str
    """The question as data, without instructions."""
    gold: str
    """The right answer in canonical form: `"18"`, `"entailment"`, `"Nairobi"`."""
    topic: str = "reasoning"
    """One of `TOPICS`."""
    regions: tuple[str, ...] = ()
    """Regions that the question is about; may be empty."""
    reference: str | None = None
    """A full answer written in `lang`, where the data has one."""
    choices: tuple[str, ...] = ()
    """Options in presentation order, for multiple choice; `gold` names one of them through the task."""
    aliases: tuple[str, ...] = ()
    """Other spellings of the gold answer, in any language, that count as right."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """Further fields of the row that the task's own `score` or `prompt` needs."""


@dataclass(frozen=True, slots=True)
class Score:
    """The judgement of one response: right or wrong, apart from the language it is written in.

    `value` is in [0, 1], or None where the response can not be judged; `outcome` says why.
    """

    value: float | None
    outcome: Outcome
    answer: str | None = None
    """The answer that was read from the response, in canonical form; None if there was none."""
    reason: str = ""
    """Why a response is unscored or not attempted, or a judge's grade; empty otherwise."""
    language_ok: bool | None = None
    """Whether it is in the asked language, where the judgement says so; None leaves it to the language detector."""

    @classmethod
    def of(cls, correct: bool, answer: str | None) -> Score:
        """A judged response."""
        return cls(float(correct), "correct" if correct else "incorrect", answer)

    @classmethod
    def not_attempted(cls, reason: str) -> Score:
        """A response with no readable answer: worth 0, but counted apart from wrong ones."""
        return cls(0.0, "not_attempted", None, reason)

    @classmethod
    def unscored(cls, reason: str) -> Score:
        """A response that can not be judged: left out of every mean, counted and shown."""
        return cls(None, "unscored", None, reason)


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """What `task.toml` declares about a benchmark."""

    name: str
    version: str
    title: str
    kind: Literal["generate", "choice"]
    """`generate`: the response is read; `choice`: the option of highest log-likelihood is the answer."""
    topic: str
    languages: tuple[str, ...]
    licence: str
    citation: str
    variants: tuple[str, ...] = ("default",)
    """Named prompt variants, the first is the default; changed prompts mean a new version."""
    variant_kinds: Mapping[str, str] = field(default_factory=dict)
    """Variants whose kind differs from `kind`, such as XNLI's `generate`."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """Where the data comes from: hub id, pinned revision, file pattern and columns."""
    max_completion_tokens: int = 256
    """Enough for a full answer; a response that reaches it counts as truncated."""
    chance: float = 0.0
    """Accuracy of guessing."""


class Task(ABC):
    """One benchmark. Subclasses live in `tasks/<name>/task.py`, about 50 lines each.

    Attributes:
        info: the declared metadata.
        variant: the prompt variant in use, one of `info.variants`.
        prompts: `prompts.toml`, as variant -> language -> template with `{question}` and the row's own fields.
        verbatim: whether the task's text reaches the model as it is: no chat template, no language instruction, no
            final newline. This is how base models are asked, and lm-eval's default.
        parallel: whether languages share questions, and so source ids.
        has_answers: whether there are right answers; without, every response is unscored, and only its language counts.
    """

    verbatim: bool = False
    parallel: bool = True
    has_answers: bool = True

    def __init__(self, info: TaskInfo, prompts: Mapping[str, Mapping[str, str]], variant: str | None = None) -> None:
        """Keeps the declared data; reads nothing."""
        self.info = info
        self.prompts = prompts
        self.variant = variant or info.variants[0]

    @property
    def kind(self) -> str:
        """How a response is obtained under the variant in use: `generate` or `choice`."""
        return self.info.variant_kinds.get(self.variant, self.info.kind)

    @abstractmethod
    def sample(self, row: Row, lang: str, index: int) -> Sample:
        """The sample of one data row; raises `DataError` for a row that can not be used."""

    @abstractmethod
    def score(self, sample: Sample, completion: str, rollout_lang: str) -> Score:
        """The judgement of `completion`, whatever language it is written in.

        The language it was asked for (`rollout_lang`) only says how to read it: number format, label words.
        """

    def score_all(
        self, samples: Sequence[Sample], completions: Sequence[str], rollout_langs: Sequence[str]
    ) -> list[Score]:
        """`score` of each response; a task that judges many at once (an LLM's grades) overrides it."""
        return [self.score(*each) for each in zip(samples, completions, rollout_langs, strict=True)]

    def stop(self, lang: str) -> tuple[str, ...]:
        """Strings that end a response to a question in `lang`; the first one, and what follows, is no part of it."""
        return ()

    def rows(self, lang: str, split: str) -> Iterator[Row] | None:
        """Rows that the task makes itself, or None to have them read from data (file, folder or hub)."""
        return None

    def prompt(self, sample: Sample, rollout_lang: str) -> str:
        """The text a model is asked: the variant's template, whose instructions are written in `rollout_lang`."""
        return self.prompts[self.variant][rollout_lang].format(question=sample.question, **sample.extra)

    def options(self, sample: Sample, rollout_lang: str) -> Sequence[str]:
        """The continuations whose log-likelihoods are compared, for `kind == "choice"`."""
        return sample.choices

    def prompt_languages(self) -> tuple[str, ...]:
        """Languages in which the variant can be asked, hence the router's possible arms for this task."""
        return tuple(self.prompts[self.variant])
