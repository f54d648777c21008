# SPDX-License-Identifier: BSD-3-Clause
"""daxcore.memmap: what numpy.memmap does, and what only holes can give.

First every behaviour that numpy's own tests of memmap hold, then both classes
side by side over a table of calls, then what numpy has not.
"""

import copy
import ctypes
import doctest
import errno
import gc
import hashlib
import io
import math
import mmap
import multiprocessing
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import zlib
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import MIB, PAGE, need, need_real_mapping

import daxcore
from daxcore import Device, FaultError, ForkError, memmap

GIB = 1 << 30
SHAPE = (3, 4)
DATA = np.arange(12, dtype="f4").reshape(SHAPE)
ISLANDS = (4096, 1024)
RECORD = np.dtype([("key", "<u2"), ("value", "<f8"), ("name", "S5")])


@pytest.fixture(autouse=True)
def uffd():
    need_real_mapping()


@pytest.fixture
def path(directory):
    return directory / "array"


@pytest.fixture
def temporary(directory):
    """A named file object, open for reading and writing."""
    with tempfile.NamedTemporaryFile(dir=directory, prefix="memmap-") as file:
        yield file


def run_python(code, *args, **kwargs):
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
        **kwargs,
    )


def used(path):
    return os.stat(path).st_blocks * 512


OTHER = """
import sys, daxcore
with daxcore.open(sys.argv[1], "r+"):
    pass
"""


def is_unlocked(path):
    """Can another process open it?"""
    done = run_python(OTHER, path)
    assert done.returncode == 0 or f"[Errno {errno.EBUSY}]" in done.stderr
    return done.returncode == 0


# ---- numpy's own tests ---------------------------------------------------


def test_what_was_stored_is_read_back(temporary):
    array = memmap(temporary, dtype="f4", mode="w+", shape=SHAPE)
    array[:] = DATA
    del array
    again = memmap(temporary, dtype="f4", mode="r", shape=SHAPE)
    assert np.array_equal(again, DATA) and np.allclose(DATA, again)
    assert not again.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        again[0] = 1


def test_a_path_is_opened(path):
    array = memmap(path, dtype="f4", mode="w+", shape=SHAPE)
    array[:] = DATA
    del array
    assert np.array_equal(np.fromfile(path, "f4"), DATA.ravel())


def test_a_file_without_a_name(directory):
    with tempfile.TemporaryFile(dir=directory) as file:
        array = memmap(file, dtype="f4", shape=SHAPE)
        assert array.filename is None
        array[:] = DATA
        file.seek(0)
        assert file.read() == DATA.tobytes()


def test_offset_and_mode_are_attributes(temporary):
    array = memmap(temporary, dtype="f4", mode="w+", shape=SHAPE, offset=1)
    assert (array.offset, array.mode) == (1, "w+")


@pytest.mark.parametrize("kind", [Path, str])
def test_filename_is_absolute_also_of_a_view(directory, kind, monkeypatch):
    monkeypatch.chdir(directory)
    os.symlink("array", "link")
    (directory / "array").touch()
    array = memmap(kind("link"), dtype="f4", mode="w+", shape=SHAPE)
    expected = directory.resolve() / "array" if kind is Path else f"{Path.cwd()}/link"
    assert type(array.filename) is type(expected)
    for view in (array, array[:1]):
        assert view.filename == expected


def test_filename_of_a_file_object(temporary):
    array = memmap(temporary, dtype="f4", mode="w+", shape=SHAPE)
    assert array.filename == temporary.name


def test_flush(temporary):
    array = memmap(temporary, dtype="f4", mode="w+", shape=SHAPE)
    array[:] = DATA
    assert np.array_equal(array[0], DATA[0])
    array.flush()
    array[1:].flush()
    np.asarray(array).view(memmap).flush()
    for mode in ("r", "c"):
        memmap(temporary, dtype="f4", mode=mode).flush()
    (array + 1).view(memmap).flush()


def test_a_view_that_goes_leaves_the_mapping(temporary):
    array = memmap(temporary, dtype="f4", mode="w+", shape=SHAPE)
    array[0] = 5
    view = array[0:1]
    assert (view[0] == 5).all()
    del view
    assert (array[0] == 5).all()
    array[0] = 6
    assert (array[0] == 6).all()


def test_arithmetic_and_fancy_indexing_leave_the_file(temporary):
    array = memmap(temporary, dtype="f4", mode="w+", shape=SHAPE)
    for result in (array + 10, array[(1, 2), (2, 3)], array[array > 0], -array):
        assert type(result) is np.ndarray
        assert not np.may_share_memory(result, array)


def test_slices_are_in_the_file(temporary):
    array = memmap(temporary, dtype="f4", mode="w+", shape=SHAPE)
    assert array[:2, :2]._mmap is array._mmap
    assert array.T._mmap is array.reshape(-1)._mmap is array._mmap


def test_base_of_views(temporary):
    array = memmap(temporary, dtype="f4", shape=SHAPE)
    first = array.view()
    assert first.base is array
    assert first.view().base is array
    assert np.asarray(array).base is array


def test_reductions_and_ufuncs_give_scalars_and_ndarrays(temporary):
    array = memmap(temporary, dtype="f4", shape=SHAPE)
    array[:] = DATA
    for reduce in (np.sum, np.average, np.prod, np.max, np.mean):
        result = reduce(array)
        assert np.isscalar(result) and type(result) is type(reduce(DATA))
        assert result == reduce(DATA)
        for axis in (0, 1):
            assert type(reduce(array, axis=axis)) is np.ndarray
    for operation in (np.add, np.subtract, np.multiply):
        for pair in ((array, DATA), (DATA, array), (array, array)):
            assert type(operation(*pair)) is np.ndarray
    array += 1
    assert type(array) is memmap
    assert np.add(array, 1, out=array) is array
    assert np.array_equal(array, DATA + 2)


