"""A training step of ours against plain `trl.GRPOTrainer`: the same model, questions, rewards, seeds; time by part.

    python benchmarks/train_vs_trl.py            # about 8 minutes on 2 quiet cores
    python benchmarks/train_vs_trl.py --quick    # about 2 minutes

Four sides take turns, each run in a process of its own so that its peak memory is its own:

- `trl`: `trl.GRPOTrainer` as it is, with our verifiable reward as its reward function;
- `grpo`: our trainer, method grpo, with the update without padding, the rows without advantage left out and our
  decoding loop. Completions and rewards must be TRL's, losses and weights TRL's up to rounding, or this fails;
- `lrpo`: the same with routed rollouts and a router that learns;
- `lrpo-calibrated`: the same with half of the reward from calibrated similarity by the embedded encoder.

The first step of a run loads what is loaded once and is not counted. Times are of the wall, and of the processor, which
other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import peak_mib
from measure import machine, machine_line, median_ratio, table, write

SIDES = ("trl", "grpo", "lrpo", "lrpo-calibrated")
PARTS = ("generation", "reward", "router", "update", "other")
WEIGHTS_TOLERANCE = 5e-5
"""Largest difference between weights of `trl` and `grpo`: Adam turns rounding of a near-zero gradient into a step."""
PACKAGES = ("torch", "transformers", "trl", "numpy")


def main() -> None:
    """Runs the comparison, or, as its own child, one side of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6, help="steps of a run, the first of which is not counted")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="2 rounds of 4 steps")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        run_side(arguments.side, arguments.steps, arguments.threads, arguments.folder)
        return
    rounds, steps = (2, 4) if arguments.quick else (arguments.rounds, arguments.steps)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_table(folder)
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for number in range(rounds):
            for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                runs[side].append(in_a_process(side, steps, arguments.threads, folder))
        worst = compare_outcomes(runs, folder)
    values = {
        "machine": machine(*PACKAGES) | {"threads": arguments.threads},
        "rounds": rounds,
        "steps_counted": steps - 1,
        "outcome": worst,
        "runs": runs,
    }
    write("train_vs_trl", markdown(values), values)


# --- one side, in a process of its own


def configuration(side: str, steps: int, folder: Path) -> Any:
    """The run configuration of a side; `trl` has that of `grpo`."""
    from lrpo_bench.config import parse_config

    ours = side != "trl"
    train: dict[str, Any] = {
        "method": "lrpo" if side.startswith("lrpo") else "grpo",
        "languages": ["bn", "th"],
        "arms": ["bn", "en", "sw", "th"],
        "steps": steps,
        "questions_per_step": 8,
        "group_size": 8,
        "quota": 4,
        "max_completion_tokens": 56,
        "save_every": 10_000,
        "length_bucketed": ours,
        "generation": "loop" if ours else "trl",
        "router": {"alpha": 0.3, "update_every": 2},
    }
    if side == "lrpo-calibrated":
        similarity = {"calibration": "mean", "table": str(folder / "table.json")}
        weights = {"verifiable": 1.0, "similarity": 1.0}
        train["reward"] = {"kind": "mixture", "similarity": similarity, "mixture": {"weights": weights}}
    tasks = [{"name": "arithmetic", "languages": ["bn", "en", "hi", "sw", "th"], "limit": 150}]
    return parse_config({"tasks": tasks, "model": {"name": "embedded:default", "device": "cpu"}, "train": train})


def make_table(folder: Path) -> None:
    """The calibration table that `lrpo-calibrated` needs, of the embedded world's own sentences."""
    command = ["lrpo_bench", "calibrate", "--encoder", "embedded:default", "--corpus", "embedded"]
    options = ["--languages", "bn,en,sw,th", "--out", str(folder / "table.json")]
    subprocess.run([sys.executable, "-m", *command, *options], check=True, stdout=subprocess.DEVNULL)


