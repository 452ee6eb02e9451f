"""What a report says of how a run was made: facts from the manifest, audits from logs, answers that are computed."""

import dataclasses

import pytest
from synthetic_runs import make_run

from lrpo_bench.results.report import write_report
from lrpo_bench.results.report_audits import calibration, degeneracy, gate
from lrpo_bench.results.report_blocks import Code, Items, Rows, Section, Text, to_html, to_markdown
from lrpo_bench.results.report_checklist import checklist
from lrpo_bench.results.report_numbers import single_evaluation
from lrpo_bench.results.report_setup import data, deviations, differing_settings, method, question
from lrpo_bench.results.schema import Manifest
from lrpo_bench.results.store import config_hash, read_run
from lrpo_bench.training.methods import get_method

EVIL = "<script>alert(1)</script> | `x` *y*"
PAPER = {
    "method": "lrpo", "group_size": 8, "quota": 2, "learning_rate": 1e-6, "kl_beta": 0.001,
    "max_completion_tokens": 1024, "max_prompt_tokens": 512, "gate": "hard", "questions_per_step": 256,
    "reward": {"kind": "similarity"},
    "router": {"alpha": 0.1, "update_every": 5, "temperature_start": 1.0, "temperature_end": 0.3}
    | {"temperature_decay": 0.999, "explore_start": 0.2, "explore_end": 0.0, "explore_decay": 0.995}
    | {"normalization": "zscore"},
}  # fmt: skip