def test_getitem(temporary):
    array = memmap(temporary, dtype="f4", shape=SHAPE)
    array[:] = DATA
    assert type(array[1:, :-1]) is memmap
    assert type(array[[0, 1]]) is np.ndarray
    assert type(array[1, 1]) is np.float32
    assert type(array[..., 0, 0]) is memmap


def test_results_of_a_subclass_are_of_the_subclass(temporary):
    class Subclass(memmap):
        pass

    array = Subclass(temporary, dtype="f4", shape=SHAPE)
    array[:] = DATA
    for result in (np.sum(array, axis=0), np.sum(array), array[1:, :-1], array[[0, 1]]):
        assert type(result) is Subclass


def test_an_offset_past_a_page(temporary):
    offset = mmap.ALLOCATIONGRANULARITY + 1
    array = memmap(temporary, shape=5 * offset, mode="w+", offset=offset)
    assert array.offset == offset
    array[-1] = 7
    assert os.pread(temporary.fileno(), 2, 6 * offset - 1) == b"\7"


def test_nothing_after_a_page(temporary):
    temporary.write(b"a" * mmap.ALLOCATIONGRANULARITY)
    array = memmap(temporary, shape=0, mode="w+", offset=mmap.ALLOCATIONGRANULARITY)
    assert (array.offset, array.size) == (mmap.ALLOCATIONGRANULARITY, 0)


def test_without_a_shape_it_is_the_rest_of_the_file(temporary):
    temporary.write(b"a" * 16)  # still in the object's buffer
    array = memmap(temporary, dtype="f8")
    assert array.shape == (2,)
    assert array.tobytes() == b"a" * 16


def test_empty_arrays(temporary):
    with pytest.raises(ValueError, match="empty file"):
        memmap(temporary, shape=(0, 4), mode="r")
    for _ in range(2):
        array = memmap(temporary, shape=(0, 4), mode="w+")
        assert array.shape == (0, 4)
    assert os.fstat(temporary.fileno()).st_size == 1


@pytest.mark.parametrize(
    "shape", [3, SHAPE, list(SHAPE), np.asarray(SHAPE), np.int8(3)]
)
def test_types_of_shapes(temporary, shape):
    array = memmap(temporary, shape=shape, mode="w+")
    assert array.shape == tuple(np.atleast_1d(shape))


# ---- side by side --------------------------------------------------------


class Both:
    """One call of both classes, on files with the same bytes."""

    def __init__(self, directory):
        self.directory = directory
        self.numbers = iter(range(1000))

    def one(self, kind, content, through, kwargs):
        path = self.directory / f"{kind.__module__}-{next(self.numbers)}"
        if content is not None:
            path.write_bytes(content)
        try:
            if through in ("rb", "r+b"):
                with open(path, through) as file:
                    return path, kind(file, **kwargs)
            return path, kind(through(path), **kwargs)
        except (OSError, ValueError, TypeError) as error:
            return path, error
        except OverflowError as error:  # numpy's word for a negative length
            return path, ValueError(*error.args)

    def __call__(self, content, through, kwargs):
        (path, theirs), (our_path, ours) = (
            self.one(kind, content, through, dict(kwargs))
            for kind in (np.memmap, memmap)
        )
        if isinstance(theirs, OSError):  # numpy: UnsupportedOperation if it must grow
            assert isinstance(ours, (type(theirs), PermissionError)), ours
            return
        if isinstance(theirs, Exception):
            assert isinstance(ours, type(theirs)), ours
            return
        assert isinstance(ours, memmap), ours
        for name in ("shape", "dtype", "strides", "offset", "mode", "nbytes"):
            assert getattr(ours, name) == getattr(theirs, name), name
        for flag in ("C_CONTIGUOUS", "F_CONTIGUOUS", "WRITEABLE", "ALIGNED", "OWNDATA"):
            assert ours.flags[flag] == theirs.flags[flag], flag
        assert type(ours.filename) is type(theirs.filename)
        assert ours.tobytes() == theirs.tobytes()
        if ours.size and ours.flags.writeable:
            for array in (ours, theirs):
                array.reshape(-1)[-1] = np.zeros((), array.dtype)
                array.T[...] = np.ones((), array.dtype)
        assert ours.tobytes() == theirs.tobytes()
        assert our_path.read_bytes() == path.read_bytes()


BYTES = bytes(range(1, 201)) * 50


@pytest.mark.parametrize("content", [None, b"", BYTES[:7], BYTES[:8192], BYTES])
@pytest.mark.parametrize("mode", ["r", "c", "r+", "w+", "readonly", "write"])
def test_calls_do_what_numpys_do(tmp_path, content, mode):
    both = Both(tmp_path)
    for offset in (0, 1, 4095, 4096, 8192, 9001, 20000):
        for shape in (None, (), 0, 5, (2, 3), (4, 0), 9000):
            if shape is None and offset > len(content or b""):
                continue  # numpy's message is another one, and so is its class
            for dtype in ("u1", "<f8"):
                kwargs = dict(mode=mode, offset=offset, shape=shape, dtype=dtype)
                both(content, Path, kwargs)
    for kwargs in (
        dict(shape=(2, 3), order="F"),
        dict(shape=(2, 3), dtype=RECORD),
        dict(shape=(2, 3), dtype=RECORD, offset=5),
    ):
        both(content, Path, dict(mode=mode, **kwargs))
    for kwargs in (
        dict(shape=(2, -1)),
        dict(shape="ab"),
        dict(shape=2, order="X"),
        dict(shape=2, dtype="nothing"),
    ):
        if content is not None:  # else it depends on what is looked at first
            both(content, Path, dict(mode=mode, **kwargs))


