# SPDX-License-Identifier: BSD-3-Clause
"""What README.md and docs/ tell a newcomer to type works."""

import ast
import contextlib
import io
import re
import subprocess
from pathlib import Path

import pytest
from conftest import need_program, need_real_mapping

import daxcore
from daxcore.testing import PowerLossError

TOP = Path(__file__).resolve().parent.parent
README = TOP / "README.md"

pytestmark = pytest.mark.skipif(not README.exists(), reason="needs the source tree")


def python_blocks(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)


def test_example_runs(capsys):
    [_, example] = python_blocks(README)
    exec(compile(example, str(README), "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["262144", "0"]
    assert lines[2].startswith("b'hello'")


@pytest.fixture
def real(tmp_path, monkeypatch):
    """Real mappings work here, and files are made in a directory of their own."""
    need_real_mapping()
    monkeypatch.chdir(tmp_path)


def test_memmap_example_runs(capsys, real):
    [example, _] = python_blocks(README)
    names = {}
    exec(compile(example, str(README), "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1.5"
    memory = ast.literal_eval(lines[1])
    assert (memory["data_bytes"], memory["zero_bytes"]) == (4096, (64 << 30) - 4096)
    assert memory["allocated_bytes"] == 4096


def test_memmap_document_runs(capsys, real):
    [example] = python_blocks(TOP / "docs/memmap.md")
    exec(compile(example, "memmap.md", "exec"), {})
    said = re.findall(r"(?m)print.*?# (.*)$", example)
    assert capsys.readouterr().out.splitlines() == said


def test_block_map_document_runs(capsys):
    [example] = python_blocks(TOP / "docs/block-maps.md")
    exec(compile(example, "block-maps.md", "exec"), {})
    said = re.findall(r"(?m)print.*?# (.*)$", example)
    assert capsys.readouterr().out.splitlines() == said


def test_make_targets_exist():
    makefile = (TOP / "Makefile").read_text()
    targets = set(re.findall(r"(?m)(?:^|`)make (\w+)", README.read_text()))
    assert {"bench", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize(
    "path", [README, *(TOP / "docs").glob("*.md")], ids=lambda path: path.name
)
def test_links_lead_somewhere(path):
    for name, anchor in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", path.read_text()):
        target = path.parent / name if name else path
        assert target.exists(), name
        headings = re.findall(r"(?m)^#+ (.*)", target.read_text()) if anchor else []
        assert anchor in ["", *(h.lower().replace(" ", "-") for h in headings)], anchor


def test_every_document_is_linked():
    for path in (TOP / "docs").glob("*.md"):
        assert f"](docs/{path.name})" in README.read_text(), path.name


def test_trace_example_runs():
    [example] = re.findall(r"```python\n(.*?)```", doc("trace.md"), re.DOTALL)
    [shown] = re.findall(r"```\n(# tracer.*?)```", doc("trace.md"), re.DOTALL)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(example, "trace.md", "exec"), {})
    pattern = r"dax_\w+: dev 0:0 ino 0x\w+ (.*)"
    assert re.findall(pattern, out.getvalue())[:3] == re.findall(pattern, shown)


def test_power_loss_example_finds_the_missing_fence():
    [example] = re.findall(
        r"(?m)((?:^    .*\n|^\n)+)Take the first fence", doc("testing.md")
    )
    code = re.sub(r"(?m)^    ", "", example)
    exec(compile(code, "testing.md", "exec"), {})
    with pytest.raises(PowerLossError):
        exec(compile(code.replace("device.fence()", "", 1), "testing.md", "exec"), {})


@pytest.mark.parametrize(
    "number, arguments, said",
    [(0, ["sparse"], "2 faults\n16 bytes\n"), (1, [], "hello from block 0 of 16\n")],
)
def test_c_programs_build_and_run(number, arguments, said, tmp_path):
    source = re.findall(r"```c\n(.*?)```", doc("c.md"), re.DOTALL)[number]
    (tmp_path / "program.c").write_text(source)
    (tmp_path / "sparse").write_bytes(b"")
    with open(tmp_path / "sparse", "r+b") as file:
        file.truncate(2 * daxcore.PMD_SIZE)
    libdir = daxcore.get_library_dir()
    command = [need_program("cc", "gcc"), "-Wall", "-Wextra", "-Werror"]
    command += ["-I", daxcore.get_include(), "program.c", f"{libdir}/libdaxcore.so.0"]
    command += [f"-Wl,-rpath,{libdir}", "-o", "program"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(
        ["./program", *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, said), done.stderr


def doc(name):
    return (TOP / "docs" / name).read_text()
