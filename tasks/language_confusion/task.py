"""The Language Confusion Benchmark: prompts without a right answer, which ask how faithful a model is to a language.

`monolingual` prompts are written in the language that is wanted. `crosslingual` ones are in English and name it
themselves; a sample's `lang` is the language that is wanted then, too. Score and accuracy are unknown for all of them:
read `fidelity`, `lpr`, `wpr` and `lcpr`, and give `eval.word_list` for the words.

As the benchmark asks: `instruct: prompt`, since tags and system prompts would tell the model once more. Departures:
responses are decoded greedily (theirs: nucleus sampling, p .75, temperature .3), and the data's sources (aya, dolly,
okapi, ...) take turns, so that the first few questions are of all of them. `--data` takes the benchmark's `test_sets`
folder, or the one that holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path

from lrpo_bench.errors import DataError
from lrpo_bench.tasks.base import Row, Sample, Score, Task, TaskInfo
from lrpo_bench.tasks.local_files import read_file
from lrpo_bench.tasks.multiple_choice import text_of

NO_ANSWER = "there is no right answer: only the language counts"


class LanguageConfusion(Task):
    """Scores nothing; the evaluator judges the language."""

    parallel = False
    has_answers = False

    def __init__(self, info: TaskInfo, prompts: Mapping[str, Mapping[str, str]], variant: str | None = None) -> None:
        super().__init__(info, prompts, variant)
        # Nothing in English is asked across languages.
        self.info = replace(info, languages=tuple(lang for lang in info.languages if lang in prompts[self.variant]))

    def local_rows(self, lang: str, split: str, path: Path) -> Iterator[Row]:
        """The prompts of every source in turn."""
        place = next((p for p in (path / "test_sets" / self.variant, path / self.variant) if p.is_dir()), None)
        files = [] if place is None else sorted(place.glob(f"*/{lang}.csv"))
        if not files:
            raise DataError(f"no {self.variant} prompts in {lang!r} under {path}; looked for SOURCE/{lang}.csv there")
        turns = zip_longest(*map(read_file, files))
        yield from (row for row in chain.from_iterable(turns) if row is not None)

    def sample(self, row: Row, lang: str, index: int) -> Sample:
        where = f"language_confusion, {lang} row {index}"
        question = text_of(row, "prompt", where).strip()
        if row.get("language", lang) != lang:
            raise DataError(f"{where}: the row is in {row['language']!r}")
        name = f"language_confusion/{lang}/{self.variant}-{index}"
        return Sample(name, name, lang, question, gold="", topic=self.info.topic)

    def score(self, sample: Sample, completion: str, rollout_lang: str) -> Score:
        return Score.unscored(NO_ANSWER)


TASK = LanguageConfusion
