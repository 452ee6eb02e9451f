import json
from pathlib import Path

import pytest

from lrpo_bench.config import RunConfig, parse_config
from lrpo_bench.config_files import apply_override, load_config
from lrpo_bench.errors import ConfigError
from lrpo_bench.lrpo.router import LearnedRouterConfig

TASKS = {"tasks": ["mgsm"]}


def message_of(values) -> str:
    with pytest.raises(ConfigError) as raised:
        parse_config(values)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert "pydantic" not in message and "Value error" not in message
    return message


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        # misspelt keys, at every depth
        ({**TASKS, "trian": {}}, ["'trian'", "did you mean 'train'", "allowed here: out, seed"]),
        ({**TASKS, "train": {"step": 3}}, ["'train.step'", "did you mean 'steps'", "group_size"]),
        ({**TASKS, "train": {"router": {"alhpa": 1}}}, ["'train.router.alhpa'", "did you mean 'alpha'"]),
        ({"tasks": [{"nam": "mgsm"}]}, ["'tasks.0.nam'", "did you mean 'name'", "limit"]),
        ({**TASKS, "qqq": 1}, ["unknown config key 'qqq'; allowed here: out"]),
        # missing
        ({}, ["'tasks' is missing"]),
        ({"tasks": [{"limit": 3}]}, ["'tasks.0.name' is missing"]),
        ({"tasks": []}, ["'tasks'", "at least 1"]),
        # wrong type
        ({**TASKS, "train": None}, ["'train' must be a section of keys, got None"]),
        ({"tasks": [3]}, ["'tasks.0' must be a section", "got 3"]),
        ({**TASKS, "train": {"steps": "many"}}, ["'train.steps'", "integer", "got 'many'"]),
        ({**TASKS, "train": {"steps": 1.5}}, ["'train.steps'", "got 1.5"]),
        ({**TASKS, "out": None}, ["'out'", "path", "got None"]),
        ({**TASKS, 1: 2}, ["'1'", "string"]),
        # out of range
        ({**TASKS, "seed": -1}, ["'seed'", "greater than or equal to 0", "got -1"]),
        ({**TASKS, "eval": {"top_p": 0}}, ["'eval.top_p'", "greater than 0", "got 0"]),
        ({**TASKS, "train": {"train_share": 1}}, ["'train.train_share'", "less than 1"]),
        ({**TASKS, "train": {"learning_rate": float("inf")}}, ["'train.learning_rate'", "finite", "got inf"]),
        ({**TASKS, "train": {"kl_beta": float("nan")}}, ["'train.kl_beta'", "got nan"]),
        ({**TASKS, "train": {"gate": "hrd"}}, ["'train.gate'", "'hard', 'soft', 'separate' or 'none'", "got 'hrd'"]),
        # combinations
        ({**TASKS, "train": {"group_size": 1}}, ["train.group_size must be >= 2", "got 1"]),
        ({**TASKS, "train": {"quota": 9}}, ["train.quota must be at most train.group_size (8), got 9"]),
        (
            {**TASKS, "train": {"router": {"temperature_start": 0.2}}},
            ["train.router.temperature_end must be at most temperature_start (0.2), got 0.3"],
        ),
        ({**TASKS, "train": {"router": {"explore_start": 0.1, "explore_end": 0.2}}}, ["train.router.explore_end"]),
        ({"tasks": ["mgsm", {"name": "mgsm", "variant": "b"}]}, ["task 'mgsm' is listed twice"]),
        # languages
        ({**TASKS, "train": {"languages": ["de", "Swahilli"]}}, ["'train.languages'", "did you mean 'swahili'"]),
        ({**TASKS, "train": {"arms": "de,xx"}}, ["'train.arms'", "unknown language 'xx'"]),
        ({"tasks": [{"name": "mgsm", "languages": ["Germann"]}]}, ["'tasks.0.languages'", "did you mean 'german'"]),
        ({**TASKS, "train": {"languages": [False]}}, ["'train.languages'", "'False'"]),  # YAML reads `no` so
        ({**TASKS, "train": {"languages": []}}, ["'train.languages'", "at least 1"]),
        ({**TASKS, "train": {"languages": 5}}, ["'train.languages'", "got 5"]),
        ({**TASKS, "train": {"languages": {"de": 1}}}, ["'train.languages'", "got {'de': 1}"]),
    ],
)
def test_an_error_is_one_line_that_names_the_key(values, parts):
    message = message_of(values)
    for part in parts:
        assert part in message


def test_a_huge_value_is_not_printed_whole():
    assert len(message_of({**TASKS, "seed": "x\n" * 5000})) < 250


