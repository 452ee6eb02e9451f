"""How often the pytest plug-in's rule cries wolf, and how often it finds a true loss, by simulation.

    python benchmarks/plugin_rates.py            # prints the table, writes results/benchmarks/plugin_rates.md

A session asks several checks at once, as a test suite does; the stated rate is the chance of one false alarm or more
in a session in which nothing changed. A question is right with chance logistic(question + language + run), question
~ N(0, 2), so that questions differ as real ones do; `seeds` is the spread of `run` between training seeds, which
several stored baselines (repeats) measure. Sessions of one row are independent; the interval is Wilson's, at 95%.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lrpo_bench.evaluation.regression import regression_test

LEVEL = 0.05
OUT = Path(__file__).resolve().parents[1] / "results" / "benchmarks" / "plugin_rates.md"


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    checks: int = 10
    questions: int = 150
    repeats: int = 1
    seeds: float = 0.0
    """Standard deviation between training seeds, in logits."""
    drop: float = 0.0
    """Loss of the first check's new run, in logits; the other checks then only share the level and are not drawn."""


SETTINGS = (
    Setting(checks=1),
    Setting(),
    Setting(questions=40),
    Setting(checks=3, repeats=3, seeds=0.3),
    Setting(checks=3, repeats=1, seeds=0.3),
    *(Setting(drop=drop) for drop in (0.25, 0.5, 1.0, 1.5)),
    *(Setting(drop=drop, repeats=3, seeds=0.3) for drop in (0.5, 1.5)),
)


@dataclass(frozen=True)
class Rates:
    """What happened over the sessions of a setting."""

    alarms: float
    """Share of sessions with a false alarm; NaN where there was a true loss."""
    naive: float
    """The same without correction for the number of checks."""
    found: float
    """Share of sessions in which the true loss was found; NaN where there was none."""
    lost: float
    """Mean loss of the first check, in points of accuracy."""


def simulate(setting: Setting, sessions: int, seed: int) -> Rates:
    """The rates over some sessions."""
    rng = np.random.default_rng(seed)
    alarms = naive = found = 0
    losses = []
    for _ in range(sessions):
        question, p = rng.normal(0, 2, setting.questions), []
        for check in range(1 if setting.drop else setting.checks):
            shift = rng.normal(0, setting.seeds, (setting.repeats + 1, 1)) + rng.normal(0, 0.5)
            if check == 0:
                shift[-1] -= setting.drop
            chances = 1 / (1 + np.exp(-question - shift))
            right = (rng.random(chances.shape) < chances).astype(float)
            p.append(regression_test(right[:-1], right[-1], range(setting.questions)).p)
            if check == 0:
                losses.append(chances[:-1].mean() - chances[-1].mean())
        alarms += min(p) <= LEVEL / setting.checks
        naive += min(p) <= LEVEL
        found += p[0] <= LEVEL / setting.checks
    lost = 100 * float(np.mean(losses))
    if setting.drop:
        return Rates(math.nan, math.nan, found / sessions, lost)
    return Rates(alarms / sessions, naive / sessions, math.nan, lost)


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share.

    Example:
        >>> low, high = wilson(0.05, 500)
        >>> round(low, 3), round(high, 3)
        (0.034, 0.073)
    """
    z = 1.959964
    centre, spread = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)


def table(sessions: int, seed: int) -> str:
    """The Markdown table of all settings."""
    lines = [
        "| checks | questions | baselines | seeds differ by | true loss | false alarms | uncorrected | loss found |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for setting in SETTINGS:
        rates = simulate(setting, sessions, seed)
        loss = f"{rates.lost:.1f} points" if setting.drop else "none"
        cells = [setting.checks, setting.questions, setting.repeats, setting.seeds, loss]
        cells += [_with_interval(share, sessions) for share in (rates.alarms, rates.naive, rates.found)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def _with_interval(share: float, n: int) -> str:
    if math.isnan(share):
        return ""
    low, high = wilson(share, n)
    return f"{share:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """Prints the table, and writes it with what it means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    rows = table(arguments.sessions, arguments.seed)
    text = (
        "# Rates of the pytest plug-in\n\n"
        f"{arguments.sessions} simulated sessions a row, seed {arguments.seed}; stated rate of false alarms {LEVEL} a "
        "session. With one baseline the rule knows nothing of the spread between training seeds: that row shows what "
        "the repeats of the row above it are for.\n\n"
        f"{rows}\n\nMade by `python benchmarks/plugin_rates.py`.\n"
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text)
    print(f"wrote {arguments.out.name}")


if __name__ == "__main__":
    main()
