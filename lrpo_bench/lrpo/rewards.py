"""The reward of a rollout: quality times language gate (paper, Sec. 3.2, `r = r_qual * r_lang`).

Quality is a score in [0, 1]; where an answer can be verified it is exact and needs no calibration. What can not be
judged is NaN and takes part in nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lrpo_bench.language_id.base import Detection

Gate = Literal["hard", "soft", "separate", "none"]
Abstain = Literal["fail", "pass", "unscored"]


@dataclass(frozen=True, slots=True)
class GateConfig:
    """How the language of a rollout enters its reward."""

    mode: Gate = "hard"
    """`hard`: 0 or 1 (the paper); `soft`: the detector's confidence when the language is right; `none`: always 1.

    `separate`: 0 or 1 as well, but advantages are normalised among the rollouts that pass alone, so that a wrong
    language does not drown the differences between right ones (`lrpo.advantages.separate_gate_advantages`).
    """
    abstain: Abstain = "fail"
    """What a rollout whose language can not be told counts as."""
    unit: Literal["document", "line"] = "document"
    """What is gated: the answer as a whole (the paper), or each of its lines, for their mean (`training.line_gate`)."""


@dataclass(frozen=True, slots=True)
class RewardParts:
    """One rollout's reward and what it is made of; all in [0, 1], NaN where unknown."""

    quality: float
    gate: float
    details: Mapping[str, float] = field(default_factory=dict)
    """What the quality was made of, by name, for the logs: a raw cosine, the parts of a mixture."""

    @property
    def reward(self) -> float:
        """Quality times gate; NaN where either is unknown, a closed gate included."""
        return self.quality * self.gate


def language_gate(detection: Detection, language_ok: bool | None, config: GateConfig) -> float:
    """The gate's value in [0, 1], NaN for an abstention that is to be left unscored.

    Example:
        >>> language_gate(Detection("sw", 0.8), True, GateConfig()), language_gate(Detection(None), None, GateConfig())
        (1.0, 0.0)
        >>> language_gate(Detection("sw", 0.8), True, GateConfig(mode="soft"))
        0.8
    """
    if config.mode == "none":
        return 1.0
    if language_ok is None:
        return {"fail": 0.0, "pass": 1.0, "unscored": math.nan}[config.abstain]
    if not language_ok:
        return 0.0
    return detection.confidence if config.mode == "soft" else 1.0
