# SPDX-License-Identifier: BSD-3-Clause
"""Soft faults: every scenario and policy, with the bare floor beside them.

    pytest benchmarks/bench_fault.py

One call is one pass over DAXCORE_BENCH_SIZE bytes (default 64 MiB) of a fresh
file; the time per page is in the column extra_info of the JSON.  All loops
are C; the call from Python costs less than a microsecond per pass.
"""

import os

import native
import pytest

import daxcore
from daxcore.bench.contenders import SoftSession
from daxcore.bench.scenarios import SCENARIOS
from daxcore.bench.units import parse_size
from daxcore.bench.work import Work

SIZE = parse_size(os.environ.get("DAXCORE_BENCH_SIZE", "64MiB"))
PAGES = SIZE // 4096
ROUNDS = 15
POLICIES = {
    "zero-page": ("zero-page", "cold"),
    "page-cache warm": ("page-cache", "warm"),
    "page-cache cold": ("page-cache", "cold"),
}


@pytest.fixture(scope="module")
def device():
    with daxcore.Device.memory(SIZE + (2 << 20)) as device:
        yield device


def measure(benchmark, open_one, close_one):
    """Time `call` of ``(close, call) = open_one()``, fresh in every round."""
    opened = []

    def setup():
        while opened:
            close_one(opened.pop())
        one, call = open_one()
        opened.append(one)
        return (call,), {}

    benchmark.pedantic(lambda call: call(), setup=setup, rounds=ROUNDS, warmup_rounds=1)
    while opened:
        close_one(opened.pop())
    if benchmark.stats:  # absent under --benchmark-disable
        median = benchmark.stats.stats.median
        benchmark.extra_info["ns_per_page"] = median * 1e9 / PAGES


@pytest.mark.parametrize("order", ["seq", "random"])
def test_floor(benchmark, order):
    benchmark.group = f"hole-read {order} pte"

    def open_one():
        floor = native.Floor(PAGES)
        if order == "seq":
            return floor, lambda: floor.fault_range(0, PAGES)
        return floor, lambda: floor.fault_many(native.permutation(PAGES))

    measure(benchmark, open_one, native.Floor.close)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("pages", ["pte", "auto"])
@pytest.mark.parametrize("order", ["seq", "random"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_soft(benchmark, device, scenario, order, pages, policy):
    benchmark.group = f"{scenario} {order} {pages}"
    work = Work(SIZE, order, pages_kind=pages)
    steps = SCENARIOS[scenario]

    def open_one():
        session = SoftSession(device, work, *POLICIES[policy])
        for step in steps.prepare:
            session.calls(False)[0]() if step == "read" else session.forget()
        return session, session.calls(steps.write)[0]

    measure(benchmark, open_one, SoftSession.close)
