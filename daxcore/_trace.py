# SPDX-License-Identifier: BSD-3-Clause
"""Trace events as text, as Chrome trace, as dicts; tracing a whole process.

The arguments of each event are those that the kernel prints, in its order.
Source: include/trace/events/fs_dax.h (Linux 4.14; the two dax_pfn_mkwrite
events: 4.13).
"""

import atexit
import json
import os
import sys
import warnings

from ._core import FaultResult, TraceEvent, fallback_reason_name, trace

# Flags in the order in which the kernel prints them.
_RESULTS = (
    FaultResult.OOM,
    FaultResult.SIGBUS,
    FaultResult.MAJOR,
    FaultResult.NOPAGE,
    FaultResult.LOCKED,
    FaultResult.RETRY,
    FaultResult.FALLBACK,
    FaultResult.DONE_COW,
    FaultResult.NEEDDSYNC,
)
_PAGE_SIZE = 4096


def result_flags(result):
    """``MAJOR|NOPAGE``; empty for 0."""
    return "|".join(flag.name for flag in _RESULTS if result & flag)


# ---- the arguments of an event ---------------------------------------------
#
# Each function gives (name, value) pairs of a row; a name that is None is not
# printed, numbers are.


def _place(row):
    yield "ino", row["ino"]
    yield None, "shared" if row["shared"] else "private"


def _fault_flags(row):
    """All faults here come from user space; the kernel's flags say so."""
    return "WRITE|USER" if row["write"] else "USER"


def _pte_fault(row):
    yield from _place(row)
    yield None, _fault_flags(row)
    yield "address", row["address"]
    yield "pgoff", row["pgoff"]
    yield "result", result_flags(row["result"])


def _pmd_fault(row):
    yield from _place(row)
    yield None, _fault_flags(row)
    for name in ("address", "vm_start", "vm_end", "pgoff", "max_pgoff"):
        yield name, row[name]
    yield "result", result_flags(row["result"])


def _pmd_load_hole(row):
    yield from _place(row)
    yield "address", row["address"]
    yield "zero_page", row["pfn"]
    yield "radix_entry", row["radix_entry"]


def _pmd_insert_mapping(row):
    yield from _place(row)
    yield None, "write" if row["write"] else "read"
    yield "address", row["address"]
    yield "length", row["nr_pages"] * _PAGE_SIZE
    yield "pfn", row["pfn"]
    yield None, "DEV|MAP" if row["pfn"] else ""
    yield "radix_entry", row["radix_entry"]


def _insert_mapping(row):
    yield from _place(row)
    yield None, "write" if row["write"] else "read"
    yield "address", row["address"]
    yield "radix_entry", row["radix_entry"]


def _writeback_range(row):
    yield "ino", row["ino"]
    yield "pgoff", f"{row['pgoff']:#x}-{row['max_pgoff']:#x}"


def _writeback_one(row):
    yield "ino", row["ino"]
    yield "pgoff", row["pgoff"]
    yield "pglen", row["nr_pages"]


_ARGUMENTS = {
    TraceEvent.dax_pte_fault: _pte_fault,
    TraceEvent.dax_pte_fault_done: _pte_fault,
    TraceEvent.dax_pmd_fault: _pmd_fault,
    TraceEvent.dax_pmd_fault_done: _pmd_fault,
    TraceEvent.dax_load_hole: _pte_fault,
    TraceEvent.dax_insert_mapping: _insert_mapping,
    TraceEvent.dax_pmd_load_hole: _pmd_load_hole,
    TraceEvent.dax_pmd_load_hole_fallback: _pmd_load_hole,
    TraceEvent.dax_pmd_insert_mapping: _pmd_insert_mapping,
    TraceEvent.dax_pmd_insert_mapping_fallback: _pmd_insert_mapping,
    TraceEvent.dax_pfn_mkwrite: _pte_fault,
    TraceEvent.dax_pfn_mkwrite_no_entry: _pte_fault,
    TraceEvent.dax_writeback_range: _writeback_range,
    TraceEvent.dax_writeback_range_done: _writeback_range,
    TraceEvent.dax_writeback_one: _writeback_one,
}
_NAMES = {int(event): event.name for event in TraceEvent}
_BY_NUMBER = {int(event): pairs for event, pairs in _ARGUMENTS.items()}

# Beginnings and ends; what begins and ends in a thread is a slice.
_PAIRS = {
    int(TraceEvent.dax_pte_fault_done): int(TraceEvent.dax_pte_fault),
    int(TraceEvent.dax_pmd_fault_done): int(TraceEvent.dax_pmd_fault),
    int(TraceEvent.dax_writeback_range_done): int(TraceEvent.dax_writeback_range),
}
_BEGINNINGS = frozenset(_PAIRS.values())
_WRITEBACK = frozenset(n for n, name in _NAMES.items() if "writeback" in name)


def rows(events):
    """Each event as a dict of plain Python values."""
    names = events.dtype.names
    for start in range(0, len(events), 1 << 16):
        for row in events[start : start + (1 << 16)].tolist():
            yield dict(zip(names, row, strict=True))


# ---- text --------------------------------------------------------------------


def _print_argument(name, value):
    shown = f"{value:#x}" if isinstance(value, int) else value
    return shown if name in (None, "result") else f"{name} {shown}"


def arguments(row):
    """The arguments of an event as the kernel prints them."""
    printed = (_print_argument(*pair) for pair in _BY_NUMBER[row["event"]](row))
    return "dev 0:0 " + " ".join(word for word in printed if word)


