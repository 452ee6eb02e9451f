"""How a run was made, from its manifest: question, method, data, deviations from the paper's setup, environment.

Licences and titles of tasks are not in a manifest: they are the registry's of today, said to be unknown where the
registry has no such task. The paper's values are those of Guo et al. 2026 (arXiv 2605.25360), Sec. 3 and App. D.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrpo_bench.errors import LrpoBenchError
from lrpo_bench.evaluation.observations import is_counted
from lrpo_bench.results.report_blocks import Block, Code, Items, Rows, Section, Text
from lrpo_bench.results.schema import Manifest, Run, TaskSignature
from lrpo_bench.results.verify import stage_of
from lrpo_bench.tasks.base import TaskInfo
from lrpo_bench.training.methods import METHODS, Method

UNKNOWN = "unknown"
PAPER: Mapping[str, Any] = {
    "group_size": 8, "quota": 2, "learning_rate": 1e-6, "kl_beta": 0.001, "max_completion_tokens": 1024,
    "max_prompt_tokens": 512, "reward.kind": "similarity", "gate": "hard",
}  # fmt: skip
"""Keys of `train` for every method that learns from groups of rollouts."""
PAPER_ROUTER: Mapping[str, Any] = {
    "router.alpha": 0.1, "router.update_every": 5, "router.temperature_start": 1.0, "router.temperature_end": 0.3,
    "router.temperature_decay": 0.999, "router.explore_start": 0.2, "router.explore_end": 0.0,
    "router.explore_decay": 0.995, "router.normalization": "zscore",
}  # fmt: skip
"""Keys of `train` for a learned router."""
_PAPER_BATCH = 256


def setting(manifest: Manifest, key: str) -> Any:
    """A dotted key of the configuration; None where it has none.

    Example:
        >>> setting(Manifest({"train": {"router": {"alpha": 0.3}}}, ""), "train.router.alpha")
        0.3
    """
    value: Any = manifest.config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def method_of(manifest: Manifest) -> Method | None:
    """The training method; None where nothing was trained or its name is not known here."""
    name = setting(manifest, "train.method")
    trained = stage_of(manifest) != "eval" and isinstance(name, str)
    return METHODS.get(name) if trained else None


def task_signatures(run: Run) -> dict[str, TaskSignature]:
    """Tasks that were evaluated, by name."""
    evaluation = run.after or run.before
    return {} if evaluation is None else dict(evaluation.signature.tasks)


def task_infos(manifest: Manifest) -> dict[str, TaskInfo]:
    """What today's registry says of tasks, by name; without extra folders that have gone."""
    from lrpo_bench.tasks.registry import list_tasks

    folders = [Path(folder) for folder in manifest.extra.get("tasks_dirs", ())]
    try:
        return {info.name: info for info in list_tasks(folders)}
    except LrpoBenchError:
        return {info.name: info for info in list_tasks()}


def setup_sections(run: Run) -> list[Section]:
    """Question, method, data, deviations, environment and commands."""
    return [question(run), method(run.manifest), data(run), deviations(run.manifest)]


def question(run: Run) -> Section:
    """What the run asks, in one sentence."""
    m = run.manifest
    found = method_of(m)
    tasks = ", ".join(task_signatures(run)) or "tasks that were not evaluated yet"
    name = setting(m, "model.name") or UNKNOWN
    if found is None or found.routing == "none":
        return Section("Question", [Text(f"How well does {name} do on {tasks}, in each language?")])
    trained = ", ".join(m.extra.get("trained_languages") or ()) or "languages that are not recorded"
    text = (
        f"What does training {name} by {found.name} on questions in {trained} change on {tasks}, for which languages, "
        "and is the change real?"
    )
    return Section("Question", [Text(text)])


def method(manifest: Manifest) -> Section:
    """The method with its source, what is exact and what is not; nothing where nothing was trained."""
    found = method_of(manifest)
    if found is None:
        return Section("Method", ())
    arms = ", ".join(manifest.extra.get("arms") or ()) or "not recorded"
    instruct = manifest.extra.get("train_instruct") or manifest.extra.get("instruct") or UNKNOWN
    rows = [
        (found.name, found.title),
        ("source", found.source),
        ("as in the source", found.exact or UNKNOWN),
        ("departs from it", found.departs),
    ]
    if found.routing != "none":
        rows += [("languages of rollouts", arms), ("the policy is told its language by", str(instruct))]
    return Section("Method", [Rows(("method", ""), rows, words=True)])


