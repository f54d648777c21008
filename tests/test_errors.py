# SPDX-License-Identifier: BSD-3-Clause
"""Bad input: the right exception, its words, and nothing changed."""

import errno
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from conftest import MIB, PAGE, need, need_program

import daxcore
from daxcore import Device, _errors, capi

MAX_SIZE = (1 << 63) - 4096
HUGE = 1 << 64
ENORMOUS = 10**6000  # has no decimal text by default


@pytest.fixture
def file(memory):
    with memory.create_file(64 * PAGE) as file:
        file.pwrite(b"content", 3 * PAGE)
        yield file


@pytest.fixture
def m(file):
    with file.mmap(offset=2 * PAGE, length=32 * PAGE, pages="pte") as m:
        m.fault(5)
        yield m


def state(file):
    """All that a refused call must leave as it was."""
    dev = file.device
    return (
        dev.size,
        dev.free_bytes,
        dev.alive,
        file.size,
        file.entries().tolist(),
        file.extents().tolist(),
        file.stats(),
        file.pread(file.size, 0),
    )


def refused(kind, words, call, *args, **kwargs):
    """`call` raises exactly `kind`, and its text holds each of `words`."""
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    assert type(caught.value) is kind
    for word in words:
        assert str(word) in str(caught.value)
    return caught.value


WRONG_TYPES = [None, "1", 1.0, b"1", [1], np.float64(1), 1j, object()]


# ---- numbers -------------------------------------------------------------

NUMBERS = {  # argument: (call, its other arguments are in range)
    "Device.memory size": ("size", lambda f, m, n: Device.memory(n)),
    "create_file size": ("size", lambda f, m, n: f.device.create_file(n)),
    "mmap offset": ("offset", lambda f, m, n: f.mmap(offset=n)),
    "pread nbytes": ("nbytes", lambda f, m, n: f.pread(n, 0)),
    "pread offset": ("offset", lambda f, m, n: f.pread(1, n)),
    "pwrite offset": ("offset", lambda f, m, n: f.pwrite(b"x", n)),
    "truncate size": ("size", lambda f, m, n: f.truncate(n)),
    "fallocate offset": ("offset", lambda f, m, n: f.fallocate(n, 1)),
    "fallocate nbytes": ("nbytes", lambda f, m, n: f.fallocate(0, n)),
    "punch_hole offset": ("offset", lambda f, m, n: f.punch_hole(n, 1)),
    "punch_hole nbytes": ("nbytes", lambda f, m, n: f.punch_hole(0, n)),
    "trace events": ("events", lambda f, m, n: f.trace(n)),
    "read offset": ("offset", lambda f, m, n: m.read(n, 1)),
    "read nbytes": ("nbytes", lambda f, m, n: m.read(0, n)),
    "write offset": ("offset", lambda f, m, n: m.write(n, b"x")),
    "fault pgoff": ("pgoff", lambda f, m, n: m.fault(n)),
    "fault_range pgoff": ("pgoff", lambda f, m, n: m.fault_range(n, 1)),
    "fault_range npages": ("npages", lambda f, m, n: m.fault_range(2, n)),
    "dontneed offset": ("offset", lambda f, m, n: m.dontneed(n)),
}
OPTIONAL_NUMBERS = {
    "mmap length": ("length", lambda f, m, n: f.mmap(length=n)),
    "dontneed length": ("length", lambda f, m, n: m.dontneed(0, n)),
    "pagemap pgoff": ("pgoff", lambda f, m, n: m.pagemap(n)),
    "pagemap npages": ("npages", lambda f, m, n: m.pagemap(2, n)),
}
ALL_NUMBERS = NUMBERS | OPTIONAL_NUMBERS


@pytest.mark.parametrize("case", ALL_NUMBERS)
def test_negative_numbers(file, m, case):
    name, call = ALL_NUMBERS[case]
    before = state(file)
    for n in (-1, -PAGE, -(1 << 63), -HUGE):
        refused(ValueError, [name, n, "negative"], call, file, m, n)
    refused(ValueError, [name, "bits"], call, file, m, -ENORMOUS)
    assert state(file) == before


