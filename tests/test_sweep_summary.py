import itertools
import json
import math
import shutil

import numpy as np
import pytest
from synthetic_runs import TRAINED, make_run

from lrpo_bench.errors import StorageError
from lrpo_bench.evaluation.metrics import find_metric
from lrpo_bench.results.collection import collect, find_runs
from lrpo_bench.results.store import read_run
from lrpo_bench.results.sweep_summary import ALL_TASKS, sweep_summary
from lrpo_bench.results.sweep_summary_text import summary_tables, to_markdown, write_summary


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two methods, three seeds, two tasks, and one cell that failed."""
    folder = tmp_path_factory.mktemp("study")
    for method, seed in itertools.product(("grpo", "lrpo"), range(3)):
        after = 0.5 if method == "grpo" else 0.8
        make_run(folder / method / f"seed{seed}", method=method, seed=seed, after=after, tasks=("a", "b"), n=40)
    make_run(folder / "lrpo" / "seed3", seed=3, tasks=("a", "b"), status="failed")
    return folder


def number(summary, method, task="a", language="avg:all"):
    return next(n for n in summary.numbers if (n.group.method, n.task, n.language) == (method, task, language))


def pair(summary, task="a", language="avg:all"):
    return next(p for p in summary.pairs if (p.task, p.language) == (task, language))


def test_a_methods_number_is_the_mean_of_what_its_runs_report(study):
    summary = sweep_summary(study)
    for language in ("avg:all", "avg:trained", "avg:heldout", "sw"):
        for method in ("grpo", "lrpo"):
            reported = [
                find_metric(read_run(study / method / f"seed{s}").after.metrics, "accuracy_in_language", language, "a")
                for s in range(3)
            ]
            found = number(summary, method, language=language)
            assert found.after.value == pytest.approx(np.mean([m.value for m in reported]))
            assert found.after.n_seeds == 3 and found.after.n_questions == 40
            assert found.change.value == pytest.approx(found.after.value - found.before.value)


def test_a_real_difference_between_methods_is_found_and_none_with_itself(study, tmp_path):
    found = pair(sweep_summary(study))
    assert (found.a.method, found.b.method) == ("grpo", "lrpo")
    assert found.difference.excludes_zero and found.difference.value > 0.2 and found.p_holm < 0.05
    assert 0 < found.difference.detectable < 0.3
    for method in ("grpo", "lrpo-fixed-uniform"):  # the same responses under two names
        for seed in range(3):
            folder = make_run(tmp_path / method / f"seed{seed}", method=method, seed=seed)
            if method != "grpo":
                shutil.copytree(tmp_path / "grpo" / f"seed{seed}" / "after", folder / "after", dirs_exist_ok=True)
    same = pair(sweep_summary(tmp_path), task="toy")
    assert same.difference.value == 0 and not same.difference.excludes_zero


def test_all_tasks_weigh_the_same(study):
    summary = sweep_summary(study)
    expected = np.mean([number(summary, "lrpo", task).after.value for task in ("a", "b")])
    assert number(summary, "lrpo", ALL_TASKS).after.value == pytest.approx(expected)


def test_pairs_use_the_seeds_that_both_have(study, tmp_path):
    shutil.copytree(study, tmp_path / "s")
    shutil.rmtree(tmp_path / "s" / "grpo" / "seed1")
    found = pair(sweep_summary(tmp_path / "s"))
    assert found.difference.n_seeds == 2 and len(found.b.runs) == 3


def test_holm_is_over_the_pairs_of_one_task_and_language(tmp_path):
    for method, after in (("grpo", 0.5), ("lrpo", 0.7), ("lrpo-fixed-uniform", 0.6)):
        for seed in range(3):
            make_run(tmp_path / method / f"s{seed}", method=method, seed=seed, after=after, n=30)
    found = [p for p in sweep_summary(tmp_path).pairs if p.language == "avg:all"]
    raw = sorted(p.difference.p for p in found)
    assert len(found) == 3
    assert sorted(p.p_holm for p in found)[0] == pytest.approx(min(1.0, 3 * raw[0]))


def test_what_failed_or_is_short_of_seeds_is_said(study, tmp_path):
    assert any("seed3 is failed (RuntimeError: out of memory)" in note for note in sweep_summary(study).notes)
    make_run(tmp_path / "one")
    summary = sweep_summary(tmp_path)
    assert any("one seed only" in note for note in summary.notes)
    assert not math.isnan(summary.numbers[0].after.ci95[0])


def test_averages_over_trained_languages_need_methods_trained_on_the_same(tmp_path):
    make_run(tmp_path / "a", method="grpo")
    make_run(tmp_path / "b", method="lrpo", trained=("de",))
    assert {p.language for p in sweep_summary(tmp_path).pairs} == {"avg:all", "de", "en", "sw", "zh"}


def test_written_files(study, tmp_path):
    summary = sweep_summary(study)
    paths = write_summary(summary, tmp_path)
    stored = json.loads(paths[0].read_text())
    lrpo = next(i for i, g in enumerate(stored["groups"]) if g["method"] == "lrpo")
    assert stored["groups"][lrpo]["runs"] == ["lrpo/seed0", "lrpo/seed1", "lrpo/seed2"]
    assert stored["groups"][lrpo]["trained_languages"] == list(TRAINED)
    row = next(n for n in stored["numbers"] if (n["group"], n["task"], n["language"]) == (lrpo, "a", "avg:all"))
    assert row["after"]["value"] == number(summary, "lrpo").after.value
    assert stored["missing"] == [{"run": "lrpo/seed3", "status": "failed", "reason": "RuntimeError: out of memory"}]
    text = paths[1].read_text()
    assert "| m | lrpo − grpo | avg:all | +0." in text
    assert text.startswith("# Methods and models") and text.endswith(to_markdown(summary))
    assert len(summary_tables(summary)) == 6


def test_runs_are_one_group_only_if_they_differ_by_the_seed_alone(tmp_path):
    make_run(tmp_path / "a", seed=0)
    make_run(tmp_path / "b", seed=1)
    make_run(tmp_path / "c", seed=0, quota=4)
    make_run(tmp_path / "d", seed=1, weights="other")
    make_run(tmp_path / "e", seed=0)
    found = collect(tmp_path)
    assert sorted((g.seeds, len(g.runs)) for g in found.groups) == [((0,), 1), ((0, 1), 2), ((1,), 1)]
    assert len({g.variant for g in found.groups}) == 3
    assert any("e repeats" in note for note in found.notes)


def test_tasks_asked_in_different_ways_are_never_averaged(tmp_path):
    make_run(tmp_path / "a", method="grpo", seed=0)
    make_run(tmp_path / "b", method="grpo", seed=1)
    make_run(tmp_path / "c", method="lrpo", seed=0, limit=5)
    found = collect(tmp_path)
    assert found.tasks == ("toy", "toy (data_hash d-toy-5)")
    assert not sweep_summary(tmp_path).pairs


def test_where_there_is_no_run_it_says_so(tmp_path):
    with pytest.raises(StorageError, match="holds no runs"):
        collect(tmp_path)
    make_run(tmp_path / "x" / "y")
    assert find_runs(tmp_path) == [tmp_path / "x" / "y"] == find_runs(tmp_path / "x" / "y")
