"""What can not work is refused before a folder is made, or an earlier run overwritten."""

from __future__ import annotations

from pathlib import Path

from lrpo_bench.errors import ConfigError, StorageError
from lrpo_bench.language_id.base import LanguageDetector
from lrpo_bench.language_id.registry import get_detector
from lrpo_bench.models.encoder import load_encoder
from lrpo_bench.models.load import ModelSpec, load_tokenizer, require_vllm
from lrpo_bench.models.prompting import build_prompt, render, resolve_instruct
from lrpo_bench.plan import Plan
from lrpo_bench.results.files import first_difference
from lrpo_bench.results.store import read_manifest
from lrpo_bench.stages.session import word_list_of
from lrpo_bench.startup import import_libraries
from lrpo_bench.training.reward_functions.factory import check_encoder


def refuse_unusable_model(plan: Plan) -> None:
    """Finds a misspelt model, detector or instruct before a folder is made, or an earlier run is overwritten."""
    config, task, sample = plan.config, plan.selections[0].task, plan.selections[0].evaluation[0]
    get_detector(config.eval.detector, ())
    word_list_of(config)
    if config.eval.diversity_encoder is not None:
        load_encoder(config.eval.diversity_encoder, device=config.model.device)
    if plan.trained and plan.n_rollouts:
        check_encoder(config.train.reward, config.model.device)
    if config.model.backend == "vllm":
        require_vllm()
    if config.model.name != "mock":
        import_libraries()
        tokenizer = load_tokenizer(ModelSpec(**config.model.model_dump()))
        render(build_prompt(task, sample, sample.lang, resolve_instruct(plan.instruct, tokenizer)), tokenizer)


def refuse_changed_inputs(folder: Path, plan: Plan) -> None:
    """Refuses other data or prompts than a run began with, before the run is opened and could be marked failed."""
    recorded = read_manifest(folder)
    for key, value in plan.hashes().items():
        if recorded.hashes.get(key, value) != value and not first_difference(recorded.config, plan.decisive_config()):
            raise StorageError(
                f"{folder}: {key} is not what it was when the run began; "
                "use --overwrite to begin again or another --out"
            )


def refuse_arms_without_detector(plan: Plan, detector: LanguageDetector) -> None:
    """Finds arms that the detector can not tell."""
    # Under the gate every rollout in such a language would earn 0, whatever it says.
    train = plan.config.train
    blind = [lang for lang in plan.arms if lang not in detector.languages]
    if blind and train.gate != "none" and train.gate_abstain == "fail":
        raise ConfigError(
            f"detector {plan.config.eval.detector!r} can not tell {', '.join(blind)}, so every rollout in it would "
            "earn 0; take it out of train.arms, use another eval.detector, or set train.gate_abstain to pass"
        )