@pytest.mark.parametrize("case", ALL_NUMBERS)
def test_numbers_that_do_not_fit(file, m, case):
    name, call = ALL_NUMBERS[case]
    before = state(file)
    refused(OverflowError, [name, HUGE], call, file, m, HUGE)
    refused(OverflowError, [name, "bits"], call, file, m, ENORMOUS)
    assert state(file) == before


@pytest.mark.parametrize("case", ALL_NUMBERS)
@pytest.mark.parametrize("value", WRONG_TYPES, ids=repr)
def test_things_that_are_no_integers(file, m, case, value):
    name, call = ALL_NUMBERS[case]
    if value is None and case in OPTIONAL_NUMBERS:
        return
    before = state(file)
    words = [name, "integer", type(value).__name__]
    refused(TypeError, words, call, file, m, value)
    assert state(file) == before


@pytest.mark.parametrize("case", ALL_NUMBERS)
def test_the_largest_numbers_are_refused_or_harmless(file, m, case):
    _, call = ALL_NUMBERS[case]
    for n in (HUGE - 1, HUGE - PAGE, (1 << 63) - 1, 1 << 63, MAX_SIZE + PAGE - 1):
        try:
            result = call(file, m, n)
        except (OSError, ValueError, OverflowError, MemoryError):
            continue
        if hasattr(result, "close"):
            result.close()
    assert file.pread(7, 3 * PAGE) in (b"content", bytes(7), b"")
    assert m.fault(5) & daxcore.FaultResult.NOPAGE


def test_integers_of_other_kinds_are_taken(memory):
    class Index:
        def __index__(self):
            return PAGE

    for n in (Index(), np.int32(PAGE), np.uint64(PAGE)):
        with memory.create_file(n) as file:
            assert file.size == PAGE


def test_an_argument_that_closes_the_object(memory):
    """__index__ may run any code, even close()."""

    class Closing:
        def __init__(self, obj):
            self.obj = obj

        def __index__(self):
            self.obj.close()
            return 1

    with memory.create_file(PAGE) as file:
        m = file.mmap()
        refused(ValueError, ["Mmap is closed"], m.read, 0, Closing(m))
        other = memory.create_file(PAGE)
        refused(ValueError, ["File is closed"], other.pread, Closing(other), 0)
    dev = Device.memory(PAGE)
    refused(ValueError, ["Device is closed"], dev.create_file, Closing(dev))


# ---- rules ---------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 4095, 4097, PAGE * 3 + 1])
def test_unaligned_device_sizes(tmp_path, size):
    refused(ValueError, ["size", size, PAGE], Device.memory, size)
    path = tmp_path / "device"
    refused(ValueError, ["size", size, PAGE], Device.open, path, size, create=True)
    assert not path.exists()


def test_empty_devices(tmp_path):
    refused(ValueError, ["size", "greater than 0"], Device.memory, 0)
    path = tmp_path / "device"
    refused(ValueError, ["size"], Device.open, path, 0, create=True)
    error = refused(OSError, ["size"], Device.open, path, create=True)
    assert error.errno == errno.EINVAL
    assert not path.exists()


def test_devices_larger_than_an_address_space(tmp_path):
    for size in (1 << 48, MAX_SIZE):
        with pytest.raises((OSError, MemoryError)):
            Device.memory(size)
        path = tmp_path / "device"
        with pytest.raises((OSError, MemoryError)):
            Device.open(path, size, create=True)
        assert not path.exists()


def test_unaligned_offsets(file, m):
    before = state(file)
    for offset in (1, 4095, PAGE + 8):
        refused(ValueError, ["offset", offset, PAGE], file.mmap, offset)
        refused(ValueError, ["offset", offset, PAGE], m.dontneed, offset)
    assert state(file) == before


