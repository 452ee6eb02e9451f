"""Two runs of one configuration, number by number: identical, within the interval, or different, and the likely cause.

A number is identical where value and counts agree, and within its interval where the new value lies in the 95% interval
that the run itself published. The cause is narrowed down by the first thing that differs in the responses behind the
number: what the model was shown, what it wrote, how that was judged, or how it was counted; only what the manifests
record and what could change that thing is then named.

Training has no metrics of its own, so its mean reward, per language of the question, stands in for them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lrpo_bench.evaluation.metrics import Metric, language_sets
from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.evaluation.statistics import clustered_mean
from lrpo_bench.results.manifest_differences import manifest_differences
from lrpo_bench.results.schema import EVALUATIONS, Evaluation, Run

Verdict = Literal["identical", "within", "different"]
Step = Literal["prompts", "responses", "judgements", "counting"]
_STEPS: Mapping[Step, tuple[str, tuple[str, ...]]] = {
    "prompts": ("the prompts differ", ("data", "prompts", "weights", "settings", "code", "libraries")),
    # Sampled responses are seeded by the questions of their chunk, so other data can change those of the same prompt.
    "responses": (
        "other responses to the same prompts",
        ("weights", "settings", "libraries", "hardware", "code", "data"),
    ),
    "judgements": ("the same responses, judged otherwise", ("judges", "data", "settings", "code")),
    "counting": ("the same judgements, counted otherwise", ("code", "libraries")),
}
"""What a step is called, and the kinds of differences between manifests that could change it."""
_GUESS: Mapping[Step, str] = {
    "responses": ": kernels whose sums depend on threads or timing?",
    "judgements": ": code of a task or detector, changed under the same version?",
}
_TOLERANCE = 1e-9
TRAINING = "training"
REWARD = "reward"


@dataclass(frozen=True, slots=True)
class Number:
    """One number of the first run, and what it came out as."""

    evaluation: str
    """`before`, `after` or `training`."""
    task: str
    """Empty for training."""
    language: str
    metric: str
    was: float | None
    ci95: tuple[float | None, float | None]
    """As the first run published it."""
    now: float | None
    verdict: Verdict
    cause: str = ""
    """Empty where it is identical."""


@dataclass(frozen=True, slots=True)
class Reproduction:
    """Everything that tells a run from the one it was made again from."""

    run: Path
    out: Path
    numbers: tuple[Number, ...]
    same_responses: Mapping[str, tuple[int, int]]
    """By evaluation: responses with the same text, and all."""
    environment: Mapping[str, tuple[str, ...]]
    """Differences between the manifests, by kind."""
    notes: tuple[str, ...]

    def count(self, verdict: Verdict, evaluation: str | None = None) -> int:
        """How many numbers have a verdict."""
        return sum(n.verdict == verdict and evaluation in (None, n.evaluation) for n in self.numbers)

    @property
    def ok(self) -> bool:
        """True where no number is different."""
        return self.count("different") == 0


def compare_runs(run: Run, again: Run) -> Reproduction:
    """The comparison of a run with a second one of the same configuration."""
    environment = manifest_differences(run, again)
    numbers: list[Number] = []
    same: dict[str, tuple[int, int]] = {}
    for name in EVALUATIONS:
        old, new = getattr(run, name), getattr(again, name)
        if old is not None:
            numbers += _numbers(name, old, new, environment)
            same[name] = _same_texts(old, new)
    numbers += _training_numbers(run, again, environment)
    return Reproduction(run.path, again.path, tuple(numbers), same, environment, tuple(_notes(run, again)))


def judge_number(was: Metric, now: Metric | None) -> Verdict:
    """Whether a number came out the same.

    Example:
        >>> a, b, c = (Metric("t", "de", "accuracy", value, 0.1, (0.3, 0.7), 25, 25, 0, 0) for value in (0.5, 0.6, 0.8))
        >>> judge_number(a, b), judge_number(a, c)
        ('within', 'different')
    """
    if now is None or (was.value is None) != (now.value is None):
        return "different"
    if was.value is None or now.value is None:
        return "identical" if was.n_unscored == now.n_unscored else "within"
    if (was.n, was.n_unscored) == (now.n, now.n_unscored) and abs(was.value - now.value) <= _TOLERANCE:
        return "identical"
    low, high = was.ci95
    inside = low is not None and high is not None and low - _TOLERANCE <= now.value <= high + _TOLERANCE
    return "within" if inside else "different"


def _numbers(
    name: str, old: Evaluation, new: Evaluation | None, environment: Mapping[str, Sequence[str]]
) -> Iterator[Number]:
    found = {(m.task, m.language, m.metric): m for m in (() if new is None else new.metrics)}
    steps = _first_steps(old, new)
    for metric in old.metrics:
        now = found.get((metric.task, metric.language, metric.metric))
        verdict = judge_number(metric, now)
        if verdict == "identical":
            cause = ""
        elif now is None:
            cause = "the new run does not have it"
        else:
            cause = cause_of(_step_of(metric, old, steps), environment)
        value = None if now is None else now.value
        yield Number(
            name, metric.task, metric.language, metric.metric, metric.value, metric.ci95, value, verdict, cause
        )


def cause_of(step: Step, environment: Mapping[str, Sequence[str]]) -> str:
    """In words, where two runs part and what could have made them.

    Example:
        >>> cause_of("responses", {"libraries": ["torch 2.12 -> 2.13"], "judges": ["detector 1 -> 2"]})
        'other responses to the same prompts: torch 2.12 -> 2.13'
    """
    text, kinds = _STEPS[step]
    likely = [difference for kind in kinds for difference in environment.get(kind, ())]
    if likely:
        return f"{text}: {', '.join(likely)}"
    return f"{text}, though the manifests do not differ in what could explain it{_GUESS.get(step, '')}"


def _first_steps(old: Evaluation, new: Evaluation | None) -> dict[tuple[str, str], Step]:
    """For each task and asked language, the first step in which any response differs."""
    others = {record.key: record for record in (() if new is None else new.records)}
    order = list(_STEPS)
    found: dict[tuple[str, str], Step] = {}
    for record in old.records:
        key = (record.task, record.rollout_lang)
        step = _step_between(record, others.get(record.key))
        if order.index(step) < order.index(found.get(key, "counting")):
            found[key] = step
    return found


def _step_between(old: ResponseRecord, new: ResponseRecord | None) -> Step:
    if new is None or (old.question, old.prompt, old.gold) != (new.question, new.prompt, new.gold):
        return "prompts"
    if (old.completion, old.n_tokens, old.finish_reason) != (new.completion, new.n_tokens, new.finish_reason):
        return "responses"
    return "counting" if old == new else "judgements"


def _step_of(metric: Metric, evaluation: Evaluation, steps: Mapping[tuple[str, str], Step]) -> Step:
    langs = sorted({record.rollout_lang for record in evaluation.records if record.task == metric.task})
    chosen = language_sets(langs, evaluation.trained_languages).get(metric.language, ())
    found = [steps.get((metric.task, lang), "counting") for lang in chosen]
    return min(found, key=list(_STEPS).index, default="counting")


def _same_texts(old: Evaluation, new: Evaluation | None) -> tuple[int, int]:
    others = {record.key: record.completion for record in (() if new is None else new.records)}
    return sum(others.get(record.key) == record.completion for record in old.records), len(old.records)


def _training_numbers(run: Run, again: Run, environment: Mapping[str, Sequence[str]]) -> Iterator[Number]:
    if not run.rollouts:
        return
    now = {metric.language: metric for metric in _rewards(again.rollouts)}
    for metric in _rewards(run.rollouts):
        other = now.get(metric.language)
        verdict = judge_number(metric, other)
        cause = "" if verdict == "identical" else cause_of("responses", environment)
        value = None if other is None else other.value
        yield Number(TRAINING, "", metric.language, REWARD, metric.value, metric.ci95, value, verdict, cause)


def _rewards(rollouts: Sequence[Mapping[str, Any]]) -> list[Metric]:
    """Mean reward per language of the question, over questions."""
    by_lang: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for row in rollouts:
        reward = row.get("reward")
        by_lang[str(row["source_lang"])].append((math.nan if reward is None else float(reward), str(row["sample_id"])))
    found = []
    for lang, rows in sorted(by_lang.items()):
        e = clustered_mean(np.array([value for value, _ in rows]), [name for _, name in rows], interval="t")
        value, stderr, low, high = (None if math.isnan(x) else x for x in (e.value, e.stderr, *e.ci95))
        found.append(Metric("", lang, REWARD, value, stderr, (low, high), e.n, e.n_clusters, e.n_unscored, 0))
    return found


def _notes(run: Run, again: Run) -> Iterator[str]:
    old, new = (r.manifest.hashes.get("weights_after") for r in (run, again))
    if old and new and run.rollouts:
        yield "the trained weights are identical" if old == new else "the trained weights differ"
    step = first_different_step(run.rollouts, again.rollouts)
    if step is not None:
        yield f"training rollouts differ from step {step} on"


def first_different_step(old: Iterable[Mapping[str, Any]], new: Iterable[Mapping[str, Any]]) -> int | None:
    """The first step in which rollouts differ, None if none does.

    Example:
        >>> rows = [{"step": 1, "completion": "a"}, {"step": 2, "completion": "b"}]
        >>> first_different_step(rows, [rows[0], {"step": 2, "completion": "c"}])
        2
    """
    old, new = list(old), list(new)
    for was, now in zip(old, new, strict=False):
        if was != now:
            return int(was["step"])
    longer = old if len(old) > len(new) else new
    return int(longer[min(len(old), len(new))]["step"]) if len(old) != len(new) else None