def in_a_process(side: str, steps: int, threads: int, folder: Path) -> dict[str, Any]:
    """What one run of a side found."""
    command = [sys.executable, __file__, "--side", side, "--steps", str(steps), "--threads", str(threads)]
    done = subprocess.run([*command, "--folder", str(folder)], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_side(side: str, steps: int, threads: int, folder: Path) -> None:
    """Trains one side and prints its figures as a line of JSON; leaves its weights in `folder`."""
    import torch

    from lrpo_bench.language_id.registry import get_detector
    from lrpo_bench.models.load import ModelSpec, load_hf_model
    from lrpo_bench.plan import make_plan
    from lrpo_bench.training.run import TrainingJob

    torch.set_num_threads(threads)
    config = configuration(side, steps, folder)
    plan = make_plan(config, train=True)
    loaded = load_hf_model(ModelSpec(config.model.name, device="cpu", dtype="float32"))
    detector = get_detector("auto", ("bn", "en", "hi", "sw", "th"))
    with tempfile.TemporaryDirectory() as name:
        job = TrainingJob(config, plan.training_samples, plan.arms, "tag", detector, Path(name))
        trainer = build(side, job, loaded)
        watch = Stopwatch(trainer)
        trainer.train()
    torch.save(loaded.model.state_dict(), folder / f"{side}.pt")
    found = {
        "wall": watch.seconds("wall"),
        "cpu": watch.seconds("cpu"),
        "peak_mib": round(peak_mib()),
        "losses": [row["loss"] for row in trainer.state.log_history if "loss" in row],
        "rewards": watch.rewards,
        "completion_tokens": [
            row["completions/mean_length"] for row in trainer.state.log_history if "completions/mean_length" in row
        ],
    }
    print(json.dumps(found))


def build(side: str, job: Any, loaded: Any) -> Any:
    """The trainer of a side."""
    from lrpo_bench.training.run import build_trainer

    if side != "trl":
        return build_trainer(job, loaded.model, loaded.tokenizer, lambda _: None)
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import GRPOTrainer

    from lrpo_bench.lrpo.rewards import GateConfig
    from lrpo_bench.models.hf import eos_token_ids
    from lrpo_bench.models.prompting import build_prompt
    from lrpo_bench.training.reward_functions.factory import RewardInputs, build_reward
    from lrpo_bench.training.run import data_order, trl_arguments

    train, ends = job.config.train, eos_token_ids(loaded.model, loaded.tokenizer)
    order = data_order(list(job.samples), train.steps * train.questions_per_step, job.config.seed)
    langs = [job.samples[name][1].lang for name in order]
    asked = [
        list(build_prompt(*job.samples[name], lang, job.instruct)) for name, lang in zip(order, langs, strict=True)
    ]
    seeded = type("SeededTRL", (_Seeded, GRPOTrainer), {})
    trainer = seeded(
        model=loaded.model,
        reward_funcs=[
            build_reward(train.reward, RewardInputs(job.samples, job.detector, GateConfig(), ends, job.arms, "cpu"))
        ],
        args=trl_arguments(job.config, job.folder / "trl"),
        train_dataset=Dataset.from_dict({"prompt": asked, "sample_id": order, "rollout_lang": langs}),
        processing_class=loaded.tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class _Seeded:
    """Gives TRL the random state that our trainer sets before each step, so that both sample the same."""

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        import torch

        from lrpo_bench.training.trainer import _step_seed

        torch.manual_seed(_step_seed(0, self.state.global_step, 0))  # type: ignore[attr-defined]
        return super()._generate_and_score_completions(inputs)  # type: ignore[misc]


class Stopwatch:
    """Seconds of a trainer's parts by step, on the wall and of the processor."""

    def __init__(self, trainer: Any) -> None:
        """Puts a watch around the trainer's methods."""
        from transformers import TrainerCallback

        self._now: dict[str, list[float]] = {}
        self.steps: list[dict[str, list[float]]] = []
        self.rewards: list[float] = []
        watch = self

        class Steps(TrainerCallback):  # type: ignore[misc]
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                watch._now = {}
                watch._started = clocks()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                watch._now["step"] = since(watch._started)
                watch.steps.append(watch._now)

        trainer.add_callback(Steps())
        for part, names in {
            "generation": ["_generate_single_turn"],
            "reward": ["_calculate_rewards"],
            "router": ["_route", "_learn_and_report"],
            "rollouts": ["_generate_and_score_completions"],
            "whole": ["training_step"],
        }.items():
            for name in names:
                if hasattr(trainer, name):
                    setattr(trainer, name, self._timed(part, getattr(trainer, name)))

    def _timed(self, part: str, method: Any) -> Any:
        @functools.wraps(method)
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = clocks()
            result = method(*args, **kwargs)
            spent, known = since(started), self._now.get(part, [0.0, 0.0])
            self._now[part] = [known[0] + spent[0], known[1] + spent[1]]
            if part == "reward":
                self.rewards.append(round(float(result.nanmean()), 6))
            return result

        return timed

    def seconds(self, clock: str) -> list[dict[str, float]]:
        """By counted step: each part's seconds and the step's."""
        which, rows = ("wall", "cpu").index(clock), []
        for step in self.steps[1:]:
            times = {part: values[which] for part, values in step.items()}
            row = {part: times.get(part, 0.0) for part in ("generation", "reward", "router")}
            row["update"] = times["whole"] - times["rollouts"] + (times["step"] - times["whole"])
            row["other"] = times["step"] - sum(row.values())
            rows.append({part: round(value, 5) for part, value in row.items()} | {"step": round(times["step"], 5)})
        return rows


def clocks() -> tuple[float, float]:
    """The wall's clock and the process's."""
    return time.perf_counter(), time.process_time()


def since(started: tuple[float, float]) -> list[float]:
    """Seconds of both clocks since then."""
    return [now - then for now, then in zip(clocks(), started, strict=True)]


# --- what they show together


def compare_outcomes(runs: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path) -> dict[str, Any]:
    """How far `grpo` ended from `trl`; raises `SystemExit` where it is not the same training."""
    import torch

    theirs, ours = runs["trl"][0], runs["grpo"][0]
    weights = [torch.load(folder / f"{side}.pt", weights_only=True) for side in ("trl", "grpo")]
    found = {
        "rewards_equal": theirs["rewards"] == ours["rewards"],
        "lengths_equal": theirs["completion_tokens"] == ours["completion_tokens"],
        "loss_difference": max(abs(a - b) for a, b in zip(theirs["losses"], ours["losses"], strict=True)),
        "weight_difference": max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]),
    }
    if not (found["rewards_equal"] and found["lengths_equal"]) or found["weight_difference"] > WEIGHTS_TOLERANCE:
        raise SystemExit(f"grpo is not trl's training: {found}")
    return found


