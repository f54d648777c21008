# SPDX-License-Identifier: BSD-3-Clause
"""Real memory: daxcore's mappings with addresses, and what the kernel has itself."""

import contextlib
import mmap
import os
import tempfile
import time
from dataclasses import dataclass

import numpy as np

import daxcore

from . import machine
from .contenders import engine_faults, engine_memory, memory_reason, shown_frames
from .touch import KernelFaults, TouchSession, close_mapping, file_blocks_bytes
from .units import PAGE_SIZE, PMD_SIZE, format_size

_MADV_HUGEPAGE, _MADV_NOHUGEPAGE = 14, 15
_ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_OTHER_AREAS = 4096  # memory areas that a process has besides

DELIVERIES = ("thread", "signal")
DEFAULT = None  # the fault_around of the library
AROUNDS = (DEFAULT, PAGE_SIZE, 64 << 10, PMD_SIZE)


class RealSession(TouchSession):
    """One fresh File, seen through one Mmap with addresses."""

    def __init__(self, contender, device, work):
        super().__init__(work)
        self._fd = None
        self._stack = contextlib.ExitStack()
        with self._stack:
            self._file = self._open_file(contender, device)
            start = time.perf_counter_ns()
            self._mmap = self._file.mmap(
                backend="real",
                delivery=contender.delivery,
                pages=contender.kind_of_pages(work),
                fault_around=contender.bytes_around,
            )
            self.mapping_ns = time.perf_counter_ns() - start
            self._stack.callback(close_mapping, self._mmap)
            self._bytes = np.frombuffer(self._mmap, np.uint8)
            self._stack = self._stack.pop_all()

    def _open_file(self, contender, device):
        size = self._work.size
        if contender.directory is None:
            policy, pool = contender.policy, contender.pool
            file = device.create_file(size, policy=policy, page_pool=pool)
        else:
            file = self._open_sparse(contender.directory, size)
        return self._stack.enter_context(file)

    def _open_sparse(self, directory, size):
        """A sparse file whose name is gone once it is open."""
        named = tempfile.NamedTemporaryFile(dir=directory, prefix="daxcore-bench-")
        with named:
            os.ftruncate(named.fileno(), size)
            self._fd = os.dup(named.fileno())
            self._stack.callback(os.close, self._fd)
            return daxcore.open(named.name, "r+")

    def forget(self):
        """Drop the page table's leaves; the file keeps its entries."""
        self._mmap.dontneed()

    def faults(self):
        """Faults of the engine: pages mapped around or beforehand are such, too."""
        return engine_faults(self._file)

    def memory(self):
        """Bytes the engine allocated for this file, by kind."""
        found = engine_memory(self._file)
        if self._fd is not None:
            found["file_blocks_bytes"] = file_blocks_bytes(self._fd)
        return found

    def served(self):
        """(number of distinct frames the mapping shows, what they are)."""
        return shown_frames(self._mmap, self._work.pages)

    def close(self):
        """Unmap and delete the file."""
        self._bytes = None
        self._stack.close()


@dataclass
class Real:
    """daxcore, by memory that has addresses."""

    key: str
    delivery: str = "thread"
    around: int | None = DEFAULT  # bytes; 4096 is the page alone
    policy: str = "zero-page"
    pool: str = "cold"
    directory: str | None = None  # of a sparse file; None: a file of the device
    backend: str = "real"
    _device: object = None

    @property
    def bytes_around(self):
        """What File.mmap() calls fault_around."""
        return 0 if self.around == PAGE_SIZE else self.around

    def kind_of_pages(self, work):
        """What is asked of File.mmap(): faults around are those of 4 KiB pages."""
        return "pte" if self._by_4_kib else work.pages_kind

    @property
    def _by_4_kib(self):
        return self.around is not DEFAULT or self.policy == "page-cache"

    def why_not(self, scenario, work):
        """A reason to leave it out, or None."""
        if work.pages_kind == "pmd" and self._by_4_kib:
            return "maps by 4 KiB"
        return (
            _not_real(self.delivery)
            or self._areas_reason(scenario, work)
            or self._space_reason(scenario, work)
            or memory_reason(self._memory_need(scenario, work))
        )

    @staticmethod
    def _areas_reason(scenario, work):
        """Blocks that do not lie in the order of their pages are areas of their own."""
        have = machine.max_map_count() - _OTHER_AREAS
        scattered = work.order == "random" or work.threads > 1
        if not (scenario.write and scattered) or work.pages <= have:
            return None
        return (
            f"{work.pages:,} pages stored to out of order are as many memory areas, "
            f"vm.max_map_count allows some {have:,}"
        )

    def _space_reason(self, scenario, work):
        if self.directory is None or not scenario.allocates:
            return None
        have = machine.free_bytes(self.directory)
        if have >= 2 * work.size:
            return None
        return f"{format_size(have)} free on {self.directory} are too few"

    def fresh_bytes(self, scenario, work):
        """What a session takes of the machine's free memory."""
        # A page of the cache is shown by a copy at the address.
        need = 2 * work.size if self.policy == "page-cache" else 0
        return need + (work.size if self.directory and scenario.allocates else 0)

    def _memory_need(self, scenario, work):
        on_device = scenario.allocates and self.directory is None
        need = work.size if on_device else 0
        return need + self.fresh_bytes(scenario, work) + work.size // 64

    def use_device(self, device):
        """The storage that the contenders on one share, so that it is warm."""
        self._device = device

    def open(self, work):
        """A session on a fresh file."""
        return RealSession(self, self._device, work)


