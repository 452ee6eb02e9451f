"""Models by vLLM (`model.backend: vllm`), for evaluations at scale on accelerators; needs the extra `vllm`.

Texts become tokens and tokens texts as for every backend (`models.hf.TokenModel`): the same chat template, the same
cuts to the context, lm-eval's split of options, our stop rule. vLLM decodes and scores: its scheduler batches, its
prefix cache reads common beginnings once.

Written against the interface that vLLM documents for the versions of our extra: `LLM(...)`, `LLM.generate` with token
prompts, `SamplingParams`, `prompt_logprobs`. It has been tried with a fake of that interface only, never with vLLM.

Draws come from a seed for each prompt, which vLLM honours; its logits, and so its draws, may still depend on what is
computed together. Nothing here promises the same responses as the Hugging Face backend: compare runs of one backend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.models.base import ModelInfo, Sampling
from lrpo_bench.models.generation import stream_seed
from lrpo_bench.models.hf import TokenModel, eos_token_ids
from lrpo_bench.models.load import context_length, load_error, load_tokenizer, resolve_path, weights_hash
from lrpo_bench.models.packing import Row

if TYPE_CHECKING:
    from lrpo_bench.models.load import ModelSpec

_ALL = 1 << 30
"""Prompts given to vLLM at once: all of them, since it makes its own batches."""


class VLLMModel(TokenModel):
    """A `vllm.LLM` behind the `Model` protocol."""

    def __init__(
        self, engine: Any, tokenizer: Any, info: ModelInfo, eos_ids: Sequence[int], tensor_parallel: int = 1
    ) -> None:
        """Takes a started engine; use `load_vllm_model` to start one."""
        import torch

        # Part of what identifies cached responses: another card, or another number of them, may move last bits.
        self.tensor_parallel = tensor_parallel
        self.card = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        super().__init__(tokenizer, info, eos_ids, Decoder(engine, eos_ids), Scorer(engine, info.context_length), _ALL)


class Decoder:
    """Completions of token prompts."""

    def __init__(self, engine: Any, eos_ids: Sequence[int]) -> None:
        """`eos_ids` are all tokens that end a response."""
        self.engine, self.eos_ids = engine, tuple(eos_ids)

    def decode(
        self, prompts: Sequence[list[int]], sampling: Sampling, stream: int, text: Callable[[list[int]], str]
    ) -> list[list[int]]:
        """Tokens of each prompt's `sampling.n` responses, prompt by prompt, up to and with the end token."""
        from vllm import SamplingParams

        parameters = [
            SamplingParams(
                n=sampling.n,
                temperature=sampling.sampling_temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_completion_tokens,
                seed=stream_seed(sampling.seed, number),
                stop=list(filter(None, sampling.stop)),
                stop_token_ids=list(self.eos_ids),
            )
            for number in range(len(prompts))
        ]
        requests = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        answers = self.engine.generate(requests, parameters, use_tqdm=False)
        return [self._with_end(output) for answer in answers for output in sorted(answer.outputs, key=_index)]

    def _with_end(self, output: Any) -> list[int]:
        """The tokens of an output, its end token among them whether or not vLLM lists it."""
        ids = list(output.token_ids)
        ended = output.finish_reason == "stop" and not isinstance(output.stop_reason, str)
        if ended and not (ids and ids[-1] in self.eos_ids):
            ids.append(output.stop_reason if output.stop_reason in self.eos_ids else self.eos_ids[0])
        return ids


class Scorer:
    """Log-likelihoods of token sequences, from the log-probabilities that vLLM gives for a prompt's own tokens."""

    def __init__(self, engine: Any, context: int) -> None:
        """`context` is how many tokens the engine takes, one of which it wants to generate."""
        self.engine, self.context = engine, context

    def sums(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """The summed natural log-likelihood of each row's tokens from `first` on."""
        from vllm import SamplingParams

        sums = np.zeros(len(rows))
        numbers = [number for number, row in enumerate(rows) if row.first < len(row.tokens)]
        if not numbers:
            return sums
        kept = [rows[number].tokens[-(self.context - 1) :] for number in numbers]
        asked = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=1, detokenize=False)
        answers = self.engine.generate([{"prompt_token_ids": list(ids)} for ids in kept], asked, use_tqdm=False)
        for number, ids, answer in zip(numbers, kept, answers, strict=True):
            n_scored = min(len(rows[number].tokens) - rows[number].first, len(ids) - 1)  # the first token has none
            places = range(len(ids) - n_scored, len(ids))
            sums[number] = sum(answer.prompt_logprobs[place][ids[place]].logprob for place in places)
        return sums


def load_vllm_model(spec: ModelSpec) -> VLLMModel:
    """An engine with the model and its tokenizer; raises `ModelError` in one line for whatever does not load."""
    tokenizer, path = load_tokenizer(spec), resolve_path(spec.name)
    try:
        shell = _shell(path, spec)
        context = context_length(shell, tokenizer)
        from vllm import LLM

        engine = LLM(
            model=path,
            tokenizer=path,
            revision=spec.revision,
            tokenizer_revision=spec.revision,
            trust_remote_code=spec.trust_remote_code,
            dtype="bfloat16" if spec.dtype == "auto" else spec.dtype,
            max_model_len=context,
            tensor_parallel_size=spec.tensor_parallel,
            gpu_memory_utilization=spec.gpu_memory_share,
            enable_prefix_caching=True,
            generation_config="vllm",  # decoding is what `Sampling` says, not what the repository's defaults say
            seed=0,
        )
    except Exception as error:  # an engine fails in its own ways: drivers, memory, kernels, unknown architectures
        raise load_error("model by vLLM", spec.name, path, error) from error
    info = ModelInfo(
        name=spec.name,
        revision=spec.revision or getattr(shell.config, "_commit_hash", None),
        weights_hash=weights_hash(path, shell),
        n_parameters=shell.n_parameters,
        dtype="bfloat16" if spec.dtype == "auto" else spec.dtype,
        context_length=context,
        chat_template=bool(tokenizer.chat_template),
    )
    return VLLMModel(engine, tokenizer, info, eos_token_ids(shell, tokenizer), spec.tensor_parallel)


def _shell(path: str, spec: ModelSpec) -> Any:
    """What is to be known of a model without its weights: configuration, generation defaults, size."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    options = {"revision": spec.revision, "trust_remote_code": spec.trust_remote_code}
    config = AutoConfig.from_pretrained(path, **options)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=spec.trust_remote_code)
    try:
        generation = GenerationConfig.from_pretrained(path, revision=spec.revision)
    except OSError:  # a repository need not have one
        generation = GenerationConfig.from_model_config(config)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    return SimpleNamespace(config=config, generation_config=generation, n_parameters=n_parameters)


def _index(output: Any) -> int:
    return int(output.index)
