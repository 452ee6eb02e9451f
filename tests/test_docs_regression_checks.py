"""docs/regression-checks.md says what is true: its tests run, its commands parse, its sample is what is printed."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
from pathlib import Path

import pytest
import yaml
from stored_runs import write_run

from lrpo_bench.cli import _parser
from lrpo_bench.config import parse_config
from lrpo_bench.config_files import load_config

pytest_plugins = ("pytester",)
PAGE = Path(__file__).parents[1] / "docs" / "regression-checks.md"
PLUGIN = "lrpo_bench.pytest_plugin"
INSTALLED = any(point.value == PLUGIN for point in importlib.metadata.entry_points(group="pytest11"))
LOAD = () if INSTALLED else ("-p", PLUGIN)


def blocks(language):
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands():
    """Every command line of the page: of its shell blocks, and of the steps of its workflows."""
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
    for block in blocks("yaml"):
        for job in yaml.safe_load(block)["jobs"].values():
            lines += [step["run"] for step in job["steps"] if "run" in step]
    return lines


@pytest.fixture
def project(pytester, monkeypatch):
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider -p no:xdist -p no:hypothesispytest\n")
    letters = {"sw": "R" * 20 + "W" * 20, "th": "R" * 40}
    write_run(pytester.path / "results" / "base", letters)
    return pytester


def run(project, code, *arguments):
    project.makepyfile(test_no_regression=code)
    return project.runpytest_inprocess(*LOAD, *arguments)


def test_the_first_test(project):
    code = blocks("python")[0]
    write_run(project.path / "runs" / "new", {"sw": "R" * 20 + "W" * 20, "th": "R" * 40}, seed=1)
    run(project, code).assert_outcomes(passed=3)
    write_run(project.path / "runs" / "bad", {"sw": "W" * 14 + "R" * 6 + "W" * 20, "th": "R" * 40}, seed=2)
    run(project, code.replace("runs/new", "runs/bad")).assert_outcomes(failed=2, passed=1)
    (project.path / "results" / "base").rename(project.path / "results" / "old")
    run(project, code, "--lrpo-update-baseline").assert_outcomes(passed=3)
    assert (project.path / "results" / "base" / "manifest.json").exists()


def test_the_markers(project):
    write_run(project.path / "runs" / "new", {"sw": "R" * 19 + "W" * 21, "th": "R" * 40}, seed=1)
    run(project, blocks("python")[1], "-m", "lrpo_bench", "--strict-markers").assert_outcomes(passed=2)


def test_the_failure_is_what_is_printed(project):
    write_run(project.path / "runs" / "new", {"sw": "W" * 14 + "R" * 6 + "W" * 20, "th": "R" * 40}, seed=1)
    check = 'def test_sw(lrpo_bench):\n    lrpo_bench.check("runs/new", baseline="results/base", language="sw")\n'
    result = run(project, check)
    (sample,) = blocks("text")
    start = result.outlines.index(sample.splitlines()[0])
    assert result.outlines[start : start + len(sample.splitlines())] == sample.splitlines()
    # Under CI=true pytest repeats the whole text in its short summary.
    shown = result.outlines[: next(i for i, line in enumerate(result.outlines) if "short test summary" in line)]
    assert sum(line.startswith("  toy/sw/") for line in shown) == 5  # "and four more questions"


def test_there_is_something_of_each_kind():
    assert (len(blocks("python")), len(blocks("bash")), len(blocks("yaml"))) == (2, 2, 2)
    assert len(commands()) == 13


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("lrpo-bench")])
def test_commands_are_what_the_command_line_takes(line):
    arguments = _parser().parse_args(shlex.split(line)[1:])
    if getattr(arguments, "config", None) == Path("demo"):
        parse_config(load_config(arguments.config))


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("pytest")])
def test_pytest_takes_these_options(project, line):
    write_run(project.path / "runs" / "new", {"sw": "R" * 20 + "W" * 20, "th": "R" * 40}, seed=1)
    (project.path / "tests").mkdir()
    (project.path / "tests" / "test_no_regression.py").write_text(blocks("python")[0], encoding="utf-8")
    project.runpytest_inprocess(*LOAD, *shlex.split(line)[1:]).assert_outcomes(passed=3)


def test_other_commands_are_known():
    others = {line.split()[0] for line in commands()} - {"lrpo-bench", "pytest"}
    assert others == {"pip"}


def test_the_documented_metrics_and_arguments_exist():
    from lrpo_bench.pytest_plugin import _ARGUMENTS
    from lrpo_bench.results.regression import worse_direction

    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(rows) == sorted(_ARGUMENTS)
    for metric in ("accuracy", "fidelity", "pass@4", "truncation_rate", "accuracy_in_language"):
        worse_direction(metric)
