"""Published data sets through `lrpo-bench eval`, as a user runs it: what the embedded policy says, by language.

    python benchmarks/shared_data.py --data DIR       # writes results/benchmarks/shared_data.md and .json

DIR holds the folders `mgsm`, `xnli`, `language_confusion` and `care` in the layouts of their publishers. The embedded
policy was never taught any of these tasks: this shows that the data is read, asked, judged and counted, not how good a
model is. CARE needs a judge; here one stands in whose replies hold no rating, so that its answers stay unscored and
their language is measured all the same. Nothing of the data is kept: runs go to a temporary folder, and the tables
hold numbers only.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from measure import machine, machine_line, table, write

JUDGE = "JUDGE_URL"
JUDGED = (f"--set eval.judge.url={JUDGE} --set eval.judge.model=none --set eval.max_completion_tokens=128").split()
"""CARE asks for 1,024 tokens, the whole context of the embedded policy."""
_COLUMNS = ("accuracy_in_language", "accuracy", "fidelity", "lpr")


@dataclass(frozen=True, slots=True)
class Row:
    """One command."""

    task: str
    variant: str
    data: str
    """Folder below DIR."""
    is_first: bool = True
    """Whether it is the task's first variant."""
    options: Sequence[str] = ()

    def arguments(self, folder: str, limit: int, out: str, config: str) -> list[str]:
        """What stands after `lrpo-bench`; a variant that is not the first is named in a configuration file."""
        tasks = ["--config", config] if self.config else ["--tasks", self.task]
        return [
            "eval", "--model", "embedded:default", *tasks, "--data", f"{self.task}={folder}/{self.data}",
            "--limit", str(limit), "--set", "eval.draws=0", *self.options, "--out", out,
        ]  # fmt: skip

    @property
    def config(self) -> str:
        """The configuration file; empty where none is needed."""
        return "" if self.is_first else f"tasks: [{{name: {self.task}, variant: {self.variant}}}]"


ROWS = (
    Row("mgsm", "direct", "mgsm"),
    Row("mgsm_v2", "direct", "mgsm"),
    Row("xnli", "likelihood", "xnli"),
    Row("xnli", "label", "xnli", False),
    Row("language_confusion", "monolingual", "language_confusion/test_sets"),
    Row("language_confusion", "crosslingual", "language_confusion/test_sets", False),
    Row("care", "default", "care", True, JUDGED),
)


def main() -> None:
    """Evaluates and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--limit", type=int, default=8, help="questions a language (8)")
    parser.add_argument("--only", default="", help="only rows whose 'task variant' holds this")
    parser.add_argument("--name", default="shared_data", help="name of the files written")
    arguments = parser.parse_args()
    found = []
    with judge() as url, tempfile.TemporaryDirectory() as place:
        for number, row in enumerate(row for row in ROWS if arguments.only in f"{row.task} {row.variant}"):
            found.append(evaluated(row, arguments, url, Path(place) / str(number)))
            print(f"{row.task} {row.variant}: {found[-1]['seconds']:.0f} s", flush=True)
    values = {"limit": arguments.limit, "rows": found, "machine": machine("torch", "transformers")}
    write(arguments.name, markdown(values), values)


def evaluated(row: Row, arguments: argparse.Namespace, url: str, out: Path) -> dict[str, Any]:
    """One command, by the program's own door, and the metrics that it leaves."""
    from lrpo_bench.cli import main as lrpo_bench

    config = out.with_suffix(".yaml")
    config.write_text(row.config, encoding="utf-8")
    folders = (str(arguments.data), arguments.limit, str(out), str(config))
    given = [each.replace(JUDGE, url) for each in row.arguments(*folders)]
    started, said = time.perf_counter(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = lrpo_bench(given)
    if code:
        raise RuntimeError(f"{row.task} {row.variant}: exit code {code}: {said.getvalue().strip().splitlines()[-1]}")
    stored = json.loads((out / "before" / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    shown = " ".join(row.arguments("DIR", arguments.limit, "RUN", "FILE"))
    shown += f" (FILE: {row.config})" if row.config else ""
    return {
        "task": row.task, "variant": row.variant, "command": f"lrpo-bench {shown}",
        "seconds": round(time.perf_counter() - started, 1),
        "metrics": [m for m in stored if m["metric"] in _COLUMNS],
    }  # fmt: skip


@contextlib.contextmanager
def judge() -> Iterator[str]:
    """The address of an endpoint whose replies hold no rating."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"choices": [{"message": {"role": "assistant", "content": "no rating"}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()


def markdown(values: dict[str, Any]) -> str:
    """The page."""
    header = [
        "language",
        "accuracy in language",
        "accuracy",
        "fidelity",
        "LPR",
        "responses",
        "unscored",
        "unknown language",
    ]
    parts = [
        "# Published data sets, evaluated as a user does",
        f"The embedded policy, {values['limit']} questions a language, one greedy response each. It was not taught any "
        "of these tasks: the tables show that the data is read, asked, judged and counted. `unscored`: no accuracy can "
        "be told; `unknown language`: of so many responses the language can not be told (digits, marks, a few letters, "
        "or the model chose among given options). DIR is the folder of the data sets. NTREX is a corpus of "
        "translations, not questions: `lrpo-bench calibrate` reads it.",
    ]
    for row in values["rows"]:
        parts += [f"## {row['task']}, {row['variant']}", f"`{row['command']}` ({row['seconds']:.0f} s)"]
        parts.append(table(header, language_rows(row["metrics"])))
    return "\n\n".join([*parts, machine_line(values["machine"])]) + "\n"


def language_rows(metrics: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    """A row a language, the average last; a dash where nothing could be counted."""
    by_language: dict[str, dict[str, Any]] = {}
    for metric in metrics:
        by_language.setdefault(metric["language"], {})[metric["metric"]] = metric
    found = []
    for language in sorted(by_language, key=lambda code: (code.startswith("avg:"), code)):
        mine = by_language[language]
        shown = ["-" if mine[name]["value"] is None else f"{mine[name]['value']:.2f}" for name in _COLUMNS]
        accuracy, fidelity = mine["accuracy"], mine["fidelity"]
        total = accuracy["n"] + accuracy["n_unscored"]
        found.append((language, *shown, total, accuracy["n_unscored"], fidelity["n_unscored"]))
    return found


if __name__ == "__main__":
    main()
