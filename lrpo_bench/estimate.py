"""A plan in words: what would be asked, trained and stored, and how long it may take on this machine."""

from __future__ import annotations

import time

from lrpo_bench.errors import LrpoBenchError
from lrpo_bench.evaluation.answer_judge import make_judge
from lrpo_bench.models.base import Sampling
from lrpo_bench.models.load import ModelSpec, load_model
from lrpo_bench.models.prompting import build_prompt, resolve_instruct
from lrpo_bench.plan import Plan
from lrpo_bench.training.methods import Method
from lrpo_bench.training.steps import training_steps, warm_start_steps

_PROBE_PROMPTS = 32
_UPDATE_SHARE = 1.0  # a training step's update costs about as much as its generation, measured on the embedded model


def describe(plan: Plan, stage: str) -> str:
    """The plan as text: tasks, languages, counts, and an estimate of time from a short probe of the model."""
    config = plan.config
    lines = [f"model    {config.model.name}", f"out      {config.out}", f"seed     {config.seed}"]
    for selection in plan.selections:
        info = selection.task.info
        source = " (questions held out of the evaluation split)" if selection.shares_split else ""
        lines.append(
            f"task     {info.name} {info.version}, variant {selection.task.variant} ({selection.task.kind}): "
            f"{len(selection.evaluation)} questions in {len(selection.languages)} languages"
            + (f"; {len(selection.training)} training questions{source}" if selection.training else "")
        )
    if stage != "train":
        make_judge(plan.tasks, config.eval.judge)  # refuses a task that needs one and has none
    n_evaluations = {"eval": 1, "train": 0, "run": 2}[stage]
    lines.append(f"evaluate {n_evaluations} x {plan.n_responses} responses")
    if plan.method is not None:
        lines.append(
            f"train    {plan.method.name}: {_training(plan, plan.method)}; "
            f"languages {', '.join(plan.trained) or 'none'}; arms {', '.join(plan.arms) or 'none'}"
        )
        if config.train.warm_start.enabled and plan.trained and plan.method.objective != "sft":
            lines.append(f"before   a warm start of {warm_start_steps(config.train, len(plan.training_samples))} steps")
    lines.append(f"time     {_estimate(plan, n_evaluations)}")
    return "\n".join(lines) + "\n"


def _training(plan: Plan, method: Method) -> str:
    train, steps = plan.config.train, training_steps(plan.config.train, method, len(plan.training_samples))
    if method.objective == "sft":
        return f"{steps} steps x {train.warm_start.answers_per_step} answers"
    built = " first, then as many steps on their pairs" if method.is_offline else ""
    return (
        f"{steps} steps x {train.questions_per_step} questions x {train.group_size} rollouts = "
        f"{plan.n_rollouts} rollouts{built}"
    )


def _estimate(plan: Plan, n_evaluations: int) -> str:
    config = plan.config
    if config.model.name == "mock":
        return "seconds (the mock model computes nothing)"
    started = time.monotonic()
    try:
        model = load_model(ModelSpec(**config.model.model_dump()))
    except LrpoBenchError as error:
        return f"not estimated: {error}"
    loading_s = time.monotonic() - started
    instruct = resolve_instruct(plan.instruct, model.tokenizer)
    selection = max(plan.selections, key=lambda s: s.task.kind == "generate")
    samples = selection.evaluation[:_PROBE_PROMPTS]
    prompts = [build_prompt(selection.task, sample, sample.lang, instruct) for sample in samples]
    started = time.monotonic()
    model.generate(prompts, Sampling(config.train.max_completion_tokens))
    response_s = (time.monotonic() - started) / len(prompts)
    total_s = loading_s * (n_evaluations + bool(plan.n_rollouts)) + response_s * (
        n_evaluations * plan.n_responses + plan.n_rollouts * (1 + _UPDATE_SHARE)
    )
    return f"about {total_s / 60:.1f} minutes, from a probe of {len(prompts)} prompts on this machine"
