import contextlib
import dataclasses
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from lrpo_bench.cli import main
from lrpo_bench.config import parse_config
from lrpo_bench.config_files import load_config
from lrpo_bench.errors import ConfigError, LrpoBenchError
from lrpo_bench.pipeline import execute
from lrpo_bench.plan import make_plan
from lrpo_bench.results.lock import FolderLock
from lrpo_bench.results.store import Store, read_manifest, read_run
from lrpo_bench.sweeps.cells import decisive_config, is_locked, progress_of, read_state
from lrpo_bench.sweeps.console import _view, watch
from lrpo_bench.sweeps.engines import Job, LocalEngine, RayEngine
from lrpo_bench.sweeps.file import cell_values, load_sweep, parse_sweep
from lrpo_bench.sweeps.runner import SweepRun
from lrpo_bench.sweeps.share import before_key, share_before
from lrpo_bench.training.methods import METHODS

MOCK = {
    "model": {"name": "mock"},
    "tasks": [{"name": "arithmetic", "limit": 3, "languages": ["de", "en"]}],
    "eval": {"draws": 2, "draw_limit": 2},
    "train": {"method": "vanilla"},
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("lrpo_bench.sweeps.console.POLL_S", 0.0)


class InProcess:
    """Runs a cell's command in this process, when it is asked whether it has ended."""

    threads = 1

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots
        self.ran = []

    def start(self, job):
        return job

    def poll(self, job):
        self.ran.append(Path(job.command[-1]).name)
        try:
            plan = make_plan(parse_config(load_config(Path(job.command[-1]))), train=True)
            execute(plan, "run", job.command, Silent(), overwrite=False)
        except LrpoBenchError as error:
            Path(job.log).write_text(f"lrpo-bench: {error}\n")
            return 2
        return 0

    def stop(self, handles):
        pass


class Silent:
    def note(self, text):
        pass

    def progress(self, title, total):
        return contextlib.nullcontext(lambda count: None)


def mock_sweep(out, **sections):
    return parse_sweep({"out": out, "base": MOCK, "grid": {"seed": [0, 1]}, **sections})


def run(sweep, engine=None, **options):
    found = SweepRun(sweep, engine or InProcess(), **options)
    watch(found, Console(file=io.StringIO()))
    return found


def states(found):
    return {row.cell.name: row.status for row in found.rows}


def test_a_sweep_makes_run_folders_and_a_second_one_has_nothing_to_do(tmp_path, capsys):
    first = run(mock_sweep(tmp_path / "o"))
    assert states(first) == {"seed0": "complete", "seed1": "complete"}
    assert read_run(tmp_path / "o" / "seed1").after is not None
    again = InProcess()
    assert states(run(mock_sweep(tmp_path / "o"), again)) == states(first) and not again.ran
    wider = InProcess()
    run(mock_sweep(tmp_path / "o", grid={"seed": [0, 1, 2]}), wider)
    assert wider.ran == ["seed2.yaml"]


def test_a_cell_is_what_the_run_command_would_have_made(tmp_path, capsys):
    run(mock_sweep(tmp_path / "o"))
    values = cell_values(mock_sweep(tmp_path / "o").cells[1]) | {"out": str(tmp_path / "alone")}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    assert main(["run", "--config", str(tmp_path / "c.yaml")]) == 0
    for name in ("before", "after"):
        cell, alone = (tmp_path / folder / name / "responses.parquet" for folder in ("o/seed1", "alone"))
        assert cell.read_bytes() == alone.read_bytes()


def test_a_failure_keeps_its_reason_stops_nothing_and_is_retried_only_on_request(tmp_path, capsys):
    broken = {"eval.detector": "no-such-detector"}
    sections = {"grid": {"seed": [0]}, "cells": {"broken": broken}}
    found = run(mock_sweep(tmp_path / "o", **sections))
    assert states(found) == {"seed0": "complete", "broken/seed0": "failed"}
    manifest = read_manifest(tmp_path / "o" / "broken" / "seed0")
    assert manifest.status == "failed" and "exit code 2" in manifest.reason
    silent, retried = InProcess(), InProcess()
    assert states(run(mock_sweep(tmp_path / "o", **sections), silent)) == states(found) and not silent.ran
    run(mock_sweep(tmp_path / "o", **sections), retried, retry_failed=True)
    assert retried.ran == ["broken-seed0.yaml"]


def test_a_killed_cell_is_failed_with_its_signal_and_others_go_on(tmp_path):
    class Killed(LocalEngine):
        def start(self, job):
            code = "import os; os.kill(os.getpid(), 9)"
            return super().start(dataclasses.replace(job, command=(sys.executable, "-c", code)))

    found = run(mock_sweep(tmp_path / "o"), Killed(2))
    assert states(found) == {"seed0": "failed", "seed1": "failed"}
    assert read_manifest(tmp_path / "o" / "seed0").reason.startswith("killed by signal 9")


def test_a_cell_that_another_process_writes_is_left_to_it(tmp_path, capsys):
    sweep = mock_sweep(tmp_path / "o")
    sweep.cells[0].folder.mkdir(parents=True)
    lock = FolderLock(sweep.cells[0].folder)
    assert is_locked(sweep.cells[0].folder)
    found = run(sweep)
    assert states(found) == {"seed0": "elsewhere", "seed1": "complete"}
    lock.release()
    assert not is_locked(sweep.cells[0].folder)
    assert states(run(sweep)) == {"seed0": "complete", "seed1": "complete"}


def test_a_cell_that_is_taken_between_look_and_start_is_left_to_the_other(tmp_path, capsys):
    sweep = mock_sweep(tmp_path / "o", grid={"seed": [0]})
    locks = []

    class Late(InProcess):
        def start(self, job):
            sweep.cells[0].folder.mkdir(parents=True)
            locks.append(FolderLock(sweep.cells[0].folder))
            return job

        def poll(self, job):
            Path(job.log).write_text(f"lrpo-bench: {sweep.cells[0].folder} is being written by another process (1)\n")
            return 2

    assert states(run(sweep, Late())) == {"seed0": "elsewhere"}
    locks[0].release()
    assert not (sweep.cells[0].folder / "manifest.json").exists()


def test_half_done_and_interrupted_cells_are_continued(tmp_path, capsys):
    sweep = mock_sweep(tmp_path / "o")
    for cell, reason in zip(sweep.cells, ("", "KeyboardInterrupt: "), strict=True):
        with Store.open(cell.folder, decisive_config(cell)) as store:
            if reason:
                store.fail(reason)
        assert read_state(cell).status == "stopped"
    assert states(run(sweep)) == {"seed0": "complete", "seed1": "complete"}


def test_a_folder_made_with_another_configuration_is_refused_and_kept(tmp_path, capsys):
    run(mock_sweep(tmp_path / "o"))
    other = parse_sweep({"out": tmp_path / "o", "base": {**MOCK, "eval": {"draws": 1}}, "grid": {"seed": [0]}})
    with pytest.raises(ConfigError, match=r"belongs to another sweep: eval.draw_limit was 2, now 16"):
        SweepRun(other, InProcess())
    (tmp_path / "o" / "configs" / "seed0.yaml").unlink()
    found = run(other)
    assert states(found) == {"seed0": "refused"} and "eval.draw_limit was 2" in found.rows[0].reason
    assert read_manifest(tmp_path / "o" / "seed0").status == "complete"


def test_cells_of_a_version_with_fewer_keys_count_as_done(tmp_path, capsys):
    sweep = mock_sweep(tmp_path / "o", grid={"seed": [0]})
    run(sweep)
    manifest, config = sweep.cells[0].folder / "manifest.json", tmp_path / "o" / "configs" / "seed0.yaml"
    older = json.loads(manifest.read_text())
    del older["config"]["train"]["kl_beta"]
    manifest.write_text(json.dumps(older))
    written = yaml.safe_load(config.read_text())
    del written["train"]["kl_beta"]
    config.write_text(yaml.safe_dump(written))
    silent = InProcess()
    assert states(run(sweep, silent)) == {"seed0": "complete"} and not silent.ran
    older["status"] = "running"
    manifest.write_text(json.dumps(older))
    assert read_state(sweep.cells[0]).status == "refused"


def test_a_wrong_cell_is_named_before_anything_runs(tmp_path):
    with pytest.raises(ConfigError, match="cell 'bad/seed0': unknown task 'arithmetik'"):
        SweepRun(mock_sweep(tmp_path / "o", cells={"bad": {"tasks": ["arithmetik"]}}), InProcess())
    with pytest.raises(ConfigError, match="cell 'lrpo': model 'mock' has no weights to train"):
        SweepRun(mock_sweep(tmp_path / "p", grid={"train.method": ["lrpo"]}), InProcess())


def two_alike(out):
    """Two cells that differ only in what comes after the first evaluation."""
    return mock_sweep(out, grid={"train.learning_rate": {"a": 0.1, "b": 0.2}, "seed": [0]})


def test_the_untrained_evaluation_is_shared_and_is_the_same_to_the_byte(tmp_path, capsys):
    shared, alone = tmp_path / "o" / "b" / "seed0", tmp_path / "alone"
    found = run(two_alike(tmp_path / "o"))
    assert [row.shared_from for row in found.rows] == ["", "a/seed0"]
    values = cell_values(found.rows[1].cell) | {"out": str(alone)}
    execute(make_plan(parse_config(values), train=True), "run", [], Silent(), overwrite=False)
    for name in ("responses.parquet", "metrics.json", "signature.json"):
        assert (shared / "before" / name).read_bytes() == (alone / "before" / name).read_bytes(), name
    one, two = read_manifest(shared), read_manifest(alone)
    assert one.hashes == two.hashes and one.seeds == two.seeds and one.config == two.config
    assert one.extra["before_shared"]["from"] == "../../a/seed0"
    assert one.command[:3] == ("lrpo-bench", "run", "--config")
    assert {k: v for k, v in one.extra.items() if k in ("model", "instruct", "trained_languages")} == {
        k: v for k, v in two.extra.items() if k in ("model", "instruct", "trained_languages")
    }


def test_a_policy_that_is_asked_otherwise_shares_nothing(tmp_path, capsys):
    """A Zero method names the language by a system prompt, in its evaluations too."""
    sweep = two_alike(tmp_path / "o")
    donor, taker = sweep.cells
    run(dataclasses.replace(sweep, cells=(donor,)))
    tagged = make_plan(taker.config, train=True)
    zero = dataclasses.replace(tagged, method=METHODS["lrpo-zero"])
    assert before_key(zero) != before_key(tagged)
    assert share_before(taker, zero, [donor], ()) is None and not taker.folder.exists()
    path = donor.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["config"]["train"] = {"method": "grpo-zero-of-old"}  # a name that is gone says nothing
    path.write_text(json.dumps(manifest))
    assert share_before(taker, tagged, [donor], ()) == donor


def test_how_the_shared_responses_were_decoded_is_kept(tmp_path, capsys):
    """A stopwatch chose it for the donor; the taker's other evaluation must not be decoded in another way."""
    sweep = two_alike(tmp_path / "o")
    donor, taker = sweep.cells
    run(dataclasses.replace(sweep, cells=(donor,)))
    path = donor.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["extra"]["generation"] = chosen = {"way": "generate", "why": "trial of 8 prompts"}
    path.write_text(json.dumps(manifest))
    assert share_before(taker, make_plan(taker.config, train=True), [donor], ()) == donor
    assert read_manifest(taker.folder).extra["generation"] == chosen


@pytest.mark.parametrize(
    "change",
    [
        {"hashes": {"weights": "sha256:other"}},
        {"versions": {"torch": "0.1"}},
        {"hardware": {"machine": "abacus"}},
        {"extra": {}},
    ],
)
def test_nothing_is_shared_when_weights_versions_or_hardware_differ(tmp_path, capsys, change):
    sweep = two_alike(tmp_path / "o")
    donor, taker = sweep.cells
    run(dataclasses.replace(sweep, cells=(donor,)))
    path = donor.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    plan = make_plan(taker.config, train=True)
    assert share_before(taker, plan, [donor], ()) is None
    assert not taker.folder.exists()


def test_averages_are_made_again_where_cells_train_on_other_languages(tmp_path, capsys):
    sweep = two_alike(tmp_path / "o")
    donor, taker = sweep.cells
    run(dataclasses.replace(sweep, cells=(donor,)))
    plan = dataclasses.replace(make_plan(taker.config, train=True), trained=("de",))
    assert share_before(taker, plan, [donor], ()) == donor
    before = read_run(taker.folder).before
    assert before.records == read_run(donor.folder).before.records and before.trained_languages == ("de",)
    assert {m.language for m in before.metrics} == {"de", "en", "avg:trained", "avg:heldout", "avg:all"}
    assert share_before(taker, plan, [donor], ()) is None  # it has one already


def test_nothing_is_shared_between_seeds_settings_or_questions(tmp_path, capsys):
    one, two = ([{"name": "arithmetic", "limit": n, "languages": ["de"]}] for n in (1, 2))
    grid = {"seed": [0, 1], "eval.chunk_size": [64, 128], "tasks": {"few": one, "more": two}}
    found = SweepRun(mock_sweep(tmp_path / "o", grid=grid), InProcess())
    assert len({row.key for row in found.rows}) == len(found.rows) == 8


def test_a_cell_waits_while_a_sibling_makes_the_evaluation_it_could_take_over(tmp_path):
    class Never(InProcess):
        def poll(self, job):
            return None

    sweep = mock_sweep(tmp_path / "o", grid={"train.learning_rate": {"a": 0.1, "b": 0.2}, "seed": [0, 1]})
    found = SweepRun(sweep, Never(slots=4))
    found.step()
    running = {"a/seed0": "running", "a/seed1": "running", "b/seed0": "waiting", "b/seed1": "waiting"}
    assert states(found) == running


def test_progress_is_read_from_the_folder(tmp_path):
    cell = mock_sweep(tmp_path / "o", grid={"train.method": ["lrpo"], "train.steps": [4]}).cells[0]
    (cell.folder / "before").mkdir(parents=True)
    (cell.folder / "before" / "responses.jsonl").write_text("{}\n{}\n")
    assert progress_of(cell, 10) == ("before 2/10", pytest.approx(0.2 / 3))
    (cell.folder / "before" / "metrics.json").write_text("{}")
    (cell.folder / "train.jsonl").write_text("{}\n{}\n{}\n")
    assert progress_of(cell, 10) == ("train 3/4", pytest.approx(1.75 / 3))
    (cell.folder / "model").mkdir()
    assert progress_of(cell, 10)[0] == "after 0/10"


def test_the_live_table_fits_a_small_terminal(tmp_path):
    found = SweepRun(mock_sweep(tmp_path / "o", grid={"seed": list(range(40))}), InProcess())
    console = Console(file=io.StringIO(), width=80, height=20)
    console.print(_view(found.rows, 12))
    text = console.file.getvalue()
    assert len(text.splitlines()) < 20 and "40 cells: 40 waiting" in text


def test_the_command_line(tmp_path, capsys):
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({"out": str(tmp_path / "o"), "base": MOCK, "grid": {"seed": [0]}}))
    assert main(["sweep", str(path), "--dry-run"]) == 0
    assert "seed0" in capsys.readouterr().out and not (tmp_path / "o").exists()
    assert main(["sweep", str(path), "--workers", "0"]) == 2
    assert "--workers must be at least 1" in capsys.readouterr().err
    assert main(["sweep", str(path), "--gpus-per-cell", "1"]) == 2
    assert "--engine ray" in capsys.readouterr().err


