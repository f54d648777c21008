# SPDX-License-Identifier: BSD-3-Clause
"""The eight floors of csrc: a file includes the floors below its own.

Which file stands where, and what it may include of its own floor (in brackets),
is read from the picture in docs/design.md.
"""

import re

import pytest
from conftest import ROOT


def read_floors():
    """Return the picture as two dicts: module -> floor, module -> brackets."""
    text = (ROOT / "docs/design.md").read_text()
    floors, inside, floor = {}, {}, None
    for line in re.search(r"```\n(7 .*?)```", text, flags=re.S)[1].splitlines():
        floor = int(line[0]) if line[0] != " " else floor
        modules = re.split(r" {3,}", line[3:])[0]  # then comes a remark
        for word in modules.split(" · "):
            match = re.fullmatch(r"(?:\w+/)?(\w+)(?:\.h)?(?: \((.*)\))?", word)
            assert match and match[1] not in floors, word
            floors[match[1]] = floor
            inside[match[1]] = set(re.findall(r"(\w+)(?:\.h)?(?:, |$)", match[2] or ""))
    return floors, inside


FLOOR, INSIDE = read_floors()
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
        allowed = FLOOR[name] < own or name in INSIDE[path.stem]
        assert allowed, f"{path.name} (floor {own}) includes {name}.h ({FLOOR[name]})"


def test_the_picture_shows_what_there_is():
    assert set(FLOOR) == {path.stem for path in SOURCES}
    for module, names in INSIDE.items():
        there = {
            name
            for path in SOURCES
            if path.stem == module
            for name in included(path)
            if name != module and FLOOR.get(name) == FLOOR[module]
        }
        assert there == names, module


def test_each_module_has_its_program():
    """But for those that CONTRIBUTING names."""
    rule = (ROOT / "CONTRIBUTING.md").read_text()
    names = re.search(r"through\s+the calls above it \(([^)]*)\)", rule)[1]
    without = {
        path.stem
        for path in ROOT.glob("csrc/*.c")
        if not (ROOT / f"tests/c/test_{path.name}").exists()
    }
    assert without == set(re.findall(r"\w+", names))


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
