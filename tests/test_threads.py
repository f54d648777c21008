# SPDX-License-Identifier: BSD-3-Clause
"""Threads: the GIL is released, and close() frees nothing that is in use.

Each test is a stated number of rounds between barriers; a lost wake-up hangs
and the time limit ends it.
"""

import gc
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import MIB, PAGE

from daxcore import Device, capi

POLICIES = ["zero-page", "page-cache"]


def in_parallel(*functions):
    """Start all functions at once; return their results, raise their errors."""
    barrier = threading.Barrier(len(functions))

    def run(function):
        barrier.wait()
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        return [f.result() for f in [pool.submit(run, fn) for fn in functions]]


@pytest.fixture(params=POLICIES)
def policy(request):
    return request.param


@pytest.mark.parametrize("pages", ["pte", "auto"])
def test_each_page_is_faulted_once_by_two_readers(memory, pages):
    with memory.create_file(64 * MIB) as file, file.mmap(pages=pages) as m:
        counts = in_parallel(*[lambda: m.fault_range(0, 16384)] * 2)
        whole = 16384 if pages == "pte" else 32
        assert whole <= sum(counts) <= 2 * whole
        assert (m.pagemap() != 0).all()
        assert len(file.entries()) == whole
        assert not file.entries()["locked"].any()


def test_writers_to_different_pages_lose_nothing(memory, policy):
    with memory.create_file(2 * MIB, policy=policy) as file, file.mmap() as m:

        def writer(number):
            for pgoff in range(number, 512, 4):
                m.write(pgoff * PAGE, bytes([number + 1]) * PAGE)

        in_parallel(*[lambda n=n: writer(n) for n in range(4)])
        data = np.frombuffer(file.pread(2 * MIB, 0), dtype=np.uint8)
        pages = data.reshape(512, PAGE)
        assert (pages == (np.arange(512) % 4 + 1)[:, None]).all()


def test_a_reader_never_sees_zero_after_a_write(memory, policy):
    """Reader and writer use different mappings that showed the hole."""
    for _ in range(50):
        with memory.create_file(16 * PAGE, policy=policy) as file:
            with file.mmap(pages="pte") as one, file.mmap(pages="pte") as two:
                one.fault_range(0, 16)
                written = [-1]

                def writer(m=two, written=written):
                    for n in range(16):
                        m.write(n * PAGE, b"x")
                        written[0] = n

                def reader(m=one, written=written):
                    while (n := written[0]) < 15:
                        if n >= 0:
                            assert m.read(n * PAGE, 1) == b"x"

                in_parallel(writer, reader)


def test_truncate_against_faults(memory, policy):
    with memory.create_file(4 * MIB, policy=policy) as file:
        with file.mmap(pages="auto") as m:

            def resize():
                for _ in range(200):
                    file.truncate(MIB)
                    file.truncate(4 * MIB)

            def touch():
                for n in range(2000):
                    m.fault(n * 7 % 1024, write=n % 3 == 0)

            in_parallel(resize, touch, touch)
            file.truncate(0)
            assert len(file.entries()) == 0
    assert memory.free_bytes == memory.size


@pytest.mark.parametrize("victim", ["mmap", "file"])
def test_close_while_others_read(memory, victim):
    """A call in progress finishes; the next one says closed."""
    for _ in range(100):
        file = memory.create_file(2 * MIB)
        m = file.mmap(pages="pte")
        obj = m if victim == "mmap" else file
        started = threading.Event()

        def use(file=file, m=m, started=started):
            try:
                while True:
                    if victim == "mmap":
                        m.read(0, 2 * MIB)
                        m.fault_range(0, 512)
                    else:
                        file.pread(2 * MIB, 0)
                        file.entries()
                    started.set()
            except ValueError as error:
                assert "is closed" in str(error)

        def close(obj=obj, started=started):
            started.wait()
            obj.close()

        in_parallel(use, use, close)
        m.close()
        file.close()
    assert memory.free_bytes == memory.size


def test_kill_while_others_write():
    for _ in range(50):
        with Device.memory(4 * MIB) as dev:
            with dev.create_file(4 * MIB) as file, file.mmap(pages="pte") as m:
                started = threading.Event()

                def use(m=m, started=started):
                    try:
                        while True:
                            m.dontneed()
                            m.write(0, b"x" * 64 * PAGE)
                            started.set()
                    except OSError as error:
                        assert error.errno == 6

                def kill(dev=dev, started=started):
                    started.wait()
                    dev.kill()

                in_parallel(use, use, kill)
                assert not file.entries()["locked"].any()


def test_a_signal_ends_a_long_loop(memory):
    """Python's handlers run between calls into the library."""

    class Alarm(Exception):
        pass

    def ring(signum, frame):
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    try:
        with memory.create_file(1 << 46) as file, file.mmap() as m:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Alarm):
                m.fault_range(0, 1 << 34)
            assert 0 < file.stats()["pmd_fault"] < 1 << 25
            assert m.read(0, 8) == bytes(8)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_gil_is_free_during_a_long_loop(memory):
    """The other thread counts while one call touches 2**20 cold pages."""
    with memory.create_file(1 << 30, policy="page-cache") as file:
        with file.mmap(pages="pte") as m:
            done = threading.Event()
            count = 0

            def loop():
                m.fault_range(0, 1 << 18)
                done.set()

            def counter():
                nonlocal count
                while not done.is_set():
                    count += 1

            in_parallel(loop, counter)
            assert count > 1000


def test_two_threads_close_one_device(memory):
    file = memory.create_file(PAGE)
    held = capi.from_object(file)
    file.close()
    closers = [threading.Thread(target=memory.close) for _ in range(4)]
    for closer in closers:
        closer.start()
    time.sleep(0.1)  # all of them wait for what holds the file
    held = None
    for closer in closers:
        closer.join()
    assert held is None
    assert memory.closed


class Stop(Exception):
    pass


def enter(context):
    with context:
        pass


CALLS = {
    "clone": lambda file: file.clone(),
    "frozen": lambda file: enter(file.frozen()),
    "lock_entry": lambda file: enter(file.lock_entry(0)),
    "mmap": lambda file: file.mmap(),
    "pin": lambda file: file.pin(0, PAGE, write=True),
    "truncate": lambda file: file.truncate(2 * PAGE),
}


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("name", CALLS)
def test_a_handler_that_raises_loses_nothing(memory, name):
    """The signal comes while the call waits in C; then the call succeeds."""
    main = threading.get_ident()
    held = threading.Event()

    def hold():
        with file.lock_entry(0):
            held.set()
            time.sleep(0.1)
            signal.pthread_kill(main, signal.SIGUSR1)
            time.sleep(0.05)

    def stop(*_):
        raise Stop

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with memory.create_file(4 * PAGE) as file:
            file.pwrite(b"d" * 4 * PAGE, 0)
            thread = threading.Thread(target=hold)
            thread.start()
            held.wait()
            with pytest.raises(Stop):
                CALLS[name](file)
                thread.join()
            thread.join()
            gc.collect()
            assert not file.entries()["locked"].any()
            in_parallel(lambda: file.pwrite(b"after", 0))  # not frozen
            in_parallel(lambda: file.truncate(0))  # not pinned
    finally:
        signal.signal(signal.SIGUSR1, before)
    memory.close()
