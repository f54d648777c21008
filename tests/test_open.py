# SPDX-License-Identifier: BSD-3-Clause
"""daxcore.open: sparse files that stay ordinary files.

Each test runs on the file system of tmp_path and on the tmpfs of /dev/shm;
what daxcore says is held against what the kernel says of the same file.
"""

import errno
import gc
import mmap
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import MIB, PAGE, in_child

import daxcore
from daxcore import Device, FaultError, ForkError, IomapType
from daxcore import open as dax_open

GIB = 1 << 30
HOLE, MAPPED, UNWRITTEN = IomapType.HOLE, IomapType.MAPPED, IomapType.UNWRITTEN


class Sparse:
    """A file and what the kernel says of it."""

    def __init__(self, path, size):
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(self.fd, size)

    def write(self, data, offset):
        assert os.pwrite(self.fd, data, offset) == len(data)

    @property
    def used(self):
        return os.fstat(self.fd).st_blocks * 512

    @property
    def size(self):
        return os.fstat(self.fd).st_size

    def read(self, nbytes, offset):
        return os.pread(self.fd, nbytes, offset)

    def data(self):
        """Ranges of data as lseek tells them."""
        ranges, pos = [], 0
        while True:
            try:
                start = os.lseek(self.fd, pos, os.SEEK_DATA)
            except OSError as error:
                assert error.errno == errno.ENXIO
                return ranges
            pos = os.lseek(self.fd, start, os.SEEK_HOLE)
            ranges.append((start, pos))


@pytest.fixture
def make(directory):
    files = []

    def make(size=16 * MIB, name="sparse"):
        files.append(Sparse(directory / name, size))
        return files[-1]

    yield make
    for file in files:
        os.close(file.fd)


@pytest.fixture
def sparse(make):
    """16 MiB with 'a' in the page at 8 MiB."""
    file = make()
    file.write(b"a" * PAGE, 8 * MIB)
    return file


def raises_errno(code, match=None):
    return pytest.raises(OSError, match=rf"(?s)\[Errno {code}\].*{match or ''}")


# ---- what it shows -------------------------------------------------------


def test_a_file_describes_itself(sparse):
    with dax_open(sparse.path) as file:
        assert file.path == str(sparse.path)
        assert file.mode == "r+"
        assert not file.readonly
        assert file.size == 16 * MIB
        assert file.policy == "zero-page"
        assert file.device.path == str(sparse.path)
        assert file.device.size >= file.size + 16 * GIB
        assert file.device.free_bytes == 0
        assert str(sparse.path) in repr(file) and "'r+'" in repr(file)
        device = file.device
    assert file.closed and device.closed


def test_extents_are_the_files(sparse):
    with dax_open(sparse.path, "r") as file:
        assert file.extents().tolist() == [
            (0, 8 * MIB, 0, HOLE, 0),
            (8 * MIB, PAGE, 8 * MIB, MAPPED, 0),
            (8 * MIB + PAGE, 8 * MIB - PAGE, 0, HOLE, 0),
        ]


def test_reading_takes_no_block_and_no_page(sparse):
    used = sparse.used
    with dax_open(sparse.path) as file:
        for pages in ("pte", "auto"):
            with file.mmap(pages=pages) as m:
                m.fault_range(0, 4096)
                assert m.read(8 * MIB - 1, 3) == b"\0aa"
        assert file.pread(16 * MIB, 0) == sparse.read(16 * MIB, 0)
        assert file.stats()["page_cache_bytes"] == 0
        assert file.stats()["allocated_bytes"] == used
    assert sparse.used == used
    assert sparse.data() == [(8 * MIB, 8 * MIB + PAGE)]


def test_stores_are_there_for_everybody(sparse):
    used = sparse.used
    with dax_open(sparse.path) as file, file.mmap() as m:
        m.fault_range(0, 4096)
        m.write(5 * MIB + 7, b"stored")
        assert sparse.read(6, 5 * MIB + 7) == b"stored"
        assert file.pwrite(b"written", 3 * MIB) == 7
        assert m.read(3 * MIB, 7) == b"written"
        m.write(8 * MIB, b"over")
        assert file.pread(5, 8 * MIB) == b"overa"
    assert sparse.used == used + 2 * PAGE
    assert sparse.data() == [
        (n * MIB, n * MIB + PAGE) for n in (3, 5, 8)
    ]  # fmt: skip


