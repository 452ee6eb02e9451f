"""lm-eval's tasks by name: finding them, their languages, their rows, their scores, and what is refused."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lm_eval.tasks._index import Kind

from lrpo_bench.errors import ConfigError, DataError, UnknownNameError
from lrpo_bench.models.prompting import build_prompt
from lrpo_bench.tasks import lm_eval_index
from lrpo_bench.tasks.base import Score
from lrpo_bench.tasks.lm_eval_index import find_definitions
from lrpo_bench.tasks.registry import fixture_rows, load_samples, load_task

MGSM = {"question": "Wie viele?", "answer": None, "answer_number": 1250, "equation_solution": None}
XNLI = {"premise": "P", "hypothesis": "H", "label": 2}


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return file


def own_task(folder: Path, name: str = "own", **changes: Any) -> str:
    """The reference of a task definition in a folder; values are YAML, None leaves a key out."""
    keys = {
        "task": name,
        "dataset_path": "nobody/own",
        "output_type": "generate_until",
        "test_split": "test",
        "doc_to_text": '"{{question}}"',
        "doc_to_target": '"{{answer}}"',
        "metric_list": "[{metric: exact_match, aggregation: mean, higher_is_better: true}]",
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.yaml"
    file.write_text("".join(f"{k}: {v}\n" for k, v in keys.items() if v is not None), encoding="utf-8")
    return f"lm_eval:{file}@en"


# ---- names and languages


@pytest.mark.parametrize(
    ("reference", "languages"),
    [
        ("lm_eval:xnli_de", ["de"]),  # by the data set's name
        ("lm_eval:belebele_zho_Hans", ["zh"]),
        ("lm_eval:include_base_44_german_stem", ["de"]),  # the data set's name is "German"
        ("lm_eval:arc_de", ["de"]),  # by the task's own name
        ("lm_eval:hellaswag@sw", ["sw"]),
        ("lm_eval:xcopa_{lang}", ["et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh"]),
        ("lm_eval:mgsm_direct_{lang}", ["bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh"]),
    ],
)
def test_languages(reference: str, languages: list[str]) -> None:
    assert [definition.lang for definition in find_definitions(reference)] == languages


def test_one_language_per_task_even_in_several_scripts() -> None:
    found = {each.lang: each.name for each in find_definitions("lm_eval:belebele_{lang}")}
    assert (found["hi"], found["zh"], found["ar"]) == ("belebele_hin_Deva", "belebele_zho_Hans", "belebele_arb_Arab")
    assert len(found) > 80


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("lm_eval:hellaswag", "which language is lm-eval task 'hellaswag' in.* does not say it; write .*hellaswag@en"),
        ("lm_eval:wmt16-en-de", "Its name says de, en; write lm_eval:wmt16-en-de@en"),
        ("lm_eval:xnli_{lang}@de", "names its languages twice"),
        ("lm_eval:nowhere.yaml@de", r"lm-eval task file nowhere\.yaml does not exist"),
        ("lm_eval:lambada_openai@en", "asks for loglikelihood; only generate_until and multiple_choice"),
        ("lm_eval:truthfulqa_mc2@en", "scored by code of its own, not by the likeliest option"),
    ],
)
def test_what_can_not_be_used_is_one_line(reference: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_task(reference)
    assert "\n" not in str(caught.value)


def test_unknown_names_and_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {"xnli_de": SimpleNamespace(kind=Kind.TASK), "xnli": SimpleNamespace(kind=Kind.GROUP, yaml_path=None)}
    monkeypatch.setattr(lm_eval_index, "_index", lambda: entries)
    with pytest.raises(UnknownNameError, match="unknown lm-eval task 'xnly_de'; did you mean 'xnli_de'"):
        load_task("lm_eval:xnly_de")
    with pytest.raises(ConfigError, match=r"'xnli' is a group of lm-eval, .* as in lm_eval:xnli_\{lang\}"):
        load_task("lm_eval:xnli")
    with pytest.raises(UnknownNameError, match="variant of task 'lm_eval:xnli_de' 'acc'; known: acc,none"):
        load_task("lm_eval:xnli_de", "acc")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"repeats": 4}, "it draws several responses a question"),
        ({"unsafe_code": "true"}, "it runs code that the model wrote"),
        ({"test_split": None}, "it has neither a test nor a validation split"),
        (
            {"metric_list": "[{metric: bleu, aggregation: bleu}]"},
            r"none of its metrics is a mean over questions \(bleu\)",
        ),
        ({"output_type": "multiple_choice", "metric_list": "[{metric: acc_norm}]"}, "it is scored by acc_norm, not by"),
        ({"doc_to_image": "[image]"}, "it needs images or sound"),
        ({"process_results": "!function missing.f"}, "own.yaml: lm-eval can not read this task"),
    ],
)
def test_definitions_that_we_can_not_score_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_task(own_task(tmp_path, **changes))


def test_sampling_is_said_to_be_greedy(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="asks for sampling; its responses are decoded greedily"):
        load_task(own_task(tmp_path, generation_kwargs="{until: [x], do_sample: true, temperature: 0.7}"))


# ---- metadata


def test_metadata_and_variants() -> None:
    task = load_task("lm_eval:mgsm_direct_de")
    assert task.info.variants[:3] == ("exact_match,flexible-extract", "exact_match,remove_whitespace", "corrected")
    assert (task.kind, task.info.max_completion_tokens, task.info.source["eval_split"]) == ("generate", 256, "test")
    assert task.info.version.startswith("lm-eval-0.") and task.info.version.endswith("/4.0")
    assert task.verbatim and task.prompt_languages() == ("de",) and fixture_rows(task) == []
    choice = load_task("lm_eval:belebele_deu_Latn")
    assert (choice.kind, choice.info.variants, choice.info.chance) == (
        "choice",
        ("acc,none", "acc,none,instructed"),
        0.25,
    )


def test_stop_strings_are_those_of_the_language() -> None:
    task: Any = load_task("lm_eval:mgsm_direct_{lang}")
    assert (task.stop("de")[0], task.stop("en")[0]) == ("Frage:", "Question:")
    assert task.prompts[task.variant]["de"] != task.prompts[task.variant]["en"]


# ---- rows


def test_offline_without_data_is_one_line(tmp_path: Path) -> None:
    task = load_task("lm_eval:xnli_de")
    with pytest.raises(
        DataError, match=r"could not reach the hub for 'facebook/xnli'; pass --data lm_eval:xnli_de=PATH"
    ):
        load_samples(task, "de", "validation")


def test_one_benchmark_of_several_languages_is_parallel(tmp_path: Path) -> None:
    task = load_task("lm_eval:xnli_{lang}")
    for lang in ("de", "zh"):
        write(tmp_path / lang / "validation.jsonl", [XNLI, {**XNLI, "label": 0}])
    samples = {lang: load_samples(task, lang, "validation", tmp_path) for lang in ("de", "zh")}
    assert samples["de"][1].id == "lm_eval:xnli_{lang}/de/1"
    assert [s.source_id for s in samples["de"]] == [s.source_id for s in samples["zh"]]
    assert [s.gold for s in samples["zh"]] == [s.choices[i] for s, i in zip(samples["zh"], (2, 0), strict=True)]
    with pytest.raises(DataError, match=r"no data for task .* in 'fr'"):
        load_samples(task, "fr", "validation", tmp_path)


def test_documents_are_those_that_lm_eval_keeps(tmp_path: Path) -> None:
    row = {"question": " Q ", "option_a": "a", "option_b": "b", "option_c": "c", "option_d": "d", "answer": "C"}
    rows = [{**row, "subject_category": category} for category in ("Business", "Medical", "Business")]
    data = write(tmp_path / "de" / "test.jsonl", rows)
    samples = load_samples(load_task("lm_eval:global_mmlu_de_business"), "de", "test", data.parent)
    assert [sample.gold for sample in samples] == ["C", "C"]
    assert samples[0].extra["prompt"] == "Q\nA. a\nB. b\nC. c\nD. d\nAnswer:"


def test_a_single_file_and_other_splits(tmp_path: Path) -> None:
    task = load_task("lm_eval:mgsm_direct_de")
    file = write(tmp_path / "rows.jsonl", [MGSM])
    (sample,) = load_samples(task, "de", "test", file)
    assert (sample.gold, sample.extra["prompt"]) == ("1250", "Frage: Wie viele?\nAntwort:")
    with pytest.raises(DataError, match="has no split 'validation'; it has train, test"):
        load_samples(task, "de", "validation", file)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        (
            "lm_eval:xnli_de",
            {"premise": "P", "label": 0},
            "the rows do not fit lm-eval's definition .*must have",
        ),
        ("lm_eval:xnli_de", {**XNLI, "label": "2"}, "xnli_de, de row 0: the target '2' is not one of the 3 options"),
        ("lm_eval:xnli_de", {**XNLI, "label": -1}, "the target -1 is not one of the 3 options"),
        ("lm_eval:mgsm_direct_de", {"question": "?", "answer": "3"}, "the rows do not fit .*answer_number"),
    ],
)
def test_rows_of_another_format_are_one_line(name: str, row: dict[str, Any], message: str, tmp_path: Path) -> None:
    task = load_task(name)
    with pytest.raises(DataError, match=message) as caught:
        load_samples(task, "de", "validation" if "xnli" in name else "test", write(tmp_path / "de.jsonl", [row]))
    assert "\n" not in str(caught.value)


def test_rows_of_several_types_are_one_line(tmp_path: Path) -> None:
    file = write(tmp_path / "de.jsonl", [MGSM, {**MGSM, "answer_number": "many"}])
    with pytest.raises(DataError, match="values of different types in one column"):
        load_samples(load_task("lm_eval:mgsm_direct_de"), "de", "test", file)


def test_worked_examples_are_never_the_questions(tmp_path: Path) -> None:
    shown = own_task(tmp_path, num_fewshot=1, fewshot_split="train")
    rows = [{"question": str(n), "answer": "x"} for n in range(3)]
    file = write(tmp_path / "data" / "rows.jsonl", rows)
    with pytest.raises(
        DataError, match=r"shows 1 worked examples from split 'train', and .*rows.jsonl holds the same rows"
    ):
        load_samples(load_task(shown), "en", "test", file)


def test_loading_again_draws_the_same_examples(tmp_path: Path) -> None:
    task = load_task(own_task(tmp_path, num_fewshot=2, training_split="train"))
    write(tmp_path / "data" / "train.jsonl", [{"question": f"e{n}", "answer": str(n)} for n in range(20)])
    write(tmp_path / "data" / "test.jsonl", [{"question": f"q{n}", "answer": str(n)} for n in range(5)])
    first = load_samples(task, "en", "test", tmp_path / "data")
    assert first == load_samples(task, "en", "test", tmp_path / "data")
    assert first[:2] == load_samples(task, "en", "test", tmp_path / "data", 2)
    assert len({sample.extra["prompt"].rpartition("q")[0] for sample in first}) > 1
    trained = load_samples(task, "en", "train", tmp_path / "data")
    assert [sample.extra["prompt"] for sample in trained] == [f"e{n}" for n in range(20)], (
        "an example may be the question"
    )


# ---- scores


def test_generation_is_scored_by_lm_evals_filter() -> None:
    task = load_task("lm_eval:mgsm_direct_de")
    sample = task.sample(MGSM, "de", 0)
    assert task.score(sample, "Es sind 1250.", "de") == Score(1.0, "correct", "1250.")
    assert task.score(sample, "12 oder 13", "de") == Score(0.0, "incorrect", "13")
    assert task.score(sample, "1250\nFrage: Und 7 + 8?", "de").value == 1.0, "cut at the stop string"
    assert task.score(sample, "keine Ahnung", "de").outcome == "not_attempted"
    assert task.score(sample, " \n", "de") == Score.not_attempted("empty")


def test_our_extraction_is_a_variant_that_shows_both_values() -> None:
    task = load_task("lm_eval:mgsm_direct_de", "corrected")
    sample = task.sample(MGSM, "de", 0)
    assert task.score(sample, "Es sind 1250", "de") == Score(1.0, "correct", "1250")
    found = task.score(sample, "1.250,00 Euro", "de")
    assert (found.value, found.answer) == (1.0, "1250.00")
    assert found.reason == "lm-eval's exact_match,flexible-extract reads '1.250,00': 0.0"
    assert task.score(sample, "nichts", "de").outcome == "not_attempted"


def test_choices_are_told_apart(tmp_path: Path) -> None:
    changes = {"doc_to_choice": "[same, same, other]", "doc_to_target": "gold", "metric_list": "[{metric: acc}]"}
    task = load_task(own_task(tmp_path, output_type="multiple_choice", **changes))
    sample = task.sample({"question": "Q", "gold": 1}, "en", 0)
    assert (sample.choices, sample.gold) == (("same", "same (2)", "other"), "same (2)")
    assert task.options(sample, "en") == [" same", " same", " other"]
    assert task.score(sample, " other", "en") == Score(0.0, "incorrect", "other")
    assert task.score(sample, "", "en").outcome == "not_attempted"


def test_a_metric_outside_0_and_1_is_unscored(tmp_path: Path) -> None:
    (tmp_path / "points.py").write_text("def f(doc, results):\n    return {'points': 7}\n", encoding="utf-8")
    metrics = "[{metric: points, aggregation: mean, higher_is_better: true}]"
    task = load_task(own_task(tmp_path, process_results="!function points.f", metric_list=metrics))
    score = task.score(task.sample({"question": "Q", "answer": "A"}, "en", 0), "A", "en")
    assert (score.value, score.outcome) == (None, "unscored")
    assert "points is 7, not a number from 0 to 1" in score.reason


# ---- asking


def test_instructed_variants_can_be_told_a_language() -> None:
    verbatim = load_task("lm_eval:mgsm_direct_de")
    sample = verbatim.sample(MGSM, "de", 0)
    (message,) = build_prompt(verbatim, sample, "de", "system")
    assert message == {"role": "verbatim", "content": "Frage: Wie viele?\nAntwort:"}
    with pytest.raises(ConfigError, match="is asked verbatim and can not be told to answer in 'zh'"):
        build_prompt(verbatim, sample, "zh", "tag")
    asked = load_task("lm_eval:mgsm_direct_de", "exact_match,flexible-extract,instructed")
    (message,) = build_prompt(asked, asked.sample(MGSM, "de", 0), "zh", "tag")
    assert message == {"role": "user", "content": "Frage: Wie viele?\nAntwort: <|out_lang_zh|>"}
    choice = load_task("lm_eval:xnli_de", "acc,none,instructed")
    assert not any(option.startswith(" ") for option in choice.options(choice.sample(XNLI, "de", 0), "de"))
