# SPDX-License-Identifier: BSD-3-Clause
"""Pins: bytes where they are, and calls that wait for them."""

import errno
import gc
import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest
from conftest import MIB, PAGE, in_child, in_thread

import daxcore
from daxcore import Device


@pytest.fixture
def file(device):
    with device.create_file(8 * PAGE) as file:
        file.pwrite(b"f" * 8 * PAGE, 0)
        yield file


def test_a_pin_is_the_file_itself(file):
    with file.pin(PAGE + 5, 3 * PAGE) as pin:
        assert (pin.offset, pin.nbytes, len(pin)) == (PAGE + 5, 3 * PAGE, 3 * PAGE)
        assert pin.file is file
        assert not pin.write
        assert repr(pin) == f"<daxcore.Pin offset={PAGE + 5} nbytes={3 * PAGE} read>"
        view = np.frombuffer(pin, dtype=np.uint8)
        assert not view.flags.writeable
        assert (view == ord("f")).all()
        file.pwrite(b"new", PAGE + 5)
        assert bytes(view[:4]) == b"newf"
        with pytest.raises(TypeError):
            memoryview(pin)[0] = 1
        del view
    assert pin.released
    assert repr(pin) == "<daxcore.Pin released>"
    with pytest.raises(ValueError, match="released"):
        memoryview(pin)
    with pytest.raises(ValueError, match="released"), pin:
        pass
    pin.release()


def test_a_pin_to_write(file):
    with file.mmap() as m:
        with file.pin(0, 2 * PAGE, write=True) as pin:
            np.frombuffer(pin, dtype=np.uint8)[7] = ord("p")
            assert file.pread(1, 7) == m.read(7, 1) == b"p"
            assert file.entries()["dirty"].tolist() == [True, True]
            file.fsync()
            assert not file.entries()["dirty"].any()
            memoryview(pin)[8:9] = b"q"
        assert file.entries()["dirty"].tolist() == [True, True]
        assert m.read(7, 2) == b"pq"


def test_a_hole_is_the_zero_page(device):
    with device.create_file(4 * MIB) as file:
        with file.pin(PAGE, 100) as pin:
            assert bytes(pin) == bytes(100)
            assert pin.pfn == 1
            file.punch_hole(0, 4 * MIB)  # does not wait
        assert device.free_bytes == device.size
        with file.pin(2 * MIB, 2 * MIB, write=True) as pin:
            assert bytes(pin) == bytes(len(pin))
            assert device.free_bytes == device.size - len(pin)


def test_a_pin_ends_with_the_file_and_with_what_lies_together(device):
    with device.create_file(2 * PAGE + 9) as a, device.create_file(2 * PAGE) as b:
        for page in range(3):
            a.pwrite(b"a" * 9, page * PAGE)
            b.pwrite(b"b" * 9, page * PAGE)
        with a.pin(100, 1 << 40) as pin:
            assert len(pin) == PAGE - 100
        with a.pin(2 * PAGE, 1 << 40) as pin:
            assert bytes(pin) == b"a" * 9


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ((-1, 1), ValueError),
        ((0, 0), ValueError),
        ((0, -1), ValueError),
        ((8 * PAGE, 1), ValueError),
        ((1 << 63, 1), OverflowError),
        ((0, 1 << 64), OverflowError),
        (("0", 1), TypeError),
        ((0, 1.5), TypeError),
    ],
)
def test_bad_pins(file, args, error):
    with pytest.raises(error):
        file.pin(*args)


def test_a_pin_of_a_full_device():
    with Device.memory(PAGE) as device, device.create_file(4 * PAGE) as file:
        file.pwrite(b"x", 0)
        with pytest.raises(OSError, match="full"):
            file.pin(PAGE, 1, write=True)


def test_a_buffer_in_use_keeps_the_pin(file):
    pin = file.pin(0, PAGE)
    view = memoryview(pin)
    with pytest.raises(BufferError, match="1 buffer"):
        pin.release()
    with pytest.raises(BufferError), pin:
        pass
    with pytest.raises(ZeroDivisionError), pin:
        1 / 0  # noqa: B018
    view.release()
    pin.release()


def test_a_pin_keeps_file_and_device(device):
    file = device.create_file(PAGE)
    pin = file.pin(0, PAGE, write=True)
    file.close()
    with pytest.raises(OSError) as caught:
        device.close()
    assert caught.value.errno == errno.EBUSY
    memoryview(pin)[:3] = b"abc"
    pin.release()
    assert device.free_bytes == device.size


def test_a_forgotten_pin_is_released(file):
    pin = file.pin(0, PAGE, write=True)
    with pytest.warns(ResourceWarning, match="unclosed <daxcore.Pin"):
        del pin
        gc.collect()
    file.truncate(0)


