"""Figures as SVG text, with matplotlib's objects only: no pyplot, no window, no global state.

Ink is `currentColor` on a transparent ground, so that a figure is readable on light and dark alike, inside a page
(which sets the colour) and on its own (by a style inside the file). Colours are from Okabe and Ito, and Paul Tol's
"muted" set, both made for colour-blind readers; no meaning rests on colour alone.
"""

from __future__ import annotations

import io
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lrpo_bench.results.compare import HEADLINE, Comparison, Difference
from lrpo_bench.results.tables import differences_of
from lrpo_bench.results.words import SETS, metric_name

BLUE, VERMILLION = "#0072B2", "#D55E00"
GAIN_COLOUR, LOSS_COLOUR = "#2F86BF", VERMILLION
_PALETTE = (  # Tol muted, then three of Okabe and Ito
    "#88CCEE #CC6677 #DDCC77 #117733 #332288 #AA4499 #44AA99 #999933 #882255 #E69F00 #0072B2 #D55E00"
)
_INK = "#010203"  # replaced by currentColor; matplotlib has no such colour
_GROUND = "#040506"  # becomes the page's own ground, or the viewer's
_STYLE = (
    "<style>svg.lrpo-figure{color:#2b2b2b}@media(prefers-color-scheme:dark){svg.lrpo-figure{color:#d8d8d8}}"
    "svg.lrpo-figure text{font-family:system-ui,sans-serif}</style>"
)
_RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lrpo-bench",  # ids are random otherwise, and no two files alike
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
}


def deltas(comparison: Comparison, metric: str = HEADLINE, task: str | None = None) -> str:
    """Change per language, in points, as a dot with its 95% interval; averages are below.

    The dot is filled where the interval excludes zero. The metric must be a share.
    """
    found = differences_of(comparison, metric, task)
    singles = sorted((d for d in found if not d.is_average), key=lambda d: -_sortable(d.change.value))
    rows = singles + [d for d in found if d.is_average]
    with _figure(6.4, 0.9 + 0.27 * max(1, len(rows))) as figure:
        axes = figure.add_subplot()
        axes.axvline(0, color=_INK, linewidth=0.8)
        for y, difference in enumerate(rows):
            _draw_delta(axes, -y, difference)
        if singles and len(rows) > len(singles):
            axes.axhline(0.5 - len(singles), color=_INK, linewidth=0.4, alpha=0.4)
        axes.set_yticks([-y for y in range(len(rows))], [SETS.get(d.language, d.language) for d in rows])
        axes.set_ylim(-len(rows) + 0.4, 0.6)
        axes.tick_params(length=0)
        axes.grid(axis="x", color=_INK, alpha=0.12, linewidth=0.6)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"{metric_name(metric)}: change in points, 95% interval")
        return _svg(figure, f"Change in {metric} per language with 95% intervals")


