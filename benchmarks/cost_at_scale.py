"""What a paper-size run and a sweep would take on GPUs, from stated inputs: `python benchmarks/cost_at_scale.py`.

Arithmetic only (`cost_model.py`): nothing is run, and nothing of it was measured on a GPU by us. The page
`docs/cost-at-scale.md` explains the formulas and holds these tables; put your own lengths and rates in by the options.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from cost_model import (
    CHOICE,
    CLUSTER,
    DRAWS,
    EPOCHS,
    EVAL_BATCH,
    EVAL_LIMIT,
    GPUS,
    GROUP,
    HIGH,
    IDLE_SHARE,
    LIMIT,
    LOW,
    MGSM,
    MODELS,
    NODE,
    PER_STEP,
    QUESTIONS,
    ROLLOUTS,
    STEPS,
    VLLM_SHARE,
    Case,
    Gpu,
    decode,
    evaluation_hours,
    run_hours,
    step_parts,
    sweep_hours,
)
from measure import table

MEASURED, PAPER, SHEET, OURS, ASSUMED = "measured here", "paper", "published", "this project", "assumed"
"""`published`: a data sheet, a model's configuration, a data set's card; `this project`: how its code does it."""


def number(value: float) -> str:
    """Two significant digits, and no false precision above them.

    Example:
        >>> [number(value) for value in (0.0456, 1.26, 34.7, 12345.0)]
        ['0.046', '1.3', '35', '12,000']
    """
    if not math.isfinite(value):
        return "does not fit"
    if value == 0:
        return "0"
    digits = 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(0, digits)}f}"


def between(low: float, high: float) -> str:
    """A range in a cell."""
    return f"{number(low)} to {number(high)}"


Cases = tuple[Case, Case]


def _range(cases: Cases, value: Callable[[Case], float]) -> str:
    return between(*(value(case) for case in cases))


def inputs_table(gpu: Gpu, cases: Cases) -> str:
    """Every number that goes in, with where it comes from."""

    def both(value: Callable[[Case], float]) -> str:
        return " to ".join(f"{round(value(case), 6):g}" for case in cases)

    rows = [
        ("questions, epochs", f"{QUESTIONS:,}, {EPOCHS}", PAPER),
        ("questions a step, rollouts a question", f"{PER_STEP}, {GROUP}", PAPER),
        ("limits of prompt and completion, tokens", f"512, {LIMIT:,}", PAPER),
        ("mean prompt, tokens", both(lambda c: c.prompt_tokens), f"low {ASSUMED}; high the {PAPER}'s limit"),
        ("mean completion, tokens", both(lambda c: c.completion_tokens), f"low {ASSUMED}; high the {PAPER}'s limit"),
        ("longest completion of a step, tokens", f"{LIMIT:,}", f"{ASSUMED}: one always runs to the limit"),
        (f"{gpu.name}, bfloat16, 10^12 operations/s", f"{gpu.flops / 1e12:.0f}", SHEET),
        ("float32 without tensor cores, 10^12/s", f"{gpu.fp32_flops / 1e12:.0f}", SHEET),
        ("bandwidth, 10^12 bytes/s; memory, 10^9 bytes", f"{gpu.bandwidth / 1e12}; {gpu.memory / 1e9:.0f}", SHEET),
        ("shapes of the three models", "see `cost_model.py`", SHEET),
        ("share of memory for vLLM, its weights included", f"{VLLM_SHARE}", f"{OURS}: the default"),
        ("weights in training, bytes", "4, and 12 for gradient and Adam", f"{OURS}: float32 under autocast"),
        ("share of bandwidth or peak while decoding", both(lambda c: c.bandwidth_share), ASSUMED),
        ("fixed time of a vLLM iteration, ms", both(lambda c: 1e3 * c.iteration_s), ASSUMED),
        ("the same in transformers, ms a layer", both(lambda c: 1e3 * c.eager_layer_s), ASSUMED),
        ("share of peak in update and prefill (MFU)", both(lambda c: c.mfu), ASSUMED),
        ("forward passes a row costs", both(lambda c: c.forwards), f"{OURS}; checkpointing in the high case"),
        (
            "language of a completion, ms",
            both(lambda c: 1e3 * c.detect_s),
            f"low {MEASURED}; high {ASSUMED}, ten times",
        ),
        ("encoder's weights without embeddings", "110 million (mmBERT base)", f"{PAPER}, {SHEET}"),
        ("its share of peak", both(lambda c: c.encoder_mfu), ASSUMED),
        ("the rest of a step, s", both(lambda c: c.overhead_s), ASSUMED),
        ("questions of MGSM", f"{MGSM:,}", f"{SHEET}: 11 x 250"),
        ("of Global-MMLU-Lite, INCLUDE-Lite", f"{CHOICE:,}", f"{SHEET}: 15 x 400; 44 languages, 250 each {ASSUMED}"),
        ("sampled answers to MGSM", f"{DRAWS}", f"{OURS}: the default, 4 draws of 16 questions"),
        ("limit of an answer to MGSM, tokens", f"{EVAL_LIMIT}", f"{OURS}; that each batch reaches it is {ASSUMED}"),
        ("answers at once", f"{EVAL_BATCH}", f"{ASSUMED} (`model.batch_size`, 128 by default)"),
        ("tokens of a multiple-choice question", both(lambda c: c.choice_tokens), ASSUMED),
        ("groups without advantages", f"{IDLE_SHARE:.1%}", f"{MEASURED}: 90 of 640, `results/demo-seed0`"),
    ]
    return table(("input", "value, low to high case", "from"), rows)


def tokens_table(gpu: Gpu, cases: Cases) -> str:
    """Rollouts and tokens of a run, and what a step of the smallest model costs."""
    model = MODELS[0]

    def of_step(value: Callable[[Case], float]) -> str:
        return _range(cases, value)

    n = ROLLOUTS / NODE
    rows = [
        ("steps", f"{STEPS}"),
        ("rollouts", f"{STEPS * ROLLOUTS:,}"),
        ("completion tokens, millions", of_step(lambda c: STEPS * ROLLOUTS * c.completion_tokens / 1e6)),
        ("prompt tokens, each rollout's own, millions", of_step(lambda c: STEPS * ROLLOUTS * c.prompt_tokens / 1e6)),
        ("decoding floor of a step at full bandwidth, s", of_step(lambda c: decode(model, gpu, c, n).floor_s)),
        ("decoding of a step as assumed, s", of_step(lambda c: decode(model, gpu, c, n).seconds)),
        (
            "that is, tokens per second and GPU",
            of_step(lambda c: n * c.completion_tokens / decode(model, gpu, c, n).seconds),
        ),
        (
            "update of a step, 10^15 operations",
            of_step(lambda c: ROLLOUTS * c.forwards * model.forward_flops(c.tokens) / 1e15),
        ),
    ]
    return table(("one run of Qwen2.5-1.5B on 8 GPUs", "low to high"), rows)


def parts_table(gpu: Gpu, cases: Cases) -> str:
    """Seconds of a step's parts by model, and what they add up to."""
    rows = []
    for model in MODELS:
        low, high = (step_parts(model, gpu, case, NODE) for case in cases)
        hours = [run_hours(model, gpu, case, NODE) for case in cases]
        cells = [between(low[name], high[name]) for name in low]
        total = between(sum(low.values()), sum(high.values()))
        rows.append((model.name, *cells, total, between(*hours), between(*(NODE * h for h in hours))))
    header = ("seconds a step", "prefill", "decode", "reward", "update", "overhead", "step")
    return table((*header, "run, h", "run, GPU-h"), rows)


