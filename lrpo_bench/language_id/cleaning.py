"""Text without what has no language: code, mathematics, links, short quoted names, digits.

Every pattern is linear in the length of the text: model output can be 100,000 characters of anything.

Example:
    >>> strip_languageless("Die Antwort ist $x = 3$, siehe `print(x)`.")
    'Die Antwort ist  , siehe  .'
"""

from __future__ import annotations

import re

# A delimiter never lies inside its own pattern and `*+` is possessive, so that no text is scanned twice for one.
# Links and addresses are ASCII, so that they end where Chinese or Thai goes on without a space. `$` opens TeX only
# before, and closes it only after, a character that is no space, and no digit follows: pandoc's rule, without which
# "$5 each, making $10" would lose its words.
_LANGUAGELESS = re.compile(
    r"```(?:[^`]|`(?!``))*+(?:```|$)"  # fenced code
    r"|`[^`\n]*`"  # inline code
    r"|\$\$[^$]*\$\$|\$(?!\s)[^$\n]{1,200}(?<!\s)\$(?!\d)"  # TeX
    r"|\\\[(?:[^\\]|\\(?![\[\]]))*+\\\]|\\\((?:[^\\]|\\(?![()]))*+\\\)|\\[a-zA-Z]+"
    r"|https?://[!-~]+|www\.[!-~]+|[A-Za-z0-9_.+-]{1,64}@[A-Za-z0-9.-]{1,64}"
    r"|<\|?[^<>\n]{1,40}\|?>"  # tags, HTML and chat markers
)
_MARKS = ("`", "$", "\\", "://", "www.", "@", "<")
"""Each match of the pattern above has one of these."""
_OPENING_QUOTES = ('"', "“", "«", "「", "《", "„")
_QUOTED_NAME = re.compile(
    r"\"[^\"\n]{1,40}\"|“[^”\n]{1,40}”|«[^»\n]{1,40}»|「[^」\n]{1,20}」|《[^》\n]{1,20}》|„[^“\n]{1,40}“"
)


def strip_languageless(text: str) -> str:
    """`text` with code, mathematics, links and markup blanked, and quoted names where at least half of it remains."""
    if any(mark in text for mark in _MARKS):  # most prose has none, and finding that out is ten times as fast
        text = _LANGUAGELESS.sub(" ", text)
    without_names = _QUOTED_NAME.sub(" ", text) if any(mark in text for mark in _OPENING_QUOTES) else text
    if without_names == text:
        return text
    return without_names if 2 * _count_letters(without_names) >= _count_letters(text) else text


def _count_letters(text: str) -> int:
    # Not words: a Chinese sentence is a single one.
    return sum(map(str.isalpha, text))
