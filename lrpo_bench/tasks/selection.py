"""Which questions a run evaluates and which it trains on; no question is ever in both.

A task with a training split trains on it. For a benchmark that has only a test split (MGSM), a share of its questions,
chosen by a hash of the source id so that all translations of a question fall on the same side, is kept for training and
never evaluated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lrpo_bench.config import RunConfig, TaskConfig
from lrpo_bench.errors import ConfigError, DataError, UnknownNameError
from lrpo_bench.tasks.base import Sample, Task
from lrpo_bench.tasks.registry import iter_samples, load_samples, load_task
from lrpo_bench.tasks.spool import collected, hash_samples, languages_of

TRAIN_SPLIT = "train"
_COMPARED = 20  # first rows by which two splits are told apart


@dataclass(frozen=True, slots=True)
class Selection:
    """One task with its questions."""

    task: Task
    evaluation: Sequence[Sample]
    """A tuple, or samples on disk where there are many (`spool`)."""
    training: tuple[Sample, ...]
    shares_split: bool
    """True when training questions were taken out of the evaluation split."""
    n_left_out: int = 0
    """Training questions left out because the very same question is evaluated."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that are evaluated, sorted."""
        return tuple(sorted(languages_of(self.evaluation)))

    @property
    def data_hash(self) -> str:
        """SHA-256 of the evaluated samples, so that other data or another limit shows."""
        return hash_samples(self.evaluation)

    @property
    def training_hash(self) -> str:
        """SHA-256 of the training samples."""
        return _sha256(sorted([s.id, s.question, s.gold] for s in self.training))

    @property
    def prompt_hash(self) -> str:
        """SHA-256 of the templates in use for the evaluated languages."""
        templates = self.task.prompts.get(self.task.variant, {})
        return _sha256({lang: templates.get(lang) for lang in self.languages})


def select_questions(config: RunConfig, *, train: bool) -> list[Selection]:
    """The questions of every task of a configuration.

    Raises:
        UnknownNameError: for an unknown task, or a language that a task does not have.
        ConfigError: when a task is left without questions.
    """
    wanted = config.train.languages
    selections = [_select(entry, config, wanted, train=train) for entry in config.tasks]
    if train and wanted is not None:
        known = {lang for selection in selections for lang in selection.task.info.languages}
        for lang in wanted:
            if lang not in known:
                raise UnknownNameError("training language of these tasks", lang, known)
    return selections


def _select(entry: TaskConfig, config: RunConfig, wanted: Sequence[str] | None, *, train: bool) -> Selection:
    task = load_task(entry.name, entry.variant, config.tasks_dirs)
    languages = entry.languages or task.info.languages
    for lang in languages:
        if lang not in task.info.languages:
            raise UnknownNameError(f"language of task {entry.name!r}", lang, task.info.languages)
    split = entry.split or str(task.info.source.get("eval_split", "test"))
    sources = [lang for lang in (wanted or languages) if lang in task.info.languages] if train else []
    shares = bool(sources) and not _has_training_split(task, entry, split)
    share = config.train.train_share if shares else 0.0
    evaluation = collected(
        sample
        for lang in dict.fromkeys(languages)
        for sample in _evaluated(
            iter_samples(task, lang, split, entry.data, None if shares else entry.limit), share, entry.limit
        )
    )
    training: list[Sample] = []
    for lang in (lang for lang in dict.fromkeys((*languages, *sources)) if lang in sources):
        if shares:
            samples = load_samples(task, lang, split, entry.data)
            training += [s for s in samples if is_kept_for_training(s.source_id, share)][: config.train.questions]
        else:
            training += load_samples(task, lang, TRAIN_SPLIT, entry.data, config.train.questions)
    if not evaluation:
        hint = "; lower train.train_share" if shares else ""
        raise ConfigError(
            f"task {entry.name!r} has no questions left after its filters ({', '.join(languages)}, {split}){hint}"
        )
    unseen = _not_evaluated(training, evaluation)
    return Selection(task, evaluation, unseen, shares, len(training) - len(unseen))


def _evaluated(samples: Iterable[Sample], share: float, limit: int | None) -> Iterator[Sample]:
    """The first `limit` samples that are not kept for training; all are looked at, so that a bad row is found."""
    count = 0
    for sample in samples:
        if (limit is None or count < limit) and not (share and is_kept_for_training(sample.source_id, share)):
            count += 1
            yield sample


def _not_evaluated(training: Sequence[Sample], evaluation: Sequence[Sample]) -> tuple[Sample, ...]:
    # Published splits do repeat questions, and ids say nothing: rows are numbered from 0 in each split.
    if not training:
        return ()
    asked = {_question(sample) for sample in training}
    both = {question for sample in evaluation if (question := _question(sample)) in asked}
    return tuple(sample for sample in training if _question(sample) not in both)


def is_kept_for_training(source_id: str, share: float) -> bool:
    """Whether a question of a shared split belongs to training: a pure function of its source id.

    Example:
        >>> sum(is_kept_for_training(f"mgsm/{i}", 0.5) for i in range(1000)) in range(450, 550)
        True
    """
    digest = hashlib.sha256(f"holdout\0{source_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def _question(sample: Sample) -> tuple[object, ...]:
    return sample.lang, sample.question, sample.choices, tuple(sorted(sample.extra.items()))


def _has_training_split(task: Task, entry: TaskConfig, evaluated: str) -> bool:
    if evaluated == TRAIN_SPLIT:
        return False  # the user evaluates it
    lang = (entry.languages or task.info.languages)[0]
    makes_rows = entry.data is None and task.rows(lang, TRAIN_SPLIT) is not None
    if not makes_rows and TRAIN_SPLIT not in task.info.source.get("splits", {}):
        return False
    if not makes_rows and entry.data is None:
        return True  # on the hub, where a split is a split
    try:
        first = load_samples(task, lang, TRAIN_SPLIT, entry.data, _COMPARED)
    except DataError:
        return False  # the local copy holds other splits only, as a benchmark's often does
    # One file that stands for every split, or rows that ignore it, would be trained on and evaluated.
    return bool(first) and first != load_samples(task, lang, evaluated, entry.data, _COMPARED)


def _sha256(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
