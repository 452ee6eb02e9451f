"""Evaluations larger than the memory: rows are read once and forgotten, and what is decided stays the same."""

from __future__ import annotations

import gc
import random
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_records import RECORD
from small_tasks import write_task

from lrpo_bench import scratch
from lrpo_bench.config import parse_config
from lrpo_bench.console import ConsoleReporter
from lrpo_bench.errors import DataError, StorageError
from lrpo_bench.evaluation.evaluator import EvaluationSettings, plan_chunks
from lrpo_bench.evaluation.metrics import metrics_of
from lrpo_bench.evaluation.records import CHOICE_REASON
from lrpo_bench.evaluation.statistics import clustered_mean
from lrpo_bench.models import fake
from lrpo_bench.pipeline import execute
from lrpo_bench.plan import make_plan
from lrpo_bench.results import evaluations, responses
from lrpo_bench.results.responses import StoredResponses, write_parquet
from lrpo_bench.results.stored_keys import StoredKeys
from lrpo_bench.scratch import DiskRanks, DiskSorter, ScratchFile
from lrpo_bench.tasks import spool
from lrpo_bench.tasks.base import Sample, Score, Task, TaskInfo
from lrpo_bench.tasks.registry import iter_samples, load_samples
from lrpo_bench.tasks.spool import SpooledSamples, collected, first_of_each, hash_samples, in_languages, languages_of

LANGS = ("de", "en", "sw")


@pytest.fixture
def small_memory(monkeypatch):
    """What is held at once becomes so little that a few hundred samples are many."""
    monkeypatch.setattr(spool, "HELD", 20)
    for module, name in ((responses, "BATCH"), (evaluations, "BATCH")):
        monkeypatch.setattr(module, name, 30)


class Numbers(Task):
    """Rows that are counted as they are made."""

    def __init__(self, n, kind="generate", repeated=()):
        info = TaskInfo("numbers", "1", "", kind, "reasoning", LANGS, "", "")
        super().__init__(info, {"default": dict.fromkeys(LANGS, "{question}")})
        self.n, self.repeated, self.made, self.most_alive = n, dict(repeated), 0, 0

    def rows(self, lang, split):
        for n in range(self.n):
            self.made += 1
            if n % 50 == 0:
                alive = sum(type(one) is Sample for one in gc.get_objects())
                self.most_alive = max(self.most_alive, alive)
            yield {"n": n}

    def sample(self, row, lang, index):
        n = self.repeated.get(row["n"], row["n"])
        question = f"{lang} {'x' * (n * 7 % 13)} {n}?"
        return Sample(f"numbers/{lang}/{n}", f"numbers/{n}", lang, question, str(n % 5), choices=("a", "b"))

    def score(self, sample, completion, rollout_lang):
        return Score.of(sample.gold in completion, completion)

    def stop(self, lang):
        return (".",) if lang == "sw" else ()


def samples_of(task):
    return [sample for lang in LANGS for sample in load_samples(task, lang, "test")]


# --- rows are read one by one


def test_a_row_is_made_when_its_sample_is_asked_for():
    task = Numbers(1000)
    samples = iter_samples(task, "de", "test")
    assert task.made == 0
    for k in range(1, 10):
        assert next(samples).id == f"numbers/de/{k - 1}"
        assert task.made == k


def test_a_limit_reads_no_further():
    task = Numbers(1000)
    assert len(load_samples(task, "de", "test", limit=7)) == 7
    assert task.made == 7


def test_samples_are_forgotten_as_they_go_to_disk(small_memory):
    task = Numbers(2000)
    before = sum(type(one) is Sample for one in gc.get_objects())
    samples = collected(iter_samples(task, "de", "test"))
    assert isinstance(samples, SpooledSamples)
    assert len(samples) == task.made == 2000
    assert task.most_alive - before <= 20 + 3


def test_few_samples_stay_in_memory(small_memory):
    assert type(collected(iter_samples(Numbers(20), "de", "test"))) is tuple
    assert type(collected(iter_samples(Numbers(21), "de", "test"))) is SpooledSamples


@pytest.mark.parametrize("position", [1, 19, 20, 999])
def test_a_repeated_id_is_found_wherever_it_stands(position):
    task = Numbers(1000, repeated={position: 0})
    with pytest.raises(DataError, match=rf"de row {position}: sample id 'numbers/de/0' occurs twice"):
        load_samples(task, "de", "test")


def test_ids_with_one_hash_are_different_ids():
    class Same(str):
        def __hash__(self):
            return 1

    class Collides(Numbers):
        def sample(self, row, lang, index):
            found = super().sample(row, lang, index)
            return replace(found, id=Same(found.id))

    assert len(load_samples(Collides(30), "de", "test")) == 30


# --- what is on disk is what would be in memory


