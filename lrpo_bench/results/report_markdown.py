"""A run's report as Markdown: what the page says, for an appendix or a pull request, without plots and browsers."""

from __future__ import annotations

from lrpo_bench.results import report_audits, report_checklist, report_numbers, report_setup, tables, words
from lrpo_bench.results.compare import Comparison
from lrpo_bench.results.report_blocks import Items, Section, Text, escape_markdown, to_markdown
from lrpo_bench.results.router_regret import regret_summary
from lrpo_bench.results.schema import Run
from lrpo_bench.results.words import percent


def render_markdown(run: Run, comparison: Comparison | None, refusal: str) -> str:
    """The report as text."""
    setup = report_setup.setup_sections(run)
    parts = [f"# {escape_markdown(run.name)}\n", to_markdown([_status(run, refusal), *setup[:1]])]
    if comparison is not None:
        parts.append("## Results\n")
        for task in comparison.tasks:
            parts.append(f"{escape_markdown(' '.join(words.headline(comparison, task)))}\n")
        parts.append(tables.markdown(comparison))
    last = [
        *report_numbers.single_evaluation(run),
        _router(run),
        *report_audits.audit_sections(run),
        Section("What was not measured", [Items(words.not_measured(run, comparison))]),
        *setup[1:],
        report_setup.environment(run.manifest),
        report_setup.commands(run),
        report_checklist.section(run, comparison),
    ]
    parts.append(to_markdown(last))
    return "\n".join(part for part in parts if part.strip())


def _status(run: Run, refusal: str) -> Section:
    m = run.manifest
    reason = f": {m.reason}" if m.reason else ""
    texts = [Text(f"The run is {m.status}{reason}.")] if m.status != "complete" else []
    texts += [Text(f"The two evaluations were not compared: {refusal}")] if refusal else []
    return Section("Status", texts)


def _router(run: Run) -> Section:
    """The router's distribution at the beginning and at the end, and its regret where the truth is known."""
    rows = [row["arms"] for row in run.router if isinstance(row.get("arms"), dict) and row["arms"]]
    if not rows:
        return Section("What the router did", ())
    first, last = rows[0], rows[-1]
    moved = ", ".join(f"{lang} {first.get(lang, 0.0):.2f} to {p:.2f}" for lang, p in sorted(last.items()))
    blocks = [Text(f"Probability of each language, from the first step to the last of {len(rows)}: {moved}.")]
    regret = regret_summary(run.router)
    if regret is not None:
        blocks.append(
            Text(
                f"Expected accuracy given away per question against the best language for each: router "
                f"{percent(regret.router)}, every language alike {percent(regret.uniform)}, the question's own "
                f"{percent(regret.source)}, always {regret.fixed_lang} {percent(regret.fixed)}."
            )
        )
    return Section("What the router did", blocks)