def data(run: Run) -> Section:
    """Each task's data: version, licence, counts, hashes."""
    infos = task_infos(run.manifest)
    evaluation = run.after or run.before
    rows = []
    for name, signature in task_signatures(run).items():
        info = infos.get(name)
        records = [r for r in evaluation.records if r.task == name and is_counted(r)] if evaluation else []
        version = signature.version
        if info is not None and info.version != version:
            version += f" (the registry has {info.version} now)"
        training = run.manifest.hashes.get(f"training_data/{name}", "none")
        cells = [name, version, signature.variant, info.licence if info else f"{UNKNOWN}: not in the registry here"]
        cells += [f"{len({r.source_id for r in records})} questions in {len(signature.languages)} languages"]
        rows.append([*cells, signature.data_hash, signature.prompt_hash, training])
    header = ("task", "version", "variant", "licence", "evaluated", "hash of data", "of prompts", "of training data")
    return Section("Data", [Rows(header, rows, words=True)] if rows else ())


def deviations(manifest: Manifest) -> Section:
    """Settings that differ from the paper's, and departures of the code; nothing where nothing was trained."""
    found = method_of(manifest)
    if found is None or not found.makes_rollouts:
        return Section("Deviations from the paper's setup", ())
    rows = differing_settings(manifest, found)
    blocks: list[Block] = [Text("Settings of the paper (arXiv 2605.25360) that this run does not share.")]
    blocks.append(Rows(("setting", "paper", "here"), rows, words=True) if rows else Text("None."))
    if found.routing == "learned" and (listed := router_departures()):
        blocks += [Text("Where the code of the router departs from the paper and its public implementation."), listed]
    return Section("Deviations from the paper's setup", blocks)


def differing_settings(manifest: Manifest, found: Method) -> list[tuple[str, str, str]]:
    """Setting, the paper's value, the run's; keys that the manifest does not have are unknown, not equal."""
    wanted = {**PAPER, **(PAPER_ROUTER if found.routing == "learned" else {})}
    rows = []
    for key, paper in wanted.items():
        here = setting(manifest, f"train.{key}")
        if here != paper:
            rows.append((f"train.{key}", str(paper), UNKNOWN if here is None else str(here)))
    questions, group = (setting(manifest, f"train.{key}") for key in ("questions_per_step", "group_size"))
    if isinstance(questions, int) and isinstance(group, int) and _PAPER_BATCH not in (questions, questions * group):
        rows.append(("batch", str(_PAPER_BATCH), f"{questions} questions, {questions * group} rollouts"))
    return rows


def router_departures() -> Items | None:
    """The list at the top of the router's module."""
    import inspect

    from lrpo_bench.lrpo import router

    lines = inspect.cleandoc(router.__doc__ or "").splitlines()
    found: list[str] = []
    for line in lines:
        if line.startswith("- "):
            found.append(line.removeprefix("- "))
        elif found and line.startswith("  "):
            found[-1] += f" {line.strip()}"
    return Items(found) if found else None


def commands(run: Run) -> Section:
    """The command that made the run, and those that check it and make it again."""
    made = shlex.join(run.manifest.command) or "(the command was not recorded)"
    lines = [made, "lrpo-bench verify RUN", "lrpo-bench reproduce RUN"]
    commit = run.manifest.git.get("commit")
    if commit:
        lines.insert(0, f"git checkout {commit}")
    text = "In this order; RUN is this folder, and `reproduce` says of each number whether it came out the same."
    return Section("Exact commands", [Code("\n".join(lines)), Text(text)])


def environment(manifest: Manifest) -> Section:
    """Code, packages, hardware, seeds and time as a table."""
    state = " with uncommitted changes" if manifest.git.get("dirty") else ""
    commit = manifest.git.get("commit")
    rows: list[Sequence[str]] = [
        ("code", f"{commit}{state}" if commit else "not in a git repository"),
        ("python", f"{manifest.python}, {manifest.platform}"),
        ("hardware", ", ".join(f"{k} {v}" for k, v in manifest.hardware.items() if v not in (None, [])) or UNKNOWN),
        ("packages", ", ".join(f"{k} {v}" for k, v in manifest.versions.items() if v) or UNKNOWN),
        ("seeds", ", ".join(f"{name} {seed}" for name, seed in manifest.seeds.items()) or UNKNOWN),
        ("configuration", manifest.config_hash),
        *((f"hash of {name}", value) for name, value in manifest.hashes.items()),
        ("begun, finished", f"{manifest.created_at}, {manifest.finished_at or 'not yet'}"),
    ]
    return Section("Environment and seeds", [Rows(("what", ""), rows, words=True)])
