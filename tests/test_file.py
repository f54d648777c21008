# SPDX-License-Identifier: BSD-3-Clause
"""Files: bytes through the block map, sizes, holes, snapshots."""

import errno
import gc
import pickle

import numpy as np
import pytest
from conftest import MIB, PAGE

from daxcore import IomapType

POLICIES = ["zero-page", "page-cache"]


@pytest.fixture(params=POLICIES)
def file(request, device):
    with device.create_file(4 * MIB, policy=request.param) as file:
        yield file


def test_a_new_file_is_one_hole(file):
    assert file.size == 4 * MIB
    assert file.pread(8 * MIB, 0) == bytes(4 * MIB)
    assert len(file.entries()) == 0
    assert file.extents().tolist() == [(0, 4 * MIB, 0, IomapType.HOLE, 0)]


def test_a_file_describes_itself(device):
    with device.create_file(PAGE, policy="page-cache", page_pool="warm") as file:
        assert file.policy == "page-cache"
        assert file.device is device
        assert repr(file) == "<daxcore.File size=4096 policy='page-cache'>"
    assert file.closed
    assert repr(file) == "<daxcore.File closed>"


@pytest.mark.parametrize("offset", [0, 1, PAGE - 1, PAGE, 2 * MIB - 3, 4 * MIB - 5])
def test_what_was_written_is_read(file, offset):
    assert file.pwrite(b"hello", offset) == 5
    assert file.pread(5, offset) == b"hello"
    expected = bytearray(4 * MIB)
    expected[offset : offset + 5] = b"hello"
    assert file.pread(4 * MIB, 0) == expected


def test_reads_end_at_the_end_of_file(file):
    file.truncate(PAGE + 3)
    assert len(file.pread(100, PAGE)) == 3
    assert file.pread(100, PAGE + 3) == b""
    assert file.pread(100, 1 << 40) == b""
    assert file.pread(0, 0) == b""


def test_a_huge_read_allocates_what_the_file_has(file):
    file.truncate(10)
    assert file.pread((1 << 64) - 1, 0) == bytes(10)


def test_pwrite_past_the_end_grows_the_file(file):
    assert file.pwrite(b"end", 5 * MIB) == 3
    assert file.size == 5 * MIB + 3
    assert file.pread(10, 5 * MIB) == b"end"


def test_pwrite_takes_any_buffer(file):
    data = np.arange(1024, dtype=np.uint32)
    assert file.pwrite(data, 0) == 4096
    assert file.pread(4096, 0) == data.tobytes()
    assert file.pwrite(memoryview(bytearray(b"abc")), 1) == 3
    assert file.pwrite(b"", 17) == 0


def test_truncate_down_and_up_shows_zeroes(file):
    file.pwrite(b"x" * 3 * PAGE, 0)
    with file.mmap(length=3 * PAGE) as m:
        assert m.read(0, 1) == b"x"
        file.truncate(PAGE + 1)
        assert file.size == PAGE + 1
        file.truncate(3 * PAGE)
        expected = b"x" * (PAGE + 1) + bytes(2 * PAGE - 1)
        assert file.pread(3 * PAGE, 0) == expected
        assert m.read(0, 3 * PAGE) == expected


def test_truncate_frees_blocks(file):
    free = file.device.free_bytes
    file.pwrite(b"x" * MIB, 0)
    file.truncate(0)
    assert file.device.free_bytes == free
    assert file.size == 0
    assert len(file.extents()) == 0


def test_fallocate_makes_zeroed_blocks(file):
    free = file.device.free_bytes
    file.fallocate(MIB, MIB)
    assert file.device.free_bytes == free - MIB
    assert file.pread(MIB, MIB) == bytes(MIB)
    file.fallocate(4 * MIB, PAGE)
    assert file.size == 4 * MIB + PAGE


def test_punch_hole_frees_pages_and_zeroes_edges(file):
    file.pwrite(b"x" * 4 * PAGE, 0)
    free = file.device.free_bytes
    file.punch_hole(100, 3 * PAGE)
    assert file.device.free_bytes == free + 2 * PAGE
    expected = b"x" * 100 + bytes(3 * PAGE) + b"x" * (PAGE - 100)
    assert file.pread(4 * PAGE, 0) == expected
    assert file.size == 4 * MIB


