# SPDX-License-Identifier: BSD-3-Clause
"""Opening, describing, killing and closing devices."""

import errno
import gc
import os
import pickle
import subprocess
import sys
import warnings

import pytest
from conftest import MIB, PAGE, need

import daxcore
from daxcore import Device


def test_a_memory_device_describes_itself():
    with Device.memory(3 * MIB) as dev:
        assert dev.size == 3 * MIB
        assert dev.page_size == PAGE == 4096
        assert dev.alignment == PAGE
        assert dev.free_bytes == 3 * MIB
        assert dev.path is None
        assert dev.alive and not dev.readonly and not dev.closed
        assert "memory" in repr(dev)


def test_a_new_file_becomes_a_device_of_the_size_asked(tmp_path):
    path = tmp_path / "new"
    with Device.open(path, size=2 * MIB, create=True) as dev:
        assert dev.size == 2 * MIB
        assert dev.path == str(path)
        assert not dev.readonly
        assert repr(str(path)) in repr(dev)
    assert path.stat().st_size == 2 * MIB


def test_a_path_may_be_text_bytes_or_a_path_object(tmp_path):
    path = tmp_path / "new"
    for form in (str(path), os.fsencode(path), path):
        with Device.open(form, size=PAGE, create=True, overwrite=True) as dev:
            assert dev.path == str(path)


def test_without_create_or_overwrite_a_device_is_readonly(tmp_path):
    path = tmp_path / "existing"
    path.write_bytes(b"x" * 8192)
    with Device.open(path) as dev:
        assert dev.readonly
        assert dev.size == 8192
        with dev.create_file(PAGE) as file:
            with pytest.raises(OSError) as caught:
                file.pwrite(b"y", 0)
            assert caught.value.errno == errno.EROFS
            with pytest.raises(OSError) as caught:
                file.mmap()
            assert caught.value.errno == errno.EROFS
            with file.mmap(access="r") as m:
                assert m.read(0, PAGE) == bytes(PAGE)
    assert path.read_bytes() == b"x" * 8192


def test_overwrite_takes_the_file_at_its_own_size(tmp_path):
    path = tmp_path / "existing"
    path.write_bytes(b"x" * 8192)
    with Device.open(path, overwrite=True) as dev:
        assert dev.size == dev.free_bytes == 8192


def test_freed_and_foreign_blocks_read_as_zeroes(tmp_path):
    path = tmp_path / "stained"
    path.write_bytes(b"x" * 4 * PAGE)
    with Device.open(path, overwrite=True) as dev:
        for _ in range(3):  # each file gets the blocks of the one before
            with dev.create_file(4 * PAGE) as file:
                file.pwrite(b"y", PAGE)
                file.fallocate(0, 4 * PAGE)
                expected = bytearray(4 * PAGE)
                expected[PAGE] = ord("y")
                assert file.pread(4 * PAGE, 0) == expected
                file.pwrite(b"z" * 4 * PAGE, 0)


def test_the_lock_goes_with_the_device(tmp_path):
    path = tmp_path / "device"
    with Device.open(path, size=PAGE, create=True):
        with pytest.raises(OSError) as caught:
            Device.open(path)
        assert caught.value.errno == errno.EBUSY
        assert str(path) in str(caught.value)
    with Device.open(path):
        pass


def test_blocks_are_counted_and_come_back(device):
    free = device.free_bytes
    with device.create_file(4 * MIB) as file:
        file.pwrite(b"x" * MIB, 0)
        assert device.free_bytes == free - MIB
    assert device.free_bytes == free


def test_close_with_files_open_is_ebusy_and_names_their_number(device):
    with device.create_file(PAGE) as one, device.create_file(PAGE) as two:
        with pytest.raises(OSError) as caught:
            device.close()
        assert caught.value.errno == errno.EBUSY
        assert "2 open file" in str(caught.value)
        assert not device.closed
        two.close()
        m = one.mmap()
    with pytest.raises(OSError):
        device.close()  # the mapping keeps its file
    m.close()
    device.close()
    assert device.closed


def test_closing_twice_is_closing_once():
    dev = Device.memory(PAGE)
    dev.close()
    dev.close()
    assert dev.closed
    assert repr(dev) == "<daxcore.Device closed>"


def test_the_first_error_in_a_with_statement_is_the_one_seen():
    file = None
    with pytest.raises(ZeroDivisionError):
        with Device.memory(PAGE) as dev:
            file = dev.create_file(PAGE)
            raise ZeroDivisionError
    file.close()
    dev.close()


def test_a_killed_device_fails_cleanly_and_zero_pages_go_on(device):
    with device.create_file(4 * PAGE) as file, file.mmap(pages="pte") as m:
        m.write(0, b"data")
        assert m.read(PAGE, 1) == b"\0"
        device.kill()
        assert not device.alive
        assert "dead" in repr(device)
        for call in (
            lambda: file.pread(1, 0),
            lambda: file.pwrite(b"x", 0),
            lambda: m.write(2 * PAGE, b"x"),
        ):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.ENXIO
        assert m.read(PAGE, 1) == b"\0"
        assert m.fault(3) == daxcore.FaultResult.NOPAGE
        device.kill()


def test_no_file_is_made_on_a_dead_device():
    with Device.memory(PAGE) as dev:
        dev.kill()
        with pytest.raises(OSError) as caught:
            dev.create_file(PAGE)
        assert caught.value.errno == errno.ENXIO


def test_a_device_dropped_open_warns_and_is_closed(tmp_path):
    path = tmp_path / "device"
    dev = Device.open(path, size=PAGE, create=True)
    with pytest.warns(ResourceWarning, match="unclosed <daxcore.Device"):
        del dev
        gc.collect()
    with Device.open(path):
        pass


def test_a_closed_device_is_dropped_in_silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dev = Device.memory(PAGE)
        dev.close()
        del dev
        gc.collect()


def test_a_device_is_not_pickled(device):
    with pytest.raises(TypeError, match=r"open it with Device\.open"):
        pickle.dumps(device)


def test_there_is_no_constructor():
    for kind in (Device, daxcore.File, daxcore.Mmap):
        with pytest.raises(TypeError, match="use "):
            kind()
        blank = kind.__new__(kind)
        assert blank.closed
        with pytest.raises(ValueError, match="closed"):
            blank.__enter__()


def test_a_device_dax_node():
    node = os.environ.get("DAXCORE_TEST_DEVDAX")
    need("devdax", node, "set DAXCORE_TEST_DEVDAX=/dev/daxX.Y; its content is lost")
    with Device.open(node, overwrite=True) as dev:
        assert dev.size % dev.alignment == 0
        with dev.create_file(MIB) as file:
            assert file.pwrite(b"x", 0) == 1
            assert file.pread(2, 0) == b"x\0"


def test_an_instruction_that_is_not_there_is_refused():
    """Not taken for another: who names one measures it."""
    code = """
import daxcore, errno
daxcore.Device.memory(4096).close()  # nothing is written back
try:
    daxcore.Device.memory(4096, emulate_pmem=True).close()
except daxcore.NotSupportedError:
    print("none")
except OSError as error:
    print(error.errno == errno.EINVAL, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DAXCORE_FLUSH": "sfence"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    need("flush", done.stdout != "none\n", "cache-line write-back of this CPU")
    assert done.stdout.startswith("True"), done.stdout
    assert "DAXCORE_FLUSH=sfence" in done.stdout and "clflushopt" in done.stdout