def manifest(train=None, **changes):
    config = {"seed": 0, "model": {"name": "m"}} | ({} if train is None else {"train": train})
    base = Manifest(config, config_hash(config), ("lrpo-bench", "run", "--set", "x=a b"), "complete")
    return dataclasses.replace(base, extra={"stage": "run", "trained_languages": ["de"]}, **changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return read_run(make_run(tmp_path_factory.mktemp("r") / "run", n=6))


@pytest.fixture(scope="module")
def only_evaluated(tmp_path_factory):
    return read_run(make_run(tmp_path_factory.mktemp("r") / "eval", method=None, after=None, n=6))


def answers(run, comparison=None):
    return {line.item: (line.answer, line.fact) for line in checklist(run, comparison)}


# --- blocks


def test_text_is_escaped_in_both_forms():
    section = Section("T", (Text(EVIL), Items([EVIL]), Rows(("a", EVIL), [(EVIL, "1")]), Code(EVIL)))
    page, markdown = to_html([section]), to_markdown([section])
    assert "<script" not in page and page.count("&lt;script&gt;") == 5
    lines = [line for line in markdown.splitlines() if not line.startswith("    ")]
    assert "\\<script>" in markdown and not any(line.replace("\\<", "").count("<script") for line in lines)
    assert [line.replace("\\|", "").count("|") for line in lines if line.startswith("|")] == [3, 3, 3]
    assert to_html([Section("empty", ())]) == "" and to_markdown([Section("empty", ())]).strip() == ""


# --- setup


def test_a_run_with_the_papers_settings_deviates_in_nothing():
    assert differing_settings(manifest(PAPER), get_method("lrpo")) == []


def test_each_other_setting_is_listed_with_both_values():
    train = {**PAPER, "quota": 4, "questions_per_step": 8, "router": {**PAPER["router"], "alpha": 0.3}}
    del train["kl_beta"]
    found = differing_settings(manifest(train), get_method("lrpo"))
    assert found == [
        ("train.quota", "2", "4"),
        ("train.kl_beta", "0.001", "unknown"),
        ("train.router.alpha", "0.1", "0.3"),
        ("batch", "256", "8 questions, 64 rollouts"),
    ]
    # A method without a learned router has no router to set.
    assert [key for key, *_ in differing_settings(manifest(train), get_method("grpo"))][-1] == "batch"
    assert "train.router.alpha" not in str(differing_settings(manifest(train), get_method("grpo")))


def test_departures_of_the_routers_code_come_from_its_own_list():
    text = to_markdown([deviations(manifest(PAPER))])
    assert "None." in text and "A topic's row is updated once per update" in text
    assert to_markdown([deviations(manifest())]).strip() == ""


def test_question_and_method():
    assert "training m by lrpo on questions in de change" in to_markdown([question_of(PAPER)])
    assert "How well does m do" in to_markdown([question_of(None)])
    text = to_markdown([method(manifest(PAPER))])
    assert "2605.25360" in text and "departs from it" in text
    assert method(manifest({"method": "no-such"})).blocks == ()


def question_of(train):
    from lrpo_bench.results.schema import Run

    return question(Run(path="x", manifest=manifest(train), before=None, after=None, router=(), train=(), rollouts=()))


def test_data_has_versions_hashes_and_licences_or_says_that_it_does_not_know(run):
    text = to_markdown([data(run)])
    assert "d-toy-None" in text and "p-toy" in text and "unknown: not in the registry here" in text
    assert "6 questions in 4 languages" in text


# --- results


def test_a_run_that_only_evaluates_has_its_numbers(only_evaluated, run):
    (section,) = single_evaluation(only_evaluated)
    text = to_markdown([section])
    metrics = {(m.metric, m.language): m for m in only_evaluated.before.metrics}
    for lang, name in (("sw", "Swahili (sw)"), ("avg:all", "Average, all languages")):
        line = next(line for line in text.splitlines() if line.startswith(f"| {name}"))
        assert f"| {100 * metrics['accuracy_in_language', lang].value:.1f}% |" in line
    assert "Distinct answers a question" in text
    assert single_evaluation(run) == []  # the comparison shows both


def test_both_forms_of_the_report_are_written(only_evaluated):
    page = write_report(only_evaluated.path).read_text()
    markdown = (only_evaluated.path / "report.md").read_text()
    for text in ("Results: toy, before", "Reproducibility checklist", "Exact commands", "What was not measured"):
        assert text in page and text in markdown
    assert "Deviations from the paper" not in page


# --- audits


def test_groups_by_cause_and_third():
    rows = [{"step": s, "groups": {"informative": 3, "all right": 1 if s < 3 else 3}, "truncated": 1} for s in range(6)]
    text = to_markdown([degeneracy(rows)])
    # 24 + 12 groups in all: 6 * 3 informative, 3 * 1 + 3 * 3 idle
    assert "40.0% of 30 groups" in text and "| informative | 75.0% | 50.0% | 60.0% |" in text
    assert "rollouts cut at the limit: 6" in text and "without a reward" not in text
    assert degeneracy([{"step": 1}]).blocks == ()


def test_gate_and_quality_by_language():
    rows = [
        {"rollout_lang": "de", "reward": r, "rewards": {"quality": q, "gate": g}}
        for r, q, g in ((1.0, 1.0, 1.0), (0.0, 1.0, 0.0), (None, None, 1.0))
    ]
    assert "| de | 3 | 66.7% | 1.000 | 0.500 |" in to_markdown([gate(rows)])


def test_calibration_is_said_to_be_needed_or_not():
    assert "Nothing to calibrate: the reward is verifiable" in to_markdown(
        [calibration(manifest({"reward": {"kind": "verifiable"}}))]
    )
    similarity = {"kind": "similarity", "similarity": {"calibration": "mean", "table": "t.json"}}
    found = manifest({"reward": similarity}, hashes={"calibration_table": "sha256:abc"})
    text = to_markdown([calibration(found)])
    assert "| calibration | mean |" in text and "sha256:abc" in text


# --- the checklist


def test_answers_follow_the_facts(run):
    found = answers(run)
    assert found["The licence of each data set is stated"] == ("no", "unknown of toy")
    assert found["The data are identified by hash"][0] == "no"  # the made-up run records none
    assert found["All settings are stated"][0] == "yes"
    assert found["Training was repeated with other seeds"][0] == "no"
    assert found["The trained weights can be had"][0] == "no"
    other = dataclasses.replace(run, manifest=dataclasses.replace(run.manifest, config_hash="0" * 64))
    assert answers(other)["All settings are stated"][0] == "no"
    for git, answer in (
        ({"commit": "abc", "dirty": False}, "yes"),
        ({"commit": "abc", "dirty": True}, "no"),
        ({}, "no"),
    ):
        other = dataclasses.replace(run, manifest=dataclasses.replace(run.manifest, git=git))
        assert answers(other)["The exact code is identified"][0] == answer


def test_a_question_that_was_trained_on_and_evaluated_is_found_through_its_translation(run):
    item = "No question of the training is evaluated, in any language"
    apart = dataclasses.replace(run, rollouts=({"sample_id": "toy/de/99"},))
    assert answers(apart)[item] == ("yes", "0 of 1 questions trained on are among the 6 evaluated")
    leaking = dataclasses.replace(run, rollouts=({"sample_id": "toy/fr/3"}, {"sample_id": "toy/de/99"}))
    assert answers(leaking)[item] == ("no", "1 of 2 questions trained on are among the 6 evaluated")
    assert answers(dataclasses.replace(run, rollouts=()))[item][0] == "no"  # not known


def test_what_does_not_apply_is_not_a_no(only_evaluated):
    found = answers(only_evaluated)
    for item in (
        "The trained weights can be had",
        "Training was repeated with other seeds",
        "How settings were chosen is stated",
    ):
        assert found[item][0] == "not applicable", item
