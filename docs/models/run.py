#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Check the models with spin: every property holds, every mutation is found.

Usage: run.py [--quick] [--json] [--jobs N].  Exit status 0: all as it should be;
1: something is not; 2: spin or the C compiler is missing.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TIME_LIMIT = 900  # seconds, for one search

# What a search may find, by what spin prints of it.
PROPERTIES = {
    "invalid end state": "no deadlock, no lost wake-up",
    "owned[": "no two owners",
    "hole_replaced_before_unmapped": "unmap before replace",
    "leaf_without_entry": "no leaf without its entry",
    "entry_without_block": "no entry without its block",
    "(entry&16)": "no hole over a block",
    "stale_hole": "no hole is read after a write",
    "non-progress cycle": "every actor comes to its end",
}
ENDS = ["no deadlock, no lost wake-up", "no two owners"]
COHERENT = list(PROPERTIES.values())[:-1]
COLLAPSE = ("-DCOLLAPSE",)


@dataclass
class Search:
    """One run of a model: `found` is what it violates, None if nothing."""

    title: str
    model: str
    defines: dict
    properties: list
    mutation: str | None = None
    quick: bool = False
    endless: bool = False  # look for executions that never end
    options: tuple = ()
    states: int = 0
    seconds: float = 0.0
    found: str | None = None
    failure: str | None = None

    @property
    def good(self):
        if self.failure:
            return False
        return (self.found in self.properties) if self.mutation else not self.found


def lock(title, start, actors, pages=1, *, quick=False, **more):
    extra = more.pop("defines", {})
    defines = {"START": start, "ACTORS": actors, "PAGES": pages, **extra}
    properties = more.pop("properties", ENDS)
    return Search(title, "lock.pml", defines, properties, quick=quick, **more)


def fault(title, actors, pages, *, quick=False, **more):
    defines = {"ACTORS": actors, "PAGES": pages, **more.pop("defines", {})}
    properties = more.pop("properties", COHERENT)
    return Search(title, "fault.pml", defines, properties, quick=quick, **more)


FOREVER = {"properties": ["every actor comes to its end"], "endless": True}
BUFFERS = {"defines": {"STORE_BUFFERS": 1}}
HUGE_HOLE = {"defines": {"HUGE_HOLE": 1}}
MUTE = {"defines": {"MUTE_WHEN_GONE": 1}}

HOLDS = [
    lock("lock, wait, delete: PTE", "PTE", 4),
    lock("lock, wait, delete: PMD", "PMD", 4, 2, options=COLLAPSE),
    lock("PMD and PTE, downgrade", "MIXED", 3, 2),
    lock("PTE, store buffers", "PTE", 3, quick=True, **BUFFERS),
    lock("PTE, callers of 4.14", "PTE", 4, **MUTE),
    lock("downgrade, callers of 4.14", "DOWNGRADE", 3, 2, **MUTE),
    lock("PTE, no endless run", "PTE", 3, quick=True, **FOREVER),
    lock("downgrade, no endless run", "DOWNGRADE", 3, 2, **FOREVER),
    fault("fault, pwrite, punch, truncate: PTE", 3, 1),
    fault("fault, pwrite, punch, truncate: PMD", 2, 2, quick=True),
    fault("fault, pwrite over a PMD hole", 3, 2, options=COLLAPSE, **HUGE_HOLE),
]


def mutate(mutation, search, violated):
    """The same search with a rule taken out: it must find `violated`."""
    search.mutation = mutation
    search.defines["MUTATION"] = mutation
    search.properties = [violated]
    return search


STUCK = "no deadlock, no lost wake-up"
MUTATIONS = [
    mutate("WAKE_ONE_ON_DELETE", lock("wake one on delete", "PTE", 4, **MUTE), STUCK),
    mutate(
        "WAKE_ONE_ON_DOWNGRADE",
        lock("wake one on downgrade", "DOWNGRADE", 3, 2, quick=True, **MUTE),
        STUCK,
    ),
    mutate("NO_PASS_ON", lock("the wake-up is not passed on", "PTE", 4), STUCK),
    mutate("NO_RECHECK", lock("no look after queueing", "PTE", 4, quick=True), STUCK),
    mutate(
        "NO_LOOK_AFTER_WAKING",
        lock("no look after waking", "PTE", 4, quick=True),
        "no two owners",
    ),
    mutate(
        "KEY_NOT_ROUNDED", lock("key not rounded", "MIXED", 3, 2, quick=True), STUCK
    ),
    mutate(
        "PMD_WAITS_FOR_PTE",
        lock("PMD waits on a PTE entry", "MIXED", 3, 2, quick=True),
        STUCK,
    ),
    mutate(
        "NO_HEAVY_BARRIER",
        lock("no heavy barrier", "PTE", 3, quick=True, **BUFFERS),
        STUCK,
    ),
    mutate(
        "UNMAP_AFTER_REPLACE",
        fault("unmap after replace, PTE", 2, 1, quick=True),
        "unmap before replace",
    ),
    mutate(
        "UNMAP_AFTER_REPLACE",
        fault("unmap after replace, PMD", 2, 2, quick=True),
        "unmap before replace",
    ),
    mutate(
        "UNMAP_AFTER_DELETE",
        fault("unmap after delete", 2, 1, quick=True),
        "no leaf without its entry",
    ),
    mutate(
        "UNMAP_AFTER_DOWNGRADE",
        fault("unmap after downgrade", 2, 2, quick=True),
        "no leaf without its entry",
    ),
    mutate(
        "ASK_BEFORE_LOCK",
        fault("block map asked before the lock", 2, 1, quick=True),
        "no hole over a block",
    ),
    mutate(
        "INVALIDATE_BEFORE_BLOCK",
        fault("invalidated before the block", 3, 1),
        "no hole is read after a write",
    ),
]


