# SPDX-License-Identifier: BSD-3-Clause
"""Sparse files that others change between our own stores, by addresses.

What another program does is done through a descriptor of the test's own, at
once after a store of ours and before the next one: mostly within a tick of the
clock that stamps files.
"""

import ctypes
import os

import numpy as np
import pytest
from conftest import MIB, PAGE, need_real_mapping

import daxcore

SIZE = 64 * MIB
KEEP_SIZE_PUNCH_HOLE = 3


@pytest.fixture(params=["thread", "signal"])
def opened(request, directory):
    """(descriptor, file, view of its bytes)."""
    need_real_mapping()
    path = directory / "sparse"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(fd, SIZE)
    with (
        daxcore.open(path, "r+") as file,
        file.mmap(backend="real", delivery=request.param) as m,
        memoryview(m) as view,
    ):
        yield fd, file, view
    os.close(fd)


def punch(fd, offset, length):
    libc = ctypes.CDLL(None, use_errno=True)
    pos, size = ctypes.c_int64(offset), ctypes.c_int64(length)
    if libc.fallocate(fd, KEEP_SIZE_PUNCH_HOLE, pos, size):
        raise OSError(ctypes.get_errno(), "fallocate")


def test_foreign_writes_between_stores(opened):
    """To a page that we store to next, and to its neighbour that we read."""
    fd, file, view = opened
    pages = np.random.default_rng(1).permutation(SIZE // PAGE // 2)[:300] * 2
    for page in map(int, pages):
        at = page * PAGE
        os.pwrite(fd, b"f", at + 5)
        os.pwrite(fd, b"g", at + PAGE + 5)
        view[at] = ord("o")
        assert view[at + 5] == ord("f")
        assert file.pread(1, at + PAGE + 5) == b"g"
        assert view[at + PAGE + 5] == ord("g")
    for page in map(int, pages):
        at = page * PAGE
        assert os.pread(fd, 6, at) == b"o\0\0\0\0f"
        assert os.pread(fd, 1, at + PAGE + 5) == b"g"
        assert view[at + 5] == ord("f")
    assert os.fstat(fd).st_size == SIZE


def test_foreign_punches_between_stores(opened):
    fd, file, view = opened
    for at in range(0, 100 * PAGE, 2 * PAGE):
        view[at] = view[at + PAGE] = 1
        punch(fd, at, PAGE)
        view[at + PAGE + 1] = 2
        assert view[at] == 0
        assert file.pread(1, at) == b"\0"
        view[at + 2] = 3
        assert os.pread(fd, 3, at) == b"\0\0\3"
        assert os.pread(fd, 2, at + PAGE) == b"\1\2"


def test_foreign_truncations_between_stores(opened):
    fd, file, view = opened
    for n in range(20):
        view[0] = view[40 * MIB] = n + 1
        os.ftruncate(fd, 8 * MIB)
        assert file.pread(1, 40 * MIB) == b""
        os.ftruncate(fd, SIZE)
        os.pwrite(fd, b"f", 41 * MIB + n)
        view[PAGE] = n
        assert file.pread(1, 40 * MIB) == b"\0"
        assert view[40 * MIB] == 0
        assert file.pread(1, 41 * MIB + n) == b"f"
        assert view[41 * MIB + n] == ord("f")
    assert os.pread(fd, 1, 0) == b"\24"
