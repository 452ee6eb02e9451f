"""`verify` names what is wrong with a run folder, and finds nothing wrong with a good one."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
from small_tasks import write_task

from lrpo_bench.cli import main
from lrpo_bench.evaluation.metrics import metrics_of
from lrpo_bench.results.evaluations import read_parquet, to_parquet
from lrpo_bench.results.hashes import file_hash, read_hashes
from lrpo_bench.results.store import Store, read_manifest
from lrpo_bench.results.verify import stage_of, verify_run

SETTINGS = {
    "train.questions_per_step": 2, "train.group_size": 4, "train.quota": 1, "train.max_completion_tokens": 5,
    "train.gate": "none", "train.learning_rate": 0.02, "eval.draws": 2, "eval.draw_limit": 1,
    "eval.max_completion_tokens": 5, "model.device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def arguments(tiny_model_folder, tmp_path_factory):
    tasks = write_task(tmp_path_factory.mktemp("tasks"))

    def make(out, stage="run", *more):
        chosen = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
        common = [stage, "--model", str(tiny_model_folder), "--tasks", "letters", "--tasks-dir", str(tasks)]
        return [*common, *([] if stage == "eval" else ["--steps", "2"]), "--out", str(out), *chosen, *more]

    return make


@pytest.fixture(scope="module")
def whole(arguments, tmp_path_factory):
    """A run of a tiny model: evaluated, trained, evaluated again."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(arguments(out)) == 0
    return out


@pytest.fixture
def run(whole, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(whole, tmp_path / "run")


def failed(path):
    """What is wrong, one text a failed check."""
    return [f"{check.name}: {check.detail}" for check in verify_run(path).failures]


def unchecked(path):
    return [f"{check.name}: {check.detail}" for check in verify_run(path).checks if check.outcome == "unchecked"]


def without_hashes(path):
    (path / "hashes.json").unlink()
    return path


def edit_metric(path, name="after", **change):
    """Changes the first `accuracy` in `sw` of a metrics.json, as a forger would."""
    file = path / name / "metrics.json"
    stored = json.loads(file.read_text())
    row = next(r for r in stored["metrics"] if (r["metric"], r["language"]) == ("accuracy", "sw"))
    row.update(change)
    file.write_text(json.dumps(stored))


# --- a good run


def test_a_good_run_passes_every_check(whole, capsys):
    verification = verify_run(whole)
    assert verification.ok
    assert {check.outcome for check in verification.checks} == {"ok"}
    names = {check.name for check in verification.checks}
    assert {"hashes.json", "before/responses.parquet", "after/metrics.json", "rollouts.jsonl"} <= names
    assert "model/model.safetensors" in names
    assert main(["verify", str(whole)]) == 0
    assert "nothing is wrong" in capsys.readouterr().out


def test_hashes_are_of_every_result_file(whole):
    recorded = read_hashes(whole)
    own = {"hashes.json", "report.html", "report.md"}
    files = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()} - own
    assert set(recorded) == {name for name in files if not name.startswith("figures/")}
    import hashlib

    for name, value in recorded.items():
        assert value == hashlib.sha256((whole / name).read_bytes()).hexdigest() == file_hash(whole / name)


def test_a_reused_run_and_a_new_report_change_nothing(run, arguments, whole):
    assert main(["report", str(run)]) == 0
    with Store.open(run, read_manifest(run).config, command=["again"]):
        pass
    assert failed(run) == []


def test_the_gpus_are_known_once_torch_was_loaded(whole):
    assert read_manifest(whole).hardware["gpus"] is not None


@pytest.mark.parametrize("stage", ["eval", "train"])
def test_other_stages_need_other_files(arguments, tmp_path, stage):
    out = tmp_path / stage
    assert main(arguments(out, stage)) == 0
    assert failed(out) == [] == unchecked(out)
    assert stage_of(read_manifest(out)) == stage
    missing = {"eval": "before/metrics.json", "train": "router.jsonl"}[stage]
    (out / missing).unlink()
    assert f"{missing}: is missing" in failed(out)


def test_overwrite_makes_new_hashes(arguments, tmp_path):
    out = tmp_path / "run"
    assert main(arguments(out, "eval")) == 0
    before = read_hashes(out)
    assert main(arguments(out, "eval", "--seed", "1", "--overwrite")) == 0
    assert read_hashes(out) != before
    assert failed(out) == []


# --- doctored


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"value": 0.987}, "value of accuracy of letters in sw is 0.987, the responses give"),
        ({"value": None}, "value of accuracy of letters in sw is unknown, the responses give"),
        ({"value": "0.9"}, "value of accuracy of letters in sw is '0.9', the responses give"),
        ({"ci95": [0.9, 1.0]}, "ci95 of accuracy of letters in sw is (0.9, 1.0), the responses give"),
        ({"n": 600}, "n of accuracy of letters in sw is 600, the responses give 6"),
        ({"n_unscored": 3}, "n_unscored of accuracy of letters in sw is 3, the responses give 0"),
    ],
)
def test_a_doctored_metric_is_named(run, change, text):
    edit_metric(without_hashes(run), **change)
    (line,) = failed(run)
    assert line.startswith(f"after/metrics.json: {text}")


