"""Whether the intervals and tests keep their promises, by simulation: coverage and false positives.

    python benchmarks/simulation.py             # writes results/benchmarks/simulation.md and .json
    python benchmarks/simulation.py --quick

Scores are right or wrong. Each source question has a difficulty (standard deviation 1.5), each translation of it adds
its own noise (standard deviation 1), and an answer is right where the sum is above a threshold; so translations of one
question are not independent, and the true accuracy is known exactly. Everything is drawn from one seeded generator.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from measure import machine, machine_line, table, write
from scipy import special

from lrpo_bench.evaluation.significance import mcnemar_exact, sign_flip_test
from lrpo_bench.evaluation.statistics import clustered_mean, paired_difference, seeds_and_questions

SHAPES = ((30, 1), (30, 3), (30, 11), (100, 1), (100, 11), (250, 1), (250, 11))
"""Source questions and languages."""
ACCURACIES = (0.5, 0.9, 0.98)
KINDS = ("ours", "without_half", "t", "naive")
SPREAD = 1.5


def main() -> None:
    """Simulates and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000, help="simulated evaluations a row (5000)")
    parser.add_argument("--quick", action="store_true", help="300 trials")
    parser.add_argument("--name", default="simulation", help="name of the files written")
    arguments = parser.parse_args()
    trials = 300 if arguments.quick else arguments.trials
    rows = [(*shape, accuracy) for shape in SHAPES for accuracy in ACCURACIES]
    values: dict[str, Any] = {
        "trials": trials,
        "coverage": [coverage(trials, *row) for row in rows],
        "false_positives": [false_positives(trials, *row) for row in rows],
        "seeds": [seed_coverage(trials, seeds, spread) for seeds in (3, 4, 8) for spread in (0.0, 0.01, 0.05)],
        "machine": machine("numpy", "scipy"),
    }
    write(arguments.name, markdown(values), values)


def scores(rng: np.random.Generator, questions: int, languages: int, accuracy: float) -> np.ndarray:
    """Right or wrong, shape (questions, languages), each right with probability `accuracy`."""
    threshold = -float(special.ndtri(accuracy)) * math.hypot(SPREAD, 1.0)
    latent = rng.normal(0, SPREAD, (questions, 1)) + rng.normal(0, 1, (questions, languages))
    return (latent > threshold).astype(float)


def coverage(trials: int, questions: int, languages: int, accuracy: float) -> dict[str, Any]:
    """Shares of nominal 95% intervals of the average over languages that hold the true accuracy, by kind."""
    rng = np.random.default_rng([0, questions, languages, int(100 * accuracy)])
    names, langs = np.repeat(np.arange(questions), languages), np.tile(np.arange(languages), questions)
    hits = np.zeros(len(KINDS))
    for _ in range(trials):
        values = scores(rng, questions, languages, accuracy).ravel()
        intervals = (
            clustered_mean(values, names, langs).ci95,
            clustered_mean(values, names, langs, is_share=False).ci95,
            clustered_mean(values, names, langs, interval="t").ci95,
            clustered_mean(values, np.arange(values.size), interval="t").ci95,
        )
        hits += [low <= accuracy <= high for low, high in intervals]
    shares = dict(zip(KINDS, (hits / trials).tolist(), strict=True))
    return {"questions": questions, "languages": languages, "accuracy": accuracy} | shares


def false_positives(trials: int, questions: int, languages: int, accuracy: float) -> dict[str, Any]:
    """Shares of evaluations before and after nothing in which a difference at 5% is found, by test."""
    rng = np.random.default_rng([1, questions, languages, int(100 * accuracy)])
    names, langs = np.repeat(np.arange(questions), languages), np.tile(np.arange(languages), questions)
    found = np.zeros(3)
    for before, after in null_pairs(rng, trials, (questions, languages), accuracy):
        found += [
            paired_difference(before.ravel(), after.ravel(), names, langs).excludes_zero,
            mcnemar_exact(before[:, 0], after[:, 0]) < 0.05,
            sign_flip_test((after - before).ravel(), names, rng, langs, n_resamples=499) < 0.05,
        ]
    shares = dict(zip(("paired", "mcnemar", "sign_flip"), (found / trials).tolist(), strict=True))
    return {"questions": questions, "languages": languages, "accuracy": accuracy} | shares


def null_pairs(
    rng: np.random.Generator, trials: int, size: tuple[int, int], accuracy: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Two answers to the same questions by models that are equally good."""
    threshold = -float(special.ndtri(accuracy)) * math.hypot(SPREAD, 0.7, 1.0)
    for _ in range(trials):
        difficulty = rng.normal(0, SPREAD, (size[0], 1)) + rng.normal(0, 0.7, size)
        before, after = ((difficulty + rng.normal(0, 1, size) > threshold).astype(float) for _ in range(2))
        yield before, after


def seed_coverage(trials: int, seeds: int, spread: float) -> dict[str, Any]:
    """The share of 95% intervals over seeds and 150 questions that hold the true mean difference of 0.02."""
    rng = np.random.default_rng([2, seeds, int(1000 * spread)])
    hits = 0
    for _ in range(trials):
        cells = 0.02 + spread * rng.normal(size=(seeds, 1)) + 0.1 * rng.normal(size=(1, 150))
        low, high = seeds_and_questions(cells + 0.3 * rng.normal(size=(seeds, 150)), bounds=None).ci95
        hits += low <= 0.02 <= high
    return {"seeds": seeds, "spread": spread, "coverage": hits / trials}


def shape(row: dict[str, Any]) -> str:
    """Questions and languages of a row."""
    return f"{row['questions']} x {row['languages']}"


def markdown(values: dict[str, Any]) -> str:
    """The page."""
    trials = values["trials"]
    error = 100 * math.sqrt(0.95 * 0.05 / trials)
    percent = "{:.1%}".format
    covered = [(shape(r), percent(r["accuracy"]), *(percent(r[k]) for k in KINDS)) for r in values["coverage"]]
    false = [
        (shape(r), percent(r["accuracy"]), *(percent(r[k]) for k in ("paired", "mcnemar", "sign_flip")))
        for r in values["false_positives"]
    ]
    seeds = [(r["seeds"], r["spread"], percent(r["coverage"])) for r in values["seeds"]]
    size = "questions x languages"
    kinds = ["ours (Wilson, t, half a question more)", "Wilson without it", "clustered t", "naive t"]
    parts = [
        "# Do the intervals and tests keep their promises?",
        f"{trials} simulated evaluations a row: a share near 95% or 5% is known to about {2 * error:.1f} points.",
        "Share of nominal 95% intervals of the average over languages that hold the truth (wanted: 93 to 97%). With 30 "
        "questions, or accuracy .98, few outcomes are possible, and no interval gets nearer than a point or two:",
        table([size, "accuracy", *kinds], covered),
        "Share of comparisons of equally good models in which a difference is found at 5% (wanted: at most 5.5%):",
        table([size, "accuracy", "paired interval", "McNemar, one language", "sign flip"], false),
        "Share of 95% intervals over training seeds and 150 questions that hold the truth, by how far seeds differ:",
        table(["seeds", "standard deviation between seeds", "coverage"], seeds),
        machine_line(values["machine"]),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
