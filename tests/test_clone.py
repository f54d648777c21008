# SPDX-License-Identifier: BSD-3-Clause
"""Clones: files that share blocks, ranges that do, dedupe."""

import errno

import numpy as np
import pytest
from conftest import MIB, PAGE
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

import daxcore
from daxcore import Device, IomapFlag, IomapType

POLICIES = ["zero-page", "page-cache"]


@pytest.fixture(params=POLICIES)
def file(request, device):
    with device.create_file(8 * PAGE, policy=request.param) as file:
        file.pwrite(bytes(range(256)) * (8 * 16), 0)
        yield file


def shared_bytes(file):
    rows = file.extents()
    return int(rows["length"][rows["flags"] & IomapFlag.SHARED != 0].sum())


def test_a_clone_shows_the_same_and_copies_nothing(file):
    free = file.device.free_bytes
    with file.clone() as clone:
        assert file.device.free_bytes == free
        assert (clone.size, clone.policy) == (file.size, file.policy)
        assert clone.device is file.device
        assert clone.pread(clone.size, 0) == file.pread(file.size, 0)
        assert shared_bytes(clone) == shared_bytes(file) == 8 * PAGE
        assert clone.extents()["type"].tolist() == [IomapType.MAPPED]
    assert shared_bytes(file) == 0
    assert file.device.free_bytes == free


@pytest.mark.parametrize("writer", ["pwrite", "store", "pin"])
@pytest.mark.parametrize("whose", ["file", "clone"])
def test_a_write_is_seen_in_one_file_only(file, writer, whose):
    before = file.pread(file.size, 0)
    free = file.device.free_bytes
    with file.clone() as clone, file.mmap() as m, clone.mmap() as n:
        assert m.read(0, file.size) == n.read(0, file.size) == before
        mine, other = (file, clone) if whose == "file" else (clone, file)
        if writer == "pwrite":
            mine.pwrite(b"mine", 2 * PAGE + 7)
        elif writer == "store":
            (m if mine is file else n).write(2 * PAGE + 7, b"mine")
        else:
            with mine.pin(2 * PAGE + 7, 4, write=True) as pin:
                memoryview(pin)[:] = b"mine"
        after = bytearray(before)
        after[2 * PAGE + 7 : 2 * PAGE + 11] = b"mine"
        assert mine.pread(mine.size, 0) == after
        assert other.pread(other.size, 0) == before
        assert (m if mine is file else n).read(0, file.size) == after
        assert (n if mine is file else m).read(0, file.size) == before
        assert file.device.free_bytes == free - PAGE
        assert mine.extents()["flags"].tolist() == [4, 0, 4]


def test_the_clone_outlives_the_file(device):
    file = device.create_file(PAGE)
    file.pwrite(b"x", 0)
    clone = file.clone()
    file.close()
    assert clone.pread(1, 0) == b"x"
    clone.close()
    assert device.free_bytes == device.size


def test_a_device_with_an_open_clone_is_busy(device):
    with device.create_file(PAGE) as file:
        clone = file.clone()
    with pytest.raises(OSError) as caught:
        device.close()
    assert caught.value.errno == errno.EBUSY
    clone.close()


def test_a_store_that_finds_no_block_for_a_copy():
    with Device.memory(4 * PAGE) as device, device.create_file(4 * PAGE) as file:
        file.pwrite(b"o" * 4 * PAGE, 0)
        with file.clone() as clone, clone.mmap() as m:
            with pytest.raises(daxcore.FaultError) as caught:
                m.write(PAGE, b"new")
            assert caught.value.errno == errno.ENOSPC
            with pytest.raises(OSError, match="full"):
                clone.pwrite(b"new", PAGE)
            assert m.read(0, 4 * PAGE) == b"o" * 4 * PAGE