def test_extents_cover_the_file_in_order(file):
    file.pwrite(b"x" * 2 * PAGE, MIB)
    rows = file.extents()
    assert rows.dtype.names == ("offset", "length", "device_offset", "type", "flags")
    assert rows["offset"][0] == 0
    assert (rows["offset"][1:] == rows["offset"][:-1] + rows["length"][:-1]).all()
    assert rows["offset"][-1] + rows["length"][-1] == file.size
    data = rows[rows["type"] == IomapType.MAPPED]
    assert data[["offset", "length"]].tolist() == [(MIB, 2 * PAGE)]
    assert data["device_offset"][0] % PAGE == 0


def test_more_extents_than_one_call_returns(device):
    with device.create_file(4 * MIB) as file:
        for pgoff in range(0, 400, 2):
            file.pwrite(b"x", pgoff * PAGE)
        rows = file.extents()
        mapped = rows[rows["type"] == IomapType.MAPPED]
        assert mapped["offset"].tolist() == [n * PAGE for n in range(0, 400, 2)]


def test_entries_have_the_columns_promised(device):
    with device.create_file(4 * MIB) as file, file.mmap(pages="pte") as m:
        m.fault(3)
        m.fault(7, write=True)
        rows = file.entries()
        assert rows.dtype.names == (
            "index", "order", "pfn", "zero", "empty", "locked", "dirty", "towrite",
        )  # fmt: skip
        assert rows.dtype["index"] == np.uint64
        assert rows.dtype["order"] == np.uint8
        assert rows.dtype["zero"] == np.bool_
        zero, data = rows
        assert (zero["index"], zero["order"]) == (3, 0)
        assert zero["zero"] and not zero["dirty"] and not zero["locked"]
        assert (data["index"], data["order"]) == (7, 0)
        assert data["dirty"] and not data["zero"] and not data["empty"]


def test_more_entries_than_one_call_returns(device):
    with device.create_file(64 * MIB) as file, file.mmap(pages="pte") as m:
        m.fault_range(0, 16384)
        rows = file.entries()
        assert (rows["index"] == np.arange(16384)).all()
        assert rows["zero"].all()


def test_stats_are_a_dict_of_ints(file):
    stats = file.stats()
    assert all(type(value) is int for value in stats.values())
    assert {"pte_fault", "pmd_fault", "load_hole", "tree_bytes"} <= stats.keys()
    assert stats["pte_fault"] == 0


def test_a_full_device_is_enospc_and_nothing_else_changes(make_device):
    device = make_device(2 * MIB)
    if device.size != 2 * MIB:
        pytest.skip("a node has its own size")
    with device.create_file(4 * MIB) as file:
        file.pwrite(b"x" * 2 * MIB, 0)
        before = file.extents().tolist()
        assert device.free_bytes == 0
        for call in (
            lambda: file.pwrite(b"y", 3 * MIB),
            lambda: file.fallocate(3 * MIB, PAGE),
        ):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.ENOSPC
        assert file.extents().tolist() == before
        assert file.pread(2 * MIB, 0) == b"x" * 2 * MIB
        assert file.pread(1, 3 * MIB) == b"\0"
        file.pwrite(b"z", 0)  # what has a block can be written


def test_a_file_may_be_larger_than_its_device(memory):
    with memory.create_file((1 << 63) - 4096) as file:
        assert file.pread(10, (1 << 63) - 4106) == bytes(10)
        file.pwrite(b"x", (1 << 63) - 4097)
        assert file.pread(1, (1 << 63) - 4097) == b"x"


def test_a_mapping_outlives_its_file(device):
    file = device.create_file(PAGE)
    m = file.mmap()
    file.close()
    file.close()
    m.write(0, b"still here")
    assert m.read(0, 10) == b"still here"
    with pytest.raises(ValueError, match="File is closed"):
        m.file.size  # noqa: B018
    m.close()


def test_a_file_dropped_open_warns_and_is_closed(memory):
    file = memory.create_file(PAGE)
    file.pwrite(b"x", 0)
    with pytest.warns(ResourceWarning, match="unclosed <daxcore.File"):
        del file
        gc.collect()
    assert memory.free_bytes == memory.size


def test_a_file_is_not_pickled(file):
    with pytest.raises(TypeError, match="in the worker"):
        pickle.dumps(file)
