import csv
import io
import itertools
import json
import re

import numpy as np
import pytest
from synthetic_runs import TRAINED, make_run

from lrpo_bench.cli import main
from lrpo_bench.evaluation.metrics import find_metric
from lrpo_bench.results.leaderboard import write_leaderboard
from lrpo_bench.results.leaderboard_data import build_leaderboard
from lrpo_bench.results.leaderboard_page import LEGEND, payload, render_page
from lrpo_bench.results.leaderboard_runs import link_to
from lrpo_bench.results.leaderboard_text import to_csv, to_markdown
from lrpo_bench.results.store import read_run
from lrpo_bench.results.sweep_summary import ALL_TASKS

EVIL = "<script>alert(1)</script>|`=cmd"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two methods over three seeds on two tasks; one evaluated on one task only, one failed, one not trained."""
    folder = tmp_path_factory.mktemp("results") / "study"
    for method, seed in itertools.product(("grpo", "lrpo"), range(3)):
        after = 0.45 if method == "grpo" else 0.85
        run = make_run(folder / method / f"seed{seed}", method=method, seed=seed, after=after, tasks=("a", "b"), n=30)
        (run / "report.html").write_text("r")
    make_run(folder / "half" / "seed0", method="lrpo-fixed-uniform", tasks=("a",), n=30)
    make_run(folder / "bad" / "seed0", model=EVIL, method="lrpo", status="failed", before=None, after=None)
    make_run(folder / "other", model="m", method=None, after=None, tasks=("a", "b"), n=30)
    make_run(folder / "lrpo" / "seed3", seed=3, tasks=("a", "b"), status="failed", n=2)
    return folder


@pytest.fixture(scope="module")
def board(results):
    return build_leaderboard(results)


def row_of(board, method, model="m"):
    return next(i for i, row in enumerate(board.rows) if (row.model, row.method) == (model, method))


def reported(results, method, metric, language, task, name="after"):
    runs = [getattr(read_run(results / method / f"seed{s}"), name).metrics for s in range(3)]
    return np.mean([find_metric(metrics, metric, language, task).value for metrics in runs])


@pytest.mark.parametrize(
    ("metric", "stored"),
    [
        ("main", "accuracy_in_language"),
        ("accuracy", "accuracy"),
        ("fidelity", "fidelity"),
        ("pass@k", "pass@2"),
        ("distinct_answers", "distinct_answers"),
    ],
)
def test_every_number_is_the_mean_of_what_the_runs_report(results, board, metric, stored):
    for method, task, language in itertools.product(("grpo", "lrpo"), "ab", ("avg:all", "avg:heldout", "sw")):
        found = board.cell(row_of(board, method), task, language).numbers[metric]
        assert found.value == pytest.approx(reported(results, method, stored, language, task)), (method, task, language)
        assert found.n_seeds == 3
        assert found.ci95[0] <= found.value <= found.ci95[1]


def test_change_is_after_minus_before(results, board):
    numbers = board.cell(row_of(board, "lrpo"), "a", "avg:all").numbers
    before = reported(results, "lrpo", "accuracy_in_language", "avg:all", "a", "before")
    assert numbers["before"].value == pytest.approx(before)
    assert numbers["change"].value == pytest.approx(numbers["main"].value - before)


def test_sets_of_languages_are_averages_scripts_and_single_languages(board):
    assert [s.key for s in board.sets] == [
        *("avg:all", "avg:trained", "avg:heldout", "script:Hans", "script:Latn", "de", "en", "sw", "zh")
    ]
    lrpo = row_of(board, "lrpo")
    languages = [board.cell(lrpo, "a", lang).numbers["main"].value for lang in ("de", "en", "sw")]
    assert board.cell(lrpo, "a", "script:Latn").numbers["main"].value == pytest.approx(np.mean(languages))


def test_a_missing_task_makes_the_average_over_tasks_missing(board):
    half = row_of(board, "lrpo-fixed-uniform")
    assert board.tasks == (ALL_TASKS, "a", "b")
    assert "main" in board.cell(half, "a", "avg:all").numbers
    for task in ("b", ALL_TASKS):
        cell = board.cell(half, task, "avg:all")
        assert not cell.numbers and cell.rank is None and cell.missing == "not evaluated on b"


def test_a_failed_row_is_there_with_its_reason(board):
    cell = board.cell(row_of(board, "lrpo", EVIL), "a", "avg:all")
    assert cell.missing == "no complete run (failed: RuntimeError: out of memory)"
    assert len(board.rows[row_of(board, "lrpo")].missing) == 1


def test_ranks_tell_real_differences_only(board):
    places = [i for i, row in enumerate(board.rows) if row.model == "m"]
    ranks = {board.rows[i].method: board.cell(i, ALL_TASKS, "avg:all").rank for i in places}
    assert str(ranks["lrpo"]) == "1"
    assert ranks["grpo"].best == 2 == ranks["not trained"].best and ranks["grpo"].is_tied
    assert ranks["lrpo-fixed-uniform"] is None


def test_a_row_that_was_not_trained_has_no_change_and_averages_over_what_others_trained_on(board):
    i = row_of(board, "not trained")
    numbers = board.cell(i, "a", "avg:trained").numbers
    assert "change" not in numbers
    expected = np.mean([board.cell(i, "a", lang).numbers["main"].value for lang in TRAINED])
    assert numbers["main"].value == pytest.approx(expected)


def test_rows_trained_on_other_languages_are_not_ranked_on_averages_over_them(tmp_path):
    for seed in range(3):
        make_run(tmp_path / f"a{seed}", method="grpo", seed=seed)
        make_run(tmp_path / f"b{seed}", method="lrpo", seed=seed)
        make_run(tmp_path / f"c{seed}", method="lrpo-zero", seed=seed, trained=("sw",))
    board = build_leaderboard(tmp_path)
    other = row_of(board, "lrpo-zero")
    assert board.cell(other, "toy", "avg:heldout").rank is None
    assert board.cell(other, "toy", "avg:all").rank is not None
    assert board.cell(row_of(board, "lrpo"), "toy", "avg:heldout").rank.worst <= 2
    assert any("lrpo-zero on m was trained on sw" in note for note in board.notes)


def test_multiple_choice_is_summed_up_by_accuracy_and_the_rest_is_unknown(tmp_path):
    for seed in range(2):
        make_run(tmp_path / f"s{seed}", seed=seed, kind="choice", n=20)
    board = build_leaderboard(tmp_path)
    numbers = board.cell(0, "toy", "avg:all").numbers
    assert numbers["main"].value == numbers["accuracy"].value
    assert set(numbers) == {"main", "before", "change", "accuracy"}
    assert "accuracy" in to_csv(board) and "Accuracy in any language" in to_markdown(board, "T", tmp_path)


def test_costs_come_from_the_logs(board):
    lrpo = board.rows[row_of(board, "lrpo")].costs
    assert lrpo["tokens"].mean == 400 and lrpo["seconds"].mean == 60
    assert lrpo["rollouts"] is None  # the synthetic configuration does not say how many a step
    assert board.rows[row_of(board, "not trained")].costs["seconds"].mean == 0


def test_csv_has_every_number_and_no_formula(board):
    rows = list(csv.DictReader(io.StringIO(to_csv(board))))
    found = next(
        r
        for r in rows
        if (r["method"], r["task"], r["languages"], r["metric"]) == ("lrpo", "a", "sw", "accuracy_in_language")
        and r["model"] == "m"
    )
    number = board.cell(row_of(board, "lrpo"), "a", "sw").numbers["main"]
    assert (float(found["value"]), float(found["ci95_low"])) == (number.value, number.ci95[0])
    missing = [r for r in rows if r["method"] == "lrpo-fixed-uniform" and r["task"] == "b"]
    assert missing and all(r["value"] == "" and r["missing"] == "not evaluated on b" for r in missing)
    assert all(r["value"] == "" or float(r["value"]) >= -1 for r in rows)


def test_a_name_that_a_spreadsheet_would_run_is_text(tmp_path):
    make_run(tmp_path / "a", model="=HYPERLINK(1)")
    assert "\n'=HYPERLINK(1)," in to_csv(build_leaderboard(tmp_path))


def test_markdown_escapes_names_and_shows_missing(board, results):
    text = to_markdown(board, "T", results)
    assert "&lt;script>alert(1)&lt;/script>\\|" in text and "<script>" not in text.replace("`", "")
    assert re.search(r"^\| 1 \| m \| lrpo \| 3 \| \d\d\.\d% \[", text, re.MULTILINE)
    assert "| missing |" in text and LEGEND in text
    assert "- seed 0: [report](./lrpo/seed0/report.html), `lrpo-bench run --config configs/seed0.yaml`" in text
    widths = [{line.count("|") - line.count("\\|") for line in table} for table in tables(text)]
    assert all(len(width) == 1 for width in widths)


def tables(text):
    return [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]


def test_the_page_holds_names_as_text_only(board, results):
    page = render_page(board, "<b>title</b>", results)
    assert "<b>title" not in page and "<script>alert" not in page
    assert page.count("<script>") == 1 and "http://" not in page and "https://" not in page
    data = json.loads(re.search(r'id="leaderboard-data">(.*?)</script>', page, re.DOTALL)[1])
    assert EVIL in {row["model"] for row in data["rows"]}


def test_links_are_relative_and_only_to_reports_that_exist(results, board, tmp_path):
    assert link_to(results / "lrpo" / "seed0", results) == "./lrpo/seed0/report.html"
    assert link_to(results / "half" / "seed0", results) is None
    odd = make_run(tmp_path / "javascript:x" / "seed 0")
    (odd / "report.html").write_text("r")
    assert link_to(odd, tmp_path) == "./javascript%3Ax/seed%200/report.html"
    assert link_to(odd, tmp_path / "elsewhere") == "./../javascript%3Ax/seed%200/report.html"
    rows = payload(board, results)["rows"]
    assert rows[row_of(board, "lrpo")]["runs"][0]["command"] == "lrpo-bench run --config configs/seed0.yaml"


def test_the_command_writes_three_files(results, tmp_path, capsys):
    assert main(["leaderboard", str(results), "--out", str(tmp_path / "o"), "--title", "Mine"]) == 0
    printed = capsys.readouterr().out.split()
    assert printed == [str(tmp_path / "o" / f"leaderboard.{end}") for end in ("html", "md", "csv")]
    assert "<h1>Mine</h1>" in (tmp_path / "o" / "leaderboard.html").read_text()
    first = (tmp_path / "o" / "leaderboard.html").read_bytes()
    assert write_leaderboard(results, tmp_path / "o", "Mine")[0].read_bytes() == first
    assert main(["leaderboard", str(tmp_path / "nothing")]) == 2
    assert "holds no runs" in capsys.readouterr().err
