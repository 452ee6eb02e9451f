"""True translations of right and wrong answers in the embedded world."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrpo_bench.errors import ConfigError, UnknownNameError
from lrpo_bench.tasks.registry import load_samples, load_task
from lrpo_bench.training.offline.translation import Answer
from lrpo_bench.training.offline.world_translation import WorldTranslator
from lrpo_bench.world.inference import LABELS, InferenceProblem
from lrpo_bench.world.questions import WORLD_LANGUAGES
from lrpo_bench.world.reasoning import ReasoningProblem

TASKS = ("arithmetic", "regional", "inference")
TRANSLATOR = WorldTranslator()


def pairs_of(name, lang, limit=25):
    task = load_task(name)
    return task, list(
        zip(load_samples(task, "en", "test", limit=limit), load_samples(task, lang, "test", limit=limit), strict=True)
    )


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("lang", ["bn", "ru", "th"])
def test_a_right_answer_becomes_the_reference_of_the_other_language(name, lang):
    task, parallel = pairs_of(name, lang)
    answers = [Answer(task, english, "en", english.reference) for english, _ in parallel]
    assert TRANSLATOR.translate(answers, lang) == [other.reference for _, other in parallel]


@given(st.integers(0, 60), st.sampled_from(WORLD_LANGUAGES))
@settings(max_examples=40, deadline=None)
def test_a_wrong_number_stays_the_same_wrong_number(number, lang):
    task = load_task("arithmetic")
    sample = load_samples(task, "en", "test", limit=1)[0]
    (text,) = TRANSLATOR.translate([Answer(task, sample, "en", f"So it is {number}.")], lang)
    there = load_samples(task, lang, "test", limit=1)[0]
    score = task.score(there, text, lang)
    assert Decimal(score.answer) == number
    assert score.value == float(Decimal(sample.gold) == number)


def test_a_wrong_name_and_a_wrong_label_are_said_in_the_other_language():
    task, parallel = pairs_of("regional", "ru")
    english, russian = parallel[0]
    wrong = next(
        other for other, _ in parallel[1:] if other.extra["fact"].split("-")[1] == english.extra["fact"].split("-")[1]
    )
    (text,) = TRANSLATOR.translate([Answer(task, english, "en", f"It is {wrong.gold}.")], "ru")
    expected = next(name for name in wrong.aliases if name in text)
    assert text == russian.reference.replace(russian.gold, expected)
    task, parallel = pairs_of("inference", "de")
    for english, german in parallel[:6]:
        for label, said in (("yes", "Yes."), ("no", "No."), ("unknown", "It cannot be said.")):
            (text,) = TRANSLATOR.translate([Answer(task, english, "en", said)], "de")
            assert task.score(german, text, "de").answer == label


def test_what_states_nothing_or_the_unsayable_has_no_translation():
    task, parallel = pairs_of("arithmetic", "de", limit=1)
    sample = parallel[0][0]
    answers = [Answer(task, sample, "en", text) for text in ("", "no idea", "It is 10000.", "It is -4.")]
    assert TRANSLATOR.translate(answers, "de") == [None] * 4


def test_alignment_is_one_for_the_dominant_answers_own_translation_and_less_for_another():
    task, parallel = pairs_of("arithmetic", "sw", limit=1)
    english, swahili = parallel[0]
    target = Answer(task, english, "en", english.reference)
    right = Answer(task, swahili, "sw", swahili.reference)
    wrong = replace(right, text="jibu ni 7")
    scores = TRANSLATOR.score([right, wrong, replace(right, text="")], [target] * 3)
    assert scores[0] == pytest.approx(1.0)
    assert 0.0 < scores[1] < 1.0
    assert scores[2] == 0.0


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_problems_come_back_from_their_ids(data):
    task = load_task(data.draw(st.sampled_from(["arithmetic", "inference"])))
    sample = data.draw(st.sampled_from(load_samples(task, "en", "train", limit=40)))
    if task.info.name == "arithmetic":
        problem = ReasoningProblem.from_slug(sample.source_id.partition("/")[2])
    else:
        problem = InferenceProblem.from_source_id(sample.source_id)
    assert problem.render("en").question == sample.question
    assert problem.render("en").reference == sample.reference


def test_a_wrong_no_names_the_converse_or_another_room():
    problem = InferenceProblem.from_source_id("inference/in.ring.box_in.box.living_room_in.ring.living_room")
    assert problem.label == "yes"
    assert problem.answered("en", "no") == "No, from this it follows that the ring is in the kitchen."
    problem = InferenceProblem.from_source_id("inference/older.rita.bruno_older.rita.bruno")
    assert problem.answered("en", "no") == "No, from this it follows that Bruno is older than Rita."
    assert {problem.answered("en", label).split()[0] for label in LABELS} == {"Yes,", "No,", "It"}


@pytest.mark.parametrize(
    ("tasks", "languages", "message"),
    [(["mgsm"], ["en"], "not 'mgsm'; set train.offline.translator"), (["regional"], ["en", "ko"], "not 'ko'")],
)
def test_other_tasks_and_languages_are_refused(tasks, languages, message):
    TRANSLATOR.check(["arithmetic"], ["bn", "en"])
    with pytest.raises(ConfigError, match=message):
        TRANSLATOR.check(tasks, languages)


def test_unknown_templates_and_labels_are_refused():
    with pytest.raises(UnknownNameError, match="unknown template of a word problem 'bye'; did you mean 'buy'"):
        ReasoningProblem.from_slug("bye-tom-apple-3-5")
    with pytest.raises(UnknownNameError, match="label"):
        InferenceProblem.from_source_id("inference/older.rita.bruno_older.rita.bruno").answered("en", "maybe")