def test_pwrite_sets_the_exact_size(make):
    sparse = make(10)
    with dax_open(sparse.path) as file:
        assert file.pwrite(b"hello", 8) == 5
        assert sparse.size == file.size == 13
        assert file.pwrite(b"x", 5 * PAGE + 1) == 1
        assert sparse.size == file.size == 5 * PAGE + 2
        assert file.pread(100, 8) == b"hello" + bytes(95)
    assert sparse.read(PAGE * 6, 0) == bytes(8) + b"hello" + bytes(5 * PAGE - 12) + b"x"


def test_truncate_and_punch_are_the_files(sparse):
    sparse.write(b"b" * 8 * PAGE, 0)
    with dax_open(sparse.path) as file, file.mmap() as m:
        assert m.read(0, 8 * PAGE) == b"b" * 8 * PAGE
        file.punch_hole(PAGE + 100, 3 * PAGE)
        expected = b"b" * (PAGE + 100) + bytes(3 * PAGE) + b"b" * (4 * PAGE - 100)
        assert m.read(0, 8 * PAGE) == sparse.read(8 * PAGE, 0) == expected
        assert sparse.data()[:2] == [(0, 2 * PAGE), (4 * PAGE, 8 * PAGE)]
        file.truncate(6 * PAGE + 5)
        assert sparse.size == 6 * PAGE + 5
        file.truncate(8 * PAGE)
        assert m.read(6 * PAGE, 2 * PAGE) == b"b" * 5 + bytes(2 * PAGE - 5)
        assert sparse.read(PAGE, 6 * PAGE) == b"b" * 5 + bytes(PAGE - 5)
    assert sparse.used == 5 * PAGE


def test_fsync_and_zero_range(sparse):
    with dax_open(sparse.path) as file, file.mmap(pages="pte") as m:
        m.write(0, b"stored")
        file.pwrite(b"written", PAGE)
        assert file.entries()["dirty"].tolist() == [True]
        file.fsync()
        assert file.entries()["dirty"].tolist() == [False]
        m.write(1, b"again")
        assert file.entries()["dirty"].tolist() == [True]
        assert file.writeback() == 1
        file.zero_range(3, 2 * PAGE)
        assert sparse.read(PAGE * 2, 0) == b"sag" + bytes(2 * PAGE - 3)
        assert m.read(0, 10) == b"sag" + bytes(7)
        assert sparse.data()[0] == (0, 2 * PAGE)
        assert "fdatasync" in file.device.durability
    with dax_open(sparse.path, "r") as file:
        file.fsync()
        with raises_errno(errno.EROFS):
            file.zero_range(0, 1)


def test_blocks_set_aside_are_told_where_the_file_system_tells(make):
    sparse = make(PAGE)
    with dax_open(sparse.path) as file:
        file.fallocate(4 * PAGE, 4 * PAGE)
        assert sparse.size == file.size == 8 * PAGE
        assert sparse.used >= 4 * PAGE
        types = file.extents()["type"].tolist()
        assert types in ([HOLE, UNWRITTEN], [HOLE])  # tmpfs does not
        assert file.pread(8 * PAGE, 0) == bytes(8 * PAGE)


def test_it_takes_every_form_of_path(make):
    sparse = make(PAGE, "with\nnewline \udce4")
    link = sparse.path.parent / "link"
    link.symlink_to(sparse.path)
    for form in (str(sparse.path), os.fsencode(sparse.path), sparse.path, link):
        with dax_open(form, "r") as file:
            assert file.size == PAGE


def test_an_empty_file(make):
    sparse = make(0)
    with dax_open(sparse.path) as file:
        assert file.size == 0
        assert file.pread(10, 0) == b""
        assert len(file.extents()) == 0
        with pytest.raises(ValueError, match="below the file's size"):
            file.mmap()
        file.pwrite(b"x", 0)
        assert sparse.read(2, 0) == b"x"


def test_a_file_removed_while_open_goes_on(sparse):
    with dax_open(sparse.path) as file:
        os.unlink(sparse.path)
        assert file.pread(1, 8 * MIB) == b"a"
        file.pwrite(b"b", 0)
        assert sparse.read(1, 0) == b"b"


