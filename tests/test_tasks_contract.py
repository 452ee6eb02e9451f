"""Every task of the registry keeps the contract, on its fixture rows or on the rows it makes itself."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import yaml

from lrpo_bench.errors import DataError
from lrpo_bench.languages import language
from lrpo_bench.tasks.base import TOPICS, Sample, Task
from lrpo_bench.tasks.datasource import DataSpec
from lrpo_bench.tasks.judged import JudgedTask
from lrpo_bench.tasks.registry import fixture_rows, list_tasks, load_samples, load_task, task_folder

VARIANTS = [(info.name, variant) for info in list_tasks() for variant in info.variants]
DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(params=VARIANTS, ids=lambda param: "-".join(param))
def task(request: pytest.FixtureRequest) -> Task:
    task = load_task(*request.param)
    if isinstance(task, JudgedTask):
        task.use_judge(lambda prompts: [task.best_reply if agrees(prompt) else "D [[1]]" for prompt in prompts])
    return task


def agrees(prompt) -> bool:
    """Whether an answer is the reference, but for spaces and a full stop: what a judge of fixture rows must know."""
    found = re.search(r"<reference>\n(.*)\n</reference>.*<answer>\n(.*)\n</answer>", prompt[0]["content"], re.DOTALL)
    return found[2].rstrip(".") in (found[1], found[1].rstrip("."))


def samples_of(task: Task, lang: str) -> list[Sample]:
    own = task.rows(lang, str(task.info.source.get("eval_split", "test")))
    rows: Iterator = islice(own, 20) if own is not None else (row for row in fixture_rows(task) if row["lang"] == lang)
    return [task.sample(row, lang, index) for index, row in enumerate(rows)]


def all_samples(task: Task) -> list[Sample]:
    return [sample for lang in task.info.languages for sample in samples_of(task, lang)]


def test_metadata_is_filled(task: Task) -> None:
    info = task.info
    assert info.name == task_folder(task).name
    assert all((info.version, info.title, info.licence, info.citation))
    assert info.topic in TOPICS
    assert task.kind in ("generate", "choice")
    assert len(set(info.languages)) == len(info.languages)
    for lang in info.languages:
        language(lang)
    if info.source.get("hub"):
        revision = DataSpec.of(info).revision
        assert len(revision) == 40 and set(revision) <= set("0123456789abcdef"), "pin the full commit"


def test_every_language_has_samples_and_a_prompt(task: Task) -> None:
    for lang in task.info.languages:
        samples = samples_of(task, lang)
        assert samples, lang
        assert lang in task.prompt_languages()
        for sample in samples:
            assert sample.lang == lang
            assert sample.question.strip() and (sample.gold.strip() or not task.has_answers)
            assert sample.topic in TOPICS
            assert sample.id.startswith(f"{task.info.name}/") and sample.source_id.startswith(f"{task.info.name}/")
            prompt = task.prompt(sample, lang)
            if task.kind == "generate":
                assert sample.question.splitlines()[0] in prompt
            else:
                # an option may carry the whole text, and the prompt is empty then
                options = task.options(sample, lang)
                assert len(set(options)) == len(sample.choices) > 1 and all(options)


def test_prompts_exist_in_every_arm(task: Task) -> None:
    sample = samples_of(task, task.info.languages[0])[0]
    for lang in task.prompt_languages():
        assert "{" not in task.prompt(sample, lang).replace(sample.question, "")


def test_gold_answer_scores_one(task: Task) -> None:
    if not task.has_answers:
        pytest.skip("nothing is right or wrong")
    for sample in all_samples(task):
        for completion in (sample.gold, f"{sample.gold}.", f" {sample.gold}\n", sample.reference):
            if completion is not None:
                score = task.score(sample, completion, sample.lang)
                assert (score.value, score.outcome) == (1.0, "correct"), (sample.id, completion, score)


def test_empty_completion_is_not_attempted(task: Task) -> None:
    if not task.has_answers:
        pytest.skip("nothing is right or wrong")
    for sample in all_samples(task):
        for completion in ("", " \n"):
            score = task.score(sample, completion, sample.lang)
            assert (score.value, score.outcome) == (0.0, "not_attempted"), (sample.id, completion)
            assert score.reason


def test_answers_of_other_samples_do_not_score(task: Task) -> None:
    for lang in task.info.languages:
        samples = samples_of(task, lang)
        for sample in samples:
            for other in samples:
                # in Russian the city of Austin is a part of Jane Austen's name
                overlap = sample.gold.casefold() in other.gold.casefold() or other.gold in sample.aliases
                if not overlap:
                    score = task.score(sample, other.gold, lang)
                    lowest = 0.1 if task.info.name == "care" else 0.0  # its ratings begin at 1 of 10
                    assert score.value in (lowest, None) and score.outcome != "correct", (sample.id, other.gold)


def test_ids_are_unique_and_sources_parallel(task: Task) -> None:
    samples = all_samples(task)
    assert len({sample.id for sample in samples}) == len(samples)
    sources = {lang: [s.source_id for s in samples if s.lang == lang] for lang in task.info.languages}
    assert all(len(set(ids)) == len(ids) for ids in sources.values())
    longest = max(sources.values(), key=len)
    shared = [ids for ids in sources.values() if set(ids) & set(longest)]
    assert (len(shared) > 1) == (task.parallel and len(task.info.languages) > 1), "which languages share questions"
    golds: dict[str, set[str]] = {}
    for sample in samples:
        golds.setdefault(sample.source_id, set()).add(sample.gold.casefold())
    if task.kind == "choice" or all(gold.isdecimal() for group in golds.values() for gold in group):
        assert all(len(group) == 1 for group in golds.values()), "translations of a question must agree on its answer"


# ---- MGSM and XNLI


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "", "answer": "1"}, "column 'question' is missing or empty"),
        ({"question": "?", "answer": "eight"}, "the answer must be a whole number, got 'eight'"),
        ({"question": "?", "answer": None}, "the answer must be a whole number, got 'None'"),
    ],
)
def test_mgsm_refuses_broken_rows(row: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_task("mgsm").sample(row, "de", 3)


def test_mgsm_reads_both_layouts_and_all_conventions() -> None:
    mgsm = load_task("mgsm")
    hub = mgsm.sample({"question": "?", "answer": None, "answer_number": 1250, "equation_solution": None}, "de", 3)
    tsv = mgsm.sample({"question": "?", "answer": "1,250"}, "de", 3)
    assert hub == tsv and tsv.gold == "1250"
    for completion in ("1250", "1.250", "1,250", "1 250", "1250,00", "Die Antwort ist 1.250 Stifte."):
        assert mgsm.score(tsv, completion, "de").value == 1.0, completion
    for completion in ("1,25", "12.50", "125"):
        assert mgsm.score(tsv, completion, "de").value == 0.0, completion


@pytest.mark.skipif(not (DATA / "mgsm").is_dir(), reason="needs the published MGSM files")
def test_published_mgsm() -> None:
    mgsm = load_task("mgsm")
    golds = {lang: [s.gold for s in load_samples(mgsm, lang, "test", DATA / "mgsm")] for lang in mgsm.info.languages}
    assert {len(values) for values in golds.values()} == {250}
    assert len(set(map(tuple, golds.values()))) == 1
    assert golds["en"][:2] == ["18", "3"]


@pytest.mark.skipif(not (DATA / "xnli").is_dir(), reason="needs the published XNLI files")
def test_published_xnli() -> None:
    xnli = load_task("xnli")
    for lang in xnli.info.languages:
        golds = [sample.gold for sample in load_samples(xnli, lang, "validation", DATA / "xnli")]
        assert {label: golds.count(label) for label in xnli.sample(XNLI_ROW, lang, 0).choices} == {
            "entailment": 830, "neutral": 830, "contradiction": 830,
        }  # fmt: skip


XNLI_ROW = {"premise": "P", "hypothesis": "H", "label": 2}


def test_xnli_options_are_those_of_lm_eval() -> None:
    import lm_eval
    from jinja2 import Template

    folder = Path(lm_eval.__path__[0]) / "tasks" / "xnli"
    xnli = load_task("xnli", "likelihood")
    for lang in xnli.info.languages:
        config = yaml.safe_load((folder / f"xnli_{lang}.yaml").read_text(encoding="utf-8"))
        theirs = Template(config["doc_to_choice"]).render(premise="P", hypothesis="H")
        sample = xnli.sample(XNLI_ROW, lang, 0)
        # its default target_delimiter, a space, stands before each option
        assert [f" {text}" for text in yaml.safe_load(theirs)] == list(xnli.options(sample, lang)), lang
        assert xnli.prompt(sample, lang) == config["doc_to_text"] == ""
        assert [xnli.score(sample, option, lang).value for option in xnli.options(sample, lang)] == [0.0, 0.0, 1.0]


def test_xnli_label_words() -> None:
    xnli = load_task("xnli", "label")
    assert xnli.kind == "generate"
    sample = xnli.sample(XNLI_ROW, "de", 0)
    assert sample.gold == "contradiction"
    for lang in xnli.info.languages:
        prompt = xnli.prompt(sample, lang)
        # the prompt names all three words, so an answer that repeats it decides nothing
        assert xnli.score(sample, prompt, lang).outcome == "not_attempted", lang
    for word in ("Widerspruch", "矛盾", "Contradiction.", "تناقض", "mâu thuẫn", "ขัดแย้ง", "विरोधाभास"):
        assert xnli.score(sample, word, "de").value == 1.0, word
    assert xnli.score(sample, "neutral", "de").value == 0.0
    assert xnli.score(sample, "Haus", "de").outcome == "not_attempted"
    with pytest.raises(DataError, match="label must be 0, 1, 2 or one of entailment"):
        xnli.sample({**XNLI_ROW, "label": -1}, "de", 0)
