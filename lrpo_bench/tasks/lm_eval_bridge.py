"""Any lm-eval task as a `Task`: `lm_eval:NAME`.

Prompts, options, targets, filters and metrics are lm-eval's own code on lm-eval's own YAML; only the rows are read by
us, so that they can come from a local folder. Scores therefore equal lm-eval's (`tests/test_lm_eval_parity.py`).

Variants are named as lm-eval names its results, `METRIC,FILTER`; the default is the first metric under the last filter,
which reads the most. They are asked verbatim, as lm-eval does unless told otherwise. Each has a twin `...,instructed`,
a conversation that can be told a language, for chat models and for training. Where lm-eval looks for numbers,
`corrected` reads the final number by our own rules and shows lm-eval's value where it differs.

Departures: responses are decoded greedily whatever the task says; a rollout, which a trainer does not stop at the
task's stop strings, is cut there when it is scored; questions of the training split are shown without worked examples,
which come from that split. Tasks that score by anything but one response or the likeliest option are refused.
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from numbers import Real
from pathlib import Path
from typing import Any, cast

import datasets
import lm_eval
from lm_eval.api.metrics import mean

from lrpo_bench.errors import ConfigError, DataError, UnknownNameError
from lrpo_bench.models.stopping import cut
from lrpo_bench.tasks.base import Row, Sample, Score, Task, TaskInfo
from lrpo_bench.tasks.datasource import DataSpec
from lrpo_bench.tasks.extraction import read_final_number
from lrpo_bench.tasks.lm_eval_documents import SPLITS, EvalTask, load_documents, on_rows, one_line, quiet
from lrpo_bench.tasks.lm_eval_index import PREFIX, Definition, find_definitions

CORRECTED = "corrected"
INSTRUCTED = ",instructed"
_MAX_TOKENS = 256  # lm-eval's `max_gen_toks` for Hugging Face models
_TOKEN_KEYS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # in lm-eval's order
_KINDS = {"generate_until": "generate", "multiple_choice": "choice"}


class LmEvalTask(Task):
    """One lm-eval task, or one a language."""

    def __init__(self, info: TaskInfo, definitions: Sequence[Definition], variant: str | None) -> None:
        """Keeps the definitions; reads no data."""
        texts = {each.lang: _fingerprint(each.config) for each in definitions}
        super().__init__(info, dict.fromkeys(info.variants, texts), variant)
        self._configs = {each.lang: each.config for each in definitions}
        self._loaded: dict[str, EvalTask] = {}
        self._examples: dict[str, int] = {}
        self.verbatim = not self.variant.endswith(INSTRUCTED)

    def stop(self, lang: str) -> tuple[str, ...]:
        """lm-eval's `until`."""
        until = (self._configs[lang].get("generation_kwargs") or {}).get("until") or []
        return tuple(filter(None, [until] if isinstance(until, str) else until))

    def rows(self, lang: str, split: str) -> Iterator[Row]:
        """The documents of the hub's data set."""
        return self._documents(lang, split, None)

    def local_rows(self, lang: str, split: str, path: Path) -> Iterator[Row]:
        """The documents of the user's data, in the hub's format."""
        return self._documents(lang, split, path)

    def _documents(self, lang: str, split: str, path: Path | None) -> Iterator[Row]:
        task = load_documents(self._configs[lang], DataSpec.of(self.info), lang, split, path)
        self._loaded[lang] = task  # a fresh one, so that worked examples are drawn from the beginning again
        self._examples[lang] = 0 if split == "train" else task.config.num_fewshot or 0
        yield from task.documents(split)

    def _task(self, lang: str, row: Row) -> EvalTask:
        if lang not in self._loaded:
            rows = {"": datasets.Dataset.from_list([dict(row)])}
            self._loaded[lang] = on_rows(self.info.name, self._configs[lang], rows)
        return self._loaded[lang]

    def sample(self, row: Row, lang: str, index: int) -> Sample:
        """The sample of one document; its prompt, and its options where there are any, are lm-eval's requests."""
        where, task = f"{self.info.name}, {lang} row {index}", self._task(lang, row)
        try:
            with quiet():
                shots = self._examples.get(lang, 0)
                context = task.fewshot_context(row, num_fewshot=shots, gen_prefix=task.doc_to_prefix(row))
                choices, gold = _choices_and_gold(task, row, where)
                chat = {"apply_chat_template": not self.verbatim}
                requests = task.construct_requests(row, context, **chat) if self.kind == "choice" else []
        except DataError:
            raise
        except Exception as error:  # templates and functions of the task fail in their own ways on a bad row
            raise DataError(f"{where}: does not fit lm-eval's definition ({one_line(error)})") from error
        if not isinstance(context, str):
            raise ConfigError(f"task {self.info.name!r} has one prompt an option, which is not supported")
        options = [request.args[1] for request in requests][: len(choices)]
        return Sample(
            id=f"{self.info.name}/{lang}/{index}",
            source_id=f"{self.info.name}/{index}",
            lang=lang,
            question=context.strip() or str(options[0]).strip(),
            gold=gold,
            topic=self.info.topic,
            choices=choices if self.kind == "choice" else (),
            extra={
                "prompt": context,
                "options": json.dumps(options, ensure_ascii=False),
                "doc": json.dumps(dict(row), ensure_ascii=False, default=str),
            },
        )

    def prompt(self, sample: Sample, rollout_lang: str) -> str:
        """lm-eval's context, worked examples included."""
        return sample.extra["prompt"]

    def options(self, sample: Sample, rollout_lang: str) -> Sequence[str]:
        """lm-eval's continuations."""
        return cast(list[str], json.loads(sample.extra["options"]))

    def score(self, sample: Sample, completion: str, rollout_lang: str) -> Score:
        """lm-eval's judgement under the variant's metric and filter."""
        if self.kind == "choice":
            label = dict(zip(self.options(sample, sample.lang), sample.choices, strict=True)).get(completion)
            label = label or next((choice for choice in sample.choices if choice == completion.strip()), None)
            return (
                Score.not_attempted("none of the options") if label is None else Score.of(label == sample.gold, label)
            )
        if self.variant.startswith(CORRECTED):
            return self._corrected(sample, completion, rollout_lang)
        return self._judged(sample, completion, self.variant.removesuffix(INSTRUCTED))

    def _judged(self, sample: Sample, completion: str, variant: str) -> Score:
        doc = json.loads(sample.extra["doc"])
        task, (metric, _, name) = self._task(sample.lang, doc), variant.partition(",")
        completion, _ = cut(completion, self.stop(sample.lang))
        answer = task.filtered(doc, completion, name)
        with quiet():
            value = task.process_results(doc, [answer]).get(metric)
        if not isinstance(value, Real) or not 0 <= float(value) <= 1:
            return Score.unscored(f"lm-eval's {metric} is {value!r}, not a number from 0 to 1")
        read = str(answer)
        if value == 0 and (not completion.strip() or read == "[invalid]"):
            return Score.not_attempted("empty" if not completion.strip() else f"lm-eval's filter {name} found nothing")
        outcome = "correct" if value == 1 else "incorrect"
        return Score(float(value), outcome, read)  # type: ignore[arg-type]

    def _corrected(self, sample: Sample, completion: str, rollout_lang: str) -> Score:
        theirs = self._judged(sample, completion, self.info.variants[0])
        try:
            gold = Decimal(sample.gold.replace(",", ""))
        except InvalidOperation:
            return Score.unscored(f"the target {sample.gold[:40]!r} is not a number")
        number = read_final_number(cut(completion, self.stop(sample.lang))[0], rollout_lang)
        note = f"lm-eval's {self.info.variants[0]} reads {theirs.answer!r}: {theirs.value}"
        if number is None:
            return Score(0.0, "not_attempted", None, f"no number; {note}" if theirs.value else "no number")
        correct = number == gold
        reason = note if float(correct) != theirs.value else ""
        return Score(float(correct), "correct" if correct else "incorrect", f"{number:f}", reason)


