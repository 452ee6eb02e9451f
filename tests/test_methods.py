"""The method registry, its table, and the configuration files and the sweep that ship with it."""

from __future__ import annotations

import numpy as np
import pytest

from lrpo_bench.cli import main
from lrpo_bench.config import TrainConfig, parse_config
from lrpo_bench.config_files import SHIPPED_CONFIGS, load_config
from lrpo_bench.lrpo.routing import Context
from lrpo_bench.sweeps.file import load_sweep
from lrpo_bench.training.ablations import mix_prior, router_settings
from lrpo_bench.training.methods import METHODS, get_method, methods_markdown
from lrpo_bench.training.routers import build_router

MIXES = ("monolingual", "input-dominant", "en-dominant", "uniform")
PAPER = {
    "vanilla", "sft", "grpo", "lrpo", "lrpo-zero", "dpo", "mapo", "lidr", "mpo", "lrpo-prior", "lrpo-no-annealing",
    *(f"lrpo-fixed-{mix}" for mix in MIXES), *(f"lrpo-fixed-{mix}-zero" for mix in MIXES),
}  # fmt: skip
"""METHOD.md, Sec. 5; calibration is a setting of the reward, with a file each."""
FILES = sorted(path.stem for path in (SHIPPED_CONFIGS / "methods").glob("*.yaml"))


def test_every_method_of_the_paper_is_there():
    assert set(METHODS) == PAPER


@pytest.mark.parametrize("name", METHODS)
def test_each_says_where_it_is_from_and_what_departs(name):
    method = get_method(name)
    assert "arXiv" in method.source
    assert method.exact and method.departs and "|" not in method.exact + method.departs
    assert method.is_offline == (method.objective in ("sft", "dpo", "mapo", "lidr", "mpo"))


def test_the_table_has_one_row_a_method():
    rows = methods_markdown().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(METHODS)
    assert all(row.count("|") == 6 for row in rows)


def test_list_methods_prints_sources(capsys):
    assert main(["list", "methods"]) == 0
    assert "source   Zhao et al. 2025" in capsys.readouterr().out
    assert main(["list", "methods", "--format", "markdown"]) == 0
    assert capsys.readouterr().out == methods_markdown()


def test_every_method_has_a_file():
    calibrations = {f"lrpo-calibration-{name}" for name in ("none", "mean", "quantile")}
    assert set(FILES) == set(METHODS) | calibrations


@pytest.mark.parametrize("name", FILES)
def test_files_differ_in_what_is_the_methods_own_alone(name):
    values = load_config(SHIPPED_CONFIGS / "methods" / f"{name}.yaml")
    config = parse_config(values)
    assert config.train.method == ("lrpo" if "calibration" in name else name)
    assert values.pop("out") == f"runs/methods/{name}"
    base = load_config(SHIPPED_CONFIGS / "methods" / "grpo.yaml")
    own = {key: values["train"].pop(key, None) for key in ("method", "router", "offline", "warm_start", "reward")}
    base.pop("out")
    base["train"].pop("method")
    assert values == base
    assert (own["offline"] is not None) == (name in ("dpo", "mapo", "lidr", "mpo"))
    if "calibration" in name:
        assert config.train.reward.similarity.calibration == name.rpartition("-")[2]


def test_the_sweep_runs_every_method_with_three_seeds_on_the_shared_settings():
    sweep = load_sweep(SHIPPED_CONFIGS / "sweeps" / "methods.yaml")
    seen = {(cell.config.train.method, cell.config.seed) for cell in sweep.cells}
    assert seen == {(name, seed) for name in METHODS for seed in (0, 1, 2)}
    warm = [cell for cell in sweep.cells if cell.config.train.warm_start.enabled]
    assert {(cell.config.train.method, cell.config.seed) for cell in warm} == {("lrpo", seed) for seed in (0, 1, 2)}
    assert len({cell.config.eval.model_dump_json() for cell in sweep.cells}) == 1, "the evaluation before is shared"
    rewards = [cell.config.train.reward for cell in sweep.cells]
    calibrations = [reward.similarity.calibration for reward in rewards if reward.kind == "similarity"]
    assert sorted(calibrations) == ["mean"] * 3 + ["none"] * 3 + ["quantile"] * 3


def test_the_sweep_has_the_settings_of_each_methods_own_file():
    cells = load_sweep(SHIPPED_CONFIGS / "sweeps" / "methods.yaml").cells
    shared = {"steps", "questions_per_step", "save_every", "generation", "router", "warm_start", "offline"}
    for cell in cells:
        name = cell.name.split("/")[0]
        own = parse_config(load_config(SHIPPED_CONFIGS / "methods" / f"{name.removesuffix('-warm')}.yaml")).train
        found, wanted = cell.config.train.model_dump(), own.model_dump()
        if get_method(own.method).routing == "learned":
            assert found["router"] == wanted["router"], name
        if own.method == "sft" or name == "lrpo-warm":
            sft = parse_config(load_config(SHIPPED_CONFIGS / "methods" / "sft.yaml")).train
            assert found["warm_start"] == sft.model_dump()["warm_start"] | {"enabled": name == "lrpo-warm"}
        if get_method(own.method).needs_dominant or own.method == "dpo":
            ignored = {"dominant_rollouts"}  # written out in the files: half of the group, the default
            assert {k: v for k, v in found["offline"].items() if k not in ignored} == {
                k: v for k, v in wanted["offline"].items() if k not in ignored
            }, name
        assert {k: v for k, v in found.items() if k not in shared} == {
            k: v for k, v in wanted.items() if k not in shared
        }, name


def test_without_annealing_both_schedules_stay():
    train = TrainConfig()
    kept = router_settings(get_method("lrpo-no-annealing"), train)
    assert (kept.temperature_end, kept.explore_end) == (1.0, 0.2)
    assert router_settings(get_method("lrpo"), train) == train.router
    router = build_router(get_method("lrpo-no-annealing"), ("en", "sw"), train, {"chat": {"en": 1.0, "sw": 0.0}})
    start, later = (router.probs(Context("chat", "sw"), step) for step in (0, 5000))
    assert start.tolist() == later.tolist()


def test_a_prior_is_the_mean_mix_of_a_topics_questions():
    arms = ("de", "en", "sw")
    contexts = [Context("chat", "sw"), Context("chat", "de"), Context("chat", "en"), Context("reasoning", "sw")]
    prior = mix_prior("en-dominant", arms, contexts, temperature=2.0)
    # chat: (0, .75, .25), (.25, .75, 0) and (0, 1, 0) average to (1/12, 10/12, 1/12)
    assert [prior["chat"][lang] for lang in arms] == pytest.approx(2 * np.log([1 / 12, 10 / 12, 1 / 12]))
    # a language that the mix never uses keeps one per cent
    assert [prior["reasoning"][lang] for lang in arms] == pytest.approx(2 * np.log([0.01, 0.75, 0.25]))
    settings = TrainConfig.model_validate({"router": {"temperature_start": 2.0, "explore_start": 0.0}})
    router = build_router(get_method("lrpo-prior"), arms, settings, prior)
    assert router.probs(Context("chat", "sw"), 0).tolist() == pytest.approx([1 / 12, 10 / 12, 1 / 12])
