# SPDX-License-Identifier: BSD-3-Clause
"""Trace events: what is recorded, the three forms, the command, the probes."""

import gc
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import MIB, PAGE, ROOT, in_child, in_thread, need, need_program

import daxcore
from daxcore import FaultResult, TraceEvent, capi
from daxcore._trace import result_flags

PMD = 2 * MIB
HUGE_ZERO_PFN = 512


@pytest.fixture
def small():
    """A device without 2 MiB of blocks in one run: stores fall back."""
    with daxcore.Device.memory(MIB) as dev:
        yield dev


@pytest.fixture
def file(small):
    with small.create_file(8 * MIB) as file:
        yield file


def happened(trace):
    """Name and result of each event: ``load_hole NOPAGE``."""
    return [
        f"{TraceEvent(row['event']).name.removeprefix('dax_')} "
        f"{result_flags(row['result'])}".rstrip()
        for row in trace.events()
    ]


# ---- what is recorded ------------------------------------------------------
#
# Linux 6.1 with ext4 and XFS says the same of the first two.


def test_read_of_a_2_mib_hole(file):
    with file.mmap() as m, file.trace() as trace:
        m.read(PMD + PAGE, 1)
    assert happened(trace) == ["pmd_fault", "pmd_load_hole", "pmd_fault_done NOPAGE"]
    begin, hole, _ = trace.events()
    assert (begin["pgoff"], begin["max_pgoff"]) == (513, 2048)
    assert begin["vm_end"] - begin["vm_start"] == 8 * MIB
    assert begin["address"] - begin["vm_start"] == PMD + PAGE
    assert hole["pfn"] == HUGE_ZERO_PFN


def test_first_write_into_a_2_mib_hole_that_was_read(file):
    with file.mmap() as m:
        m.read(0, 1)
        with file.trace() as trace:
            m.write(PAGE, b"x")
    assert happened(trace) == [
        "pmd_fault",
        "pmd_fault_done FALLBACK",
        "pte_fault",
        "insert_mapping",
        "pte_fault_done MAJOR|NOPAGE",
    ]
    rows = trace.events()
    assert rows["write"].all() and rows["shared"].all()
    assert daxcore._core.fallback_reason_name(rows[1]["reason"]) == "short_extent"
    [entry] = file.entries()[file.entries()["index"] == 1]
    assert rows[3]["pfn"] == entry["pfn"]
    assert rows[3]["radix_entry"] >> 6 == entry["pfn"]


def test_a_block_of_2_mib(memory):
    with memory.create_file(8 * MIB) as file, file.mmap() as m, file.trace() as trace:
        m.write(0, b"x")
    assert happened(trace) == [
        "pmd_fault",
        "pmd_insert_mapping",
        "pmd_fault_done MAJOR|NOPAGE",
    ]
    assert trace.events()["nr_pages"].tolist() == [0, 512, 0]


def test_4_kib_faults_of_both_policies(small):
    reads = ["pte_fault", "load_hole NOPAGE", "pte_fault_done NOPAGE"]
    writes = ["pte_fault", "insert_mapping", "pte_fault_done MAJOR|NOPAGE"]
    for policy, more in (("zero-page", []), ("page-cache", ["pfn_mkwrite NOPAGE"])):
        with small.create_file(MIB, policy=policy) as file:
            with file.mmap(pages="pte") as m, file.trace() as trace:
                m.read(0, 1)
                m.write(0, b"x")
            assert happened(trace) == reads + writes + more


def test_a_private_copy_and_the_end_of_the_file(file):
    with file.mmap(pages="pte", shared=False) as m, file.trace() as trace:
        m.write(0, b"x")
        file.truncate(0)
        assert m.fault(3) == FaultResult.SIGBUS
    assert happened(trace) == [
        "pte_fault",
        "pte_fault_done DONE_COW",
        "pte_fault",
        "pte_fault_done SIGBUS",
    ]
    rows = trace.events()
    assert not rows["shared"].any()
    assert rows["error"].tolist() == [0, 0, 0, -14]


