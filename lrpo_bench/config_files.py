"""Values of a configuration from YAML files and `--set key=value`, before they are checked (`lrpo_bench.config`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lrpo_bench.errors import ConfigError

SHIPPED_CONFIGS = Path(__file__).parent / "configs"
"""Configurations that come with the package; `--config demo` names one."""


def load_config(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, or in a shipped configuration of that name.

    Raises:
        ConfigError: naming the file, when it can not be read or does not hold a mapping.
    """
    shipped = SHIPPED_CONFIGS / f"{path}.yaml"
    if not path.exists() and shipped.exists():
        path = shipped
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = ", ".join(sorted(file.stem for file in SHIPPED_CONFIGS.glob("*.yaml")))
        raise ConfigError(f"config file {path} does not exist, and no shipped one has that name: {names}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} can not be read: {error}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2026-13-01
        raise ConfigError(f"config file {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"config file {path} must hold a mapping such as 'tasks: [mgsm]', got {type(value).__name__}")
    return value


def apply_override(values: dict[str, Any], assignment: str) -> None:
    """Sets one dotted key in place, the value read as YAML: `train.steps=10`.

    Example:
        >>> values = {"train": {"steps": 5}}
        >>> apply_override(values, "train.router.alpha=0.2"); values
        {'train': {'steps': 5, 'router': {'alpha': 0.2}}}
    """
    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set takes key=value, such as train.steps=10, got {assignment!r}")
    *parents, leaf = key.strip().split(".")
    section = values
    for parent in parents:
        child = section.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {key}: {parent!r} holds a value, not a section")
        section = child
    try:
        section[leaf] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"--set {key}: {text!r} is not a YAML value") from error
