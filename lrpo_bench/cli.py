"""The command line. Nothing heavy is imported until a command needs it, so `--help` and `list` answer at once."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from lrpo_bench.errors import LrpoBenchError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

_EPILOG = """examples:
  lrpo-bench list
  lrpo-bench eval --model embedded:default --tasks arithmetic --limit 20
  lrpo-bench run --config demo.yaml --set train.steps=20
  lrpo-bench eval --model ./my-model --tasks mgsm,xnli --data mgsm=PATH --data xnli=PATH
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 2 for what the user can mend, 130 for Ctrl-C."""
    _quiet_libraries()
    arguments = _parser().parse_args(argv)
    arguments.command = ["lrpo-bench", *(sys.argv[1:] if argv is None else argv)]
    try:
        return int(arguments.handler(arguments) or 0)
    except LrpoBenchError as error:
        sys.stderr.write(f"lrpo-bench: {' '.join(str(error).split())}\n")
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("\nlrpo-bench: interrupted; what is done is kept, and the same command continues\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) went away: not an error. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _quiet_libraries() -> None:
    # Progress bars and advisory warnings of the libraries would break ours; errors still reach the user.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # Threads that spin while they wait cost five times the work on a busy machine, and save nothing on an idle one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    # TRL 1.16 uses names that transformers 5.23 deprecates; neither is the user's to mend.
    warnings.filterwarnings("ignore", message=".*will be removed in v6.*", category=FutureWarning)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        """One line and exit code 2, as for every other user error."""
        self.exit(EXIT_USER_ERROR, f"lrpo-bench: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lrpo-bench",
        description="What did language-routed policy optimization change, for which languages, and is the change real?",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lrpo-bench {metadata.version('lrpo-bench')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_list(commands)
    for stage, text in (
        ("eval", "evaluate a model: accuracy, language fidelity and diversity per language"),
        ("train", "train a policy and log what the router did"),
        ("run", "evaluate, train, evaluate again, compare, report"),
    ):
        _add_stage(commands, stage, text)
    _add_compare(commands)
    _add_export(commands)
    _add_import(commands)
    _add_report(commands)
    _add_power(commands)
    _add_verify(commands)
    _add_reproduce(commands)
    _add_sweep(commands)
    _add_leaderboard(commands)
    _add_summary(commands)
    _add_slim(commands)
    _add_calibrate(commands)
    _add_task(commands)
    _add_world(commands)
    return parser


def _add_list(commands: Any) -> None:
    parser = commands.add_parser("list", help="tasks, methods and embedded models")
    parser.add_argument("what", nargs="?", choices=("methods",), help="methods: their sources, what departs from them")
    parser.add_argument("--format", choices=("terminal", "markdown"), default="terminal", help="of `list methods`")
    parser.add_argument("--tasks-dir", type=Path, action="append", default=[], help="an extra folder of tasks")
    parser.set_defaults(handler=_list)


def _add_stage(commands: Any, stage: str, text: str) -> None:
    parser = commands.add_parser(stage, help=text, description=text)
    add = parser.add_argument
    add("--config", type=Path, help="a YAML file; every option below has its key there")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="set any config key, such as train.steps=10")
    add("--model", help="embedded:PROFILE, a folder, a hub id, or mock (model.name)")
    add("--tasks", help="task names, separated by commas (tasks)")
    add("--data", action="append", default=[], metavar="TASK=PATH", help="local data for a task (tasks[].data)")
    add("--languages", help="languages to evaluate, separated by commas (tasks[].languages)")
    add("--limit", type=int, help="questions per task and language (tasks[].limit)")
    add("--out", type=Path, help="the run folder (out)")
    add("--seed", type=int, help="(seed)")
    add("--tasks-dir", type=Path, action="append", default=[], help="an extra folder of tasks (tasks_dirs)")
    if stage != "eval":
        add("--method", help="see `lrpo-bench list` (train.method)")
        add("--steps", type=int, help="optimizer steps (train.steps)")
        add("--train-languages", help="languages of training questions (train.languages)")
    add("--dry-run", action="store_true", help="print the resolved plan with counts and an estimate, and stop")
    add("--overwrite", action="store_true", help="replace the results in the run folder")
    parser.set_defaults(handler=_stage, stage=stage)


def _add_compare(commands: Any) -> None:
    text = "paired differences between evaluations, per task, language and metric"
    parser = commands.add_parser("compare", help=text, description=f"{text}; the first run is the baseline")
    add = parser.add_argument
    runs = "run folders, or RUN/before or RUN/after; of one run alone, its own before and after"
    add("runs", type=Path, nargs="+", metavar="RUN", help=runs)
    add("--intersect", action="store_true", help="compare only the questions that all of them have")
    add("--format", choices=("terminal", "markdown", "latex", "csv", "json"), default="terminal")
    add("--metrics", metavar="NAMES", help="metrics to show, separated by commas, or all (the main one of each task)")
    add("--flips", type=int, default=0, metavar="N", help="show up to N questions won and N lost of each task (0)")
    parser.set_defaults(handler=_compare)


def _add_export(commands: Any) -> None:
    text = "write a run's evaluation in a format that others read"
    parser = commands.add_parser("export", help=text, description=text)
    add = parser.add_argument
    add("run", type=Path, help="a run folder, or RUN/before or RUN/after")
    add("--format", choices=("lm-eval", "every-eval-ever", "datasets", "model-index"), required=True)
    add("--out", type=Path, required=True, help="what to write: a folder, or a .parquet, .jsonl, .yaml or .md file")
    add("--name", metavar="ORG/MODEL", help="what the model is called (its hub id, or lrpo-bench/RUN)")
    parser.set_defaults(handler=_export)


def _add_import(commands: Any) -> None:
    text = "make a run of lm-eval's results and samples (--log_samples), for compare, leaderboard and report"
    parser = commands.add_parser("import", help=text, description=text)
    add = parser.add_argument
    add("path", type=Path, help="results_*.json, or the folder that lm-eval wrote")
    add("--format", choices=("lm-eval",), required=True)
    add("--out", type=Path, required=True, help="the run folder to make")
    language = "language of a task that does not say it"
    add("--language", action="append", default=[], metavar="TASK=LANG", help=language)
    add("--as", dest="join", metavar="NAME", help="one task of this name, with the language of each (one a task)")
    add("--parallel", action="store_true", help="documents of equal number are translations; with --as")
    add("--metric", metavar="METRIC,FILTER", help="what counts as right (each task's first, under its last filter)")
    add("--detector", default="auto", help="tells the language of responses: auto, lingua, langdetect or none (auto)")
    add("--seed", type=int, help="of the evaluation, where the file does not say")
    parser.set_defaults(handler=_import)


def _add_power(commands: Any) -> None:
    text = "the smallest difference a finished evaluation can see, and how many questions a wanted one takes"
    parser = commands.add_parser("power", help=text, description=text)
    parser.add_argument("run", type=Path, help="a run folder, or RUN/before or RUN/after")
    parser.add_argument("--effect", type=float, default=0.01, help="the wanted difference, in [0, 1] (0.01)")
    parser.add_argument("--power", type=float, default=0.8, help="probability with which it is to be found (0.8)")
    parser.add_argument("--format", choices=("terminal", "markdown"), default="terminal")
    parser.set_defaults(handler=_power)


def _add_report(commands: Any) -> None:
    text = "write report.html of a run folder"
    parser = commands.add_parser("report", help=text, description=text)
    parser.add_argument("run", type=Path)
    parser.set_defaults(handler=_report)


def _add_sweep(commands: Any) -> None:
    text = "many runs from one file: methods x seeds x models, resumable, one folder each"
    parser = commands.add_parser("sweep", help=text, description=text)
    add = parser.add_argument
    add("file", type=Path, help="a YAML file with base, grid, cells, names and out")
    add("--out", type=Path, help="the folder for all cells (out)")
    add("--workers", type=int, help="cells at a time (1; with --engine ray, what the cluster has room for)")
    add("--retry-failed", action="store_true", help="try cells again that failed")
    add("--engine", choices=("local", "ray"), default="local", help="processes here, or tasks of a Ray cluster")
    add("--cpus-per-cell", type=int, help="CPUs of a cell on the cluster (1)")
    add("--gpus-per-cell", type=float, help="GPUs of a cell on the cluster (0)")
    add("--slim", action="store_true", help="at the end, drop from finished cells what `lrpo-bench slim` drops")
    add("--dry-run", action="store_true", help="list the cells and what is done of them, and stop")
    parser.set_defaults(handler=_sweep)


def _add_verify(commands: Any) -> None:
    text = "check that run folders are whole and unchanged, and that their metrics are what their responses give"
    parser = commands.add_parser("verify", help=text, description=f"{text}; exit code 2 where one is not")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--format", choices=("terminal", "json"), default="terminal")
    parser.set_defaults(handler=_verify)


def _add_reproduce(commands: Any) -> None:
    text = "make a run again from its manifest, and say of each number whether it came out the same"
    parser = commands.add_parser("reproduce", help=text, description=f"{text}; exit code 2 where one is different")
    add = parser.add_argument
    add("run", type=Path)
    add("--out", type=Path, help="the new run's folder (RUN-reproduced)")
    add("--model", help="where the model is now; its weights must have the recorded hash")
    add("--data", action="append", default=[], metavar="TASK=PATH", help="where a task's data is now")
    add("--tasks-dir", type=Path, action="append", default=[], help="where an extra folder of tasks is now")
    add("--force", action="store_true", help="go on although data, prompts or weights are not those of the run")
    add("--all", action="store_true", help="print every number, not only those that are not identical")
    add("--format", choices=("terminal", "json"), default="terminal")
    parser.set_defaults(handler=_reproduce)


def _add_calibrate(commands: Any) -> None:
    text = "similarities of translations by language pair, from a parallel corpus, for calibrated rewards"
    parser = commands.add_parser("calibrate", help=text, description=text)
    add = parser.add_argument
    add("--encoder", required=True, help="embedded:PROFILE, a folder, a hub id, or mock")
    add("--corpus", type=Path, required=True, metavar="DIR", help="one text file a language, or embedded")
    add("--out", type=Path, required=True, help="the table, a .json file; its audit is written beside it")
    add("--languages", help="languages of the corpus, separated by commas; all when absent")
    add("--n", type=int, default=30, help="translations of each pair (30)")
    add("--pool", type=int, default=200, help="lines that references and mismatches are taken from (200)")
    add("--shrinkage", default="auto", help="pseudo-observations of all pairs beside a pair's own, or auto")
    add("--same-language", choices=("identical", "skip"), default="identical", help="pairs without a second wording")
    add("--seed", type=int, default=0)
    add("--device", default="auto")
    parser.set_defaults(handler=_calibrate)


def _add_task(commands: Any) -> None:
    parser = commands.add_parser("task", help="check a task of your own")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    text = "does a task folder keep the contract? exit code 0 if it does, 2 if it does not"
    parser = actions.add_parser("check", help=text, description=text)
    parser.add_argument("path", type=Path, help="a folder with task.toml, task.py, prompts.toml and rows.jsonl")
    parser.set_defaults(handler=_check_task)


def _add_world(commands: Any) -> None:
    parser = commands.add_parser("world", help="build an embedded world from a profile of knobs")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    text = "corpus, tokenizer, policy and sentence encoder from a profile and a seed; about 17 minutes on two cores"
    build = actions.add_parser("build", help=text, description=text)
    build.add_argument("--profile", default="default", help="a profile's name, or a YAML file")
    build.add_argument("--seed", type=int, default=0)
    build.add_argument("--out", type=Path, required=True, help="the folder to write; use it as --model OUT/policy")
    build.add_argument("--rows", type=int, help="rows the policy is trained on (the profile's)")
    build.add_argument("--encoder-steps", type=int, help="(the profile's)")
    build.add_argument("--overwrite", action="store_true", help="replace the folder")
    build.set_defaults(handler=_build_world)
    text = "do two builds measure alike? a table by kind and language; exit code 0 if none differs, else 1"
    compare = actions.add_parser("compare", help=text, description=text)
    compare.add_argument("before", help="a built folder, or the name of a profile whose weights ship")
    compare.add_argument("after", help="the same")
    compare.set_defaults(handler=_compare_worlds)


def _build_world(arguments: argparse.Namespace) -> None:
    from lrpo_bench.world.build import BuildOptions, build

    options = BuildOptions(arguments.rows, arguments.encoder_steps, arguments.overwrite)
    report = build(arguments.profile, arguments.seed, arguments.out, options)
    sys.stdout.write(
        f"{report.folder}: {report.training.rows} rows, loss {report.training.last_loss:.3f}, "
        f"{sum(report.seconds.values()):.0f} s; accuracy by language in {report.folder / 'card.md'}\n"
    )


def _compare_worlds(arguments: argparse.Namespace) -> int:
    from lrpo_bench.world.agreement import agreement_text, compare_builds, load_cells
    from lrpo_bench.world.build import embedded_path

    names = (arguments.before, arguments.after)
    folders = [Path(name) if Path(name).is_dir() else embedded_path(name) for name in names]
    rows = compare_builds(*map(load_cells, folders))
    sys.stdout.write(agreement_text(rows))
    return 0 if all(row.agrees for row in rows) else 1


def _check_task(arguments: argparse.Namespace) -> int:
    from lrpo_bench.tasks.check import check_task, report

    checks = check_task(arguments.path)
    sys.stdout.write(report(checks))
    return 0 if all(check.passed for check in checks) else EXIT_USER_ERROR


def _add_leaderboard(commands: Any) -> None:
    text = "all runs below a folder as a web page, Markdown and CSV"
    parser = commands.add_parser("leaderboard", help=text, description=text)
    parser.add_argument("results", type=Path, help="a folder of runs, such as a sweep's")
    parser.add_argument("--out", type=Path, help="the folder to write into (RESULTS)")
    parser.add_argument("--title", help="of the page (the folder's name)")
    parser.set_defaults(handler=_leaderboard)


def _add_summary(commands: Any) -> None:
    text = "methods x models over seeds, and differences from one method, of all runs below a folder"
    parser = commands.add_parser("summary", help=text, description=text)
    parser.add_argument("results", type=Path, help="a folder of runs, such as a sweep's")
    parser.add_argument("--against", metavar="METHOD", help="what methods are compared with (grpo, if it was run)")
    parser.add_argument("--all", action="store_true", help="with markdown, also every language and pair of methods")
    parser.add_argument("--format", choices=("markdown", "csv", "json"), default="markdown")
    parser.set_defaults(handler=_summary)


def _add_slim(commands: Any) -> None:
    text = "drop from finished runs what no number rests on: rollouts, weights, checkpoints, pages"
    parser = commands.add_parser("slim", help=text, description=f"{text}; what stays still verifies")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders, or folders of runs")
    parser.add_argument(
        "--keep", action="append", default=[], metavar="PARTS", help="of rollouts, model, checkpoints, pages"
    )
    parser.set_defaults(handler=_slim)


def _summary(arguments: argparse.Namespace) -> None:
    from lrpo_bench.folders_console import summary_command

    summary_command(arguments)


def _slim(arguments: argparse.Namespace) -> None:
    from lrpo_bench.folders_console import slim_command

    slim_command(arguments)


def _list(arguments: argparse.Namespace) -> None:
    from lrpo_bench.tasks.registry import list_tasks
    from lrpo_bench.training.methods import METHODS, methods_markdown, methods_text
    from lrpo_bench.world import shipped_profiles

    write = sys.stdout.write
    if arguments.what == "methods":
        write(methods_markdown() if arguments.format == "markdown" else methods_text())
        return
    write("tasks\n")
    for info in list_tasks(arguments.tasks_dir):
        variants = ", ".join(info.variants)
        write(f"  {info.name:<18}{info.title} [{len(info.languages)} languages; variants: {variants}]\n")
    write("methods\n")
    for method in METHODS.values():
        write(f"  {method.name:<32}{method.title}\n")
    write("embedded models\n")
    for name in shipped_profiles():
        write(f"  embedded:{name}\n")


def _stage(arguments: argparse.Namespace) -> None:
    from lrpo_bench import commands
    from lrpo_bench.arguments import config_of

    commands.run_stage(config_of(arguments), arguments)


def _compare(arguments: argparse.Namespace) -> None:
    from lrpo_bench.compare_console import compare_command

    compare_command(arguments)


def _export(arguments: argparse.Namespace) -> None:
    from lrpo_bench.exchange_console import export_command

    export_command(arguments)


def _import(arguments: argparse.Namespace) -> None:
    from lrpo_bench.exchange_console import import_command

    import_command(arguments)


def _power(arguments: argparse.Namespace) -> None:
    from lrpo_bench import commands

    commands.print_power(arguments.run, arguments.effect, arguments.power, arguments.format)


def _report(arguments: argparse.Namespace) -> None:
    from lrpo_bench import commands

    commands.report_run(arguments.run)


def _verify(arguments: argparse.Namespace) -> int:
    from lrpo_bench.checks_console import verify_command

    return verify_command(arguments)


def _reproduce(arguments: argparse.Namespace) -> int:
    from lrpo_bench.checks_console import reproduce_command

    return reproduce_command(arguments)


def _leaderboard(arguments: argparse.Namespace) -> None:
    from lrpo_bench.results.leaderboard import write_leaderboard

    for path in write_leaderboard(arguments.results, arguments.out, arguments.title):
        sys.stdout.write(f"{path}\n")


def _sweep(arguments: argparse.Namespace) -> int:
    from lrpo_bench.sweeps.console import sweep_command

    return sweep_command(arguments)


def _calibrate(arguments: argparse.Namespace) -> None:
    from lrpo_bench.calibration.command import calibrate_command

    calibrate_command(arguments)


if __name__ == "__main__":
    sys.exit(main())
