"""One row a run below the leaderboard: its numbers, what it cost, where its report is, how to make it again."""

import dataclasses
import re

import pytest
from synthetic_runs import make_run

from lrpo_bench.evaluation.metrics import find_metric
from lrpo_bench.results.costs import device_hours
from lrpo_bench.results.evaluations import read_evaluation
from lrpo_bench.results.leaderboard_data import build_leaderboard
from lrpo_bench.results.leaderboard_runs import link_to, run_rows, runs_section
from lrpo_bench.results.schema import Manifest

SECONDS = {"stage": "run", "seconds_before": 100.0, "seconds_train": 1600.0, "seconds_after": 100.0}
TRAINED = {"trained_languages": ["de"]}


def manifest(**changes):
    return dataclasses.replace(Manifest({}, "", hardware={"gpus": []}, extra={**SECONDS, **TRAINED}), **changes)


@pytest.mark.parametrize(
    ("changes", "hours"),
    [
        ({}, 0.5),  # 1800 s on one machine without accelerators
        ({"hardware": {"gpus": ["a"] * 8}}, 4.0),
        ({"hardware": {"gpus": None}}, None),
        ({"hardware": {}}, None),
        ({"extra": {**SECONDS, **TRAINED, "seconds_train": None}}, None),
        ({"extra": {k: v for k, v in SECONDS.items() if k != "seconds_train"}}, 200 / 3600),  # nothing was trained
        ({"extra": {"seconds_before": 1.0}}, None),  # which stages there were is not known
        ({"resumed": ({"at": "x"},)}, None),
        ({"extra": {**SECONDS, **TRAINED, "seconds_before": None, "before_shared": {}}, "resumed": ({},)}, 1700 / 3600),
        ({"extra": {**SECONDS, **TRAINED, "before_shared": {}}, "resumed": ({}, {})}, None),
    ],
)
def test_device_hours_are_all_stages_times_devices_or_unknown(changes, hours):
    assert device_hours(manifest(**changes)) == (None if hours is None else pytest.approx(hours))


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board") / "a study"
    for seed in (0, 1):
        make_run(folder / "lrpo" / f"seed{seed}", method="lrpo", seed=seed)
    (folder / "lrpo" / "seed0" / "report.html").write_text("x")
    (folder / "lrpo" / "seed1" / "report.md").write_text("x")
    make_run(folder / "grpo" / "<b>", method="grpo", seed=0)
    make_run(folder / "grpo" / "failed", method="grpo", seed=1, status="failed", n=2)
    return build_leaderboard(folder)


def test_one_row_a_run_with_its_own_numbers(board):
    folder = board.collection.folder
    rows = run_rows(board, folder)
    assert [(row.row.method, row.seed) for row in rows] == [("grpo", 0), ("grpo", 1), ("lrpo", 0), ("lrpo", 1)]
    for row, name in ((rows[2], "lrpo/seed0"), (rows[3], "lrpo/seed1")):
        stored = find_metric(read_evaluation(folder / name / "after").metrics, "accuracy_in_language")
        assert row.numbers["main"].value == pytest.approx(stored.value)
        assert row.command == f"lrpo-bench reproduce {name}"
    assert rows[1].missing == "failed: RuntimeError: out of memory" and not rows[1].numbers


def test_links_go_to_the_page_or_else_to_its_markdown(board):
    folder = board.collection.folder
    assert link_to(folder / "lrpo" / "seed0", folder) == "./lrpo/seed0/report.html"
    assert link_to(folder / "lrpo" / "seed1", folder.parent) == "./a%20study/lrpo/seed1/report.md"
    assert link_to(folder / "grpo" / "failed", folder) is None


def test_the_table_needs_no_script_and_escapes_what_others_named(board):
    text = runs_section(board, board.collection.folder)
    assert text.count("<tr>") == 5 and "<b>" not in text and "reproduce &#x27;grpo/&lt;b&gt;&#x27;" in text
    assert "failed: RuntimeError: out of memory" in text and "<details>" not in text
    assert re.findall(r'href="([^"]+)"', text) == ["./lrpo/seed0/report.html", "./lrpo/seed1/report.md"]
