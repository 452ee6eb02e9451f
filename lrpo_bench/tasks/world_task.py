"""Tasks whose rows the embedded world makes: the same problem in every language, with a written answer.

A row has `id` (the problem's, the same in all languages), `question`, `reference` (a full answer) and `gold` (what is
compared). A task adds what it needs: `sample` checks every column of `columns`, and a subclass extends its result.
"""

from __future__ import annotations

from typing import ClassVar

from lrpo_bench.errors import DataError
from lrpo_bench.tasks.base import Row, Sample, Task


class WorldTask(Task):
    """A sample of a row; how responses are scored is the subclass's."""

    columns: ClassVar[tuple[str, ...]] = ("id", "question", "reference", "gold")
    """What no row may lack."""

    def sample(self, row: Row, lang: str, index: int) -> Sample:
        """The sample of one row."""
        name = self.info.name
        for key in self.columns:
            if not row.get(key):
                raise DataError(f"{name}, {lang} row {index}: {key!r} is missing or empty")
        return Sample(
            id=f"{name}/{lang}/{row['id']}",
            source_id=f"{name}/{row['id']}",
            lang=lang,
            question=row["question"],
            gold=row["gold"],
            topic=self.info.topic,
            reference=row["reference"],
        )
