"""Metrics of one evaluation: per task, language and metric a value with its uncertainty and its unknowns.

| metric | of the greedy response (k = 0) |
|---|---|
| `accuracy_in_language` | right, and in the asked language: the headline number |
| `accuracy` | right, in whatever language |
| `fidelity` | share in the asked language, where the language could be told |
| `share:<cell>` | share of each of `observations.CELLS`; they sum to 1 |
| `truncation_rate`, `completion_tokens` | share cut at the limit, mean length |
| `lpr`, `wpr`, `lcpr` | of its lines and words, see `fidelity` |
| `consistency` | parallel questions answered alike, see `crosslingual` |
| `headroom_source`, `headroom_routed`, `headroom_oracle` | right if asked for in other languages, see there |

| metric | of the sampled draws of a question (k >= 1), then averaged over questions |
|---|---|
| `sampled_accuracy`, `sampled_accuracy_in_language` | mean over draws |
| `pass@k` | unbiased, over scored draws |
| `distinct_answers`, `answer_entropy` | of the answers that could be read; entropy in nats |
| `distinct_2`, `distinct_2_ead`, `self_bleu` | of the texts |
| `vendi`, `vendi_within`, `vendi_between` | of their embeddings, see `embedding_diversity` |
| `zero_advantage`, `group:<cause>` | share of groups from which training would learn nothing, and why |

Standard errors cluster by source question. An average over languages weighs each language equally. Intervals of
what has bounds are Wilson's (see `statistics`); runs from before they were have t intervals, and name no `interval`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.evaluation.columns import Responses
from lrpo_bench.evaluation.observations import Observations, iter_observations
from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.evaluation.statistics import Interval, clustered_mean

_Kept = slice | NDArray[np.bool_]
_EVERYTHING = slice(None)  # a view, where a mask would copy

ALL, TRAINED, HELD_OUT = "avg:all", "avg:trained", "avg:heldout"


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a result, never without its uncertainty and what it could not count."""

    task: str
    language: str
    """A language code, or `avg:all`, `avg:trained`, `avg:heldout`."""
    metric: str
    value: float | None
    """None where nothing could be counted."""
    stderr: float | None
    """Standard error; None where it can not be estimated (one cluster)."""
    ci95: tuple[float | None, float | None]
    n: int
    """Responses that were counted; of the sampled draws, questions."""
    n_clusters: int
    """Source questions among them."""
    n_unscored: int
    """Left out because this metric is unknown for them."""
    n_errors: int
    """Responses, counted or not, whose prompt was cut to fit the context."""
    note: str = ""
    """What else decides the value: tokenizers, languages of which nothing is known."""
    interval: Interval = "t"
    """How `ci95` was made."""


def metrics_of(
    records: Iterable[ResponseRecord], trained_languages: Iterable[str] | None = None, interval: Interval = "wilson"
) -> list[Metric]:
    """All metrics of an evaluation's records.

    Args:
        records: of any number of tasks, languages and draws.
        trained_languages: what `avg:trained` averages over, and `avg:heldout` does not; None for neither.
        interval: of metrics that have bounds; `t` gives what runs from before there was a choice hold.
    """
    return metrics_of_observations(iter_observations(records, names=False), (), trained_languages, interval)


def metrics_of_observations(
    observations: Iterable[Observations],
    cut: Collection[tuple[str, str, str]] = (),
    trained_languages: Iterable[str] | None = None,
    interval: Interval = "wilson",
) -> list[Metric]:
    """Metrics of observations, per language and averaged over languages.

    Args:
        observations: of any number of tasks and metrics.
        cut: task, asked language and sample id of responses whose prompt did not fit the context.
        trained_languages: as for `metrics_of`.
        interval: as for `metrics_of`.
    """
    trained = None if trained_languages is None else frozenset(trained_languages)
    found = []
    for seen in observations:
        responses = seen.responses or _responses_of(seen, cut)
        for name, chosen in language_sets(responses.languages, trained).items():
            codes = [responses.languages.index(lang) for lang in chosen]
            kept = np.isin(responses.langs, codes) if len(chosen) < len(responses.languages) else _EVERYTHING
            found.append(_metric(seen, responses, name, kept, interval))
        del seen, responses  # before the next ones are made
    return found


