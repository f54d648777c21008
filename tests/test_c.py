# SPDX-License-Identifier: BSD-3-Clause
"""The C test programs, one item per program and build.

Each is built with ASan and UBSan for both tree shifts; the stress programs
are also built with TSan.
"""

import re
import subprocess

import pytest
from conftest import ROOT, make_csrc

PROGRAMS = sorted(path.stem for path in ROOT.glob("tests/c/test_*.c"))
MEMORY, THREADS = "address,undefined", "thread"
RUNS = [(name, shift, MEMORY) for name in PROGRAMS for shift in (9, 3)]
RUNS += [(name, 9, THREADS) for name in PROGRAMS if name.startswith("test_stress_")]
TIME_LIMIT = 240  # seconds, for a program on a slow machine with sanitizers


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Return a function: shift and sanitizer -> directory of the programs."""
    directories = {}

    def build(shift, sanitizer):
        key = (shift, sanitizer)
        if key not in directories:
            directory = tmp_path_factory.mktemp(f"shift{shift}")
            target = "check-build" if sanitizer == MEMORY else "check-stress-build"
            make_csrc(directory, target, 550, SHIFT=shift, SANITIZE=sanitizer)
            directories[key] = directory
        return directories[key]

    return build


def tap_failures(output):
    """Lines that are not ok, and what the plan says is missing."""
    failures = re.findall(r"^not ok(?!.*# TODO).*", output, flags=re.M)
    plan = re.search(r"^1\.\.(\d+)", output, flags=re.M)
    run = len(re.findall(r"^(?:not )?ok\b", output, flags=re.M))
    if not plan:
        failures.append("no plan")
    elif int(plan[1]) != run:
        failures.append(f"plan says {plan[1]} tests, {run} ran")
    return failures


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("program", "shift", "sanitizer"), RUNS)
def test_program(built, program, shift, sanitizer):
    path = built(shift, sanitizer) / program
    done = subprocess.run([path], capture_output=True, text=True, timeout=TIME_LIMIT)
    if done.returncode == 77:
        reason = re.search(r"# SKIP (.*)", done.stdout, flags=re.I)
        pytest.skip(reason[1] if reason else f"{program} gave no reason")
    report = f"{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
    assert done.returncode == 0, report
    assert not tap_failures(done.stdout), report


def test_there_are_programs():
    assert PROGRAMS


def test_tap_failures_are_seen():
    assert tap_failures("1..2\nok 1\nok 2\n") == []
    assert tap_failures("1..2\nok 1\nnot ok 2 - why\n") == ["not ok 2 - why"]
    assert tap_failures("1..2\nok 1\n") == ["plan says 2 tests, 1 ran"]
    assert tap_failures("ok 1\n") == ["no plan"]
