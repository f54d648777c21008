# SPDX-License-Identifier: BSD-3-Clause
"""Radix tree look-ups beside a flat array and a bare walk of the same nodes.

    pytest benchmarks/bench_tree.py

One call is a million operations in C.
"""

from contextlib import closing

import native
import pytest

ENTRIES = {"sequential": 1 << 18, "random": 1 << 20}
ITERATIONS = 1 << 20


@pytest.fixture(scope="module", params=ENTRIES)
def tree(request):
    with closing(native.Tree(ENTRIES[request.param])) as tree:
        tree.order = request.param
        yield tree


@pytest.mark.parametrize("who", ["flat load", "bare walk", "lookup"])
def test_lookup(benchmark, tree, who):
    if who == "flat load" and tree.order == "random":
        pytest.skip("the flat array is a floor for sequential order only")
    benchmark.group = f"lookup {tree.order}"
    benchmark.pedantic(
        tree.round_ns,
        args=(f"{who}, {tree.order}", ITERATIONS),
        rounds=15,
        warmup_rounds=1,
    )
