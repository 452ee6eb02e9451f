"""What an evaluation holds in memory, by its number of samples: measured, a process a size.

    python benchmarks/eval_memory.py                         # 10,000, 100,000 and 300,000 samples, about 2 minutes
    python benchmarks/eval_memory.py --rows 100000 1000000   # about 5 minutes

A task makes its own rows in three languages (questions of 50 characters, translations share a source id), the mock
model answers in a sentence, chunks have their usual size, and everything that `lrpo-bench eval` does is done:
detection, lines and words, storing, sorting, metrics. Memory is the process's own peak (`ru_maxrss`) at four points.
Growth is the slope between neighbouring sizes: loading the libraries and the language detector's models takes 440 MiB
once, which hides what small evaluations need.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from common import peak_mib, run_child
from measure import machine, machine_line, table, write

SIZES = (10_000, 100_000, 300_000)
STAGES = ("planned", "answered", "counted", "stored")
"""Samples are read; all responses are made, judged and logged; metrics are there; the run is closed."""
LANGUAGES = ("de", "en", "sw")
TASK = """
from lrpo_bench.tasks.base import Sample, Score, Task


class Counting(Task):
    def rows(self, lang, split):
        return ({{"n": n}} for n in range({each})) if split == "test" else None

    def sample(self, row, lang, index):
        n = row["n"]
        question = f"{{lang}}: how many apples are left of {{n:09d}} after {{n % 7}}?"
        return Sample(f"counting/{{lang}}/{{n}}", f"counting/{{n}}", lang, question, str(n % 20))

    def score(self, sample, completion, rollout_lang):
        return Score.of(sample.gold in completion, completion[-4:])


TASK = Counting
"""
INFO = """
name = "counting"
version = "1"
title = "Rows made as they are asked for"
kind = "generate"
topic = "reasoning"
languages = ["de", "en", "sw"]
licence = "Apache-2.0"
citation = "none"
max_completion_tokens = 64
"""


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=list(SIZES), help="samples, in all languages together")
    parser.add_argument("--name", default="eval_memory", help="name of the files written")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if arguments.child:
        print(json.dumps(measured(int(arguments.child))))
        return
    points = []
    for rows in sorted(arguments.rows):
        points.append(run_child(__file__, ["--child", str(rows)]))
        print(f"{rows}: {points[-1]['peak_mib']['stored']:.0f} MiB, {points[-1]['cpu_s']:.0f} CPU s", flush=True)
    values = {"points": points, "machine": machine("numpy", "pyarrow")}
    write(arguments.name, markdown(values), values)


def measured(rows: int) -> dict[str, Any]:
    """The child's part: one evaluation, MiB at each stage."""
    from lrpo_bench import pipeline
    from lrpo_bench.config import parse_config
    from lrpo_bench.plan import make_plan

    peaks: dict[str, float] = {}
    count = pipeline.metrics_of

    def counted(*given: Any) -> Any:
        peaks["answered"] = peak_mib()
        found = count(*given)
        peaks["counted"] = peak_mib()
        return found

    pipeline.metrics_of = counted
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_task(folder / "tasks" / "counting", rows // len(LANGUAGES))
        config = parse_config(
            {
                "model": {"name": "mock"}, "tasks": ["counting"], "tasks_dirs": [str(folder / "tasks")],
                "instruct": "prompt", "eval": {"draws": 0}, "out": str(folder / "run"),
            }
        )  # fmt: skip
        plan = make_plan(config, train=False)
        peaks["planned"] = peak_mib()
        pipeline.execute(plan, "eval", ["eval"], _Silent(), overwrite=False)
        peaks["stored"] = peak_mib()
        stored = (folder / "run" / "before" / "responses.parquet").stat().st_size
    samples = rows // len(LANGUAGES) * len(LANGUAGES)
    return {"samples": samples, "peak_mib": peaks, "cpu_s": time.process_time(), "stored_bytes": stored}


class _Silent:
    """A reporter that says nothing."""

    def progress(self, title: str, total: int) -> Any:
        """A bar that is not drawn."""
        import contextlib

        return contextlib.nullcontext(lambda count: None)

    def note(self, text: str) -> None:
        """Nothing."""


def write_task(folder: Path, each: int) -> None:
    """The task's folder, with `each` rows a language."""
    folder.mkdir(parents=True)
    (folder / "task.py").write_text(TASK.format(each=each), encoding="utf-8")
    (folder / "task.toml").write_text(INFO, encoding="utf-8")
    prompts = "\n".join(f'{lang} = "{{question}}"' for lang in LANGUAGES)
    (folder / "prompts.toml").write_text(f"[default]\n{prompts}\n", encoding="utf-8")


def markdown(values: dict[str, Any]) -> str:
    """The page."""
    points = values["points"]
    rows = []
    for i, point in enumerate(points):
        growth = "-"
        if i:
            more = point["samples"] - points[i - 1]["samples"]
            growth = f"{(point['peak_mib']['stored'] - points[i - 1]['peak_mib']['stored']) * 2**20 / more:.0f}"
        peaks = [f"{point['peak_mib'][stage]:.0f}" for stage in STAGES]
        rows.append((point["samples"], *peaks, growth, f"{point['cpu_s']:.0f}", f"{point['stored_bytes'] / 2**20:.1f}"))
    header = ["samples", *(f"MiB, {stage}" for stage in STAGES), "bytes a sample", "CPU s", "MiB on disk"]
    return "\n\n".join(
        (
            "# Memory of an evaluation by its number of samples",
            "Peak of a process of its own, up to each stage: samples planned, all answered and logged, metrics "
            "counted, run closed. Texts stay on disk; what grows is the samples themselves, a digest a response, and "
            "what metrics average. Written by `python benchmarks/eval_memory.py`.",
            table(header, rows),
            machine_line(values["machine"]),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
