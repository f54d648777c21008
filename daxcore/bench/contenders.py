# SPDX-License-Identifier: BSD-3-Clause
"""Who takes part: two policies of daxcore and the kernel's own page cache.

A contender is opened once per round on a fresh file.  What it opens is a
session: ``calls(write)`` gives one callable per thread, the rest observes.
"""

import contextlib
import mmap
import os
import resource
import tempfile
import time
from dataclasses import dataclass
from functools import partial

import numpy as np

from . import machine
from .units import PAGE_SIZE, PMD_SIZE, format_size

_ZERO_PFN = 1
_HUGE_ZERO_PFNS = range(512, 1024)
_MEMORY_FRAME = 1 << 51  # bit of a frame that is not of the device
_HEADROOM = 64 << 20  # what else a run needs of memory or of a file system


class SoftSession:
    """One fresh File of a policy, seen through one soft Mmap."""

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
        stats = self._file.stats()
        return {
            "pte": stats["pte_fault"] + stats["pfn_mkwrite"],
            "pmd": stats["pmd_fault"],
            "fallback": stats["pmd_fault_fallback"],
        }

    def memory(self):
        """Bytes the engine allocated for this file, by kind."""
        stats = self._file.stats()
        return {
            k: stats[k] for k in ("tree_bytes", "page_table_bytes", "page_cache_bytes")
        }

    def served(self):
        """(number of distinct frames the mapping shows, what they are)."""
        frames = np.unique(self._mmap.pagemap(0, self._work.pages))
        frames = frames[frames != 0]
        return len(frames), _describe_frames(frames)

    def close(self):
        """Unmap and delete the file."""
        self._stack.close()


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
        return _memory_reason(need + work.size // 64)

    def use_device(self, device):
        """The storage all soft contenders share, so that its pages are warm."""
        self._device = device

    def open(self, work):
        """A session on a fresh file."""
        return SoftSession(self._device, work, self.policy, self.pool)


def _memory_reason(need):
    """Why `need` bytes of memory cannot be had, or None."""
    have = machine.available_bytes()
    if have is None or have >= need + _HEADROOM:
        return None
    need = format_size(need + _HEADROOM)
    return f"needs {need} of memory, {format_size(have)} available"


class KernelSession:
    """mmap(2) of one fresh sparse file that has no name any more."""

    def __init__(self, directory, work):
        self._work = work
        with tempfile.TemporaryFile(dir=directory, prefix="daxcore-bench-") as file:
            os.ftruncate(file.fileno(), work.size)
            self._map = mmap.mmap(file.fileno(), work.size)
        self._bytes = np.frombuffer(self._map, np.uint8)
        self._start = _kernel_faults()
        self._tables = machine.page_table_bytes()

    def calls(self, write):
        """One strided numpy loop per thread, over its share of the pages."""
        touch = self._store if write else self._load
        return [partial(touch, self._index(share)) for share in self._work.shares]

    def _load(self, index):
        # max needs no wider accumulator: a sum of bytes is cast chunk by chunk.
        if isinstance(index, slice):
            self._bytes[index].max()
        else:
            self._bytes.take(index)

    def _store(self, index):
        self._bytes[index] = 1

    @staticmethod
    def _index(share):
        if isinstance(share, range):
            return slice(share.start * PAGE_SIZE, share.stop * PAGE_SIZE, PAGE_SIZE)
        return share.astype(np.int64) * PAGE_SIZE

    def sample(self, write):
        """Nanoseconds of each touch, by a Python loop (its own overhead included)."""
        work = self._work
        order = work.permutation if work.order == "random" else range(work.pages)
        times = np.empty(work.pages, np.uint64)
        memory, clock = self._map, time.perf_counter_ns
        for i, offset in enumerate([int(page) * PAGE_SIZE for page in order]):
            start = clock()
            if write:
                memory[offset] = 1
            else:
                memory[offset]
            times[i] = clock() - start
        return times

    def forget(self):
        """Drop the page table's leaves; the page cache stays."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def faults(self):
        """Faults the kernel counted for this process; of which size it does not say."""
        return {"pte": _kernel_faults() - self._start, "pmd": None, "fallback": None}

    def memory(self):
        """Page tables by VmPTE; tree and page cache are known system-wide only."""
        tables = machine.page_table_bytes() - self._tables
        return {
            "tree_bytes": None,
            "page_table_bytes": tables,
            "page_cache_bytes": None,
        }

    def served(self):
        """The kernel does not tell frame numbers without privileges."""
        return None, "kernel page cache"

    def close(self):
        """Unmap; the file, already nameless, goes with it."""
        self._bytes = None
        # After Ctrl-C a thread may be at work yet: the last view unmaps.
        with contextlib.suppress(BufferError):
            self._map.close()


def _kernel_faults():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt


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
        return self._space_reason(work.size) or _memory_reason(work.size)

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


def all_contenders(directory="."):
    """Every contender, in the order of the report."""
    kind = machine.file_system(directory)
    found = [
        Soft("zero-page", "zero-page", "cold"),
        Soft(REFERENCE, "page-cache", "warm"),
        Soft("page-cache cold", "page-cache", "cold"),
        Kernel(f"kernel {kind}", directory),
    ]
    if os.path.realpath(directory) != "/dev/shm":
        found.append(Kernel("kernel /dev/shm", "/dev/shm"))
    return found


def device_bytes(scenario, work):
    """How large a device the soft contenders need."""
    return (work.size if scenario.allocates else 0) + PMD_SIZE
