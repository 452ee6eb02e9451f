"""Imported by the server of `sweeps.warm` alone: loads what its cells need."""

from lrpo_bench.sweeps.warm import preload

preload()
