# SPDX-License-Identifier: BSD-3-Clause
"""The pages to touch, their order and their division among threads."""

import threading
import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .units import PAGE_SIZE, PMD_SIZE

_SEED = 20170724  # every run and every contender sees the same permutation


@dataclass(frozen=True)
class Work:
    """Which pages of a file are touched, and by how many threads."""

    size: int  # bytes
    order: str = "seq"  # or "random"
    threads: int = 1
    pages_kind: str = "pte"

    @property
    def pages(self):
        """Number of 4 KiB pages."""
        return self.size // PAGE_SIZE

    @cached_property
    def permutation(self):
        """Page offsets in random order, uint64; the seed is fixed."""
        order = np.random.default_rng(_SEED).permutation(self.pages)
        return order.astype(np.uint64)

    @cached_property
    def shares(self):
        """One disjoint piece per thread: a range, or an array of offsets."""
        if self.order == "random":
            return np.array_split(self.permutation, self.threads)
        bounds = self._bounds()
        return [range(a, b) for a, b in zip(bounds, bounds[1:], strict=False)]

    @cached_property
    def places(self):
        """The shares as byte offsets: a slice, or an array of int64."""
        return [_byte_places(share) for share in self.shares]

    def _bounds(self):
        """Cuts between shares; on 2 MiB limits where the file is long enough."""
        unit = PMD_SIZE // PAGE_SIZE
        if self.pages < unit * self.threads:
            unit = 1
        cuts = [
            self.pages * i // self.threads // unit * unit for i in range(self.threads)
        ]
        return [*cuts, self.pages]


def _byte_places(share):
    if isinstance(share, range):
        return slice(share.start * PAGE_SIZE, share.stop * PAGE_SIZE, PAGE_SIZE)
    return share.astype(np.int64) * PAGE_SIZE


def timed(calls):
    """Nanoseconds from the first call's start to the last one's end.

    One call runs in this thread; several run in a thread each, let go
    together.
    """
    if len(calls) == 1:
        start = time.perf_counter_ns()
        calls[0]()
        return time.perf_counter_ns() - start
    return _timed_threads(calls)


def _timed_threads(calls):
    spans, errors = [], []
    gate = threading.Barrier(len(calls))

    def body(call):
        try:
            gate.wait()
            start = time.perf_counter_ns()
            call()
            spans.append((start, time.perf_counter_ns()))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=body, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    _join_all(threads)
    if errors:
        raise errors[0]
    return max(end for _, end in spans) - min(start for start, _ in spans)


def _join_all(threads):
    """Join every thread even when interrupted: they use what is torn down next."""
    interrupt = None
    for thread in threads:
        while thread.is_alive():
            try:
                thread.join()
            except KeyboardInterrupt as error:
                interrupt = error
    if interrupt:
        raise interrupt
