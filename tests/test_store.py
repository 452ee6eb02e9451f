import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpo_bench.errors import StorageError
from lrpo_bench.evaluation.metrics import Metric
from lrpo_bench.evaluation.records import NOT_JUDGED, ResponseRecord, record_from_json, record_to_json
from lrpo_bench.results import environment, files
from lrpo_bench.results.evaluations import read_parquet, to_parquet
from lrpo_bench.results.schema import SCHEMA_VERSION, Manifest, Signature, TaskSignature
from lrpo_bench.results.store import Store, config_hash, read_run

CONFIG = {"model": "mock", "train": {"lr": 1e-5, "seed": 0}}


def record(sample: int = 0, lang: str = "de", k: int = 0, **changes) -> ResponseRecord:
    base = ResponseRecord(
        task="toy",
        sample_id=f"toy/{lang}/{sample}",
        source_id=f"toy/{sample}",
        source_lang=lang,
        rollout_lang=lang,
        topic="reasoning",
        regions=("east_africa",),
        prompt="Frage: 1+1?",
        question="1+1?",
        gold="2",
        completion="Die Antwort ist 2.",
        k=k,
        n_tokens=5,
        finish_reason="stop",
        prompt_truncated=False,
        score=1.0,
        outcome="correct",
        answer="2",
        reason="",
        detected_lang=lang,
        language_ok=True,
        language_reason="",
    )
    return dataclasses.replace(base, **changes)


def signature(**changes) -> Signature:
    task = TaskSignature("1", "default", "generate", ("de", "en"), "p", "d", 10)
    return dataclasses.replace(Signature({"toy": task}, {"sampling_temperature": 0.0}, "script", "1", "1"), **changes)


METRIC = Metric("toy", "de", "accuracy", 0.5, None, (None, None), 2, 1, 0, 0, "note")


# --- records -------------------------------------------------------------------------------------------------------


@given(text=st.text(st.characters(), max_size=40), answer=st.none() | st.text(max_size=5))
def test_record_survives_jsonl_whatever_the_text(text, answer):
    original = record(completion=text, prompt=text, answer=answer, language_ok=None)
    line = record_to_json(original)
    assert "\n" not in line
    line.encode("utf-8")  # a lone surrogate must not make the line unwritable
    assert record_from_json(line) == original


def test_record_with_lone_surrogate_survives_jsonl():
    original = record(completion="a\ud800b")
    assert record_from_json(record_to_json(original)) == original


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v": 3}, "record version 3, this lrpo-bench reads 1 and 2"),
        ({"ranking": 1}, "ranking must be list"),
        ({"lines_ok": "yes"}, "lines_ok must be bool"),
        ({"v": 1}, "unknown keys lines_ok"),
        ({"v": None}, "record version None"),
        ({"colour": 1}, "unknown keys colour"),
        ({"score": 2.0}, "score must be in"),
        ({"score": "1"}, "score must be float or int or NoneType, got '1'"),
        ({"outcome": "fine"}, "outcome must be one of"),
        ({"language_ok": 1}, "language_ok must be bool"),
    ],
)
def test_bad_record_line_is_a_storage_error(change, message):
    row = json.loads(record_to_json(record())) | change
    with pytest.raises(StorageError, match=message):
        record_from_json(json.dumps(row), "responses.jsonl:7")


def test_missing_key_names_file_and_key():
    row = json.loads(record_to_json(record()))
    del row["gold"]
    with pytest.raises(StorageError, match=r"^responses.jsonl:7: missing keys gold"):
        record_from_json(json.dumps(row), "responses.jsonl:7")


ADDED_IN_2 = ("lines_ok", "lines_reason", "words_ok", "words_reason", "ranking", "router_lang")


