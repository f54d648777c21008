# SPDX-License-Identifier: BSD-3-Clause
"""What was fsynced is on the medium, whatever of the rest comes there.

All sequences of three operations, then fsync: in every state that a power loss
may leave after it, the blocks of the file, as they were at the fsync, hold its
bytes.  The block map itself is memory, so it is taken as it was.
"""

import itertools

import numpy as np
import pytest
from conftest import PAGE

from daxcore import PMD_SIZE, IomapType
from daxcore.testing import PowerLossDevice, PowerLossError

START = 3 * PAGE - 100  # bytes that a small file has at first

OPERATIONS = {
    "append": lambda file, m: file.pwrite(b"A" * 300, file.size),
    "overwrite": lambda file, m: file.pwrite(b"O" * 5000, 100),
    "store": lambda file, m: m.write(PAGE - 3, b"stored"),
    "punch": lambda file, m: file.punch_hole(50, 2 * PAGE),
    "cut": lambda file, m: file.truncate(PAGE + 77),
    "grow": lambda file, m: file.truncate(file.size + 200),
    "zero": lambda file, m: file.zero_range(PAGE - 10, 40),
    "fsync": lambda file, m: file.fsync(),
    "writeback": lambda file, m: file.writeback(0, PAGE),
    "clone": lambda file, m: file.clone().close(),
}


def expected(file):
    """Bytes of the device that the file has blocks for, as it shows them."""
    rows = []
    for row in file.extents():
        if row["type"] == IomapType.MAPPED:
            offset, nbytes = int(row["offset"]), int(row["length"])
            data = np.frombuffer(file.pread(nbytes, offset), np.uint8)
            rows.append((int(row["device_offset"]), data))
    return rows


def holds(image, rows):
    return all((image[at : at + data.size] == data).all() for at, data in rows)


def check_durable(device, file, **options):
    rows = expected(file)
    return device.check(lambda image: holds(image, rows), sample=30, **options)


def start(device, size=START):
    file = device.create_file(size)
    mapping = file.mmap(length=16 * PAGE)
    file.pwrite(b"s" * min(size, START), 0)
    mapping.write(2 * PAGE, b"dirty")
    return file, mapping


@pytest.mark.parametrize("first", OPERATIONS)
def test_three_operations_and_fsync(first):
    for others in itertools.product(OPERATIONS, repeat=2):
        with PowerLossDevice(16 * PAGE) as device:
            file, mapping = start(device)
            with file, mapping:
                device.reset()
                for name in (first, *others):
                    OPERATIONS[name](file, mapping)
                file.fsync()
                try:
                    check_durable(device, file)
                except PowerLossError as error:
                    raise AssertionError(f"after {first, *others}: {error}") from error


def test_a_store_that_is_not_fsynced_may_be_missing():
    """The check can fail: without fsync it does."""
    with PowerLossDevice(16 * PAGE) as device:
        file, mapping = start(device)
        with file, mapping:
            file.fsync()
            mapping.write(0, b"later")
            with pytest.raises(PowerLossError):
                check_durable(device, file)


@pytest.mark.parametrize("again", [1, 2])
def test_a_store_after_an_fsync_is_covered_by_the_next(again):
    with PowerLossDevice(16 * PAGE) as device:
        file, mapping = start(device)
        with file, mapping:
            for i in range(again + 1):
                mapping.write(i, b"x")
                file.fsync()
                check_durable(device, file)


def test_a_write_is_durable_when_it_returns():
    with PowerLossDevice(16 * PAGE) as device:
        with device.create_file(0) as file:
            file.pwrite(b"w" * 5000, 77)
            check_durable(device, file)
            file.zero_range(100, 300)
            check_durable(device, file)


@pytest.mark.parametrize("name", ["punch", "cut"])
def test_zeroes_at_the_edges_are_durable_when_the_call_returns(name):
    with PowerLossDevice(16 * PAGE) as device:
        file, mapping = start(device)
        with file, mapping:
            file.fsync()
            OPERATIONS[name](file, mapping)
            file.truncate(3 * PAGE)  # so that what lies past the end is shown
            check_durable(device, file)


@pytest.mark.parametrize("cut", [None, 5 * PAGE + 9])
def test_a_2_mib_entry_is_flushed_whole(cut):
    """B7, B22, B23, W4: every page, for every mapping, also of what is cut."""
    with PowerLossDevice(3 * PMD_SIZE) as device:
        with device.create_file(PMD_SIZE) as file, file.mmap() as huge:
            with file.mmap(offset=3 * PAGE, length=PAGE, pages="pte") as small:
                huge.write(0, b"first")
                assert file.entries()["order"].tolist() == [9]
                for page in (2, 4, 300, 511):
                    huge.write(page * PAGE + 60, b"over two lines")
                small.write(7, b"small")
                if cut:
                    file.truncate(cut)
                file.fsync()
                check_durable(device, file, lines=0)
                small.write(9, b"again")
                file.fsync()
                check_durable(device, file, lines=0)


def test_a_block_that_is_used_again_shows_nothing_of_the_old_file():
    """At any moment: what lies under the new file is its own, or zero."""
    with PowerLossDevice(4 * PAGE) as device:
        with device.create_file(4 * PAGE) as old:
            old.pwrite(b"secret" * 600, 0)
        begun = device.now()
        with device.create_file(4 * PAGE) as new, new.mmap() as m:
            m.write(17, b"mine")
            rows = [(at, data.size) for at, data in expected(new)]
            shown = device.now()

            def is_mine(image):
                for at, size in rows:
                    assert b"secret" not in image[at : at + size].tobytes()

            new.fsync()
            assert shown > begun
            device.check(is_mine, shown, sample=100)
            device.check(is_mine, sample=100)


def test_a_store_to_a_shared_block_loses_nothing_that_was_durable():
    """Not fsynced: the copy is the old page, with the store or without."""
    with PowerLossDevice(32 * PAGE) as device:
        file, mapping = start(device)
        with file, mapping, file.clone():
            mapping.write(64, b"new")
            rows = expected(file)
            at, data = next(row for row in rows if row[1][64:67].tobytes() == b"new")

            def old_or_new(image):
                found = image[at : at + data.size].copy()
                assert found[64:67].tobytes() in (b"new", b"sss")
                found[64:67] = data[64:67]
                return (found == data).all()

            device.check(old_or_new, sample=100)


def test_a_clone_keeps_its_bytes_when_the_other_is_written():
    with PowerLossDevice(32 * PAGE) as device:
        file, mapping = start(device)
        with file, mapping, file.clone() as copy:
            mapping.write(10, b"new")
            file.pwrite(b"newer", PAGE)
            file.fsync()
            check_durable(device, file)
            check_durable(device, copy)
