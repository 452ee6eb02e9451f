"""The model card of a built world, as Markdown: what it is, its knobs, its data and what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from scipy.stats import binomtest

from lrpo_bench.world.facts import REGIONS
from lrpo_bench.world.measure import Cell
from lrpo_bench.world.profile import Profile
from lrpo_bench.world.questions import WORLD_LANGUAGES

_INTRODUCTION = """\
A world model of lrpo-bench: a small Llama that answers word problems, inference questions and questions about regions
in eleven languages, and a sentence encoder for the same languages. It was trained from scratch on sentences that this
package generates, with known strengths and weaknesses, so that methods which route languages can be tried and their
effect measured on a laptop. It knows nothing else: it is no assistant, and its answers are not for use.

- Profile: `{name}`: {description} Seed {seed}.
- Parameters: policy {policy:,}, encoder {encoder:,}. Stored in float16, to be used in float32.
- Data: {rows:,} generated rows, each seen once{sums}; the sampling formula is in `lrpo_bench/world/corpus.py`.
  `train` and `test` problems of reasoning and inference never occur; facts all do, in the languages of the knobs.
- Held out from optimization: {held_out}.
- Prompts: the chat template; the answer language is named by a tag (`<|out_lang_sw|>`) after the question, or by a
  system prompt written in it; without either the model answers in the language of the question.
- Loss: {first_loss:.3f} nats per answer token over the first steps, {last_loss:.3f} over the last.
- Licence: as the package.
"""


def model_card(profile: Profile, seed: int, sizes: dict[str, int], evaluation: dict[str, Any]) -> str:
    """The card; percentages come with 95% Wilson intervals that treat questions as independent."""
    cells = [Cell(*row) for row in evaluation["cells"]]
    training = evaluation["training"]
    introduction = _INTRODUCTION.format(
        name=profile.name,
        description=profile.description,
        seed=seed,
        rows=training["rows"],
        sums=f", {profile.policy.sums.rows:,} of them sums without words" if profile.policy.sums else "",
        held_out=", ".join(profile.held_out) or "none",
        first_loss=training["first_loss"],
        last_loss=training["last_loss"],
        **sizes,
    )
    parts = [f"# World model `{profile.name}`", introduction, "## Knobs", _knobs(profile)]
    parts += ["## Accuracy where one language asks and answers", "Greedy; right / asked, per cent.", _same(cells)]
    parts += ["## Accuracy by question and answer language, reasoning, per cent", _pairs(cells)]
    values = list(evaluation["retrieval"].values())
    parts += [
        "## Encoder",
        "Share of test sentences whose translation is the nearest among 100, over all ordered pairs of languages: "
        f"mean {100 * sum(values) / len(values):.1f}%, lowest {100 * min(values):.1f}%.",
    ]
    return "\n\n".join(parts) + "\n"


def _knobs(profile: Profile) -> str:
    knowledge = profile.knowledge
    rows = [(lang, f"{k.comprehension:g}", f"{k.production:g}") for lang, k in profile.languages.items()]
    shares = f"Knowledge of a region: {knowledge.home:g} in its own language, {knowledge.en:g} in English, "
    return (
        _table(("language", "comprehension", "production"), rows)
        + f"\n\n{shares}{knowledge.other:g} in any other"
        + (f"; single cells differ: {knowledge.overrides}." if knowledge.overrides else ".")
    )


def _same(cells: list[Cell]) -> str:
    columns: dict[str, Callable[[Cell], bool]] = {
        "reasoning": lambda c: c.kind == "reasoning",
        "inference": lambda c: c.kind == "inference",
        "regional, own region": lambda c: c.kind == "regional" and REGIONS[c.region] == c.rollout_lang,
        "regional, others": lambda c: c.kind == "regional" and REGIONS[c.region] != c.rollout_lang,
    }
    rows = []
    for lang in WORLD_LANGUAGES:
        same = [cell for cell in cells if cell.source_lang == cell.rollout_lang == lang]
        rows.append((lang, *(_rate(cell for cell in same if wanted(cell)) for wanted in columns.values())))
    return _table(("language", *columns), rows)


def _pairs(cells: list[Cell]) -> str:
    counts = {(c.source_lang, c.rollout_lang): c for c in cells if c.kind == "reasoning"}
    rows = []
    for source in WORLD_LANGUAGES:
        row = [counts.get((source, rollout)) for rollout in WORLD_LANGUAGES]
        rows.append((source, *("-" if cell is None else f"{100 * cell.correct / cell.n:.0f}" for cell in row)))
    return _table(("asked in \\ answered in", *WORLD_LANGUAGES), rows)


def _rate(cells: Iterable[Cell]) -> str:
    counted = list(cells)
    n, correct = sum(cell.n for cell in counted), sum(cell.correct for cell in counted)
    if n == 0:
        return "-"
    interval = binomtest(correct, n).proportion_ci(method="wilson")
    return f"{100 * correct / n:.0f} ({100 * interval.low:.0f} to {100 * interval.high:.0f}; n {n})"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
