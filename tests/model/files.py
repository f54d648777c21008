# SPDX-License-Identifier: BSD-3-Clause
"""Files with shared and private mappings, against byte arrays.

A file, later also a clone of it, is changed in every way there is, through two
shared mappings and a private one to begin with, more and fewer later on: soft
ones, or real ones that the CPU loads from and stores to.
After every step the invariants are checked in C on the objects that the step
worked on, and the bytes around the step, a sample of the others and all private
copies are compared; at the end of a sequence everything is, through pread and
through every mapping.

Rules for what a build of daxcore does not have are left out, see `step`.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from library import LIBRARY
from sparse_bytes import PAGE, SparseBytes, pieces, splice

import daxcore
from daxcore import (
    Device,
    FaultError,
    FaultResult,
    File,
    IomapFlag,
    IomapType,
    NotSupportedError,
)

MIB = 1 << 20
AREA = 5 * MIB  # of a file, where things happen: at 0, and at `base`
REAL_BASE = 6 * MIB
DEVICE_SIZE = 48 * MIB
HOST_FRAME = 1 << 51  # of a private copy
LONGEST = 3 * PAGE
MAX_VIEWS = 5
PMD_PAGES = 2 * MIB // PAGE
TIME_LIMIT = 60  # seconds, of a thread
LIBC = ctypes.CDLL(None)  # its calls are made without the GIL
LIBC.memcpy.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
REFUSED = object()  # what a call returns that had no memory

EDGES = [n * MIB + d for n in range(6) for d in (-PAGE, -1, 0, 1, PAGE)]
EDGES = [n for n in EDGES if 0 <= n <= AREA]
# ("low" or "far", distance from the area's start) or ("end", from the file's)
WHERE = st.one_of(
    st.tuples(st.just("low"), st.sampled_from(EDGES)),
    st.tuples(st.just("low"), st.integers(0, 8 * PAGE)),
    st.tuples(st.just("low"), st.integers(0, AREA)),
    st.tuples(st.just("far"), st.sampled_from(EDGES)),
    st.tuples(st.just("far"), st.integers(0, AREA)),
    st.tuples(st.just("end"), st.sampled_from([-PAGE, -1, 0, 1, PAGE])),
    st.tuples(st.just("end"), st.integers(-2 * PAGE, 2 * PAGE)),
)
LARGE = st.sampled_from([("low", AREA), ("far", AREA)])
BASES = st.sampled_from([0, 0, 0, 1 << 30, (3 << 30) - 2 * MIB])
LENGTHS = st.one_of(st.integers(1, LONGEST), st.sampled_from([1, PAGE, 2 * PAGE]))
RANGES = st.one_of(LENGTHS, st.integers(1, 3 * MIB), st.sampled_from([MIB, 2 * MIB]))
DATA = st.tuples(st.integers(1, 255), LENGTHS).map(lambda t: bytes([t[0]]) * t[1])
WHICH = st.integers(0, 11)  # one of the files, one of the mappings
# None, mostly; else which allocation from now on fails
OOM = st.sampled_from([None] * 9 + [1, 2, 3])


RULES = set()  # names


def step(present=True, **strategies):
    """A rule that must run, if daxcore has what it calls."""

    def decorate(function):
        if not present:
            return function
        RULES.add(function.__name__)
        return rule(**strategies)(function)

    return decorate


def fast_directory():
    """Where fsync costs nothing, if there is room; else the usual place."""
    shm = Path("/dev/shm")
    room = shm.is_dir() and shutil.disk_usage(shm).free > 4 * DEVICE_SIZE
    return shm if room and os.access(shm, os.W_OK) else None


class View:
    """A mapping, with the pages it has copied."""

    def __init__(self, twin, first, nr_pages, **how):
        self.twin = twin
        self.first = first
        self.nr_pages = nr_pages
        self.shared = how.get("shared", True)
        self.copies = {}
        self.mmap = twin.file.mmap(first * PAGE, nr_pages * PAGE, **how)

    @property
    def real(self):
        return self.mmap.backend == "real"

    @property
    def start(self):
        return self.first * PAGE

    def fold(self, pos):
        """A position of the file that the mapping covers."""
        return self.start + (pos - self.start) % (self.nr_pages * PAGE)

    def legal(self, pos, length):
        """How much of a range can be loaded: up to the end of the last page."""
        return max(0, min(length, self.twin.bytes.nr_pages * PAGE - pos))

    def inside(self, pos, length):
        """The length of a range that begins in the mapping."""
        return min(length, self.start + self.nr_pages * PAGE - pos)

    def shown(self, pos, length):
        return self.twin.bytes.read(pos, length, self.copies)

    def read(self, pos, length):
        return self.mmap.read(pos - self.start, length)

    def write(self, pos, data):
        return self.mmap.write(pos - self.start, data)

    def raw_read(self, pos, length):
        """Loads of the CPU, of bytes that are there."""
        with memoryview(self.mmap) as memory:
            return bytes(memory[pos - self.start :][:length])

    def raw_write(self, pos, data):
        """Stores of the CPU, without the GIL."""
        LIBC.memcpy(self.mmap.address + pos - self.start, data, len(data))

    def copy_page(self, n):
        if not self.shared:
            self.copies.setdefault(n, self.twin.bytes.page(n))

    def stored(self, pos, data):
        """The model's side of a store."""
        if self.shared:
            self.twin.bytes.store(pos, data)
            self.twin.unsynced.update(n for n, _, _ in pieces(pos, data))
            return
        for n, within, piece in pieces(pos, data):
            self.copy_page(n)
            self.copies[n] = splice(self.copies[n], within, piece)

    def drop_copies(self, first, last):
        self.copies = {n: c for n, c in self.copies.items() if not first <= n <= last}

    def check_copies(self):
        """I15: every private copy is there and holds what was stored."""
        for n, page in self.copies.items():
            # of a piece of the file the kernel makes a copy by itself
            assert self.real or self.mmap.pagemap(n, 1)[0] & HOST_FRAME
            assert self.read(n * PAGE, PAGE) == page
            assert not self.real or self.raw_read(n * PAGE, PAGE) == page

    def check_pages(self, numbers):
        """I12: loads of whole pages, faulting as needed."""
        for n in numbers:
            if self.first <= n < self.first + self.nr_pages:
                assert self.load_page(n) == self.shown(n * PAGE, PAGE)

    def load_page(self, n):
        return (self.raw_read if self.real else self.read)(n * PAGE, PAGE)


