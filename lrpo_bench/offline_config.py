"""The `train.warm_start` and `train.offline` sections: supervised steps, and methods whose data is built first.

Example::

    train:
      method: lidr
      warm_start: {enabled: true, prompts: 420}
      offline: {dominant: en, translator: {kind: seq2seq, name: ./nllb-200-distilled-600M}}
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from lrpo_bench.config_base import Section
from lrpo_bench.errors import ConfigError, UnknownNameError
from lrpo_bench.languages import parse_language


def _code(value: str) -> str:
    try:
        return parse_language(value).code
    except UnknownNameError as error:
        raise ValueError(error) from error  # pydantic adds the key to a ValueError only


class WarmStartConfig(Section):
    """Supervised steps on answers in other languages; the paper's values, learning rate and batch apart."""

    enabled: bool = False
    """Begin the training with them, whatever the method; method sft is these steps alone."""
    prompts: int = Field(default=420, ge=1)
    """Training questions, drawn from all source languages; all of them where there are fewer."""
    answers: int = Field(default=2, ge=1)
    """Answers a question, each in another language than the question's."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; one pass over all answers when absent. They replace train.steps for method sft."""
    answers_per_step: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    add_tags: bool = False
    """Teach language tags to a model that has none: adds them to its tokenizer. Only for `lrpo-bench train`."""


class TranslatorConfig(Section):
    """What translates answers and scores how well they agree, for methods mapo and lidr."""

    kind: Literal["world", "seq2seq"] = "world"
    """`world`: true translations of the embedded world's answers; `seq2seq`: a translation model of Hugging Face."""
    name: str | None = None
    """Folder or hub id of the translation model: NLLB, M2M100, or any other with one token a language."""
    revision: str | None = None
    codes: dict[str, str] = Field(default_factory=dict)
    """The model's own token of a language where it is neither NLLB's nor M2M100's: {sw: "<swa>"}."""
    batch_size: int = Field(default=32, ge=1)
    max_tokens: int = Field(default=512, ge=1)

    @model_validator(mode="after")
    def _named(self) -> TranslatorConfig:
        if self.kind == "seq2seq" and self.name is None:
            raise ConfigError("train.offline.translator.name is missing: a folder or hub id of a translation model")
        return self


class OfflineConfig(Section):
    """Methods dpo, mapo, lidr and mpo."""

    learning_rate: float = Field(default=2e-5, gt=0)
    """In place of train.learning_rate; the papers' 5e-7 to 1e-6 are for 7B models."""
    beta: float = Field(default=0.1, gt=0)
    """Strength of the reference in DPO's loss (Rafailov et al.; MAPO's configuration has the same)."""
    mpo_beta: float = Field(default=1.0, gt=0)
    """MPO's factor on the other languages' gap (its configurations: 1.0 and 1.5)."""
    retain_weight: float = Field(default=1.0, ge=0)
    """MPO's weight of keeping the dominant language's hidden states."""
    nll_weight: float = Field(default=1.0, ge=0)
    """LIDR's weight of the likelihood of the better answer."""
    dominant: Annotated[str, AfterValidator(_code)] = "en"
    """Language that the others are drawn to; English in all three papers."""
    dominant_rollouts: int | None = Field(default=None, ge=1)
    """Rollouts of each group in the dominant language; half the group when absent."""
    pairs_per_step: int | None = Field(default=None, ge=1)
    """Pairs an optimizer step; train.questions_per_step when absent."""
    translator: TranslatorConfig = TranslatorConfig()
