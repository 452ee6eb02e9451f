r"""A comparison for a paper: LaTeX tables with booktabs, every name and text escaped.

The preamble needs `\usepackage{booktabs}`. Numbers stand in a plain `tabular`, so no other package is
needed; examples in other scripts need XeLaTeX or LuaLaTeX and a font that has them.
"""

from __future__ import annotations

from collections.abc import Sequence

from lrpo_bench.results.compare import Comparison, Difference
from lrpo_bench.results.matrix import cell_parts, first_value, matrix, notes_of, tasks_of
from lrpo_bench.results.tables import (
    GAINED,
    LOST,
    UNDECIDED,
    UNKNOWN,
    column_names,
    differences_of,
    interval,
    known,
    mark,
    number,
    p_value,
    title,
)
from lrpo_bench.results.untrusted import latex

_SYMBOLS = {
    GAINED: r"$\uparrow$",
    LOST: r"$\downarrow$",
    UNDECIDED: r"$\cdot$",
    UNKNOWN: "--",
    "*": r"$^{*}$",
}
_LEGEND = (
    r"$\uparrow$ $\downarrow$: the 95\% interval excludes zero; $^{*}$: also $p < .05$ after Holm's correction; "
    r"MDE: the smallest true difference that is found with 80\% power."
)


def latex_tables(comparisons: Sequence[Comparison], metrics: Sequence[str]) -> str:
    """One floating table a task and metric; several runs stand beside each other."""
    parts = [r"% needs \usepackage{booktabs}"]
    for task in tasks_of(comparisons):
        for metric in metrics:
            if any(known(c, metric, task) for c in comparisons):
                rows = _one(comparisons[0], metric, task) if len(comparisons) == 1 else _many(comparisons, metric, task)
                parts += _float(rows, _caption(comparisons, metric, task), f"tab:{task}-{metric}")
    parts += [f"% note: {latex(note)}" for note in notes_of(comparisons)]
    return "\n".join(parts) + "\n"


def _caption(comparisons: Sequence[Comparison], metric: str, task: str) -> str:
    one = title(comparisons[0], metric, task)
    many = f"{task}, {metric}: changes against {comparisons[0].before}, with 95% intervals"
    text = latex(one if len(comparisons) == 1 else many).replace("→", r"$\rightarrow$")
    return f"{text}. {_LEGEND}"


def _float(rows: list[str], caption: str, label: str) -> list[str]:
    name = "".join(ch if ch.isascii() and (ch.isalnum() or ch in "-:_") else "-" for ch in label)
    end = [rf"  \caption{{{caption}}}", rf"  \label{{{name}}}", r"\end{table}", ""]
    return [r"\begin{table}", r"  \centering", *rows, *end]


def _one(comparison: Comparison, metric: str, task: str) -> list[str]:
    names = column_names(comparison.before, comparison.after)
    header = ["Language", *names, "Change", "95% interval", "", "p (Holm)", "n", "MDE"]
    return _tabular("lrrrclrrr", header, [(d.language, _cells(d)) for d in differences_of(comparison, metric, task)])


def _cells(d: Difference) -> list[str]:
    change = d.change
    numbers = [number(d.before), number(d.after), number(change.value, signed=True), interval(d), mark(d)]
    return [*numbers, p_value(d.p_holm), str(change.n), number(d.detectable)]


def _many(comparisons: Sequence[Comparison], metric: str, task: str) -> list[str]:
    header = ["Language", comparisons[0].before, *(text for c in comparisons for text in (c.after, "95% interval"))]
    rows = [
        (language, [number(first_value(row)), *(part for d in row for part in cell_parts(d))])
        for language, row in matrix(comparisons, metric, task).items()
    ]
    return _tabular("lr" + "lc" * len(comparisons), header, rows)


def _tabular(columns: str, header: Sequence[str], rows: Sequence[tuple[str, list[str]]]) -> list[str]:
    lines = [
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        f"    {_row([latex(name) for name in header])}",
        r"    \midrule",
    ]
    previous = ""
    for language, cells in rows:
        if language.startswith("avg:") and previous and not previous.startswith("avg:"):
            lines.append(r"    \midrule")
        lines.append(f"    {_row([latex(language), *map(_number, cells)])}")
        previous = language
    return [*lines, r"    \bottomrule", r"  \end{tabular}"]


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _number(cell: str) -> str:
    r"""A cell that we made of numbers and marks; in mathematics a minus is a minus and not a hyphen.

    Example:
        >>> print(_number("0.753 +0.253 ▲*"), _number("[-0.049, +0.075]"), _number("—"))
        0.753 $+0.253$ $\uparrow$$^{*}$ $[-0.049, +0.075]$ --
    """
    if cell.startswith("["):
        return f"${cell}$"
    words = (
        f"${word}$" if word[:1] in "+-<" else "".join(_SYMBOLS.get(ch, ch) for ch in word) for word in cell.split()
    )
    return " ".join(words)
