# SPDX-License-Identifier: BSD-3-Clause
"""sdist, wheel from it, installed where the source tree is out of sight."""

import os
import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, need, need_program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROGRAM = r"""
#include <daxcore.h>
#include <stdio.h>

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, dax_errormsg());
    return 1;
}

/* A fault, a store, writeback, a truncate to one page. */
static int use(struct dax_mapping *file, struct dax_vma *vma)
{
    char buf[6] = "";
    long long faults = dax_vma_fault_range(vma, 512, 512, 0, NULL, 0, NULL);
    long long entries;

    if (faults < 0 || dax_vma_write(vma, "hello", 5, 4096, NULL) != 5)
        return fail("fault and store");
    entries = dax_mapping_writeback(file, 0, 8192);
    if (entries < 0 || dax_mapping_pread(file, buf, 5, 4096) != 5)
        return fail("writeback and read");
    if (dax_mapping_truncate(file, 4096))
        return fail("truncate");
    printf("%s %lld %s %lld %lld\n", dax_version(), faults, buf, entries,
           (long long)dax_vma_read(vma, buf, 1, 4096, NULL));
    return 0;
}

int main(void)
{
    struct dax_mapping_attr attr = { sizeof(attr), 1 << 30 };
    struct dax_vma_attr range = { sizeof(range), 0, 1 << 30,
                                  DAX_VM_READ | DAX_VM_WRITE | DAX_VM_SHARED };
    struct dax_mapping *file;
    struct dax_device *dev;
    struct dax_vma *vma;
    int failed;

    if (dax_device_memory(&dev, 1 << 20) || dax_mapping_new(&file, dev, &attr) ||
        dax_vma_new(&vma, file, &range))
        return fail("device, file and mapping");
    failed = use(file, vma);
    dax_vma_put(vma);
    dax_mapping_put(file);
    dax_device_put(dev);
    return failed;
}
"""

SMOKE = """
import pathlib, sys
import daxcore
from daxcore import capi

assert pathlib.Path(daxcore.__file__).is_relative_to(sys.prefix), daxcore.__file__
with daxcore.Device.memory(1 << 20) as dev, dev.create_file(1 << 30) as file:
    with file.mmap(pages="pte") as m:
        assert m.fault_range(0, 4096) == 4096
        assert len(set(m.pagemap(0, 4096))) == 1
        m.write(0, b"hello")
    assert file.pread(5, 0) == b"hello"
    assert capi.lib.dax_mapping_size(capi.from_object(file)) == file.size
"""


