"""Cells that can be interrupted, whatever their sweep was told about interrupts.

A shell that is no terminal's starts `lrpo-bench sweep FILE &` with SIGINT ignored, and a process hands that down to
those that it starts: they would not hear what `engines` stops cells by, and be killed a minute later instead.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heard_by_children() -> Iterator[None]:
    """A block in which started processes take SIGINT as they do by default; this one goes on ignoring it if it did.

    Where SIGINT is ignored it must be entered in the main thread, as Python sets handlers there only.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: None)  # a handler, unlike SIG_IGN, ends where another program begins
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
