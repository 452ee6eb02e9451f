"""`lrpo-bench compare`: evaluations read, compared and printed in the format that was asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.console import Console

from lrpo_bench.errors import ConfigError, UnknownNameError
from lrpo_bench.results.compare import Comparison
from lrpo_bench.results.compare_many import compare_many
from lrpo_bench.results.comparison_json import to_json
from lrpo_bench.results.flips import examples, latex_lines, markdown_lines, summary, terminal_lines
from lrpo_bench.results.latex import latex_tables
from lrpo_bench.results.matrix import markdown_matrix, notes_of, rich_matrices, tasks_of
from lrpo_bench.results.named import before_and_after, named_evaluation, with_labels
from lrpo_bench.results.schema import Evaluation
from lrpo_bench.results.tables import MAIN_METRICS, column_names, known, markdown, number, p_value, rich_table, to_csv
from lrpo_bench.results.untrusted import markdown_line, one_line

FORMATS = ("terminal", "markdown", "latex", "csv", "json")


def compare_command(arguments: argparse.Namespace) -> None:
    """Prints the paired differences of runs against the first, or of one run's two evaluations."""
    if arguments.flips < 0:
        raise ConfigError(f"--flips must be >= 0, got {arguments.flips}")
    comparisons = compare_many(_evaluations(arguments), intersect=arguments.intersect)
    metrics = _metrics(arguments.metrics, comparisons)
    if arguments.format == "terminal":
        print_comparisons(comparisons, Console(), metrics, arguments.flips)
    else:
        sys.stdout.write(_WRITERS[arguments.format](comparisons, metrics, arguments.flips))


def print_comparisons(
    comparisons: Sequence[Comparison], console: Console, metrics: Sequence[str] = (), n_flips: int = 0
) -> None:
    """Prints comparisons on a terminal, the main metric of each task where no metrics are named."""
    for task in tasks_of(comparisons):
        for metric in metrics or [comparisons[0].main_metric(task)]:
            if metrics and not any(known(one, metric, task) for one in comparisons):
                continue
            if len(comparisons) == 1:
                console.print(rich_table(comparisons[0], metric, task))
            else:
                for table in rich_matrices(comparisons, metric, task, console.width):
                    console.print(table)
            console.print()
        for one in comparisons:
            _print(console, _story(one, task, several=len(comparisons) > 1))
            _print(console, terminal_lines(examples(one, task, n_flips), _names(one)))
    _print(console, (f"note: {one_line(note, 400)}" for note in notes_of(comparisons)))


def _evaluations(arguments: argparse.Namespace) -> Sequence[Evaluation]:
    if len(arguments.runs) == 1:
        return before_and_after(arguments.runs[0])
    return with_labels([named_evaluation(path) for path in arguments.runs])


def _metrics(asked: str | None, comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """The metrics that were asked for; none for the main one of each task."""
    if asked is None:
        return ()
    names = {d.metric for one in comparisons for d in one.differences}
    if asked == "all":
        return (*(name for name in MAIN_METRICS if name in names), *sorted(names - set(MAIN_METRICS)))
    chosen = tuple(dict.fromkeys(name.strip() for name in asked.split(",") if name.strip()))
    for name in chosen:
        if name not in names:
            raise UnknownNameError("metric", name, ("all", *names))
    return chosen


def _story(one: Comparison, task: str, *, several: bool) -> Iterator[str]:
    """Below the tables: questions won and lost, why the headline moved, and what a table of several has no room for."""
    if several:
        yield from ("", f"{one_line(one.after)} against {one_line(one.before)}, {one_line(task)}")
        average = one.find(one.main_metric(task), "avg:all", task)
        if average is not None:
            p, seen = p_value(average.p_holm), number(average.detectable)
            yield f"avg:all   p (Holm) {p}, MDE {seen}, n {average.change.n}"
    yield from summary(one, task)
    part = next((d for d in one.decompositions if (d.task, d.language) == (task, "avg:all")), None)
    if part is not None and part.more_correct.n:
        total, right = number(part.total, signed=True), number(part.more_correct.value, signed=True)
        moved = number(part.right_language.value, signed=True)
        yield f"avg:all   {total} = {right} by answers turning right or wrong, {moved} by their language"


def _names(one: Comparison) -> tuple[str, str]:
    return column_names(one.before, one.after)


def _print(console: Console, lines: Iterator[str]) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _markdown(comparisons: Sequence[Comparison], metrics: Sequence[str], n_flips: int) -> str:
    shown = metrics or MAIN_METRICS
    lines = []
    for one, task in _with_flips(comparisons, n_flips):
        heading = (one.after, "against", one.before, "on", task)
        lines += ["", f"### {' '.join(map(markdown_line, heading))}", ""]
        lines += (f"- {markdown_line(line)}" for line in summary(one, task))
        lines += markdown_lines(examples(one, task, n_flips), _names(one))
    text = markdown(comparisons[0], shown) if len(comparisons) == 1 else markdown_matrix(comparisons, shown)
    return text + "".join(f"{line}\n" for line in lines)


def _latex(comparisons: Sequence[Comparison], metrics: Sequence[str], n_flips: int) -> str:
    shown = metrics or tuple(dict.fromkeys(one.main_metric(task) for one in comparisons for task in one.tasks))
    lines: list[str] = []
    for one, task in _with_flips(comparisons, n_flips):
        lines += latex_lines(examples(one, task, n_flips), _names(one))
    return latex_tables(comparisons, shown) + "".join(f"{line}\n" for line in lines)


def _with_flips(comparisons: Sequence[Comparison], n_flips: int) -> Iterator[tuple[Comparison, str]]:
    return ((one, task) for one in comparisons if n_flips for task in one.tasks)


_Writer = Callable[[Sequence[Comparison], Sequence[str], int], str]
_WRITERS: Mapping[str, _Writer] = {
    "markdown": _markdown,
    "latex": _latex,
    "csv": lambda comparisons, metrics, n_flips: to_csv(*comparisons),
    "json": lambda comparisons, metrics, n_flips: to_json(comparisons, n_flips),
}
"""CSV and JSON hold every metric."""
