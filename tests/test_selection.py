"""Which questions are evaluated and which are trained on: never the same one, and translations stay together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tasks import TABLE_SOURCE, write_table, write_task

from lrpo_bench.config import parse_config
from lrpo_bench.errors import ConfigError, DataError, UnknownNameError
from lrpo_bench.tasks.selection import is_kept_for_training, select_questions

LANGS = ("de", "en", "sw")
MANY = {lang: [f"{lang} {i}" for i in range(40)] for lang in LANGS}


def content(samples):
    return {(s.lang, s.question) for s in samples}


def select(tasks_dir, train=True, train_section=None, **entry):
    values = {"tasks": [entry], "tasks_dirs": [str(tasks_dir)], "train": train_section or {}}
    (selection,) = select_questions(parse_config(values), train=train)
    return selection


@pytest.fixture
def letters(tmp_path):
    return write_task(tmp_path / "tasks")


@pytest.fixture
def table(tmp_path):
    return write_task(tmp_path / "tasks", "table", TABLE_SOURCE)


@pytest.fixture
def table_without_train(tmp_path):
    return write_task(tmp_path / "tasks", "table", TABLE_SOURCE.replace('train = ["train"]', ""))


# --- tasks with a training split


def test_a_training_split_is_trained_on(letters):
    found = select(letters, name="letters")
    assert not found.shares_split
    assert len(found.evaluation) == 3 * 6
    assert len(found.training) == 3 * 12
    assert not content(found.training) & content(found.evaluation)


def test_nothing_is_trained_on_in_an_evaluation(letters):
    found = select(letters, train=False, name="letters")
    assert (found.training, found.shares_split) == ((), False)


def test_limits_are_per_language(letters):
    found = select(letters, name="letters", limit=2, train_section={"questions": 3})
    assert [s.id for s in found.evaluation] == [f"letters/{lang}/{n}" for lang in LANGS for n in (0, 1)]
    assert [s.id for s in found.training] == [f"letters/{lang}/{n}" for lang in LANGS for n in (100, 101, 102)]


def test_languages_of_evaluation_and_training_are_chosen_apart(letters):
    found = select(letters, name="letters", languages=["sw"], train_section={"languages": ["en", "de"]})
    assert found.languages == ("sw",)
    assert {s.lang for s in found.training} == {"de", "en"}


def test_the_training_split_can_be_evaluated_but_not_trained_on_too(letters):
    """`split: train` with training: the questions are shared out, as for a benchmark that has one split."""
    found = select(letters, name="letters", split="train")
    assert found.shares_split
    assert len(found.evaluation) + len(found.training) == 3 * 12
    assert not content(found.training) & content(found.evaluation)


def test_local_files_of_both_splits(table, tmp_path):
    data = write_table(tmp_path / "data", "test", MANY)
    write_table(data, "train", {lang: [f"train {lang} {i}" for i in range(5)] for lang in LANGS})
    found = select(table, name="table", data=str(data), limit=7)
    assert not found.shares_split
    assert (len(found.evaluation), len(found.training)) == (21, 15)


def test_repeated_questions_are_left_out_of_training_and_counted(table, tmp_path):
    data = write_table(tmp_path / "data", "test", {"de": ["a", "b"], "en": ["a", "c"]})
    write_table(data, "train", {"de": ["x", "a", "c"], "en": ["y", "b", "a"]})
    found = select(table, name="table", data=str(data), languages=["de", "en"])
    assert content(found.training) == {("de", "x"), ("de", "c"), ("en", "y"), ("en", "b")}
    assert found.n_left_out == 2


def test_only_the_languages_that_are_evaluated_need_evaluation_data(table, tmp_path):
    data = write_table(tmp_path / "data", "test", {"de": ["a", "b"]})
    write_table(data, "train", {"de": ["x"], "sw": ["y"]})
    found = select(table, name="table", data=str(data), languages=["de"], train_section={"languages": ["sw"]})
    assert (content(found.evaluation), content(found.training)) == ({("de", "a"), ("de", "b")}, {("sw", "y")})


# --- tasks with one split


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param("{split}-{lang}.tsv", id="the local copy has no training split"),
        pytest.param("{lang}.tsv", id="one file a language, whatever the split"),
    ],
)
def test_one_split_is_shared_out(table, tmp_path, layout):
    """The file of a language must not be read once as the test split and once as the training split."""
    data = tmp_path / "data"
    data.mkdir()
    for lang, texts in MANY.items():
        rows = "".join(f"{text}\t{i}\n" for i, text in enumerate(texts))
        (data / layout.format(split="test", lang=lang)).write_text(rows)
    for path in (data, data / layout.replace("{split}", "test")):
        found = select(table, name="table", data=str(path))
        assert found.shares_split
        assert len(found.evaluation) + len(found.training) == 120
        assert not content(found.training) & content(found.evaluation)
        assert not {s.source_id for s in found.training} & {s.source_id for s in found.evaluation}


def test_rows_that_ignore_the_split_are_shared_out(tmp_path):
    folder = write_task(tmp_path / "tasks")
    code = (folder / "letters" / "task.py").read_text()
    (folder / "letters" / "task.py").write_text(
        code.replace('"train": 100', '"train": 0').replace('"test": 6', '"test": 12')
    )
    found = select(folder, name="letters")
    assert found.shares_split
    assert not content(found.training) & content(found.evaluation)
    assert len(found.evaluation) + len(found.training) == 36


def test_translations_fall_on_the_same_side(table_without_train, tmp_path):
    data = write_table(tmp_path / "data", "test", MANY)
    found = select(table_without_train, name="table", data=str(data), train_section={"train_share": 0.3})
    sides = [
        {lang: {s.source_id for s in part if s.lang == lang} for lang in LANGS}
        for part in (found.evaluation, found.training)
    ]
    for by_lang in sides:
        assert by_lang["de"] == by_lang["en"] == by_lang["sw"]
    assert not sides[0]["de"] & sides[1]["de"]
    assert len(sides[0]["de"] | sides[1]["de"]) == 40


@pytest.mark.parametrize("languages", [("de",), ("en", "sw"), ("sw", "de", "en")])
@pytest.mark.parametrize("limit", [None, 1, 5])
@pytest.mark.parametrize("share", [0.2, 0.8])
def test_shares_are_disjoint_whatever_the_settings(table_without_train, tmp_path, languages, limit, share):
    """Training in German while Swahili is evaluated: still no translation of a trained question is evaluated."""
    data = write_table(tmp_path / "data", "test", MANY)
    found = select(
        table_without_train, name="table", data=str(data), languages=list(languages), limit=limit,
        train_section={"languages": ["de", "sw"], "train_share": share, "questions": 6},
    )  # fmt: skip
    assert not {s.source_id for s in found.training} & {s.source_id for s in found.evaluation}
    for lang in languages:
        n = sum(s.lang == lang for s in found.evaluation)
        assert n == limit if limit == 1 else 0 < n <= (limit or 40)
    assert all(0 < sum(s.lang == lang for s in found.training) <= 6 for lang in ("de", "sw"))


def test_limit_counts_what_is_left(table_without_train, tmp_path):
    """With half the questions held out, a limit of 5 is still 5 questions, the same in every language."""
    data = write_table(tmp_path / "data", "test", MANY)
    found = select(table_without_train, name="table", data=str(data), limit=5)
    by_lang = [[s.source_id for s in found.evaluation if s.lang == lang] for lang in LANGS]
    assert [len(ids) for ids in by_lang] == [5, 5, 5]
    assert by_lang[0] == by_lang[1] == by_lang[2]


@given(st.text(), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_larger_share_keeps_more(source_id, a, b):
    low, high = sorted((a, b))
    assert is_kept_for_training(source_id.encode("utf-8", "replace").decode(), high) or not is_kept_for_training(
        source_id.encode("utf-8", "replace").decode(), low
    )


def test_share_of_many():
    """Binomial: 10,000 questions at 0.3 leave the interval of 5 standard deviations once in a million."""
    kept = sum(is_kept_for_training(f"mgsm/{i}", 0.3) for i in range(10_000))
    assert abs(kept - 3000) < 5 * (10_000 * 0.3 * 0.7) ** 0.5


# --- hashes


def test_hashes_follow_what_is_asked(table, tmp_path):
    data = write_table(tmp_path / "data", "test", MANY)
    base = select(table, train=False, name="table", data=str(data))
    same = select(table, train=False, name="table", data=str(data))
    fewer = select(table, train=False, name="table", data=str(data), limit=39)
    (data / "test-de.tsv").write_text((data / "test-de.tsv").read_text().replace("de 7\t7", "de 7\t8"))
    changed = select(table, train=False, name="table", data=str(data))
    assert base.data_hash == same.data_hash
    assert len({base.data_hash, fewer.data_hash, changed.data_hash}) == 3
    assert base.prompt_hash == changed.prompt_hash
    prompts = tmp_path / "tasks" / "table" / "prompts.toml"
    prompts.write_text(prompts.read_text().replace('sw = "', 'sw = "Jibu: '))
    assert select(table, train=False, name="table", data=str(data)).prompt_hash != base.prompt_hash
    without = select(table, train=False, name="table", data=str(data), languages=["de", "en"])
    prompts.write_text(prompts.read_text().replace("Jibu: ", ""))
    assert (
        select(table, train=False, name="table", data=str(data), languages=["de", "en"]).prompt_hash
        == without.prompt_hash
    )


# --- errors


def test_unknown_languages(letters):
    with pytest.raises(UnknownNameError, match=r"language of task 'letters' 'fr'; known: de, en, sw"):
        select(letters, name="letters", languages=["fr"])
    with pytest.raises(UnknownNameError, match=r"training language of these tasks 'fr'; known: de, en, sw"):
        select(letters, name="letters", train_section={"languages": ["de", "fr"]})


def test_a_share_that_leaves_nothing(table_without_train, tmp_path):
    data = write_table(tmp_path / "data", "test", {lang: ["a"] for lang in LANGS})
    with pytest.raises(ConfigError, match=r"'table' has no questions left .*; lower train.train_share"):
        select(table_without_train, name="table", data=str(data), train_section={"train_share": 0.999999})


def test_missing_data_is_named(table, tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        select(table, name="table", data=str(tmp_path / "nowhere"))


def test_unknown_task_suggests(letters):
    with pytest.raises(UnknownNameError, match="did you mean 'letters'"):
        select(letters, name="leters")


# --- the real ones


@pytest.mark.parametrize("name", ["arithmetic", "inference", "regional"])
def test_embedded_tasks_never_share_a_question(name):
    values = {"tasks": [{"name": name, "limit": 400}], "train": {"questions": 400}}
    (found,) = select_questions(parse_config(values), train=True)
    assert found.training
    assert not content(found.training) & content(found.evaluation)
    assert found.n_left_out == 0


def test_mgsm_and_xnli_files(shared_data):
    values = {
        "tasks": [
            {"name": "mgsm", "data": str(shared_data / "mgsm"), "languages": ["de", "sw"]},
            {
                "name": "xnli",
                "data": str(shared_data / "xnli"),
                "variant": "label",
                "languages": ["de", "sw"],
                "limit": 50,
            },
        ]
    }
    mgsm, xnli = select_questions(parse_config(values), train=True)
    assert mgsm.shares_split
    assert xnli.shares_split
    assert len(mgsm.evaluation) + len(mgsm.training) == 500
    for found in (mgsm, xnli):
        assert not {s.source_id for s in found.training} & {s.source_id for s in found.evaluation}