def test_events_agree_with_the_counters(memory):
    with memory.create_file(64 * MIB) as file, file.mmap() as m:
        with file.trace() as trace:
            m.fault_range(0, 4096)
            m.write(5 * MIB, b"x")
            m.fault_range(0, 4096, write=True)
        stats = file.stats()
    assert trace.lost == 0
    names, counts = np.unique(trace.events()["event"], return_counts=True)
    count = {TraceEvent(n).name: c for n, c in zip(names, counts, strict=True)}
    for name in ("pte_fault", "pmd_fault", "pmd_load_hole", "pmd_insert_mapping"):
        assert count.get(f"dax_{name}", 0) == stats[name]
    assert count["dax_pmd_fault"] == count["dax_pmd_fault_done"]


# ---- whose events ----------------------------------------------------------


def test_each_trace_has_its_file(small):
    with small.create_file(MIB) as one, small.create_file(MIB) as two:
        assert one.ino != two.ino
        with one.mmap(pages="pte") as a, two.mmap(pages="pte") as b:
            with daxcore.trace() as both, one.trace() as first:
                a.fault(0)
                with two.trace() as second:
                    b.fault(1)
                    a.fault(2)
                b.fault(3)
            a.fault(4)
        inos = {one.ino, two.ino}
        assert set(first.events()["ino"].tolist()) == {one.ino}
        assert first.events()["pgoff"].tolist() == [0, 0, 0, 2, 2, 2]
        assert second.events()["pgoff"].tolist() == [1, 1, 1]
        assert set(both.events()["ino"].tolist()) == inos
        assert both.events()["pgoff"].tolist() == [n for n in range(4) for _ in "abc"]


def test_a_file_made_within_the_block(small):
    with daxcore.trace() as trace:
        with small.create_file(PAGE) as file, file.mmap() as m:
            m.read(0, 1)
            ino = file.ino
    assert set(trace.events()["ino"].tolist()) == {ino}


def test_the_file_may_be_closed_first():
    with daxcore.Device.memory(MIB) as dev:
        file = dev.create_file(PAGE)
        with file.trace() as trace:
            with file.mmap(pages="pte") as m:
                m.read(0, 1)
            file.close()
            dev.close()
        assert len(trace.events()) == 3


