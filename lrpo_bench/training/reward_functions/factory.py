"""The reward that a configuration stands for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from lrpo_bench.calibration.files import load_table
from lrpo_bench.errors import UnknownNameError
from lrpo_bench.language_id.base import LanguageDetector
from lrpo_bench.lrpo.calibration import Calibrator, EncoderIdentity
from lrpo_bench.lrpo.rewards import GateConfig
from lrpo_bench.models.encoder import SentenceEncoder, load_encoder
from lrpo_bench.models.endpoint import ChatEndpoint, EndpointSettings
from lrpo_bench.results.files import storage_errors
from lrpo_bench.reward_config import REWARD_KINDS, JudgeConfig, RewardConfig, SimilarityConfig
from lrpo_bench.training.reward_functions.judge import JudgeReward
from lrpo_bench.training.reward_functions.judge_prompt import JUDGE_PROMPT_VERSION
from lrpo_bench.training.reward_functions.mixture import MixtureReward
from lrpo_bench.training.reward_functions.overlap import OverlapReward
from lrpo_bench.training.reward_functions.references import References
from lrpo_bench.training.reward_functions.similarity import SimilarityReward
from lrpo_bench.training.rewards import GatedReward, Samples, VerifiableReward


@dataclass(frozen=True, slots=True)
class RewardInputs:
    """What every reward of a training shares."""

    samples: Samples
    detector: LanguageDetector
    gate: GateConfig
    eos_token_ids: Sequence[int]
    arms: Sequence[str]
    """Languages that rollouts can be routed to."""
    device: str = "auto"
    """Where an encoder computes."""


def check_reward(settings: RewardConfig, samples: Samples, arms: Sequence[str]) -> None:
    """Refuses what can be refused before any model is loaded: no references, a missing pair, an unusable endpoint.

    Raises:
        LrpoBenchError: in one line.
    """
    if "overlap" in settings.kinds:
        References(samples)
    if "similarity" in settings.kinds:
        _calibrator(settings.similarity).require_pairs(arms, References(samples).languages)
    if "judge" in settings.kinds:
        ChatEndpoint(_endpoint_settings(settings.judge))


def check_encoder(settings: RewardConfig, device: str) -> None:
    """Refuses an encoder that does not load, or that a calibration table is not for, before anything is computed.

    Raises:
        LrpoBenchError: in one line.
    """
    if "similarity" in settings.kinds:
        info, table = _encoder(settings.similarity, device).info, _calibrator(settings.similarity).table
        if table is not None:
            table.require_encoder(EncoderIdentity(info.name, info.weights_hash, info.dimension))


def reward_hashes(settings: RewardConfig) -> dict[str, str]:
    """What rewards depend on besides data and weights, for the manifest; the table pins its encoder's weights."""
    hashes = {}
    table = settings.similarity.table
    if "similarity" in settings.kinds and settings.similarity.calibration != "none" and table is not None:
        with storage_errors(table, "read"):
            hashes["calibration_table"] = f"sha256:{hashlib.sha256(table.read_bytes()).hexdigest()}"
    if "judge" in settings.kinds:
        hashes["prompts/judge"] = f"version:{JUDGE_PROMPT_VERSION}"
    return hashes


def build_reward(settings: RewardConfig, inputs: RewardInputs) -> GatedReward:
    """The reward of a training.

    Raises:
        LrpoBenchError: in one line, for a table, encoder, endpoint or data that does not fit.
    """
    return _build(settings.kind, settings, inputs)


def _build(kind: str, settings: RewardConfig, inputs: RewardInputs) -> GatedReward:
    common = (inputs.samples, inputs.detector, inputs.gate, inputs.eos_token_ids)
    if kind == "verifiable":
        return VerifiableReward(*common)
    if kind == "overlap":
        return OverlapReward(*common, metric=settings.overlap.metric)
    if kind == "similarity":
        return _similarity(settings.similarity, inputs)
    if kind == "judge":
        return JudgeReward(*common, endpoint=ChatEndpoint(_endpoint_settings(settings.judge)))
    if kind == "mixture":
        weights = {_build(name, settings, inputs): weight for name, weight in settings.mixture.weights.items()}
        return MixtureReward(*common, weights=weights, unknown=settings.mixture.unknown)
    raise UnknownNameError("reward", kind, REWARD_KINDS)


def _similarity(settings: SimilarityConfig, inputs: RewardInputs) -> SimilarityReward:
    reward = SimilarityReward(
        inputs.samples,
        inputs.detector,
        inputs.gate,
        inputs.eos_token_ids,
        encoder=_encoder(settings, inputs.device),
        calibrator=_calibrator(settings),
    )
    reward.require_pairs(inputs.arms)
    return reward


def _encoder(settings: SimilarityConfig, device: str) -> SentenceEncoder:
    return load_encoder(
        settings.encoder, revision=settings.revision, device=device, trust_remote_code=settings.trust_remote_code
    )


def _calibrator(settings: SimilarityConfig) -> Calibrator:
    table = None if settings.table is None or settings.calibration == "none" else load_table(settings.table)
    return Calibrator(settings.calibration, table, settings.strength, settings.missing)


def _endpoint_settings(settings: JudgeConfig) -> EndpointSettings:
    return EndpointSettings(**settings.model_dump())
