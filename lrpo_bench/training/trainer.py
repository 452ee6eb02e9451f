"""LRPO on TRL's engine: the rows of a group are routed to languages before generation, and the router learns after it.

`trl.GRPOTrainer` does everything else: generation, group advantages, the clipped loss, KL, accelerate, checkpoints.
Some of its private hooks are overridden; `tests/test_trl_hooks.py` lists them all and fails when TRL changes them:

- `_generate_and_score_completions(inputs)`: rows of one step, groups contiguous, all data set columns present;
- `_calculate_rewards(...)`: returns the rewards gathered over all ranks;
- `_compute_loss(model, inputs)`, `_get_per_token_logps_and_entropies(...)`: the update without padding;
- `_tokenize_prompts(prompts)`: prompts longer than `max_prompt_tokens` lose their beginning here;
- `_generate_single_turn(...)`: in vLLM server mode TRL de-duplicates prompts by position, wrong for routed groups, so
  one completion per prompt is asked there;
- `_save_checkpoint(...)`, `_load_optimizer_and_scheduler(checkpoint)`: the router's state goes with the optimizer's.

Each step's random draws come from (seed, step, rank) alone, routes from (seed, step, sample, rollout), and the data
order is fixed before training; a resumed run therefore equals an uninterrupted one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from numpy.typing import NDArray
from trl import GRPOTrainer

from lrpo_bench.errors import ConfigError
from lrpo_bench.lrpo.routing import Context, Observation, Route, Router, route_group
from lrpo_bench.models.base import Prompt
from lrpo_bench.training.checkpoints import LRPO_STATE as LRPO_STATE
from lrpo_bench.training.checkpoints import checkpoint_errors as checkpoint_errors
from lrpo_bench.training.checkpoints import last_whole_checkpoint as last_whole_checkpoint
from lrpo_bench.training.regret import RegretMeter
from lrpo_bench.training.resampling import degenerate_groups, replace_rows, replacement_questions
from lrpo_bench.training.rewards import GatedReward, completion_text
from lrpo_bench.training.rollouts import own_rollouts
from lrpo_bench.training.scaling import whole_model
from lrpo_bench.training.scoring_head import add_compact_head
from lrpo_bench.training.telemetry import RolloutRow, StepTelemetry, step_telemetry, with_resampled
from lrpo_bench.training.update import RANK_BUCKETS, StepTokens, policy_logps


@dataclass(frozen=True, slots=True)
class Routing:
    """What the trainer needs to route a sample's rollouts."""

    router: Router
    quota: int
    seed: int
    contexts: Mapping[str, Context]
    """Router context of every training sample, by sample id."""
    prompt: Callable[[str, str], Prompt]
    """The conversation for (sample id, rollout language)."""
    meter: RegretMeter | None = None
    """Measures the router's regret, where the truth about the policy is known."""


Sink = Callable[[StepTelemetry], None]
AdvantageRule = Callable[[NDArray[np.float64], NDArray[np.float64], Sequence[str]], NDArray[np.float64]]
"""Advantages (N,) from the rewards, gates and rollout languages (N,) of a step, whose groups lie one after another."""


class LRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """A `GRPOTrainer` whose rollouts are routed.

    Its training data set needs the columns `prompt` (any) and `sample_id`; each row is one question, in the order in
    which it is to be trained (`shuffle_dataset=False`).
    """

    def __init__(
        self,
        *args: Any,
        routing: Routing,
        reward: GatedReward,
        advantages: AdvantageRule | None = None,
        sink: Sink | None = None,
        max_prompt_tokens: int | None = None,
        skip_zero_advantage: bool = False,
        length_bucketed: bool = False,
        own_generation: bool = False,
        resample_tries: int = 0,
        **kwargs: Any,
    ) -> None:
        """Takes GRPOTrainer's arguments, and how to route; `sink` receives the telemetry of each step on rank 0.

        `advantages` gives the advantages of a step from all its rollouts, in place of TRL's own.
        `length_bucketed` computes the update's log-probabilities without padding (`training.update`), and with it
        `skip_zero_advantage` leaves out the rows with advantage 0 where their loss is 0: with `beta` 0.
        `own_generation` decodes by `training.rollouts` instead of `generate`.
        `resample_tries` is how often groups without advantages are replaced (`training.resampling`), in one process.
        """
        super().__init__(*args, reward_funcs=[reward], **kwargs)
        if resample_tries and self.accelerator.num_processes > 1:
            raise ConfigError(
                f"train.resample_degenerate works in one process, got {self.accelerator.num_processes}: groups may lie "
                "across processes; set it to 0"
            )
        self._resample_tries = resample_tries
        self._length_bucketed = length_bucketed
        self._skip_zero_advantage = skip_zero_advantage and length_bucketed and self.beta == 0.0
        self._moving: torch.Tensor | None = None
        self._rollouts = own_rollouts(self) if own_generation else None
        if length_bucketed:
            for policy in filter(None, (self.model, self.ref_model)):
                add_compact_head(whole_model(policy), self.temperature)
        self.routing = routing
        self.reward = reward
        self._sink = sink
        self._advantage_rule = advantages
        self._max_prompt_tokens = max_prompt_tokens
        self._n_prompts_truncated = 0
        self._gathered_rewards = torch.empty(0)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)
        step, rank = self.state.global_step, self.accelerator.process_index
        torch.manual_seed(_step_seed(self.routing.seed, step, rank))
        output, rows = self._rollouts_of(inputs, step)
        replaced: list[RolloutRow] = []
        for attempt in range(1, self._resample_tries + 1):
            groups = degenerate_groups([row.advantage for row in rows], self.num_generations)
            asked = [row.sample_id for row in (*rows, *replaced)]
            key = (self.routing.seed, step, attempt)
            others = replacement_questions(list(self.routing.contexts), asked, len(groups), key)
            if not others:
                break
            inputs = [{**inputs[0], "sample_id": name} for name in others for _ in range(self.num_generations)]
            fresh, fresh_rows = self._rollouts_of(inputs, step)
            poor = degenerate_groups([row.advantage for row in fresh_rows], self.num_generations)
            good = [number for number in range(len(others)) if number not in poor]
            into, out_of = (
                [group * self.num_generations + i for group in chosen for i in range(self.num_generations)]
                for chosen in (groups[: len(good)], good)
            )
            output = replace_rows(output, fresh, into, out_of)
            for row, fresh_row in zip(into, out_of, strict=True):
                rows[row], fresh_rows[fresh_row] = fresh_rows[fresh_row], rows[row]
            replaced += fresh_rows
        self._learn_and_report(rows, replaced, step)
        return output

    def _rollouts_of(self, inputs: Sequence[Mapping[str, Any]], step: int) -> tuple[dict[str, Any], list[RolloutRow]]:
        """TRL's tensors for rows of the step, and what became of each of this rank's rollouts."""
        routes = self._route(inputs, step, first_row=self.accelerator.process_index * len(inputs))
        rows = [
            {**row, "prompt": self._trl_prompt(self.routing.prompt(row["sample_id"], route.lang)),
             "rollout_lang": route.lang, "propensity": route.propensity}
            for row, route in zip(inputs, routes, strict=True)
        ]  # fmt: skip
        output = super()._generate_and_score_completions(rows)
        if self._advantage_rule is not None:
            output["advantages"] = self._advantages(self._advantage_rule, routes).to(output["advantages"])
        return output, self._rollout_rows(rows, routes, output["advantages"].tolist())

    def _route(self, inputs: Sequence[Mapping[str, Any]], step: int, first_row: int) -> list[Route]:
        # A group may straddle two ranks: each routes the whole group (a pure function) and keeps its own rows.
        routes = []
        for offset, row in enumerate(inputs):
            sample_id = row["sample_id"]
            group = route_group(
                self.routing.router,
                self.routing.contexts[sample_id],
                sample_id,
                group_size=self.num_generations,
                quota=self.routing.quota,
                seed=self.routing.seed,
                step=step,
            )
            routes.append(group[(first_row + offset) % self.num_generations])
        return routes

    def _advantages(self, rule: AdvantageRule, routes: Sequence[Route]) -> torch.Tensor:
        # A group may straddle two ranks: each computes those of the whole step and keeps its own rows.
        local = [(part.reward, part.gate, route.lang) for part, route in zip(self.reward.parts, routes, strict=True)]
        rewards, gates, languages = zip(*gather_object(local), strict=True)  # each (N over all ranks,)
        first = self.accelerator.process_index * len(local)
        return torch.from_numpy(rule(np.array(rewards), np.array(gates), languages)[first : first + len(local)])

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        # With log-probabilities of another policy (vLLM) a row's ratio would overflow where its own are left out.
        if self._skip_zero_advantage and "old_per_token_logps" not in inputs:
            self._moving = inputs["advantages"] != 0
        try:
            return super()._compute_loss(model, inputs)
        finally:
            self._moving = None

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **extra: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        needs_trl = any(value is not None and value is not False for value in extra.values())  # images, experts' loss
        if needs_trl or not self._length_bucketed:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **extra
            )

        def score(ids: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
            with self.accelerator.autocast():
                output = model(input_ids=ids, labels=labels, fused_lm_head=True)
            return output.log_probs, output.entropy if compute_entropy else None

        n_passes = RANK_BUCKETS if self.accelerator.num_processes > 1 else None
        batch = StepTokens(input_ids, attention_mask, logits_to_keep)
        return *policy_logps(score, batch, self._moving, batch_size, n_passes), None

    def _trl_prompt(self, prompt: Prompt) -> Any:
        from lrpo_bench.models.prompting import render

        return list(prompt) if self._tokenizer.chat_template else render(prompt, self._tokenizer)

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        ids, images, fields = super()._tokenize_prompts(prompts)
        if self._max_prompt_tokens is not None:
            self._n_prompts_truncated += sum(len(row) > self._max_prompt_tokens for row in ids)
            ids = [row[-self._max_prompt_tokens :] for row in ids]
        return ids, images, fields

    def _generate_single_turn(
        self, prompt_ids: Any, images: Any, multimodal_fields: Any, num_generations: int, **kwargs: Any
    ) -> Any:
        if self._rollouts is not None and images is None:
            model = whole_model(self.accelerator.unwrap_model(self.model_wrapped))
            return self._rollouts.sample(model, prompt_ids), None
        per_prompt = 1 if self.use_vllm else num_generations
        return super()._generate_single_turn(prompt_ids, images, multimodal_fields, per_prompt, **kwargs)

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        self._completions = [completion_text(completion) for completion in completions]
        self._gathered_rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        return self._gathered_rewards

    def _rollout_rows(
        self, rows: Sequence[Mapping[str, Any]], routes: Sequence[Route], advantages: Sequence[float]
    ) -> list[RolloutRow]:
        return [
            RolloutRow(
                sample_id=row["sample_id"],
                context=self.routing.contexts[row["sample_id"]],
                route=route,
                completion=self._completions[i],
                judgement=self.reward.judgements[i],
                parts=self.reward.parts[i],
                truncated=self.reward.truncated[i],
                advantage=advantages[i],
            )
            for i, (row, route) in enumerate(zip(rows, routes, strict=True))
        ]

    def _learn_and_report(self, rows: list[RolloutRow], replaced: list[RolloutRow], step: int) -> None:
        gathered: list[RolloutRow] = gather_object(rows)  # every rank sees all rows, in global order
        if self._sink is not None and self.accelerator.is_main_process:
            telemetry = step_telemetry(
                gathered,
                self.routing.router,
                step,
                self.num_generations,
                self._n_prompts_truncated,
                self.routing.meter,
            )
            if self._resample_tries:
                telemetry = with_resampled(telemetry, replaced, self.num_generations)
            self._sink(telemetry)
        self._n_prompts_truncated = 0
        self.routing.router.observe(
            [
                Observation(row.context, row.route.lang, row.parts.reward, row.route.propensity, row.route.is_quota)
                for row in (*gathered, *replaced)
            ],
            step,
        )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        with checkpoint_errors(folder):
            super()._save_checkpoint(model, trial)
            if self.args.should_save:
                temporary = folder / f"{LRPO_STATE}.tmp"
                temporary.write_text(json.dumps({"router": self.routing.router.state_dict()}), encoding="utf-8")
                temporary.replace(folder / LRPO_STATE)

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            state = json.loads((Path(checkpoint) / LRPO_STATE).read_text(encoding="utf-8"))
            self.routing.router.load_state_dict(state["router"])


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