def test_a_file_with_its_own_block_map_cannot_be_cloned(memory):
    from daxcore import capi

    @capi.ffi.callback(
        "int(struct dax_mapping *, void *, int64_t, uint64_t, unsigned int,"
        " struct dax_iomap *)"
    )
    def begin(mapping, private, pos, length, flags, iomap):
        iomap.type, iomap.offset, iomap.length = capi.lib.DAX_IOMAP_HOLE, 0, 1 << 40
        return 0

    ops = capi.ffi.new("struct dax_iomap_ops *")
    ops.struct_size = capi.ffi.sizeof(ops[0])
    ops.iomap_begin = begin
    with memory.create_file(PAGE, iomap=(ops, capi.ffi.NULL)) as file:
        with pytest.raises(daxcore.NotSupportedError):
            file.clone()
        with pytest.raises(daxcore.NotSupportedError):
            file.dedupe(0, file, 0, PAGE)


# ---- ranges ----------------------------------------------------------------


def test_clone_range(file):
    with file.device.create_file(2 * PAGE) as other:
        other.pwrite(b"o" * 2 * PAGE, 0)
        file.clone_range(3 * PAGE, other)
        assert file.pread(2 * PAGE, 3 * PAGE) == b"o" * 2 * PAGE
        assert shared_bytes(file) == shared_bytes(other) == 2 * PAGE
        file.clone_range(8 * PAGE, other, PAGE, PAGE)
        assert file.size == 9 * PAGE
        file.clone_range(0, other, 0, 0)
        assert file.pread(1, 0) == b"\0"
        file.clone_range(5 * PAGE, file, 3 * PAGE, 2 * PAGE)
        assert file.pread(4 * PAGE, 3 * PAGE) == b"o" * 4 * PAGE


def test_dedupe(file):
    with file.device.create_file(8 * PAGE) as other:
        other.pwrite(file.pread(8 * PAGE, 0), 0)
        free = file.device.free_bytes
        assert file.dedupe(0, other, 0, 8 * PAGE) == 8 * PAGE
        assert file.device.free_bytes == free + 8 * PAGE
        file.pwrite(b"x", 5)
        assert file.dedupe(0, other, 0, 8 * PAGE) == 0
        assert file.dedupe(PAGE, other, PAGE, 7 * PAGE) == 7 * PAGE
        for each in (file, other):
            each.pwrite(bytes(2 * PAGE), 2 * PAGE)
        assert file.dedupe(0, other, 0, 0) == 0
        assert file.dedupe(2 * PAGE, other, 2 * PAGE, 2 * PAGE) == 2 * PAGE
        assert IomapType.HOLE in other.extents()["type"]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda f, o: f.clone_range(1, o), ValueError),
        (lambda f, o: f.clone_range(-PAGE, o), ValueError),
        (lambda f, o: f.clone_range(0, o, 7), ValueError),
        (lambda f, o: f.clone_range(0, o, 0, -1), ValueError),
        (lambda f, o: f.clone_range(0, "file"), TypeError),
        (lambda f, o: f.clone_range(0, None), TypeError),
        (lambda f, o: f.clone_range(0, o, 0, PAGE + 1), errno.EINVAL),
        (lambda f, o: f.clone_range(0, o, 0, 1 << 40), errno.EINVAL),
        (lambda f, o: f.clone_range(0, f, PAGE, 2 * PAGE), errno.EINVAL),
        (lambda f, o: f.clone_range((1 << 63) - PAGE, o), errno.EFBIG),
        (lambda f, o: f.dedupe(1, o, 0, PAGE), ValueError),
        (lambda f, o: f.dedupe(0, o, 1, PAGE), ValueError),
        (lambda f, o: f.dedupe(0, o, 0, -1), ValueError),
        (lambda f, o: f.dedupe(0, 5, 0, PAGE), TypeError),
        (lambda f, o: f.dedupe(0, o, 0, 100), errno.EINVAL),
        (lambda f, o: f.dedupe(0, o, 0, 1 << 40), errno.EINVAL),
        (lambda f, o: f.dedupe(0, o, 0, 1 << 64), OverflowError),
    ],
)
def test_bad_ranges_change_nothing(file, call, error):
    before = file.pread(file.size, 0)
    with file.device.create_file(4 * PAGE) as other:
        if isinstance(error, int):
            with pytest.raises(OSError) as caught:
                call(file, other)
            assert caught.value.errno == error
        else:
            with pytest.raises(error):
                call(file, other)
    assert file.pread(file.size, 0) == before


