# SPDX-License-Identifier: BSD-3-Clause
"""Writeback, fsync, zero_range and what a device says of durability."""

import errno
import os
import threading
from pathlib import Path

import pytest
from conftest import MIB, PAGE, in_child, need

import daxcore
from daxcore import Device, ForkError

POLICIES = ["zero-page", "page-cache"]
PMD = 2 * MIB


@pytest.fixture(params=["memory", "file", "pmem"])
def medium(request, tmp_path):
    """A device of each kind of durability."""
    if request.param == "memory":
        dev = Device.memory(16 * MIB)
    elif request.param == "file":
        dev = Device.open(tmp_path / "device", size=16 * MIB, create=True)
    else:
        try:
            dev = Device.memory(16 * MIB, emulate_pmem=True)
        except daxcore.NotSupportedError:
            need("clwb", False, "an x86-64 CPU")
    with dev:
        yield dev


@pytest.fixture(params=POLICIES)
def file(request, medium):
    with medium.create_file(8 * MIB, policy=request.param) as file:
        yield file


def dirty(file):
    entries = file.entries()
    return sorted(entries["index"][entries["dirty"] != 0].tolist())


# ---- fsync and writeback -----------------------------------------------------------


def test_fsync_cleans_what_was_stored(file):
    with file.mmap(pages="pte") as m, file.mmap() as huge:
        m.write(3 * PAGE, b"small")
        huge.write(PMD + 5, b"huge")
        assert dirty(file)[0] == 3
        file.fsync()
        assert dirty(file) == []
        assert file.stats()["writeback_one"] == 2
        file.fsync()
        assert file.stats()["writeback_one"] == 2
        assert file.stats()["writeback_range"] == 2
        assert m.read(3 * PAGE, 5) == b"small"
        assert huge.read(PMD + 5, 4) == b"huge"
        assert not file.entries()["towrite"].any()


def test_stores_after_fsync_are_dirty_again(file):
    with file.mmap(pages="pte") as m:
        for round in range(3):
            m.write(PAGE, bytes([round]))
            assert dirty(file) == [1]
            assert file.writeback() == 1
            assert dirty(file) == []


def test_reads_and_pwrite_leave_nothing_dirty(file):
    with file.mmap() as m:
        m.read(0, 10)
        file.pwrite(b"x" * PAGE, 5 * PAGE)
        m.read(5 * PAGE, 10)
        assert dirty(file) == []
        assert file.writeback() == 0
        file.fsync()


def test_writeback_takes_whole_entries_of_its_range(file):
    with file.mmap(pages="pte") as m, file.mmap() as huge:
        for page in range(6):
            m.write(page * PAGE, b"x")
        m.write(PMD - PAGE, b"x")
        assert file.writeback(2 * PAGE, 1) == 1
        assert dirty(file) == [0, 1, 3, 4, 5, 511]
        assert file.writeback(4 * PAGE, PAGE + 1) == 2
        assert dirty(file) == [0, 1, 3, 511]
        huge.write(PMD, b"y")
        assert file.writeback(PMD + 40 * PAGE, PAGE) == (dirty(file)[-1] == 511)
        assert file.writeback(PAGE) == 3 + (512 in dirty(file))
        assert file.writeback(0, 0) == 0
        assert dirty(file) == [0]
        assert file.writeback(0, (1 << 64) - 1) == 1


def test_a_range_beyond_the_end_has_nothing(file):
    assert file.writeback(8 * MIB) == 0
    assert file.writeback(16 * MIB, PAGE) == 0
    assert file.writeback(((1 << 63) - 1) // PAGE * PAGE, PAGE) == 0


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((1,), ValueError, "multiple of 4096"),
        ((-PAGE,), ValueError, "negative"),
        ((0, -1), ValueError, "negative"),
        ((1 << 63,), OverflowError, "at most"),
        ((0, 1 << 64), OverflowError, "at most"),
        (("x",), TypeError, "integer"),
        ((0, "x"), TypeError, "integer"),
        ((0.0,), TypeError, "integer"),
        ((0, PAGE, 0), TypeError, "argument"),
    ],
)
def test_bad_arguments_of_writeback(file, arguments, error, words):
    with file.mmap(pages="pte") as m:
        m.write(0, b"x")
        with pytest.raises(error, match=words):
            file.writeback(*arguments)
        assert dirty(file) == [0]


def test_what_is_fsynced_is_in_the_backing_file(tmp_path):
    path = tmp_path / "device"
    with Device.open(path, size=4 * MIB, create=True) as dev:
        with dev.create_file(MIB) as file, file.mmap() as m:
            m.write(10, b"stored")
            file.pwrite(b"written", PAGE)
            file.fsync()
            image = Path(path).read_bytes()
            for word in (b"stored", b"written"):
                assert word in image


# ---- zero_range --------------------------------------------------------------------


def test_zero_range_keeps_blocks_and_shows_zeroes(file):
    file.pwrite(b"z" * (4 * PAGE), PAGE)
    with file.mmap(pages="pte") as m:
        m.read(0, 6 * PAGE)
        before = file.extents().tolist()
        file.zero_range(PAGE + 7, 2 * PAGE)
        expected = bytearray(PAGE) + bytearray(b"z" * (4 * PAGE)) + bytearray(PAGE)
        expected[PAGE + 7 : 3 * PAGE + 7] = bytes(2 * PAGE)
        assert file.pread(6 * PAGE, 0) == expected
        assert m.read(0, 6 * PAGE) == expected
        assert file.extents().tolist() == before


def test_zero_range_leaves_holes_and_the_size(file):
    file.zero_range(0, 1 << 40)
    assert file.size == 8 * MIB
    assert file.extents()["type"].tolist() == [daxcore.IomapType.HOLE]
    file.zero_range(9 * MIB, 5)
    assert file.size == 8 * MIB


