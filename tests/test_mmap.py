# SPDX-License-Identifier: BSD-3-Clause
"""Mappings: loads and stores, sharing, ranges, frames."""

import gc
import pickle

import numpy as np
import pytest
from conftest import MIB, PAGE, need_real_mapping

import daxcore

POLICIES = ["zero-page", "page-cache"]
PRIVATE_FRAME = 1 << 51  # also page-cache pages


@pytest.fixture(params=POLICIES)
def file(request, device):
    with device.create_file(4 * MIB, policy=request.param) as file:
        yield file


def test_a_mapping_describes_itself(device):
    with device.create_file(4 * MIB) as file:
        with file.mmap(2 * PAGE, 3 * PAGE, "r", shared=False, pages="pte") as m:
            assert (m.offset, m.length) == (2 * PAGE, 3 * PAGE)
            assert (m.access, m.shared, m.pages) == ("r", False, "pte")
            assert m.backend == "soft"
            assert m.file is file
            assert repr(m) == (
                "<daxcore.Mmap offset=8192 length=12288 access='r' private "
                "backend='soft' pages='pte'>"
            )
        assert m.closed
        assert repr(m) == "<daxcore.Mmap closed>"


@pytest.mark.parametrize("pages", ["auto", "pte"])
def test_what_was_stored_is_loaded_everywhere(file, pages):
    with file.mmap(pages=pages) as one, file.mmap(pages=pages) as two:
        assert two.read(0, file.size) == bytes(file.size)
        assert one.write(PAGE - 2, b"seam") == 4
        assert one.read(PAGE - 2, 4) == two.read(PAGE - 2, 4) == b"seam"
        assert file.pread(4, PAGE - 2) == b"seam"


def test_pwrite_is_seen_through_mappings_that_showed_the_hole(file):
    with file.mmap(pages="auto") as m, file.mmap(pages="pte") as small:
        assert m.read(0, 2 * MIB) == small.read(0, 2 * MIB) == bytes(2 * MIB)
        file.pwrite(b"block", MIB)
        assert m.read(MIB, 5) == small.read(MIB, 5) == b"block"
        assert m.read(0, MIB) == bytes(MIB)


def test_private_stores_stay_private(file):
    file.pwrite(b"original", 0)
    with file.mmap(shared=False) as private, file.mmap() as shared:
        private.write(0, b"changed!")
        private.write(2 * MIB, b"hole")
        assert private.read(0, 8) == b"changed!"
        assert shared.read(0, 8) == file.pread(8, 0) == b"original"
        assert shared.read(2 * MIB, 4) == bytes(4)
        shared.write(0, b"ORIGINAL")
        assert private.read(0, 8) == b"changed!"
        assert file.stats()["cow_bytes"] == 2 * PAGE
    assert file.stats()["cow_bytes"] == 0


def test_offsets_are_the_mappings_and_pages_are_the_files(file):
    file.pwrite(b"here", 5 * PAGE)
    with file.mmap(offset=4 * PAGE, length=2 * PAGE) as m:
        assert m.read(PAGE, 4) == b"here"
        assert m.fault(5) == daxcore.FaultResult.NOPAGE
        assert m.pagemap(5, 1)[0] != 0
        with pytest.raises(ValueError, match="pages 4 to 5"):
            m.fault(3)
        with pytest.raises(ValueError, match="pages 4 to 5"):
            m.fault(6)


def test_the_default_length_is_up_to_the_end_of_file(file):
    file.truncate(2 * PAGE + 5)
    with file.mmap(offset=PAGE) as m:
        assert m.length == PAGE + 5
        assert m.read(PAGE, 5) == bytes(5)
        assert m.fault_range(1, 2) <= 2


def test_beyond_the_end_of_file_is_a_fault_error(file):
    file.truncate(PAGE)
    with file.mmap(length=2 * PAGE, pages="pte") as m:
        assert m.fault(1) == daxcore.FaultResult.SIGBUS
        with pytest.raises(daxcore.FaultError) as caught:
            m.read(0, 2 * PAGE)
        error = caught.value
        assert error.fault == daxcore.FaultResult.SIGBUS
        assert error.offset == PAGE
        assert error.nbytes == PAGE
        assert error.reason == "none"
        assert isinstance(error, OSError) and error.errno > 0
        with pytest.raises(daxcore.FaultError):
            m.write(PAGE, b"x")
        with pytest.raises(daxcore.FaultError):
            m.fault_range(0, 2)
        file.truncate(2 * PAGE)
        assert m.read(0, 2 * PAGE) == bytes(2 * PAGE)


