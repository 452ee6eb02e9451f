"""The README's figures are those of the committed runs, and the commands it names exist."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import pytest

from lrpo_bench.results.compare import compare
from lrpo_bench.results.router_regret import regret_summary
from lrpo_bench.results.store import read_run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAMES = {
    "Bengali (trained)": "bn",
    "Thai (trained)": "th",
    "English": "en",
    "Hindi (held out)": "hi",
    "Swahili": "sw",
    "average, trained": "avg:trained",
    "average, not trained": "avg:heldout",
    "average, all": "avg:all",
}
STUDY = README.split("## The study", 1)[1].split("\n## ", 1)[0]
SENTENCES = " ".join(STUDY.split())
PROFILES = ("comprehension-weak", "production-weak", "knowledge-split")
METHODS = {
    "`grpo`": ("grpo", 0.0),
    "fixed, input-dominant": ("lrpo-fixed-input-dominant", 0.0),
    "fixed, uniform": ("lrpo-fixed-uniform", 0.0),
    "`lrpo` (learned router)": ("lrpo", 0.0),
    "fixed, en-dominant": ("lrpo-fixed-en-dominant", 0.0),
    "`lrpo`, advantages within a language": ("lrpo", 1.0),
}
"""A row of the study -> its method and its `train.baseline_mix`."""
HEADROOM = {
    "the asked language, before": ("before", "headroom_source"),
    "the topic's and region's best language, told by other questions, before": ("before", "headroom_routed"),
    "any language that is right (oracle), before": ("before", "headroom_oracle"),
    "the asked language, after LRPO": ("after", "headroom_source"),
    "the language that LRPO's router learned, after": ("after", "headroom_routed"),
}
SHOWN = 5.01e-4
"""Half a unit of the last digit, and a little."""


def rows():
    for line in README.split("```bash", 1)[0].splitlines():
        cells = [cell.strip().strip("*") for cell in line.strip("|").split("|")]
        if cells[0] in NAMES:
            yield cells


def test_the_table_has_every_language():
    assert [row[0] for row in rows()] == list(NAMES)


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: NAMES[row[0]])
def test_the_table_is_the_committed_run(row):
    run = read_run(ROOT / "results" / "demo-seed0")
    found = compare(run.before, run.after).find("accuracy_in_language", NAMES[row[0]], "arithmetic")
    low, high = (float(number) for number in row[4].split(" to "))
    shown = (float(row[1]), float(row[2]), float(row[3]), low, high)
    assert shown == pytest.approx((found.before, found.after, found.change.value, *found.change.ci95), abs=SHOWN)


def table_of(text, names):
    """The rows that have one of the names, by name."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {cells[0]: cells[1:] for cells in found if cells[0] in names}


def numbers_in(text):
    return [float(number) for number in re.findall(r"[-+]?\d*\.\d+", text)]


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def study():
    """The committed summary of each profile; `tests/test_study_table.py` holds it to the runs."""
    return {profile: read_json(ROOT / "results" / "study" / profile / "summary.json") for profile in PROFILES}


def group_of(profile, summary, name):
    """The place of a row's group in a summary, None where it was not run."""
    method, mix = METHODS[name]
    for i, group in enumerate(summary["groups"]):
        manifest = read_json(ROOT / "results" / "study" / profile / group["runs"][0] / "manifest.json")
        if group["method"] == method and manifest["config"]["train"]["baseline_mix"] == mix:
            return i
    return None


def from_grpo(profile, summary):
    """The difference of each row of several seeds from `grpo` on the trained languages, by name."""
    places = {group_of(profile, summary, name): name for name in METHODS}
    grpo = group_of(profile, summary, "`grpo`")
    return {
        places[({row["a"], row["b"]} - {grpo}).pop()]: row | {"sign": 1 if row["a"] == grpo else -1}
        for row in summary["differences"]
        if row["language"] == "avg:trained" and grpo in (row["a"], row["b"]) and {row["a"], row["b"]} <= places.keys()
    }


def test_the_studys_table_has_every_method_and_profile():
    assert list(table_of(STUDY, METHODS)) == list(METHODS)
    lines = [line for line in STUDY.splitlines() if line.startswith("|")]
    assert len(lines) == len(METHODS) + len(HEADROOM) + 4, "two tables, each with a header and a rule"
    assert re.search(rf"^\| method \| {' . '.join(PROFILES)} \|$", STUDY, re.MULTILINE)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("profile", PROFILES)
def test_the_studys_table_is_the_committed_runs(study, profile, name):
    cell, place = table_of(STUDY, METHODS)[name][PROFILES.index(profile)], group_of(profile, study[profile], name)
    if place is None:
        assert cell == ""
        return
    (found,) = (n["change"] for n in study[profile]["numbers"] if (n["group"], n["language"]) == (place, "avg:trained"))
    assert found["n_seeds"] == 5, "as the README says above the table"
    assert numbers_in(cell) == pytest.approx([found["value"], *found["ci95"]], abs=SHOWN)


@pytest.mark.parametrize("name", HEADROOM)
def test_the_headroom_table_is_the_committed_runs(name):
    side, metric = HEADROOM[name]
    shown = [numbers_in(cell) for cell in table_of(STUDY, HEADROOM)[name]]
    for profile, numbers in zip(PROFILES, shown, strict=True):
        metrics = read_json(ROOT / "results" / "study-headroom" / profile / side / "metrics.json")["metrics"]
        (found,) = (m for m in metrics if (m["metric"], m["language"]) == (metric, "avg:trained"))
        assert numbers == pytest.approx([found["value"]], abs=SHOWN)
        assert 60 <= found["n_clusters"] <= 100, "as the header of the table says"


