# SPDX-License-Identifier: BSD-3-Clause
"""Block maps from Python: tables of extents, C functions, methods."""

import errno
import threading

import numpy as np
import pytest
from conftest import MIB, PAGE, need, why_no_real_mapping

import daxcore
from daxcore import ExtentTable, IomapType

HOLE, MAPPED = IomapType.HOLE, IomapType.MAPPED


@pytest.fixture(params=["soft", "real"])
def backend(request):
    if request.param == "real":
        why = why_no_real_mapping()
        need("userfaultfd", why is None, why)
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
