"""The choice among ways to decode: only equal tokens count, a close race changes nothing, and a run remembers."""

from __future__ import annotations

import json

import pytest
from conftest import make_tiny_tokenizer
from test_generation import random_prompts
from test_models import lively_model

from lrpo_bench.cli import main
from lrpo_bench.errors import ConfigError, ModelError
from lrpo_bench.models import decoding
from lrpo_bench.models.base import Sampling
from lrpo_bench.models.decoding import Decoder
from lrpo_bench.models.probe import MARGIN, fastest, spread


class Clock:
    """Seconds that pass only while a way decodes."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def way(self, seconds, tokens=((5, 1),)):
        def run():
            self.now += seconds
            return [list(row) for row in tokens]

        return run


@pytest.mark.parametrize(
    ("loop_s", "generate_s", "chosen"),
    [(1.0, 3.0, "loop"), (1.0, 1.0, "loop"), (1.1, 1.0, "loop"), (2.0, 1.0, "generate")],
)
def test_the_preferred_way_gives_way_only_to_a_clearly_faster_one(loop_s, generate_s, chosen):
    clock = Clock()
    ways = {"generate": clock.way(generate_s), "loop": clock.way(loop_s)}
    choice = fastest(ways, "generate", "loop", {}, clock)
    assert choice.way == chosen
    assert choice.seconds == {"generate": generate_s, "loop": loop_s}
    assert 1.1 < MARGIN < 2.0, "the cases above stand on both sides of it"


def test_a_way_with_other_tokens_does_not_count_however_fast():
    clock = Clock()
    ways = {"generate": clock.way(9.0, [(5, 1), (6, 1)]), "loop": clock.way(0.1, [(5, 1), (7, 1)])}
    choice = fastest(ways, "generate", "loop", {"continuous": "not here"}, clock)
    assert choice.way == "generate"
    assert choice.refused == {"continuous": "not here", "loop": "1 of 2 greedy responses are not generate's"}
    assert "loop" not in choice.seconds


def test_a_way_that_fails_is_named_with_its_reason():
    clock = Clock()

    def broken():
        raise RuntimeError("no kernel image\nat line 3")

    choice = fastest({"generate": clock.way(2.0), "static": broken}, "generate", "loop", {}, clock)
    assert (choice.way, choice.refused) == ("generate", {"static": "RuntimeError: no kernel image"})


def test_the_reference_itself_must_work():
    with pytest.raises(ZeroDivisionError):
        fastest({"generate": lambda: 1 // 0}, "generate", "loop", {})


def test_the_prompts_of_a_trial_are_spread():
    assert spread([[i] for i in range(100)], 4) == [[0], [25], [50], [75]]
    assert spread([[7]], 4) == [[7]]


@pytest.fixture(scope="module")
def raw():
    return lively_model(make_tiny_tokenizer())


def test_an_evaluation_with_enough_to_do_makes_a_trial(raw, monkeypatch):
    monkeypatch.setattr(decoding, "WORTH", 100)
    decoder, prompts = Decoder(raw, (1,), 0), random_prompts(12)
    decoder.timed = True
    decoder.decode(prompts, Sampling(10), 0, lambda ids: "")
    assert set(decoder.choice.seconds) == {"generate", "loop"}
    assert decoder.choice.to_json()["why"] == "trial of 8 prompts"


def test_no_trial_without_leave_or_for_little(raw):
    decoder = Decoder(raw, (1,), 0)
    decoder.decode(random_prompts(300), Sampling(20), 0, lambda ids: "")  # 6,000 tokens, but nobody allowed a stopwatch
    assert (decoder.way, decoder.choice.seconds) == ("loop", {})
    decoder = Decoder(raw, (1,), 0)
    decoder.timed = True
    decoder.decode(random_prompts(4), Sampling(10), 0, lambda ids: "")
    assert (decoder.way, decoder.choice.seconds) == ("loop", {})


def test_continuous_batching_is_refused_on_a_cpu(raw):
    with pytest.raises(ModelError, match="generation 'continuous' does not work on a CPU"):
        Decoder(raw, (1,), 0, "continuous")


class Answer:
    def __init__(self, tokens, error=None):
        self.generated_tokens, self.error = tokens, error


def test_continuous_batching_asks_once_a_draw_and_misses_nothing(raw, monkeypatch):
    """By a fake of transformers' `generate_batch`: on this machine it would not come back."""
    decoder = Decoder(raw, (1,), 0)
    seen = []

    def generate_batch(inputs, generation_config):
        seen.append((inputs, generation_config))
        return {f"request_{i}": Answer([*row, 1, 9]) for i, row in enumerate(inputs)}

    monkeypatch.setattr(raw, "generate_batch", generate_batch)
    found = decoder._decode_by("continuous", [[5, 6], [7]], Sampling(4, 0.7, n=2), 0, lambda ids: "")
    assert found == [[5, 6, 1], [5, 6, 1], [7, 1], [7, 1]]
    (inputs, config), *_ = seen
    assert inputs == [[5, 6], [5, 6], [7], [7]]
    assert (config.num_return_sequences, config.max_new_tokens, config.temperature) == (1, 4, 0.7)
    monkeypatch.setattr(raw, "generate_batch", lambda **_: {"request_0": Answer([1], "out of memory")})
    with pytest.raises(ModelError, match=r"answered 0 of 2 prompts \(out of memory\); use generation 'auto'"):
        decoder._decode_by("continuous", [[5], [6]], Sampling(4), 0, lambda ids: "")


