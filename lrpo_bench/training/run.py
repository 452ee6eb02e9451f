"""Training from a configuration: data order, TRL's arguments, checkpoints, the final model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lrpo_bench.config import RunConfig, TrainConfig
from lrpo_bench.errors import ConfigError
from lrpo_bench.language_id.base import LanguageDetector
from lrpo_bench.lrpo.advantages import group_advantages, separate_gate_advantages
from lrpo_bench.lrpo.rewards import GateConfig
from lrpo_bench.lrpo.routing import Context
from lrpo_bench.models.load import context_length
from lrpo_bench.models.prompting import Instruct, build_prompt
from lrpo_bench.router_config import LabelsConfig, RouterConfig
from lrpo_bench.tasks.base import Sample, Task
from lrpo_bench.training.ablations import mix_prior
from lrpo_bench.training.labels import training_contexts
from lrpo_bench.training.methods import Method, get_method
from lrpo_bench.training.regret import regret_meter
from lrpo_bench.training.reward_functions.factory import RewardInputs, build_reward
from lrpo_bench.training.routers import build_router, quota_of, save_router
from lrpo_bench.training.scaling import keep_tensorboard, peft_config, save_policy, scale_arguments
from lrpo_bench.training.steps import OFFLINE, TENSORBOARD, WARM_START
from lrpo_bench.training.trainer import (
    AdvantageRule,
    LRPOTrainer,
    Routing,
    Sink,
    checkpoint_errors,
    last_whole_checkpoint,
)


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """Everything `train_policy` needs besides the model."""

    config: RunConfig
    samples: Mapping[str, tuple[Task, Sample]]
    """Training samples by id."""
    arms: tuple[str, ...]
    instruct: Instruct
    detector: LanguageDetector
    folder: Path
    """Run folder; checkpoints go to `checkpoints/`, the trained policy to `model/`."""
    parallel: Mapping[str, Mapping[str, tuple[Task, Sample]]] = field(default_factory=dict)
    """Translations of the training questions by source id and language, for methods that use them."""


def data_order(sample_ids: Sequence[str], n: int, seed: int) -> list[str]:
    """The first `n` of endlessly repeated passes over the samples, each pass in an order of its own.

    Example:
        >>> order = data_order(["a", "b", "c"], 6, seed=0)
        >>> sorted(order[:3]), sorted(order[3:])
        (['a', 'b', 'c'], ['a', 'b', 'c'])
    """
    ordered: list[str] = []
    generator = np.random.Generator(np.random.Philox(seed))
    names = sorted(sample_ids)
    while len(ordered) < n:
        ordered += [names[i] for i in generator.permutation(len(names))]
    return ordered[:n]


def train_policy(
    job: TrainingJob, model: Any, tokenizer: Any, sink: Sink | None, callbacks: Sequence[Any] = ()
) -> Path:
    """Trains `model` in place, from the last whole checkpoint if there is one; returns the folder of the result."""
    result = job.folder / "model"
    if result.exists():
        return result
    checkpoint = last_whole_checkpoint(job.folder / "checkpoints")
    trainer = _trainer(job, model, tokenizer, sink, callbacks, checkpoint)
    if "tensorboard" in job.config.train.scale.report_to:
        keep_tensorboard(trainer, job.folder / TENSORBOARD)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    temporary = job.folder / "model.tmp"
    if trainer.accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)  # what a crash left half written
    with checkpoint_errors(temporary):
        save_policy(trainer, temporary)
    if trainer.accelerator.is_main_process:
        tokenizer.save_pretrained(temporary)
        (temporary / "training_args.bin").unlink(missing_ok=True)  # a pickle, and the manifest says the same
        if isinstance(trainer, LRPOTrainer):
            save_router(temporary, trainer.routing.router)
        temporary.rename(result)
        shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)
        shutil.rmtree(job.folder / WARM_START / "model", ignore_errors=True)
        for rollouts in (job.folder / OFFLINE).glob("step-*.json"):
            rollouts.unlink()  # the run's logs hold them too
    trainer.accelerator.wait_for_everyone()
    return result


def _trainer(
    job: TrainingJob, model: Any, tokenizer: Any, sink: Sink | None, callbacks: Sequence[Any], checkpoint: Path | None
) -> Any:
    """The trainer of the job's method, after its warm start."""
    method = get_method(job.config.train.method)
    warm = job.config.train.warm_start.enabled and method.objective != "sft"
    if not warm and not method.is_offline:
        return build_trainer(job, model, tokenizer, sink, callbacks)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            f"method {method.name!r} with{'' if warm else 'out'} a warm start builds its data in one process; "
            "run it without accelerate launch or torchrun"
        )
    if warm:
        from lrpo_bench.training.offline.warm_start import warm_start

        warm_start(job, model, tokenizer)
    if not method.is_offline:
        return build_trainer(job, model, tokenizer, sink, callbacks)
    if job.config.train.scale.lora.rank:
        raise ConfigError(f"train.scale.lora works for online methods, not for {method.name!r}; set its rank to 0")
    from lrpo_bench.training.offline.build import build_offline_trainer

    logged = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    return build_offline_trainer(job, model, tokenizer, sink, callbacks, logged)


