"""What calibration does on a parallel corpus, from the files that `lrpo-bench calibrate` wrote.

    lrpo-bench calibrate --encoder embedded:default --corpus ./ntrex --out runs/ntrex.json
    python benchmarks/calibration.py "the world's encoder on NTREX=runs/ntrex.json" ...

Writes `results/benchmarks/calibration.md` (audits side by side, and a line a language) and `calibration-pairs.csv` (a
line a pair: quartiles of held-out translations and of near misses, before and after). No text of a corpus is in them.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import RESULTS, table

METHODS = ("none", "mean", "quantile")
_TITLES = {"none": "raw", "mean": "mean calibration", "quantile": "quantile calibration"}
_ROWS = (
    ("spread of translations between pairs (sd of pair means)", "spread_between_pairs"),
    ("a translation above a near miss, any pairs (AUC; .5 is chance)", "auc"),
    ("groups of translations in which another rollout wins than before", "winner_changed"),
    ("groups of translations in which several win", "winner_tied"),
    ("the most frequent winning language's share of those groups", "top_language_share"),
    ("groups of near misses and one translation in which it wins", "planted_found"),
    ("translations cut to [0, 1]", "cut"),
)
_NOTE = """*Translations* and *near misses* (of 100 held-out lines the most similar other line) are lines that the table
was not made from. In a group all rollouts are in different languages; with L languages the winning language's share is
at least 1 / L. A table is only worth as much as its encoder: where near misses score above translations (AUC below .5),
calibration makes the pairs alike and cannot make the reward right.
"""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A table's identity and its audit."""

    title: str
    table: Mapping[str, Any]
    audit: Mapping[str, Any]

    @property
    def pairs(self) -> list[str]:
        """Audited pairs of two languages."""
        return sorted(self.audit["methods"]["none"]["pairs"])

    def told_apart(self, method: str = "none") -> list[str]:
        """Pairs in which the median translation lies above the median near miss."""
        rows = self.audit["methods"][method]["pairs"]
        return [pair for pair in self.pairs if rows[pair]["equivalent"][1] > rows[pair]["hard"][1]]


def read(title: str, path: Path) -> Calibrated:
    """A table and the audit beside it."""
    audit = path.with_suffix(".audit.json")
    return Calibrated(title, *(json.loads(file.read_text(encoding="utf-8")) for file in (path, audit)))


def markdown(found: Iterable[Calibrated]) -> str:
    """The page."""
    parts = [f"# What calibration changes\n\n{_NOTE}"]
    for one in found:
        audit, identity = one.audit, one.table["encoder"]
        n_langs = len({lang for pair in one.pairs for lang in pair.split("-")})
        parts.append(
            f"## {one.title}\n\n{n_langs} languages, {len(one.pairs)} pairs of two; {audit['n_lines']} held-out lines, "
            f"{audit['n_groups']} groups of {audit['group_size']}; encoder of {identity['dimension']} dimensions,\n"
            f"weights {identity['weights_hash'][:19]}; shrinkage {one.table['shrinkage']:.2f}. The median translation "
            f"lies above the median near miss in {len(one.told_apart())} pairs.\n"
        )
        rows = [(label, *(f"{audit['methods'][m][key]:.3f}" for m in METHODS)) for label, key in _ROWS]
        parts.append(table(("", *_TITLES.values()), rows) + "\n")
        parts.append(table(_LANGUAGE_HEADER, _language_rows(one)) + "\n")
    parts.append("By pair: `calibration-pairs.csv`. Made by `python benchmarks/calibration.py`.\n")
    return "\n".join(parts)


_LANGUAGE_HEADER = ("mean over the language's pairs of median translation / near miss", *_TITLES.values())


def _language_rows(one: Calibrated) -> list[tuple[str, ...]]:
    by_language: dict[str, list[str]] = defaultdict(list)
    for pair in one.pairs:
        for lang in pair.split("-"):
            by_language[lang].append(pair)
    return [
        (lang, *(_medians([one.audit["methods"][m]["pairs"][pair] for pair in pairs]) for m in METHODS))
        for lang, pairs in sorted(by_language.items())
    ]


def _medians(pairs: list[Mapping[str, Any]]) -> str:
    return " / ".join(f"{statistics.fmean(pair[kind][1] for pair in pairs):.3f}" for kind in ("equivalent", "hard"))


def write_pairs(found: Iterable[Calibrated], path: Path) -> None:
    """A line a pair and calibration."""
    quartiles = [f"{kind}_{q}" for kind in ("translation", "near_miss") for q in ("q25", "q50", "q75")]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("corpus and encoder", "pair", "calibration", "n", *quartiles))
        for one in found:
            for pair in one.pairs:
                for method in METHODS:
                    row = one.audit["methods"][method]["pairs"][pair]
                    values = (f"{value:.3f}" for value in (*row["equivalent"], *row["hard"]))
                    writer.writerow((one.title, pair, method, row["n"], *values))


def main() -> None:
    """Reads the tables and audits, writes the page and the pairs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("tables", nargs="+", metavar="TITLE=TABLE.json")
    found = []
    for argument in parser.parse_args().tables:
        title, equals, path = argument.rpartition("=")
        if not equals:
            raise SystemExit(f"calibration: a table is given as TITLE=TABLE.json, got {argument!r}")
        found.append(read(title, Path(path)))
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "calibration.md").write_text(markdown(found), encoding="utf-8")
    write_pairs(found, RESULTS / "calibration-pairs.csv")
    print(markdown(found))


if __name__ == "__main__":
    main()