def test_ranges_that_leave_the_mapping(file, m):
    before = state(file)
    size = m.length
    for offset, nbytes in ((0, size + 1), (size, 1), (size + 1, 0), (1, HUGE - 1)):
        refused(ValueError, [offset, nbytes, size], m.read, offset, nbytes)
    refused(ValueError, [size], m.write, size - 1, b"xy")
    refused(ValueError, [size], m.write, HUGE - 1, b"")
    for pgoff, npages in ((1, 1), (34, 1), (2, 33), (HUGE - 1, 1), (3, HUGE - 1)):
        refused(ValueError, [pgoff, "pages 2 to 33"], m.fault_range, pgoff, npages)
        refused(ValueError, [pgoff, "pages 2 to 33"], m.pagemap, pgoff, npages)
    refused(ValueError, ["34"], m.fault, 34)
    refused(ValueError, ["1"], m.fault_many, [2, 3, 1])
    refused(ValueError, ["34"], m.fault_many, np.array([2, 34]))
    refused(ValueError, ["offset"], m.dontneed, 33 * PAGE)
    refused(ValueError, ["offset"], m.dontneed, PAGE, 32 * PAGE)
    assert state(file) == before


def test_nothing_of_the_file_to_map(file):
    refused(ValueError, ["offset", "give length"], file.mmap, 64 * PAGE)
    refused(ValueError, ["length", "greater than 0"], file.mmap, length=0)
    with file.device.create_file(0) as empty:
        refused(ValueError, ["offset", "give length"], empty.mmap)


def test_mappings_longer_than_an_address_space(file):
    for length in (1 << 48, MAX_SIZE, (1 << 63) - 1):
        with pytest.raises((OSError, MemoryError)):
            file.mmap(length=length)
    with pytest.raises(OSError) as caught:
        file.mmap(offset=MAX_SIZE - PAGE, length=2 * PAGE)
    assert caught.value.errno == errno.EOVERFLOW


def test_file_sizes_beyond_the_limit(file):
    before = state(file)
    n = MAX_SIZE + 1
    refused(ValueError, ["size", n, MAX_SIZE], file.device.create_file, n)
    assert refused(OSError, [], file.truncate, n).errno == errno.EFBIG
    assert refused(OSError, [], file.pwrite, b"x", n).errno == errno.EFBIG
    assert refused(OSError, [], file.fallocate, n, 1).errno == errno.EFBIG
    assert state(file) == before


def test_empty_ranges(file):
    refused(ValueError, ["nbytes", "greater than 0"], file.fallocate, 0, 0)
    refused(ValueError, ["nbytes", "greater than 0"], file.punch_hole, 0, 0)


def test_words_that_are_not_known(file):
    create = file.device.create_file
    for name, call in {
        "policy": lambda word: create(PAGE, policy=word),
        "page_pool": lambda word: create(PAGE, page_pool=word),
        "access": lambda word: file.mmap(access=word),
        "backend": lambda word: file.mmap(backend=word),
        "pages": lambda word: file.mmap(pages=word),
    }.items():
        refused(ValueError, [name, "must be one of", "'zero'"], call, "zero")
        refused(TypeError, [name, "string", "int"], call, 7)
        refused(TypeError, [name, "string", "NoneType"], call, None)


def test_data_that_is_no_buffer(file, m):
    before = state(file)
    for data in ("text", 7, None, [1, 2]):
        with pytest.raises(TypeError, match="bytes-like"):
            file.pwrite(data, 0)
        with pytest.raises(TypeError, match="bytes-like"):
            m.write(0, data)
    for data in (memoryview(b"abcdef")[::2], np.zeros((4, 4))[:, 1]):
        with pytest.raises((BufferError, ValueError), match="contiguous"):
            file.pwrite(data, 0)
        with pytest.raises((BufferError, ValueError), match="contiguous"):
            m.write(0, data)
    assert state(file) == before


@pytest.mark.parametrize(
    ("pages", "kind"),
    [
        ([2.0, 3.0], TypeError),
        (np.array([2.0]), TypeError),
        (["2"], TypeError),
        ("2", TypeError),
        ([None], TypeError),
        (None, TypeError),
        ([True, False], TypeError),
        ([[2], [3, 4]], (TypeError, ValueError)),
        ([2, -1], ValueError),
        (np.array([-1], dtype=np.int8), ValueError),
        ([HUGE], OverflowError),
        ([2, HUGE], OverflowError),
        ([-HUGE], ValueError),
    ],
    ids=repr,
)
def test_lists_of_pages_that_are_none(file, m, pages, kind):
    before = state(file)
    with pytest.raises(kind):
        m.fault_many(pages)
    assert state(file) == before