def test_a_mapping_outlives_its_file(sparse):
    file = dax_open(sparse.path)
    m = file.mmap()
    device = file.device
    file.close()
    assert not device.closed
    m.write(0, b"x")
    m.close()
    assert device.closed
    assert sparse.read(1, 0) == b"x"
    with dax_open(sparse.path):
        pass


@pytest.mark.parametrize("backend", ["soft", "real"])
def test_clones_elsewhere_are_not_its_business(sparse, backend):
    """Shared blocks are counted by device; a sparse file counts none."""
    with Device.memory(4 * MIB) as device, device.create_file(MIB) as other:
        other.pwrite(b"x" * PAGE, 0)
        other.clone().close()
    sparse.write(b"d" * 4 * MIB, 0)
    with dax_open(sparse.path) as file, file.mmap(backend=backend) as m:
        assert m.read(2 * MIB + PAGE, 1) == b"d"
        m.write(2 * MIB + PAGE, b"w")
        file.fsync()
        m.write(2 * MIB, b"w")
    assert sparse.read(1, 2 * MIB + PAGE) == sparse.read(1, 2 * MIB) == b"w"


# ---- modes ---------------------------------------------------------------


def test_w_plus_makes_and_empties(directory):
    path = directory / "new"
    with dax_open(path, "w+", size=3 * PAGE) as file:
        assert file.size == 3 * PAGE
        file.pwrite(b"x" * PAGE, 0)
    assert path.stat().st_size == 3 * PAGE
    with dax_open(path, "w+") as file:
        assert file.size == 0
    assert path.stat().st_blocks == path.stat().st_size == 0


def test_r_plus_with_a_size_grows_and_never_shrinks(sparse):
    with dax_open(sparse.path, "r+", size=PAGE) as file:
        assert file.size == 16 * MIB
    with dax_open(sparse.path, "r+", size=17 * MIB + 1) as file:
        assert file.size == sparse.size == 17 * MIB + 1


@pytest.mark.parametrize("mode", ["r", "c"])
def test_reading_modes_store_nothing(sparse, mode):
    used = sparse.used
    with dax_open(sparse.path, mode) as file:
        assert file.readonly and file.device.readonly
        for call in (
            lambda: file.pwrite(b"x", 0),
            lambda: file.truncate(0),
            lambda: file.fallocate(0, PAGE),
            lambda: file.punch_hole(0, PAGE),
            lambda: file.mmap(),
        ):
            with raises_errno(errno.EROFS, f"mode '{mode}'"):
                call()
        with file.mmap(shared=False) as m:
            m.write(0, b"private")
            m.write(8 * MIB, b"private")
            assert m.read(0, 7) == m.read(8 * MIB, 7) == b"private"
        with pytest.raises(ValueError, match="size must be None"):
            dax_open(sparse.path, mode, size=PAGE)
    assert sparse.read(1, 8 * MIB) == b"a"
    assert sparse.used == used


def test_bad_arguments(sparse):
    with pytest.raises(ValueError, match="mode must be one of 'r', 'r\\+'"):
        dax_open(sparse.path, "w")
    with pytest.raises(TypeError, match="mode"):
        dax_open(sparse.path, 7)
    with pytest.raises(ValueError, match="negative"):
        dax_open(sparse.path, size=-1)
    with pytest.raises(OverflowError):
        dax_open(sparse.path, size=1 << 64)
    with pytest.raises(ValueError, match="at most"):
        dax_open(sparse.path, size=(1 << 63) - 1)
    with raises_errno(errno.EFBIG, "64 TiB"):
        dax_open(sparse.path, size=1 << 50)
    with pytest.raises(TypeError):
        dax_open(7.5)
    with pytest.raises(ValueError, match="null byte"):
        dax_open("a\0b")
    assert sparse.size == 16 * MIB


def test_what_cannot_be_opened(directory):
    with pytest.raises(FileNotFoundError):
        dax_open(directory / "missing")
    with pytest.raises(IsADirectoryError, match="directory"):
        dax_open(directory, "r")
    os.mkfifo(directory / "fifo")
    for name in (directory / "fifo", "/dev/null"):
        with raises_errno(errno.ENODEV, "not a regular file"):
            dax_open(name, "r")
    with raises_errno(errno.ENODEV, "cannot map"):
        dax_open("/proc/self/maps", "r")
    with pytest.raises(OSError):
        dax_open(directory / "no" / "such", "w+")
    assert sorted(os.listdir(directory)) == ["fifo"]


