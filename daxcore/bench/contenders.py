# SPDX-License-Identifier: BSD-3-Clause
"""Who takes part: two policies of daxcore and the kernel's own page cache.

A contender is opened once per round on a fresh file.  What it opens is a
session: ``calls(write)`` gives one callable per thread, ``mapping_ns`` is how
long its mapping took, the rest observes.  Those of real memory: real.py.
"""

import contextlib
import mmap
import os
import tempfile
import time
from dataclasses import dataclass

import numpy as np

from . import machine
from .touch import KernelFaults, TouchSession, close_mapping, file_blocks_bytes
from .units import PMD_SIZE, format_size

_ZERO_PFN = 1
_HUGE_ZERO_PFNS = range(512, 1024)
_MEMORY_FRAME = 1 << 51  # bit of a frame that is not of the device
_HEADROOM = 64 << 20  # what else a run needs of memory or of a file system


class SoftSession:
    """One fresh File of a policy, seen through one soft Mmap."""

    mapping_ns = 0  # not timed

    def __init__(self, device, work, policy, pool):
        self._work = work
        self._stack = contextlib.ExitStack()
        with self._stack:
            file = device.create_file(work.size, policy=policy, page_pool=pool)
            self._file = self._stack.enter_context(file)
            mapping = file.mmap(backend="soft", pages=work.pages_kind)
            self._mmap = self._stack.enter_context(mapping)
            self._stack = self._stack.pop_all()

    def calls(self, write):
        """One native loop per thread, over its share of the pages."""
        return [self._call(share, write) for share in self._work.shares]

    def _call(self, share, write, latencies=False):
        if isinstance(share, range):
            first, count = share.start, len(share)
            return lambda: self._mmap.fault_range(
                first, count, write=write, latencies=latencies
            )
        return lambda: self._mmap.fault_many(share, write=write, latencies=latencies)

    def sample(self, write):
        """Nanoseconds of each fault, all pages by one thread."""
        work = self._work
        share = work.permutation if work.order == "random" else range(work.pages)
        return self._call(share, write, latencies=True)()

    def forget(self):
        """Drop the page table's leaves; the file keeps its entries."""
        self._mmap.dontneed()

    def faults(self):
        """Faults taken since the file was made; a second step of a write is one."""
        return engine_faults(self._file)

    def memory(self):
        """Bytes the engine allocated for this file, by kind."""
        return engine_memory(self._file)

    def served(self):
        """(number of distinct frames the mapping shows, what they are)."""
        return shown_frames(self._mmap, self._work.pages)

    def close(self):
        """Unmap and delete the file."""
        self._stack.close()


def engine_faults(file):
    """The faults{} of a File: a second step of a write is one, too."""
    stats = file.stats()
    return {
        "pte": stats["pte_fault"] + stats["pfn_mkwrite"],
        "pmd": stats["pmd_fault"],
        "fallback": stats["pmd_fault_fallback"],
    }


def engine_memory(file):
    """Bytes the engine allocated for a File, by kind, and its blocks."""
    stats = file.stats()
    kinds = ("tree_bytes", "page_table_bytes", "page_cache_bytes")
    return {
        **{kind: stats[kind] for kind in kinds},
        "file_blocks_bytes": stats["allocated_bytes"],
    }


def shown_frames(mapping, pages):
    """(number of distinct frames the mapping shows, what they are)."""
    frames = np.unique(mapping.pagemap(0, pages))
    frames = frames[frames != 0]
    return len(frames), _describe_frames(frames)


def _describe_frames(frames):
    """Words for a sorted array of distinct PFNs."""
    memory = int(np.count_nonzero(frames & np.uint64(_MEMORY_FRAME)))
    huge = int(
        np.isin(frames, np.arange(_HUGE_ZERO_PFNS.start, _HUGE_ZERO_PFNS.stop)).sum()
    )
    zero = int(np.count_nonzero(frames == _ZERO_PFN))
    blocks = len(frames) - memory - huge - zero
    parts = []
    if zero:
        parts.append("the zero page (1 distinct PFN)")
    if huge:
        parts.append("the 2 MiB zero page")
    if memory:
        parts.append(f"{memory:,} page-cache pages")
    if blocks:
        parts.append(f"{blocks:,} device blocks")
    return " and ".join(parts) or "nothing"


