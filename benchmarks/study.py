"""What the study of the embedded worlds found: gain against practice, and the router's regret, as a table and a figure.

    python benchmarks/study.py            # reads results/study, writes results/study/README.md and gain.svg

A row is a method on one profile, over its seeds: the share of its rollouts in the languages that are trained
(*practice*), what the router's choices give up against the world's truth (*regret*, a mean over the run's steps), the
gain on the trained languages, and the difference of their end value from GRPO's, paired by seed and question.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import table

from lrpo_bench.results.router_regret import regret_summary
from lrpo_bench.results.seeds import SeedEstimate
from lrpo_bench.results.study_table import BASELINE, StudyCell, study_tables
from lrpo_bench.results.sweep_summary import SweepSummary, group_numbers, sweep_summary

ROOT = Path(__file__).resolve().parents[1]
PROFILES = ("comprehension-weak", "production-weak", "knowledge-split")
TRAINED = "avg:trained"
_INTRODUCTION = """# The study: does routing pay?

Every method starts from the same weights of a world with known weaknesses and gets the same rollouts: 40 steps of 8
questions x 8. *Practice* is the share of rollouts in the languages that are trained; *regret* is what the choice of
languages gives up in expected accuracy against each question's best one (lower is better routing; the source language
alone would give up the figure in brackets). Gains are changes of the share of unseen questions answered rightly in the
asked language, averaged over the trained languages, with 95% intervals for new seeds and new questions; differences
are from GRPO at the end, paired by seed and question, * where p < .05 after Holm's correction over the profile's
methods (as in `lrpo-bench summary`), with the smallest difference that would be found four times out of five (MDE).
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One method on one profile."""

    method: str
    n_seeds: int
    practice: float
    regret: float
    source_regret: float
    gain: SeedEstimate
    difference: StudyCell | None


def rows_of(summary: SweepSummary, languages: str = TRAINED) -> list[Row]:
    """One row a method that was trained, most practice first."""
    tables = (table for table in study_tables(summary, BASELINE) if table.baseline and table.language == languages)
    differences = next(tables).cells
    found = []
    for group in summary.collection.groups:
        if group.method == "vanilla":
            continue
        gain = next(n.change for task in summary.tasks for n in group_numbers(summary, group, task, (languages,)))
        logs = [_read_rows(run.path / "router.jsonl") for run in group.runs]
        regrets = [regret for log in logs if (regret := regret_summary(log)) is not None]
        found.append(
            Row(
                group.name,
                len(group.runs),
                _mean(_practice(log, group.trained or ()) for log in logs),
                _mean(regret.rollouts for regret in regrets),
                _mean(regret.source for regret in regrets),
                gain,
                differences.get((group.name, group.model)),
            )
        )
    return sorted(found, key=lambda row: -row.practice)


def _practice(log: Sequence[dict[str, Any]], trained: Iterable[str]) -> float:
    chosen = [sum(row["sampled"].get(lang, 0) for lang in trained) for row in log]
    return sum(chosen) / sum(sum(row["sampled"].values()) for row in log)


def _read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else math.nan


def markdown(profiles: dict[str, list[Row]]) -> str:
    """The page."""
    parts = [_INTRODUCTION]
    header = ("method", "seeds", "practice", "regret", "gain, trained languages", "difference from GRPO")
    for profile, rows in profiles.items():
        parts += [f"## {profile}\n", table(header, [_cells(row) for row in rows]) + "\n"]
    parts.append("![gain against practice](gain.svg)\n\nMade by `python benchmarks/study.py`.\n")
    return "\n".join(parts)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.method,
        str(row.n_seeds),
        f"{row.practice:.2f}",
        f"{row.regret:.3f} ({row.source_regret:.3f})",
        _shown(row.gain),
        "" if row.difference is None else _shown(row.difference.estimate, row.difference.p_holm),
    )


def _shown(found: SeedEstimate, p_holm: float = math.nan) -> str:
    low, high = found.ci95
    star = "*" if p_holm < 0.05 else ""
    mde = "" if math.isnan(found.detectable) else f", MDE {found.detectable:.3f}"
    return f"{found.value:+.3f} [{low:+.3f}, {high:+.3f}]{star}{mde}"


def draw(profiles: dict[str, list[Row]], path: Path) -> None:
    """The figure: gain against practice, one panel a profile, bars are 95% intervals."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams.update({"svg.hashsalt": "lrpo-bench", "svg.fonttype": "none", "font.size": 9})
    names = sorted({_label(row.method) for rows in profiles.values() for row in rows})
    colour = {name: f"C{i}" for i, name in enumerate(names)}  # a method has its colour in every panel
    figure, panels = plt.subplots(1, len(profiles), figsize=(11, 3.6), sharey=True)
    for panel, (profile, rows) in zip(panels, profiles.items(), strict=True):
        several = [row for row in rows if row.n_seeds > 1]
        for row in several:
            low, high = row.gain.ci95
            bars = [[row.gain.value - low], [high - row.gain.value]]
            name = _label(row.method)
            panel.errorbar(row.practice, row.gain.value, bars, fmt="o", capsize=2, label=name, color=colour[name])
        panel.axhline(0, color="0.6", linewidth=0.8)
        panel.set(title=profile, xlabel="practice: rollouts in trained languages", xlim=(0, 1.05))
        panel.legend(fontsize=7, frameon=False, loc="upper left")
    panels[0].set_ylabel("gain on trained languages")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _label(method: str) -> str:
    return (
        method.removeprefix("lrpo-fixed-").replace(" (baseline_mix 0.0)", "").replace("(baseline_mix 1.0)", "own base")
    )


def main() -> None:
    """Reads the runs, writes the page and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "study")
    folder = parser.parse_args().results
    found = {name: rows_of(sweep_summary(folder / name)) for name in PROFILES if (folder / name).is_dir()}
    if not found:
        raise SystemExit(f"study: no runs in {folder}; run `lrpo-bench sweep sweeps/study-production` and so on")
    draw(found, folder / "gain.svg")
    (folder / "README.md").write_text(markdown(found), encoding="utf-8")


if __name__ == "__main__":
    main()
