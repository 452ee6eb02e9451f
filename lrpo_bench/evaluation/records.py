"""One judged response as a value: what an evaluation stores, and what every metric is computed from.

A record holds the question, the text a model was shown, the text it wrote and both judgements (right or wrong, in the
asked language or not), so that any metric can be computed again without the model. In a file a record is one line of
JSON, keys in the order of the fields, `v` first::

    {"v": 2, "task": "mgsm", "sample_id": "mgsm/de/17", ..., "score": 1.0, "outcome": "correct", "language_ok": null}

Version 2 added what is known of lines and words, the ranking of options and the router's choice; version 1 is read,
with all of it unknown.

Not here: which records a run already has (`results.store`) and what they amount to (`metrics`).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from lrpo_bench.errors import StorageError
from lrpo_bench.tasks.base import Outcome

RECORD_VERSION = 2
"""Version of the fields below."""
READABLE_VERSIONS = (1, 2)
"""A file of any other version is refused, never guessed at."""

CHOICE_REASON = "chosen among given options"
"""`language_reason` of multiple-choice responses, whose language is not the model's choice."""
_SHARED_CHARACTERS = 200  # longer texts hardly recur
NOT_JUDGED = "lines and words were not judged"

RecordKey = tuple[str, str, str, int]
"""Task, sample id, asked language and draw: unique within one evaluation."""


@dataclass(frozen=True, slots=True)
class ResponseRecord:
    """One response to one sample, with its judgement."""

    task: str
    sample_id: str
    source_id: str
    """Shared by the translations of one question; statistics cluster by it."""
    source_lang: str
    """Language the question is written in."""
    rollout_lang: str
    """Language that was asked for."""
    topic: str
    regions: tuple[str, ...]
    prompt: str
    """The text as the model was shown it, chat template included."""
    question: str
    gold: str
    completion: str
    k: int
    """0 for the greedy response, 1, 2, ... for sampled draws."""
    n_tokens: int | None
    """Completion tokens; None where another program generated them and did not say."""
    finish_reason: Literal["stop", "length", "unknown"]
    """`length`: cut at the token limit."""
    prompt_truncated: bool
    score: float | None
    """In [0, 1]; None where the response can not be judged."""
    outcome: Outcome
    answer: str | None
    reason: str
    """Why it is unscored or not attempted; empty otherwise."""
    detected_lang: str | None
    language_ok: bool | None
    """Whether it is in `rollout_lang`; None where the detector abstained or can not tell this language."""
    language_reason: str
    """Why `language_ok` is None; empty otherwise."""
    lines_ok: bool | None = None
    """Whether no line is in another language; None where that can not be told."""
    lines_reason: str = NOT_JUDGED
    """Why `lines_ok` is None; empty otherwise."""
    words_ok: bool | None = None
    """Whether no stray English word stands in it; None where that can not be told, or a line failed already."""
    words_reason: str = NOT_JUDGED
    """Why `words_ok` is None; empty otherwise."""
    ranking: tuple[int, ...] = ()
    """Positions of the options, the most likely first, for multiple choice; empty otherwise."""
    router_lang: str | None = None
    """Language that the run's learned router would choose for this question; None where there is no such router."""

    def __post_init__(self) -> None:
        if self.score is not None and not 0.0 <= self.score <= 1.0:  # also false for NaN
            raise ValueError(f"score must be in [0, 1] or None, got {self.score!r} for {self.sample_id!r}")
        if self.outcome not in _OUTCOMES:
            raise ValueError(f"outcome must be one of {get_args(Outcome)}, got {self.outcome!r}")
        if self.score is None and self.outcome in ("correct", "incorrect"):
            raise ValueError(f"outcome {self.outcome!r} of {self.sample_id!r} needs a score, got None")
        if self.k < 0:
            raise ValueError(f"k must be >= 0, got {self.k}")

    @property
    def key(self) -> RecordKey:
        """What identifies the record within one evaluation."""
        return self.task, self.sample_id, self.rollout_lang, self.k

    @property
    def is_cross_lingual(self) -> bool:
        """Asked for in another language than the question's: for headroom only, and no other metric counts it."""
        return self.rollout_lang != self.source_lang

    @property
    def score_in_language(self) -> float | None:
        """The score if the response is in the asked language, 0 if it is in another; None where that can not be known.

        Both halves must be known. To count a wrong answer in an unknown language as 0, because it is worth nothing
        either way, would bias the mean: only right answers would ever be left out. A response without an answer is
        no such case: it is 0 in any language, and leaving it out would reward saying nothing.
        """
        if self.score is None:
            return None
        if self.score == 0.0 and self.outcome in ("not_attempted", "truncated"):
            return 0.0
        if self.language_ok is None:
            return None
        return self.score if self.language_ok else 0.0


