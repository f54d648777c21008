# SPDX-License-Identifier: BSD-3-Clause
"""Entry locks beside bare compare-and-swap locks, alone and by two threads.

    pytest benchmarks/bench_entry_lock.py

One call is a million operations in C, by each thread.
"""

from contextlib import closing

import native
import pytest

ENTRIES = 1 << 20
ITERATIONS = 1 << 20


@pytest.fixture(scope="module")
def tree():
    with closing(native.Tree(ENTRIES)) as tree:
        yield tree


@pytest.mark.parametrize(
    ("group", "work"),
    [
        ("one thread", "bare compare-and-swap pair"),
        ("one thread", "entry lock and unlock"),
        ("two threads, two places", "two bare pairs, two lines"),
        ("two threads, two places", "entry locks, two pages"),
        ("two threads, one place", "bare spin lock, two threads"),
        ("two threads, one place", "entry lock, two threads"),
    ],
)
def test_lock(benchmark, tree, group, work):
    benchmark.group = group
    benchmark.pedantic(
        tree.round_ns, args=(work, ITERATIONS), rounds=15, warmup_rounds=1
    )