@dataclass
class Soft:
    """daxcore with a policy, by its software page table."""

    key: str
    policy: str
    pool: str
    backend: str = "soft"
    _device: object = None

    def why_not(self, scenario, work):
        """A reason to leave it out, or None."""
        need = work.size if scenario.allocates else 0
        need += work.size if self.policy == "page-cache" else 0
        return memory_reason(need + work.size // 64)

    def use_device(self, device):
        """The storage all soft contenders share, so that its pages are warm."""
        self._device = device

    def open(self, work):
        """A session on a fresh file."""
        return SoftSession(self._device, work, self.policy, self.pool)


def memory_reason(need):
    """Why `need` bytes of memory cannot be had, or None."""
    have = machine.available_bytes()
    if have is None or have >= need + _HEADROOM:
        return None
    need = format_size(need + _HEADROOM)
    return f"needs {need} of memory, {format_size(have)} available"


class KernelSession(TouchSession):
    """mmap(2) of one fresh sparse file that has no name any more."""

    def __init__(self, directory, work):
        super().__init__(work)
        self._file = tempfile.TemporaryFile(dir=directory, prefix="daxcore-bench-")
        try:
            os.ftruncate(self._file.fileno(), work.size)
            self._kernel = KernelFaults()
            start = time.perf_counter_ns()
            self._map = mmap.mmap(self._file.fileno(), work.size)
            self.mapping_ns = time.perf_counter_ns() - start
        except BaseException:
            self._file.close()
            raise
        self._bytes = np.frombuffer(self._map, np.uint8)

    def forget(self):
        """Drop the page table's leaves; the page cache stays."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def faults(self):
        """Faults of this process, by getrusage(2)."""
        return self._kernel.faults()

    def memory(self):
        """Page tables, and the blocks of the file."""
        return self._kernel.memory(file_blocks_bytes(self._file.fileno()))

    def served(self):
        """The kernel does not tell frame numbers without privileges."""
        return None, "kernel page cache"

    def close(self):
        """Unmap; the file, already nameless, goes with it."""
        self._bytes = None
        close_mapping(self._map)
        self._file.close()


@dataclass
class Kernel:
    """The kernel's page cache over a file system."""

    key: str
    directory: str
    policy: str = "kernel"
    backend: str = "mmap"

    def why_not(self, scenario, work):
        """A reason to leave it out, or None."""
        del scenario  # reading a hole of tmpfs allocates it, as a write does
        if work.pages_kind == "pmd":
            return "2 MiB pages of file mappings are not to be had on request"
        if not os.path.isdir(self.directory):
            return f"{self.directory} does not exist"
        if not os.access(self.directory, os.W_OK | os.X_OK):
            return f"{self.directory} is not writable"
        return self._space_reason(work.size) or memory_reason(work.size)

    def fresh_bytes(self, scenario, work):
        """What a session takes of the machine's free memory."""
        del scenario
        return work.size

    def _space_reason(self, size):
        have = machine.free_bytes(self.directory)
        if have >= size + _HEADROOM:
            return None
        need = format_size(size + _HEADROOM)
        return f"needs {need} free on {self.directory}, has {format_size(have)}"

    def open(self, work):
        """A session on a fresh file."""
        return KernelSession(self.directory, work)


REFERENCE = "page-cache warm"


def soft_contenders():
    """daxcore by its software page table."""
    return [
        Soft("zero-page", "zero-page", "cold"),
        Soft(REFERENCE, "page-cache", "warm"),
        Soft("page-cache cold", "page-cache", "cold"),
    ]


def kernel_contenders(directory="."):
    """The kernel's page cache over the file systems at hand."""
    found = [Kernel(f"kernel {machine.file_system(directory)}", directory)]
    if os.path.realpath(directory) != "/dev/shm":
        found.append(Kernel("kernel /dev/shm", "/dev/shm"))
    return found


def device_bytes(scenario, work):
    """How large a device the contenders on one need."""
    return (work.size if scenario.allocates else 0) + PMD_SIZE
