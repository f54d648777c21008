# SPDX-License-Identifier: BSD-3-Clause
"""Sparse files: reads of holes beside memset, stores beside mmap and pwrite.

    pytest benchmarks/bench_sparse_file.py

On the file system of the temporary directory.  One round goes over a fresh
file; every group has a loop without daxcore beside the one with it.
"""

import ctypes
import itertools
import mmap
import os

import pytest

import daxcore
from daxcore import capi

MIB = 1 << 20
GIB = 1 << 30
CHUNK = 16 * MIB
SIZE = 100 * GIB
PAGES = 512  # stored to in one round, 2 MiB apart
ROUNDS = 15


@pytest.fixture
def fresh(tmp_path):
    """A function that makes a sparse file of a size and returns its path."""
    numbers = itertools.count()

    def make(size):
        path = tmp_path / f"sparse-{next(numbers)}"
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    return make


@pytest.fixture
def buffer():
    data = capi.ffi.new("char[]", CHUNK)
    ctypes.memset(address(data), 1, CHUNK)
    return data


def address(data):
    return int(capi.ffi.cast("uintptr_t", data))


def test_memset(benchmark, buffer):
    benchmark.group = "read 1 GiB of holes"
    where = address(buffer)

    def loop():
        for _ in range(GIB // CHUNK):
            ctypes.memset(where, 0, CHUNK)

    benchmark.pedantic(loop, rounds=ROUNDS, warmup_rounds=1)


def test_pread(benchmark, fresh, buffer):
    benchmark.group = "read 1 GiB of holes"
    with daxcore.open(fresh(SIZE)) as file:
        mapping = capi.from_object(file)

        def loop():
            for n in range(GIB // CHUNK):
                capi.lib.dax_mapping_pread(mapping, buffer, CHUNK, n * CHUNK)

        benchmark.pedantic(loop, rounds=ROUNDS, warmup_rounds=1)
        capi.ffi.release(mapping)


def test_os_preadv(benchmark, fresh, buffer):
    benchmark.group = "read 1 GiB of holes"
    view = memoryview(capi.ffi.buffer(buffer))
    fd = os.open(fresh(SIZE), os.O_RDONLY)

    def loop():
        for n in range(GIB // CHUNK):
            os.preadv(fd, [view], n * CHUNK)

    benchmark.pedantic(loop, rounds=3, warmup_rounds=1)
    os.close(fd)


def test_fault_in_all_of_it(benchmark, fresh):
    benchmark.group = "100 GiB of holes, faulted in by 2 MiB"
    path = fresh(SIZE)

    def loop():  # a fresh tree for each round
        with daxcore.open(path, "r") as file, file.mmap(access="r") as m:
            m.fault_range(0, SIZE // 4096)

    benchmark.pedantic(loop, rounds=ROUNDS, warmup_rounds=1)


def stores(benchmark, fresh, opened):
    """Time one byte in each of PAGES pages of a fresh file."""
    benchmark.group = f"first store to {PAGES} scattered pages"
    stack = []

    def setup():
        while stack:
            stack.pop().close()
        store, *close = opened(fresh(PAGES * 2 * MIB))
        stack.extend(close)
        return (store,), {}

    def loop(store):
        for n in range(PAGES):
            store(n * 2 * MIB)

    benchmark.pedantic(loop, setup=setup, rounds=ROUNDS, warmup_rounds=1)
    while stack:
        stack.pop().close()


def test_store_by_mmap_random(benchmark, fresh):
    def opened(path):
        with open(path, "r+b") as file:
            m = mmap.mmap(file.fileno(), 0)
        m.madvise(mmap.MADV_RANDOM)

        def store(offset):
            m[offset] = 1

        return store, m

    stores(benchmark, fresh, opened)


def test_store_by_pwrite(benchmark, fresh):
    def opened(path):
        file = open(path, "r+b", buffering=0)
        fd = file.fileno()
        return lambda offset: os.pwrite(fd, b"\1", offset), file

    stores(benchmark, fresh, opened)


def test_store_by_daxcore(benchmark, fresh):
    def opened(path):
        file = daxcore.open(path)
        m = file.mmap()
        return lambda offset: m.write(offset, b"\1"), file, m

    stores(benchmark, fresh, opened)


def test_store_by_daxcore_pwrite(benchmark, fresh):
    def opened(path):
        file = daxcore.open(path)
        return lambda offset: file.pwrite(b"\1", offset), file

    stores(benchmark, fresh, opened)