@pytest.mark.slow
def test_compiled_says_what_generate_says(raw):
    prompts = random_prompts(5)
    expected = Decoder(raw, (1,), 0, "generate").decode(prompts, Sampling(12), 0, lambda ids: "")
    assert Decoder(raw, (1,), 0, "compiled").decode(prompts, Sampling(12), 0, lambda ids: "") == expected


# --- a run remembers


def evaluate(out, *settings):
    options = ["--model", "embedded:default", "--tasks", "arithmetic", "--languages", "de", "--limit", "4"]
    extra = [part for setting in ("eval.draws=0", *settings) for part in ("--set", setting)]
    assert main(["eval", *options, "--out", str(out), *extra]) == 0
    return json.loads((out / "manifest.json").read_text())


def test_the_manifest_holds_the_choice_and_a_continued_run_keeps_it(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "WORTH", 10)
    out = tmp_path / "run"
    found = evaluate(out)["extra"]["generation"]
    assert set(found["seconds"]) | set(found["refused"]) >= {"generate", "loop"}
    # as if it had been killed after another stopwatch had chosen `generate`
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["extra"]["generation"] = {"way": "generate", "why": "trial", "seconds": {}, "refused": {}}
    manifest["status"] = "running"
    (out / "manifest.json").write_text(json.dumps(manifest))
    for path in (out / "before").iterdir():
        path.unlink()
    ways = []
    kept = Decoder._decode_by
    monkeypatch.setattr(Decoder, "_decode_by", lambda self, way, *rest: ways.append(way) or kept(self, way, *rest))
    assert evaluate(out)["extra"]["generation"]["way"] == "generate"
    assert set(ways) == {"generate"}


def test_with_a_cache_no_stopwatch_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "WORTH", 10)
    found = evaluate(tmp_path / "run", f"eval.cache={tmp_path / 'cache'}")["extra"]["generation"]
    assert (found["way"], found["seconds"]) == ("loop", {})


def test_settings_of_the_backends_do_not_mix():
    from lrpo_bench.config import parse_config

    with pytest.raises(ConfigError, match=r"are of model\.backend vllm; got hf"):
        parse_config({"tasks": ["arithmetic"], "model": {"tensor_parallel": 2}})
    with pytest.raises(ConfigError, match="got loop and auto"):
        parse_config({"tasks": ["arithmetic"], "model": {"backend": "vllm", "generation": "loop"}})
