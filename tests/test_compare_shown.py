"""`lrpo-bench compare` as it is shown: terminal, Markdown, LaTeX, CSV, JSON; flips; several runs; hostile text."""

import csv
import dataclasses
import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console
from stored_runs import records, write_run
from test_compare import evaluation

from lrpo_bench.cli import main
from lrpo_bench.commands.compare_console import print_comparisons
from lrpo_bench.errors import IncomparableResultsError
from lrpo_bench.results.compare import compare
from lrpo_bench.results.compare_many import compare_many
from lrpo_bench.results.comparison_json import SCHEMA, to_json
from lrpo_bench.results.flips import examples, latex_lines, markdown_lines, summary, terminal_lines, won_and_lost
from lrpo_bench.results.latex import latex_tables
from lrpo_bench.results.tables import interval, markdown, to_csv
from lrpo_bench.results.untrusted import fenced, latex, markdown_line, visible

EVIL = "\x1b[2J `` ``` | \\input{/etc/passwd} $x$ <script>alert(1)</script> @all ![i](u) \u202e ]]> \u2028 # _a_"
HEADLINE = "accuracy_in_language"
DOCS = Path(__file__).parents[1] / "docs" / "compare.md"


def one():
    before, after = {"de": "WWWWWWRR", "sw": "RRRRWWWW"}, {"de": "RRRRRRRR", "sw": "RRRRRrWW"}
    return compare(evaluation(trained=("de",), **before), evaluation("after", trained=("de",), **after))


def three(intersect: bool = False):
    base = evaluation("base", de="W" * 8 + "RR", en="WR" * 5)
    good = evaluation("good", de="R" * 10, en="WR" * 5)
    same = evaluation("same", de="W" * 8 + "RR", en="RW" * 5)
    return compare_many([base, good, same], intersect=intersect)


def shown(comparisons, width: int, **options) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    print_comparisons(comparisons, console, **options)
    return console.file.getvalue()


# --- one comparison ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_whole_rows(width):
    lines = shown([one()], width).splitlines()
    german = next(line for line in lines if line.startswith("de "))
    assert german.split()[:4] == ["de", "0.250", "1.000", "+0.750"]
    # Six of six that changed were won: p = 2 / 2^6, times two languages.
    assert "0.062" in german and "…" not in "".join(lines)
    table = lines[: next(i for i, line in enumerate(lines) if line.startswith("▲"))]
    assert max(map(len, table)) <= width
    assert {"avg:trained", "avg:heldout", "avg:all"} <= {line.split()[0] for line in lines if line.split()}
    assert "won/lost  de 6/0  sw 1/0  all 7/0" in lines


def test_a_bound_that_rounds_to_zero_keeps_its_sign():
    difference = one().find(HEADLINE, "de")
    change = dataclasses.replace(difference.change, value=-0.01, ci95=(-0.02, -0.0001))
    assert interval(dataclasses.replace(difference, change=change)) == "[-0.020, -0.000]"
    change = dataclasses.replace(difference.change, ci95=(-0.02, -0.0))
    assert interval(dataclasses.replace(difference, change=change)) == "[-0.020, +0.000]"


def test_the_main_metric_is_accuracy_where_no_language_is_known():
    unknown = [
        dataclasses.replace(e, records=tuple(dataclasses.replace(r, language_ok=None) for r in e.records))
        for e in (evaluation(de="WWRR"), evaluation("after", de="RRRR"))
    ]
    comparison = compare(*unknown)
    assert comparison.main_metric("toy") == "accuracy" and won_and_lost(comparison, "toy")["all"] == (2, 0)
    assert one().main_metric("toy") == HEADLINE


def test_seeds_of_draws_may_differ():
    sides = []
    for seed, label in ((0, "before"), (1, "after")):
        plain = evaluation(label, de="RW")
        signature = dataclasses.replace(plain.signature, decoding={"n": 1, "seed": seed})
        draws = tuple(dataclasses.replace(r, k=k) for r in plain.records for k in (0, 1))
        sides.append(dataclasses.replace(plain, signature=signature, records=draws))
    assert compare(*sides).notes == ("sampled draws have different seeds: 0 and 1",)


