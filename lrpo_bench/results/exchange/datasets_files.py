"""Responses as files that `datasets.load_dataset` reads, and `lrpo_bench` too.

    OUT.parquet   load_dataset("parquet", data_files="OUT.parquet")
    OUT.jsonl     load_dataset("json", data_files="OUT.jsonl")
    OUT/          load_dataset("OUT"): every evaluation of the run, each a split, with a card

Columns are the fields of `evaluation.records`; what is unknown is null.
"""

from __future__ import annotations

from pathlib import Path

from lrpo_bench.evaluation.records import record_to_json, sort_records
from lrpo_bench.results.evaluations import read_evaluation, to_parquet
from lrpo_bench.results.exchange.source import model_name, refuse_existing
from lrpo_bench.results.files import write_bytes
from lrpo_bench.results.named import NamedEvaluation
from lrpo_bench.results.schema import EVALUATIONS
from lrpo_bench.results.untrusted import markdown_line


def export_datasets(found: NamedEvaluation, out: Path, name: str | None = None) -> list[Path]:
    """Writes the responses and returns the files.

    Args:
        found: of a file, this evaluation is written; of a folder, both of its run.
        out: a name that ends in `.parquet` or `.jsonl`, or a folder.
        name: what the model is called in the card.
    """
    refuse_existing(out)
    if out.suffix == ".parquet":
        write_bytes(out, to_parquet(found.evaluation.records))
        return [out]
    if out.suffix == ".jsonl":
        write_bytes(out, _jsonl(found))
        return [out]
    files = []
    for split in EVALUATIONS:
        evaluation = read_evaluation(found.run / split)
        if evaluation is not None:
            files.append(out / "data" / f"{split}.parquet")
            write_bytes(files[-1], to_parquet(evaluation.records))
    write_bytes(out / "README.md", _card(found, [file.stem for file in files], name).encode())
    return [*files, out / "README.md"]


def _jsonl(found: NamedEvaluation) -> bytes:
    records = sort_records(found.evaluation.records)
    return "".join(f"{record_to_json(record)}\n" for record in records).encode("utf-8", "backslashreplace")


def _card(found: NamedEvaluation, splits: list[str], name: str | None) -> str:
    places = "".join(f"  - split: {split}\n    path: data/{split}.parquet\n" for split in splits)
    languages = sorted({lang for task in found.evaluation.signature.tasks.values() for lang in task.languages})
    tasks = ", ".join(f"{task} ({row.variant})" for task, row in sorted(found.evaluation.signature.tasks.items()))
    codes = "".join(f'- "{lang}"\n' for lang in languages)  # "no" unquoted is false in YAML
    return (
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        f"{places}language:\n{codes}tags:\n- lrpo-bench\n---\n\n"
        f"# Responses of {markdown_line(model_name(found, name))}\n\n"
        f"Judged responses to {markdown_line(tasks)}, made by lrpo-bench {found.manifest.package_version}: one row a "
        "response, with the question, the text that the model was shown and the text it wrote, the score, and the "
        "language it is in. Null means unknown. The questions keep the licences of their data sets.\n"
    )
