# SPDX-License-Identifier: BSD-3-Clause
"""File.lock_entry: an entry lock held from Python."""

import errno
import gc
import threading

import pytest
from conftest import MIB, PAGE, in_child, in_thread

import daxcore


@pytest.fixture
def file(device):
    with device.create_file(4 * MIB) as file:
        yield file


def test_the_row_says_what_is_locked(file):
    with file.lock_entry(3) as row:
        assert (row["index"], row["order"], row["locked"]) == (3, 0, True)
        assert row["empty"] and not row["zero"]
    assert not file.entries()["locked"].any()
    with file.mmap(pages="pmd") as m:
        m.write(2 * MIB, b"data")
        with file.lock_entry(515, pmd=True) as row:
            assert (row["index"], row["order"], row["dirty"]) == (512, 9, True)


def test_it_describes_itself(file):
    lock = file.lock_entry(3, pmd=True)
    assert repr(lock) == "<daxcore.EntryLock page=3 pmd unlocked>"
    assert lock.file is file
    with lock:
        assert lock.locked and "locked" in repr(lock)
    with lock:  # again
        with pytest.raises(RuntimeError, match="already"):
            lock.__enter__()
    with pytest.raises(RuntimeError, match="not locked"):
        lock.__exit__(None, None, None)
    with pytest.raises(TypeError):
        daxcore.EntryLock()


def test_a_fault_of_another_thread_waits(file):
    with file.mmap(pages="pte") as m, file.mmap(pages="pte") as other:
        with file.lock_entry(3):
            thread, result = in_thread(lambda: m.write(3 * PAGE, b"x"))
            free, done = in_thread(lambda: other.write(PAGE, b"y"))
            free.join()
            assert done == [1] and not result
        thread.join()
        assert result == [1]


def test_a_truncate_of_another_thread_waits(file):
    with file.lock_entry(3):
        thread, result = in_thread(lambda: file.truncate(0))
        assert not result
        assert file.size == 4 * MIB
    thread.join()
    assert result == [None] and file.size == 0


def test_other_calls_of_the_holder_are_refused(file, device):
    with file.mmap() as m:
        with file.lock_entry(3):
            for call in (
                lambda: file.lock_entry(0).__enter__(),
                lambda: file.pread(1, 0),
                lambda: file.pwrite(b"x", 0),
                lambda: file.truncate(0),
                lambda: file.fsync(),
                lambda: file.entries(),
                lambda: file.mmap(),
                lambda: m.read(0, 1),
                lambda: device.kill(),
            ):
                with pytest.raises(OSError, match="holds an entry lock") as caught:
                    call()
                assert caught.value.errno == errno.EDEADLK
        assert m.read(0, 1) == b"\0"


def test_mappings_may_be_closed_meanwhile(file):
    m = file.mmap()
    m.write(0, b"x")
    before = file.stats()["page_table_bytes"]
    with file.lock_entry(3):
        m.close()
    assert file.stats()["page_table_bytes"] < before


def test_close_while_held(device):
    file = device.create_file(MIB)
    with file.lock_entry(3):
        file.close()
        with pytest.raises(OSError) as caught:
            device.close()
        assert caught.value.errno == errno.EBUSY
    with pytest.raises(ValueError, match="closed"):
        file.lock_entry(0)


def test_the_device_of_an_open_file_goes_with_the_lock(tmp_path):
    file = daxcore.open(tmp_path / "sparse", "w+", size=MIB)
    device = file.device
    with file.lock_entry(3):
        file.close()
        assert not device.closed
    assert device.closed


def test_the_wrong_thread_is_refused(file):
    lock = file.lock_entry(3)
    with lock:
        thread, result = in_thread(lambda: lock.__exit__(None, None, None))
        thread.join()
        assert isinstance(result[0], RuntimeError)
        assert lock.locked
    assert not lock.locked


@pytest.mark.parametrize("ended", [True, False])
def test_a_forgotten_lock_is_released_with_a_warning(file, ended):
    if ended:
        locks = [file.lock_entry(3)]
        thread, result = in_thread(lambda: locks[0].__enter__())
        thread.join()
        assert result[0]["locked"]
        del result[:]
        with pytest.raises(RuntimeError):
            locks[0].__exit__(None, None, None)
    else:
        locks = [file.lock_entry(3)]
        locks[0].__enter__()
    with pytest.warns(ResourceWarning, match="unclosed <daxcore.EntryLock page=3"):
        locks.clear()
        gc.collect()
    file.truncate(0)  # nobody is waited for
    assert file.size == 0


@pytest.mark.parametrize(
    ("pgoff", "pmd", "error"),
    [
        (1024, False, errno.EINVAL),
        (2**64 - 1, True, errno.EINVAL),
        (515, True, errno.EEXIST),
    ],
)
def test_what_cannot_be_locked(file, pgoff, pmd, error):
    with file.mmap(pages="pte") as m:
        m.fault(600)
        with pytest.raises(OSError) as caught:
            with file.lock_entry(pgoff, pmd):
                pass
        assert caught.value.errno == error
    with pytest.raises(ValueError):
        file.lock_entry(-1)
    with pytest.raises(TypeError):
        file.lock_entry("3")


def test_fork_while_held(file):
    lock = file.lock_entry(3)

    def child():
        with pytest.raises(daxcore.ForkError):
            lock.__exit__(None, None, None)

    with lock:
        in_child(child)
        assert lock.locked
    assert file.pread(1, 0) == b"\0"


def test_a_lock_that_is_none():
    lock = daxcore.EntryLock.__new__(daxcore.EntryLock)
    with pytest.raises(ValueError, match="no file"):
        lock.__enter__()
    assert not lock.locked


def test_one_object_in_two_threads(file):
    lock = file.lock_entry(0)
    go = threading.Event()

    def locked_once():
        with lock:
            go.wait(10)

    with file.lock_entry(0):
        threads = [in_thread(locked_once) for _ in range(3)]
        for _ in range(100):  # all of them wait for the entry
            assert not lock.locked
    go.set()
    for thread, result in threads:
        thread.join()
        assert result[0] is None or "already" in str(result[0])
    assert not lock.locked
    assert not file.entries()["locked"].any()
