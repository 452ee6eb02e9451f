"""What an evaluation holds in memory, by its number of samples: measured, a process a size.

    python benchmarks/eval_memory.py                                 # 10,000, 100,000 and 1,000,000 samples
    python benchmarks/eval_memory.py --rows 300000 --name elsewhere  # other sizes, other files

The data is one local `en.jsonl` of MGSM's format with as many rows (questions of 70 characters), the task is the
bundled `mgsm`, the mock model answers in a sentence, chunks have their usual size, and everything that `lrpo-bench
eval` does is done: reading, detection with the default detector, lines and words, storing, sorting, metrics. Memory is
the process's own peak at five points. Growth is the slope between neighbouring sizes: what libraries and
the language detector's models take is taken once, and hides what small evaluations need.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common import peak_mib, run_child
from measure import machine, machine_line, table, write

SIZES = (10_000, 100_000, 1_000_000)
STAGES = ("libraries", "planned", "answered", "sorted", "stored")
"""Modules are imported; samples are read; all responses are made, judged and logged; they lie in a Parquet file in the
order of their keys; metrics are there and the run is closed."""


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=list(SIZES), help="samples of each evaluation")
    parser.add_argument("--name", default="eval_memory", help="name of the files written")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if arguments.child:
        print(json.dumps(measured(arguments.child)))
        return
    points = []
    for rows in sorted(arguments.rows):
        points.append(run_child(__file__, ["--child", str(rows)]))
        peak, seconds = points[-1]["peak_mib"]["stored"], points[-1]["seconds"]["stored"]
        print(f"{rows}: {peak:.0f} MiB, {seconds:.0f} s", flush=True)
    values = {"points": points, "machine": machine("numpy", "pyarrow", "lingua-language-detector")}
    write(arguments.name, markdown(values), values)


def measured(rows: int) -> dict[str, Any]:
    """The child's part: one evaluation, peak MiB and seconds since the start at each stage."""
    from lrpo_bench.config import parse_config
    from lrpo_bench.pipeline import execute
    from lrpo_bench.plan import make_plan
    from lrpo_bench.results.evaluations import EvaluationWriter
    from lrpo_bench.stages import evaluation

    peaks: dict[str, float] = {}
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def reached(stage: str) -> None:
        peaks[stage], seconds[stage] = peak_mib(), time.perf_counter() - started

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_rows(folder / "en.jsonl", rows)
        config = parse_config(
            {
                "model": {"name": "mock"}, "tasks": [{"name": "mgsm", "data": str(folder), "languages": ["en"]}],
                "instruct": "prompt", "eval": {"draws": 0}, "out": str(folder / "run"),
            }
        )  # fmt: skip
        started = time.perf_counter()
        reached("libraries")
        plan = make_plan(config, train=False)
        reached("planned")
        sort = announced(EvaluationWriter.in_key_order, lambda: peaks.get("answered") or reached("answered"))
        EvaluationWriter.in_key_order = sort  # type: ignore[method-assign]
        evaluation.metrics_of = announced(evaluation.metrics_of, lambda: reached("sorted"))
        execute(plan, "eval", ["eval"], _Silent(), overwrite=False)
        reached("stored")
        stored = (folder / "run" / "before" / "responses.parquet").stat().st_size
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    return {"samples": rows, "peak_mib": peaks, "seconds": seconds, "cpu_s": cpu, "stored_bytes": stored}


def announced(function: Callable[..., Any], before: Callable[[], object]) -> Callable[..., Any]:
    """`function`, which calls `before` first."""

    def called(*given: Any, **named: Any) -> Any:
        before()
        return function(*given, **named)

    return called


class _Silent:
    """A reporter that says nothing."""

    def progress(self, title: str, total: int) -> Any:
        """A bar that is not drawn."""
        import contextlib

        return contextlib.nullcontext(lambda count: None)

    def note(self, text: str) -> None:
        """Nothing."""


def write_rows(file: Path, rows: int) -> None:
    """A JSONL file of as many different problems, of 60 to 80 characters."""
    with file.open("w", encoding="utf-8") as lines:
        for n in range(rows):
            question = f"Basket {n} holds {n % 97} apples{' and pears' * (n % 3)}. How many are left after {n % 7}?"
            lines.write(json.dumps({"question": question, "answer": str(n % 20)}) + "\n")


def markdown(values: dict[str, Any]) -> str:
    """The page."""
    points: Sequence[dict[str, Any]] = values["points"]
    rows = []
    for i, point in enumerate(points):
        growth = "-"
        if i:
            more = point["samples"] - points[i - 1]["samples"]
            growth = f"{(point['peak_mib']['stored'] - points[i - 1]['peak_mib']['stored']) * 2**20 / more:.0f}"
        peaks = [f"{point['peak_mib'][stage]:.0f}" for stage in STAGES]
        spent = [f"{point['seconds']['stored']:.0f}", f"{point['cpu_s']:.0f}"]
        rows.append((f"{point['samples']:,}", *peaks, growth, *spent, f"{point['stored_bytes'] / 2**20:.1f}"))
    header = ["samples", *(f"MiB, {stage}" for stage in STAGES), "bytes a sample", "s", "CPU s", "MiB on disk"]
    return "\n\n".join(
        (
            "# Memory of an evaluation by its number of samples",
            "The mock model answers, so that a model's own libraries and weights are not in these figures. "
            "Peak of a process of its own, up to each stage: modules imported, samples planned, all answered and "
            "logged, records sorted, metrics counted and run closed. Samples and texts stay on disk; what grows is a "
            "few numbers a sample: its place in the order of the work, a digest of its key, and what metrics average. "
            "Written by `python benchmarks/eval_memory.py`.",
            table(header, rows),
            machine_line(values["machine"]),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
