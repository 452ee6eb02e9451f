"""Any causal language model of Hugging Face, from a hub id or a local folder.

Texts become tokens and tokens texts here; `models/decoding.py` and `models/scoring.py` compute. Prompts are sorted by
length and batched. Sampling draws from a generator seeded by (seed, batch), so the same prompts give the same
completions. The model repository's own generation defaults (top_k, repetition penalties) do not apply: decoding is what
`Sampling` says, and nothing else.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from lrpo_bench.errors import ModelError
from lrpo_bench.models.base import Completion, ModelInfo, Prompt, Sampling
from lrpo_bench.models.decoding import Decoder
from lrpo_bench.models.packing import Row, differing
from lrpo_bench.models.prompting import VERBATIM, render
from lrpo_bench.models.scoring import Scorer
from lrpo_bench.models.stopping import cut


class TokenModel:
    """Whatever decodes and scores tokens, behind the `Model` protocol: templates, tokens, contexts, stop strings."""

    def __init__(
        self, tokenizer: Any, info: ModelInfo, eos_ids: Sequence[int], decoder: Any, scorer: Any, batch_size: int
    ) -> None:
        """`decoder` and `scorer` do what those of `models.decoding` and `models.scoring` do, in any way."""
        self.tokenizer, self._info, self.batch_size = tokenizer, info, batch_size
        self._eos_ids, self.decoder, self.scorer = list(eos_ids), decoder, scorer

    @property
    def info(self) -> ModelInfo:
        """Identity for the manifest."""
        return self._info

    def render(self, prompt: Prompt) -> str:
        """The text the model reads, by its chat template where it has one."""
        return render(prompt, self.tokenizer)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions per prompt; prompts that do not fit the context lose their beginning.

        Raises:
            ModelError: when the completions alone would fill the context.
        """
        if sampling.max_completion_tokens >= self._info.context_length:
            raise ModelError(
                f"max_completion_tokens {sampling.max_completion_tokens} leaves no room for a prompt in the context of "
                f"{self._info.name!r} ({self._info.context_length} tokens); set eval.max_completion_tokens lower"
            )
        encoded = self._encode_prompts(prompts, sampling.max_completion_tokens)
        results: list[list[Completion]] = [[] for _ in prompts]
        order = sorted(range(len(prompts)), key=lambda i: -len(encoded[i][0]))
        rows = max(1, self.batch_size // sampling.n)
        for number, start in enumerate(range(0, len(order), rows)):
            batch = order[start : start + rows]
            text = functools.partial(self._text, verbatim=all(_is_verbatim(prompts[i]) for i in batch))
            completions = self.decoder.decode([encoded[i][0] for i in batch], sampling, number, text)
            for position, i in enumerate(batch):
                for ids in completions[position * sampling.n : (position + 1) * sampling.n]:
                    results[i].append(self._completion(ids, prompts[i], sampling.stop, encoded[i][1]))
        return results

    def _encode_prompts(self, prompts: Sequence[Prompt], reserve: int) -> list[tuple[list[int], bool]]:
        """Each prompt's tokens, and whether it lost its beginning so that `reserve` tokens fit after it."""
        texts, bos = [render(prompt, self.tokenizer) for prompt in prompts], self.tokenizer.bos_token
        plain = not self.tokenizer.chat_template
        special = [
            plain or (_is_verbatim(prompt) and not (bos and text.startswith(bos)))
            for prompt, text in zip(prompts, texts, strict=True)
        ]
        room = self._info.context_length - reserve
        return [
            (ids[-room:], True) if len(ids) > room else (ids or [self._prefix_id()], False)
            for ids in self._encode(texts, special)
        ]

    def _encode(self, texts: Sequence[str], special: Sequence[bool]) -> list[list[int]]:
        """Tokens of each text, with the tokenizer's special ones where asked; equal texts are tokenised once."""
        found: dict[tuple[str, bool], list[int]] = {}
        for flag in (False, True):
            unique = list(dict.fromkeys(text for text, wanted in zip(texts, special, strict=True) if wanted == flag))
            if unique:
                # Lone surrogates are legal in a Python string and not in UTF-8; tokenizers refuse them.
                clean = [text.encode("utf-8", "replace").decode("utf-8") for text in unique]
                encoded = self.tokenizer(clean, add_special_tokens=flag)["input_ids"]
                found |= {(text, flag): ids for text, ids in zip(unique, encoded, strict=True)}
        return [found[each] for each in zip(texts, special, strict=True)]

    def _prefix_id(self) -> int:
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        return bos if bos is not None else eos if eos is not None else self._eos_ids[0]

    def _text(self, ids: list[int], *, verbatim: bool) -> str:
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text if verbatim else text.strip()  # a stop string may be a line feed, so the first one counts there

    def _completion(self, ids: list[int], prompt: Prompt, stop: Sequence[str], prompt_truncated: bool) -> Completion:
        verbatim = _is_verbatim(prompt)
        if stop:  # some ways of decoding go on after a stop string, and none of what follows counts
            lengths = range(1, len(ids) + 1)
            end = bisect.bisect_left(lengths, True, key=lambda n: cut(self._text(ids[:n], verbatim=verbatim), stop)[1])
            ids = ids[: end + 1]
        text, was_cut = cut(self._text(ids, verbatim=verbatim), stop)
        stopped = bool(ids) and ids[-1] in self.decoder.eos_ids
        return Completion(text, len(ids), "stop" if stopped or was_cut else "length", prompt_truncated)

    def loglikelihood(self, prompts: Sequence[Prompt], options: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Natural log-likelihood of each option, tokenised as lm-eval does (`_encode_pairs`); one array a prompt.

        Of its tokens from the first on in which a prompt's options differ: those before it add the same to each.
        """
        contexts = [
            context
            for prompt, choices in zip(prompts, options, strict=True)
            for context in [render(prompt, self.tokenizer)] * len(choices)
        ]
        pairs = self._encode_pairs(contexts, [option for choices in options for option in choices])
        ends = np.cumsum([len(choices) for choices in options])
        rows = [self._row(*pair) for pair in pairs]
        counts = map(len, options)
        scored = [row for end, count in zip(ends, counts, strict=True) for row in differing(rows[end - count : end])]
        sums = self.scorer.sums(scored)
        return np.split(sums, ends[:-1]) if len(ends) else []

    def _row(self, context: list[int], option: list[int]) -> Row:
        tokens = tuple((context + option)[-(self._info.context_length + 1) :])
        return Row(tokens, len(tokens) - min(len(option), len(tokens) - 1))

    def _encode_pairs(self, contexts: Sequence[str], options: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        """Tokens of each context and of what the option adds to it, split as lm-eval splits them."""
        heads = [context.rstrip() for context in contexts]
        # as lm-eval: a trailing space belongs to the continuation's token
        tails = [context[len(head) :] + option for context, head, option in zip(contexts, heads, options, strict=True)]
        bos = self.tokenizer.bos_token
        # chat templates often write the beginning themselves
        special = [bool(head) and not (bos and head.startswith(bos)) for head in heads]
        before = self._encode(heads, special)
        whole = self._encode([head + tail for head, tail in zip(heads, tails, strict=True)], special)
        prefix = self._prefix_id()
        return [
            (ids, both[len(ids) :]) if head else ([prefix], both[1:] if both[:1] == [prefix] else both)
            for head, ids, both in zip(heads, before, whole, strict=True)
        ]


class HFModel(TokenModel):
    """A transformers causal LM."""

    def __init__(
        self, model: Any, tokenizer: Any, info: ModelInfo, batch_size: int = 32, generation: str = "auto"
    ) -> None:
        """Takes a loaded model; use `lrpo_bench.models.load.load_hf_model` to load one."""
        self.model, self.generation = model, generation
        self.model.eval()
        eos_ids = eos_token_ids(model, tokenizer)
        pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else eos_ids[0]
        decoder, scorer = Decoder(model, eos_ids, pad_id, generation), Scorer(model, batch_size, pad_id)
        super().__init__(tokenizer, info, eos_ids, decoder, scorer, batch_size)


def _is_verbatim(prompt: Prompt) -> bool:
    return bool(prompt) and prompt[0]["role"] == VERBATIM


def eos_token_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends a response: the generation config's (chat models have several) and the tokenizer's, as TRL.

    Raises:
        ModelError: when there is none, since no response would ever end.
    """
    configured = getattr(model.generation_config, "eos_token_id", None)
    known = [*(configured if isinstance(configured, list | tuple) else [configured]), tokenizer.eos_token_id]
    ids = list(dict.fromkeys(token for token in known if token is not None))
    if not ids:
        raise ModelError("the tokenizer has no end-of-sequence token; set eos_token in its tokenizer_config.json")
    return ids
