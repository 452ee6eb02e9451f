"""A reproducibility checklist, answered from what a run folder holds and from nothing else.

The questions follow the machine-learning reproducibility checklist (Pineau et al. 2021, JMLR 22(164), App. A), in its
order: models, data, code, experiments. Each answer is computed, with the fact that it rests on; where a run can not
know (how its settings were found), the answer is no.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from lrpo_bench.results.compare import Comparison
from lrpo_bench.results.hashes import HASHES, MODEL, read_hashes
from lrpo_bench.results.report_blocks import Rows, Section, Text
from lrpo_bench.results.report_setup import differing_settings, method_of, setting, task_infos, task_signatures
from lrpo_bench.results.schema import Evaluation, Run
from lrpo_bench.results.store import config_hash

Answer = Literal["yes", "no", "not applicable"]


@dataclass(frozen=True, slots=True)
class Line:
    """One item of the checklist."""

    item: str
    answer: Answer
    fact: str
    """What the answer rests on."""


def checklist(run: Run, comparison: Comparison | None) -> list[Line]:
    """All items, answered."""
    checks: tuple[Callable[[Run], Line], ...] = (
        *(_method, _departures, _weights),
        *(_data_hashes, _licences, _prompts, _disjoint),
        *(_code, _packages, _commands, _integrity),
        *(_settings, _search, _seeds, _several_runs, _responses, _unknowns, _intervals),
    )
    return [*(check(run) for check in checks), _correction(comparison), *(check(run) for check in (_time, _hardware))]


def section(run: Run, comparison: Comparison | None) -> Section:
    """The checklist as a section of a report."""
    lines = checklist(run, comparison)
    counts = {answer: sum(line.answer == answer for line in lines) for answer in ("yes", "no", "not applicable")}
    text = (
        "After the machine-learning reproducibility checklist (Pineau et al. 2021), answered from the files of this "
        f"run: {', '.join(f'{n} {answer}' for answer, n in counts.items())}."
    )
    rows = [(line.item, line.answer, line.fact) for line in lines]
    return Section("Reproducibility checklist", [Text(text), Rows(("item", "", "fact"), rows, words=True)])


def _line(item: str, holds: bool | None, fact: str) -> Line:
    return Line(item, "not applicable" if holds is None else "yes" if holds else "no", fact)


def _method(run: Run) -> Line:
    item, found = "The method is named, with its source", method_of(run.manifest)
    name = setting(run.manifest, "train.method")
    if found is not None:
        return _line(item, True, f"{found.name}: {found.source}")
    return _line(item, False if name else None, f"{name} is not a method of this version" if name else "no training")


def _departures(run: Run) -> Line:
    item, found = "Departures from the source are listed", method_of(run.manifest)
    if found is None or not found.makes_rollouts:
        return _line(item, None, "nothing was trained on rollouts")
    return _line(item, True, f"{len(differing_settings(run.manifest, found))} settings, and: {found.departs}")


def _weights(run: Run) -> Line:
    item, recorded = "The trained weights can be had", run.manifest.hashes.get("weights_after")
    if not run.train and recorded is None:
        return _line(item, None, "nothing was trained")
    files = sorted(path.name for path in (run.path / MODEL).glob("*.safetensors"))
    if files:
        return _line(item, True, f"{', '.join(f'{MODEL}/{name}' for name in files)}, {recorded or 'no hash recorded'}")
    return _line(item, False, f"not in the folder; their hash is {recorded or 'not recorded'}")


def _data_hashes(run: Run) -> Line:
    return _hashed(run, "The data are identified by hash", "data")


def _prompts(run: Run) -> Line:
    return _hashed(run, "The prompts are identified by hash", "prompts")


def _hashed(run: Run, item: str, kind: str) -> Line:
    tasks = task_signatures(run)
    missing = [name for name in tasks if f"{kind}/{name}" not in run.manifest.hashes]
    if not tasks:
        return _line(item, None, "nothing was evaluated")
    fact = f"no hash of {', '.join(missing)}" if missing else f"of {len(tasks)} tasks: {', '.join(tasks)}"
    return _line(item, not missing, fact)


def _licences(run: Run) -> Line:
    item, infos, tasks = "The licence of each data set is stated", task_infos(run.manifest), task_signatures(run)
    missing = [name for name in tasks if name not in infos]
    if not tasks:
        return _line(item, None, "nothing was evaluated")
    stated = [f"{name} {infos[name].licence}" for name in tasks if name in infos]
    return _line(item, not missing, "; ".join(stated + [f"unknown of {name}" for name in missing]))


def _disjoint(run: Run) -> Line:
    item = "No question of the training is evaluated, in any language"
    trained = {_source(str(row["sample_id"])) for row in run.rollouts if "sample_id" in row}
    asked = {record.source_id for evaluation in _evaluations(run) for record in evaluation.records}
    if not run.train and not run.rollouts:
        return _line(item, None, "nothing was trained")
    if not trained or not asked:
        return _line(item, False, "not known: the folder has no training rollouts or no evaluation")
    fact = f"{len(trained & asked)} of {len(trained)} questions trained on are among the {len(asked)} evaluated"
    return _line(item, not trained & asked, fact)


def _source(sample_id: str) -> str:
    """The source question of a sample, by the form of ids: `<task>/<lang>/<row>`.

    Example:
        >>> _source("mgsm/de/17")
        'mgsm/17'
    """
    task, _, rest = sample_id.partition("/")
    return f"{task}/{rest.partition('/')[2]}"


def _code(run: Run) -> Line:
    commit, dirty = run.manifest.git.get("commit"), run.manifest.git.get("dirty")
    fact = f"commit {commit}{' with uncommitted changes' if dirty else ''}" if commit else "not in a git repository"
    return _line("The exact code is identified", bool(commit) and dirty is False, fact)


def _packages(run: Run) -> Line:
    known = [f"{name} {version}" for name, version in run.manifest.versions.items() if version]
    fact = f"Python {run.manifest.python}; {len(known)} packages" if known else "none recorded"
    return _line("Versions of packages are stated", bool(known), fact)


def _commands(run: Run) -> Line:
    fact = shlex.join(run.manifest.command) or "not recorded"
    return _line("The exact command is stated", bool(run.manifest.command), fact)


def _integrity(run: Run) -> Line:
    recorded = read_hashes(run.path)
    fact = f"{HASHES} has {len(recorded)} files" if recorded else f"the folder has no {HASHES}"
    return _line("Files can be checked for changes", bool(recorded), fact)


def _settings(run: Run) -> Line:
    same = config_hash(run.manifest.config) == run.manifest.config_hash
    fact = f"configuration {run.manifest.config_hash[:12]}" if same else "the configuration was changed afterwards"
    return _line("All settings are stated", same, fact)


def _search(run: Run) -> Line:
    fact = "a run does not know which other settings were tried before it"
    return _line("How settings were chosen is stated", False if run.train else None, fact)


def _seeds(run: Run) -> Line:
    fact = ", ".join(f"{name} {seed}" for name, seed in run.manifest.seeds.items()) or "none recorded"
    return _line("Seeds are stated", bool(run.manifest.seeds), fact)


def _several_runs(run: Run) -> Line:
    item = "Training was repeated with other seeds"
    if not run.train:
        return _line(item, None, "nothing was trained")
    return _line(item, False, "this is one run; `lrpo-bench sweep` makes others, and intervals over seeds")


def _responses(run: Run) -> Line:
    found = {evaluation.label: len(evaluation.records) for evaluation in _evaluations(run)}
    fact = ", ".join(f"{n} {label}" for label, n in found.items()) or "nothing was evaluated"
    return _line("Every judged response is published", bool(found) or None, fact)


def _unknowns(run: Run) -> Line:
    item, records = "What could not be judged is counted", [r for e in _evaluations(run) for r in e.records]
    unscored, unknown = sum(r.score is None for r in records), sum(r.language_ok is None for r in records)
    fact = f"{unscored} of {len(records)} responses unscored, the language of {unknown} not known"
    return _line(item, True if records else None, fact if records else "nothing was evaluated")


def _intervals(run: Run) -> Line:
    item, metrics = "Numbers have error bars, and what they mean is stated", _known_metrics(run)
    with_span = sum(metric for metric in metrics)
    fact = f"{with_span} of {len(metrics)} numbers have 95% intervals, clustered by source question"
    return _line(item, with_span * 2 > len(metrics) if metrics else None, fact)


def _known_metrics(run: Run) -> list[bool]:
    known = [m for e in _evaluations(run) for m in e.metrics if m.value is not None]
    return [m.ci95[0] is not None for m in known]


def _correction(comparison: Comparison | None) -> Line:
    item = "Tests are corrected for their number"
    if comparison is None:
        return _line(item, None, "nothing was compared")
    langs = {d.language for d in comparison.differences if not d.is_average}
    return _line(item, True, f"Holm, over {len(langs)} languages a task and metric")


def _time(run: Run) -> Line:
    seconds = {key: value for key, value in run.manifest.extra.items() if key.startswith("seconds_")}
    known = [value for value in seconds.values() if isinstance(value, int | float) and not math.isnan(value)]
    fact = ", ".join(f"{key.removeprefix('seconds_')} {value} s" for key, value in seconds.items()) or "not recorded"
    resumed = f"; continued {len(run.manifest.resumed)} times" if run.manifest.resumed else ""
    return _line("The time that it took is stated", bool(known), fact + resumed)


def _hardware(run: Run) -> Line:
    gpus = run.manifest.hardware.get("gpus")
    cores = run.manifest.hardware.get("cpu_count")
    names = "accelerators not known" if gpus is None else ", ".join(gpus) or "no accelerator"
    return _line("The hardware is stated", bool(run.manifest.hardware), f"{cores or 'unknown'} CPU cores, {names}")


def _evaluations(run: Run) -> Iterable[Evaluation]:
    return [evaluation for evaluation in (run.before, run.after) if evaluation is not None]