def test_spooled_samples_are_the_same_samples(small_memory):
    held = samples_of(Numbers(60))
    spooled = collected(held)
    assert spooled == held and spooled[7:50] == held[7:50] and spooled[-1] == held[-1]
    assert languages_of(spooled) == set(LANGS)
    assert hash_samples(spooled) == hash_samples(held)
    assert in_languages(spooled, {"de", "sw"}) == in_languages(held, {"de", "sw"})
    for limit in (None, 1, 9):
        assert first_of_each(spooled, limit) == first_of_each(held, limit)


@pytest.mark.parametrize("kind", ["generate", "choice"])
def test_the_same_work_in_the_same_order(small_memory, monkeypatch, kind):
    monkeypatch.setattr(scratch, "RUN", 16)
    task = Numbers(70, kind)
    held = samples_of(task)
    random.Random(0).shuffle(held)
    settings = EvaluationSettings("prompt", draws=2, draw_limit=30, chunk_size=17, headroom=True)
    chunks, spooled = (plan_chunks([(task, samples)], settings) for samples in (held, collected(held)))
    assert [chunk.read() for chunk in spooled] == chunks
    assert [chunk.read().seed(3) for chunk in spooled] == [chunk.seed(3) for chunk in chunks]


@pytest.mark.parametrize("value", [object(), np.int64(2020), np.str_("a"), b"a", frozenset("a")])
def test_a_sample_that_can_not_be_spooled_is_named(small_memory, value):
    """A number of numpy's would come back as bytes, in large tasks only."""
    odd = [replace(RECORD_SAMPLE, id=f"odd/{i}", extra={"doc": value}) for i in range(21)]
    with pytest.raises(DataError, match=r"sample 'odd/0' must hold plain text"):
        collected(odd)


RECORD_SAMPLE = Sample("odd/0", "odd/0", "de", "?", "1")


# --- sorting on disk


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, 3)), max_size=60), st.integers(1, 9))
def test_sorted_as_in_memory(rows, run):
    sorter = DiskSorter(key=lambda row: row[0], run=run)
    sorter.add_all(rows)
    assert list(sorter) == sorted(rows, key=lambda row: row[0])  # equal keys in the order in which they came


@given(st.lists(st.text(max_size=2), max_size=40))
def test_ranks_are_those_of_the_distinct_texts(texts):
    ranks = DiskRanks()
    for text in texts:
        ranks.add(text)
    places = {text: i for i, text in enumerate(sorted(set(texts)))}
    assert ranks.ranks().tolist() == [places[text] for text in texts]


def test_a_scratch_file_has_no_name(tmp_path):
    file = ScratchFile(tmp_path)
    places = [file.append(bytes([i]) * 500_000) for i in range(5)]
    assert [file.read(place, 3) for place in places] == [bytes([i]) * 3 for i in range(5)]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageError, match="can not keep temporary data in"):
        ScratchFile(tmp_path / "none")


# --- keys


def test_stored_keys_are_a_set():
    records = [replace(RECORD, sample_id=str(i)) for i in range(5)]
    keys = StoredKeys(records)
    assert keys == {record.key for record in records} and len(keys) == 5
    assert not keys.lacks([("toy", "9", "de", 0), records[3].key])
    assert ("toy", "9", "de", 0) not in keys  # none of them was taken
    before = keys.frozen()
    for i in range(10, 200):
        new = [("toy", str(i), "de", 0), ("toy", str(i), "de", 1)]
        assert keys.lacks(new)
        keys.add(new)
    assert len(keys) == 5 + 2 * 190 and len(before) == 5
    assert all(("toy", str(i), "de", 1) in keys for i in range(10, 200))
    assert ("toy", "10", "de", 0) not in before
    assert not keys.lacks([("toy", "300", "de", 0)] * 2)
    assert StoredKeys([]) == frozenset() and StoredKeys([]).lacks([])


# --- metrics


def many_records():
    rng = random.Random(5)
    found = []
    for i in range(40):
        for lang in LANGS:
            for asked in LANGS if rng.random() < 0.5 else (lang,):
                for k in range(4 if asked == lang else 1):
                    found.append(replace(
                        RECORD, task=rng.choice(["a", "b"]) if k == 0 else "a", sample_id=f"t/{lang}/{i}",
                        source_id=f"t/{i}", source_lang=lang, rollout_lang=asked, k=k,
                        completion=" ".join(rng.choices(["one", "two", "three", "four"], k=6)),
                        **rng.choice(JUDGED), prompt_truncated=rng.random() < 0.1, ranking=rng.choice([(0, 1), (1, 0)]),
                        n_tokens=rng.choice([None, 3, 50]), topic=rng.choice(["chat", "reasoning"]),
                    ))  # fmt: skip
    rng.shuffle(found)
    return found


