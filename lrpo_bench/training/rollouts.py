"""Rollouts by the loop of `models.generation` instead of transformers' `generate`, with TRL's random numbers.

Equal prompts of a step, such as the quota rollouts of a group, are read once, and of prompts that differ in their tag
only the tag is read for each (`models.stems`); rollouts that have ended leave the batch.
Noise is drawn for all rows of the step at every token, as `torch.multinomial` draws it inside `generate`, and a row
keeps its own. So the tokens are those of `generate`, except where two candidates are so close that rounding decides,
and on a CPU the random state afterwards is the same (on an accelerator the loop looks for ends only now and then).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from lrpo_bench.errors import ConfigError
from lrpo_bench.models.decoding import until_eos
from lrpo_bench.models.generation import Ends, Loop, nucleus, refusal
from lrpo_bench.models.stems import batch_by_stems


@dataclass(slots=True)
class Rollouts:
    """How a trainer's completions are sampled."""

    limit: int
    temperature: float
    top_p: float
    eos_ids: tuple[int, ...]
    pad_id: int
    _is_checked: bool = field(default=False, init=False)

    def sample(self, model: Any, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """Tokens of one completion a prompt, each up to and with its first end token.

        Raises:
            ConfigError: when the loop can not be used with this model.
        """
        was_training = model.training
        model.eval()  # under gradient checkpointing a model in training keeps no cache
        try:
            if not self._is_checked:
                self._check(model, prompts)
            distinct = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
            numbers = {prompt: i for i, prompt in enumerate(distinct)}
            sources = [numbers[tuple(prompt)] for prompt in prompts]
            loop = Loop(model, Ends(self.eos_ids), self.pad_id)
            loop.new_batch = batch_by_stems
            found = loop.sample(distinct, sources, self.limit, self._pick(len(prompts)))
        finally:
            model.train(was_training)
        return [until_eos(tokens, self.eos_ids) for tokens in found]

    def _check(self, model: Any, prompts: Sequence[Sequence[int]]) -> None:
        reason = refusal(model, prompts, self.pad_id)
        if reason:
            raise ConfigError(f"train.generation loop can not be used with this model ({reason}); set it to trl")
        self._is_checked = True

    def _pick(self, n_rows: int) -> Any:
        def pick(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            probs = torch.softmax(logits.float() / self.temperature, dim=-1)
            if self.top_p < 1.0:
                probs = nucleus(probs, self.top_p)
            noise = torch.empty(n_rows, probs.size(1), device=probs.device).exponential_()
            return (probs / noise[rows]).argmax(dim=-1)

        return pick


def own_rollouts(trainer: Any) -> Rollouts:
    """The sampling that a `GRPOTrainer` was set up for; raises `ConfigError` where its model is not in one piece."""
    if trainer.use_vllm:
        raise ConfigError("train.generation loop does not go with vLLM; set it to trl")
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise ConfigError("train.generation loop needs the whole model in each process, not FSDP or DeepSpeed")
    config = trainer.generation_config
    return Rollouts(
        limit=trainer.max_completion_length,
        temperature=trainer.temperature,
        top_p=1.0 if config.top_p is None else config.top_p,
        eos_ids=tuple(trainer.eos_token_ids),
        pad_id=trainer._tokenizer.pad_token_id,
    )
