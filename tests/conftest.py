# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures, and the rule for tests that need something of the machine.

A test that cannot run here skips with a reason that begins ``needs NAME:``.
``DAXCORE_REQUIRE=root,cc,...`` makes the skips of those names failures.
"""

import functools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import traceback
import warnings
from pathlib import Path

import pytest

import daxcore

MIB = 1 << 20
PAGE = daxcore.PAGE_SIZE
ROOT = Path(__file__).resolve().parent.parent

REQUIRED = set(filter(None, os.environ.get("DAXCORE_REQUIRE", "").split(",")))

# A shell starts what runs in its background with SIGINT ignored, and processes
# started here would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_BACKINGS = ["memory", "file"]
if os.environ.get("DAXCORE_TEST_DEVDAX"):
    _BACKINGS.append("devdax")


def need(name, present, how):
    """Skip unless `present`; the reason says what is missing and what helps."""
    if not present:
        pytest.skip(f"needs {name}: {how}")


@functools.cache
def _why_no_real_mapping():
    """Return None if backend="real" works here, else what the error says."""
    try:
        with daxcore.Device.memory(PAGE) as device, device.create_file(PAGE) as file:
            file.mmap(backend="real").close()
    except OSError as error:
        return str(error)
    return None


def need_real_mapping():
    """Skip unless there is userfaultfd(2) for this process."""
    why = _why_no_real_mapping()
    need("uffd", why is None, why)


def need_program(name, package):
    """Return the path of a program, or skip."""
    path = shutil.which(name)
    need(name, path, f"apt-get install {package}")
    return path


def need_compiler():
    need_program("make", "make")
    need_program("cc", "gcc")


def make_csrc(directory, target, timeout, **variables):
    """Build a target of csrc/Makefile in a directory, or skip."""
    need_compiler()
    words = [f"{name}={value}" for name, value in variables.items()]
    done = subprocess.run(
        ["make", "-C", ROOT / "csrc", f"-j{os.cpu_count()}", target,
         f"O={directory}", *words],
        capture_output=True,
        text=True,
        timeout=timeout,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-8000:]


def in_thread(function):
    """Start a thread; return it with a list that gets the result."""
    result = []

    def body():
        try:
            result.append(function())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    return thread, result


def in_child(function):
    """Run `function` in a forked child; its assertions count here."""
    with warnings.catch_warnings():  # of Python 3.12: there are other threads
        warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if not (report.skipped and isinstance(report.longrepr, tuple)):
        return
    reason = report.longrepr[2]
    match = re.search(r"needs ([\w+-]+)", reason)
    if match and match[1] in REQUIRED:
        report.outcome = "failed"
        report.longrepr = f"{reason}, and DAXCORE_REQUIRE names it"


@pytest.fixture(params=_BACKINGS)
def make_device(request, tmp_path):
    """Return a function that opens a device of a size on each backing."""
    devices = []

    def make(size=16 * MIB):
        if request.param == "memory":
            dev = daxcore.Device.memory(size)
        elif request.param == "file":
            path = tmp_path / f"device-{len(devices)}"
            dev = daxcore.Device.open(path, size=size, create=True)
        else:
            node = os.environ["DAXCORE_TEST_DEVDAX"]
            dev = daxcore.Device.open(node, overwrite=True)
        devices.append(dev)
        return dev

    yield make
    for dev in devices:
        dev.close()


@pytest.fixture
def device(make_device):
    """A device of 16 MiB, once in memory and once in a file."""
    return make_device()


@pytest.fixture
def memory():
    """A device of 16 MiB in memory, for what no backing changes."""
    with daxcore.Device.memory(16 * MIB) as dev:
        yield dev


@pytest.fixture
def small_tmpfs(tmp_path):
    """A file system of 1 MiB."""
    need("root", os.geteuid() == 0, "run as root: a small tmpfs is mounted")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path],
        capture_output=True,
    )
    need("root", mounted.returncode == 0, "allow mount(2)")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


@pytest.fixture(params=["disk", "tmpfs"])
def directory(request, tmp_path):
    """A directory on the disk, then one on the tmpfs of /dev/shm."""
    if request.param == "disk":
        yield tmp_path
        return
    shm = Path("/dev/shm")
    usable = shm.is_dir() and os.access(shm, os.W_OK)
    need("tmpfs", usable, "mount -t tmpfs tmpfs /dev/shm")
    room = shutil.disk_usage(shm).free
    need("tmpfs", room > 256 * MIB, "a /dev/shm with 256 MiB free")
    with tempfile.TemporaryDirectory(dir=shm, prefix="daxcore-") as name:
        yield Path(name)
