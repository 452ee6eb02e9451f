"""The language-model head on scored positions alone, for devices where TRL's fused head scores every position.

TRL 1.16 selects the scored positions only where it has Triton kernels. On a CPU its head projects prompts and padding
to the vocabulary too, and once more in the backward pass. `add_compact_head` puts a forward in front of TRL's that
selects first and keeps the log-probabilities for the backward pass. Where a model's head does more than a projection
(soft caps, scales), or weights are sharded, or the kept tensor would be large, TRL's own forward runs.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import torch

KEPT_BYTES = 1 << 29
"""Most that may be kept between the passes; above it TRL's head, which recomputes, is used."""
_LOGIT_TRANSFORMS = (
    "final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling",
)  # fmt: skip
"""Settings of TRL's list with which logits are more than a projection."""


class TokenLogps(torch.autograd.Function):
    """Log-probabilities (n,) of targets and entropies (n,), the latter without gradient.

    The gradient of log p[target] to the logits is onehot(target) - p; keeping log p costs n x V floats and saves the
    second projection.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """From hidden states (n, H), the head's weight (V, H) and targets (n,)."""
        logits = hidden @ weight.t()
        if temperature != 1.0:
            logits /= temperature
        logps = torch.log_softmax(logits, dim=-1)
        del logits
        entropies = -torch.einsum("nv,nv->n", logps.exp(), logps)
        ctx.save_for_backward(hidden, weight, targets, logps)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropies)
        ctx.set_materialize_grads(False)
        return logps.gather(1, targets[:, None]).squeeze(1), entropies

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor | None, _: Any) -> tuple[torch.Tensor | None, ...]:
        """Gradients to the hidden states and the weight."""
        if grad is None:
            return None, None, None, None
        hidden, weight, targets, logps = ctx.saved_tensors
        scaled = (grad / ctx.temperature)[:, None]
        by_logit = logps.exp().mul_(-scaled)
        by_logit.scatter_add_(1, targets[:, None], scaled)
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        return by_logit @ weight if wants_hidden else None, by_logit.t() @ hidden if wants_weight else None, None, None


_token_logps: Callable[..., tuple[torch.Tensor, torch.Tensor]] = TokenLogps.apply


def add_compact_head(model: Any, temperature: float) -> None:
    """Puts the compact head in front of a forward that `trl.trainer.utils.add_fused_lm_head` has patched."""
    fused_forward = model.forward
    config = model.config.get_text_config()
    transforms = any(getattr(config, name, None) not in (None, 1, 1.0) for name in _LOGIT_TRANSFORMS)

    @functools.wraps(type(model).forward)  # `generate` validates its arguments against the signature
    def forward(self: Any, *args: Any, fused_lm_head: bool = False, labels: Any = None, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return fused_forward(*args, **kwargs) if labels is None else fused_forward(*args, labels=labels, **kwargs)
        head = self.get_output_embeddings()
        if transforms or args or not _is_simple(head, labels, kwargs):
            return fused_forward(*args, fused_lm_head=True, labels=labels, **kwargs)
        return _scored(self, head.weight, labels[:, 1:], temperature, kwargs)

    model.forward = types.MethodType(forward, model)


def _is_simple(head: Any, labels: Any, kwargs: dict[str, Any]) -> bool:
    weight = getattr(head, "weight", None)
    return (
        type(head) is torch.nn.Linear
        and weight is not None
        and type(weight.data) is torch.Tensor  # neither sharded nor quantised
        and weight.dtype == torch.float32
        and weight.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and head.bias is None
        and labels is not None
        and set(kwargs) <= {"input_ids", "attention_mask"}
        and 4 * int((labels[:, 1:] != -100).sum()) * len(weight) <= KEPT_BYTES
    )


def _scored(model: Any, weight: torch.Tensor, labels: torch.Tensor, temperature: float, kwargs: dict[str, Any]) -> Any:
    from trl.trainer.utils import FusedCausalLMOutput

    hidden = model.base_model(use_cache=False, **kwargs).last_hidden_state[:, :-1]  # (b, L - 1, H)
    scored = labels != -100
    logps, entropies = _token_logps(hidden[scored], weight, labels[scored], temperature)
    blank = hidden.new_zeros(scored.shape)
    return FusedCausalLMOutput(
        log_probs=blank.masked_scatter(scored, logps), entropy=blank.masked_scatter(scored, entropies)
    )
