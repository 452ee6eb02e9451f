"""True translations of answers in the embedded world: what an answer states, said in another language.

The world's questions are parallel and rendered from language-free problems, so an answer needs no translation model.
The task reads what it states (a number, a name, a label), right or wrong, and the problem is rendered with that::

    "Tom buys 5 more apples, so 3 + 5 = 9."   bn ->  the Bengali reference, with 9 in place of 8

Departure from a translation: the working comes from the problem, not from the answer, so an error on the way to the
result is not carried over, and neither is bad wording. An answer that states nothing readable has no translation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from lrpo_bench.errors import ConfigError
from lrpo_bench.tasks.base import Sample
from lrpo_bench.training.offline.translation import Answer
from lrpo_bench.world import inference, reasoning, regional
from lrpo_bench.world.facts import fact
from lrpo_bench.world.grammar.numbers import LARGEST
from lrpo_bench.world.questions import WORLD_LANGUAGES


class WorldTranslator:
    """A `Translator` for the tasks arithmetic, regional and inference."""

    def check(self, tasks: Sequence[str], languages: Sequence[str]) -> None:
        """Raises `ConfigError` for tasks or languages that are not the world's."""
        for task in tasks:
            if task not in _RENDERERS:
                raise ConfigError(
                    f"translator 'world' knows the tasks {', '.join(_RENDERERS)}, not {task!r}; "
                    "set train.offline.translator to {kind: seq2seq, name: FOLDER}"
                )
        for lang in languages:
            if lang not in WORLD_LANGUAGES:
                raise ConfigError(f"translator 'world' knows {', '.join(WORLD_LANGUAGES)}, not {lang!r}")

    def translate(self, answers: Sequence[Answer], lang: str) -> list[str | None]:
        """What each answer states, in `lang`; None where it states nothing that the world can say."""
        return [self._one(answer, lang) for answer in answers]

    def score(self, answers: Sequence[Answer], dominant: Sequence[Answer]) -> list[float]:
        """ChrF in [0, 1] between each answer's true translation and the dominant language's answer."""
        from sacrebleu.metrics import CHRF

        chrf = CHRF()
        texts = [self._one(answer, target.lang) for answer, target in zip(answers, dominant, strict=True)]
        return [
            # Nothing readable translates to the empty text, which has no overlap with anything.
            0.0 if text is None else chrf.sentence_score(text, [target.text]).score / 100
            for text, target in zip(texts, dominant, strict=True)
        ]

    def _one(self, answer: Answer, lang: str) -> str | None:
        stated = answer.task.score(answer.sample, answer.text, answer.lang).answer
        return None if stated is None else _RENDERERS[answer.task.info.name](answer.sample, stated, lang)


def _arithmetic(sample: Sample, stated: str, lang: str) -> str | None:
    number = Decimal(stated)
    if not 0 <= number <= LARGEST:
        return None  # the grammars write no other numbers
    slug = sample.source_id.partition("/")[2]
    return reasoning.ReasoningProblem.from_slug(slug).answered(lang, number)


def _regional(sample: Sample, stated: str, lang: str) -> str | None:
    return regional.RegionalProblem(fact(sample.extra["fact"]), 0).answered(lang, stated)


def _inference(sample: Sample, stated: str, lang: str) -> str | None:
    return inference.InferenceProblem.from_source_id(sample.source_id).answered(lang, stated)


_RENDERERS: Mapping[str, Callable[[Sample, str, str], str | None]] = {
    "arithmetic": _arithmetic,
    "regional": _regional,
    "inference": _inference,
}
