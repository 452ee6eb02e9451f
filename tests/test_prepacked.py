"""Prepacked layers against plain ones; which layers are left alone; that a block leaves nothing behind."""

from __future__ import annotations

from types import MethodType

import pytest
import torch
from accelerate.utils import convert_outputs_to_fp32
from transformers import LlamaConfig, LlamaForCausalLM

from lrpo_bench.models import prepacked as module
from lrpo_bench.models.prepacked import prepacked
from lrpo_bench.training.rollouts import Rollouts

pytestmark = pytest.mark.skipif(not module._is_available(), reason="this torch has no oneDNN")


class Small(torch.nn.Module):
    """Two layers, one of them with a bias, and a device as models have one."""

    device = torch.device("cpu")

    def __init__(self, width: int = 192) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(width, 256), torch.nn.Linear(256, 300, bias=False)

    def forward(self, hidden):
        return self.second(torch.relu(self.first(hidden)))


def replaced(model):
    return [name for name, layer in model.named_modules() if "forward" in vars(layer)]


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 192), (5, 192), (3, 7, 192), (0, 192), (200, 192)])
def test_products_are_those_of_plain_layers(shape):
    model, hidden = Small(), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    exact = Small().double()(hidden.double())
    with prepacked(model):
        assert replaced(model) == ["first", "second"]
        found = model(hidden)
    assert found.shape == exact.shape and found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, atol=1e-5, rtol=1e-5)
    assert not replaced(model)


@torch.no_grad()
def test_states_that_do_not_lie_in_one_piece():
    model, wide = Small(), torch.randn(6, 2 * 192)
    with prepacked(model):
        torch.testing.assert_close(model(wide[:, ::2]), Small()(wide[:, ::2].contiguous()), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_block_takes_the_weights_of_its_own_time():
    model, hidden = Small(), torch.randn(4, 192)
    with prepacked(model):
        before = model(hidden)
    model.second.weight.mul_(2.0)
    with prepacked(model):
        torch.testing.assert_close(model(hidden), 2 * before)


@torch.no_grad()
def test_under_autocast_layers_are_plain():
    """Training in bfloat16 puts autocast around the model's own forward, inside the block."""
    model, hidden = Small(), torch.randn(4, 192)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = model(hidden)
    with prepacked(model), torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(hidden)
    assert found.dtype == torch.bfloat16 and torch.equal(found, expected)


def test_rollouts_of_a_model_with_autocast_in_its_forward():
    """As accelerate prepares a model for bfloat16; its `Accelerator` itself would leave its state to other tests."""
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=300, hidden_size=192, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=4,
        )
    )  # fmt: skip
    autocast = torch.autocast("cpu", dtype=torch.bfloat16)
    model.forward = MethodType(convert_outputs_to_fp32(autocast(model.forward.__func__)), model)
    rollouts = Rollouts(limit=4, temperature=1.0, top_p=1.0, eos_ids=(1,), pad_id=0)
    assert [0 < len(row) <= 4 for row in rollouts.sample(model, [[5, 6, 7], [8, 9]])] == [True, True]


def test_an_error_inside_leaves_plain_layers():
    model = Small()
    with pytest.raises(RuntimeError, match="inside"), prepacked(model):
        raise RuntimeError("inside")
    assert not replaced(model)


def test_blocks_within_blocks():
    model = Small()
    with prepacked(model):
        with prepacked(model):
            assert replaced(model) == ["first", "second"]
        assert replaced(model) == ["first", "second"]
    assert not replaced(model)


class Scaled(torch.nn.Linear):
    """A layer of another kind."""


def test_small_layers_other_kinds_and_other_numbers_stay_plain():
    assert not module._suits(torch.nn.Linear(16, 16))
    assert not module._suits(Scaled(192, 256))
    assert not module._suits(torch.nn.Linear(192, 256, dtype=torch.float64))
    mixed = torch.nn.Linear(192, 256)
    mixed.bias = torch.nn.Parameter(torch.zeros(256, dtype=torch.bfloat16))
    assert not module._suits(mixed)
    hooked = torch.nn.Linear(192, 256)
    vars(hooked)["forward"] = hooked.forward
    assert not module._suits(hooked)


def test_weights_that_would_take_too_much_memory_twice_stay_plain(monkeypatch):
    monkeypatch.setattr(module, "memory_bytes", lambda: 8 * 4 * (192 * 256 + 256 * 300) - 1)
    model = Small()
    with prepacked(model):
        assert not replaced(model)


def test_a_model_elsewhere_stays_plain():
    model = Small()
    model.device = torch.device("meta")
    with prepacked(model):
        assert not replaced(model)
