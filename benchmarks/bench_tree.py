# SPDX-License-Identifier: BSD-3-Clause
"""Radix tree look-ups beside a flat array and a bare walk of the same nodes.

    pytest benchmarks/bench_tree.py

One call is a million operations in C.
"""

import native
import pytest

ITERATIONS = 1 << 20


@pytest.fixture(scope="module")
def tree():
    tree = native.Tree()
    yield tree
    tree.close()


@pytest.mark.parametrize(
    ("order", "work"),
    [
        ("sequential", "flat load, sequential"),
        ("sequential", "lookup, sequential"),
        ("random", "bare walk, random"),
        ("random", "lookup, random"),
    ],
)
def test_lookup(benchmark, tree, order, work):
    benchmark.group = f"lookup {order}"
    benchmark.pedantic(
        tree.round_ns, args=(work, ITERATIONS), rounds=15, warmup_rounds=1
    )