def test_an_unreadable_file(sparse):
    os.chmod(sparse.path, 0)
    code = """
import os, sys, daxcore
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    daxcore.open(sys.argv[1], "r")
except PermissionError as error:
    print(error.filename)
"""
    done = run_python(code, str(sparse.path))
    assert done.stdout.strip() == str(sparse.path), done.stderr


def run_python(code, *args, **kwargs):
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        timeout=60,
        **kwargs,
    )


# ---- several opens -------------------------------------------------------


def test_two_opens_share_one_file(sparse):
    with dax_open(sparse.path, "r") as one:
        with one.mmap(access="r") as m:
            assert m.read(0, 1) == b"\0"
            with dax_open(sparse.path) as two:
                assert one.c_address == two.c_address
                two.pwrite(b"x", 0)
                assert m.read(0, 1) == b"x"
                with raises_errno(errno.EROFS):
                    one.pwrite(b"y", 0)
                with raises_errno(errno.EROFS):
                    one.mmap()
                assert one.readonly and not two.readonly
            assert one.pread(1, 0) == b"x"
        with dax_open(sparse.path, "w+", size=PAGE):
            assert one.size == PAGE


def test_hard_links_are_one_file(sparse):
    link = sparse.path.parent / "link"
    os.link(sparse.path, link)
    with dax_open(sparse.path) as one, dax_open(link) as two:
        assert one.c_address == two.c_address
        assert (one.path, two.path) == (str(sparse.path), str(link))


OTHER = """
import sys, daxcore
try:
    with daxcore.open(sys.argv[1], sys.argv[2]) as file:
        print("open", file.pread(1, 8 << 20)[0])
except OSError as error:
    print(error.errno, error)
"""


@pytest.mark.parametrize(
    ("ours", "theirs", "works"),
    [("r", "r", True), ("r", "c", True), ("r", "r+", False), ("r+", "r", False),
     ("r+", "r+", False), ("r+", "w+", False), ("c", "r+", False)],
)  # fmt: skip
def test_the_lock_between_processes(sparse, ours, theirs, works):
    with dax_open(sparse.path, ours):
        out = run_python(OTHER, str(sparse.path), theirs).stdout
    if works:
        assert out == "open 97\n"
    else:
        assert out.startswith(f"{errno.EBUSY} ")
        assert f"process {os.getpid()}" in out
    assert sparse.size == 16 * MIB
    assert run_python(OTHER, str(sparse.path), "r+").stdout == "open 97\n"


def test_a_device_over_the_same_file_is_kept_out(sparse):
    with dax_open(sparse.path):
        with raises_errno(errno.EBUSY):
            daxcore.Device.open(sparse.path, overwrite=True)
    with daxcore.Device.open(sparse.path):
        with raises_errno(errno.EBUSY):
            dax_open(sparse.path, "r")


def test_the_device_holds_no_other_files(sparse):
    with dax_open(sparse.path) as file:
        with raises_errno(errno.EINVAL, "no other files"):
            file.device.create_file(PAGE)
        with raises_errno(errno.EBUSY):
            file.device.close()


def test_many_files(make):
    """More windows than there is address space for, were they all of a TiB."""
    files = [make(PAGE, f"f{n}") for n in range(160)]
    opened = [dax_open(file.path) for file in files]
    try:
        assert sum(file.device.size for file in opened) < 1 << 46
        for file in opened:
            file.truncate(GIB)
            file.pwrite(b"x", GIB - 1)
    finally:
        for file in opened:
            file.close()


@pytest.mark.parametrize("gib", [64, 8])
def test_little_address_space(sparse, gib):
    code = """
import sys, resource, daxcore
limit = int(sys.argv[2]) << 30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
with daxcore.open(sys.argv[1]) as file, file.mmap() as m:
    assert file.device.size < limit
    m.write(0, b"x")
    assert file.pread(1, 8 << 20) == b"a"
    if limit < 16 << 30:
        try:
            file.truncate(limit)
        except OSError as error:
            print(error.errno)
"""
    done = run_python(code, str(sparse.path), str(gib))
    assert not done.stderr
    assert done.stdout == (f"{errno.EFBIG}\n" if gib == 8 else "")
    assert sparse.size == 16 * MIB


# ---- other programs ------------------------------------------------------