def load_lm_eval_task(reference: str, variant: str | None = None) -> LmEvalTask:
    """The task that `lm_eval:NAME`, `lm_eval:NAME@LANG` or `lm_eval:NAME_{lang}` stands for; reads no data.

    Raises:
        UnknownNameError: for an unknown task or variant.
        ConfigError: for a task of lm-eval that can not be used, in one line that says why.
    """
    definitions = find_definitions(reference)
    plans = [_variants(each) for each in definitions]
    if any(plan != plans[0] for plan in plans):
        raise ConfigError(f"the tasks behind {reference!r} are not scored alike; name them one by one")
    if variant is not None and variant not in plans[0]:
        raise UnknownNameError(f"variant of task {reference!r}", variant, plans[0])
    return LmEvalTask(_info(reference, definitions, plans[0]), definitions, variant)


def _info(reference: str, definitions: Sequence[Definition], variants: tuple[str, ...]) -> TaskInfo:
    first = definitions[0].config
    version = (first.get("metadata") or {}).get("version", "none")
    generation = first.get("generation_kwargs") or {}
    choices = first.get("doc_to_choice")
    codes = {each.lang: str(each.config["dataset_name"]) for each in definitions if each.config.get("dataset_name")}
    splits = {ours: [str(first[key])] for ours, key in SPLITS.items() if first.get(key)}
    names = {str(first[key]) for key in (*SPLITS.values(), "fewshot_split") if first.get(key)}
    return TaskInfo(
        name=reference,
        version=f"lm-eval-{lm_eval.__version__}/{version}",
        title=f"lm-eval's {reference.removeprefix(PREFIX)}",
        kind=_KINDS[first.get("output_type", "generate_until")],  # type: ignore[arg-type]
        topic="reasoning",
        languages=tuple(each.lang for each in definitions),
        licence="that of its data set",
        citation=f"lm-eval {lm_eval.__version__}, {definitions[0].name}, data set {first.get('dataset_path')}",
        variants=variants,
        source={
            "hub": str(first.get("dataset_path") or ""),
            "files": ["data/{lang}.jsonl", "data/{lang}/{split}.{lang}.jsonl"],
            "codes": codes,
            "splits": splits | {name: [name] for name in names if name not in splits},
            "eval_split": "test" if first.get("test_split") else "validation",
        },
        max_completion_tokens=int(next((generation[key] for key in _TOKEN_KEYS if generation.get(key)), _MAX_TOKENS)),
        chance=1 / len(choices) if isinstance(choices, list) else 0.0,
    )


