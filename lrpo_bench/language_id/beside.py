"""Lingua in a process beside this one, so that its models load while this one imports torch and transformers.

Lingua loads its models at the first text that needs them: about 2 s of processor time for the Latin script. A thread
would not help, since every call of lingua's holds the interpreter's lock until it returns (measured: another thread ran
at 1% of its speed meanwhile). A second process begins at once, on a core that imports leave idle, and has loaded long
before the first response is there.

The answers are those of `LinguaDetector`: it is one, here and there. Cleaning, script rules and abstention are applied
here; only texts that they leave open go through the pipe, a JSON list a line, and detections come back in the same way.
If the other process does not answer, for whatever reason, this one loads the models itself: that costs the time that
was to be saved and nothing else, and an error in a text is then raised here.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import weakref
from collections.abc import Sequence
from typing import IO

from lrpo_bench.language_id.base import Detection
from lrpo_bench.language_id.detectors import LinguaDetector
from lrpo_bench.machine import available_cores

_STOP_S = 1.0
_SENTENCE = "Tom has twelve apples and buys five more."
"""A text that needs the models of all candidates in Latin script."""
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from lrpo_bench.language_id.beside import answer; answer(json.loads(sys.argv[2]))"
)


class LinguaBeside(LinguaDetector):
    """`LinguaDetector` with its models in a process of their own, which ends with this object."""

    def __init__(self, languages: Sequence[str]) -> None:
        """Starts the process; raises what `LinguaDetector` raises."""
        super().__init__(languages)
        self._process = _started(languages)
        if self._process is not None:
            weakref.finalize(self, _stop, self._process)  # at the latest when this process ends

    def _classify(self, texts: Sequence[str]) -> list[Detection]:
        if texts and self._process is not None:
            # Forgotten until it has answered: whoever interrupts this must not be given the answer the next time.
            process, self._process = self._process, None
            found = _ask(process, texts)
            if found is not None:
                self._process = process
                return found
            _stop(process)
        return super()._classify(texts)


def is_useful() -> bool:
    """Whether a second process would save time: there is a core for it, and this one has not loaded lingua already."""
    return available_cores() > 1 and "lingua" not in sys.modules


def answer(languages: Sequence[str]) -> None:
    """What the other process does: loads the models, then answers until its input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's, which then closes the pipe
    detector = LinguaDetector(languages)
    # One text is loaded for by one core, and leaves the other to the imports.
    detector._classify([_SENTENCE])
    for line in sys.stdin:
        found = detector._classify(json.loads(line))
        sys.stdout.write(json.dumps([[each.lang, each.confidence, each.reason] for each in found]) + "\n")
        sys.stdout.flush()


def _started(languages: Sequence[str]) -> subprocess.Popen[str] | None:
    """The other process; None where there can be none."""
    try:
        return subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), json.dumps(list(languages))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="ascii",
        )  # fmt: skip
    except (OSError, TypeError):  # no memory, no such program, a path that is no text
        return None


def _ask(process: subprocess.Popen[str], texts: Sequence[str]) -> list[Detection] | None:
    """The other process's detections; None if it gave none."""
    questions, answers = _pipes(process)
    try:
        questions.write(json.dumps(list(texts)) + "\n")
        questions.flush()
        line = answers.readline()
        found = [Detection(lang, confidence, reason) for lang, confidence, reason in json.loads(line)]
    except (OSError, ValueError, TypeError):  # it ended, or something else was printed there, as `sitecustomize` may
        return None
    return found if len(found) == len(texts) else None


def _stop(process: subprocess.Popen[str]) -> None:
    process.kill()  # it holds nothing that must be kept
    for pipe in _pipes(process):
        with contextlib.suppress(OSError):  # what was written and not read any more
            pipe.close()
    process.wait(_STOP_S)


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None and process.stdout is not None, "opened as pipes"
    return process.stdin, process.stdout
