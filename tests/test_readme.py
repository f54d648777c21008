# SPDX-License-Identifier: BSD-3-Clause
"""What README.md and docs/ tell a newcomer to type works."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
README = TOP / "README.md"

pytestmark = pytest.mark.skipif(not README.exists(), reason="needs the source tree")


def test_example_runs(capsys):
    [example] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    exec(compile(example, str(README), "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["262144", "0"]
    assert lines[2].startswith("b'hello'")


def test_make_targets_exist():
    makefile = (TOP / "Makefile").read_text()
    targets = set(re.findall(r"(?m)(?:^|`)make (\w+)", README.read_text()))
    assert {"bench", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_lead_somewhere():
    for name in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (TOP / name).exists(), name
