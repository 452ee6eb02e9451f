"""Routers beside the paper's, behind the same protocol: UCB1, Gaussian Thompson sampling, EXP3, hierarchical back-off.

UCB1, Thompson and EXP3 keep a bandit of their own for each joint context, so with many contexts each learns slowly;
the hierarchical router shares what it learns through the wider contexts, as the paper's does by adding tables.
"""
