# SPDX-License-Identifier: BSD-3-Clause
"""A file with two shared and one private mapping, against plain byte arrays.

DAXCORE_HYPOTHESIS=expensive runs more and longer sequences.
"""

import os

import pytest
from conftest import MIB, PAGE
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from daxcore import Device, IomapType

EXPENSIVE = os.environ.get("DAXCORE_HYPOTHESIS") == "expensive"
SETTINGS = settings(
    max_examples=500 if EXPENSIVE else 25,
    stateful_step_count=100 if EXPENSIVE else 30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
MAX_SIZE = 5 * MIB
LONGEST = 3 * PAGE

EDGES = [n * MIB + d for n in range(6) for d in (-PAGE, -1, 0, 1, PAGE)]
POSITIONS = st.one_of(
    st.sampled_from([n for n in EDGES if 0 <= n <= MAX_SIZE]),
    st.integers(0, 8 * PAGE),
    st.integers(0, MAX_SIZE),
)
LENGTHS = st.one_of(st.integers(1, LONGEST), st.sampled_from([1, PAGE, 2 * PAGE]))
DATA = st.tuples(st.integers(1, 255), LENGTHS).map(lambda t: bytes([t[0]]) * t[1])
SHARED = st.sampled_from(["big", "small"])
ANY = st.sampled_from(["big", "small", "private"])


class FileModel(RuleBasedStateMachine):
    """What a mapping shows is the file, but for pages copied on write."""

    policy = "zero-page"

    @initialize(size=POSITIONS)
    def open(self, size):
        self.device = Device.memory(16 * MIB)
        self.file = self.device.create_file(size, policy=self.policy)
        self.maps = {
            "big": self.file.mmap(length=MAX_SIZE),
            "small": self.file.mmap(length=MAX_SIZE, pages="pte"),
            "private": self.file.mmap(length=MAX_SIZE, shared=False),
        }
        self.bytes = bytearray(size)
        self.copies = {}  # pgoff: page of the private mapping

    def teardown(self):
        if not hasattr(self, "device"):
            return
        for m in self.maps.values():
            m.close()
        self.file.close()
        assert self.device.free_bytes == self.device.size
        self.device.close()

    def shown(self, name, offset, length):
        data = self.bytes[offset : offset + length]
        if name != "private":
            return bytes(data)
        for pos in range(offset, offset + len(data)):
            copy = self.copies.get(pos // PAGE)
            if copy is not None:
                data[pos - offset] = copy[pos % PAGE]
        return bytes(data)

    def clip(self, offset, length):
        """The part of a range that lies in the file; its length may be 0."""
        size = len(self.bytes)
        return min(offset, size), max(0, min(length, size - offset))

    @rule(name=ANY, offset=POSITIONS, length=LENGTHS)
    def load(self, name, offset, length):
        offset, length = self.clip(offset, length)
        expected = self.shown(name, offset, length)
        assert self.maps[name].read(offset, length) == expected

    @rule(name=SHARED, offset=POSITIONS, data=DATA)
    def store(self, name, offset, data):
        offset, length = self.clip(offset, len(data))
        self.maps[name].write(offset, data[:length])
        self.bytes[offset : offset + length] = data[:length]

    @rule(offset=POSITIONS, data=DATA)
    def store_private(self, offset, data):
        offset, length = self.clip(offset, len(data))
        self.maps["private"].write(offset, data[:length])
        for pos in range(offset, offset + length):
            pgoff = pos // PAGE
            if pgoff not in self.copies:
                page = self.bytes[pgoff * PAGE : (pgoff + 1) * PAGE]
                self.copies[pgoff] = page + bytes(PAGE - len(page))
            self.copies[pgoff][pos % PAGE] = data[pos - offset]

    @rule(name=ANY, offset=POSITIONS, write=st.booleans())
    def fault(self, name, offset, write):
        pgoff = min(offset // PAGE, (len(self.bytes) - 1) // PAGE)
        if pgoff < 0 or (write and name == "private"):
            return
        self.maps[name].fault(pgoff, write=write)

    @rule(offset=POSITIONS, length=LENGTHS)
    def pread(self, offset, length):
        assert self.file.pread(length, offset) == self.bytes[offset : offset + length]

    @rule(offset=POSITIONS, data=DATA)
    def pwrite(self, offset, data):
        data = data[: MAX_SIZE - offset]
        if not data:
            return
        assert self.file.pwrite(data, offset) == len(data)
        end = offset + len(data)
        self.bytes.extend(bytes(max(0, end - len(self.bytes))))
        self.bytes[offset:end] = data

    @rule(size=POSITIONS)
    def truncate(self, size):
        self.file.truncate(size)
        del self.bytes[size:]
        self.bytes.extend(bytes(size - len(self.bytes)))
        first_gone = -(-size // PAGE)
        self.copies = {p: c for p, c in self.copies.items() if p < first_gone}

    @rule(offset=POSITIONS, length=st.integers(1, 2 * MIB))
    def punch_hole(self, offset, length):
        self.file.punch_hole(offset, length)
        offset, length = self.clip(offset, length)
        self.bytes[offset : offset + length] = bytes(length)

    @rule(offset=POSITIONS, length=st.integers(1, MIB))
    def fallocate(self, offset, length):
        length = min(length, MAX_SIZE - offset)
        if length > 0:
            self.file.fallocate(offset, length)
            self.bytes.extend(bytes(max(0, offset + length - len(self.bytes))))

    @rule(name=ANY, offset=POSITIONS, length=LENGTHS)
    def dontneed(self, name, offset, length):
        offset -= offset % PAGE
        length = min(length, MAX_SIZE - offset)
        self.maps[name].dontneed(offset, length)
        if name == "private":
            last = (offset + length - 1) // PAGE
            for pgoff in range(offset // PAGE, last + 1):
                self.copies.pop(pgoff, None)

    @precondition(lambda self: self.bytes)
    @rule(name=ANY)
    def load_all(self, name):
        size = len(self.bytes)
        assert self.maps[name].read(0, size) == self.shown(name, 0, size)

    @invariant()
    def sizes_agree(self):
        if hasattr(self, "device"):
            assert self.file.size == len(self.bytes)
            copied = self.file.stats()["cow_bytes"]
            assert copied == PAGE * len(self.copies)

    @invariant()
    def entries_are_sane(self):
        if not hasattr(self, "device"):
            return
        end = 0
        pages = -(-len(self.bytes) // PAGE)
        for row in self.file.entries():
            index, length = int(row["index"]), 1 << int(row["order"])
            assert end <= index < pages
            assert index % length == 0
            end = index + length
            assert not row["locked"] and not row["towrite"]
            assert not (row["dirty"] and (row["zero"] or row["empty"]))

    @invariant()
    def blocks_are_sane(self):
        if not hasattr(self, "device"):
            return
        rows = self.file.extents()
        used = rows[rows["type"] != IomapType.HOLE]
        allocated = self.file.stats()["allocated_bytes"]
        assert self.device.size - self.device.free_bytes == allocated
        # the last block may reach beyond the end of file
        assert allocated - PAGE < used["length"].sum() <= allocated
        starts = sorted(zip(used["device_offset"], used["length"], strict=True))
        for (start, length), (following, _) in zip(starts, starts[1:], strict=False):
            assert start + length <= following


@pytest.mark.timeout(1200 if EXPENSIVE else 120)
@pytest.mark.parametrize("policy", ["zero-page", "page-cache"])
def test_file_with_three_mappings(policy):
    from hypothesis.stateful import run_state_machine_as_test

    machine = type("Machine", (FileModel,), {"policy": policy})
    run_state_machine_as_test(machine, settings=SETTINGS)
