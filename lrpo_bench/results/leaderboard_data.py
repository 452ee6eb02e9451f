"""The numbers of a leaderboard: rows of models x methods, for each task and set of languages.

Every number is over seeds and questions with its interval (`results.seeds`), ranks have intervals (`results.ranks`),
and what is missing is a cell with a reason: an average that needs a missing part is missing too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lrpo_bench.languages import LANGUAGES
from lrpo_bench.results.collection import Collection, Missing, RunGroup, below, collect
from lrpo_bench.results.costs import Spread, costs_of, device_of
from lrpo_bench.results.leaderboard_cells import MAIN, Numbers, ranks_of
from lrpo_bench.results.ranks import Rank
from lrpo_bench.results.seeds import SeedEstimate
from lrpo_bench.results.sweep_summary import ALL_TASKS

_SCRIPTS = {
    "Arab": "Arabic", "Beng": "Bengali", "Cyrl": "Cyrillic", "Deva": "Devanagari", "Grek": "Greek", "Hans": "Chinese",
    "Hani": "Chinese", "Hebr": "Hebrew", "Jpan": "Japanese", "Kore": "Korean", "Latn": "Latin", "Taml": "Tamil",
    "Telu": "Telugu", "Thai": "Thai",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LanguageSet:
    """Something a reader can ask for: an average, the languages of a script, one language."""

    key: str
    label: str
    kind: str
    """`average`, `script` or `language`."""


@dataclass(frozen=True, slots=True)
class Row:
    """A model and method, over its seeds."""

    model: str
    method: str
    variant: str
    group: RunGroup | None
    """None where no run of it is complete."""
    missing: tuple[Missing, ...]
    """Runs of it that are not complete."""
    costs: Mapping[str, Spread | None]
    device: str

    @property
    def name(self) -> str:
        """Method and variant."""
        return f"{self.method} ({self.variant})" if self.variant else self.method


@dataclass(frozen=True, slots=True)
class Cell:
    """One row on one task and set of languages."""

    numbers: Mapping[str, SeedEstimate]
    """By metric; one that is missing has no entry."""
    rank: Rank | None
    missing: str
    """Why there is no main number; empty where there is one."""


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """All of it."""

    collection: Collection
    rows: tuple[Row, ...]
    tasks: tuple[str, ...]
    """Tasks, `all tasks` first where there are several that some run has all of."""
    sets: tuple[LanguageSet, ...]
    cells: Mapping[tuple[int, str, str], Cell]
    """By row, task and key of the set."""
    trained: tuple[str, ...] | None
    """The languages that most rows were trained on: what their averages stand for in rows that were not trained."""
    notes: tuple[str, ...]

    def cell(self, row: int, task: str, languages: str) -> Cell:
        """A cell; an empty one where nothing was asked."""
        return self.cells.get((row, task, languages), Cell({}, None, "these languages are not in this task"))


def build_leaderboard(folder: Path | str) -> Leaderboard:
    """The leaderboard of all runs below a folder."""
    collection = collect(folder, draws=True)
    rows = _rows(collection)
    tasks = collection.tasks
    shown = (ALL_TASKS, *tasks) if len(tasks) > 1 and _some_run_has(tasks, collection) else tasks
    sets = tuple(_language_sets(collection))
    trained = _usual_training(collection)
    cells: dict[tuple[int, str, str], Cell] = {}
    numbers = Numbers(collection)
    for task in shown:
        members = {name: languages_of(collection, name) for name in (tasks if task == ALL_TASKS else (task,))}
        for languages in sets:
            found = _cells(numbers, rows, members, languages.key, trained)
            cells |= {(i, task, languages.key): cell for i, cell in found.items()}
    return Leaderboard(collection, rows, shown, sets, cells, trained, tuple(_notes(collection, rows, trained)))


def _some_run_has(tasks: tuple[str, ...], collection: Collection) -> bool:
    """Whether a mean over all tasks exists for anyone; a view in which every cell is missing is not worth opening."""
    runs = (run for group in collection.groups for run in group.runs)
    return any({task for task, _ in (*run.before, *run.after)} >= set(tasks) for run in runs)


def _rows(collection: Collection) -> tuple[Row, ...]:
    rows = []
    placed: set[Path] = set()
    for group in collection.groups:
        missing = tuple(m for m in collection.missing if m.key == group.key)
        placed |= {m.path for m in missing}
        costs, device = costs_of(group.runs), device_of(group.runs)
        rows.append(Row(group.model, group.method, group.variant, group, missing, costs, device))
    for key in dict.fromkeys(m.key for m in collection.missing if m.path not in placed):
        alike = tuple(m for m in collection.missing if m.key == key)
        rows.append(Row(alike[0].model, alike[0].method, "", None, alike, costs_of(()), ""))
    return tuple(rows)


def _language_sets(collection: Collection) -> Iterable[LanguageSet]:
    languages = sorted({lang for task in collection.tasks for lang in languages_of(collection, task)})
    yield LanguageSet("avg:all", "All languages", "average")
    if any(group.trained for group in collection.groups):
        yield LanguageSet("avg:trained", "Trained languages", "average")
        yield LanguageSet("avg:heldout", "Held-out languages", "average")
    scripts = sorted({LANGUAGES[lang].script for lang in languages if lang in LANGUAGES})
    for script in scripts if len(scripts) > 1 else ():
        yield LanguageSet(f"script:{script}", f"{_SCRIPTS.get(script, script)} script", "script")
    for lang in languages:
        yield LanguageSet(lang, f"{LANGUAGES[lang].name} ({lang})" if lang in LANGUAGES else lang, "language")


def languages_of(collection: Collection, task: str) -> tuple[str, ...]:
    """Languages of a task: the same for all runs that asked it alike."""
    for group in collection.groups:
        for run in group.runs:
            for (name, _), seen in run.after.items():
                if name == task:
                    return tuple(sorted(set(seen.languages)))
    return ()


def _usual_training(collection: Collection) -> tuple[str, ...] | None:
    counts = Counter(group.trained for group in collection.groups if group.trained)
    return min(counts, key=lambda langs: (-counts[langs], langs)) if counts else None


def _chosen(key: str, languages: Sequence[str], trained: Iterable[str] | None) -> tuple[str, ...]:
    """The languages of a task that a set stands for."""
    if key == "avg:all":
        return tuple(languages)
    if key in ("avg:trained", "avg:heldout"):
        wanted = frozenset(trained or ())
        return tuple(lang for lang in languages if trained is not None and (lang in wanted) == (key == "avg:trained"))
    if key.startswith("script:"):
        script = key.removeprefix("script:")
        return tuple(lang for lang in languages if lang in LANGUAGES and LANGUAGES[lang].script == script)
    return tuple(lang for lang in languages if lang == key)


def _cells(
    numbers: Numbers,
    rows: Sequence[Row],
    tasks: Mapping[str, tuple[str, ...]],
    languages: str,
    usual: tuple[str, ...] | None,
) -> dict[int, Cell]:
    """The cells of all rows on some tasks (with their languages) and one set of languages."""
    cells, tables = {}, {}
    for i, row in enumerate(rows):
        trained = (row.group.trained if row.group else None) or usual
        chosen = {task: _chosen(languages, langs, trained) for task, langs in tasks.items()}
        if not all(chosen.values()):
            continue  # the set is not in every task
        found, table = numbers.of(row.group, chosen) if row.group else ({}, None)
        cells[i] = Cell(found, None, "" if MAIN in found else _why_missing(row, tuple(tasks)))
        comparable = trained == usual or languages not in ("avg:trained", "avg:heldout")
        if table is not None and comparable:
            tables[i] = table
    ranks = ranks_of({i: row.group for i, row in enumerate(rows) if row.group}, tables)
    return {i: Cell(cell.numbers, ranks.get(i), cell.missing) for i, cell in cells.items()}


def _why_missing(row: Row, tasks: Sequence[str]) -> str:
    if row.group is None:
        reasons = "; ".join(dict.fromkeys(f"{m.status}{f': {m.reason}' if m.reason else ''}" for m in row.missing))
        return f"no complete run ({reasons})"
    if not row.group.runs[0].after:
        return "not evaluated"
    had = {task for task, _ in row.group.runs[0].after}
    lacking = [task for task in tasks if task not in had]
    return f"not evaluated on {', '.join(lacking)}" if lacking else "nothing known"


def _notes(collection: Collection, rows: Sequence[Row], usual: tuple[str, ...] | None) -> Iterable[str]:
    yield from collection.notes
    single = [f"{row.name} on {row.model}" for row in rows if row.group and len(row.group.runs) == 1]
    if single:
        yield f"one seed only, so intervals and ranks are over questions alone: {', '.join(single)}"
    for row in rows:
        if row.group and row.group.trained and row.group.trained != usual:
            yield (
                f"{row.name} on {row.model} was trained on {', '.join(row.group.trained)}, the others on "
                f"{', '.join(usual or ())}: its averages over trained and held-out languages are not ranked"
            )
        for m in row.missing:
            reason = f" ({m.reason})" if m.reason else ""
            yield f"{below(collection.folder, m.path)} is {m.status}{reason} and counts for nothing here"
