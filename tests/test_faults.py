# SPDX-License-Identifier: BSD-3-Clause
"""Faults: how many, of which size, with which result, at which cost.

Source of the numbers: fs/dax.c before and after the series that introduced
the common zero page (Linux 4.14).
"""

import numpy as np
import pytest
from conftest import MIB, PAGE

import daxcore
from daxcore import FaultError, FaultResult, capi

POLICIES = ["zero-page", "page-cache"]
NOPAGE, MAJOR = FaultResult.NOPAGE, FaultResult.MAJOR

# (write to an untouched page, read then write of a hole,
#  read then write of an allocated page)
FAULT_COUNTS = {"zero-page": (1, 2, 2), "page-cache": (2, 3, 2)}


def changed(before, after):
    """What counters moved, without gauges of bytes and entries."""
    return {
        name: after[name] - before[name]
        for name in after
        if after[name] != before[name]
        and not name.endswith("_bytes")
        and not name.startswith(("nr", "entry_"))
    }


@pytest.fixture(params=POLICIES)
def policy(request):
    return request.param


# ---- how many ------------------------------------------------------------


def test_write_to_an_untouched_page(device, policy):
    with device.create_file(PAGE, policy=policy) as file:
        with file.mmap(pages="pte") as m:
            assert m.fault_range(0, 1, write=True) == FAULT_COUNTS[policy][0]
            assert file.stats()["pfn_mkwrite"] == FAULT_COUNTS[policy][0] - 1
            assert m.fault_range(0, 1, write=True) == 0


def test_read_then_write_of_a_hole(device, policy):
    with device.create_file(PAGE, policy=policy) as file:
        with file.mmap(pages="pte") as m:
            faults = m.fault_range(0, 1) + m.fault_range(0, 1, write=True)
            assert faults == FAULT_COUNTS[policy][1]


def test_read_then_write_of_an_allocated_page(device, policy):
    with device.create_file(PAGE, policy=policy) as file:
        file.pwrite(b"x", 0)
        with file.mmap(pages="pte") as m:
            faults = m.fault_range(0, 1) + m.fault_range(0, 1, write=True)
            assert faults == FAULT_COUNTS[policy][2]


@pytest.mark.parametrize("call", ["fault_range", "fault_many", "write"])
def test_each_way_to_store_takes_the_same_faults(device, policy, call):
    expected = 8 * FAULT_COUNTS[policy][0]
    with device.create_file(8 * PAGE, policy=policy) as file:
        with file.mmap(pages="pte") as m:
            if call == "write":
                m.write(0, bytes(8 * PAGE))
            elif call == "fault_many":
                assert m.fault_many(range(8), write=True) == expected
            else:
                assert m.fault_range(0, 8, write=True) == expected
        assert file.stats()["pfn_mkwrite"] == expected - 8


def test_private_write_is_one_fault(device, policy):
    with device.create_file(PAGE, policy=policy) as file:
        with file.mmap(shared=False, pages="pte") as m:
            assert m.fault(0, write=True) == FaultResult.DONE_COW
            assert file.stats()["cow_fault"] == 1
            [entry] = file.entries()
            assert entry["empty"] and not entry["dirty"]


# ---- of which size -------------------------------------------------------


def test_one_fault_reads_2_mib_of_hole(device):
    with device.create_file(4 * MIB) as file, file.mmap() as m:
        before = file.stats()
        assert m.fault_range(0, 1024) == 2
        assert changed(before, file.stats()) == {"pmd_fault": 2, "pmd_load_hole": 2}
        rows = file.entries()
        assert rows["order"].tolist() == [9, 9]
        assert rows["index"].tolist() == [0, 512]
        assert rows["zero"].all()
        frames = m.pagemap()
        assert (frames[:512] == frames[512:]).all()
        assert (np.diff(frames[:512]) == 1).all()


def test_one_fault_writes_2_mib(device):
    with device.create_file(4 * MIB) as file, file.mmap() as m:
        before = file.stats()
        assert m.fault_range(0, 512, write=True) == 1
        moved = changed(before, file.stats())
        assert moved["pmd_fault"] == moved["pmd_insert_mapping"] == 1
        assert "pte_fault" not in moved
        [entry] = file.entries()
        assert (entry["order"], entry["dirty"]) == (9, True)
        assert entry["pfn"] % 512 == 0
        m.write(MIB, b"inside")
        assert file.pread(6, MIB) == b"inside"
        assert file.stats()["pmd_fault"] == 1


def test_a_write_replaces_the_2_mib_zero_page(device):
    with device.create_file(2 * MIB) as file, file.mmap() as m:
        m.fault(0)
        assert m.fault(0, write=True) & NOPAGE
        [entry] = file.entries()
        assert entry["order"] == 9 and not entry["zero"]


