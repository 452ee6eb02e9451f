"""langdetect's n-gram profiles as one sparse matrix product: the same model read in full, for a whole batch at once.

langdetect draws n-grams of a text at random, one after another in Python, until one language leads, seven times over.
Here every n-gram of the text counts (naive Bayes, langdetect's own smoothing), so nothing is drawn and nothing needs a
seed. Departures from langdetect:

- an n-gram of each order ends at nearly every letter, so a letter is seen three times: log-likelihoods are divided by
  three before they become confidences, or every text would be certain;
- Vietnamese marks are composed by Unicode's NFC; links, code and markup are gone before (`cleaning`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

ORDERS = 3
_SMOOTHING = 0.5 / 10_000  # langdetect's ALPHA_DEFAULT / BASE_FREQ
_BLANK = 32
_N_POINTS = 0x10000  # the profiles have no letter beyond
_CHUNK_CHARACTERS = 1 << 15  # so that the n-grams of a chunk stay in the processor's cache
_HASH_BITS = 19
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """All n-grams of the profiles, in an open hash table."""

    keys: NDArray[np.uint64]
    """By slot: the n-gram packed into 63 bits, 0 where the slot is free."""
    ids: NDArray[np.int32]
    """By slot: its row in `weights`; 0, a row of zeros, where the slot is free."""
    weights: NDArray[np.float32]
    """Shape (n-grams + 1, profiles): log-probabilities."""
    profiles: tuple[str, ...]
    """langdetect's names of the columns."""


class ProfileModel:
    """Log-likelihoods of texts under langdetect's profiles of some languages."""

    def __init__(self, profiles: Sequence[str]) -> None:
        """Takes langdetect's names of the languages; the order is that of the columns."""
        vocabulary = _vocabulary()
        columns = [vocabulary.profiles.index(name) for name in profiles]
        self._keys, self._ids = vocabulary.keys, vocabulary.ids
        self._weights = np.ascontiguousarray(vocabulary.weights[:, columns])

    def log_likelihoods(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Shape (len(texts), languages); a text without a known n-gram has zeros."""
        from scipy.sparse import csr_matrix

        rows = []
        for chunk in _chunks(texts):
            ids, starts = self._ngrams(chunk)
            counts = csr_matrix((np.ones(len(ids), np.float32), ids, starts), (len(chunk), len(self._weights)))
            rows.append(counts @ self._weights)
        return np.concatenate(rows).astype(np.float64) if rows else np.zeros((0, self._weights.shape[1]))

    def _ngrams(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Rows of the n-grams of all texts, and where each text's begin."""
        letters, ends = _letters(texts)
        previous, before = letters[1:-1], letters[:-2]
        letters = letters[2:]
        pair = (previous << np.uint64(21)) | letters
        # A blank is no unigram, and no trigram has one in its middle: words are read apart.
        keys = np.empty((len(letters), ORDERS), dtype=np.uint64)
        keys[:, 0] = np.where(letters == _BLANK, 0, letters)
        keys[:, 1] = pair
        keys[:, 2] = np.where(previous == _BLANK, 0, (before << np.uint64(42)) | pair)
        upper = _upper()
        keys[upper[letters] & upper[previous]] = 0  # langdetect leaves out what ends in two capitals
        return self._look_up(keys.ravel()), np.concatenate([[0], ORDERS * ends]).astype(np.int32)

    def _look_up(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        slots = _slots(keys)
        found = self._keys[slots]
        ids = np.where(found == keys, self._ids[slots], 0)
        missed = np.flatnonzero((found != keys) & (found != 0))
        while len(missed):  # a slot taken by another n-gram: the next one
            slots[missed] = (slots[missed] + 1) & ((1 << _HASH_BITS) - 1)
            found = self._keys[slots[missed]]
            ids[missed] = np.where(found == keys[missed], self._ids[slots[missed]], 0)
            missed = missed[(found != keys[missed]) & (found != 0)]
        return ids


def posteriors(log_likelihoods: NDArray[np.float64]) -> NDArray[np.float64]:
    """Confidences, rows that sum to 1, under equal priors.

    Example:
        >>> posteriors(np.array([[0.0, 3 * np.log(3.0)]])).round(3).tolist()
        [[0.25, 0.75]]
    """
    shifted = np.exp((log_likelihoods - log_likelihoods.max(axis=1, keepdims=True)) / ORDERS)
    return shifted / shifted.sum(axis=1, keepdims=True)


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for text in texts:
        chunk.append(text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text))
        size += len(text)
        if size >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _letters(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Texts as one row of langdetect's letters after two blanks, each text with a blank behind, none doubled."""
    points = np.frombuffer((" ".join(texts) + " ").encode("utf-32-le", "replace"), dtype=np.uint32)
    letters = _letter_of_point()[np.minimum(points, _N_POINTS)]
    kept = letters != _BLANK
    kept[1:] |= letters[:-1] != _BLANK
    ends = np.cumsum(kept)[np.cumsum([len(text) + 1 for text in texts]) - 1]
    return np.concatenate([np.full(2, _BLANK, np.uint64), letters[kept]]), ends


def _slots(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    return ((keys * _MULTIPLIER) >> np.uint64(64 - _HASH_BITS)).astype(np.int64)


@cache
def _letter_of_point() -> NDArray[np.uint64]:
    """Langdetect's letter of each code point of the basic plane; a blank for any beyond."""
    from langdetect.utils.ngram import NGram

    letters = [ord(NGram.normalize(chr(point))) for point in range(_N_POINTS)]
    return np.array([*letters, _BLANK], dtype=np.uint64)


@cache
def _upper() -> NDArray[np.bool_]:
    return np.array([chr(point).isupper() for point in range(_N_POINTS)])


@cache
def _vocabulary() -> _Vocabulary:
    from langdetect import detector_factory

    detector_factory.init_factory()
    factory: Any = detector_factory._factory
    words: dict[str, list[float]] = factory.word_lang_prob_map
    weights = np.zeros((len(words) + 1, len(factory.langlist)), dtype=np.float32)
    weights[1:] = np.log(np.array(list(words.values())) + _SMOOTHING)
    keys = np.array([_packed(word) for word in words], dtype=np.uint64)
    table = np.zeros(1 << _HASH_BITS, dtype=np.uint64)
    ids = np.zeros(1 << _HASH_BITS, dtype=np.int32)
    for i, slot in enumerate(_slots(keys).tolist(), start=1):
        while table[slot]:
            slot = (slot + 1) & ((1 << _HASH_BITS) - 1)
        table[slot], ids[slot] = keys[i - 1], i
    return _Vocabulary(table, ids, weights, tuple(factory.langlist))


def _packed(word: str) -> int:
    number = 0
    for char in word:
        number = (number << 21) | ord(char)
    return number