@pytest.mark.parametrize("through", [str, os.fsencode, "rb", "r+b"])
@pytest.mark.parametrize("mode", ["r", "c", "r+", "w+", "x", None])
def test_files_are_taken_as_numpy_takes_them(tmp_path, through, mode):
    both = Both(tmp_path)
    for content in (None, b"", BYTES):
        for shape in (3, 20000):
            both(content, through, dict(mode=mode, shape=shape))


def test_a_file_that_may_not_be_read(path):
    path.write_bytes(BYTES)
    with open(path, "ab") as file:
        for mode in ("r", "r+", "c"):
            with pytest.raises(PermissionError, match="file object open for reading"):
                memmap(file, mode=mode)


def test_the_file_object_may_be_closed(path):
    with open(path, "w+b") as file:
        array = memmap(file, "u1", "r+", shape=10)
    array[:] = 7
    assert path.read_bytes() == b"\7" * 10


def test_what_is_refused_changes_nothing(path):
    path.write_bytes(BYTES)
    for kwargs in (
        dict(mode="w+"),
        dict(mode="w+", shape=3, dtype="O"),
        dict(mode="w+", shape=-3),
        dict(mode="w+", shape=3, offset=-1),
        dict(mode="w+", shape=3, order="?"),
        dict(mode="w+", shape=3, order="A"),
        dict(mode="w+", shape=(1,) * 65),
        dict(mode="w+", shape=(1 << 62, 0, 1 << 62)),
        dict(mode="r+", offset=len(BYTES) + 1),
        dict(mode="r+", dtype="V0"),
        dict(mode="r", shape=len(BYTES) + 1),
    ):
        with pytest.raises(ValueError):
            memmap(path, **kwargs)
    for nbytes in (1 << 47, 1 << 62):
        with pytest.raises(OSError, match="more than"):
            memmap(path, mode="w+", shape=nbytes)
    assert path.read_bytes() == BYTES
    assert is_unlocked(path)


TIB = 1 << 40


