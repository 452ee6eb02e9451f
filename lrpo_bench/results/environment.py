"""Where a run was made: package versions, hardware and git state, as plain values for a manifest.

Imports nothing heavy: GPU names are read from torch only if the process has already imported it.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from lrpo_bench.machine import memory_bytes

_PACKAGES = (
    "lrpo-bench torch transformers trl datasets accelerate tokenizers safetensors vllm peft numpy scipy pyarrow "
    "sacrebleu lm-eval langdetect lingua-language-detector"
)
_SECRET = re.compile(r"(token|secret|password|passwd|api[-_]?key|credential)", re.IGNORECASE)
# Token counts are settings, not secrets.
_NOT_SECRET = re.compile(r"(max|min|num|n)[-_](\w+[-_])?tokens?|tokens|tokenizer", re.IGNORECASE)


def versions() -> dict[str, str | None]:
    """Installed version of each package that can change a result; None where it is not installed."""
    found: dict[str, str | None] = {}
    for package in _PACKAGES.split():
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def hardware() -> dict[str, Any]:
    """Machine type, cores, memory and accelerators; no host name, since results are published."""
    memory = memory_bytes()
    gib = None if memory is None else round(memory / 2**30, 1)
    return {"machine": platform.machine(), "cpu_count": os.cpu_count(), "memory_gib": gib, "gpus": _gpus()}


def git_state() -> dict[str, Any]:
    """Commit of the working directory's repository and whether it has changes; both None outside of one."""
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain", "--untracked-files=no") if commit else None
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def safe_command(arguments: Sequence[str]) -> list[str]:
    """The command line with the values of options that look like secrets starred out.

    Example:
        >>> safe_command(["run", "--hf-token", "abc", "--api_key=xyz", "--max-completion-tokens", "64"])
        ['run', '--hf-token', '***', '--api_key=***', '--max-completion-tokens', '64']
    """
    shown, hide_next = [], False
    for argument in arguments:
        option, equals, _ = argument.partition("=")
        secret = option.startswith("-") and _SECRET.search(option) and not _NOT_SECRET.search(option)
        shown.append("***" if hide_next else f"{option}=***" if secret and equals else argument)
        hide_next = bool(secret and not equals)
    return shown


def _gpus() -> list[str] | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None  # not asked, which is not the same as none
    return (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