def test_pte_mappings_never_take_a_2_mib_fault(device, policy):
    with device.create_file(2 * MIB, policy=policy) as file:
        with file.mmap(pages="pte") as m:
            assert m.fault_range(0, 512) == 512
            assert file.stats()["pmd_fault"] == 0
            assert (file.entries()["order"] == 0).all()


def test_a_4_kib_fault_downgrades_a_2_mib_hole(device):
    with device.create_file(2 * MIB) as file:
        with file.mmap() as big, file.mmap(pages="pte") as small:
            big.fault(0)
            assert small.fault(5, write=True) == NOPAGE | MAJOR
            stats = file.stats()
            assert stats["downgrade"] == 1
            rows = file.entries()
            assert rows["index"].tolist() == [5]
            assert rows["order"].tolist() == [0]
            assert not big.pagemap().any()
            assert big.read(0, 5 * PAGE) == bytes(5 * PAGE)


# ---- fallbacks -----------------------------------------------------------


def fallback_of(file):
    stats = file.stats()
    return {
        name.removeprefix("fallback_")
        for name, value in stats.items()
        if name.startswith("fallback_") and value
    }


@pytest.mark.parametrize("pages", ["auto", "pmd"])
def test_fallback_at_the_end_of_file(device, pages):
    with (
        device.create_file(3 * MIB) as file,
        file.mmap(length=4 * MIB, pages=pages) as m,
    ):
        result = m.fault(512)
        assert fallback_of(file) == {"eof"}
        assert result == (FaultResult.FALLBACK if pages == "pmd" else NOPAGE)
        assert file.stats()["pmd_fault_fallback"] == 1


def test_fallback_at_the_ends_of_the_mapping(device):
    with device.create_file(8 * MIB) as file:
        with file.mmap(offset=PAGE, length=2 * MIB, pages="pmd") as m:
            assert m.fault(1) == FaultResult.FALLBACK
            assert fallback_of(file) == {"vma_start"}
        with file.mmap(length=MIB, pages="pmd") as m:
            assert m.fault(0) == FaultResult.FALLBACK
            assert fallback_of(file) == {"vma_start", "vma_end"}


def test_fallback_of_a_private_write(device):
    with device.create_file(2 * MIB) as file, file.mmap(shared=False) as m:
        assert m.fault(0, write=True) == FaultResult.DONE_COW
        assert fallback_of(file) == {"cow"}


def test_fallback_where_a_4_kib_entry_exists(device):
    with device.create_file(2 * MIB) as file:
        with file.mmap(pages="pte") as small, file.mmap(pages="pmd") as big:
            small.fault(7)
            assert big.fault(0) == FaultResult.FALLBACK
            assert fallback_of(file) == {"entry_exists"}


def test_fallback_when_the_mapping_is_not_congruent(device):
    ffi, lib = capi.ffi, capi.lib
    with device.create_file(4 * MIB) as file:
        attr = ffi.new("struct dax_vma_attr *")
        attr.struct_size = ffi.sizeof(attr[0])
        attr.length = 4 * MIB
        attr.flags = lib.DAX_VM_READ | lib.DAX_VM_SHARED
        attr.pages = lib.DAX_PAGES_PMD
        attr.address = (1 << 30) + PAGE
        vma = ffi.new("struct dax_vma **")
        capi.check(lib.dax_vma_new(vma, capi.from_object(file), attr))
        try:
            info = ffi.new("struct dax_fault_info *")
            assert lib.dax_vma_fault(vma[0], 0, 0, info) == FaultResult.FALLBACK
            assert info.reason == lib.DAX_FALLBACK_COLOUR
        finally:
            lib.dax_vma_put(vma[0])


def test_fallback_of_a_short_extent(device):
    with device.create_file(2 * MIB) as file, file.mmap(pages="pmd") as m:
        file.pwrite(b"x", MIB)
        assert m.fault(0) == FaultResult.FALLBACK
        assert fallback_of(file) == {"short_extent"}


def test_a_loop_over_pmd_faults_raises_with_the_reason(device):
    with device.create_file(3 * MIB) as file, file.mmap(pages="pmd") as m:
        with pytest.raises(FaultError) as caught:
            m.fault_range(0, 768)
        assert caught.value.fault & FaultResult.FALLBACK
        assert caught.value.reason in ("eof", "vma_end")
        assert caught.value.offset == 2 * MIB


# ---- results -------------------------------------------------------------


def test_a_fault_that_allocates_is_major(device):
    with device.create_file(PAGE) as file, file.mmap(pages="pte") as m:
        assert m.fault(0, write=True) == NOPAGE | MAJOR
        assert m.fault(0, write=True) == NOPAGE
        assert isinstance(m.fault(0), FaultResult)
        assert file.stats()["major_fault"] == 1


def test_past_the_end_of_file_is_sigbus_without_an_entry(device, policy):
    with device.create_file(0, policy=policy) as file:
        with file.mmap(length=2 * MIB) as m:
            assert m.fault(0) == FaultResult.SIGBUS
            assert m.fault(511, write=True) == FaultResult.SIGBUS
            assert len(file.entries()) == 0
            assert file.stats()["fault_sigbus"] == 2


