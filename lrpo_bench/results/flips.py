"""Wins and losses, question by question: how many, by which cause, and examples with their texts.

A win is a question whose score crossed one half upwards between two runs, a loss one that crossed it downwards. What a
model wrote is untrusted: see `untrusted`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.results.compare import Comparison, Flip
from lrpo_bench.results.regression_text import quoted
from lrpo_bench.results.untrusted import fenced, latex, one_line

Names = tuple[str, str]
"""What the two runs are called: `tables.column_names`."""
CAUSES = {"answer": "the answer", "language": "its language", "both": "both"}


def won_and_lost(comparison: Comparison, task: str) -> dict[str, tuple[int, int]]:
    """Questions won and lost per language, then `all`; only languages that have questions of the task."""
    languages = [d.language for d in comparison.differences if d.task == task and not d.is_average]
    counts = dict.fromkeys(sorted(set(languages)), (0, 0))
    for flip in _of(comparison, task):
        won, lost = counts[flip.before.rollout_lang]
        counts[flip.before.rollout_lang] = (won + (flip.kind == "gained"), lost + (flip.kind == "lost"))
    return counts | {"all": (sum(won for won, _ in counts.values()), sum(lost for _, lost in counts.values()))}


def summary(comparison: Comparison, task: str) -> list[str]:
    """What flipped, in up to two lines: counts per language, and causes."""
    counts = won_and_lost(comparison, task)
    if counts["all"] == (0, 0):
        return ["won/lost  none: no question changed sides"]
    shown = "  ".join(f"{lang} {won}/{lost}" for lang, (won, lost) in counts.items())
    causes: Counter[str] = Counter(flip.cause for flip in _of(comparison, task))
    why = ", ".join(f"{CAUSES[cause]} in {causes[cause]}" for cause in CAUSES if causes[cause])
    return [f"won/lost  {shown}", f"changed   {why}"]


def examples(comparison: Comparison, task: str, limit: int) -> list[Flip]:
    """Up to `limit` questions won and as many lost, taken from each language in turn."""
    found = []
    for kind in ("gained", "lost"):
        by_language: dict[str, list[Flip]] = defaultdict(list)
        for flip in _of(comparison, task):
            if flip.kind == kind:
                by_language[flip.before.rollout_lang].append(flip)
        turns = [(i, lang) for lang, flips in sorted(by_language.items()) for i in range(len(flips))]
        found += [by_language[lang][i] for i, lang in sorted(turns)[:limit]]
    return found


def terminal_lines(flips: Sequence[Flip], names: Names) -> Iterator[str]:
    """The examples for a terminal; each line of somebody else's text stands behind a bar."""
    for flip in flips:
        yield ""
        yield _heading(flip)
        for name, text in _texts(flip, names):
            for i, line in enumerate(quoted(text)):
                yield f"  {name if i == 0 else '':<9}| {line}"


def markdown_lines(flips: Sequence[Flip], names: Names) -> Iterator[str]:
    """The examples as folded code blocks."""
    for flip in flips:
        lines = [
            f"{name if i == 0 else '':<9}| {line}"
            for name, text in _texts(flip, names)
            for i, line in enumerate(quoted(text))
        ]
        yield from ("", f"<details><summary>{_html(_heading(flip))}</summary>", "", *fenced(lines), "", "</details>")


def latex_lines(flips: Sequence[Flip], names: Names) -> Iterator[str]:
    """The examples as a LaTeX description list each."""
    for flip in flips:
        yield rf"\paragraph{{{latex(_heading(flip))}}}"
        yield r"\begin{description}"
        yield from (rf"  \item[{name}] {latex(' '.join(quoted(text)))}" for name, text in _texts(flip, names))
        yield r"\end{description}"


def _of(comparison: Comparison, task: str) -> list[Flip]:
    return [flip for flip in comparison.flips if flip.before.task == task]


def _heading(flip: Flip) -> str:
    kind = "won" if flip.kind == "gained" else "lost"
    return f"{kind}: {one_line(flip.before.sample_id)}, asked in {flip.before.rollout_lang} ({CAUSES[flip.cause]})"


def _texts(flip: Flip, names: Names) -> Iterator[tuple[str, str]]:
    yield "question", flip.before.question
    yield "expected", flip.before.gold
    for name, record in zip(names, (flip.before, flip.after), strict=True):
        yield name, f"{record.completion}{_language(record)}"


def _language(record: ResponseRecord) -> str:
    """The language of a response where it is not the asked one."""
    return f"  [{record.detected_lang}]" if record.language_ok is False and record.detected_lang else ""


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "@<!-- -->")
