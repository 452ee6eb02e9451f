"""A run in words: what changed, whether it is real, what was not measured. Percent appears here and in the report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from lrpo_bench.evaluation.draws import GROUP
from lrpo_bench.evaluation.observations import is_counted
from lrpo_bench.evaluation.records import without_texts
from lrpo_bench.evaluation.statistics import Estimate
from lrpo_bench.results.compare import HEADLINE, Comparison, Difference
from lrpo_bench.results.schema import Evaluation, Run

_NAMES = {
    HEADLINE: "Accuracy in the asked language",
    "accuracy": "Accuracy in any language",
    "fidelity": "Language fidelity",
    "lpr": "No line in another language (LPR)",
    "wpr": "No stray English word (WPR)",
    "lcpr": "Lines and words (LCPR)",
    "consistency": "Parallel questions answered alike",
    "headroom_source": "Right when asked for in the question's language",
    "headroom_routed": "Right when asked for in the router's language",
    "headroom_oracle": "Right when asked for in some language",
    "truncation_rate": "Truncated",
    "completion_tokens": "Completion tokens",
    "sampled_accuracy": "Accuracy of sampled draws",
    "sampled_accuracy_in_language": "Accuracy in the asked language, sampled",
    "distinct_answers": "Distinct answers a question",
    "answer_entropy": "Entropy of answers (nats)",
    "distinct_2": "Distinct bigrams",
    "distinct_2_ead": "Distinct bigrams, length-corrected (EAD)",
    "self_bleu": "Self-BLEU (lower is more diverse)",
    "vendi": "Different things said a question (Vendi)",
    "vendi_within": "Different things said inside a language (Vendi)",
    "vendi_between": "How far languages say different things (Vendi)",
    "zero_advantage": "Groups of draws that teach nothing",
}
SETS = {"avg:all": "all languages", "avg:trained": "trained languages", "avg:heldout": "held-out languages"}


def metric_name(metric: str) -> str:
    """What a metric is called in prose."""
    if metric.startswith(GROUP):
        return f"Groups of draws: {metric.removeprefix(GROUP).replace('_', ' ')}"
    return _NAMES.get(metric, metric)


def percent(value: float) -> str:
    """A share as a percentage; a dash for NaN.

    Example:
        >>> percent(0.4567), percent(float("nan"))
        ('45.7%', '—')
    """
    return "—" if math.isnan(value) else f"{100 * value:.1f}%"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign.

    Example:
        >>> points(0.069), points(-0.0001), points(-0.5)
        ('+6.9', '0.0', '−50.0')
    """
    if math.isnan(value):
        return "—"
    rounded = round(100 * value, 1)
    return "0.0" if rounded == 0 else f"{'+' if rounded > 0 else '−'}{abs(rounded):.1f}"


def point_interval(change: Estimate) -> str:
    """The 95% interval of a difference in points; a dash where there is none."""
    return "—" if math.isnan(change.ci95[0]) else f"{points(change.ci95[0])} to {points(change.ci95[1])}"


def headline(comparison: Comparison, task: str) -> list[str]:
    """Sentences that answer, for one task: what changed, is it real, where, and why."""
    average = comparison.find(HEADLINE, "avg:all", task)
    if average is None:
        return ["No greedy responses were compared, so there is no headline number."]
    sentences = [*_what_changed(average), *_where(comparison, task)]
    why = next((d for d in comparison.decompositions if (d.task, d.language) == (task, "avg:all")), None)
    if why is not None and average.change.excludes_zero:
        sentences.append(
            f"Of the change, {points(why.more_correct.value)} points come from answers that became right or wrong, and "
            f"{points(why.right_language.value)} from the same answers in another language."
        )
    return sentences


