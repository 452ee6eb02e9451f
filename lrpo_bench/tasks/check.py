"""Does a task folder keep the contract? What `lrpo-bench task check PATH` asks, on the rows that ship with the task.

    passed  metadata
    passed  likelihood: every language has prompts and rows
    FAILED  letter: the gold answer scores 1
            toy/de/0: 'B.' scores 0.0 (incorrect, read 'A')

Data sets are not read: a task is checked on its `rows.jsonl`, or on the first rows that it makes itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lrpo_bench.errors import ConfigError, LrpoBenchError
from lrpo_bench.tasks.base import TOPICS, Sample, Task, TaskInfo
from lrpo_bench.tasks.datasource import DataSpec
from lrpo_bench.tasks.judged import AnswerJudge, JudgedTask
from lrpo_bench.tasks.registry import fixture_rows, load_task
from lrpo_bench.tasks.task_info import read_task_info

_OWN_ROWS = 20  # of a task that makes its rows itself
_SHOWN = 5  # problems of one check
_COMMIT_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Check:
    """One question that was asked of a task."""

    title: str
    problems: tuple[str, ...]
    """What is wrong, one line each; none when the check passed."""

    @property
    def passed(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems


def check_task(folder: Path) -> list[Check]:
    """All checks of the task in a folder, variant by variant.

    A folder that does not load yields a single failed check.
    """
    try:
        if not (folder / "task.toml").is_file():
            raise ConfigError(f"{folder} is no task: it has no task.toml")
        info = read_task_info(folder / "task.toml")
        tasks = [load_task(info.name, variant, [folder]) for variant in info.variants]
    except LrpoBenchError as error:
        return [Check("the folder loads", (str(error),))]
    except Exception as error:  # task.py is anybody's code, and may fail in any way when it is imported
        return [Check("the folder loads", (f"task.py: {_named(error)}",))]
    checks = [Check("metadata", tuple(_metadata_problems(info, folder)))]
    for task in tasks:
        if isinstance(task, JudgedTask):
            task.use_judge(_says(task.best_reply))
        checks += _check_variant(task)
    return checks


def report(checks: Sequence[Check]) -> str:
    """The checks as text: a line each, and the first problems of those that failed."""
    lines = []
    for check in checks:
        lines.append(f"{'passed' if check.passed else 'FAILED'}  {check.title}")
        lines += [f"        {problem}" for problem in check.problems[:_SHOWN]]
        hidden = len(check.problems) - _SHOWN
        lines += [f"        ... and {hidden} more"] if hidden > 0 else []
    failed = sum(not check.passed for check in checks)
    lines.append(f"{failed} of {len(checks)} checks failed" if failed else f"all {len(checks)} checks passed")
    return "\n".join(lines) + "\n"


def _says(reply: str) -> AnswerJudge:
    return lambda prompts: [reply] * len(prompts)


def _check_variant(task: Task) -> list[Check]:
    rows, unread = _samples(task)
    samples = [sample for found in rows.values() for sample in found]
    graded: dict[str, Callable[[Task, Sequence[Sample]], Iterator[str]]] = {
        "the gold answer scores 1": _gold_problems,
        "an empty response scores 0": _empty_problems,
    }
    asked: dict[str, Callable[[Task, Sequence[Sample]], Iterator[str]]] = {
        "prompts hold the question, and options differ": _prompt_problems,
        **(graded if task.has_answers else {"nothing is scored": _scored_problems}),
        "ids are unique and begin with the task's name": _id_problems,
        "translations share source ids and answers": _parallel_problems,
    }
    missing = [f"{lang}: no prompt" for lang in task.info.languages if lang not in task.prompt_languages()]
    missing += [f"{lang}: no rows" for lang, found in rows.items() if not found]
    checks = [Check(f"{task.variant}: every language has prompts and rows", (*unread, *missing))]
    for title, problems in asked.items():
        try:
            found = tuple(problems(task, samples))
        except Exception as error:  # the task's own code, as above
            found = (_named(error),)
        checks.append(Check(f"{task.variant}: {title}", found))
    return checks


def _samples(task: Task) -> tuple[dict[str, list[Sample]], list[str]]:
    """The samples to check by language, and rows that the task can not read."""
    samples: dict[str, list[Sample]] = {lang: [] for lang in task.info.languages}
    unread = []
    split = DataSpec.of(task.info).eval_split
    shipped = fixture_rows(task)
    for lang, found in samples.items():
        own = task.rows(lang, split)
        rows = islice(own, _OWN_ROWS) if own is not None else (row for row in shipped if row.get("lang") == lang)
        for index, row in enumerate(rows):
            try:
                found.append(task.sample(row, lang, index))
            except Exception as error:  # the task's own code, as above
                unread.append(f"{lang} row {index}: {_named(error)}")
    known = {lang for templates in task.prompts.values() for lang in templates}
    unread += [f"a row of rows.jsonl is in {row.get('lang')!r}" for row in shipped if row.get("lang") not in known]
    return samples, unread


def _metadata_problems(info: TaskInfo, folder: Path) -> Iterator[str]:
    if info.name != folder.resolve().name:
        yield f"the task is named {info.name!r} and its folder {folder.resolve().name!r}"
    try:
        spec = DataSpec.of(info)
    except ConfigError as error:
        yield str(error)
        return
    if spec.hub and (len(spec.revision) != _COMMIT_LENGTH or set(spec.revision) - set("0123456789abcdef")):
        yield f"source.revision must be the full commit of {spec.hub}, got {spec.revision!r}"
    if spec.splits and spec.eval_split not in spec.splits:
        yield f"source.eval_split {spec.eval_split!r} is not among source.splits ({', '.join(spec.splits)})"


def _prompt_problems(task: Task, samples: Sequence[Sample]) -> Iterator[str]:
    for sample in samples:
        if sample.lang not in task.prompt_languages():
            continue
        if not sample.question.strip() or (task.has_answers and not sample.gold.strip()):
            yield f"{sample.id}: the question or the gold answer is empty"
            continue
        prompt = task.prompt(sample, sample.lang)
        if task.kind == "generate" and sample.question.splitlines()[0] not in prompt:
            yield f"{sample.id}: the prompt does not hold the question: {_short(prompt)}"
        if task.kind == "choice":
            options = list(task.options(sample, sample.lang))
            if len(set(options)) != len(options) or len(options) != len(sample.choices) or not all(options):
                yield f"{sample.id}: {len(sample.choices)} different options expected, got {options}"
            if sample.gold not in sample.choices:
                yield f"{sample.id}: the gold answer {sample.gold!r} is not among the choices"
    for sample in samples[:1]:
        for lang in task.prompt_languages():
            rest = task.prompt(sample, lang).replace(sample.question, "")
            for value in sample.extra.values():
                rest = rest.replace(value, "") if value else rest
            if "{" in rest:
                yield f"prompt in {lang}: a field is not filled in: {_short(rest)}"


def _gold_problems(task: Task, samples: Sequence[Sample]) -> Iterator[str]:
    for sample in samples:
        if sample.topic not in TOPICS:
            yield f"{sample.id}: unknown topic {sample.topic!r}"
        for response in (sample.gold, f"{sample.gold}.", f" {sample.gold}\n", sample.reference):
            if response is None:
                continue
            score = task.score(sample, response, sample.lang)
            if (score.value, score.outcome) != (1.0, "correct"):
                yield f"{sample.id}: {_short(response)} scores {score.value} ({score.outcome}, read {score.answer!r})"


def _scored_problems(task: Task, samples: Sequence[Sample]) -> Iterator[str]:
    for sample in samples:
        score = task.score(sample, sample.question, sample.lang)
        if score.value is not None or not score.reason:
            yield f"{sample.id}: a task without right answers scores {score.value}, reason {score.reason!r}"


def _empty_problems(task: Task, samples: Sequence[Sample]) -> Iterator[str]:
    for sample in samples:
        for response in ("", " \n"):
            score = task.score(sample, response, sample.lang)
            if (score.value, score.outcome) != (0.0, "not_attempted") or not score.reason:
                found = f"{score.value} ({score.outcome}, reason {score.reason!r})"
                yield f"{sample.id}: {response!r} scores {found}, not 0.0 (not_attempted, with a reason)"


def _id_problems(task: Task, samples: Sequence[Sample]) -> Iterator[str]:
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            yield f"{sample.id} occurs twice"
        seen.add(sample.id)
        for name in (sample.id, sample.source_id):
            if not name.startswith(f"{task.info.name}/"):
                yield f"{name!r} does not begin with {task.info.name + '/'!r}"


def _parallel_problems(task: Task, samples: Sequence[Sample]) -> Iterator[str]:
    sources: dict[str, list[str]] = {}
    golds: dict[str, set[str]] = {}
    for sample in samples:
        sources.setdefault(sample.lang, []).append(sample.source_id)
        golds.setdefault(sample.source_id, set()).add(sample.gold.casefold())
    for lang, found in sources.items():
        if len(set(found)) < len(found):
            yield f"{lang}: two samples have one source id"
    shared = len({name for found in sources.values() for name in found}) < sum(map(len, sources.values()))
    if task.parallel and len(sources) > 1 and not shared:
        yield "no two languages share a question; if the data is not parallel, say so: `parallel = False`"
    if not task.parallel and shared:
        yield "`parallel = False`, but two languages share a source id"
    comparable = all(sample.choices or sample.gold.isdecimal() for sample in samples)
    if task.parallel and comparable:
        yield from (
            f"{name}: translations differ in their answer, {sorted(g)}" for name, g in golds.items() if len(g) > 1
        )


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _named(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    if isinstance(error, LrpoBenchError):
        return lines[0]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
