# SPDX-License-Identifier: BSD-3-Clause
"""Build one libdaxcore.so.0 and the two Python modules that link to it.

The library is compiled once and linked by path into the Cython module
(daxcore._core) and the cffi module (daxcore._capi), which find it beside
themselves through an rpath.  Two copies of it would be two engines.

Environment:

DAXCORE_SANITIZE    address,undefined or thread: build the library with it
DAXCORE_DEBUG=1     no optimisation
DAXCORE_WERROR=1    warnings of the library's C code are errors
DAXCORE_COVERAGE=1  build the library for gcov
DAXCORE_ABI3=0      build for this Python only, not for the stable ABI
DAXCORE_TREE_SHIFT  fan-out shift of the radix tree: 9 (default) or 3
"""

import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
import tomllib
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).parent
SONAME = "libdaxcore.so.0"
HEADERS = ["daxcore.h", "daxcore/types.h"]
VERSION = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["version"]

# Says nothing of where it was built: the wheel is unpacked anywhere.
PKG_CONFIG = f"""\
prefix=${{pcfiledir}}/../..
includedir=${{prefix}}/include
libdir=${{prefix}}/lib

Name: daxcore
Description: A userspace DAX engine
Version: {VERSION}
Cflags: -I${{includedir}}
Libs: -L${{libdir}} -Wl,-rpath,${{libdir}} -ldaxcore
"""
# What -ldaxcore finds.  A symbolic link would become a second library in a wheel.
LINKER_SCRIPT = f"INPUT({SONAME})\n"

FLAGS = """
    -std=gnu11 -fPIC -g -pthread -fvisibility=hidden -ftls-model=initial-exec
    -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wshadow
""".split()
LINK_FLAGS = ["-pthread", "-Wl,-z,nodelete", "-Wl,-z,noexecstack", "-Wl,-z,relro"]


def knob(name):
    """Value of an environment knob; empty, 0 and unset are the same."""
    value = os.environ.get(f"DAXCORE_{name}", "")
    return "" if value == "0" else value


ABI3 = os.environ.get("DAXCORE_ABI3", "1") != "0" and not sysconfig.get_config_var(
    "Py_GIL_DISABLED"
)


def instrumentation():
    """Flags that both the compiler and the linker get."""
    flags = []
    if knob("SANITIZE"):
        flags += [f"-fsanitize={knob('SANITIZE')}", "-fno-omit-frame-pointer"]
    if knob("COVERAGE"):
        flags += ["--coverage"]
    return flags


def compile_flags():
    flags = [*FLAGS, "-O0" if knob("DEBUG") else "-O3", *instrumentation()]
    if knob("WERROR"):
        flags.append("-Werror")
    return flags + shlex.split(os.environ.get("CFLAGS", ""))


def macros():
    defined = [("DAX_VERSION", f'"{VERSION}"')]
    if knob("TREE_SHIFT"):
        defined.append(("DAX_TREE_SHIFT", knob("TREE_SHIFT")))
    return defined


def c_compiler():
    """Command line of the C compiler: $CC, or what Python was built with."""
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    words = shlex.split(command)
    return words if shutil.which(words[0]) else ["cc"]


def cffi_declarations():
    """Return the public header as cffi reads it: no directives, no attributes.

    System headers are replaced by empty ones, since cffi knows their types.
    """
    with tempfile.TemporaryDirectory() as empty:
        for name in ("stddef.h", "stdint.h", "sys/types.h"):
            path = Path(empty, name)
            path.parent.mkdir(exist_ok=True)
            path.touch()
        command = [*c_compiler(), "-E", "-P", "-nostdinc", "-DDAX_API=", "-I", empty]
        header = HERE / "csrc/include/daxcore.h"
        command += ["-I", str(header.parent), str(header)]
        return subprocess.check_output(command, text=True)


