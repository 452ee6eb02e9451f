"""Where a response ends by its task's stop strings; pure, so that every backend ends it alike.

lm-eval's rule (0.4.13, `HFLM.generate_until`): the text is cut at the first occurrence of each stop string in turn, so
none of them is left in it. A stop string of no characters stops nothing.
"""

from __future__ import annotations

from collections.abc import Iterable


def cut(text: str, stops: Iterable[str]) -> tuple[str, bool]:
    """What stands before the stop strings, and whether there was one.

    Example:
        >>> cut("18. Question: What", ["Question:", "."]), cut("18", ["Question:"])
        (('18', True), ('18', False))
    """
    kept = text
    for stop in filter(None, stops):
        kept = kept.partition(stop)[0]
    return kept, len(kept) < len(text)
