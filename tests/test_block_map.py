# SPDX-License-Identifier: BSD-3-Clause
"""Block maps from Python: tables of extents, C functions, methods."""

import ctypes
import errno
import gc
import subprocess
import threading
import weakref

import numpy as np
import pytest
from conftest import MIB, PAGE, in_thread, need_program, need_real_mapping

import daxcore
from daxcore import BlockMap, CBlockMap, ExtentTable, IomapType, capi

HOLE, MAPPED = IomapType.HOLE, IomapType.MAPPED


@pytest.fixture(params=["soft", "real"])
def backend(request):
    if request.param == "real":
        need_real_mapping()
    return request.param


# ---- tables --------------------------------------------------------------


def rows(*extents):
    """Rows of (pages, block), block None for a hole, one after the other."""
    table = np.zeros(len(extents), dtype=ExtentTable.columns)
    page = 0
    for row, (pages, block) in zip(table, extents, strict=True):
        row["offset"], row["length"] = page * PAGE, pages * PAGE
        row["type"] = HOLE if block is None else MAPPED
        row["device_offset"] = 0 if block is None else block * PAGE
        page += pages
    return table


def test_a_table_says_where_bytes_are(memory, backend):
    table = ExtentTable(rows((1, 3), (2, None), (1, 1)))
    memory.store(3 * PAGE, b"three")
    memory.store(PAGE, b"one")
    with memory.create_file(4 * PAGE, iomap=table) as file:
        with file.mmap(backend=backend) as m:
            assert m.read(0, 5) == b"three" and m.read(3 * PAGE, 3) == b"one"
            assert m.read(PAGE, 2 * PAGE) == bytes(2 * PAGE)
            m.write(3 * PAGE, b"ONE")
            with pytest.raises(daxcore.FaultError, match="in a hole") as caught:
                m.write(PAGE, b"x")
            assert caught.value.errno == errno.ENOSPC
            assert m.read(PAGE, 1) == b"\0"
        assert memory.load(PAGE, 3) == b"ONE"
        assert file.extents()["type"].tolist() == [MAPPED, HOLE, MAPPED]
        again = ExtentTable(file.extents())
        assert again.rows.tolist() == table.rows.tolist() and len(again) == 3


def test_replace(memory, backend):
    table = ExtentTable(rows((1, 0), (3, None)))
    memory.store(PAGE, b"new")
    with memory.create_file(4 * PAGE, iomap=table) as file:
        with file.mmap(backend=backend) as m, file.mmap(shared=False) as private:
            m.write(0, b"old")
            private.write(0, b"own")
            assert m.read(2 * PAGE, 3) == bytes(3)
            table.replace(rows((1, None), (1, 0), (1, 1), (1, None)))
            assert m.read(0, 3) == bytes(3) and private.read(0, 3) == b"own"
            assert m.read(PAGE, 3) == b"old" and m.read(2 * PAGE, 3) == b"new"
            assert not file.entries()["dirty"].any()
            assert len(table) == 4


def test_replace_without_a_file(memory):
    table = ExtentTable(rows((1, 0)))
    table.replace(rows((1, 5)))
    assert table.rows["device_offset"].tolist() == [5 * PAGE]
    with memory.create_file(PAGE, iomap=table) as file:
        with pytest.raises(ValueError, match="serves a file already"):
            memory.create_file(PAGE, iomap=table)
    assert file.closed
    with pytest.raises(ValueError, match="closed"):
        table.replace(rows((1, 5)))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("offset", -PAGE, "row 1: offset -4096 is negative"),
        ("length", -PAGE, "row 1: length -4096 is not above 0"),
        ("length", 0, "row 1: length 0 is not above 0"),
        ("length", 100, "row 1: offset 4096 and length 100 must be multiples of 4096"),
        ("length", 2 * PAGE, "row 2: offset 8192 overlaps the row before"),
        ("offset", 0, "row 1: offset 0 overlaps the row before, .* at byte 4096"),
        ("offset", 2 * PAGE, "row 1: offset 8192, but bytes from 4096 on are in no"),
        ("device_offset", 7, "row 1: device offset 7 must be a multiple of 4096"),
        ("device_offset", -PAGE, "row 1: device offset -4096 is negative"),
        ("device_offset", 0, "rows . and . overlap on the device: bytes from 0 on"),
        ("type", 3, "row 1: type 3 is neither HOLE"),
        ("type", -1, "row 1: type -1 is no word of 32 bits"),
        ("flags", 4, "row 1: flags 4 must be 0"),
    ],
)
def test_rows_that_are_no_table(memory, field, value, words):
    good = rows((1, 0), (1, 1), (1, None))
    bad = good.astype([(name, "i8") for name in good.dtype.names])
    bad[field][1] = value
    with pytest.raises(ValueError, match=words):
        ExtentTable(bad)
    table = ExtentTable(good)
    with memory.create_file(PAGE, iomap=table), pytest.raises(ValueError, match=words):
        table.replace(bad)
    assert table.rows.tolist() == good.tolist()


