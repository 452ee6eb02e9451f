"""The report's sections on how good the router's choices were."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lrpo_bench.evaluation.off_policy import OffPolicyValue
from lrpo_bench.results import plots
from lrpo_bench.results.html import Cell, figure, paragraph, table, tag
from lrpo_bench.results.router_regret import cumulative_regrets, regret_summary
from lrpo_bench.results.router_value import AS_ROUTED, best_fixed, policy_values
from lrpo_bench.results.schema import Run
from lrpo_bench.results.words import percent

REGRET_FIGURE = "router-regret"
Z95 = 1.959964


def figures(run: Run) -> dict[str, str]:
    """Figures of this module that the run allows, by file name."""
    found = cumulative_regrets(run.router)
    if found is None or len(found[0]) < 2:
        return {}
    steps, series = found
    return {REGRET_FIGURE: plots.lines(steps, series, "regret so far", "Regret of the router, added up over steps")}


def regret(run: Run, figures: Mapping[str, str]) -> str:
    """What the router gave away against the truth of the world; empty where that is not known."""
    found = regret_summary(run.router)
    if found is None:
        return ""
    rows: list[tuple[str, list[Cell]]] = [
        ("", ["the router's distribution", percent(found.router)]),
        ("", ["all rollouts, quota included", percent(found.rollouts)]),
        ("", ["every language alike", percent(found.uniform)]),
        ("", ["always the question's language", percent(found.source)]),
        ("", [f"always {found.fixed_lang}, the best fixed language in hindsight", percent(found.fixed)]),
    ]
    parts = [
        tag("h3", "Regret against the world's truth"),
        paragraph(
            "Expected accuracy given away per question, against the best language for each. Known because the world is "
            "ours: it is the truth about the untrained policy's greedy answers, and says nothing of the language gate.",
            "note",
        ),
        table(("answering in", "regret"), rows),
    ]
    if REGRET_FIGURE in figures:
        caption = "Regret added up over the training steps. A router that has learned the best languages runs flat."
        parts.append(figure(figures[REGRET_FIGURE], caption))
    if found.unknown:
        parts.append(paragraph(f"{found.unknown} questions have no known truth and are left out.", "note"))
    return "".join(parts)


def unlabelled(run: Run) -> str:
    """How many questions the router knew nothing of; empty where there was none."""
    n = sum(row.get("unlabelled") or 0 for row in run.router)
    text = f"{n} questions had no topic or region label, and were routed as if nothing were known of them."
    return paragraph(text, "note") if n else ""


def values(run: Run) -> str:
    """What other routing policies would have earned on the run's own rollouts; empty where nothing was drawn."""
    found = policy_values(run.rollouts, run.router)
    if not found:
        return ""
    best = best_fixed(found)
    rows: list[tuple[str, list[Cell]]] = [("", _value_row(name, value, best)) for name, value in found.items()]
    return "".join(
        [
            tag("h3", "Regret by reward, from the logged propensities"),
            paragraph(
                "Mean reward of each policy by self-normalised inverse propensity weighting over the rollouts that the "
                "router chose, the quota left out. A positive regret says that the other policy would have chosen "
                "better. Rewards are of the policy as it was trained: another routing would have trained another.",
                "note",
            ),
            table(("policy", "reward", "regret of the router", "95% interval", "effective rollouts"), rows),
        ]
    )


def _value_row(name: str, value: OffPolicyValue, best: str | None) -> list[Cell]:
    label = f"{name}, the best fixed language" if name == best else name
    if not value.is_supported:
        return [label, ("not drawn often enough to tell", "dim"), "", "", (f"{value.effective:.0f}", "dim")]
    low, high = value.regret - Z95 * value.regret_stderr, value.regret + Z95 * value.regret_stderr
    is_own = name == AS_ROUTED
    return [
        label,
        f"{value.snips:.3f}",
        "" if is_own else f"{value.regret:+.3f}",
        "" if is_own or math.isnan(low) else f"{low:+.3f} to {high:+.3f}",
        (f"{value.effective:.0f}", "dim"),
    ]
