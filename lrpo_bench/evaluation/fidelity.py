"""Language fidelity below the document: are all lines, and all words, of a response in the language that was asked for?

| metric | numerator / denominator |
|---|---|
| `lpr` | responses with no line in another language / responses with a line of five words or more |
| `wpr` | of these, responses without a stray English word / responses with no line in another language |
| `lcpr` | harmonic mean of both |

Example, with a detector of German and Russian and English words "house" and "really"::

    asked ru  "Это очень простой ответ на вопрос."         lines pass, words pass
    asked ru  "Это really очень простой ответ на вопрос."  lines pass, words fail
    asked ru  "Das ist eine sehr einfache Antwort."        lines fail, words not asked

Source: Marchisio et al. 2024 (arXiv 2406.20052). `fidelity_rules` holds both sets of rules and every departure. Whether
the document as a whole is in the asked language is a record's `language_ok`, not this module's concern.

The verdicts are stored with each record (`judge_records`), so that tables and comparisons count the same ones and need
no detector. They are of the greedy response (k = 0) of generated answers, by the corrected rules.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.evaluation.columns import Greedy
from lrpo_bench.evaluation.fidelity_rules import CORRECTED, MIN_WORDS, FidelityRules, WordList
from lrpo_bench.evaluation.records import CHOICE_REASON, ResponseRecord, known_or_nan
from lrpo_bench.language_id.base import Detection, LanguageDetector, language_verdict

TOO_SHORT = f"no line of {MIN_WORDS} words"
LINE_FAILED = "a line is in another language"
"""Why words are not judged: such a response is outside what `wpr` asks about, not unknown."""
NO_WORD_LIST = "no English word list was given"
NO_WORD_RULE = "English words do not stand out in this language"
DRAW_REASON = "only the greedy response is judged"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a response passes."""

    passed: bool | None
    """None where it was not scored."""
    reason: str = ""
    """Why it was not scored; empty otherwise."""


@dataclass(frozen=True, slots=True)
class ResponseFidelity:
    """Both verdicts on one response."""

    lines: Verdict
    words: Verdict


@dataclass(frozen=True, slots=True)
class PassRate:
    """A share of responses, with everything it could not count."""

    value: float | None
    """None where it is unknown."""
    passed: int
    scored: int
    excluded: int = 0
    """Outside the question: for words, responses with a line in another language."""
    unscored: Mapping[str, int] = field(default_factory=dict)
    """How many were not scored, by reason."""


@dataclass(frozen=True, slots=True)
class FidelitySummary:
    """The three rates of a set of responses, usually those to one task in one language."""

    lpr: PassRate
    wpr: PassRate
    lcpr: float | None
    """None where either rate is unknown; 0 where no response passes its lines, whatever their words."""


def judge_fidelity(
    texts: Sequence[str],
    asked: Sequence[str],
    detector: LanguageDetector,
    words: WordList | None = None,
    rules: FidelityRules = CORRECTED,
) -> list[ResponseFidelity]:
    """Verdicts on responses, in order; all distinct lines of all of them go through one call of the detector.

    Args:
        texts: responses of any number of languages.
        asked: language that each was asked for.
        detector: decides on lines. A language it does not know is not scored.
        words: English words; without them no words are judged.
        rules: which lines and words count.
    """
    unknown = {lang: _unscorable(lang, detector, rules) for lang in set(asked)}
    kept = [[] if unknown[lang] else rules.lines(text, lang) for text, lang in zip(texts, asked, strict=True)]
    distinct = list(dict.fromkeys(line for lines in kept for line in lines))
    found = dict(zip(distinct, detector.detect(distinct), strict=True))
    judged = []
    for lines, lang in zip(kept, asked, strict=True):
        seen = Verdict(None, unknown[lang]) if unknown[lang] else _judge_lines(lines, lang, found, detector, rules)
        judged.append(ResponseFidelity(seen, _judge_words(lines, lang, seen, words, rules)))
    return judged


def summarise_fidelity(judged: Iterable[ResponseFidelity], rules: FidelityRules = CORRECTED) -> FidelitySummary:
    """The pass rates over responses that were judged by `rules`.

    Example:
        >>> right, wrong = Verdict(True), Verdict(False)
        >>> three = [ResponseFidelity(right, right), ResponseFidelity(right, wrong), ResponseFidelity(right, right)]
        >>> found = summarise_fidelity([*three, ResponseFidelity(wrong, Verdict(None, LINE_FAILED))])
        >>> found.lpr.value, (found.wpr.passed, found.wpr.scored, found.wpr.excluded), round(found.lcpr, 3)
        (0.75, (2, 3, 1), 0.706)
    """
    judged = list(judged)
    lpr = _pass_rate([one.lines for one in judged], rules.value_of_nothing)
    wpr = _pass_rate([one.words for one in judged], rules.value_of_nothing)
    if lpr.value == 0.0 and wpr.excluded:
        return FidelitySummary(lpr, wpr, 0.0)
    if lpr.value is None or wpr.value is None:
        return FidelitySummary(lpr, wpr, None)
    return FidelitySummary(lpr, wpr, harmonic_mean(lpr.value, wpr.value))


def harmonic_mean(lpr: float, wpr: float) -> float:
    """LCPR = 2 * LPR * WPR / (LPR + WPR); 0 where both are.

    Example:
        >>> harmonic_mean(0.5, 1.0), harmonic_mean(0.0, 0.0)
        (0.6666666666666666, 0.0)
    """
    return 2.0 * lpr * wpr / (lpr + wpr) if lpr + wpr else 0.0