def _what_changed(average: Difference) -> list[str]:
    change = average.change
    if math.isnan(change.value):
        return ["Nothing is known about accuracy in the asked language: see what was not measured."]
    moved = "rose" if change.value > 0 else "fell" if change.value < 0 else "stayed"
    if moved == "stayed":
        first = f"Accuracy in the asked language stayed at {percent(average.after)}"
    else:
        first = f"Accuracy in the asked language {moved} from {percent(average.before)} to {percent(average.after)}"
    first += f" ({points(change.value)} points, 95% interval {point_interval(change)}; {change.n_clusters} questions)."
    detectable = average.detectable
    found = f"a change of {100 * detectable:.1f} points" if not math.isnan(detectable) else ""
    if average.is_real:
        word = "gain" if change.value > 0 else "loss"
        return [first, f"That is more than the choice of questions explains (p {_p(average.p_holm)}): a real {word}."]
    if change.excludes_zero:
        return [first, f"Interval and test disagree (p {_p(average.p_holm)}): take it as a hint, not a result."]
    if math.isnan(change.stderr):
        return [first, "One question has no uncertainty that could be estimated, so this says nothing yet."]
    second = "The interval includes zero, so this evaluation can not tell the change from chance"
    return [first, f"{second}; it would have found {found} four times out of five." if found else f"{second}."]


def _where(comparison: Comparison, task: str) -> list[str]:
    singles = [d for d in comparison.differences if (d.task, d.metric) == (task, HEADLINE) and not d.is_average]
    if len(singles) < 2:
        return []
    real = [d for d in singles if d.is_real]
    gained = sorted((d for d in real if d.change.value > 0), key=lambda d: -d.change.value)
    lost = sorted((d for d in real if d.change.value < 0), key=lambda d: d.change.value)
    parts = [
        f"{verb} in {', '.join(f'{d.language} ({points(d.change.value)})' for d in group)}"
        for verb, group in (("gained", gained), ("lost", lost))
        if group
    ]
    if not parts:
        return [f"In no single one of the {len(singles)} languages is the change beyond doubt after Holm's correction."]
    rest = len(singles) - len(real)
    tail = f"; undecided in the other {rest} of {len(singles)}" if rest else ""
    return [f"Language by language, after Holm's correction, it {' and '.join(parts)}{tail}."]


def not_measured(run: Run, comparison: Comparison | None) -> list[str]:
    """What a reader might take for granted and must not."""
    found = [
        "Another training seed. There is one run here; its intervals are over questions, and a second run may differ.",
        "Another method. A gain over the untrained model is not a gain over plain GRPO or SFT: compare runs for that.",
    ]
    for evaluation in (run.before, run.after):
        if evaluation is None:
            continue
        found += _unknowns(evaluation)
        if not any(record.k for record in evaluation.records):
            found.append(f"Diversity {evaluation.label} training: no draws were sampled, so there is no pass@k either.")
    missing = [name for name in ("before", "after") if getattr(run, name) is None]
    found += [f"The evaluation {name} training: there is none in this folder." for name in missing]
    if comparison is not None:
        found += [f"{note[0].upper()}{note[1:]}." for note in comparison.notes]
        if comparison.trained_languages is None:
            found.append("Trained and held-out languages apart: the run does not say which it was trained on.")
        elif comparison.find(HEADLINE, "avg:heldout") is None:
            found.append("Transfer to languages not trained on: every evaluated language was trained on.")
    return found


def _unknowns(evaluation: Evaluation) -> list[str]:
    records = [record for record in without_texts(evaluation.records) if is_counted(record)]
    total, found = len(records), []
    unscored = Counter(record.reason or "no reason given" for record in records if record.score is None)
    if unscored:
        found.append(_count(evaluation.label, "could not be judged", unscored, total))
    unknown = Counter(
        f"{record.rollout_lang}: {record.language_reason or 'the detector abstained'}"
        for record in records
        if record.language_ok is None
    )
    if unknown:
        found.append(_count(evaluation.label, "are in a language that could not be told", unknown, total))
    cut = sum(record.prompt_truncated for record in records)
    if cut:
        found.append(
            f"{cut} of {total} prompts {evaluation.label} training did not fit the context and lost their start."
        )
    return found


def _count(label: str, what: str, reasons: Counter[str], total: int) -> str:
    shown = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(4))
    return f"{reasons.total()} of {total} responses {label} training {what}: {shown}{_more(reasons)}."


def _more(reasons: Counter[str], shown: int = 4) -> str:
    rest: Sequence[tuple[str, int]] = reasons.most_common()[shown:]
    return f"; {len(rest)} other reasons ({sum(count for _, count in rest)})" if rest else ""


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