class BuildLibraryThenModules(build_ext):
    """Compile csrc/ to daxcore/lib/, then the modules against that file."""

    def run(self):
        self._package_files = {}
        library = self._build_library()
        for name in HEADERS:
            self._install(HERE / "csrc/include" / name, f"include/{name}")
        self._write("lib/libdaxcore.so", LINKER_SCRIPT)
        self._write("lib/pkgconfig/daxcore.pc", PKG_CONFIG)
        self._translate()
        for ext in self.extensions:
            ext.extra_objects = [library]
            ext.depends = [library]
            ext.extra_link_args = ["-Wl,-rpath,$ORIGIN/lib"]
        super().run()

    def _build_library(self):
        from setuptools._distutils.ccompiler import new_compiler

        cc = c_compiler()
        compiler = new_compiler(verbose=self.verbose, force=self.force)
        compiler.set_executables(compiler_so=cc, linker_so=[*cc, "-shared"])
        objects = compiler.compile(
            sorted(str(p.relative_to(HERE)) for p in HERE.glob("csrc/*.c")),
            output_dir=str(Path(self.build_temp, "libdaxcore")),
            macros=macros(),
            include_dirs=["csrc", "csrc/include"],
            extra_postargs=compile_flags(),
        )
        return self._link_library(compiler, objects)

    def _link_library(self, compiler, objects):
        target = self._built("lib/" + SONAME)
        target.parent.mkdir(parents=True, exist_ok=True)
        flags = [*LINK_FLAGS, f"-Wl,-soname,{SONAME}"]
        flags += ["-Wl,--version-script=csrc/libdaxcore.map", *instrumentation()]
        if not knob("SANITIZE"):  # a sanitizer's symbols come from the program
            flags.append("-Wl,-z,defs")
        flags += shlex.split(os.environ.get("LDFLAGS", ""))
        compiler.link_shared_object(objects, str(target), extra_postargs=flags)
        self._package_files[str(target)] = f"daxcore/lib/{SONAME}"
        return str(target)

    def _translate(self):
        """Generate the C of both modules into the build directory."""
        from Cython.Build import cythonize

        core, capi = self.extensions
        [translated] = cythonize(
            [Extension(core.name, ["daxcore/_core.pyx"])],
            build_dir=self.build_temp,
            include_path=["csrc/include"],
        )
        core.sources = translated.sources
        capi.sources = [self._emit_capi(capi.name)]

    def _emit_capi(self, name):
        from cffi import FFI

        source = Path(self.build_temp, "daxcore/_capi.c")
        source.parent.mkdir(parents=True, exist_ok=True)
        ffi = FFI()
        ffi.cdef(cffi_declarations())
        ffi.set_source(name, "#include <daxcore.h>")
        ffi.emit_c_code(str(source))
        return str(source)

    def _built(self, name):
        return Path(self.build_lib, "daxcore", name)

    def _install(self, source, name):
        target = self._built(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.copy_file(str(source), str(target))
        self._package_files[str(target)] = f"daxcore/{name}"

    def _write(self, name, text):
        target = self._built(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        self._package_files[str(target)] = f"daxcore/{name}"

    def copy_extensions_to_source(self):
        """Editable installs: put library and headers beside the modules."""
        super().copy_extensions_to_source()
        for built, inplace in self._package_files.items():
            Path(inplace).parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(built, inplace)

    def get_outputs(self):
        return [*super().get_outputs(), *getattr(self, "_package_files", {})]


def module(name, sources):
    defined = [("Py_LIMITED_API", "0x030b0000")] if ABI3 else []
    if not ABI3:
        defined.append(("_CFFI_NO_LIMITED_API", None))
    return Extension(
        name,
        sources,
        include_dirs=["csrc/include"],
        define_macros=defined,
        extra_compile_args=["-fvisibility=hidden"],
        py_limited_api=ABI3,
    )


setup(
    ext_modules=[
        module("daxcore._core", ["daxcore/_core.pyx"]),
        module("daxcore._capi", []),
    ],
    cmdclass={"build_ext": BuildLibraryThenModules},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {},
)
