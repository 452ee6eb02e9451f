"""From `train.scale` to the arguments of TRL and PEFT, and the policy that comes out of them.

Processes are the launcher's affair: `accelerate launch --num_processes 2 -m lrpo_bench train ...` runs DDP, and a file
of `accelerate config` runs FSDP or DeepSpeed, of which nothing here knows. Tested: DDP with gloo on a CPU, LoRA,
gradient checkpointing, bfloat16, trackers. Never run, for want of a GPU: vLLM, DeepSpeed and FSDP (accelerate 1.15
shards on accelerators only: on CPUs it takes a file for FSDP and runs DDP, without a word).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from lrpo_bench.errors import ConfigError
from lrpo_bench.scale_config import LoraSettings, ScaleConfig


def scale_arguments(scale: ScaleConfig) -> dict[str, Any]:
    """Keyword arguments of `GRPOConfig`.

    Raises:
        ConfigError: where a package is not installed.

    Example:
        >>> scale_arguments(ScaleConfig())
        {'activation_checkpointing': False, 'report_to': 'none'}
    """
    for tracker in scale.report_to:
        _require(tracker, f"train.scale.report_to {tracker}", f"pip install {tracker}")
    arguments: dict[str, Any] = {
        "activation_checkpointing": scale.gradient_checkpointing,
        "report_to": list(scale.report_to) or "none",
    }
    if scale.vllm.mode == "off":
        return arguments
    _require("vllm", f"train.scale.vllm.mode {scale.vllm.mode}", 'pip install "lrpo-bench[vllm]"')
    arguments |= {"use_vllm": True, "vllm_mode": scale.vllm.mode}
    if scale.vllm.mode == "server":
        return arguments | {"vllm_server_base_url": scale.vllm.server_url}
    return arguments | {
        "vllm_gpu_memory_utilization": scale.vllm.gpu_memory_share,
        "vllm_tensor_parallel_size": scale.vllm.tensor_parallel,
    }


def peft_config(lora: LoraSettings) -> Any | None:
    """PEFT's configuration, None where all weights are trained; raises `ConfigError` without PEFT."""
    if not lora.rank:
        return None
    _require("peft", f"train.scale.lora.rank {lora.rank}", 'pip install "lrpo-bench[peft]"')
    from peft import LoraConfig

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )


def whole_model(policy: Any) -> Any:
    """The causal language model itself, its adapters in place, where PEFT has wrapped it."""
    return policy.get_base_model() if hasattr(policy, "get_base_model") else policy


def keep_tensorboard(trainer: Any, folder: Path) -> None:
    """Sends TensorBoard's files to `folder`: transformers would put them among the checkpoints, which are deleted.

    TENSORBOARD_LOGGING_DIR goes before it, as transformers has it.
    """
    from transformers.integrations import TensorBoardCallback

    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(folder)


def save_policy(trainer: Any, folder: Path) -> None:
    """Writes the trained policy as a whole model, adapters merged into its weights."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if not hasattr(model, "merge_and_unload"):
        trainer.save_model(str(folder))
    elif trainer.accelerator.is_main_process:
        model.merge_and_unload().save_pretrained(folder)


def _require(package: str, setting: str, remedy: str) -> None:
    if not _is_installed(package):
        raise ConfigError(f"{setting} needs the package {package}, which is not installed; {remedy}")


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
