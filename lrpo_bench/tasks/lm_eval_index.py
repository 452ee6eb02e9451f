"""Finding lm-eval's task definitions by name, and the language of each.

    lm_eval:xnli_de              one task; its language comes from its metadata, its data set's name or its own name
    lm_eval:hellaswag@en         one task whose name does not say its language
    lm_eval:xnli_{lang}          one task a language, as one benchmark whose questions are parallel
    lm_eval:./my_task.yaml@sw    a definition of your own

`{lang}` takes the tasks of one data set, the one that most of them share. Nothing here loads data. lm-eval's own index
parses 14,000 files and takes ten seconds, so the files' text is searched first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import lm_eval.tasks
from lm_eval.tasks._index import Kind, TaskIndex
from lm_eval.tasks._yaml_loader import load_yaml

from lrpo_bench.errors import ConfigError, UnknownNameError
from lrpo_bench.languages import Language, language, parse_language

PREFIX = "lm_eval:"
_SLOT = "{lang}"
_CODE = re.compile(r"[a-z]{2,3}([-_][A-Z][a-z]{3})?(-[A-Z]{2})?")
_STRUCTURE = ("tag", "group", "task_list")  # keys of the index, not of the task


@dataclass(frozen=True, slots=True)
class Definition:
    """One task of lm-eval."""

    name: str
    lang: str
    config: dict[str, Any]
    """Its YAML with includes and functions resolved."""


def find_definitions(reference: str) -> list[Definition]:
    """The definitions that a reference stands for, one a language, by language.

    Raises:
        UnknownNameError: for a task that lm-eval does not have.
        ConfigError: for a group, a task in Python code, or a language that can not be told.
    """
    name, _, given = reference.removeprefix(PREFIX).partition("@")
    if _SLOT not in name:
        config = _load(_find_file(name))
        return [Definition(name, _language(reference, name, config, given), config)]
    if given:
        raise ConfigError(f"{reference!r} names its languages twice; leave out {_SLOT} or @{given}")
    return [
        Definition(_task_name(file), code, _load(file)) for code, file in sorted(_files_by_language(reference, name))
    ]


def _files_by_language(reference: str, template: str) -> Iterator[tuple[str, Path]]:
    """One file a language; of two spellings of one language the one in its main script."""
    before, _, after = template.partition(_SLOT)
    files = _files_named(f"{re.escape(before)}([A-Za-z_-]+){re.escape(after)}")
    found: dict[str, dict[str, Path]] = {}
    for name, file in _of_one_data_set(reference, files).items():
        spelling = name[len(before) : len(name) - len(after)]
        parsed = _parse(spelling)
        if parsed is not None:
            found.setdefault(parsed.code, {})[spelling] = file
    if not found:
        raise UnknownNameError("lm-eval task", template, [name for name in _index() if name.startswith(before)])
    for code, spellings in found.items():
        main = [file for spelling, file in spellings.items() if spelling.endswith(language(code).script)]
        if len(spellings) > 1 and len(main) != 1:
            raise ConfigError(f"{reference!r}: several tasks are in {code!r}: {', '.join(sorted(spellings))}; name one")
        yield code, (main or list(spellings.values()))[0]


def _of_one_data_set(reference: str, files: dict[str, Path]) -> dict[str, Path]:
    """The files of the data set that most of them share: later benchmarks add languages of other origin."""
    paths = {name: str(load_yaml(file, resolve_func=False).get("dataset_path")) for name, file in files.items()}
    sources = {name: path.rpartition("/")[2] for name, path in paths.items()}  # CohereForAI is now CohereLabs
    counts = Counter(sources.values()).most_common(2)
    if len(counts) == 2 and counts[0][1] == counts[1][1]:
        raise ConfigError(
            f"{reference!r} stands for tasks of several data sets: {counts[0][0]}, {counts[1][0]}; name one"
        )
    return {name: file for name, file in files.items() if sources[name] == counts[0][0]}


def _language(reference: str, name: str, config: dict[str, Any], given: str) -> str:
    if given:
        return parse_language(given).code
    codes = languages_named(name, config)
    if len(codes) != 1:
        said = f"says {', '.join(sorted(codes))}" if codes else "does not say it"
        raise ConfigError(f"which language is lm-eval task {name!r} in? Its name {said}; write {PREFIX}{name}@en or so")
    return codes.pop()


def languages_named(name: str, config: Mapping[str, Any]) -> set[str]:
    """Languages that a task's metadata names, or else its data set's name and its own; one where it is clear.

    Example:
        >>> languages_named("mgsm_direct_sw", {}), languages_named("hellaswag", {})
        ({'sw'}, set())
    """
    metadata = config.get("metadata")
    for key in ("language", "lang"):
        if isinstance(metadata, dict) and metadata.get(key):
            return {parse_language(str(metadata[key])).code}
    parts = re.split(r"[_.-]", Path(name).stem)
    # "mlqa_ar_en" names two languages, and which one the answer is in is not for us to guess
    candidates = [str(config.get("dataset_name") or ""), "_".join(parts[-2:]), *parts[-2:]]
    return {found.code for found in map(_parse, candidates) if found is not None}


def _parse(spelling: str) -> Language | None:
    """The language of a code such as `de`, `deu_Latn`, `zh-CN`, or of a whole name such as `German`; None otherwise."""
    if not (_CODE.fullmatch(spelling) or (spelling.istitle() and spelling.replace(" ", "").isalpha())):
        return None
    try:
        return parse_language(spelling)
    except UnknownNameError:
        return None


def _find_file(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"lm-eval task file {name} does not exist")
        return path
    file = _files_named(re.escape(name)).get(name)
    if file is not None:
        return file
    entry = _index().get(name)
    if entry is None:
        raise UnknownNameError("lm-eval task", name, _index(), 'run "lm-eval ls tasks"')
    if entry.kind is not Kind.TASK or entry.yaml_path is None:
        kind = entry.kind.name.lower().replace("_", " ")
        raise ConfigError(
            f"{name!r} is a {kind} of lm-eval, not a task in YAML; name one task, or one a language as in "
            f"{PREFIX}xnli_{_SLOT}"
        )
    return Path(entry.yaml_path)


@cache
def _files_named(pattern: str) -> dict[str, Path]:
    """Task name -> file, of the files that state a task whose name fits the pattern; the first file counts."""
    stated = re.compile(rf"""^task:[ \t]*(["']?)({pattern})\1[ \t]*(?:#.*)?$""".encode(), re.MULTILINE)
    root = Path(lm_eval.tasks.__file__).parent
    found: dict[str, Path] = {}
    for file in sorted(root.rglob("*.yaml"), key=lambda path: path.as_posix()):
        match = stated.search(file.read_bytes())
        if match:
            found.setdefault(match[2].decode(), file)
    return found


def _task_name(file: Path) -> str:
    return str(load_yaml(file, resolve_func=False)["task"])


@cache
def _index() -> dict[str, Any]:
    return TaskIndex.build([Path(lm_eval.tasks.__file__).parent])


def _load(file: Path) -> dict[str, Any]:
    try:
        config = load_yaml(file, resolve_func=True)
    except ModuleNotFoundError as error:
        raise ConfigError(f"lm-eval task {file.stem!r} needs the package {error.name!r}; install it first") from error
    except Exception as error:  # YAML with functions: whatever its Python file raises
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{file}: lm-eval can not read this task ({first})") from error
    return {key: value for key, value in config.items() if key not in _STRUCTURE}
