"""The command line. Nothing heavy is imported until a command needs it, so `--help` and `list` answer at once."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from lrpo_bench.commands import building, checks, exchange, folders, listing, one_run, stages
from lrpo_bench.errors import EXIT_USER_ERROR, LrpoBenchError

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
    listing.add_list(commands)
    for stage, text in (
        ("eval", "evaluate a model: accuracy, language fidelity and diversity per language"),
        ("train", "train a policy and log what the router did"),
        ("run", "evaluate, train, evaluate again, compare, report"),
    ):
        stages.add_stage(commands, stage, text)
    one_run.add_compare(commands)
    exchange.add_export(commands)
    exchange.add_import(commands)
    one_run.add_report(commands)
    one_run.add_power(commands)
    checks.add_verify(commands)
    checks.add_reproduce(commands)
    folders.add_sweep(commands)
    folders.add_leaderboard(commands)
    folders.add_summary(commands)
    folders.add_slim(commands)
    building.add_calibrate(commands)
    building.add_task(commands)
    building.add_world(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
