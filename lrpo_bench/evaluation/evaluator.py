"""The evaluator: samples in, one stored record per response out.

Every question gets a greedy response (k = 0); the first `draw_limit` questions of each task and language also get
`draws` sampled ones (k = 1, 2, ...). Questions are asked in their own language and answers are wanted in it. For
headroom, answers to every generated question are also asked for in each of the other languages of its task, greedily.

Work is cut into chunks by a plan that depends on the samples and the configuration only. A chunk's sampling seed comes
from its content, so an interrupted evaluation that starts again generates what is missing and ends with the same
records as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lrpo_bench.evaluation.judging import judge
from lrpo_bench.evaluation.records import CHOICE_REASON, RecordKey, ResponseRecord
from lrpo_bench.language_id.base import LanguageDetector
from lrpo_bench.models.base import Completion, Model, Sampling
from lrpo_bench.models.prompting import Instruct, build_prompt
from lrpo_bench.tasks.base import Sample, Score, Task
from lrpo_bench.tasks.spool import first_of_each, in_languages, languages_of, ordered

Progress = Callable[[int], None]
"""Called with the number of responses that were just stored or found already stored."""


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What decides an evaluation's responses, besides model and samples."""

    instruct: Instruct
    draws: int = 4
    draw_limit: int | None = 16
    sampling_temperature: float = 1.0
    top_p: float = 1.0
    max_completion_tokens: int | None = None
    seed: int = 0
    chunk_size: int = 256
    headroom: bool = False
    """Also ask each question in every other language of its task."""

    def sampling(self, task: Task, *, greedy: bool, seed: int, stop: tuple[str, ...] = ()) -> Sampling:
        """Decoding settings for one task."""
        tokens = self.max_completion_tokens or task.info.max_completion_tokens
        if greedy:
            return Sampling(max_completion_tokens=tokens, stop=stop)
        return Sampling(tokens, self.sampling_temperature, self.top_p, self.draws, seed, stop)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Samples of one task that are asked together: the unit of work, of storage and of seeding."""

    task: Task
    samples: Sequence[Sample]
    """A tuple, or samples that are read from disk at each look."""
    greedy: bool
    lang: str | None = None
    """Language that answers are asked for in; None for each question's own."""

    def read(self) -> Chunk:
        """The chunk with its samples in memory."""
        return replace(self, samples=tuple(self.samples))

    def asked(self, sample: Sample) -> str:
        """The language that the answer to `sample` is asked for in."""
        return self.lang or sample.lang

    def keys(self, draws: int) -> list[RecordKey]:
        """Keys of the records that the chunk yields."""
        ks = (0,) if self.greedy else range(1, draws + 1)
        return [(self.task.info.name, sample.id, self.asked(sample), k) for sample in self.samples for k in ks]

    def seed(self, run_seed: int) -> int:
        """A seed that depends on the run's seed and on which samples these are."""
        text = "\0".join([str(run_seed), *(sample.id for sample in self.samples)])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def plan_chunks(tasks: Sequence[tuple[Task, Sequence[Sample]]], settings: EvaluationSettings) -> list[Chunk]:
    """All work of an evaluation: greedy responses, then draws, then headroom.

    Questions of like length stand together, and those with options in the order of their text.
    """
    chunks = []
    for task, samples in tasks:
        chunks += _cut(task, samples, settings.chunk_size, greedy=True)
    for task, samples in tasks:
        if settings.draws and task.kind == "generate":
            kept = first_of_each(samples, settings.draw_limit)
            chunks += _cut(task, kept, max(1, settings.chunk_size // settings.draws), greedy=False)
    for task, samples in tasks:
        if settings.headroom and task.kind == "generate" and not task.verbatim:
            present = languages_of(samples)
            for lang in sorted(present):
                others = in_languages(samples, present - {lang})
                chunks += _cut(task, others, settings.chunk_size, greedy=True, lang=lang)
    return chunks


def count_responses(chunks: Sequence[Chunk], settings: EvaluationSettings) -> int:
    """How many responses a plan asks for."""
    return sum(len(chunk.samples) * (1 if chunk.greedy else settings.draws) for chunk in chunks)


def evaluate(
    model: Model,
    chunks: Sequence[Chunk],
    detector: LanguageDetector,
    settings: EvaluationSettings,
    *,
    done: Collection[RecordKey] = (),
    progress: Progress = lambda count: None,
) -> Iterator[list[ResponseRecord]]:
    """Yields the records of one chunk after another, leaving out those that are `done`."""
    for chunk in (chunk.read() for chunk in chunks):
        keys = chunk.keys(settings.draws)
        missing = {key for key in keys if key not in done}
        if missing:
            respond = _choose if chunk.task.kind == "choice" else _generate
            yield [record for record in respond(model, chunk, detector, settings) if record.key in missing]
        progress(len(keys))


def _cut(task: Task, samples: Sequence[Sample], size: int, *, greedy: bool, lang: str | None = None) -> list[Chunk]:
    by_stop: dict[tuple[str, ...], set[str]] = defaultdict(set)  # one call of a model has one set of them
    for name in languages_of(samples):
        by_stop[task.stop(name)].add(name)
    chunks = []
    for stop in sorted(by_stop):
        # By text, questions that begin alike stand together: a model computes their common beginning once.
        alike = ordered(in_languages(samples, by_stop[stop]), by_text=task.kind == "choice")
        chunks += [Chunk(task, alike[i : i + size], greedy, lang) for i in range(0, len(alike), size)]
    return chunks


def _generate(
    model: Model, chunk: Chunk, detector: LanguageDetector, settings: EvaluationSettings
) -> list[ResponseRecord]:
    prompts = [build_prompt(chunk.task, sample, chunk.asked(sample), settings.instruct) for sample in chunk.samples]
    stop = chunk.task.stop(chunk.samples[0].lang)
    sampling = settings.sampling(chunk.task, greedy=chunk.greedy, seed=chunk.seed(settings.seed), stop=stop)
    answers = model.generate(prompts, sampling)
    rows = [
        (sample, prompt, completion, 0 if chunk.greedy else k + 1)
        for sample, prompt, completions in zip(chunk.samples, prompts, answers, strict=True)
        for k, completion in enumerate(completions)
    ]
    judgements = judge(
        [chunk.task] * len(rows),
        [sample for sample, _, _, _ in rows],
        [completion.text for _, _, completion, _ in rows],
        [chunk.asked(sample) for sample, _, _, _ in rows],
        [completion.finish_reason == "length" for _, _, completion, _ in rows],
        detector,
    )
    return [
        _record(
            chunk, sample, model.render(prompt), completion, k, judgement.score,
            (judgement.detection.lang, judgement.language_ok, judgement.language_reason),
        )
        for (sample, prompt, completion, k), judgement in zip(rows, judgements, strict=True)
    ]  # fmt: skip


def _choose(
    model: Model, chunk: Chunk, detector: LanguageDetector, settings: EvaluationSettings
) -> list[ResponseRecord]:
    prompts = [build_prompt(chunk.task, sample, chunk.asked(sample), settings.instruct) for sample in chunk.samples]
    options = [chunk.task.options(sample, chunk.asked(sample)) for sample in chunk.samples]
    records = []
    for sample, prompt, texts, logps in zip(
        chunk.samples, prompts, options, model.loglikelihood(prompts, options), strict=True
    ):
        ranking: tuple[int, ...] = ()
        if np.isnan(logps).any():  # argmax would take the NaN
            completion, score = Completion("", 0, "stop"), Score.unscored("a log-likelihood is not a number")
        else:
            ranking = tuple(np.argsort(-logps, kind="stable").tolist())
            chosen = ranking[0]
            completion = Completion(texts[chosen], 0, "stop")
            score = Score.of(sample.choices[chosen] == sample.gold, sample.choices[chosen])
        language = (None, None, CHOICE_REASON)
        record = _record(chunk, sample, model.render(prompt), completion, 0, score, language)
        records.append(replace(record, ranking=ranking))
    return records


def _record(
    chunk: Chunk,
    sample: Sample,
    prompt: str,
    completion: Completion,
    k: int,
    score: Score,
    language: tuple[str | None, bool | None, str],
) -> ResponseRecord:
    detected_lang, language_ok, language_reason = language
    return ResponseRecord(
        task=chunk.task.info.name,
        sample_id=sample.id,
        source_id=sample.source_id,
        source_lang=sample.lang,
        rollout_lang=chunk.asked(sample),
        topic=sample.topic,
        regions=sample.regions,
        prompt=prompt,
        question=sample.question,
        gold=sample.gold,
        completion=completion.text,
        k=k,
        n_tokens=completion.n_tokens,
        finish_reason=completion.finish_reason,
        prompt_truncated=completion.prompt_truncated,
        score=score.value,
        outcome=score.outcome,
        answer=score.answer,
        reason=score.reason,
        detected_lang=detected_lang,
        language_ok=language_ok,
        language_reason=language_reason,
    )