def test_the_partial_last_page_is_served(device, policy):
    with device.create_file(PAGE + 1, policy=policy) as file:
        with file.mmap(length=3 * PAGE, pages="pte") as m:
            assert m.fault(1) & NOPAGE
            assert m.fault(2) == FaultResult.SIGBUS


# ---- cost ----------------------------------------------------------------


def test_memory_of_a_hole_by_policy(device):
    size = 64 * MIB
    for policy, cached in (("zero-page", 0), ("page-cache", size)):
        with device.create_file(size, policy=policy) as file:
            with file.mmap(pages="pte") as m:
                m.fault_range(0, size // PAGE)
                stats = file.stats()
                assert stats["page_cache_bytes"] == cached
                per_page = stats["tree_bytes"] + stats["page_table_bytes"]
                assert per_page <= 18 * size // PAGE
            assert file.stats()["page_table_bytes"] == 0
    assert device.free_bytes == device.size


def test_memory_of_2_mib_zero_entries(device):
    size = 1 << 30
    with device.create_file(size) as file, file.mmap() as m:
        assert m.fault_range(0, size // PAGE) == size // (2 * MIB)
        stats = file.stats()
        assert stats["tree_bytes"] + stats["page_table_bytes"] <= 0.1 * size / PAGE


def test_warm_and_cold_pools_show_the_same_bytes(memory):
    for pool in ("warm", "cold"):
        with memory.create_file(MIB, policy="page-cache", page_pool=pool) as file:
            with file.mmap() as m:
                assert m.read(0, MIB) == bytes(MIB)
                m.write(5, b"five")
                assert m.read(0, 10) == b"\0" * 5 + b"five" + b"\0"


# ---- latencies and lists -------------------------------------------------


@pytest.mark.parametrize("write", [False, True])
def test_latencies_are_one_number_for_each_fault(device, policy, write):
    with device.create_file(64 * PAGE, policy=policy) as file:
        with file.mmap(pages="pte") as m:
            times = m.fault_range(0, 64, write=write, latencies=True)
            faults = 64 * (FAULT_COUNTS[policy][0] if write else 1)
            assert times.dtype == np.uint64
            assert times.shape == (faults,)
            assert times.sum() > 0
            again = m.fault_range(0, 64, write=write, latencies=True)
            assert again.shape == (0,)


@pytest.mark.parametrize(
    "pages",
    [
        [3, 1, 2],
        (3, 1, 2),
        np.array([3, 1, 2], dtype=np.int16),
        np.array([3, 1, 2], dtype=np.uint64),
        np.array([3, 1, 2], dtype=">u4"),
        np.arange(10)[3:0:-1],
        np.array([[3], [1], [2]]),
        range(1, 4),
    ],
    ids=str,
)
def test_fault_many_takes_any_integers(device, pages):
    with device.create_file(16 * PAGE) as file, file.mmap(pages="pte") as m:
        assert m.fault_many(pages) == 3
        assert file.entries()["index"].tolist() == [1, 2, 3]


def test_fault_many_counts_a_page_once(device):
    with device.create_file(16 * PAGE) as file, file.mmap(pages="pte") as m:
        assert m.fault_many([5, 5, 5]) == 1
        assert m.fault_many([]) == 0
        assert m.fault_many([5], latencies=True).shape == (0,)
        assert m.fault_many([6, 7], latencies=True).shape == (2,)


def test_random_order_touches_every_page(device):
    order = np.random.default_rng(7).permutation(4096)
    with device.create_file(16 * MIB) as file, file.mmap(pages="pte") as m:
        assert m.fault_many(order) == 4096
        assert (file.entries()["index"] == np.arange(4096)).all()


def test_a_loop_longer_than_one_call(memory):
    """The loop goes back to Python every 2**20 pages; nothing is lost there."""
    npages = (1 << 20) + 5
    with memory.create_file(npages * PAGE) as file, file.mmap(pages="pte") as m:
        times = m.fault_range(0, npages, latencies=True)
        assert times.shape == (npages,)
        assert (times[-5:] > 0).all() or times.any()
        m.dontneed()
        assert m.fault_many(np.arange(npages)) == npages


def test_the_result_is_the_kernels_bits():
    for name, member in FaultResult.__members__.items():
        assert member == getattr(capi.lib, f"DAX_VM_FAULT_{name}")
    names = {n.removeprefix("DAX_VM_FAULT_") for n in dir(capi.lib) if "VM_FAULT" in n}
    assert names == set(FaultResult.__members__) | {"ERROR"}
    assert daxcore.IomapType.HOLE == capi.lib.DAX_IOMAP_HOLE
    assert daxcore.IomapType.MAPPED == capi.lib.DAX_IOMAP_MAPPED
    assert daxcore.IomapType.UNWRITTEN == capi.lib.DAX_IOMAP_UNWRITTEN
