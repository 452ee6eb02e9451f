"""The arithmetic of `cost_at_scale.py`: operations, bytes and seconds of a run, from a model's shape and assumptions.

    >>> MODELS[0].parameters, MODELS[0].kv_bytes, STEPS
    (1543714304, 28672, 76)

Two cases bound each figure: `LOW` takes the favourable end of every assumption at once, `HIGH` the other, with every
rollout at the paper's limits. Left out: queues, failures, loading and compiling, idle GPUs of uneven ranks.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Model:
    """A decoder's shape, from its published configuration."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    qkv_bias: bool

    @property
    def parameters(self) -> int:
        """All weights, an untied head included."""
        queries, keys = self.heads * self.head_dim, 2 * self.kv_heads * self.head_dim
        attention = self.hidden * (2 * queries + keys) + self.qkv_bias * (queries + keys)
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return self.layers * layer + self.hidden + self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def multiplied(self) -> int:
        """Weights that a token is multiplied with: all but the look-up of an untied embedding."""
        return self.parameters - (0 if self.tied else self.vocabulary * self.hidden)

    @property
    def kv_bytes(self) -> int:
        """Bytes of keys and values of one token in bfloat16."""
        return 2 * self.layers * self.kv_heads * self.head_dim * 2

    def forward_flops(self, tokens: float) -> float:
        """Floating-point operations of one forward pass over a sequence, its causal attention included."""
        return 2 * self.multiplied * tokens + 2 * self.layers * self.heads * self.head_dim * tokens**2


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card, from its data sheet: dense bfloat16 and float32 operations a second, bytes a second, bytes."""

    name: str
    flops: float
    fp32_flops: float
    bandwidth: float
    memory: float


@dataclass(frozen=True, slots=True)
class Case:
    """One end of every assumption."""

    prompt_tokens: float
    completion_tokens: float
    bandwidth_share: float
    """Of the card's bandwidth or peak, reached while decoding."""
    iteration_s: float
    """Fixed time of one decoding iteration of vLLM beside moving the bytes."""
    mfu: float
    """Share of the card's peak that update and prefill reach."""
    recompute: bool
    """Whether activations are computed again in the backward pass."""
    prompts_share: bool
    """Whether a question's prefix is computed once for its group."""
    detect_s: float
    """One completion's language."""
    encoder_mfu: float
    overhead_s: float
    """A step's optimizer, gradients over the links, weights into vLLM, logs."""
    eager_layer_s: float
    """One layer of one decoding iteration in transformers without compilation."""
    choice_tokens: float
    """Prompt and four options of a multiple-choice question."""
    kl: bool = True
    """A reference model's forward pass (the paper's KL coefficient is not 0)."""
    vllm: bool = True
    """Rollouts by vLLM, whose policy TRL corrects for by one more forward pass; else by transformers in float32."""
    skipped: float = 0.0
    """Share of rows left out of the update."""

    @property
    def tokens(self) -> float:
        """Of a rollout."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def forwards(self) -> float:
        """Forward passes that an update costs: 1 + 2 backward, recomputation, old log-probabilities, reference."""
        return (3 + self.recompute + self.vllm + self.kl) * (1 - self.skipped)


MODELS = (
    Model("Qwen2.5-1.5B", 28, 1536, 8960, 12, 2, 128, 151_936, tied=True, qkv_bias=True),
    Model("Qwen2.5-3B", 36, 2048, 11_008, 16, 2, 128, 151_936, tied=True, qkv_bias=True),
    Model("Llama-3.1-8B", 32, 4096, 14_336, 32, 8, 128, 128_256, tied=False, qkv_bias=False),
)
GPUS = {
    "A100": Gpu("A100 SXM 80 GB", 312e12, 19.5e12, 2.039e12, 80e9),
    "H100": Gpu("H100 SXM 80 GB", 989e12, 67e12, 3.35e12, 80e9),
    "H200": Gpu("H200 SXM 141 GB", 989e12, 67e12, 4.8e12, 141e9),
}
LOW = Case(128, 256, 0.8, 0.002, 0.40, False, True, 0.22e-3, 0.30, 1.0, 0.8e-3, 200)
HIGH = Case(512, 1024, 0.5, 0.015, 0.10, True, False, 2.2e-3, 0.05, 10.0, 1.8e-3, 400)

QUESTIONS, EPOCHS, PER_STEP, GROUP, LIMIT = 4885, 4, 256, 8, 1024  # the paper
STEPS, ROLLOUTS = QUESTIONS * EPOCHS // PER_STEP, PER_STEP * GROUP
VLLM_SHARE = 0.3  # the default of train.scale.vllm.gpu_memory_share
ENCODER_WEIGHTS = 110e6  # mmBERT base without its embeddings
IDLE_SHARE = 90 / 640  # groups without advantages in results/demo-seed0/router.jsonl, measured
MGSM, DRAWS, EVAL_LIMIT, EVAL_BATCH = 11 * 250, 11 * 16 * 4, 512, 256
CHOICE = 15 * 400 + 44 * 250
TRAINED_METHODS, SEEDS, NODE, CLUSTER = 6, 5, 8, 64  # the seventh method, vanilla, is the evaluation before training


@dataclass(frozen=True, slots=True)
class Decode:
    """Decoding one step's rollouts on one GPU."""

    slots: float
    iterations: float
    floor_s: float
    """At the card's full bandwidth and peak."""
    seconds: float


