# SPDX-License-Identifier: BSD-3-Clause
"""benchmarks/ builds and runs; what it measures is judged by gates.py."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import need, need_compiler, need_program, need_real_mapping

import daxcore
from daxcore.bench import machine

TOP = Path(__file__).resolve().parent.parent
BENCHMARKS = TOP / "benchmarks"
LIBRARY = Path(daxcore.get_library_dir(), "libdaxcore.so.0")

pytestmark = [
    pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="needs the source tree"),
    pytest.mark.skipif(
        any(os.environ.get(f"DAXCORE_{k}") for k in ("SANITIZE", "COVERAGE")),
        reason="an instrumented library does not link into the loops",
    ),
]


@pytest.fixture(scope="module", autouse=True)
def compiler():
    need_compiler()


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmarks")
    command = ["make", "-s", "-C", BENCHMARKS / "c"]
    command += [f"BUILD={folder}", f"LIB={LIBRARY}", "CFLAGS=-O1"]
    subprocess.run(command, check=True, timeout=100)
    return folder


def output(*command):
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_bench_fault_program(build):
    data = output(build / "bench_fault", "--pages", "1024", "--rounds", "2")
    for order in ("seq", "random"):
        results = data["order"][order]
        assert results["zero-page"]["faults"] == 1024
        assert results["zero-page 2 MiB"]["faults"] == 2
        assert results["zero-page"]["page_cache_bytes"] == 0
        assert results["page-cache warm"]["page_cache_bytes"] == 1024 * 4096
        assert results["floor"]["of_floor"] == 1


def test_loops_load_beside_each_other(build):
    """As make gates has them: all of them in one process, with the library."""
    names = ["fault", "tree", "writeback", "rw", "real"]
    paths = [str(build / f"libbench_{name}.so") for name in names]
    code = "import ctypes, sys, daxcore\nfor path in sys.argv[1:]: ctypes.CDLL(path)"
    subprocess.run([sys.executable, "-c", code, *paths], check=True)


def test_bench_tree_program(build):
    data = output(build / "bench_tree", "--pages", "1024", "--rounds", "1")
    times = [value for name, value in data.items() if name not in ("entries", "rounds")]
    assert len(times) == 11
    assert all(ns > 0 for ns in times)


@pytest.mark.parametrize("args", [["--pages", "0"], ["--pages"], ["--fast", "1"]])
def test_bad_arguments(build, args):
    result = subprocess.run(
        [build / "bench_fault", *args], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 2
    assert "usage" in result.stderr


@pytest.fixture
def gates(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("gates", BENCHMARKS / "gates.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gates", module)
    spec.loader.exec_module(module)
    return module


def test_gate_verdicts(gates):
    assert gates.Gate("1", "most", 2.0, 2.0).passed
    assert not gates.Gate("1", "most", 2.1, 2.0).passed
    assert gates.Gate("1", "least", 0.9, 0.9, at_least=True).passed
    assert not gates.Gate("1", "least", 0.8, 0.9, at_least=True).passed


def test_fault_count_gates(gates):
    with daxcore.Device.memory(64 << 20) as device:
        assert all(gate.passed for gate in gates.count_gates(device))


def test_trace_gate(gates, monkeypatch):
    """Both engines run; the figure is judged where the machine is idle."""
    monkeypatch.setattr(gates, "TRACE_PAGES", 1024)
    monkeypatch.setattr(gates, "TRACE_ROUNDS", 4)
    [gate] = gates.trace_gate()
    assert gate.unit == "ns" and gate.bar == 1.0
    assert abs(gate.measured) < 1000


def test_block_map_gates(gates, monkeypatch):
    """All of them run; the figures are judged where the machine is idle."""
    for name in ("PAGES", "MAP_PAGES", "LIGHT_ROUNDS"):
        monkeypatch.setattr(gates, name, {"LIGHT_ROUNDS": 2}.get(name, 2048))
    with daxcore.Device.memory(1 << 20) as device:
        measured = [gate.measured for gate in gates.block_map_gates(device)]
    assert len(measured) == 3 and min(measured) > 0


def test_only_one_engine_has_trace_sites(build):
    """Sites look at trace_switch in the fault path: the other has none there."""
    objdump = need_program("objdump", "binutils")
    for name, sites in (("traced", True), ("untraced", False)):
        command = [objdump, "-d", "--no-show-raw-insn", build / f"libbench_{name}.so"]
        code = subprocess.run(command, capture_output=True, text=True, check=True)
        # What the compiler inlines where is its own business.
        fault = re.findall(
            r"<(?:handle_mm_fault|iomap_fault|\w*p[tm][ed]_fault\w*)[.\w]*>:\n(.*?)\n\n",
            code.stdout,
            flags=re.S,
        )
        assert fault
        # With <sys/sdt.h> the same word has the names of the probes' semaphores.
        look = re.search(r"<(trace_switch|daxcore_dax_\w+_semaphore)", "".join(fault))
        assert (look is not None) is sites


def test_memory_gates_at_full_size(gates):
    with daxcore.Device.memory(2 << 20) as device:
        assert all(gate.passed for gate in gates.memory_gates(device))


def test_sparse_file_gates(gates):
    for gate in gates.sparse_gates():
        assert gate.passed or gate.unit in ("s", "ms", "x"), gate  # not the times


@pytest.fixture
def small_real(gates, monkeypatch):
    """The gates of real memory, on 8 MiB and once."""
    kind, hint = machine.userfaultfd()
    need("userfaultfd", kind != "no", hint)
    monkeypatch.setattr(gates, "PAGES", 2048)
    monkeypatch.setattr(gates, "SINGLE_PAGES", 256)
    monkeypatch.setattr(gates, "REAL_ROUNDS", 1)
    monkeypatch.setattr(gates, "SINGLE_ROUNDS", 1)
    return gates


def test_real_gates(small_real):
    """All loops run; the times are judged where the machine is idle."""
    gates = list(small_real.real_gates())
    assert {gate.point for gate in gates} == {"13"}
    assert len({gate.what for gate in gates}) == len(gates) == 23
    for gate in gates:
        assert gate.passed or gate.unit in ("x", "ns"), gate
        assert gate.measured > 0 or gate.unit not in ("x", "ns"), gate


def test_threads_are_let_go_of_their_cpu(gates):
    before = os.sched_getaffinity(0)
    with gates.placed("thread"):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
    with gates.placed("signal"):
        assert os.sched_getaffinity(0) == before


def test_real_loops_refuse_what_they_do_not_know(small_real):
    native = small_real.native
    for call in (
        lambda: native.real_floor_ns(99, "thread", 16),
        lambda: native.real_floor_ns(native.LOAD, "signal", 0),
        lambda: native.real_round(99, 16),
        lambda: native.real_round(native.ANONYMOUS, 0),
    ):
        with pytest.raises(OSError, match="-22"):
            call()


@pytest.mark.parametrize("delivery", ["thread", "signal"])
def test_bare_loops_leave_nothing_behind(small_real, delivery):
    """Neither descriptors nor their SIGBUS handler, which the library needs."""
    native, found = small_real.native, []
    single = {"delivery": "signal", "kind": "pte", "fault_around": 0}
    with daxcore.Device.memory(2 << 20) as device:
        for _ in range(2):  # the page map's descriptor stays
            for work in range(native.STORE_SPARSE + 1):
                order = native.permutation(512)
                with tempfile.TemporaryFile() as file:
                    to = file.fileno()
                    assert native.real_floor_ns(work, delivery, 512, order, to) > 0
                    assert native.real_floor_ns(work, delivery, 1024, fd=to) > 0
                    assert os.fstat(to).st_size == 0
            native.real_round(native.ENGINE, 512, device, **single)
            found.append(len(os.listdir("/proc/self/fd")))
    assert found[0] == found[1]


@pytest.mark.parametrize("order", ["in sequence", "random"])
def test_real_round_stores_to_every_page(small_real, order):
    native = small_real.native
    order = native.permutation(1024) if order == "random" else None
    with (
        tempfile.NamedTemporaryFile() as file,
        daxcore.Device.memory(16 << 20) as device,
    ):
        for owner in (
            native.ENGINE,
            native.SPARSE,
            native.FILE,
            native.ANONYMOUS,
            native.ANONYMOUS_HUGE,
        ):
            for how in ({}, {"write": True}, {"write": True, "load_before": True}):
                result = native.real_round(
                    owner,
                    1024,
                    device,
                    order,
                    fd=file.fileno(),
                    path=file.name,
                    **how,
                )
                assert min(result.map_ns, result.touch_ns, result.again_ns) > 0
        assert os.fstat(file.fileno()).st_size == 0
        assert device.free_bytes == device.size


def test_pytest_benchmark_suites(build):
    pytest.importorskip("pytest_benchmark", reason="pip install 'daxcore[bench]'")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--benchmark-disable"]
        + [str(path) for path in sorted(BENCHMARKS.glob("bench_*.py"))],
        env={**os.environ, "DAXCORE_BENCH_SIZE": "2MiB"},
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert result.returncode == 0, result.stdout


def test_memmap_sparse(tmp_path):
    need_real_mapping()
    script = BENCHMARKS / "memmap_sparse.py"
    command = [sys.executable, script, "--gib", "0.25", "--numpy-gib", "0.0625"]
    command += ["--rounds", "1", "--directory", tmp_path, "--json", "-"]
    ours, theirs = output(*command)["results"]
    assert ours["size_bytes"] == 4 * theirs["size_bytes"] == 256 << 20
    assert ours["page_cache_bytes"] == ours["file_bytes"] == 0
    assert theirs["page_cache_bytes"] == theirs["size_bytes"]
    assert ours["ns_per_page"] > 0
