"""What a configuration amounts to before anything is computed: tasks, questions, languages, counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lrpo_bench.config import RunConfig
from lrpo_bench.errors import ConfigError, UnknownNameError
from lrpo_bench.evaluation.evaluator import Chunk, EvaluationSettings, count_responses, plan_chunks
from lrpo_bench.models.prompting import Instruct
from lrpo_bench.tasks.base import Sample, Task
from lrpo_bench.tasks.judged import JudgedTask
from lrpo_bench.tasks.selection import Selection, select_questions
from lrpo_bench.training.methods import Method, get_method
from lrpo_bench.training.offline.checks import check_offline
from lrpo_bench.training.reward_functions.factory import check_reward, reward_hashes

_NOT_DECISIVE = ("out", "tasks_dirs")  # where results lie and tasks are found does not change a number
_NOT_DECISIVE_OF_EVAL = ("cache", "cache_gb")  # nor does which responses are reused


@dataclass(frozen=True)
class Plan:
    """A configuration with its questions."""

    config: RunConfig
    selections: tuple[Selection, ...]
    method: Method | None
    """None when nothing is trained."""
    trained: tuple[str, ...]
    """Languages whose questions are trained on."""
    arms: tuple[str, ...]
    """Languages that rollouts can be routed to."""
    parallel: Mapping[str, Mapping[str, tuple[Task, Sample]]] = field(default_factory=dict)
    """Translations of the training questions by source id and language, for methods that use them."""

    @property
    def instruct(self) -> str:
        """How the policy is told its language, in training and in both evaluations: `auto`, or a way by name."""
        return "system" if self.method is not None and self.method.zero else self.config.instruct

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks, in the order of the configuration."""
        return tuple(selection.task for selection in self.selections)

    @cached_property
    def training_samples(self) -> dict[str, tuple[Task, Sample]]:
        """Training samples by id."""
        return {sample.id: (selection.task, sample) for selection in self.selections for sample in selection.training}

    def settings(self, instruct: Instruct) -> EvaluationSettings:
        """The evaluator's settings."""
        section = self.config.eval
        return EvaluationSettings(
            instruct=instruct,
            draws=section.draws,
            draw_limit=section.draw_limit,
            sampling_temperature=section.sampling_temperature,
            top_p=section.top_p,
            max_completion_tokens=section.max_completion_tokens,
            seed=self.config.seed,
            chunk_size=section.chunk_size,
            headroom=section.headroom,
        )

    def chunks(self, instruct: Instruct) -> list[Chunk]:
        """The evaluator's work."""
        return plan_chunks([(s.task, s.evaluation) for s in self.selections], self.settings(instruct))

    @property
    def n_responses(self) -> int:
        """Responses of one evaluation."""
        return count_responses(self.chunks("prompt"), self.settings("prompt"))

    @property
    def n_rollouts(self) -> int:
        """Rollouts of the whole training."""
        train = self.config.train
        makes = self.method is not None and self.method.makes_rollouts
        return train.steps * train.questions_per_step * train.group_size if makes else 0

    def decisive_config(self) -> dict[str, Any]:
        """The configuration without what can not change a number; a run folder is continued only under an equal one."""
        values: dict[str, Any] = json.loads(self.config.model_dump_json())
        for key in _NOT_DECISIVE:
            values.pop(key)
        for key in _NOT_DECISIVE_OF_EVAL:
            values["eval"].pop(key)
        if self.method is None:
            values.pop("train")
        return values

    def hashes(self) -> Mapping[str, str]:
        """Hashes of data, prompts and calibration tables, for the manifest."""
        hashes = {}
        for selection in self.selections:
            name = selection.task.info.name
            hashes[f"data/{name}"] = selection.data_hash
            hashes[f"prompts/{name}"] = selection.prompt_hash
            if selection.training:
                hashes[f"training_data/{name}"] = selection.training_hash
        if self.trained:
            hashes |= reward_hashes(self.config.train.reward)
        return hashes


def make_plan(config: RunConfig, *, train: bool) -> Plan:
    """The plan of a configuration; everything that can be refused without a model is refused here."""
    method = get_method(config.train.method) if train else None
    if method is not None and method.zero and config.instruct not in ("auto", "system"):
        raise ConfigError(
            f"method {method.name!r} names the language by a system prompt, got instruct {config.instruct!r}; leave it "
            f"out, or use method {method.name.removesuffix('-zero')!r}"
        )
    trains = method is not None and method.routing != "none"
    selections = tuple(select_questions(config, train=trains))
    if not trains:
        return Plan(config, selections, method if train else None, (), ())
    trained = tuple(sorted({sample.lang for selection in selections for sample in selection.training}))
    if not trained:
        raise ConfigError(
            "no training questions are left after the filters; check train.languages and train.train_share"
        )
    if config.model.name == "mock":
        raise ConfigError("model 'mock' has no weights to train; use 'embedded:default', a folder or a hub id")
    arms = config.train.arms or trained
    _check_arms(selections, arms, trained, config)
    if method is not None and method.needs_dominant and config.train.offline.dominant not in arms:
        arms = (*arms, config.train.offline.dominant)  # half of the rollouts are in it
    plan = Plan(config, selections, method, trained, arms, _parallel(config, method, arms))
    check_reward(config.train.reward, plan.training_samples, arms)
    if method is not None:
        check_offline(config.train, method, [s.task.info.name for s in selections if s.training], arms)
    return plan


def _parallel(
    config: RunConfig, method: Method | None, arms: tuple[str, ...]
) -> dict[str, dict[str, tuple[Task, Sample]]]:
    uses_them = method is not None and (method.is_offline and method.objective != "dpo")
    if not uses_them and not config.train.warm_start.enabled:
        return {}
    train = config.train.model_copy(update={"languages": tuple(sorted({*arms, *(config.train.languages or ())}))})
    found: dict[str, dict[str, tuple[Task, Sample]]] = {}
    for selection in select_questions(config.model_copy(update={"train": train}), train=True):
        for sample in selection.training:
            found.setdefault(sample.source_id, {})[sample.lang] = (selection.task, sample)
    return found


def _check_arms(
    selections: tuple[Selection, ...], arms: tuple[str, ...], trained: tuple[str, ...], config: RunConfig
) -> None:
    for lang in trained:
        if lang not in arms:
            raise ConfigError(f"training language {lang!r} must be among train.arms {list(arms)}")
    for selection in selections:
        unverified = isinstance(selection.task, JudgedTask) or not selection.task.has_answers
        if unverified and selection.training and "verifiable" in config.train.reward.kinds:
            raise ConfigError(
                f"task {selection.task.info.name!r} has no answers that can be verified; set train.reward.kind to "
                "judge, similarity or overlap, or leave it out of a training run"
            )
        if selection.task.kind == "choice" and selection.training:
            variants = [
                v for v in selection.task.info.variants if selection.task.info.variant_kinds.get(v) == "generate"
            ]
            raise ConfigError(
                f"task {selection.task.info.name!r} is scored by likelihood and gives no rollouts to train on; "
                + (f"use its variant {variants[0]!r}" if variants else "leave it out of a training run")
            )
        if config.instruct == "prompt":
            for lang in arms:
                if lang not in selection.task.prompt_languages():
                    known = selection.task.prompt_languages()
                    raise UnknownNameError(f"prompt language of task {selection.task.info.name!r}", lang, known)