def test_a_record_of_version_1_is_read_with_the_rest_unknown(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    known = record(lines_ok=True, lines_reason="", words_ok=False, words_reason="", ranking=(1, 0), router_lang="en")
    row = json.loads(record_to_json(known)) | {"v": 1}
    for name in ADDED_IN_2:
        del row[name]
    assert record_from_json(json.dumps(row)) == record()  # whose fields of version 2 are the defaults
    assert (record().lines_ok, record().lines_reason, record().ranking) == (None, NOT_JUDGED, ())

    (tmp_path / "new.parquet").write_bytes(to_parquet([known]))
    assert read_parquet(tmp_path / "new.parquet") == [known]
    table = pq.read_table(tmp_path / "new.parquet").drop_columns(list(ADDED_IN_2))
    pq.write_table(table.replace_schema_metadata({"record_version": "1"}), tmp_path / "old.parquet")
    assert read_parquet(tmp_path / "old.parquet") == [record()]
    for version in ("3", "None", ""):
        schema = pa.schema(table.schema, metadata={"record_version": version})
        pq.write_table(pa.Table.from_pylist([], schema=schema), tmp_path / "odd.parquet")
        with pytest.raises(StorageError, match=r"record version .*, this lrpo-bench reads 1 and 2"):
            read_parquet(tmp_path / "odd.parquet")


def test_a_signature_from_before_lines_were_judged_is_read():
    row = signature().to_dict()
    del row["fidelity_rules"], row["word_list"]
    assert Signature.from_dict(row) == signature()
    assert signature(word_list="words:1:ab").to_dict() != signature().to_dict()


def test_nan_score_is_refused():
    with pytest.raises(ValueError, match="score must be in"):
        record(score=math.nan)


@pytest.mark.parametrize(
    ("outcome", "score", "language_ok", "expected"),
    [
        ("correct", 1.0, True, 1.0),
        ("correct", 1.0, False, 0.0),
        ("correct", 1.0, None, None),
        ("incorrect", 0.0, True, 0.0),
        ("incorrect", 0.0, None, None),  # as unknown as a right one: otherwise only right ones would be left out
        ("not_attempted", 0.0, None, 0.0),
        ("truncated", 0.0, None, 0.0),
        ("truncated", None, True, None),
        ("unscored", None, False, None),
    ],
)
def test_score_in_language(outcome, score, language_ok, expected):
    assert record(score=score, outcome=outcome, language_ok=language_ok).score_in_language == expected


def test_parquet_round_trip_is_sorted_and_reproducible(tmp_path):
    records = [record(3), record(1, k=1, score=None, outcome="unscored", language_ok=None, answer=None), record(1)]
    content = to_parquet(records)
    assert content == to_parquet(reversed(records))
    (tmp_path / "r.parquet").write_bytes(content)
    assert read_parquet(tmp_path / "r.parquet") == [records[2], records[1], records[0]]


def test_empty_parquet_round_trip(tmp_path):
    (tmp_path / "r.parquet").write_bytes(to_parquet([]))
    assert read_parquet(tmp_path / "r.parquet") == []


def test_broken_parquet_is_a_storage_error(tmp_path):
    (tmp_path / "r.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(StorageError, match="not a Parquet file"):
        read_parquet(tmp_path / "r.parquet")


# --- store ---------------------------------------------------------------------------------------------------------


def test_a_run_from_beginning_to_end(tmp_path):
    path = tmp_path / "runs" / "a"
    with Store.open(path, CONFIG, command=["lrpo-bench", "run", "--hf-token=abc"]) as store:
        assert read_run(path).manifest.status == "running"
        store.update(hashes={"data": "d1"}, seeds={"run": 0}, extra={"trained": ["de"]})
        before = store.evaluation("before", signature())
        before.append([record(1), record(0)])
        finished = before.finish([METRIC], trained_languages=["de"])
        store.log("router", {"step": 1, "arms": {"de": np.float32(0.5)}, "kl": float("nan")})
        store.complete()
    run = read_run(path)
    assert run.manifest.status == "complete" and run.manifest.finished_at
    assert run.manifest.command == ("lrpo-bench", "run", "--hf-token=***")
    assert run.manifest.config == CONFIG and run.manifest.hashes == {"data": "d1"} and run.manifest.seeds == {"run": 0}
    assert run.manifest.versions["numpy"] == np.__version__ and "vllm" in run.manifest.versions
    assert run.before == finished and run.after is None
    assert [r.source_id for r in run.before.records] == ["toy/0", "toy/1"]
    assert run.before.metrics == (METRIC,) and run.before.trained_languages == ("de",) and run.before.label == "before"
    assert run.router == ({"step": 1, "arms": {"de": 0.5}, "kl": None},)
    assert sorted(p.name for p in path.iterdir()) == ["before", "hashes.json", "manifest.json", "router.jsonl"]
    assert sorted(p.name for p in (path / "before").iterdir()) == [
        "metrics.json",
        "responses.parquet",
        "signature.json",
    ]


def test_continues_after_a_crash_and_drops_the_torn_line(tmp_path):
    with Store.open(tmp_path, CONFIG) as store:
        store.evaluation("before", signature()).append([record(0), record(1)])
    jsonl = tmp_path / "before" / "responses.jsonl"
    with jsonl.open("a") as file:
        file.write(record_to_json(record(2))[:50])  # killed in the middle of a write
    assert read_run(tmp_path).before is None
    with Store.open(tmp_path, CONFIG) as store:
        before = store.evaluation("before", signature())
        assert before.done == {record(0).key, record(1).key}
        with pytest.raises(ValueError, match="twice"):
            before.append([record(1)])
        before.append([record(2)])
        assert len(before.finish([]).records) == 3
        assert len(store.manifest.resumed) == 1
        assert store.evaluation("before", signature()).is_complete


def test_line_separators_in_completions_do_not_break_lines(tmp_path):
    with Store.open(tmp_path, CONFIG) as store:
        store.evaluation("before", signature()).append([record(0, completion="a\u2028b\u0085c\x1ed\ne")])
        (again,) = store.evaluation("before", signature()).records
    assert again.completion == "a\u2028b\u0085c\x1ed\ne"


def test_another_config_names_the_first_differing_key(tmp_path):
    Store.open(tmp_path, CONFIG).close()
    other = {"model": "mock", "train": {"lr": 2e-5, "seed": 1}}
    with pytest.raises(StorageError) as caught:
        Store.open(tmp_path, other)
    assert str(caught.value) == (
        f"{tmp_path} was made with another config: train.lr was 1e-05, now 2e-05; "
        "use --overwrite to replace it or another --out"
    )
    assert config_hash(CONFIG) != config_hash(other)


def test_overwrite_deletes_the_run_and_nothing_else(tmp_path):
    with Store.open(tmp_path, CONFIG) as store:
        store.evaluation("before", signature()).append([record(0)])
        store.log("train", {"step": 1})
    (tmp_path / "notes.txt").write_text("mine")
    with Store.open(tmp_path, {"model": "other"}, overwrite=True) as store:
        assert store.evaluation("before", signature()).done == frozenset()
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "train.jsonl").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_run_is_left_alone(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StorageError, match=r"not a run folder \(it has 'thesis.tex'"):
        Store.open(tmp_path, CONFIG, overwrite=overwrite)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_schema_version_names_both(tmp_path):
    Store.open(tmp_path, CONFIG).close()
    row = json.loads((tmp_path / "manifest.json").read_text()) | {"schema_version": 99}
    (tmp_path / "manifest.json").write_text(json.dumps(row))
    for attempt in (lambda: Store.open(tmp_path, CONFIG), lambda: read_run(tmp_path)):
        with pytest.raises(StorageError, match=f"schema version 99, this lrpo-bench reads {SCHEMA_VERSION}"):
            attempt()


def test_a_folder_without_manifest_is_no_run(tmp_path):
    with pytest.raises(StorageError, match=r"is not a run folder: it has no manifest.json"):
        read_run(tmp_path)


def test_another_signature_names_the_field(tmp_path):
    with Store.open(tmp_path, CONFIG) as store:
        store.evaluation("before", signature())
        with pytest.raises(StorageError, match="detector_version was '1', now '2'"):
            store.evaluation("before", signature(detector_version="2"))


def test_a_changed_hash_is_refused(tmp_path):
    with Store.open(tmp_path, CONFIG) as store:
        store.update(hashes={"data": "a"})
        store.update(hashes={"data": "a", "weights": "w"})
        with pytest.raises(StorageError, match=r"hashes.data was 'a' when the run began, now 'b'"):
            store.update(hashes={"data": "b"})


def test_an_exception_marks_the_run_failed_and_it_can_go_on(tmp_path):
    with pytest.raises(RuntimeError), Store.open(tmp_path, CONFIG):
        raise RuntimeError("out of memory")
    assert read_run(tmp_path).manifest.status == "failed"
    assert read_run(tmp_path).manifest.reason == "RuntimeError: out of memory"
    with Store.open(tmp_path, CONFIG) as store:
        assert store.manifest.status == "running" and store.manifest.reason == ""
        store.complete()
    with Store.open(tmp_path, CONFIG) as store:
        assert store.is_complete


def test_rewind_drops_rows_after_the_checkpoint(tmp_path):
    with Store.open(tmp_path, CONFIG) as store:
        store.log_all("train", [{"step": step} for step in (1, 2, 3)])
        store.rewind(2)
    assert [row["step"] for row in read_run(tmp_path).train] == [1, 2]


def test_two_writers_are_refused_and_the_lock_is_given_back(tmp_path):
    store = Store.open(tmp_path, CONFIG)
    with pytest.raises(StorageError, match="is being written by another process"):
        Store.open(tmp_path, CONFIG)
    store.close()
    store.close()
    Store.open(tmp_path, CONFIG).close()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    script = (
        "import os, sys\nfrom lrpo_bench.results.store import Store\n"
        "store = Store.open(sys.argv[1], {'model': 'mock', 'train': {'lr': 1e-5, 'seed': 0}})\n"
        "store.log('train', {'step': 1})\nos._exit(9)\n"  # as by SIGKILL: nothing is cleaned up
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=root, check=False)
    assert done.returncode == 9 and (tmp_path / ".lock").exists()
    with Store.open(tmp_path, CONFIG) as store:
        store.log("train", {"step": 2})
    assert [row["step"] for row in read_run(tmp_path).train] == [1, 2]


def test_a_full_disk_loses_nothing_already_written(tmp_path):
    # A file size limit is the full disk that a test can make: the write stops in the middle, as on a real one.
    script = """
import resource, signal, sys
from lrpo_bench.errors import StorageError
from lrpo_bench.results.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store.open(sys.argv[1], {"model": "mock", "train": {"lr": 1e-5, "seed": 0}})
store.log("train", {"step": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
try:
    store.log("train", {"step": 2, "text": "x" * 10000})
except StorageError as error:
    print(error)
    store.log("train", {"step": 3})
store.close()
"""
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=root, check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith(f"can not write {tmp_path / 'train.jsonl'}: ") and done.stdout.count("\n") == 1
    assert (tmp_path / "train.jsonl").read_text() == '{"step": 1}\n{"step": 3}\n'


@pytest.mark.parametrize(
    ("code", "message"),
    [("ENOSPC", "the disk is full"), ("EROFS", "read-only"), ("EACCES", "permission denied"), ("EIO", "error")],
)
def test_refusals_of_the_system_are_one_line(tmp_path, monkeypatch, code, message):
    import errno

    files.write_json(tmp_path / "a.json", {"old": 1})

    def refuse(handle: int) -> None:
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=message) as caught:
        files.write_json(tmp_path / "a.json", {"new": 2})
    assert "\n" not in str(caught.value)
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_path_that_can_not_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="can not write"):
        Store.open(tmp_path / "file" / "run", CONFIG)


