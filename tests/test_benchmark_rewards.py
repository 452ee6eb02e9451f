"""The pages on calibration and on the gate, on small numbers worked by hand."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="benchmarks are not part of an installed copy")


@pytest.fixture(autouse=True)
def on_path(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


def test_spreads_by_hand():
    import gate

    # The first group: 1, .5 and 0 pass (sd .5), one is closed; the second has none closed and is left out.
    quality = np.array([[1.0, 0.5, 0.0, 0.9], [0.1, 0.2, 0.3, 0.4]])
    gates = np.array([[1.0, 1.0, 1.0, 0.0], [1.0] * 4])
    found = gate.spreads(quality, gates)
    assert found["groups"] == 1
    assert found["separate"] == pytest.approx(1 / (0.5 + 1e-4))
    # With a 0 for the closed one: 1, .5, 0, 0 has mean .375 and variance (.390625 + .015625 + 2 * .140625) / 3.
    assert found["hard"] == pytest.approx(1 / (math.sqrt(0.6875 / 3) + 1e-4))
    assert gate.spreads(quality[1:], gates[1:]) == {"groups": 0.0}


def test_gates_close_at_random_and_never_open():
    import gate

    gates = np.zeros((100, 8))
    gates[50:] = 1.0
    closed = gate.closed_at_random(gates, 0.25)
    assert not closed[:50].any() and 0.7 < closed[50:].mean() < 0.8
    assert (closed == gate.closed_at_random(gates, 0.25)).all()


def audited(low: float) -> dict:
    pairs = {
        "de-en": {"n": 9, "equivalent": [0.7, 0.8, 0.9], "hard": [0.1, 0.2, 0.3]},
        "de-sw": {"n": 9, "equivalent": [0.2, low, 0.5], "hard": [0.4, 0.6, 0.8]},
    }
    keys = (
        "spread_between_pairs",
        "auc",
        "winner_changed",
        "winner_tied",
        "top_language_share",
        "planted_found",
        "cut",
    )
    return {"pairs": pairs} | dict.fromkeys(keys, 0.25)


def test_calibrations_side_by_side(tmp_path):
    import calibration

    table = {"encoder": {"name": "e", "dimension": 3, "weights_hash": "sha256:" + "ab" * 32}, "shrinkage": 1.5}
    audit = {"n_lines": 9, "n_groups": 5, "group_size": 2, "methods": {m: audited(0.4) for m in calibration.METHODS}}
    (tmp_path / "t.json").write_text(json.dumps(table))
    (tmp_path / "t.audit.json").write_text(json.dumps(audit))
    found = calibration.read("small", tmp_path / "t.json")
    assert found.told_apart() == ["de-en"], "in de-sw near misses lie above"
    text = calibration.markdown([found])
    assert "3 languages, 2 pairs of two" in text and "above the median near miss in 1 pairs" in text
    assert "| de | 0.600 / 0.400 |" in text, "means of .8 and .4, and of .2 and .6"
    assert "| sw | 0.400 / 0.600 |" in text
    calibration.write_pairs([found], tmp_path / "pairs.csv")
    rows = (tmp_path / "pairs.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 3 and rows[1] == "small,de-en,none,9,0.700,0.800,0.900,0.100,0.200,0.300"