def test_arrays_of_any_size(path):
    """As many bytes as are asked for, also of a file that has few."""
    for mode in ("w+", "r+"):
        array = memmap(path, mode=mode, shape=3 * TIB // 2)
        array[-1] = 1
        assert not array[::GIB].any() and array[-1] == 1
        assert os.stat(path).st_size == array.size
        del array
        os.truncate(path, 5)


def test_arrays_beside_many_others(directory):
    """A window of a TiB is for the first ones only."""
    others = [memmap(directory / f"{n}", mode="w+", shape=1) for n in range(40)]
    array = memmap(directory / "long", mode="w+", shape=100 * GIB)
    assert array[-1] == 0 and not any(others)


def test_a_file_that_is_open_grows_as_far_as_its_window(path):
    array = memmap(path, mode="w+", shape=5)
    with pytest.raises(OSError, match="open it with that size") as caught:
        memmap(path, mode="r+", shape=3 * TIB)
    assert caught.value.errno == errno.EFBIG
    assert os.stat(path).st_size == array.size


def test_pickles_and_copies_are_in_memory(path):
    array = memmap(path, "f4", "w+", shape=SHAPE)
    theirs = np.memmap(path.with_name("theirs"), "f4", "w+", shape=SHAPE)
    array[:] = theirs[:] = DATA
    makers = [copy.copy, copy.deepcopy, np.copy, np.array, lambda a: a.copy()]
    makers += [lambda a: a.astype("f8"), lambda a: a.flatten().reshape(SHAPE)]
    makers += [
        lambda a, n=n: pickle.loads(pickle.dumps(a, protocol=n))
        for n in range(2, pickle.HIGHEST_PROTOCOL + 1)
    ]
    for make in makers:
        ours, their = make(array), make(theirs)
        assert (type(ours) is memmap) == (type(their) is np.memmap)
        assert (type(ours) is np.ndarray) == (type(their) is np.ndarray)
        assert np.array_equal(ours, DATA)
        if type(ours) is memmap:
            values = (ours._mmap, ours.filename, ours.offset, ours.mode)
            assert values == (None,) * 4
            with pytest.raises(ValueError, match="not in a file"):
                ours.extents()


def test_structured_items_at_an_odd_offset(path):
    array = memmap(path, RECORD, "w+", offset=4093, shape=(40, 50))
    array["value"] = np.arange(2000).reshape(40, 50)
    array[39, 49] = (7, 0.5, b"last")
    names = array["name"]
    assert names._mmap is array._mmap
    names[0, 0] = b"first"
    expected = np.zeros((40, 50), RECORD)
    expected["value"] = np.arange(2000).reshape(40, 50)
    expected[39, 49] = (7, 0.5, b"last")
    expected["name"][0, 0] = b"first"
    assert path.read_bytes() == bytes(4093) + expected.tobytes()
    assert array.view(np.recarray).value[1, 0] == 50


# ---- life ----------------------------------------------------------------


def test_the_last_view_closes_the_file(path):
    array = memmap(path, "f4", "w+", shape=(100, 100))
    view = array[50:, ::2].T
    plain = np.asarray(array)[3]
    buffer = memoryview(array[99])
    assert not is_unlocked(path)
    array[:] = 1
    del array
    gc.collect()
    assert view.sum() == 50 * 50
    del view
    assert plain.sum() == 100
    del plain
    assert buffer[0] == 1
    assert not is_unlocked(path)
    del buffer
    assert is_unlocked(path)


def test_nobody_else_closes_the_mapping(path):
    array = memmap(path, "u1", "w+", shape=10)
    mapping = array._mmap
    with pytest.raises(BufferError, match="last array"):
        mapping.close()
    assert not mapping.closed and array.sum() == 0
    del array
    assert mapping.length == 10
    del mapping
    assert is_unlocked(path)


def test_a_cycle_is_collected(path):
    array = memmap(path, "u1", "w+", shape=10)
    array.itself = [array]  # not a view of it: gc does not know its base
    del array
    assert not is_unlocked(path)
    gc.collect()
    assert is_unlocked(path)


def test_a_failed_call_leaves_the_file_closed(path):
    path.write_bytes(b"abc")
    with pytest.raises(ValueError, match="multiple"):
        memmap(path, "f8", "r")
    assert is_unlocked(path)


def test_arrays_of_one_file_share_it(path):
    one = memmap(path, "u1", "w+", shape=3 * PAGE)
    two = memmap(path, "u1", "r+", offset=PAGE)
    three = memmap(path, "u1", "r")
    private = memmap(path, "u1", "c")
    two[0] = 5
    assert one[PAGE] == three[PAGE] == private[PAGE] == 5
    private[PAGE] = 6
    private[0] = 7
    assert (one[PAGE], one[0], two[0]) == (5, 0, 5)
    del one
    two[1] = 8
    assert three[PAGE + 1] == 8
    emptied = memmap(path, "u1", "w+", shape=3 * PAGE)
    assert not emptied.any() and not three.any() and not two.any()


EXIT = """
import sys, threading, daxcore
from daxcore import memmap
array = memmap(sys.argv[1], "f4", "w+", shape=(1 << 20, 64))
array[7] = 1
view = array[5:]
cycle = [view]
cycle.append(cycle)

class Late:
    def __del__(self, view=view):
        assert view[2].sum() == 64

array.late = Late()
reader = None

def read():
    while True:
        array[::64].sum()

threading.Thread(target=read, daemon=True).start()
"""


def test_the_interpreter_may_end_with_arrays_alive(path):
    for _ in range(3):
        done = run_python(EXIT, path)
        assert (done.returncode, done.stderr) == (0, "")
    assert memmap(path, "f4", "r")[7 * 64] == 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_gets_errors_and_ends_well(path):
    array = memmap(path, "u1", "w+", shape=GIB)
    array[5] = 1
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            failed = 0
            for call in (array.flush, array.extents, array.punch, array.memory):
                try:
                    call()
                except ForkError:
                    failed += 1
            del array
            gc.collect()
            code = 0 if failed == 4 else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert array[5] == 1
    array[GIB - 1] = 2
    assert array[-1] == 2


# ---- extents, populated, punch, memory -----------------------------------


def test_extents_are_relative_to_the_array(path):
    array = memmap(path, "u1", "w+", offset=100, shape=64 * PAGE)
    array[10 * PAGE] = 1
    rows = array.extents()
    assert rows["offset"].tolist() == [0, 10 * PAGE - 100, 11 * PAGE - 100]
    assert rows["length"].sum() == array.nbytes
    assert rows["type"].tolist() == [0, 2, 0]
    assert rows["device_offset"].tolist() == [0, 10 * PAGE, 0]
    part = array[10 * PAGE : 10 * PAGE + 50].extents()
    assert part[["offset", "length", "device_offset", "type"]].tolist() == [
        (0, 50, 10 * PAGE + 100, 2)
    ]
    assert len(memmap(path, "u1", "r+", shape=(0, 3)).extents()) == 0
    for strange in (array[::2], array[::-1], array.reshape(64, PAGE)[:, :10]):
        with pytest.raises(ValueError, match="not contiguous"):
            strange.extents()
    with pytest.raises(ValueError, match="not in a file"):
        (array[:10] + 1).view(memmap).extents()


def test_a_range_of_extents_of_a_file(path):
    array = memmap(path, "u1", "w+", shape=300 * PAGE)
    array[:: 2 * PAGE] = 1
    file = array._mmap.file
    rows = file.extents()
    assert len(rows) == 300
    for offset, nbytes in ((0, None), (PAGE + 1, 7 * PAGE), (5, 1), (298 * PAGE, None)):
        end = file.size if nbytes is None else offset + nbytes
        got = file.extents(offset, nbytes)
        assert got["offset"][0] == offset
        assert got["length"].sum() == end - offset
        assert (got["type"] == rows["type"][got["offset"] // PAGE]).all()
        data = got[got["type"] == 2]
        assert (data["device_offset"] == data["offset"]).all()
    assert len(file.extents(300 * PAGE)) == len(file.extents(0, 0)) == 0
    for wrong in ((-1,), (0, -1)):
        with pytest.raises(ValueError, match="negative"):
            file.extents(*wrong)


@pytest.mark.parametrize("offset", [0, 1, PAGE - 3])
@pytest.mark.parametrize("dtype", ["u1", "<f8", "S7", RECORD])
def test_populated_is_where_the_data_is(path, dtype, offset):
    dtype = np.dtype(dtype)
    array = memmap(path, dtype, "w+", offset=offset, shape=400 * PAGE // dtype.itemsize)
    assert list(array.populated()) == []
    rng = np.random.default_rng(7)
    plain = array.view(np.uint8).reshape(array.size, -1)
    plain[rng.choice(array.size, 10, replace=False)] = 1
    edges = (np.arange(5, 395, 40) * PAGE - offset) // dtype.itemsize
    plain[edges[::2], 0] = 1  # items that may lie on two pages: one byte of them
    plain[edges[1::2], -1] = 1
    stored = np.flatnonzero(np.array(plain).any(axis=1))
    slices = list(array.populated())
    assert all(s.step is None for s in slices)
    starts, stops = [s.start for s in slices], [s.stop for s in slices]
    assert all(a < b for a, b in zip(starts, stops, strict=True))
    assert all(a < b for a, b in zip(stops, starts[1:], strict=False))
    assert 0 <= starts[0] and stops[-1] <= array.size
    inside = np.zeros(array.size, bool)
    for s in slices:
        assert plain[s].any()
        inside[s] = True
    assert inside[stored].all()
    assert not plain[~inside].any()
    room = 20 * (2 * PAGE + dtype.itemsize)
    assert inside.sum() * dtype.itemsize <= room + 2 * len(slices) * dtype.itemsize


def test_populated_of_views_and_orders(path):
    array = memmap(path, "f8", "w+", shape=(64, 512), order="F")
    array[3, 17] = 9
    [found] = array.populated()
    assert 9 in array.reshape(-1, order="F")[found]
    [column] = array[:, 17].populated()
    assert array[:, 17][column].tolist().count(9) == 1
    assert list(array[:, 200:].populated()) == []
    with pytest.raises(ValueError, match="not contiguous"):
        array[3].populated()
    with pytest.raises(ValueError, match="C-contiguous"):
        array.punch()


def test_populated_knows_private_copies(path):
    array = memmap(path, "u1", "w+", shape=2000 * PAGE)
    array[50 * PAGE] = 1
    private = memmap(path, "u1", "c", offset=10)
    private[700 * PAGE] = 2
    private[701 * PAGE - 11] = 2
    private[50 * PAGE] = 3
    private[51 * PAGE] = 3  # a copy beside it
    found = list(private.populated())
    assert found == [
        slice(50 * PAGE - 10, 52 * PAGE - 10),
        slice(700 * PAGE - 10, 701 * PAGE - 10),
    ]
    assert list(array.populated()) == [slice(50 * PAGE, 51 * PAGE)]


def test_punch_gives_blocks_back(path):
    array = memmap(path, "<u4", "w+", offset=PAGE + 8, shape=100 * PAGE)
    array[:] = 7
    before = used(path)
    array.punch(1000, 50000)
    assert not array[1000:50000].any()
    assert (array[:1000] == 7).all() and (array[50000:] == 7).all()
    freed = before - used(path)
    assert 4 * 49000 - 2 * PAGE <= freed <= 4 * 49000
    assert sum(s.stop - s.start for s in array.populated()) < array.size - 48000 + PAGE
    array.punch(60000, 60000)
    array[60000:60010].punch()
    assert array[60000:60011].tolist() == [0] * 10 + [7]
    array.reshape(100, PAGE)[99].punch(0, 5)
    assert array[99 * PAGE : 99 * PAGE + 6].tolist() == [0] * 5 + [7]
    array.punch()
    assert not array.any()
    assert used(path) == 2 * PAGE  # at the edges: the array has a part of them
    assert os.stat(path).st_size == PAGE + 8 + array.nbytes


def test_punch_refuses(path):
    array = memmap(path, "u1", "w+", shape=4 * PAGE)
    array[:] = 1
    for start, stop in ((-1, 3), (5, 4), (0, array.size + 1), (array.size + 1, None)):
        with pytest.raises(ValueError, match="not inside the array"):
            array.punch(start, stop)
    with pytest.raises(TypeError):
        array.punch(0.5)
    with pytest.raises(ValueError, match="not contiguous"):
        array[::2].punch()
    locked = array[:]
    locked.flags.writeable = False
    with pytest.raises(ValueError, match="may be written"):
        locked.punch()
    for mode in ("r", "c"):
        with pytest.raises(OSError, match=f"mode '{mode}'") as caught:
            memmap(path, "u1", mode).punch()
        assert caught.value.errno == errno.EROFS
    assert array.all()


def test_memory_by_kind(path):
    array = memmap(path, "u1", "w+", shape=64 * MIB)
    fresh = array.memory()
    assert fresh["mapped_bytes"] == 64 * MIB
    assert fresh["data_bytes"] == fresh["copy_bytes"] == fresh["allocated_bytes"] == 0
    assert array[::PAGE].sum() == 0
    holes = array.memory()
    assert holes["zero_bytes"] == 64 * MIB
    assert holes["data_bytes"] == holes["allocated_bytes"] == 0
    array[10 * MIB : 12 * MIB] = 1
    stored = array.memory()
    assert stored["data_bytes"] == stored["allocated_bytes"] == 2 * MIB
    assert stored["zero_bytes"] + stored["data_bytes"] == 64 * MIB
    private = memmap(path, "u1", "c")
    private[11 * MIB : 14 * MIB] = 1
    copied = private.memory()
    assert copied["copy_bytes"] == 3 * MIB
    assert copied["allocated_bytes"] == 2 * MIB
    engine = ("page_table_bytes", "tree_bytes", "block_map_bytes")
    assert all(0 < copied[name] < MIB for name in engine)
    assert all(isinstance(n, int) for n in copied.values())


def test_page_tables_are_at_most_what_it_says(path):
    def vmpte():
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmPTE:")[1].split()[0]) * 1024

    before = vmpte()
    array = memmap(path, "u1", "w+", shape=8 * GIB)
    array[:: 1 << 20].sum()
    assert vmpte() - before <= array.memory()["cpu_page_table_bytes"] + 256 * 1024


# ---- holes take nothing --------------------------------------------------


def resident(path):
    """Pages of a file in the page cache, by mincore(2)."""
    size = os.stat(path).st_size
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path, "rb") as file:
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as m:
            pages = np.zeros(-(-size // PAGE), np.uint8)
            where = np.frombuffer(m, np.uint8)
            ret = libc.mincore(
                ctypes.c_void_p(where.ctypes.data),
                ctypes.c_size_t(size),
                ctypes.c_void_p(pages.ctypes.data),
            )
            del where
    assert ret == 0, ctypes.get_errno()
    return int((pages & 1).sum())


def rss():
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def test_reading_holes_takes_no_memory_and_no_blocks(directory):
    path, theirs = directory / "ours", directory / "theirs"
    for name, size in ((path, 4 * GIB), (theirs, 16 * MIB)):
        name.touch()
        os.truncate(name, size)
    for mode in ("r", "r+", "c"):
        before = rss()
        array = memmap(path, "f4", mode)
        assert array[::1024].sum() == 0
        assert array.reshape(-1, 1 << 20)[::64].max() == 0
        assert rss() - before < 16 * MIB
        assert resident(path) == 0
        assert used(path) == 0
        del array
    assert np.memmap(theirs, "f4", "r")[::1024].sum() == 0
    assert resident(theirs) == 16 * MIB // PAGE  # what is measured can be seen


def test_a_store_takes_its_pages_and_no_more(directory):
    path = directory / "sparse"
    array = memmap(path, "u1", "w+", shape=4 * GIB)
    for n in range(64):
        array[n * 50 * MIB] = n
    assert array[:: 50 * MIB].tolist()[:64] == list(range(64))
    array.flush()
    assert len(list(array.populated())) == 64
    assert used(path) < 64 * 64 * 1024
    assert resident(path) < 64 * 16


# ---- refusals ------------------------------------------------------------


REFUSED = """
import os, sys
from daxcore import memmap
if len(sys.argv) > 2 and os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    memmap(sys.argv[1], "u1", "w+", shape=1 << 20)
except OSError as error:
    print(type(error).__name__, error)
"""


def test_without_userfaultfd_it_is_refused_and_the_file_stays(path):
    path.write_bytes(BYTES)
    env = {**os.environ, "DAXCORE_DISABLE": "uffd"}
    out = run_python(REFUSED, path, env=env).stdout
    assert out.startswith("NotSupportedError") and "userfaultfd(2)" in out
    assert path.read_bytes() == BYTES


AS_NOBODY = """
import os, sys
from daxcore import memmap
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
array = memmap(sys.argv[1], "u1", "w+", shape=1 << 30)
array[5] = 1
print(array.sum(), array[: 1 << 29].max())
with open("/dev/zero", "rb", buffering=0) as file:
    try:
        print(file.readinto(array[1 << 20 : (1 << 20) + 5]))
    except OSError as error:
        print(error.errno)
    array._mmap.populate(1 << 21, 5, write=True)
    print(file.readinto(array[1 << 21 : (1 << 21) + 5]))
"""


def test_what_somebody_without_privileges_gets():
    """Loads and stores; system calls into holes are EFAULT if they are refused."""
    need("root", os.geteuid() == 0, "run as root: it becomes nobody")
    with tempfile.TemporaryDirectory(prefix="daxcore-") as directory:
        os.chmod(directory, 0o777)
        done = run_python(AS_NOBODY, Path(directory, "array"))
    lines = done.stdout.splitlines()
    assert lines[0] == "1 1", done.stderr
    assert lines[1] in ("5", str(errno.EFAULT))
    assert lines[2] == "5"


def test_a_file_system_without_holes_is_refused(path):
    env = {**os.environ, "DAXCORE_DISABLE": "seek_hole"}
    out = run_python(REFUSED, path, env=env).stdout
    assert out.startswith("NotSupportedError")
    assert "numpy.memmap" in out and "ext4" in out and str(path) in out


def test_a_file_system_that_cannot_punch(path):
    code = """
import sys
from daxcore import memmap
array = memmap(sys.argv[1], "u1", "w+", shape=1 << 20)
array[:] = 1
try:
    array.punch()
except OSError as error:
    print(type(error).__name__, error)
assert array.all()
"""
    env = {**os.environ, "DAXCORE_DISABLE": "punch"}
    done = run_python(code, path, env=env)
    assert done.stdout.startswith("NotSupportedError"), done
    assert "array[...] = 0" in done.stdout
    assert not done.stderr


def test_a_full_file_system(small_tmpfs):
    array = memmap(small_tmpfs / "sparse", "u1", "w+", shape=8 * MIB)
    assert array.sum() == 0
    with pytest.raises(FaultError) as caught:
        array._mmap.populate(write=True)
    assert caught.value.errno == errno.ENOSPC
    array.punch()
    array[5 * MIB] = 1
    assert array.sum() == 1
    del array


# ---- threads -------------------------------------------------------------


def run_threads(*functions):
    errors = []

    def guarded(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_threads_store_side_by_side(path):
    """Interleaved items: pages are shared by all; readers run beside them."""
    nr = 4
    array = memmap(path, "<u4", "w+", shape=(500 * PAGE // 16, nr))
    stop = threading.Event()

    def store(k):
        rng = np.random.default_rng(k)
        for rows in np.array_split(rng.permutation(len(array)), 50):
            array[rows, k] = rows * nr + k + 1

    def read():
        while not stop.is_set():
            flat = array.reshape(-1)
            seen = np.array(flat[::7])
            wanted = np.arange(flat.size, dtype="u4")[::7] + 1
            assert ((seen == 0) | (seen == wanted)).all()

    def stores():
        try:
            run_threads(*(lambda k=k: store(k) for k in range(nr)))
        finally:
            stop.set()

    run_threads(stores, read)
    assert (np.fromfile(path, "<u4") == np.arange(array.size) + 1).all()


def test_what_is_stored_in_a_row_takes_no_more_blocks_than_it_fills(path):
    """Blocks are taken ahead of stores in a row; those not reached go back."""
    array = memmap(path, "u1", "w+", shape=(4, 64 * PAGE))
    for n in range(3):
        array[1] = n + 1
        assert list(array.populated()) == [slice(64 * PAGE, 128 * PAGE)]
        array.flush()
        assert used(path) == 64 * PAGE
        array[1].punch()
        assert list(array.populated()) == []
        assert used(path) == 0


def test_flush_punch_and_stores_beside_each_other(path):
    array = memmap(path, "u1", "w+", shape=(4, 64 * PAGE))

    def rounds(row):
        for n in range(40):
            array[row] = n + 1
            assert (array[row] == n + 1).all()
            array[row].punch()
            assert not array[row].any()
            array[row].flush() if n % 8 == 0 else array.memory()

    run_threads(*(lambda k=k: rounds(k) for k in range(4)))
    assert list(array.populated()) == []


def test_a_call_that_waits_lets_other_threads_run(path):
    """A punch waits for the thaw, which this thread makes: with the GIL held it
    would never come."""
    array = memmap(path, "u1", "w+", shape=16 * PAGE)
    array[:] = 1
    file = array._mmap.file
    file.freeze()
    try:
        thread = threading.Thread(target=array.punch)
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
        assert array.all()
    finally:
        file.thaw()
    thread.join(30)
    assert not thread.is_alive()
    assert not array.any()


def test_a_store_under_the_gil_is_served_without_it(path):
    """Item by item, in Python: each fault is taken with the GIL held, while
    other threads are inside the engine and want it back."""
    array = memmap(path, "u1", "w+", shape=2000 * PAGE)

    def store(first):
        for page in range(first, 2000, 2):
            array[page * PAGE] = 1

    def look():
        for _ in range(50):
            array.memory()
            list(array.populated())

    run_threads(lambda: store(0), lambda: store(1), look)
    assert array[::PAGE].all()


# ---- real clients --------------------------------------------------------


def two_islands(array):
    """Give an array of 16 MiB two islands of data; it, and its bytes."""
    array[100:120] = np.arange(20 * 1024).reshape(20, 1024)
    array[4000, 7] = 1.5
    return array, np.array(array)


def new_array(door, path, stack):
    """An array over a sparse file, by either door, or over a file of a device."""
    size = 12 + 4 * math.prod(ISLANDS)
    if door == "memmap":
        return memmap(path, "<f4", "w+", offset=12, shape=ISLANDS)
    if door == "mmap":
        path.touch()
        os.truncate(path, size)
        file = stack.enter_context(daxcore.open(path, "r+"))
    else:
        device = stack.enter_context(Device.memory(64 * MIB))
        file = stack.enter_context(device.create_file(size))
    m = stack.enter_context(file.mmap(backend="real"))
    return m.ndarray("<f4", ISLANDS, 12)


@pytest.fixture(params=["memmap", "mmap", "device"])
def sparse(request, path):
    with ExitStack() as stack:
        pair = list(two_islands(new_array(request.param, path, stack)))
        yield pair
        pair.clear()  # a mapping with an array cannot be closed


def test_numpy_files(sparse, directory):
    array, plain = sparse
    np.save(directory / "a.npy", array)
    assert np.array_equal(np.load(directory / "a.npy"), plain)
    with open(directory / "a.npy", "rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        saved = memmap(file, dtype, "r", offset=file.tell(), shape=shape)
    assert np.array_equal(saved, plain)
    np.savez_compressed(directory / "a.npz", a=array)
    assert np.array_equal(np.load(directory / "a.npz")["a"], plain)
    array.tofile(directory / "raw")
    assert np.array_equal(np.fromfile(directory / "raw", "<f4"), plain.ravel())
    target = memmap(directory / "target", "<f4", "w+", shape=plain.shape)
    target[:] = np.fromfile(directory / "raw", "<f4").reshape(plain.shape)
    assert np.array_equal(target, plain)
    target[:] = np.load(directory / "a.npy", mmap_mode="r")
    assert np.array_equal(target, plain)


def test_system_calls_into_holes_and_out_of_them(sparse, directory):
    array, plain = sparse
    with open(directory / "out", "wb", buffering=0) as file:
        assert file.write(array) == array.nbytes
    target = memmap(directory / "in", "<f4", "w+", offset=5, shape=plain.shape)
    with open(directory / "out", "rb", buffering=0) as file:
        assert file.readinto(target.reshape(-1)) == target.nbytes
    assert np.array_equal(target, plain)
    assert (directory / "in").read_bytes() == bytes(5) + plain.tobytes()


OWN_FILE = """
import os, sys
from daxcore import memmap
MIB = 1 << 20
array = memmap(sys.argv[1], "u1", "w+", shape=64 * MIB)
array[:MIB] = 7
for flags in (0, os.O_DIRECT):
    try:
        fd = os.open(sys.argv[1], os.O_RDWR | flags)
    except OSError:
        continue  # tmpfs has direct I/O since Linux 6.6
    array.punch(10 * MIB)
    assert os.pwritev(fd, [array[10 * MIB : 11 * MIB]], 20 * MIB) == MIB
    assert not array[20 * MIB : 21 * MIB].any()
    assert os.preadv(fd, [array[10 * MIB : 11 * MIB]], 0) == MIB
    assert os.preadv(fd, [array[30 * MIB : 31 * MIB]], 0) == MIB
    assert os.pwritev(fd, [array[8 * MIB : 12 * MIB]], 40 * MIB) == 4 * MIB
    for at in (10, 30):
        assert (array[at * MIB : (at + 1) * MIB] == 7).all()
    with open(sys.argv[1], "rb") as file:
        file.seek(40 * MIB)
        assert file.read(4 * MIB) == bytes(array[8 * MIB : 12 * MIB])
    os.close(fd)
"""


def test_system_calls_on_the_arrays_own_file(path):
    """write(2) holds the file system's lock of the file while it touches a hole."""
    done = run_python(OWN_FILE, path)
    assert done.returncode == 0, done.stderr


def test_checksums_and_compression(sparse):
    array, plain = sparse
    assert hashlib.sha256(array).digest() == hashlib.sha256(plain).digest()
    assert zlib.crc32(array) == zlib.crc32(plain)
    assert zlib.decompress(zlib.compress(array, 1)) == plain.tobytes()


class Memory(io.RawIOBase):
    """A file whose bytes are an array's."""

    def __init__(self, array):
        self.view, self.at = memoryview(array).cast("B"), 0

    def readable(self):
        return True

    def writable(self):
        return True

    def readinto(self, buffer):
        data = self.view[self.at : self.at + len(buffer)]
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)

    def write(self, data):
        self.view[self.at : self.at + len(data)] = data
        self.at += len(data)
        return len(data)


def test_copyfileobj(sparse, directory):
    array, plain = sparse
    with open(directory / "to", "wb") as to:
        shutil.copyfileobj(Memory(array), to)
    assert (directory / "to").read_bytes() == plain.tobytes()
    target = memmap(directory / "target", "<f4", "w+", shape=plain.shape)
    with open(directory / "to", "rb") as source:
        shutil.copyfileobj(source, Memory(target))
    assert np.array_equal(target, plain)


def test_hdf5_files(sparse, directory):
    """The C library of HDF5 reads and writes by system calls on the memory."""
    array, plain = sparse
    target = memmap(directory / "target", "<f4", "w+", shape=plain.shape)
    with h5py.File(directory / "a.h5", "w") as file:
        file.create_dataset("whole", data=array)
        file.create_dataset("packed", data=array, chunks=(64, 64), compression="gzip")
    with h5py.File(directory / "a.h5") as file:
        file["whole"].read_direct(target)
        assert np.array_equal(target, plain)
        target[:] = 0
        file["packed"].read_direct(target, np.s_[90:130], np.s_[90:130])
        assert np.array_equal(target[90:130], plain[90:130])
        assert not target[130:].any()


def test_sqlite_blobs(sparse, directory):
    array, plain = sparse
    part, empty = array[90:130], array[:40]
    database = sqlite3.connect(directory / "db")
    try:
        database.execute("create table t (b blob)")
        database.execute("insert into t values (?)", (memoryview(part),))
        with database.blobopen("t", "b", 1) as blob:
            empty.reshape(-1).view("u1")[:] = np.frombuffer(blob.read(), "u1")
            assert np.array_equal(empty, plain[90:130])
            blob.seek(0)
            blob.write(memoryview(array[2000:2010]).cast("B"))
        database.commit()
        [(stored,)] = database.execute("select b from t")
        assert stored[: 10 * 4096] == bytes(10 * 4096)
        assert stored[10 * 4096 :] == plain[100:130].tobytes()
    finally:
        database.close()


def sum_rows(name, first, last):
    array = memmap(name, "<f4", "r", offset=12, shape=(4096, 1024))
    return float(array[first:last].sum(dtype="f8"))


def test_spawned_workers_open_their_own(path):
    array = memmap(path, "<f4", "w+", offset=12, shape=ISLANDS)
    array, plain = two_islands(array)
    name = str(path)
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        with pytest.raises(OSError, match="by process") as caught:
            pool.apply(sum_rows, (name, 0, 10))
        assert caught.value.errno == errno.EBUSY
        del array
        again = memmap(name, "<f4", "r", offset=12)
        parts = [(name, n, n + 512) for n in range(0, 4096, 512)]
        assert sum(pool.starmap(sum_rows, parts)) == plain.sum(dtype="f8")
        copied = pool.apply(np.negative, (again[100 * 1024 : 101 * 1024],))
        assert np.array_equal(copied, -plain[100])


# ---- the name ------------------------------------------------------------


def test_the_name_is_the_class_whatever_is_imported():
    code = """
import daxcore._memmap
import daxcore
from daxcore import memmap
assert daxcore.memmap is memmap is daxcore._memmap.memmap
assert (memmap.__module__, memmap.__qualname__) == ("daxcore", "memmap")
"""
    done = run_python(code)
    assert not done.stderr


def test_the_examples():
    finder = doctest.DocTestFinder(recurse=False)
    [test] = finder.find(memmap, "memmap", module=False)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0