def test_a_foreign_write_is_seen_by_the_next_call(sparse):
    with dax_open(sparse.path) as file, file.mmap() as m:
        m.fault_range(0, 4096)
        for n in range(20):
            sparse.write(b"new", n * 5 * PAGE)
            assert (file.pread if n % 2 else m_read(m))(3, n * 5 * PAGE) == b"new"
            file.pwrite(b"own", n * 5 * PAGE + PAGE)
        sparse.write(b"end", 20 * MIB)
        assert file.size == 20 * MIB + 3
        assert file.pread(3, 20 * MIB) == b"end"


def m_read(m):
    return lambda nbytes, offset: m.read(offset, nbytes)


def test_a_foreign_store_through_memory_is_seen(sparse):
    with dax_open(sparse.path) as file, file.mmap() as m:
        assert m.read(PAGE, 1) == b"\0"
        with mmap.mmap(sparse.fd, 16 * MIB) as theirs:
            theirs[PAGE] = 7
            assert m.read(PAGE, 1) == b"\7"
            m.write(PAGE + 1, b"\5")
            assert theirs[PAGE + 1] == 5


def test_a_foreign_truncation_is_an_error_and_no_silent_zero(sparse):
    with dax_open(sparse.path) as file, file.mmap() as m:
        assert m.read(8 * MIB, 1) == b"a"
        assert m.read(12 * MIB, 1) == b"\0"
        os.ftruncate(sparse.fd, MIB)
        for offset in (8 * MIB, 12 * MIB):
            with pytest.raises(FaultError):
                m.read(offset, 1)
            with pytest.raises(FaultError):
                m.write(offset, b"x")
            assert file.pread(1, offset) == b""
        assert file.size == MIB
        os.ftruncate(sparse.fd, 16 * MIB)
        assert m.read(8 * MIB, 1) == b"\0"
        assert len(file.extents()) == 1


def test_a_foreign_hole_is_seen(sparse):
    with dax_open(sparse.path) as file, file.mmap(pages="pte") as m:
        assert m.read(8 * MIB, 1) == b"a"
        with dax_open(sparse.path) as same:
            same.punch_hole(8 * MIB, PAGE)
        assert m.read(8 * MIB, 1) == b"\0"
        sparse.write(b"b", 8 * MIB)
        m.write(8 * MIB + 1, b"c")  # a dirty entry
        subprocess.run(
            ["fallocate", "-p", "-o", str(8 * MIB), "-l", str(PAGE), sparse.path],
            check=True,
        )
        assert m.read(8 * MIB, 2) == file.pread(2, 8 * MIB) == b"\0\0"
        m.write(8 * MIB, b"d")
        assert sparse.read(2, 8 * MIB) == b"d\0"


def test_a_quiet_file_is_not_looked_over_again(sparse):
    """What a call costs does not grow with the number of extents."""
    with dax_open(sparse.path) as file:
        for n in range(0, 4000, 2):
            file.pwrite(b"x", n * PAGE)
        time.sleep(0.05)  # file times are settled
        for _ in range(5000):
            file.pread(1, 0)
        start = time.perf_counter()
        for _ in range(1000):
            file.pread(1, 0)
        assert time.perf_counter() - start < 0.5


# ---- no room -------------------------------------------------------------


def test_a_full_file_system(small_tmpfs):
    sparse = Sparse(small_tmpfs / "sparse", 8 * MIB)
    with dax_open(sparse.path) as file, file.mmap(pages="pte") as m:
        written = file.pwrite(b"x" * 2 * MIB, 0)
        assert 0 < written < 2 * MIB
        with raises_errno(errno.ENOSPC):
            file.pwrite(b"x", 4 * MIB)
        with pytest.raises(FaultError) as caught:
            m.write(4 * MIB, b"x")
        assert caught.value.errno == errno.ENOSPC
        assert m.read(4 * MIB, 1) == file.pread(1, 4 * MIB) == b"\0"
        with raises_errno(errno.ENOSPC):
            file.fallocate(4 * MIB, MIB)
        file.punch_hole(0, 64 * 1024)
        m.write(4 * MIB, b"y")
        assert sparse.read(1, 4 * MIB) == b"y"
    os.close(sparse.fd)


def test_a_limit_on_file_sizes_is_an_error(sparse):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with dax_open(sparse.path) as file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20 * MIB, before[1]))
        try:
            with raises_errno(errno.EFBIG):
                file.truncate(21 * MIB)
            with raises_errno(errno.EFBIG):
                file.pwrite(b"x", 30 * MIB)
            assert file.pwrite(b"x" * 100, 20 * MIB - 50) == 50
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert file.size == sparse.size == 20 * MIB


