"""What an evaluation by generation must multiply, for `eval_vs_lm_eval.py`: matrix products in GFLOP, weights in bytes.

Of a Llama-type model whose responses never end. Without the products of attention itself, which are under a tenth here.
lm-eval reads prompts with the pads of their batch, ours almost without.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def gflop_of(config: Any, lengths: Sequence[int], tokens: int, batch: int | str) -> dict[str, float] | None:
    """Products of greedy responses that never end; None where that can not be told (lm-eval chose its own batch)."""
    if not lengths or not isinstance(batch, int):
        return None
    width, inner = config.hidden_size, config.intermediate_size
    key_value = 2 * config.num_key_value_heads / config.num_attention_heads
    layers = config.num_hidden_layers * (width * width * (2 + key_value) + 3 * width * inner)
    ordered = sorted(lengths, reverse=True)
    padded = sum(len(ordered[i : i + batch]) * ordered[i] for i in range(0, len(ordered), batch))
    return {
        "prompts_padded": 2e-9 * layers * padded,
        "prompts": 2e-9 * layers * sum(lengths),
        "decoding": 2e-9 * layers * len(lengths) * (tokens - 1),
        "head": 2e-9 * config.vocab_size * width * len(lengths) * tokens,
        "weights_read_a_step_mb": 4e-6 * (layers + config.vocab_size * width),
    }


def arithmetic_line(found: Mapping[str, Any]) -> str:
    """The arithmetic of a comparison beside its time, in words; empty where responses do end."""
    work = found["products"]
    if found["model"] == "embedded" or work is None:
        return ""
    theirs = work["prompts_padded"] + work["decoding"] + work["head"]
    ours = theirs - work["prompts_padded"] + work["prompts"]
    their_s, our_s = (statistics.median(found["seconds"][name]) for name in ("lm-eval", "lrpo-bench"))
    return (
        f"Matrix products of {found['model']} on {found['task']}, GFLOP: lm-eval {theirs:.0f} (prompts with pads "
        f"{work['prompts_padded']:.0f}, layers for tokens {work['decoding']:.0f}, head {work['head']:.0f}), ours "
        f"{ours:.0f} (prompts {work['prompts']:.0f}), that is {theirs / their_s:.0f} and {ours / our_s:.0f} a second; "
        f"each step reads {work['weights_read_a_step_mb']:.0f} MB of weights."
    )
