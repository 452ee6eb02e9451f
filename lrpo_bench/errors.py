"""Errors that a user can act on.

LrpoBenchError
├── ConfigError               a value or combination that can not be used
│   ├── UnknownNameError      a name that is not in its registry; suggests the nearest
│   └── DataError             a file, row or data set that can not be read (names file and line)
├── ModelError                a model that can not be loaded or used
├── StorageError              a results folder that can not be written or read
└── IncomparableResultsError  two results whose signatures differ

The command line prints one of these as one line and exits with code 2. Anything else is a bug and shows a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_USER_ERROR = 2
"""Exit code for what the user can mend."""


class LrpoBenchError(Exception):
    """Base of every error that tells the user what to change."""


class ConfigError(LrpoBenchError):
    """A configuration value that is out of range, or two that contradict each other."""


class UnknownNameError(ConfigError):
    """A name that is not registered.

    Example:
        >>> print(UnknownNameError("task", "mgms", ["mgsm", "xnli"]))
        unknown task 'mgms'; did you mean 'mgsm'? known: mgsm, xnli
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        """Builds the one-line message; `hint` is the next step, such as a command to run."""
        self.kind, self.name, self.known, self.hint = kind, name, sorted(known), hint
        super().__init__(f"unknown {kind} {name!r}{_suggestion(name, self.known)}{f'; {hint}' if hint else ''}")

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, str, list[str], str]]:
        # An exception is rebuilt from its message alone otherwise, which fails when a worker process sends it back.
        return type(self), (self.kind, self.name, self.known, self.hint)


class DataError(ConfigError):
    """A data file, row or data set that can not be used; the message names the file and the line."""


class ModelError(LrpoBenchError):
    """A model or tokenizer that can not be loaded or asked what was asked of it."""


class StorageError(LrpoBenchError):
    """A results folder that can not be written, read or continued."""


class IncomparableResultsError(LrpoBenchError):
    """Two results that must not be compared; the message names the field that differs."""


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    guess = f"; did you mean {close[0]!r}?" if close else ";"
    shown = ", ".join(known[:12]) + (f", ... ({len(known)} in all)" if len(known) > 12 else "")
    return f"{guess} known: {shown}" if known else guess.rstrip(";")