def test_reading_more_than_there_is_memory(memory):
    with memory.create_file(1 << 50) as file:
        with file.mmap(length=1 << 46) as m:
            with pytest.raises(MemoryError):
                m.read(0, 1 << 46)
            with pytest.raises(MemoryError):
                m.fault_range(0, 1 << 34, latencies=True)
        with pytest.raises(MemoryError):
            file.pread(1 << 50, 0)
        assert len(file.entries()) == 0


# ---- closed objects ------------------------------------------------------

CLOSED = {
    "Device": [
        lambda d: d.create_file(1),
        lambda d: d.kill(),
        lambda d: d.size,
        lambda d: d.page_size,
        lambda d: d.alignment,
        lambda d: d.free_bytes,
        lambda d: d.alive,
        lambda d: d.readonly,
        lambda d: d.c_address,
        lambda d: d.__enter__(),
        lambda d: capi.from_object(d),
    ],
    "File": [
        lambda f: f.mmap(),
        lambda f: f.pread(1, 0),
        lambda f: f.pwrite(b"x", 0),
        lambda f: f.truncate(0),
        lambda f: f.fallocate(0, 1),
        lambda f: f.punch_hole(0, 1),
        lambda f: f.entries(),
        lambda f: f.extents(),
        lambda f: f.stats(),
        lambda f: f.size,
        lambda f: f.c_address,
        lambda f: f.__enter__(),
        lambda f: capi.from_object(f),
    ],
    "Mmap": [
        lambda m: m.read(0, 1),
        lambda m: m.write(0, b"x"),
        lambda m: m.fault(0),
        lambda m: m.fault_range(0, 1),
        lambda m: m.fault_many([0]),
        lambda m: m.fault_many([]),
        lambda m: m.dontneed(),
        lambda m: m.pagemap(),
        lambda m: m.c_address,
        lambda m: m.__enter__(),
        lambda m: capi.from_object(m),
    ],
}


@pytest.mark.parametrize("name", CLOSED)
def test_closed_objects(name):
    with Device.memory(PAGE) as dev, dev.create_file(PAGE) as file, file.mmap() as m:
        pass
    obj = {"Device": dev, "File": file, "Mmap": m}[name]
    assert obj.closed
    for call in CLOSED[name]:
        refused(ValueError, [f"{name} is closed"], call, obj)
    obj.close()


# ---- paths ---------------------------------------------------------------


def test_a_missing_file(tmp_path):
    path = tmp_path / "missing"
    error = refused(FileNotFoundError, [path], Device.open, path)
    assert error.filename == str(path)
    refused(FileNotFoundError, [path], Device.open, path, overwrite=True)
    nowhere = tmp_path / "no" / "where"
    refused(FileNotFoundError, [nowhere], Device.open, nowhere, PAGE, create=True)
    assert list(tmp_path.iterdir()) == []


def test_a_directory(tmp_path):
    for flags in ({}, {"overwrite": True}):
        refused(IsADirectoryError, [tmp_path], Device.open, tmp_path, **flags)
    with pytest.raises((IsADirectoryError, FileExistsError)):
        Device.open(tmp_path, PAGE, create=True)


def test_a_file_that_exists(tmp_path):
    path = tmp_path / "precious"
    path.write_bytes(b"data" * 1024)
    refused(FileExistsError, [path], Device.open, path, PAGE, create=True)
    assert path.read_bytes() == b"data" * 1024


def test_an_empty_file(tmp_path):
    path = tmp_path / "empty"
    path.touch()
    for flags in ({}, {"overwrite": True}):
        error = refused(OSError, [path], Device.open, path, **flags)
        assert error.errno == errno.EINVAL
    assert path.stat().st_size == 0


def test_a_file_whose_size_is_no_multiple_of_a_page(tmp_path):
    path = tmp_path / "odd"
    path.write_bytes(b"x" * 5000)
    for flags in ({}, {"overwrite": True}):
        error = refused(OSError, [path, 5000, PAGE], Device.open, path, **flags)
        assert error.errno == errno.EINVAL
    assert path.read_bytes() == b"x" * 5000


def test_a_readonly_device_does_not_grow(tmp_path):
    path = tmp_path / "small"
    path.write_bytes(b"x" * PAGE)
    error = refused(OSError, [path], Device.open, path, 2 * PAGE)
    assert error.errno == errno.EINVAL
    assert path.stat().st_size == PAGE


