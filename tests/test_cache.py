"""The response cache: gives back what the same call gave, and never one model's answers as another's."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_tiny_model, make_tiny_tokenizer
from small_tasks import write_task

from lrpo_bench.cli import main
from lrpo_bench.errors import StorageError
from lrpo_bench.models.base import ModelInfo, Sampling
from lrpo_bench.models.cache import CachedModel, ResponseCache, identity_of
from lrpo_bench.models.fake import MockModel
from lrpo_bench.models.hf import HFModel
from lrpo_bench.results.store import read_manifest

PROMPTS = tuple(({"role": "user", "content": text},) for text in ("one", "two", "three"))
OPTIONS = [["a", "b"], ["c"], ["d", "e", "f"]]
GREEDY = Sampling(8)
DRAWS = Sampling(8, 1.0, 1.0, 2, seed=3)
BIG = 10**9


class Counting(MockModel):
    """Says how often it was asked; its weights' hash is what we say."""

    def __init__(self, weights: str = "sha256:a", answer=None) -> None:
        super().__init__(answer or (lambda prompt, draw: f"{weights} {prompt} {draw}"))
        self.weights, self.calls = weights, []

    @property
    def info(self):
        return ModelInfo("same-name", None, self.weights, 1, "float32", 100, chat_template=False)

    def generate(self, prompts, sampling):
        self.calls.append("generate")
        return super().generate(prompts, sampling)

    def loglikelihood(self, prompts, options):
        self.calls.append("loglikelihood")
        return super().loglikelihood(prompts, options)


def cached(model, folder, limit=BIG):
    return CachedModel(model, ResponseCache(Path(folder), limit))


def entries(folder):
    return sorted(Path(folder).glob("*/??/*.json"))


@pytest.mark.parametrize("sampling", [GREEDY, DRAWS])
def test_the_second_time_the_model_is_not_asked(tmp_path, sampling):
    first, second = cached(Counting(), tmp_path), cached(Counting(), tmp_path)
    answers = first.generate(PROMPTS, sampling)
    assert answers == Counting().generate(PROMPTS, sampling)
    assert second.generate(PROMPTS, sampling) == answers
    assert second.model.calls == []
    assert (first.cache.hits, first.cache.misses) == (0, 3 * sampling.n)
    assert (second.cache.hits, second.cache.misses) == (3 * sampling.n, 0)
    assert len(entries(tmp_path)) == 1


def test_log_likelihoods_come_back_to_the_last_bit(tmp_path):
    first = cached(Counting(), tmp_path).loglikelihood(PROMPTS, OPTIONS)
    model = cached(Counting(), tmp_path)
    again = model.loglikelihood(PROMPTS, OPTIONS)
    assert model.model.calls == []
    assert [row.tolist() for row in again] == [row.tolist() for row in first]
    assert all(row.dtype == np.float64 for row in again)
    model.loglikelihood(PROMPTS, [["a", "b"], ["c"], ["d", "e", "g"]])
    model.loglikelihood(PROMPTS, [["a"], ["b", "c"], ["d", "e", "f"]])  # the same words, of other prompts
    assert model.model.calls == ["loglikelihood"] * 2


def test_odd_text_survives(tmp_path):
    said = ["", "\ud800 lone", "\u202e\x00\u2028", "x" * 100_000]
    model = Counting(answer=lambda prompt, draw: said[int(prompt)])
    prompts = [({"role": "user", "content": str(i)},) for i in range(4)]
    sampling = Sampling(10**6)
    cached(model, tmp_path).generate(prompts, sampling)
    found = cached(Counting(), tmp_path).generate(prompts, sampling)
    assert [row[0].text for row in found] == said


# --- never another's answers


