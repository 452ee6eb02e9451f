"""`reproduce` makes a run again from its manifest, refuses other inputs, and says what came out the same."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from small_tasks import TABLE_SOURCE, write_table, write_task

from lrpo_bench.cli import main
from lrpo_bench.evaluation.metrics import Metric, metrics_of
from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.models import fake
from lrpo_bench.results import environment
from lrpo_bench.results.manifest_differences import manifest_differences
from lrpo_bench.results.reproduce import Moved, check_inputs
from lrpo_bench.results.reproduction import cause_of, compare_runs, first_different_step, judge_number
from lrpo_bench.results.schema import Evaluation, Manifest, Run, Signature, TaskSignature
from lrpo_bench.results.store import read_manifest, read_run

LANGS = ("de", "en")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A task that reads the user's files, and files for it."""
    folder = tmp_path_factory.mktemp("table")
    tasks = write_task(folder / "tasks", "table", TABLE_SOURCE)
    questions = {lang: [f"{lang} {i} {'x' * i}" for i in range(12)] for lang in LANGS}
    return tasks, write_table(folder / "data", "test", questions)


@pytest.fixture
def run(table, tmp_path, monkeypatch):
    """An evaluation of the mock model, made by the command line; paths in it are relative to `tmp_path`."""
    tasks, data = table
    shutil.copytree(tasks, tmp_path / "tasks")
    shutil.copytree(data, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    argv = ["eval", "--model", "mock", "--tasks", "table", "--tasks-dir", "tasks", "--data", "table=data"]
    assert main([*argv, "--languages", "de,en", "--set", "eval.draws=2", "--out", "results/first"]) == 0
    return Path("results/first")


def reproduction(run, out="again", *more):
    """Exit code and stored outcome."""
    code = main(["reproduce", str(run), "--out", out, *more])
    return code, json.loads((Path(out) / "reproduction.json").read_text())


# --- made again


def test_the_same_machine_says_identical(run, capsys):
    code, found = reproduction(run)
    assert code == 0
    assert set(found["counts"].values()) == {0, len(found["numbers"])} and found["counts"]["identical"] > 50
    assert found["same_responses"] == {"before": [24 + 48, 24 + 48]}
    assert found["environment"] == {} and found["inputs"]["differences"] == []
    assert found["inputs"]["same"] == ["data/table", "prompts/table", "weights"]
    text = capsys.readouterr()
    assert f"verdict    identical: {run} and again" in text.out
    assert "as recorded: data/table, prompts/table, weights" in text.err


def test_only_the_manifest_decides(run, tmp_path):
    """Nothing else of the folder is read to make it again: its responses are compared, not reused."""
    code, _ = reproduction(run)
    assert code == 0
    assert read_run("again").before.records == read_run(run).before.records
    assert read_manifest("again").config == read_manifest(run).config


def test_what_a_stopwatch_chose_is_not_chosen_again(run):
    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    assert check_inputs(run, Path("again"), Moved()).plan.config.model.generation == "auto"
    manifest["extra"]["generation"] = {"way": "generate", "why": "trial of 8 prompts", "seconds": {}, "refused": {}}
    path.write_text(json.dumps(manifest))
    assert check_inputs(run, Path("again"), Moved(), force=True).plan.config.model.generation == "generate"
    manifest["config"]["model"]["generation"] = "loop"
    path.write_text(json.dumps(manifest))
    assert check_inputs(run, Path("again"), Moved(), force=True).plan.config.model.generation == "loop", (
        "nobody timed this one"
    )


def test_the_default_folder_and_its_continuation(run, capsys):
    assert main(["reproduce", str(run)]) == 0
    assert Path("runs/first-reproduced/manifest.json").exists()
    capsys.readouterr()
    assert main(["reproduce", str(run)]) == 0
    assert "is complete; using its results" in capsys.readouterr().err


def test_a_trained_run_is_made_again_to_the_bit(tiny_model_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_task(tmp_path / "tasks")
    settings = {
        "train.questions_per_step": 2, "train.group_size": 4, "train.quota": 1, "train.max_completion_tokens": 5,
        "train.gate": "none", "train.learning_rate": 0.02, "eval.draws": 2, "eval.draw_limit": 1,
        "eval.max_completion_tokens": 5, "model.device": "cpu", "train.steps": 2,
    }  # fmt: skip
    argv = ["run", "--model", str(tiny_model_folder), "--tasks", "letters", "--tasks-dir", "tasks", "--out", "first"]
    assert main([*argv, *(part for key, value in settings.items() for part in ("--set", f"{key}={value}"))]) == 0
    code, found = reproduction("first")
    assert code == 0 and found["counts"] == {"identical": len(found["numbers"]), "within": 0, "different": 0}
    assert {number["evaluation"] for number in found["numbers"]} == {"before", "after", "training"}
    assert found["notes"] == ["the trained weights are identical"]
    # Another base model is refused before anything is computed, and its hash is named.
    other = shutil.copytree(tiny_model_folder, tmp_path / "other")
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    capsys.readouterr()
    assert main(["reproduce", "first", "--out", "third", "--model", str(other)]) == 2
    assert "weights was sha256:" in capsys.readouterr().err
    assert not Path("third").exists()
    # The same model elsewhere is the same model.
    moved = Moved(model=str(shutil.copytree(tiny_model_folder, tmp_path / "moved")))
    assert "weights" in check_inputs(Path("first"), Path("fourth"), moved).same


# --- refused before computing


def refusal(capsys, *argv):
    assert main(["reproduce", *argv]) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    return text


def test_changed_data_are_refused_and_named(run, capsys):
    write_table(Path("data"), "test", {"de": ["another question"]})
    assert "data/table was " in refusal(capsys, str(run), "--out", "again")
    assert not Path("again").exists()


def test_changed_prompts_are_refused_and_named(run, capsys):
    file = Path("tasks/table/prompts.toml")
    file.write_text(file.read_text().replace('"{question}"', '"Say: {question}"'))
    text = refusal(capsys, str(run), "--out", "again")
    assert "prompts/table was " in text and "data/table" not in text


def test_moved_data_and_tasks_are_found(run, capsys):
    Path("data").rename("elsewhere")
    Path("tasks").rename("my-tasks")
    assert main(["reproduce", str(run), "--out", "again"]) == 2
    capsys.readouterr()
    code, found = reproduction(run, "again", "--data", "table=elsewhere", "--tasks-dir", "my-tasks")
    assert code == 0 and found["environment"] == {"settings": ["tasks.0.data data -> elsewhere"]}


def test_force_shows_what_changed_data_change(run, capsys):
    write_table(Path("data"), "test", {"de": [f"{i} other" for i in range(12)]})
    code, found = reproduction(run, "again", "--force")
    assert code == 2 and found["inputs"]["differences"][0].startswith("data/table was ")
    assert {n["cause"] for n in found["numbers"] if n["language"] == "de" and n["verdict"] != "identical"} == {
        "the prompts differ: data/table is not the same"
    }
    # The seed of sampled responses depends on the questions of their chunk, so English draws change too.
    causes = {n["metric"]: n["cause"] for n in found["numbers"] if n["language"] == "en"}
    assert causes["accuracy"] == causes["fidelity"] == ""
    assert causes["self_bleu"] == "other responses to the same prompts: data/table is not the same"
    assert "no reproduction, since the inputs differ" in capsys.readouterr().out


def test_a_doctored_run_is_refused(run, capsys):
    file = run / "before" / "metrics.json"
    file.write_text(file.read_text().replace('"value": ', '"value": 0.3 + '.replace(" + ", ""), 1))
    text = refusal(capsys, str(run), "--out", "again")
    assert f"{run} is not whole: before/" in text and "--force" in text


def test_other_refusals_are_one_line(run, capsys, tmp_path):
    assert "is the run itself" in refusal(capsys, str(run), "--out", str(run))
    assert "is not a run folder" in refusal(capsys, "nowhere")
    assert "--data names task 'mgsm', which is not among" in refusal(capsys, str(run), "--data", "mgsm=x")
    assert "--data takes TASK=PATH" in refusal(capsys, str(run), "--data", "mgsm")


def test_a_missing_model_says_what_to_pass(run, capsys):
    assert "pass --model PATH" in refusal(capsys, str(run), "--model", "no/such/folder")


# --- different, and why


def test_other_responses_are_blamed_on_what_changed(run, monkeypatch, capsys):
    """A new library version whose model answers some questions otherwise."""
    answer, versions = fake._hashed_number, environment.versions()
    monkeypatch.setattr(
        fake, "_hashed_number", lambda prompt, draw: "x" * 7 if "de 1" in prompt else answer(prompt, draw)
    )
    monkeypatch.setattr(environment, "versions", lambda: versions | {"torch": "99.0"})
    code, found = reproduction(run, "again", "--format", "terminal")
    changed = [n for n in found["numbers"] if n["verdict"] != "identical"]
    assert changed and {n["language"] for n in changed} <= {"de", "avg:all"}
    expected = f"other responses to the same prompts: torch {versions['torch']} -> 99.0"
    assert {n["cause"] for n in changed} == {expected}
    same, total = found["same_responses"]["before"]
    assert total == 72 and same == 72 - 3 * 3  # questions 1, 10 and 11 in German, greedy and two draws
    text = capsys.readouterr().out
    assert expected in text and "libraries  torch" in text
    assert code == (2 if found["counts"]["different"] else 0)


def test_the_same_responses_judged_otherwise(run, monkeypatch):
    file = shutil.copytree(Path("tasks"), Path("other-tasks")) / "table" / "task.py"
    file.write_text(file.read_text().replace("sample.gold in completion", "sample.gold not in completion"))
    code, found = reproduction(run, "again", "--tasks-dir", "other-tasks")
    assert code == 2
    accuracy = [n for n in found["numbers"] if n["metric"] == "accuracy"]
    assert {n["verdict"] for n in accuracy} == {"different"}
    assert all("judged otherwise" in n["cause"] and "changed under the same version?" in n["cause"] for n in accuracy)
    assert found["same_responses"]["before"] == [72, 72]
    assert {n["verdict"] for n in found["numbers"] if n["metric"] == "completion_tokens"} == {"identical"}


def test_the_json_format_is_the_stored_file(run, capsys):
    capsys.readouterr()
    assert main(["reproduce", str(run), "--out", "again", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(Path("again/reproduction.json").read_text())


# --- one number


def metric(value, low=0.3, high=0.7, n=25, n_unscored=0):
    return Metric("t", "de", "accuracy", value, 0.1, (low, high), n, n, n_unscored, 0)


@pytest.mark.parametrize(
    ("was", "now", "verdict"),
    [
        (metric(0.5), metric(0.5), "identical"),
        (metric(0.5), metric(0.5 + 1e-12), "identical"),
        (metric(0.5), metric(0.5, n=24), "within"),
        (metric(0.5), metric(0.3), "within"),
        (metric(0.5), metric(0.7), "within"),
        (metric(0.5), metric(0.29), "different"),
        (metric(0.5), metric(0.71), "different"),
        (metric(0.5), None, "different"),
        (metric(0.5), metric(None), "different"),
        (metric(None), metric(0.5), "different"),
        (metric(None), metric(None), "identical"),
        (metric(None, n_unscored=3), metric(None), "within"),
        (metric(0.5, None, None), metric(0.5), "identical"),
        (metric(0.5, None, None), metric(0.51), "different"),
    ],
)
def test_verdict_of_one_number(was, now, verdict):
    assert judge_number(was, now) == verdict


def test_the_first_different_step():
    rows = [{"step": i, "completion": "a"} for i in (1, 1, 2, 2, 3)]
    assert first_different_step(rows, list(rows)) is None
    assert first_different_step(rows, rows[:3]) == 2
    assert first_different_step(rows[:4], rows) == 3
    assert first_different_step([], []) is None


def test_a_cause_is_narrowed_to_what_could_change_the_step():
    environment = {"libraries": ("torch 1 -> 2",), "hardware": ("gpus a -> b",), "judges": ("detector_version 1 -> 2",)}
    assert cause_of("judgements", environment).endswith("judged otherwise: detector_version 1 -> 2")
    assert cause_of("responses", environment).endswith("torch 1 -> 2, gpus a -> b")
    assert cause_of("responses", {}).endswith("could explain it: kernels whose sums depend on threads or timing?")


# --- two runs by hand


def two_runs(change=lambda r: r, manifest=(), extraction="1", rollouts=((), ())):
    base = ResponseRecord(
        task="toy", sample_id="", source_id="", source_lang="de", rollout_lang="de", topic="reasoning", regions=(),
        prompt="p", question="q", gold="2", completion="c", k=0, n_tokens=5, finish_reason="stop",
        prompt_truncated=False, score=1.0, outcome="correct", answer="2", reason="", detected_lang="de",
        language_ok=True, language_reason="",
    )  # fmt: skip
    records = [
        dataclasses.replace(base, sample_id=f"{lang}/{i}", source_id=str(i), rollout_lang=lang, source_lang=lang)
        for lang in LANGS
        for i in range(20)
    ]
    runs = []
    task = TaskSignature("1", "default", "generate", LANGS, "p", "d")
    for i, name in enumerate(("first", "second")):
        mine = [change(r) for r in records] if i else records
        signature = Signature({"toy": task}, {}, "d", "1", extraction if i else "1")
        evaluation = Evaluation(signature, tuple(mine), tuple(metrics_of(mine, ["de"])), ("de",), "before")
        made = Manifest({"seed": 0}, "h", versions={"torch": "1"}, hardware={"gpus": None, "cpu_count": 2})
        made = dataclasses.replace(made, **dict(manifest)) if i else made
        runs.append(Run(Path(name), made, evaluation, None, (), (), rollouts[i]))
    return runs


def wrong_in_german(count):
    def change(r):
        lost = r.rollout_lang == "de" and int(r.source_id) < count
        return dataclasses.replace(r, score=0.0, outcome="incorrect", completion="x") if lost else r

    return change


def verdicts(found, metric="accuracy"):
    return {n.language: n.verdict for n in found.numbers if n.metric == metric}


def test_verdicts_follow_the_published_interval():
    """20 of 20 right: the published interval is [0.832, 1] (Clopper-Pearson), so 18 is within and 16 is not."""
    assert verdicts(compare_runs(*two_runs(wrong_in_german(3))))["de"] == "within"
    found = compare_runs(*two_runs(wrong_in_german(4)))
    assert verdicts(found) == {
        "de": "different", "en": "identical", "avg:all": "within", "avg:trained": "different",
        "avg:heldout": "identical",
    }  # fmt: skip
    assert not found.ok and found.same_responses == {"before": (36, 40)}
    assert found.count("identical") + found.count("within") + found.count("different") == len(found.numbers)


def test_what_one_side_does_not_know_is_no_difference():
    run, again = two_runs(manifest={"hardware": {"gpus": [], "cpu_count": 2}})
    assert manifest_differences(run, again) == {}
    run, again = two_runs(manifest={"hardware": {"gpus": [], "cpu_count": 8}, "python": "3.13"}, extraction="2")
    assert manifest_differences(run, again) == {
        "judges": ("extraction_version 1 -> 2",),
        "libraries": ("Python  -> 3.13",),
        "hardware": ("cpu_count 2 -> 8",),
    }


def test_a_changed_judge_is_named():
    def change(r):
        return dataclasses.replace(r, language_ok=None, language_reason="too short")

    found = compare_runs(*two_runs(change, extraction="2"))
    (cause,) = {n.cause for n in found.numbers if n.metric == "fidelity" and n.cause}
    assert cause == "the same responses, judged otherwise: extraction_version 1 -> 2"


def test_training_rewards_stand_in_for_metrics():
    def rollouts(rewards):
        return tuple(
            {"step": 1 + i // 4, "source_lang": "de", "sample_id": f"q{i % 4}", "reward": reward, "completion": "c"}
            for i, reward in enumerate(rewards)
        )

    same = compare_runs(*two_runs(rollouts=(rollouts([1, 0, 1, 0] * 3), rollouts([1, 0, 1, 0] * 3))))
    assert [n.verdict for n in same.numbers if n.evaluation == "training"] == ["identical"]
    other = compare_runs(*two_runs(rollouts=(rollouts([1, 0, 1, 0] * 3), rollouts([1, 0, 1, 0] * 2 + [1, 1, 1, 0]))))
    (number,) = [n for n in other.numbers if n.evaluation == "training"]
    assert (number.was, number.verdict) == (0.5, "within") and number.now == pytest.approx(7 / 12)
    assert "training rollouts differ from step 3 on" in other.notes
    missing = compare_runs(*two_runs(rollouts=(rollouts([1, 0, None, 0]), ())))
    assert [n.verdict for n in missing.numbers if n.evaluation == "training"] == ["different"]
