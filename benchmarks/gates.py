# SPDX-License-Identifier: BSD-3-Clause
"""Measure every bar daxcore has set itself, and say which ones it clears.

    python benchmarks/gates.py [--real] [--json FILE]

Times are ratios within one run: medians of interleaved rounds, each on fresh
files.  Ends with status 1 if a bar is missed.
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass

import native
import numpy as np

import daxcore
from daxcore import capi
from daxcore.bench import machine

PAGES = 262144  # 1 GiB
HEAVY_ROUNDS = 7  # with page-cache pages: a second each
LIGHT_ROUNDS = 31
PYTHON_ROUNDS = 63
MAP_PAGES = PAGES // 16  # over a Python method
TREE_ROUNDS = 31
WRITEBACK_ROUNDS = 15
REAL_ROUNDS = 5  # real memory: 1 GiB by tmpfs is three seconds
SINGLE_PAGES = 32768  # faults of real memory one by one
SINGLE_ROUNDS = 11
TRACE_PAGES = 32768
TRACE_ROUNDS = 400  # even: as often first as second
LOOKUPS = 1 << 20
LOCKS = 1 << 18
_TASKS = "/proc/self/task"


@dataclass
class Gate:
    """One bar and what was measured against it."""

    point: str
    what: str
    measured: float
    bar: float
    unit: str = "x"
    at_least: bool = False  # otherwise at most
    detail: str = ""

    @property
    def passed(self):
        """Whether the bar is cleared."""
        if self.at_least:
            return self.measured >= self.bar
        return self.measured <= self.bar


def interleaved(calls, rounds, summary=statistics.median):
    """Medians by name; the order rotates, and turns round every other round."""
    values = {name: [] for name in calls}
    names = list(calls)
    for i in range(rounds + 1):
        turn = names[i % len(names) :] + names[: i % len(names)]
        for name in turn if i % 2 else reversed(turn):
            value = calls[name]()
            if i:  # the first round warms up
                values[name].append(value)
    return {name: summary(v) for name, v in values.items()}


def hole_read(device, contender, order=None):
    """A call that gives ns per page of one round."""

    def call():
        result = native.fault_round(device, contender, PAGES, order=order)
        return result.ns / PAGES

    return call


def page_cache_gates(device):
    """Point 2: the zero page against page-cache pages."""
    ns = interleaved(
        {
            "zero": hole_read(device, native.ZERO_PAGE),
            "warm": hole_read(device, native.PAGE_CACHE_WARM),
            "cold": hole_read(device, native.PAGE_CACHE_COLD),
        },
        HEAVY_ROUNDS,
    )
    for pool, bar in (("warm", 1 / 5), ("cold", 1 / 20)):
        yield Gate(
            "2",
            f"hole read, zero page / page-cache {pool}",
            ns["zero"] / ns[pool],
            bar,
            detail=f"{ns['zero']:.1f} / {ns[pool]:.1f} ns per page",
        )


def floor_gates(device):
    """Points 2 and 3: the zero page against the bare floor, and by 2 MiB."""
    ns = interleaved(
        {
            "floor": hole_read(device, native.FLOOR),
            "zero": hole_read(device, native.ZERO_PAGE),
            "pmd": hole_read(device, native.ZERO_PAGE_PMD),
        },
        LIGHT_ROUNDS,
    )
    yield _floor_gate("sequential", ns, 2.0)
    order = native.permutation(PAGES)
    random = interleaved(
        {
            "floor": hole_read(device, native.FLOOR, order),
            "zero": hole_read(device, native.ZERO_PAGE, order),
        },
        LIGHT_ROUNDS,
    )
    yield _floor_gate("random", random, 2.5)
    what = "hole read by 2 MiB, per 4 KiB page"
    yield Gate("3", what, ns["pmd"], 0.5, unit="ns")


def _floor_gate(order, ns, bar):
    return Gate(
        "2",
        f"hole read {order}, zero page / floor",
        ns["zero"] / ns["floor"],
        bar,
        detail=f"{ns['zero']:.1f} / {ns['floor']:.1f} ns per page",
    )


def memory_gates(device):
    """Points 3 and 4: bytes of tree and page table per 4 KiB page."""
    for point, contender, what, bar in (
        ("3", native.ZERO_PAGE_PMD, "tree and table by 2 MiB", 0.1),
        ("4", native.ZERO_PAGE, "tree and table by 4 KiB", 18),
    ):
        result = native.fault_round(device, contender, PAGES)
        nbytes = result.tree_bytes + result.page_table_bytes
        detail = f"{result.tree_bytes:,} + {result.page_table_bytes:,} bytes"
        yield Gate(point, what, nbytes / PAGES, bar, unit="B", detail=detail)


def count_gates(device):
    """Point 5: faults per page, exact."""
    pages = 4096
    for scenario, what, zero, cache in (
        (native.FIRST_WRITE, "first write", 1, 2),
        (native.READ_THEN_WRITE, "read then write", 2, 3),
    ):
        for contender, policy, bar in (
            (native.ZERO_PAGE, "zero page", zero),
            (native.PAGE_CACHE_WARM, "page cache", cache),
        ):
            result = native.fault_round(device, contender, pages, scenario)
            per_page = result.all_faults / pages
            # Exact: one more and one less are both wrong.
            off = abs(per_page - bar)
            detail = f"{per_page:g} faults per page, {bar} expected"
            what_is = f"{what}, {policy}: faults off by"
            yield Gate("5", what_is, off, 0, unit="", detail=detail)


def tree_gates():
    """Point 6: tree and entry lock against bare loads and bare locks."""
    with closing(native.Tree(PAGES)) as tree, closing(native.Tree(4 * PAGES)) as large:
        calls = {
            work: _tree_round(large if "random" in work else tree, work)
            for work in native.TREE_WORKS
        }
        ns = interleaved(calls, TREE_ROUNDS)
    yield _lookup_gate(ns)
    for what, over, under, bar in (
        ("lookup random / bare walk", "lookup, random", "bare walk, random", 1.3),
        (
            "lock and unlock / bare pair",
            "entry lock and unlock",
            "bare compare-and-swap pair",
            1.5,
        ),
        (
            "two threads, one entry / spin lock",
            "entry lock, two threads",
            "bare spin lock, two threads",
            2.0,
        ),
    ):
        detail = f"{ns[over]:.2f} / {ns[under]:.2f} ns"
        yield Gate("6", what, ns[over] / ns[under], bar, detail=detail)
    yield _scaling_gate(ns)


def _tree_round(tree, work):
    iterations = LOCKS if "lock" in work or "pair" in work else LOOKUPS
    return lambda: tree.round_ns(work, iterations)


def _lookup_gate(ns):
    """Either bar will do: 2 ns, or 4 times the flat load."""
    lookup, flat = ns["lookup, sequential"], ns["flat load, sequential"]
    walk = ns["bare walk, sequential"]
    bar = max(2.0, 4 * flat)
    return Gate(
        "6",
        "lookup sequential",
        lookup,
        bar,
        unit="ns",
        detail=f"flat load {flat:.2f}, bare walk {walk:.2f} ns",
    )


def _scaling_gate(ns):
    """Two threads on two pages: speed-up against that of two bare pairs."""
    entry = 2 * ns["entry lock and unlock"] / ns["entry locks, two pages"]
    bare = 2 * ns["bare compare-and-swap pair"] / ns["two bare pairs, two lines"]
    return Gate(
        "6",
        "speed-up by two threads / of bare pairs",
        entry / bare,
        0.9,
        at_least=True,
        detail=f"{entry:.2f} / {bare:.2f} times",
    )


def writeback_gates():
    """Point 8: dirty entries among clean ones, against a loop of clwb."""
    entries = 1 << 20
    for dirty, rounds in ((65536, WRITEBACK_ROUNDS), (64, LIGHT_ROUNDS)):
        with closing(native.Writeback(entries, dirty)) as bench:
            ns = interleaved(
                {
                    "fsync": lambda b=bench: b.round_ns(False),
                    "bare": lambda b=bench: b.round_ns(True),
                },
                rounds,
            )
            visits, written = bench.stat("writeback_visit"), bench.stat("writeback_one")
        what = f"fsync of {dirty:,} dirty entries in {entries:,}"
        if dirty == 64:
            yield Gate("8", what, ns["fsync"] / 1e3, 100, unit="us")
        else:
            detail = f"{ns['fsync'] / 1e6:.2f} / {ns['bare'] / 1e6:.2f} ms"
            yield Gate(
                "8", f"{what} / clwb", ns["fsync"] / ns["bare"], 1.3, detail=detail
            )
        yield Gate("8", f"{what}: visits / written", visits / written, 1.0)


def rw_gates(device):
    """Point 9: reads and writes of 1 MiB against memcpy, and the kernel's."""
    with tempfile.TemporaryFile() as file:
        with closing(native.ReadWrite(device, 1 << 20, file.fileno())) as bench:
            small = interleaved(_rw_calls(bench, 4096), LIGHT_ROUNDS)
            large = interleaved(_rw_calls(bench, 1 << 20), LIGHT_ROUNDS)
    for work, bare in (
        ("pwrite", "memcpy in"),
        ("pread", "memcpy out"),
        ("pread of a hole", "memset"),
    ):
        speed = {name: large[bare] / ns for name, ns in large.items()}
        detail = f"by 4 KiB {small[bare] / small[work]:.2f}"
        if f"os.{work}" in large:
            detail += f"; os.{work} {speed[f'os.{work}']:.2f}"
            detail += f", by 4 KiB {small[bare] / small[f'os.{work}']:.2f}"
        what = f"{work} by 1 MiB: speed / {bare.split()[0]}"
        yield Gate("9", what, speed[work], 0.9, at_least=True, detail=detail)