def test_what_could_have_been_detected_is_what_the_summaries_say(study):
    detectable = {
        profile: sorted(row["detectable"] for row in from_grpo(profile, summary).values())
        for profile, summary in study.items()
    }
    assert [len(found) for found in detectable.values()] == [4, 5, 4]
    (shown,) = re.findall(r"four times out of five are (\S+ to \S+) on knowledge-split and (\S+ to \S+) on", SENTENCES)
    facts, others = map(numbers_in, shown)
    assert facts == pytest.approx([detectable["knowledge-split"][0], detectable["knowledge-split"][-1]], abs=SHOWN)
    both = sorted(detectable["comprehension-weak"] + detectable["production-weak"])
    assert others == pytest.approx([both[0], both[-1]], abs=5.01e-3)
    assert others[1] == pytest.approx(both[-1], abs=SHOWN)
    assert facts == numbers_in(re.search(r"of nothing, detectable: (\S+ to \S+)\)", SENTENCES)[1])
    largest, *ends = numbers_in(re.search(r"from GRPO at most (.*?)\)", SENTENCES)[1])
    found = from_grpo("comprehension-weak", study["comprehension-weak"])
    assert largest == pytest.approx(max(abs(row["value"]) for row in found.values()), abs=SHOWN)
    weak = detectable["comprehension-weak"]
    assert ends == pytest.approx([weak[0], weak[-1]], abs=5.01e-3)


def test_the_differences_in_the_studys_text_are_those_of_the_summaries(study):
    found = from_grpo("production-weak", study["production-weak"])
    learned, within = found["`lrpo` (learned router)"], found["`lrpo`, advantages within a language"]
    assert learned["sign"] == within["sign"] == 1
    shown = numbers_in(re.search(r"still ends below GRPO, (.*?)\]", SENTENCES)[1])
    assert shown == pytest.approx([learned["value"], *learned["ci95"]], abs=SHOWN)
    assert numbers_in(re.search(r"\((\S+) from GRPO\)", SENTENCES)[1]) == pytest.approx([within["value"]], abs=SHOWN)
    gains = [
        abs(n["change"]["value"])
        for n in study["knowledge-split"]["numbers"]
        if n["language"] == "avg:trained" and n["change"]["n_seeds"] == 5
    ]
    assert numbers_in(re.search(r"all within (\S+) of nothing", SENTENCES)[1]) == pytest.approx([max(gains)], abs=SHOWN)


def test_practice_and_regret_are_those_of_the_routers_logs(study):
    summary, folder = study["production-weak"], ROOT / "results" / "study" / "production-weak"
    shares, regrets = [], {}
    for name in list(METHODS)[:5]:
        group = summary["groups"][group_of("production-weak", summary, name)]
        logs = [
            [json.loads(line) for line in (folder / run / "router.jsonl").read_text(encoding="utf-8").splitlines()]
            for run in group["runs"]
        ]
        steps = [row["sampled"] for log in logs for row in log]
        trained = sum(row.get(lang, 0) for row in steps for lang in group["trained_languages"])
        shares.append(trained / sum(sum(row.values()) for row in steps))
        regrets[name] = sum(regret_summary(log).rollouts for log in logs) / len(logs)
    shown = numbers_in(re.search(r"trained languages \(([^a-z]*), in the order of the rows", SENTENCES)[1])
    assert shown == pytest.approx(shares, abs=5.01e-3)
    (given_up,) = re.findall(r"gives up (\S+) in expected accuracy a rollout where GRPO gives up (\S+),", SENTENCES)
    expected = [regrets["`lrpo` (learned router)"], regrets["`grpo`"]]
    assert [float(number) for number in given_up] == pytest.approx(expected, abs=5.01e-3)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_fixed_monolingual_mix_has_the_metrics_of_grpo_to_the_byte(profile):
    folder = ROOT / "results" / "study" / profile
    assert "`grpo` and ends with the same metrics to the byte" in SENTENCES
    sides = (folder / run / "after" / "metrics.json" for run in ("monolingual", "grpo/seed0"))
    assert len({side.read_bytes() for side in sides}) == 1


def test_the_table_beside_lm_eval_is_the_committed_benchmark():
    models = {"embedded": "embedded, 1.3M parameters", "random-100M": "random, 102M parameters"}
    for each in read_json(ROOT / "results" / "benchmarks" / "eval_vs_lm_eval.json")["comparisons"]:
        theirs, ours = (statistics.median(each["seconds"][tool]) for tool in ("lm-eval", "lrpo-bench"))
        mib = each["peak_mib"]
        row = (
            f"| {models[each['model']]} | {each['task'].upper()}, {each['rows']} questions | {theirs:.1f} | "
            f"{ours:.1f} | {each['ratio']:.1f} | {mib['lm-eval']} | {mib['lrpo-bench']} | "
            f"{each['rows_scored_alike']:.0%} | {each['answers_alike']:.0%} |"
        )
        assert row in README, row


def test_the_commands_of_the_tour_exist():
    from lrpo_bench.cli import _parser

    known = next(action.choices for action in _parser()._actions if action.choices)
    named = set(re.findall(r"^lrpo-bench (\w+)", README, re.MULTILINE))
    assert named and named <= set(known)
