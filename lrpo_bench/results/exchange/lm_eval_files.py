"""Reading what lm-eval wrote: a results JSON and, beside it, a samples JSONL for each task.

Nothing is believed: each field that is used is checked, and an error names the file and the field in one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrpo_bench.errors import DataError
from lrpo_bench.results.files import storage_errors

_STAMP = re.compile(r"_(\d{4}-\d\d-\d\dT[\d.:-]+)\.json$")
_ROW: Mapping[str, type | tuple[type, ...]] = {
    "doc_id": int,
    "arguments": (dict, list),
    "resps": list,
    "filtered_resps": list,
    "filter": str,
}


@dataclass(frozen=True, slots=True)
class LmEvalResults:
    """One call of lm-eval."""

    file: Path
    results: Mapping[str, Any]
    """The whole results JSON."""
    samples: Mapping[str, list[dict[str, Any]]]
    """Rows of each task that has any, in the order of the file."""

    @property
    def tasks(self) -> list[str]:
        """Tasks with samples, in the order of the results."""
        return list(self.samples)


def read_lm_eval(path: Path) -> LmEvalResults:
    """The results at a path and the samples beside them.

    Args:
        path: `results_*.json`, or a folder in which there is one, at any depth.

    Raises:
        DataError: no such file, not lm-eval's, cut off, or without samples.
    """
    file = _results_file(path)
    results = _json(file)
    if not isinstance(results, dict) or not all(isinstance(results.get(k), dict) for k in ("results", "configs")):
        raise DataError(f"{file} is not a results file of lm-eval: it has no 'results' and 'configs'")
    tasks = [name for name in results["results"] if name in results["configs"]]
    if not tasks:
        raise DataError(f"{file} has no task with a configuration")
    embedded = results.get("samples")
    if isinstance(embedded, dict):
        samples = {name: _checked(rows, f"{file}, samples of {name}") for name, rows in embedded.items()}
    else:
        samples = {name: _read_samples(file, name) for name in tasks}
    return LmEvalResults(file, results, samples)


def _results_file(path: Path) -> Path:
    if not path.exists():
        raise DataError(f"there is no file {path}")
    if path.is_file():
        return path
    found = sorted(path.rglob("results_*.json"))
    if len(found) != 1:
        shown = ", ".join(file.relative_to(path).as_posix() for file in found[:3])
        raise DataError(f"{path} holds {len(found)} files results_*.json; name one{f': {shown} ...' if found else ''}")
    return found[0]


def _read_samples(results: Path, task: str) -> list[dict[str, Any]]:
    stamp = _STAMP.search(results.name)
    name = f"samples_{task}_{stamp[1]}.jsonl" if stamp else f"samples_{task}_*.jsonl"
    found = sorted(results.parent.glob(name))
    if len(found) != 1:
        problem = f"{len(found)} files" if found else "no file"
        raise DataError(
            f"{results} has {problem} {name} beside it; run lm-eval with --log_samples, or keep its files together"
        )
    with storage_errors(found[0], "read"):
        text = found[0].read_text(encoding="utf-8", errors="replace")
    rows = []
    for number, line in enumerate(text.split("\n"), 1):  # `splitlines` would also cut at U+2028
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise DataError(f"{found[0]}:{number}: not JSON ({error}); the file may be cut off") from None
    return _checked(rows, str(found[0]))


def _checked(rows: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{where}: no samples")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{where}:{number}: expected a JSON object, got {type(row).__name__}")
        for field, kind in _ROW.items():
            if not isinstance(row.get(field), kind) or isinstance(row.get(field), bool):
                raise DataError(f"{where}:{number}: not a sample of lm-eval: {field!r} is {row.get(field)!r:.60}")
    return rows


def _json(file: Path) -> Any:
    with storage_errors(file, "read"):
        content = file.read_bytes()
    try:
        return json.loads(content)
    except ValueError as error:
        raise DataError(f"{file}: not JSON ({error}); it may be cut off, or not be a results file of lm-eval") from None