def test_cells_share_the_cores(monkeypatch, tmp_path):
    monkeypatch.setattr("lrpo_bench.sweeps.engines.available_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert (LocalEngine(3).threads, LocalEngine(16).threads) == (2, 1)
    shown = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['RAYON_NUM_THREADS'])"
    for own, expected in (("", "2 2"), ("1", "1 2"), ("5", "2 2")):
        monkeypatch.setenv("OMP_NUM_THREADS", own)
        log = tmp_path / f"log{own}"
        assert Job((sys.executable, "-c", shown), str(log), str(tmp_path), 2).run().wait() == 0
        assert log.read_text().strip() == expected


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_an_interrupt_stops_the_cells_once_and_leaves_them_to_be_continued(tmp_path, handler):
    """Also in a sweep that ignores interrupts, as a script's background job does."""
    code = "import signal, time, sys\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    sys.exit(130)"
    engine, old = LocalEngine(2), signal.signal(signal.SIGINT, handler)
    try:
        handles = [engine.start(Job((sys.executable, "-c", code), str(tmp_path / str(i)), ".", 1)) for i in range(2)]
        assert signal.getsignal(signal.SIGINT) is handler, "the sweep's own is as it was"
    finally:
        signal.signal(signal.SIGINT, old)
    time.sleep(0.5)
    assert [engine.poll(handle) for handle in handles] == [None, None]
    engine.stop(handles)
    assert [engine.poll(handle) for handle in handles] == [130, 130]


