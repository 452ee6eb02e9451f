"""Token ids of training rows: prompts as in generation, answers followed by the end token where they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrpo_bench.models.base import ModelInfo
from lrpo_bench.models.load import context_length
from lrpo_bench.models.prompting import build_prompt
from lrpo_bench.training.offline.pairs import Pair, Side
from lrpo_bench.training.offline.rollouts import parallel_by_id

if TYPE_CHECKING:
    from lrpo_bench.models.hf import HFModel
    from lrpo_bench.training.run import TrainingJob


def training_model(job: TrainingJob, model: Any, tokenizer: Any) -> HFModel:
    """The policy as a model that generates, with the prompt room that an online training has."""
    from lrpo_bench.models.hf import HFModel

    train = job.config.train
    context = context_length(model, tokenizer)
    if train.max_prompt_tokens is not None:
        context = min(context, train.max_prompt_tokens + train.max_completion_tokens)
    info = ModelInfo(job.config.model.name, None, "", 0, "", context, bool(tokenizer.chat_template))
    settings = job.config.model
    return HFModel(model, tokenizer, info, settings.batch_size, settings.generation)


class Encoder:
    """Encodes the training rows of one job."""

    def __init__(self, job: TrainingJob, hf: HFModel) -> None:
        """Takes the policy whose prompts these are."""
        self._job, self._hf, self.tokenizer = job, hf, hf.tokenizer
        self._limit = job.config.train.max_completion_tokens
        self._samples = {**job.samples, **parallel_by_id(job)}
        self._eos = hf.tokenizer.eos_token_id if hf.tokenizer.eos_token_id is not None else hf._eos_ids[0]

    def prompt(self, sample_id: str, lang: str) -> list[int]:
        """A question that asks for an answer in `lang`."""
        prompt = build_prompt(*self._samples[sample_id], lang, self._job.instruct)
        return self._hf._encode_prompts([prompt], self._limit)[0][0]

    def answer(self, side: Side) -> list[int]:
        """An answer; one longer than `max_completion_tokens` is cut there and not ended."""
        ids = list(self.tokenizer(side.text, add_special_tokens=False)["input_ids"])
        return ([*ids, self._eos] if side.finished else ids)[: self._limit]

    def pair(self, pair: Pair) -> dict[str, list[int]]:
        """A row of TRL's preference data, with the dominant pair under `dominant_` where there is one."""
        row = {
            "prompt_ids": self.prompt(pair.sample_id, pair.lang),
            "chosen_ids": self.answer(pair.chosen),
            "rejected_ids": self.answer(pair.rejected),
        }
        if pair.dominant is not None:
            row |= {f"dominant_{name}": ids for name, ids in self.pair(pair.dominant).items()}
        return row

    def example(self, sample_id: str, lang: str, text: str) -> dict[str, list[int]]:
        """A row of supervised data whose loss is on the answer."""
        prompt, answer = self.prompt(sample_id, lang), self.answer(Side(text))
        return {"input_ids": [*prompt, *answer], "labels": [*[-100] * len(prompt), *answer]}
