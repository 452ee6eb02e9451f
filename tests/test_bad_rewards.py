"""What can be wrong with a reward, as its user meets it: one line each, before anything is computed where that can be.

The task `told` has references, and its score is unknown (NaN) for the questions that its data marks so.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from fake_endpoint import refusal
from small_tasks import CommandLine, assert_one_line

from lrpo_bench.calibration.files import save_table
from lrpo_bench.lrpo.calibration import EncoderIdentity
from lrpo_bench.lrpo.calibration_fit import PairSamples, fit_table
from lrpo_bench.models.fake_encoder import FakeEncoder

TASK = """
from lrpo_bench.tasks.base import Sample, Score, Task

class Told(Task):
    def rows(self, lang, split):
        first = {"train": 100, "test": 0}.get(split)
        return None if first is None else iter([{"n": first + i} for i in range(6)])

    def sample(self, row, lang, index):
        n = int(row["n"])
        return Sample(id=f"told/{lang}/{n}", source_id=f"told/{n}", lang=lang, question=f"{lang} {n}?", gold=str(n % 2),
                      topic="reasoning", reference=f"{lang} says {n}")

    def score(self, sample, completion, rollout_lang):
        return UNKNOWN

TASK = Told
"""
INFO = """
name = "told"
version = "1"
title = "A small task for tests"
kind = "generate"
topic = "reasoning"
languages = ["de", "en", "sw"]
licence = "Apache-2.0"
citation = "none"
max_completion_tokens = 4
"""
LANGS = ("de", "en", "sw")
SETTINGS = {
    "train.steps": 2, "train.questions_per_step": 2, "train.group_size": 4, "train.quota": 1, "train.gate": "none",
    "train.max_completion_tokens": 4, "eval.draws": 0, "model.device": "cpu",
}  # fmt: skip


def told(parent, score="Score.of(len(completion) % 2, completion)"):
    folder = parent / "told"
    folder.mkdir()
    (folder / "task.toml").write_text(INFO)
    (folder / "task.py").write_text(TASK.replace("UNKNOWN", score))
    (folder / "prompts.toml").write_text("[default]\n" + "".join(f'{lang} = "{{question}}"\n' for lang in LANGS))
    return parent


@pytest.fixture
def call(tmp_path, tiny_model_folder, capsys):
    def run(command="run", score=None, reward=None, **settings):
        tasks = told(tmp_path, **({} if score is None else {"score": score}))
        line = CommandLine(tasks, tmp_path / "run", capsys)
        chosen = SETTINGS | settings | ({} if reward is None else {"train.reward": yaml.safe_dump(reward).strip()})
        chosen = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in chosen.items()}
        options = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
        return line(command, "--model", tiny_model_folder, "--tasks", "told", *options)

    return run


def similarity(**settings):
    return {"train.reward.kind": "similarity"} | {f"train.reward.similarity.{k}": v for k, v in settings.items()}


def table_for(path, name="mock", weights=None, dimension=None):
    info = FakeEncoder().info
    generator = np.random.Generator(np.random.Philox(0))
    pairs = {f"{a}-{b}": PairSamples(*generator.random((3, 20))) for a in LANGS for b in LANGS if a <= b}
    identity = EncoderIdentity(name, weights or info.weights_hash, dimension or info.dimension)
    save_table(fit_table(pairs, identity), path)
    return path


def refused_before_anything(result, tmp_path, *fragments):
    assert_one_line(result, *fragments)
    assert not (tmp_path / "run").exists(), "nothing is computed, no folder is left"


def test_an_unknown_encoder(call, tmp_path):
    result = call(**similarity(encoder="./no-encoder", calibration="none"))
    refused_before_anything(result, tmp_path, "encoder './no-encoder'", "no such folder")


def test_an_unknown_embedded_encoder(call, tmp_path):
    result = call(**similarity(encoder="embedded:defualt", calibration="none"))
    refused_before_anything(result, tmp_path, "'defualt'; did you mean 'default'")


def test_a_table_for_another_dimension(call, tmp_path):
    table = table_for(tmp_path / "table.json", name="big", dimension=768)
    result = call(**similarity(encoder="mock", table=table))
    refused_before_anything(result, tmp_path, "'big' with 768 dimensions, encoder 'mock' has 64; make a table for it")


def test_a_table_for_other_weights(call, tmp_path):
    table = table_for(tmp_path / "table.json", name="old", weights="sha256:" + "ab" * 32)
    result = call(**similarity(encoder="mock", table=table))
    refused_before_anything(result, tmp_path, "'old' with weights sha256:abababababab", "encoder 'mock' has")


def test_the_right_table_trains(call, tmp_path):
    code, _, err = call("train", **similarity(encoder="mock", table=table_for(tmp_path / "table.json")))
    assert code == 0, err


def test_no_table(call, tmp_path):
    result = call(**similarity(encoder="mock", table=tmp_path / "none.json"))
    refused_before_anything(result, tmp_path, "none.json")


def test_an_endpoint_that_is_down(call, server):
    """The command ends at the first step, in one line that names the endpoint and what it said."""
    server.answer = lambda body: refusal(503, "starting")
    judge = {"url": server.url, "model": "m", "retries": 0}
    settings = {f"train.reward.judge.{key}": value for key, value in judge.items()}
    result = call("train", **{"train.reward.kind": "judge"}, **settings)
    assert_one_line(result, server.url, "status 503", "starting")


@pytest.mark.parametrize(
    ("score", "line"),
    [
        ("Score.unscored('nothing is known')", "train: none of 16 rollouts has a known reward"),
        ("Score.unscored('odd') if int(sample.id[-1]) % 2 else Score.of(len(completion) % 2, completion)",
         "rollouts have no known reward, and moved nothing"),
    ],
)  # fmt: skip
def test_rewards_that_are_not_numbers_are_counted_and_said(call, tmp_path, score, line):
    code, out, err = call("train", score=score)
    assert code == 0, err
    assert line in " ".join((out + err).split())
    rows = [json.loads(row) for row in (tmp_path / "run" / "rollouts.jsonl").read_text().splitlines()]
    assert all(row["advantage"] == 0 for row in rows if row["reward"] is None)
    assert all(np.isfinite(row["propensity"]) for row in rows)


def test_a_language_that_the_detector_can_not_tell(call, tmp_path, monkeypatch):
    class German:
        languages, signature = ("de", "en"), "german|1"

        def detect(self, texts, among=None):
            raise AssertionError("nothing is detected before it is refused")

    monkeypatch.setattr("lrpo_bench.pipeline.get_detector", lambda *_: German())
    result = call("train", **{"train.gate": "hard"})
    assert_one_line(result, "can not tell sw", "set train.gate_abstain to pass")