def test_a_store_into_a_full_device_is_enospc_and_the_hole_stays(make_device):
    device = make_device(PAGE)
    if device.size != PAGE:
        pytest.skip("a node has its own size")
    with device.create_file(4 * PAGE) as file, file.mmap() as m:
        m.write(0, b"last block")
        with pytest.raises(daxcore.FaultError, match="byte 4096") as caught:
            m.write(PAGE, b"no block")
        assert caught.value.errno == 28
        assert m.read(PAGE, 8) == bytes(8)
        assert m.read(0, 10) == b"last block"


def test_a_readonly_mapping_refuses_stores(file):
    with file.mmap(access="r") as m:
        for store in (
            lambda: m.write(0, b"x"),
            lambda: m.fault(0, write=True),
            lambda: m.fault_range(0, 1, write=True),
            lambda: m.fault_many([0], write=True),
        ):
            with pytest.raises(PermissionError):
                store()
        assert m.read(0, 1) == b"\0"


def test_a_hole_shows_one_frame_and_only_one(device):
    with device.create_file(64 * MIB) as file, file.mmap(pages="pte") as m:
        assert set(m.pagemap()) == {0}
        assert m.fault_range(0, 16384) == 16384
        assert len(np.unique(m.pagemap())) == 1
        assert m.pagemap().dtype == np.uint64
        assert set(m.pagemap()) == set(file.entries()["pfn"])


def test_page_cache_shows_a_frame_for_each_page(device):
    with device.create_file(4 * MIB, policy="page-cache") as file:
        with file.mmap(pages="pte") as m:
            m.fault_range(0, 1024)
            frames = m.pagemap()
            assert len(np.unique(frames)) == 1024
            assert (frames & PRIVATE_FRAME).all()
            assert file.stats()["page_cache_bytes"] == 4 * MIB


def test_pagemap_of_a_part(device):
    with device.create_file(16 * PAGE) as file, file.mmap(pages="pte") as m:
        m.fault(3)
        assert (m.pagemap(2, 3) != 0).tolist() == [False, True, False]
        assert len(m.pagemap(10)) == 6
        assert len(m.pagemap(16, 0)) == 0
        assert len(m.pagemap(npages=2)) == 2


def test_dontneed_drops_leaves_and_private_copies(file):
    file.pwrite(b"original", 0)
    with file.mmap(shared=False, pages="pte") as m:
        m.write(0, b"private!")
        m.read(PAGE, 1)
        m.dontneed(0, PAGE)
        assert (m.pagemap(0, 2) != 0).tolist() == [False, True]
        assert m.read(0, 8) == b"original"
        assert file.stats()["cow_bytes"] == 0
        m.dontneed()
        assert not m.pagemap().any()
        m.dontneed(file.size)


def test_closing_twice_is_closing_once(file):
    m = file.mmap()
    m.close()
    m.close()
    assert m.closed


def test_a_mapping_dropped_open_warns_and_is_closed(memory):
    with memory.create_file(PAGE) as file:
        m = file.mmap(shared=False)
        m.write(0, b"x")
        with pytest.warns(ResourceWarning, match="unclosed <daxcore.Mmap"):
            del m
            gc.collect()
        assert file.stats()["cow_bytes"] == 0


def test_a_mapping_is_not_pickled(file):
    with file.mmap() as m, pytest.raises(TypeError, match="in the worker"):
        pickle.dumps(m)


def test_an_array_holds_its_mapping_open(file):
    need_real_mapping()
    m = file.mmap(backend="real")
    array = m.ndarray("u1")
    view = array[5:]
    del array
    with pytest.raises(BufferError, match="buffers of it"):
        m.close()
    assert view.sum() == 0
    del view
    m.close()


def test_memory_of_a_soft_mapping(file):
    with file.mmap(pages="pte") as m:
        m.read(0, PAGE)
        m.write(PAGE, b"x")
        memory = m.memory()
    read = PAGE if file.policy == "zero-page" else 0
    assert memory["zero_bytes"] == read
    assert memory["zero_bytes"] + memory["data_bytes"] == 2 * PAGE
    assert memory["copy_bytes"] == memory["cpu_page_table_bytes"] == 0
    with pytest.raises(ValueError, match="Mmap is closed"):
        m.memory()
