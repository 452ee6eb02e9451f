"""Answers that a model gave before, on disk: the same weights, prompts and decoding give them without the model.

An entry is one call of the model, a chunk's prompts with all of their answers, in a JSON file named by the SHA-256 of
everything that decides them::

    CACHE/generate/3f/3fa9...e1.json   {"format": 1, "identity": {...}, "sha256": "...", "answers": [[["12", 3, ...]]]}

Why whole calls and not single responses: draws come from a generator seeded by (seed, batch), and the last bits of a
logit depend on which prompts share its batch, so to answer a part of a call would change what the rest of it says. With
whole calls a run with a cache, warm, cold or half full, writes what it would have written without one.

The key holds the hashes of weights, configuration and tokenizer, batch size, precision, device and the versions of what
computes, the messages and their rendering, the decoding settings with their seed, and `DECODING_VERSION`. Names and
places are not in it: a moved model is the same model. Nor is the kind of CPU or its number of threads, which move last
bits too: share a folder between like machines only. A model whose weights nothing identifies is not cached.

An entry that can not be read, or is not what its checksum says, is a miss, with a warning. Files are written beside
their name and renamed, so two processes may share a folder; when both compute an entry, both write the same. Beyond
`limit_bytes` the entries that were used longest ago go. Any file, and the whole folder, may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import time
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from lrpo_bench.errors import StorageError
from lrpo_bench.models.base import Completion, Model, ModelInfo, Prompt, Sampling
from lrpo_bench.results.files import write_bytes

DECODING_VERSION = 3
"""Goes up when the code between a prompt and its answer changes (encoding, sampling, stopping, log-likelihoods)."""
_FORMAT = 1
_STALE_S = 3600.0  # a temporary file of this age was left by a process that died
_RESCAN_SHARE = 0.05  # of the limit, written between two looks at what other processes added

_ENTRY = re.compile(r"[0-9a-f]{64}\.json")

Kind = Literal["generate", "loglikelihood"]


class ResponseCache:
    """A folder of answers by key; `hits` and `misses` count responses, not entries."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        """Makes the folder; raises `StorageError` where that is refused, since a path was asked for by name."""
        self.folder, self.limit_bytes = folder, limit_bytes
        self.hits = self.misses = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"eval.cache {folder} can not be made: {error.strerror}; use another folder") from error
        self._unscanned = limit_bytes  # so that the first write looks

    def get(self, kind: Kind, key: str) -> Any | None:
        """The stored answers, None where there are none that can be trusted."""
        path = self._path(kind, key)
        try:
            entry = json.loads(path.read_bytes())
            if entry["format"] != _FORMAT or entry["sha256"] != _digest(entry["answers"]):
                raise ValueError("its checksum is another")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"cache entry {path} is not used: {error}; it is made again", stacklevel=2)
            return None
        with contextlib.suppress(OSError):  # evicted by another process since, or a folder that can only be read
            os.utime(path)  # what is used stays longest
        return entry["answers"]

    def put(self, kind: Kind, key: str, identity: Mapping[str, Any], answers: Any) -> None:
        """Stores answers; a disk that refuses costs a warning, since the answers themselves are not lost."""
        entry = {"format": _FORMAT, "identity": identity, "sha256": _digest(answers), "answers": answers}
        content = json.dumps(entry, allow_nan=False).encode()
        try:
            write_bytes(self._path(kind, key), content)
            self._unscanned += len(content)
            if self._unscanned > _RESCAN_SHARE * self.limit_bytes:
                self.evict()
        except StorageError as error:
            warnings.warn(f"not cached: {error}", stacklevel=2)

    def evict(self) -> int:
        """Deletes the entries used longest ago until the folder holds at most `limit_bytes`; returns how many."""
        entries = self.entries()
        total, gone = sum(size for _, size, _ in entries), 0
        for path, size, _ in entries:
            if total <= self.limit_bytes:
                break
            path.unlink(missing_ok=True)
            total, gone = total - size, gone + 1
        for kind in get_args(Kind):
            for path in self.folder.glob(f"{kind}/??/.*.tmp"):
                if _age(path) > _STALE_S:
                    path.unlink(missing_ok=True)
        self._unscanned = 0
        return gone

    def entries(self) -> list[tuple[Path, int, float]]:
        """Files of the cache with size and time of last use, those used longest ago first."""
        found = []
        for kind in get_args(Kind):  # nothing else that may lie in the folder is ours to count or to delete
            for path in self.folder.glob(f"{kind}/??/*.json"):
                with contextlib.suppress(FileNotFoundError):  # another process evicted it
                    status = path.stat()
                    if _ENTRY.fullmatch(path.name):
                        found.append((path, status.st_size, status.st_mtime))
        return sorted(found, key=lambda entry: (entry[2], entry[0]))

    def _path(self, kind: Kind, key: str) -> Path:
        return self.folder / kind / key[:2] / f"{key}.json"


class CachedModel:
    """A model that asks its cache first; to the evaluator it is the model."""

    def __init__(self, model: Model, cache: ResponseCache) -> None:
        """Raises `StorageError` for a model that nothing identifies: see `identity_of`."""
        self.model, self.cache, self._identity = model, cache, identity_of(model)

    @property
    def info(self) -> ModelInfo:
        """The model's."""
        return self.model.info

    def render(self, prompt: Prompt) -> str:
        """The model's."""
        return self.model.render(prompt)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """The model's completions, from the cache where exactly this was asked before."""
        identity = self._identity | {"sampling": dataclasses.asdict(sampling)}
        key = self._key(identity, prompts, ())
        stored = self.cache.get("generate", key)
        if stored is not None:
            self.cache.hits += sampling.n * len(prompts)
            return [[Completion(*fields) for fields in row] for row in stored]
        self.cache.misses += sampling.n * len(prompts)
        answers = self.model.generate(prompts, sampling)
        self.cache.put("generate", key, identity, [[list(dataclasses.astuple(c)) for c in row] for row in answers])
        return answers

    def loglikelihood(self, prompts: Sequence[Prompt], options: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """The model's log-likelihoods; a call in which one is not finite is never stored."""
        key = self._key(self._identity, prompts, options)
        stored = self.cache.get("loglikelihood", key)
        if stored is not None:
            self.cache.hits += len(prompts)
            return [np.array(row, dtype=np.float64) for row in stored]
        self.cache.misses += len(prompts)
        sums = self.model.loglikelihood(prompts, options)
        if all(np.isfinite(row).all() for row in sums):
            self.cache.put("loglikelihood", key, self._identity, [row.tolist() for row in sums])
        return sums

    def _key(self, identity: Mapping[str, Any], prompts: Sequence[Prompt], options: Sequence[Sequence[str]]) -> str:
        # The messages beside their rendering: a verbatim prompt is encoded in another way than equal rendered text.
        asked = [[list(prompt), self.model.render(prompt)] for prompt in prompts]
        return _digest([identity, asked, [list(row) for row in options]])


def identity_of(model: Model) -> dict[str, Any]:
    """What decides a model's answers, besides what it is asked.

    Raises:
        StorageError: for weights without a hash or a commit, since another model's answers could be taken for its own.
    """
    info = model.info
    if not info.weights_hash or info.weights_hash.endswith(":None"):
        raise StorageError(
            f"nothing identifies the weights of {info.name!r}, so its responses can not be cached; leave out eval.cache"
        )
    identity: dict[str, Any] = {
        "decoding_version": DECODING_VERSION,
        "weights": info.weights_hash,
        "dtype": info.dtype,
        "context_length": info.context_length,
        "backend": type(model).__name__,
        "versions": {name: _version(name) for name in ("torch", "transformers", "tokenizers", "vllm")},
        # Options of a backend that batch or decode in another way: plain values, whatever the backend calls them.
        "options": {
            name: value
            for name, value in sorted(vars(model).items())
            if isinstance(value, bool | int | float | str) and name != "name"
        },
    }
    if tokenizer := getattr(model, "tokenizer", None):
        identity["tokenizer"] = _digest(_tokenizer_state(tokenizer))
    if (inner := getattr(model, "model", None)) is not None and hasattr(inner, "config"):
        generation = getattr(inner, "generation_config", None)
        states = [_without_places(part.to_dict()) for part in (inner.config, generation) if part is not None]
        identity["config"] = _digest(json.loads(json.dumps(states, default=str)))
        identity["device"] = _device_name(getattr(inner, "device", None))
    return identity


def _tokenizer_state(tokenizer: Any) -> list[Any]:
    core = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary = core.to_str() if core is not None else sorted(tokenizer.get_vocab().items())
    special = [tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.padding_side]
    return [vocabulary, special, tokenizer.chat_template]


def _without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in ("_name_or_path", "transformers_version")}


def _device_name(device: Any) -> str:
    if getattr(device, "type", None) != "cuda":
        return str(device)
    import torch

    return str(torch.cuda.get_device_name(device))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