def _variants(definition: Definition) -> tuple[str, ...]:
    """The variants of a task, the default first; raises `ConfigError` for one that can not be used."""
    config, name = definition.config, definition.name
    kind = config.get("output_type", "generate_until")
    refusals = {
        f"asks for {kind}; only generate_until and multiple_choice are supported": kind not in _KINDS,
        "is a class in Python code": "class" in config,
        "needs images or sound": bool(config.get("doc_to_image") or config.get("doc_to_audio")),
        "runs code that the model wrote": bool(config.get("unsafe_code")),
        "draws several responses a question": int(config.get("repeats", 1)) > 1,
        "has neither a test nor a validation split": not (config.get("test_split") or config.get("validation_split")),
    }
    for reason, refused in refusals.items():
        if refused:
            raise ConfigError(f"lm-eval task {name!r} can not be used: it {reason}")
    if kind == "multiple_choice":
        metrics = [str(entry.get("metric")) for entry in config.get("metric_list") or [{"metric": "acc"}]]
        if "acc" not in metrics or config.get("process_results") is not None:
            how = "code of its own" if config.get("process_results") is not None else ", ".join(metrics)
            raise ConfigError(
                f"lm-eval task {name!r} can not be used: it is scored by {how}, not by the likeliest option"
            )
        return ("acc,none", f"acc,none{INSTRUCTED}")
    if (config.get("generation_kwargs") or {}).get("do_sample"):
        warnings.warn(f"lm-eval task {name!r} asks for sampling; its responses are decoded greedily", stacklevel=2)
    keys = [f"{metric},{each}" for each in reversed(_filters(config)) for metric in _mean_metrics(config, name)]
    extra = [CORRECTED] if "flexible-extract" in _filters(config) else []
    return (*keys, *extra, *(f"{key}{INSTRUCTED}" for key in (*keys, *extra)))


def _filters(config: Mapping[str, Any]) -> list[str]:
    return [str(entry["name"]) for entry in config.get("filter_list") or [{"name": "none"}]]


def _mean_metrics(config: Mapping[str, Any], name: str) -> list[str]:
    """Metrics that average a value of each question, higher being better."""
    entries = config.get("metric_list") or [{"metric": "exact_match"}]
    usable = [
        getattr(entry["metric"], "__name__", str(entry["metric"]))
        for entry in entries
        if entry.get("aggregation", "mean") in ("mean", mean) and entry.get("higher_is_better", True)
    ]
    if not usable:
        raise ConfigError(
            f"lm-eval task {name!r} can not be used: none of its metrics is a mean over questions "
            f"({', '.join(str(entry['metric']) for entry in entries)})"
        )
    return usable


def _choices_and_gold(task: EvalTask, row: Row, where: str) -> tuple[tuple[str, ...], str]:
    """The options, told apart where two are alike, and the target as text."""
    target = task.doc_to_target(row)
    if task.config.doc_to_choice is None:
        return (), json.dumps(target, ensure_ascii=False) if isinstance(target, list) else str(target)
    texts = [str(choice) for choice in task.doc_to_choice(row)]
    choices = tuple(text if text not in texts[:i] else f"{text} ({i + 1})" for i, text in enumerate(texts))
    if task.multiple_input:
        raise DataError(f"{where}: the options stand in the prompt, which is not supported")
    gold = texts.index(target) if isinstance(target, str) and target in texts else target
    if isinstance(gold, bool) or not isinstance(gold, int) or not 0 <= gold < len(choices):
        raise DataError(f"{where}: the target {target!r} is not one of the {len(choices)} options")
    return choices, choices[gold]


def _fingerprint(config: Mapping[str, Any]) -> str:
    """The definition as text, functions by their source: what a prompt hash is made of."""

    def text(value: object) -> str:
        function = getattr(value, "func", value)
        try:
            return inspect.getsource(function)  # type: ignore[arg-type]
        except (TypeError, OSError):
            return repr(value)

    kept = {key: value for key, value in config.items() if key not in ("metadata", "dataset_kwargs")}
    return json.dumps(kept, ensure_ascii=False, sort_keys=True, default=text)
