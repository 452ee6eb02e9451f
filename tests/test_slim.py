"""A slimmed run: what goes, what stays to the byte, and that `verify` and the tables still read it."""

import json
import shutil

import pytest
from synthetic_runs import make_run

from lrpo_bench.cli import main
from lrpo_bench.errors import ConfigError, StorageError
from lrpo_bench.results.compare import compare
from lrpo_bench.results.hashes import read_left_out
from lrpo_bench.results.report import write_report
from lrpo_bench.results.slim import slim_run
from lrpo_bench.results.store import Store, read_run
from lrpo_bench.results.verify import verify_run

KEPT = ("before/responses.parquet", "before/metrics.json", "after/responses.parquet", "after/signature.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("runs") / "whole", n=6, status="running")
    with Store.open(folder, read_run(folder).manifest.config) as store:
        store.log_all("rollouts", [{"step": 1, "sample_id": "toy/de/9", "completion": "x" * 5000}])
        store.log("router", {"step": 1, "arms": {"de": 1.0}})
        (folder / "model").mkdir()
        (folder / "model" / "model.safetensors").write_bytes(b"weights")
        store.update(extra={"stage": "run"})
        store.complete()
    write_report(folder)
    return folder


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def failures(path):
    # The made-up run logs one step of four, which is not what this is about.
    return [c for c in verify_run(path).failures if not c.name.endswith(".jsonl")]


def test_what_numbers_rest_on_stays_to_the_byte_and_the_rest_goes(run, whole):
    found = slim_run(run)
    assert set(found.dropped) == {"rollouts.jsonl", "model", "report.html", "figures"}
    assert found.bytes_after < found.bytes_before
    for name in (*KEPT, "manifest.json", "train.jsonl", "router.jsonl", "report.md"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert not (run / ".lock").exists() and not failures(whole)


def test_it_still_verifies_and_says_what_is_not_there(run):
    slim_run(run)
    assert not failures(run)
    said = {c.name: c.detail for c in verify_run(run).checks if c.outcome == "unchecked"}
    assert "was left out by `lrpo-bench slim`" in said["rollouts.jsonl"] and "model" in said
    assert set(read_left_out(run)) == {"rollouts.jsonl", "model/model.safetensors"}


def test_a_doctored_metric_of_a_slim_run_is_named(run):
    slim_run(run)
    file = run / "after" / "metrics.json"
    stored = json.loads(file.read_text())
    stored["metrics"][0]["value"] = 0.123
    file.write_text(json.dumps(stored))
    assert any(c.name == "after/metrics.json" and "0.123" in c.detail for c in failures(run))


def test_comparison_and_report_are_made_from_what_is_left(run, whole):
    slim_run(run)
    one, two = read_run(run), read_run(whole)
    differences = [repr(compare(run.before, run.after).differences) for run in (one, two)]  # NaN is not itself
    assert differences[0] == differences[1]
    text = write_report(run).read_text()
    assert "Questions gained and lost" in text and "Training rollouts" not in text


def test_parts_can_be_kept_and_twice_is_once(run):
    assert "rollouts.jsonl" not in slim_run(run, ["rollouts"]).dropped
    assert (run / "rollouts.jsonl").exists()
    assert slim_run(run).dropped == ("rollouts.jsonl",)
    before = (run / "hashes.json").read_bytes()
    assert slim_run(run).dropped == () and (run / "hashes.json").read_bytes() == before
    assert set(read_left_out(run)) == {"rollouts.jsonl", "model/model.safetensors"}


def test_a_crash_between_record_and_deletion_is_mended_by_the_same_command(run, monkeypatch):
    def crash(paths):
        raise OSError("power cut")

    monkeypatch.setattr("lrpo_bench.results.slim.remove", crash)
    with pytest.raises(OSError, match="power cut"):
        slim_run(run)
    assert (run / "rollouts.jsonl").exists() and not failures(run)
    monkeypatch.undo()
    slim_run(run)
    assert not (run / "rollouts.jsonl").exists() and not failures(run)


def test_refusals(run, tmp_path):
    with pytest.raises(ConfigError, match="--keep 'everything' is no part of a run; allowed: rollouts, model"):
        slim_run(run, ["everything"])
    (run / "train.jsonl").write_text("")
    with pytest.raises(StorageError, match=r"train.jsonl is not what it was when the run completed"):
        slim_run(run)
    assert (run / "rollouts.jsonl").exists()
    failed = make_run(tmp_path / "failed", n=2, status="failed")
    with pytest.raises(StorageError, match="is failed; only a complete run can be slimmed"):
        slim_run(failed)


def test_the_command_takes_a_folder_of_runs(run, tmp_path, capsys):
    make_run(tmp_path / "other", n=2, status="failed")
    assert main(["slim", str(tmp_path), "--keep", "model,pages"]) == 0
    text = capsys.readouterr().out
    assert "without rollouts.jsonl" in text and "other: failed, left as it is" in text
    assert (run / "model").exists() and (run / "report.html").exists()