def test_a_doctored_metric_fails_both_ways(run, capsys):
    edit_metric(run, value=0.987)
    changed, recomputed = failed(run)
    assert changed == "after/metrics.json: was changed after the run completed: its SHA-256 is another one"
    assert "is 0.987, the responses give" in recomputed
    assert main(["verify", str(run)]) == 2
    assert "2 of" in capsys.readouterr().out


def test_the_true_value_is_named_too(run):
    truth = {m.metric: m.value for m in metrics_of(read_parquet(run / "after/responses.parquet"), ("de", "en", "sw"))
             if m.language == "sw"}["accuracy"]  # fmt: skip
    edit_metric(without_hashes(run), value=truth + 0.125)
    (line,) = failed(run)
    assert f"is {truth + 0.125!r}, the responses give {truth!r}" in line


def test_a_removed_and_an_added_number_are_named(run):
    file = without_hashes(run) / "before" / "metrics.json"
    stored = json.loads(file.read_text())
    removed = stored["metrics"].pop(0)
    stored["metrics"].append({**removed, "language": "yo"})
    file.write_text(json.dumps(stored))
    name = f"{removed['metric']} of letters in"
    assert failed(run) == [
        f"before/metrics.json: {name} yo is of no response",
        f"before/metrics.json: {name} {removed['language']} is missing",
    ]


def test_a_metric_of_another_version_is_no_failure(run):
    file = without_hashes(run) / "before" / "metrics.json"
    stored = json.loads(file.read_text())
    stored["metrics"] = [row for row in stored["metrics"] if row["metric"] != "self_bleu"]
    file.write_text(json.dumps(stored))
    assert failed(run) == []
    assert "before/metrics.json: new in this version, and missing: self_bleu" in unchecked(run)


def test_many_wrong_numbers_are_counted(run):
    file = without_hashes(run) / "before" / "metrics.json"
    stored = json.loads(file.read_text())
    for row in stored["metrics"]:
        row["n"] += 1
    file.write_text(json.dumps(stored))
    lines = failed(run)
    assert len(lines) == 21
    assert lines[-1].endswith(f"{len(stored['metrics']) - 20} more numbers are not what the responses give")


def test_changed_responses_are_found_by_their_metrics(run):
    """A forger who judges one answer anew, and leaves the metrics."""
    file = without_hashes(run) / "after" / "responses.parquet"
    records = read_parquet(file)
    i = next(i for i, r in enumerate(records) if r.k == 0)
    judged = ("incorrect", 0.0) if records[i].outcome == "correct" else ("correct", 1.0)
    records[i] = dataclasses.replace(records[i], outcome=judged[0], score=judged[1])
    file.write_bytes(to_parquet(records))
    assert any("accuracy of letters" in line for line in failed(run))


def test_a_response_that_is_there_twice_is_found(run):
    file = without_hashes(run) / "after" / "responses.parquet"
    records = read_parquet(file)
    file.write_bytes(to_parquet([*records, records[0]]))
    assert "after/responses.parquet: 1 responses are there twice" in failed(run)


def test_other_trained_languages_are_found(run):
    """Held-out averages would be of other languages."""
    file = without_hashes(run) / "after" / "metrics.json"
    stored = json.loads(file.read_text()) | {"trained_languages": ["de"]}
    file.write_text(json.dumps(stored))
    assert any(
        line == "after/metrics.json: trained_languages is ['de'], manifest.json says ['de', 'en', 'sw']"
        for line in failed(run)
    )


def test_a_changed_config_is_found(run):
    file = without_hashes(run) / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["config"]["train"]["learning_rate"] = 1e-6
    file.write_text(json.dumps(manifest))
    (line,) = failed(run)
    assert line.startswith("config: manifest.json: config has hash ")


def test_another_signature_is_found(run):
    file = without_hashes(run) / "after" / "signature.json"
    signature = json.loads(file.read_text())
    signature["tasks"]["letters"]["data_hash"] = "0" * 64
    file.write_text(json.dumps(signature))
    lines = failed(run)
    assert any(line.startswith("after/signature.json: hash of data of letters is 000") for line in lines)
    assert any(line.startswith("signatures: tasks.letters.data_hash is ") for line in lines)


# --- damaged


@pytest.mark.parametrize("keep", [0, 3, 100, -5])
def test_a_truncated_parquet_is_named(run, keep):
    file = without_hashes(run) / "before" / "responses.parquet"
    file.write_bytes(file.read_bytes()[:keep])
    (line,) = failed(run)
    assert line.startswith("before/responses.parquet: ") and "not a Parquet file" in line


