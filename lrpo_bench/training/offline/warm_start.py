"""The warm start: supervised steps on answers in other languages than the question's (paper, its warm start).

420 questions with 2 answers each, every answer in another language, asked for as the policy is always asked (a language
tag, or a system prompt). It is a method of its own (`sft`) and, with `train.warm_start.enabled`, the beginning of any
other: both then hold the same weights after it.

Departures:

- the paper's answers come from a stronger model; here they are the task's own reference answers in that language, or
  their translations where the data has none and a translation model is configured;
- a warm start before another method is not checkpointed: a crash in it begins it again, to the same weights.
"""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lrpo_bench.errors import ConfigError
from lrpo_bench.languages import language_tag
from lrpo_bench.results.files import write_json
from lrpo_bench.training.offline.arguments import common_arguments
from lrpo_bench.training.offline.checks import check_answer_languages
from lrpo_bench.training.offline.encoding import Encoder, training_model
from lrpo_bench.training.offline.translation import Answer, load_translator
from lrpo_bench.training.steps import SUMMARY, WARM_START, warm_start_steps
from lrpo_bench.training.trainer import checkpoint_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from lrpo_bench.training.run import TrainingJob


@dataclass(frozen=True, slots=True)
class Example:
    """A question, and an answer to learn in some language."""

    sample_id: str
    lang: str
    text: str


def cross_lingual_examples(job: TrainingJob) -> list[Example]:
    """The answers to learn, in an order of their own; raises `ConfigError` where there is no answer to learn."""
    start, seed = job.config.train.warm_start, job.config.seed
    check_answer_languages(job.config.train, job.arms)
    generator = np.random.Generator(np.random.Philox(key=[seed, 1]))  # not the stream that orders questions online
    names = sorted(job.samples)
    examples: list[Example] = []
    missing: list[tuple[str, str]] = []
    for index in generator.permutation(len(names))[: start.prompts]:
        _, sample = job.samples[names[index]]
        others = [lang for lang in job.arms if lang != sample.lang]
        for chosen in generator.permutation(len(others))[: start.answers]:
            _, translated = job.parallel.get(sample.source_id, {}).get(others[chosen], (None, None))
            if translated is None or translated.reference is None:
                missing.append((sample.id, others[chosen]))
            else:
                examples.append(Example(sample.id, others[chosen], translated.reference))
    examples += _translated(job, missing)
    return [examples[i] for i in generator.permutation(len(examples))]


def _translated(job: TrainingJob, missing: Sequence[tuple[str, str]]) -> list[Example]:
    """References in the question's language, translated, where the data has none in the answer's."""
    if not missing:
        return []
    name, lang = missing[0]
    config = job.config.train.offline.translator
    if config.kind == "world" or any(job.samples[name][1].reference is None for name, _ in missing):
        raise ConfigError(
            f"the warm start finds no reference answer to {name!r} in {lang!r}; train on a task that has answers, or "
            "on one with answers in the question's language and set train.offline.translator to a seq2seq model"
        )
    translator = load_translator(config, job.config.model.device)
    examples = []
    for lang in sorted({lang for _, lang in missing}):
        names = [name for name, wanted in missing if wanted == lang]
        answers = [
            Answer(*job.samples[name], job.samples[name][1].lang, job.samples[name][1].reference or "")
            for name in names
        ]
        texts = translator.translate(answers, lang)
        examples += [Example(name, lang, text) for name, text in zip(names, texts, strict=True) if text is not None]
    return examples


def build_answer_trainer(
    job: TrainingJob, model: Any, tokenizer: Any, folder: Path, callbacks: Sequence[Any] = ()
) -> Any:
    """The trainer of the warm start."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import SFTConfig

    from lrpo_bench.training.offline.trainers import AnswerTrainer
    from lrpo_bench.training.run import data_order

    examples = cross_lingual_examples(job)
    start, steps = job.config.train.warm_start, warm_start_steps(job.config.train, len(job.samples))
    encoder = Encoder(job, training_model(job, model, tokenizer))
    encoded = [encoder.example(example.sample_id, example.lang, example.text) for example in examples]
    numbers = [f"{i:09d}" for i in range(len(examples))]
    order = [int(i) for i in data_order(numbers, steps * start.answers_per_step, job.config.seed)]
    trainer = AnswerTrainer(
        model=model,
        args=SFTConfig(
            **common_arguments(job.config, folder, start.answers_per_step),
            max_steps=steps,
            learning_rate=start.learning_rate,
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_list([encoded[i] for i in order]),
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def warm_start(job: TrainingJob, model: Any, tokenizer: Any) -> None:
    """Gives `model` the weights after a warm start, which is made once and kept in the run folder."""
    from transformers import AutoModelForCausalLM

    folder = job.folder / WARM_START
    result, temporary = folder / "model", folder / "model.tmp"
    if not result.exists():
        shutil.rmtree(folder, ignore_errors=True)  # what a crash left half done
        learner = copy.deepcopy(model)  # TRL replaces its model's forward, and the caller's trainer needs the plain one
        trainer = build_answer_trainer(job, learner, tokenizer, folder / "checkpoints")
        trainer.args.save_strategy = "no"
        trainer.train()
        write_json(folder / SUMMARY, _summary(trainer))
        with checkpoint_errors(temporary):
            trainer.save_model(str(temporary))
        (temporary / "training_args.bin").unlink(missing_ok=True)  # a pickle, and the manifest says the same
        temporary.rename(result)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    trained = AutoModelForCausalLM.from_pretrained(result, dtype=model.dtype, use_safetensors=True)
    model.load_state_dict(trained.state_dict())
    model.config._name_or_path = str(result)  # where TRL loads the reference model of a KL term from


def _summary(trainer: Any) -> dict[str, Any]:
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return {
        "answers": len(trainer.train_dataset),
        "steps": trainer.state.global_step,
        "first_loss": losses[0] if losses else None,
        "last_loss": losses[-1] if losses else None,
    }


def add_language_tags(model: Any, tokenizer: Any, languages: Iterable[str], seed: int) -> list[str]:
    """Adds the tags that the tokenizer lacks and makes room for them in the embeddings; returns those added."""
    import torch

    vocabulary = tokenizer.get_vocab()
    missing = [tag for tag in map(language_tag, sorted(languages)) if tag not in vocabulary]
    if missing:
        tokenizer.add_tokens(missing, special_tokens=True)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            # Room only: some models have more rows than tokens.
            model.resize_token_embeddings(max(len(tokenizer), model.get_input_embeddings().num_embeddings))
    return missing
