# SPDX-License-Identifier: BSD-3-Clause
"""``import daxcore`` is cheap, and its surface is what it says."""

import json
import subprocess
import sys

import pytest

import daxcore


def python(*args):
    done = subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done


def test_import_takes_nothing_heavy():
    code = "import sys, json, daxcore; print(json.dumps(sorted(sys.modules)))"
    modules = {name.split(".")[0] for name in json.loads(python("-c", code).stdout)}
    assert "daxcore" in modules
    assert not modules & {"numpy", "click", "rich", "cffi", "_cffi_backend"}


def test_import_takes_less_than_an_interpreter_start():
    """Median of 7 starts each; the import may double the bare start."""
    import statistics
    import time

    def median(code):
        times = []
        for _ in range(7):
            start = time.perf_counter()
            python("-c", code)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    assert median("import daxcore") < 2 * median("import os, enum, importlib") + 0.05


def test_calls_without_arrays_do_without_numpy():
    code = """
import sys, daxcore
with daxcore.Device.memory(1 << 20) as dev, dev.create_file(1 << 20) as file:
    with file.mmap() as m:
        m.write(0, b"x"); m.read(0, 1); m.fault(0); m.fault_range(0, 16); file.stats()
assert "numpy" not in sys.modules
"""
    python("-c", code)


def test_the_names_exist():
    for name in daxcore.__all__:
        assert hasattr(daxcore, name)
    assert set(daxcore.__all__) <= set(dir(daxcore))
    assert daxcore.capi.lib
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        daxcore.nothing  # noqa: B018


def test_examples_in_docstrings():
    import doctest

    for module in (daxcore._core, daxcore.capi):
        finder = doctest.DocTestFinder()
        runner = doctest.DocTestRunner()
        tests = [test for test in finder.find(module) if test.examples]
        assert tests
        for test in tests:
            assert runner.run(test).failed == 0