def test_files_of_two_devices(memory):
    with Device.memory(MIB) as far, far.create_file(PAGE) as other:
        with memory.create_file(PAGE) as file, pytest.raises(OSError) as caught:
            file.clone_range(0, other)
        assert caught.value.errno == errno.EXDEV


def test_closed_files(memory):
    with memory.create_file(PAGE) as file, file.clone() as clone:
        clone.close()
        for call in (
            clone.clone,
            lambda: clone.pin(0, 1),
            lambda: clone.clone_range(0, file),
            lambda: file.clone_range(0, clone),
            lambda: file.dedupe(0, clone, 0, PAGE),
        ):
            with pytest.raises(ValueError, match="closed"):
                call()


# ---- a model ---------------------------------------------------------------

PAGES = 6


class Clones(RuleBasedStateMachine):
    """Files of one device against byte arrays: clones never mix their bytes."""

    @initialize(policy=st.sampled_from(POLICIES))
    def make(self, policy):
        self.device = Device.memory(16 * PAGES * PAGE)
        file = self.device.create_file(PAGES * PAGE, policy=policy)
        self.files = [(file, file.mmap(), bytearray(PAGES * PAGE))]

    def pick(self, n):
        return self.files[n % len(self.files)]

    which = st.integers(0, 7)
    page = st.integers(0, PAGES - 1)
    value = st.integers(0, 3)  # few, so that pages come to be equal

    @rule(n=which)
    def clone(self, n):
        if len(self.files) < 5:
            file, _, model = self.pick(n)
            copy = file.clone()
            self.files.append((copy, copy.mmap(), bytearray(model)))

    @rule(n=which, page=page, value=value, count=st.integers(1, PAGES * PAGE))
    def pwrite(self, n, page, value, count):
        file, _, model = self.pick(n)
        data = bytes([value]) * min(count, len(model) - page * PAGE)
        file.pwrite(data, page * PAGE)
        model[page * PAGE : page * PAGE + len(data)] = data

    @rule(n=which, page=page, value=value)
    def store(self, n, page, value):
        _, m, model = self.pick(n)
        m.write(page * PAGE, bytes([value]) * PAGE)
        model[page * PAGE : (page + 1) * PAGE] = bytes([value]) * PAGE

    @rule(n=which, page=page, value=value)
    def pin(self, n, page, value):
        file, _, model = self.pick(n)
        with file.pin(page * PAGE, PAGE, write=True) as pin:
            np.frombuffer(pin, dtype=np.uint8)[:] = value
        model[page * PAGE : (page + 1) * PAGE] = bytes([value]) * PAGE

    @rule(n=which, page=page)
    def punch(self, n, page):
        file, _, model = self.pick(n)
        file.punch_hole(page * PAGE, PAGE)
        model[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)

    @rule(n=which, k=which, start=page, end=page)
    def clone_range(self, n, k, start, end):
        file, _, model = self.pick(n)
        other, _, source = self.pick(k)
        if file is not other and start < end:
            file.clone_range(start * PAGE, other, start * PAGE, (end - start) * PAGE)
            model[start * PAGE : end * PAGE] = source[start * PAGE : end * PAGE]

    @rule(n=which, k=which, a=page, b=page)
    def dedupe(self, n, k, a, b):
        file, _, model = self.pick(n)
        other, _, source = self.pick(k)
        if file is other and a == b:
            return
        same = model[a * PAGE : (a + 1) * PAGE] == source[b * PAGE : (b + 1) * PAGE]
        assert file.dedupe(a * PAGE, other, b * PAGE, PAGE) == (PAGE if same else 0)

    @rule(n=which)
    def fsync(self, n):
        self.pick(n)[0].fsync()

    @precondition(lambda self: len(self.files) > 1)
    @rule(n=which)
    def close(self, n):
        file, m, _ = self.files.pop(n % len(self.files))
        m.close()
        file.close()

    @invariant()
    def bytes_are_their_own(self):
        for file, m, model in getattr(self, "files", ()):
            assert file.pread(file.size, 0) == model
            assert m.read(0, len(model)) == model

    def teardown(self):
        for file, m, _ in getattr(self, "files", ()):
            m.close()
            file.close()
        if hasattr(self, "device"):
            assert self.device.free_bytes == self.device.size
            self.device.close()


TestClones = Clones.TestCase
TestClones.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
