"""Whether two builds of a world measure alike: does a rebuild reproduce the weights that ship?

Cells are pooled to one row a kind and answer language. Each row's difference of two shares comes with Newcombe's
interval (R. G. Newcombe, 1998, method 10, from two Wilson intervals) and Fisher's exact test, Holm-corrected over all
rows. Both builds are asked the same questions where their seeds agree; the test takes them for independent, which makes
it the more cautious. What it does not know is the noise of training itself: other threads or another machine sum in
another order, and a weak cell may then differ by more than the questions' noise.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import binomtest, fisher_exact

from lrpo_bench.errors import ConfigError, DataError
from lrpo_bench.evaluation.significance import holm
from lrpo_bench.world.measure import Cell
from lrpo_bench.world.questions import KINDS, WORLD_LANGUAGES, Kind

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Agreement:
    """One kind and answer language, in two builds; shares in [0, 1]."""

    kind: Kind
    rollout_lang: str
    n: tuple[int, int]
    """Questions asked of each build."""
    share: tuple[float, float]
    """Rightly answered share in each build."""
    ci95: tuple[float, float]
    """Of the second share less the first."""
    p_holm: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is one that chance explains."""
        return self.p_holm >= ALPHA


def load_cells(folder: Path) -> list[Cell]:
    """The measured cells of a built world; raises `DataError` where there are none to read."""
    path = folder / "eval.json"
    try:
        return [Cell(*row) for row in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no readable evaluation of a world model ({error}); name a built folder") from error


def compare_builds(before: list[Cell], after: list[Cell]) -> list[Agreement]:
    """A row for each kind and answer language that both builds were asked about.

    Raises:
        ConfigError: if they have none in common.
    """
    old, new = _pooled(before), _pooled(after)
    keys = [(kind, lang) for kind in KINDS for lang in WORLD_LANGUAGES if (kind, lang) in old and (kind, lang) in new]
    if not keys:
        raise ConfigError("the two builds have no kind of question and answer language in common")
    tables = [[[old[key][1], old[key][0] - old[key][1]], [new[key][1], new[key][0] - new[key][1]]] for key in keys]
    adjusted = holm([fisher_exact(table).pvalue for table in tables])
    rows = []
    for key, p in zip(keys, adjusted, strict=True):
        (n_old, right_old), (n_new, right_new) = old[key], new[key]
        shares = (right_old / n_old, right_new / n_new)
        rows.append(Agreement(*key, (n_old, n_new), shares, newcombe(right_old, n_old, right_new, n_new), float(p)))
    return rows


def newcombe(right_a: int, n_a: int, right_b: int, n_b: int) -> tuple[float, float]:
    """95% interval of share b less share a, in [-1, 1].

    Example:
        >>> [round(end, 4) for end in newcombe(48, 80, 56, 70)]  # Newcombe's own example (a), signs turned
        [0.0524, 0.3339]
    """
    p_a, p_b = right_a / n_a, right_b / n_b
    low_a, high_a = binomtest(right_a, n_a).proportion_ci(method="wilson")
    low_b, high_b = binomtest(right_b, n_b).proportion_ci(method="wilson")
    low = p_b - p_a - math.hypot(p_b - low_b, high_a - p_a)
    high = p_b - p_a + math.hypot(high_b - p_b, p_a - low_a)
    return low, high


def agreement_text(rows: list[Agreement]) -> str:
    """The rows as a Markdown table and one line that sums them up."""
    lines = ["| kind | answers in | first | second | change, 95% interval | p (Holm) |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row.kind} | {row.rollout_lang} | {row.share[0]:.3f} of {row.n[0]} | {row.share[1]:.3f} of {row.n[1]} "
        f"| {row.share[1] - row.share[0]:+.3f} [{row.ci95[0]:+.3f}, {row.ci95[1]:+.3f}] | {row.p_holm:.3f} |"
        for row in rows
    ]
    apart = [row for row in rows if not row.agrees]
    named = ", ".join(f"{row.kind} in {row.rollout_lang}" for row in apart)
    verdict = f"they differ beyond chance in {len(apart)}: {named}" if apart else "none differs beyond chance"
    return "\n".join([*lines, "", f"{len(rows)} rows compared; {verdict} (Holm, {ALPHA})."]) + "\n"


def _pooled(cells: list[Cell]) -> dict[tuple[Kind, str], tuple[int, int]]:
    """(n, correct) of each kind and answer language."""
    sums: dict[tuple[Kind, str], tuple[int, int]] = {}
    for cell in cells:
        n, correct = sums.get((cell.kind, cell.rollout_lang), (0, 0))
        sums[cell.kind, cell.rollout_lang] = (n + cell.n, correct + cell.correct)
    return sums
