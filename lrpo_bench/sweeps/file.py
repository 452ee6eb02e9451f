"""A sweep file as a list of cells: every combination of a grid over one base configuration, plus named special cases.

    out: results/study
    base: {config: demo, train: {steps: 40}}   # a run configuration, over a file or a shipped one if `config` names it
    grid:
      train.method: [grpo, lrpo]               # dotted keys of a run configuration
      train.quota: {half: 4, most: 6}          # a mapping names its values
      seed: [0, 1, 2]
    cells:                                     # beside the grid: overrides of the base, once per seed of the grid
      hot: {train.learning_rate: 2.0e-3}
    names: {lrpo-fixed-uniform: uniform}       # shorter words for values in folder names

A cell's folder is named by its values, in the order of the grid and the seed last: `lrpo/half/seed0`.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lrpo_bench.config import RunConfig, parse_config
from lrpo_bench.config_files import load_config
from lrpo_bench.errors import ConfigError, UnknownNameError

CONFIGS, LOGS = "configs", "logs"
"""Folders of the sweep itself, beside its cells."""
_KEYS = ("base", "cells", "grid", "names", "out")
_SELF_NAMING = ("train.method", "model.name")
_SEED = "seed"
Point = tuple[tuple[str, Any, str], ...]
"""Dotted key, value, and how the value is called, for each axis."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a sweep."""

    name: str
    """Its folder below the sweep's, such as `lrpo/seed0`."""
    config: RunConfig

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.config.out

    @property
    def file_name(self) -> str:
        """The name as a single word, for its configuration and its log."""
        return self.name.replace("/", "-")


@dataclass(frozen=True, slots=True)
class Sweep:
    """All cells, in the order in which they are begun."""

    out: Path
    cells: tuple[Cell, ...]


def load_sweep(path: Path, out: Path | None = None) -> Sweep:
    """The sweep in a YAML file; `out` replaces the file's own."""
    values = load_config(path)
    return parse_sweep({**values, "out": out} if out is not None else values)


def parse_sweep(values: Mapping[str, Any]) -> Sweep:
    """The sweep that a mapping describes.

    Raises:
        ConfigError: for a wrong key or value, naming the cell; for cells that are alike or whose folders collide.
    """
    for key in values:
        if key not in _KEYS:
            raise UnknownNameError("sweep key", str(key), _KEYS)
    if not values.get("out"):
        raise ConfigError("a sweep needs `out`, the folder for its cells; give it in the file or as --out")
    out = Path(str(values["out"]))
    base = _base(_section(values, "base"))
    names = {str(key): str(word) for key, word in _section(values, "names").items()}
    points = [*_grid_points(_section(values, "grid"), names), *_special_points(values, names)]
    cells = []
    for name, point in points:
        config = copy.deepcopy(base)
        for key, value, _ in point:
            _assign(config, key, value)
        config["out"] = out / name
        try:
            cells.append(Cell(name, parse_config(config)))
        except ConfigError as error:
            raise ConfigError(f"cell {name!r}: {error}") from error
    _refuse_twins(cells)
    return Sweep(out, tuple(cells))


def cell_values(cell: Cell) -> dict[str, Any]:
    """The whole configuration of a cell as plain values, defaults included."""
    values: dict[str, Any] = json.loads(cell.config.model_dump_json())
    return values


def _base(section: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(section)
    name = given.pop("config", None)
    return _merged(load_config(Path(str(name))), given) if name is not None else given


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _grid_points(grid: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[str, Point]]:
    axes = [_axis(key, values, names) for key, values in sorted(grid.items(), key=lambda item: item[0] == _SEED)]
    for point in itertools.product(*axes) if axes else ():
        yield _name([word for _, _, word in point]), point


def _special_points(values: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[str, Point]]:
    grid = _section(values, "grid")
    seeds = _axis(_SEED, grid[_SEED], names) if _SEED in grid else [None]
    cells = _section(values, "cells")
    if not cells and not grid:
        raise ConfigError("a sweep needs `grid` (dotted keys with lists of values), `cells` or both")
    for name, overrides in cells.items():
        if not isinstance(overrides, Mapping):
            raise ConfigError(f"cells.{name} must be a mapping of dotted keys to values, got {overrides!r}")
        point: Point = tuple((str(key), value, "") for key, value in overrides.items())
        for seed in seeds if _SEED not in overrides else [None]:
            last = () if seed is None else (seed,)
            yield _name([*str(name).split("/"), *(word for _, _, word in last)]), (*point, *last)


def _axis(key: str, values: Any, names: Mapping[str, str]) -> list[tuple[str, Any, str]]:
    if isinstance(values, Mapping) and values:
        return [(key, value, str(word)) for word, value in values.items()]
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise ConfigError(f"grid.{key} must be a list of values, or a mapping of names to values, got {values!r}")
    return [(key, value, _word(key, value, names)) for value in values]


def _word(key: str, value: Any, names: Mapping[str, str]) -> str:
    """What a value is called, before what a folder name can not hold is replaced.

    Example:
        >>> _word("seed", 3, {}), _word("train.steps", 20, {}), _word("model.name", "embedded:low", {})
        ('seed3', 'steps-20', 'embedded:low')
    """
    parts = value if isinstance(value, list) else [value]
    if any(isinstance(part, (dict, list)) for part in parts):
        raise ConfigError(f"grid.{key}: {value!r} has no short name; write the values as a mapping of names to values")
    text = "-".join(str(part).lower() if isinstance(part, bool) else str(part) for part in parts)
    if text in names:
        return names[text]
    if key == _SEED:
        return f"seed{text}"
    return text.rstrip("/").rpartition("/")[2] if key in _SELF_NAMING else f"{key.rpartition('.')[2]}-{text}"


def _name(words: Sequence[str]) -> str:
    return "/".join(re.sub(r"[^\w.=+-]+", "-", word).strip("-.") or "cell" for word in words)


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    section = values
    for parent in parents:
        child = section.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"sweep key {key!r}: {parent!r} holds a value, not a section; vary it as a whole")
        section = child
    section[leaf] = copy.deepcopy(value)


def _section(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = values.get(key) or {}
    if not isinstance(section, Mapping):
        raise ConfigError(f"sweep key {key!r} must be a mapping, got {section!r}")
    return section


def _refuse_twins(cells: Sequence[Cell]) -> None:
    seen: dict[str, str] = {}
    folders = {cell.name for cell in cells}
    for cell in cells:
        inner = [str(parent) for parent in PurePosixPath(cell.name).parents if str(parent) in folders]
        if inner or cell.name.split("/")[0] in (CONFIGS, LOGS) or [c.name for c in cells].count(cell.name) > 1:
            other = inner[0] if inner else cell.name
            raise ConfigError(f"cell folder {cell.name!r} collides with {other!r}; rename it in `names` or `cells`")
        values = cell_values(cell)
        values.pop("out")
        twin = seen.setdefault(json.dumps(values, sort_keys=True), cell.name)
        if twin != cell.name:
            raise ConfigError(f"cells {twin!r} and {cell.name!r} are the same configuration; drop one")
