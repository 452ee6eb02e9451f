"""The `train.scale` section: what TRL offers for models that do not fit, or for many devices.

Example::

    train:
      scale:
        lora: {rank: 16}
        gradient_checkpointing: true
        report_to: [tensorboard]
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from lrpo_bench.config_base import Section
from lrpo_bench.errors import ConfigError

Tracker = Literal["wandb", "trackio", "tensorboard"]


class LoraSettings(Section):
    """Low-rank adapters (arXiv 2106.09685), merged into the weights at the end; needs the extra `peft`."""

    rank: int = Field(default=0, ge=0)
    """Rank of the adapters; 0 trains all weights."""
    alpha: int = Field(default=32, ge=1)
    """Adapters are scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    """Names of the modules that get adapters, or all linear ones but the head."""


class VllmSettings(Section):
    """Rollouts by vLLM; needs the extra `vllm` and a GPU."""

    mode: Literal["off", "colocate", "server"] = "off"
    """`colocate`: in the training processes; `server`: a running `trl vllm-serve`."""
    server_url: str | None = None
    """Base address of the server, such as `http://127.0.0.1:8000`."""
    gpu_memory_share: float = Field(default=0.3, gt=0, le=1)
    """Share of a GPU that colocated vLLM may take."""
    tensor_parallel: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _address(self) -> VllmSettings:
        if (self.mode == "server") != (self.server_url is not None):
            raise ConfigError(
                f"train.scale.vllm.server_url goes with mode server and with no other; got mode {self.mode!r} and "
                f"{self.server_url!r}"
            )
        return self


class ScaleConfig(Section):
    """Settings that change the cost of a training and, but for LoRA, not what it computes."""

    lora: LoraSettings = LoraSettings()
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them."""
    vllm: VllmSettings = VllmSettings()
    report_to: tuple[Tracker, ...] = ()
    """Trackers that also get what `train.jsonl` holds; each needs its own package."""
