# SPDX-License-Identifier: BSD-3-Clause
"""What ``daxcore trace`` does: run a command, gather its events, write them.

The command gets ``DAXCORE_TRACE``, the name of a folder of its own; each
process in it that imports daxcore leaves its events there when it exits
(:func:`daxcore._trace.trace_until_exit`).
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np

from . import _trace

_PYTHONS = ("python", "python3")
_CANNOT_RUN, _NOT_FOUND = 126, 127  # as a shell reports them


@dataclass
class Recording:
    """The events of all processes of a command, in order of time."""

    events: np.ndarray
    lost: int = 0
    threads: dict = field(default_factory=dict)  # gettid(2): name
    processes: dict = field(default_factory=dict)  # gettid(2): pid
    nr_processes: int = 0


def run(command, nr_events):
    """Run `command` traced; return its Recording and its exit status."""
    with tempfile.TemporaryDirectory(prefix="daxcore-trace-") as folder:
        env = {
            **os.environ,
            "DAXCORE_TRACE": folder,
            "DAXCORE_TRACE_EVENTS": str(nr_events),
        }
        status = _run(_with_python(list(command)), env)
        return gather(folder), status


def _with_python(words):
    """`words` with this Python put where a Python is meant."""
    first = words[0]
    if first in _PYTHONS:
        return [sys.executable, *words[1:]]
    is_script = first.endswith(".py") and not os.access(first, os.X_OK)
    if first in ("-m", "-c") or is_script:
        return [sys.executable, *words]
    return words


def _run(words, env):
    sys.stdout.flush()
    try:
        process = subprocess.Popen(words, env=env)
    except OSError as error:
        failure = click.ClickException(f"{words[0]}: {error.strerror}")
        missing = isinstance(error, FileNotFoundError)
        failure.exit_code = _NOT_FOUND if missing else _CANNOT_RUN
        raise failure from None
    while True:
        try:
            status = process.wait()
        except KeyboardInterrupt:  # the command has got it too
            continue
        return status if status >= 0 else 128 - status


def gather(folder):
    """What the processes left in `folder`, as one Recording."""
    found = Recording(np.empty(0, _event_dtype()))
    tables = [found.events]
    for path in sorted(Path(folder).glob("*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        names = {int(thread): name for thread, name in facts["threads"].items()}
        found.threads |= names
        found.processes |= dict.fromkeys(names, facts["pid"])
        found.lost += facts["lost"]
        found.nr_processes += 1
        tables.append(np.load(path.with_suffix(".npy")))
    events = np.concatenate(tables)
    found.events = events[events["time"].argsort(kind="stable")]
    return found


def _event_dtype():
    from ._core import _TRACE_COLUMNS

    return np.dtype(_TRACE_COLUMNS)


def summary(recording):
    """One line: how many events of what kind, and what is missing."""
    if not recording.nr_processes:
        return (
            "daxcore: no events: no process of the command imported daxcore and "
            "came to its exit"
        )
    nr, processes = len(recording.events), recording.nr_processes
    return (
        f"daxcore: {nr} event{'s' * (nr != 1)} of {processes} "
        f"process{'es' * (processes != 1)}, {recording.lost} lost"
        + _counts(recording.events)
        + _advice(recording.lost)
    )


def _counts(events):
    numbers, counts = np.unique(events["event"], return_counts=True)
    words = [
        f"{_trace.TraceEvent(number).name} {count}"
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
    ]
    return ": " + ", ".join(words) if words else ""


def _advice(lost):
    return " (--events keeps more)" if lost else ""


def write(recording, form, output):
    """Write the events in one of the four forms to a path or to ``-``."""
    if form == "npy":
        with open(output, "wb") as file:
            np.save(file, recording.events)
        return
    with click.open_file(output, "w", encoding="utf-8") as file:
        if form == "text":
            for line in _trace.text_lines(
                recording.events, recording.threads, recording.lost
            ):
                file.write(line + "\n")
            return
        convert = _trace.chrome if form == "chrome" else _trace.to_dict
        json.dump(
            convert(
                recording.events,
                recording.threads,
                recording.lost,
                recording.processes,
            ),
            file,
        )
        file.write("\n")
