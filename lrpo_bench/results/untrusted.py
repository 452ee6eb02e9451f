"""Text that a model, a data set or a folder name brings along, made safe for where it is printed.

A terminal obeys escape sequences, Markdown obeys markup and mentions, LaTeX obeys commands. HTML has its own module
(`html`). Nothing is dropped: what could do something is shown as its escape.
"""

from __future__ import annotations

import re
import unicodedata

_HIDDEN = ("Cc", "Cs", "Zl", "Zp")
"""Categories that are never shown as they are: controls, lone surrogates, line and paragraph separators."""
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Bidirectional overrides, which show text in another order than it has (CVE-2021-42574). Joiners stay: Hindi and
Bengali are written with them."""
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    **{character: f"\\{character}" for character in "{}$&#_%"},
}


def visible(text: str) -> str:
    r"""One line of text with everything that a terminal would obey shown as an escape.

    Example:
        >>> print(visible("a\x1b[31mb\u202e"))
        a\x1b[31mb\u202e
    """
    return "".join(
        ch.encode("unicode_escape").decode() if unicodedata.category(ch) in _HIDDEN or ch in _REORDERING else ch
        for ch in text
    )


def one_line(text: str, limit: int = 200) -> str:
    r"""Text as one visible line, its white space joined and its length limited.

    Example:
        >>> one_line("a\n  b\t\x07")
        'a b \\x07'
    """
    joined = visible(" ".join(text.split()))
    return joined if len(joined) <= limit else joined[: limit - 3] + "..."


def markdown_line(text: str) -> str:
    r"""Text as one line of Markdown that is no markup, no HTML, no mention and no end of a table cell.

    Example:
        >>> print(markdown_line("a_b|c <i>*d*"), markdown_line("@all"))
        a_b\|c &lt;i>\*d\* @<!-- -->all
    """
    escaped = re.sub(r"([\\`*\[\]{}#|~!$])", r"\\\1", one_line(text))
    escaped = re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", escaped)  # inside a word an underscore is no markup
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace("@", "@<!-- -->")


def fenced(lines: list[str]) -> list[str]:
    r"""Lines as a Markdown code block, with a fence that nothing in them can close.

    Example:
        >>> fenced(["a", "```"])
        ['````text', 'a', '```', '````']
    """
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", *(visible(line) for line in lines), fence]


def latex(text: str) -> str:
    r"""Text as one line of LaTeX that is no command.

    Example:
        >>> print(latex("50% of a_b \\input{x}"))
        50\% of a\_b \textbackslash{}input\{x\}
    """
    return "".join(_LATEX.get(ch, ch) for ch in one_line(text, limit=2000))