FIELDS = tuple(field.name for field in dataclasses.fields(ResponseRecord))
_ADDED_IN_2 = {
    field.name: field.default
    for field in dataclasses.fields(ResponseRecord)
    if field.default is not dataclasses.MISSING
}
"""With the values that stand for unknown."""
_EXPECTED = {False: frozenset(FIELDS), True: frozenset(FIELDS) - _ADDED_IN_2.keys()}
"""Keys of a record, by whether it is of version 1."""
_OUTCOMES = frozenset(get_args(Outcome))


def record_to_json(record: ResponseRecord) -> str:
    """One line of JSON, without its newline; every text survives the way back unchanged."""
    row: dict[str, Any] = {"v": RECORD_VERSION} | {name: getattr(record, name) for name in FIELDS}
    line = json.dumps(row, ensure_ascii=False, allow_nan=False)
    # A lone surrogate has no UTF-8 form; its JSON escape has.
    return line.encode("utf-8", "backslashreplace").decode("utf-8")


def record_from_json(line: str, where: str = "record") -> ResponseRecord:
    """The record that `record_to_json` wrote; `where` (file and line) starts the message of a `StorageError`."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise StorageError(f"{where}: not JSON ({error})") from None
    if not isinstance(row, dict):
        raise StorageError(f"{where}: expected a JSON object, got {type(row).__name__}")
    version = row.pop("v", None)
    refuse_unknown_version(version, where)
    return record_from_row(row, version, where)


def refuse_unknown_version(version: object, where: str) -> None:
    """Raises a `StorageError` for a version that can not be read."""
    if version not in READABLE_VERSIONS:
        raise StorageError(
            f"{where}: record version {version!r}, this lrpo-bench reads {' and '.join(map(str, READABLE_VERSIONS))}; "
            "read it with the version that wrote it (see manifest.json) or evaluate again"
        )


def record_from_row(row: Mapping[str, Any], version: object, where: str = "record") -> ResponseRecord:
    """The record with these fields of `version`; unknown or missing ones, or values out of range, are a `StorageError`.

    What a later version added is unknown in the record of an older one.
    """
    added: Mapping[str, Any] = _ADDED_IN_2 if version == 1 else {}
    expected = _EXPECTED[bool(added)]
    for problem, names in (
        () if row.keys() == expected else (("unknown", row.keys() - expected), ("missing", expected - row.keys()))
    ):
        if names:
            known = f"it is not a record of version {version}"
            raise StorageError(f"{where}: {problem} keys {', '.join(sorted(names))}; {known}")
    row = {**row, **added}
    for name, kinds in _kinds().items():
        if not isinstance(row[name], kinds):
            raise StorageError(f"{where}: {name} must be {' or '.join(k.__name__ for k in kinds)}, got {row[name]!r}")
    try:
        return ResponseRecord(**{**row, "regions": tuple(row["regions"]), "ranking": tuple(row["ranking"])})
    except ValueError as error:
        raise StorageError(f"{where}: {error}") from None


@cache
def _kinds() -> dict[str, tuple[type, ...]]:
    none = type(None)
    kinds: dict[str, tuple[type, ...]] = dict.fromkeys(FIELDS, (str,))
    kinds |= dict.fromkeys(("k", "n_tokens"), (int,)) | {"prompt_truncated": (bool,)}
    kinds |= dict.fromkeys(("regions", "ranking"), (list, tuple))
    return (
        kinds
        | {"score": (float, int, none), "n_tokens": (int, none)}
        | dict.fromkeys(("language_ok", "lines_ok", "words_ok"), (bool, none))
        | dict.fromkeys(("answer", "detected_lang", "router_lang"), (str, none))
    )


def sort_records(records: Iterable[ResponseRecord]) -> list[ResponseRecord]:
    """Records in the order of their keys, so that a file does not depend on the order of generation."""
    return sorted(records, key=lambda record: record.key)


def without_texts(records: Iterable[ResponseRecord]) -> Iterator[ResponseRecord]:
    """The records without the texts that no metric reads, recurring values shared: a third of a kilobyte each.

    Prompts, questions, gold answers, and the completions of greedy responses become empty; draws keep what they say,
    since diversity is about it.
    """
    strings: dict[str, str] = {}
    numbers: dict[float, float] = {}
    for record in records:
        values = {name: getattr(record, name) for name in FIELDS} | {"prompt": "", "question": "", "gold": ""}
        if not record.k:
            values["completion"] = ""
        for name, value in values.items():
            if isinstance(value, str) and name != "sample_id":
                values[name] = strings.setdefault(value, value) if len(value) < _SHARED_CHARACTERS else value
        if isinstance(record.score, float):
            values["score"] = numbers.setdefault(record.score, record.score)
        yield ResponseRecord(**values)


def known_or_nan(value: float | bool | None) -> float:
    """The number, NaN for None: how an unknown enters arithmetic without becoming 0.

    Example:
        >>> known_or_nan(True), known_or_nan(None)
        (1.0, nan)
    """
    return math.nan if value is None else float(value)
