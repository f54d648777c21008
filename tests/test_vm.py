# SPDX-License-Identifier: BSD-3-Clause
"""The parts of tests/vm that need no virtual machine: `make test-vm` is the rest."""

import collections
import copy
import re
import sys

import pytest
from conftest import ROOT, need, need_real_mapping

sys.path.insert(0, str(ROOT / "tests/vm"))

import compare
import generate
from engine import Engine, event_tuple

import daxcore

SEQUENCES = compare.read_sequences(ROOT / "tests/vm/sequences.txt")
STORE = ["open a 4M", "map A a 0 4M", "store A 4K 8 0x61", "load A 4K 16", "fsync a"]


@pytest.fixture(autouse=True)
def flushes():
    """The engine's device is treated as persistent memory."""
    try:
        daxcore.Device.memory(4096, emulate_pmem=True).close()
    except daxcore.NotSupportedError as error:
        need("clwb", False, str(error))


def differences(spoil):
    """Return what compare() says of the engine and a spoilt copy of its steps."""
    kernel = Engine().run(STORE)
    engine = copy.deepcopy(kernel)
    spoil(engine)
    return compare.compare("ext4", STORE, kernel, engine, collections.Counter())


@pytest.mark.parametrize("name", SEQUENCES)
def test_soft_and_real_mappings_show_the_same(name):
    need_real_mapping()
    lines = [line for line in SEQUENCES[name] if "sync" not in line.split()]
    if lines == SEQUENCES[name]:
        steps = Engine().run(lines), Engine("real").run(lines)
        assert not compare.compare_results(lines, *steps)


@pytest.mark.parametrize("name", SEQUENCES)
def test_stores_are_flushed(name):
    """What compare() wants of the engine alone; here it is the kernel as well."""
    lines = SEQUENCES[name]
    steps = Engine().run(lines)
    assert not compare.compare("ext4", lines, steps, steps, collections.Counter())


def test_what_differs_is_seen():
    def spoil(what):
        return lambda steps: setattr(steps[3], *what)

    assert differences(lambda steps: None) == []
    for what in (("result", "ok 00*16"), ("size", 1), ("written", 4096)):
        assert differences(spoil(what))
    assert differences(lambda steps: steps[2].events.clear())
    assert differences(lambda steps: steps[4].events.clear())
    assert differences(lambda steps: steps[4].events.append(steps[4].events[1]))
    assert differences(lambda steps: steps[3].events.extend(steps[2].events))


def test_events_of_the_kernel_are_read():
    place = "dev 259:2 ino 0xc shared"
    flags = "WRITE|ALLOW_RETRY|USER address 0x7f0000001000"
    text = f"dax_pte_fault_done: {place} {flags} pgoff 0x1 NOPAGE\n"
    assert event_tuple(text, "a") == (
        "dax_pte_fault_done", "a", "shared", "write", "1", "NOPAGE",
    )  # fmt: skip
    text = "dax_writeback_one: dev 259:2 ino 0xc pgoff 0x200 pglen 0x200"
    assert event_tuple(text, "b") == ("dax_writeback_one", "b", "512", "512")


def test_random_sequences_stand_and_shrink():
    for seed in range(200):
        assert generate.stands(generate.Generator(seed).sequence())
    lines = generate.Generator(1).sequence()
    assert lines == generate.Generator(1).sequence()
    wrong = next(line for line in lines if line.startswith(("load", "store")))
    short = generate.shrink(lines, lambda fewer: wrong in fewer)
    assert wrong in short and len(short) == 3


def test_the_document_lists_what_is_allowed():
    text = (ROOT / "docs/testing.md").read_text()
    table = text[text.index("## The kernel as referee") :]
    assert tuple(re.findall(r"^\| `([a-z0-9 ]+)` \|", table, flags=re.M)) == (
        compare.ALLOWED
    )
