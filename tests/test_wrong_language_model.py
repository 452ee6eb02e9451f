"""A model that answers rightly and in English, whatever it is asked for, is shown as just that.

It is the shipped policy with one edit: every language tag's embedding is English's, so it can not tell them apart.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from lrpo_bench.cli import main
from lrpo_bench.evaluation.observations import cell_of
from lrpo_bench.languages import language_tag
from lrpo_bench.models.load import resolve_path
from lrpo_bench.results.store import read_run

ASKED = ("de", "en", "fr")


@pytest.fixture(scope="module")
def english_only(tmp_path_factory) -> Path:
    """A folder with the edited policy."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = resolve_path("embedded:default")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(source), AutoTokenizer.from_pretrained(source)
    vocabulary = tokenizer.get_vocab()
    tags = [index for token, index in vocabulary.items() if token.startswith("<|out_lang_")]
    assert len(tags) == 11
    with torch.no_grad():
        weights = model.get_input_embeddings().weight
        weights[tags] = weights[vocabulary[language_tag("en")]].clone()
    folder = tmp_path_factory.mktemp("habit") / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def evaluated(english_only, tmp_path_factory):
    """The run folder of an evaluation on word problems, and what the terminal showed."""
    import contextlib
    import io

    out, shown = tmp_path_factory.mktemp("runs") / "habit", io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(io.StringIO()):
        code = main([
            "eval", "--model", str(english_only), "--tasks", "arithmetic", "--languages", ",".join(ASKED),
            "--limit", "8", "--set", "eval.draws=0", "--out", str(out),
        ])  # fmt: skip
    assert code == 0
    return out, shown.getvalue()


def test_the_joint_outcome_is_right_answer_wrong_language(evaluated):
    """Most German and French questions are answered rightly, none of them in the language that was asked for."""
    cells = {lang: Counter() for lang in ASKED}
    for record in read_run(evaluated[0]).before.records:
        cells[record.rollout_lang][cell_of(record)] += 1
        assert record.detected_lang in ("en", None), record.completion
    for lang in ("de", "fr"):
        assert cells[lang]["right_in_other_language"] >= 5, cells
        assert cells[lang]["right_in_language"] == cells[lang]["wrong_in_language"] == 0, cells
    assert cells["en"]["right_in_language"] >= 6 and cells["en"]["right_in_other_language"] == 0, cells


def test_accuracy_is_high_in_any_language_and_zero_in_the_asked_one(evaluated):
    stored = json.loads((evaluated[0] / "before" / "metrics.json").read_text())
    rows = stored["metrics"] if isinstance(stored, dict) else stored
    found = {(m["metric"], m["language"]): m["value"] for m in rows}
    for lang in ("de", "fr"):
        assert found["accuracy_in_language", lang] == found["fidelity", lang] == 0.0
        assert found["accuracy", lang] >= 5 / 8
        assert found["share:right_in_other_language", lang] == found["accuracy", lang]
    assert found["accuracy_in_language", "en"] == found["accuracy", "en"] >= 6 / 8


def test_the_terminal_and_the_report_say_so(evaluated):
    out, shown = evaluated
    table = shown[shown.index("where responses fall") :]
    heading = table[: table.index("de ")]
    german = next(line for line in table.splitlines() if line.split()[:1] == ["de"])
    assert "right, in" in heading and "another" in heading
    columns = [float(cell) for cell in german.split()[1:-1]]
    assert columns[0] == 0.0 and columns[1] >= 0.62, table
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Right, and in the asked language?" in page
    assert "right, in another language" in page
