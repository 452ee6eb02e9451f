"""How many different things sampled draws say, by a sentence encoder: Vendi scores of the draws of a question.

| metric | of |
|---|---|
| `vendi` | the draws for one question in one language: 1 where all say the same, at most their number |
| `vendi_within` | the draws for a question in all of its languages: how many things are said inside a language |
| `vendi_between` | the same draws: how far the languages say different things; 1 for translations of the same answers |

For each question the draws in all languages together are worth `vendi_within * vendi_between` (see `vendi`). Four
translations share no n-gram and look diverse to distinct-n; here they are one thing.

Embeddings are centred on the mean over the draws of their task and language, since an encoder places each language in a
corner of its own. That mean must not be the group's own: with draws for one question only, nothing is known.

What it costs: one vector a draw in memory, and one pass of the encoder over the draws (`eval.draws` times
`eval.draw_limit` for each task and language).

These rest on an encoder, so they are computed once, when the evaluation ends, and stored with the other metrics; `note`
names the encoder and its weights. They are in no comparison, and `verify`, which has no encoder, does not check them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lrpo_bench.evaluation.metrics import HELD_OUT, TRAINED, Metric, metrics_of_observations
from lrpo_bench.evaluation.observations import Observations
from lrpo_bench.evaluation.records import ResponseRecord
from lrpo_bench.evaluation.vendi import centre_of, vendi_score, vendi_split
from lrpo_bench.models.encoder import SentenceEncoder

EMBEDDING_METRICS = ("vendi", "vendi_within", "vendi_between")

_Groups = dict[tuple[str, str], list[int]]
"""Positions of the draws of each asked language and sample id."""


def embedding_metrics(
    records: Iterable[ResponseRecord], encoder: SentenceEncoder, trained_languages: Iterable[str] | None = None
) -> list[Metric]:
    """The metrics above, per task and language and averaged over languages; none where nothing was drawn."""
    by_task: dict[str, list[ResponseRecord]] = defaultdict(list)
    for record in records:
        if record.k > 0 and not record.is_cross_lingual:
            by_task[record.task].append(record)
    cut = {(r.task, r.rollout_lang, r.sample_id) for rows in by_task.values() for r in rows if r.prompt_truncated}
    seen = [one for task in sorted(by_task) for one in observe_embeddings(task, by_task[task], encoder)]
    return metrics_of_observations(seen, cut, trained_languages)


def carried_over(metrics: Iterable[Metric]) -> list[Metric]:
    """Those of stored metrics that hold whatever was trained on: for a copy of an evaluation, without the encoder."""
    return [m for m in metrics if m.metric in EMBEDDING_METRICS and m.language not in (TRAINED, HELD_OUT)]


def observe_embeddings(task: str, draws: Sequence[ResponseRecord], encoder: SentenceEncoder) -> list[Observations]:
    """The observations of one task's draws, in the order of language and sample id."""
    ordered = sorted(draws, key=lambda r: (r.rollout_lang, r.sample_id, r.k))
    groups: _Groups = defaultdict(list)
    for position, record in enumerate(ordered):
        groups[record.rollout_lang, record.sample_id].append(position)
    vectors = np.asarray(encoder.encode([record.completion for record in ordered]), dtype=np.float64)
    langs = [record.rollout_lang for record in ordered]
    centres = _centres(vectors, langs, groups)
    sources = [ordered[positions[0]].source_id for positions in groups.values()]
    values = {"vendi": [_of_group(vectors[mine], centres[mine]) for mine in groups.values()]}
    if len(set(langs)) > 1:
        values |= _across(vectors, centres, langs, dict(zip(groups, sources, strict=True)), groups)
    largest = max(len(positions) for positions in groups.values())
    highest = {"vendi_between": float(len(set(langs)))}
    info = encoder.info
    note = f"encoder {info.name} {info.weights_hash[:19]}"
    return [
        Observations(
            task, name, tuple(groups), np.array(found), tuple(sources), (1.0, highest.get(name, float(largest))), note
        )
        for name, found in values.items()
    ]


def _centres(vectors: NDArray[np.float64], langs: Sequence[str], groups: _Groups) -> NDArray[np.float64]:
    """For each row the mean over its language, NaN where only one question of that language was drawn for."""
    centres = np.full_like(vectors, np.nan)
    codes = np.array(langs)
    for lang in dict.fromkeys(langs):
        mine = codes == lang
        if sum(asked == lang for asked, _ in groups) > 1 and np.isfinite(vectors[mine]).all(axis=1).any():
            centres[mine] = centre_of(vectors[mine])
    return centres


def _of_group(vectors: NDArray[np.float64], centres: NDArray[np.float64]) -> float:
    known = np.isfinite(vectors).all(axis=1) & np.isfinite(centres).all(axis=1)
    return vendi_score(vectors[known], centres[known]) if known.sum() > 1 else math.nan  # one text is not diverse


def _across(
    vectors: NDArray[np.float64],
    centres: NDArray[np.float64],
    langs: Sequence[str],
    sources: Mapping[tuple[str, str], str],
    groups: _Groups,
) -> dict[str, list[float]]:
    """Both factors for each group: those of its source question, NaN where that was drawn for in one language only."""
    positions: dict[str, list[int]] = defaultdict(list)
    for key, mine in groups.items():
        positions[sources[key]] += mine
    found: dict[str, tuple[float, float]] = {}
    for source, rows in positions.items():
        known = [i for i in rows if np.isfinite(vectors[i]).all() and np.isfinite(centres[i]).all()]
        asked = [langs[i] for i in known]
        if len(set(asked)) < 2:
            found[source] = (math.nan, math.nan)
            continue
        split = vendi_split(vectors[known], asked, centres[known])
        found[source] = (split.within, split.between)
    pairs = [found[sources[key]] for key in groups]
    return {"vendi_within": [within for within, _ in pairs], "vendi_between": [between for _, between in pairs]}