def build_trainer(
    job: TrainingJob, model: Any, tokenizer: Any, sink: Sink | None, callbacks: Sequence[Any] = ()
) -> LRPOTrainer:
    """The trainer for a job; raises `ConfigError` for settings that do not fit together."""
    from datasets import Dataset

    train = job.config.train
    if not job.samples:
        raise ConfigError(
            "no training questions are left after the filters; raise train.questions or train.train_share"
        )
    method = get_method(train.method)
    labels = train.labels if method.routing == "learned" else LabelsConfig()  # no other method looks at them
    contexts = training_contexts(job.samples, labels, job.folder, int(os.environ.get("WORLD_SIZE", "1")))
    routing = Routing(
        router=build_router(
            method, job.arms, train, _router_prior(method, job.config.train.router, job.arms, contexts)
        ),
        quota=quota_of(method, train),
        seed=job.config.seed,
        contexts=contexts,
        prompt=lambda name, lang: build_prompt(*job.samples[name], lang, job.instruct),
        meter=None if sink is None else regret_meter(job.config, job.samples, job.arms),
    )
    order = data_order(list(job.samples), train.steps * train.questions_per_step, job.config.seed)
    from transformers import PrinterCallback

    from lrpo_bench.models.hf import eos_token_ids

    gate = GateConfig(train.gate, train.gate_abstain, train.gate_unit)
    inputs = RewardInputs(
        job.samples, job.detector, gate, eos_token_ids(model, tokenizer), job.arms, job.config.model.device
    )
    trainer = LRPOTrainer(
        model=model,
        args=trl_arguments(job.config, job.folder / "checkpoints"),
        train_dataset=Dataset.from_dict({"prompt": [""] * len(order), "sample_id": order}),
        processing_class=tokenizer,
        callbacks=list(callbacks),
        peft_config=peft_config(train.scale.lora),
        routing=routing,
        reward=build_reward(train.reward, inputs),
        advantages=advantage_rule(train),
        sink=sink,
        max_prompt_tokens=_prompt_room(train, context_length(model, tokenizer)),
        skip_zero_advantage=train.skip_zero_advantage,
        length_bucketed=train.length_bucketed,
        own_generation=train.generation == "loop",
        resample_tries=train.resample_degenerate,
    )
    trainer.remove_callback(PrinterCallback)  # would print every step's metrics over our progress bar
    return trainer


def _router_prior(
    method: Method, settings: RouterConfig, arms: tuple[str, ...], contexts: Mapping[str, Context]
) -> Mapping[str, Mapping[str, float]] | None:
    mix = method.mix or (settings.prior if settings.init == "prior" else None)
    if method.routing != "learned" or mix is None:
        return None
    return mix_prior(mix, arms, contexts.values(), settings.temperature_start)


def _prompt_room(train: TrainConfig, context: int) -> int:
    """Tokens a training prompt may have: TRL itself would write past the end of the model's context."""
    room = context - train.max_completion_tokens
    if room < 1:
        raise ConfigError(
            f"train.max_completion_tokens {train.max_completion_tokens} leaves no room for a prompt in the "
            f"model's context of {context} tokens; set it lower"
        )
    return min(room, train.max_prompt_tokens or room)


def advantage_rule(train: TrainConfig) -> AdvantageRule | None:
    """How advantages are computed where TRL's group advantages are not what the configuration asks for, else None."""
    size, mix = train.group_size, train.baseline_mix
    if train.gate == "separate":
        return lambda rewards, gates, languages: separate_gate_advantages(
            rewards,
            gates,
            size,
            gated_out=train.gated_out,
            penalty=train.gate_penalty,
            languages=languages,
            baseline_mix=mix,
        )
    if mix == 0.0:
        return None
    return lambda rewards, _, languages: group_advantages(rewards, size, languages=languages, baseline_mix=mix)


def trl_arguments(config: RunConfig, folder: Path) -> Any:
    """The `GRPOConfig` that a run configuration stands for."""
    from trl import GRPOConfig

    train = config.train
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    _refuse_several_gpus(config, world_size)
    rollouts = train.questions_per_step * train.group_size
    micro = train.micro_batch_size or rollouts // world_size
    if rollouts % (micro * world_size):
        raise ConfigError(
            f"questions_per_step x group_size ({rollouts}) must be a multiple of micro_batch_size x processes "
            f"({micro} x {world_size}); choose a micro_batch_size that divides it"
        )
    accumulation = rollouts // (micro * world_size)
    return GRPOConfig(
        output_dir=str(folder),
        max_steps=train.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=accumulation,
        num_generations=train.group_size,
        max_completion_length=train.max_completion_tokens,
        learning_rate=train.learning_rate,
        lr_scheduler_type="constant",
        beta=train.kl_beta,
        epsilon=train.clip_epsilon,
        loss_type=train.loss_type,
        temperature=train.sampling_temperature,
        top_p=train.top_p,
        top_k=0,
        shuffle_dataset=False,
        seed=config.seed,
        data_seed=config.seed,
        bf16=_autocasts(config),
        use_cpu=config.model.device == "cpu",
        save_strategy="steps",
        save_steps=train.save_every,
        save_total_limit=2,  # the newest may be torn by a crash; the one before it is whole
        logging_steps=1,
        disable_tqdm=True,
        log_completions=False,
        dataloader_pin_memory=False,
        run_name=folder.resolve().parent.name,  # what trackers call the run: its folder
        project="lrpo-bench",
        **scale_arguments(train.scale),
    )


def _refuse_several_gpus(config: RunConfig, world_size: int) -> None:
    import torch

    n_gpus = torch.cuda.device_count()
    if world_size == 1 and n_gpus > 1 and config.model.device != "cpu":  # TRL would stop with a traceback
        raise ConfigError(
            f"one process sees {n_gpus} GPUs, and a process trains on one; start it with "
            f'"accelerate launch --num_processes {n_gpus} -m lrpo_bench train ...", or set CUDA_VISIBLE_DEVICES=0'
        )


def _autocasts(config: RunConfig) -> bool:
    import torch

    if config.model.dtype != "auto":
        return config.model.dtype == "bfloat16"
    return torch.cuda.is_available() and config.model.device != "cpu"
