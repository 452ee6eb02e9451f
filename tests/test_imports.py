"""What a command must not import: start-up time is paid by every call, and by every cell of a sweep."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = {
    "matplotlib": "figures",
    "trl": "training",
    "datasets": "training and data sets of the hub",
    "lm_eval": "tasks of lm-eval",
    "sklearn": "nothing of ours",
    "scipy.stats": "world builds",
    "ray": "sweeps on a cluster",
    "vllm": "models by vLLM",
    "peft": "adapters",
    "langdetect": "the detector of that name",
    "transformers.trainer": "training",
    "torch._inductor.compile_fx": "compiled decoding",
    "torch.utils.tensorboard": "training",
    "pyarrow.dataset": "folders of Parquet files",
    "lrpo_bench.world.build": "world builds",
    "lrpo_bench.training.trainer": "training",
}
"""Modules by what alone may load them."""
NO_COMMAND = {"torch", "transformers", "numpy", "pandas", "pydantic", "pyarrow", "scipy", "lingua", "rich"}
"""Not even needed to print what commands there are."""


def loaded_by(*arguments, cwd):
    """Names of all modules in a process that ran this command."""
    script = (
        "import json, sys\n"
        "from lrpo_bench.cli import main\n"
        "try:\n    code = main(sys.argv[1:])\n"
        "except SystemExit as end:\n    code = end.code\n"
        "assert not code, code\n"
        "print('\\n' + json.dumps(sorted(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True, text=True, cwd=cwd, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    options = ["--model", "embedded:default", "--tasks", "arithmetic", "--languages", "de", "--limit", "3"]
    return loaded_by("eval", *options, "--set", "eval.draws=0", "--out", "run", cwd=folder)


@pytest.mark.parametrize("module", sorted(HEAVY))
def test_an_evaluation_does_not_import(evaluated, module):
    assert module not in evaluated, f"{module} is for {HEAVY[module]}"


def test_the_evaluation_did_evaluate(evaluated):
    """What it does need is there, so the list above is that of a process that loaded a model and told languages."""
    assert {"torch", "transformers", "lingua", "pyarrow", "lrpo_bench.models.hf"} <= evaluated


@pytest.mark.parametrize("arguments", [("--help",), ("eval", "--help"), ("list",)])
def test_help_and_list_import_nothing_heavy(arguments, tmp_path):
    assert not (NO_COMMAND | set(HEAVY)) & loaded_by(*arguments, cwd=tmp_path)
