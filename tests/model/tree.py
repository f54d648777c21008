# SPDX-License-Identifier: BSD-3-Clause
"""The radix tree against a dict: first page -> order, word and tags.

Every step is followed by a walk of all nodes in C and a comparison of all
entries.  Where the tree may be inexact, it is said so: slots that were emptied
in shared use leave nodes behind, until an exclusive call has been there.
"""

import ctypes
import errno
from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from library import LIBRARY, Place

TAGS = (0, 1)  # DIRTY, TOWRITE
ORDERS = st.sampled_from([0, 0, 0, 0, 9, 9, 18])
INDEX_BITS = 52
EDGES = sorted({(n << order) + d for n in (0, 1, 2, 3, 7, 8) for order in (3, 6, 9, 18)
                for d in (-1, 0, 1)} - {-1})  # fmt: skip
INDICES = st.one_of(
    st.integers(0, 20),
    st.sampled_from(EDGES),
    st.integers(0, 4 << 9),
    st.integers(0, 3 << 18),
    st.sampled_from([1 << 36, (1 << INDEX_BITS) - 1, 1 << INDEX_BITS]),
)
WORDS = st.integers(1, 1 << 60).map(lambda n: n << 3 | 2)
# None, mostly; else which allocation from now on fails
OOM = st.sampled_from([None] * 8 + [1, 2, 3])
OFTEN_OOM = st.sampled_from([None, None, 1, 1, 2])


