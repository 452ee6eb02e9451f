"""Whether training could teach anything: idle groups and why, what the gate let through, calibration of rewards."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from lrpo_bench.results.report_blocks import Block, Rows, Section, Text
from lrpo_bench.results.report_setup import UNKNOWN, setting
from lrpo_bench.results.schema import Manifest, Run
from lrpo_bench.results.words import percent

INFORMATIVE = "informative"
_MANY_IDLE = 0.5
_COUNTS = {"truncated": "rollouts cut at the limit", "unscored": "rollouts without a reward"} | {
    "prompts_truncated": "prompts that lost their start"
}


def audit_sections(run: Run) -> list[Section]:
    """Sections on groups, gate and calibration; none where nothing was trained on rollouts."""
    if not run.router and not run.rollouts:
        return []
    return [degeneracy(run.router), gate(run.rollouts), calibration(run.manifest)]


def idle_share(rows: Sequence[Mapping[str, Any]]) -> float:
    """Share of all groups from which training learned nothing; NaN where it was not logged.

    Example:
        >>> idle_share([{"groups": {"informative": 3, "all right": 1}}, {"groups": {"informative": 4}}])
        0.125
    """
    counts = _groups(rows)
    total = counts.total()
    return 1 - counts[INFORMATIVE] / total if total else math.nan


def degeneracy(rows: Sequence[Mapping[str, Any]]) -> Section:
    """Groups by cause, over the first and the last third of training and over all of it."""
    known = [row for row in rows if isinstance(row.get("groups"), Mapping)]
    if not known:
        return Section("Audit: groups that teach nothing", ())
    third = max(1, len(known) // 3)
    parts = [_groups(known[:third]), _groups(known[-third:]), _groups(known)]
    causes = sorted(parts[2], key=lambda cause: (cause != INFORMATIVE, -parts[2][cause]))
    table = [(cause, *(percent(part[cause] / part.total()) for part in parts)) for cause in causes]
    share = idle_share(known)
    verdict = "most groups taught nothing" if share > _MANY_IDLE else "most groups taught something"
    text = f"{percent(share)} of {parts[2].total()} groups had equal rewards and moved nothing: {verdict}."
    sums = {name: [row.get(key) for row in known] for key, name in _COUNTS.items()}
    counted = [f"{name}: {sum(map(int, found))}" for name, found in sums.items() if None not in found]  # type: ignore[arg-type]
    blocks: list[Block] = [Text(text), Rows(("group", "first third", "last third", "all steps"), table)]
    blocks += [Text(f"Over all steps, {'; '.join(counted)}.")] if counted else []
    return Section("Audit: groups that teach nothing", blocks)


def gate(rollouts: Sequence[Mapping[str, Any]]) -> Section:
    """What the language gate let through and what was earned, by the language that was asked for."""
    by_lang: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rollouts:
        by_lang[str(row.get("rollout_lang"))].append(row)
    rows = []
    for lang, found in sorted(by_lang.items()):
        parts = [row["rewards"] if isinstance(row.get("rewards"), Mapping) else {} for row in found]
        quality, passed = (_mean([part.get(key) for part in parts]) for key in ("quality", "gate"))
        reward = _mean([row.get("reward") for row in found])
        rows.append((lang, str(len(found)), percent(passed), f"{quality:.3f}", f"{reward:.3f}"))
    header = ("rollouts asked for in", "rollouts", "pass the gate", "mean quality", "mean reward")
    return Section("Audit: language gate and quality", [Rows(header, rows)] if rows else ())


def calibration(manifest: Manifest) -> Section:
    """How qualities of different languages were made comparable."""
    kind = setting(manifest, "train.reward.kind")
    if kind is None:
        return Section("Audit: calibration", ())
    weights = setting(manifest, "train.reward.mixture.weights") or {}
    if kind != "similarity" and not (kind == "mixture" and weights.get("similarity")):
        text = f"Nothing to calibrate: the reward is {kind}, and compares no embeddings across languages."
        return Section("Audit: calibration", [Text(text)])
    keys = ("encoder", "calibration", "strength", "missing", "table")
    rows = [(key, str(setting(manifest, f"train.reward.similarity.{key}"))) for key in keys]
    rows.append(("hash of the table", manifest.hashes.get("calibration_table", UNKNOWN)))
    text = (
        "Mean qualities by language stand above. Where they differ after calibration, the languages differ in what "
        "they earn, or the table does not fit them; `lrpo-bench calibrate` writes an audit beside each table."
    )
    return Section("Audit: calibration", [Rows(("similarity reward", ""), rows, words=True), Text(text)])


def _groups(rows: Sequence[Mapping[str, Any]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for row in rows:
        groups = row.get("groups")
        if isinstance(groups, Mapping):
            counts.update({str(cause): int(n) for cause, n in groups.items()})
    return counts


def _mean(values: Sequence[Any]) -> float:
    known = [float(value) for value in values if isinstance(value, int | float)]
    return sum(known) / len(known) if known else math.nan
