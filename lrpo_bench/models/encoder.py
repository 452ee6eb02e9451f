"""Sentence encoders: texts in, vectors of length 1 out, so that a dot product is a cosine (paper, Sec. 3.2).

Any Hugging Face encoder, from a folder or the hub: the mean of the last hidden states over the attention mask. A text
longer than the encoder's limit is read in windows, and the mean runs over the tokens of all of them (each window weighs
by its tokens); the public implementation cuts at 512 tokens, while answers run to 1,024. Models that are to be pooled
in another way (the first token's state, a dense layer on top) give poor vectors here.

The vector of a text without a token is NaN: there is nothing to compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.errors import ModelError
from lrpo_bench.models.load import context_length, load_error, resolve_path, weights_hash

MOCK_ENCODER = "mock"
CPU_BATCH_TOKENS, DEVICE_BATCH_TOKENS = 1024, 8192
"""Tokens of a batch, padding included. On a processor a batch's activations should stay in its cache: the embedded
encoder takes about half of the time with 1024 that it takes with 8192. A GPU wants to be full."""


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """What identifies an encoder."""

    name: str
    weights_hash: str
    dimension: int
    max_tokens: int
    """Tokens of one window, special ones included."""


class SentenceEncoder(Protocol):
    """What rewards and calibration ask of an encoder; deterministic."""

    @property
    def info(self) -> EncoderInfo:
        """Identity, for calibration tables and manifests."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row per text, shape (N, dimension), of length 1; NaN for a text without tokens."""
        ...


class HFEncoder:
    """A transformers encoder behind the `SentenceEncoder` protocol."""

    def __init__(self, model: Any, tokenizer: Any, info: EncoderInfo, batch_tokens: int | None = None) -> None:
        """Takes a loaded model; use `load_encoder` to load one.

        Args:
            model: returns `last_hidden_state`.
            tokenizer: a fast one.
            info: identity.
            batch_tokens: bounds a batch, padding included; by the model's device when absent.
        """
        self.model, self.tokenizer, self._info = model, tokenizer, info
        on_cpu = model.device.type == "cpu"
        self.batch_tokens = batch_tokens or (CPU_BATCH_TOKENS if on_cpu else DEVICE_BATCH_TOKENS)
        self._n_special = tokenizer.num_special_tokens_to_add()
        self.model.eval()

    @property
    def info(self) -> EncoderInfo:
        """Identity."""
        return self._info

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row of length 1 per text; equal texts are computed once."""
        from lrpo_bench.models.prepacked import prepacked

        unique = list(dict.fromkeys(texts))
        windows, owners = self._windows(unique)
        sums = np.zeros((len(unique), self._info.dimension), dtype=np.float64)
        with prepacked(self.model):
            for batch in _batches([len(window) for window in windows], self.batch_tokens):
                for position, row in zip(batch, self._hidden_sums([windows[i] for i in batch]), strict=True):
                    sums[owners[position]] += row
        vectors = normalized(sums)
        index = {text: i for i, text in enumerate(unique)}
        return vectors[[index[text] for text in texts]]

    def _windows(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        # Lone surrogates are legal in a Python string and not in UTF-8; tokenizers refuse them.
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        if not clean:
            return [], []
        encoded = self.tokenizer(
            clean, truncation=True, max_length=self._info.max_tokens, return_overflowing_tokens=True
        )
        pairs = zip(encoded["input_ids"], encoded["overflow_to_sample_mapping"], strict=True)
        kept = [(ids, owner) for ids, owner in pairs if len(ids) > self._n_special]
        return [ids for ids, _ in kept], [owner for _, owner in kept]

    def _hidden_sums(self, windows: Sequence[list[int]]) -> NDArray[np.float64]:
        """The sum of hidden states over each window's tokens, shape (len(windows), dimension)."""
        import torch

        width, device = max(len(window) for window in windows), self.model.device
        pad = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([window + [pad] * (width - len(window)) for window in windows], device=device)
        mask = torch.tensor([[1] * len(window) + [0] * (width - len(window)) for window in windows], device=device)
        with torch.inference_mode():
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            return torch.einsum("bth,bt->bh", hidden, mask.float()).double().cpu().numpy()


class ReferenceCache:
    """Vectors of texts that come again and again, each computed once.

    References recur once a rollout and once an epoch; completions do not, and would only fill the memory.
    """

    def __init__(self, encoder: SentenceEncoder) -> None:
        self._encoder = encoder
        self._vectors: dict[str, NDArray[np.float32]] = {}

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As the encoder's own."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self._encoder.encode(new), strict=True))
        return np.array([self._vectors[text] for text in texts]).reshape(-1, self._encoder.info.dimension)


def normalized(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows divided by their length; NaN for a row of zeros.

    Example:
        >>> normalized(np.array([[3.0, 4.0]])).round(1).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.full_like(vectors, np.nan), where=lengths > 0).astype(np.float32)


def cosines(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cosines of rows of length 1 that lie side by side, in [-1, 1]; NaN where either is."""
    products = np.einsum("nd,nd->n", a.astype(np.float64), b.astype(np.float64))
    return np.clip(products, -1.0, 1.0)


def _batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices of windows in batches of similar length, each at most `batch_tokens` with its padding."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        # The first window of a batch is its longest.
        if batch and lengths[batch[0]] * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def resolve_encoder(name: str) -> str:
    """The folder of an embedded encoder (`embedded:PROFILE`), or `name` itself."""
    return resolve_path(name, "encoder")


def load_encoder(
    name: str, *, revision: str | None = None, device: str = "auto", trust_remote_code: bool = False
) -> SentenceEncoder:
    """The encoder of that name: `mock`, `embedded:PROFILE`, a folder, or a hub id; in float32.

    Raises:
        ModelError: in one line, for whatever fails to load.
    """
    if name == MOCK_ENCODER:
        from lrpo_bench.models.fake_encoder import FakeEncoder

        return FakeEncoder()
    import torch
    from transformers import AutoModel, AutoTokenizer

    path = resolve_encoder(name)
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        model = AutoModel.from_pretrained(path, dtype=torch.float32, use_safetensors=True, **options)
    except (
        Exception
    ) as error:  # anything may be wrong with files that others wrote, and every loader has its own errors
        raise load_error("encoder", name, path, error) from error
    if not tokenizer.is_fast:
        raise ModelError(f"encoder {name!r} has a tokenizer without windows; it needs a tokenizer.json")
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    wanted = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    info = EncoderInfo(
        name, weights_hash(path, model), int(model.config.hidden_size), _window(context_length(model, tokenizer), model)
    )
    return HFEncoder(model.to(wanted), tokenizer, info)


def _window(limit: int, model: Any) -> int:
    # RoBERTa counts positions from pad_token_id + 1, so its 514 positions hold 512 tokens.
    starts_late = model.config.model_type in ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet")
    return limit - 2 if starts_late and limit == model.config.max_position_embeddings else limit