def text_lines(events, threads, lost=0):
    """Lines of text in the form of ftrace, the header first."""
    yield "# tracer: nop"
    yield "#"
    yield (
        f"# entries-in-buffer/entries-written: {len(events)}/{len(events) + lost}"
        f"   #P:{os.cpu_count()}"
    )
    yield "#"
    yield "#           TASK-PID     CPU#   TIMESTAMP  FUNCTION"
    yield "#              | |         |       |         |"
    for row in rows(events):
        thread = row["thread"]
        seconds, ns = divmod(row["time"], 10**9)
        yield (
            f"{threads.get(thread, '?'):>16}-{thread:<7} [{row['cpu']:03d}] "
            f"{seconds:5d}.{ns // 1000:06d}: {_NAMES[row['event']]}: {arguments(row)}"
        )


def text(events, threads, lost=0):
    """The lines as one string."""
    return "".join(f"{line}\n" for line in text_lines(events, threads, lost))


# ---- Chrome trace -------------------------------------------------------------


def _chrome_arguments(row):
    """The event's arguments; numbers as text, since JavaScript has 53 bits."""
    found = {
        name: f"{value:#x}" if isinstance(value, int) else value
        for name, value in _BY_NUMBER[row["event"]](row)
        if name
    }
    if row["event"] not in _WRITEBACK:
        found["access"] = "write" if row["write"] else "read"
        found["sharing"] = "shared" if row["shared"] else "private"
    if row["reason"]:
        found["reason"] = fallback_reason_name(row["reason"])
    if row["error"]:
        found["error"] = row["error"]
    return found


def _chrome_event(row, pid, **more):
    return {
        "name": _NAMES[row["event"]],
        "cat": "fs_dax",
        "ts": row["time"] / 1000,
        "pid": pid,
        "tid": row["thread"],
        "args": _chrome_arguments(row),
        **more,
    }


def _slice(begin, end, pid):
    """A fault from its beginning to its end, with the arguments of the end."""
    duration = (end["time"] - begin["time"]) / 1000
    event = _chrome_event(end, pid, ph="X", dur=duration)
    event["name"], event["ts"] = _NAMES[begin["event"]], begin["time"] / 1000
    return event


def _instant(row, pid):
    return _chrome_event(row, pid, ph="i", s="t")


def _timeline(events, pid_of):
    """Slices and instants.  A half without its other half is an instant."""
    begun = {}
    for row in rows(events):
        thread, event = row["thread"], row["event"]
        pid = pid_of(thread)
        if event in _BEGINNINGS:
            if thread in begun:
                yield _instant(begun[thread], pid)
            begun[thread] = row
        elif thread in begun and _PAIRS.get(event) == begun[thread]["event"]:
            yield _slice(begun.pop(thread), row, pid)
        else:
            yield _instant(row, pid)
    for thread, row in begun.items():
        yield _instant(row, pid_of(thread))


def chrome(events, threads, lost=0, processes=None):
    """The JSON object that chrome://tracing and Perfetto read."""
    pid_of = (processes or {}).get
    own = os.getpid()
    names = [
        {
            "name": "thread_name",
            "ph": "M",
            "pid": pid_of(thread, own),
            "tid": thread,
            "args": {"name": name},
        }
        for thread, name in threads.items()
    ]
    timeline = _timeline(events, lambda thread: pid_of(thread, own))
    return {
        "traceEvents": [*names, *sorted(timeline, key=lambda event: event["ts"])],
        "displayTimeUnit": "ns",
        "otherData": {"clock": "CLOCK_MONOTONIC", "lost": lost},
    }


# ---- dicts -----------------------------------------------------------------------


def to_dict(events, threads, lost=0, processes=None):
    """The events as ``daxcore trace --format json`` writes them."""
    processes = processes or {}
    return {
        "schema": 1,
        "lost": lost,
        "threads": [
            {"thread": thread, "name": name, "process": processes.get(thread)}
            for thread, name in threads.items()
        ],
        "events": [
            {
                **row,
                "event": _NAMES[row["event"]],
                "result": result_flags(row["result"]),
                "reason": fallback_reason_name(row["reason"]),
            }
            for row in rows(events)
        ],
    }


# ---- a whole process ---------------------------------------------------------------


def trace_until_exit(folder):
    """Trace all files from now on; at exit write what there is to `folder`.

    Two files, named after the process: ``PID.npy`` has the events, ``PID.json``
    the names of threads and the number of events lost.  The number of events
    per thread is taken from ``DAXCORE_TRACE_EVENTS``.
    """
    if not os.path.isdir(folder):
        warnings.warn(
            f"DAXCORE_TRACE must name a folder, {folder!r} is none: no trace",
            RuntimeWarning,
            stacklevel=3,
        )
        return
    # Imported at exit, numpy would make Python forget that it was interrupted
    # and has to end by SIGINT.
    import numpy  # noqa: F401

    recording = trace(int(os.environ.get("DAXCORE_TRACE_EVENTS", 65536)))
    recording.__enter__()
    atexit.register(_write, recording, folder, os.getpid())


def _write(recording, folder, pid):
    if pid != os.getpid():  # a forked child: the parent writes
        return
    recording.__exit__(None, None, None)
    path = os.path.join(folder, str(pid))
    try:
        _write_files(recording, path, pid)
    except OSError as error:
        print(f"daxcore: the trace was not written: {error}", file=sys.stderr)


def _write_files(recording, path, pid):
    import numpy as np

    np.save(path + ".npy", recording.events())
    facts = {"pid": pid, "lost": recording.lost, "threads": recording.threads}
    with open(path + ".json", "w", encoding="utf-8") as file:
        json.dump(facts, file)