def test_neither_file_nor_node(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    sock = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(sock))
        for path in (fifo, sock, "/dev/null", "/dev/zero"):
            for flags in ({}, {"overwrite": True}):
                with pytest.raises(OSError) as caught:
                    Device.open(path, **flags)
                assert caught.value.errno in (errno.ENODEV, errno.ENXIO)


def test_paths_that_are_none(tmp_path):
    refused(TypeError, [], Device.open, 7)
    refused(TypeError, [], Device.open, None)
    refused(ValueError, ["null byte"], Device.open, "a\0b")
    refused(FileNotFoundError, [], Device.open, "")
    error = refused(OSError, [], Device.open, tmp_path / ("x" * 300), PAGE, create=True)
    assert error.errno == errno.ENAMETOOLONG


def test_a_link_to_nothing(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nothing")
    refused(FileNotFoundError, [link], Device.open, link)
    with pytest.raises(OSError):
        Device.open(link, PAGE, create=True)
    assert not (tmp_path / "nothing").exists()


def test_already_open_in_this_process(tmp_path):
    path = tmp_path / "device"
    link = tmp_path / "link"
    with Device.open(path, MIB, create=True) as dev, dev.create_file(PAGE) as file:
        file.pwrite(b"kept", 0)
        link.hardlink_to(path)
        for name in (path, link):
            for flags in ({}, {"overwrite": True}):
                error = refused(OSError, [name], Device.open, name, **flags)
                assert error.errno == errno.EBUSY
        assert file.pread(4, 0) == b"kept"


def run_python(code, *args, prefix=()):
    """Run Python code elsewhere; return what it printed, parsed."""
    done = subprocess.run(
        [*prefix, sys.executable, "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


OPEN = """
import json, sys, daxcore
try:
    daxcore.Device.open(sys.argv[1], **json.loads(sys.argv[2])).close()
    print(json.dumps(["opened", 0, ""]))
except OSError as e:
    print(json.dumps([type(e).__name__, e.errno, str(e)]))
"""


def test_already_open_in_another_process(tmp_path):
    path = tmp_path / "device"
    with Device.open(path, MIB, create=True):
        for flags in ("{}", '{"overwrite": true}'):
            _, code, text = run_python(OPEN, path, flags)
            assert code == errno.EBUSY
            assert str(path) in text
            assert f"process {os.getpid()}" in text
    assert run_python(OPEN, path, "{}")[0] == "opened"


def test_a_file_without_permission(tmp_path):
    """Even root is refused, once the capability to override is gone."""
    need("root", os.geteuid() == 0, "run as root, to drop its capabilities")
    setpriv = need_program("setpriv", "util-linux")
    weak = [setpriv, "--bounding-set=-all", "--inh-caps=-all"]
    path = tmp_path / "device"
    path.write_bytes(b"x" * PAGE)
    path.chmod(0o444)
    assert run_python(OPEN, path, "{}", prefix=weak)[0] == "opened"
    name, code, text = run_python(OPEN, path, '{"overwrite": true}', prefix=weak)
    assert (name, code) == ("PermissionError", errno.EACCES)
    assert str(path) in text
    path.chmod(0)
    name, code, _ = run_python(OPEN, path, "{}", prefix=weak)
    assert (name, code) == ("PermissionError", errno.EACCES)
    tmp_path.chmod(0o555)
    flags = '{"size": 4096, "create": true}'
    name, code, _ = run_python(OPEN, tmp_path / "new", flags, prefix=weak)
    assert (name, code) == ("PermissionError", errno.EACCES)
    assert path.read_bytes() == b"x" * PAGE
    assert list(tmp_path.iterdir()) == [path]


READONLY_MOUNT = """
mount -t tmpfs none "$0" && head -c 4096 /dev/zero > "$0/file" &&
mount -o remount,ro "$0" && exec "$@"
"""


def test_a_file_of_a_readonly_file_system(tmp_path):
    unshare = need_program("unshare", "util-linux")
    mount = [unshare, "--mount", "sh", "-c", READONLY_MOUNT, tmp_path]
    probe = subprocess.run([*mount, "true"], capture_output=True)
    need("mount", probe.returncode == 0, "run as root with CAP_SYS_ADMIN")
    for flags in ('{"overwrite": true}', '{"size": 4096, "create": true}'):
        path = tmp_path / ("new" if "create" in flags else "file")
        _, code, text = run_python(OPEN, path, flags, prefix=mount)
        assert code == errno.EROFS
        assert str(path) in text
    assert run_python(OPEN, tmp_path / "file", "{}", prefix=mount)[0] == "opened"


def test_no_descriptors_left():
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(OSError) as caught:
            Device.memory(PAGE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == errno.EMFILE


# ---- block maps ----------------------------------------------------------


def test_block_maps_that_are_none(memory):
    class PythonMap:
        def begin(self, pos, length, flags):
            raise AssertionError

        end = begin

    words = ["PythonMap", "daxcore.BlockMap"]
    refused(TypeError, words, memory.create_file, PAGE, iomap=PythonMap())
    ops = capi.ffi.new("struct dax_iomap_ops *")
    wrong = [
        7,
        "ops",
        object(),
        (ops,),
        (ops, 7),
        (ops, ops, ops),
        capi.ffi.new("int *"),
    ]
    for iomap in wrong:
        refused(TypeError, ["iomap"], memory.create_file, PAGE, iomap=iomap)
    null = capi.ffi.cast("struct dax_iomap_ops *", 0)
    refused(ValueError, ["iomap", "NULL"], memory.create_file, PAGE, iomap=null)
    error = refused(OSError, [], memory.create_file, PAGE, iomap=ops)
    assert error.errno == errno.EINVAL
    ops.struct_size = capi.ffi.sizeof(ops[0])
    error = refused(OSError, ["iomap_begin"], memory.create_file, PAGE, iomap=ops)
    assert error.errno == errno.EINVAL


# ---- the table -----------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOENT, FileNotFoundError),
        (errno.EACCES, PermissionError),
        (errno.EINVAL, OSError),
        (errno.ENOSPC, OSError),
        (errno.ENOMEM, MemoryError),
        (_errors.EHWPOISON, daxcore.PoisonError),
        (errno.EOPNOTSUPP, daxcore.NotSupportedError),
        (errno.EAGAIN, daxcore.EntryLockedError),
        (errno.ESTALE, daxcore.ForkError),
    ],
)
def test_errno_to_exception(code, kind):
    error = refused(kind, [], capi.check, -code)
    if kind is not MemoryError:
        assert error.errno == code
        error = refused(kind, ["where"], _errors.check, -code, "where")
        assert error.filename == "where"


def test_check_lets_counts_pass():
    assert [capi.check(n) for n in (0, 1, 1 << 40)] == [0, 1, 1 << 40]


@pytest.mark.parametrize(
    ("bits", "code", "kind"),
    [
        (daxcore.FaultResult.SIGBUS, errno.ENOSPC, daxcore.FaultError),
        (daxcore.FaultResult.SIGBUS, _errors.EHWPOISON, daxcore.PoisonError),
        (daxcore.FaultResult.FALLBACK, errno.EAGAIN, daxcore.FaultError),
        (daxcore.FaultResult.OOM, errno.ENOMEM, MemoryError),
        (daxcore.FaultResult.NOPAGE, errno.EACCES, PermissionError),
        (daxcore.FaultResult(0), errno.ESTALE, daxcore.ForkError),
    ],
)
def test_fault_to_exception(bits, code, kind):
    info = capi.ffi.new("struct dax_fault_info *")
    info.fault, info.error, info.offset = int(bits), -code, 12288
    info.reason = capi.lib.DAX_FALLBACK_EOF
    error = refused(kind, [], capi.check, -code, info)
    if kind is daxcore.FaultError:
        assert (error.errno, error.fault, error.offset) == (code, bits, 12288)
        assert error.reason == "eof"
        assert "12288" in str(error)


def test_every_error_is_an_oserror():
    for name in _errors.__all__:
        kind = getattr(_errors, name)
        if isinstance(kind, type):
            assert issubclass(kind, OSError)
            assert getattr(daxcore, name) is kind
    assert issubclass(daxcore.EntryLockedError, BlockingIOError)