# --- several runs --------------------------------------------------------------------------------------------------


def test_p_is_corrected_over_runs_too():
    good, same = three()
    # McNemar: de of `good` 2 / 2^8; its en changed nothing, p 1; de of `same` 1; en of `same` 5 against 5, p 1.
    german = good.find(HEADLINE, "de")
    assert german.p == pytest.approx(2 / 2**8) and german.p_holm == pytest.approx(4 * 2 / 2**8)
    average = good.find(HEADLINE, "avg:all")
    assert average.p_holm == pytest.approx(2 * average.p) and same.find(HEADLINE, "avg:all").p_holm == 1.0


def test_several_runs_stand_beside_the_first():
    text = shown(three(), 80)
    row = next(line for line in text.splitlines() if line.startswith("de "))
    assert row.split() == ["de", "0.200", "1.000", "+0.800", "▲*", "0.200", "+0.000", "·"]
    assert "good against base, toy" in text and "MDE" in text and "…" not in text
    narrow = shown(three(), 45)
    assert narrow.count("language   base") == 2  # a table for each where two do not fit


def test_intersect_cuts_all_runs_to_what_all_have():
    runs = [evaluation("a", de="RRRR"), evaluation("b", de="WRR"), evaluation("c", de="WW")]
    with pytest.raises(IncomparableResultsError, match="a has 1 responses that b lacks"):
        compare_many(runs)
    found = compare_many(runs, intersect=True)
    assert [c.n_samples for c in found] == [2, 2] and found[0].find("accuracy", "de").after == 0.5
    assert found[0].notes == ("compared 2 responses that all 3 have; left out 3 that some lack",)


# --- formats -------------------------------------------------------------------------------------------------------