class Twin:
    """A file and what it should hold."""

    def __init__(self, file, contents, delivery=None):
        self.file = file
        self.backend = {"backend": "real", "delivery": delivery} if delivery else {}
        self.address = file.c_address
        self.bytes = contents
        self.unsynced = set()  # pages stored to through a mapping since the last fsync
        self.views = []

    def map(self, first, nr_pages, **how):
        """`fault_around` is for real mappings alone."""
        if not self.backend:
            how.pop("fault_around", None)
        view = View(self, first, nr_pages, **self.backend, **how)
        self.views.append(view)
        return view

    def check(self, pos, length):
        """I12 without faults: pread of a range."""
        assert self.file.size == self.bytes.size
        length = max(0, min(length, self.bytes.size - pos))
        assert self.file.pread(length, pos) == self.bytes.read(pos, length)

    def check_private(self):
        copied = [PAGE * len(view.copies) for view in self.views]
        if self.backend:
            assert [view.mmap.memory()["copy_bytes"] for view in self.views] == copied
        else:
            assert self.file.stats()["cow_bytes"] == sum(copied)
        for view in self.views:
            view.check_copies()

    def forget(self, first, last):
        """Pages that are gone, or synced."""
        self.unsynced = {n for n in self.unsynced if not first <= n <= last}

    @contextlib.contextmanager
    def nothing_lost(self, first, last):
        """Entries of a range that are DIRTY before and not after were flushed."""
        before, flushed = self.dirty_entries(first, last), self.nr_flushed()
        yield
        clean = before - self.dirty_entries(first, last)
        assert self.nr_flushed() - flushed >= len(clean)

    def nr_flushed(self):
        return self.file.stats()["writeback_one"]

    def dirty_entries(self, first, last):
        rows = self.file.entries()
        rows = rows[rows["dirty"]]
        places = zip(rows["index"].tolist(), rows["order"].tolist(), strict=True)
        return {(n, o) for n, o in places if n <= last and n + (1 << o) > first}

    def check_dirty(self):
        """What was stored is DIRTY until it is synced, whatever becomes of the
        entries around it; not so what the CPU stored, which nobody has seen."""
        if self.backend:
            return
        dirty = set()
        for first, order in self.dirty_entries(0, 1 << 52):
            dirty.update(range(first, first + (1 << order)))
        assert self.unsynced <= dirty, sorted(self.unsynced - dirty)

    def changed_pages(self):
        """Every page that may hold something, or that something was said of."""
        pages = set(self.bytes.pages)
        for row in self.file.entries():
            first = int(row["index"])
            pages.update(range(first, first + (1 << int(row["order"]))))
        for view in self.views:
            pages.update(view.copies)
        return sorted(n for n in pages if n < self.bytes.nr_pages)

    def check_all(self):
        """I12: every byte, by pread and through every mapping."""
        if self.bytes.size <= 2 * AREA:
            self.check(0, self.bytes.size)
            pages = range(self.bytes.nr_pages)
        else:
            pages = self.changed_pages()
        for n in pages:
            self.check(n * PAGE, PAGE)
        for view in self.views:
            view.check_pages(pages)

    def tail_may_be_zero(self):
        """Behind the end of file, in the last page, a call may or may not have
        zeroed what was stored there: the model takes over what it finds."""
        size = self.bytes.size
        view = next((v for v in self.views if v.shared and v.first <= size // PAGE
                     < v.first + v.nr_pages), None)  # fmt: skip
        if size % PAGE == 0:
            return
        length = PAGE - size % PAGE
        kept = self.bytes.read(size, length)
        found = view.read(size, length) if view else bytes(length)
        assert found in (kept, bytes(length))
        self.bytes.store(size, found)

    def close(self):
        for view in self.views:
            view.mmap.close()
            assert not LIBRARY.check(self.address), LIBRARY.report().decode()
        self.file.close()


