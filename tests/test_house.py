# SPDX-License-Identifier: BSD-3-Clause
"""The eight floors of csrc: a file includes the floors below its own.

Of its own floor it may include what INSIDE lists.
"""

import re

import pytest
from conftest import ROOT

FLOORS = {
    0: "types compiler libc test_hooks usdt",
    1: "sys page stats trace histogram errormsg",
    2: "radix_tree waitqueue entry percpu copy_mc page_set",
    3: "device frames blocks persist persist_record flush flush_x86 flush_generic "
    "zero_page vma",
    4: "mapping entry_lock policy iomap fs_dax",
    5: "ahead clone collect fault fault_around fault_outside freeze invalidate layout lock_entry "
    "page_cache pin rw writeback",
    6: "vma_soft vma_real uffd extent_map sparse_file sparse_open",
    7: "version api",
}
INSIDE = {
    "device": {"blocks", "flush", "frames", "persist", "persist_record"},
    "blocks": {"frames"},
    "flush_generic": {"flush"},
    "flush_x86": {"flush"},
    "persist": {"device", "flush"},
    "persist_record": {"device", "persist"},
    "frames": {"zero_page"},
    "entry_lock": {"mapping", "policy"},
    "fs_dax": {"mapping"},
    "iomap": {"mapping"},
    "mapping": {"policy"},
    "policy": {"entry_lock"},
    "fault": {"collect"},
    "fault_outside": {"ahead", "collect", "fault", "freeze", "writeback"},
    "fault_around": {"ahead", "fault"},
    "freeze": {"writeback"},
    "invalidate": {"ahead", "collect", "layout"},
    "lock_entry": {"collect"},
    "page_cache": {"fault"},
    "rw": {"ahead", "freeze", "invalidate"},
    "trace": {"errormsg", "sys"},
    "layout": {"ahead", "freeze"},
    "clone": {"invalidate", "layout", "rw", "writeback"},
    "pin": {"fault"},
    "sparse_open": {"sparse_file"},
    "writeback": {"ahead"},
    "vma_real": {"uffd"},
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names.split()}
SOURCES = sorted(
    path
    for pattern in ("csrc/*.[ch]", "csrc/include/daxcore/*.h")
    for path in ROOT.glob(pattern)
)


def included(path):
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
    names = re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, flags=re.M)
    return [re.sub(r".*/|\.h$", "", name) for name in names]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_includes_point_downwards(path):
    assert path.stem in FLOOR, f"{path.name} has no floor"
    own = FLOOR[path.stem]
    for name in included(path):
        if name in (path.stem, "daxcore"):
            assert name == path.stem or own == 7
            continue
        assert name in FLOOR, f"{name}.h has no floor"
        allowed = FLOOR[name] < own or name in INSIDE.get(path.stem, ())
        assert allowed, f"{path.name} (floor {own}) includes {name}.h ({FLOOR[name]})"


def test_the_fault_path_knows_no_page_cache():
    text = (ROOT / "csrc/fault.c").read_text()
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    assert "page_cache" not in code and "PAGE_CACHE" not in code


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_each_file_has_its_header(path):
    lines = path.read_text().splitlines()
    assert lines[0] == "/* SPDX-License-Identifier: BSD-3-Clause */"
    title = rf"(/| )\* (\w+/)?{re.escape(path.name)} -- \w"
    assert re.match(title, lines[1]) or re.match(title, lines[2])


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if p.stem != "sys"], ids=lambda path: path.name
)
def test_only_sys_touches_errno(path):
    code = re.sub(r"/\*.*?\*/|\"[^\"\n]*\"", "", path.read_text(), flags=re.S)
    assert not re.search(r"\berrno\b(?!\.h)", code)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_ends_the_process(path):
    code = re.sub(r"/\*.*?\*/|\"[^\"\n]*\"", "", path.read_text(), flags=re.S)
    assert not re.search(r"\b(abort|exit|_exit|assert)\s*\(", code)


def test_the_tests_that_documents_name_exist():
    text = (ROOT / "docs/testing.md").read_text()
    functions = re.findall(r"`(test_\w+)/(\w+)`", text)
    tests = re.findall(r"`(test_\w+\.py)::(\w+)`", text)
    assert functions and tests
    for program, name in functions:
        code = (ROOT / f"tests/c/{program}.c").read_text()
        assert re.search(rf"^static void {name}\(", code, flags=re.M), (program, name)
    for file, name in tests:
        code = (ROOT / "tests" / file).read_text()
        assert re.search(rf"^def {name}\(", code, flags=re.M), (file, name)
