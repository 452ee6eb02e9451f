r"""One spelling for what models write in many: digits, spaces, minus signs, full-width forms, LaTeX.

Everything that reads an answer out of a response starts here, and every offset that it reports is an offset into the
cleaned text. Cleaning is linear in the length of the text and safe on any `str`, lone surrogates included.

Example:
    >>> clean("উত্তর হল ১২.৫।"), clean("答えは１，５００円"), clean(r"\$1{,}500 \times \frac{3}{4}")
    ('উত্তর হল 12.5।', '答えは1,500円', '$1,500 \\times 3/4')
"""

from __future__ import annotations

import re
import unicodedata

_MARKS_KEPT = 30  # Unicode's stream-safe limit; NFC is quadratic in the length of a run of combining marks
_WIDE_COMMA = re.compile(
    r"(?<=[0-9０-９])，(?=[０-９]{3})"
)  # elsewhere a full-width comma is punctuation, never a separator
_FRACTION = re.compile(r"(?<=[0-9])\s?\\[dt]?frac\{([0-9]{1,9})\}\{([0-9]{1,9})\}")
_BARE_FRACTION = re.compile(r"\\[dt]?frac\{([0-9]{1,9})\}\{([0-9]{1,9})\}")
_LATEX = (("{,}", ","), ("\\,", " "), ("\\;", " "), ("\\ ", " "), ("\\!", ""), ("\\$", "$"), ("\\%", "%"))
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # colours and the like: their numbers are no answers
_LINE_ENDS = "\t\n\v\f\r\x85"
_SAME = {
    **dict.fromkeys("−﹣－", "-"),
    **dict.fromkeys("’ʼ＇‘", "'"),
    **dict.fromkeys("٪﹪％", "%"),
    **dict.fromkeys("⁄∕", "/"),
}


def clean(text: str) -> str:
    """`text` in NFC, without invisible characters, with ASCII digits, spaces, minus signs and apostrophes."""
    text = _TERMINAL.sub("", text)
    text = unicodedata.normalize("NFC", _limit_marks(_WIDE_COMMA.sub(",", text)))
    text = text.translate({ord(char): _plain(char) for char in set(text)})
    if "\\" in text or "{,}" in text:
        for written, meant in _LATEX:
            text = text.replace(written, meant)
        text = _BARE_FRACTION.sub(r"\1/\2", _FRACTION.sub(r" \1/\2", text))
    return text


def lower(text: str) -> str:
    """`text` in lower case at the same length, so that offsets stay valid (`str.lower` lengthens İ).

    Example:
        >>> lower("İ ANSWER"), len(lower("İ"))
        ('İ answer', 1)
    """
    return text.translate({ord(char): low for char in set(text) if len(low := char.lower()) == 1})


def _plain(char: str) -> str | None:
    digit = unicodedata.decimal(char, None)
    if digit is not None:
        return str(digit)
    if char in _SAME:
        return _SAME[char]
    category = unicodedata.category(char)
    if category == "Cf":  # bidi marks, joiners, soft hyphens, byte order marks
        return None
    if category == "Cc" and char not in _LINE_ENDS:
        return None
    if category == "Zs":
        return " "
    return chr(ord(char) - 0xFEE0) if "！" <= char <= "～" and char != "，" else char


def _limit_marks(text: str) -> str:
    marks = "".join(re.escape(char) for char in sorted(set(text)) if unicodedata.combining(char))
    return re.sub(f"([{marks}]{{{_MARKS_KEPT}}})[{marks}]+", r"\1", text) if marks else text
