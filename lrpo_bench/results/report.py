"""A run as one HTML file that opens from disk: what changed, in which languages, is it real, why, what is unknown.

The page carries its own style, script and figures, and a policy that forbids it the network. The figures are written to
`figures/` as well, and `report.md` says the same without them. Sections stand in `report_sections`, `report_router`,
`report_averages` and `report_browsers`; those that both forms share in `report_setup`, `report_numbers`,
`report_audits` and `report_checklist`; sentences in `words`.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from string import Template

from lrpo_bench.errors import IncomparableResultsError
from lrpo_bench.results import (
    plots,
    report_audits,
    report_averages,
    report_browsers,
    report_checklist,
    report_numbers,
    report_router,
    report_sections,
    report_setup,
    words,
)
from lrpo_bench.results.compare import HEADLINE, Comparison, compare
from lrpo_bench.results.files import write_bytes
from lrpo_bench.results.html import escape, items, paragraph, tag
from lrpo_bench.results.report_blocks import to_html
from lrpo_bench.results.report_markdown import render_markdown
from lrpo_bench.results.schema import Run
from lrpo_bench.results.store import read_run

REPORT, MARKDOWN = "report.html", "report.md"
FIGURES = "figures"
_CURVES = ("reward", "mean_reward", "reward_std", "kl", "loss", "entropy", "grad_norm", "completion_length")
_NOT_CURVES = ("step", "epoch", "time", "timestamp", "wall_time_s")
_MAX_CURVES = 12


def write_report(run: Path | str) -> Path:
    """The path of `report.html`, written into a run folder with `report.md` and figures; what the run lacks is said.

    Raises:
        StorageError: the folder is no run, or can not be written.
    """
    found = read_run(run)
    comparison, refusal = _compare(found)
    figures = _figures(found, comparison)
    for name, svg in figures.items():
        write_bytes(found.path / FIGURES / f"{name}.svg", svg.encode())
    write_bytes(found.path / MARKDOWN, render_markdown(found, comparison, refusal).encode("utf-8", "replace"))
    path = found.path / REPORT
    write_bytes(path, render(found, comparison, refusal, figures).encode("utf-8", "replace"))
    return path


def render(run: Run, comparison: Comparison | None, refusal: str, figures: dict[str, str]) -> str:
    """The page as text."""
    setup = report_setup.setup_sections(run)
    sections = [
        report_sections.status_banner(run.manifest, refusal),
        _lead(comparison),
        to_html(setup[:1]),
        report_sections.per_language(comparison, figures),
        to_html(report_numbers.single_evaluation(run)),
        report_sections.outcomes(run, comparison),
        report_sections.routing(run, figures),
        report_router.unlabelled(run),
        report_router.regret(run, figures),
        report_router.values(run),
        report_sections.training(figures),
        to_html(report_audits.audit_sections(run)),
        report_averages.across_languages(comparison),
        report_averages.diversity(comparison),
        report_browsers.flips(comparison),
        report_browsers.rollouts(run.rollouts),
        tag("h2", "What was not measured"),
        items(words.not_measured(run, comparison)),
        to_html([*setup[1:], report_checklist.section(run, comparison), report_setup.commands(run)]),
        tag("h2", "How it was made"),
        report_sections.reproduce(run),
    ]
    page = Template(_template("report.html"))
    return page.substitute(
        title=escape(run.name),
        css=_template("report.css"),
        js=_template("report.js"),
        facts=report_sections.facts(run),
        body="\n".join(section for section in sections if section),
        version=escape(run.manifest.package_version or "(version unknown)"),
    )


def _lead(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    parts = []
    for task in comparison.tasks:
        first, *rest = words.headline(comparison, task)
        name = tag("span", escape(task), class_="task") if len(comparison.tasks) > 1 else ""
        parts.append(tag("p", name + escape(first), class_="lead"))
        if rest:
            parts.append(paragraph(" ".join(rest), "lead"))
    return "".join(parts)


def _compare(run: Run) -> tuple[Comparison | None, str]:
    if run.before is None or run.after is None:
        return None, ""
    try:
        return compare(run.before, run.after), ""
    except IncomparableResultsError as error:
        return None, str(error)


def _figures(run: Run, comparison: Comparison | None) -> dict[str, str]:
    """All figures that the run allows, by file name."""
    made: dict[str, str | None] = {}
    for task in comparison.tasks if comparison else ():
        assert comparison is not None
        if comparison.find(HEADLINE, task=task):
            made[f"deltas-{plots.file_name(task)}"] = plots.deltas(comparison, task=task)
    made["router"] = plots.router(run.router)
    made |= report_router.figures(run)
    keys = {key: None for row in run.train for key in row if key not in _NOT_CURVES}
    ordered = [*(key for key in _CURVES if key in keys), *(key for key in keys if key not in _CURVES)]
    curves = ((key, plots.curve(run.train, key)) for key in ordered)
    made |= dict([(f"train-{plots.file_name(key)}", svg) for key, svg in curves if svg][:_MAX_CURVES])
    return {name: svg for name, svg in made.items() if svg}


def _template(name: str) -> str:
    return (resources.files("lrpo_bench.results") / "templates" / name).read_text(encoding="utf-8")
