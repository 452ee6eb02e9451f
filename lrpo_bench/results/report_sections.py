"""The sections of a report, each a function from values to HTML; an empty text where there is nothing to show."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from lrpo_bench.evaluation.observations import CELLS, cell_of, is_counted
from lrpo_bench.languages import LANGUAGES
from lrpo_bench.results.compare import HEADLINE, Comparison, Difference
from lrpo_bench.results.files import dumps
from lrpo_bench.results.html import (
    Cell,
    definitions,
    details,
    escape,
    figure,
    paragraph,
    table,
    tag,
)
from lrpo_bench.results.plots import file_name
from lrpo_bench.results.schema import Manifest, Run
from lrpo_bench.results.tables import differences_of, known
from lrpo_bench.results.words import SETS, metric_name, percent, point_interval, points

_MORE = ("accuracy", "fidelity", "lpr", "wpr", "lcpr", "consistency", "headroom_routed", "headroom_oracle")
"""What is shown beside the headline number, folded, where anything of it is known."""
_CELL_NAMES = {
    "right_in_language": "right, in the asked language",
    "right_in_other_language": "right, in another language",
    "right_language_unknown": "right, language unknown",
    "wrong_in_language": "wrong, in the asked language",
    "wrong_in_other_language": "wrong, in another language",
    "wrong_language_unknown": "wrong, language unknown",
    "not_attempted": "no answer",
    "truncated": "cut at the limit",
    "unscored": "not judged",
}


def status_banner(manifest: Manifest, refusal: str) -> str:
    """A warning where the run did not end well."""
    texts = []
    if manifest.status == "failed":
        texts.append(f"This run failed: {manifest.reason} What follows is what it had stored by then.")
    elif manifest.status == "running":
        texts.append("This run is not finished: it is still running, or was stopped. Run the same command to continue.")
    if refusal:
        texts.append(f"The two evaluations were not compared: {refusal}")
    return "".join(paragraph(text, "banner") for text in texts)


def facts(run: Run) -> str:
    """One line on what was run."""
    evaluation = run.after or run.before
    parts = [run.manifest.status, run.manifest.created_at]
    if evaluation is not None:
        langs = {record.rollout_lang for record in evaluation.records}
        parts += [", ".join(sorted(evaluation.signature.tasks)), f"{len(langs)} languages"]
    seeds = run.manifest.seeds
    parts += [f"seed {', '.join(str(seed) for seed in dict.fromkeys(seeds.values()))}"] if seeds else []
    return paragraph(" · ".join(part for part in parts if part), "facts")


def per_language(comparison: Comparison | None, figures: Mapping[str, str]) -> str:
    """Tables and plots of the change per language, a block a task."""
    if comparison is None:
        return ""
    parts = [tag("h2", "Language by language")]
    for task in comparison.tasks:
        if len(comparison.tasks) > 1:
            parts.append(tag("h3", escape(task)))
        parts.append(_change_table(comparison, HEADLINE, task))
        svg = next((svg for name, svg in figures.items() if name == f"deltas-{file_name(task)}"), None)
        if svg:
            caption = (
                "Change in accuracy in the asked language, in points. A filled dot has an interval that excludes zero; "
                "diamonds are averages."
            )
            parts.append(figure(svg, caption))
        for metric in _MORE:
            if known(comparison, metric, task):
                parts.append(details(metric_name(metric), _change_table(comparison, metric, task)))
    parts.append(
        paragraph(
            "Intervals are at 95% and cluster by source question, since translations are not independent. "
            '"Clear" also holds after Holm\'s correction over the languages. "Detectable" is the smallest true change '
            "that would have been found four times out of five.",
            "note",
        )
    )
    return "".join(parts)


def outcomes(run: Run, comparison: Comparison | None) -> str:
    """Bars of where responses fall, before and after, and what the headline change is made of."""
    counts = {e.label: _cells_by_language(e.records) for e in (run.before, run.after) if e is not None}
    langs = sorted({lang for by_lang in counts.values() for lang in by_lang})
    if not langs:
        return ""
    bars = []
    for lang in langs:
        bars.append(tag("span", _language(lang), class_="name", style=f"grid-row: span {len(counts)}"))
        bars += [_bar(label, by_lang.get(lang, Counter())) for label, by_lang in counts.items()]
    present = [c for c in CELLS if any(n[c] for by_lang in counts.values() for n in by_lang.values())]
    key = tag("ul", "".join(_key_item(cell) for cell in present), class_="key", style="list-style:none")
    caption = f"Upper bar {', lower bar '.join(counts)}. Hover over a part for its share."
    parts = [tag("h2", "Right, and in the asked language?"), key, tag("div", "".join(bars), class_="bars")]
    parts += [paragraph(caption, "note"), _decomposition(comparison)]
    return "".join(parts)


def routing(run: Run, figures: Mapping[str, str]) -> str:
    """The router's distribution over steps, and what it had learned per context at the end."""
    if "router" not in figures:
        return ""
    parts = [tag("h2", "What the router did")]
    parts.append(figure(figures["router"], "Probability of each language, averaged over the batch, by training step."))
    last = next(
        (row for row in reversed(run.router) if isinstance(row.get("contexts"), Mapping) and row["contexts"]), None
    )
    if last is not None:
        parts += [tag("h3", escape(f"By topic and region, at step {last.get('step')}")), _contexts(last["contexts"])]
    return "".join(parts)


def training(figures: Mapping[str, str]) -> str:
    """Curves of what training logged."""
    curves = [svg for name, svg in figures.items() if name.startswith("train-")]
    return tag("h2", "Training") + tag("div", "".join(curves), class_="curves") if curves else ""


