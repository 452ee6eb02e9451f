import csv
import dataclasses
import io
import json
import math
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console
from small_records import RECORD

from lrpo_bench.errors import StorageError
from lrpo_bench.evaluation.metrics import metrics_of
from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.results import plots, tables, words
from lrpo_bench.results.compare import compare
from lrpo_bench.results.html import embed
from lrpo_bench.results.report import write_report
from lrpo_bench.results.report_browsers import MAX_ROWS, rollouts
from lrpo_bench.results.schema import Evaluation, Signature, TaskSignature
from lrpo_bench.results.store import Store

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \u2028 & \ud800"
BASE = dataclasses.replace(RECORD, question=f"q {EVIL}", completion=EVIL)
WRONG = {"score": 0.0, "outcome": "incorrect", "answer": "<b>3</b>"}
UNSCORED = {"score": None, "outcome": "unscored", "reason": "<i>judge silent</i>"}


def signature(*tasks: str) -> Signature:
    task = TaskSignature("1", "default", "generate", ("ar", "de"), "p", "d")
    return Signature(dict.fromkeys(tasks, task), {"n": 1}, "script", "1", "1")


def records(share: float, task: str = "toy", draws: int = 0, n: int = 30) -> list[ResponseRecord]:
    """Of each language, the first `share` of the questions are right; one is unscored."""
    rows = []
    for lang in ("ar", "de"):
        for i in range(n):
            ids = {"sample_id": f"{task}/{lang}/{i}", "source_id": f"{task}/{i}", "task": task}
            ids |= {"source_lang": lang, "rollout_lang": lang}
            change = UNSCORED if i == n - 1 else {} if i < share * n else WRONG
            rows += [dataclasses.replace(BASE, **ids, **change, k=k) for k in range(draws + 1)]
    return rows


def comparison(before: float = 0.2, after: float = 0.8):
    sides = [
        Evaluation(signature("toy"), tuple(records(s)), (), ("de",), name)
        for s, name in ((before, "before"), (after, "after"))
    ]
    return compare(*sides)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run whose every text tries to break out of the page."""
    path = tmp_path_factory.mktemp("runs") / "lrpo & <co>"
    with Store.open(path, {"model": EVIL[:-1], "lr": 1e-5}, command=["lrpo-bench", "run", "<x>"]) as store:
        store.update(seeds={"run": 3}, hashes={"data": "abc"})
        for name, share in (("before", 0.2), ("after", 0.8)):
            writer = store.evaluation(name, signature("toy", "other/task"))
            writer.append(records(share, draws=2) + records(share, "other/task"))
            writer.finish(metrics_of(writer.records, ["de"]), ["de"])
        for step in (1, 2, 3):
            arms = {"de": 0.5 + step / 10, "ar": 0.5 - step / 10}
            contexts = {"reasoning|": arms, "regional knowledge|<east>": {"de": 1.0}}
            store.log("router", {"step": step, "arms": arms, "contexts": contexts, "something_else": [1]})
            store.log("train", {"step": step, "reward": 0.1 * step, "kl": math.nan if step == 2 else 0.01, "note": "x"})
            row = {"step": step, "sample_id": EVIL, "question": EVIL, "source_lang": "de", "rollout_lang": "ar"}
            store.log(
                "rollouts", row | {"detected_lang": None, "completion": EVIL, "rewards": {EVIL: 0.5}, "reward": None}
            )
        store.complete()
    write_report(path)
    return path


class Page(HTMLParser):
    """What a browser would make of a page: tags, attributes, scripts and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.scripts, self.text = [], [], {}, []
        self._script = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "script":
            self._script = dict(attrs).get("id", f"code{len(self.scripts)}")
            self.scripts[self._script] = ""

    def handle_endtag(self, tag):
        if tag == "script":
            self._script = None

    def handle_data(self, data):
        if self._script is None:
            self.text.append(data)
        else:
            self.scripts[self._script] += data


@pytest.fixture(scope="module")
def page(run):
    return Page((run / "report.html").read_text(encoding="utf-8"))


