# SPDX-License-Identifier: BSD-3-Clause
"""Empty entries are collected, neighbouring zero entries become one of 2 MiB."""

import pytest
from conftest import MIB

import daxcore


@pytest.fixture
def file(device):
    with device.create_file(8 * MIB) as file:
        yield file


def test_collect_removes_what_faults_left(file):
    with file.mmap(shared=False) as private, file.mmap(pages="pte") as m:
        private.fault_range(0, 3, write=True)
        m.fault(7)
        assert file.entries()["empty"].sum() == 3
        assert file.collect() == 3
        assert file.entries()["index"].tolist() == [7]
        assert file.collect() == 0
        stats = file.stats()
        assert stats["empty_collected"] == 3
        assert private.write(0, b"x") == 1  # its copy is still there
        assert file.stats()["cow_fault"] == 3
    with pytest.raises(ValueError, match="closed"):
        file.close()
        file.collect()


def test_many_are_collected_by_the_way(file):
    with file.mmap(shared=False) as private:
        private.fault_range(0, 600, write=True)
        assert len(file.entries()) == 600
        with file.mmap():
            assert len(file.entries()) == 0


def test_small_zero_entries_become_a_large_one(file):
    with file.mmap(pages="pte") as small, file.mmap(pages="auto") as m:
        small.fault_range(512, 512)
        before = file.stats()["tree_bytes"]
        assert m.read(2 * MIB, 2 * MIB) == bytes(2 * MIB)
        assert file.entries()["order"].tolist() == [9]
        stats = file.stats()
        assert stats["promotion"] == 1 and stats["tree_bytes"] < before
        assert stats["pmd_load_hole"] == 1 and stats["fallback_entry_exists"] == 0
        m.write(2 * MIB, b"data")
        assert small.read(2 * MIB, 5) == b"data\0"


@pytest.mark.parametrize("npages", [1, 511])
def test_not_if_some_are_missing(file, npages):
    with file.mmap(pages="pte") as small, file.mmap(pages="pmd") as m:
        small.fault_range(512, npages)
        with pytest.raises(daxcore.FaultError) as caught:
            m.read(2 * MIB, 1)
        assert caught.value.reason == "entry_exists"
        assert "fell back: entry_exists" in str(caught.value)
        assert file.stats()["promotion"] == 0