def test_rows_that_do_not_fit_the_file(memory):
    beyond = rows((1, memory.size // PAGE))
    with pytest.raises(ValueError, match=r"row 0: device offset \d+ .* beyond the dev"):
        memory.create_file(PAGE, iomap=ExtentTable(beyond))
    table = ExtentTable(rows((1, None)))
    with pytest.raises(ValueError, match="row 0, the last one, ends at byte 4096"):
        memory.create_file(PAGE + 1, iomap=table)
    with memory.create_file(PAGE, iomap=table):  # it was not used up
        with pytest.raises(ValueError, match="beyond the device"):
            table.replace(beyond)
        with pytest.raises(ValueError, match="ends at byte 0|the last one"):
            table.replace(rows())


def test_what_is_no_array_of_rows():
    good = rows((1, 0))
    fields = ["offset", "length", "type"]
    extra = np.zeros(1, dtype=[*good.dtype.descr[:1], ("color", "i4")])
    floats = good.astype([(name, "f8") for name in good.dtype.names])
    for bad in ([1, 2], np.zeros(3), good.reshape(1, 1), good[fields], extra, floats):
        with pytest.raises(TypeError, match="rows"):
            ExtentTable(bad)


def test_a_pin_of_its_own_is_not_waited_for(memory):
    table = ExtentTable(rows((1, 0)))
    with memory.create_file(PAGE, iomap=table) as file, file.pin(0, 1):
        with pytest.raises(BufferError, match="pinned by this thread"):
            table.replace(rows((1, 1)))


def test_replaced_beside_two_faulting_threads(memory, backend):
    """No load sees a block that was let go: all of those hold 'x'."""
    pages, wrong, done = 16, [], threading.Event()
    tables = [rows((pages, 0)), rows((pages, pages))]
    memory.store(0, b"a" * pages * PAGE)
    table = ExtentTable(tables[0])

    def load(m):
        while not done.is_set():
            for page in range(pages):
                data = m.read(page * PAGE, PAGE)
                if data not in (b"a" * PAGE, b"b" * PAGE):
                    wrong.append((page, data[:16]))
                    return

    with memory.create_file(pages * PAGE, iomap=table) as file:
        with file.mmap(pages="pte", backend=backend) as m:
            threads = [threading.Thread(target=load, args=(m,)) for _ in range(2)]
            for thread in threads:
                thread.start()
            for i in range(1, 301):
                memory.store(i % 2 * pages * PAGE, b"ab"[i % 2 :][:1] * pages * PAGE)
                table.replace(tables[i % 2])
                memory.store((1 - i % 2) * pages * PAGE, b"x" * pages * PAGE)
            done.set()
            for thread in threads:
                thread.join()
    assert not wrong


@pytest.mark.parametrize("pages", ["pte", "auto"])
def test_2_mib_at_once(pages, backend):
    with daxcore.Device.memory(4 * MIB) as device:
        table = ExtentTable(rows((100, 512), (412, 612), (512, None)))
        with device.create_file(4 * MIB, iomap=table) as file:
            with file.mmap(pages=pages, backend=backend) as m:
                m.write(5, b"x")
                assert m.read(0, 6) == bytes(5) + b"x"
                assert m.read(2 * MIB, 1) == b"\0"
                assert file.fsync() is None
            assert device.load(2 * MIB + 5, 1) == b"x"


# ---- functions in C ------------------------------------------------------

# Byte n of the file is byte n + *private of the device, from 64 KiB on a hole.
C_SOURCE = """
#include <errno.h>
#include <daxcore.h>

int begin(struct dax_mapping *mapping, void *private_data, dax_loff_t pos,
          uint64_t length, unsigned int flags, struct dax_iomap *iomap)
{
    const uint64_t *shift = private_data;
    (void)mapping; (void)length;
    iomap->offset = pos < 65536 ? 0 : 65536;
    iomap->length = pos < 65536 ? 65536 : 1UL << 40;
    iomap->type = pos < 65536 ? DAX_IOMAP_MAPPED : DAX_IOMAP_HOLE;
    iomap->addr = shift ? *shift : 0;
    return pos >= 65536 && flags & DAX_IOMAP_WRITE ? -ENOSPC : 0;
}

int nr_ends;

int end(struct dax_mapping *mapping, void *private_data, dax_loff_t pos,
        uint64_t length, int64_t written, unsigned int flags,
        struct dax_iomap *iomap)
{
    (void)mapping; (void)private_data; (void)pos; (void)length; (void)written;
    (void)flags; (void)iomap;
    nr_ends++;
    return 0;
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The functions above, compiled."""
    compiler = need_program("cc", "gcc")
    where = tmp_path_factory.mktemp("block_map")
    (where / "map.c").write_text(C_SOURCE)
    command = [compiler, "-shared", "-fPIC", "-O2", "-I", daxcore.get_include()]
    subprocess.run([*command, "-o", where / "map.so", where / "map.c"], check=True)
    return where / "map.so"


class Compiled:
    """What numba.cfunc gives."""

    def __init__(self, address):
        self.address = address


def as_capsule(address):
    new = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
    )(("PyCapsule_New", ctypes.pythonapi))
    return new(address, NAME, None)


NAME = b"int (struct dax_mapping *, void *, ...)"  # must live as long as the capsule
DOORS = ["ctypes", "cffi", "numba", "capsule", "address"]


def pointers(library, door):
    """Return begin, end and a private pointer to PAGE, as one of DOORS gives them."""
    functions = ctypes.CDLL(str(library))
    shift = ctypes.c_uint64(PAGE)
    begin, end = functions.begin, functions.end
    if door == "ctypes":
        return begin, end, ctypes.pointer(shift), functions
    raw = [ctypes.cast(f, ctypes.c_void_p).value for f in (begin, end)]
    if door == "cffi":
        kept = capi.ffi.new("uint64_t *", PAGE)
        raw = [capi.ffi.cast("int(*)(void)", address) for address in raw]
        return *raw, kept, functions
    wrap = {"numba": Compiled, "capsule": as_capsule, "address": int}[door]
    kept = np.array([PAGE], "u8")
    address = kept.ctypes.data
    private = as_capsule(address) if door == "capsule" else address
    return *map(wrap, raw), private, (functions, kept)


@pytest.mark.parametrize("door", DOORS)
def test_c_functions(memory, library, door, backend):
    begin, end, private, kept = pointers(library, door)
    block_map = CBlockMap(begin, end, private)
    assert not block_map.calls_python
    memory.store(PAGE, b"page 1")
    nr_ends = ctypes.c_int.in_dll(ctypes.CDLL(str(library)), "nr_ends")
    before = nr_ends.value
    with memory.create_file(MIB, iomap=block_map) as file:
        del begin, end, private, block_map
        gc.collect()
        with file.mmap(backend=backend) as m:
            assert m.read(0, 6) == file.pread(6, 0) == b"page 1"
            assert m.read(65536, 1) == b"\0"
            m.write(PAGE, b"page 2")
            with pytest.raises(OSError) as caught:
                m.write(65536, b"x")
            assert caught.value.errno == errno.ENOSPC
    assert memory.load(2 * PAGE, 6) == b"page 2"
    assert nr_ends.value > before
    del kept


def test_references_are_kept(memory, library):
    class Private(ctypes.Structure):
        _fields_ = [("shift", ctypes.c_uint64)]

    private = Private(PAGE)
    alive = weakref.ref(private)
    file = memory.create_file(
        PAGE, iomap=CBlockMap(ctypes.CDLL(str(library)).begin, private=private)
    )
    del private
    gc.collect()
    memory.store(PAGE, b"kept")
    assert file.pread(4, 0) == b"kept" and alive() is not None
    file.close()
    del file
    gc.collect()
    assert alive() is None


def ctypes_begin(answer):
    """A Python function behind a C pointer, which returns `answer`."""
    void_p, word = ctypes.c_void_p, ctypes.c_uint64
    kind = ctypes.CFUNCTYPE(
        ctypes.c_int, void_p, void_p, ctypes.c_int64, word, ctypes.c_uint, void_p
    )
    return kind(lambda mapping, private, pos, length, flags, iomap: answer)


def test_python_behind_a_c_pointer_is_seen(memory):
    callback = capi.ffi.callback("int(void)", lambda: 0)
    for begin in (ctypes_begin(-errno.EXDEV), callback):
        block_map = CBlockMap(begin)
        assert block_map.calls_python
        with memory.create_file(PAGE, iomap=block_map) as file:
            with pytest.raises(daxcore.NotSupportedError, match="ExtentTable"):
                file.mmap(backend="real")
    with memory.create_file(PAGE, iomap=CBlockMap(ctypes_begin(-errno.EXDEV))) as file:
        with pytest.raises(OSError) as caught:
            file.pread(1, 0)
        assert caught.value.errno == errno.EXDEV


def test_what_is_no_function():
    good = ctypes_begin(0)
    for bad in (None, "begin", len, object(), True, capi.ffi.new("int *")):
        with pytest.raises(TypeError, match="begin must be a C function"):
            CBlockMap(bad)
        if bad is not None:
            with pytest.raises(TypeError, match="end must be a C function"):
                CBlockMap(good, bad)
    for bad in ("x", object(), 1.5, capi.ffi.new("struct dax_extent *")[0]):
        with pytest.raises(TypeError, match="private must be a pointer"):
            CBlockMap(good, private=bad)
    for null in (0, -1, type(good)(0), capi.ffi.cast("int(*)(void)", 0)):
        with pytest.raises(ValueError, match="begin must not be NULL"):
            CBlockMap(null)
    with pytest.raises(OverflowError):
        CBlockMap(1 << 64)


# ---- methods in Python ---------------------------------------------------


class Linear(BlockMap):
    """Byte n is byte n of the device, up to 1 MiB; then hole."""

    def __init__(self):
        self.seen = []

    def begin(self, pos, length, flags):
        self.seen.append((pos, length, flags))
        if pos < MIB:
            return 0, MIB, 0, MAPPED
        if flags & self.WRITE:
            raise OSError(errno.ENOSPC, "nothing behind")
        return MIB, 1 << 40, 0, HOLE


class Answers(BlockMap):
    """Whatever `answer` returns."""

    def __init__(self, answer):
        self.answer = answer

    def begin(self, pos, length, flags):
        return self.answer(pos, length, flags)


def calls(file, m):
    """Everything that asks the block map: name, function."""
    return {
        "pread": lambda: file.pread(1, 0),
        "pwrite": lambda: file.pwrite(b"x", 0),
        "read": lambda: m.read(0, 1),
        "write": lambda: m.write(0, b"x"),
        "fault": lambda: m.fault(0),
        "store fault": lambda: m.fault(0, write=True),
        "fault_range": lambda: m.fault_range(0, 1),
        "fault_many": lambda: m.fault_many([0]),
        "populate": lambda: m.populate(),
        "extents": lambda: file.extents(),
        "zero_range": lambda: file.zero_range(0, 10),
        "pin": lambda: file.pin(0, 1),
    }


CALLS = list(calls(None, None))


def assert_nothing_left(file):
    """No entry is locked; what is there stands for nothing, and the file goes on."""
    entries = file.entries()
    assert not entries["locked"].any() and not entries["dirty"].any()
    assert entries["empty"].all()
    file.collect()
    assert not len(file.entries())


def test_a_block_map_in_python(memory):
    block_map = Linear()
    with memory.create_file(4 * MIB, iomap=block_map) as file, file.mmap() as m:
        assert m.write(10, b"bytes") == 5
        assert memory.load(10, 5) == file.pread(5, 10) == b"bytes"
        assert m.read(2 * MIB, 1) == b"\0"
        assert file.pwrite(b"more", PAGE) == 4 and m.read(PAGE, 4) == b"more"
        assert file.writeback() >= 1
        file.fsync()
        m.populate()
        assert file.extents()["length"].tolist() == [MIB, 3 * MIB]
        with pytest.raises(OSError, match="nothing behind") as caught:
            m.write(3 * MIB, b"x")
        assert type(caught.value) is OSError and caught.value.errno == errno.ENOSPC
    assert (0, PAGE, block_map.WRITE | block_map.FAULT) in block_map.seen


@pytest.mark.parametrize("pages", ["pte", "auto"])
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EINTR, "would be asked for ever"),
        BlockingIOError(errno.EAGAIN, "later"),
        MemoryError("m"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_an_exception_is_raised_as_it_is(memory, pages, name, error):
    def answer(pos, length, flags):
        raise error

    with memory.create_file(4 * MIB, iomap=Answers(answer)) as file:
        with file.mmap(pages=pages) as m:
            with pytest.raises(type(error)) as caught:
                calls(file, m)[name]()
            assert caught.value is error
            assert (
                f"Answers.begin() for byte 0 of file {file.ino}" in error.__notes__[-1]
            )
            assert_nothing_left(file)


def test_every_errno_ends(memory):
    """None of them makes a call ask for ever."""
    code = 0

    def answer(pos, length, flags):
        raise OSError(code, "said the block map")

    with memory.create_file(4 * MIB, iomap=Answers(answer)) as file, file.mmap() as m:
        for code in range(1, 135):
            for name, call in calls(file, m).items():
                with pytest.raises(OSError, match="said the block map") as caught:
                    call()
                assert caught.value.errno == code, name


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (None, TypeError, "must return a tuple"),
        ((0, PAGE), TypeError, "must return a tuple"),
        ([0, PAGE, 0, 2], TypeError, "must return a tuple"),
        (("0", PAGE, 0, 2), TypeError, "."),
        ((0, -PAGE, 0, 2), ValueError, r"\(0, -4096, 0, 2\): the length must be above"),
        ((0, 0, 0, 2), ValueError, "length must be above 0"),
        ((0, PAGE, -PAGE, 2), ValueError, "device offset"),
        ((0, 1 << 64, 0, 2), OverflowError, "."),
        ((0, PAGE, 0, -1), OverflowError, "."),
        ((PAGE, PAGE, 0, 2), OSError, "answered type 2, offset 4096"),
        ((-PAGE, PAGE, 0, 2), OSError, "offset -4096"),
        ((0, PAGE, 0, 9), OSError, "type 9"),
        ((0, PAGE, 1 << 40, 2), OSError, "Errno 34.* beyond the device"),
    ],
)
@pytest.mark.parametrize("name", ["pread", "pwrite", "read", "write", "fault_range"])
def test_answers_that_are_wrong(memory, name, answer, error, words):
    block_map = Answers(lambda pos, length, flags: answer)
    with memory.create_file(PAGE, iomap=block_map) as file, file.mmap() as m:
        with pytest.raises(error, match=words):
            calls(file, m)[name]()
        assert_nothing_left(file)
        block_map.answer = lambda pos, length, flags: (0, PAGE, 0, MAPPED)
        calls(file, m)[name]()


