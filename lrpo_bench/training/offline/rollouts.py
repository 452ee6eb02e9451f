"""The rollouts that pairs are built from: as many questions, rollouts and tokens as an online method has.

Each step's rollouts are drawn by the untrained policy from (seed, step) alone and stored as soon as they are made, with
the telemetry that an online step has; a crash loses one step's. The questions come in the same order as online.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lrpo_bench.lrpo.mixes import FixedMix
from lrpo_bench.lrpo.rewards import GateConfig
from lrpo_bench.lrpo.routing import Context, Route
from lrpo_bench.models.base import Completion, Sampling
from lrpo_bench.models.prompting import build_prompt
from lrpo_bench.results.files import plain, read_json, write_json
from lrpo_bench.tasks.base import Sample, Task
from lrpo_bench.training.methods import Method
from lrpo_bench.training.offline.pairs import Group, Rollout
from lrpo_bench.training.reward_functions.factory import RewardInputs, build_reward
from lrpo_bench.training.steps import dominant_rollouts
from lrpo_bench.training.telemetry import RolloutRow, StepTelemetry, step_telemetry

if TYPE_CHECKING:
    from lrpo_bench.models.hf import HFModel
    from lrpo_bench.training.run import TrainingJob
    from lrpo_bench.training.trainer import Sink

Ask = tuple[Task, Sample, int]
"""A question, and how many rollouts it gets."""


class RolloutCollector:
    """Draws and judges the rollouts of one step after another."""

    def __init__(self, job: TrainingJob, method: Method, hf: HFModel, order: Sequence[str]) -> None:
        """Takes the questions of all steps in order; raises `ConfigError` for a group that can not be shared out."""
        train = job.config.train
        self._job, self._hf, self._order = job, hf, order
        self._dominant = train.offline.dominant if method.needs_dominant else None
        self._n_dominant = dominant_rollouts(train, method)
        self._samples = {**job.samples, **parallel_by_id(job)}
        inputs = RewardInputs(
            self._samples,
            job.detector,
            GateConfig(train.gate, train.gate_abstain, train.gate_unit),
            hf._eos_ids,  # the very ones that end a completion
            job.arms,
            job.config.model.device,
        )
        self._eos = hf._eos_ids[0]
        self._reward = build_reward(train.reward, inputs)
        self._router = FixedMix(job.arms, "monolingual")

    def step(self, number: int) -> StepTelemetry:
        """The rollouts of a step, counted from 0: a pure function of the policy, the seed and the step."""
        size = self._job.config.train.questions_per_step
        asks = [ask for name in self._order[number * size : (number + 1) * size] for ask in self._asks(name)]
        completions = self._generate(asks, number)
        rows = [(task, sample, one) for (task, sample, _), many in zip(asks, completions, strict=True) for one in many]
        self._reward(
            completions=[one.text for _, _, one in rows],
            sample_id=[sample.id for _, sample, _ in rows],
            rollout_lang=[sample.lang for _, sample, _ in rows],
            completion_ids=[[self._eos] if one.finish_reason == "stop" else [] for _, _, one in rows],
        )
        judged = [
            RolloutRow(
                sample_id=sample.id,
                context=Context(sample.topic, sample.lang, sample.regions),
                route=Route(sample.lang, 1.0, is_quota=True),
                completion=one.text,
                judgement=self._reward.judgements[i],
                parts=self._reward.parts[i],
                truncated=one.finish_reason == "length",
                advantage=math.nan,
            )
            for i, (_, sample, one) in enumerate(rows)
        ]
        n_truncated = sum(one.prompt_truncated for _, _, one in rows)
        return step_telemetry(judged, self._router, number, self._job.config.train.group_size, n_truncated)

    def groups(self, telemetry: StepTelemetry) -> list[Group]:
        """A step's rollouts as groups."""
        size = self._job.config.train.group_size
        rollouts = [
            Rollout(
                row["sample_id"],
                row["rollout_lang"],
                row["completion"],
                finished=not row["truncated"],
                reward=math.nan if row["reward"] is None else row["reward"],
                correct=row["outcome"] == "correct",
            )
            for row in telemetry.rollouts
        ]
        own = size - self._n_dominant
        starts = range(0, len(rollouts), size)
        return [Group(tuple(rollouts[i : i + own]), tuple(rollouts[i + own : i + size])) for i in starts]

    def _asks(self, name: str) -> list[Ask]:
        task, sample = self._samples[name]
        if self._dominant is None:
            return [(task, sample, self._job.config.train.group_size)]
        own = self._job.config.train.group_size - self._n_dominant
        return [(task, sample, own), (*self._job.parallel[sample.source_id][self._dominant], self._n_dominant)]

    def _generate(self, asks: Sequence[Ask], step: int) -> list[list[Completion]]:
        train = self._job.config.train
        results: list[list[Completion]] = [[] for _ in asks]
        for n in sorted({n for _, _, n in asks}):
            chosen = [i for i, ask in enumerate(asks) if ask[2] == n]
            prompts = [build_prompt(*asks[i][:2], asks[i][1].lang, self._job.instruct) for i in chosen]
            seed = int(np.random.SeedSequence([self._job.config.seed, step, n]).generate_state(1)[0])
            sampling = Sampling(train.max_completion_tokens, train.sampling_temperature, train.top_p, n, seed)
            for i, completions in zip(chosen, self._hf.generate(prompts, sampling), strict=True):
                results[i] = completions
        return results


def collect_groups(
    collector: RolloutCollector, folder: Path, steps: int, sink: Sink | None, logged: int
) -> list[Group]:
    """The groups of all steps; those in `folder` are not drawn again.

    Args:
        collector: draws what is missing.
        folder: one file a step.
        steps: how many.
        sink: takes the telemetry of the steps that are not in the run's logs yet.
        logged: steps that are.
    """
    groups = []
    for step in range(steps):
        path = folder / f"step-{step + 1:06d}.json"
        if not path.exists():
            telemetry = collector.step(step)
            write_json(path, {"router": plain(telemetry.router), "rollouts": plain(list(telemetry.rollouts))})
        stored = read_json(path)  # also what was just drawn: a resumed run must see the very same numbers
        telemetry = StepTelemetry(stored["router"], stored["rollouts"])
        if sink is not None and step >= logged:
            sink(telemetry)
        groups += collector.groups(telemetry)
    return groups


def parallel_by_id(job: TrainingJob) -> Mapping[str, tuple[Task, Sample]]:
    """All translations of the training questions that the method uses, by sample id."""
    return {sample.id: (task, sample) for by_lang in job.parallel.values() for task, sample in by_lang.values()}