def judge_records(
    records: Iterable[ResponseRecord], detector: LanguageDetector, words: WordList | None = None
) -> list[ResponseRecord]:
    """The records with verdicts on their lines and words, in order, from one call of the detector."""
    records = list(records)
    written = [i for i, r in enumerate(records) if r.k == 0 and r.language_reason != CHOICE_REASON]
    asked = [records[i].rollout_lang for i in written]
    judged = judge_fidelity([records[i].completion for i in written], asked, detector, words)
    found = dict(zip(written, judged, strict=True))
    return [_with_verdicts(record, found.get(i)) for i, record in enumerate(records)]


FidelityValues = Iterator[tuple[str, NDArray[np.float64], NDArray[np.object_]]]
"""Metrics: a value a response, NaN where unknown, and why it is."""


def fidelity_values(greedy: Greedy) -> FidelityValues:
    """`lpr`, `wpr` and `lcpr` of each greedy response of one task, from the verdicts stored with it.

    LCPR is no mean of per-response values, so its values are LCPR plus the response's linearised influence (the delta
    method): their mean over a language is its LCPR, and their spread gives its standard error. They are no scores, can
    lie outside [0, 1], and mean nothing one by one or over part of a language.
    """
    yield "lpr", _lines(greedy), greedy.texts(lambda kind: kind.lines_reason)
    yield "wpr", _words(greedy), greedy.texts(lambda kind: kind.words_reason)
    yield "lcpr", _lcpr(greedy), greedy.texts(lambda kind: kind.lines_reason or kind.words_reason)


def _lines(greedy: Greedy) -> NDArray[np.float64]:
    return greedy.numbers(lambda kind: known_or_nan(kind.lines_ok))


def _words(greedy: Greedy) -> NDArray[np.float64]:
    return greedy.numbers(lambda kind: known_or_nan(kind.words_ok))


def _lcpr(greedy: Greedy) -> NDArray[np.float64]:
    values, words = _lines(greedy), _words(greedy)
    measurable = {kind.rollout_lang for kind in greedy.kinds if kind.words_reason == LINE_FAILED}
    for code, lang in enumerate(greedy.responses.languages):
        mine = greedy.responses.langs == code
        values[mine] = _lcpr_values(values[mine], words[mine], lang in measurable)
    return values


def _with_verdicts(record: ResponseRecord, judged: ResponseFidelity | None) -> ResponseRecord:
    if judged is None:
        reason = DRAW_REASON if record.k else CHOICE_REASON
        return replace(record, lines_ok=None, lines_reason=reason, words_ok=None, words_reason=reason)
    return replace(
        record,
        lines_ok=judged.lines.passed,
        lines_reason=judged.lines.reason,
        words_ok=judged.words.passed,
        words_reason=judged.words.reason,
    )


def _unscorable(asked: str, detector: LanguageDetector, rules: FidelityRules) -> str:
    known = asked in detector.languages
    return rules.unsupported(asked) if known else f"{asked} is not among the detector's languages"


def _judge_lines(
    lines: Sequence[str],
    asked: str,
    found: Mapping[str, Detection],
    detector: LanguageDetector,
    rules: FidelityRules,
) -> Verdict:
    if not lines:
        return Verdict(None, TOO_SHORT)
    verdicts = [language_verdict(found[line], asked, detector) for line in lines]
    passed = [verdict for verdict, _ in verdicts]
    if False in passed or (rules.abstention_fails and None in passed):
        return Verdict(False)
    return Verdict(True) if True in passed else Verdict(None, f"detector: {verdicts[0][1]}")


def _judge_words(
    lines: Sequence[str], asked: str, seen: Verdict, words: WordList | None, rules: FidelityRules
) -> Verdict:
    if not rules.has_word_rule(asked):
        return Verdict(None, NO_WORD_RULE)
    if words is None:
        return Verdict(None, NO_WORD_LIST)
    if not seen.passed:
        return Verdict(None, seen.reason or LINE_FAILED)
    return Verdict(not any(word in words.words for line in lines for word in rules.words(line, asked)))


def _pass_rate(verdicts: Sequence[Verdict], value_of_nothing: float | None) -> PassRate:
    passed = sum(verdict.passed is True for verdict in verdicts)
    scored = sum(verdict.passed is not None for verdict in verdicts)
    reasons = Counter(verdict.reason for verdict in verdicts if verdict.passed is None)
    excluded = reasons.pop(LINE_FAILED, 0)
    nothing_kept = len(verdicts) > 0 and set(reasons) <= {TOO_SHORT}
    value = passed / scored if scored else value_of_nothing if nothing_kept else None
    return PassRate(value, passed, scored, excluded, dict(reasons))


def _lcpr_values(lines: NDArray[np.float64], words: NDArray[np.float64], words_measurable: bool) -> NDArray[np.float64]:
    """LCPR of one language plus each response's influence on it; NaN where its lines are unknown."""
    known, asked = ~np.isnan(lines), ~np.isnan(words)
    if not asked.any():
        nothing_passes = words_measurable and not lines[known].any()
        return np.where(known & nothing_passes, 0.0, math.nan)
    lpr, wpr = float(lines[known].mean()), float(words[asked].mean())  # lpr > 0: only line-clean words are asked about
    by_lpr, by_wpr = (2.0 * (other / (lpr + wpr)) ** 2 for other in (wpr, lpr))  # partial derivatives
    values = harmonic_mean(lpr, wpr) + by_lpr * (lines - lpr)
    values[asked] += by_wpr * (words[asked] - wpr) * known.sum() / asked.sum()
    return values