def test_latex_is_balanced_and_has_as_many_cells_as_columns():
    for comparisons in ([one()], three()):
        text = latex_tables(comparisons, [HEADLINE, "accuracy"])
        assert text.count(r"\begin{tabular}") == 2 == text.count(r"\bottomrule") == text.count(r"\end{table}")
        columns = len(re.search(r"\\begin{tabular}{(\w+)}", text)[1])
        rows = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert rows and {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {columns - 1}
        assert not re.search(r"[^\x00-\x7f]", text)  # our own signs are commands
        _assert_balanced(text)
    assert r"accuracy\_in\_language" in text and r"$\uparrow$$^{*}$" in text


def _assert_balanced(text: str) -> None:
    """Braces close, dollars come in pairs, and no special character stands bare."""
    bare = re.sub(r"\\[\\{}$&#_%]", "", re.sub(r"(?m)^%.*$", "", text))
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    assert "#" not in bare and "%" not in bare
    assert "_" not in re.sub(r"\\label\{[^}]*\}", "", bare)


def test_csv_names_the_runs_and_is_inert_in_a_spreadsheet():
    good, same = three()
    rows = list(csv.DictReader(io.StringIO(to_csv(dataclasses.replace(good, before="=1+1"), same))))
    assert len(rows) == len(good.differences) + len(same.differences)
    assert rows[0]["before_run"] == "'=1+1" and rows[-1]["after_run"] == "same"


def test_json_is_exact_and_documented():
    comparison = one()
    row = json.loads(to_json([comparison], n_flips=2))
    assert row["schema"] == SCHEMA and row["baseline"] == "before"
    (found,) = row["comparisons"]
    german = next(d for d in found["differences"] if (d["metric"], d["language"]) == (HEADLINE, "de"))
    assert german["change"] == 0.75 and german["p"] == 2 / 2**6 and german["detectable"] is not None
    assert found["flips"]["toy"]["won"] == 7 and len(found["flips"]["toy"]["examples"]) == 2
    text = DOCS.read_text(encoding="utf-8")

    def keys(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from ([key] if key != "toy" else [])
                yield from keys(inner)
        elif isinstance(value, list) and value:
            yield from keys(value[0])

    assert [key for key in keys(row) if f"`{key}`" not in text] == []
    assert f"`{SCHEMA}`" in text


# --- flips ---------------------------------------------------------------------------------------------------------


def test_examples_take_turns_over_languages():
    found = examples(one(), "toy", 3)
    assert [flip.before.rollout_lang for flip in found] == ["de", "sw", "de"]
    assert summary(one(), "toy")[1] == "changed   the answer in 7"
    assert examples(one(), "toy", 0) == []


def evil():
    rows = records({"de": "RRWW"})
    old = [dataclasses.replace(r, question=EVIL, completion=EVIL, gold=EVIL) for r in rows]
    new = [dataclasses.replace(r, score=1.0 - r.score, outcome="correct" if r.score == 0 else "incorrect") for r in old]
    base = evaluation(de="RRWW")
    return compare(*(dataclasses.replace(base, records=tuple(side)) for side in (old, new)))


def test_hostile_text_in_a_terminal():
    lines = list(terminal_lines(examples(evil(), "toy", 2), ("before", "after")))
    text = "\n".join(lines)
    assert "\x1b" not in text and "\\x1b[2J" in text and "\u202e" not in text and "\u2028" not in text
    assert "\x1b" not in shown([evil()], 80, n_flips=2)


def test_hostile_text_in_markdown_stays_in_its_block():
    text = "\n".join(markdown_lines(examples(evil(), "toy", 1), ("before", "after")))
    fences = re.findall(r"(?m)^(`{3,})(?:text)?$", text)
    assert len(fences) % 2 == 0 and {len(fence) for fence in fences} == {4}
    outside = re.sub(r"(?ms)^(`{4})text$.*?^\1$", "", text)
    assert "script" not in outside and "@" not in outside


def test_hostile_text_in_latex_is_no_command():
    text = "\n".join(latex_lines(examples(evil(), "toy", 1), ("before", "after")))
    assert r"\input" not in text and r"\textbackslash{}input" in text
    _assert_balanced(text)


def test_hostile_names():
    assert "\x1b" not in visible(EVIL) and "\n" not in markdown_line("a\nb")
    assert fenced([EVIL])[0] == "````text" and "$x$" not in latex(EVIL)
    row = markdown(dataclasses.replace(one(), before="a|b\n# c", notes=("x | <b>",)))
    assert "a\\|b \\# c" in row and "x \\| &lt;b>" in row


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path):
    write_run(tmp_path / "a", {"de": "WWRR", "sw": "RRRR"})
    write_run(tmp_path / "b", {"de": "RRRR", "sw": "RRRW"}, seed=1)
    write_run(tmp_path / "c", {"de": "RRRR", "sw": "WWWW"}, seed=2)
    return [str(tmp_path / name) for name in "abc"]


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "csv", "json"])
def test_every_format_of_two_and_three_runs(runs, form, capsys):
    for some in (runs[:2], runs):
        assert main(["compare", *some, "--format", form, "--flips", "1"]) == 0
        text = capsys.readouterr().out
        assert "toy" in text and ("Question 0 in de?" in text) is (form != "csv")


def test_metrics_are_chosen_by_name(runs, capsys):
    assert main(["compare", *runs[:2], "--metrics", "accuracy, fidelity", "--format", "markdown"]) == 0
    assert re.findall(r"\*\*toy, (\w+)\*\*", capsys.readouterr().out) == ["accuracy", "fidelity"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN"], "has no finished after evaluation; name two runs to compare"),
        (["RUN", "RUN"], "is named twice; name different runs"),
        (["RUN", "nowhere"], "nowhere is not a run folder"),
        (["RUN", "RUN/after"], "a/after has no finished evaluation"),
        (["RUN", "OTHER", "--metrics", "acuracy"], "unknown metric 'acuracy'; did you mean 'accuracy'"),
        (["RUN", "OTHER", "--flips", "-1"], "--flips must be >= 0, got -1"),
    ],
)
def test_what_can_not_be_compared_is_one_line(runs, arguments, message, capsys):
    given = [a.replace("RUN", runs[0]).replace("OTHER", runs[1]) for a in arguments]
    assert main(["compare", *given]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""
