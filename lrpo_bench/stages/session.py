"""What the stages of one command share: plan, folder, whom to tell, a loaded model."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager
from typing import Any, Protocol

from lrpo_bench.config import RunConfig
from lrpo_bench.evaluation.fidelity_rules import WordList, read_word_list
from lrpo_bench.models.base import Model
from lrpo_bench.models.load import ModelSpec, load_model
from lrpo_bench.plan import Plan
from lrpo_bench.results.store import Store
from lrpo_bench.startup import import_libraries


class Reporter(Protocol):
    """Where a pipeline says what it is doing."""

    def progress(self, title: str, total: int) -> AbstractContextManager[Any]:
        """A bar with time left; the context's value is called with a number of finished units."""
        ...

    def note(self, text: str) -> None:
        """One line that the user should see."""
        ...


@dataclasses.dataclass(frozen=True)
class Session:
    """One command's plan and folder."""

    plan: Plan
    store: Store
    reporter: Reporter

    @property
    def config(self) -> RunConfig:
        """The configuration."""
        return self.plan.config


def load_policy(run: RunConfig, name: str, *, train: bool = False) -> tuple[Model, Any]:
    """The model of that name as the run is configured, and its tokenizer (None: the mock has none)."""
    config = run.model
    # Small updates vanish in bfloat16 weights: train in float32, under autocast where the dtype asks for it.
    dtype = "float32" if train else config.dtype
    if name == "mock":
        from lrpo_bench.models.fake import MockModel

        return MockModel(), None
    values = config.model_dump() | {"name": name, "dtype": dtype}
    if train:
        values |= {"backend": "hf", "generation": "auto"}
    import_libraries()
    model = load_model(ModelSpec(**values))
    return model, model.tokenizer


def asked_languages(plan: Plan) -> tuple[str, ...]:
    """Every language that a response may be asked for in, evaluated or trained, sorted."""
    langs = {lang for selection in plan.selections for lang in selection.languages}
    return tuple(sorted(langs | set(plan.arms)))


def word_list_of(config: RunConfig) -> WordList | None:
    """The word list that word pass rates need, where the run names one."""
    return None if config.eval.word_list is None else read_word_list(config.eval.word_list)