def memory_table(gpu: Gpu, case: Case) -> str:
    """Gigabytes on one GPU, every rollout at the limits, micro-batches of eight."""
    rows = []
    for model in MODELS:
        weights = model.parameters / 1e9
        kept = 28 * model.hidden + 8 * model.intermediate  # bytes a token and layer under autocast
        tokens = 8 * case.tokens / 1e9
        parts = {
            "state": 16 * weights,
            "sharded": 16 * weights / NODE,
            "reference": 4 * weights,
            "vllm": 2 * weights,
            "kv": ROLLOUTS / NODE * case.tokens * model.kv_bytes / 1e9,
            "activations": tokens * kept * model.layers,
            "recomputed": tokens * (4 * model.hidden * model.layers + kept),
        }
        rows.append((model.name, *(number(part) for part in parts.values())))
    header = ("weights, gradients, Adam (16 B)", "the same over 8 (FSDP)", "reference (4 B)", "vLLM's weights (2 B)")
    held = ("KV of 256 rollouts", "activations", "with checkpointing")
    return table((f"GB ({gpu.memory / 1e9:.0f} on the card)", *header, *held), rows)


def sweep_table(gpu: Gpu, cases: Cases) -> str:
    """Evaluations, and the whole sweep on a node and on a cluster."""
    evaluations = [_range(cases, lambda c, m=model: 60 * evaluation_hours(m, gpu, c)) for model in MODELS]  # type: ignore[misc]
    names = ", ".join(model.name for model in MODELS)
    rows = [(f"one evaluation on one GPU, min ({names})", "; ".join(evaluations))]
    rows.append(("90 trainings and 105 evaluations, GPU-h", _range(cases, lambda c: sweep_hours(gpu, c, NODE)[1])))
    rows += [
        (f"wall clock on {n} GPUs, days", _range(cases, lambda c, n=n: sweep_hours(gpu, c, n)[0] / 24))  # type: ignore[misc]
        for n in (NODE, CLUSTER)
    ]
    return table(("sweep: 7 methods x 3 models x 5 seeds", "low to high"), rows)


