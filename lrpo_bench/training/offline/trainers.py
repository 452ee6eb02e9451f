"""Trainers of offline methods: TRL's SFT and DPO trainers on data that is tokenized already and in its final order.

What is overridden of them, watched by `tests/test_offline_losses.py`:

- `DPOTrainer._prepare_dataset`: rows have token ids, made as in generation, so nothing is rendered a second time;
- `_save_checkpoint`: a checkpoint is marked whole, as online;
- `DPOTrainer._compute_loss` (MPO): another loss.

MPO (Zhao et al. 2025, arXiv 2505.16869, losses L1 and L2; lengths and averages as in its public `trainer.py`): with the
gap `RG = log p(chosen)/|chosen| - log p(rejected)/|rejected|`,

    loss = mean (beta * RG_target(policy) - RG_dominant(frozen))^2 + w * mean (h(policy) - h(frozen))^2

where `h` is the last hidden state of the dominant language's sequences, averaged over tokens. Departure: the average is
over a sequence's own tokens; the public code averages over padding too, so that a loss depends on the batch.

LIDR (Yang et al. 2024, arXiv 2410.08964, its DPO+NLL objective): DPO's loss plus `nll_weight` times the negative
log-likelihood of the better answer. Departures: that likelihood is a mean over the tokens of a batch (TRL's), not over
each answer's; the weight 1 and beta 0.1 are ours, not read from the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from trl import DPOTrainer, SFTTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from lrpo_bench.results.files import write_json
from lrpo_bench.training.trainer import LRPO_STATE, checkpoint_errors


class WholeCheckpoints:
    """Marks a checkpoint that was written to its end, for `last_whole_checkpoint`; mixed in before a trainer."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"  # type: ignore[attr-defined]
        with checkpoint_errors(folder):
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
        if self.args.should_save:  # type: ignore[attr-defined]
            write_json(folder / LRPO_STATE, {})


class AnswerTrainer(WholeCheckpoints, SFTTrainer):  # type: ignore[misc]
    """Supervised steps on rows of `input_ids` and `labels`."""


class PairTrainer(WholeCheckpoints, DPOTrainer):  # type: ignore[misc]
    """DPO on rows of `prompt_ids`, `chosen_ids` and `rejected_ids`."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


class MPOCollator:
    """Two batches from rows that hold two pairs: TRL's collation of the target and of the dominant language's."""

    def __init__(self, pad_token_id: int) -> None:
        """Pads with that token."""
        self._one = DataCollatorForPreference(pad_token_id=pad_token_id)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, torch.Tensor]]:
        """The chosen sequences of each batch come first, then the rejected ones: (2B, T)."""
        names = ("prompt_ids", "chosen_ids", "rejected_ids")
        dominant = [{name: row[f"dominant_{name}"] for name in names} for row in rows]
        return {
            "target": self._one([{name: row[name] for name in names} for row in rows]),
            "dominant": self._one(dominant),
        }


class MPOTrainer(PairTrainer):
    """MPO on rows that hold a pair and, under `dominant_`, the pair of the dominant language."""

    def __init__(self, *args: Any, retain_weight: float, **kwargs: Any) -> None:
        """Takes DPOTrainer's arguments, whose `beta` is MPO's, and the weight of the hidden states."""
        super().__init__(*args, **kwargs)
        self._retain_weight = retain_weight

    def _compute_loss(self, model: Any, inputs: Mapping[str, Any], return_outputs: bool) -> Any:
        target_means, _ = sequence_statistics(model, inputs["target"])
        _, hidden = sequence_statistics(model, inputs["dominant"])
        with torch.no_grad():
            frozen_means, frozen_hidden = sequence_statistics(self.ref_model, inputs["dominant"])
        target_gaps, dominant_gaps = reward_gaps(target_means), reward_gaps(frozen_means)
        margin = margin_loss(target_gaps, dominant_gaps, self.beta)
        retain = torch.nn.functional.mse_loss(hidden, frozen_hidden)
        for name, value in (
            ("gap/target", target_gaps.mean()),
            ("gap/dominant", dominant_gaps.mean()),
            ("loss/margin", margin),
            ("loss/retain", retain),
        ):
            self._metrics["train"][name].append(value.item())
        loss = margin + self._retain_weight * retain
        return (loss, {}) if return_outputs else loss


def sequence_statistics(model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean log-probability a completion token (N,) and last hidden state averaged over tokens (N, H) of N sequences."""
    ids, mask = batch["input_ids"], batch["attention_mask"]  # (N, T)
    output = model(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
    logps = torch.log_softmax(output.logits[:, :-1].float(), dim=-1)  # (N, T-1, V)
    token_logps = logps.gather(2, ids[:, 1:, None])[..., 0]
    completion = batch["completion_mask"][:, 1:]
    means = (token_logps * completion).sum(dim=1) / completion.sum(dim=1).clamp(min=1)
    hidden = output.hidden_states[-1] * mask[..., None]  # (N, T, H)
    return means, hidden.sum(dim=1) / mask.sum(dim=1, keepdim=True)


def reward_gaps(means: torch.Tensor) -> torch.Tensor:
    """Chosen minus rejected, for means (2B,) of which the first half is chosen; shape (B,).

    Example:
        >>> reward_gaps(torch.tensor([-0.5, -1.0, -2.0, -1.0])).tolist()
        [1.5, 0.0]
    """
    chosen, rejected = means.chunk(2)
    return chosen - rejected


def margin_loss(target_gaps: torch.Tensor, dominant_gaps: torch.Tensor, beta: float) -> torch.Tensor:
    """MPO's L1: the mean squared distance of `beta` times the target's gaps from the dominant language's.

    Example:
        >>> margin_loss(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 2.0]), beta=2.0).item()  # (1 + 4) / 2
        2.5
    """
    return ((beta * target_gaps - dominant_gaps) ** 2).mean()
