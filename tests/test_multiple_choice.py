"""The multiple-choice tasks: worded as lm-eval words them, read from the hub's layouts, and MGSM-Rev2."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import lm_eval
import pyarrow
import pytest
from conftest import make_tiny_tokenizer
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml
from pyarrow import parquet

from lrpo_bench.errors import ConfigError, DataError
from lrpo_bench.models.prompting import VERBATIM, build_prompt, render
from lrpo_bench.tasks.base import Task
from lrpo_bench.tasks.datasource import DataSpec
from lrpo_bench.tasks.registry import fixture_rows, load_samples, load_task

TASKS = ("belebele", "global_mmlu_lite", "include_lite", "xcopa")
YAML = Path(lm_eval.__path__[0]) / "tasks"


class OfflineTask(ConfigurableTask):
    """lm-eval's own task class on rows in memory."""

    def __init__(self, config: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        self._rows = rows
        super().__init__(config=config)

    def download(self, *_: Any, **__: Any) -> None:
        rows = datasets.Dataset.from_list(self._rows)
        self.dataset = dict.fromkeys(("train", "validation", "test", "dev"), rows)


def lm_eval_requests(config: dict[str, Any], doc: dict[str, Any]) -> list[tuple[str, str]]:
    """The (context, continuation) pairs that lm-eval's default evaluation makes of a row."""
    task = OfflineTask({k: v for k, v in config.items() if k != "tag"}, [doc])
    (kept,) = task.eval_docs
    context = task.fewshot_context(kept, 0)
    return [request.args for request in task.construct_requests(kept, context)]


def lm_eval_config(name: str, task: Task, lang: str) -> dict[str, Any]:
    code = DataSpec.of(task.info).expand("{lang}", lang, "")
    files = {
        "belebele": f"belebele/belebele_{code}.yaml",
        "global_mmlu_lite": f"global_mmlu/default/{lang}/global_mmlu_{lang}_other.yaml",
        "include_lite": f"include/default/{code}/*_base_44_*_*.yaml",
        "xcopa": f"xcopa/default_{lang}.yaml",
    }
    return load_yaml(sorted(YAML.glob(files[name]))[-1], resolve_func=True)


def as_lm_eval_row(name: str, row: Mapping[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    if name != "include_lite":
        return dict(row)
    # lm-eval reads the base release, in one task a domain
    named = dict(zip(("option_a", "option_b", "option_c", "option_d"), row["choices"], strict=True))
    domain = config["description"].removeprefix("The following is multiple-choice question about ").removesuffix(".")
    return {**row, **named, "domain": domain}


@pytest.mark.parametrize("name", TASKS)
def test_likelihood_is_worded_as_in_lm_eval(name: str) -> None:
    task = load_task(name, "likelihood")
    tokenizer = make_tiny_tokenizer(chat=True)
    assert task.verbatim and task.kind == "choice"
    for lang in task.info.languages:
        row = next(row for row in fixture_rows(task) if row["lang"] == lang)
        config = lm_eval_config(name, task, lang)
        doc = as_lm_eval_row(name, row, config)
        if "process_docs" in config:  # each lm-eval task keeps one domain or category
            doc.update(subject_category="Other")
            if name == "include_lite" and config["description"].endswith("license."):
                doc.update(domain="Driving License")
                config["description"] = "The following is multiple-choice question about Driving License."
        expected = lm_eval_requests(config, doc)
        sample = task.sample(doc, lang, 0)
        prompt = render(build_prompt(task, sample, lang, "system"), tokenizer)
        assert [(prompt, option) for option in task.options(sample, lang)] == expected, lang


@pytest.mark.parametrize("name", TASKS)
def test_letters_are_read_in_every_language(name: str) -> None:
    task = load_task(name, "letter")
    assert task.kind == "generate" and not task.verbatim
    for row in fixture_rows(task):
        sample = task.sample(row, row["lang"], 0)
        assert task.score(sample, f"({sample.gold})", row["lang"]).value == 1.0
        wrong = next(letter for letter in sample.choices if letter != sample.gold)
        assert task.score(sample, f"**{wrong}**", row["lang"]).value == 0.0
        prompt = task.prompt(sample, row["lang"])
        assert all(f"\n{letter}. {sample.extra[letter.lower()]}\n" in prompt for letter in sample.choices)
        # the prompt names all letters, so an answer that repeats it decides nothing
        assert task.score(sample, prompt, row["lang"]).outcome == "not_attempted", prompt


def test_verbatim_tasks_reach_the_model_as_they_are() -> None:
    task = load_task("global_mmlu_lite")
    sample = task.sample(fixture_rows(task)[0], "ar", 0)
    (message,) = build_prompt(task, sample, "ar", "tag")
    assert message == {"role": VERBATIM, "content": task.prompt(sample, "ar")}
    assert message["content"].endswith("\nAnswer:")
    with pytest.raises(
        ConfigError, match=r"asked verbatim and can not be told .* 'de'; use another variant \(letter\)"
    ):
        build_prompt(task, sample, "de", "tag")
    letter = load_task("global_mmlu_lite", "letter")
    assert build_prompt(letter, sample, "de", "tag")[0]["content"].endswith("<|out_lang_de|>")


# ---- topics, regions, ids


def test_cultural_sensitivity_is_the_topic_and_countries_are_the_regions() -> None:
    task = load_task("global_mmlu_lite")
    rows = [row for row in fixture_rows(task) if row["lang"] == "de"]
    agnostic, sensitive = (task.sample(row, "de", i) for i, row in enumerate(rows))
    assert (agnostic.topic, agnostic.regions) == ("general knowledge", ())
    assert (sensitive.topic, sensitive.regions) == ("regional knowledge", ("Kenya",))
    assert (sensitive.id, sensitive.source_id) == (
        "global_mmlu_lite/de/geography/test/7", "global_mmlu_lite/geography/test/7",
    )  # fmt: skip
    region_only = task.sample({**rows[1], "country": "[]", "region": "[\"East Africa\", 'Africa']"}, "de", 0)
    assert region_only.regions == ("East Africa", "Africa")
    assert task.sample({**rows[1], "country": None, "region": "['None']"}, "de", 0).regions == ()


def test_include_is_regional_and_not_parallel() -> None:
    task = load_task("include_lite")
    assert not task.parallel
    rows = [row for row in fixture_rows(task) if row["lang"] == "de"]
    agnostic, regional = (task.sample(row, "de", i) for i, row in enumerate(rows))
    assert (agnostic.topic, agnostic.regions) == ("general knowledge", ())
    assert (regional.topic, regional.regions) == ("regional knowledge", ("Germany",))
    assert regional.source_id == regional.id == "include_lite/de/1"


def test_belebele_questions_are_known_by_passage_and_number() -> None:
    task = load_task("belebele")
    rows = {lang: [row for row in fixture_rows(task) if row["lang"] == lang] for lang in ("de", "zh")}
    german = [task.sample(row, "de", i).source_id for i, row in enumerate(rows["de"])]
    chinese = [task.sample(row, "zh", i).source_id for i, row in enumerate(reversed(rows["zh"]))]
    assert german == list(reversed(chinese)) and german[0].startswith("belebele/https://")


# ---- broken rows

ROW = {
    "question": "?", "option_a": "1", "option_b": "2", "option_c": "3", "option_d": "4", "answer": "A",
    "domain": "STEM", "flores_passage": "P", "mc_answer1": "1", "mc_answer2": "2", "mc_answer3": "3", "mc_answer4": "4",
    "correct_answer_num": "1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("global_mmlu_lite", {"option_c": ""}, "global_mmlu_lite, de row 3: column 'option_c' must be a text"),
        ("global_mmlu_lite", {"answer": "E"}, "the answer is option 5 of 4"),
        ("global_mmlu_lite", {"answer": None}, "column 'answer' must be a letter or a number, got None"),
        ("global_mmlu_lite", {"answer": True}, "must be a letter or a number, got True"),
        ("include_lite", {"answer": 4}, "the answer is option 5 of 4"),
        ("include_lite", {"domain": None}, "column 'domain' must be a text that is not empty, got None"),
        ("belebele", {"correct_answer_num": "0"}, "the answer is option 0 of 4"),
        ("belebele", {"correct_answer_num": "5"}, "the answer is option 5 of 4"),
        ("belebele", {"flores_passage": 3}, "column 'flores_passage' must be a text that is not empty, got 3"),
    ],
)
def test_broken_rows_are_refused(name: str, change: dict[str, object], message: str) -> None:
    task = load_task(name)
    assert task.sample(ROW, "de", 3).gold == "A"
    with pytest.raises(DataError, match=message):
        task.sample({**ROW, **change}, "de", 3)


def test_xcopa_wants_a_cause_or_an_effect() -> None:
    task = load_task("xcopa")
    row = {"premise": "P.", "choice1": "A.", "choice2": "B.", "question": "why", "label": 0}
    with pytest.raises(DataError, match=r"xcopa, it row 0: column 'question' must be cause or effect, got 'why'"):
        task.sample(row, "it", 0)


# ---- the hub's layouts, in local folders


def write_parquet(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), file)


def write_jsonl(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


LAYOUTS = {
    "global_mmlu_lite": "{config}/test-00000-of-00001.parquet",
    "include_lite": "{config}/test-00000-of-00001.parquet",
    "belebele": "data/{config}.jsonl",
    "xcopa": "data/{config}/test.{config}.jsonl",
}


@pytest.mark.parametrize("name", TASKS)
def test_local_folders_in_the_hubs_layout(name: str, tmp_path: Path) -> None:
    task = load_task(name)
    by_lang: dict[str, list[dict[str, Any]]] = {}
    for row in fixture_rows(task):
        by_lang.setdefault(row["lang"], []).append({key: value for key, value in row.items() if key != "lang"})
    for lang, rows in by_lang.items():
        config = DataSpec.of(task.info).expand("{config}", lang, "test")
        file = tmp_path / LAYOUTS[name].replace("{config}", config)
        (write_parquet if file.suffix == ".parquet" else write_jsonl)(file, rows)
    for lang in task.info.languages:
        expected = [task.sample(row, lang, i) for i, row in enumerate(by_lang[lang])]
        assert load_samples(task, lang, "test", tmp_path) == expected, lang


def test_include_folder_names_are_english(tmp_path: Path) -> None:
    task = load_task("include_lite")
    row = {key: value for key, value in fixture_rows(task)[0].items() if key != "lang"}
    write_parquet(tmp_path / "North Macedonian" / "test-00000-of-00001.parquet", [row])
    assert load_samples(task, "mk", "test", tmp_path)[0].lang == "mk"
    with pytest.raises(DataError, match="no data for task 'include_lite' in 'de'"):
        load_samples(task, "de", "test", tmp_path)


def test_mgsm_rev2_reads_both_releases_and_is_another_task(tmp_path: Path) -> None:
    task = load_task("mgsm_v2")
    (tmp_path / "mgsm_de.tsv").write_text("Wie viele?\t1,250\nUnd nun?\t-3\n", encoding="utf-8")
    samples = load_samples(task, "de", "test", tmp_path)
    assert [(sample.id, sample.gold) for sample in samples] == [("mgsm_v2/de/0", "1250"), ("mgsm_v2/de/1", "-3")]
    rows = [{"question": "Wie viele?", "answer": None, "answer_number": 1250}]
    write_parquet(tmp_path / "hub" / "de" / "test-00000-of-00001.parquet", rows)
    assert load_samples(task, "de", "test", tmp_path / "hub") == samples[:1]
    old, new = load_task("mgsm"), load_task("mgsm_v2")
    assert old.prompts == new.prompts and old.info.source["hub"] != new.info.source["hub"]