def decode(model: Model, gpu: Gpu, case: Case, n: float) -> Decode:
    """Decoding of `n` rollouts on one GPU.

    An iteration reads all weights once and the keys and values of every running rollout. It runs as many rollouts as
    have room for their keys and values; the last iterations belong to the longest rollout, at the limit.
    """
    size = 2 if case.vllm else 4  # training weights are float32, and transformers decodes with them
    room = gpu.memory * VLLM_SHARE - 2 * model.parameters
    if room <= 0:
        return Decode(0, math.inf, math.inf, math.inf)
    kv = model.kv_bytes * size / 2
    slots = min(n, room // (kv * case.tokens)) if case.vllm else n
    iterations = max(LIMIT, n * case.completion_tokens / slots)
    cached = n * case.completion_tokens * (case.prompt_tokens + case.completion_tokens / 2)  # tokens read, summed
    moved = (iterations * size * model.multiplied + cached * kv) / gpu.bandwidth
    computed = 2 * model.multiplied * n * case.completion_tokens / (gpu.flops if case.vllm else gpu.fp32_flops)
    floor = max(moved, computed)
    fixed = case.iteration_s if case.vllm else case.eager_layer_s * model.layers
    return Decode(slots, iterations, floor, floor / case.bandwidth_share + iterations * fixed)


def step_parts(model: Model, gpu: Gpu, case: Case, gpus: int) -> dict[str, float]:
    """Seconds of each part of one training step, which follow one another."""
    n = ROLLOUTS / gpus
    prompts = n / GROUP if case.prompts_share and case.vllm else n
    speed = gpu.flops * case.mfu
    encoded = 2 * ENCODER_WEIGHTS * case.completion_tokens * n / (gpu.flops * case.encoder_mfu)
    return {
        "prefill": prompts * model.forward_flops(case.prompt_tokens) / speed,
        "decode": decode(model, gpu, case, n).seconds,
        "reward": n * case.detect_s + encoded,
        "update": n * case.forwards * model.forward_flops(case.tokens) / speed,
        "overhead": case.overhead_s,
    }


def run_hours(model: Model, gpu: Gpu, case: Case, gpus: int) -> float:
    """Hours of one training of `STEPS` steps."""
    return STEPS * sum(step_parts(model, gpu, case, gpus).values()) / 3600


def evaluation_hours(model: Model, gpu: Gpu, case: Case) -> float:
    """Hours of one evaluation on one GPU in bfloat16: MGSM generated by transformers, the rest scored."""
    batches = math.ceil(MGSM / EVAL_BATCH) + math.ceil(DRAWS / EVAL_BATCH)
    moved = (2 * model.multiplied + EVAL_BATCH * EVAL_LIMIT * model.kv_bytes) / gpu.bandwidth
    generated = batches * EVAL_LIMIT * max(case.eager_layer_s * model.layers, moved / case.bandwidth_share)
    scored = CHOICE * model.forward_flops(case.choice_tokens) / (gpu.flops * case.mfu)
    return (generated + scored) / 3600


def makespan(jobs: Sequence[float], workers: int) -> float:
    """Hours until all jobs are done, the longest first, each to the worker that is free first.

    Example:
        >>> makespan([3.0, 2.0, 2.0, 1.0], 2)
        4.0
    """
    free = [0.0] * workers
    for job in sorted(jobs, reverse=True):
        heapq.heapreplace(free, free[0] + job)
    return max(free)


def sweep_hours(gpu: Gpu, case: Case, gpus: int) -> tuple[float, float]:
    """Hours of wall clock and of GPUs for all methods, models and seeds, on nodes of eight."""
    trainings = [run_hours(model, gpu, case, NODE) for model in MODELS for _ in range(TRAINED_METHODS * SEEDS)]
    evaluations = [evaluation_hours(model, gpu, case) for model in MODELS for _ in range((TRAINED_METHODS + 1) * SEEDS)]
    wall = makespan(trainings, gpus // NODE) + makespan(evaluations, gpus)
    return wall, NODE * sum(trainings) + sum(evaluations)
