"""Vendi scores of draws: per question, within and between languages, and unknown where nothing can be known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from small_records import RECORD

from lrpo_bench.evaluation.embedding_diversity import EMBEDDING_METRICS, carried_over, embedding_metrics
from lrpo_bench.evaluation.metrics import find_metric, metrics_of
from lrpo_bench.models.encoder import EncoderInfo
from lrpo_bench.results.summary import evaluation_tables
from lrpo_bench.results.verify_metrics import compare_metrics

MEANINGS = {"up": (1.0, 0.0), "down": (-1.0, 0.0), "left": (0.0, 1.0), "right": (0.0, -1.0)}
CORNERS = {"de": (0.0, 0.0, 9.0), "en": (0.0, 0.0, -9.0)}


class Compass:
    """Four directions; each language has a corner of its own, far from the other's, as real encoders place them."""

    info = EncoderInfo("compass", "sha256:0123456789abcdef", 3, 100)

    def encode(self, texts):
        return np.array([self._one(text) for text in texts], dtype=np.float32).reshape(-1, 3)

    def _one(self, text):
        if not text:
            return (math.nan,) * 3
        lang, meaning = text.split(":")
        return np.array([*MEANINGS[meaning], 0.0]) + np.array(CORNERS[lang])


def draws(lang, question, *meanings):
    return [
        dataclasses.replace(
            RECORD,
            sample_id=f"toy/{lang}/{question}",
            source_id=f"toy/{question}",
            source_lang=lang,
            rollout_lang=lang,
            completion=f"{lang}:{meaning}" if meaning else "",
            k=k,
        )
        for k, meaning in enumerate(meanings, 1)
    ]


def measured(*groups, trained=None):
    found = embedding_metrics([record for group in groups for record in group], Compass(), trained)
    return {(m.metric, m.language): m for m in found}


def value(found, metric, language="avg:all"):
    return found[metric, language].value


def test_what_is_said_counts_and_not_the_corner_it_is_said_in():
    """Every language says each direction equally often, so its mean is its corner."""
    found = measured(
        draws("de", 0, "up", "down"), draws("de", 1, "left", "right"),
        draws("en", 0, "up", "up"), draws("en", 1, "down", "down"),
    )  # fmt: skip
    # up and down are opposites: cosines -1, so one eigenvalue of 1: a single axis. It is the same for left and right.
    assert value(found, "vendi", "de") == pytest.approx(1.0)
    assert value(found, "vendi", "en") == pytest.approx(1.0)


def test_two_things_said_are_two():
    found = measured(
        draws("de", 0, "up", "left"), draws("de", 1, "down", "right"),
        draws("en", 0, "up", "left"), draws("en", 1, "down", "right"),
    )  # fmt: skip
    assert value(found, "vendi", "de") == pytest.approx(2.0)
    # Translations of each other: all the diversity is inside the languages, none between them.
    assert value(found, "vendi_within") == pytest.approx(2.0)
    assert value(found, "vendi_between") == pytest.approx(1.0)
    one = find_metric(list(found.values()), "vendi", "de")
    assert (one.n, one.n_clusters, one.n_unscored) == (2, 2, 0)
    assert one.note == "encoder compass sha256:0123456789ab"


def test_languages_that_say_different_things():
    found = measured(
        draws("de", 0, "up", "up"), draws("de", 1, "down", "down"),
        draws("en", 0, "left", "left"), draws("en", 1, "right", "right"),
    )  # fmt: skip
    assert value(found, "vendi", "de") == pytest.approx(1.0)
    assert value(found, "vendi_within") == pytest.approx(1.0)
    assert value(found, "vendi_between") == pytest.approx(2.0)


def test_unknown_is_counted():
    """A group with one text, and a language with one question, whose mean would be the group's own."""
    found = measured(
        draws("de", 0, "up", "left"), draws("de", 1, "down", ""), draws("de", 2, "down", "right", "down"),
        draws("en", 0, "up", "left"),
    )  # fmt: skip
    german, english = found["vendi", "de"], found["vendi", "en"]
    assert (german.n, german.n_unscored) == (2, 1)
    assert (english.value, english.n, english.n_unscored) == (None, 0, 1)
    assert value(found, "vendi_between") is None


def test_one_language_has_no_between():
    found = measured(draws("de", 0, "up", "left"), draws("de", 1, "down", "right"))
    assert {metric for metric, _ in found} == {"vendi"}


def test_greedy_and_cross_lingual_responses_are_no_draws():
    greedy = [dataclasses.replace(r, k=0) for r in draws("de", 0, "up")]
    elsewhere = [dataclasses.replace(r, rollout_lang="en") for r in draws("de", 0, "up", "left")]
    assert embedding_metrics([*greedy, *elsewhere], Compass()) == []


def test_averages_over_trained_languages_are_not_carried_over():
    found = measured(
        draws("de", 0, "up", "left"), draws("de", 1, "down", "right"),
        draws("en", 0, "up", "left"), draws("en", 1, "down", "right"), trained=["de"],
    )  # fmt: skip
    assert ("vendi", "avg:trained") in found
    kept = carried_over([*found.values(), *metrics_of(draws("de", 0, "up"))])
    assert {m.metric for m in kept} == set(EMBEDDING_METRICS)
    assert {m.language for m in kept} == {"de", "en", "avg:all"}


def test_verify_says_that_it_can_not_check_them():
    records = [*draws("de", 0, "up", "left"), *draws("de", 1, "down", "right")]
    computed = metrics_of(records)
    wrong, unknown = compare_metrics([*computed, *embedding_metrics(records, Compass())], computed)
    assert wrong == [] and unknown == ["not checked, since they rest on an encoder: vendi"]


def test_they_are_shown():
    from test_measures_shown import SIGNATURE

    from lrpo_bench.results.schema import Evaluation

    records = [*draws("de", 0, "up", "left"), *draws("de", 1, "down", "right")]
    shown = evaluation_tables(Evaluation(SIGNATURE, records, tuple(embedding_metrics(records, Compass()))))
    assert any("Vendi" in str(table.title) for table in shown)
