"""Measured accuracy of a world policy: greedy answers to test questions, counted per cell.

A cell is (kind, region, question language, answer language); regions only for regional questions. Reasoning and
inference use the `test` split. Facts have no unseen part, so regional cells sample all facts of the region: they tell
what the policy can say in a language, which is what routing is about.

An answer counts as right by its number, label or name, as in the tasks `arithmetic`, `inference` and `regional`;
whether it is written in the language asked for is not judged here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import torch
from rich.progress import Progress
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from lrpo_bench.models.base import Sampling
from lrpo_bench.models.decoding import until_eos
from lrpo_bench.models.generation import Ends, Loop
from lrpo_bench.tasks.extraction import read_final_number
from lrpo_bench.world import inference, reasoning, regional
from lrpo_bench.world.corpus import chat_text, prompt_messages
from lrpo_bench.world.facts import REGIONS
from lrpo_bench.world.profile import EvaluationRecipe
from lrpo_bench.world.questions import KINDS, WORLD_LANGUAGES, Kind, Problem

GENERATION_BATCH = 192


@dataclass(frozen=True, slots=True)
class Cell:
    """How many of `n` questions were answered rightly."""

    kind: Kind
    region: str
    """Empty but for regional questions."""
    source_lang: str
    rollout_lang: str
    n: int
    correct: int


@dataclass(frozen=True, slots=True)
class Asked:
    """One problem, the language it is asked in and the one it is to be answered in."""

    problem: Problem
    source_lang: str
    rollout_lang: str
    way: str = "tag"
    """`tag`, `system` or `untagged`, as in `corpus.prompt_messages`."""


def measure_cells(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    recipe: EvaluationRecipe,
    rng: np.random.Generator,
    kinds: Collection[Kind] = KINDS,
    progress: Progress | None = None,
) -> list[Cell]:
    """Accuracy of every cell of these kinds, all pairs of languages included."""
    bar = progress.add_task("evaluation", total=len(WORLD_LANGUAGES)) if progress else None
    cells: list[Cell] = []
    for rollout in WORLD_LANGUAGES:
        asked: list[Asked] = []
        for source in WORLD_LANGUAGES:
            same = source == rollout
            n_problems = recipe.problems if same else recipe.cross_problems
            n_facts = recipe.facts if same else recipe.cross_facts
            asked += [Asked(problem, source, rollout) for problem in _sample(kinds, n_problems, n_facts, rng)]
        cells += count_cells(asked, score_greedy(model, tokenizer, asked, recipe.max_completion_tokens))
        if progress and bar is not None:
            progress.update(bar, advance=1)
    return cells


def _sample(kinds: Collection[Kind], n_problems: int, n_facts: int, rng: np.random.Generator) -> Iterator[Problem]:
    if "reasoning" in kinds:
        yield from reasoning.problems(rng, n_problems, "test")
    if "inference" in kinds:
        yield from inference.problems(rng, n_problems, "test")
    for region in REGIONS if "regional" in kinds else ():
        facts = [problem for problem in regional.all_problems() if problem.fact.region == region]
        yield from (facts[i] for i in rng.permutation(len(facts))[:n_facts])


def score_greedy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, asked: Sequence[Asked], max_completion_tokens: int
) -> list[bool]:
    """Whether each greedy answer is right."""
    prompts = [
        chat_text(prompt_messages(item.problem.render(item.source_lang), item.rollout_lang, item.way)) for item in asked
    ]
    texts = greedy_completions(model, tokenizer, prompts, max_completion_tokens)
    return [is_right(item.problem, item.rollout_lang, text) for item, text in zip(asked, texts, strict=True)]


def count_cells(asked: Sequence[Asked], right: Sequence[bool]) -> list[Cell]:
    """Cells of scored questions, in the order in which they first occur."""
    counts: dict[tuple[Kind, str, str, str], list[bool]] = {}
    for item, is_correct in zip(asked, right, strict=True):
        question = item.problem.render(item.source_lang)
        region = question.regions[0] if question.kind == "regional" else ""
        counts.setdefault((question.kind, region, item.source_lang, item.rollout_lang), []).append(is_correct)
    return [Cell(*key, n=len(outcomes), correct=sum(outcomes)) for key, outcomes in counts.items()]


def is_right(problem: Problem, rollout_lang: str, text: str) -> bool:
    """Whether a response gives the problem's answer."""
    if isinstance(problem, regional.RegionalProblem):
        return regional.named_answer(text, problem.fact)[1]
    gold = problem.render(rollout_lang).gold
    if isinstance(problem, inference.InferenceProblem):
        return inference.read_label(text, rollout_lang) == gold
    return read_final_number(text, rollout_lang) == Decimal(gold)


@torch.no_grad()
def greedy_completions(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], max_completion_tokens: int
) -> list[str]:
    """One greedy completion for each prompt text, special tokens removed."""
    ids = tokenizer(list(prompts), add_special_tokens=False).input_ids
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    loop = Loop(model, Ends((end,)), pad)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    completions = [""] * len(ids)
    for start in range(0, len(order), GENERATION_BATCH):
        chosen = order[start : start + GENERATION_BATCH]
        found = loop.decode([ids[i] for i in chosen], Sampling(max_completion_tokens), stream=0)
        texts = tokenizer.batch_decode([until_eos(tokens, [end]) for tokens in found], skip_special_tokens=True)
        for i, text in zip(chosen, texts, strict=True):
            completions[i] = text
    return completions
