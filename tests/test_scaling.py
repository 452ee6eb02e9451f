"""LoRA and checkpointed activations in short trainings; other settings as arguments, since nothing here runs them."""

from __future__ import annotations

import dataclasses
import importlib.util

import pytest
import torch
from test_trainer import make_job, same_weights, train  # noqa: F401
from test_update import assert_same_weights

from lrpo_bench.config import parse_config
from lrpo_bench.errors import ConfigError
from lrpo_bench.models.load import ModelSpec, load_hf_model
from lrpo_bench.scale_config import ScaleConfig
from lrpo_bench.training import scaling
from lrpo_bench.training.run import train_policy, trl_arguments

needs_peft = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs the extra peft")
LORA = {"scale": {"lora": {"rank": 4, "alpha": 8}}}


def trained(job):
    return load_hf_model(ModelSpec(str(job.folder / "model"), device="cpu")).model.state_dict()


@needs_peft
@pytest.mark.parametrize("kl_beta", [0.0, 0.1])
def test_lora_trains_linear_layers_and_saves_a_whole_model(make_job, tiny_model_folder, kl_beta):  # noqa: F811
    """The update without padding gives TRL's weights here too; embeddings and norms stay as they were."""
    common = {"steps": 2, "save_every": 100, "learning_rate": 1e-2, "kl_beta": kl_beta, **LORA}
    ours, theirs = make_job("a", **common), make_job("b", length_bucketed=False, **common)
    for job in (ours, theirs):
        train(job, tiny_model_folder)
    assert not list((ours.folder / "model").glob("adapter*"))
    before = load_hf_model(ModelSpec(str(tiny_model_folder), device="cpu")).model.state_dict()
    found, expected = trained(ours), trained(theirs)
    changed = {name for name in before if not torch.equal(before[name], found[name])}
    assert changed and all("_proj" in name for name in changed)
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=2e-4)


@needs_peft
def test_lora_resumes_exactly(make_job, tiny_model_folder):  # noqa: F811
    from transformers import TrainerCallback

    class Crash(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == 3:
                raise RuntimeError("crash")

    whole, job = make_job("whole", **LORA), make_job("resumed", **LORA)
    train(whole, tiny_model_folder)
    loaded = load_hf_model(ModelSpec(str(tiny_model_folder), device="cpu"))
    with pytest.raises(RuntimeError, match="crash"):
        train_policy(job, loaded.model, loaded.tokenizer, None, [Crash()])
    train(job, tiny_model_folder)
    a, b = trained(whole), trained(job)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_checkpointed_activations_change_nothing(make_job, tiny_model_folder):  # noqa: F811
    common = {"steps": 2, "save_every": 100, "learning_rate": 1e-3, "generation": "loop"}
    plain, _ = train(make_job("a", **common), tiny_model_folder)
    less, _ = train(make_job("b", scale={"gradient_checkpointing": True}, **common), tiny_model_folder)
    assert_same_weights(plain, less, atol=1e-6)


def test_bfloat16_computes_in_it_and_keeps_weights_in_float32(make_job, tiny_model_folder):  # noqa: F811
    """Small updates would vanish in bfloat16 weights, so they stay as they are under autocast."""
    jobs = [make_job(name, steps=2, save_every=100, learning_rate=1e-2) for name in "ab"]
    half = jobs[1].config.model.model_copy(update={"dtype": "bfloat16"})
    jobs[1] = dataclasses.replace(jobs[1], config=jobs[1].config.model_copy(update={"model": half}))
    before = load_hf_model(ModelSpec(str(tiny_model_folder), device="cpu")).model.state_dict()
    (plain, _), (mixed, _) = (train(job, tiny_model_folder) for job in jobs)
    weights = mixed.state_dict()
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert any(not torch.equal(before[name], weights[name]) for name in before)
    assert any(not torch.equal(plain.state_dict()[name], weights[name]) for name in before), "it computed in float32"


def test_vllm_and_trackers_become_trls_arguments(monkeypatch):
    monkeypatch.setattr(scaling, "_is_installed", lambda _: True)
    colocate = ScaleConfig.model_validate({"vllm": {"mode": "colocate", "tensor_parallel": 2}, "report_to": ["wandb"]})
    assert scaling.scale_arguments(colocate) == {
        "activation_checkpointing": False, "report_to": ["wandb"], "use_vllm": True, "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": 0.3, "vllm_tensor_parallel_size": 2,
    }  # fmt: skip
    server = ScaleConfig.model_validate({"vllm": {"mode": "server", "server_url": "http://127.0.0.1:8000"}})
    assert scaling.scale_arguments(server) == {
        "activation_checkpointing": False, "report_to": "none", "use_vllm": True, "vllm_mode": "server",
        "vllm_server_base_url": "http://127.0.0.1:8000",
    }  # fmt: skip
    from trl import GRPOConfig

    for arguments in (scaling.scale_arguments(colocate), scaling.scale_arguments(server)):
        assert set(arguments) <= set(GRPOConfig.__dataclass_fields__)


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setattr(scaling, "_is_installed", lambda _: False)
    with pytest.raises(ConfigError, match=r"report_to trackio needs the package trackio.*pip install trackio"):
        scaling.scale_arguments(ScaleConfig(report_to=("trackio",)))
    with pytest.raises(ConfigError, match=r"vllm.mode colocate needs .*lrpo-bench\[vllm\]"):
        scaling.scale_arguments(ScaleConfig.model_validate({"vllm": {"mode": "colocate"}}))
    with pytest.raises(ConfigError, match=r"lora.rank 4 needs .*lrpo-bench\[peft\]"):
        scaling.peft_config(ScaleConfig.model_validate(LORA["scale"]).lora)


def test_a_server_needs_its_address():
    with pytest.raises(ConfigError, match="server_url goes with mode server"):
        parse_config({"tasks": ["parity"], "train": {"scale": {"vllm": {"mode": "server"}}}})


def test_several_gpus_in_one_process_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(ConfigError, match=r"one process sees 4 GPUs.*accelerate launch --num_processes 4"):
        trl_arguments(parse_config({"tasks": ["arithmetic"]}), tmp_path)
    assert trl_arguments(parse_config({"tasks": ["arithmetic"], "model": {"device": "cpu"}}), tmp_path).use_cpu
