"""How much one answer in a wrong language drowns differences in quality, on a run's own rollouts.

    lrpo-bench run --config methods/lrpo --out runs/gate
    python benchmarks/gate.py runs/gate            # writes results/benchmarks/gate.md

Each rollout's quality is its cosine to the reference by the embedded encoder. Among the rollouts of a group that pass
the gate, the spread of advantages (best minus worst) says how much quality still teaches: under the paper's gate (a
closed one earns 0), and under `train.gate: separate`, which is what they would have without the closed ones. Gates are
once those of the run, once also closed at random (seeded), as for a policy that often leaves the language.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from measure import table, write
from numpy.typing import NDArray

from lrpo_bench.config import parse_config
from lrpo_bench.lrpo.advantages import group_advantages, separate_gate_advantages
from lrpo_bench.models.encoder import cosines, load_encoder
from lrpo_bench.plan import make_plan
from lrpo_bench.results.files import read_rows
from lrpo_bench.results.store import read_manifest

Matrix = NDArray[np.float64]
SHARES = (0.0, 0.05, 0.125, 0.25)
"""Shares of gates that are closed at random, besides the run's own."""


def spreads(quality: Matrix, gates: Matrix) -> dict[str, float]:
    """Mean spread of advantages among the rollouts that pass, over groups in which some pass and some do not.

    Args:
        quality: shape (groups, G).
        gates: the same, 0 or 1.
    """
    size = quality.shape[1]
    mixed = (gates.sum(axis=1) >= 2) & (gates.sum(axis=1) < size)
    q, g = quality[mixed], gates[mixed]
    if not len(q):
        return {"groups": 0.0}
    ways = {
        "hard": group_advantages((q * g).ravel(), size),
        "separate": separate_gate_advantages((q * g).ravel(), g.ravel(), size),
    }
    shown = {name: advantages.reshape(q.shape) for name, advantages in ways.items()}
    found = {name: float(np.mean([np.ptp(a[o > 0]) for a, o in zip(w, g, strict=True)])) for name, w in shown.items()}
    return {"groups": float(len(q)), **found}


def closed_at_random(gates: Matrix, share: float, seed: int = 0) -> Matrix:
    """The gates, with a share of them closed besides."""
    generator = np.random.Generator(np.random.Philox(seed))
    return np.where(generator.uniform(size=gates.shape) < share, 0.0, gates)


def qualities(run: Path) -> tuple[Matrix, Matrix]:
    """Cosines to references and gates of a run's rollouts, a row a group; groups with an unknown one are left out."""
    config = parse_config(read_manifest(run).config)
    samples = make_plan(config, train=True).training_samples
    groups = defaultdict(list)
    for row in read_rows(run / "rollouts.jsonl"):
        groups[row["step"], row["sample_id"]].append(row)
    rows = [row for group in groups.values() for row in group]
    encoder = load_encoder("embedded:default", device="cpu")
    references = [samples[row["sample_id"]][1].reference or "" for row in rows]
    quality = cosines(encoder.encode([row["completion"] for row in rows]), encoder.encode(references))
    gates = np.array([np.nan if row["rewards"]["gate"] is None else row["rewards"]["gate"] for row in rows])
    shape = (len(groups), config.train.group_size)
    quality, gates = quality.reshape(shape), gates.reshape(shape)
    known = np.isfinite(quality).all(axis=1) & np.isfinite(gates).all(axis=1)
    return quality[known], gates[known]


def main() -> None:
    """Reads the run, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path)
    quality, gates = qualities(parser.parse_args().run)
    inner = np.quantile(quality[gates > 0], [0.05, 0.5, 0.95])
    found = {share: spreads(quality, closed_at_random(gates, share)) for share in SHARES}
    lines = [
        (
            "the run's own" if not share else f"and {share:.1%} closed at random",
            f"{one['groups']:.0f} of {len(gates)}",
            *(f"{one[name]:.3f}" if name in one else "" for name in ("hard", "separate")),
        )
        for share, one in found.items()
    ]
    header = ("gates", "groups with some closed", "paper's gate", "separate gate")
    about = (__doc__ or "").strip().split("\n\n")[2]
    text = (
        f"# The gate and quality\n\n{about}\n\n{len(gates)} groups of {gates.shape[1]}; cosines of rollouts that pass: "
        f"5% {inner[0]:.3f}, median {inner[1]:.3f}, 95% {inner[2]:.3f}; closed in the run {(gates == 0).mean():.2%}."
        f"\n\nSpread of advantages among rollouts that pass:\n\n{table(header, lines)}\n"
    )
    write("gate", text, {"spreads": {str(share): one for share, one in found.items()}, "groups": len(gates)})


if __name__ == "__main__":
    main()