def test_damaged_bytes_anywhere_in_a_parquet_are_named(run):
    """Bytes in the pages and in the footer: damaged pages raise OSError and UnicodeDecodeError in pyarrow."""
    file = run / "before" / "responses.parquet"
    content = file.read_bytes()
    for position in range(4, len(content), len(content) // 12):
        broken = bytearray(content)
        broken[position] ^= 0xFF
        file.write_bytes(broken)
        assert any(line.startswith("before/responses.parquet: ") for line in failed(run))


@pytest.mark.parametrize("log", ["router", "train", "rollouts"])
def test_a_cut_log_is_named(run, log):
    file = without_hashes(run) / f"{log}.jsonl"
    content = file.read_bytes()
    file.write_bytes(content[:-20])
    assert failed(run) == [f"{log}.jsonl: is cut: its last line has no end"]
    lines = content.decode().splitlines(keepends=True)
    file.write_bytes("".join(lines[:-1]).encode())  # cut between two lines
    assert failed(run) == [f"{log}.jsonl: has {len(lines) - 1} rows, expected {len(lines)}: cut"]
    file.write_bytes("".join([*lines[1:], lines[0]]).encode())
    assert "expected 1" in failed(run)[0] or "expected 2" in failed(run)[0]
    file.write_text("".join(lines[:-1]) + "{broken\n")
    (line,) = failed(run)
    assert line.startswith(f"{log}.jsonl: ") and "not JSON" in line


@pytest.mark.parametrize("file", ["before/metrics.json", "after/signature.json", "hashes.json", "manifest.json"])
@pytest.mark.parametrize("content", ["", "[", "[]", "{}", '{"a": 1}', "\x00\xff"])
def test_broken_json_is_named(run, file, content):
    (run / file).write_bytes(content.encode("latin-1"))
    assert any(line.startswith((file, f"{file.split('/')[0]}/responses.parquet")) and file.split("/")[-1] in line
               for line in failed(run))  # fmt: skip


@pytest.mark.parametrize(
    "file", ["before/metrics.json", "before/responses.parquet", "after/signature.json", "train.jsonl", "rollouts.jsonl"]
)
def test_a_deleted_file_is_named(run, file):
    (run / file).unlink()
    assert f"{file}: is missing" in failed(run)
    assert f"{file}: was deleted after the run completed" in failed(run)
    without_hashes(run)
    assert failed(run) == [f"{file}: is missing"]


def test_a_deleted_manifest_is_named(run, capsys):
    (run / "manifest.json").unlink()
    (line,) = failed(run)
    assert line == f"manifest.json: {run} is not a run folder: it has no manifest.json"
    assert main(["verify", str(run)]) == 2


def test_a_whole_deleted_evaluation_is_named(run):
    shutil.rmtree(run / "after")
    assert "after/responses.parquet: is missing" in failed(run)


# --- weights


def test_a_changed_weight_is_named(run):
    from safetensors.numpy import load_file, save_file

    file = without_hashes(run) / "model" / "model.safetensors"
    weights = {name: value.copy() for name, value in load_file(file).items()}
    first = sorted(weights)[0]
    weights[first].flat[0] += 1e-3
    save_file(weights, file, metadata={"format": "pt"})
    (line,) = failed(run)
    assert line.startswith("model/model.safetensors: weights have sha256:")
    assert "manifest.json says weights_after sha256:" in line


def test_an_added_weight_file_changes_the_hash(run):
    shutil.copy(run / "model" / "model.safetensors", run / "model" / "adapter.safetensors")
    assert any("weights have sha256:" in line for line in failed(run))
    assert "model/adapter.safetensors: was added after the run completed" in unchecked(run)


def test_a_model_without_weights_is_named(run):
    (run / "model" / "model.safetensors").unlink()
    assert "model: has no weights: there is no .safetensors file in it" in failed(run)


def test_an_unpublished_model_is_no_failure(run, capsys):
    shutil.rmtree(run / "model")
    assert failed(run) == []
    (line,) = unchecked(run)
    assert line.startswith("model: was not published; the trained weights were sha256:")
    assert main(["verify", str(run)]) == 0
    assert "nothing is wrong; 1 things could not be checked" in capsys.readouterr().out


# --- status, older folders, the command line


def test_an_older_folder_is_checked_by_recomputation_and_says_so(run):
    assert failed(without_hashes(run)) == []
    assert unchecked(run) == ["hashes.json: the folder has none, as before it was introduced; checked by recomputation"]


def test_a_run_that_is_not_complete_says_so(tmp_path):
    with pytest.raises(RuntimeError), Store.open(tmp_path / "run", {"seed": 0}, command=["lrpo-bench", "eval"]):
        raise RuntimeError("out of memory")
    lines = failed(tmp_path / "run")
    assert lines[0] == "status: failed (RuntimeError: out of memory); the run's command again goes on with it"
    assert "before/metrics.json: is missing" in lines


def test_another_schema_version_says_so(run):
    file = run / "manifest.json"
    file.write_text(file.read_text().replace('"schema_version": 1', '"schema_version": 9'))
    (line,) = failed(run)
    assert "schema version 9, this lrpo-bench reads 1" in line


def test_several_runs_and_json(run, whole, capsys):
    edit_metric(run, value=0.5001)
    assert main(["verify", str(whole), str(run), "--format", "json"]) == 2
    good, bad = json.loads(capsys.readouterr().out)
    assert (good["ok"], bad["ok"]) == (True, False)
    assert {"name", "outcome", "detail"} == set(bad["checks"][0])


def test_no_such_folder_is_one_line(tmp_path, capsys):
    assert main(["verify", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