@pytest.mark.parametrize("name", ["read", "write", "fault_range"])
@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ((0, PAGE, 512, 2), errno.EINVAL, "device byte 512, which is not the start"),
        ((0, 512, 0, 2), errno.EIO, "."),
    ],
)
def test_a_fault_needs_whole_pages(memory, name, answer, code, words):
    block_map = Answers(lambda pos, length, flags: answer)
    with memory.create_file(PAGE, iomap=block_map) as file, file.mmap() as m:
        with pytest.raises(OSError, match=words) as caught:
            calls(file, m)[name]()
        assert caught.value.errno == code
        assert_nothing_left(file)


@pytest.mark.parametrize("outer", ["pread", "pwrite", "read", "write", "fault_range"])
@pytest.mark.parametrize(
    "inner",
    [
        *CALLS,
        *("truncate", "fsync", "writeback", "entries", "mmap", "table"),
    ],
)
def test_the_same_file_from_inside(memory, outer, inner):
    results = []

    def answer(pos, length, flags):
        if not results:
            results.append(None)
            try:
                results[0] = more[inner]()
            except BaseException as error:
                results[0] = error
        return 0, MIB, 0, MAPPED

    with memory.create_file(MIB, iomap=Answers(answer)) as file, file.mmap() as m:
        more = calls(file, m) | {
            "truncate": lambda: file.truncate(5),
            "fsync": file.fsync,
            "writeback": file.writeback,
            "entries": file.entries,
            "mmap": file.mmap,
            "table": lambda: capi.check(
                capi.lib.dax_mapping_collect(capi.from_object(file))
            ),
        }
        calls(file, m)[outer]()
        if inner != "truncate":  # which this block map has not
            assert isinstance(results[0], OSError)
            assert results[0].errno == errno.EDEADLK
        assert file.size == MIB and not file.entries()["locked"].any()


