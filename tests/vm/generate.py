# SPDX-License-Identifier: BSD-3-Clause
"""Random access sequences from a seed, and how they are made shorter."""

import random

from engine import PAGE, number

MIB = 1 << 20
SIZES = (0, 5000, PAGE, 16 * PAGE, 2 * MIB, 3 * MIB, 4 * MIB, 6 * MIB)
# Where things go wrong: ends of pages and of 2 MiB, few pages, often met.
PLACES = (0, 10, PAGE - 4, PAGE, 2 * PAGE, 3 * PAGE + 100, MIB, 2 * MIB - 4,
          2 * MIB, 2 * MIB + PAGE, 3 * MIB, 4 * MIB - PAGE)  # fmt: skip
LENGTHS = (1, 8, 100, PAGE, 3 * PAGE, 10000)
CUT_LENGTHS = (1000, PAGE, 3 * PAGE, 10000, MIB, 2 * MIB)
VERBS = {
    "load": 8, "store": 8, "pread": 2, "pwrite": 3, "fsync": 3, "msync": 1,
    "truncate": 2, "punch": 2, "falloc": 1, "zero": 1, "dontneed": 1, "unmap": 1,
    "map": 3,
}  # fmt: skip


class Generator:
    """One sequence: a file or two, mappings that come and go."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.maps = {}  # letter -> length
        self.lines = []
        self.byte = 0x60

    def sequence(self):
        for letter in "ab"[: self.random.choice((1, 1, 1, 2))]:
            self.lines.append(f"open {letter} {self.random.choice(SIZES)}")
        self.files = [line.split()[1] for line in self.lines]
        self._map()
        while len(self.lines) < 16:
            verb = self.random.choices(list(VERBS), VERBS.values())[0]
            getattr(self, f"_{verb}")()
        return self.lines

    def _add(self, *words):
        self.lines.append(" ".join(map(str, words)))

    def _file(self):
        return self.random.choice(self.files)

    def _next_byte(self):
        self.byte += 1
        return self.byte

    def _map(self):
        letter = chr(ord("A") + sum(line.startswith("map") for line in self.lines))
        offset = self.random.choice((0, 0, 0, 0, PAGE, 2 * MIB))
        length = self.random.choice((2 * PAGE, 2 * MIB, 4 * MIB, 4 * MIB))
        words = [w for w, p in (("private", 0.2), ("pte", 0.3)) if self._happens(p)]
        self.maps[letter] = length
        self._add("map", letter, self._file(), offset, length, *words)

    def _happens(self, probability):
        return self.random.random() < probability

    def _access(self, verb, *more):
        if not self.maps:
            return
        letter = self.random.choice(list(self.maps))
        offset, length = self.random.choice(PLACES), self.random.choice(LENGTHS)
        if offset + length <= self.maps[letter]:
            self._add(verb, letter, offset, length, *more)

    def _load(self):
        self._access("load")

    def _store(self):
        self._access("store", self._next_byte())

    def _range(self, verb, lengths, *more):
        place = self.random.choice(PLACES)
        self._add(verb, self._file(), place, self.random.choice(lengths), *more)

    def _pread(self):
        self._range("pread", LENGTHS)

    def _pwrite(self):
        self._range("pwrite", LENGTHS, self._next_byte())

    def _punch(self):
        self._range("punch", CUT_LENGTHS)

    def _falloc(self):
        self._range("falloc", CUT_LENGTHS)

    def _zero(self):
        self._range("zero", CUT_LENGTHS)

    def _truncate(self):
        self._add("truncate", self._file(), self.random.choice(SIZES))

    def _fsync(self):
        self._add("fsync", self._file())

    def _map_step(self, verb, *more):
        if self.maps:
            self._add(verb, self.random.choice(list(self.maps)), *more)

    def _msync(self):
        self._map_step("msync", *self.random.choice(((), (0, PAGE), (PAGE, PAGE))))

    def _dontneed(self):
        self._map_step("dontneed", 0, 2 * PAGE)

    def _unmap(self):
        if self.maps:
            letter = self.random.choice(list(self.maps))
            del self.maps[letter]
            self._add("unmap", letter)


def stands(lines):
    """Whether each step finds its file or mapping, and no access leaves it."""
    letters = {}
    for line in lines:
        words = line.split()
        verb, letter = words[:2]
        if verb == "open":
            letters[letter] = None
        elif verb == "map":
            if words[2] not in letters:
                return False
            letters[letter] = number(words[4])
        elif letter not in letters:
            return False
        if verb == "unmap":
            del letters[letter]
    return True


def shrink(lines, goes_wrong):
    """Return a shorter sequence that goes wrong too: no step can be left out."""
    again = True
    while again:
        again = False
        for i in reversed(range(len(lines))):
            fewer = lines[:i] + lines[i + 1 :]
            if fewer and stands(fewer) and goes_wrong(fewer):
                lines, again = fewer, True
    return lines
