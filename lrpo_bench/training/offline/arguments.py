"""What the trainers of offline methods have in common with the online ones: precision, seeds, checkpoints, logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrpo_bench.config import RunConfig

_SHARED = (
    "activation_checkpointing", "bf16", "data_seed", "dataloader_pin_memory", "disable_tqdm", "logging_steps",
    "lr_scheduler_type", "project", "report_to", "run_name", "save_steps", "save_strategy",
    "save_total_limit", "seed", "use_cpu",
)  # fmt: skip


def common_arguments(config: RunConfig, folder: Path, rows_per_step: int) -> dict[str, Any]:
    """Training arguments of a step of so many rows, cut into equal micro-batches; rows come in the data's order.

    `train.micro_batch_size` counts sequences, of which a pair has two: the largest number of rows that divides a step
    and stays within half of it is taken.
    """
    from lrpo_bench.training.run import trl_arguments

    online = trl_arguments(config, folder)
    wanted = rows_per_step if config.train.micro_batch_size is None else max(1, config.train.micro_batch_size // 2)
    micro = max(n for n in range(1, rows_per_step + 1) if n <= wanted and rows_per_step % n == 0)
    return {name: getattr(online, name) for name in _SHARED} | {
        "output_dir": str(folder),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": rows_per_step // micro,
        "train_sampling_strategy": "sequential",
    }