def _not_real(delivery):
    """Why this process can have no real mapping, or None."""
    with (
        daxcore.Device.memory(PMD_SIZE) as device,
        device.create_file(PAGE_SIZE) as file,
    ):
        try:
            file.mmap(backend="real", delivery=delivery).close()
        except OSError as error:
            return str(error)
    return None


class AnonymousSession(TouchSession):
    """Memory without a file, by small or by huge pages."""

    def __init__(self, advice, work):
        super().__init__(work)
        self._kernel = KernelFaults()
        start = time.perf_counter_ns()
        flags = (
            mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        )
        self._map = mmap.mmap(-1, work.size + PMD_SIZE, flags)
        try:
            self._map.madvise(advice)
        except BaseException:
            self._map.close()
            raise
        self.mapping_ns = time.perf_counter_ns() - start
        whole = np.frombuffer(self._map, np.uint8)
        first = -whole.ctypes.data % PMD_SIZE
        self._bytes = whole[first : first + work.size]

    def forget(self):
        """Drop all pages."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def faults(self):
        """Faults of this process, by getrusage(2)."""
        return self._kernel.faults()

    def memory(self):
        """Page tables alone."""
        return self._kernel.memory()

    def served(self):
        """The kernel does not tell frame numbers without privileges."""
        return None, "anonymous memory"

    def close(self):
        """Unmap."""
        self._bytes = None
        close_mapping(self._map)


@dataclass
class Anonymous:
    """What the kernel does for memory without a file: the floor."""

    key: str
    huge: bool
    policy: str = "kernel"
    backend: str = "anonymous"

    def why_not(self, scenario, work):
        """A reason to leave it out, or None."""
        if self.huge and machine.thp() in (None, "never"):
            return "transparent huge pages are off"
        if not self.huge and work.pages_kind == "pmd":
            return "maps by 4 KiB"
        return memory_reason(self.fresh_bytes(scenario, work) + work.size // 64)

    def fresh_bytes(self, scenario, work):
        """What a session takes of the machine's free memory."""
        return work.size if scenario.write else 0

    def open(self, work):
        """A session on fresh memory."""
        return AnonymousSession(_MADV_HUGEPAGE if self.huge else _MADV_NOHUGEPAGE, work)


def real_contenders(directory=".", deliveries=DELIVERIES, arounds=AROUNDS):
    """Everybody with addresses but the page cache, in the order of the report."""
    found = [
        Real(_key(delivery, around), delivery, around)
        for delivery in deliveries
        for around in arounds
    ]
    delivery = deliveries[0]
    kind = machine.file_system(directory)
    return [
        *found,
        Real(f"real {kind}", delivery, directory=directory),
        Real("real page-cache", delivery, policy="page-cache", pool="warm"),
    ]


def anonymous_contenders():
    """What is below every mapping."""
    return [Anonymous("anonymous 4 KiB", False), Anonymous("anonymous 2 MiB", True)]


def _key(delivery, around):
    if around is DEFAULT:
        return f"real {delivery}"
    return f"real {delivery} {format_size(around)}"
