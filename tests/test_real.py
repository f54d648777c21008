# SPDX-License-Identifier: BSD-3-Clause
"""Real mappings: loads and stores of the CPU, and everything that may go wrong.

Most tests run a script of their own: an access that cannot be served ends the
process.  Each script runs in several ways: as root and as a user without
rights, with both deliveries, and with what newer kernels have switched off.
"""

import errno
import os
import re
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import MIB, PAGE, need, need_program, need_real_mapping

import daxcore
from daxcore import Device

TIME_LIMIT = 60  # seconds of a script


@dataclass(frozen=True)
class Way:
    """Who runs a script, and what there is for it."""

    user: str = "root"
    delivery: str = "thread"
    disable: str = ""

    def __str__(self):
        words = [self.user, self.delivery]
        return "-".join(words + (["no", self.disable] if self.disable else []))


WAYS = [Way(u, d) for u in ("root", "nobody") for d in ("thread", "signal")]
LESS = [
    Way("root", delivery, feature)
    for delivery in ("thread", "signal")
    for feature in ("pagemap_scan", "thp", "poison", "move")
]
THREAD, SIGNAL = Way(), Way(delivery="signal")

PRELUDE = """
import ctypes, errno, faulthandler, gc, mmap, os, resource, signal, socket
import struct, subprocess, sys, tempfile, threading, time
from pathlib import Path
import numpy as np
import numpy.random
import daxcore
from daxcore import Device, FaultError, ForkError

MIB, PAGE = 1 << 20, 4096
USER, DELIVERY = sys.argv[1:3]
if USER == "nobody":
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    if sys.argv[-1] != "setuid":  # who never was root can see its own /proc
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE
device = Device.memory(64 * MIB)

def real(file, **options):
    return file.mmap(backend="real", delivery=DELIVERY, **options)

def array(m):
    return m.ndarray(np.uint8)

def say(*words):
    print(*words, flush=True)

def raises(kind, call, *args):
    try:
        call(*args)
    except kind as error:
        return error
    raise AssertionError(f"no {kind} from {call}")

def thread(function):
    t = threading.Thread(target=function, daemon=True)
    t.start()
    return t

def asleep(t):
    # Until it waits in the kernel for a page.
    path = f"/proc/self/task/{t.native_id}/stat"
    while Path(path).read_text().rsplit(")")[1].split()[0] not in "SD":
        time.sleep(0.001)
"""