def test_re_entry_that_is_not_caught_ends_the_call(memory):
    block_map = Answers(lambda pos, length, flags: file.pread(1, 0))
    with memory.create_file(PAGE, iomap=block_map) as file, file.mmap() as m:
        with pytest.raises(OSError) as caught:
            m.read(0, 1)
        assert caught.value.errno == errno.EDEADLK
        assert_nothing_left(file)


def test_another_file_from_inside(memory):
    with memory.create_file(PAGE, iomap=Linear()) as other:

        def answer(pos, length, flags):
            assert other.pread(1, 0) == b"\0"
            with pytest.raises(KeyError):
                bad.pread(1, 0)
            return 0, PAGE, 0, MAPPED

        def fail(pos, length, flags):
            raise KeyError

        with (
            memory.create_file(PAGE, iomap=Answers(fail)) as bad,
            memory.create_file(PAGE, iomap=Answers(answer)) as file,
            file.mmap() as m,
        ):
            m.read(0, 1)
            file.pread(1, 0)


def test_closed_from_inside(memory):
    def answer(pos, length, flags):
        m.close()
        file.close()
        return 0, PAGE, 0, MAPPED

    file = memory.create_file(PAGE, iomap=Answers(answer))
    m = file.mmap()
    assert m.read(0, 1) == b"\0"
    assert m.closed and file.closed


