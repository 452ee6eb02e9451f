"""Torch and transformers imported without the visits of Python's collector of cycles, and left alone by it afterwards.

They make about a million objects, nearly all of which live as long as the process. The collector looks at all of them
again as they grow in number (1.1 s of 3.8 s of imports on two cores), at every `gc.collect()` (0.35 s), and several
times when the process ends (1.2 s). Nothing it could free there is worth that. What is made after the imports (models,
records) is collected as ever.

For a process that is ours, such as a command: objects that are alive while `import_libraries` runs are freed as soon as
nothing refers to them, as always, but no longer if they refer to each other in a circle.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """A block that the collector does not interrupt."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def import_libraries() -> None:
    """Imports what every model needs, once a process."""
    if "transformers.modeling_utils" in sys.modules:
        return
    with uncollected():
        import transformers.modeling_utils  # noqa: F401
        from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401

        import lrpo_bench.models.hf  # noqa: F401
    gc.freeze()
