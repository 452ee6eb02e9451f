"""Fixed mixes: routers that never learn (paper, LRPO-Fixed; shares from its Sec. 4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.errors import ConfigError, UnknownNameError
from lrpo_bench.lrpo.routing import PAPER_FACTORS, Context, Observation

MIXES = ("monolingual", "input-dominant", "en-dominant", "uniform")
_PIVOT_SHARES = {"input-dominant": 0.25, "en-dominant": 0.75}
_UNIFORM_SOURCE_SHARE = 0.25


class FixedMix:
    """A constant distribution that depends only on the source language.

    `monolingual`: all in the source language; `input-dominant`: 75% source, 25% English; `en-dominant`: 25% source, 75%
    English; `uniform`: 25% source, the rest spread evenly over the other languages. When the source is English, the two
    English mixes are monolingual.
    """

    factors = PAPER_FACTORS
    draws_evenly = False

    def __init__(self, arms: Sequence[str], mix: str) -> None:
        """Refuses a mix that is not in `MIXES`, an English one without English, and `uniform` over one language."""
        if mix not in MIXES:
            raise UnknownNameError("mix", mix, MIXES)
        if mix in _PIVOT_SHARES and "en" not in arms:
            raise ConfigError(f"mix {mix!r} needs 'en' among the routed languages, got {list(arms)}")
        if mix == "uniform" and len(arms) < 2:
            raise ConfigError(f"mix 'uniform' needs at least two languages, got {list(arms)}")
        self.arms = tuple(arms)
        self.mix = mix

    def probs(self, context: Context, step: int) -> NDArray[np.float64]:
        """The mix for a source language; raises `ConfigError` when it is not among the arms.

        Example:
            >>> FixedMix(["de", "en", "sw"], "en-dominant").probs(Context("chat", "sw"), 0).tolist()
            [0.0, 0.75, 0.25]
        """
        if context.source_lang not in self.arms:
            raise ConfigError(f"source language {context.source_lang!r} is not among the arms {list(self.arms)}")
        probs = np.zeros(len(self.arms))
        source = self.arms.index(context.source_lang)
        if self.mix == "monolingual" or (self.mix in _PIVOT_SHARES and context.source_lang == "en"):
            probs[source] = 1.0
        elif self.mix == "uniform":
            probs[:] = (1.0 - _UNIFORM_SOURCE_SHARE) / (len(self.arms) - 1)
            probs[source] = _UNIFORM_SOURCE_SHARE
        else:
            pivot = _PIVOT_SHARES[self.mix]
            probs[self.arms.index("en")] = pivot
            probs[source] = 1.0 - pivot
        return probs

    def observe(self, observations: Sequence[Observation], step: int) -> None:
        """Nothing: a fixed mix does not learn."""

    def state_dict(self) -> dict[str, object]:
        """The mix and its languages, so that a checkpoint can be checked."""
        return {"arms": list(self.arms), "mix": self.mix}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Refuses a checkpoint of another mix."""
        if state != self.state_dict():
            raise ConfigError(f"checkpoint was made with {state}, this run has {self.state_dict()}")