def test_end_is_called_once_for_each_answer(memory):
    class Paired(Linear):
        ends = ()
        error = None

        def end(self, pos, length, written, flags, answer):
            assert self.seen[-1] == (pos, length, flags)
            self.ends = (*self.ends, (written, answer))
            if self.error:
                raise self.error

    block_map = Paired()
    with memory.create_file(MIB, iomap=block_map) as file, file.mmap() as m:
        m.write(0, b"x")
        file.pread(1, 0)
        m.fault_range(0, 256)
        assert len(block_map.ends) == len(block_map.seen)
        assert {answer for _, answer in block_map.ends} == {(0, MIB, 0, MAPPED)}
        block_map.error = RuntimeError("at the end")
        for call in (file.pread, m.fault_range):
            m.dontneed()
            with pytest.raises(RuntimeError) as caught:
                call(1, 1)
            assert caught.value is block_map.error
            assert "Paired.end() for byte" in caught.value.__notes__[-1]
        assert not file.entries()["locked"].any()


def test_what_was_done_before_is_not_lost_silently(memory):
    """The second page fails: a read of both raises, and is no short one."""

    def answer(pos, length, flags):
        if pos >= PAGE:
            raise KeyError(pos)
        return 0, PAGE, 0, MAPPED

    with memory.create_file(2 * PAGE, iomap=Answers(answer)) as file:
        with file.mmap() as m:
            for call in (
                lambda: file.pread(2 * PAGE, 0),
                lambda: file.pwrite(bytes(2 * PAGE), 0),
                lambda: m.read(0, 2 * PAGE),
                lambda: m.write(0, bytes(2 * PAGE)),
                lambda: m.fault_range(0, 2),
                file.extents,
            ):
                with pytest.raises(KeyError):
                    call()
            assert file.pread(PAGE, 0) == bytes(PAGE)