def changes(cases: Cases) -> Mapping[str, Cases]:
    """What would change the cost of a run, one thing at a time."""

    def changed(**fields: float) -> Cases:
        return replace(cases[0], **fields), replace(cases[1], **fields)  # type: ignore[arg-type]

    low, high = cases
    shorter = tuple(replace(case, completion_tokens=case.completion_tokens / 2) for case in cases)
    return {
        "as above": cases,
        "completions half as long, the limit unchanged": (shorter[0], shorter[1]),
        "a group's prompt computed once (vLLM's prefix cache), in both cases": changed(prompts_share=True),
        "no group's prompt shared, in both cases": changed(prompts_share=False),
        "`kl_beta: 0`": changed(kl=False),
        "the same and no vLLM: no old log-probabilities": changed(kl=False, vllm=False),
        "the same, rows without advantage skipped (14%)": changed(kl=False, vllm=False, skipped=IDLE_SHARE),
        "`kl_beta: 0` with vLLM and skipping (not built)": changed(kl=False, skipped=IDLE_SHARE),
        "update at 40% of peak": (low, replace(high, mfu=0.40)),
    }


def changes_table(gpu: Gpu, cases: Cases) -> str:
    """Hours of a run of the smallest model by what is changed."""
    model = MODELS[0]
    rows = [
        (name, _range(case, lambda c: run_hours(model, gpu, c, NODE)), NODE) for name, case in changes(cases).items()
    ]
    rows.append(("one GPU instead of eight", _range(cases, lambda c: run_hours(model, gpu, c, 1)), 1))
    rows += [
        (f"on {other.name}", _range(cases, lambda c, g=other: run_hours(model, g, c, NODE)), NODE)  # type: ignore[misc]
        for other in GPUS.values()
        if other != gpu
    ]
    return table(("a run of Qwen2.5-1.5B", "hours", "GPUs"), rows)


def tables(gpu: Gpu = GPUS["H100"], cases: Cases = (LOW, HIGH)) -> list[str]:
    """All tables of the page, in its order."""
    return [
        inputs_table(gpu, cases),
        tokens_table(gpu, cases),
        parts_table(gpu, cases),
        memory_table(gpu, cases[1]),
        sweep_table(gpu, cases),
        changes_table(gpu, cases),
    ]


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", choices=sorted(GPUS), default="H100")
    for name, what in (
        ("prompt-tokens", "mean tokens of a prompt"),
        ("completion-tokens", "mean tokens of a completion"),
        ("mfu", "share of peak in the update"),
        ("iteration-s", "fixed seconds of a decoding iteration"),
    ):
        parser.add_argument(f"--{name}", type=float, nargs=2, metavar=("LOW", "HIGH"), help=what)
    values = vars(parser.parse_args())
    gpu = GPUS[values.pop("gpu")]
    given = {name: pair for name, pair in values.items() if pair is not None}
    low, high = (replace(case, **{name: pair[i] for name, pair in given.items()}) for i, case in enumerate((LOW, HIGH)))
    print(f"{gpu.name}. Nothing here was measured on a GPU.\n")
    print("\n\n".join(tables(gpu, (low, high))))


if __name__ == "__main__":
    main()
