"""`lrpo-bench export` and `lrpo-bench import`: results to and from the formats that others read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lrpo_bench.errors import ConfigError
from lrpo_bench.results.exchange.datasets_files import export_datasets
from lrpo_bench.results.exchange.every_eval_ever import export_every_eval_ever
from lrpo_bench.results.exchange.lm_eval_export import export_lm_eval
from lrpo_bench.results.exchange.lm_eval_import import import_lm_eval
from lrpo_bench.results.exchange.lm_eval_tasks import ImportOptions
from lrpo_bench.results.exchange.model_index import export_model_index
from lrpo_bench.results.named import NamedEvaluation, named_evaluation
from lrpo_bench.results.untrusted import one_line

_EXPORTS: Mapping[str, Callable[[NamedEvaluation, Path, str | None], list[Path]]] = {
    "lm-eval": export_lm_eval,
    "every-eval-ever": export_every_eval_ever,
    "datasets": export_datasets,
    "model-index": export_model_index,
}


def export_command(arguments: argparse.Namespace) -> None:
    """Writes one evaluation in another format and prints where."""
    found = named_evaluation(arguments.run)
    for path in _EXPORTS[arguments.format](found, arguments.out, arguments.name):
        sys.stdout.write(f"{path}\n")


def import_command(arguments: argparse.Namespace) -> None:
    """Makes a run of another program's results, and prints what a reader must know about it."""
    if arguments.parallel and not arguments.join:
        raise ConfigError("--parallel needs --as NAME: only one task can have parallel questions")
    options = ImportOptions(
        languages=_languages(arguments.language),
        join=arguments.join,
        metric=arguments.metric,
        parallel=arguments.parallel,
        detector=arguments.detector,
        seed=arguments.seed,
    )
    notes = import_lm_eval(arguments.path, arguments.out, options, arguments.command)
    sys.stdout.writelines(f"note: {one_line(note, 400)}\n" for note in notes)
    sys.stdout.write(f"{arguments.out}\n")


def _languages(assignments: Sequence[str]) -> dict[str, str]:
    found = {}
    for assignment in assignments:
        task, _, lang = assignment.partition("=")
        if not task or not lang:
            raise ConfigError(f"--language takes TASK=LANG, such as hellaswag=en, got {assignment!r}")
        found[task] = lang
    return found
