"""What is measured is shown: lines, words, translations, headroom; on the terminal, in Markdown and in the report."""

import dataclasses
import io

import pytest
from rich.console import Console
from small_records import RECORD

from lrpo_bench.evaluation.metrics import metrics_of
from lrpo_bench.results.compare import compare
from lrpo_bench.results.report_averages import across_languages, diversity
from lrpo_bench.results.report_sections import per_language
from lrpo_bench.results.schema import Evaluation, Signature, TaskSignature
from lrpo_bench.results.summary import evaluation_tables
from lrpo_bench.results.tables import markdown

BASE = dataclasses.replace(RECORD, completion="c c c")
SIGNATURE = Signature({"toy": TaskSignature("1", "d", "generate", ("de", "en"), "p", "d")}, {}, "script", "1", "1")
WRONG = {"score": 0.0, "outcome": "incorrect", "answer": "3"}
PASSED = {"lines_ok": True, "lines_reason": "", "words_ok": True, "words_reason": ""}


def evaluation(label: str = "before", *, right: int = 4, headroom: bool = True, lines: bool = True) -> Evaluation:
    """Twelve questions in two languages; asked for in English all are right, in German `right` of them."""
    records = []
    for lang in ("de", "en"):
        for i in range(12):
            ids = {"sample_id": f"toy/{lang}/{i}", "source_id": f"toy/{i}", "source_lang": lang}
            for asked in ("de", "en") if headroom else (lang,):
                change = ids | {"rollout_lang": asked} | ({} if asked == "en" or i < right else WRONG)
                records.append(dataclasses.replace(BASE, **change, **(PASSED if lines else {})))
            records += [dataclasses.replace(BASE, **ids, rollout_lang=lang, k=k) for k in (1, 2)]
    return Evaluation(SIGNATURE, tuple(records), tuple(metrics_of(records)), None, label)


def printed(tables) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    for table in tables:
        console.print(table)
    return console.export_text()


def test_the_terminal_shows_a_table_each():
    text = printed(evaluation_tables(evaluation()))
    assert text.count("toy: ") == 4 and "…" not in text
    for part in ("(LPR)", "(WPR)", "(LCPR)", "alike across", "in its language", "in the router's", "in the best one"):
        assert part in text
    german = next(line for line in text.splitlines() if "de  " in line and text.index(line) > text.index("headroom"))
    assert german.split()[1] == "0.333" and german.split()[-4] == "1.000"  # 4 of 12 in German, all in some language


def test_what_is_not_known_has_no_table():
    text = printed(evaluation_tables(evaluation(headroom=False, lines=False)))
    assert "(LPR)" not in text and "headroom" not in text and "alike across" in text
    assert "cut" not in text  # nothing was


@pytest.fixture(scope="module")
def comparison():
    return compare(evaluation(), evaluation("after", right=9))


def test_markdown_shows_what_is_known(comparison):
    text = markdown(comparison)
    for metric in ("lpr", "wpr", "lcpr", "consistency", "headroom_source", "headroom_routed", "headroom_oracle"):
        assert f"**toy, {metric}**" in text
    plain = markdown(compare(*(evaluation(headroom=False, lines=False) for _ in range(2))))
    assert "lpr" not in plain and "headroom" not in plain and "accuracy_in_language" in plain


def test_the_report_shows_them(comparison):
    page = per_language(comparison, {})
    assert "No line in another language (LPR)" in page and "in the router&#x27;s language" in page
    across = across_languages(comparison)
    assert across.startswith("<h2>Across languages") and "upper bound" in across
    # right in German: 4 of 12, then 9; English always
    assert ">0.667<" in across and ">0.875<" in across
    groups = diversity(comparison)
    assert "Groups of draws: all right" in groups and "Groups of draws: all wrong" not in groups


def test_without_headroom_the_report_does_not_speak_of_it():
    plain = compare(*(evaluation(headroom=False) for _ in range(2)))
    assert "headroom" not in across_languages(plain) and "answered alike" in across_languages(plain)
    assert across_languages(None) == ""
