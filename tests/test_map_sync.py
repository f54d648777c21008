# SPDX-License-Identifier: BSD-3-Clause
"""mmap(sync=True): no store before the block map has saved where it goes."""

import errno

import pytest
from conftest import MIB, PAGE, need

import daxcore
from daxcore import capi

ffi, lib = capi.ffi, capi.lib


@pytest.fixture
def pmem():
    try:
        device = daxcore.Device.memory(8 * MIB, emulate_pmem=True)
    except daxcore.NotSupportedError as error:
        need("clwb", False, str(error))
    with device:
        yield device


class DirtyMap:
    """Byte n of the file is byte n of the device; what begin says is unsaved."""

    def __init__(self):
        self.calls = []
        self.clean = False
        self.sync_returns = 0
        self.in_sync = None
        self._begin = ffi.callback(
            "int(struct dax_mapping *, void *, int64_t, uint64_t, unsigned int,"
            " struct dax_iomap *)",
            self.begin,
        )
        self._sync = ffi.callback("int(struct dax_mapping *, void *)", self.sync)
        self.ops = ffi.new("struct dax_iomap_ops *")
        self.ops.struct_size = ffi.sizeof(self.ops[0])
        self.ops.iomap_begin = self._begin
        self.ops.sync = self._sync

    def begin(self, mapping, private, pos, length, flags, iomap):
        self.calls.append("begin")
        iomap.type = lib.DAX_IOMAP_MAPPED
        iomap.offset = iomap.addr = pos
        iomap.length = length
        iomap.flags = 0 if self.clean else lib.DAX_IOMAP_F_DIRTY
        return 0

    def sync(self, mapping, private):
        self.calls.append("sync")
        if self.in_sync:
            self.in_sync()
        return self.sync_returns


@pytest.fixture
def block_map():
    return DirtyMap()


@pytest.fixture
def file(pmem, block_map):
    with pmem.create_file(4 * MIB, iomap=block_map.ops) as file:
        yield file


def test_a_store_waits_for_the_block_map(file, block_map, pmem):
    with file.mmap(pages="pte", sync=True) as m:
        assert m.sync
        seen = []
        block_map.in_sync = lambda: seen.append(file.pread(4, PAGE))
        m.write(PAGE, b"data")
        assert seen == [bytes(4)]
        assert block_map.calls == ["begin", "sync", "begin"]  # sync read, too
        assert file.pread(4, PAGE) == b"data"
        assert file.stats()["insert_pfn_mkwrite"] == 1
        assert file.entries()["dirty"].tolist() == [True]


def test_what_is_saved_needs_no_sync(file, block_map):
    block_map.clean = True
    with file.mmap(pages="pte", sync=True) as m:
        m.write(0, b"data")
    assert block_map.calls == ["begin"]


def test_other_mappings_do_not_wait(file, block_map):
    with file.mmap(pages="pte") as m, file.mmap(sync=True) as synced:
        assert not m.sync
        m.write(0, b"data")
        assert synced.read(0, 4) == b"data"
        assert "sync" not in block_map.calls


@pytest.mark.parametrize("pages", ["auto", "pmd"])
def test_two_mib_at_once(file, block_map, pages):
    with file.mmap(pages=pages, sync=True) as m:
        m.write(0, bytes(range(256)) * (2 * MIB // 256))
        assert block_map.calls.count("sync") == 1
        assert m.fault(0, write=True) & daxcore.FaultResult.NOPAGE


def test_a_failure_of_the_block_map_is_the_faults(file, block_map):
    block_map.sync_returns = -errno.ENOSPC
    with file.mmap(pages="pte", sync=True) as m:
        with pytest.raises(daxcore.FaultError) as caught:
            m.write(PAGE, b"data")
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.offset == PAGE
        assert m.read(PAGE, 4) == bytes(4)
        assert not file.entries()["dirty"].any()
        block_map.sync_returns = 0
        m.write(PAGE, b"data")
        assert m.read(PAGE, 4) == b"data"


def test_the_built_in_block_map(pmem):
    with pmem.create_file(4 * MIB) as file, file.mmap(sync=True) as m:
        m.write(0, b"data")
        assert file.pread(4, 0) == b"data"


def test_what_is_not_persistent_is_refused_with_the_reason(device):
    with device.create_file(MIB) as file:
        with pytest.raises(daxcore.NotSupportedError) as caught:
            file.mmap(sync=True)
        assert device.durability in str(caught.value)


def test_two_step_writes_are_refused(pmem):
    with pmem.create_file(MIB, policy="page-cache") as file:
        with pytest.raises(daxcore.NotSupportedError, match="two steps"):
            file.mmap(sync=True)


@pytest.mark.parametrize("how", [{"access": "r"}, {"shared": False}])
def test_shared_and_writable_only(file, how):
    with pytest.raises(ValueError, match="sync"):
        file.mmap(sync=True, **how)
