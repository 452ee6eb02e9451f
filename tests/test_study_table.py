"""The study at a glance: which method is subtracted from which, over which seeds, and corrected over what."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import make_run

from lrpo_bench.cli import main
from lrpo_bench.errors import ConfigError
from lrpo_bench.evaluation.metrics import find_metric
from lrpo_bench.results.evaluations import read_evaluation
from lrpo_bench.results.study_table import study_markdown, study_rows, study_tables, table_rows
from lrpo_bench.results.sweep_summary import sweep_summary
from lrpo_bench.results.sweep_summary_text import to_dict

SEEDS = (0, 1, 2)
HEADLINE = "accuracy_in_language"
STUDY = Path(__file__).parent.parent / "results" / "study"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two models, three methods, three seeds; `lrpo` on `wide` lacks one seed, `sft` is there on one model only."""
    root = tmp_path_factory.mktemp("study")
    chances = {"sft": 0.5, "grpo": 0.6, "lrpo": 0.9}
    for model in ("low", "wide"):
        for method, chance in chances.items():
            for seed in SEEDS:
                if (model, method) == ("wide", "sft") or (model, method, seed) == ("wide", "lrpo", 2):
                    continue
                make_run(root / model / method / f"seed{seed}", model, method, seed, after=chance, n=16)
    return root


@pytest.fixture(scope="module")
def summary(study):
    return sweep_summary(study)


def tables_of(summary, against=None, language="avg:all"):
    found = [t for t in study_tables(summary, against) if t.language == language]
    return found[0], found[1]


def stored(study, model, method, seed):
    metrics = read_evaluation(study / model / method / f"seed{seed}" / "after").metrics
    return find_metric(metrics, HEADLINE).value


def test_values_are_means_over_seeds_of_what_the_runs_report(study, summary):
    values, _ = tables_of(summary)
    assert values.baseline == "" and values.methods == ("sft", "grpo", "lrpo") and values.models == ("low", "wide")
    expected = np.mean([stored(study, "low", "lrpo", seed) for seed in SEEDS])
    cell = values.cells["lrpo", "low"].estimate
    assert cell.value == pytest.approx(expected) and cell.n_seeds == 3
    assert ("sft", "wide") not in values.cells and values.cells["lrpo", "wide"].estimate.n_seeds == 2


def test_differences_are_method_minus_baseline_on_shared_seeds_whichever_comes_first(study, summary):
    _, differences = tables_of(summary)
    assert differences.baseline == "grpo" and differences.methods == ("sft", "lrpo")
    for method, model, seeds in (("sft", "low", SEEDS), ("lrpo", "low", SEEDS), ("lrpo", "wide", (0, 1))):
        cell = differences.cells[method, model].estimate
        expected = np.mean([stored(study, model, method, s) - stored(study, model, "grpo", s) for s in seeds])
        assert cell.value == pytest.approx(expected) and cell.n_seeds == len(seeds)
        assert cell.ci95[0] < cell.value < cell.ci95[1]
    assert differences.cells["sft", "low"].estimate.value < 0 < differences.cells["lrpo", "low"].estimate.value


def test_holm_is_over_the_differences_of_the_table_alone(summary):
    _, differences = tables_of(summary)
    raw = sorted(cell.estimate.p for cell in differences.cells.values())
    by_hand, running = [], 0.0
    for i, p in enumerate(raw):  # Holm 1979: the i-th smallest times what is left, never falling
        running = max(running, min(1.0, p * (len(raw) - i)))
        by_hand.append(running)
    assert sorted(cell.p_holm for cell in differences.cells.values()) == pytest.approx(by_hand)
    assert len(raw) == 3