def run(*command, cwd, **env):
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | env
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Directory with an sdist and the wheel built FROM it."""
    need_program("cc", "gcc")
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, ROOT, cwd=out)
    return out


@pytest.fixture(scope="module")
def elsewhere(dist):
    """Directory of an environment with the wheel, and nothing of the tree.

    Every user may read it.
    """
    with tempfile.TemporaryDirectory(prefix="daxcore-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        venv.create(place / "venv", with_pip=True)
        [wheel] = dist.glob("*.whl")
        run(place / "venv/bin/pip", "install", "-q", wheel, cwd=place)
        yield place


@pytest.fixture(params=["self", "nobody"])
def user(request):
    """Words before a command: it runs as who runs the tests, or as nobody."""
    if request.param == "self":
        return []
    need("root", os.geteuid() == 0, "run as root: it becomes nobody")
    setpriv = need_program("setpriv", "util-linux")
    return [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"]


def python(place, *args, user=()):
    return run(*user, place / "venv/bin/python", "-X", "dev", *args, cwd=place)


def config(place, *options, user=()):
    """What daxcore-config of the wheel says."""
    return run(*user, place / "venv/bin/daxcore-config", *options, cwd=place).strip()


def test_the_sdist_has_what_a_build_needs(dist):
    [sdist] = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        names = {name.split("/", 1)[-1] for name in tar.getnames()}
    tracked = {
        str(path.relative_to(ROOT))
        for pattern in ("csrc/*.[ch]", "csrc/include/**/*.h", "daxcore/**/*.p[yx]*")
        for path in ROOT.glob(pattern)
        if "__pycache__" not in path.parts and "include" != path.parts[-2]
    }
    assert tracked <= names
    assert {"csrc/libdaxcore.map", "csrc/Makefile", "LICENSE", "setup.py"} <= names
    assert not [name for name in names if name.endswith((".so", ".so.0", ".o"))]


def test_the_wheel_has_one_library_and_no_source(dist):
    [wheel] = dist.glob("*.whl")
    archive = zipfile.ZipFile(wheel)
    names = archive.namelist()
    elf = sorted(n for n in names if archive.read(n).startswith(b"\x7fELF"))
    stems = [n.split(".")[0] for n in elf]
    assert stems == ["daxcore/_capi", "daxcore/_core", "daxcore/lib/libdaxcore"]
    assert elf[-1] == "daxcore/lib/libdaxcore.so.0"
    assert archive.read("daxcore/lib/libdaxcore.so") == b"INPUT(libdaxcore.so.0)\n"
    for name in (
        "daxcore/include/daxcore.h",
        "daxcore/include/daxcore/types.h",
        "daxcore/lib/pkgconfig/daxcore.pc",
        "daxcore/libdaxcore.pxd",
        "daxcore/_core.pxd",
        "daxcore/_core.pyi",
        "daxcore/py.typed",
        "daxcore/cli.py",
    ):
        assert name in names
    assert not [n for n in names if n.endswith((".c", ".pyx", ".o"))]
    assert not [n for n in names if n.startswith(("csrc", "tests", "benchmarks"))]
    assert "daxcore/bench/__init__.py" in names


def test_the_wheel_is_for_the_stable_abi(dist):
    import sysconfig

    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("a free-threaded Python has no stable ABI")
    [wheel] = dist.glob("*.whl")
    assert "-cp311-abi3-linux_" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    modules = [n for n in names if n.endswith(".so") and "/lib/" not in n]
    assert len(modules) == 2
    assert all(".abi3" in name for name in modules)


def test_the_wheel_works_elsewhere(elsewhere):
    python(elsewhere, "-W", "error", "-c", SMOKE)


def test_the_command_is_installed(elsewhere):
    for command in (["venv/bin/daxcore"], ["venv/bin/python", "-m", "daxcore"]):
        help_text = run(*command, "--help", cwd=elsewhere)
        assert "bench" in help_text and "info" in help_text


DIRECTORIES = "import daxcore as d; print(d.get_include(), d.get_library_dir())"


def test_config_says_where_the_wheel_is(elsewhere, user):
    include, libdir = python(elsewhere, "-c", DIRECTORIES).split()
    assert Path(include).is_relative_to(elsewhere / "venv")
    version = "import daxcore; print(daxcore.__version__)"
    says = {
        "--includedir": include,
        "--libdir": libdir,
        "--pkgconfigdir": f"{libdir}/pkgconfig",
        "--version": python(elsewhere, "-c", version).strip(),
        "--cflags": f"-I{include}",
        "--libs": f"-L{libdir} -Wl,-rpath,{libdir} -ldaxcore",
    }
    assert config(elsewhere, *says, user=user).splitlines() == [*says.values()]
    text = config(elsewhere, "--help", user=user)
    assert all(option in text for option in says)


@pytest.mark.parametrize("options", [[], ["--ldflags"], ["--lib"], ["daxcore"]])
def test_config_refuses_what_it_does_not_know(elsewhere, options):
    done = subprocess.run(
        [elsewhere / "venv/bin/daxcore-config", *options],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "daxcore-config: error: " in done.stderr
    assert all(option in done.stderr for option in options)


def flags_by_path(place):
    include, libdir = python(place, "-c", DIRECTORIES).split()
    return f"-I{include} {libdir}/libdaxcore.so.0 -Wl,-rpath,{libdir}"


def flags_by_config(place):
    return config(place, "--cflags", "--libs")


def flags_by_pkg_config(place):
    program = need_program("pkg-config", "pkgconf")
    path = config(place, "--pkgconfigdir")
    version = config(place, "--version")
    command = [program, "--cflags", "--libs", f"daxcore = {version}"]
    return run(*command, cwd=place, PKG_CONFIG_PATH=path)


@pytest.mark.parametrize(
    ("compiler", "package", "options"),
    [("cc", "gcc", ["-std=c99", "-xc"]), ("c++", "g++", ["-std=c++17", "-xc++"])],
    ids=["c", "c++"],
)
@pytest.mark.parametrize("flags", [flags_by_path, flags_by_config, flags_by_pkg_config])
def test_a_program_builds_against_the_wheel_and_runs(
    elsewhere, flags, compiler, package, options, user
):
    (elsewhere / "program").write_text(PROGRAM)
    command = [need_program(compiler, package), "-Wall", "-Wextra", "-Werror"]
    command += ["-Wno-missing-field-initializers", *options, "program", "-xnone"]
    command += [*shlex.split(flags(elsewhere)), "-o", "binary"]
    run(*command, cwd=elsewhere)
    said = run(*user, "./binary", cwd=elsewhere).split()
    assert said[:4] == [config(elsewhere, "--version"), "1", "hello", "1"]
    assert int(said[4]) < 0  # beyond the end


CYTHON = """
from daxcore._core cimport File, Mmap
from daxcore.libdaxcore cimport (
    dax_mapping_truncate,
    dax_mapping_writeback,
    dax_vma_fault_range,
    dax_vma_write,
)


