"""Offline methods end to end on a tiny random model: budget, pairs on disk, exact resume, warm starts, bad input."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from conftest import LANGS, WORDS, WordDetector

from lrpo_bench.config import parse_config
from lrpo_bench.errors import ConfigError
from lrpo_bench.models.load import ModelSpec, load_hf_model
from lrpo_bench.training.methods import get_method
from lrpo_bench.training.offline.build import build_pairs, question_order, stored_pairs, translator_of
from lrpo_bench.training.offline.pairs import Group, Rollout
from lrpo_bench.training.offline.warm_start import add_language_tags, cross_lingual_examples
from lrpo_bench.training.run import TrainingJob, data_order, train_policy
from lrpo_bench.training.steps import dominant_rollouts, training_steps


@pytest.fixture
def make_job(parity_task, parity_samples, tmp_path):
    def make(name="run", samples=parity_samples, **train):
        defaults = {
            "steps": 3, "questions_per_step": 2, "group_size": 4, "quota": 1, "max_completion_tokens": 6,
            "save_every": 2, "gate": "none", "offline": {"learning_rate": 0.01},
        }  # fmt: skip
        config = parse_config({"tasks": ["parity"], "model": {"device": "cpu"}, "train": defaults | train})
        answered = [dataclasses.replace(s, reference=f"{WORDS[s.lang]} {s.gold}") for s in samples]
        parallel = {}
        for sample in answered:
            parallel.setdefault(sample.source_id, {})[sample.lang] = (parity_task, sample)
        by_id = {sample.id: (parity_task, sample) for sample in answered}
        return TrainingJob(config, by_id, LANGS, "tag", WordDetector(), tmp_path / name, parallel)

    return make


def train(job, folder, callbacks=()):
    loaded = load_hf_model(ModelSpec(str(folder), device="cpu"))
    steps = []
    train_policy(job, loaded.model, loaded.tokenizer, steps.append, callbacks)
    return loaded.model, steps


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def crash_at(step):
    from transformers import TrainerCallback

    class Crash(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == step:
                raise RuntimeError("crash")

    return Crash()


def test_dpo_draws_as_many_rollouts_of_the_same_questions_as_an_online_method(make_job, tiny_model_folder):
    job = make_job(method="dpo")
    before = weights(load_hf_model(ModelSpec(str(tiny_model_folder), device="cpu")).model)
    model, steps = train(job, tiny_model_folder)
    assert not same(before, weights(model))
    rows = [row for step in steps for row in step.rollouts]
    assert len(rows) == 3 * 2 * 4
    assert [row["sample_id"] for row in rows[::4]] == data_order(list(job.samples), 6, 0)
    assert {row["rollout_lang"] for row in rows} <= set(LANGS)
    assert all(row["rollout_lang"] == row["source_lang"] for row in rows)
    assert json.loads((job.folder / "offline/summary.json").read_text())["groups"] == 6
    assert not list((job.folder / "offline").glob("step-*.json"))
    assert (job.folder / "model/model.safetensors").exists()


@pytest.mark.parametrize("method", ["dpo", "mpo"])
def test_a_resumed_run_equals_an_uninterrupted_one(method, make_job, tiny_model_folder):
    settings = {"method": method, "steps": 4, "group_size": 8}
    whole, all_steps = train(make_job("whole", **settings), tiny_model_folder)
    job = make_job("resumed", **settings)
    with pytest.raises(RuntimeError, match="crash"):
        train(job, tiny_model_folder, [crash_at(3)])
    (job.folder / "offline/step-000004.json").unlink()  # as if it had been lost before it was logged
    resumed, steps = train(job, tiny_model_folder)
    assert json.dumps([s.rollouts for s in steps]) == json.dumps([s.rollouts for s in all_steps[2:]])
    assert same(weights(whole), weights(resumed))


def test_pairs_are_read_where_they_lie(make_job):
    job = make_job(method="dpo")
    rollouts = tuple(Rollout(name, "sw", name, True, reward, False) for name, reward in (("a", 1.0), ("b", 0.0)))
    (pair,) = stored_pairs(job, get_method("dpo"), [Group(rollouts)], None)
    assert stored_pairs(job, get_method("dpo"), [], None) == [pair]


def test_mapo_averages_over_right_dominant_answers_each_text_once(make_job):
    class Translator:
        def score(self, answers, dominant):
            return [len(own.text) / len(other.text) for own, other in zip(answers, dominant, strict=True)]

    def rollout(text, lang, correct):
        return Rollout(f"parity/{lang}/0", lang, text, True, float(correct), correct)

    own = tuple(rollout(text, "sw", True) for text in ("aaaa", "aa", "aaaaaa"))
    dominant = tuple(rollout(text, "en", text != "bbbbbb") for text in ("b", "bb", "b", "bbbbbb"))
    groups = [Group(own, dominant), Group(own, dominant[3:])]  # no right dominant answer in the second
    pairs = build_pairs(make_job(method="mapo"), get_method("mapo"), groups, Translator())
    assert [(pair.chosen.text, pair.rejected.text) for pair in pairs] == [
        ("aaaaaa", "aaaa"), ("aaaaaa", "aa"), ("aaaa", "aa"),
    ]  # fmt: skip


def test_lidr_translates_each_way(make_job):
    class Translator:
        def translate(self, answers, lang):
            return [f"{each.text} ({each.lang} to {lang})" for each in answers]

    own, dominant = (
        Rollout(f"parity/{lang}/0", lang, text, True, 0.0, False) for lang, text in (("sw", "n"), ("en", "x"))
    )
    pairs = build_pairs(make_job(method="lidr"), get_method("lidr"), [Group((own,), (dominant,))], Translator())
    assert [(pair.chosen.text, pair.rejected.text) for pair in pairs] == [("x (en to sw)", "n"), ("x", "n (sw to en)")]


def test_questions_of_the_dominant_language_are_not_asked(make_job):
    job = make_job(method="mpo")
    order = question_order(job, get_method("mpo"))
    assert len(order) == 6
    assert all(job.samples[name][1].lang != "en" for name in order)


def test_sft_learns_the_answers_and_a_warm_start_is_the_same_training(make_job, tiny_model_folder):
    start = {"prompts": 8, "answers": 2, "answers_per_step": 4, "learning_rate": 0.02}
    sft, steps = train(make_job("sft", method="sft", warm_start=start), tiny_model_folder)
    assert steps == []
    # one step of GRPO with a learning rate that moves nothing: what is left is the warm start
    settings = {"method": "grpo", "steps": 1, "learning_rate": 1e-12, "warm_start": {**start, "enabled": True}}
    job = make_job("warm", **settings)
    warm, _ = train(job, tiny_model_folder)
    for name, value in weights(sft).items():
        assert torch.allclose(value, weights(warm)[name], atol=1e-6), name
    summary = json.loads((job.folder / "warm_start/summary.json").read_text())
    assert (summary["steps"], summary["answers"]) == (4, 16)
    assert summary["last_loss"] < summary["first_loss"]
    assert not (job.folder / "warm_start/model").exists()


def test_warm_start_answers_are_in_other_languages(make_job):
    job = make_job(method="sft", warm_start={"prompts": 10, "answers": 2})
    examples = cross_lingual_examples(job)
    assert examples == cross_lingual_examples(job)
    assert len(examples) == 20
    assert len({(each.sample_id, each.lang) for each in examples}) == 20
    for each in examples:
        sample = job.samples[each.sample_id][1]
        assert each.lang != sample.lang
        assert each.text == f"{WORDS[each.lang]} {sample.gold}"


def test_steps_of_sft_are_its_own(make_job):
    train = make_job(method="sft", warm_start={"prompts": 420, "answers": 2, "answers_per_step": 16}).config.train
    assert training_steps(train, get_method("sft")) == 53  # 840 / 16, rounded up
    assert training_steps(train, get_method("sft"), n_questions=24) == 3
    assert training_steps(train, get_method("dpo")) == 3


def test_language_tags_are_added_once_and_the_old_rows_stay(tiny_model_folder):
    loaded = load_hf_model(ModelSpec(str(tiny_model_folder), device="cpu"))
    before = loaded.model.get_input_embeddings().weight.clone()
    size = len(loaded.tokenizer)
    assert add_language_tags(loaded.model, loaded.tokenizer, ["th", "en"], seed=0) == ["<|out_lang_th|>"]
    assert add_language_tags(loaded.model, loaded.tokenizer, ["th"], seed=0) == []
    after = loaded.model.get_input_embeddings().weight
    assert len(loaded.tokenizer) == size + 1 == len(after)
    assert torch.equal(after[:size], before)
    assert loaded.tokenizer("<|out_lang_th|>", add_special_tokens=False)["input_ids"] == [size]


def shared_out(name):
    return lambda job: dominant_rollouts(job.config.train, get_method(name))


BAD = {
    "no parallel questions": (
        "mapo", {}, lambda job: question_order(job, get_method("mapo")), "another language than 'en'",
    ),
    "all dominant": (
        "lidr", {"offline": {"dominant_rollouts": 4}}, shared_out("lidr"),
        r"dominant_rollouts must be in 1..3 for method 'lidr' with train.group_size 4, got 4",
    ),
    "one for a gap": (
        "mpo", {"offline": {"dominant_rollouts": 1}}, shared_out("mpo"),
        r"must be in 2..2 for method 'mpo'",
    ),
    "no pair": (
        "dpo", {}, lambda job: stored_pairs(job, get_method("dpo"), [Group(())], None), "no pair .* in 1 groups",
    ),
    "not the world's task": (
        "mapo", {}, lambda job: translator_of(job, get_method("mapo")), "'world' knows the tasks .* not 'parity'",
    ),
    "too few languages": (
        "sft", {"warm_start": {"answers": 3}}, cross_lingual_examples, "answers 3 needs more languages than de, en, sw",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_are_one_line(name, make_job, parity_samples):
    method, settings, use, message = BAD[name]
    samples = [s for s in parity_samples if s.lang == "en"] if name == "no parallel questions" else parity_samples
    with pytest.raises(ConfigError, match=message) as caught:
        use(make_job(method=method, samples=samples, **settings))
    assert "\n" not in str(caught.value)


def test_a_task_without_answers_is_refused(make_job, parity_samples):
    job = make_job(method="sft")
    bare = {name: (task, dataclasses.replace(sample, reference=None)) for name, (task, sample) in job.samples.items()}
    parallel = {s.source_id: {} for s in parity_samples}
    with pytest.raises(ConfigError, match="finds no reference answer to 'parity/"):
        cross_lingual_examples(dataclasses.replace(job, samples=bare, parallel=parallel))


def test_several_processes_are_refused(make_job, tiny_model_folder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"method 'dpo' .*builds its data in one process"):
        train(make_job(method="dpo"), tiny_model_folder)