def test_same_name_other_weights(tmp_path):
    one = cached(Counting("sha256:a"), tmp_path).generate(PROMPTS, GREEDY)
    other = cached(Counting("sha256:b"), tmp_path).generate(PROMPTS, GREEDY)
    assert one[0][0].text.startswith("sha256:a") and other[0][0].text.startswith("sha256:b")


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"max_completion_tokens": 7},
        {"sampling_temperature": 0.7},
        {"top_p": 0.9},
        {"n": 3},
        {"stop": ("x",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_decoding_is_another_call(tmp_path, change):
    cached(Counting(), tmp_path).generate(PROMPTS, DRAWS)
    model, sampling = cached(Counting(), tmp_path), dataclasses.replace(DRAWS, **change)
    assert model.generate(PROMPTS, sampling) == Counting().generate(PROMPTS, sampling)
    assert model.model.calls == ["generate"]


def test_a_part_of_a_call_is_another_call(tmp_path):
    """Draws of a batch share a generator: what the others say decides what one says."""
    cached(Counting(), tmp_path).generate(PROMPTS, DRAWS)
    model = cached(Counting(), tmp_path)
    model.generate(PROMPTS[:2], DRAWS)
    model.generate(PROMPTS[::-1], DRAWS)
    assert model.model.calls == ["generate"] * 2


def test_the_same_text_in_another_role_is_another_prompt(tmp_path):
    cached(Counting(), tmp_path).generate(PROMPTS, GREEDY)
    model = cached(Counting(), tmp_path)
    model.generate([({**p[0], "role": "verbatim"},) for p in PROMPTS], GREEDY)
    assert model.model.calls == ["generate"]


def hf_model(batch_size=4, weights="sha256:w"):
    tokenizer = make_tiny_tokenizer()
    info = ModelInfo("tiny", None, weights, 1, "float32", 256, chat_template=True)
    return HFModel(make_tiny_model(tokenizer), tokenizer, info, batch_size)


def set_template(model):
    model.tokenizer.chat_template += " "


def add_token(model):
    model.tokenizer.add_tokens(["neu"])


def swap_two_tokens(model):
    """As many tokens, with the same names; two have changed places."""
    core = json.loads(model.tokenizer.backend_tokenizer.to_str())
    vocabulary = core["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    from tokenizers import Tokenizer

    model.tokenizer._tokenizer = Tokenizer.from_str(json.dumps(core))


def stop_elsewhere(model):
    model.model.generation_config.eos_token_id = [1, 5]


def change_config(model):
    model.model.config.rms_norm_eps = 1e-3


def other_precision(model):
    model._info = dataclasses.replace(model.info, dtype="bfloat16")


def other_batches(model):
    model.batch_size = 3


@pytest.mark.parametrize(
    "change",
    [set_template, add_token, swap_two_tokens, stop_elsewhere, change_config, other_precision, other_batches],
    ids=lambda change: change.__name__,
)
def test_what_makes_another_model(change):
    """Of equal weights: tokenizer, chat template, stops, configuration, precision and batches decide too."""
    model = hf_model()
    assert identity_of(model) == identity_of(hf_model())
    change(model)
    assert identity_of(model) != identity_of(hf_model())


def test_where_a_model_lies_does_not_matter():
    model = hf_model()
    model._info = dataclasses.replace(model.info, name="elsewhere")
    model.model.config._name_or_path = "/elsewhere"
    assert identity_of(model) == identity_of(hf_model())


@pytest.mark.parametrize("weights", ["", "hub:None"])
def test_weights_that_nothing_identifies_are_refused(tmp_path, weights):
    with pytest.raises(StorageError, match=r"same-name.*leave out eval\.cache"):
        cached(Counting(weights), tmp_path)


def test_log_likelihoods_that_are_no_numbers_are_not_kept(tmp_path):
    class Broken(Counting):
        def loglikelihood(self, prompts, options):
            rows = super().loglikelihood(prompts, options)
            rows[1][0] = np.nan
            return rows

    assert np.isnan(cached(Broken(), tmp_path).loglikelihood(PROMPTS, OPTIONS)[1][0])
    assert entries(tmp_path) == []


# --- the folder


@pytest.mark.parametrize("damage", ["cut", "empty", "changed", "a list", "no text", "other format"])
def test_a_damaged_entry_is_made_again_with_a_warning(tmp_path, damage):
    answers = cached(Counting(), tmp_path).generate(PROMPTS, GREEDY)
    (path,) = entries(tmp_path)
    content = path.read_bytes()
    damaged = {
        "cut": content[: len(content) // 2],
        "empty": b"",
        "changed": content.replace(b"sha256:a two", b"sha256:a TWO"),
        "a list": b"[]",
        "no text": b"\xff\xfe\x00",
        "other format": content.replace(b'"format": 1', b'"format": 0'),
    }[damage]
    assert damaged != content
    path.write_bytes(damaged)
    model = cached(Counting(), tmp_path)
    with pytest.warns(UserWarning, match=path.name):
        assert model.generate(PROMPTS, GREEDY) == answers
    assert model.model.calls == ["generate"]
    assert path.read_bytes() == content


def test_what_was_used_longest_ago_goes_first(tmp_path):
    model = cached(Counting(), tmp_path)
    for i, sampling in enumerate((GREEDY, DRAWS, dataclasses.replace(DRAWS, seed=9))):
        model.generate(PROMPTS, sampling)
        for path in entries(tmp_path):
            if path.stat().st_mtime > 10**9:
                os.utime(path, (i, i))
    foreign = tmp_path / "generate" / "ab" / "notes.json"
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("x" * 10**6)
    model.generate(PROMPTS, GREEDY)  # a use
    sizes = [size for _, size, _ in model.cache.entries()]
    small = ResponseCache(tmp_path, max(sizes) * 2)
    assert small.evict() == 1
    again = cached(Counting(), tmp_path)
    again.generate(PROMPTS, GREEDY)
    again.generate(PROMPTS, dataclasses.replace(DRAWS, seed=9))
    assert again.model.calls == []
    again.generate(PROMPTS, DRAWS)
    assert again.model.calls == ["generate"]
    assert foreign.exists()


def test_it_stays_within_its_size(tmp_path):
    model = cached(Counting(answer=lambda prompt, draw: "x" * 1000), tmp_path, limit=50_000)
    for seed in range(40):
        model.generate(PROMPTS, dataclasses.replace(DRAWS, seed=seed))
        assert sum(size for _, size, _ in model.cache.entries()) <= 50_000 * 1.05 + 10_000
    assert 3 <= len(entries(tmp_path)) < 12


def test_a_folder_that_can_not_be_written_costs_a_warning(tmp_path):
    model = cached(Counting(), tmp_path)
    (tmp_path / "generate").write_text("a file is in the way")
    with pytest.warns(UserWarning, match="not cached"):
        assert model.generate(PROMPTS, GREEDY) == Counting().generate(PROMPTS, GREEDY)
    with pytest.raises(StorageError, match=r"eval\.cache"):
        ResponseCache(tmp_path / "generate", BIG)


TWO = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_cache import PROMPTS, Counting, cached
from lrpo_bench.models.base import Sampling
model = cached(Counting(answer=lambda prompt, draw: f"{prompt} {draw}" + "y" * 2000), Path(sys.argv[1]), limit=100_000)
for seed in range(25):
    found = model.generate(PROMPTS, Sampling(8, 1.0, 1.0, 2, seed))
    assert [[c.text.rstrip("y") for c in row] for row in found] == [
        [f"{p[0]['content']} {seed + 1 + k}" for k in range(2)] for p in PROMPTS
    ]
"""


def test_two_processes_share_a_folder(tmp_path):
    """Both write and evict the same entries; neither ever reads half of one (a warning would be an error)."""
    script = tmp_path / "two.py"
    script.write_text(TWO)
    command = [
        sys.executable,
        "-W",
        "error::UserWarning",
        str(script),
        str(tmp_path / "cache"),
        str(Path(__file__).parent),
    ]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in running:
        _, stderr = process.communicate(timeout=100)
        assert process.returncode == 0, stderr
    assert not list((tmp_path / "cache").rglob("*.tmp"))


# --- from the command line


def test_an_evaluation_is_the_same_with_and_without(tmp_path, tiny_model_folder, monkeypatch):
    tasks = write_task(tmp_path / "tasks")

    def evaluate(name, *options):
        arguments = ["eval", "--model", str(tiny_model_folder), "--tasks", "letters", "--tasks-dir", str(tasks)]
        chosen = ["eval.draws=2", "eval.draw_limit=2", "eval.max_completion_tokens=4", "model.device=cpu", *options]
        sets = [part for option in chosen for part in ("--set", option)]
        assert main([*arguments, "--out", str(tmp_path / name), *sets]) == 0
        return tmp_path / name

    cache = f"eval.cache={tmp_path / 'cache'}"
    without, cold = evaluate("without"), evaluate("cold", cache)
    monkeypatch.setattr(HFModel, "generate", lambda *_: pytest.fail("the model was asked"))
    warm = evaluate("warm", cache)
    for file in ("before/responses.parquet", "before/metrics.json"):
        assert (without / file).read_bytes() == (cold / file).read_bytes() == (warm / file).read_bytes()
    found = [read_manifest(folder) for folder in (without, cold, warm)]
    n = 3 * 6 + 3 * 2 * 2  # greedy in three languages, two draws of the first two questions of each
    assert [m.extra.get("cache_before") for m in found] == [
        None,
        {"reused": 0, "generated": n},
        {"reused": n, "generated": 0},
    ]
    assert found[0].config == found[1].config  # where responses come from decides nothing
