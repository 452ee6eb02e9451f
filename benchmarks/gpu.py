"""What a GPU does with our generation and training step: tokens per second, share of its peak, where the time goes.

    python benchmarks/gpu.py                             # 150M, bf16; writes results/benchmarks/gpu.{md,json}
    python benchmarks/gpu.py --size 500M --minutes 10
    python benchmarks/gpu.py --model FOLDER              # any causal language model, such as one of `world build`
    python benchmarks/gpu.py --device cpu --out FOLDER   # a rehearsal on a tiny model; its figures say nothing of a GPU

The model has the architecture and tokenizer of the embedded world at a larger size, with random weights: what it says
is noise, and what it costs is what trained weights cost. Questions are the world's word problems. In training rollouts
without advantage are kept (`train.skip_zero_advantage` off), since noise earns nothing and would leave nothing to do.

Batches double until memory is full, the time is up, or another doubling gains less than 5%. Peak is both: what the
vendor states for dense bf16, where the card is known, and what a product of two large matrices reaches here.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cost_model import GPUS
from measure import RESULTS, machine, machine_line, table, write
from train_vs_trl import Stopwatch

SIZES = {  # hidden, layers, heads, intermediate
    "tiny": (64, 2, 2, 128),
    "50M": (512, 16, 8, 1408),
    "150M": (768, 22, 12, 2048),
    "500M": (1280, 26, 20, 3456),
}
LANGS = ("bn", "en", "sw", "th")
GAIN = 1.05
"""A doubled batch must be faster by this, a token, to be doubled again."""
WAYS = ("loop", "generate", "static")


@dataclass(frozen=True, slots=True)
class Job:
    """What is measured on what."""

    device: str
    folder: Path
    tokens: int
    """Of a completion."""
    batches: tuple[int, int]
    """First sizes: sequences decoded together, questions of a training step."""
    until: float
    """Of `time.monotonic`; no batch is doubled after it."""


def main() -> None:
    """Measures one card and writes the page; refuses in one line where there is none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--size", choices=SIZES, help="150M, and tiny on a CPU, unless told")
    parser.add_argument("--model", type=Path, help="a folder of a model instead")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which no batch is doubled any more")
    parser.add_argument("--out", type=Path, help="folder of the page; a rehearsal needs one of its own")
    arguments = parser.parse_args()
    import torch

    on_gpu = arguments.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        raise SystemExit("gpu.py: torch sees no GPU here; --device cpu --out FOLDER rehearses on a tiny model")
    if not on_gpu and (arguments.out or RESULTS).resolve() == RESULTS.resolve():
        raise SystemExit("gpu.py: --device cpu needs --out FOLDER, so that no CPU's figures stand where a GPU's belong")
    size = arguments.size or ("150M" if on_gpu else "tiny")
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.model or build_model(Path(name) / "model", size)
        until = time.monotonic() + 60 * arguments.minutes
        job = Job(arguments.device, folder, 128, (64, 16), until) if on_gpu else Job("cpu", folder, 8, (4, 2), 0.0)
        values = {
            "device": card(arguments.device),
            "machine": machine("torch", "transformers", "trl"),
            "model": {"name": arguments.model.name if arguments.model else size, **counts(folder)},
            "completion_tokens": job.tokens,
            "generation": [point for way in WAYS for point in generation(job, way)],
            "training": list(training(job)),
        }
    write("gpu", markdown(values), values, arguments.out or RESULTS)


# --- the model and the card


def build_model(folder: Path, size: str) -> Path:
    """Writes a model of random weights with the embedded world's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from lrpo_bench.models.load import ModelSpec, load_tokenizer

    tokenizer = load_tokenizer(ModelSpec("embedded:default"))
    hidden, layers, heads, intermediate = SIZES[size]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
            num_key_value_heads=heads, intermediate_size=intermediate, max_position_embeddings=1024,
            tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.model_max_length = 1024
    tokenizer.save_pretrained(folder)
    return folder


def counts(folder: Path) -> dict[str, int]:
    """What the arithmetic needs to know of a model."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    total = sum(parameter.numel() for parameter in model.parameters())
    inside = total - sum(
        {id(w): w.numel() for w in (model.get_input_embeddings().weight, model.get_output_embeddings().weight)}.values()
    )
    return {
        "parameters": total, "inside": inside, "hidden": config.hidden_size, "layers": config.num_hidden_layers,
        "vocabulary": config.vocab_size,
    }  # fmt: skip


def card(device: str) -> dict[str, Any]:
    """The card's name, memory and peaks in operations a second."""
    import torch

    if device == "cpu":
        return {"name": "CPU (a rehearsal)", "memory_gib": None, "stated": None, "matmul": matmul_peak(device, 512)}
    properties = torch.cuda.get_device_properties(0)
    stated = next((gpu.flops for name, gpu in GPUS.items() if name in properties.name), None)
    memory = round(properties.total_memory / 2**30, 1)
    return {"name": properties.name, "memory_gib": memory, "stated": stated, "matmul": matmul_peak(device, 8192)}