def medians(runs: Sequence[Mapping[str, Any]], clock: str) -> dict[str, float]:
    """The median over all counted steps of all rounds, by part."""
    rows = [row for run in runs for row in run[clock]]
    return {part: statistics.median(row[part] for row in rows) for part in (*PARTS, "step")}


def ratio(runs: Mapping[str, Sequence[Mapping[str, Any]]], side: str, clock: str) -> float:
    """How many times longer a step of `trl` takes: the median of rounds."""
    by_round = {
        name: [statistics.median(row["step"] for row in run[clock]) for run in runs[name]] for name in ("trl", side)
    }
    return median_ratio(by_round["trl"], by_round[side])


def markdown(values: Mapping[str, Any]) -> str:
    """The page."""
    runs, outcome = values["runs"], values["outcome"]
    rows = []
    for side in SIDES:
        spent = medians(runs[side], "cpu")
        peak = statistics.median(run["peak_mib"] for run in runs[side])
        shares = [f"{1000 * spent[part]:.0f}" for part in (*PARTS, "step")]
        ratios = [f"{ratio(runs, side, clock):.2f}" for clock in ("wall", "cpu")]
        rows.append([f"`{side}`", *shares, *ratios, f"{peak:.0f}"])
    lrpo, calibrated = (medians(runs[side], "cpu") for side in ("lrpo", "lrpo-calibrated"))
    router, added = lrpo["router"] / lrpo["step"], calibrated["reward"] - lrpo["reward"]
    share = (calibrated["router"] + added) / calibrated["step"]
    header = ["side", *(f"{part} ms" for part in PARTS), "step ms", "x trl, wall", "x trl, cpu", "peak MiB"]
    return "\n".join([
        "# A training step against TRL's GRPO",
        "",
        "`python benchmarks/train_vs_trl.py`: embedded default, 8 questions x 8 rollouts of up to 56 tokens, loss",
        f"`dapo`, no KL. Medians over {values['rounds']} rounds of {values['steps_counted']} steps, in processor time.",
        "",
        table(header, rows),
        "",
        f"`grpo` and `trl` are the same training: equal rewards and lengths at every step, losses at most "
        f"{outcome['loss_difference']:.1e} and final weights at most {outcome['weight_difference']:.1e} apart.",
        f"Routing takes {router:.1%} of a step of `lrpo`; routing and calibrated similarity together add "
        f"{share:.1%} to a step of `lrpo-calibrated`.",
        "",
        machine_line(values["machine"]),
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
