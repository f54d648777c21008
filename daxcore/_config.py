# SPDX-License-Identifier: BSD-3-Clause
"""The ``daxcore-config`` command: what a compiler and a linker must be told."""

import argparse
import os
import shlex

from . import __version__, get_include, get_library_dir


def main():
    """Print what is asked for, a line each, in the order of the options."""
    parser = argparse.ArgumentParser(
        prog="daxcore-config",
        description="What it takes to build programs that use libdaxcore.",
        allow_abbrev=False,
    )
    for option, answer, text in _answers():
        parser.add_argument(
            option, dest="asked", action="append_const", const=answer, help=text
        )
    asked = parser.parse_args().asked
    if not asked:
        parser.error("no option is given")
    print("\n".join(asked))


def _answers():
    """Flags are quoted as a shell or a makefile reads them, directories are not."""
    include, lib = get_include(), get_library_dir()
    libs = [f"-L{lib}", f"-Wl,-rpath,{lib}", "-ldaxcore"]
    return [
        ("--cflags", shlex.join([f"-I{include}"]), "flags of the compiler"),
        ("--libs", shlex.join(libs), "flags of the linker, behind the sources"),
        ("--version", __version__, "version of the library"),
        ("--includedir", include, "directory of daxcore.h"),
        ("--libdir", lib, "directory of libdaxcore.so.0"),
        ("--pkgconfigdir", os.path.join(lib, "pkgconfig"), "directory of daxcore.pc"),
    ]
