"""Writing systems: which one a text is in, and which language that settles.

A script that only one candidate language uses decides at once (Thai, Telugu, Hangul); kana beside Han characters is
Japanese. That is faster and safer than any statistical model.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.languages import language

_RANGES = {
    "Latn": [(0x41, 0x5A), (0x61, 0x7A), (0xAA, 0xAA), (0xBA, 0xBA), (0xC0, 0x24F), (0x1E00, 0x1EFF), (0xFF21, 0xFF5A)],
    "Grek": [(0x370, 0x3FF), (0x1F00, 0x1FFF)],
    "Cyrl": [(0x400, 0x52F), (0x1C80, 0x1C8F)],
    "Armn": [(0x531, 0x58F)],
    "Hebr": [(0x591, 0x5F4)],
    "Arab": [(0x610, 0x65F), (0x66E, 0x6EF), (0x6FA, 0x6FF), (0x750, 0x77F), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC)],
    "Deva": [(0x900, 0x963), (0x970, 0x97F)],
    "Beng": [(0x980, 0x9E3), (0x9F0, 0x9FE)],
    "Guru": [(0xA01, 0xA65), (0xA70, 0xA76)],
    "Gujr": [(0xA81, 0xAE3), (0xAF9, 0xAFF)],
    "Orya": [(0xB01, 0xB63), (0xB70, 0xB71)],
    "Taml": [(0xB82, 0xBE5)],
    "Telu": [(0xC00, 0xC63)],
    "Knda": [(0xC80, 0xCE3)],
    "Mlym": [(0xD00, 0xD63), (0xD7A, 0xD7F)],
    "Sinh": [(0xD81, 0xDDF)],
    "Thai": [(0xE01, 0xE4E)],
    "Laoo": [(0xE81, 0xECF)],
    "Mymr": [(0x1000, 0x103F), (0x1050, 0x109F)],
    "Geor": [(0x10A0, 0x10FF), (0x1C90, 0x1CBF)],
    "Hang": [(0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF)],
    "Ethi": [(0x1200, 0x137F)],
    "Khmr": [(0x1780, 0x17DD)],
    "Kana": [
        (0x3041, 0x3096),
        (0x309D, 0x309F),
        (0x30A1, 0x30FA),
        (0x30FC, 0x30FF),
        (0x31F0, 0x31FF),
        (0xFF66, 0xFF9D),
    ],
    "Hani": [(0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2FFFF)],
}
SCRIPTS = ("", *_RANGES)
"""Columns of `count_scripts_of`: none, then ISO 15924 codes."""
_OF_LANGUAGE = {"Jpan": "Kana", "Hans": "Hani", "Kore": "Hang"}
_KANA_SHARE = 0.05  # Japanese prose has a third or more; a borrowed word in Chinese has less
_DOMINANT = 0.6
_LETTER_CATEGORIES = frozenset(("Ll", "Lm", "Lo", "Lt", "Lu", "Mc", "Me", "Mn", "Nl"))  # Nl: the Han zero 〇


@cache
def _script_of_char() -> NDArray[np.uint8]:
    table = np.zeros(0x30000, dtype=np.uint8)
    for number, ranges in enumerate(_RANGES.values(), start=1):
        for first, last in ranges:
            for point in range(first, last + 1):
                # Blocks hold punctuation, currency signs and digits too: `×`, `฿`, `৳`, `؟` are no letters.
                if unicodedata.category(chr(point)) in _LETTER_CATEGORIES:
                    table[point] = number
    return table


def count_scripts(text: str) -> dict[str, int]:
    """Letters of `text` by script, ISO 15924 codes; digits and punctuation count nowhere.

    Example:
        >>> count_scripts("答えは5個です OK")
        {'Latn': 2, 'Kana': 4, 'Hani': 2}
    """
    (counts,) = count_scripts_of([text])
    return {SCRIPTS[i]: int(counts[i]) for i in range(1, len(SCRIPTS)) if counts[i]}


def count_scripts_of(texts: Sequence[str]) -> NDArray[np.int64]:
    """Letters of each text by script, shape (len(texts), len(SCRIPTS)), columns as in `SCRIPTS`; the first is 0.

    Example:
        >>> count_scripts_of(["Oui", "да, OK"])[:, [SCRIPTS.index("Latn"), SCRIPTS.index("Cyrl")]].tolist()
        [[3, 0], [2, 2]]
    """
    points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    table, k = _script_of_char(), len(SCRIPTS)
    scripts = np.where(points < len(table), table[np.minimum(points, len(table) - 1)], 0)
    owners = np.repeat(np.arange(len(texts)) * k, [len(text) for text in texts])
    counts = np.bincount(owners + scripts, minlength=len(texts) * k).reshape(len(texts), k)
    counts[:, 0] = 0  # what is no letter
    return counts


def is_japanese(text: str) -> bool:
    """Whether text with Han characters has kana enough to be Japanese, not Chinese.

    Example:
        >>> is_japanese("答えは5個です"), is_japanese("首都是这个国家或地区的の" * 3)
        (True, True)
        >>> is_japanese("这个国家或地区的首都或首府是哪一个城市呢の")
        False
    """
    return bool(_has_enough_kana(count_scripts_of([text]))[0])


def _has_enough_kana(counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    kana, han = counts[:, SCRIPTS.index("Kana")], counts[:, SCRIPTS.index("Hani")]
    return (kana > 0) & (kana >= _KANA_SHARE * (kana + han))


def dominant_script(counts: Mapping[str, int]) -> str | None:
    """The script of at least 60% of the letters, None where there is none; Han with some kana counts as kana."""
    (found,) = dominant_scripts(np.array([[counts.get(script, 0) for script in SCRIPTS]]))
    return found


def dominant_scripts(counts: NDArray[np.int64]) -> list[str | None]:
    """The same for rows of `count_scripts_of`."""
    merged, kana, han = counts.copy(), SCRIPTS.index("Kana"), SCRIPTS.index("Hani")
    east_asian, japanese = counts[:, kana] + counts[:, han], _has_enough_kana(counts)
    merged[:, kana] = np.where(japanese, east_asian, counts[:, kana])
    merged[:, han] = np.where(japanese, 0, counts[:, han])
    best, totals = merged.argmax(axis=1), counts.sum(axis=1)
    clear = (totals > 0) & (merged.max(axis=1) >= _DOMINANT * totals)
    return [SCRIPTS[i] if ok else None for i, ok in zip(best.tolist(), clear.tolist(), strict=True)]


def languages_by_script(languages: Iterable[str]) -> dict[str, list[str]]:
    """Candidate languages by the script they are written in.

    Example:
        >>> languages_by_script(["th", "ja", "de", "en"])
        {'Thai': ['th'], 'Kana': ['ja'], 'Latn': ['de', 'en']}
    """
    by_script: dict[str, list[str]] = {}
    for code in languages:
        script = language(code).script
        by_script.setdefault(_OF_LANGUAGE.get(script, script), []).append(code)
    return by_script
