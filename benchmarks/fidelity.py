"""Fidelity of a real model's confused answers by the public benchmark's rules and by the corrected ones.

    python benchmarks/fidelity.py --data DIR             # writes results/benchmarks/fidelity.md and .json

DIR holds `language_confusion/outputs/*.csv` (columns `completion`, `task`, `language`) and its `words`, the Language
Confusion Benchmark's (arXiv 2406.20052). Neither is redistributed here; only rates are stored. One detector decides for
both rules, since the public code's own, a fastText model, is not part of them: so the two columns differ by the rules
alone, which `lrpo_bench.evaluation.fidelity_rules` lists and `docs/fidelity.md` explains. That the rules called
`reference` are the public code's is a test (`tests/test_fidelity.py`), line by line on the same answers. Chinese and
Japanese are not scored by them without the segmenters that the public code uses. About a minute.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import machine, machine_line, table, write

from lrpo_bench.evaluation.fidelity import (
    FidelitySummary,
    PassRate,
    ResponseFidelity,
    Verdict,
    judge_fidelity,
    summarise_fidelity,
)
from lrpo_bench.evaluation.fidelity_rules import CORRECTED, REFERENCE, read_word_list
from lrpo_bench.language_id.base import LanguageDetector
from lrpo_bench.language_id.registry import get_detector

VERDICTS = {True: "passes", False: "fails", None: "not scored"}


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds language_confusion")
    parser.add_argument("--detector", default="auto", help="decides on lines for both rules (auto)")
    parser.add_argument("--name", default="fidelity", help="name of the files written")
    arguments = parser.parse_args()
    answers = read_answers(arguments.data / "language_confusion" / "outputs")
    detector = get_detector(arguments.detector, sorted({row["language"] for row in answers}))
    values = compare(answers, arguments.data / "language_confusion" / "words", detector)
    write(arguments.name, _markdown(values), values)


def read_answers(folder: Path) -> list[dict[str, str]]:
    """Rows of every file of answers; ends the program with one line where there are none."""
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise SystemExit(f"no answers in {folder}; give a folder that holds language_confusion/outputs/*.csv")
    csv.field_size_limit(2**31 - 1)
    rows = []
    for file in files:
        with file.open(encoding="utf-8", newline="") as stream:
            rows += list(csv.DictReader(stream))
    return rows


def compare(answers: Sequence[dict[str, str]], words: Path, detector: LanguageDetector) -> dict[str, Any]:
    """Both rules' rates by kind of prompt and language, and how verdicts on lines differ."""
    texts, asked = [row["completion"] for row in answers], [row["language"] for row in answers]
    listed = read_word_list(words)
    reference = judge_fidelity(texts, asked, detector, listed, REFERENCE)
    corrected = judge_fidelity(texts, asked, detector, listed, CORRECTED)
    groups: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(answers):
        groups.setdefault((row["task"], row["language"]), []).append(number)
    rows = []
    for (task, lang), members in sorted(groups.items()):
        public = summarise_fidelity([reference[i] for i in members], REFERENCE)
        own = summarise_fidelity([corrected[i] for i in members], CORRECTED)
        row = {"task": task, "language": lang, "n": len(members)}
        rows.append(row | {"reference": _rates(public), "corrected": _rates(own)})
    return {
        "detector": detector.name,
        "word_list": listed.signature,
        "rows": rows,
        "line_verdicts": _moves(reference, corrected, "lines"),
        "word_verdicts": _moves(reference, corrected, "words"),
        "machine": machine("lingua-language-detector", "langdetect"),
    }


def _rates(summary: FidelitySummary) -> dict[str, Any]:
    return {"lpr": _rate(summary.lpr), "wpr": _rate(summary.wpr), "lcpr": summary.lcpr}


def _rate(rate: PassRate) -> dict[str, Any]:
    return {"value": rate.value, "scored": rate.scored, "unscored": dict(rate.unscored)}


def _moves(reference: Sequence[ResponseFidelity], corrected: Sequence[ResponseFidelity], part: str) -> list[list[Any]]:
    """How many responses have each pair of verdicts, the most frequent first, with the reason of what is not scored."""

    def named(verdict: Verdict) -> str:
        return VERDICTS[verdict.passed] + (f" ({verdict.reason})" if verdict.reason else "")

    pairs = Counter(
        (named(getattr(a, part)), named(getattr(b, part))) for a, b in zip(reference, corrected, strict=True)
    )
    return [[*pair, count] for pair, count in pairs.most_common()]


def _markdown(values: dict[str, Any]) -> str:
    header = ("prompts", "language", "responses", "LPR public", "LPR", "scored public", "scored", "WPR public", "WPR")
    header += ("LCPR public", "LCPR")
    rows = [
        (
            row["task"], row["language"], row["n"], _shown(row["reference"]["lpr"]["value"]),
            _shown(row["corrected"]["lpr"]["value"]), row["reference"]["lpr"]["scored"],
            row["corrected"]["lpr"]["scored"], _shown(row["reference"]["wpr"]["value"]),
            _shown(row["corrected"]["wpr"]["value"]), _shown(row["reference"]["lcpr"]),
            _shown(row["corrected"]["lcpr"]),
        )
        for row in values["rows"]
    ]  # fmt: skip
    return "\n\n".join(
        (
            "# Fidelity of a confused model by two sets of rules",
            f"Detector `{values['detector']}` for both, word list {values['word_list']}. `public`: the rules of the "
            "public benchmark's code. Rates in [0, 1]; `-`: unknown, since nothing could be scored. Written by "
            "`python benchmarks/fidelity.py`.",
            table(header, rows),
            "## Verdicts on lines",
            table(("public", "corrected", "responses"), values["line_verdicts"]),
            "## Verdicts on words",
            table(("public", "corrected", "responses"), values["word_verdicts"]),
            machine_line(values["machine"]),
        )
    )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
