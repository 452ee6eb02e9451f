"""Exports are read back by the tools they are made for; imports are of a file that lm-eval 0.4.13 wrote itself."""

import dataclasses
import json
import re
import shutil
import uuid
from pathlib import Path

import datasets
import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from lm_eval.utils import (
    get_file_datetime,
    get_file_task_name,
    get_results_filenames,
    get_sample_results_filenames,
    make_table,
    sanitize_model_name,
)
from stored_runs import records, write_run
from synthetic_runs import LANGS, make_run

from lrpo_bench.cli import main
from lrpo_bench.errors import ConfigError, DataError, StorageError, UnknownNameError
from lrpo_bench.evaluation.metrics import find_metric
from lrpo_bench.results.evaluations import read_parquet
from lrpo_bench.results.exchange.datasets_files import export_datasets
from lrpo_bench.results.exchange.every_eval_ever import export_every_eval_ever
from lrpo_bench.results.exchange.lm_eval_export import export_lm_eval
from lrpo_bench.results.exchange.lm_eval_import import import_lm_eval
from lrpo_bench.results.exchange.lm_eval_tasks import ImportOptions
from lrpo_bench.results.exchange.model_index import export_model_index
from lrpo_bench.results.named import named_evaluation
from lrpo_bench.results.verify import verify_run

REAL = Path(__file__).parent / "lm_eval_results"
"""Written by lm-eval 0.4.13 about the embedded model; made-up questions, absolute paths taken out."""
NO_DETECTOR = ImportOptions(detector="none")


@pytest.fixture
def run(tmp_path):
    """Two tasks, one of them multiple choice; `generate` has an unscored and an undetected response."""
    letters = {"de": "RRrW-", "sw": "RWWW?"}
    return named_evaluation(write_run(tmp_path / "run", letters))


def real_files(tmp_path: Path) -> Path:
    return Path(shutil.copytree(REAL, tmp_path / "real"))


def results_file(folder: Path) -> Path:
    return next(folder.glob("results_*.json"))


# --- lm-eval, out --------------------------------------------------------------------------------------------------


def test_lm_eval_finds_and_prints_an_export(run, tmp_path):
    files = export_lm_eval(run, tmp_path / "out", "org/model:1")
    results = json.loads(files[0].read_text(encoding="utf-8"))
    names = [str(file) for file in files]
    assert get_results_filenames(names) == names[:1] and get_sample_results_filenames(names) == names[1:]
    assert [get_file_task_name(file.name) for file in files[1:]] == ["toy_de", "toy_sw"]
    assert len({get_file_datetime(file.name).removesuffix(".json") for file in files}) == 1
    assert files[0].parent.name == sanitize_model_name("org/model:1") == results["model_name_sanitized"]
    table = make_table(results)
    assert "toy_de" in table and "lrpo-bench" in table and "exact_match" in table
    assert "toy" in make_table(results, column="groups")


def test_values_of_an_export_by_hand(run, tmp_path):
    results = json.loads(export_lm_eval(run, tmp_path / "out")[0].read_text(encoding="utf-8"))["results"]
    # de: R R r W -: right 3 of 4 that are scored; right in the language 2 of 4. sw: 2 of 5 right.
    assert results["toy_de"]["exact_match,lrpo-bench"] == 0.75
    assert results["toy_de"]["accuracy_in_language,lrpo-bench"] == 0.5
    assert results["toy_de"]["exact_match_stderr,lrpo-bench"] == pytest.approx(0.25)  # sqrt(.75 * .25 / 3)
    assert results["toy_sw"]["exact_match,lrpo-bench"] == 0.4 and results["toy_sw"]["sample_len"] == 5
    assert results["toy"]["exact_match,lrpo-bench"] == pytest.approx((0.75 + 0.4) / 2)


def test_samples_of_an_export_load_and_average_to_its_results(run, tmp_path):
    files = export_lm_eval(run, tmp_path / "out")
    rows = datasets.load_dataset("json", data_files=str(files[1]), split="train", cache_dir=str(tmp_path / "cache"))
    scores = [score for score in rows["exact_match"] if score is not None]
    assert sum(scores) / len(scores) == 0.75 and rows["exact_match"].count(None) == 1
    assert rows[0]["resps"] == [["It is 42."]] and rows[0]["filtered_resps"] == ["42"]


