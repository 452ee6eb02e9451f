"""Sections of a report as values, so that the page and its Markdown twin say the same.

    Section("Seeds", (Text("One seed."), Rows(("what", "seed"), (("run", "0"),))))

Text is plain: it is escaped here, for either form, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lrpo_bench.results.html import escape as escape_html
from lrpo_bench.results.html import items, paragraph, table, tag


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A bulleted list."""

    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Rows:
    """A table."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: bool = False
    """Whether cells hold sentences, which may be broken into lines, instead of numbers."""


@dataclass(frozen=True, slots=True)
class Code:
    """Lines to type."""

    text: str


Block = Text | Items | Rows | Code


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what stands below it."""

    title: str
    blocks: Sequence[Block]
    level: int = 2


def to_html(sections: Iterable[Section]) -> str:
    """The sections as HTML; one without blocks is left out."""
    return "".join(
        tag(f"h{section.level}", escape_html(section.title)) + "".join(map(_html, section.blocks))
        for section in sections
        if section.blocks
    )


def to_markdown(sections: Iterable[Section]) -> str:
    r"""The sections as Markdown; one without blocks is left out.

    Example:
        >>> print(to_markdown([Section("Seeds", (Text("One <seed>."), Items(("a", "b"))))]))
        ## Seeds
        <BLANKLINE>
        One \<seed>.
        <BLANKLINE>
        - a
        - b
        <BLANKLINE>
    """
    parts = []
    for section in sections:
        if section.blocks:
            parts.append(f"{'#' * section.level} {escape_markdown(section.title)}")
            parts += map(_markdown, section.blocks)
    return "\n\n".join(parts) + "\n"


def escape_markdown(text: str) -> str:
    r"""Text on one line that Markdown leaves as it is.

    Example:
        >>> print(escape_markdown("a|b <i> [x](y) `z`"))
        a\|b \<i> \[x](y) \`z\`
    """
    line = " ".join(text.split())
    for character in "\\|<[`*_":
        line = line.replace(character, f"\\{character}")
    return line


def _html(block: Block) -> str:
    if isinstance(block, Text):
        return paragraph(block.text)
    if isinstance(block, Items):
        return items(block.texts)
    if isinstance(block, Code):
        return tag("pre", escape_html(block.text))
    made = table(block.header, [("", list(row)) for row in block.rows])
    return tag("div", made, class_="words") if block.words else made


def _markdown(block: Block) -> str:
    if isinstance(block, Text):
        return escape_markdown(block.text)
    if isinstance(block, Items):
        return "\n".join(f"- {escape_markdown(text)}" for text in block.texts)
    if isinstance(block, Code):
        return "\n".join(f"    {line}" for line in block.text.splitlines())  # no fence that the text could close
    rule = "|".join("---" if block.words or i == 0 else "--:" for i in range(len(block.header)))
    lines = ["| " + " | ".join(map(escape_markdown, row)) + " |" for row in (block.header, *block.rows)]
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])