class FileMachine(RuleBasedStateMachine):
    """What a mapping shows is the file, but for pages copied on write."""

    policy = "zero-page"
    pages = "pmd"
    blocks = "extent_map"
    delivery = None  # of real mappings

    # ---- beginning and end -------------------------------------------------------

    @initialize(
        base=BASES,
        where=st.one_of(WHERE, LARGE),
        backing=st.sampled_from(["memory", "file"]),
    )
    def open(self, base, where, backing):
        # real mappings have their holes mapped beforehand: not too many
        self.base = min(base, REAL_BASE) if self.delivery else base
        self.nr_checks = 0
        self.touched = (0, 0)
        self.directory = None
        self.device = None
        self.twins = []
        size = self.at(where, SparseBytes(0))
        file = self.open_sparse(size) if self.sparse else self.create(size, backing)
        twin = Twin(file, SparseBytes(size), self.delivery)
        self.twins.append(twin)
        nr = self.limit // PAGE
        around = None if self.delivery == "thread" else 0  # each fault takes long
        twin.map(0, nr, pages=self.kinds[0], fault_around=around)
        twin.map(0, nr, pages="pte")
        twin.map(0, nr, pages=self.kinds[0], shared=False)

    @property
    def sparse(self):
        return self.blocks == "sparse_file"

    @property
    def kinds(self):
        """Mappings that there may be, of 2 MiB pages or of 4 KiB pages alone."""
        return ["auto", "pte"] if self.pages == "pmd" else ["pte"]

    def new_path(self):
        self.directory = tempfile.mkdtemp(prefix="daxcore-model-", dir=fast_directory())
        return Path(self.directory, "file")

    def create(self, size, backing):
        if backing == "memory":
            self.device = Device.memory(DEVICE_SIZE)
        else:
            self.device = Device.open(self.new_path(), DEVICE_SIZE, create=True)
        return self.device.create_file(size, policy=self.policy)

    def open_sparse(self, size):
        path = self.new_path()
        path.touch()
        os.truncate(path, size)
        return daxcore.open(path, mode="r+")

    def teardown(self):
        if not hasattr(self, "twins"):
            return
        try:
            if self.sound:
                self.check_everything()
            for twin in self.twins:
                type(self).stats.update(twin.file.stats())
            if self.sound:
                self.close()
        finally:
            self.drop()

    def check_everything(self):
        for twin in self.twins:
            twin.check_all()
        self.check_in_c()
        if hasattr(File, "fsync"):
            self.fsync_twin(self.twins[0])
        elif not self.sparse:
            self.check_medium(self.twins[0])

    def close(self):
        while self.twins:
            self.twins.pop().close()
        if self.device:
            assert self.device.free_bytes == self.device.size
            self.device.close()

    def drop(self):
        """Let go of everything, also after a failure."""
        for twin in self.twins:
            for view in twin.views:
                view.mmap.close()
            twin.file.close()
        if self.device:
            with contextlib.suppress(OSError):  # a failed step may have left a file
                self.device.close()
        if self.directory:
            shutil.rmtree(self.directory)

    # ---- where, and of which -----------------------------------------------------

    @property
    def limit(self):
        """No file is longer."""
        return self.base + AREA

    def at(self, where, contents):
        """A position, from what was drawn."""
        kind, n = where
        pos = n + {"low": 0, "far": self.base, "end": contents.size}[kind]
        return max(0, min(pos, self.limit))

    def begin(self, name, which, where=("low", 0)):
        """Count a step; return its file and its position."""
        self.sound = False
        type(self).ran[name] += 1
        twin = self.twins[which % len(self.twins)]
        return twin, self.at(where, twin.bytes)

    def begin_view(self, name, which, where, length, shared=None):
        """The same for a mapping: return it, a position and a length in it."""
        twin, pos = self.begin(name, which, where)
        views = [v for v in twin.views if shared in (None, v.shared)]
        if not views:
            how = {"shared": shared is not False, "pages": self.kinds[0]}
            views = [twin.map(0, self.limit // PAGE, **how)]
        view = views[which // 2 % len(views)]
        pos = view.fold(pos)
        self.touched = (pos, length)
        return view, pos, view.inside(pos, length)

    def attempt(self, oom, call, *args, **kwargs):
        """Call, perhaps with a failing allocation: the result, or REFUSED."""
        if oom:
            LIBRARY.fail_nth(oom)
        try:
            result = call(*args, **kwargs)
            if not isinstance(result, FaultResult) or not result & FaultResult.OOM:
                return result
            raise MemoryError(result)
        except (MemoryError, FaultError) as error:
            assert oom and LIBRARY.fail_clear(), error
            assert isinstance(error, MemoryError) or error.errno == errno.ENOMEM
            type(self).ran["refused"] += 1
            return REFUSED
        finally:
            LIBRARY.fail_clear()

    # ---- through mappings --------------------------------------------------------

    def raw(self, view, oom):
        """Is it a load or store of the CPU?  Such a one cannot be refused."""
        return view.real and not oom and self.nr_checks % 4

    @step(which=WHICH, where=WHERE, length=LENGTHS, oom=OOM)
    def load(self, which, where, length, oom):
        view, pos, length = self.begin_view("load", which, where, length)
        if view.legal(pos, length) < length:
            with pytest.raises(FaultError):
                view.read(pos, length)
            return
        if self.raw(view, oom):
            assert view.raw_read(pos, length) == view.shown(pos, length)
            return
        data = self.attempt(oom, view.read, pos, length)
        assert data is REFUSED or data == view.shown(pos, length)

    def store_through(self, view, pos, data, oom=None):
        """A store; what lies behind the last page of the file is refused."""
        data = data[: view.inside(pos, len(data))]
        legal = data[: view.legal(pos, len(data))]
        if legal != data:
            with pytest.raises(FaultError) as caught:
                view.write(pos, data)
            assert caught.value.nbytes == len(legal)
        elif self.raw(view, oom):
            view.raw_write(pos, data)
        else:
            if oom:
                legal = data[: PAGE - pos % PAGE]  # all or nothing
            if self.attempt(oom, view.write, pos, legal) is REFUSED:
                return
        view.stored(pos, legal)

    @step(which=WHICH, where=WHERE, data=DATA, oom=OOM)
    def store(self, which, where, data, oom):
        view, pos, _ = self.begin_view("store", which, where, len(data), True)
        self.store_through(view, pos, data, oom)

    @step(which=WHICH, where=WHERE, data=DATA, oom=OOM)
    def store_private(self, which, where, data, oom):
        view, pos, _ = self.begin_view("store_private", which, where, len(data), False)
        self.store_through(view, pos, data, oom)

    @step(which=WHICH, where=WHERE, write=st.booleans(), oom=OOM)
    def fault(self, which, where, write, oom):
        view, pos, _ = self.begin_view("fault", which, where, 1)
        result = self.attempt(oom, view.mmap.fault, pos // PAGE, write=write)
        if result is REFUSED:
            pass
        elif not view.legal(pos, 1):
            assert result & FaultResult.SIGBUS
        else:
            assert not result & (FaultResult.SIGBUS | FaultResult.FALLBACK)
            if write:
                view.copy_page(pos // PAGE)

    @step(which=WHICH, where=WHERE, nr=st.integers(1, 700), write=st.booleans())
    def fault_range(self, which, where, nr, write):
        view, pos, length = self.begin_view("fault_range", which, where, nr * PAGE)
        first, behind = pos // PAGE, (pos + length) // PAGE
        behind = min(behind, view.twin.bytes.nr_pages)
        if write and not view.shared:
            behind = min(behind, first + 20)  # copies are compared at every step
        if behind <= first:
            return
        assert view.mmap.fault_range(first, behind - first, write=write) >= 0
        if write:
            for n in range(first, behind):
                view.copy_page(n)

    @step(which=WHICH, where=WHERE, write=st.booleans(),
          fresh=st.sampled_from(["", "hole", "data"]))  # fmt: skip
    def fault_largest(self, which, where, write, fresh):
        """2 MiB or nothing, through a mapping that is gone afterwards; if `fresh`
        where nothing that was there keeps it from being 2 MiB."""
        twin, pos = self.begin("fault_largest", which, where)
        if fresh and twin.bytes.size >= 2 * MIB:
            pos = min(pos, twin.bytes.size - 2 * MIB)
            pos -= pos % (2 * MIB)
            self.fill(twin, pos, fresh)
        how = twin.backend | ({"fault_around": 0} if twin.backend else {})
        with twin.file.mmap(0, self.limit + 2 * MIB, pages=self.pages, **how) as m:
            result = m.fault(pos // PAGE, write=write)
        first = pos - pos % (2 * MIB) if self.pages == "pmd" else pos
        if first >= twin.bytes.nr_pages * PAGE:
            assert result & FaultResult.SIGBUS
        elif fresh == "hole" and pos + 2 * MIB <= twin.bytes.size and not self.sparse:
            assert result & FaultResult.NOPAGE
        else:
            assert result & (FaultResult.NOPAGE | FaultResult.FALLBACK)

    def fill(self, twin, pos, what):
        """Make 2 MiB a hole or data, with no entry in the tree."""
        twin.file.punch_hole(pos, 2 * MIB)
        self.punched(twin, pos, 2 * MIB)
        if what == "data":
            twin.file.pwrite(b"d" * (2 * MIB), pos)
            twin.bytes.write(pos, b"d" * (2 * MIB))

    @step(which=WHICH, where=WHERE, length=RANGES)
    def dontneed(self, which, where, length):
        view, pos, _ = self.begin_view("dontneed", which, where, length)
        pos -= pos % PAGE
        length = view.inside(pos, length)
        view.mmap.dontneed(pos - view.start, length)
        view.drop_copies(pos // PAGE, (pos + length - 1) // PAGE)

    @step(which=WHICH)
    def load_all(self, which):
        view, _, _ = self.begin_view("load_all", which, ("low", 0), 0)
        start, size = view.start, view.twin.bytes.size
        for first in {start, view.fold(self.base)}:
            length = min(view.inside(first, AREA), size - first)
            if length > 0:
                read = view.raw_read if view.real else view.read
                assert read(first, length) == view.shown(first, length)

    @step(which=WHICH, where=WHERE, length=RANGES, kind=WHICH, shared=st.booleans(),
          oom=OOM)  # fmt: skip
    def mmap(self, which, where, length, kind, shared, oom):
        twin, pos = self.begin("mmap", which, where)
        if len(twin.views) == MAX_VIEWS:
            twin.views.pop().mmap.close()
        kind = self.kinds[kind % len(self.kinds)]
        nr = -(-length // PAGE)
        around = None if which % 2 else 0
        self.attempt(oom, twin.map, pos // PAGE, nr, pages=kind, shared=shared,
                     fault_around=around)  # fmt: skip

    @step(which=WHICH)
    def munmap(self, which):
        twin, _ = self.begin("munmap", which)
        if len(twin.views) > 1:
            twin.views.pop(which // 2 % len(twin.views)).mmap.close()

    # ---- through the file --------------------------------------------------------

    @step(which=WHICH, where=WHERE, length=LENGTHS)
    def pread(self, which, where, length):
        twin, pos = self.begin("pread", which, where)
        length = max(0, min(length, twin.bytes.size - pos))
        assert twin.file.pread(LONGEST, pos)[:length] == twin.bytes.read(pos, length)

    @step(which=WHICH, where=WHERE, data=DATA)
    def pwrite(self, which, where, data):
        twin, pos = self.begin("pwrite", which, where)
        data = data[: self.limit - pos]
        if data:
            assert twin.file.pwrite(data, pos) == len(data)
            twin.bytes.write(pos, data)
        self.touched = (pos, len(data))

    @step(which=WHICH, where=WHERE, oom=OOM)
    def truncate(self, which, where, oom):
        twin, size = self.begin("truncate", which, where)
        self.touched = (min(size, twin.bytes.size), PAGE)
        if self.attempt(oom, twin.file.truncate, size) is REFUSED:
            twin.tail_may_be_zero()
            return
        twin.bytes.resize(size)
        twin.forget(twin.bytes.nr_pages, 1 << 52)
        for view in twin.views:
            view.drop_copies(twin.bytes.nr_pages, 1 << 52)

    def punched(self, twin, pos, length):
        twin.bytes.zero(pos, length)
        twin.forget(-(-pos // PAGE), (pos + length) // PAGE - 1)

    @step(which=WHICH, where=WHERE, length=RANGES, oom=OOM)
    def punch_hole(self, which, where, length, oom):
        twin, pos = self.begin("punch_hole", which, where)
        self.touched = (pos, length)
        if self.attempt(oom, twin.file.punch_hole, pos, length) is not REFUSED:
            self.punched(twin, pos, length)

    @step(which=WHICH, where=WHERE, length=RANGES, oom=OOM)
    def fallocate(self, which, where, length, oom):
        twin, pos = self.begin("fallocate", which, where)
        length = min(length, self.limit - pos)
        self.touched = (pos, length)
        if length <= 0:
            return
        if self.attempt(oom, twin.file.fallocate, pos, length) is REFUSED:
            twin.tail_may_be_zero()
        else:
            twin.bytes.resize(max(twin.bytes.size, pos + length))

    # ---- frozen, pinned, collected ------------------------------------------------

    def changes(self, view, pos, data):
        """Calls that wait for a thaw, each with what it does to the bytes."""
        twin = view.twin
        file, length = twin.file, len(data)
        end = min(pos + PAGE, self.limit)
        store = view.raw_write if self.raw(view, None) else view.write
        return {
            "store": (lambda: store(pos, data), lambda: view.stored(pos, data)),
            "pwrite": (
                lambda: file.pwrite(data, pos),
                lambda: twin.bytes.write(pos, data),
            ),
            "punch": (
                lambda: file.punch_hole(pos, length),
                lambda: self.punched(twin, pos, length),
            ),
            "fallocate": (
                lambda: file.fallocate(pos, end - pos),
                lambda: twin.bytes.resize(max(twin.bytes.size, end)),
            ),
        }

    @step(which=WHICH, where=WHERE, data=DATA, what=st.integers(0, 7))
    def frozen(self, which, where, data, what):
        """A call of another thread waits, and nothing changes meanwhile."""
        view, pos, length = self.begin_view("frozen", which, where, len(data), True)
        data = data[: view.legal(pos, length)]
        if not data:
            return
        changes = self.changes(view, pos, data)
        call, changed = list(changes.values())[what % len(changes)]
        with ThreadPoolExecutor(1) as pool:
            self.call_while_frozen(view, pos, data, lambda: pool.submit(call))
        changed()

    def call_while_frozen(self, view, pos, data, start):
        twin = view.twin
        twin.file.freeze()
        twin.unsynced.clear()
        with pytest.raises(OSError) as caught:
            twin.file.freeze()
        assert caught.value.errno == errno.EBUSY
        try:
            future = start()
            self.check_while_frozen(view, pos, data)
        finally:
            twin.file.thaw()
        future.result(TIME_LIMIT)

    def check_while_frozen(self, view, pos, data):
        twin = view.twin
        twin.check(max(0, pos - PAGE), len(data) + 2 * PAGE)
        assert not twin.dirty_entries(0, 1 << 52)
        view.check_pages(range(pos // PAGE, (pos + len(data) - 1) // PAGE + 1))
        for each in twin.views:
            if not each.shared and each.fold(pos) == pos:
                self.store_through(each, pos, data)
        self.check_medium(twin)

    @step(which=WHICH, where=WHERE, data=DATA, write=st.booleans())
    def pin(self, which, where, data, write):
        """A range is looked at, or stored to, where it is; calls that would take
        its blocks away are refused to who holds it, and change nothing."""
        view, pos, length = self.begin_view("pin", which, where, len(data), True)
        twin = view.twin
        data = data[: min(length, twin.bytes.size - pos)]
        if not data or pos >= twin.bytes.size:
            return
        if self.sparse:
            with pytest.raises(NotSupportedError):
                twin.file.pin(pos, len(data), write=write)
            return
        with twin.file.pin(pos, len(data), write=write) as pin:
            data = data[: len(pin)]
            with memoryview(pin) as memory:
                self.use_pin(view, pos, data, memory)
        self.check_blocks()

    def use_pin(self, view, pos, data, memory):
        twin = view.twin
        assert memory == twin.bytes.read(pos, len(memory))
        if not memory.readonly:
            memory[:] = data
            twin.bytes.store(pos, data)
            twin.unsynced.update(n for n, _, _ in pieces(pos, data))
        assert view.read(pos, len(data)) == twin.bytes.read(pos, len(data))
        if memory.readonly and not self.owns_blocks(twin, pos, len(memory)):
            return  # a store goes elsewhere
        # through another mapping, a page that was pinned
        self.store_through(view, pos, bytes(reversed(data)))
        assert memory == twin.bytes.read(pos, len(memory))
        if self.nr_checks % 3 == 0:
            self.fsync_twin(twin)
        first, last = pos // PAGE, (pos + len(memory) - 1) // PAGE
        for call in (
            lambda: twin.file.truncate(first * PAGE),
            lambda: twin.file.punch_hole(first * PAGE, (last + 1 - first) * PAGE),
        ):
            with pytest.raises(BufferError):
                call()
        assert memory == twin.bytes.read(pos, len(memory))

    def owns_blocks(self, twin, pos, length):
        rows = twin.file.extents(pos, length)
        shared = rows["flags"] & IomapFlag.SHARED != 0
        return (rows["type"] == IomapType.MAPPED).all() and not shared.any()

    @step(which=WHICH)
    def collect(self, which):
        """Entries that are empty go, and nothing else."""
        twin, _ = self.begin("collect", which)
        rows = twin.file.entries()
        assert twin.file.collect() >= rows["empty"].sum()
        kept = twin.file.entries()
        assert not kept["empty"].any()
        assert (kept["index"] == rows["index"][~rows["empty"]]).all()

    # ---- what not every build has ------------------------------------------------

    @step(hasattr(File, "zero_range"), which=WHICH, where=WHERE, length=RANGES)
    def zero_range(self, which, where, length):
        twin, pos = self.begin("zero_range", which, where)
        length = min(length, twin.bytes.size - pos)
        self.touched = (pos, length)
        if length > 0:
            twin.file.zero_range(pos, length)
            twin.bytes.zero(pos, length)
            twin.tail_may_be_zero()

    def fsync_twin(self, twin):
        twin.file.fsync()
        twin.unsynced.clear()
        LIBRARY.holds(LIBRARY.check_after_fsync(twin.address, 0, 1 << 52))
        self.check_medium(twin)

    def check_medium(self, twin):
        """I9: what the device, or the file below, holds is what it should."""
        if not self.directory:
            return
        with open(Path(self.directory, "file"), "rb", buffering=0) as medium:
            if self.sparse:
                assert os.fstat(medium.fileno()).st_size == twin.bytes.size
                for n in twin.changed_pages():
                    length = min(PAGE, twin.bytes.size - n * PAGE)
                    found = os.pread(medium.fileno(), length, n * PAGE)
                    assert found == twin.bytes.read(n * PAGE, length)
                return
            for row in twin.file.extents():
                if row["type"] == IomapType.MAPPED:
                    length, pos = int(row["length"]), int(row["offset"])
                    place = int(row["device_offset"])
                    found = os.pread(medium.fileno(), length, place)
                    assert found == twin.bytes.read(pos, length)

    @step(hasattr(File, "fsync"), which=WHICH)
    def fsync(self, which):
        twin, _ = self.begin("fsync", which)
        self.fsync_twin(twin)

    @step(hasattr(File, "writeback"), which=WHICH, where=WHERE, length=RANGES)
    def writeback(self, which, where, length):
        twin, pos = self.begin("writeback", which, where)
        pos -= pos % PAGE
        length = min(length, twin.bytes.size - pos)
        if length > 0:
            twin.file.writeback(pos, length)
            first, last = pos // PAGE, (pos + length - 1) // PAGE
            LIBRARY.holds(LIBRARY.check_after_fsync(twin.address, first, last))
            # 2 MiB entries that reach out of the range are written whole
            twin.forget(first // PMD_PAGES * PMD_PAGES, last | (PMD_PAGES - 1))

    @step(hasattr(File, "clone"), which=WHICH, shared=st.booleans(), oom=OOM)
    def clone(self, which, shared, oom):
        """The other file, if there is one, is closed and made anew."""
        twin, _ = self.begin("clone", which)
        if self.sparse:
            with pytest.raises(NotSupportedError):
                twin.file.clone()
            return
        for other in [t for t in self.twins if t is not twin]:
            self.twins.remove(other)
            type(self).stats.update(other.file.stats())
            other.close()
        with twin.nothing_lost(0, 1 << 52):
            file = self.attempt(oom, twin.file.clone)
        twin.unsynced.clear()  # it may have been synced for that
        if file is REFUSED:
            return
        copy = Twin(file, twin.bytes.copy(), self.delivery)
        self.twins.append(copy)
        nr = self.limit // PAGE
        copy.map(0, nr, pages=self.kinds[0])
        copy.map(0, nr, pages="pte", shared=shared)
        for each in self.twins:
            each.tail_may_be_zero()

    def two_ranges(self, name, which, where, length, there):
        """A range of pages of one file, one of another or of the same."""
        twin, pos = self.begin(name, which, where)
        other = self.twins[which // 2 % len(self.twins)]
        first, there = pos // PAGE, self.at(there, other.bytes) // PAGE
        nr = min(-(-length // PAGE), self.limit // PAGE - first)
        nr = min(nr, other.bytes.size // PAGE - there)
        if other is twin:
            nr = min(nr, abs(first - there))
        self.touched = (first * PAGE, nr * PAGE)
        return twin, other, first, there, nr

    def shared_now(self, twin, other, first, there, nr):
        """A page that shares its block is clean: it was synced before."""
        for each, start in ((twin, first), (other, there)):
            behind = start + nr + PMD_PAGES - 1
            each.forget(start // PMD_PAGES * PMD_PAGES, behind)
            each.tail_may_be_zero()

    @step(hasattr(File, "clone_range"), which=WHICH, where=WHERE, length=RANGES,
          there=WHERE)  # fmt: skip
    def clone_range(self, which, where, length, there):
        arguments = self.two_ranges("clone_range", which, where, length, there)
        twin, other, first, there, nr = arguments
        if nr <= 0:
            return
        call = (first * PAGE, other.file, there * PAGE, nr * PAGE)
        if self.sparse:
            with pytest.raises(NotSupportedError):
                twin.file.clone_range(*call)
            return
        with other.nothing_lost(there, there + nr - 1):
            twin.file.clone_range(*call)
        pages = [other.bytes.page(there + n) for n in range(nr)]
        twin.bytes.resize(max(twin.bytes.size, (first + nr) * PAGE))
        twin.bytes.store(first * PAGE, b"".join(pages))
        self.shared_now(*arguments)

    @step(hasattr(File, "dedupe"), which=WHICH, where=WHERE, length=RANGES,
          there=WHERE)  # fmt: skip
    def dedupe(self, which, where, length, there):
        arguments = self.two_ranges("dedupe", which, where, length, there)
        twin, other, first, there, nr = arguments
        nr = min(nr, twin.bytes.size // PAGE - first)
        if nr <= 0:
            return
        call = (first * PAGE, other.file, there * PAGE, nr * PAGE)
        if self.sparse:
            with pytest.raises(NotSupportedError):
                twin.file.dedupe(*call)
            return
        with other.nothing_lost(there, there + nr - 1):
            done = twin.file.dedupe(*call)
        mine = twin.bytes.read(first * PAGE, nr * PAGE)
        same = mine == other.bytes.read(there * PAGE, nr * PAGE)
        assert done == (nr * PAGE if same else 0)
        self.shared_now(*arguments)

    # ---- after every step --------------------------------------------------------

    @invariant()
    def agree(self):
        if not hasattr(self, "twins"):
            return
        self.nr_checks += 1
        self.check_in_c()
        for twin in self.twins:
            pos, length = self.touched
            twin.check(max(0, pos - PAGE), min(length, LONGEST) + 2 * PAGE)
            twin.check(max(0, pos + length - PAGE), 2 * PAGE)
            twin.check(self.nr_checks * 32 * PAGE % (AREA + PAGE), 32 * PAGE)
            twin.check(self.base + self.nr_checks * 32 * PAGE % AREA, 32 * PAGE)
            twin.check_private()
            twin.check_dirty()
        self.check_blocks()
        self.sound = True

    def check_in_c(self):
        for twin in self.twins:
            LIBRARY.holds(LIBRARY.check(twin.address))

    def check_blocks(self):
        """No block is lost, and each has as many owners as extents name it."""
        if not self.device:
            return
        for twin in self.twins:
            extents = twin.file.extents()
            used = int(extents["length"][extents["type"] != IomapType.HOLE].sum())
            nbytes = twin.file.stats()["allocated_bytes"]
            # the last block may reach beyond the end of file
            assert nbytes - PAGE < used <= nbytes
        files = (ctypes.c_void_p * len(self.twins))(*(t.address for t in self.twins))
        device = self.device.c_address
        LIBRARY.holds(LIBRARY.check_owners(device, files, len(files)))

    @classmethod
    def missing(cls):
        """Rules that did not run, and what of the engine they did not meet."""
        rules = RULES | {"refused"}
        met = {"insert_mapping", "cow_fault", "fault_sigbus", "fault_oom"}
        if cls.pages == "pmd":
            met |= {"pmd_load_hole", "pmd_insert_mapping", "downgrade"}
        met.add("pfn_mkwrite" if cls.policy == "page-cache" else "load_hole")
        return (rules - set(cls.ran)) | (met - set(+cls.stats))


def file_machine(policy, pages, blocks, delivery=None):
    """The machine of one configuration, with counters of its own."""
    names = {"policy": policy, "pages": pages, "blocks": blocks, "delivery": delivery}
    counters = {"ran": Counter(), "stats": Counter()}
    return type("Machine", (FileMachine,), names | counters)