def run(body, way, *args, timeout=TIME_LIMIT, **kwargs):
    code = PRELUDE + textwrap.dedent(body)
    env = dict(os.environ, DAXCORE_DISABLE=way.disable)
    if way.user == "nobody":
        need("root", os.geteuid() == 0, "run as root, to run scripts as nobody")
    return subprocess.run(
        [sys.executable, "-c", code, way.user, way.delivery, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd="/tmp",
        env=env,
        **kwargs,
    )


def report(body, done):
    """What became of a script, and its lines that the traceback names."""
    lines = (PRELUDE + textwrap.dedent(body)).splitlines()
    named = re.findall(r'"<string>", line (\d+)', done.stderr)
    named = "\n".join(lines[int(nr) - 1] for nr in named)
    return f"{done.returncode}\n{done.stdout}\n{done.stderr[-3000:]}\n{named}"


def works(body, way, *args, **kwargs):
    """Run a script that comes to its end; what it printed."""
    done = run(body, way, *args, **kwargs)
    assert done.returncode == 0, report(body, done)
    return done.stdout


def dies(body, way, signum, *args, **kwargs):
    """Run a script that says "before" and is then ended by a signal."""
    done = run(body, way, *args, **kwargs)
    assert done.returncode == -signum, report(body, done)
    assert done.stdout.split()[-1] == "before", report(body, done)
    return done.stdout


@pytest.fixture(scope="session", autouse=True)
def uffd():
    need_real_mapping()


def every_way(function):
    return pytest.mark.parametrize("way", WAYS + LESS, ids=str)(function)


def four_ways(function):
    return pytest.mark.parametrize("way", WAYS, ids=str)(function)


# ---- the zero page -------------------------------------------------------

ZERO_PAGE = """
def flags_of(address, nr):
    with open("/proc/self/pagemap", "rb") as f:
        f.seek(address // PAGE * 8)
        words = np.frombuffer(f.read(nr * 8), np.uint64)
    assert (words >> np.uint64(63)).all(), "a page is absent"
    with open("/proc/kpageflags", "rb") as f:
        for pfn in set(int(w) & (1 << 55) - 1 for w in words):
            f.seek(pfn * 8)
            yield int.from_bytes(f.read(8), "little")

def rss():
    line = [x for x in open("/proc/self/status") if x.startswith("RssAnon")][0]
    return int(line.split()[1]) * 1024

for options in ({}, {"pages": "pte"}, {"fault_around": 0}, {"access": "r"}):
    with device.create_file(256 * MIB) as file, real(file, **options) as m:
        a = array(m)
        before = rss()
        assert not a[::PAGE].any()
        assert rss() - before < 4 * MIB  # tree and tables; the hole is 256 MiB
        assert file.stats()["page_cache_bytes"] == 0
        if USER == "root":
            for flags in flags_of(m.address, 256 * MIB // PAGE):
                assert flags >> 24 & 1, (options, hex(flags))
        if options.get("access") != "r":
            a[5 * PAGE] = 1
            assert rss() - before < 4 * MIB
            assert not a[: 5 * PAGE].any() and not a[6 * PAGE : 8 * PAGE].any()
        del a
"""


@every_way
def test_a_hole_is_the_kernels_zero_page(way):
    works(ZERO_PAGE, way)


# ---- stores --------------------------------------------------------------

STORES = """
rng = np.random.default_rng(1)
with tempfile.TemporaryDirectory() as name:
    path = Path(name) / "sparse"
    path.write_bytes(b"")
    os.truncate(path, 16 * MIB)
    model = np.zeros(16 * MIB, np.uint8)
    for options in ({}, {"pages": "pte"}, {"fault_around": 0}):
        with daxcore.open(path, "r+") as file:
            m = real(file, **options)
            a = array(m)
            for at in rng.integers(0, 16 * MIB, 100):
                assert a[at] == model[at]
                n = min(int(rng.integers(1, 9000)), 16 * MIB - int(at))
                a[at : at + n] = model[at : at + n] = rng.integers(1, 256)
                assert file.pread(n, int(at)) == model[at : at + n].tobytes()
            assert (a == model).all()
            file.fsync()
            assert path.read_bytes() == model.tobytes()
            a[0:9] = model[0:9] = 77
            m.flush()
            assert path.read_bytes()[:9] == bytes([77] * 9)
            a[20:29] = model[20:29] = 78
            del a
            m.close()
        assert path.read_bytes() == model.tobytes()
"""


@every_way
def test_stores_into_holes_are_in_the_file(way):
    works(STORES, way)


@four_ways
def test_stores_of_many_threads_are_in_the_file(way):
    works(
        """
        with device.create_file(48 * MIB) as file, real(file) as m, real(file) as n:
            arrays = [array(m), array(n)]
            def body(nr):
                a = arrays[nr % 2]
                for page in np.random.default_rng(nr).permutation(8192):
                    a[page * PAGE + nr :: 8][0] = nr + 1
            threads = [thread(lambda nr=nr: body(nr)) for nr in range(4)]
            for t in threads:
                t.join()
            data = np.frombuffer(file.pread(32 * MIB, 0), np.uint8).reshape(-1, PAGE)
            for nr in range(4):
                assert (data[:, nr] == nr + 1).all()
            assert (arrays[0] == arrays[1]).all()
            del arrays
        """,
        way,
    )


HUGE = """
def huge_bytes(address, length):
    # Of pages of 2 MiB that the process has of a file on tmpfs.
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if words[0][-1] != ":":
            start, end = (int(x, 16) for x in words[0].split("-"))
            inside = address <= start and end <= address + length
        elif inside and words[0] == "ShmemPmdMapped:":
            total += int(words[1]) << 10
    return total

def kernel_collapses():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p] + [ctypes.c_size_t] * 5
    fd = os.memfd_create("huge")
    os.truncate(fd, 2 * MIB)
    room = libc.mmap(None, 4 * MIB, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 0, 0)
    place = (room + 2 * MIB - 1) // (2 * MIB) * 2 * MIB
    fixed = 0x10
    at = libc.mmap(place, 2 * MIB, 3, mmap.MAP_SHARED | fixed, fd, 0)
    ctypes.memset(at, 1, PAGE)
    return libc.madvise(ctypes.c_void_p(at), 2 * MIB, 25) == 0

with device.create_file(32 * MIB) as file, real(file) as m:
    a = array(m)
    for at in range(0, 16 * MIB, PAGE):
        a[at] = at // PAGE % 255 + 1
    say(huge_bytes(m.address, len(m)) // MIB, kernel_collapses())
    a[20 * MIB :: PAGE * 600] = 1  # one here, one there
    assert huge_bytes(m.address + 20 * MIB, 12 * MIB) == 0
    wanted = (np.arange(4096) % 255 + 1).astype(np.uint8)
    assert (a[: 16 * MIB : PAGE] == wanted).all()
    file.fsync()
    a[5] = 9  # after its 2 MiB were write-protected
    file.punch_hole(3 * MIB, PAGE)
    assert a[3 * MIB] == 0 and a[3 * MIB + PAGE] == wanted[769]
    data = np.frombuffer(file.pread(16 * MIB, 0), np.uint8)
    assert data[5] == 9 and (data[:: PAGE][:768] == wanted[:768]).all()
    del a
"""


@four_ways
def test_stores_in_a_row_get_pages_of_2_mib(way):
    megabytes, collapses = works(HUGE, way).split()
    need("collapse", collapses == "True", "MADV_COLLAPSE on tmpfs, Linux 6.1")
    assert int(megabytes) >= 12  # all but those before it was a row


@pytest.mark.parametrize("delivery", ["thread", "signal"])
def test_stores_in_a_row_without_huge_pages(delivery):
    assert works(HUGE, Way("root", delivery, "thp")).split()[0] == "0"


# ---- changes of the file are seen at once --------------------------------


@every_way
def test_calls_are_seen_through_the_memory(way):
    works(
        """
        for options in ({}, {"pages": "pte"}, {"fault_around": 0}):
            with device.create_file(8 * MIB) as file, real(file, **options) as m:
                a = array(m)
                assert not a.any()
                file.pwrite(b"abc", 3 * PAGE)
                assert bytes(a[3 * PAGE : 3 * PAGE + 3]) == b"abc"
                file.pwrite(b"x" * 3 * MIB, 4 * MIB)
                assert (a[4 * MIB : 7 * MIB] == ord("x")).all()
                file.punch_hole(4 * MIB, 2 * MIB)
                assert not a[4 * MIB : 6 * MIB].any()
                a[5 * MIB] = 9
                file.punch_hole(5 * MIB + 10, 10)
                assert a[5 * MIB] == 9
                file.truncate(5 * MIB)
                file.truncate(8 * MIB)
                assert not a[5 * MIB :].any()
                a[5 * MIB] = 4
                assert file.pread(1, 5 * MIB) == b"\\4"
                file.fallocate(6 * MIB, MIB)
                assert not a[6 * MIB :].any()
                with file.clone() as other, real(other) as n:
                    b = array(n)
                    assert (a == b).all()
                    b[5 * MIB] = 5
                    a[3 * PAGE] = ord("A")
                    assert a[5 * MIB] == 4 and b[5 * MIB] == 5
                    assert b[3 * PAGE] == ord("a")
                    assert file.pread(3, 3 * PAGE) == b"Abc"
                    assert other.pread(3, 3 * PAGE) == b"abc"
                    file.pwrite(b"Z", 5 * MIB)
                    assert a[5 * MIB] == ord("Z") and b[5 * MIB] == 5
                    del b
                del a
        """,
        way,
    )


@four_ways
def test_two_mappings_of_a_file_show_the_same(way):
    works(
        """
        with device.create_file(8 * MIB) as file:
            with real(file) as m, real(file, offset=MIB) as n, file.mmap() as soft:
                a, b = array(m), array(n)
                assert not a.any() and not b.any()
                a[2 * MIB] = 1
                assert b[MIB] == 1 and soft.read(2 * MIB, 1) == b"\\1"
                soft.write(3 * MIB, b"\\2")
                assert a[3 * MIB] == b[2 * MIB] == 2
                b[0] = 3
                assert a[MIB] == 3
                m.write(5 * MIB, b"\\4")
                assert b[4 * MIB] == 4 and n.read(4 * MIB, 1) == b"\\4"
                del a, b
        """,
        way,
    )


# ---- system calls --------------------------------------------------------

SYSTEM_CALLS = """
with device.create_file(8 * MIB) as file, real(file, fault_around=0) as m:
    view = memoryview(m)
    with tempfile.TemporaryFile() as f:
        f.write(b"q" * 10000)
        f.seek(0)
        raw = open(f.fileno(), "rb", buffering=0, closefd=False)
        try:
            assert raw.readinto(view[MIB + 100 : MIB + 10100]) == 10000
            assert file.pread(10000, MIB + 100) == b"q" * 10000
            a, b = socket.socketpair()
            a.send(b"received")
            assert b.recv_into(view[2 * MIB : 2 * MIB + 8]) == 8
            assert file.pread(8, 2 * MIB) == b"received"
            assert a.send(view[3 * MIB : 3 * MIB + 5000]) == 5000
            assert b.recv(5000) == bytes(5000)
            assert os.pwrite(f.fileno(), view[4 * MIB : 5 * MIB], 0) == MIB
            assert os.pread(f.fileno(), MIB, 0) == bytes(MIB)
            say("done")
        except OSError as error:
            say(errno.errorcode[error.errno])
            m.populate(MIB, 3 * MIB, write=True)
            f.seek(0)
            assert raw.readinto(view[MIB + 100 : MIB + 10100]) == 10000
            assert file.pread(10000, MIB + 100) == b"q" * 10000
    view.release()
"""


@four_ways
def test_system_calls_on_holes(way):
    """The kernel's own touches come to the thread only where a user may ask for
    them; else they are EFAULT until the pages are populated."""
    full = way == THREAD
    assert works(SYSTEM_CALLS, way) == ("done\n" if full else "EFAULT\n")


def test_direct_io_into_holes(tmp_path):
    (tmp_path / "data").write_bytes(b"d" * 64 * 1024)
    works(
        """
        try:
            fd = os.open(sys.argv[3], os.O_RDONLY | os.O_DIRECT)
        except OSError:
            sys.exit(0)  # not on this file system
        with device.create_file(8 * MIB) as file, real(file) as m:
            with memoryview(m) as view:
                assert os.readv(fd, [view[MIB : MIB + 65536]]) == 65536
            assert file.pread(65536, MIB) == b"d" * 65536
        """,
        THREAD,
        tmp_path / "data",
    )


@four_ways
def test_buffers_of_daxcores_own_calls(way):
    """They may lie in a mapping of the very file."""
    works(
        """
        with device.create_file(8 * MIB) as file, real(file) as m:
            view = memoryview(m)
            file.pwrite(b"hello", 0)
            assert file.pwrite(view[0:9000], MIB) == 9000
            assert file.pread(6, MIB) == b"hello\\0"
            m.write(2 * MIB, view[0:9000])
            assert m.read(2 * MIB, 5) == b"hello"
            m.write(0, view[1:9001])
            assert m.read(0, 5) == b"ello\\0"
            view.release()
        """,
        way,
    )


# ---- fork ----------------------------------------------------------------

FORKED = """
with device.create_file(8 * MIB) as file:
    m = real(file)
    a = array(m)
    a[0] = 1
    assert a[3 * MIB] == 0

    def child(function):
        pid = os.fork()
        if pid == 0:
            code = 9
            try:
                function()
                code = 0
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def calls():
        for call in (lambda: m.read(0, 1), lambda: m.write(0, b"x"),
                     lambda: m.populate(), lambda: m.flush(), m.fault_range,
                     lambda: file.pread(1, 0), lambda: real(file)):
            try:
                call()
            except (ForkError, TypeError):
                continue
            os._exit(7)

    assert child(calls) == 0
    dead = -signal.SIGSEGV
    assert child(lambda: a[0]) == dead
    assert child(lambda: a[3 * MIB]) == dead
    assert child(lambda: a[7 * MIB]) == dead
    def own():
        with Device.memory(8 * MIB) as d, d.create_file(MIB) as f, real(f) as n:
            b = array(n)
            b[5] = 5
            assert f.pread(1, 5) == b"\\5"
            del b
    assert child(own) == 0
    def close():
        global a
        del a
        m.close()
        file.close()
    assert child(close) == 0
    a[5 * MIB] = 6
    assert file.pread(1, 5 * MIB) == b"\\6" and a[0] == 1
    del a
    m.close()
"""


@four_ways
def test_fork(way):
    works(FORKED, way)


@four_ways
def test_a_fork_that_tells_nobody(way):
    """_Fork() runs no handlers: also then no zeroes where the parent has data."""
    works(
        """
        libc = ctypes.CDLL(None)
        if not hasattr(libc, "_Fork"):
            sys.exit(0)
        with device.create_file(8 * MIB) as file, real(file) as m:
            a = array(m)
            assert not a.any()
            pid = libc._Fork()
            if pid == 0:
                os._exit(a[0])  # the parent's store may have come by now, or not
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGSEGV
            del a
        """,
        way,
    )


@four_ways
def test_a_program_started_while_a_mapping_is_open(way):
    works(
        """
        with device.create_file(8 * MIB) as file, real(file) as m:
            a = array(m)
            a[0] = 1
            for _ in range(5):
                assert subprocess.run(["true"]).returncode == 0
            assert os.spawnlp(os.P_WAIT, "true", "true") == 0
            assert a[0] == 1
            del a
        """,
        way,
    )


# ---- the end -------------------------------------------------------------


@pytest.mark.parametrize("delivery", ["thread", "signal"])
def test_close_with_a_buffer_held(delivery):
    with Device.memory(8 * MIB) as dev, dev.create_file(MIB) as file:
        m = file.mmap(backend="real", delivery=delivery)
        view = memoryview(m)
        array = m.ndarray(np.uint8)
        with pytest.raises(BufferError, match="buffers"):
            m.close()
        view.release()
        array[7] = 7
        with pytest.raises(BufferError):
            m.close()
        part = array[5:]
        del array
        with pytest.raises(BufferError):
            m.close()
        assert part[2] == 7
        del part
        m.close()
        assert file.pread(1, 7) == b"\7"


@four_ways
def test_an_array_outlives_every_other_reference(way):
    works(
        """
        arrays = [array(real(device.create_file(MIB))),
                  np.frombuffer(real(device.create_file(MIB)), np.uint8)]
        del device
        gc.collect()
        for a in arrays:
            a[5] = 6
            assert a[5] == 6 and not a[4096:].any()
        """,
        way,
    )


@four_ways
def test_a_stale_pointer_dies(way):
    dies(
        """
        with device.create_file(8 * MIB) as file:
            m = real(file)
            at = m.address
            ctypes.string_at(at, 9)
            m.close()
            say("before")
            ctypes.string_at(at, 9)
            say("after")
        """,
        way,
        signal.SIGSEGV,
    )


@four_ways
def test_threads_come_and_go(way):
    works(
        """
        with device.create_file(32 * MIB) as file, real(file) as m:
            a = array(m)
            def body(nr):
                a[nr * 64 * 1024] = 1 + nr % 200
            for nr in range(200):
                thread(lambda: body(nr)).join()
            for nr in range(200):
                assert a[nr * 64 * 1024] == 1 + nr % 200
            del a
        """,
        way,
    )


@four_ways
def test_many_mappings_at_once(way):
    works(
        """
        with device.create_file(8 * MIB) as file:
            for _ in range(20):
                all = [real(file, length=MIB, offset=i % 8 * MIB) for i in range(40)]
                for i, m in enumerate(all):
                    with memoryview(m) as v:
                        v[i * 5000] = i + 1
                for m in all[::2] + all[1::2]:
                    m.close()
            for i in range(40):
                assert file.pread(1, i % 8 * MIB + i * 5000) == bytes([i + 1])
        assert threading.active_count() == 1
        """,
        way,
    )


@four_ways
@pytest.mark.parametrize("end", ["pass", "sys.exit(0)", "os._exit(0)"])
def test_exit_with_a_thread_asleep_in_a_fault(way, end):
    works(
        f"""
        file = device.create_file(8 * MIB)
        m = real(file)
        a = array(m)
        file.freeze()
        def body():
            a[0] = 1
        t = thread(lambda: ctypes.memset(m.address, 1, 1))
        asleep(t)
        say("end")
        {end}
        """,
        way,
    )


@four_ways
def test_kill_with_a_thread_asleep_in_a_fault(way):
    dies(
        """
        file = device.create_file(8 * MIB)
        m = real(file)
        file.freeze()
        t = thread(lambda: ctypes.memset(m.address, 1, 1))
        asleep(t)
        say("before")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
        """,
        way,
        signal.SIGTERM,
    )


# ---- signals -------------------------------------------------------------


@four_ways
def test_ctrl_c(way):
    """A call is ended by it; a store of the CPU waits on, and is made."""
    works(
        """
        with device.create_file(8 * MIB) as file, real(file) as m:
            file.freeze()
            main = threading.main_thread()
            def interrupt(after):
                asleep(main)
                signal.pthread_kill(main.ident, signal.SIGINT)
                time.sleep(0.05)
                after()
            for call in (lambda: m.write(0, b"x"), lambda: m.populate(write=True)):
                t = thread(lambda: interrupt(lambda: None))
                raises(KeyboardInterrupt, call)
                t.join()
            t = thread(lambda: interrupt(file.thaw))
            def store():
                ctypes.memset(m.address + MIB, 7, 1)
                time.sleep(60)
            raises(KeyboardInterrupt, store)
            t.join()
            assert file.pread(1, MIB) == b"\\7"
        """,
        way,
    )


@four_ways
def test_a_storm_of_signals(way):
    works(
        """
        got = []
        signal.signal(signal.SIGALRM, lambda *_: got.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        with device.create_file(32 * MIB) as file, real(file, fault_around=0) as m:
            a = array(m)
            for page in range(4000):
                assert a[page * PAGE] == 0
                a[page * PAGE] = 1 + page % 200
            signal.setitimer(signal.ITIMER_REAL, 0)
            for page in range(4000):
                assert a[page * PAGE] == 1 + page % 200
            del a
        assert got
        """,
        way,
    )


BEFORE_AND_AFTER = """
faulthandler.enable() if sys.argv[3] == "before" else None
with device.create_file(8 * MIB) as file:
    m = real(file)
    a = array(m)
    assert a[0] == 0
    a[MIB] = 1
    file.truncate(4 * MIB)
    say("before")
    print(a[5 * MIB])
"""


@every_way
def test_faulthandler_enabled_before(way):
    """It prints where the process dies of an access that cannot be served, and
    of no other."""
    done = run(BEFORE_AND_AFTER, way, "before")
    assert done.returncode == -signal.SIGBUS, done
    assert done.stdout == "before\n"
    assert done.stderr.count("Fatal Python error") == 1
    assert "Bus error" in done.stderr


@every_way
def test_faulthandler_enabled_after(way):
    """Its handlers come first: the first touch that is told by a signal ends the
    process, with a report.  Nothing hangs, and what a thread serves is served."""
    done = run(
        """
        faulthandler.disable()  # -X dev has it enabled
        with device.create_file(8 * MIB) as file:
            m = real(file, pages="pte", fault_around=0)
            a = array(m)
            faulthandler.enable()
            faulthandler.disable()  # ours are back
            a[0] = 1
            assert a[PAGE] == 0
            faulthandler.enable()
            say("before")
            a[MIB] = 1
            assert a[2 * MIB] == 0 and file.pread(1, MIB) == b"\1"
            say("served")
            file.truncate(4 * MIB)
            print(a[5 * MIB])
        """,
        way,
    )
    assert done.returncode == -signal.SIGBUS, done
    served = ["served"] if way.delivery == "thread" else []
    assert done.stdout.split() == ["before", *served], done
    assert done.stderr.count("Fatal Python error: Bus error") == 1, done


@every_way
def test_private_copies_of_a_frozen_file(way):
    """They are made by stores and calls; stores that wait would wait for ever."""
    works(
        """
        with device.create_file(8 * MIB) as file:
            file.pwrite(b"f" * 2 * PAGE, 0)
            for options in ({}, {"pages": "pte", "fault_around": 0}):
                with real(file, shared=False, **options) as m, file.frozen():
                    a = array(m)
                    a[0] = a[3 * MIB] = 7
                    m.write(PAGE, b"x")
                    a[4 * MIB] = 8
                    del a
                    assert m.read(0, 2) == b"\7f"
                    assert m.read(PAGE, 2) == b"xf"
                    assert m.read(3 * MIB, 1) == b"\7"
                    assert m.memory()["copy_bytes"] == 4 * PAGE
            assert file.pread(2 * PAGE, 0) == b"f" * 2 * PAGE
        """,
        way,
    )


@every_way
def test_calls_on_private_mappings_end_where_the_file_does(way):
    works(
        """
        with device.create_file(PAGE + 1) as file:
            with real(file, length=8 * PAGE, shared=False) as m:
                error = raises(FaultError, m.write, 1, b"x" * 3 * PAGE)
                assert error.nbytes == 2 * PAGE - 1
                assert m.read(1, 2 * PAGE - 1) == b"x" * (2 * PAGE - 1)
                assert not any(file.pread(PAGE + 1, 0))
        """,
        way,
    )


@every_way
def test_an_entry_cannot_be_locked_under_a_real_mapping(way):
    """A touch would wait for the holder: for itself, or with the GIL that the
    holder wants."""
    works(
        """
        with device.create_file(8 * MIB) as file:
            with real(file) as m:
                error = raises(OSError, file.lock_entry(0).__enter__)
                assert error.errno == errno.EBUSY
                assert "real mapping" in str(error)
                assert array(m)[0] == 0
            with file.lock_entry(0):
                error = raises(OSError, real, file)
                assert error.errno == errno.EDEADLK
        """,
        way,
    )


@every_way
def test_a_stack_overflow_is_still_reported(way):
    """There is no stack left but the alternate one, where faulthandler reports."""
    done = run(
        """
        faulthandler.enable()
        with device.create_file(8 * MIB) as file, real(file) as m:
            assert array(m)[0] == 0
            say("before")
            faulthandler._stack_overflow()
        """,
        way,
    )
    assert done.returncode == -signal.SIGSEGV, done
    assert done.stdout == "before\n"
    assert done.stderr.count("Fatal Python error: Segmentation fault") == 1


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGBUS"])
@four_ways
def test_a_signal_that_somebody_sends_still_kills(way, name):
    dies(
        f"""
        with device.create_file(8 * MIB) as file, real(file) as m:
            a = array(m)
            a[0] = 1
            say("before")
            os.kill(os.getpid(), signal.{name})
            say("after")
        """,
        way,
        getattr(signal, name),
    )


# ---- no room -------------------------------------------------------------

NO_ROOM = """
with Device.memory(2 * MIB) as small, small.create_file(16 * MIB) as file:
    m = real(file)
    a = array(m)
    file.pwrite(b"x" * 2 * MIB, 0)
    at = 8 * MIB
    assert a[at] == 0
    error = raises(FaultError, m.write, at, b"y")
    assert error.errno == errno.ENOSPC
    error = raises(OSError, m.populate, at, 1, True)
    assert error.errno == errno.ENOSPC and error.offset == at
    if sys.argv[3] == "dies":
        say("before")
        a[at] = 1
        say("after")
    pid = os.fork() if False else None
    raises(OSError, file.pwrite, b"y", at)
    assert a[at] == 0 and not a[at : at + MIB].any()
    file.punch_hole(MIB, 64 * 1024)
    a[at] = 1
    assert file.pread(1, at) == b"\\1"
    assert a[0] == ord("x") and a[at] == 1
    del a
    m.close()
"""


@every_way
def test_no_room(way):
    dies(NO_ROOM, way, signal.SIGBUS, "dies")
    works(NO_ROOM, way, "lives")


SYSTEM_CALLS_IN_VAIN = """
with Device.memory(2 * MIB) as small, small.create_file(16 * MIB) as file:
    m = real(file, length=32 * MIB)
    view = memoryview(m)
    file.pwrite(b"x" * 2 * MIB, 0)
    with tempfile.TemporaryFile() as f:
        f.write(b"q" * 5000)
        raw = open(f.fileno(), "rb", buffering=0, closefd=False)
        for at in (8 * MIB, 20 * MIB):
            f.seek(0)
            error = raises(OSError, raw.readinto, view[at : at + 5000])
            assert error.errno == errno.EFAULT
        error = raises(OSError, os.pwrite, f.fileno(), view[20 * MIB : 21 * MIB], 0)
        assert error.errno == errno.EFAULT
        file.punch_hole(0, MIB)
        f.seek(0)
        time.sleep(0.1)  # for a while the page that failed goes on failing
        if sys.argv[3] == "full":
            assert raw.readinto(view[8 * MIB : 8 * MIB + 5000]) == 5000
            assert file.pread(5000, 8 * MIB) == b"q" * 5000
    view[9 * MIB] = 1
    assert file.pread(1, 9 * MIB) == b"\\1"
    del error
    gc.collect()
    view.release()
    m.close()
"""


@four_ways
def test_system_calls_that_cannot_be_served(way):
    """They get EFAULT; nobody dies of it."""
    works(SYSTEM_CALLS_IN_VAIN, way, "full" if way == THREAD else "user")


@four_ways
def test_a_thread_that_blocks_sigbus(way):
    dies(
        """
        with Device.memory(2 * MIB) as small, small.create_file(16 * MIB) as file:
            m = real(file)
            file.pwrite(b"x" * 2 * MIB, 0)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGBUS])
            say("before")
            ctypes.memset(m.address + 8 * MIB, 1, 1)
            say("after")
        """,
        way,
        signal.SIGBUS,
    )


PAST_THE_END = """
with device.create_file(4 * MIB + 100) as file:
    m = real(file, length=16 * MIB)
    a = array(m)
    assert a[4 * MIB + 99] == a[4 * MIB + 4000] == 0
    at = 4 * MIB + int(sys.argv[4])
    error = raises(OSError, m.populate, at, 1, True)
    assert raises(OSError, m.read, at, 1).errno == errno.EFAULT
    if sys.argv[3] == "loads":
        say("before")
        a[at] == 0
        say("after")
    if sys.argv[3] == "stores":
        say("before")
        a[at] = 1
        say("after")
    file.truncate(16 * MIB)
    assert a[at] == 0
    a[at] = 1
    assert file.pread(1, at) == b"\\1"
    file.truncate(at)
    file.truncate(16 * MIB)
    assert a[at] == 0
    del a
    m.close()
"""


@every_way
@pytest.mark.parametrize("at", [PAGE, 3 * MIB])
def test_past_the_end(way, at):
    dies(PAST_THE_END, way, signal.SIGBUS, "loads", at)
    dies(PAST_THE_END, way, signal.SIGBUS, "stores", at)
    works(PAST_THE_END, way, "grows", at)


@four_ways
def test_a_file_that_another_process_cuts_off(way):
    body = """
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "sparse"
        path.write_bytes(b"d" * 8 * MIB)
        with daxcore.open(path, "r+") as file:
            m = real(file)
            a = array(m)
            assert a[0] == ord("d") and a[6 * MIB] == ord("d")
            os.truncate(path, 4 * MIB)
            assert raises(OSError, m.read, 6 * MIB, 1)
            say("before")
            if sys.argv[3] == "loads":
                print(a[6 * MIB])
            else:
                a[6 * MIB] = 1
            say("after")
    """
    dies(body, way, signal.SIGBUS, "loads")
    dies(body, way, signal.SIGBUS, "stores")


# ---- limits --------------------------------------------------------------


@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", [THREAD, SIGNAL], ids=str)
def test_more_pieces_than_the_process_may_have(way):
    """Every second page has a block: each is an area of the kernel's."""
    works(
        """
        limit = int(Path("/proc/sys/vm/max_map_count").read_text())
        if limit > 100000:
            sys.exit(0)
        pages = limit + 2000
        def areas():
            return sum(1 for _ in open("/proc/self/maps"))
        with Device.memory(pages // 2 * PAGE + 64 * MIB) as big:
            with big.create_file(pages * PAGE) as file:
                m = real(file, pages="pte")
                a = array(m)
                for page in range(0, pages, 2):
                    if page % 4:
                        a[page * PAGE] = 1 + page % 200
                    else:
                        m.write(page * PAGE, bytes([1 + page % 200]))
                    if page % 8192 == 0:
                        assert areas() < limit * 2 // 3
                thread(lambda: bytearray(MIB)).join()
                wanted = np.zeros(pages, np.uint8)
                wanted[::2] = 1 + np.arange(0, pages, 2) % 200
                assert (a[::PAGE] == wanted).all()
                file.fsync()
                a[PAGE] = 6
                assert file.pread(1, PAGE) == b"\\6"
                file.punch_hole(0, pages // 2 * PAGE)
                assert not a[: pages // 2 * PAGE : PAGE].any()
                try:
                    m.populate()
                except MemoryError as error:
                    assert "max_map_count" in str(error), error
                assert areas() < limit * 2 // 3
                del a
                m.close()
                assert areas() < 1000
        """,
        way,
        timeout=110,
    )


@pytest.mark.timeout(180)
def test_faults_by_calls_with_more_pieces_than_the_process_may_have():
    works(
        """
        limit = int(Path("/proc/sys/vm/max_map_count").read_text())
        if limit > 100000:
            sys.exit(0)
        pages = limit + 2000
        with Device.memory(pages // 2 * PAGE + 64 * MIB) as big:
            with big.create_file(pages * PAGE) as file:
                with real(file, pages="pte") as m:
                    for first in range(0, pages, 1000):
                        here = range(first, min(first + 1000, pages), 2)
                        m.fault_many(here, write=True)
                assert file.stats()["allocated_bytes"] == pages // 2 * PAGE
        """,
        THREAD,
        timeout=110,
    )


@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", [THREAD, SIGNAL], ids=str)
def test_pieces_that_become_holes_again(way):
    """A piece of a file is cut into as many as there may be, and more."""
    works(
        """
        limit = int(Path("/proc/sys/vm/max_map_count").read_text())
        if limit > 100000:
            sys.exit(0)
        pages = 2 * limit + 4000
        with Device.memory(pages * PAGE + 64 * MIB) as big:
            with big.create_file(pages * PAGE) as file:
                m = real(file, pages="pte")
                file.fallocate(0, pages * PAGE)
                file.pwrite(b"\\1" * pages * PAGE, 0)
                m.populate(write=True)
                a = array(m)
                assert a[::PAGE].all()
                for page in range(0, pages, 2):
                    file.punch_hole(page * PAGE, PAGE)
                    if page % 8192 == 0:
                        assert a[page * PAGE] == 0 and a[(page + 1) * PAGE] == 1
                assert sum(1 for _ in open("/proc/self/maps")) < limit * 2 // 3
                thread(lambda: bytearray(MIB)).join()
                for page in range(0, 2000):
                    assert a[page * PAGE] == page % 2, page
                a[PAGE] = 7
                assert file.pread(1, PAGE) == b"\\7"
                del a
                m.close()
        """,
        way,
        timeout=110,
    )


@four_ways
def test_a_limit_on_address_space(way):
    works(
        """
        with device.create_file(1 << 34) as file:
            resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
            error = raises(MemoryError, real, file)
            assert "RLIMIT_AS" in str(error), error
            with real(file, length=MIB) as m:
                a = array(m)
                a[0] = 1
                assert file.pread(1, 0) == b"\\1"
                del a
        """,
        way,
    )


@four_ways
def test_no_descriptor_left(way):
    works(
        """
        with device.create_file(MIB) as file:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            error = raises(OSError, real, file)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert error.errno == errno.EMFILE, error
            real(file).close()
        """,
        way,
    )


def test_no_thread_to_be_had():
    works(
        """
        with device.create_file(MIB) as file:
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
            error = raises(MemoryError, real, file)
            assert "RLIMIT_NPROC" in str(error), error
            file.mmap(backend="real", delivery="signal").close()
        """,
        Way("nobody"),
    )


def test_without_userfaultfd():
    body = """
    with device.create_file(MIB) as file:
        error = raises(OSError, real, file)
        say(type(error).__name__, error)
        with file.mmap() as m:
            m.write(0, b"soft")
    """
    for delivery in ("thread", "signal"):
        text = works(body, Way("root", delivery, "uffd"))
        assert text.startswith("NotSupportedError") and "DAXCORE_DISABLE" in text


@pytest.mark.parametrize("delivery", ["thread", "signal"])
def test_a_process_that_may_not_see_its_page_map(delivery):
    """Such as one that has given up root: /proc/self is root's still."""
    works(
        """
        raises(PermissionError, open, "/proc/self/pagemap")
        with device.create_file(8 * MIB) as file:
            with real(file) as m:
                a = array(m)
                assert not a[: 4 * MIB].any()
                a[::PAGE] = 1
                assert file.pread(8 * MIB, 0).count(b"\\1") == 2048
                del a
            with real(file, shared=False, access="r") as m:
                assert m.read(0, 1) == b"\\1"
            error = raises(PermissionError, lambda: real(file, shared=False))
            assert "/proc/self/pagemap" in str(error), error
        """,
        Way("nobody", delivery),
        "setuid",
    )


# Programs of four numbers an instruction are seccomp filters from then on.
SECCOMP = """
NUMBER = {"x86_64": 323, "aarch64": 282}[os.uname().machine]

def filter_calls(*numbers):
    libc = ctypes.CDLL(None, use_errno=True)
    nr = len(numbers) // 4
    buf = ctypes.create_string_buffer(struct.pack("HBBI" * nr, *numbers))
    fprog = struct.pack("HxxxxxxQ", nr, ctypes.addressof(buf))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, fprog, 0, 0) == 0, ctypes.get_errno()
"""

# userfaultfd(2) fails, and /dev/userfaultfd cannot be opened.
FILTERED = (
    SECCOMP
    + """
filter_calls(
    0x20, 0, 0, 0,            # the call's number
    0x15, 0, 1, NUMBER,       # is it userfaultfd?
    0x06, 0, 0, 0x00050000 | int(sys.argv[3]),
    0x06, 0, 0, 0x7fff0000)   # allowed
file = device.create_file(MIB)
"""
)


@pytest.mark.parametrize("delivery", ["thread", "signal"])
def test_where_userfaultfd_is_forbidden(delivery):
    body = """
error = raises(PermissionError, real, file)
for way_out in ("vm.unprivileged_userfaultfd", "/dev/userfaultfd",
                "CAP_SYS_PTRACE", "seccomp"):
    assert way_out in str(error), error
file.close()
"""
    works(FILTERED + body, Way("nobody", delivery), errno.EPERM)


@pytest.mark.parametrize("delivery", ["thread", "signal"])
def test_a_kernel_without_userfaultfd(delivery):
    body = """
error = raises(daxcore.NotSupportedError, real, file)
assert "userfaultfd(2)" in str(error), error
file.close()
"""
    works(FILTERED + body, Way("nobody", delivery), errno.ENOSYS)


# The same, for user mode alone: as before Linux 5.11.
NO_USER_MODE = (
    SECCOMP
    + """
filter_calls(
    0x20, 0, 0, 0,            # the call's number
    0x15, 0, 3, NUMBER,       # is it userfaultfd?
    0x20, 0, 0, 16,           # its flags
    0x45, 0, 1, 1,            # UFFD_USER_MODE_ONLY?
    0x06, 0, 0, 0x00050016,   # EINVAL
    0x06, 0, 0, 0x7fff0000)   # allowed
"""
)


@pytest.mark.parametrize("delivery", ["thread", "signal"])
def test_a_kernel_without_user_mode_alone(delivery):
    body = """
with device.create_file(MIB) as file, real(file) as m:
    a = array(m)
    a[0] = 1
    assert file.pread(2, 0) == b"\\1\\0"
    del a
"""
    works(NO_USER_MODE + body, Way("root", delivery))


@pytest.mark.parametrize("delivery", ["thread", "signal"])
def test_who_may_not_have_it_there(delivery):
    allowed = Path("/proc/sys/vm/unprivileged_userfaultfd").read_text()
    need("restriction", allowed == "0\n", "sysctl vm.unprivileged_userfaultfd=0")
    body = """
with device.create_file(MIB) as file:
    error = raises(PermissionError, real, file)
    assert "vm.unprivileged_userfaultfd" in str(error), error
"""
    works(NO_USER_MODE + body, Way("nobody", delivery))


# ---- many threads, one page ----------------------------------------------


@four_ways
@pytest.mark.parametrize("shared", [True, False])
def test_many_threads_store_to_one_page(way, shared):
    """Each gets a message of its own; one answer is for all."""
    works(
        """
        SHARED = sys.argv[3] == "True"
        libc = ctypes.CDLL(None)
        with device.create_file(8 * MIB) as file:
            file.pwrite(b"f" * MIB, 0)
            m = real(file, shared=SHARED, fault_around=0)
            a = array(m)
            barrier = threading.Barrier(16)
            def body(nr):
                for page in range(0, 2048, 8):
                    barrier.wait()
                    at = ctypes.c_void_p(m.address + page * PAGE + nr)
                    libc.memset(at, nr + 1, 1)
            threads = [thread(lambda nr=nr: body(nr)) for nr in range(16)]
            for t in threads:
                t.join()
            pages = a.reshape(-1, PAGE)[::8, :16]
            assert (pages == np.arange(1, 17)).all()
            if SHARED:
                assert file.pread(16, 8 * PAGE) == bytes(range(1, 17))
            else:
                assert file.pread(16, 8 * PAGE) == b"f" * 16
            del a, pages
            m.close()
        """,
        way,
        shared,
    )


@four_ways
def test_fork_beside_stores(way):
    works(
        """
        import warnings
        warnings.simplefilter("ignore")
        with device.create_file(32 * MIB) as file:
            m = real(file, fault_around=0)
            a = array(m)
            over = False
            def body(nr):
                for page in range(nr, 8192, 2):
                    a[page * PAGE] = 1 + page % 200
                    if over:
                        break
            threads = [thread(lambda nr=nr: body(nr)) for nr in range(2)]
            for _ in range(30):
                pid = os.fork()
                if pid == 0:
                    signal.alarm(20)
                    os._exit(0)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            for t in threads:
                t.join()
            assert (a[::PAGE] == 1 + np.arange(8192) % 200).all()
            file.fsync()
            del a
            m.close()
        """,
        way,
    )


# ---- private mappings ----------------------------------------------------


@every_way
def test_private_mappings(way):
    works(
        """
        for options in ({}, {"pages": "pte"}, {"fault_around": 0}):
            with device.create_file(16 * MIB) as file:
                file.pwrite(b"f" * MIB, 0)
                m = real(file, shared=False, **options)
                a = array(m)
                assert a[5] == ord("f") and a[2 * MIB] == 0
                a[0] = 1                    # a copy of data
                a[8 * MIB] = 2              # a copy of a hole
                m.write(2 * PAGE, b"\\3")
                m.write(9 * MIB, b"\\4")
                assert file.pread(1, 0) == b"f"
                assert file.pread(1, 8 * MIB) == b"\\0"
                assert file.pread(1, 2 * PAGE) == b"f"
                assert file.pread(1, 9 * MIB) == b"\\0"
                file.pwrite(b"g" * MIB, 0)  # seen where there is no copy
                assert a[5 * PAGE] == ord("g") and a[0] == 1 and a[1] == ord("f")
                file.pwrite(b"h" * MIB, 8 * MIB)
                assert a[8 * MIB + PAGE] == ord("h") and a[8 * MIB] == 2
                file.punch_hole(0, 16 * MIB)
                assert a[0] == 1 and a[8 * MIB] == 2 and a[2 * PAGE] == 3
                assert a[9 * MIB] == 4 and m.read(9 * MIB, 1) == b"\\4"
                assert a[5 * PAGE] == 0
                file.truncate(4 * MIB)
                file.truncate(16 * MIB)
                assert a[0] == 1 and a[8 * MIB] == 0 and a[9 * MIB] == 0
                file.truncate(0)
                file.truncate(16 * MIB)
                assert not a.any()
                del a
                m.close()
                assert file.stats()["cow_bytes"] == 0
        """,
        way,
    )


@every_way
def test_private_copies_of_whole_pieces_survive(way):
    """Stored to by the CPU alone: the kernel has made the copies."""
    works(
        """
        with device.create_file(8 * MIB) as file:
            file.pwrite(bytes(range(1, 256)) * (4 * MIB // 255), 0)
            m = real(file, shared=False)
            a = array(m)
            was = a.copy()
            rng = np.random.default_rng(3)
            pages = rng.permutation(900)[:300]
            for page in pages:
                a[page * PAGE + 7] = page % 251
                was[page * PAGE + 7] = page % 251
            kept = was.reshape(-1, PAGE)[pages].copy()
            file.punch_hole(0, 4 * MIB)
            now = a.reshape(-1, PAGE)
            assert (now[pages] == kept).all()
            others = np.setdiff1d(np.arange(1024), pages)
            assert not now[others].any()
            assert (file.stats()["cow_bytes"] >= 0)
            del a, now
            m.close()
        """,
        way,
    )


@four_ways
def test_a_copy_that_the_kernel_made_is_the_page(way):
    """Also for faults by calls, and for data that comes into a hole later."""
    works(
        """
        with device.create_file(8 * MIB) as file:
            file.pwrite(b"f" * 4 * MIB, 0)
            m = real(file, shared=False)
            a = array(m)
            a[0] = a[PAGE] = a[2 * PAGE] = a[3 * MIB] = 1
            m.populate(0, PAGE, write=True)
            m.write(PAGE + 1, b"\\2")
            m.fault(2, write=True)
            assert a[0] == a[PAGE] == a[2 * PAGE] == 1 and a[PAGE + 1] == 2
            file.punch_hole(0, 4 * MIB)
            assert m.pagemap()[3 * 256] and m.pagemap()[0]
            file.pwrite(b"g" * 4 * MIB, 0)
            assert a[3 * MIB] == m.read(3 * MIB, 1)[0] == 1
            assert a[3 * MIB + PAGE] == ord("g") and a[0] == a[PAGE] == 1
            m.populate(write=True)
            assert a[3 * MIB] == 1 and a[4 * PAGE] == ord("g")
            m.dontneed()
            assert a[3 * MIB] == ord("g") and a[0] == ord("g")
            assert file.stats()["cow_bytes"] == 0
            del a
            m.close()
        """,
        way,
    )


# ---- frozen files, the other policy, read-only ---------------------------


@every_way
def test_a_frozen_file(way):
    """A store waits for the thaw, loads do not."""
    works(
        """
        with device.create_file(8 * MIB) as file, real(file) as m:
            a = array(m)
            a[0] = 1
            assert a[MIB] == 0
            file.freeze()
            assert a[0] == 1 and a[MIB] == 0 and a[5 * MIB] == 0
            stores = [0, MIB, 5 * MIB, 6 * MIB]
            threads = [thread(lambda at=at: ctypes.memset(m.address + at, 9, 1))
                       for at in stores]
            for t in threads:
                asleep(t)
            time.sleep(0.1)
            assert [t.is_alive() for t in threads] == [True] * 4
            assert file.pread(1, 0) == b"\\1"
            assert [a[at] for at in stores] == [1, 0, 0, 0]
            file.thaw()
            for t in threads:
                t.join(20)
                assert not t.is_alive()
            assert [file.pread(1, at) for at in stores] == [b"\\t"] * 4
            del a
        """,
        way,
    )


@four_ways
def test_more_stores_wait_than_are_remembered(way):
    """Beside them another file goes on, and so do they after the thaw."""
    works(
        """
        threading.stack_size(256 * 1024)
        with device.create_file(8 * MIB) as file, device.create_file(32 * MIB) as other:
            m, n = real(file), real(other, fault_around=0)
            a = array(n)
            file.freeze()
            threads = [thread(lambda nr=nr: ctypes.memset(m.address + nr * 8192, 9, 1))
                       for nr in range(300)]
            for t in threads:
                asleep(t) if DELIVERY == "thread" else None
            time.sleep(0.2)
            for page in range(2000):
                a[page * PAGE] = 1
            assert not file.pread(8 * MIB, 0).strip(b"\\0")
            file.thaw()
            over = False
            def busy():
                page = 0
                while not over:
                    n.dontneed()
                    a[page % 8192 * PAGE]
                    page += 1
            busy = thread(busy)
            for t in threads:
                t.join(30)
                assert not t.is_alive()
            over = True
            busy.join()
            assert file.pread(8 * MIB, 0).count(b"\\t") == 300
            del a
            n.close()
            m.close()
        """,
        way,
    )


@every_way
def test_the_page_cache_policy(way):
    works(
        """
        with device.create_file(8 * MIB, policy="page-cache") as file:
            m = real(file, pages="pte")
            a = array(m)
            assert not a[: 4 * MIB : PAGE].any()
            assert file.stats()["page_cache_bytes"] > 0
            a[MIB] = 1
            a[6 * MIB] = 2
            assert file.pread(1, MIB) == b"\\1" and file.pread(1, 6 * MIB) == b"\\2"
            file.pwrite(b"\\3", 2 * MIB)
            assert a[2 * MIB] == 3
            file.punch_hole(0, 8 * MIB)
            assert not a.any()
            a[MIB] = 4
            file.fsync()
            assert file.pread(1, MIB) == b"\\4"
            with file.mmap() as soft:
                assert soft.read(MIB, 1) == b"\\4"
                soft.write(3 * MIB, b"\\5")
            assert a[3 * MIB] == 5
            del a
            m.close()
        """,
        way,
    )


@every_way
def test_a_read_only_mapping(way):
    body = """
    with device.create_file(8 * MIB) as file:
        m = real(file, access="r")
        a = array(m)
        assert not a.flags.writeable and not a.any()
        file.pwrite(b"x", MIB)
        assert a[MIB] == ord("x")
        raises(PermissionError, m.populate, 0, 1, True)
        say("before")
        ctypes.memset(m.address + int(sys.argv[3]), 1, 1)
    """
    for at in (0, MIB, 5 * MIB):
        dies(body, way, signal.SIGSEGV, at)


# ---- others that look at the memory --------------------------------------


@four_ways
def test_proc_self_mem(way):
    """Pages that are there can be read; those that are not are served or EIO."""
    works(
        """
        with device.create_file(8 * MIB) as file, real(file, fault_around=0) as m:
            a = array(m)
            a[0] = 5
            with open("/proc/self/mem", "rb", buffering=0) as mem:
                assert os.pread(mem.fileno(), 1, m.address) == b"\\5"
                try:
                    assert os.pread(mem.fileno(), 1, m.address + 4 * MIB) == b"\\0"
                except OSError as error:
                    assert error.errno == errno.EIO
            del a
        """,
        way,
    )


@four_ways
def test_a_core_dump_does_not_hang(way, tmp_path):
    done = run(
        """
        os.chdir(tempfile.mkdtemp())
        resource.setrlimit(resource.RLIMIT_CORE, (1 << 30, 1 << 30))
        file = device.create_file(1 << 30)
        m = real(file)
        a = array(m)
        a[::MIB] = 1
        say("before")
        os.abort()
        """,
        way,
    )
    assert done.returncode == -signal.SIGABRT
    assert done.stdout == "before\n"


@pytest.mark.parametrize("way", [THREAD, SIGNAL], ids=str)
def test_gdb_makes_a_core(way, tmp_path):
    gdb = need_program("gdb", "gdb")
    body = """
    file = device.create_file(1 << 30)
    m = real(file)
    a = array(m)
    a[::MIB] = 1
    say("before", os.getpid())
    sys.stdin.read()
    """
    code = PRELUDE + textwrap.dedent(body)
    with subprocess.Popen(
        [sys.executable, "-c", code, way.user, way.delivery],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        pid = child.stdout.readline().split()[1]
        core = tmp_path / "core"
        done = subprocess.run(
            [gdb, "-nx", "-batch", "-p", pid, "-ex", f"gcore {core}"],
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
        )
        child.communicate("")
    need("ptrace", "ptrace: Operation not permitted" not in done.stderr, "allow ptrace")
    assert core.exists() and core.stat().st_size < 300 * MIB, done
    assert child.returncode == 0


@four_ways
def test_somebody_takes_the_pages_away(way):
    """madvise(2) by the program: the bytes are still in the file."""
    works(
        """
        libc = ctypes.CDLL(None, use_errno=True)
        with device.create_file(8 * MIB) as file, real(file) as m:
            a = array(m)
            a[0] = 5
            assert a[MIB] == 0
            assert libc.madvise(ctypes.c_void_p(m.address), 8 * MIB, 4) == 0
            assert a[0] == 5 and a[MIB] == 0
            a[MIB] = 6
            assert file.pread(1, MIB) == b"\\6"
            assert not a[2 * MIB :].any()
            a[5 * MIB] = 7
            assert file.pread(1, 5 * MIB) == b"\\7"
            del a
        """,
        way,
    )


@four_ways
def test_memory_that_is_locked(way):
    """mlock(2): what a mapping has to let go of goes all the same."""
    works(
        """
        libc = ctypes.CDLL(None, use_errno=True)
        def lock(m):
            assert libc.mlock2(ctypes.c_void_p(m.address), m.length, 1) == 0  # ONFAULT

        with device.create_file(3 * MIB) as file:
            with real(file) as m, real(file, shared=False) as private:
                a, c = array(m), array(private)
                lock(m)
                lock(private)
                assert not a.any() and not c.any()
                file.pwrite(b"x", MIB)
                assert a[MIB] == c[MIB] == ord("x")
                c[MIB] = c[2 * MIB] = 1
                private.dontneed()
                assert c[MIB] == ord("x") and c[2 * MIB] == 0
                c[2 * MIB] = 1
                file.truncate(MIB)
                file.truncate(3 * MIB)
                assert c[2 * MIB] == 0
                del a, c
        """,
        way,
    )


@pytest.mark.parametrize("way", [THREAD, SIGNAL], ids=str)
def test_all_memory_is_locked(way):
    """mlockall(2) touches what is kept ready for pieces that go."""
    works(
        """
        libc = ctypes.CDLL(None, use_errno=True)
        with device.create_file(8 * MIB) as file, real(file) as m:
            a = array(m)
            for i in range(3):
                a[5 * MIB :] = 7
                file.punch_hole(6 * MIB, MIB)
                assert libc.mlockall(1) == 0  # MCL_CURRENT
                assert a[6 * MIB - 1] == 7 and not a[6 * MIB : 7 * MIB].any()
            file.punch_hole(0, 8 * MIB)
            assert not a.any()
            file.pwrite(b"x", 6 * MIB)
            assert a[6 * MIB] == ord("x")
            del a
        """,
        way,
    )


def test_an_array_has_no_objects():
    """What lies in a file is no address of this process."""
    with Device.memory(MIB) as dev, dev.create_file(MIB) as file:
        with file.mmap(backend="real") as m:
            for dtype in ("O", [("key", "i8"), ("value", "O")]):
                with pytest.raises(ValueError, match="without objects"):
                    m.ndarray(dtype)


@pytest.mark.parametrize("way", [THREAD, SIGNAL], ids=str)
def test_a_limit_on_private_memory(way):
    works(
        """
        with device.create_file(64 * MIB) as file:
            file.pwrite(b"x" * MIB, 0)
            status = Path("/proc/self/status").read_text()
            limit = int(status.split("VmData:")[1].split()[0]) * 1024 + 16 * MIB
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
            error = raises(MemoryError, lambda: real(file, shared=False).close())
            assert "RLIMIT_DATA" in str(error), error
        """,
        way,
    )


# ---- C programs ----------------------------------------------------------

C_CLIENT = r"""
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "daxcore.h"

enum { SIZE = 64 << 20 };

static sigjmp_buf out;
static volatile sig_atomic_t segv, bus;
static void *volatile where;

static void on_signal(int sig, siginfo_t *info, void *context)
{
	(void)context;
	*(sig == SIGSEGV ? &segv : &bus) += 1;
	where = info->si_addr;
	siglongjmp(out, 1);
}

#define MUST(x) do { if (!(x)) { printf("line %d: %s (%s)\n", __LINE__, #x, \
		dax_errormsg()); exit(1); } } while (0)
#define DIES(x) do { if (!sigsetjmp(out, 1)) { x; printf("line %d lives\n", \
		__LINE__); exit(1); } } while (0)

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	struct sigaction now;
	struct dax_mapping_attr file = { .struct_size = sizeof(file), .size = SIZE };
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr), .length = SIZE, .backend = DAX_BACKEND_REAL,
		.flags = DAX_VM_READ | DAX_VM_WRITE | DAX_VM_SHARED,
		.fault_around = DAX_FAULT_AROUND_DEFAULT,
	};
	static char buf[SIZE / 4], got[SIZE / 4];
	struct dax_mapping *mapping;
	struct dax_device *dev;
	struct dax_vma *vma;
	volatile char *mem, *none;

	attr.delivery = argc > 1 && !strcmp(argv[1], "signal");
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(!dax_device_memory(&dev, SIZE));
	MUST(!dax_mapping_new(&mapping, dev, &file));
	MUST(!dax_vma_new(&vma, mapping, &attr));
	mem = dax_vma_address(vma);
	MUST(mem);
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (char)(i * 7 >> 3);
	memcpy((char *)mem + 12345, buf, sizeof(buf));
	MUST(dax_mapping_pread(mapping, got, sizeof(got), 12345) == sizeof(got));
	MUST(!memcmp(buf, got, sizeof(buf)));
	memcpy(got, (char *)mem + SIZE / 2, sizeof(got));
	for (size_t i = 0; i < sizeof(got); i++)
		MUST(!got[i]);
	MUST(!segv && !bus);
	DIES(*none);	/* not ours */
	MUST(segv == 1 && !bus && where == none);
	MUST(!dax_mapping_truncate(mapping, SIZE / 2));
	DIES(mem[SIZE / 2]);
	MUST(segv == 1 && bus == 1 && where == mem + SIZE / 2);
	DIES(mem[SIZE / 2 + 99999] = 1);
	MUST(segv == 1 && bus == 2);
	MUST((((uintptr_t)where ^ (uintptr_t)(mem + SIZE / 2 + 99999)) & ~4095ul) == 0);
	MUST(mem[12345] == buf[0] && mem[12346] == buf[1]);
	MUST(!dax_mapping_truncate(mapping, SIZE));
	MUST(!mem[SIZE / 2]);
	mem[SIZE / 2 + 99999] = 1;
	mem[SIZE / 2] = 1;
	MUST(bus == 2);
	DIES(*none);
	MUST(segv == 2);
	dax_vma_put(vma);
	sigaction(SIGSEGV, NULL, &now);
	MUST(now.sa_sigaction == on_signal);
	DIES(*none);
	MUST(segv == 3);
	dax_mapping_put(mapping);
	dax_device_put(dev);
	return 0;
}
"""


@pytest.fixture(scope="module")
def c_client(tmp_path_factory):
    directory = tmp_path_factory.mktemp("client")
    cc = need_program("cc", "gcc")
    (directory / "client.c").write_text(C_CLIENT)
    library = f"{daxcore.get_library_dir()}/libdaxcore.so.0"
    subprocess.run(
        [cc, "-O1", "-Wall", "-o", directory / "client", directory / "client.c",
         f"-I{daxcore.get_include()}", library,
         f"-Wl,-rpath,{daxcore.get_library_dir()}"],
        check=True,
    )  # fmt: skip
    directory.chmod(0o755)
    return directory / "client"


@every_way
def test_a_c_program_with_handlers_of_its_own(c_client, way):
    done = subprocess.run(
        [c_client, way.delivery],
        env=dict(os.environ, DAXCORE_DISABLE=way.disable),
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)


# ---- system calls beside a piece that goes -------------------------------

# What the other thread does, with which pages, whether bytes stay.
NEIGHBOURS = {
    "2 MiB": (
        "file.punch_hole(0, 2 * MIB); m.populate(0, 2 * MIB, write=True);"
        "file.truncate(MIB); file.truncate(8 * MIB)",
        "auto",
        False,
    ),
    "dontneed": ("m.dontneed(0, 2 * MIB)", "auto", True),
    "settle": (
        "file.punch_hole(0, MIB); write_ahead(view); file.fsync()",
        "pte",
        False,
    ),
}


@pytest.mark.parametrize("what", NEIGHBOURS)
def test_system_calls_while_pieces_beside_go(what):
    """The place of a piece of the file is never closed, not even for a moment."""
    call, pages, stay = NEIGHBOURS[what]
    works(
        f"""
        def write_ahead(view):
            for at in range(0, 80):
                view[at * PAGE] = 1

        def neighbours():
            while not stop.is_set():
                {call}

        with (
            device.create_file(8 * MIB) as file,
            real(file, pages="{pages}") as m,
            memoryview(m) as view,
            view[100 * PAGE : 104 * PAGE] as mine,
            tempfile.TemporaryFile() as f,
        ):
            stop, data = threading.Event(), bytes(range(256)) * 64
            f.write(data)
            f.flush()
            if {stay}:
                view[:2 * MIB] = b"1" * (2 * MIB)
            other = thread(neighbours)
            end, calls = time.monotonic() + 1.5, 0
            while time.monotonic() < end:
                assert os.preadv(f.fileno(), [mine], 0) == len(mine)
                assert os.pwrite(f.fileno(), mine, len(data)) == len(mine)
                if {stay}:
                    assert os.pread(f.fileno(), len(data), len(data)) == data
                calls += 1
            stop.set()
            other.join()
            say(calls)
        """,
        THREAD,
    )


# ---- what the CPU stored to -----------------------------------------------------

TRACKED = [
    (Way(user, delivery, disable), name)
    for user in ("root", "nobody")
    for delivery in ("thread", "signal")
    for disable, name in (
        ("", "wp-async"),
        ("pagemap_scan", "write-protect"),
        ("wp_async", "write-protect"),
        ("wp_async,wp_shmem", "conservative"),
    )
]


@pytest.mark.parametrize(("way", "tracking"), TRACKED, ids=str)
def test_fsync_flushes_what_was_stored(way, tracking):
    """By page where it is known, all that is mapped where it is not."""
    body = """
    def flushed(exact, every):
        written = file.writeback()
        assert written == (every if m.dirty_tracking == "conservative" else exact)

    file = device.create_file(4 * MIB)
    file.pwrite(bytes([1]) * MIB, 0)
    file.fsync()
    m, other = (real(file, pages="pte", fault_around=0) for _ in "ab")
    a, b = array(m), array(other)
    say(m.dirty_tracking)
    assert (a[:MIB:PAGE] == 1).all() and (b[:MIB:PAGE] == 1).all()
    flushed(0, 256)
    a[: 10 * PAGE : PAGE] = 2
    b[5 * PAGE : 15 * PAGE : PAGE] = 3
    flushed(15, 256)
    a[: 10 * PAGE : PAGE] = 4
    flushed(10, 256)
    b[2 * MIB : 2 * MIB + 8 * PAGE : 2 * PAGE] = 5  # holes
    m.write(20 * PAGE, b"x")
    flushed(5, 260)
    assert file.pread(1, 0) == b"\x04" and file.pread(1, 14 * PAGE) == b"\x03"
    b[PAGE] = 6
    del b
    gc.collect()
    other.close()
    flushed(1, 260)
    m.populate(0, MIB, write=True)
    flushed(256, 256)
    soft = file.mmap()
    readonly = real(file, access="r")
    assert soft.dirty_tracking is None and readonly.dirty_tracking is None
    """
    said = works(body, way).split()
    if way.disable == "" and said[0] != tracking:
        pytest.skip(f"needs Linux 6.7: tracking is {said[0]}")
    assert said == [tracking]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_system_calls_store_after_fsync(way):
    """A file is read into memory that was flushed."""
    body = """
    file = device.create_file(MIB)
    m = real(file)
    a = array(m)
    a[: 4 * PAGE] = 1
    file.fsync()
    with tempfile.TemporaryFile() as f:
        f.write(bytes([7]) * 2 * PAGE)
        f.seek(0)
        assert f.raw.readinto(memoryview(m)[PAGE : 3 * PAGE]) == 2 * PAGE
    assert file.writeback() in (2, 4)
    assert file.pread(2, 2 * PAGE) == b"\x07\x07"
    """
    works(body, way)
