"""What the benchmarks of detectors, rewards and intervals compute, on a few rows whose answer is known."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="benchmarks are not part of an installed copy")


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import detectors
    import measure
    import simulation

    return measure, detectors, simulation


def test_ways_take_turns_and_neither_is_always_first(modules):
    measure, _, _ = modules
    order = []
    seconds = measure.interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert "".join(order) == "abbaab"
    assert [len(times) for times in seconds.values()] == [3, 3]
    assert measure.median_ratio([2.0, 9.0, 8.0], [1.0, 3.0, 4.0]) == 2.0


def test_machine_has_no_names_and_no_paths(modules):
    measure, _, _ = modules
    line = measure.machine_line(measure.machine("numpy"))
    assert "numpy" in line and str(BENCHMARKS.parent) not in line


def test_beginnings_of_texts(modules):
    _, detectors, _ = modules
    cut = detectors.LENGTHS
    text = "eins zwei drei vier fünf sechs sieben acht"
    assert [cut[name](text) for name in ("sentence", "half", "quarter", "two words")] == [
        text, "eins zwei drei vier", "eins zwei", "eins zwei",
    ]  # fmt: skip
    assert cut["half"]("ตอนบ่ายเธออบเค้ก") == "ตอนบ่ายเ"  # no spaces: characters
    assert all(function("") == "" for function in cut.values())


def test_counts(modules):
    _, detectors, _ = modules
    counts = detectors._counts(["de", "de", "de", "sw"], ["de", None, "nl", "sw"])
    assert counts == {
        "de": {"right": 1, "wrong": 1, "abstained": 1},
        "sw": {"right": 1, "wrong": 0, "abstained": 0},
    }
    assert detectors._shares(counts, ["de", "sw"]) == ("0.500", "0.250", "0.250")


def test_discordant_pairs_and_their_sign_test(modules):
    """sw is not known to both. Of ten texts that differ all ten are ours: p = 2 / 2^10."""
    _, detectors, _ = modules
    langs, ours, plain = ["de", "de", "fr", "fr", "sw"], ["de", None, "fr", "fr", "sw"], ["nl", "de", "fr", "it", None]
    assert detectors.discordant(langs, ours, plain, frozenset(("de", "fr"))) == {"de": [1, 1], "fr": [1, 0]}
    row = detectors._against("profiles", "half", {"de": [10, 0], "fr": [1, 2]})
    assert row == ("profiles, half", "11", "2", "0.022", "de", "none")  # 2 (1 + 13 + 78) / 2^13 = .0225
    assert detectors._against("profiles", "half", {"de": [0, 0]})[3:] == ("1", "none", "none")


def test_sentences_are_drawn_by_seed(modules, tmp_path):
    _, detectors, _ = modules
    (tmp_path / "de.txt").write_text("\n".join(f"Satz {i}" for i in range(50)), encoding="utf-8")
    first = detectors.read_sentences(tmp_path, 5)
    assert first == detectors.read_sentences(tmp_path, 5) and len(set(first["de"])) == 5


def test_simulated_scores_have_the_accuracy_they_are_said_to_have(modules):
    """The share of right answers over many questions is the parameter that coverage is checked against."""
    import numpy as np

    simulation = modules[2]
    rng = np.random.default_rng(0)
    for accuracy in (0.5, 0.9):
        values = simulation.scores(rng, 40_000, 2, accuracy)
        assert values.mean() == pytest.approx(accuracy, abs=0.01)
        # Translations of one question go together: their correlation is far from 0.
        assert np.corrcoef(values.T)[0, 1] > 0.3