def test_pins_cannot_be_made_or_pickled(file):
    with pytest.raises(TypeError, match=r"File\.pin"):
        daxcore.Pin()
    with file.pin(0, 1) as pin, pytest.raises(TypeError, match="pickle"):
        pickle.dumps(pin)


# ---- waiting ---------------------------------------------------------------


def waiting_calls(file, other):
    return {
        "truncate": lambda: file.truncate(3 * PAGE),
        "punch_hole": lambda: file.punch_hole(PAGE, 3 * PAGE),
        "clone": lambda: file.clone().close(),
        "clone_range": lambda: other.clone_range(0, file, 3 * PAGE, PAGE),
        "clone_range over": lambda: file.clone_range(3 * PAGE, other, 0, PAGE),
        "dedupe": lambda: file.dedupe(3 * PAGE, other, 0, PAGE),
    }


CALLS = list(waiting_calls(None, None))


@pytest.fixture
def other(file):
    with file.device.create_file(PAGE) as other:
        other.pwrite(b"o" * PAGE, 0)
        yield other


@pytest.mark.parametrize("call", CALLS)
def test_calls_that_take_blocks_away_wait(file, other, call):
    pin = file.pin(3 * PAGE, 1, write=True)
    done = []

    def run():
        waiting_calls(file, other)[call]()
        done.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    for _ in range(20):
        assert file.pread(1, 3 * PAGE) == b"f"  # it holds no lock
    assert not done
    pin.release()
    thread.join(30)
    assert done == [True]


@pytest.mark.parametrize("call", CALLS)
def test_a_thread_does_not_wait_for_itself(file, other, call):
    with file.pin(3 * PAGE, 1):
        with pytest.raises(BufferError, match="page 3 of the file is pinned by this"):
            waiting_calls(file, other)[call]()
        assert file.pread(8 * PAGE, 0) == b"f" * 8 * PAGE
        file.truncate(4 * PAGE)
        file.punch_hole(0, 3 * PAGE)
    waiting_calls(file, other)[call]()


def test_a_pin_of_a_shared_block_through_the_clone(file):
    with file.clone() as clone, clone.pin(0, 1):
        with pytest.raises(BufferError, match="page 0"):
            file.truncate(0)
        file.pwrite(b"x", 0)  # the block is the clone's alone now
        file.truncate(0)


def test_ctrl_c_ends_the_wait(file):
    thread, pins = in_thread(lambda: file.pin(3 * PAGE, 1))
    thread.join()

    def handler(signum, frame):
        raise KeyboardInterrupt

    def press():
        while not stopped.wait(0.05):  # one may come before the sleep
            os.kill(os.getpid(), signal.SIGUSR1)

    stopped = threading.Event()
    before = signal.signal(signal.SIGUSR1, handler)
    presser = threading.Thread(target=press)
    try:
        with pytest.raises(KeyboardInterrupt):
            presser.start()
            file.truncate(0)
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        stopped.set()
        presser.join()
        signal.signal(signal.SIGUSR1, before)
    assert file.size == 8 * PAGE
    pins[0].release()
    file.truncate(0)


def test_a_handler_that_returns_does_not_end_it(file):
    thread, pins = in_thread(lambda: file.pin(3 * PAGE, 1))
    thread.join()
    calls = []

    def handler(signum, frame):
        calls.append(time.monotonic())
        if len(calls) == 3:
            pins[0].release()

    def press():
        while not stopped.wait(0.02):
            os.kill(os.getpid(), signal.SIGUSR1)

    stopped = threading.Event()
    before = signal.signal(signal.SIGUSR1, handler)
    presser = threading.Thread(target=press)
    presser.start()
    try:
        file.truncate(0)
    finally:
        stopped.set()
        presser.join()
        signal.signal(signal.SIGUSR1, before)
    assert len(calls) >= 3
    assert file.size == 0


def test_a_forked_child_leaves_pins_alone(file):
    pin = file.pin(0, PAGE, write=True)

    def child():
        for call in (lambda: memoryview(pin), pin.release):
            with pytest.raises(daxcore.ForkError):
                call()

    in_child(child)
    pin.release()
    file.truncate(0)


def test_two_threads_release_one_pin(file):
    file.fsync()
    pin = file.pin(0, 2 * PAGE, write=True)
    file.fsync()
    releases = [threading.Thread(target=pin.release) for _ in range(2)]
    with file.lock_entry(0):  # marking the pages dirty waits for it
        for thread in releases:
            thread.start()
        while not pin.released and all(thread.is_alive() for thread in releases):
            time.sleep(0.001)
        with pytest.raises(ValueError, match="released"):
            memoryview(pin)
    for thread in releases:
        thread.join()
    assert pin.released
    file.truncate(0)  # waits for ever if a frame is pinned still


def test_a_pin_that_is_none():
    pin = daxcore.Pin.__new__(daxcore.Pin)
    pin.release()
    with pytest.raises(ValueError, match="released"):
        memoryview(pin)