# --- the page ------------------------------------------------------------------------------------------------------


def test_nothing_a_model_wrote_becomes_markup(page):
    assert (
        page.tags.count("script") == 3 and "img" not in page.tags and "i" not in page.tags[page.tags.index("footer") :]
    )
    assert not [a for a in page.attributes if a[1].startswith("on")]
    text = " ".join(page.text)
    assert "<i>judge silent</i>" in text and "alert(1)" in text  # shown, as text


def test_embedded_rows_come_back_unchanged(page):
    rows = json.loads(page.scripts["rollouts-rows"])
    assert rows[0]["completion"] == EVIL and rows[0]["reward"] is None and rows[0]["rewards"] == {EVIL: 0.5}
    flips = json.loads(page.scripts["flips-rows"])
    assert {(f["kind"], f["cause"]) for f in flips} == {("gained", "answer")}
    # 18 of 30 questions, less none unscored, in 2 languages and 2 tasks
    assert len(flips) == 72 and flips[0]["before"]["answer"] == "<b>3</b>"


def test_the_page_needs_no_network(page):
    outside = [a for a in page.attributes if a[1] in ("src", "href", "xlink:href") and not (a[2] or "").startswith("#")]
    assert outside == []
    assert ("meta", "content", "width=device-width, initial-scale=1") in page.attributes
    assert any(value and "default-src 'none'" in value for _, _, value in page.attributes)


def test_the_page_says_what_happened(page):
    text = " ".join(" ".join(page.text).split())
    # right: 6 of 29 judged, then 24 of 29
    assert "Accuracy in the asked language rose from 20.7% to 82.8% (+62.1 points, 95% interval" in text
    assert "a real gain" in text and "Another training seed" in text and "lrpo-bench run '<x>'" in text
    assert "2 of 120 responses" not in text and "4 of 120 responses before training could not be judged" in text
    for heading in ("Language by language", "What the router did", "Training", "Diversity of sampled draws"):
        assert heading in text


def test_figures_are_valid_svg_files(run):
    names = sorted(p.name for p in (run / "figures").iterdir())
    assert names == ["deltas-other-task.svg", "deltas-toy.svg", "router.svg", "train-kl.svg", "train-reward.svg"]
    for path in (run / "figures").iterdir():
        text = path.read_text()
        ET.fromstring(text)
        assert "currentColor" in text and "prefers-color-scheme" in text and "#010203" not in text


def test_a_report_made_twice_is_the_same(run):
    before = (run / "report.html").read_bytes()
    assert write_report(run).read_bytes() == before


def test_a_run_that_has_only_begun(tmp_path):
    Store.open(tmp_path / "r", {"a": 1}).close()
    text = write_report(tmp_path / "r").read_text()
    assert "This run is not finished" in text and "The evaluation before training: there is none" in text


def test_a_failed_run_says_why(tmp_path):
    with pytest.raises(RuntimeError), Store.open(tmp_path, {"a": 1}) as store:
        writer = store.evaluation("before", signature("toy"))
        writer.append(records(0.5))
        writer.finish(metrics_of(writer.records))
        raise RuntimeError("loss is <nan>")
    text = write_report(tmp_path).read_text()
    assert "This run failed: RuntimeError: loss is &lt;nan&gt;" in text and "Right, and in the asked language?" in text


def test_evaluations_that_do_not_compare_are_shown_as_such(tmp_path):
    with Store.open(tmp_path, {"a": 1}) as store:
        for name, sig in (("before", signature("toy")), ("after", dataclasses.replace(signature("toy"), detector="x"))):
            writer = store.evaluation(name, sig)
            writer.append(records(0.5))
            writer.finish(metrics_of(writer.records))
    assert "were not compared: can not compare: detector is &#x27;script&#x27;" in write_report(tmp_path).read_text()


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(StorageError, match="is not a run folder"):
        write_report(tmp_path)


