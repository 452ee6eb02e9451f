"""`lrpo-bench verify` and `lrpo-bench reproduce`: their arguments carried out, their results printed."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lrpo_bench.console import ConsoleReporter
from lrpo_bench.errors import ConfigError
from lrpo_bench.results.files import dumps, write_json
from lrpo_bench.results.reproduce import Inputs, Moved, check_inputs, reproduce
from lrpo_bench.results.reproduction import Number, Reproduction
from lrpo_bench.results.tables import UNKNOWN
from lrpo_bench.results.verify import Verification, verify_run

EXIT_FAILED = 2
_WORDS = {"identical": "identical", "within": "within their interval", "different": "different"}


def verify_command(arguments: argparse.Namespace) -> int:
    """Prints the checks of run folders; 0 where nothing is wrong, 2 otherwise."""
    found = [verify_run(path) for path in arguments.runs]
    if arguments.format == "json":
        rows = [{"run": v.path, "ok": v.ok, "checks": [dataclasses.asdict(c) for c in v.checks]} for v in found]
        sys.stdout.write(dumps(rows, indent=2) + "\n")
    else:
        for verification in found:
            sys.stdout.writelines(f"{line}\n" for line in _verification_lines(verification))
    return 0 if all(verification.ok for verification in found) else EXIT_FAILED


def _verification_lines(verification: Verification) -> Iterator[str]:
    width = max(len(check.name) for check in verification.checks)
    yield str(verification.path)
    for check in verification.checks:
        yield f"  {check.outcome:<10}{check.name:<{width}}  {' '.join(check.detail.split())}"
    unchecked = sum(check.outcome == "unchecked" for check in verification.checks)
    if verification.ok:
        yield "  nothing is wrong" + (f"; {unchecked} things could not be checked" if unchecked else "")
    else:
        yield f"  {len(verification.failures)} of {len(verification.checks)} checks failed"


def reproduce_command(arguments: argparse.Namespace) -> int:
    """Makes a run again and prints what came out; 0 where inputs and numbers agree, 2 where any is different."""
    run: Path = arguments.run
    out: Path = arguments.out or Path("runs") / f"{run.resolve().name}-reproduced"
    moved = Moved(arguments.model, _data(arguments.data), arguments.tasks_dir)
    inputs = check_inputs(run, out, moved, force=arguments.force)
    reporter = ConsoleReporter()
    reporter.note(f"as recorded: {', '.join(inputs.same) or 'nothing'}")
    for difference in inputs.differences:
        reporter.note(f"not as recorded: {difference}")
    found = reproduce(run, out, inputs, reporter, arguments.command)
    row = as_json(found, inputs)
    write_json(out / "reproduction.json", row)
    if arguments.format == "json":
        sys.stdout.write(dumps(row, indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in _reproduction_lines(found, everything=arguments.all))
        sys.stdout.write(f"{'verdict':<11}{_verdict(found, inputs)}: {found.run} and {found.out}\n")
    return 0 if row["ok"] else EXIT_FAILED


def _data(assignments: list[str]) -> dict[str, Path]:
    found = {}
    for assignment in assignments:
        name, _, path = assignment.partition("=")
        if not path:
            raise ConfigError(f"--data takes TASK=PATH, such as mgsm=./mgsm, got {assignment!r}")
        found[name] = Path(path)
    return found


def as_json(found: Reproduction, inputs: Inputs) -> dict[str, Any]:
    """A reproduction as values for JSON."""
    return {
        "run": found.run,
        "out": found.out,
        "ok": found.ok and not inputs.differences,
        "counts": {verdict: found.count(verdict) for verdict in _WORDS},  # type: ignore[arg-type]
        "inputs": {"same": inputs.same, "differences": inputs.differences},
        "same_responses": found.same_responses,
        "environment": found.environment,
        "notes": found.notes,
        "numbers": [dataclasses.asdict(number) for number in found.numbers],
    }


def _reproduction_lines(found: Reproduction, *, everything: bool) -> Iterator[str]:
    for number in found.numbers:
        if everything or number.verdict != "identical":
            yield _number_line(number)
    for kind, differences in found.environment.items():
        yield f"{kind:<11}{', '.join(differences)}"
    for name in dict.fromkeys(number.evaluation for number in found.numbers):
        counts = [
            f"{count} {word}"
            for verdict, word in _WORDS.items()
            if (count := found.count(verdict, name))  # type: ignore[arg-type]
        ]
        same, total = found.same_responses.get(name, (0, 0))
        texts = f"; {same} of {total} responses have the same text" if total else ""
        total_numbers = sum(number.evaluation == name for number in found.numbers)
        yield f"{name:<11}{total_numbers} numbers: {', '.join(counts)}{texts}"
    for note in found.notes:
        yield f"{'':<11}{note}"


def _verdict(found: Reproduction, inputs: Inputs) -> str:
    if inputs.differences:
        return "no reproduction, since the inputs differ"
    if not found.ok:
        return "different"
    return "identical" if found.count("identical") == len(found.numbers) else "reproduced within the intervals"


def _number_line(number: Number) -> str:
    low, high = number.ci95
    interval = "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"
    name = " ".join(filter(None, (number.evaluation, number.task, number.language, number.metric)))
    cause = f" ({number.cause})" if number.cause else ""
    return f"{number.verdict:<11}{name}: {_shown(number.was)}{interval} -> {_shown(number.now)}{cause}"


def _shown(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4g}"
