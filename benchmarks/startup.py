"""Seconds of short commands: `--help`, and `eval` of 10 questions, with a breakdown of the second by stage.

    python benchmarks/startup.py                  # writes results/benchmarks/startup.md and .json
    python benchmarks/startup.py --rounds 3

Each run is a process of its own. The first one of each command is not counted: it reads files that the others find in
memory, and compiles. Byte code goes to a temporary folder, as it would beside an installed package, whatever
PYTHONDONTWRITEBYTECODE says. Processor seconds are those of the command and of the process beside it, which loads
lingua's models; they say more than wall time where the machine is busy. Stages are timed in further runs, within the
command; "waiting for lingua" is what its loading still costs. About a minute and a half on 2 quiet cores.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import machine, machine_line, table, write

ROOT = Path(__file__).resolve().parents[1]
EVAL = ("eval", "--model", "embedded:default", "--tasks", "arithmetic", "--languages", "de,en", "--limit", "5")
COMMANDS = {"lrpo-bench --help": ("--help",), "lrpo-bench eval, 10 questions": EVAL}


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs that are counted (5)")
    parser.add_argument("--name", default="startup", help="name of the files written")
    parser.add_argument("--stages", type=Path, help=argparse.SUPPRESS)  # what this script asks of itself
    arguments = parser.parse_args()
    if arguments.stages is not None:
        print(json.dumps(stages_of_a_run(arguments.stages)))
        return
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: timed_runs(command, arguments.rounds, Path(folder)) for name, command in COMMANDS.items()}
        stages = [stages_in_a_process(Path(folder)) for _ in range(arguments.rounds)]
    medians = {name: statistics.median(each[name] for each in stages) for name in stages[0]}
    found = machine("torch", "transformers", "lingua-language-detector")
    values = {"machine": found, "runs": runs, "stages": stages}
    write(arguments.name, markdown(runs, medians, found, arguments.rounds), values)


def timed_runs(command: Sequence[str], rounds: int, folder: Path) -> dict[str, list[float]]:
    """Wall and processor seconds of each run but the first."""
    runs: dict[str, list[float]] = {"wall_s": [], "cpu_s": []}
    for number in range(rounds + 1):
        before, started = _children_cpu_s(), time.perf_counter()
        out = [] if "--help" in command else ["--out", str(folder / f"run{number}"), "--overwrite"]
        _run([sys.executable, "-m", "lrpo_bench", *command, *out], folder)
        if number:
            runs["wall_s"].append(round(time.perf_counter() - started, 3))
            runs["cpu_s"].append(round(_children_cpu_s() - before, 3))
    return runs


def stages_in_a_process(folder: Path) -> dict[str, float]:
    """Seconds of each stage of an evaluation, from its process; what is left of its wall time is Python's own."""
    started = time.perf_counter()
    output = _run([sys.executable, __file__, "--stages", str(folder / "stages")], folder)
    wall = time.perf_counter() - started
    stages: dict[str, float] = json.loads(output.splitlines()[-1])
    stages["interpreter: start and end"] = round(wall - sum(stages.values()), 3)
    return stages


def stages_of_a_run(out: Path) -> dict[str, float]:
    """Seconds of each stage of an evaluation in this process."""
    seconds: dict[str, float] = defaultdict(float)
    whole = time.perf_counter()
    from lrpo_bench.cli import main as command

    with _Timed(seconds, "import: lrpo_bench, numpy, scipy, pydantic"):
        from lrpo_bench import startup
        from lrpo_bench.commands import stages_console
        from lrpo_bench.language_id import detectors
        from lrpo_bench.stages import evaluation, refusals, session

    def libraries(original: Callable[[], None]) -> None:
        with _Timed(seconds, "import: torch"), startup.uncollected():
            import torch  # noqa: F401
        with _Timed(seconds, "import: transformers"):
            original()

    def loaded(original: Callable[[Any], Any], spec: Any) -> Any:
        with _Timed(seconds, "model and tokenizer"):
            model = original(spec)
        _time_calls(model, "generate", seconds, "generation")
        return model

    refusals.import_libraries = functools.partial(libraries, refusals.import_libraries)
    session.load_model = functools.partial(loaded, session.load_model)
    _time_calls(stages_console, "make_plan", seconds, "questions and prompts")
    _time_calls(detectors.ScriptFirstDetector, "detect", seconds, "waiting for lingua, detection")
    _time_calls(evaluation, "metrics_of", seconds, "metrics")
    _time_calls(stages_console, "_print_result", seconds, "tables and report")
    code = command([*EVAL, "--out", str(out), "--overwrite"])
    if code:
        raise SystemExit(code)
    known = sum(seconds.values())
    return {
        **{name: round(value, 3) for name, value in seconds.items()},
        "records, files, the rest": round(time.perf_counter() - whole - known, 3),
    }


class _Timed:
    """A block whose seconds are added to those of its name."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self.seconds, self.name = seconds, name

    def __enter__(self) -> None:
        self.started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self.name] += time.perf_counter() - self.started


def _time_calls(owner: Any, function: str, seconds: dict[str, float], name: str) -> None:
    original = getattr(owner, function)

    @functools.wraps(original)
    def timed(*arguments: Any, **options: Any) -> Any:
        with _Timed(seconds, name):
            return original(*arguments, **options)

    setattr(owner, function, timed)


def _run(command: Sequence[str], folder: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])])
    env |= {"PYTHONPATH": path, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def markdown(
    runs: Mapping[str, Mapping[str, Sequence[float]]],
    stages: Mapping[str, float],
    found: Mapping[str, Any],
    rounds: int,
) -> str:
    """The tables."""
    rows = [
        (
            name,
            f"{statistics.median(each['wall_s']):.2f}",
            f"{min(each['wall_s']):.2f} to {max(each['wall_s']):.2f}",
            f"{statistics.median(each['cpu_s']):.2f}",
        )
        for name, each in runs.items()
    ]
    return "\n".join(
        [
            "# Start-up",
            "",
            f"`python benchmarks/startup.py`: medians of {rounds} processes each, after one that is not counted.",
            "`lrpo-bench " + " ".join(EVAL) + "` makes 50 responses: 10 greedy and 40 drawn.",
            "",
            table(("command", "wall s", "from, to", "processor s"), rows),
            "",
            "Where the time of that evaluation goes, in order (medians of as many other processes):",
            "",
            table(("stage", "wall s"), [(name, f"{value:.2f}") for name, value in stages.items()]),
            "",
            machine_line(found),
            "",
        ]
    )


if __name__ == "__main__":
    main()