JUDGED = (
    {"score": 1.0, "outcome": "correct", "answer": "7", "lines_ok": True, "lines_reason": ""},
    {"score": 0.3, "outcome": "incorrect", "answer": "8", "language_ok": False},
    {"score": None, "outcome": "unscored", "answer": None, "reason": "no judge"},
    {"score": 0.0, "outcome": "not_attempted", "answer": None, "language_ok": None, "language_reason": "too short"},
    {"score": 1.0, "outcome": "correct", "answer": "7", "language_ok": None, "language_reason": CHOICE_REASON},
)


@pytest.mark.parametrize("interval", ["wilson", "t"])
def test_metrics_from_disk_are_those_from_memory(tmp_path, small_memory, interval):
    records = many_records()
    write_parquet(tmp_path / "r.parquet", records)
    stored = StoredResponses(tmp_path / "r.parquet")
    assert metrics_of(stored, ["de"], interval) == metrics_of(records, ["de"], interval)
    assert {m.metric for m in metrics_of(stored)} >= {
        "accuracy",
        "consistency",
        "headroom_oracle",
        "pass@2",
        "self_bleu",
    }


@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from([0.0, 0.25, 1.0, float("nan")])), min_size=1))
def test_clusters_may_be_numbers(rows):
    clusters, values = np.array([c for c, _ in rows]), [v for _, v in rows]
    by_name = clustered_mean(values, [f"{c:02d}" for c in clusters], [f"{c % 3}" for c in clusters])
    assert repr(clustered_mean(values, clusters, clusters % 3)) == repr(by_name)


# --- all of it


def config_of(folder, tasks, **section):
    return parse_config(
        {
            "model": {"name": "mock"}, "tasks": ["letters"], "tasks_dirs": [str(tasks)], "instruct": "prompt",
            "out": str(folder), "eval": {"detector": "profiles", **section},
        }
    )  # fmt: skip


def evaluated(config):
    execute(make_plan(config, train=False), "eval", ["test"], ConsoleReporter(), overwrite=False)
    return [(config.out / "before" / name).read_bytes() for name in ("responses.parquet", "metrics.json")]


def test_an_interrupted_evaluation_goes_on_with_samples_on_disk(tmp_path, monkeypatch):
    tasks = write_task(tmp_path / "tasks")
    small = {"chunk_size": 4, "cache": str(tmp_path / "cache")}
    whole = evaluated(config_of(tmp_path / "held", tasks, chunk_size=4))
    monkeypatch.setattr(spool, "HELD", 5)
    assert evaluated(config_of(tmp_path / "spooled", tasks, chunk_size=4)) == whole
    generate, calls = fake.MockModel.generate, []

    def interrupted(self, prompts, sampling):
        calls.append(len(prompts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return generate(self, prompts, sampling)

    monkeypatch.setattr(fake.MockModel, "generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluated(config_of(tmp_path / "broken", tasks, **small))
    stored = (tmp_path / "broken/before/responses.jsonl").read_text().count("\n")
    assert stored == sum(calls[:2])
    assert evaluated(config_of(tmp_path / "broken", tasks, **small)) == whole
    asked = len(calls)
    assert evaluated(config_of(tmp_path / "cached", tasks, **small)) == whole
    assert len(calls) == asked  # every call was in the cache, those before the interruption too


def peak_bytes(folder, n):
    """Most that Python and numpy held while `n` questions in each of three languages were evaluated."""
    write_task(folder / "tasks")
    task = folder / "tasks" / "letters" / "task.py"
    code = task.read_text().replace('"test": 6', f'"test": {n}')
    task.write_text(code.replace('question=f"{lang} {n}?"', 'question=f"{lang} {n}?" + "Question " * 30'))
    config = config_of(folder / "run", folder / "tasks", draw_limit=2)
    tracemalloc.start()
    try:
        evaluated(config)
        return tracemalloc.get_traced_memory()[1], metrics_of(StoredResponses(folder / "run/before/responses.parquet"))
    finally:
        tracemalloc.stop()


@pytest.mark.timeout(300)
def test_four_times_the_samples_need_little_more_memory(tmp_path, monkeypatch):
    """3,000 more samples with a question of 300 bytes: a few numbers each, and none of the text."""
    monkeypatch.setattr(spool, "HELD", 100)
    for module in (responses, evaluations):
        monkeypatch.setattr(module, "BATCH", 100)
    monkeypatch.setattr(scratch, "RUN", 100)
    peak_bytes(tmp_path / "warm", 10)  # imports and caches are no samples
    (small, _), (large, metrics) = (peak_bytes(tmp_path / str(n), n) for n in (400, 1600))
    assert next(m.n for m in metrics if (m.metric, m.language) == ("accuracy", "avg:all")) == 4800
    grown = (large - small) / 3600
    assert grown < 200, f"{grown:.0f} bytes a sample"
