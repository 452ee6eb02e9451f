"""What the benchmarks of detection and reward share: paired timing, the machine in words, tables, files.

Times of two ways to do one thing are taken in turns on the same input and compared pair by pair, since a machine that
is busy is busy for both; what is reported is the median.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results" / "benchmarks"


def interleaved(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each of `rounds` rounds, all ways in turn in every round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        names = list(ways) if number % 2 == 0 else list(ways)[::-1]  # neither is always the first
        for name in names:
            started = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """The median over rounds of how many times longer the slow way took."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def machine(*packages: str) -> dict[str, Any]:
    """The processor, its cores as this process may use them, and versions; no names and no paths."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages},
    }


def machine_line(found: Mapping[str, Any]) -> str:
    """The machine as one line of Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    threads = f", OMP_NUM_THREADS={found['omp_num_threads']}" if found["omp_num_threads"] else ""
    cores = f"{found['cores']} cores{threads}, load average {found['load_average']} at the end"
    return f"Machine: {found['cpu']}, {cores}; Python {found['python']}, {versions}."


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, the first column to the left and the others to the right."""
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(['---', *['--:'] * (len(header) - 1)])}|"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def write(name: str, markdown: str, values: Mapping[str, Any], folder: Path = RESULTS) -> None:
    """Writes `NAME.md` and `NAME.json`, and prints the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(markdown, encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(markdown)


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