def test_an_export_has_the_keys_of_a_real_file(run, tmp_path):
    ours = json.loads(export_lm_eval(run, tmp_path / "out")[0].read_text(encoding="utf-8"))
    theirs = json.loads(results_file(REAL).read_text(encoding="utf-8"))
    # What only lm-eval's own process can say.
    unknown = {"pretty_env_info", "upper_git_hash", "eot_token_id", "max_length"}
    unknown |= {f"tokenizer_{name}_token" for name in ("pad", "eos", "bos")}
    assert theirs.keys() - ours.keys() == unknown and ours.keys() - theirs.keys() == {"lrpo_bench"}
    for section in ("groups", "group_subtasks", "versions", "n-shot", "higher_is_better", "n-samples", "results"):
        assert type(ours[section]) is type(theirs[section]), section
    assert theirs["results"]["apples_de"].keys() >= {"alias", "name", "sample_len"} <= ours["results"]["toy_de"].keys()
    sample = next((tmp_path / "out").rglob("samples_toy_de*")).read_text(encoding="utf-8").splitlines()[0]
    real = next(REAL.glob("samples_apples_de*")).read_text(encoding="utf-8").splitlines()[0]
    assert json.loads(real).keys() <= json.loads(sample).keys()
    assert json.loads(sample)["arguments"]["gen_args_0"].keys() == json.loads(real)["arguments"]["gen_args_0"].keys()


def test_multiple_choice_is_lm_evals_acc(tmp_path):
    found = named_evaluation(make_run(tmp_path / "r", method=None, after=None, kind="choice"))
    files = export_lm_eval(found, tmp_path / "out")
    results = json.loads(files[0].read_text(encoding="utf-8"))
    assert set(results["results"]["toy_de"]) == {"alias", "name", "sample_len", "acc,none", "acc_stderr,none"}
    assert results["configs"]["toy_de"]["output_type"] == "multiple_choice"


def test_out_and_in_again_is_the_same_accuracy(run, tmp_path):
    export_lm_eval(run, tmp_path / "out")
    options = ImportOptions(join="toy", detector="none")
    import_lm_eval(tmp_path / "out", tmp_path / "back", options)
    back = named_evaluation(tmp_path / "back").evaluation
    for lang in ("de", "sw", "avg:all"):
        old, new = (find_metric(e.metrics, "accuracy", lang) for e in (run.evaluation, back))
        assert (new.value, new.stderr, new.n, new.n_unscored) == (old.value, old.stderr, old.n, old.n_unscored)


# --- lm-eval, in ---------------------------------------------------------------------------------------------------


def test_a_real_file_becomes_a_run(tmp_path):
    notes = import_lm_eval(REAL, tmp_path / "run", ImportOptions(), ["lrpo-bench", "import"])
    found = named_evaluation(tmp_path / "run")
    theirs = json.loads(results_file(REAL).read_text(encoding="utf-8"))["results"]
    for task, key in (("apples_en", "exact_match,flexible-extract"), ("apples_de", "exact_match,flexible-extract"),
                      ("pick_en", "acc,none")):  # fmt: skip
        metric = find_metric(found.evaluation.metrics, "accuracy", task[-2:], f"lm_eval:{task}")
        assert metric.value == theirs[task][key] and metric.n == theirs[task]["sample_len"]
    assert verify_run(tmp_path / "run").ok
    assert found.manifest.config["model"]["name"] == "6v8uqx97" and found.manifest.config["seed"] == 0
    assert any("completion tokens" in note for note in notes) and any("rules1+lingua" in note for note in notes)


def test_what_a_file_does_not_say_is_unknown(tmp_path):
    import_lm_eval(REAL, tmp_path / "run", NO_DETECTOR)
    metrics = named_evaluation(tmp_path / "run").evaluation.metrics
    unknown = ("completion_tokens", "truncation_rate", "fidelity", "accuracy_in_language", "lpr")
    for name in unknown:
        metric = find_metric(metrics, name, "de", "lm_eval:apples_de")
        assert (metric.value, metric.n, metric.n_unscored) == (None, 0, 6), name
    assert find_metric(metrics, "accuracy", "de", "lm_eval:apples_de").value == 0.5


def test_a_detector_tells_the_language(tmp_path):
    import_lm_eval(REAL, tmp_path / "run", ImportOptions())
    found = [r for r in named_evaluation(tmp_path / "run").evaluation.records if r.task == "lm_eval:apples_de"]
    assert {record.detected_lang for record in found} == {"de"} and all(record.language_ok for record in found)


