"""Which way of decoding a model gets: our loop, or transformers' `generate` with one of its caches.

`auto` takes the loop where it gives the logits of plain forward passes on a few of the first prompts, and `generate`
otherwise. Where the caller wants the ways timed (an evaluation does) and there is enough to do, a trial on a few
prompts decides (`models.probe`): a way must give `generate`'s greedy tokens, and be clearly faster than the loop. The
choice and its reasons are logged and kept in `Decoder.choice`.

`continuous` is transformers' continuous batching, on accelerators only: on a CPU version 5.23 did not come back from
sixteen prompts in two minutes. It has never been run by us on an accelerator, its draws may depend on how requests
meet, and so `auto` does not try it. Nor does it try `compiled` on a CPU, where compiling takes a minute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, get_args

import torch

from lrpo_bench.errors import ModelError, UnknownNameError
from lrpo_bench.models.base import Sampling
from lrpo_bench.models.generation import Ends, Loop, refusal, stream_seed
from lrpo_bench.models.prepacked import prepacked
from lrpo_bench.models.probe import TOKENS, WORTH, Choice, Way, fastest, spread
from lrpo_bench.models.stopping import cut

logger = logging.getLogger(__name__)

Generation = Literal["auto", "loop", "generate", "static", "compiled", "continuous"]
"""`static` is `generate` with a static cache, which transformers compiles on accelerators; `compiled` is the same,
compiled on a CPU too; `continuous` is continuous batching."""

Decode = Callable[[list[int]], str]


class Decoder:
    """Tokens in, tokens out, in the way that was asked for or suits the model."""

    def __init__(self, model: Any, eos_ids: Sequence[int], pad_id: int, wanted: str = "auto") -> None:
        """Takes a loaded model; a way that does not suit it is refused at the first call."""
        if wanted not in get_args(Generation):
            raise UnknownNameError("way of generation", wanted, get_args(Generation))
        self.model, self.eos_ids, self.pad_id, self.wanted = model, tuple(eos_ids), pad_id, wanted
        self.timed = False
        """Whether `auto` may decide by a trial; off where the same responses must come in every run."""
        self.choice: Choice | None = None
        """What decodes, and why; decided at the first call."""
        self._reason = "as configured"
        if wanted == "continuous" and model.device.type == "cpu":
            raise ModelError(
                "generation 'continuous' does not work on a CPU (transformers does not come back from it); "
                "use generation 'auto'"
            )

    def keep(self, way: str) -> None:
        """Decodes as an earlier part of this run chose to."""
        self.wanted, self._reason = way, "as this run began"

    @property
    def way(self) -> str | None:
        """What decodes; None before the first call."""
        return self.choice.way if self.choice else None

    def decode(self, prompts: Sequence[list[int]], sampling: Sampling, stream: int, text: Decode) -> list[list[int]]:
        """Tokens of each prompt's `sampling.n` responses, prompt by prompt, up to and with the end token.

        `stream` numbers the batches of one seeded call; `text` decodes tokens, to look for stop strings.
        """
        if self.choice is None:
            self.choice = self._choose(prompts, sampling)
            logger.info("responses are decoded by %s: %s", self.choice.way, self.choice)
        return self._decode_by(self.choice.way, prompts, sampling, stream, text)

    def _decode_by(
        self, way: str, prompts: Sequence[list[int]], sampling: Sampling, stream: int, text: Decode
    ) -> list[list[int]]:
        if way == "loop":
            stops = (lambda ids: cut(text(ids), sampling.stop)[1]) if sampling.stop else None
            rows = Loop(self.model, Ends(self.eos_ids, stops), self.pad_id).decode(prompts, sampling, stream)
        elif way == "continuous":
            rows = self._continuously(prompts, sampling, stream)
        else:
            rows = self._by_transformers(prompts, sampling, stream, way)
        return [until_eos(row, self.eos_ids) for row in rows]

    def _choose(self, prompts: Sequence[list[int]], sampling: Sampling) -> Choice:
        if self.wanted not in ("auto", "loop"):
            return Choice(self.wanted, self._reason)
        why = refusal(self.model, prompts, self.pad_id)
        if self.wanted == "loop":
            if why:
                began = self._reason != "as configured"
                step = "begin again with --overwrite" if began else "use generation 'auto' or 'generate'"
                raise ModelError(f"generation 'loop', {self._reason}, does not suit this model: {why}; {step}")
            return Choice("loop", self._reason)
        refused = {"loop": why} if why else {}
        on_cpu = self.model.device.type == "cpu"
        ways = ["generate", *(() if why else ("loop",)), *(() if on_cpu else ("static",))]
        work = len(prompts) * sampling.n * sampling.max_completion_tokens
        if not self.timed or len(ways) == 1 or work < WORTH:
            return Choice("generate" if why else "loop", why or "its logits are those of plain passes", {}, refused)
        return fastest({way: self._trial(way, prompts, sampling) for way in ways}, "generate", "loop", refused)

    def _trial(self, way: str, prompts: Sequence[list[int]], sampling: Sampling) -> Way:
        few, greedy = spread(prompts), Sampling(min(TOKENS, sampling.max_completion_tokens))

        def run() -> list[list[int]]:
            rows = self._decode_by(way, few, greedy, 0, lambda _: "")
            if self.model.device.type == "cuda":
                torch.cuda.synchronize(self.model.device)
            return rows

        return run

    @torch.no_grad()
    def _by_transformers(self, rows: Sequence[list[int]], sampling: Sampling, stream: int, way: str) -> list[list[int]]:
        width, device = max(len(row) for row in rows), self.model.device
        ids = torch.tensor([[self.pad_id] * (width - len(row)) + row for row in rows], device=device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
        config = self._config(sampling)
        if way in ("static", "compiled"):
            config.cache_implementation = "static"
        if way == "compiled":
            from transformers.generation.configuration_utils import CompileConfig

            # CUDA graphs ("reduce-overhead", the default) are nothing to a CPU.
            config.compile_config = CompileConfig(**({"mode": "default"} if device.type == "cpu" else {}))
            config.compile_config._compile_all_devices = True
        layout = nullcontext() if way == "compiled" else prepacked(self.model)
        with seeded(sampling.seed, stream, device), _without_own_defaults(self.model), layout:
            output = self.model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        return output[:, width:].tolist()

    @torch.no_grad()
    def _continuously(self, rows: Sequence[list[int]], sampling: Sampling, stream: int) -> list[list[int]]:
        asked = [row for row in rows for _ in range(sampling.n)]
        config = self._config(sampling)
        config.num_return_sequences = 1
        with seeded(sampling.seed, stream, self.model.device), _without_own_defaults(self.model):
            found = list(self.model.generate_batch(inputs=asked, generation_config=config).values())
        failed = [output.error for output in found if output.error]
        if failed or len(found) != len(asked):  # transformers logs what failed, and returns the rest
            raise ModelError(
                f"continuous batching answered {len(found) - len(failed)} of {len(asked)} prompts"
                f"{f' ({failed[0]})' if failed else ''}; use generation 'auto'"
            )
        return [list(output.generated_tokens) for output in found]

    def _config(self, sampling: Sampling) -> Any:
        from transformers import GenerationConfig

        greedy = sampling.sampling_temperature == 0
        return GenerationConfig(
            max_new_tokens=sampling.max_completion_tokens,
            do_sample=not greedy,
            temperature=None if greedy else sampling.sampling_temperature,
            top_p=None if greedy else sampling.top_p,
            top_k=None if greedy else 0,
            num_return_sequences=sampling.n,
            eos_token_id=list(self.eos_ids),
            pad_token_id=self.pad_id,
        )


@contextmanager
def _without_own_defaults(model: Any) -> Iterator[None]:
    """Hides the model's generation config inside a block: transformers fills whatever ours leaves open from it."""
    from transformers import GenerationConfig

    kept, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = kept


@contextmanager
def seeded(seed: int, stream: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's generators inside a block and restores them after it, because `generate` accepts no generator."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(stream_seed(seed, stream))
        yield


def until_eos(ids: list[int], eos_ids: Sequence[int]) -> list[int]:
    """The tokens up to the first end token, and with it.

    Example:
        >>> until_eos([5, 2, 7], [2])
        [5, 2]
    """
    for position, token in enumerate(ids):
        if token in eos_ids:
            return ids[: position + 1]
    return ids