def reproduce(run: Run) -> str:
    """State of the code, versions, hashes and configuration."""
    m = run.manifest
    commit = m.git.get("commit")
    state = " with uncommitted changes" if m.git.get("dirty") else ""
    pairs: dict[str, object] = {
        "code": f"{commit}{state}" if commit else "not in a git repository",
        "config": m.config_hash,
        **{f"hash of {name}": value for name, value in m.hashes.items()},
        **{f"seed {name}": value for name, value in m.seeds.items()},
        "python": f"{m.python}, {m.platform}",
        "hardware": ", ".join(f"{key} {value}" for key, value in m.hardware.items() if value not in (None, [])),
        "packages": ", ".join(f"{name} {version}" for name, version in m.versions.items() if version),
        "finished": m.finished_at or "not yet",
    }
    parts = [definitions(pairs)]
    if m.resumed:
        parts.append(details(f"Continued {len(m.resumed)} times", tag("pre", escape(dumps(list(m.resumed), indent=1)))))
    parts.append(details("Configuration", tag("pre", escape(dumps(dict(m.config), indent=1)))))
    return "".join(parts)


def _change_table(comparison: Comparison, metric: str, task: str) -> str:
    rows: list[tuple[str, Sequence[Cell]]] = []
    previous_average = False
    for d in differences_of(comparison, metric, task):
        class_ = "average" + ("" if previous_average else " first-average") if d.is_average else ""
        previous_average = d.is_average
        count, unknown = str(d.change.n), str(d.change.n_unscored) if d.change.n_unscored else ""
        cells: list[Cell] = [_language_text(d.language), percent(d.before), percent(d.after)]
        cells += [
            (points(d.change.value), tone(d)),
            point_interval(d.change),
            (verdict(d), tone(d)),
            count,
            (unknown, "dim"),
        ]
        rows.append((class_, [*cells, (points(d.detectable).lstrip("+"), "dim")]))
    header = (
        metric_name(metric),
        "before",
        "after",
        "change, points",
        "95% interval",
        "",
        "pairs",
        "unknown",
        "detectable",
    )
    return table(header, rows)


def tone(d: Difference) -> str:
    """The style of a change: for the better, for the worse, or undecided."""
    return "dim" if not d.change.excludes_zero else "gain" if d.change.value > 0 else "loss"


def verdict(d: Difference) -> str:
    """A change in a word."""
    if math.isnan(d.change.value):
        return "unknown"
    if not d.change.excludes_zero:
        return "undecided"
    return ("up" if d.change.value > 0 else "down") + (", clear" if d.is_real else "")


def _cells_by_language(records: Sequence[Any]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        if is_counted(record):
            counts[record.rollout_lang][cell_of(record)] += 1
    return counts


def _bar(label: str, counts: Counter[str]) -> str:
    total = counts.total()
    shares = [(cell, counts[cell] / total) for cell in CELLS if counts[cell]] if total else []
    spoken = ", ".join(f"{_CELL_NAMES[cell]} {percent(share)}" for cell, share in shares) or "no responses"
    spans = "".join(
        tag(
            "span",
            "",
            class_=f"c-{cell}",
            style=f"width:{100 * share:.3f}%",
            title=f"{_CELL_NAMES[cell]} {percent(share)}",
        )
        for cell, share in shares
    )
    return tag("div", spans, class_=f"bar {label}", role="img", aria_label=f"{label}: {spoken}")


def _key_item(cell: str) -> str:
    return tag("li", tag("i", "", class_=f"c-{cell}") + escape(_CELL_NAMES[cell]))


def _decomposition(comparison: Comparison | None) -> str:
    if comparison is None or not comparison.decompositions:
        return ""
    many = len(comparison.tasks) > 1
    rows = []
    for part in comparison.decompositions:
        name = (f"{part.task}, " if many else "") + _language_text(part.language)
        cells = [name, points(part.total)]
        for change in (part.more_correct, part.right_language):
            cells += [points(change.value), point_interval(change)]
        rows.append(("average" if part.language in SETS else "", cells))
    header = (
        "What the change is made of, points",
        "change",
        "more correct",
        "95%",
        "same answer, right language",
        "95%",
    )
    return table(header, rows)


def _contexts(contexts: Mapping[str, Mapping[str, Any]]) -> str:
    langs = sorted({lang for arms in contexts.values() for lang in arms})
    rows = []
    for name in sorted(contexts):
        topic, _, region = name.partition("|")
        label = f"{topic}, {region.replace('_', ' ')}" if region else topic
        cells = "".join(_heat(contexts[name].get(lang)) for lang in langs)
        rows.append(tag("tr", tag("td", escape(label)) + cells))
    head = tag("tr", "".join(tag("th", escape(name), scope="col") for name in ("context", *langs)))
    return tag("div", tag("table", tag("thead", head) + tag("tbody", "".join(rows))), class_="scroll")


def _heat(value: Any) -> str:
    if not isinstance(value, (int, float)):
        return tag("td", "—", class_="heat")
    strength = round(min(1.0, max(0.0, float(value))) * 70)
    style = f"background:color-mix(in srgb, var(--right-in) {strength}%, transparent)"
    return tag("td", f"{value:.2f}", class_="heat", style=style)


def _language_text(code: str) -> str:
    if code in SETS:
        return f"Average, {SETS[code]}"
    known = LANGUAGES.get(code)
    return f"{known.name} ({code})" if known else code


def _language(code: str) -> str:
    known = LANGUAGES.get(code)
    return f"{escape(known.name)} {tag('span', escape(code), class_='code')}" if known else escape(code)
