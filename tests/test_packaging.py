# SPDX-License-Identifier: BSD-3-Clause
"""sdist, wheel from it, installed where the source tree is out of sight."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest
from conftest import ROOT, need_program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROGRAM = r"""
#include <daxcore.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    struct dax_mapping_attr attr = { sizeof(attr), 1 << 30 };
    struct dax_vma_attr range = { sizeof(range), 0, 1 << 30,
                                  DAX_VM_READ | DAX_VM_WRITE | DAX_VM_SHARED };
    struct dax_mapping *file;
    struct dax_device *dev;
    struct dax_vma *vma;
    char buf[6] = "";

    if (dax_device_memory(&dev, 1 << 20) || dax_mapping_new(&file, dev, &attr) ||
        dax_vma_new(&vma, file, &range))
        return fprintf(stderr, "%s\n", dax_errormsg()), 1;
    dax_vma_write(vma, "hello", 6, 4096, NULL);
    dax_mapping_pread(file, buf, 6, 4096);
    printf("%s %s %lld\n", dax_version(), buf,
           (long long)dax_vma_fault_range(vma, 512, 512, 0, NULL, 0, NULL));
    dax_vma_put(vma);
    dax_mapping_put(file);
    dax_device_put(dev);
    return strcmp(buf, "hello");
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
def elsewhere(dist, tmp_path_factory):
    """Directory of an environment with the wheel, and nothing of the tree."""
    place = tmp_path_factory.mktemp("elsewhere")
    venv.create(place / "venv", with_pip=True)
    [wheel] = dist.glob("*.whl")
    run(place / "venv/bin/pip", "install", "-q", wheel, cwd=place)
    return place


def python(place, *args):
    return run(place / "venv/bin/python", "-X", "dev", *args, cwd=place)


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
    names = zipfile.ZipFile(wheel).namelist()
    assert [n for n in names if "libdaxcore.so" in n] == ["daxcore/lib/libdaxcore.so.0"]
    for name in (
        "daxcore/include/daxcore.h",
        "daxcore/include/daxcore/types.h",
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
    modules = [n for n in zipfile.ZipFile(wheel).namelist() if n.endswith(".so")]
    assert len(modules) == 2
    assert all(".abi3" in name for name in modules)


def test_the_wheel_works_elsewhere(elsewhere):
    python(elsewhere, "-W", "error", "-c", SMOKE)


def test_the_command_is_installed(elsewhere):
    for command in (["venv/bin/daxcore"], ["venv/bin/python", "-m", "daxcore"]):
        help_text = run(*command, "--help", cwd=elsewhere)
        assert "bench" in help_text and "info" in help_text


def test_a_c_program_builds_against_the_wheel_and_runs(elsewhere):
    where = "import daxcore as d; print(d.get_include(), d.get_library_dir())"
    include, libdir = python(elsewhere, "-c", where).split()
    source = elsewhere / "program.c"
    source.write_text(PROGRAM)
    for compiler, standard in (("cc", "-std=c99"), ("g++", "-std=c++17")):
        need_program(compiler, "gcc" if compiler == "cc" else "g++")
        binary = elsewhere / compiler
        command = [compiler, standard, "-Wall", "-Wextra", "-Werror", "-I", include]
        command += ["-Wno-missing-field-initializers", "-x"]
        command += ["c" if compiler == "cc" else "c++", source, "-x", "none"]
        command += [f"{libdir}/libdaxcore.so.0", f"-Wl,-rpath,{libdir}", "-o", binary]
        run(*command, cwd=elsewhere)
        version, text, faults = run(binary, cwd=elsewhere).split()
        assert (text, faults) == ("hello", "1")
        assert (
            version
            == python(
                elsewhere, "-c", "import daxcore; print(daxcore.__version__)"
            ).strip()
        )


CYTHON = """
from daxcore._core cimport Mmap
from daxcore.libdaxcore cimport dax_vma_length

def length(Mmap m):
    return dax_vma_length(m._vma)
"""


def test_a_cython_module_cimports_the_wheel(elsewhere):
    run(
        elsewhere / "venv/bin/pip",
        "install",
        "-q",
        "cython",
        "setuptools",
        cwd=elsewhere,
    )
    (elsewhere / "ext.pyx").write_text(CYTHON)
    where = "import daxcore as d; print(d.get_include(), d.get_library_dir())"
    include, libdir = python(elsewhere, "-c", where).split()
    bin_dir = elsewhere / "venv/bin"
    run(bin_dir / "cython", "-3", "ext.pyx", cwd=elsewhere)
    paths = "import sysconfig as s; print(s.get_path('include'))"
    python_include = python(elsewhere, "-c", paths).strip()
    command = ["cc", "-shared", "-fPIC", "-I", include, "-I", python_include, "ext.c"]
    command += [f"{libdir}/libdaxcore.so.0", f"-Wl,-rpath,{libdir}", "-o", "ext.so"]
    run(*command, cwd=elsewhere)
    use = """
import daxcore, ext
with daxcore.Device.memory(4096) as dev, dev.create_file(4096) as file:
    with file.mmap() as m:
        print(ext.length(m))
"""
    assert python(elsewhere, "-c", use).strip() == "4096"