def test_options_of_a_choice_are_ranked_by_their_likelihood(tmp_path):
    import_lm_eval(REAL, tmp_path / "run", NO_DETECTOR)
    first = next(r for r in named_evaluation(tmp_path / "run").evaluation.records if r.task == "lm_eval:pick_en")
    # lm-eval stored -15.63 for " apples" and -12.19 for " eggs".
    assert (first.completion, first.ranking, first.score) == (" eggs", (1, 0), 0.0)


def test_another_filter_and_one_task_for_all(tmp_path):
    folder = real_files(tmp_path)
    for file in folder.glob("samples_pick_en*"):
        file.unlink()
    results = json.loads(results_file(folder).read_text(encoding="utf-8"))
    for section in ("results", "configs"):
        del results[section]["pick_en"]
    results_file(folder).write_text(json.dumps(results), encoding="utf-8")
    options = ImportOptions(join="apples", metric="exact_match,strict-match", parallel=True, detector="none")
    import_lm_eval(folder, tmp_path / "run", options)
    evaluation = named_evaluation(tmp_path / "run").evaluation
    assert evaluation.signature.tasks["apples"].languages == ("de", "en")
    assert find_metric(evaluation.metrics, "accuracy", "de").value == 0.0
    assert find_metric(evaluation.metrics, "accuracy", "avg:all").n_clusters == 6  # translations share a question
    unread = next(r for r in evaluation.records if r.rollout_lang == "de")
    assert unread.answer is None and unread.reason == "lm-eval's filter found no answer"


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: results_file(f).unlink(), r"holds 0 files results_\*.json"),
        (lambda f: results_file(f).write_text('{"a": 1}'), "is not a results file of lm-eval"),
        (lambda f: results_file(f).write_bytes(results_file(f).read_bytes()[:500]), "not JSON .* may be cut off"),
        (lambda f: next(f.glob("samples_pick*")).unlink(), "no file samples_pick_en_.*--log_samples"),
        (lambda f: next(f.glob("samples_pick*")).write_text('{"doc_id": 0}\n'), "'arguments' is None"),
        (lambda f: next(f.glob("samples_pick*")).write_text(""), "no samples"),
        (lambda f: next(f.glob("samples_pick*")).write_text('{"doc_id": '), r"jsonl:1: not JSON"),
        (lambda f: shutil.copy(results_file(f), f / "results_2.json"), "holds 2 files"),
    ],
)
def test_broken_files_are_one_clear_line(tmp_path, break_it, message):
    folder = real_files(tmp_path)
    break_it(folder)
    with pytest.raises(DataError, match=message) as caught:
        import_lm_eval(folder, tmp_path / "run", NO_DETECTOR)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_what_is_left_open_must_be_said(tmp_path):
    folder = real_files(tmp_path)
    with pytest.raises(UnknownNameError, match="unknown metric 'exact_match,flexible'; did you mean"):
        import_lm_eval(folder, tmp_path / "run", ImportOptions(metric="exact_match,flexible"))
    with pytest.raises(ConfigError, match="are both in 'en'"):
        import_lm_eval(folder, tmp_path / "run", ImportOptions(join="all"))
    file = results_file(folder)
    file.write_text(file.read_text(encoding="utf-8").replace('"random_seed"', '"no_seed"'), encoding="utf-8")
    with pytest.raises(ConfigError, match="does not say its seed"):
        import_lm_eval(folder, tmp_path / "run", NO_DETECTOR)
    file.write_text(file.read_text(encoding="utf-8").replace("pick_en", "pick"), encoding="utf-8")
    samples = next(folder.glob("samples_pick_en*"))
    samples.rename(samples.with_name(samples.name.replace("pick_en", "pick")))
    with pytest.raises(ConfigError, match="which language is task 'pick' in"):
        import_lm_eval(folder, tmp_path / "run", ImportOptions(seed=0, detector="none"))
    import_lm_eval(folder, tmp_path / "run", ImportOptions({"pick": "English"}, seed=3, detector="none"))
    assert named_evaluation(tmp_path / "run").manifest.seeds == {"run": 3}