def router(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Share of each arm over steps as stacked areas; None where no row has arms."""
    series = arm_series(rows)
    if series is None:
        return None
    steps, shares = series
    with _figure(6.4, 3.0) as figure:
        axes = figure.add_subplot()
        palette = _PALETTE.split()
        colours = [palette[i % len(palette)] for i in range(len(shares))]
        axes.stackplot(steps, list(shares.values()), labels=list(shares), colors=colours, alpha=0.85, linewidth=0)
        axes.set_xlim(min(steps), max(steps) if len(steps) > 1 else min(steps) + 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("step")
        axes.set_ylabel("probability")
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1)
        return _svg(figure, "Router distribution over languages, by training step")


def arm_series(rows: Sequence[Mapping[str, Any]]) -> tuple[list[float], dict[str, list[float]]] | None:
    """Steps and, per language, its probability at each step; None where no row has any.

    A language that is not an arm at a step has probability 0 there.
    """
    kept = [row for row in rows if isinstance(row.get("arms"), Mapping) and row["arms"] and _is_number(row.get("step"))]
    langs = sorted({lang for row in kept for lang in row["arms"]})
    if not kept:
        return None
    kept.sort(key=lambda row: row["step"])
    shares = {lang: [_number(row["arms"].get(lang, 0.0)) for row in kept] for lang in langs}
    return [float(row["step"]) for row in kept], shares


def curve(rows: Sequence[Mapping[str, Any]], key: str) -> str | None:
    """One logged quantity over steps; None with fewer than two values. Gaps stay gaps."""
    points: dict[float, float] = defaultdict(lambda: math.nan)
    for row in rows:
        if _is_number(row.get("step")) and (_is_number(row.get(key)) or row.get(key) is None):
            points[float(row["step"])] = _number(row.get(key))
    if sum(not math.isnan(value) for value in points.values()) < 2:
        return None
    steps = sorted(points)
    with _figure(3.2, 1.7) as figure:
        axes = figure.add_subplot()
        axes.plot(steps, [points[step] for step in steps], color=GAIN_COLOUR, linewidth=1.3)
        axes.grid(axis="y", color=_INK, alpha=0.12, linewidth=0.6)
        axes.tick_params(length=2, width=0.5)
        axes.set_title(key.replace("_", " ").replace("$", r"\$"), loc="left", fontsize=9)
        return _svg(figure, f"{key} by training step")


def lines(steps: Sequence[float], series: Mapping[str, Sequence[float]], label: str, title: str) -> str:
    """Several quantities over steps, told apart by their dashes too; the legend is in the order of their ends."""
    with _figure(6.4, 2.6) as figure:
        axes = figure.add_subplot()
        for i, (name, values) in enumerate(sorted(series.items(), key=lambda item: -item[1][-1])):
            style = ("-", "--", "-.", ":")[list(series).index(name) % 4]
            axes.plot(steps, values, style, color=_PALETTE.split()[-1 - i], linewidth=1.6, label=name)
        axes.grid(axis="y", color=_INK, alpha=0.12, linewidth=0.6)
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=2.5)
        return _svg(figure, title)


def file_name(text: str) -> str:
    """A text as part of a file name.

    Example:
        >>> file_name("rewards/gate mean")
        'rewards-gate-mean'
    """
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in text)


@contextmanager
def _figure(width: float, height: float) -> Iterator[Any]:
    """An empty figure of that size in inches, in our style while the block lasts."""
    # Loaded here: half a second that a run without figures (an evaluation) need not wait.
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_RC):
        yield Figure(figsize=(width, height), layout="constrained")


def _draw_delta(axes: Any, y: float, difference: Difference) -> None:
    change = difference.change
    if math.isnan(change.value):
        axes.text(0, y, "  unknown", va="center", fontsize=8, alpha=0.7)
        return
    colour = _INK if not change.excludes_zero else GAIN_COLOUR if change.value > 0 else LOSS_COLOUR
    low, high = (100 * end for end in change.ci95)
    if not math.isnan(low):
        axes.plot([low, high], [y, y], color=colour, linewidth=1.6, solid_capstyle="round")
    marker = "D" if difference.is_average else "o"
    # An open dot is inconclusive, so that the plot can be read without its colours.
    face = colour if change.excludes_zero else _GROUND
    axes.plot(
        [100 * change.value],
        [y],
        marker,
        markersize=6,
        markeredgecolor=colour,
        markerfacecolor=face,
        markeredgewidth=1.3,
    )


def _svg(figure: Any, title: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor").replace(_GROUND, "var(--ground, Canvas)")
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # several figures share a page, ids must not
    head, rest = text.split(">", 1)
    return f'{head} class="lrpo-figure" role="img">{_STYLE}{rest}'


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: Any) -> float:
    return float(value) if _is_number(value) else math.nan


def _sortable(value: float) -> float:
    return -math.inf if math.isnan(value) else value


__all__ = ["arm_series", "curve", "deltas", "file_name", "lines", "router"]
