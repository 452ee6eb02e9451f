"""Cumulative regret of every router on the world's truth, without a model: `python benchmarks/routers.py`.

Rewards are coin flips with the accuracies of `lrpo_bench.world.truth` (the shipped default world, before training), so
what is measured is how fast each router finds out which language knows the answer. The policy does not learn here: a
router that follows a changing policy better gets no credit.

Two scenarios: with English among the languages, which knows nearly everything, one language is best nearly always; and
without it, each region's facts are best known in its own language, so that the best language depends on the question.

Writes `results/benchmarks/routers.json` and `routers.md`; takes about two minutes of one CPU core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lrpo_bench.config import TrainConfig
from lrpo_bench.lrpo.routing import Context, Observation, Router
from lrpo_bench.router_config import RouterConfig
from lrpo_bench.training.methods import get_method
from lrpo_bench.training.regret import truth_of
from lrpo_bench.training.routers import build_router
from lrpo_bench.world.questions import Kind
from lrpo_bench.world.truth import AskedAbout, Truth

QUESTIONS, GROUP, QUOTA = 4, 8, 2
HORIZONS = (60, 600)
SEEDS = 20
TOPICS: dict[Kind, str] = {
    "reasoning": "reasoning",
    "inference": "reasoning",
    "regional": "regional knowledge",
}
ROUTERS: dict[str, dict[str, Any]] = {
    "paper": {},
    "paper, the demo's rates": {
        "alpha": 0.3, "update_every": 2, "temperature_decay": 0.98, "explore_decay": 0.97
    },
    "ucb1": {"kind": "ucb1"},
    "thompson": {"kind": "thompson"},
    "exp3": {"kind": "exp3"},
    "hierarchical": {"kind": "hierarchical"},
}  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """What is asked, and the languages to choose from."""

    title: str
    arms: tuple[str, ...]
    sources: tuple[str, ...]
    regions: tuple[str, ...]


SCENARIOS = {
    "with English": Scenario(
        "English among the languages",
        ("bn", "de", "en", "sw", "th"),
        ("bn", "sw", "th"),
        ("bengal", "dach", "east_africa", "british_isles", "thailand"),
    ),
    "without English": Scenario(
        "each region's facts in its own language",
        ("de", "es", "fr", "ru", "zh"),
        ("de", "ru", "zh"),
        ("china", "dach", "francophone", "hispanic", "russia"),
    ),
}


def questions(scenario: Scenario, truth: Truth) -> list[tuple[Context, np.ndarray]]:
    """Contexts and the accuracy of each arm; regional questions are half of them, as many of each other kind."""
    found = []
    for source in scenario.sources:
        asked = [AskedAbout("regional", source, (region,)) for region in scenario.regions]
        for kind in ("reasoning", "inference"):
            asked += [AskedAbout(kind, source)] * (len(scenario.regions) // 2)
        for each in asked:
            accuracy = truth.accuracy(each)
            context = Context(TOPICS[each.kind], source, each.regions, each.kind)
            found.append((context, np.array([accuracy[lang] for lang in scenario.arms])))
    return found


def simulate(router: Router, pool: list[tuple[Context, np.ndarray]], steps: int, seed: int) -> float:
    """The regret of a router added up over steps, each the mean over its questions."""
    generator = np.random.default_rng([seed, steps])
    n, total = GROUP - QUOTA, 0.0
    for step in range(steps):
        seen = []
        for i in generator.integers(len(pool), size=QUESTIONS):
            context, accuracy = pool[i]
            probs = router.probs(context, step)
            total += float(accuracy.max() - probs @ accuracy) / QUESTIONS
            edges = np.cumsum(probs)
            draws = (generator.random() + np.arange(n) / n) % 1.0 if router.draws_evenly else generator.random(n)
            arms = np.minimum(np.searchsorted(edges, draws * edges[-1], side="right"), len(probs) - 1)
            rewards = generator.random(n) < accuracy[arms]
            for arm, reward in zip(arms, rewards, strict=True):
                seen.append(Observation(context, router.arms[arm], float(reward), float(probs[arm])))
        router.observe(seen, step)
    return total


def fixed_regrets(pool: list[tuple[Context, np.ndarray]], arms: tuple[str, ...]) -> dict[str, float]:
    """Expected regret per step of what does not learn."""
    accuracy = np.array([values for _, values in pool])
    best = accuracy.max(axis=1)
    by_arm = (best[:, None] - accuracy).mean(axis=0)
    sources = [arms.index(context.source_lang) for context, _ in pool]
    return {
        "uniform": float((best - accuracy.mean(axis=1)).mean()),
        "source language": float((best - accuracy[np.arange(len(pool)), sources]).mean()),
        f"always {arms[int(by_arm.argmin())]} (best fixed)": float(by_arm.min()),
    }


def measure(seeds: int) -> list[dict[str, Any]]:
    """A row for each scenario, horizon and router."""
    truth = truth_of("embedded:default")
    assert truth is not None
    rows: list[dict[str, Any]] = []
    for name, scenario in SCENARIOS.items():
        pool = questions(scenario, truth)
        for steps in HORIZONS:
            for policy, regret in fixed_regrets(pool, scenario.arms).items():
                rows.append({"scenario": name, "steps": steps, "router": policy, "regret": regret * steps})
            for router, settings in ROUTERS.items():
                train = TrainConfig(
                    steps=steps, questions_per_step=QUESTIONS, group_size=GROUP, quota=QUOTA,
                    router=RouterConfig(**settings),
                )  # fmt: skip
                started = time.process_time()
                values = [
                    simulate(build_router(get_method("lrpo"), scenario.arms, train), pool, steps, seed)
                    for seed in range(seeds)
                ]
                rows.append(
                    {
                        "scenario": name,
                        "steps": steps,
                        "router": router,
                        "regret": float(np.mean(values)),
                        "stderr": float(np.std(values, ddof=1) / np.sqrt(seeds)),
                        "ms_per_step": 1000 * (time.process_time() - started) / (steps * seeds),
                    }
                )
                sys.stderr.write(f"{name}, {steps} steps, {router}: {np.mean(values):.2f}\n")
    return rows


def as_markdown(rows: list[dict[str, Any]], seeds: int) -> str:
    """The table, a block a scenario."""
    lines = [
        "# Regret of the routers on the world's truth",
        "",
        f"Made by `python benchmarks/routers.py` ({seeds} seeds, {QUESTIONS} questions a step, {GROUP - QUOTA} routed "
        "rollouts each; standard errors over seeds). Regret is expected accuracy given away against the best language "
        "of each question, added up over steps; per step, the mean over all of them. Rewards are coin flips with the "
        "world's accuracies: no model, and no policy that learns.",
    ]
    for name, scenario in SCENARIOS.items():
        lines += ["", f"## {name[0].upper()}{name[1:]}: {scenario.title}", ""]
        lines += [
            f"Languages {', '.join(scenario.arms)}; questions in {', '.join(scenario.sources)}.",
            "",
            "| router | 60 steps | per step | 600 steps | per step | ms a step |",
            "|---|---|---|---|---|---|",
        ]
        for router in dict.fromkeys(row["router"] for row in rows if row["scenario"] == name):
            cells = []
            for steps in HORIZONS:
                row = next(r for r in rows if (r["scenario"], r["steps"], r["router"]) == (name, steps, router))
                error = f" ± {row['stderr']:.2f}" if "stderr" in row else ""
                cells += [f"{row['regret']:.2f}{error}", f"{row['regret'] / steps:.3f}"]
            cost = f"{row['ms_per_step']:.2f}" if "ms_per_step" in row else ""
            lines.append(f"| {router} | {' | '.join(cells)} | {cost} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    rows = measure(arguments.seeds)
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"seeds": arguments.seeds, "rows": rows}, indent=1)
    (arguments.out / "routers.json").write_text(text + "\n", encoding="utf-8")
    (arguments.out / "routers.md").write_text(as_markdown(rows, arguments.seeds), encoding="utf-8")


if __name__ == "__main__":
    main()
