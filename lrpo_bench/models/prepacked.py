"""Linear layers whose weights are laid out for the CPU once, instead of at every product.

torch multiplies float32 matrices on a CPU by MKL, which lays the weights out anew for each product and on AMD's CPUs
does not use all that they can. oneDNN, which torch also ships, takes weights laid out beforehand; `torch.compile` uses
it for frozen models, by the two operators that are called here. On two cores of an EPYC, products a second of a layer
of 768 x 2048, 8, 48 and 1,500 rows: 73, 143 and 159 GFLOP plain, 169, 221 and 212 so; of an output head of 50,000: 23,
81 and 169, against 73, 178 and 190. Laying that head out takes 60 ms. Results are float32 sums in another order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lrpo_bench.machine import memory_bytes

_LEAST_WEIGHTS = 2**15
"""Weights of a layer from which on it pays: the call itself takes some microseconds more."""
_MEMORY_SHARE = 1 / 8
"""Of the machine's memory that the second copy of the weights may take. A fixed share, not one of what happens to be
free: the order of sums must not change from run to run. None where the system does not tell its memory."""

Forward = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def prepacked(model: Any) -> Iterator[None]:
    """Within this block, which must not change the weights or ask for gradients, a CPU model's layers run prepacked.

    Layers that have been replaced, are hooked into `forward`, or are not float32 stay as they are, and so does a model
    on an accelerator, or one whose second copy would take too much memory.
    """
    layers = _layers(model) if _is_available() and model.device.type == "cpu" else []
    try:
        for layer in layers:
            vars(layer)["forward"] = _forward(layer)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _layers(model: Any) -> list[torch.nn.Linear]:
    found = [module for module in model.modules() if _suits(module)]
    taken_bytes = sum(layer.weight.nbytes for layer in found)
    return found if taken_bytes <= _MEMORY_SHARE * (memory_bytes() or 0) else []


def _suits(module: Any) -> bool:
    if type(module) is not torch.nn.Linear or "forward" in vars(module):
        return False
    weight, bias = module.weight, module.bias
    if type(weight) is not torch.nn.Parameter or (bias is not None and bias.dtype != torch.float32):
        return False  # quantised weights are tensors of kinds of their own
    return bool(weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.numel() >= _LEAST_WEIGHTS)


def _forward(layer: torch.nn.Linear) -> Forward:
    weight = torch.ops.mkldnn._reorder_linear_weight.default(layer.weight.detach())
    bias = None if layer.bias is None else layer.bias.detach()
    plain, product = layer.forward, torch.ops.mkldnn._linear_pointwise.default

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        # Autocast casts what a plain layer is given, and knows nothing of this operator.
        if hidden.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return plain(hidden)
        return product(hidden, weight, bias, "none", [], "")

    return forward


@functools.cache
def _is_available() -> bool:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))
