"""Rewards in TRL's signature: quality times language gate (paper, Sec. 3.2), so that they work in a plain
`trl.GRPOTrainer` too. Here are what all of them share and the verifiable one; `reward_functions` has the others.

In a plain trainer the data set needs the columns `sample_id` and `rollout_lang`, since TRL passes every column on::

    trl.GRPOTrainer(..., reward_funcs=[VerifiableReward(samples, detector, GateConfig(), eos_token_ids)])
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.evaluation.judging import Judgement, judge
from lrpo_bench.language_id.base import LanguageDetector
from lrpo_bench.lrpo.rewards import GateConfig, RewardParts
from lrpo_bench.tasks.base import Sample, Task
from lrpo_bench.training.line_gate import gate_values

Samples = Mapping[str, tuple[Task, Sample]]
"""All training samples by id, each with its task."""

QUALITY = "quality"
"""The name under which `assess` returns the quality."""


@dataclass(frozen=True, slots=True)
class RolloutBatch:
    """N rollouts as a reward sees them."""

    samples: Sequence[Sample]
    texts: Sequence[str]
    rollout_langs: Sequence[str]
    """The language each was asked for."""
    judgements: Sequence[Judgement]
    """The task's own score, and the language found."""


class GatedReward(ABC):
    """A quality in [0, 1], times the language gate.

    It keeps what it found of the last batch for telemetry: `parts`, `judgements` (the task's own score, also where the
    quality is something else) and `truncated`.
    """

    __name__ = "reward"

    def __init__(
        self,
        samples: Samples,
        detector: LanguageDetector,
        gate: GateConfig | None = None,
        eos_token_ids: Sequence[int] = (),
    ) -> None:
        """Takes all training samples by id; a completion that does not end with an EOS token counts as truncated."""
        self._samples, self._detector, self._gate = samples, detector, gate or GateConfig()
        self._eos = frozenset(eos_token_ids)
        self.parts: list[RewardParts] = []
        self.judgements: list[Judgement] = []
        self.truncated: list[bool] = []

    @abstractmethod
    def assess(self, batch: RolloutBatch) -> dict[str, NDArray[np.float64]]:
        """Arrays of shape (N,) by name: `quality` in [0, 1], NaN where unknown, and what it was made of."""

    def metrics(self) -> dict[str, float]:
        """Running totals for the training log, such as what a judge has cost."""
        return {}

    def __call__(
        self,
        completions: Sequence[Any],
        sample_id: Sequence[str],
        rollout_lang: Sequence[str],
        completion_ids: Sequence[Sequence[int]] = (),
        log_metric: Callable[[str, float], None] | None = None,
        **_: Any,
    ) -> list[float | None]:
        """One reward in [0, 1] a completion, None where it can not be judged."""
        texts = [completion_text(completion) for completion in completions]
        pairs = [self._samples[name] for name in sample_id]
        samples = [sample for _, sample in pairs]
        self.truncated = [not ids or ids[-1] not in self._eos for ids in completion_ids] or [False] * len(texts)
        self.judgements = judge(
            [task for task, _ in pairs], samples, texts, rollout_lang, self.truncated, self._detector
        )
        assessed = self.assess(RolloutBatch(samples, texts, rollout_lang, self.judgements))
        qualities = assessed.pop(QUALITY)
        gates = gate_values(texts, rollout_lang, self.judgements, self._detector, self._gate)
        self.parts = [
            RewardParts(
                float(qualities[i]),
                gates[i],
                {name: float(values[i]) for name, values in assessed.items()},
            )
            for i in range(len(texts))
        ]
        if log_metric is not None:
            for name, value in self.metrics().items():
                log_metric(name, value)
        return [None if math.isnan(part.reward) else part.reward for part in self.parts]


class VerifiableReward(GatedReward):
    """Quality by the task's own scorer, which evaluation uses too; exact, so it needs no calibration."""

    __name__ = "verifiable"

    def assess(self, batch: RolloutBatch) -> dict[str, NDArray[np.float64]]:
        """The task's scores."""
        scores = [judgement.score.value for judgement in batch.judgements]
        return {QUALITY: np.array([math.nan if score is None else score for score in scores])}


def completion_text(completion: Any) -> str:
    """The text of a completion as TRL hands it over: a string, or a list of messages."""
    return completion if isinstance(completion, str) else completion[0]["content"]
