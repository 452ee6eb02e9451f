"""`lrpo-bench calibrate`, `task check` and `world`: what evaluations and training rest on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lrpo_bench.errors import EXIT_USER_ERROR


def add_calibrate(commands: Any) -> None:
    """Adds the parser of `calibrate`."""
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


def add_task(commands: Any) -> None:
    """Adds the parser of `task`."""
    parser = commands.add_parser("task", help="check a task of your own")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    text = "does a task folder keep the contract? exit code 0 if it does, 2 if it does not"
    parser = actions.add_parser("check", help=text, description=text)
    parser.add_argument("path", type=Path, help="a folder with task.toml, task.py, prompts.toml and rows.jsonl")
    parser.set_defaults(handler=_check_task)


def add_world(commands: Any) -> None:
    """Adds the parser of `world`."""
    parser = commands.add_parser("world", help="build an embedded world from a profile of knobs")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    text = "corpus, tokenizer, policy and sentence encoder from a profile and a seed; about 14 minutes on two cores"
    build = actions.add_parser("build", help=text, description=text)
    build.add_argument("--profile", default="default", help="a profile's name, or a YAML file")
    build.add_argument("--seed", type=int, default=0)
    build.add_argument("--out", type=Path, required=True, help="the folder to write; use it as --model OUT/policy")
    build.add_argument("--rows", type=int, help="rows the policy is trained on (the profile's)")
    build.add_argument("--encoder-steps", type=int, help="(the profile's)")
    build.add_argument(
        "--size", help="parameters of the policy, such as 100M (the profile's); larger ones are for timing"
    )
    build.add_argument("--device", default="cpu", help="where the policy is trained (cpu); cuda where there is a GPU")
    build.add_argument("--overwrite", action="store_true", help="replace the folder")
    build.set_defaults(handler=_build_world)
    text = "do two builds measure alike? a table by kind and language; exit code 0 if none differs, else 1"
    compare = actions.add_parser("compare", help=text, description=text)
    compare.add_argument("before", help="a built folder, or the name of a profile whose weights ship")
    compare.add_argument("after", help="the same")
    compare.set_defaults(handler=_compare_worlds)


def _calibrate(arguments: argparse.Namespace) -> None:
    from lrpo_bench.calibration.command import calibrate_command

    calibrate_command(arguments)


def _check_task(arguments: argparse.Namespace) -> int:
    from lrpo_bench.tasks.check import check_task, report

    checks = check_task(arguments.path)
    sys.stdout.write(report(checks))
    return 0 if all(check.passed for check in checks) else EXIT_USER_ERROR


def _build_world(arguments: argparse.Namespace) -> None:
    from lrpo_bench.world.build import BuildOptions, build
    from lrpo_bench.world.sizes import parse_size

    options = BuildOptions(
        rows=arguments.rows,
        encoder_steps=arguments.encoder_steps,
        parameters=parse_size(arguments.size) if arguments.size else None,
        device=arguments.device,
        overwrite=arguments.overwrite,
    )
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