def test_without_ray_the_engine_says_how_to_get_it():
    if _has_ray():
        pytest.skip("ray is installed")
    with pytest.raises(ConfigError, match=r"pip install 'lrpo-bench\[ray\]'"):
        RayEngine()


def _has_ray():
    import importlib.util

    return importlib.util.find_spec("ray") is not None


@pytest.mark.slow
def test_a_sweep_killed_while_it_trains_continues_and_two_at_once_lose_nothing(tmp_path, tiny_model_folder):
    values = {
        "out": str(tmp_path / "o"),
        "base": {
            "model": {"name": str(tiny_model_folder), "device": "cpu"},
            "tasks": [{"name": "arithmetic", "limit": 4, "languages": ["de", "en"]}],
            "eval": {"draws": 2, "max_completion_tokens": 8},
            "train": {"questions_per_step": 2, "group_size": 2, "quota": 1, "max_completion_tokens": 8}
            | {"steps": 30, "save_every": 5, "languages": ["de", "en"]},
        },
        "grid": {"train.method": ["grpo", "lrpo"], "seed": [0]},
    }
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "lrpo_bench", "sweep", str(path), "--workers", "1"]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    log = tmp_path / "o" / "grpo" / "seed0" / "train.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") >= 8):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 130
    assert read_state(load_sweep(path).cells[0]).status == "stopped"
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    for cell in load_sweep(path).cells:
        found = read_run(cell.folder)
        assert found.manifest.status == "complete"
        assert [row["step"] for row in found.train] == list(range(1, 31))
        for evaluation in (found.before, found.after):
            keys = [record.key for record in evaluation.records]
            assert len(keys) == len(set(keys)) == 2 * 4 * 3
