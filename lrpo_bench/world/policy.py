"""The world's policy: a small Llama, trained from scratch on corpus rows.

A standard `LlamaForCausalLM` (rotary positions, tied embeddings), so that everything which reads transformers folders
reads it. Training is plain torch: batches of rows of similar length, a fixed number of tokens a step, Muon
(see `muon.py`) with AdamW for the embeddings, warm-up, flat, then linear decay. Rows are padded on the right and need
no attention mask, because attention is causal and padded positions have no loss.

The loss is the mean over answer tokens (the end token included); question tokens count with `question_weight`.

Where the recipe has `sums`, bare calculations (see `sums.py`) are mixed into the first part of the corpus. Arithmetic
is what a small policy learns last: without practice it is learned at the very end or, with fewer rows, not at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import Progress
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lrpo_bench.world.corpus import Corpus, CorpusRow, chat_text
from lrpo_bench.world.encoded import EncodedRow
from lrpo_bench.world.muon import Optimizers, set_learning_rates, world_optimizers
from lrpo_bench.world.profile import PolicyRecipe
from lrpo_bench.world.sums import Pieces, encode_sums, sums_rows
from lrpo_bench.world.tokenizer import CONTEXT_LENGTH

CHUNK_ROWS = 8192
"""Rows that are sorted by length together."""
MAX_GRADIENT_NORM = 1.0
LOG_EVERY = 20


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What the training loop did."""

    steps: int
    rows: int
    """Rows of the corpus and of sums."""
    tokens: int
    """Tokens without padding."""
    first_loss: float
    """Mean answer loss over the first `LOG_EVERY` steps, in nats."""
    last_loss: float


