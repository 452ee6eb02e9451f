"""Every method of the paper on the embedded default, as a table: where it is from, what is exact, what departs, gain.

    lrpo-bench sweep sweeps/methods                  # its head says what comes first
    python benchmarks/methods.py                     # reads results/methods, writes its README
    python benchmarks/methods.py --into README.md    # also replaces what stands between the markers there

A gain is the change of the share of unseen questions answered rightly in the asked language, each policy asked before
as after (Zero methods by a system prompt, all others by a tag), with a 95% interval for new seeds and new questions.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from measure import table

from lrpo_bench.results.collection import RunGroup
from lrpo_bench.results.seeds import SeedEstimate
from lrpo_bench.results.sweep_summary import group_numbers, sweep_summary
from lrpo_bench.training.methods import METHODS, Method, get_method

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- methods: python benchmarks/methods.py --into README.md -->", "<!-- end of methods -->"
SETS = ("avg:trained", "avg:all")
HEADER = (
    "method",
    "source",
    "what is exact",
    "what departs",
    "seeds",
    "gain, trained languages",
    "gain, all languages",
)
_CALIBRATIONS = {
    "none": "cosine to the reference as it is",
    "mean": "Eq. 4: less the pair's mean distance from all pairs' (lambda 1)",
    "quantile": "Eq. 5: the cosine's place among the pair's own samples",
}


def _variants() -> dict[str, Method]:
    """What the sweep has beside the registry: LRPO from a warm start, and its calibrations."""
    lrpo = get_method("lrpo")
    found = [
        dataclasses.replace(
            lrpo,
            name="lrpo-warm",
            title="LRPO from a warm start",
            exact="as lrpo, after sft's steps, as the paper has it",
            departs=f"the steps are added to those of the others; {lrpo.departs}",
        )
    ]
    for name, exact in _CALIBRATIONS.items():
        found.append(
            dataclasses.replace(
                lrpo,
                name=f"lrpo-calibration-{name}",
                title=f"LRPO rewarded by similarity, calibration {name}",
                exact=exact,
                departs=f"the world's encoder instead of mmBERT, its own sentences as corpus; {lrpo.departs}",
            )
        )
    return {method.name: method for method in found}


@dataclass(frozen=True, slots=True)
class Row:
    """One method over its seeds."""

    method: Method
    n_seeds: int
    gains: dict[str, SeedEstimate]
    """Change by set of languages."""


def rows_of(folder: Path) -> list[Row]:
    """One row a method that has complete runs below the folder, in the registry's order.

    Raises:
        ValueError: a folder that is no method's.
    """
    known = METHODS | _variants()
    summary = sweep_summary(folder)
    found: dict[str, Row] = {}
    for group in summary.collection.groups:
        name = _folder_name(group)
        if name not in known:
            raise ValueError(f"{folder}/{name} is no method of the sweep; there are {', '.join(known)}")
        gains: dict[str, SeedEstimate] = {}
        for (
            task
        ) in summary.collection.tasks:  # those asked by a system prompt count as another task: none is averaged with it
            gains |= {n.language: n.change for n in group_numbers(summary, group, task) if n.after.n_seeds}
        found[name] = Row(known[name], len(group.runs), gains)
    return [found[name] for name in known if name in found]


def _folder_name(group: RunGroup) -> str:
    return group.runs[0].path.parent.name


def markdown(rows: Iterable[Row]) -> str:
    """The table of methods, words to the left and numbers to the right."""
    header, _, *lines = table(HEADER, [_cells(row) for row in rows]).splitlines()
    return "\n".join([header, "|---|---|---|---|--:|--:|--:|", *lines])


def _cells(row: Row) -> tuple[str, ...]:
    method = row.method
    gains = [_shown(row.gains[name]) if name in row.gains else "" for name in SETS]
    return (f"`{method.name}`", method.source, method.exact, method.departs, str(row.n_seeds), *gains)


def _shown(gain: SeedEstimate) -> str:
    if math.isnan(gain.ci95[0]):
        return f"{gain.value:+.3f}"
    low, high = gain.ci95
    return f"{gain.value:+.3f} [{low:+.3f}, {high:+.3f}]"


def page(rows: Iterable[Row]) -> str:
    """The page beside the runs."""
    return (
        f"# Methods on the embedded default\n\n{(__doc__ or '').strip().split(chr(10) * 2)[-1]}\n\n{markdown(rows)}\n"
    )


def replaced(text: str, block: str) -> str:
    """A page with the block between the markers replaced.

    Raises:
        ValueError: the page does not have both markers.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN!r} and {END!r}, in this order")
    return f"{before}{BEGIN}\n\n{block}\n\n{END}{after}"


def main() -> None:
    """Reads the runs, writes the page, and the README where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "methods")
    parser.add_argument("--into", type=Path, help="a page with the two markers, whose table is replaced")
    arguments = parser.parse_args()
    if not arguments.results.is_dir():
        raise SystemExit(f"methods: no runs in {arguments.results}; run `lrpo-bench sweep sweeps/methods`")
    rows = rows_of(arguments.results)
    (arguments.results / "README.md").write_text(page(rows), encoding="utf-8")
    if arguments.into is not None:
        text = arguments.into.read_text(encoding="utf-8")
        arguments.into.write_text(replaced(text, markdown(rows)), encoding="utf-8")
    print(markdown(rows))


if __name__ == "__main__":
    main()