def matmul_peak(device: str, n: int) -> float:
    """Operations a second of a product of two n x n matrices, in bf16 on a GPU; the best of five."""
    import torch

    a = torch.ones(n, n, device=device, dtype=torch.bfloat16 if device == "cuda" else torch.float32)
    seconds = [timed(device, lambda: a @ a)[0] for _ in range(6)]
    return 2 * n**3 / min(seconds[1:])


def timed(device: str, run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds on the wall, of work that the card has finished, and what it gave."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    found = run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, found


def peak_memory(device: str) -> int:
    """The most MiB that tensors on the card have taken since the last call; of the process on a CPU."""
    import torch
    from common import peak_mib

    if device == "cpu":
        return round(peak_mib())
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return round(peak / 2**20)


# --- generation


def generation(job: Job, way: str) -> Iterator[dict[str, Any]]:
    """Tokens per second of one way to decode, by batch size."""
    from lrpo_bench.models.base import Sampling
    from lrpo_bench.models.load import ModelSpec, load_hf_model

    dtype = "bfloat16" if job.device == "cuda" else "float32"
    size, best = job.batches[0], 0.0
    while True:
        model = load_hf_model(ModelSpec(str(job.folder), device=job.device, dtype=dtype, generation=way))
        prompts = [ids for ids, _ in model._encode_prompts(asked(size), job.tokens)]
        sampling = Sampling(job.tokens, 1.0)

        def decode(model: Any = model, prompts: Any = prompts, sampling: Any = sampling) -> Any:
            return model.decoder.decode(prompts, sampling, 0, lambda _: "")

        try:
            decode()  # compiles, allocates
            seconds, rows = timed(job.device, decode)
        except out_of_memory():
            yield {"way": way, "batch": size, "full": True}
            return
        rate = sum(map(len, rows)) / seconds
        yield {"way": way, "batch": size, "tokens_s": round(rate, 1), "peak_mib": peak_memory(job.device)}
        if rate < GAIN * best or time.monotonic() > job.until:
            return
        size, best = 2 * size, rate


def asked(n: int) -> list[Any]:
    """Prompts of `n` of the world's word problems."""
    from lrpo_bench.models.prompting import build_prompt
    from lrpo_bench.tasks.registry import load_samples, load_task

    task = load_task("arithmetic", None, ())
    samples = load_samples(task, "en", "test", None, None)
    return [build_prompt(task, samples[i % len(samples)], "en", "tag") for i in range(n)]


def out_of_memory() -> type[Exception]:
    """What torch raises when a card is full."""
    import torch

    return torch.cuda.OutOfMemoryError


# --- training


def training(job: Job) -> Iterator[dict[str, Any]]:
    """Seconds of a step's parts, share of the peak in the update and a profile, by questions of a step."""
    questions, best = job.batches[1], float("inf")
    while True:
        try:
            found = train(job, questions)
        except out_of_memory():
            yield {"questions": questions, "full": True}
            return
        yield found
        per_question = found["step_s"] / questions
        if per_question * GAIN > best or time.monotonic() > job.until:
            return
        questions, best = 2 * questions, per_question


def train(job: Job, questions: int) -> dict[str, Any]:
    """Three steps of `lrpo`: one that warms up, one that is timed, one that is profiled."""
    import torch

    from lrpo_bench.config import parse_config
    from lrpo_bench.language_id.registry import get_detector
    from lrpo_bench.models.load import ModelSpec, load_hf_model
    from lrpo_bench.plan import make_plan
    from lrpo_bench.training.run import TrainingJob, build_trainer

    config = parse_config({
        "tasks": [{"name": "arithmetic", "languages": list(LANGS), "limit": 8}],
        "model": {"name": str(job.folder), "device": job.device},
        "train": {
            "method": "lrpo", "languages": list(LANGS), "steps": 3, "questions_per_step": questions,
            "max_completion_tokens": job.tokens, "generation": "loop", "skip_zero_advantage": False,
            "save_every": 10_000,
        },
    })  # fmt: skip
    plan = make_plan(config, train=True)
    loaded = load_hf_model(ModelSpec(str(job.folder), device=job.device, dtype="float32"))
    peak_memory(job.device)
    with tempfile.TemporaryDirectory() as name:
        detector = get_detector("auto", LANGS)
        trained = TrainingJob(config, plan.training_samples, plan.arms, "tag", detector, Path(name))
        trainer = build_trainer(trained, loaded.model, loaded.tokenizer, lambda _: None)
        watch = Stopwatch(trainer)
        tokens: list[dict[str, float]] = []
        _count_tokens(trainer, tokens)
        profile = _Profile(trainer, job.device)
        trainer.train()
    seconds = watch.seconds("wall")[0]
    if job.device == "cuda":
        torch.cuda.empty_cache()
    return {
        "questions": questions, "rollouts": questions * config.train.group_size,
        "step_s": seconds["step"], "update_s": seconds["update"], "generation_s": seconds["generation"],
        "tokens": tokens[1], "operations": operations(counts(job.folder), tokens[1]),
        "peak_mib": peak_memory(job.device), "profile": profile.rows,
    }  # fmt: skip


def _count_tokens(trainer: Any, found: list[dict[str, float]]) -> None:
    """Notes how many prompt and completion tokens each step's rollouts have."""
    method = trainer._generate_and_score_completions

    def counting(inputs: Any) -> Any:
        output = method(inputs)
        found.append({
            "prompt": float(output["prompt_mask"].sum()), "completion": float(output["completion_mask"].sum()),
            "rows": float(len(output["prompt_mask"])),
        })  # fmt: skip
        return output

    trainer._generate_and_score_completions = counting


def operations(model: Mapping[str, int], tokens: Mapping[str, float]) -> float:
    """Floating-point operations of an update: forward once, backward twice, the head at completion tokens only.

    Example:
        >>> operations({"inside": 10, "hidden": 2, "layers": 1, "vocabulary": 5}, dict(prompt=6, completion=4, rows=2))
        1440.0
    """
    n = tokens["prompt"] + tokens["completion"]
    weights = 2 * model["inside"] * n
    head = 2 * model["hidden"] * model["vocabulary"] * tokens["completion"]
    # Scores and sums of values: two products, each over half of a row's tokens on average, as attention is causal.
    attention = 4 * model["layers"] * model["hidden"] * n * (n / tokens["rows"]) / 2
    return float(3 * (weights + head + attention))


class _Profile:
    """torch's profiler around the last step of a training."""

    def __init__(self, trainer: Any, device: str) -> None:
        from torch.profiler import ProfilerActivity, profile
        from transformers import TrainerCallback

        self.rows: list[dict[str, Any]] = []
        on_gpu = device == "cuda"
        profiler = profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])])
        kept, key = self, "self_device_time_total" if on_gpu else "self_cpu_time_total"

        class LastStep(TrainerCallback):  # type: ignore[misc]
            def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step == state.max_steps - 1:
                    profiler.start()

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step == state.max_steps:
                    profiler.stop()
                    kept.rows = _profile_rows(profiler, key)

        trainer.add_callback(LastStep())