def call(words, directory):
    done = subprocess.run(
        words, cwd=directory, capture_output=True, text=True, timeout=TIME_LIMIT
    )
    return done.returncode, done.stdout + done.stderr


def build(search, directory):
    """Have spin write the checker and cc compile it; an error text or None."""
    for model in HERE.glob("*.pml"):
        shutil.copy(model, directory)
    defines = [f"-D{name}={value}" for name, value in search.defines.items()]
    status, text = call(["spin", "-a", *defines, search.model], directory)
    if status or not (directory / "pan.c").exists():
        return f"spin: {text[:400]}"
    kind = "-DNP" if search.endless else "-DSAFETY"
    status, text = call(
        ["cc", "-O2", "-w", kind, *search.options, "-o", "pan", "pan.c"], directory
    )
    return f"cc: {text[:400]}" if status else None


def judge(search, text):
    """Read what pan has printed."""
    states = re.search(r"(\d+(?:\.\d*e\+\d+)?) states, stored", text)
    errors = re.search(r"errors: (\d+)", text)
    if not states or not errors:
        search.failure = f"the search broke off: {text[-400:]}"
        return
    search.states = int(float(states[1]))
    violation = re.search(r"pan:1: (.*) \(at depth", text)
    if violation:
        names = [name for mark, name in PROPERTIES.items() if mark in violation[1]]
        search.found = names[0] if names else violation[1]
    elif errors[1] != "0" or "not completed" in text or "too small" in text:
        search.failure = f"the search is not whole: {text[:400]}"


def run(search):
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        try:
            search.failure = build(search, directory)
            if not search.failure:
                words = ["./pan", "-m100000", *(["-l"] if search.endless else [])]
                judge(search, call(words, directory)[1])
        except subprocess.TimeoutExpired:
            search.failure = f"not done after {TIME_LIMIT} s"
    search.seconds = round(time.monotonic() - begin, 1)
    return search


def verdict(search):
    if search.failure:
        return f"FAILED: {search.failure}"
    if not search.mutation:
        return f"VIOLATED: {search.found}" if search.found else "holds"
    if not search.found:
        return "SURVIVED"
    return f"rejected: {search.found}" if search.good else f"OTHER: {search.found}"


def bounds(search):
    pages = "PMD" if search.defines["PAGES"] > 1 else "PTE"
    return f"{search.defines['ACTORS']} {pages}"


def row(search_title, where, states, seconds, what):
    print(f"{search_title:<38}{where:<7}{states:>12}{seconds:>9}  {what}", flush=True)


def report(search):
    what = verdict(search)
    if search.mutation:
        what += f" [{search.mutation}]"
    elif search.good:
        what += ": " + "; ".join(search.properties)
    states, seconds = f"{search.states:,}", f"{search.seconds:.1f} s"
    row(search.title, bounds(search), states, seconds, what)


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="what takes seconds")
    parser.add_argument("--json", action="store_true", help="one document, no table")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    return parser.parse_args()


def main():
    args = parse()
    for program, package in (("spin", "spin"), ("cc", "gcc")):
        if not shutil.which(program):
            print(f"needs {program}: apt-get install {package}", file=sys.stderr)
            return 2
    chosen = [s for s in HOLDS + MUTATIONS if s.quick or not args.quick]
    if not args.json:
        row("search", "actors", "states", "time", "verdict")
    with ThreadPoolExecutor(args.jobs) as pool:
        for search in pool.map(run, chosen):
            if not args.json:
                report(search)
    good = all(search.good for search in chosen)
    if args.json:
        rows = [{**asdict(s), "verdict": verdict(s), "good": s.good} for s in chosen]
        print(json.dumps({"good": good, "searches": rows}, indent=1))
    else:
        print("all hold, every mutation is rejected" if good else "NOT as it should be")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