def build_policy(recipe: PolicyRecipe, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """An untrained policy whose weights follow from the seed."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        intermediate_size=recipe.intermediate_size,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def encode_rows(
    rows: Sequence[CorpusRow], tokenizer: PreTrainedTokenizerFast, question_weight: float
) -> list[EncodedRow]:
    """Token ids of rows: prompt and answer encoded apart, as in generation."""
    prompts = tokenizer([chat_text(row.messages) for row in rows], add_special_tokens=False).input_ids
    answers = tokenizer([row.answer + tokenizer.eos_token for row in rows], add_special_tokens=False).input_ids
    return [
        EncodedRow(prompt + answer, [question_weight] * len(prompt) + [1.0] * len(answer))
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def batches_by_length(
    rows: Sequence[EncodedRow], batch_tokens: int, rng: np.random.Generator
) -> Iterator[list[EncodedRow]]:
    """Batches of rows of similar length, at most `batch_tokens` each with padding, in random order."""
    order = sorted(rng.permutation(len(rows)), key=lambda i: len(rows[i].ids))
    batches: list[list[EncodedRow]] = [[]]
    for i in order:
        if batches[-1] and len(rows[i].ids) * (len(batches[-1]) + 1) > batch_tokens:
            batches.append([])
        batches[-1].append(rows[i])
    for j in rng.permutation(len(batches)):
        yield batches[j]


def learning_rate_factor(progress: float, recipe: PolicyRecipe) -> float:
    """Share of the peak learning rate after a share of training: warm-up, flat, linear decay to 0."""
    if progress < recipe.warmup_share:
        return progress / recipe.warmup_share
    return min(1.0, (1 - progress) / recipe.decay_share) if recipe.decay_share else 1.0


def batch_loss(model: LlamaForCausalLM, batch: Sequence[EncodedRow]) -> torch.Tensor:
    """Weighted mean loss of a batch in nats per token; scalar.

    The output layer is applied only where a token is scored, which saves a quarter of a step.
    """
    length = max(len(row.ids) for row in batch)
    ids = torch.zeros(len(batch), length, dtype=torch.long)  # (B, T)
    weights = torch.zeros(len(batch), length)  # (B, T), of the token at that position as a target
    for i, row in enumerate(batch):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        weights[i, : len(row.ids)] = torch.tensor(row.weights)
    ids, weights = ids.to(model.device), weights.to(model.device)
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    targets, weights = ids[:, 1:], weights[:, 1:]
    scored = weights > 0
    logits = model.lm_head(hidden[scored])
    losses = F.cross_entropy(logits, targets[scored], reduction="none")
    return (losses * weights[scored]).sum() / weights[scored].sum()


def train_policy(
    model: LlamaForCausalLM,
    corpus: Corpus,
    tokenizer: PreTrainedTokenizerFast,
    recipe: PolicyRecipe,
    progress: Progress | None = None,
) -> TrainingReport:
    """Trains the policy in place on `recipe.rows` fresh rows of the corpus, and on the recipe's sums between them.

    The order of rows follows from `corpus.rng`.

    Raises:
        FloatingPointError: if the loss became infinite.
    """
    optimizers = world_optimizers(
        model,
        model.model.embed_tokens.weight,
        recipe.learning_rate,
        recipe.embedding_learning_rate,
        recipe.weight_decay,
    )
    stage = _Training(model, optimizers, recipe.rows + (recipe.sums.rows if recipe.sums else 0), progress)
    model.train()
    for chunk, sums in practice_between(corpus, recipe):
        encoded = encode_rows(chunk, tokenizer, recipe.question_weight) + encode_sums(sums, tokenizer)
        for batch in batches_by_length(encoded, recipe.batch_tokens, corpus.rng):
            stage.update(batch, recipe)
    model.eval()
    head, tail = stage.losses[:LOG_EVERY], stage.losses[-LOG_EVERY:]
    return TrainingReport(len(stage.losses), stage.n_rows, stage.n_tokens, sum(head) / len(head), sum(tail) / len(tail))


def practice_between(corpus: Corpus, recipe: PolicyRecipe) -> Iterator[tuple[list[CorpusRow], list[Pieces]]]:
    """Chunks of the corpus, and the sums that go with each: evenly over the first `sums.until` of the chunks.

    Sums alone, before the corpus, do harm: a policy that has seen nothing else gives words 15 nats.
    """
    n_chunks = math.ceil(recipe.rows / CHUNK_ROWS)
    practised = math.ceil(n_chunks * recipe.sums.until) if recipe.sums else 0
    for i, chunk in enumerate(corpus.stream(recipe.rows, CHUNK_ROWS)):
        n_sums = 0
        if recipe.sums and i < practised:
            n_sums = recipe.sums.rows * (i + 1) // practised - recipe.sums.rows * i // practised
        yield chunk, list(sums_rows(corpus.profile, n_sums, corpus.rng))


class _Training:
    """The updates of a training, and what they went through."""

    def __init__(
        self, model: LlamaForCausalLM, optimizers: Optimizers, n_expected: int, progress: Progress | None
    ) -> None:
        self.model, self.optimizers, self.n_expected, self.progress = model, optimizers, n_expected, progress
        self.losses: list[float] = []
        self.n_rows, self.n_tokens = 0, 0
        self._bar = progress.add_task("policy", total=n_expected) if progress else None

    def update(self, batch: Sequence[EncodedRow], recipe: PolicyRecipe) -> None:
        """One step on a batch, at the learning rates of this point of the schedule."""
        set_learning_rates(
            self.optimizers, learning_rate_factor((self.n_rows + len(batch) / 2) / self.n_expected, recipe)
        )
        loss = batch_loss(self.model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT_NORM)
        for optimizer, _ in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.losses.append(loss.item())
        if not math.isfinite(self.losses[-1]):
            raise FloatingPointError(f"the policy's loss became {self.losses[-1]}; lower policy.learning_rate")
        self.n_rows += len(batch)
        self.n_tokens += sum(len(row.ids) for row in batch)
        if self.progress and self._bar is not None:
            self.progress.update(self._bar, advance=len(batch), description=f"policy, loss {self.losses[-1]:.3f}")
