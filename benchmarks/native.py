# SPDX-License-Identifier: BSD-3-Clause
"""The C loops of benchmarks/c, built against the installed library.

The shared objects link to the very libdaxcore.so.0 that the daxcore package
has loaded: one library, so a Device made in Python serves the C loops.
"""

import ctypes
import os
import subprocess
import time
from contextlib import closing
from ctypes import (
    POINTER,
    byref,
    c_char_p,
    c_double,
    c_int,
    c_int64,
    c_size_t,
    c_uint,
    c_uint64,
    c_void_p,
)
from functools import cache
from pathlib import Path

import numpy as np

import daxcore
from daxcore import capi

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "benchmarks"
LIBRARY = Path(daxcore.__file__).resolve().parent / "lib" / "libdaxcore.so.0"

FLOOR, ZERO_PAGE, ZERO_PAGE_PMD, PAGE_CACHE_WARM, PAGE_CACHE_COLD = range(5)
HOLE_READ, FIRST_WRITE, READ_THEN_WRITE, REFAULT = range(4)

# enum real_owner and enum real_floor_work
ENGINE, SPARSE, FILE, ANONYMOUS, ANONYMOUS_HUGE = range(5)
LOAD, LOAD_WRITABLE, STORE, STORE_SPARSE = range(4)

RW_WORKS = (
    "memcpy in",
    "pwrite",
    "os.pwrite",
    "memcpy out",
    "pread",
    "os.pread",
    "memset",
    "pread of a hole",
)
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

_VM_SHARED = capi.lib.DAX_VM_SHARED
_VM_FLAGS = {
    "r": capi.lib.DAX_VM_READ,
    "r+": capi.lib.DAX_VM_READ | capi.lib.DAX_VM_WRITE,
}
_PAGES = {
    "pte": capi.lib.DAX_PAGES_PTE,
    "pmd": capi.lib.DAX_PAGES_PMD,
    "auto": capi.lib.DAX_PAGES_AUTO,
}
_DELIVERIES = {
    "thread": capi.lib.DAX_DELIVERY_THREAD,
    "signal": capi.lib.DAX_DELIVERY_SIGNAL,
}
_FAULT_AROUND_DEFAULT = 2**64 - 1  # DAX_FAULT_AROUND_DEFAULT


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


class RealRound(ctypes.Structure):
    """struct real_round of real_rounds.h."""

    _fields_ = [
        ("owner", c_int),
        ("write", c_int),
        ("load_before", c_int),
        ("fd", c_int),
        ("path", c_char_p),
        ("nr_pages", c_uint64),
        ("order", c_void_p),
        ("flags", c_uint),
        ("pages", c_uint),
        ("delivery", c_uint),
        ("fault_around", c_uint64),
    ]


class RealResult(ctypes.Structure):
    """struct real_result of real_rounds.h."""

    _fields_ = [(name, c_uint64) for name in ("map_ns", "touch_ns", "again_ns")]


@cache
def build():
    """Compile what is out of date; the folder of the results."""
    command = ["make", "-s", "-C", HERE / "c", f"BUILD={BUILD}", f"LIB={LIBRARY}"]
    subprocess.run(command, check=True)
    return BUILD


class Engine:
    """The loops with a library of their own: "traced" or "untraced"."""

    def __init__(self, name):
        library = ctypes.CDLL(build() / f"libbench_{name}.so")
        _function(library, "bench_round", c_int, c_void_p, POINTER(Round), c_void_p)
        _function(library, "dax_device_memory", c_int, POINTER(c_void_p), c_uint64)
        _function(library, "dax_device_put", None, c_void_p)
        self._library, self._device = library, c_void_p()
        check(library.dax_device_memory(byref(self._device), 1 << 20), name)

    def hole_read_ns(self, pages):
        """Nanoseconds per page of one round of the zero page."""
        result = RoundResult()
        order = Round(ZERO_PAGE, HOLE_READ, pages, None)
        ret = self._library.bench_round(self._device, byref(order), byref(result))
        check(ret, "round of an engine")
        return result.ns / pages

    def close(self):
        """Free its device."""
        self._library.dax_device_put(self._device)


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
    _function(library, "floor_clear", c_uint64, c_void_p)
    _function(library, "floor_fault_range", c_int, c_void_p, c_uint64, c_uint64)
    _function(library, "floor_fault_many", c_int, c_void_p, c_void_p, c_size_t)
    return library


