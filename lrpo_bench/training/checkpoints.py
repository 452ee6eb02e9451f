"""Checkpoints that were written to their end, and the disk that was too full for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from lrpo_bench.errors import StorageError

LRPO_STATE = "lrpo_state.json"
"""Written last into a checkpoint: its presence says that the checkpoint is whole."""
_WRITE_FAILED = ("I/O error", "file write failed", "unexpected pos", "inline_container")


@contextmanager
def checkpoint_errors(folder: Path) -> Iterator[None]:
    """A block in which a full disk is a one-line `StorageError`, whichever library writes the file."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # torch.save: RuntimeError, safetensors: its own
        text = str(error)
        if not isinstance(error, OSError) and not any(sign in text for sign in _WRITE_FAILED):
            raise
        raise StorageError(
            f"can not write {folder}, the disk may be full ({text.splitlines()[0]}); earlier checkpoints are kept, "
            "free some space and run the same command again to continue"
        ) from error


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end, None if there is none."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{LRPO_STATE}")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
