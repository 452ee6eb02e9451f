"""lm-eval's samples as records: one greedy response each, with lm-eval's judgement."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

from lrpo_bench.errors import DataError
from lrpo_bench.evaluation.records import CHOICE_REASON, ResponseRecord
from lrpo_bench.results.exchange.lm_eval_tasks import ImportOptions, TaskRows

NOT_DETECTED = "imported without a language detector"
INVALID = "[invalid]"
"""What lm-eval's filters give where they find no answer."""


def records_of(task: TaskRows, options: ImportOptions) -> Iterator[ResponseRecord]:
    """A record for each sample of the task, its language not judged yet."""
    for row in task.rows:
        yield _record(task, row, options.parallel and options.join is not None)


def _record(task: TaskRows, row: Mapping[str, Any], parallel: bool) -> ResponseRecord:
    where = f"task {task.theirs}, doc_id {row['doc_id']}"
    doc = row["doc"] if isinstance(row.get("doc"), dict) else {}
    number = row["doc_id"]
    own = f"{task.name}/{task.lang}/{number}"
    prompt, completion, read, ranking = _response(task, row, where)
    score, outcome, reason = _score(row.get(task.metric), read)
    question = doc.get("question")
    return ResponseRecord(
        task=task.name,
        sample_id=str(doc.get("sample_id") or own),
        source_id=str(doc.get("source_id") or (f"{task.name}/{number}" if parallel else own)),
        source_lang=task.lang,
        rollout_lang=task.lang,
        topic=str(doc.get("topic") or ""),
        regions=tuple(map(str, doc.get("regions") or ())),
        prompt=prompt,
        question=question if isinstance(question, str) else prompt,
        gold=str(row.get("target", "")),
        completion=completion,
        k=0,
        n_tokens=None,
        finish_reason="unknown",
        prompt_truncated=False,
        score=score,
        outcome=outcome,  # type: ignore[arg-type]
        answer=read,
        reason=reason,
        detected_lang=None,
        language_ok=None,
        language_reason=CHOICE_REASON if task.kind == "choice" else NOT_DETECTED,
        ranking=ranking,
    )


def _response(task: TaskRows, row: Mapping[str, Any], where: str) -> tuple[str, str, str | None, tuple[int, ...]]:
    """The prompt, the response or chosen option, the answer that was read, and the order of the options."""
    arguments = row["arguments"]
    requests = [
        list(r.values()) if isinstance(r, dict) else list(r)
        for r in (arguments.values() if isinstance(arguments, dict) else arguments)
    ]
    if not requests or not requests[0] or not isinstance(requests[0][0], str):
        raise DataError(f"{where}: 'arguments' hold no prompt")
    filtered = row["filtered_resps"]
    if task.kind == "generate":
        try:
            completion = str(row["resps"][0][0])
        except (IndexError, KeyError, TypeError):
            raise DataError(f"{where}: 'resps' hold no response") from None
        read = str(filtered[0]) if filtered else None
        return requests[0][0], completion, None if read == INVALID else read, ()
    try:
        logps = [float(pair[0]) for pair in filtered]
    except (TypeError, ValueError, IndexError):
        logps = []
    if len(logps) == len(requests) and not any(map(math.isnan, logps)):
        ranking = tuple(sorted(range(len(logps)), key=lambda i: -logps[i]))
        chosen = str(requests[ranking[0]][1])
        return requests[0][0], chosen, str(ranking[0]), ranking
    # A file of ours holds the chosen option alone.
    return requests[0][0], str(requests[0][1]), str(filtered[0]) if filtered else None, ()


def _score(value: Any, read: str | None) -> tuple[float | None, str, str]:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
        return None, "unscored", f"lm-eval's value is {value!r:.40}, not a number from 0 to 1"
    reason = "lm-eval's filter found no answer" if read is None and value == 0 else ""
    return float(value), "correct" if value == 1 else "incorrect", reason