def hole_map():
    """The function of a block map in C that is one hole."""
    return faults().bench_hole_begin


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


@cache
def rws():
    """libbench_rw.so with its prototypes."""
    library = ctypes.CDLL(build() / "libbench_rw.so")
    new = POINTER(c_void_p)
    _function(library, "rw_bench_new", c_int, new, c_void_p, c_uint64, c_int)
    _function(library, "rw_bench_free", None, c_void_p)
    _function(library, "rw_round", c_int64, c_void_p, c_int, c_uint64, c_uint64)
    return library


@cache
def reals():
    """libbench_real.so with its prototypes."""
    library = ctypes.CDLL(build() / "libbench_real.so")
    _function(library, "real_round", c_int, c_void_p, POINTER(RealRound), c_void_p)
    _function(library, "real_load_pages", None, c_void_p, c_uint64)
    floor = library.real_floor_round
    _function(library, floor.__name__, c_int64, c_int, c_int, c_uint64, c_void_p, c_int)
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


def real_round(owner, pages, device=None, order=None, fd=-1, **how):
    """One round of memory with addresses, mapped and touched in C.

    `how`: write, load_before, path (of SPARSE), and for the engine access ("r" or
    "r+"), kind ("pte", "pmd", "auto"), delivery, fault_around (None: the default).
    """
    around = how.get("fault_around")
    shape = RealRound(
        owner=owner,
        write=how.get("write", False),
        load_before=how.get("load_before", False),
        fd=fd,
        path=os.fsencode(how["path"]) if "path" in how else None,
        nr_pages=pages,
        order=None if order is None else order.ctypes.data,
        flags=_VM_SHARED | _VM_FLAGS[how.get("access", "r+")],
        pages=_PAGES[how.get("kind", "auto")],
        delivery=_DELIVERIES[how.get("delivery", "thread")],
        fault_around=_FAULT_AROUND_DEFAULT if around is None else around,
    )
    result = RealResult()
    address = device.c_address if device else None
    ret = reals().real_round(address, byref(shape), byref(result))
    check(ret, f"round of owner {owner}")
    return result


def real_floor_ns(work, delivery, pages, order=None, fd=-1):
    """Nanoseconds of one round of the bare kernel calls."""
    address = None if order is None else order.ctypes.data
    ns = reals().real_floor_round(work, delivery == "signal", pages, address, fd)
    return check(ns, f"bare loop {work}")


def load_pages(address, pages):
    """One load from each page from `address` on, in C."""
    reals().real_load_pages(address, pages)


def python_round_ns(device, pages):
    """The hole-read round of the zero page, driven and timed in Python."""
    with device.create_file(pages * 4096) as file, file.mmap(pages="pte") as mapping:
        start = time.perf_counter_ns()
        mapping.fault_range(0, pages)
        return time.perf_counter_ns() - start


def truncate_round_ns(device, size, pages):
    """Truncate a file, read from end to end before, to nothing."""
    with device.create_file(size) as file, file.mmap(pages=pages) as mapping:
        mapping.fault_range(0, size // 4096)
        start = time.perf_counter_ns()
        file.truncate(0)
        return time.perf_counter_ns() - start


def floor_truncate_round_ns(pages):
    """The bare clearing walk over as many pages."""
    with closing(Floor(pages)) as floor:
        floor.fault_range(0, pages)
        return floor.clear_ns()


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

    def clear_ns(self):
        """Nanoseconds to empty all leaves and slots."""
        return faults().floor_clear(self._floor)

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


class ReadWrite:
    """A file with blocks in its first `window` bytes and holes behind."""

    def __init__(self, device, window, fd=-1):
        self._bench = c_void_p()
        self.window = window
        ret = rws().rw_bench_new(byref(self._bench), device.c_address, window, fd)
        check(ret, "rw_bench_new")

    def round_ns(self, work, piece, passes=1):
        """Nanoseconds of one of RW_WORKS over the window in pieces."""
        number = RW_WORKS.index(work)
        return check(rws().rw_round(self._bench, number, piece, passes), work)

    def close(self):
        """Free it."""
        rws().rw_bench_free(self._bench)
