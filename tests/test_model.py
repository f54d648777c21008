# SPDX-License-Identifier: BSD-3-Clause
"""The state machines of tests/model, each configuration in a process of its own.

The processes are started with a library that has the invariants inside
(tests/c/model_lib.c) in the place of the real one.  A red run repeats: the seed
is fixed.  DAXCORE_HYPOTHESIS=expensive runs twenty times as much, from new seeds.
"""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT, make_csrc, need_real_mapping

import daxcore

EXPENSIVE = os.environ.get("DAXCORE_HYPOTHESIS") == "expensive"
TIME_LIMIT = 6000 if EXPENSIVE else 300  # seconds
STEPS = 10_000
REAL_STEPS = 4_000

MACHINES = [
    ("tree",),
    ("files", "zero-page", "pmd", "extent_map"),
    ("files", "zero-page", "pte", "extent_map"),
    ("files", "page-cache", "pmd", "extent_map"),
    ("files", "page-cache", "pte", "extent_map"),
]
if hasattr(daxcore, "open"):
    MACHINES += [
        ("files", "zero-page", "pmd", "sparse_file"),
        ("files", "zero-page", "pte", "sparse_file"),
    ]
# Real mappings, with a delivery: of a sparse file, and of files that clone.
REAL_MACHINES = [
    (("files", "zero-page", "pmd", "sparse_file", "thread"), 9),
    (("files", "zero-page", "pmd", "sparse_file", "signal"), 3),
    (("files", "zero-page", "pte", "sparse_file", "thread"), 3),
    (("files", "zero-page", "pte", "sparse_file", "signal"), 9),
    (("files", "zero-page", "pmd", "extent_map", "signal"), 9),
    (("files", "zero-page", "pmd", "extent_map", "thread"), 3),
]
RUNS = [(machine, shift) for machine in MACHINES for shift in (9, 3)]
RUNS += REAL_MACHINES


@pytest.fixture(scope="session")
def checker(tmp_path_factory):
    """Return a function: tree shift -> library that checks itself."""
    libraries = {}

    def build(shift):
        if shift not in libraries:
            directory = tmp_path_factory.mktemp(f"model{shift}")
            make_csrc(directory, "model-lib", 250, SHIFT=shift)
            libraries[shift] = directory / "libdaxcore.so.0"
        return libraries[shift]

    return build


def run(library, *command):
    return subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"LD_PRELOAD": str(library)},
        cwd=ROOT / "tests/model",
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
    )


@pytest.mark.timeout(TIME_LIMIT + 300)
@pytest.mark.parametrize(("machine", "shift"), RUNS, ids=str)
def test_state_machine(checker, machine, shift):
    real = (machine, shift) in REAL_MACHINES
    if real:
        need_real_mapping()
    done = run(checker(shift), "run.py", *machine)
    assert done.returncode == 0, f"{done.stderr[-12000:]}\n{done.stdout[-4000:]}"
    happened = json.loads(done.stdout.splitlines()[-1])
    print(happened)
    assert happened["steps"] >= (REAL_STEPS if real else STEPS)
    assert not happened["missing"]
    assert happened["tree_shift"] == shift


CHECK_ONE_FILE = """
import daxcore
from library import LIBRARY as library
with daxcore.Device.memory(1 << 20) as device, device.create_file(1 << 16) as file:
    with file.mmap() as m:
        m.write(0, b"x")
        m.fault(5)
        library.holds(library.check(file.c_address))
        library.holds(library.check_after_fsync(file.c_address, 1, 15))
        print("so far")
        library.holds(library.check_after_fsync(file.c_address, 0, 0))
"""


def test_the_checker_sees_the_objects_of_this_process(checker):
    """A page that was stored to is dirty, and its leaf writable: no fsync was."""
    done = run(checker(9), "-c", CHECK_ONE_FILE)
    assert done.returncode == 1
    assert "AssertionError: # " in done.stderr and "invariants.h:" in done.stderr
    assert done.stdout == "so far\n"
