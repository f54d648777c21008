# SPDX-License-Identifier: BSD-3-Clause
"""File.freeze: nobody changes the file until it is thawed."""

import errno
import signal
import threading
import time

import pytest
from conftest import MIB, PAGE, in_child, in_thread

import daxcore


@pytest.fixture(params=["zero-page", "page-cache"])
def file(device, request):
    with device.create_file(4 * MIB, policy=request.param) as file:
        yield file


def test_a_frozen_file_is_clean(file):
    with file.mmap(pages="pte") as m:
        m.write(0, b"data")
        with file.frozen() as same:
            assert same is file
            assert not file.entries()["dirty"].any()
            assert m.read(0, 4) == file.pread(4, 0) == b"data"
            with file.mmap(shared=False) as private:
                private.write(0, b"mine")
                assert private.read(0, 4) == b"mine"
        m.write(0, b"more")
        assert file.entries()["dirty"].any()


@pytest.mark.parametrize(
    "change",
    [
        lambda file, m: m.write(0, b"new"),
        lambda file, m: m.write(2 * PAGE, b"new"),
        lambda file, m: file.pin(2 * PAGE, 1, write=True).release(),
        lambda file, m: m.fault(0, write=True),
        lambda file, m: m.fault_range(0, 4, write=True),
        lambda file, m: m.fault_many([3, 1], write=True),
        lambda file, m: file.pwrite(b"new", 0),
        lambda file, m: file.truncate(0),
        lambda file, m: file.fallocate(0, MIB),
        lambda file, m: file.punch_hole(0, MIB),
        lambda file, m: file.zero_range(0, MIB),
    ],
    ids="store hole pin fault range many pwrite truncate fallocate punch zero".split(),
)
def test_changes_wait_for_the_thaw(file, change):
    with file.mmap(pages="pte") as m:
        m.write(0, b"old")
        file.freeze()
        thread, result = in_thread(lambda: change(file, m))
        assert m.read(0, 3) == file.pread(3, 0) == b"old"
        assert file.size == 4 * MIB
        assert not result
        file.thaw()
        thread.join()
        assert not isinstance(result[0], BaseException), result


def test_freezes_do_not_nest(file):
    with file.frozen():
        with pytest.raises(OSError) as caught:
            file.freeze()
        assert caught.value.errno == errno.EBUSY
    with pytest.raises(OSError) as caught:
        file.thaw()
    assert caught.value.errno == errno.EINVAL


def test_close_thaws(device):
    file = device.create_file(MIB)
    with file.mmap() as m:
        file.freeze()
        thread, result = in_thread(lambda: m.write(0, b"x"))
        file.close()
        thread.join()
        assert result == [1]
    with pytest.raises(ValueError, match="closed"):
        file.freeze()
    with device.create_file(MIB) as file, file.frozen():
        file.close()


def test_kill_ends_the_wait():
    with daxcore.Device.memory(MIB) as device:
        with device.create_file(MIB) as file, file.mmap() as m:
            file.freeze()
            store, stored = in_thread(lambda: m.write(0, b"x"))
            write, written = in_thread(lambda: file.pwrite(b"x", 0))
            device.kill()
            store.join()
            write.join()
            assert isinstance(stored[0], daxcore.FaultError)
            assert stored[0].errno == written[0].errno == errno.ENXIO


class Interrupt(Exception):
    pass


@pytest.mark.parametrize(
    "change", ["store", "pwrite", "truncate", "punch", "range", "pin"]
)
def test_a_signal_ends_the_wait(file, change):
    """As Ctrl-C does; a handler that returns does not end it."""

    def handler(signum, frame):
        calls.append(signum)
        if len(calls) == 3:
            raise Interrupt

    calls = []
    before = signal.signal(signal.SIGALRM, handler)
    with file.mmap() as m:
        try:
            with file.frozen():
                signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
                with pytest.raises(Interrupt):
                    {
                        "store": lambda: m.write(0, b"x"),
                        "pwrite": lambda: file.pwrite(b"x", 0),
                        "truncate": lambda: file.truncate(0),
                        "punch": lambda: file.punch_hole(0, MIB),
                        "range": lambda: m.fault_range(0, 9, write=True),
                        "pin": lambda: file.pin(0, 1, write=True),
                    }[change]()
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert file.pread(1, 0) == b"\0"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    assert len(calls) >= 3
    assert file.size == 4 * MIB


def test_fork_while_frozen(file):
    def child():
        with pytest.raises(daxcore.ForkError):
            file.thaw()

    with file.frozen():
        in_child(child)


def test_close_beside_a_freeze(file):
    locked, done = threading.Event(), threading.Event()

    def hold():
        with file.lock_entry(0):
            locked.set()
            done.wait()

    def freeze():
        with pytest.raises(ValueError, match="closed"):
            file.freeze()

    with file.mmap() as m:
        threads = [threading.Thread(target=hold), threading.Thread(target=freeze)]
        threads[0].start()
        locked.wait()
        threads[1].start()  # waits for the entry
        time.sleep(0.05)
        file.close()
        done.set()
        for thread in threads:
            thread.join()
        m.write(0, b"thawed")


def test_close_leaves_the_freeze_of_another(tmp_path):
    path = tmp_path / "file"
    first = daxcore.open(path, "w+", size=PAGE)
    with daxcore.open(path) as second:
        first.freeze()
        second.thaw()
        second.freeze()
        first.close()
        with pytest.raises(OSError, match="frozen already"):
            second.freeze()
        second.thaw()
