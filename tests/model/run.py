# SPDX-License-Identifier: BSD-3-Clause
"""Run one state machine: ``run.py tree``, ``run.py files POLICY PAGES BLOCKS``,
or the same with a DELIVERY behind it: its mappings are real.

The process must have been started with the library of ``make model-lib`` in
LD_PRELOAD.  The last line of the output is what happened, as JSON.
DAXCORE_HYPOTHESIS=expensive runs twenty times as much, from another seed
each time.  DAXCORE_HYPOTHESIS=steps prints each step before it is made, for runs
that end by a signal.
"""

import json
import os
import sys
import time

from hypothesis import HealthCheck, Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test
from library import LIBRARY

EXPENSIVE = os.environ.get("DAXCORE_HYPOTHESIS") == "expensive"
PRINTING = os.environ.get("DAXCORE_HYPOTHESIS") == "steps"
STEPS = 100  # of one sequence
SEQUENCES = {"tree": 190, "files": 110}
REAL_SEQUENCES = 45  # of files with real mappings, whose steps take longer
SETTINGS = settings(
    stateful_step_count=STEPS,
    derandomize=not EXPENSIVE,  # a red run repeats
    database=None,
    deadline=None,
    print_blob=True,
    verbosity=Verbosity.debug if PRINTING else Verbosity.normal,
    suppress_health_check=list(HealthCheck),
)


def machine(kind, *names):
    if kind == "tree":
        from tree import TreeMachine

        return TreeMachine
    from files import file_machine

    return file_machine(*names)


def main(*arguments):
    chosen = machine(*arguments)
    start = time.monotonic()
    nr = REAL_SEQUENCES if len(arguments) > 4 else SEQUENCES[arguments[0]]
    nr *= 20 if EXPENSIVE else 1
    run_state_machine_as_test(chosen, settings=settings(SETTINGS, max_examples=nr))
    summary = {
        "tree_shift": LIBRARY.tree_shift(),
        "steps": sum(chosen.ran.values()),
        "ran": chosen.ran,
        "stats": {name: n for name, n in chosen.stats.items() if n},
        "missing": sorted(chosen.missing()),
        "seconds": round(time.monotonic() - start, 1),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main(*sys.argv[1:])
