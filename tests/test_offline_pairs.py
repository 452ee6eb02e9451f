"""Preference pairs, worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpo_bench.training.offline.pairs import (
    Group,
    Pair,
    Rollout,
    Side,
    best_against_worst,
    dpo_pairs,
    lidr_pairs,
    mapo_pairs,
    mpo_pairs,
)


def rollout(text, reward=0.0, lang="sw", *, correct=None, finished=True):
    right = reward == 1.0 if correct is None else correct
    return Rollout(f"task/{lang}/1", lang, text, finished, reward, right)


def words(pairs):
    return [(pair.lang, pair.chosen.text, pair.rejected.text) for pair in pairs]


def test_dpo_takes_the_first_best_and_the_first_worst():
    group = Group((rollout("a", 0.5), rollout("b", 1.0), rollout("c", 0.0), rollout("d", 1.0), rollout("e", 0.0)))
    assert words(dpo_pairs([group])) == [("sw", "b", "c")]


@pytest.mark.parametrize("rewards", [(0.0, 0.0), (1.0, 1.0), (0.4, math.nan), (math.nan, math.nan), ()])
def test_a_group_without_two_known_rewards_that_differ_gives_no_pair(rewards):
    group = Group(tuple(rollout(str(i), reward) for i, reward in enumerate(rewards)))
    assert dpo_pairs([group]) == []


def test_an_unfinished_answer_stays_unfinished_in_its_pair():
    (pair,) = dpo_pairs([Group((rollout("cut", 0.0, finished=False), rollout("whole", 1.0)))])
    assert (pair.chosen, pair.rejected) == (Side("whole", True), Side("cut", False))


def test_mapo_prefers_right_answers_that_align_better():
    own = (
        rollout("a", correct=True),
        rollout("b", correct=False),
        rollout("c", correct=True),
        rollout("d", correct=False),
    )
    # ranked b .9, c .7, a .5, d .5; b is wrong and never better; a and d are equal
    assert words(mapo_pairs([Group(own)], [[0.5, 0.9, 0.7, 0.5]])) == [("sw", "c", "a"), ("sw", "c", "d")]


def test_mapo_has_no_pair_of_one_text_and_none_where_nothing_could_be_scored():
    own = (rollout("same", correct=True), rollout("same", correct=True))
    assert mapo_pairs([Group(own), Group(own)], [[0.9, 0.1], []]) == []


def test_lidr_pairs_both_ways_whatever_is_right():
    group = Group((rollout("sw1"), rollout("sw2")), (rollout("en1", lang="en"), rollout("en2", lang="en")))
    pairs = lidr_pairs([group], [["en1 in sw", "sw2"]], [["sw1 in en", None]])
    # the second dominant answer's translation is the own answer, and the second own one can not be translated
    assert words(pairs) == [("sw", "en1 in sw", "sw1"), ("en", "en1", "sw1 in en")]
    assert [pair.sample_id for pair in pairs] == ["task/sw/1", "task/en/1"]


def test_mpo_needs_a_pair_in_both_languages():
    mixed = (rollout("good", 1.0), rollout("bad", 0.0))
    en = (rollout("right", 1.0, "en"), rollout("wrong", 0.0, "en"))
    equal = (rollout("right", 1.0, "en"), rollout("too", 1.0, "en"))
    (pair,) = mpo_pairs([Group(mixed, equal), Group(mixed, en), Group((mixed[0],), en)])
    assert words([pair, pair.dominant]) == [("sw", "good", "bad"), ("en", "right", "wrong")]


texts = st.text(max_size=8)
sides = st.builds(Side, texts, st.booleans())
plain_pairs = st.builds(Pair, texts, st.sampled_from(["sw", "en"]), sides, sides)


@given(st.builds(Pair, texts, st.sampled_from(["sw", "en"]), sides, sides, st.none() | plain_pairs))
def test_a_pair_survives_json(pair):
    assert Pair.from_dict(pair.to_dict()) == pair


@given(st.lists(st.sampled_from([0.0, 0.25, 1.0, math.nan]), max_size=8))
def test_the_better_one_is_never_worse(rewards):
    rollouts = [rollout(str(i), reward) for i, reward in enumerate(rewards)]
    pair = best_against_worst(rollouts)
    known = [reward for reward in rewards if not math.isnan(reward)]
    assert (pair is not None) == (len(set(known)) > 1)
    if pair is not None:
        assert rewards[int(pair.chosen.text)] == max(known)
        assert rewards[int(pair.rejected.text)] == min(known)
