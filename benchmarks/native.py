# SPDX-License-Identifier: BSD-3-Clause
"""The C loops of benchmarks/c, built against the installed library.

The shared objects link to the very libdaxcore.so.0 that the daxcore package
has loaded: one library, so a Device made in Python serves the C loops.
"""

import ctypes
import subprocess
import time
from ctypes import (
    POINTER,
    byref,
    c_char_p,
    c_double,
    c_int,
    c_int64,
    c_size_t,
    c_uint64,
    c_void_p,
)
from functools import cache
from pathlib import Path

import numpy as np

import daxcore

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "benchmarks"
LIBRARY = Path(daxcore.__file__).resolve().parent / "lib" / "libdaxcore.so.0"

FLOOR, ZERO_PAGE, ZERO_PAGE_PMD, PAGE_CACHE_WARM, PAGE_CACHE_COLD = range(5)
HOLE_READ, FIRST_WRITE, READ_THEN_WRITE, REFAULT = range(4)

TREE_WORKS = (
    "flat load, sequential",
    "bare walk, sequential",
    "lookup, sequential",
    "bare walk, random",
    "lookup, random",
    "bare compare-and-swap pair",
    "entry lock and unlock",
    "two bare pairs, two lines",
    "entry locks, two pages",
    "bare spin lock, two threads",
    "entry lock, two threads",
)
_SEED = 1


class Round(ctypes.Structure):
    """struct round of fault_rounds.h."""

    _fields_ = [
        ("contender", c_int),
        ("scenario", c_int),
        ("nr_pages", c_uint64),
        ("order", c_void_p),
    ]


class RoundResult(ctypes.Structure):
    """struct round_result of fault_rounds.h."""

    _fields_ = [
        (name, c_uint64)
        for name in (
            "ns",
            "faults",
            "all_faults",
            "tree_bytes",
            "page_table_bytes",
            "page_cache_bytes",
        )
    ]


@cache
def build():
    """Compile what is out of date; the folder of the results."""
    command = ["make", "-s", "-C", HERE / "c", f"BUILD={BUILD}", f"LIB={LIBRARY}"]
    subprocess.run(command, check=True)
    return BUILD


def _function(library, name, restype, *argtypes):
    function = getattr(library, name)
    function.restype, function.argtypes = restype, argtypes
    return function


@cache
def faults():
    """libbench_fault.so with its prototypes."""
    library = ctypes.CDLL(build() / "libbench_fault.so")
    _function(library, "bench_round", c_int, c_void_p, POINTER(Round), c_void_p)
    _function(library, "bench_shuffle", None, c_void_p, c_uint64, c_uint64)
    _function(library, "floor_new", c_int, POINTER(c_void_p), c_uint64)
    _function(library, "floor_free", None, c_void_p)
    _function(library, "floor_fault_range", c_int, c_void_p, c_uint64, c_uint64)
    _function(library, "floor_fault_many", c_int, c_void_p, c_void_p, c_size_t)
    return library


@cache
def trees():
    """libbench_tree.so with its prototypes."""
    library = ctypes.CDLL(build() / "libbench_tree.so")
    _function(library, "tree_bench_new", c_int, POINTER(c_void_p), c_uint64)
    _function(library, "tree_bench_free", None, c_void_p)
    _function(
        library, "tree_round", c_int, c_void_p, c_int, c_uint64, POINTER(c_double)
    )
    return library


@cache
def writebacks():
    """libbench_writeback.so with its prototypes."""
    library = ctypes.CDLL(build() / "libbench_writeback.so")
    new = library.writeback_bench_new
    _function(library, new.__name__, c_int, POINTER(c_void_p), c_uint64, c_uint64)
    _function(library, "writeback_bench_free", None, c_void_p)
    _function(library, "writeback_round", c_int64, c_void_p, c_int)
    _function(library, "writeback_bench_stat", c_uint64, c_void_p, c_char_p)
    return library


def check(ret, what):
    """`ret` unless it is -errno."""
    if ret < 0:
        raise OSError(-ret, f"{what} failed with {ret}")
    return ret


@cache
def permutation(pages):
    """All page offsets in the random order of the C programs, uint64."""
    order = np.empty(pages, np.uint64)
    faults().bench_shuffle(order.ctypes.data, pages, _SEED)
    return order


def fault_round(device, contender, pages, scenario=HOLE_READ, order=None):
    """One round in C, timed in C."""
    address = None if order is None else order.ctypes.data
    result = RoundResult()
    check(
        faults().bench_round(
            device.c_address,
            byref(Round(contender, scenario, pages, address)),
            byref(result),
        ),
        f"round of contender {contender}",
    )
    return result


def python_round_ns(device, pages):
    """The hole-read round of the zero page, driven and timed in Python."""
    with device.create_file(pages * 4096) as file, file.mmap(pages="pte") as mapping:
        start = time.perf_counter_ns()
        mapping.fault_range(0, pages)
        return time.perf_counter_ns() - start


class Floor:
    """A fresh tree and page table of floor.c."""

    def __init__(self, pages):
        self._floor = c_void_p()
        check(faults().floor_new(byref(self._floor), pages), "floor_new")

    def fault_range(self, pgoff, pages):
        """Touch pages in sequence."""
        ret = faults().floor_fault_range(self._floor, pgoff, pages)
        check(ret, "floor_fault_range")

    def fault_many(self, order):
        """Touch the pages listed."""
        ret = faults().floor_fault_many(self._floor, order.ctypes.data, len(order))
        check(ret, "floor_fault_many")

    def close(self):
        """Free it."""
        faults().floor_free(self._floor)


class Tree:
    """A tree of many entries and the plain arrays beside it."""

    def __init__(self, entries):
        self._bench = c_void_p()
        check(trees().tree_bench_new(byref(self._bench), entries), "tree_bench_new")

    def round_ns(self, work, iterations):
        """Nanoseconds per operation of one entry of TREE_WORKS."""
        ns = c_double()
        number = TREE_WORKS.index(work)
        ret = trees().tree_round(self._bench, number, iterations, byref(ns))
        check(ret, work)
        return ns.value

    def close(self):
        """Free it."""
        trees().tree_bench_free(self._bench)


class Writeback:
    """A file with an entry for every page, some of them to be dirty."""

    def __init__(self, entries, dirty):
        self._bench = c_void_p()
        ret = writebacks().writeback_bench_new(byref(self._bench), entries, dirty)
        check(ret, "writeback_bench_new")

    def round_ns(self, bare):
        """Store to the pages; nanoseconds to make that durable, or of the loop."""
        return check(writebacks().writeback_round(self._bench, bare), "writeback")

    def stat(self, name):
        """One of File.stats()."""
        return writebacks().writeback_bench_stat(self._bench, name.encode())

    def close(self):
        """Free it."""
        writebacks().writeback_bench_free(self._bench)