def test_a_failure_is_its_own_call_s(memory):
    """An exception that nobody asked for is not raised by the next failure."""
    fail = True

    def answer(pos, length, flags):
        if fail:
            raise OSError(errno.EIO, "old")
        return PAGE, PAGE, 0, MAPPED  # does not cover: EIO

    pointer = capi.ffi.new("char[1]")
    with memory.create_file(PAGE, iomap=Answers(answer)) as file:
        mapping = capi.from_object(file)
        assert capi.lib.dax_mapping_pread(mapping, pointer, 1, 0) == -errno.EIO
        fail = False
        with pytest.raises(OSError, match="answered type"):
            file.pread(1, 0)
        fail = True
        ret = capi.lib.dax_mapping_pread(mapping, pointer, 1, 0)
        with pytest.raises(OSError, match="old"):
            capi.check(ret)
        del mapping


def test_a_slow_one_holds_up_nobody_else(memory):
    """Only the callback has the GIL; who wants the page waits, others do not."""
    inside, go = threading.Event(), threading.Event()

    def answer(pos, length, flags):
        if not go.is_set():
            inside.set()
            assert go.wait(60)
        return 0, PAGE, 0, MAPPED

    with memory.create_file(PAGE, iomap=Answers(answer)) as file, file.mmap() as m:
        first, got = in_thread(lambda: m.read(0, 1))
        assert inside.wait(60)
        second, same = in_thread(lambda: m.read(0, 1))  # the same entry
        with memory.create_file(PAGE) as other:
            assert other.pread(1, 0) == b"\0"
        go.set()
        first.join()
        second.join()
        assert got == same == [b"\0"]