def test_of_many_rollouts_whole_groups_are_kept_and_the_rest_is_announced():
    rows = [{"step": i // 8, "sample_id": "a", "completion": str(i)} for i in range(8 * MAX_ROWS)]
    page = Page(rollouts(rows))
    kept = json.loads(page.scripts["rollouts-rows"])
    assert len(kept) == MAX_ROWS and kept[0]["step"] == 0 and kept[-1]["step"] == MAX_ROWS - 1
    assert all(sum(row["step"] == kept[i]["step"] for row in kept) == 8 for i in (0, 8, -1))
    assert f"{MAX_ROWS:,} of {8 * MAX_ROWS:,} are on this page" in " ".join(page.text)


def test_embedded_json_can_not_end_its_script():
    text = embed("x", [EVIL, "<!--"])
    assert text.count("<") == 2 and text.isascii()
    assert json.loads(text.split(">", 1)[1].rsplit("<", 1)[0]) == [EVIL, "<!--"]


# --- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (0.2, 0.8, "a real gain"),
        (0.8, 0.2, "a real loss"),
        (0.5, 0.5, "stayed at 51.7%"),
        (0.5, 0.54, "can not tell the change from chance"),
    ],
)
def test_headline(before, after, expected):
    assert expected in " ".join(words.headline(comparison(before, after), "toy"))


def test_no_reassuring_sentence_for_what_could_not_be_seen():
    text = " ".join(words.headline(comparison(0.5, 0.54), "toy"))
    assert "it would have found a change of" in text and "real" not in text


# --- tables --------------------------------------------------------------------------------------------------------


def test_terminal_table():
    console = Console(width=120, file=io.StringIO())
    console.print(tables.rich_table(comparison()))
    text = console.file.getvalue()
    lines = [line.split() for line in text.splitlines()]
    german = next(line for line in lines if line[:1] == ["de"])
    assert german[1:4] == ["0.207", "0.828", "+0.621"] and "▲*" in german
    names = [line[0] for line in lines if line and line[0] in ("ar", "de", "avg:all", "avg:trained", "avg:heldout")]
    assert names == ["ar", "de", "avg:trained", "avg:heldout", "avg:all"]


def test_markdown_has_as_many_cells_in_each_row():
    text = tables.markdown(comparison())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {10} and "before → after" in text


def test_csv_is_complete_and_exact():
    result = comparison()
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(result))))
    assert len(rows) == len(result.differences)
    row = next(r for r in rows if (r["metric"], r["language"]) == ("accuracy", "de"))
    assert float(row["change"]) == result.find("accuracy", "de").change.value and row["n_unscored"] == "1"
    unchanged = next(r for r in rows if (r["metric"], r["language"]) == ("truncation_rate", "de"))
    assert unchanged["detectable"] == ""


# --- plots ---------------------------------------------------------------------------------------------------------


def test_arm_series_is_tolerant():
    rows = [{"step": 2, "arms": {"de": 1.0}}, {"step": 1, "arms": {"en": 0.5, "de": 0.5}}, {"tau": 1}, {"step": 3}]
    assert plots.arm_series(rows) == ([1.0, 2.0], {"de": [0.5, 1.0], "en": [0.5, 0.0]})
    assert plots.arm_series([{"step": 1}]) is None and plots.router([]) is None
    assert plots.router(rows[:1]) is not None


def test_curve_needs_two_values():
    assert plots.curve([{"step": 1, "x": 1.0}, {"step": 2, "x": None}], "x") is None
    assert plots.curve([{"step": s, "a$b_c": float(s)} for s in range(3)], "a$b_c") is not None


def test_every_change_is_drawn():
    svg = plots.deltas(comparison())
    for name in ("ar", "de", "trained languages", "held-out languages", "all languages"):
        assert f">{name}</text>" in svg


def test_unknown_changes_are_drawn_as_unknown():
    nothing = [dataclasses.replace(r, score=None, outcome="unscored") for r in records(0.5)]
    sides = [Evaluation(signature("toy"), tuple(nothing), (), None, name) for name in ("before", "after")]
    assert "unknown" in plots.deltas(compare(*sides))
    assert np.isnan(compare(*sides).find("accuracy").change.value)
