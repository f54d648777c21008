# SPDX-License-Identifier: BSD-3-Clause
"""Memory with addresses, touched by numpy: one load or store for each page."""

import contextlib
import os
import time
from functools import partial

import numpy as np

from . import machine
from .units import PAGE_SIZE

_SECTOR = 512  # the unit of st_blocks


class TouchSession:
    """What the sessions of memory with addresses share.

    A subclass sets ``_bytes``, an array of uint8 over all of the memory, and
    ``mapping_ns``, how long it took to be had.
    """

    mapping_ns = 0
    _bytes = None

    def __init__(self, work):
        self._work = work

    def calls(self, write):
        """One strided numpy loop per thread, over its share of the pages."""
        touch = self._store if write else self._load
        return [partial(touch, places) for places in self._work.places]

    def _load(self, places):
        # max needs no wider accumulator: a sum of bytes is cast chunk by chunk.
        if isinstance(places, slice):
            self._bytes[places].max()
        else:
            self._bytes.take(places)

    def _store(self, places):
        self._bytes[places] = 1

    def sample(self, write):
        """Nanoseconds of each touch, by a Python loop (its own overhead included)."""
        work = self._work
        order = work.permutation if work.order == "random" else range(work.pages)
        times = np.empty(work.pages, np.uint64)
        memory, clock = memoryview(self._bytes), time.perf_counter_ns
        for i, offset in enumerate([int(page) * PAGE_SIZE for page in order]):
            start = clock()
            if write:
                memory[offset] = 1
            else:
                memory[offset]
            times[i] = clock() - start
        return times


class KernelFaults:
    """Faults and page tables of memory that the kernel looks after."""

    def __init__(self):
        self._start = machine.kernel_faults()
        self._tables = machine.page_table_bytes()

    def faults(self):
        """Faults the kernel counted for this process; of which size it does not say."""
        faults = machine.kernel_faults() - self._start
        return {"pte": faults, "pmd": None, "fallback": None}

    def memory(self, file_blocks_bytes=None):
        """Page tables by VmPTE; tree and page cache are known system-wide only."""
        return {
            "tree_bytes": None,
            "page_table_bytes": machine.page_table_bytes() - self._tables,
            "page_cache_bytes": None,
            "file_blocks_bytes": file_blocks_bytes,
        }


def close_mapping(mapping):
    """Unmap.  After Ctrl-C a thread may be at work yet: the last view unmaps."""
    with contextlib.suppress(BufferError):
        mapping.close()


def file_blocks_bytes(fd):
    """What the file system has set aside for an open file."""
    return os.fstat(fd).st_blocks * _SECTOR