def test_threads_that_have_ended(file):
    tids = []

    def touch(first):
        tids.append(threading.get_native_id())
        m.fault_range(first, 100)

    with file.mmap(pages="pte") as m, file.trace() as trace:
        threads = [threading.Thread(target=touch, args=(n * 100,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    rows = trace.events()
    assert len(rows) == 1200
    assert (np.diff(rows["time"].astype(np.int64)) >= 0).all()
    assert set(rows["thread"].tolist()) == set(tids) == set(trace.threads)
    for tid in set(tids):
        pgoffs = rows["pgoff"][rows["thread"] == tid]
        assert len(pgoffs) % 300 == 0
        assert (np.diff(pgoffs[:300].astype(np.int64)) >= 0).all()


def test_time_is_the_monotonic_clock(file):
    before = time.monotonic_ns()
    with file.mmap() as m, file.trace() as trace:
        m.read(0, 1)
    times = trace.events()["time"]
    assert before <= times.min() <= times.max() <= time.monotonic_ns()


def test_the_oldest_are_lost_and_counted(file):
    def body():
        with file.mmap(pages="pte") as m, file.trace(events=100) as trace:
            m.fault_range(0, 1000)
        rows = trace.events()
        assert 100 <= len(rows) < 200
        assert len(rows) + trace.lost == 3000
        assert rows["pgoff"][-1] == 999
        assert f"entries-written: {len(rows)}/3000 " in trace.text()

    thread, result = in_thread(body)  # a fresh ring
    thread.join()
    assert result == [None]


def test_events_within_the_block(file):
    with file.mmap(pages="pte") as m, file.trace() as trace:
        assert len(trace.events()) == 0
        m.fault(0)
        assert len(trace.events()) == 3
        m.fault(1)
        assert len(trace.events()) == 6
        assert repr(trace) == "<daxcore.Trace running>"
    m_rows = trace.events()
    assert len(m_rows) == 6
    m_rows["pgoff"] = 7  # a copy
    assert trace.events()["pgoff"].tolist() == [0, 0, 0, 1, 1, 1]


# ---- the object ------------------------------------------------------------


def test_columns_are_the_struct():
    with daxcore.trace() as trace:
        pass
    columns = trace.events().dtype
    struct = capi.ffi.typeof("struct dax_trace_event")
    assert columns.itemsize == capi.ffi.sizeof(struct)
    for name, field in struct.fields:
        kind, offset = columns.fields[name][:2]
        assert (offset, kind.itemsize) == (field.offset, capi.ffi.sizeof(field.type))
        is_signed = kind.kind == "i"
        assert is_signed == (name == "error")
    assert set(columns.names) == {name for name, _ in struct.fields}


def test_event_names_are_the_librarys():
    for event in TraceEvent:
        name = capi.ffi.string(capi.lib.dax_trace_event_name(event)).decode()
        assert name == event.name
    assert capi.lib.dax_trace_event_name(len(TraceEvent)) == capi.ffi.NULL


def test_before_and_twice(file):
    trace = file.trace()
    assert repr(trace) == "<daxcore.Trace new>"
    assert len(trace.events()) == trace.lost == 0
    with trace:
        with pytest.raises(ValueError, match="started already"):
            trace.__enter__()
    with pytest.raises(ValueError, match="started already"):
        trace.__enter__()
    trace.__exit__(None, None, None)
    assert repr(trace) == "<daxcore.Trace ended>"


def test_bad_arguments(file):
    for bad, kind in ((0, ValueError), (-1, ValueError), ("1", TypeError)):
        with pytest.raises(kind, match="events"):
            file.trace(events=bad)
    with pytest.raises(OverflowError, match=str(1 << 24)):
        daxcore.trace(events=(1 << 24) + 1)
    with pytest.raises(TypeError, match=r"File\.trace"):
        daxcore.Trace()
    with pytest.raises(TypeError, match="events"):
        pickle.dumps(file.trace())
    trace = file.trace()
    file.close()
    with pytest.raises(ValueError, match="File is closed"):
        trace.__enter__()
    with pytest.raises(ValueError, match="File is closed"):
        file.trace()


def test_64_traces_at_once(file):
    traces = [file.trace(events=1) for _ in range(65)]
    for trace in traces[:64]:
        trace.__enter__()
    with pytest.raises(OSError, match="64 traces") as caught:
        traces[64].__enter__()
    assert caught.value.errno == 16
    traces[0].__exit__(None, None, None)
    traces[64].__enter__()
    del traces, trace  # a trace that is dropped ends
    gc.collect()
    with file.trace(events=1):
        pass


def test_a_forked_child_has_none_of_it(file):
    def child():
        assert len(trace.events()) == 0
        with pytest.raises(daxcore.ForkError):
            file.trace().__enter__()
        with daxcore.Device.memory(MIB) as dev, dev.create_file(MIB) as own:
            with own.mmap(pages="pte") as mine, own.trace() as other:
                mine.fault(5)
        assert other.events()["pgoff"].tolist() == [5, 5, 5]
        assert other.events()["thread"].tolist() == [os.getpid()] * 3
        trace.__exit__(None, None, None)
        assert len(trace.events()) == trace.lost == 0

    with file.mmap(pages="pte") as m, file.trace() as trace:
        m.fault(0)
        in_child(child)
        m.fault(1)
    assert trace.events()["pgoff"].tolist() == [0, 0, 0, 1, 1, 1]


# ---- text ------------------------------------------------------------------

_HEX = r"0x[0-9a-f]+"
_WHERE = rf"dev 0:0 ino {_HEX}"
_FAULT = rf"{_WHERE} (shared|private) (WRITE\|)?USER address {_HEX}"
_INSERT = rf"{_WHERE} (shared|private) (read|write) address {_HEX}"
_PTE = rf"{_FAULT} pgoff {_HEX}( [A-Z_|]+)?"
_PMD = rf"{_FAULT} vm_start {_HEX} vm_end {_HEX} pgoff {_HEX} max_pgoff {_HEX}"
_HOLE = rf"{_WHERE} (shared|private) address {_HEX} zero_page {_HEX} radix_entry {_HEX}"
_PMD_INSERT = rf"{_INSERT} length 0x200000 pfn {_HEX}( DEV\|MAP)? radix_entry {_HEX}"
FORMS = {
    "dax_pte_fault": _PTE,
    "dax_pte_fault_done": _PTE,
    "dax_load_hole": _PTE,
    "dax_pfn_mkwrite": _PTE,
    "dax_pfn_mkwrite_no_entry": _PTE,
    "dax_pmd_fault": rf"{_PMD}( [A-Z_|]+)?",
    "dax_pmd_fault_done": rf"{_PMD} [A-Z_|]+",
    "dax_insert_mapping": rf"{_INSERT} radix_entry {_HEX}",
    "dax_pmd_load_hole": _HOLE,
    "dax_pmd_load_hole_fallback": _HOLE,
    "dax_pmd_insert_mapping": _PMD_INSERT,
    "dax_pmd_insert_mapping_fallback": _PMD_INSERT,
    "dax_writeback_range": rf"{_WHERE} pgoff {_HEX}-{_HEX}",
    "dax_writeback_range_done": rf"{_WHERE} pgoff {_HEX}-{_HEX}",
    "dax_writeback_one": rf"{_WHERE} pgoff {_HEX} pglen {_HEX}",
}
LINE = re.compile(r" *(\S.*)-(\d+) +\[(\d{3})\] +(\d+\.\d{6}): (\w+): (.*)")


def parse(text):
    """The lines of a text as tuples; every line must have the right form."""
    lines = text.splitlines()
    header = [line for line in lines if line.startswith("#")]
    assert lines[: len(header)] == header and header[0] == "# tracer: nop"
    found = []
    for line in lines[len(header) :]:
        match = LINE.fullmatch(line)
        assert match, line
        assert re.fullmatch(FORMS[match[5]], match[6]), line
        found.append(match.groups())
    return found


def made_up_events():
    """One event of each kind, all fields set to something."""
    with daxcore.trace() as trace:
        pass
    rows = np.zeros(len(TraceEvent), trace.events().dtype)
    for i, name in enumerate(rows.dtype.names):
        rows[name] = i + 1
    rows["event"] = list(TraceEvent)
    rows["time"] = np.arange(len(rows)) * 1000 + 10**9
    rows["nr_pages"] = 512
    rows["result"] = FaultResult.MAJOR | FaultResult.NOPAGE
    rows["thread"] = 99
    return rows


def test_text_of_every_event():
    from daxcore._trace import text

    lines = parse(text(made_up_events(), {99: "my thread"}))
    assert [line[4] for line in lines] == [event.name for event in TraceEvent]
    assert {line[0] for line in lines} == {"my thread"}
    one = lines[TraceEvent.dax_pmd_fault_done][5]
    assert one == (
        "dev 0:0 ino 0x2 shared WRITE|USER address 0x3 vm_start 0x4 vm_end 0x5 "
        "pgoff 0x6 max_pgoff 0x7 MAJOR|NOPAGE"
    )
    assert lines[TraceEvent.dax_writeback_range][5] == "dev 0:0 ino 0x2 pgoff 0x6-0x7"
    assert lines[TraceEvent.dax_writeback_one][5] == (
        "dev 0:0 ino 0x2 pgoff 0x6 pglen 0x200"
    )


def test_text_of_faults(file):
    with file.mmap() as m, file.trace() as trace:
        m.read(PMD, 1)
        m.write(0, b"x")
    lines, rows = parse(trace.text()), trace.events()
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        task, tid, cpu, stamp, name, words = line
        assert task == Path("/proc/self/comm").read_text().strip()
        assert (int(tid), int(cpu)) == (row["thread"], row["cpu"])
        assert round(float(stamp) * 10**6) == row["time"] // 1000
        assert name == TraceEvent(row["event"]).name
        assert f"ino {file.ino:#x} " in words


# ---- Chrome trace ----------------------------------------------------------


def test_chrome_of_faults(file):
    with file.mmap() as m, file.trace() as trace:
        m.read(PMD, 1)
        m.write(0, b"x")
    data = json.loads(json.dumps(trace.chrome()))
    assert data["displayTimeUnit"] == "ns"
    assert data["otherData"]["lost"] == 0
    events = data["traceEvents"]
    assert all(e["pid"] == os.getpid() for e in events)
    [meta] = [e for e in events if e["ph"] == "M"]
    assert (meta["name"], meta["tid"]) == ("thread_name", threading.get_native_id())
    slices = [e for e in events if e["ph"] == "X"]
    assert [(e["name"], e["args"]["result"]) for e in slices] == [
        ("dax_pmd_fault", "NOPAGE"),
        ("dax_pmd_fault", "FALLBACK"),
        ("dax_pte_fault", "MAJOR|NOPAGE"),
    ]
    assert slices[1]["args"]["reason"] == "short_extent"
    instants = [e for e in events if e["ph"] == "i"]
    assert [e["name"] for e in instants] == ["dax_pmd_load_hole", "dax_insert_mapping"]
    # An instant lies within the slice of its fault, in the same thread.
    for inner, outer in zip(instants, (slices[0], slices[2]), strict=True):
        assert outer["ts"] <= inner["ts"] <= outer["ts"] + outer["dur"]
        assert inner["tid"] == outer["tid"]
    stamps = [e["ts"] for e in events if e["ph"] != "M"]
    assert stamps == sorted(stamps)
    times = trace.events()["time"]
    assert slices[0]["ts"] == times[0] / 1000


def test_chrome_of_halves():
    """A beginning or an end alone is an instant; threads are kept apart."""
    from daxcore._trace import chrome

    rows = made_up_events()[[1, 0, 0, 1, 12, 13, 2, 1]]
    rows["time"] = np.arange(len(rows)) * 1000
    rows["thread"] = [1, 1, 2, 1, 2, 2, 1, 1]
    found = [(e["name"], e["ph"], e["tid"]) for e in chrome(rows, {})["traceEvents"]]
    assert found == [
        ("dax_pte_fault_done", "i", 1),
        ("dax_pte_fault", "X", 1),
        ("dax_pte_fault", "i", 2),
        ("dax_writeback_range", "X", 2),
        ("dax_pmd_fault", "i", 1),
        ("dax_pte_fault_done", "i", 1),
    ]


# ---- the command -----------------------------------------------------------

SCRIPT = """
import os, sys
import daxcore
with daxcore.Device.memory(1 << 20) as dev, dev.create_file(8 << 20) as f:
    with f.mmap(pages="pte") as m:
        m.fault_range(0, int(sys.argv[1]))
print("said", *sys.argv[1:])
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def trace_command(*args, **options):
    return subprocess.run(
        [sys.executable, "-m", "daxcore", "trace", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def test_command_text(script):
    done = trace_command("--", "python", script, 7, "--output")
    assert done.returncode == 7
    said, _, text = done.stdout.partition("\n")
    assert said == "said 7 --output"
    names = [line[4] for line in parse(text)]
    assert names == ["dax_pte_fault", "dax_load_hole", "dax_pte_fault_done"] * 7
    assert done.stderr == (
        "daxcore: 21 events of 1 process, 0 lost: "
        "dax_pte_fault 7, dax_pte_fault_done 7, dax_load_hole 7\n"
    )


def test_command_forms(script, tmp_path):
    out = tmp_path / "out"
    done = trace_command("--format", "chrome", "--output", out, script, 2)
    assert (done.returncode, done.stdout) == (2, "said 2\n")
    events = json.loads(out.read_text())["traceEvents"]
    assert [e["name"] for e in events if e["ph"] == "X"] == ["dax_pte_fault"] * 2
    [thread] = [e for e in events if e["ph"] == "M"]
    assert thread["pid"] == thread["tid"] != os.getpid()

    done = trace_command("--json", "--output", out, "--", script, 2)
    data = json.loads(out.read_text())
    assert (data["schema"], data["lost"]) == (1, 0)
    assert [e["event"] for e in data["events"][:2]] == [
        "dax_pte_fault",
        "dax_load_hole",
    ]
    assert data["events"][1]["result"] == "NOPAGE"
    assert data["events"][1]["reason"] == "none"

    done = trace_command("--format=npy", "--output", out, "--", script, 2)
    rows = np.load(out)
    assert rows["pgoff"].tolist() == [0, 0, 0, 1, 1, 1]


def test_command_loses_the_oldest(script):
    done = trace_command("--events", 100, "--json", script, 200)
    assert done.returncode == 200
    data = json.loads(done.stdout.partition("\n")[2])
    assert len(data["events"]) + data["lost"] == 600
    assert 100 <= len(data["events"]) < 200
    assert "--events keeps more" in done.stderr


def test_command_with_several_processes(script, tmp_path):
    shell = f"'{sys.executable}' '{script}' 1; '{sys.executable}' '{script}' 2"
    done = trace_command(
        "--json", "--output", tmp_path / "out", "--", "sh", "-c", shell
    )
    assert done.returncode == 2
    assert "9 events of 2 processes" in done.stderr
    data = json.loads((tmp_path / "out").read_text())
    assert len({thread["process"] for thread in data["threads"]}) == 2
    times = [e["time"] for e in data["events"]]
    assert times == sorted(times)


def test_command_with_a_module_and_a_fork(tmp_path):
    (tmp_path / "forks.py").write_text(
        "import os, daxcore\n"
        "if os.fork() == 0: raise SystemExit\n"  # runs what is to run at exit
        "os.wait()\n"
        "with daxcore.Device.memory(8192) as d, d.create_file(4096) as f:\n"
        "    with f.mmap() as m: m.read(0, 1)\n"
    )
    done = trace_command("--", "-m", "forks", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "5 events of 1 process, 0 lost" in done.stderr


def test_a_forked_child_writes_nothing_at_its_exit(tmp_path):
    (tmp_path / "forks.py").write_text(
        "import os, daxcore\nif os.fork(): os.wait(); os._exit(3)\n"
    )
    done = trace_command("--", "-m", "forks", cwd=tmp_path)
    assert done.returncode == 3
    assert "no process of the command" in done.stderr


def test_processes_are_merged_in_order_of_time(tmp_path):
    from daxcore._trace_command import gather, summary

    for pid, first in ((1, 5000), (2, 0)):
        rows = made_up_events()[:3]
        rows["time"] = first + np.arange(3)
        rows["thread"] = pid
        np.save(tmp_path / f"{pid}.npy", rows)
        facts = {"pid": pid, "lost": pid, "threads": {str(pid): f"name {pid}"}}
        (tmp_path / f"{pid}.json").write_text(json.dumps(facts))
    np.save(tmp_path / "3.npy", rows)  # not finished
    found = gather(tmp_path)
    assert found.events["time"].tolist() == [0, 1, 2, 5000, 5001, 5002]
    assert found.threads == {1: "name 1", 2: "name 2"}
    assert found.processes == {1: 1, 2: 2}
    assert "6 events of 2 processes, 3 lost: dax_pte_fault 2" in summary(found)


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        ([], 2, "Missing argument 'COMMAND...'"),
        (["--format", "npy", "--", "true"], 2, "npy needs a FILE"),
        (["--json", "--format", "text", "--", "true"], 2, "--json and --format text"),
        (["--format", "xml", "--", "true"], 2, "'xml' is not one of"),
        (["--events", "0", "--", "true"], 2, "--events"),
        (["--output", "/nonexistent/x", "--", "true"], 2, "No such file or directory"),
        (["--", "/nonexistent/program"], 127, "No such file or directory"),
        (["--", "/etc/passwd"], 126, "Permission denied"),
        (["--", "true"], 0, "no process of the command imported daxcore"),
        (["--", "sh", "-c", "kill -9 $$"], 137, "no events"),
    ],
)
def test_command_failures(args, status, words):
    done = trace_command(*args)
    assert done.returncode == status
    assert words in done.stderr


def test_command_interrupted(tmp_path):
    """Ctrl-C goes to the command, which may still say what it did."""
    script = tmp_path / "waits.py"
    script.write_text(
        "import os, signal, daxcore\n"
        "with daxcore.Device.memory(8192) as d, d.create_file(4096) as f:\n"
        "    with f.mmap(pages='pte') as m: m.read(0, 1)\n"
        "os.killpg(0, signal.SIGINT)\n"
        "signal.pause()\n"
    )
    done = trace_command("--", script, start_new_session=True)
    assert "3 events of 1 process" in done.stderr
    assert done.returncode == 130


def test_environment_without_a_folder():
    done = subprocess.run(
        [sys.executable, "-c", "import daxcore; print('imported')"],
        env={**os.environ, "DAXCORE_TRACE": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "imported\n"
    assert "DAXCORE_TRACE must name a folder" in done.stderr


# ---- probes ----------------------------------------------------------------


@pytest.fixture(scope="module")
def probed_library(tmp_path_factory):
    """The library built here, so that it is as new as the header."""
    cc = need_program("cc", "gcc")
    found = subprocess.run(
        [cc, "-fsyntax-only", "-x", "c", "-include", "sys/sdt.h", "/dev/null"],
        capture_output=True,
    )
    need("sdt", found.returncode == 0, "apt-get install systemtap-sdt-dev")
    target = tmp_path_factory.mktemp("probes") / "libdaxcore.so"
    command = [cc, "-std=gnu11", "-O1", "-fPIC", "-shared", "-fvisibility=hidden"]
    command += ["-pthread", '-DDAX_VERSION="x"', "-I.", "-Iinclude", "-o", target]
    command += ["-Wl,-z,defs", *sorted(ROOT.glob("csrc/*.c"))]
    subprocess.run(command, check=True, cwd=ROOT / "csrc", timeout=100)
    return target


def notes(library):
    """Name: (semaphore, number of arguments) of each probe of ours."""
    readelf = need_program("readelf", "binutils")
    out = subprocess.run(
        [readelf, "-n", "--wide", library], check=True, capture_output=True, text=True
    ).stdout
    rows = re.findall(
        r"Provider: daxcore\s+Name: (\w+)\s+Location: \w+, Base: \w+, "
        r"Semaphore: (\w+)\s+Arguments: (.*)",
        out,
    )
    return {name: (int(sem, 16), len(args.split())) for name, sem, args in rows}


def test_probes_have_the_events_names(probed_library):
    found = notes(probed_library)
    assert set(found) == {event.name for event in TraceEvent}
    assert len({semaphore for semaphore, _ in found.values()}) == 1
    assert found["dax_pte_fault"][1] == 6
    assert found["dax_pmd_fault_done"][1] == 9
    assert found["dax_pmd_insert_mapping"][1] == 7
    assert found["dax_writeback_range"][1] == found["dax_writeback_one"][1] == 3


def test_the_semaphore_is_half_of_the_switch(probed_library):
    nm = need_program("nm", "binutils")
    out = subprocess.run(
        [nm, probed_library], check=True, capture_output=True, text=True
    ).stdout
    [switch] = re.findall(r"^(\w+) \w trace_switch$", out, flags=re.M)
    [semaphore] = {semaphore for semaphore, _ in notes(probed_library).values()}
    assert int(switch, 16) == semaphore != 0


def test_a_trace_that_is_none():
    trace = daxcore.Trace.__new__(daxcore.Trace)
    with pytest.raises(ValueError, match="use File.trace"), trace:
        pass
    assert trace.events().size == 0
    assert trace.lost == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_beside_a_thread_that_reads_the_trace(file):
    stop = threading.Event()

    def read():
        while not stop.is_set():
            trace.events()

    with file.trace(events=1000) as trace, file.mmap(pages="pte") as m:
        m.fault_range(0, 100)
        trace.events()  # numpy is here
        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                pid = os.fork()
                if pid == 0:
                    signal.alarm(20)
                    trace.events()
                    trace.__exit__(None, None, None)
                    os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0
        finally:
            stop.set()
            for thread in threads:
                thread.join()
