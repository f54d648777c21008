# SPDX-License-Identifier: BSD-3-Clause
"""After fork() the objects stay the parent's."""

import pytest
from conftest import MIB, PAGE, in_child

import daxcore
from daxcore import Device, ForkError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "device"


@pytest.fixture
def objects(path):
    with Device.open(path, 4 * MIB, create=True) as dev:
        with dev.create_file(2 * MIB) as file, file.mmap() as m:
            m.write(0, b"parent's")
            yield dev, file, m


def test_calls_in_the_child_raise_one_named_error(objects):
    dev, file, m = objects
    calls = [
        lambda: m.read(0, 1),
        lambda: m.write(0, b"x"),
        lambda: m.fault(0),
        lambda: m.fault_range(0, 1),
        lambda: m.fault_many([0]),
        lambda: m.dontneed(),
        lambda: m.pagemap(),
        lambda: file.pread(1, 0),
        lambda: file.pwrite(b"x", 0),
        lambda: file.truncate(0),
        lambda: file.fallocate(0, 1),
        lambda: file.punch_hole(0, 1),
        lambda: file.entries(),
        lambda: file.extents(),
        lambda: file.mmap(),
        lambda: file.trace().__enter__(),
        lambda: dev.create_file(PAGE),
    ]

    def child():
        for number, call in enumerate(calls):
            try:
                call()
            except ForkError as error:
                assert isinstance(error, daxcore.DaxError)
            else:
                raise AssertionError(f"call {number} worked in the child")

    before = file.stats()
    in_child(child)
    assert file.stats() == before
    assert m.read(0, 8) == b"parent's"


def test_the_child_may_close_what_the_parent_goes_on_using(objects, path):
    dev, file, m = objects

    def child():
        m.close()
        file.close()
        dev.close()

    in_child(child)
    assert m.read(0, 8) == b"parent's"
    m.write(MIB, b"after")
    assert file.pread(5, MIB) == b"after"
    with pytest.raises(OSError):  # the lock is still held
        Device.open(path)


def test_the_child_may_drop_them_unclosed(path):
    dev = Device.memory(MIB)
    file = dev.create_file(MIB)
    m = file.mmap()

    def child():
        nonlocal dev, file, m
        del m, file, dev

    in_child(child)
    m.write(0, b"x")
    m.close()
    file.close()
    dev.close()


def test_the_child_has_an_engine_of_its_own(objects):
    def child():
        with Device.memory(MIB) as dev, dev.create_file(MIB) as file:
            with file.mmap() as m:
                m.write(0, b"child's")
                assert file.pread(7, 0) == b"child's"

    in_child(child)


def test_a_child_does_not_inherit_a_thread_in_a_fault(memory):
    """Fork while threads fault: the child must not wait for their locks."""
    import threading

    stop = threading.Event()
    with memory.create_file(16 * MIB) as file, file.mmap(pages="pte") as m:

        def touch():
            while not stop.is_set():
                m.fault_range(0, 4096)
                m.dontneed()

        def child():
            with Device.memory(MIB) as dev, dev.create_file(MIB) as own:
                with own.mmap() as mine:
                    mine.write(0, b"x")

        threads = [threading.Thread(target=touch) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                in_child(child)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
