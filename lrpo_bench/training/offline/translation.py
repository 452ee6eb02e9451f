"""The translator contract, and which translator a configuration stands for.

MAPO asks how well an answer translates into the dominant language's (`score`), LIDR asks for the translation itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lrpo_bench.offline_config import TranslatorConfig
from lrpo_bench.tasks.base import Sample, Task


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, the language that it was asked for in, and the question that it answers."""

    task: Task
    sample: Sample
    lang: str
    text: str


class Translator(Protocol):
    """What MAPO and LIDR ask of a translator."""

    def check(self, tasks: Sequence[str], languages: Sequence[str]) -> None:
        """Raises `ConfigError` for tasks or languages that it can not translate."""
        ...

    def translate(self, answers: Sequence[Answer], lang: str) -> list[str | None]:
        """Each answer in `lang`; None where there is nothing to translate."""
        ...

    def score(self, answers: Sequence[Answer], dominant: Sequence[Answer]) -> list[float]:
        """How well each answer agrees with the answer in the dominant language beside it; more is better."""
        ...


def load_translator(config: TranslatorConfig, device: str = "auto") -> Translator:
    """The translator of a configuration; a model is loaded when it is first needed."""
    if config.kind == "world":
        from lrpo_bench.training.offline.world_translation import WorldTranslator

        return WorldTranslator()
    from lrpo_bench.training.offline.seq2seq import Seq2SeqTranslator

    return Seq2SeqTranslator(config, device)