def test_languages_and_tasks_in_every_spelling():
    for languages in (["German", "zh-CN"], "de,zh", "deu, Chinese", ("de", "zh", "de")):
        assert parse_config({**TASKS, "train": {"languages": languages}}).train.languages == ("de", "zh")
    for tasks in ("mgsm,xnli", ["mgsm", "xnli"], [{"name": "mgsm"}, "xnli"]):
        assert [task.name for task in parse_config({"tasks": tasks}).tasks] == ["mgsm", "xnli"]


def test_router_and_group_defaults_are_the_papers_values():
    config = parse_config(TASKS)
    train, router = config.train, config.train.router
    # K = 8, K_on = 2, alpha .1, U = 5, tau 1 -> .3 by .999, epsilon .2 -> 0 by .995, zscore.
    assert (train.group_size, train.quota) == (8, 2)
    assert (router.alpha, router.update_every, router.normalization) == (0.1, 5, "zscore")
    assert (router.temperature_start, router.temperature_end, router.temperature_decay) == (1.0, 0.3, 0.999)
    assert (router.explore_start, router.explore_end, router.explore_decay) == (0.2, 0.0, 0.995)
    assert (train.gate, train.gate_abstain) == ("hard", "fail")
    assert (router.learn_from_quota, router.min_spread) == (False, LearnedRouterConfig().min_spread)
    assert config.model.trust_remote_code is False


FULL = {
    "out": "results/x",
    "seed": 3,
    "instruct": "tag",
    "tasks_dirs": ["extra"],
    "model": {"name": "org/model", "revision": "abc", "dtype": "bfloat16", "batch_size": 4},
    "tasks": [{"name": "mgsm", "languages": ["de", "sw"], "data": "rows.jsonl", "limit": 5}, {"name": "xnli"}],
    "eval": {"draws": 0, "draw_limit": None, "detector": "langdetect"},
    "train": {"method": "grpo", "arms": ["de", "en"], "learning_rate": 1e-6, "router": {"alpha": 0.3}},
}


@pytest.mark.parametrize("values", [TASKS, FULL])
def test_json_round_trip(values):
    config = parse_config(values)
    assert parse_config(json.loads(config.model_dump_json())) == config
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_every_value_of_a_full_configuration_arrives():
    config = parse_config(FULL)
    assert config.tasks[0].data == Path("rows.jsonl")
    assert config.tasks[0].languages == ("de", "sw")
    assert (config.eval.draw_limit, config.train.router.alpha, config.train.learning_rate) == (None, 0.3, 1e-6)
    assert config.train.router.update_every == 5


def test_a_configuration_can_not_be_changed_by_accident():
    with pytest.raises(ValueError, match="frozen"):
        parse_config(TASKS).train.steps = 3


def test_overrides():
    values = {"tasks": ["mgsm"], "train": {"steps": 5, "gate": "soft"}}
    for assignment in (
        "train.steps=10", "train.router.alpha=0.2", "seed=7", "train.languages=[de, sw]", "model.revision=null",
        "train.learning_rate=1e-5", "out=results/a=b", " eval.draws = 2", "train.router.normalization=none",
    ):  # fmt: skip
        apply_override(values, assignment)
    config = parse_config(values)
    assert (config.train.steps, config.train.gate, config.train.router.alpha, config.seed) == (10, "soft", 0.2, 7)
    assert (config.train.languages, config.model.revision, config.eval.draws) == (("de", "sw"), None, 2)
    assert (config.train.learning_rate, config.out) == (1e-5, Path("results/a=b"))  # YAML reads 1e-5 as text
    assert config.train.router.normalization == "none"


@pytest.mark.parametrize(
    ("assignment", "part"),
    [
        ("train.steps", "key=value"),
        ("=3", "key=value"),
        ("train.steps=[", "'[' is not a YAML value"),
        ("out=2026-13-45", "not a YAML value"),  # a date that does not exist
        ("tasks.name=x", "'tasks' holds a value, not a section"),
    ],
)
def test_a_bad_override_is_one_line(assignment, part):
    with pytest.raises(ConfigError) as raised:
        apply_override({"tasks": ["mgsm"]}, assignment)
    assert part in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_misspelt_override_is_caught_when_parsed():
    values = dict(TASKS)
    apply_override(values, "train.stesp=3")
    assert "did you mean 'steps'" in message_of(values)


def test_files(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("tasks: [mgsm]\ntrain: {steps: 3}\n", encoding="utf-8")
    assert parse_config(load_config(path)).train.steps == 3


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "does not exist"),
        (b"tasks: [mgsm\ntrain: 3", "is not YAML"),
        (b"out: 2026-13-45", "is not YAML"),
        (b"- mgsm", "must hold a mapping such as 'tasks: [mgsm]', got list"),
        (b"", "got NoneType"),
        (b"\xff\xfe\xfa", "can not be read"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path, content, part):
    path = tmp_path / "run.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    assert str(path) in str(raised.value) and part in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_folder_is_no_config_file(tmp_path):
    with pytest.raises(ConfigError, match="can not be read"):
        load_config(tmp_path)
