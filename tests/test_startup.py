"""What the collector of cycles does during imports and after them."""

import gc
import json
import os
import subprocess
import sys

import pytest

from lrpo_bench.startup import uncollected


def test_the_collector_goes_on_after_the_block():
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_collector_goes_on_after_an_error():
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()


def test_who_stopped_the_collector_finds_it_stopped():
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_imports_are_left_alone_and_what_comes_after_is_collected():
    script = (
        "import gc, json, sys, weakref\n"
        "from lrpo_bench.startup import import_libraries\n"
        "import_libraries()\n"
        "frozen = gc.get_freeze_count()\n"
        "class Node: pass\n"
        "node = Node(); node.itself = node; dead = weakref.ref(node); del node\n"
        "import_libraries()\n"  # does nothing more
        "gc.collect()\n"
        "print(json.dumps([gc.isenabled(), frozen, gc.get_freeze_count(), dead() is None, 'torch' in sys.modules]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "TRANSFORMERS_VERBOSITY": "error"},
    )  # fmt: skip
    enabled, frozen, later, collected, has_torch = json.loads(done.stdout.splitlines()[-1])
    assert enabled and collected and has_torch
    assert frozen > 100_000
    assert frozen - 1_000 < later <= frozen, "a second call freezes nothing"