def test_threads(memory):
    """Four of them fault, some of them fail, each gets its own exception."""

    def answer(pos, length, flags):
        if pos // PAGE % 7 == threading.get_ident() % 7:
            raise KeyError(threading.get_ident())
        return 0, MIB, 0, MAPPED

    def body():
        failed = 0
        for i in range(2000):
            try:
                file.pread(1, i % 256 * PAGE)
                m.read(i % 256 * PAGE, 1)
            except KeyError as error:
                assert error.args == (threading.get_ident(),)
                failed += 1
        return failed

    with memory.create_file(MIB, iomap=Answers(answer)) as file:
        with file.mmap(pages="pte") as m:
            started = [in_thread(body) for _ in range(4)]
            for thread, result in started:
                thread.join()
                assert result[0] > 0
            assert not file.entries()["locked"].any()


def test_real_mappings_are_refused(memory):
    with memory.create_file(PAGE, iomap=Linear()) as file:
        with pytest.raises(daxcore.NotSupportedError) as caught:
            file.mmap(backend="real")
    assert caught.value.errno == errno.EOPNOTSUPP
    for words in ("GIL", "ExtentTable", "CBlockMap"):
        assert words in str(caught.value)


def test_a_begin_is_needed(memory):
    for block_map in (BlockMap(), type("Empty", (BlockMap,), {})()):
        with pytest.raises(TypeError, match=r"has no begin\(\)"):
            memory.create_file(PAGE, iomap=block_map)


def test_a_block_map_that_holds_its_file_goes_with_it(memory):
    block_map = Linear()
    block_map.file = memory.create_file(PAGE, iomap=block_map)
    block_map.file.close()
    gone = weakref.ref(block_map)
    del block_map
    gc.collect()
    assert gone() is None
