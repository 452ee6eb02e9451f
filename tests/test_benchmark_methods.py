"""The table of methods: gains of runs made up here by hand, and the README's table against the committed runs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import make_run

from lrpo_bench.config_files import SHIPPED_CONFIGS
from lrpo_bench.evaluation.metrics import find_metric
from lrpo_bench.results.evaluations import read_evaluation
from lrpo_bench.sweeps.file import load_sweep
from lrpo_bench.training.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS, RESULTS = ROOT / "benchmarks", ROOT / "results" / "methods"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="benchmarks are not part of an installed copy")


@pytest.fixture
def methods(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import methods

    return methods


@pytest.fixture
def folder(tmp_path):
    for seed in (0, 1, 2):
        make_run(tmp_path / "lrpo" / f"seed{seed}", method="lrpo", seed=seed, after=0.8, n=20)
        make_run(tmp_path / "lrpo-warm" / f"seed{seed}", method="lrpo", seed=seed, after=0.7, n=20, warm_start=True)
        make_run(tmp_path / "grpo" / f"seed{seed}", method="grpo", seed=seed, after=0.6, n=20)
    return tmp_path


def stored_gain(run: Path, language: str) -> float:
    values = [find_metric(read_evaluation(run / name).metrics, "accuracy_in_language", language).value
              for name in ("after", "before")]  # fmt: skip
    return values[0] - values[1]


def test_a_row_holds_the_registry_and_the_mean_gain_of_its_seeds(methods, folder):
    rows = methods.rows_of(folder)
    assert [row.method.name for row in rows] == ["grpo", "lrpo", "lrpo-warm"]
    for row in rows:
        for language in ("avg:trained", "avg:all"):
            expected = np.mean([stored_gain(run, language) for run in sorted((folder / row.method.name).iterdir())])
            low, high = row.gains[language].ci95
            assert row.gains[language].value == pytest.approx(expected) and low < expected < high
    line = methods.markdown(rows).splitlines()[2]
    lrpo = METHODS["grpo"]
    assert line.startswith(f"| `grpo` | {lrpo.source} | {lrpo.exact} | {lrpo.departs} | 3 | ")
    assert f"| {rows[0].gains['avg:trained'].value:+.3f} [" in line


def test_what_was_asked_otherwise_has_its_own_before(methods, folder):
    """Zero methods are asked by system prompts; here another limit stands for it. Their gain is against themselves."""
    for seed in (0, 1, 2):
        make_run(folder / "lrpo-zero" / f"seed{seed}", method="lrpo-zero", seed=seed, after=0.5, n=20, limit=20)
    rows = {row.method.name: row for row in methods.rows_of(folder)}
    assert list(rows) == ["grpo", "lrpo", "lrpo-zero", "lrpo-warm"]
    for name in ("lrpo", "lrpo-zero"):
        expected = np.mean([stored_gain(run, "avg:all") for run in (folder / name).iterdir()])
        assert rows[name].gains["avg:all"].value == pytest.approx(expected)


def test_a_folder_of_no_method_is_refused(methods, tmp_path):
    make_run(tmp_path / "lrop" / "seed0")
    with pytest.raises(ValueError, match="lrop is no method of the sweep"):
        methods.rows_of(tmp_path)


def test_every_cell_of_the_sweep_has_a_row(methods):
    cells = {cell.name.split("/")[0] for cell in load_sweep(SHIPPED_CONFIGS / "sweeps" / "methods.yaml").cells}
    assert cells == set(METHODS) | set(methods._variants())


def test_a_block_is_replaced_between_its_markers(methods):
    text = f"a\n{methods.BEGIN}\nold\n{methods.END}\nb\n"
    once = methods.replaced(text, "| new |")
    assert once == f"a\n{methods.BEGIN}\n\n| new |\n\n{methods.END}\nb\n"
    assert methods.replaced(once, "| new |") == once
    with pytest.raises(ValueError, match="needs the lines"):
        methods.replaced("no markers", "x")


@pytest.mark.skipif(not RESULTS.is_dir(), reason="the sweep of all methods is not committed")
def test_the_readme_holds_the_committed_results(methods):
    """Each of the table's methods with its three seeds, to the last digit."""
    rows = methods.rows_of(RESULTS)
    assert {row.method.name for row in rows} == set(METHODS) | set(methods._variants())
    assert {row.n_seeds for row in rows} == {3}
    assert methods.markdown(rows) in (ROOT / "README.md").read_text(encoding="utf-8")
    assert (RESULTS / "README.md").read_text(encoding="utf-8") == methods.page(rows)
