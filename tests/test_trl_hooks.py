"""The private hooks of TRL and transformers that `training/trainer.py` stands on are as they were when it was written.

A failure here comes before a wrong number does. What to do then: read the hook in the installed version, compare it
with what the docstring of `lrpo_bench/training/trainer.py` says of it, mend the trainer, run `tests/test_trainer.py`
(it compares our GRPO with TRL's to the bit), and only then widen the pin in `pyproject.toml` and the table below.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from transformers import Trainer
from trl import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from lrpo_bench.training import trainer as ours
from lrpo_bench.training.scoring_head import _LOGIT_TRANSFORMS
from lrpo_bench.training.trainer import LRPOTrainer

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

HOOKS = {
    "_generate_and_score_completions": ["self", "inputs"],
    "_tokenize_prompts": ["self", "prompts"],
    "_generate_single_turn": [
        "self", "prompt_ids", "images", "multimodal_fields", "num_generations", "has_tool_images",
    ],
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_compute_loss": ["self", "model", "inputs"],
    "_get_per_token_logps_and_entropies": [
        "self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy",
        "compute_aux_loss", "pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask", "spatial_shapes",
        "num_tiles", "image_sizes", "token_type_ids", "mm_token_type_ids", "image_position_ids",
    ],
    "_save_checkpoint": ["self", "model", "trial"],
    "_load_optimizer_and_scheduler": ["self", "checkpoint"],
    "_get_output_dir": ["self", "trial"],
}  # fmt: skip
"""Methods that are overridden or called, with TRL 1.16's parameters."""

PUBLIC = {"__init__", "train", "save_model", "remove_callback"}
ATTRIBUTES = (
    "_tokenizer", "num_generations", "use_vllm", "beta", "temperature", "accelerator", "state", "args", "model",
    "ref_model", "model_wrapped",
)  # fmt: skip
CHECK = (
    f"\ninstalled: trl {metadata.version('trl')}, transformers {metadata.version('transformers')}. "
    "See the docstring of tests/test_trl_hooks.py for what to check."
)


@pytest.mark.parametrize("name", HOOKS)
def test_hook_has_the_expected_parameters(name):
    hook = getattr(GRPOTrainer, name, None)
    assert hook is not None, f"GRPOTrainer.{name} is gone.{CHECK}"
    found = list(inspect.signature(hook).parameters)
    assert found == HOOKS[name], f"GRPOTrainer.{name} takes {found}, expected {HOOKS[name]}.{CHECK}"


def test_every_override_is_in_the_table():
    """A new override must be listed above, or nothing would watch it."""
    overridden = {name for name, _ in inspect.getmembers(LRPOTrainer, inspect.isfunction) if name in vars(LRPOTrainer)}
    inherited = {name for name in overridden if hasattr(GRPOTrainer, name)}
    assert inherited - PUBLIC <= HOOKS.keys()
    assert {name for name in HOOKS if name in vars(LRPOTrainer)} == inherited - PUBLIC


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attribute_is_still_set(name):
    source = inspect.getsource(GRPOTrainer.__init__) + inspect.getsource(Trainer.__init__)
    source += inspect.getsource(Trainer.create_accelerator_and_postprocess)
    used = inspect.getsource(ours)
    assert re.search(rf"self\.{name}\b", used), f"{name} is not used any more: take it off the list"
    assert re.search(rf"self\.{name}\b( ?[:=]|,)", source), f"nothing sets GRPOTrainer.{name}.{CHECK}"


def test_prompts_are_deduplicated_by_position_only_with_vllm():
    """Why `_generate_single_turn` is overridden: `prompts[::num_generations]` would give a routed group one language.

    In the transformers branch every row is generated for, so that the number of generations must not matter there.
    """
    source = inspect.getsource(GRPOTrainer._generate_single_turn)
    assert "num_generations" in source, f"the override of _generate_single_turn may be superfluous.{CHECK}"
    vllm, _, rest = source.partition("elif self.use_transformers_continuous_batching")
    plain = rest.partition("else:")[2] if rest else source.partition("else:")[2]
    assert "num_generations" in vllm
    assert "num_generations" not in plain, f"plain generation now depends on num_generations.{CHECK}"


def test_rewards_are_gathered_and_nan_is_left_out():
    source = inspect.getsource(GRPOTrainer._calculate_rewards)
    assert "rewards_per_func = gather(rewards_per_func)" in source, f"rewards may no longer be gathered.{CHECK}"
    assert "nanmean" in inspect.getsource(GRPOTrainer._generate_and_score_completions), (
        f"a reward of None may count as 0 again: advantages would be biased.{CHECK}"
    )


def test_a_row_with_advantage_zero_has_loss_zero():
    """`_compute_loss` may leave such rows out: each term of a row's loss but the KL has the advantage as a factor.

    The rows' log-probabilities are given as 0 then, with a ratio of 1 where TRL takes the old ones from the new.
    """
    loss = inspect.getsource(GRPOTrainer._compute_loss)
    assert "old_per_token_logps = per_token_logps.detach() if old_per_token_logps is None else" in loss, CHECK
    assert "per_token_loss1 = coef_1 * advantages" in loss and "per_token_loss2 = coef_2 * advantages" in loss, CHECK
    output = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    assert 'output["old_per_token_logps"] = old_per_token_logps' in output, CHECK


def test_the_fused_head_is_still_added_by_trl():
    """`scoring_head` stands in front of a forward that takes labels and `fused_lm_head`, and gives these fields."""
    source = inspect.getsource(GRPOTrainer._get_per_token_logps_and_entropies)
    assert "outputs = model(**model_inputs, labels=labels, fused_lm_head=True)" in source, CHECK
    assert "outputs.log_probs[:, -logits_to_keep:]" in source, CHECK
    assert "outputs.entropy[:, -logits_to_keep:]" in source, CHECK
    head = inspect.getsource(add_fused_lm_head)
    for name in _LOGIT_TRANSFORMS:
        assert f'"{name}"' in head, f"TRL no longer reads {name}.{CHECK}"
    assert head.count("getattr(text_config, ") == 7, f"TRL reads another setting of the head.{CHECK}"
    assert "compact = _use_triton(hidden_states.device)" in head, f"TRL may select scored positions itself.{CHECK}"


def test_checkpoint_is_loaded_after_the_router_can_be():
    """Resume calls `_load_optimizer_and_scheduler(checkpoint)` before its first step; the router is read there."""
    source = inspect.getsource(Trainer)
    assert "self._load_optimizer_and_scheduler(resume_from_checkpoint)" in source, (
        f"resume no longer loads the optimizer this way; the router's state would start anew.{CHECK}"
    )


def test_installed_trl_is_in_the_pinned_range():
    listed = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    pin = next(Requirement(line) for line in listed if Requirement(line).name == "trl")
    assert pin.specifier.contains(metadata.version("trl")), f"pyproject.toml pins {pin}.{CHECK}"
    assert any(spec.operator == "<" for spec in pin.specifier), "private hooks need an upper bound"