def use(File file, Mmap m):
    cdef char *text = b"hello"
    with nogil:
        faults = dax_vma_fault_range(m._vma, 0, 1, 0, NULL, 0, NULL)
        stored = dax_vma_write(m._vma, text, 5, 4096, NULL)
        entries = dax_mapping_writeback(file._mapping, 0, 8192)
        failed = dax_mapping_truncate(file._mapping, 4096)
    return faults, stored, entries, failed
"""

BUILD_WITH_CYTHON = """
import sys
import daxcore
from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    name="mine",
    ext_modules=cythonize(eval(sys.argv[1]), language_level=3),
    script_args=["-q", "build_ext", "--inplace"],
)
"""

CFFI = """
from _mine_cffi import ffi, lib


def use(file, m):
    mapping = ffi.cast("struct dax_mapping *", file.c_address)
    vma = ffi.cast("struct dax_vma *", m.c_address)
    return (
        lib.dax_vma_fault_range(vma, 0, 1, 0, ffi.NULL, 0, ffi.NULL),
        lib.dax_vma_write(vma, b"hello", 5, 4096, ffi.NULL),
        lib.dax_mapping_writeback(mapping, 0, 8192),
        lib.dax_mapping_truncate(mapping, 4096),
    )
"""

BUILD_WITH_CFFI = """
import shlex
import subprocess
from cffi import FFI


def flags(option):
    return shlex.split(subprocess.check_output(["daxcore-config", option], text=True))


ffi = FFI()
ffi.cdef(
    "int64_t dax_vma_fault_range(struct dax_vma *, uint64_t, uint64_t, int,"
    "                            uint64_t *, size_t, struct dax_fault_info *);"
    "ssize_t dax_vma_write(struct dax_vma *, const void *, size_t, uint64_t,"
    "                      struct dax_fault_info *);"
    "int64_t dax_mapping_writeback(struct dax_mapping *, int64_t, uint64_t);"
    "int dax_mapping_truncate(struct dax_mapping *, int64_t);"
)
ffi.set_source(
    "_mine_cffi",
    "#include <daxcore.h>",
    extra_compile_args=flags("--cflags"),
    extra_link_args=flags("--libs"),
)
ffi.compile()
"""

USE = """
import importlib, sys
import daxcore

use = importlib.import_module(sys.argv[1]).use

with daxcore.Device.memory(1 << 20) as dev, dev.create_file(1 << 20) as file:
    with file.mmap(pages="pte") as m:
        print(*use(file, m), file.size)
with open("/proc/self/maps") as maps:
    assert len({line.split()[-1] for line in maps if "libdaxcore" in line}) == 1
"""


@pytest.fixture(scope="module")
def modules(elsewhere):
    """The directory of before, where modules in Cython and cffi have been built."""
    pip = [elsewhere / "venv/bin/pip", "install", "-q"]
    run(*pip, "cython", "setuptools", cwd=elsewhere)
    (elsewhere / "mine.pyx").write_text(CYTHON)
    (elsewhere / "mine_cffi.py").write_text(CFFI)
    (elsewhere / "use.py").write_text(USE)
    text = (ROOT / "docs/c.md").read_text()
    [example] = re.findall(r"```python\n(Extension.*?)```", text, re.DOTALL)
    interpreter = elsewhere / "venv/bin/python"
    path = f"{interpreter.parent}:{os.environ['PATH']}"
    run(interpreter, "-c", BUILD_WITH_CYTHON, example, cwd=elsewhere)
    run(interpreter, "-c", BUILD_WITH_CFFI, cwd=elsewhere, PATH=path)
    return elsewhere


@pytest.mark.parametrize("module", ["mine", "mine_cffi"], ids=["cython", "cffi"])
def test_a_module_builds_against_the_wheel_and_runs(modules, module, user):
    said = python(modules, "use.py", module, user=user)
    assert said.split() == ["1", "5", "1", "0", "4096"]