class TreeMachine(RuleBasedStateMachine):
    """What the tree holds is what the dict holds."""

    ran = Counter()
    stats = Counter()

    @initialize(maxindex=st.one_of(INDICES, st.sampled_from([0, 1 << 20])))
    def new(self, maxindex):
        self.entries = {}  # first page: [order, word, set of tags]
        self.husks = set()  # pages where a node without entries may stand
        self.maxindex = min(maxindex, (1 << INDEX_BITS) - 1)
        self.tree = LIBRARY.tree_new(self.maxindex)
        assert LIBRARY.tree_maxindex(self.tree) >= self.maxindex
        self.maxindex = LIBRARY.tree_maxindex(self.tree)
        self.exact = True

    def teardown(self):
        if hasattr(self, "tree"):
            LIBRARY.tree_free(self.tree)

    # ---- the model ---------------------------------------------------------------

    def did(self, what):
        type(self).ran[what] += 1

    def covering(self, index):
        """First page of the entry that covers a page, or None."""
        for order in (0, 9, 18):
            first = index >> order << order
            if first in self.entries and self.entries[first][0] == order:
                return first
        return None

    def inside(self, first, last):
        """First pages of the entries that cover a page of a range, in order."""
        return sorted(
            index
            for index, (order, _, _) in self.entries.items()
            if index <= last and index + (1 << order) > first
        )

    def left_husk(self, index):
        self.husks.add(index)
        self.exact = False

    def settle(self, first, last):
        """An exclusive call has been over a range."""
        self.husks = {index for index in self.husks if not first <= index <= last}

    def pick(self, n):
        """One of the entries, or None."""
        return sorted(self.entries)[n % len(self.entries)] if self.entries else None

    def top(self):
        """Order of the slots of the topmost node."""
        return (self.maxindex + 1).bit_length() - 1 - LIBRARY.tree_shift()

    def expect_oom(self, ret, oom):
        """After a call with a failing allocation: did that end it?"""
        failed = LIBRARY.fail_clear() if oom else False
        assert failed == (ret == -errno.ENOMEM)
        return failed

    # ---- steps -------------------------------------------------------------------

    @rule(index=INDICES, order=ORDERS, word=WORDS, oom=OOM)
    def insert(self, index, order, word, oom):
        self.did(self.insert_one(index, order, word, oom))

    def insert_one(self, index, order, word, oom=None):
        place = Place()
        if oom:
            LIBRARY.fail_nth(oom)
        ret = LIBRARY.tree_insert(self.tree, index, order, word, place)
        if self.expect_oom(ret, oom):
            return "insert, out of memory"
        first = index >> order << order
        last = first + (1 << order) - 1
        if index > self.maxindex or order > self.top():
            assert ret == -errno.ERANGE
            return "insert, out of range"
        if self.inside(first, last):
            assert ret == -errno.EEXIST
            return "insert, exists"
        if ret == -errno.EEXIST:
            assert order and any(first <= husk <= last for husk in self.husks)
            return "insert, a node is left"
        assert ret == 0
        assert (place.index, place.order, place.entry) == (first, order, word)
        self.entries[first] = [order, word, set()]
        return "insert"

    @rule(first=INDICES, nr=st.integers(2, 60), order=st.sampled_from([0, 0, 9]),
          tags=st.sampled_from([(), (0,), (0, 1)]))  # fmt: skip
    def insert_run(self, first, nr, order, tags):
        """Neighbours, until something is in the way."""
        for n in range(nr):
            index = (first >> order << order) + (n << order)
            if self.insert_one(index, order, (index + 1) << 3 | 2) != "insert":
                break
            for tag in tags:
                LIBRARY.tree_set_tag(self.tree, index, tag, True)
            self.entries[index][2].update(tags)
        self.did("insert run")

    @rule(n=st.integers(0, 1 << 16), order=st.sampled_from([9, 18]), word=WORDS)
    def insert_over(self, n, order, word):
        """A large entry where a small one was."""
        if self.husks:
            index = sorted(self.husks)[n % len(self.husks)]
            self.did(self.insert_one(index, order, word))

    @rule(n=st.integers(0, 1 << 16), word=WORDS)
    def replace(self, n, word):
        index = self.pick(n)
        if index is None:
            return
        order = self.entries[index][0]
        LIBRARY.tree_store(self.tree, index + n % (1 << order), word)
        self.entries[index][1] = word
        self.did("replace")

    @rule(n=st.integers(0, 1 << 16))
    def delete(self, n):
        index = self.pick(n)
        if index is None:
            return
        LIBRARY.tree_store(self.tree, index, 0)
        del self.entries[index]
        self.left_husk(index)
        self.did("delete")

    @rule(n=st.integers(0, 1 << 20), word=WORDS, oom=OOM)
    def split(self, n, word, oom):
        """An entry gives way to one of order 0 somewhere inside its range."""
        large = [index for index, row in sorted(self.entries.items()) if row[0]]
        if not large:
            return
        index = large[n % len(large)]
        page = index + n % (1 << self.entries[index][0])
        place = Place()
        if oom:
            LIBRARY.fail_nth(oom)
        ret = LIBRARY.tree_split(self.tree, page, word, place)
        if self.expect_oom(ret, oom):
            self.did("split, out of memory")
            return
        assert ret == 0
        assert (place.index, place.order, place.entry) == (page, 0, word)
        del self.entries[index]
        self.entries[page] = [0, word, set()]
        self.left_husk(page)  # tags above may be stale
        self.did("split")

    @rule(n=st.integers(0, 1 << 16), start=st.integers(-3, 511),
          length=st.integers(1, 511), discard=st.booleans(), oom=OOM)  # fmt: skip
    def split_range(self, n, start, length, discard, oom):
        """Some pages of a 2 MiB entry go, the others get entries of their own."""
        large = [index for index, row in sorted(self.entries.items()) if row[0] == 9]
        if not large:
            return
        index = large[n % len(large)]
        first = max(0, index + start)
        last = max(index, first + length - 1)
        if first <= index and last >= index + 511:
            return
        if oom:
            LIBRARY.fail_nth(oom)
        ret = LIBRARY.tree_split_range(self.tree, index, first, last, discard)
        if self.expect_oom(ret, oom) or discard:
            self.did("split range, given up")
            return
        assert ret == 0
        _, word, tags = self.entries.pop(index)
        for page in range(index, index + 512):
            if not first <= page <= last:
                next_word = word + ((page - index) << 3)
                self.entries[page] = [0, next_word, set(tags)]
        self.left_husk(index)
        self.did("split range")

    @rule(
        first=INDICES,
        length=INDICES,
        tag=st.sampled_from(TAGS),
        nr=st.integers(1, 20),
        clear=st.booleans(),
        everywhere=st.booleans(),
    )
    def gang(self, first, length, tag, nr, clear, everywhere):
        """The next entries with a tag, which may fall for all of them."""
        first, last = (0, self.maxindex) if everywhere else (first, first + length)
        found = (ctypes.c_uint64 * nr)()
        nr = LIBRARY.tree_gang(self.tree, first, last, tag, clear, found, nr)
        rows = [i for i in self.inside(first, last) if tag in self.entries[i][2]]
        assert found[:nr] == rows[: len(found)]
        if clear and nr:
            for index in rows[: len(found)]:
                self.entries[index][2].discard(tag)
            self.exact = False
        self.did("gang clear" if clear and nr else "gang lookup")

    @rule(n=st.integers(0, 1 << 20), tag=st.sampled_from(TAGS), on=st.booleans())
    def set_tag(self, n, tag, on):
        index = self.pick(n)
        if index is None:
            return
        order, _, tags = self.entries[index]
        LIBRARY.tree_set_tag(self.tree, index + n % (1 << order), tag, on)
        if on:
            tags.add(tag)
        else:
            tags.discard(tag)
            self.exact = False
        self.did("tag set" if on else "tag clear")

    @rule(index=INDICES, order=ORDERS)
    def walk(self, index, order):
        """A walk ends at the entry, or in an empty slot, or at its order."""
        place = Place()
        found = LIBRARY.tree_walk(self.tree, index, order, place)
        first = self.covering(index)
        level = min(order, self.top())
        if found and first is not None and self.entries[first][0] >= level:
            assert place.index == first
            assert [place.order, place.entry] == self.entries[first][:2]
        elif found and place.entry:
            assert place.entry & 3 == 1 and place.order == level  # a node
        assert found or first is None
        self.did("walk")

    @rule(index=INDICES)
    def lookup(self, index):
        first = self.covering(index)
        expected = 0 if first is None else self.entries[first][1]
        assert LIBRARY.tree_lookup(self.tree, index) == expected
        self.did("lookup")

    @rule(first=INDICES, length=INDICES, tag=st.sampled_from([-1, *TAGS]))
    def next(self, first, length, tag):
        """The first entry of a range, any or with a tag."""
        place = Place()
        last = first + length
        found = LIBRARY.tree_next(self.tree, first, last, tag, place)
        rows = [i for i in self.inside(first, last)
                if tag < 0 or tag in self.entries[i][2]]  # fmt: skip
        assert bool(found) == bool(rows)
        if rows:
            assert place.index == rows[0]
            assert [place.order, place.entry] == self.entries[rows[0]][:2]
        self.did("next" if tag < 0 else "next tagged")

    @rule(prune=st.booleans(), maxindex=INDICES, oom=OFTEN_OOM)
    def exclusive(self, prune, maxindex, oom):
        if prune:
            LIBRARY.tree_prune(self.tree)
            self.settle(0, 1 << INDEX_BITS)
            self.exact = True
            self.did("prune")
        else:
            self.extend(maxindex, oom)

    def extend(self, maxindex, oom):
        maxindex = min(maxindex, (1 << INDEX_BITS) - 1)
        if oom:
            LIBRARY.fail_nth(oom)
        ret = LIBRARY.tree_extend(self.tree, maxindex)
        if self.expect_oom(ret, oom):
            assert LIBRARY.tree_maxindex(self.tree) == self.maxindex
            self.did("extend, out of memory")
            return
        assert ret == 0
        now = LIBRARY.tree_maxindex(self.tree)
        assert now >= max(maxindex, self.maxindex)
        self.maxindex = now
        self.did("extend")

    @rule(first=INDICES, length=INDICES, keep_every=st.sampled_from([0, 0, 2, 3]))
    def delete_range(self, first, length, keep_every):
        last = first + length
        rows = self.inside(first, last)
        met = LIBRARY.tree_delete_range(self.tree, first, last, keep_every)
        assert met == len(rows)
        for n, index in enumerate(rows, start=1):
            if not keep_every or n % keep_every:
                del self.entries[index]
        self.settle(first, last)
        self.did("delete range")

    # ---- after every step --------------------------------------------------------

    @invariant()
    def agree(self):
        if not hasattr(self, "tree"):
            return
        LIBRARY.holds(LIBRARY.tree_check(self.tree, self.exact))
        assert self.everything() == sorted(
            (index, order, word, frozenset(tags))
            for index, (order, word, tags) in self.entries.items()
        )
        for tag in TAGS:
            tagged = any(tag in row[2] for row in self.entries.values())
            assert LIBRARY.tree_tagged(self.tree, tag) == tagged
        if self.exact and not self.entries:
            assert LIBRARY.tree_nodes(self.tree) == 0

    def everything(self):
        rows = []
        place = Place()
        ref = ctypes.byref(place)
        index, last = 0, (1 << 64) - 1
        while LIBRARY.tree_next(self.tree, index, last, -1, ref):
            tags = frozenset(
                tag for tag in TAGS if LIBRARY.tree_get_tag(self.tree, place.index, tag)
            )
            rows.append((place.index, place.order, place.entry, tags))
            index = place.index + (1 << place.order)
        return rows

    @classmethod
    def missing(cls):
        """What must have happened in a run that proves anything, and did not."""
        return {
            "insert", "insert, out of memory", "insert, out of range",
            "insert, exists", "insert, a node is left", "insert run", "replace",
            "delete", "split", "split, out of memory", "tag set", "tag clear",
            "walk", "lookup", "next", "next tagged", "extend",
            "extend, out of memory", "delete range", "prune",
            "split range", "split range, given up", "gang lookup", "gang clear",
        } - set(cls.ran)  # fmt: skip