def _rw_calls(bench, piece):
    """Each of RW_WORKS over the window, 16 times."""
    return {
        work: lambda w=work: bench.round_ns(w, piece, 16) for work in native.RW_WORKS
    }


def truncate_gates(device):
    """Point 10: truncate of 16 GiB of hole that is mapped from end to end."""
    size = 16 << 30
    ns = interleaved(
        {
            "2 MiB": lambda: native.truncate_round_ns(device, size, "pmd"),
            "4 KiB": lambda: native.truncate_round_ns(device, size, "pte"),
            "walk": lambda: native.floor_truncate_round_ns(size // 4096),
        },
        HEAVY_ROUNDS,
    )
    yield Gate("10", "truncate of 16 GiB by 2 MiB", ns["2 MiB"] / 1e6, 50, unit="ms")
    detail = f"{ns['4 KiB'] / 1e6:.1f} / {ns['walk'] / 1e6:.1f} ms"
    what = "truncate of 16 GiB by 4 KiB / bare walk"
    yield Gate("10", what, ns["4 KiB"] / ns["walk"], 2.0, detail=detail)


def python_gate(device):
    """Point 7: fault_range called from Python against the C loop."""
    ns = interleaved(
        {
            "python": lambda: native.python_round_ns(device, PAGES) / PAGES,
            "c": hole_read(device, native.ZERO_PAGE),
        },
        PYTHON_ROUNDS,
    )
    yield Gate(
        "7",
        "fault_range in Python / in C",
        ns["python"] / ns["c"],
        1.02,
        detail=f"{ns['python']:.2f} / {ns['c']:.2f} ns per page",
    )


class _HoleMap(daxcore.BlockMap):
    def begin(self, pos, length, flags):
        return 0, PAGES * daxcore.PAGE_SIZE, 0, self.HOLE


def _hole_table():
    rows = np.zeros(1, dtype=daxcore.ExtentTable.columns)
    rows["length"] = PAGES * daxcore.PAGE_SIZE
    return daxcore.ExtentTable(rows)


def _map_round_ns(device, make, pages):
    """A call that gives ns per page of a hole read over a block map."""

    def call():
        size = PAGES * daxcore.PAGE_SIZE
        with device.create_file(size, iomap=make()) as file:
            with file.mmap(pages="pte") as m:
                start = time.perf_counter_ns()
                m.fault_range(0, pages)
                return (time.perf_counter_ns() - start) / pages

    return call


def block_map_gates(device):
    """Point 14: block maps from Python against the built-in one."""
    c_map = native.hole_map()
    ns = interleaved(
        {
            "built-in": _map_round_ns(device, lambda: None, PAGES),
            "ExtentTable": _map_round_ns(device, _hole_table, PAGES),
            "CBlockMap": _map_round_ns(device, lambda: daxcore.CBlockMap(c_map), PAGES),
            "BlockMap": _map_round_ns(device, _HoleMap, MAP_PAGES),
        },
        LIGHT_ROUNDS,
    )
    for name in ("ExtentTable", "CBlockMap"):
        detail = f"{ns[name]:.2f} / {ns['built-in']:.2f} ns per page"
        yield Gate(
            "14", f"hole read, {name} / built-in map", ns[name] / ns["built-in"], 1.15,
            detail=detail,
        )  # fmt: skip
    yield Gate("14", "hole read over a Python method", ns["BlockMap"] / 1e3, 1.5, "us")


def trace_gate():
    """Point 11: the fault with its trace sites, off, against one without them.

    Both are built here, alike but for the sites.  Medians of differences of
    short rounds that follow each other: what disturbs one disturbs the other.
    """
    with (
        closing(native.Engine("traced")) as traced,
        closing(native.Engine("untraced")) as untraced,
    ):
        rounds = []
        for i in range(TRACE_ROUNDS + 1):
            turn = (traced, untraced) if i % 2 else (untraced, traced)
            ns = {engine: engine.hole_read_ns(TRACE_PAGES) for engine in turn}
            rounds.append((ns[traced], ns[untraced]))
    del rounds[0]  # warms up
    with_sites, without = map(statistics.median, zip(*rounds, strict=True))
    yield Gate(
        "11",
        "trace sites that are off, per fault",
        statistics.median(a - b for a, b in rounds),
        1.0,
        unit="ns",
        detail=f"medians {with_sites:.2f} and {without:.2f} ns per page",
    )


def sparse_gates():
    """Point 12: a sparse file of 100 GiB with 1 MiB of data."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "sparse")
        make_sparse(path, 100 << 30, b"x" * (1 << 20))
        used = os.stat(path).st_blocks
        seconds, nbytes = fault_in(path)
        yield Gate("12", "100 GiB faulted in by 2 MiB", seconds, 1, unit="s")
        yield Gate("12", "its tree, table and map", nbytes / 2**20, 2, unit="MiB")
        blocks = os.stat(path).st_blocks - used
        yield Gate("12", "blocks that reading took", blocks, 0, unit="")
        yield hole_pread_gate(path)
        os.unlink(path)
        make_sparse(path, 16 << 30)
        yield Gate("12", "truncate of 16 GiB, mapped", truncate_ms(path), 50, unit="ms")


def make_sparse(path, size, data=b""):
    """A file of holes with `data` in its middle."""
    with open(path, "xb") as file:
        file.truncate(size)
        file.seek(size // 2)
        file.write(data)


def fault_in(path):
    """Seconds to load from every page of a file, and the bytes it took."""
    with daxcore.open(path) as file, file.mmap() as m:
        start = time.perf_counter()
        m.fault_range(0, file.size // 4096)
        seconds = time.perf_counter() - start
        stats = file.stats()
    kinds = ("tree_bytes", "page_table_bytes", "block_map_bytes", "page_cache_bytes")
    return seconds, sum(stats[kind] for kind in kinds)


def truncate_ms(path):
    """Milliseconds to cut off all of a file that is mapped by 2 MiB."""
    with daxcore.open(path) as file, file.mmap() as m:
        m.fault_range(0, file.size // 4096)
        start = time.perf_counter()
        file.truncate(0)
        return (time.perf_counter() - start) * 1000


def hole_pread_gate(path, chunk=16 << 20):
    """Speed of pread of holes against memset into the same buffer."""
    buffer = capi.ffi.new("char[]", chunk)
    where = int(capi.ffi.cast("uintptr_t", buffer))
    with daxcore.open(path, "r") as file:
        mapping = capi.from_object(file)
        ns = interleaved(
            {
                "memset": lambda: timed(ctypes.memset, where, 0, chunk),
                "pread": lambda: timed(
                    capi.lib.dax_mapping_pread, mapping, buffer, chunk, 0
                ),
            },
            PYTHON_ROUNDS,
        )
        capi.ffi.release(mapping)
    return Gate(
        "12",
        "pread of holes / memset, speed",
        ns["memset"] / ns["pread"],
        0.9,
        at_least=True,
        detail=f"{ns['memset'] / 1e3:.1f} / {ns['pread'] / 1e3:.1f} us per 16 MiB",
    )


def timed(call, *args):
    """Nanoseconds of one call."""
    start = time.perf_counter_ns()
    call(*args)
    return time.perf_counter_ns() - start


@dataclass
class RealTimes:
    """Medians of some rounds of memory with addresses, ns per page."""

    mapped: float  # making the mapping and the touch
    touched: float
    again: float

    @classmethod
    def of(cls, results):
        """From struct real_result and the pages of a round."""

        def median(*fields):
            return statistics.median(
                sum(getattr(result, field) for field in fields) / pages
                for result, pages in results
            )

        return cls(median("map_ns", "touch_ns"), median("touch_ns"), median("again_ns"))


def real_rounds(calls, rounds):
    """RealTimes by name; a call is (owner, pages, what real_round() takes)."""

    def one(owner, pages, **how):
        if owner in (native.FILE, native.SPARSE):
            machine.warm_memory(pages * 4096)  # new pages are not to be the host's
        return native.real_round(owner, pages, **how), pages

    calls = {n: lambda c=c: one(c[0], c[1], **c[2]) for n, c in calls.items()}
    return interleaved(calls, rounds, RealTimes.of)


def real_read_gates(device, disk, tmpfs):
    """Point 13: hole reads by addresses, mapping included, against the kernel."""
    kernel = {
        "disk": (native.FILE, PAGES, {"fd": disk}),
        "tmpfs": (native.FILE, PAGES, {"fd": tmpfs}),
        "anonymous": (native.ANONYMOUS, PAGES, {}),
        "huge": (native.ANONYMOUS_HUGE, PAGES, {}),
    }
    for name, order, bars in (
        ("sequential", None, {"disk": 20, "tmpfs": 200, "anonymous": 50}),
        ("random", native.permutation(PAGES), {"disk": 100, "tmpfs": 200}),
    ):
        calls = {"real": (native.ENGINE, PAGES, {"device": device}), **kernel}
        calls = {n: (o, p, {**h, "order": order}) for n, (o, p, h) in calls.items()}
        times = real_rounds(calls, REAL_ROUNDS)
        for other, bar in bars.items():
            yield _real_gate(f"hole read {name}", times, other, 1 / bar)
        yield _again_gate(name, times)


def _real_gate(what, times, other, bar):
    over, under = times["real"].mapped, times[other].mapped
    detail = f"{over:.2f} / {under:.1f} ns per page"
    return Gate("13", f"real {what} / {_name(other)}", over / under, bar, detail=detail)


def _name(other):
    return machine.file_system(".") if other == "disk" else other


def _again_gate(order, times):
    """Plain mapped memory: anonymous, shown by the kernel's huge zero page."""
    over, under = times["real"].again, times["huge"].again
    detail = f"{over:.2f} / {under:.2f} ns; " + ", ".join(
        f"{_name(n)} {times[n].again:.1f}" for n in ("anonymous", "tmpfs", "disk")
    )
    what = f"real re-read {order} / plain memory"
    return Gate("13", what, over / under, 1.2, detail=detail)


def real_masked_gate():
    """Point 13: the same where there are no huge pages, in a process of its own."""
    code = f"import gates; gates.print_masked({PAGES}, {REAL_ROUNDS})"
    env = {**os.environ, "DAXCORE_DISABLE": "thp"}
    command = [sys.executable, "-c", code]
    folder = os.path.dirname(os.path.abspath(__file__))
    out = subprocess.run(
        command, cwd=folder, env=env, check=True, stdout=subprocess.PIPE
    )
    real, anonymous = json.loads(out.stdout)
    bar = max(250, anonymous / 3)  # either will do
    detail = f"anonymous memory {anonymous:.1f}"
    return Gate("13", "real hole read, no huge pages", real, bar, "ns", detail=detail)


def print_masked(pages, rounds):
    """[real, anonymous]: ns per page, for real_masked_gate()."""
    with daxcore.Device.memory(2 << 20) as device:
        calls = {
            "real": (native.ENGINE, pages, {"device": device}),
            "anonymous": (native.ANONYMOUS, pages, {}),
        }
        times = real_rounds(calls, rounds)
    print(json.dumps([times["real"].mapped, times["anonymous"].mapped]))


@contextmanager
def placed(delivery):
    """With a thread to wake: all on one CPU.

    Waking another CPU is ten times as dear, and which it is going to be is the
    scheduler's choice, another in every round.
    """
    one = {min(os.sched_getaffinity(0))} if delivery == "thread" else None
    before = {int(t): os.sched_getaffinity(int(t)) for t in os.listdir(_TASKS)}
    for task in before:
        os.sched_setaffinity(task, one or before[task])
    try:
        yield
    finally:
        for task in map(int, os.listdir(_TASKS)):
            os.sched_setaffinity(task, before.get(task, before[os.getpid()]))


def real_fault_gates(device):
    """Point 13: single faults against the bare kernel calls."""
    single = {"device": device, "kind": "pte", "fault_around": 0}
    for delivery in ("signal", "thread"):
        calls = {
            "read-only": real_touch(delivery=delivery, access="r", **single),
            "writable": real_touch(delivery=delivery, **single),
            "zeropage": bare_touch(native.LOAD, delivery),
            "protected": bare_touch(native.LOAD_WRITABLE, delivery),
        }
        with placed(delivery):
            ns = interleaved(calls, SINGLE_ROUNDS)
        for mapping, twin, calls in (
            ("read-only", "zeropage", "ZEROPAGE"),
            ("writable", "zeropage", "ZEROPAGE"),
            ("writable", "protected", "its calls"),
        ):
            what = f"real fault by {delivery}, {mapping} / {calls}"
            yield _twin_gate(what, ns[mapping], ns[twin])


def _twin_gate(what, over, under):
    detail = f"{over:,.0f} / {under:,.0f} ns"
    return Gate("13", what, over / under, 1.3, detail=detail)


def real_touch(**how):
    """A call that gives ns per touch of a page, the mapping made before."""

    owner = native.SPARSE if "path" in how else native.ENGINE

    def call():
        result = native.real_round(owner, SINGLE_PAGES, **how)
        return result.touch_ns / SINGLE_PAGES

    return call


def bare_touch(work, delivery, order=None, fd=-1):
    """The same of the bare kernel calls."""
    return lambda: (
        native.real_floor_ns(work, delivery, SINGLE_PAGES, order, fd) / SINGLE_PAGES
    )


def single_write_gates(what, work, fd=-1, **where):
    """First writes one by one, by both deliveries, against the bare calls."""
    order = native.permutation(SINGLE_PAGES)
    for delivery in ("signal", "thread"):
        how = {**where, "delivery": delivery, "order": order, "write": True}
        calls = {
            "real": real_touch(**how),
            "bare": bare_touch(work, delivery, order, fd),
        }
        with placed(delivery):
            ns = interleaved(calls, SINGLE_ROUNDS)
        name = f"real first write {what}, {delivery} / its calls"
        yield _twin_gate(name, ns["real"], ns["bare"])


def real_write_gates(device, tmpfs):
    """Point 13: first writes, one by one and in a row."""
    yield from single_write_gates("random", native.STORE, device=device)
    times = real_rounds(
        {
            "real": (native.ENGINE, PAGES, {"device": device, "write": True}),
            "tmpfs": (native.FILE, PAGES, {"fd": tmpfs, "write": True}),
        },
        REAL_ROUNDS,
    )
    yield _real_gate("first write sequential", times, "tmpfs", 1 / 4)


@contextmanager
def file_on_disk():
    """A path and a descriptor; nothing stays, however the process ends."""
    with tempfile.TemporaryFile(dir=".") as file:
        yield f"/proc/self/fd/{file.fileno()}", file.fileno()


def real_sparse_gates():
    """Point 13: first writes to a sparse file, one by one and in a row."""
    with file_on_disk() as (path, fd):
        yield from single_write_gates("sparse", native.STORE_SPARSE, fd, path=path)
        times = real_rounds(
            {
                "real": (native.SPARSE, PAGES, {"path": path, "write": True}),
                "disk": (native.FILE, PAGES, {"fd": fd, "write": True}),
            },
            REAL_ROUNDS,
        )
    yield _real_gate("first write in a row, sparse", times, "disk", 1.1)


def real_memory_gates():
    """Point 13: what 1 GiB of holes takes that was read by addresses."""
    with file_on_disk() as (path, fd):
        os.ftruncate(fd, PAGES * 4096)
        with daxcore.open(path) as file:
            read_by_addresses(file)  # what comes once: buffers, per-thread areas
            grown, own = read_by_addresses(file)
        blocks = os.fstat(fd).st_blocks
    rss, tables = (grown[k] / 2**20 for k in ("rss_delta_bytes", "vmpte_delta_bytes"))
    detail = f"Cached {grown['system_cached_delta_bytes'] / 2**20:+.1f} MiB"
    yield Gate(
        "13", "real memory, 1 GiB: RSS off by", abs(rss), 2, "MiB", detail=detail
    )
    detail = f"the engine's own {own:,} bytes"
    yield Gate("13", "its page tables", tables, 2.1, "MiB", detail=detail)
    yield Gate("13", "blocks that reading took", blocks, 0, unit="")


def read_by_addresses(file):
    """Growth of what the process uses, and bytes of the engine's."""
    before = machine.memory_use()
    with file.mmap(backend="real") as m:
        native.load_pages(m.address, PAGES)
        after, stats = machine.memory_use(), file.stats()
    own = stats["tree_bytes"] + stats["page_table_bytes"] + stats["block_map_bytes"]
    return {kind: after[kind] - before[kind] for kind in after}, own


def real_gates():
    """Point 13: memory with addresses."""
    room = PAGES * 4096 + (64 << 20)
    short = [d for d in (".", "/dev/shm") if machine.free_bytes(d) < room]
    if machine.userfaultfd()[0] == "no" or short:
        print(f"real memory left out: userfaultfd, or room on {short}", file=sys.stderr)
        return
    with (
        daxcore.Device.memory(room) as device,
        tempfile.TemporaryFile(dir=".") as disk,
        tempfile.TemporaryFile(dir="/dev/shm") as tmpfs,
    ):
        yield from real_read_gates(device, disk.fileno(), tmpfs.fileno())
        yield real_masked_gate()
        yield from real_fault_gates(device)
        yield from real_memory_gates()
        yield from real_write_gates(device, tmpfs.fileno())
        yield from real_sparse_gates()


def measure():
    """All gates, in the order of their points."""
    with daxcore.Device.memory(64 << 20) as device:
        gates = [
            *page_cache_gates(device),
            *floor_gates(device),
            *memory_gates(device),
            *count_gates(device),
            *tree_gates(),
            *python_gate(device),
            *block_map_gates(device),
            *writeback_gates(),
            *rw_gates(device),
            *truncate_gates(device),
            *trace_gate(),
            *sparse_gates(),
            *real_gates(),
        ]
    return sorted(gates, key=lambda gate: int(gate.point))


def print_table(gates):
    """One line per gate."""
    for gate in gates:
        verdict = "PASS" if gate.passed else "FAIL"
        sign = ">=" if gate.at_least else "<="
        measured = f"{gate.measured:.3f} {gate.unit}".strip()
        bar = f"{sign} {gate.bar:.3g} {gate.unit}".strip()
        print(
            f"{gate.point:>2}  {gate.what:44} {measured:>11}  {bar:10}  {verdict}"
            f"  {gate.detail}"
        )


def warn_if_busy():
    """Other work on the machine spoils the loops of two threads most of all."""
    load, cpus = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load > cpus / 2 or cpus < 2:
        print(
            f"load {load:.1f} on {cpus} CPUs: ratios of two threads need two idle ones",
            file=sys.stderr,
        )


def main():
    """Measure, print, and say by the exit status whether all is well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="- is standard output")
    parser.add_argument("--real", action="store_true", help="real memory alone")
    args = parser.parse_args()
    warn_if_busy()
    gates = list(real_gates()) if args.real else measure()
    if args.json != "-":
        print_table(gates)
    if args.json:
        rows = [{**asdict(gate), "passed": gate.passed} for gate in gates]
        text = json.dumps(rows, indent=2) + "\n"
        if args.json == "-":
            sys.stdout.write(text)
        else:
            with open(args.json, "w", encoding="utf-8") as file:
                file.write(text)
    return 0 if all(gate.passed for gate in gates) else 1


if __name__ == "__main__":
    sys.exit(main())