# --- datasets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["r.parquet", "r.jsonl"])
def test_responses_load_as_a_data_set(run, tmp_path, name):
    (file,) = export_datasets(run, tmp_path / name)
    kind = "json" if name.endswith("jsonl") else "parquet"
    rows = datasets.load_dataset(kind, data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.num_rows == 10 and rows["score"].count(None) == 1 and rows["score"].count(1.0) == 5
    assert set(rows["rollout_lang"]) == {"de", "sw"} and rows[0]["completion"] == "It is 42."


def test_a_folder_is_a_data_set_with_both_evaluations(tmp_path):
    found = named_evaluation(make_run(tmp_path / "run", n=4))
    export_datasets(found, tmp_path / "data", "org/model")
    loaded = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"before", "after"} and loaded["after"].num_rows == len(found.evaluation.records)
    assert read_parquet(tmp_path / "data" / "data" / "after.parquet") == list(found.evaluation.records)
    front = yaml.safe_load((tmp_path / "data" / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert front["language"] == list(LANGS)


# --- model card ----------------------------------------------------------------------------------------------------


def test_the_hub_reads_the_card(tmp_path):
    found = named_evaluation(make_run(tmp_path / "run"))
    (file,) = export_model_index(found, tmp_path / "card.md", "org/model")
    card = ModelCard.load(file)
    assert card.data.model_name == "org/model" and card.data.language == list(LANGS)
    wanted = {(m.language, m.metric): m.value for m in found.evaluation.metrics}
    got = {(r.dataset_config, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert got["sw", "accuracy"] == wanted["sw", "accuracy"]
    assert got["held-out languages", "accuracy_in_language"] == wanted["avg:heldout", "accuracy_in_language"]
    assert len(got) == 3 * (len(LANGS) + 3)  # three metrics; each language, and averages: trained, held out, all
    assert card.text.count("\n| toy 1, default |") == len(got)


def test_yaml_alone_is_a_valid_model_index(run, tmp_path):
    (file,) = export_model_index(run, tmp_path / "index.yaml")
    name, results = model_index_to_eval_results(yaml.safe_load(file.read_text(encoding="utf-8"))["model-index"])
    assert name == "lrpo-bench/unknown" and {r.task_type for r in results} == {"text-generation"}
    accuracy = next(r for r in results if (r.dataset_config, r.metric_type) == ("de", "accuracy"))
    assert (accuracy.metric_value, accuracy.metric_args["n_unscored"]) == (0.75, 1)


# --- every eval ever -----------------------------------------------------------------------------------------------

TOP = {"schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "model_info", "eval_library",
       "evaluation_results"}  # fmt: skip
"""Required at the top of version 0.2.2; nothing else is allowed but these two."""
TOP_OPTIONAL = {"evaluation_timestamp", "detailed_evaluation_results"}
ROW = {"schema_version", "evaluation_id", "model_id", "evaluation_name", "sample_id", "interaction_type", "input",
       "answer_attribution", "evaluation"}  # fmt: skip
ROW_OPTIONAL = {"evaluation_result_id", "sample_hash", "output", "messages", "token_usage", "performance", "error",
                "metadata"}  # fmt: skip


def test_every_eval_ever_keeps_the_schemas_rules(run, tmp_path):
    samples, file = export_every_eval_ever(run, tmp_path / "out", "org/model")
    whole = json.loads(file.read_text(encoding="utf-8"))
    assert TOP <= whole.keys() <= TOP | TOP_OPTIONAL and whole["schema_version"] == "0.2.2"
    assert file.relative_to(tmp_path / "out").parts[:4] == ("data", "toy", "org", "model")
    assert uuid.UUID(file.stem).version == 4 and samples.name == f"{file.stem}_samples.jsonl"
    detail = whole["detailed_evaluation_results"]
    assert (tmp_path / "out" / detail["file_path"]).samefile(samples) and detail["format"] == "jsonl"
    for result in whole["evaluation_results"]:
        assert result.keys() >= {"evaluation_name", "source_data", "metric_config", "score_details"}
        config, score = result["metric_config"], result["score_details"]["score"]
        assert config["min_score"] <= score <= config["max_score"] and isinstance(config["lower_is_better"], bool)
        assert result["source_data"]["source_type"] in ("url", "hf_dataset", "other")
        assert all(isinstance(v, str) for v in result["score_details"]["details"].values())
    assert whole["source_metadata"].keys() >= {"source_type", "source_organization_name", "evaluator_relationship"}
    assert whole["model_info"]["additional_details"].keys() >= {"deployment_type", "model_availability"}
    assert float(whole["retrieved_timestamp"]) > 1.7e9


def test_every_eval_ever_names_the_interval_of_each_number(run, tmp_path):
    old = [dataclasses.replace(metric, interval="t") for metric in run.evaluation.metrics]
    runs = {"wilson": run, "t": dataclasses.replace(run, evaluation=dataclasses.replace(run.evaluation, metrics=old))}
    for name, one in runs.items():
        _, file = export_every_eval_ever(one, tmp_path / name, "org/model")
        results = json.loads(file.read_text(encoding="utf-8"))["evaluation_results"]
        found = [result["score_details"]["uncertainty"].get("confidence_interval", {}) for result in results]
        assert {each["method"] for each in found if each} == {f"{name}, clustered by source question"}


def test_every_eval_ever_rows_are_those_of_their_number(run, tmp_path):
    samples, file = export_every_eval_ever(run, tmp_path / "out", "org/model")
    whole = json.loads(file.read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == whole["detailed_evaluation_results"]["total_rows"] == 9  # one of ten could not be judged
    assert whole["detailed_evaluation_results"]["additional_details"] == {"n_unscored": "1"}
    for row in rows:
        assert ROW <= row.keys() <= ROW | ROW_OPTIONAL and row["schema_version"] == "instance_level_eval_0.2.2"
        assert row["evaluation_id"] == whole["evaluation_id"] and row["model_id"] == whole["model_info"]["id"]
        assert isinstance(row["evaluation"]["score"], float) and isinstance(row["evaluation"]["is_correct"], bool)
        assert isinstance(row["output"]["raw"], list) and row["messages"] is None
        assert all(isinstance(value, str) for value in row["metadata"].values())
    scores = {
        result["evaluation_result_id"]: result["score_details"]["score"] for result in whole["evaluation_results"]
    }
    for lang in ("de", "sw"):
        mine = [r["evaluation"]["score"] for r in rows if r["evaluation_result_id"] == f"toy/{lang}/accuracy"]
        assert sum(mine) / len(mine) == scores[f"toy/{lang}/accuracy"]


def test_every_eval_ever_by_its_own_validator(run, tmp_path):
    types = pytest.importorskip("every_eval_ever.eval_types")
    rows = pytest.importorskip("every_eval_ever.instance_level_types")
    samples, file = export_every_eval_ever(run, tmp_path / "out", "org/model")
    types.EvaluationLog.model_validate(json.loads(file.read_text(encoding="utf-8")))
    for line in samples.read_text(encoding="utf-8").splitlines():
        rows.InstanceLevelEvaluationLog.model_validate(json.loads(line))


def test_the_same_run_gives_the_same_files(run, tmp_path):
    first, second = (export_every_eval_ever(run, tmp_path / name) for name in ("a", "b"))
    assert [file.name for file in first] == [file.name for file in second]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


# --- all of them ---------------------------------------------------------------------------------------------------

EXPORTS = (export_lm_eval, export_every_eval_ever, export_datasets, export_model_index)


@pytest.mark.parametrize("export", EXPORTS)
def test_nothing_is_written_over(run, tmp_path, export):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("mine")
    with pytest.raises(StorageError, match="exists already; name another --out"):
        export(run, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["x"]


@pytest.mark.parametrize("export", EXPORTS)
def test_hostile_text_survives_or_is_inert(tmp_path, export):
    evil = "\ud800 </script> | `x` \x1b[31m \u2028 ---\n- a: &b"
    plain = records({"de": "RRW", "sw": "RWW"})
    rows = [dataclasses.replace(row, question=evil, completion=evil, gold=evil) for row in plain]
    found = named_evaluation(write_run(tmp_path / "run", {}, rows=rows))
    for file in export(found, tmp_path / "out", "org/evil | `x`\n---"):
        if file.suffix in (".json", ".jsonl"):
            text = file.read_text(encoding="utf-8")
            for line in [text] if file.suffix == ".json" else text.split("\n")[:-1]:
                json.loads(line)


def test_commands(tmp_path, capsys):
    run = write_run(tmp_path / "run", {"de": "RRW"})
    assert main(["export", str(run), "--format", "datasets", "--out", str(tmp_path / "r.parquet")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'r.parquet'}\n"
    assert main(["export", str(run), "--format", "datasets", "--out", str(tmp_path / "r.parquet")]) == 2
    assert re.fullmatch(r"lrpo-bench: .* exists already.*\n", capsys.readouterr().err)
    arguments = ["import", str(REAL), "--format", "lm-eval", "--out", str(tmp_path / "in"), "--detector", "none"]
    assert main(arguments) == 0 and capsys.readouterr().out.endswith(f"{tmp_path / 'in'}\n")
    assert main([*arguments, "--language", "apples"]) == 2 and "TASK=LANG" in capsys.readouterr().err
    assert main([*arguments, "--parallel"]) == 2 and "--as" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "in"), str(run)]) == 2
    assert "can not compare: " in capsys.readouterr().err
