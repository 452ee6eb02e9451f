"""`lrpo-bench summary` and `lrpo-bench slim`: what a folder of runs amounts to, and what of it is worth keeping."""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys

from lrpo_bench.errors import StorageError


def summary_command(arguments: argparse.Namespace) -> None:
    """Prints the study's tables: methods x models, and differences from a baseline, over seeds and questions."""
    from lrpo_bench.results.files import dumps
    from lrpo_bench.results.study_table import study_markdown, study_rows, study_tables
    from lrpo_bench.results.sweep_summary import sweep_summary
    from lrpo_bench.results.sweep_summary_text import to_markdown

    summary = sweep_summary(arguments.results)
    tables = study_tables(summary, arguments.against)
    if arguments.format == "markdown":
        text = study_markdown(tables)
        text += "".join(f"\nNote: {note}.\n" for note in summary.notes)
        text += f"\n{to_markdown(summary)}" if arguments.all else ""
    elif arguments.format == "json":
        text = dumps(study_rows(tables), indent=1) + "\n"
    else:
        rows = study_rows(tables)
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, rows[0] if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: "" if _is_nan(value) else value for key, value in row.items()} for row in rows)
        text = buffer.getvalue()
    sys.stdout.write(text)


def slim_command(arguments: argparse.Namespace) -> None:
    """Deletes the heavy parts of finished runs, or of all finished runs below a folder."""
    from lrpo_bench.results.collection import find_runs
    from lrpo_bench.results.slim import slim_run, summary_line
    from lrpo_bench.results.store import read_manifest

    keep = [part for text in arguments.keep for part in text.split(",") if part]
    for folder in arguments.runs:
        found = find_runs(folder)
        if not found:
            raise StorageError(f"{folder} holds no runs")
        for path in found:
            manifest = read_manifest(path)
            if manifest.status != "complete" and path != folder:
                sys.stdout.write(f"{path}: {manifest.status}, left as it is\n")
            else:
                sys.stdout.write(f"{summary_line(slim_run(path, keep))}\n")


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