def _profile_rows(profiler: Any, key: str) -> list[dict[str, Any]]:
    events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, key))
    total = sum(getattr(event, key) for event in events) or 1
    return [
        {"name": event.key[:60], "calls": event.count, "ms": round(getattr(event, key) / 1000, 2),
         "share": round(getattr(event, key) / total, 4)}
        for event in events[:15]
    ]  # fmt: skip


# --- the page


def markdown(values: Mapping[str, Any]) -> str:
    """The page."""
    device, model = values["device"], values["model"]
    stated = f"{device['stated'] / 1e12:.0f} TFLOP/s stated, " if device["stated"] else ""
    memory = f", {device['memory_gib']} GiB" if device["memory_gib"] else ""
    decoded = [
        (point["way"], point["batch"], *(("memory full", "") if point.get("full") else
         (f"{point['tokens_s']:,.0f}", f"{point['peak_mib']:,}")))
        for point in values["generation"]
    ]  # fmt: skip
    steps = [_training_row(point, device) for point in values["training"]]
    done = [point for point in values["training"] if not point.get("full")]
    profile = (
        [(row["name"], row["calls"], row["ms"], f"{row['share']:.1%}") for row in done[-1]["profile"]] if done else []
    )
    header = ("questions", "rollouts", "step s", "generation s", "update s", "of stated", "of product", "peak MiB")
    return "\n".join([
        f"# Generation and training on {device['name']}", "",
        f"`python benchmarks/gpu.py`: {model['name']}, {model['parameters'] / 1e6:.1f}M parameters of random weights, "
        f"up to {values['completion_tokens']} tokens a completion.",
        f"{device['name']}{memory}: {stated}{device['matmul'] / 1e12:.2f} TFLOP/s in a product of large matrices.", "",
        "## Generation", "", table(("way", "batch", "tokens/s", "peak MiB"), decoded), "",
        "## A training step", "",
        "`lrpo`, 8 rollouts a question, float32 weights (bf16 autocast on a GPU), our loop; the shares are of the "
        "update's operations (forward, and backward as twice that).", "",
        table(header, steps), "", "## Where the last measured step's time goes", "",
        table(("operation", "calls", "ms", "share"), profile), "", machine_line(values["machine"]), "",
    ])  # fmt: skip


def _training_row(point: Mapping[str, Any], device: Mapping[str, Any]) -> tuple[Any, ...]:
    if point.get("full"):
        return (point["questions"], "", "memory full", "", "", "", "", "")
    rate = point["operations"] / point["update_s"]
    shares = [f"{rate / peak:.1%}" if peak else "-" for peak in (device["stated"], device["matmul"])]
    times = [f"{point[name]:.2f}" for name in ("step_s", "generation_s", "update_s")]
    return (point["questions"], point["rollouts"], *times, *shares, f"{point['peak_mib']:,}")


if __name__ == "__main__":
    main()
