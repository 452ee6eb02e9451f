"""Other routing policies on a run's own rollouts: values and regrets from `rollouts.jsonl` and `router.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lrpo_bench.evaluation.off_policy import Logged, OffPolicyValue, off_policy_value

AS_ROUTED = "as routed"
UNIFORM = "every language alike"
FINAL = "the router as training left it"


def policy_values(
    rollouts: Sequence[Mapping[str, Any]], router: Sequence[Mapping[str, Any]]
) -> dict[str, OffPolicyValue]:
    """Value by policy: as routed, uniform, each fixed language, and the router's last distributions.

    Empty where no rollout was drawn: the quota, and a method that keeps to one language, say nothing of another. The
    router's last distribution of a question is that of its cells when they were last met; the mean, where there are
    several.
    """
    rows = [row for row in rollouts if _is_drawn(row)]
    arms = sorted({lang for row in router for lang in row.get("arms") or ()})
    if not rows or all(row["propensity"] == 1.0 for row in rows):
        return {}
    logged = [
        Logged(f"{row['step']}/{row['sample_id']}", row["rollout_lang"], row["propensity"], row["reward"])
        for row in rows
    ]
    targets = {AS_ROUTED: [item.propensity for item in logged], UNIFORM: [1.0 / len(arms)] * len(logged)}
    targets |= {f"always {lang}": [float(item.lang == lang) for item in logged] for lang in arms}
    final = _final_probabilities(rows, router)
    if final is not None:
        targets[FINAL] = final
    return {name: off_policy_value(logged, target) for name, target in targets.items()}


def best_fixed(values: Mapping[str, OffPolicyValue]) -> str | None:
    """The fixed language of highest estimated value among those that the log supports; None without one."""
    known = {name: v for name, v in values.items() if name.startswith("always ") and v.is_supported}
    return max(known, key=lambda name: known[name].snips, default=None)


def _is_drawn(row: Mapping[str, Any]) -> bool:
    return row.get("is_quota") is False and row.get("reward") is not None and bool(row.get("propensity"))


def _final_probabilities(rows: Sequence[Mapping[str, Any]], router: Sequence[Mapping[str, Any]]) -> list[float] | None:
    last: dict[str, Mapping[str, float]] = {}
    for row in router:
        last |= row.get("contexts") or {}
    if any(cell not in last for row in rows for cell in row.get("cells") or ("",)):
        return None  # a run of an earlier version, which did not log a rollout's cells
    return [sum(last[cell].get(row["rollout_lang"], 0.0) for cell in row["cells"]) / len(row["cells"]) for row in rows]