def test_zero_range_of_a_dirty_page(file):
    with file.mmap(pages="pte") as m:
        m.write(0, b"dirty")
        file.zero_range(1, 2)
        assert m.read(0, 5) == b"d\0\0ty"
        assert dirty(file) == [0]
        assert file.writeback() == 1
        assert file.pread(5, 0) == b"d\0\0ty"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((-1, 1), ValueError, "negative"),
        ((0, 0), ValueError, "greater than 0"),
        ((0, -1), ValueError, "negative"),
        ((1 << 63, 1), OverflowError, "at most"),
        (("x", 1), TypeError, "integer"),
        ((0, None), TypeError, "integer"),
        ((0,), TypeError, "argument"),
    ],
)
def test_bad_arguments_of_zero_range(file, arguments, error, words):
    file.pwrite(b"z" * PAGE, 0)
    with pytest.raises(error, match=words):
        file.zero_range(*arguments)
    assert file.pread(PAGE, 0) == b"z" * PAGE


def test_zero_range_beyond_what_a_file_can_have(file):
    with pytest.raises(OSError) as error:
        file.zero_range((1 << 63) - 1, 1)
    assert error.value.errno == errno.EFBIG


# ---- durability --------------------------------------------------------------------


def test_durability_says_how_and_why(tmp_path):
    with Device.memory(PAGE) as dev:
        assert dev.durability.startswith("none: ")
    with Device.open(tmp_path / "d", size=PAGE, create=True) as dev:
        how = dev.durability.split(":")[0]
        assert how in ("fdatasync", "clwb", "clflushopt", "clflush")
    with Device.open(tmp_path / "d") as dev:
        assert "read-only" in dev.durability
    with pytest.raises(ValueError, match="Device is closed"):
        _ = dev.durability


def test_emulated_pmem_names_its_instruction():
    try:
        dev = Device.memory(PAGE, emulate_pmem=True)
    except daxcore.NotSupportedError as error:
        need("clwb", False, str(error))
    with dev:
        assert dev.durability.split(":")[0] in ("clwb", "clflushopt", "clflush")
        assert dev.path is None


@pytest.mark.parametrize("size", [0, -PAGE, 1, PAGE + 1])
def test_emulated_pmem_refuses_what_memory_refuses(size):
    with pytest.raises(ValueError, match="size"):
        Device.memory(size, emulate_pmem=True)


# ---- read-only, dead, closed, forked -----------------------------------------------


@pytest.fixture
def readonly(tmp_path):
    path = tmp_path / "device"
    path.write_bytes(b"r" * MIB)
    with Device.open(path) as dev:
        yield dev


def test_a_read_only_device_has_nothing_to_write_back(readonly):
    with readonly.create_file(64 * PAGE) as file, file.mmap(shared=False) as m:
        m.write(0, b"private")
        m.read(PAGE, 10)
        file.fsync()
        assert file.writeback() == 0
        assert m.read(0, 7) == b"private"


def test_a_dead_device_keeps_what_is_dirty(medium):
    with medium.create_file(MIB) as file, file.mmap(pages="pte") as m:
        m.write(0, b"x")
        medium.kill()
        for call in (file.fsync, file.writeback, file.fsync):
            with pytest.raises(OSError, match="dead") as error:
                call()
            assert error.value.errno == errno.ENXIO
            assert dirty(file) == [0]


def test_a_closed_file(medium):
    file = medium.create_file(MIB)
    file.close()
    for call in (file.fsync, file.writeback, lambda: file.zero_range(0, 1)):
        with pytest.raises(ValueError, match="File is closed"):
            call()


def test_in_a_forked_child(file):
    def child():
        for call in (file.fsync, file.writeback, lambda: file.zero_range(0, 1)):
            with pytest.raises(ForkError):
                call()

    with file.mmap(pages="pte") as m:
        m.write(0, b"x")
        in_child(child)
        assert dirty(file) == [0]
        file.fsync()
        assert dirty(file) == []


def test_a_type_that_is_not_a_file():
    for method in ("fsync", "writeback"):
        with pytest.raises(TypeError):
            getattr(daxcore.File, method)(object())


# ---- threads -----------------------------------------------------------------------


def test_threads_store_and_sync(file):
    rounds, threads, errors = 200, 4, []

    def work(number):
        try:
            with file.mmap(pages="pte" if number % 2 else "auto") as m:
                for i in range(rounds):
                    at = (i * 7 % 64) * PAGE + number * 64
                    m.write(at, bytes([i % 256]))
                    if i % 5 == 0:
                        file.fsync()
                    elif i % 5 == 1:
                        file.writeback((i % 60) * PAGE, 4 * PAGE)
                    elif i % 5 == 2:
                        file.zero_range(at + 1, 3)
                    assert m.read(at, 1) == bytes([i % 256])
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not errors
    file.fsync()
    assert dirty(file) == []


@pytest.mark.parametrize("size", [0, MIB])
def test_fsync_of_a_device_that_was_cut_off_fails(tmp_path, size):
    path = tmp_path / "device"
    with (
        Device.open(path, size=4 * MIB, create=True) as device,
        device.create_file(4 * MIB) as file,
        file.mmap(pages="pte") as m,
    ):
        m.write(3 * MIB, b"stored")
        m.write(0, b"s" * 3 * MIB)
        os.truncate(path, size)
        for call in (file.fsync, file.writeback, file.freeze, file.fsync):
            with pytest.raises(OSError, match="truncated") as caught:
                call()
            assert caught.value.errno == errno.EIO
        assert file.entries()["dirty"].all()