def _responses_of(seen: Observations, cut: Collection[tuple[str, str, str]]) -> Responses:
    """Text becomes numbers, by dictionaries: an array of text takes as much for each as for the longest."""
    languages, sources = sorted(set(seen.languages)), sorted(set(seen.clusters))
    langs, clusters = ({name: i for i, name in enumerate(names)} for names in (languages, sources))
    return Responses(
        tuple(languages),
        np.array([langs[lang] for lang in seen.languages], dtype=np.int16),
        np.array([clusters[name] for name in seen.clusters], dtype=np.intp),
        np.array([(seen.task, *key) in cut for key in seen.keys], dtype=bool),
    )


def language_sets(languages: Iterable[str], trained_languages: Iterable[str] | None) -> Mapping[str, tuple[str, ...]]:
    """What is reported on: each language alone, then the averages, by name.

    Example:
        >>> language_sets(["en", "de", "en"], ["de"])
        {'de': ('de',), 'en': ('en',), 'avg:trained': ('de',), 'avg:heldout': ('en',), 'avg:all': ('de', 'en')}
    """
    present = tuple(sorted(set(languages)))
    sets: dict[str, tuple[str, ...]] = {lang: (lang,) for lang in present}
    if trained_languages is not None:
        trained = frozenset(trained_languages)
        sets[TRAINED] = tuple(lang for lang in present if lang in trained)
        sets[HELD_OUT] = tuple(lang for lang in present if lang not in trained)
    sets[ALL] = present
    return {name: chosen for name, chosen in sets.items() if chosen}


def find_metric(metrics: Iterable[Metric], metric: str, language: str = ALL, task: str | None = None) -> Metric | None:
    """The metric of that name, or None; `task` may be left out where there is one."""
    return next((m for m in metrics if (m.metric, m.language) == (metric, language) and task in (None, m.task)), None)


def _metric(seen: Observations, responses: Responses, language: str, kept: _Kept, interval: Interval) -> Metric:
    interval = "t" if seen.bounds is None else interval
    values, langs = seen.values[kept], responses.langs[kept]
    is_average = language not in responses.languages
    groups = langs if is_average else None
    estimate = clustered_mean(values, responses.clusters[kept], groups, seen.bounds, interval)
    n_outside = int(seen.is_outside[kept].sum())
    missing = _languages_without(values, langs, responses.languages) if is_average else []
    notes = [seen.note, *_reasons(seen, kept), f"without {', '.join(missing)}: nothing known" if missing else ""]
    return Metric(
        task=seen.task,
        language=language,
        metric=seen.metric,
        value=_or_none(estimate.value),
        stderr=_or_none(estimate.stderr),
        ci95=(_or_none(estimate.ci95[0]), _or_none(estimate.ci95[1])),
        n=estimate.n,
        n_clusters=estimate.n_clusters,
        n_unscored=estimate.n_unscored - n_outside,
        n_errors=int(responses.is_cut[kept].sum()),
        note="; ".join(filter(None, notes)),
        interval=interval,
    )


def _languages_without(values: NDArray[np.float64], langs: NDArray[np.int16], languages: Sequence[str]) -> list[str]:
    """Languages that have values of which none is known."""
    there, known = (np.bincount(codes, minlength=len(languages)) > 0 for codes in (langs, langs[~np.isnan(values)]))
    return [lang for lang, missing in zip(languages, (there & ~known).tolist(), strict=True) if missing]


def _reasons(seen: Observations, kept: _Kept) -> list[str]:
    if seen.reasons is None:
        return []
    unknown = Counter(str(reason) for reason in seen.reasons[kept][np.isnan(seen.values[kept])])
    outside = unknown.pop(seen.outside, 0) if seen.outside else 0
    notes = [f"{count} unscored: {reason}" for reason, count in sorted(unknown.items()) if reason]
    return notes + ([f"{outside} left out: {seen.outside}"] if outside else [])


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
