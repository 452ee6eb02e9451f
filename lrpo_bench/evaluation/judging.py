"""The one judgement of a response, shared by evaluation and reward: right or wrong, and in which language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lrpo_bench.language_id.base import Detection, LanguageDetector, language_verdict
from lrpo_bench.tasks.base import Sample, Score, Task


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one response is worth."""

    score: Score
    detection: Detection
    language_ok: bool | None
    """Whether it is in the language asked for; None where that can not be told."""
    language_reason: str


def judge(
    tasks: Sequence[Task],
    samples: Sequence[Sample],
    completions: Sequence[str],
    rollout_langs: Sequence[str],
    truncated: Sequence[bool],
    detector: LanguageDetector,
) -> list[Judgement]:
    """Judgements of N responses; language detection runs once over the whole batch.

    A truncated response keeps its score when the right answer could be read from it, as lm-eval's would, and is
    `truncated` otherwise. A score that says whether the response is in the asked language (CARE-pro's judge) has the
    last word on that.
    """
    detections = detector.detect(completions)
    scores = _score_by_task(tasks, samples, completions, rollout_langs)
    judgements = []
    for score, cut, detection, lang in zip(scores, truncated, detections, rollout_langs, strict=True):
        if cut and score.value is not None and score.outcome != "correct":
            score = replace(score, outcome="truncated", reason="cut at max_completion_tokens")
        ok, reason = language_verdict(detection, lang, detector)
        if score.language_ok is not None:
            ok, reason = score.language_ok, ""
        judgements.append(Judgement(score, detection, ok, reason))
    return judgements


def _score_by_task(
    tasks: Sequence[Task], samples: Sequence[Sample], completions: Sequence[str], rollout_langs: Sequence[str]
) -> list[Score]:
    """One call of each task, because some (an LLM's grades) are judged many at once."""
    rows: dict[int, list[int]] = {}
    for i, task in enumerate(tasks):
        rows.setdefault(id(task), []).append(i)
    scores: dict[int, Score] = {}
    for mine in rows.values():
        found = tasks[mine[0]].score_all(
            [samples[i] for i in mine], [completions[i] for i in mine], [rollout_langs[i] for i in mine]
        )
        scores |= zip(mine, found, strict=True)
    return [scores[i] for i in range(len(tasks))]