# ---- like the other objects ----------------------------------------------


def test_a_file_dropped_open_warns_and_is_unlocked(sparse):
    file = dax_open(sparse.path)
    with pytest.warns(ResourceWarning, match="unclosed <daxcore.File"):
        del file
        gc.collect()
    assert run_python(OTHER, str(sparse.path), "r+").stdout == "open 97\n"


def test_closed_files_refuse(sparse):
    file = dax_open(sparse.path)
    file.close()
    file.close()
    for call in (lambda: file.size, lambda: file.readonly, file.extents):
        with pytest.raises(ValueError, match="File is closed"):
            call()
    assert repr(file) == "<daxcore.File closed>"


def test_a_file_is_not_pickled(sparse):
    with dax_open(sparse.path) as file:
        with pytest.raises(TypeError, match=r"daxcore\.open\(\) in the worker"):
            pickle.dumps(file)


def test_a_forked_child_opens_its_own(sparse):
    def child():
        with pytest.raises(ForkError):
            file.pread(1, 0)
        with dax_open(sparse.path, "r") as own:
            assert own.pread(1, 8 * MIB) == b"a"

    with dax_open(sparse.path, "r") as file:
        in_child(child)
        assert file.pread(1, 8 * MIB) == b"a"


# ---- figures -------------------------------------------------------------


def test_a_hundred_gib_of_holes(make):
    sparse = make(100 * GIB)
    sparse.write(b"x" * MIB, 50 * GIB)
    used = sparse.used
    with dax_open(sparse.path) as file, file.mmap() as m:
        start = time.perf_counter()
        faults = m.fault_range(0, file.size // PAGE)
        elapsed = time.perf_counter() - start
        stats = file.stats()
        assert m.read(50 * GIB - 1, 3) == b"\0xx"
    assert faults == 51199 + 512
    assert stats["pmd_load_hole"] == 51199
    assert stats["load_hole"] == stats["insert_mapping"] == 256
    kinds = ("tree_bytes", "page_table_bytes", "block_map_bytes", "page_cache_bytes")
    assert sum(stats[kind] for kind in kinds) < 2 * MIB
    assert stats["block_map_bytes"] < 32 * 1024
    assert sparse.used == used
    assert elapsed < 5


def test_truncate_of_a_fully_mapped_file(make):
    sparse = make(16 * GIB)
    with dax_open(sparse.path) as file, file.mmap() as m:
        m.fault_range(0, file.size // PAGE)
        assert file.stats()["pmd_load_hole"] == 8192
        start = time.perf_counter()
        file.truncate(0)
        elapsed = time.perf_counter() - start
        assert len(file.entries()) == 0
        with pytest.raises(FaultError):
            m.read(0, 1)
    assert elapsed < 1


def test_numpy_reads_what_was_stored(make):
    sparse = make(MIB)
    with dax_open(sparse.path) as file, file.mmap() as m:
        m.write(64 * 8, np.arange(100, dtype="<u8").tobytes())
    array = np.memmap(sparse.path, dtype="<u8", mode="r")
    assert array[64:164].tolist() == list(range(100))
    assert not array[164:].any()


def test_a_size_that_cannot_be_costs_nothing(sparse):
    sparse.write(b"precious", 0)
    size = sparse.size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + MIB, limits[1]))
        with pytest.raises(OSError, match="change its size"):
            dax_open(sparse.path, "w+", size=size + 2 * MIB)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (sparse.size, sparse.read(8, 0)) == (size, b"precious")
    with dax_open(sparse.path, "w+", size=size + 2 * MIB) as file:
        assert (file.size, file.pread(8, 0)) == (size + 2 * MIB, bytes(8))


def test_open_waits_for_a_thaw_beside_signals(sparse):
    main = threading.get_ident()
    seen = []

    def thaw():
        time.sleep(0.05)
        signal.pthread_kill(main, signal.SIGUSR1)
        time.sleep(0.05)
        file.thaw()

    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    try:
        with dax_open(sparse.path) as file:
            file.freeze()
            thread = threading.Thread(target=thaw)
            thread.start()
            with dax_open(sparse.path, "w+") as other:
                assert other.size == 0
            thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen
