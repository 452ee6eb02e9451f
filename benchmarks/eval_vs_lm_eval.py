"""lrpo-bench's evaluator beside lm-eval's Hugging Face backend: time, memory and scores on the same model and rows.

    python benchmarks/eval_vs_lm_eval.py                  # writes results/benchmarks/eval_vs_lm_eval.md and .json
    python benchmarks/eval_vs_lm_eval.py --quick
    python benchmarks/eval_vs_lm_eval.py --data DIR       # published rows: DIR/xnli/dev-en.tsv, DIR/mgsm/mgsm_en.tsv

XNLI by log-likelihood and MGSM (`mgsm_direct_en`) by greedy generation; with the embedded model, and with a randomly
initialised Llama of 102M parameters and a 50,000-token vocabulary that is built on the spot. Both tools are given rows
in the hub's format, without `--data` made-up ones of the same lengths. Time runs from rows in memory (lm-eval) or on
disk (ours) to scores, and leaves out imports and loading the model; ours includes identifying the language of every
response. Runs alternate and are compared pair by pair. lm-eval gets the fastest of several batch sizes, tried first on
the same rows with responses of at most 32 tokens; `auto` only with the embedded model, since on a CPU it starts by
computing 64 x 1,024 positions with logits, 13 GB of them at 50,000 tokens. Ours has its default, 128. Answers are the
options chosen and the texts of responses: models that know nothing give few right ones, so that scores alone would say
little. Memory is the peak of a process of its own that does nothing else. About 9 minutes on 2 quiet cores.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TQDM_DISABLE", "1")

from common import build_random_model, mgsm_rows, peak_mib, run_child, xnli_rows
from eval_arithmetic import arithmetic_line, gflop_of
from measure import interleaved, machine, machine_line, median_ratio, table, write

LABELS = ("entailment", "neutral", "contradiction")
PACKAGES = ("torch", "transformers", "lm-eval", "tokenizers")
GOALS = {"xnli": 3.0, "mgsm": 1.5}
OURS, THEIRS = "lrpo-bench", "lm-eval"


@dataclass(frozen=True, slots=True)
class Found:
    """What a tool found."""

    accuracy: float
    scores: list[float]
    answers: list[Any]
    """Of each row: the number of the chosen option, or the response."""


@dataclass(frozen=True, slots=True)
class Job:
    """One comparison."""

    model: str
    """`embedded` or `random-100M`."""
    task: str
    rows: int
    tokens: int
    """Of a response."""
    batch_sizes: tuple[int | str, ...]
    """Tried for lm-eval."""


FULL = (
    Job("embedded", "xnli", 600, 0, (16, 64, 128, "auto")),
    Job("embedded", "mgsm", 96, 128, (32, 64, 96)),
    Job("random-100M", "xnli", 96, 0, (8, 32, 64)),
    Job("random-100M", "mgsm", 48, 128, (16, 32, 48)),
)
QUICK = (
    Job("embedded", "xnli", 150, 0, (32, 128)),
    Job("embedded", "mgsm", 32, 64, (32,)),
    Job("random-100M", "xnli", 24, 0, (16,)),
    Job("random-100M", "mgsm", 16, 24, (16,)),
)


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the published xnli and mgsm; made-up rows without it")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds (3)")
    parser.add_argument("--quick", action="store_true", help="few rows, one round")
    parser.add_argument("--only", help="only comparisons whose 'model task' holds this")
    parser.add_argument("--name", help="name of the files written")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if arguments.child:
        _answer(json.loads(arguments.child))
    else:
        _compare_all(arguments)


def _compare_all(arguments: argparse.Namespace) -> None:
    jobs = [job for job in (QUICK if arguments.quick else FULL) if (arguments.only or "") in f"{job.model} {job.task}"]
    found = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if any(job.model == "random-100M" for job in jobs):
            build_random_model(folder / "random-100M")
        for job in jobs:
            rounds = 1 if arguments.quick else arguments.rounds
            found.append(compare(job, folder, arguments.data, rounds))
            print(_line(found[-1]), flush=True)
    values = {
        "rows": "published" if arguments.data else "made up",
        "comparisons": found,
        "machine": machine(*PACKAGES),
    }
    write(arguments.name or "eval_vs_lm_eval", _markdown(values), values)


def compare(job: Job, folder: Path, data: Path | None, rounds: int) -> dict[str, Any]:
    """Both tools on one model and task: seconds, memory, scores."""
    rows = write_rows(job, folder, data)
    tool = Tools(job, folder)
    tool.ours(rows[:4])  # the first call chooses a way of computing, and libraries warm up
    trials: dict[str, float] = {}
    for size in job.batch_sizes:
        started = time.perf_counter()
        tool.theirs(rows, size, tokens=min(job.tokens, 32))
        trials[str(size)] = time.perf_counter() - started
    best = min(job.batch_sizes, key=lambda size: trials[str(size)])
    results: dict[str, Found] = {}
    cpu_seconds: dict[str, list[float]] = {OURS: [], THEIRS: []}

    def keep(name: str, run: Callable[[], Any]) -> None:
        started = time.process_time()
        results[name] = run()
        cpu_seconds[name].append(time.process_time() - started)

    ways = {
        THEIRS: lambda: keep(THEIRS, lambda: tool.theirs(rows, best, job.tokens)),
        OURS: lambda: keep(OURS, lambda: tool.ours(rows)),
    }
    seconds = interleaved(ways, rounds)
    memory = {}
    for name in ways:
        wanted = {"tool": name, "model": job.model, "task": job.task, "tokens": job.tokens, "batch": best}
        wanted |= {"folder": str(folder), "rows": len(rows)}
        memory[name] = run_child(__file__, ["--child", json.dumps(wanted)])["peak_mib"]
    lengths = tool.prompt_lengths(rows) if job.task == "mgsm" else []
    ours, theirs = results[OURS], results[THEIRS]
    return {
        "model": job.model, "task": job.task, "rows": len(rows), "max_completion_tokens": job.tokens or None,
        "rounds": rounds, "lm_eval_batch_size": best, "lm_eval_trials_s": trials, "seconds": seconds,
        "cpu_seconds": cpu_seconds, "cpu_ratio": median_ratio(cpu_seconds[THEIRS], cpu_seconds[OURS]),
        "ratio": median_ratio(seconds[THEIRS], seconds[OURS]), "goal": GOALS[job.task], "peak_mib": memory,
        "score": {name: results[name].accuracy for name in ways},
        "rows_scored_alike": alike(ours.scores, theirs.scores), "answers_alike": alike(ours.answers, theirs.answers),
        "way": tool.way(), "products": gflop_of(tool.model.model.config, lengths, job.tokens, best),
    }  # fmt: skip


def alike(ours: list[Any], theirs: list[Any]) -> float:
    """The share of rows with equal values, in [0, 1]."""
    return statistics.mean(a == b for a, b in zip(ours, theirs, strict=True))


def write_rows(job: Job, folder: Path, data: Path | None) -> list[dict[str, Any]]:
    """The rows of a comparison, also written for child processes."""
    if data is None:
        rows = (xnli_rows if job.task == "xnli" else mgsm_rows)(job.rows)
    elif job.task == "xnli":
        rows = [
            {"premise": premise, "hypothesis": hypothesis, "label": LABELS.index(label)}
            for premise, hypothesis, label in _tsv(data / "xnli" / "dev-en.tsv")
        ][: job.rows]
    else:
        rows = [
            {"question": text, "answer": None, "answer_number": int(answer.replace(",", "")), "equation_solution": None}
            for text, answer in _tsv(data / "mgsm" / "mgsm_en.tsv")
        ][: job.rows]
    (folder / f"{job.model}-{job.task}.json").write_text(json.dumps(rows), encoding="utf-8")
    return rows


def _tsv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))


class Tools:
    """The two tools on one model and one task."""

    def __init__(self, job: Job, folder: Path) -> None:
        """Loads nothing yet."""
        self.job, self.folder = job, folder

    @functools.cached_property
    def model(self) -> Any:
        """The model as lrpo-bench loads it; lm-eval is given the same weights in memory."""
        from lrpo_bench.models.load import ModelSpec, load_hf_model

        name = "embedded:default" if self.job.model == "embedded" else str(self.folder / self.job.model)
        return load_hf_model(ModelSpec(name, device="cpu", batch_size=128))

    def way(self) -> str:
        """How ours computed."""
        return str(self.model.decoder.way if self.job.task == "mgsm" else self.model.scorer.way)

    def prompt_lengths(self, rows: list[dict[str, Any]]) -> list[int]:
        """Tokens of each MGSM prompt."""
        texts = [f"Question: {row['question']}\nAnswer:" for row in rows]
        return [len(ids) for ids in self.model.tokenizer(texts)["input_ids"]]

    def ours(self, rows: list[dict[str, Any]]) -> Found:
        """By lrpo-bench."""
        from lrpo_bench.evaluation.evaluator import EvaluationSettings, evaluate, plan_chunks
        from lrpo_bench.evaluation.metrics import find_metric, metrics_of
        from lrpo_bench.language_id.registry import get_detector
        from lrpo_bench.tasks.registry import load_samples, load_task

        xnli = self.job.task == "xnli"
        task = load_task("xnli" if xnli else "lm_eval:mgsm_direct_en")
        split = "validation" if xnli else "test"
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / "en" / f"{split}.jsonl" if xnli else Path(place) / "en.jsonl"
            file.parent.mkdir(exist_ok=True)
            file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
            samples = load_samples(task, "en", split, Path(place))
        settings = EvaluationSettings("prompt", draws=0, max_completion_tokens=self.job.tokens or None)
        chunks, detector = plan_chunks([(task, samples)], settings), get_detector("auto", ["en"])
        records = [record for part in evaluate(self.model, chunks, detector, settings) for record in part]
        metric = find_metric(metrics_of(records), "accuracy", "en", task.info.name)
        by_id = {record.sample_id: record for record in records}
        ordered = [by_id[sample.id] for sample in samples]
        answers = [record.ranking[0] if xnli else record.completion.strip() for record in ordered]
        accuracy = metric.value if metric else float("nan")
        return Found(accuracy, [float(record.score or 0.0) for record in ordered], answers)

    def theirs(self, rows: list[dict[str, Any]], batch_size: int | str, tokens: int) -> Found:
        """By lm-eval's own evaluator on its own task definition."""
        import lm_eval
        from lm_eval.models.huggingface import HFLM

        task, metric = self._lm_eval_task(rows, tokens)
        lm = HFLM(
            pretrained=self.model.model, tokenizer=self.model.tokenizer, batch_size=batch_size, device="cpu",
            max_batch_size=64,
        )  # fmt: skip
        stdout, sys.stdout = sys.stdout, sys.stderr  # it prints its batch size
        try:
            found = lm_eval.evaluate(lm=lm, task_dict=task, bootstrap_iters=0)
        finally:
            sys.stdout = stdout
        ((name, samples),) = found["samples"].items()
        key, _, kind = metric.partition(",")
        kept = sorted((each for each in samples if each["filter"] == kind), key=lambda each: each["doc_id"])
        answers = [_answer_of(each["resps"]) for each in kept]
        return Found(found["results"][name][metric], [float(each[key]) for each in kept], answers)

    def _lm_eval_task(self, rows: list[dict[str, Any]], tokens: int) -> tuple[dict[str, Any], str]:
        import datasets

        from lrpo_bench.tasks.lm_eval_documents import on_rows
        from lrpo_bench.tasks.lm_eval_index import find_definitions

        xnli = self.job.task == "xnli"
        (definition,) = find_definitions("lm_eval:xnli_en" if xnli else "lm_eval:mgsm_direct_en")
        config = dict(definition.config)
        if not xnli:
            config["generation_kwargs"] = {**config["generation_kwargs"], "max_gen_toks": tokens}
        documents = {"validation" if xnli else "test": datasets.Dataset.from_list(rows)}
        loaded = on_rows(definition.name, config, documents)
        return {definition.name: loaded}, "acc,none" if xnli else "exact_match,flexible-extract"


def _answer_of(responses: list[Any]) -> Any:
    """The text of a generated response, or the number of the likeliest option."""
    if isinstance(responses[0][0], str):
        return responses[0][0].strip()
    logps = [float(response[0][0]) for response in responses]
    return logps.index(max(logps))


def _answer(wanted: dict[str, Any]) -> None:
    """The child's part: one run of one tool, its peak memory as JSON."""
    job = Job(wanted["model"], wanted["task"], wanted["rows"], wanted["tokens"], ())
    tool, file = Tools(job, Path(wanted["folder"])), Path(wanted["folder"]) / f"{job.model}-{job.task}.json"
    rows = json.loads(file.read_text(encoding="utf-8"))
    if wanted["tool"] == OURS:
        tool.ours(rows)
    else:
        tool.theirs(rows, wanted["batch"], job.tokens)
    print(json.dumps({"peak_mib": round(peak_mib())}))


def _line(found: dict[str, Any]) -> str:
    score = found["score"]
    return (
        f"{found['model']} {found['task']}: {found['ratio']:.2f}x (CPU time {found['cpu_ratio']:.2f}x, goal "
        f"{found['goal']}x), scores {score[OURS]:.4f} and "
        f"{score[THEIRS]:.4f}, rows scored alike {found['rows_scored_alike']:.3f}, answers alike "
        f"{found['answers_alike']:.3f}"
    )


def _markdown(values: dict[str, Any]) -> str:
    header = (
        "model", "task", "rows", "tokens", "lm-eval s", "ours s", "times faster", "in CPU time", "goal",
        "lm-eval MiB", "ours MiB", "lm-eval score", "our score", "rows scored alike", "answers alike",
        "lm-eval's best batch",
    )  # fmt: skip
    rows = [
        (
            each["model"], each["task"], each["rows"], each["max_completion_tokens"] or "-",
            f"{statistics.median(each['seconds'][THEIRS]):.2f}", f"{statistics.median(each['seconds'][OURS]):.2f}",
            f"{each['ratio']:.2f}", f"{each['cpu_ratio']:.2f}", f"{each['goal']:.1f}",
            f"{each['peak_mib'][THEIRS]:.0f}", f"{each['peak_mib'][OURS]:.0f}",
            f"{each['score'][THEIRS]:.4f}", f"{each['score'][OURS]:.4f}",
            f"{each['rows_scored_alike']:.3f}", f"{each['answers_alike']:.3f}", each["lm_eval_batch_size"],
        )
        for each in values["comparisons"]
    ]  # fmt: skip
    return "\n\n".join(
        (
            "# Evaluation beside lm-eval",
            "One model and the same rows for both, runs in turns, medians; `times faster` is the median of the ratios "
            f"of neighbouring runs. Rows are {values['rows']}. Written by `python benchmarks/eval_vs_lm_eval.py`.",
            table(header, rows),
            *filter(None, map(arithmetic_line, values["comparisons"])),
            machine_line(values["machine"]),
        )
    )


if __name__ == "__main__":
    main()
