"""What routing gives away against the best language, where the world's truth is known (see `lrpo_bench.world.truth`).

Per question, regret is the expected accuracy of the best arm minus that of a distribution over the arms. The truth is
about the world policy before training, at temperature 0, and its accuracy ignores the language gate: it says which
language knows the answer, not which one still pays after hundreds of updates.

The truth is known for the tasks `arithmetic`, `regional` and `inference` on their own questions, asked of an embedded
policy or of the policy in a folder that `lrpo-bench world build` wrote. Elsewhere there is no regret: None, never 0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.config import RunConfig
from lrpo_bench.errors import StorageError
from lrpo_bench.models.load import EMBEDDED_PREFIX, resolve_path
from lrpo_bench.tasks.base import Sample, Task
from lrpo_bench.world.questions import WORLD_LANGUAGES, Kind
from lrpo_bench.world.truth import AskedAbout, Truth

WORLD_TASKS: dict[str, Kind] = {"arithmetic": "reasoning", "regional": "regional", "inference": "inference"}
"""Tasks of the world and the kind of question that each asks."""


class RegretMeter:
    """Regret of routing distributions over the questions of a step."""

    def __init__(self, truth: Truth, asked: Mapping[str, AskedAbout], arms: Sequence[str]) -> None:
        """Takes what is known of each sample, by id; samples that are not in `asked` are unknown."""
        self._truth, self._asked, self._arms = truth, asked, tuple(arms)
        self._index = {lang: i for i, lang in enumerate(self._arms)}
        self._accuracy: dict[AskedAbout, NDArray[np.float64]] = {}

    def step(
        self, probs: Mapping[str, NDArray[np.float64]], rollouts: Sequence[tuple[str, str]]
    ) -> dict[str, Any] | None:
        """Regrets of one step, each the mean over its known questions; None where none is known.

        Args:
            probs: the router's distribution over the arms, by sample id.
            rollouts: (sample id, language) of every rollout, quota included.
        """
        known = {name: self._accuracy_of(self._asked[name]) for name in probs if name in self._asked}
        if not known:
            return None
        accuracy = np.array(list(known.values()))  # (questions, arms)
        best = accuracy.max(axis=1)
        routed = np.array([probs[name] @ known[name] for name in known])
        sources = np.array([self._index[self._asked[name].source_lang] for name in known])
        sampled = [known[name].max() - known[name][self._index[lang]] for name, lang in rollouts if name in known]
        fixed = (best[:, None] - accuracy).mean(axis=0)
        return {
            "router": float((best - routed).mean()),
            "rollouts": float(np.mean(sampled)),
            "uniform": float((best - accuracy.mean(axis=1)).mean()),
            "source": float((best - accuracy[np.arange(len(best)), sources]).mean()),
            "fixed": dict(zip(self._arms, fixed.tolist(), strict=True)),
            "questions": len(known),
            "unknown": len(probs) - len(known),
        }

    def _accuracy_of(self, asked: AskedAbout) -> NDArray[np.float64]:
        if asked not in self._accuracy:
            accuracy = self._truth.accuracy(asked)
            self._accuracy[asked] = np.array([accuracy[lang] for lang in self._arms])
        return self._accuracy[asked]


def regret_meter(
    config: RunConfig, samples: Mapping[str, tuple[Task, Sample]], arms: Sequence[str]
) -> RegretMeter | None:
    """The meter of a training; None where the model's truth is unknown, or an arm is not spoken in the world."""
    if any(lang not in WORLD_LANGUAGES for lang in arms):
        return None
    own = {entry.name for entry in config.tasks if entry.data is None and entry.name in WORLD_TASKS}
    asked = {
        name: AskedAbout(WORLD_TASKS[task.info.name], sample.lang, sample.regions)
        for name, (task, sample) in samples.items()
        if task.info.name in own and sample.lang in arms
    }
    truth = truth_of(config.model.name) if asked else None
    return None if truth is None else RegretMeter(truth, asked, arms)


def truth_of(model: str) -> Truth | None:
    """The truth about a policy by its model name; None for one that no world build has measured.

    A folder counts when it is `policy` in a built world and its weights are those that the build wrote.
    """
    if model.startswith(EMBEDDED_PREFIX):
        return Truth.load(Path(resolve_path(model)).parent)
    policy = Path(model)
    world = policy.parent
    if policy.name != "policy" or not all((world / name).is_file() for name in ("eval.json", "hashes.json")):
        return None
    return Truth.load(world) if _is_as_built(world) else None


def _is_as_built(world: Path) -> bool:
    weights = world / "policy" / "model.safetensors"
    try:
        recorded = json.loads((world / "hashes.json").read_text(encoding="utf-8")).get("policy/model.safetensors")
        return bool(recorded == hashlib.sha256(weights.read_bytes()).hexdigest())
    except (OSError, ValueError, AttributeError) as error:
        raise StorageError(
            f"{world}: its hashes or weights can not be read ({error}); build the world again, or move the policy "
            "folder elsewhere to train it without regret"
        ) from error