def test_values_json_does_not_have():
    assert files.plain({"a": np.float64("inf"), "b": np.arange(2), "c": {"y", "x"}}) == {
        "a": None,
        "b": [0, 1],
        "c": ["x", "y"],
    }
    with pytest.raises(TypeError, match="can not store a complex"):
        files.plain({"z": 1j})


def test_manifest_and_signature_round_trip():
    manifest = Manifest({"a": 1}, "h", ("run",), created_at="t", seeds={"run": 1})
    assert Manifest.from_dict(json.loads(json.dumps(manifest.to_dict()))) == manifest
    assert Signature.from_dict(json.loads(json.dumps(signature().to_dict()))) == signature()
    with pytest.raises(StorageError, match="not a signature"):
        Signature.from_dict({"tasks": {}})


def test_git_state_outside_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert environment.git_state() == {"commit": None, "dirty": None}


def test_git_state_sees_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    (tmp_path / "f").write_text("1")
    for arguments in (["init", "-q"], ["add", "f"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *arguments], check=True)
    clean = environment.git_state()
    (tmp_path / "f").write_text("2")
    assert len(clean["commit"]) == 40 and clean["dirty"] is False and environment.git_state()["dirty"] is True


def test_a_complete_run_stays_complete_whatever_its_reader_does(tmp_path):
    with Store.open(tmp_path, CONFIG) as store:
        store.complete()
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(KeyboardInterrupt), Store.open(tmp_path, CONFIG) as store:
        store.update(extra={})
        raise KeyboardInterrupt
    assert (tmp_path / "manifest.json").read_bytes() == before


def test_a_complete_run_that_is_added_to_is_running_again_and_can_fail(tmp_path):
    with Store.open(tmp_path, CONFIG) as store:
        store.complete()
    with pytest.raises(RuntimeError), Store.open(tmp_path, CONFIG) as store:
        store.update(extra={"stage": "run"})
        assert read_run(tmp_path).manifest.status == "running"
        raise RuntimeError("no memory")
    assert read_run(tmp_path).manifest.status == "failed"


def test_overwrite_deletes_weights_and_both_reports(tmp_path):
    with Store.open(tmp_path, CONFIG) as store:
        for name in ("model", "model.tmp"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "model.safetensors").write_bytes(b"x")
        for name in ("report.html", "report.md"):
            (tmp_path / name).write_text("x")
        store.complete()
    Store.open(tmp_path, CONFIG, overwrite=True).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json"]