def test_the_tables_compute_only_what_they_show_and_show_what_the_whole_summary_says(study):
    summary = sweep_summary(study)
    tables = study_tables(summary, "lrpo")
    assert not {"numbers", "pairs"} & vars(summary).keys(), "the tables did not ask for all of them"
    after = {(n.group.name, n.group.model, n.task, n.language): n.after for n in summary.numbers}
    pairs = {(p.a.name, p.b.name, p.a.model, p.task, p.language): p.difference for p in summary.pairs}
    for table in tables:
        for (method, model), cell in table.cells.items():
            place = (model, table.task, table.language)
            if not table.baseline:
                assert cell.estimate == after[(method, *place)]
            elif (pair := pairs.get(("lrpo", method, *place))) is not None:
                assert cell.estimate == pair
            else:
                pair = pairs[(method, "lrpo", *place)]
                assert (cell.estimate.value, cell.estimate.p) == (-pair.value, pair.p)
                assert cell.estimate.ci95 == (-pair.ci95[1], -pair.ci95[0])
    assert sum(len(table.cells) for table in tables if table.baseline) == 9  # three averages x (sft, two of grpo)


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["comprehension-weak", "production-weak", "knowledge-split"])
def test_the_committed_summary_of_the_study_follows_from_its_runs(profile):
    stored = json.loads((STUDY / profile / "summary.json").read_text(encoding="utf-8"))
    summary = sweep_summary(STUDY / profile)
    again = json.loads(json.dumps(to_dict(summary)))
    assert again.keys() == stored.keys() and again["groups"] == stored["groups"]
    for part in ("numbers", "differences"):
        for new, old in zip(flat(again[part]), flat(stored[part]), strict=True):
            assert new[0] == old[0] and (new[1] == old[1] or new[1] == pytest.approx(old[1], rel=1e-9, abs=1e-12))
    shown = [row for row in study_rows(study_tables(summary, "grpo")) if row["minus"]]
    places = {(g["method"], g["variant"]): i for i, g in enumerate(stored["groups"])}
    grpo, names = places["grpo", ""], {(f"{m} ({v})" if v else m): i for (m, v), i in places.items()}
    for row in shown:
        pair = {grpo, names[row["method"]]}
        (old,) = (d for d in stored["differences"] if {d["a"], d["b"]} == pair and d["language"] == row["languages"])
        assert row["value"] == pytest.approx(old["value"] if old["a"] == grpo else -old["value"], rel=1e-9, abs=1e-12)


def flat(value, path=()):
    """Every number and name of nested lists and dictionaries with its path; NaN, which equals nothing, as its name."""
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in flat(value[key], (*path, key))]
    if isinstance(value, list):
        return [leaf for i, item in enumerate(value) for leaf in flat(item, (*path, i))]
    return [(path, "nan" if value is None or value != value else value)]


def test_any_method_can_be_the_baseline_and_a_wrong_one_is_named(summary):
    _, differences = tables_of(summary, "lrpo")
    assert differences.cells["grpo", "low"].estimate.value < 0
    with pytest.raises(ConfigError, match="no complete run has method 'dpo'; there are grpo, lrpo, sft"):
        study_tables(summary, "dpo")


def test_variants_are_compared_with_the_baseline_of_the_same_settings(tmp_path):
    for quota in (2, 4):
        for method, chance in (("grpo", 0.5), ("lrpo", 0.9)):
            for seed in (0, 1):
                folder = tmp_path / str(quota) / method / str(seed)
                make_run(folder, "m", method, seed, after=chance + quota / 100, n=20, quota=quota)
    _, differences = tables_of(sweep_summary(tmp_path))
    assert differences.methods == ("lrpo (quota 2)", "lrpo (quota 4)") and len(differences.cells) == 2


def test_an_untrained_model_is_shown_on_the_languages_that_the_others_were_trained_on(tmp_path):
    for method, chance in (("vanilla", {"de": 0.9, "en": 0.9, "sw": 0.1, "zh": 0.1}), ("grpo", 0.5)):
        make_run(tmp_path / method, "m", method, 0, after=chance, n=40)
    tables = [t for t in study_tables(sweep_summary(tmp_path)) if not t.baseline]
    shown = {t.language: t.cells["vanilla", "m"].estimate.value for t in tables}
    assert shown["avg:trained"] > 0.75 and shown["avg:heldout"] < 0.25
    metrics = read_evaluation(tmp_path / "vanilla" / "after").metrics
    by_hand = np.mean([find_metric(metrics, HEADLINE, lang).value for lang in ("de", "en")])
    assert shown["avg:trained"] == pytest.approx(by_hand)


def test_what_was_not_run_is_missing_and_other_numbers_of_seeds_are_said(summary):
    values, differences = tables_of(summary)
    header, rows = table_rows(values)
    assert header == ["method", "low", "wide"] and rows[0][2] == "missing"
    assert rows[2][2].endswith("(2)") and not rows[2][1].endswith(")")
    _, shown = table_rows(differences)
    assert "MDE" in shown[0][1] and shown[0][1].startswith("-.") and shown[1][1].startswith("+.")


def test_the_command_prints_markdown_csv_and_json(study, capsys):
    assert main(["summary", str(study), "--against", "grpo"]) == 0
    text = capsys.readouterr().out
    assert "### toy, all languages: difference from grpo" in text and "| method | low | wide |" in text
    assert "two seeds only" in text and "Summary over seeds" not in text
    assert main(["summary", str(study), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert main(["summary", str(study), "--format", "json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert len(rows) == len(again) and rows[0]["p"] == "" and again[0]["p"] is None
    assert float(rows[0]["value"]) == again[0]["value"]
    assert main(["summary", str(study), "--against", "nothing"]) == 2


def test_flat_rows_hold_every_cell(summary):
    tables = study_tables(summary)
    rows = study_rows(tables)
    assert len(rows) == sum(len(table.cells) for table in tables)
    assert all(math.isnan(row["p"]) == (row["minus"] == "") for row in rows)
    assert study_markdown([]) == ""
