# SPDX-License-Identifier: BSD-3-Clause
"""Compares what a file system and the engine did in a sequence.

Results, bytes read and file sizes must be equal.  Events and written blocks may
differ in the ways of ALLOWED alone, which docs/testing.md lists with reasons.
"""

import collections

from engine import PAGE, Step, event_tuple, number

# The allowed differences, by name; compare() counts how often each is used.
ALLOWED = (
    "insert events",
    "result flags",
    "past the end",
    "private copy",
    "cut",
    "empty passes",
    "clean entries",
    "zero range",
    "unaligned blocks",
    "more blocks",
)
_INSERTED = {
    "dax_insert_mapping",
    "dax_pmd_insert_mapping",
    "dax_pmd_insert_mapping_fallback",
}
_CUTS = ("truncate", "punch", "zero")
_PMD_SIGBUS = ("dax_pmd_fault_done", "SIGBUS")
_FELL_AND_SIGBUS = [
    ("dax_pmd_fault_done", "FALLBACK"),
    ("dax_pte_fault_done", "SIGBUS"),
]
_REFAULTED = ("NOPAGE", "FALLBACK")  # what a fault of an unmapped page ends in


def read_sequences(path):
    """Return a dict: name -> lines."""
    sequences, lines = {}, []
    for line in path.read_text().splitlines():
        if line.startswith("= "):
            lines = sequences.setdefault(line[2:], [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return sequences


def run_in_vm(machine, file_system, lines):
    """Return a Step for each line, done on a file system of the VM."""
    answer = machine.request("\n".join([f"= /{file_system}", *lines, ".", ""]))
    results = [line[2:].strip() for line in answer if line.startswith("r ")]
    files = [map(int, line.split()[1:]) for line in answer if line.startswith("b ")]
    events = []
    for line in answer:
        if line == "s":
            events.append([])
        elif line.startswith("e "):
            events[-1].append(event_tuple(line[4:], line[2]))
    if not len(results) == len(files) == len(events) == len(lines):
        raise AssertionError("\n".join(["not an answer:", *answer]))
    rows = zip(results, files, events, strict=True)
    return [Step(result, *file, step_events) for result, file, step_events in rows]


class FileState:
    """What the steps say of a file: pages stored to and not synced, cuts."""

    def __init__(self):
        self.stored = set()
        self.cut = False  # since the last fsync
        self.ever_cut = False
        self.zeroed = False
        self.allocated = False  # more than what is stored to, perhaps
        self.fell_back = False  # a store there, from 2 MiB
        self.end_punched = False  # and with it, in ext4, the block at the end
        self.other_blocks = False  # so that a hole is none on the other side
        self.apart = False  # 2 MiB here, 4 KiB there


class Comparison:
    """One sequence on a file system of the VM and on the engine."""

    def __init__(self, file_system, used):
        self.file_system = file_system
        self.used = used
        self.files = collections.defaultdict(FileState)
        self.maps = {}  # letter -> file, offset, length, shared

    def step(self, line, kernel, engine):
        """Return what differs, as lines."""
        words = line.split()
        verb, letter = words[:2]
        if verb == "map":
            file, offset, length = words[2], number(words[3]), number(words[4])
            self.maps[letter] = file, offset, length, "private" not in words
        file = self.maps[letter][0] if letter in self.maps else letter
        state = self.files[file]
        if kernel.result.startswith(("ok", "SIGBUS")):
            self._before(state, words, engine)
        found = [
            f"  {what}: {theirs} there, {ours} here"
            for what, theirs, ours in (
                ("result", kernel.result, engine.result),
                ("size", kernel.size, engine.size),
            )
            if theirs != ours
        ]
        found += self._faults(state, verb, kernel, engine)
        found += self._blocks(state, kernel, engine)
        if verb in ("fsync", "msync"):
            found += self._flushes(state, self._range(words), kernel, engine)
        if kernel.result == "ok":
            self._after(state, words, engine)
        return found

    def _use(self, name):
        assert name in ALLOWED, name
        self.used[name] += 1

    # ---- what the steps say

    def _range(self, words):
        """Return first and last page of an fsync or msync."""
        if words[0] == "fsync":
            return 0, 1 << 51
        _, offset, length, _ = self.maps[words[1]]
        if len(words) > 2:
            offset, length = offset + number(words[2]), number(words[3])
        return offset // PAGE, (offset + length - 1) // PAGE

    def _before(self, state, words, engine):
        verb, letter = words[:2]
        if verb == "store" and self.maps[letter][3]:
            start = self.maps[letter][1] + number(words[2])
            end = min(start + number(words[3]), -(-engine.size // PAGE) * PAGE)
            state.stored.update(range(start // PAGE, -(-end // PAGE)))
        elif verb in _CUTS:
            state.cut = state.ever_cut = True
            state.zeroed |= verb == "zero"
            if verb == "punch" and self.file_system == "ext4":
                end = number(words[2]) + number(words[3])
                state.end_punched |= end >= engine.size
        elif verb == "falloc":
            state.allocated = state.ever_cut = True
        elif verb == "pwrite":
            state.allocated |= self.file_system == "xfs"

    def _after(self, state, words, engine):
        verb = words[0]
        if verb in ("fsync", "msync"):
            state.stored.difference_update(*flushed(engine.events))
            state.cut &= verb != "fsync"
        elif verb == "truncate":
            pages = -(-number(words[2]) // PAGE)
            state.stored = {page for page in state.stored if page < pages}
        elif verb == "punch":
            start, end = number(words[2]), number(words[2]) + number(words[3])
            gone = range(-(-start // PAGE), end // PAGE)
            state.stored = {page for page in state.stored if page not in gone}

    # ---- what is compared

    def _blocks(self, state, kernel, engine):
        if kernel.written == engine.written:
            return []
        if self._not_comparable(state):
            return []
        more = kernel.written > engine.written
        if more and (state.fell_back or state.allocated):
            self._use("more blocks")
        elif not more and state.end_punched:
            self._use("cut")
        else:
            return [f"  written: {kernel.written} there, {engine.written} here"]
        state.other_blocks = True
        return []

    def _flushes(self, state, pages, kernel, engine):
        """Each entry that was stored to is flushed, and nothing else is."""
        theirs, ours = flushed(kernel.events), flushed(engine.events)
        covered = {page for run in ours for page in run}
        first, last = pages
        lost = {p for p in state.stored if first <= p <= last} - covered
        if lost:
            return [f"  stored to and not flushed here: pages {sorted(lost)[:8]}"]
        dirty = [run for run in theirs if not state.stored.isdisjoint(run)]
        if len(dirty) < len(theirs):
            self._use("clean entries")
        if dirty != ours and state.cut:
            self._use("cut")
        elif dirty != ours and self._not_comparable(state):
            pass
        elif dirty != ours:
            return [f"  flushed: {dirty} there, {ours} here"]
        elif ours and ranges(kernel.events) != ranges(engine.events):
            return [f"  {ranges(kernel.events)} there, {ranges(engine.events)} here"]
        if not ours and (ranges(kernel.events) or ranges(engine.events)):
            self._use("empty passes")
        return []

    def _faults(self, state, verb, kernel, engine):
        theirs, ours = faults(kernel.events), faults(engine.events)
        if any(e[0] in _INSERTED for e in engine.events):
            self._use("insert events")
        if any(e[-1] != plain(e)[-1] for e in engine.events + kernel.events):
            self._use("result flags")
        state.fell_back |= bool(pmd_stores(theirs, "FALLBACK"))
        if verb in _CUTS and flushed(kernel.events):
            self._use("cut")
        if theirs == ours or self._not_comparable(state):
            return []
        if by_4_kib_there(theirs, ours):
            self._use("unaligned blocks")
            state.apart = True
            return []
        if state.other_blocks:
            theirs, ours = without_holes(theirs), without_holes(ours)
        ours = self._but_for_copies(theirs, self._but_for_ends(theirs, ours))
        if state.ever_cut:
            theirs = self._but_for_cuts(theirs, ours)
        if theirs == ours:
            return []
        return ["  faults:", *side_by_side(theirs, ours)]

    def _not_comparable(self, state):
        """Whether the entries or the blocks are others by now."""
        if state.zeroed:
            self._use("zero range")
        elif state.apart:
            self._use("unaligned blocks")
        return state.zeroed or state.apart

    def _but_for_ends(self, theirs, ours):
        """Make one SIGBUS of a 2 MiB fault that fell back and the 4 KiB one's."""
        if [(g[-1][0], g[-1][-1]) for g in theirs[-1:]] != [_PMD_SIGBUS]:
            return ours
        if [(g[-1][0], g[-1][-1]) for g in ours[-2:]] != _FELL_AND_SIGBUS:
            return ours
        self._use("past the end")
        return [*ours[:-2], theirs[-1]]

    def _but_for_copies(self, theirs, ours):
        """Leave out of ours the private copies that the kernel makes alone."""
        left = [g for g in ours if g in theirs or "DONE_COW" not in g[-1][-1]]
        if len(left) < len(ours):
            self._use("private copy")
        return left

    def _but_for_cuts(self, theirs, ours):
        """Leave out of theirs the faults of what the cut has unmapped."""
        wanted = collections.Counter(ours)
        left = []
        for group in theirs:
            if wanted[group] > 0 or group[-1][-1] not in _REFAULTED:
                wanted[group] -= 1
                left.append(group)
        if len(left) < len(theirs):
            self._use("cut")
        return left


def flushed(events):
    """Return the pages of each entry that was written back, as ranges."""
    numbers = [map(int, e[2:]) for e in events if e[0] == "dax_writeback_one"]
    return [range(pgoff, pgoff + count) for pgoff, count in numbers]


def ranges(events):
    return [event for event in events if event[0] == "dax_writeback_range"]


def faults(events):
    """Return the faults, each a tuple of events; without MAJOR and inserts."""
    groups, group = [], []
    for event in events:
        if event[0] in _INSERTED or "writeback" in event[0]:
            continue
        group.append(plain(event))
        if event[0].endswith("_fault_done"):
            groups.append(tuple(group))
            group = []
    return groups


def plain(event):
    """Return an event without MAJOR, and NOPAGE for NEEDDSYNC."""
    last = event[-1].replace("MAJOR|", "").replace("NEEDDSYNC", "NOPAGE")
    return (*event[:-1], last)


def without_holes(groups):
    """Return the faults without the events that say it was a hole."""
    return [tuple(e for e in group if "load_hole" not in e[0]) for group in groups]


def pmd_stores(groups, result):
    """Return the 2 MiB faults of stores that ended in a result."""
    ends = [group[-1] for group in groups]
    return {
        end[:-1]
        for end in ends
        if end[0] == "dax_pmd_fault_done" and end[3] == "write" and end[-1] == result
    }


def by_4_kib_there(theirs, ours):
    """Whether a store fell back there for which there are 2 MiB here."""
    fell = pmd_stores(theirs, "FALLBACK")
    return not fell.isdisjoint(pmd_stores(ours, "NOPAGE"))


def side_by_side(theirs, ours):
    for title, groups in (("there", theirs), ("here", ours)):
        for group in groups[:16]:
            yield f"    {title}: " + ", ".join(" ".join(event) for event in group)


def compare(file_system, lines, kernel, engine, used):
    """Return what differs, as lines; counts in `used` what is allowed."""
    comparison = Comparison(file_system, used)
    found = []
    for number_, line in enumerate(lines):
        differs = comparison.step(line, kernel[number_], engine[number_])
        if differs:
            found += [f"step {number_ + 1}, {line}", *differs]
    return found


def compare_results(lines, kernel, engine):
    """The same, of results and sizes alone."""
    return [
        f"step {i + 1}, {line}: {k.result}, {k.size} there, {e.result}, {e.size} here"
        for i, (line, k, e) in enumerate(zip(lines, kernel, engine, strict=True))
        if (k.result, k.size) != (e.result, e.size)
    ]
