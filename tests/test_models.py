# SPDX-License-Identifier: BSD-3-Clause
"""The models of docs/models, so far as they take seconds: `make model` runs all."""

import json
import re
import subprocess
import sys

import pytest
from conftest import ROOT, need_program

MODELS = ROOT / "docs/models"
RUN = MODELS / "run.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_quick_searches():
    need_program("spin", "spin")
    need_program("cc", "gcc")
    done = subprocess.run(
        [sys.executable, RUN, "--quick", "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    searches = json.loads(done.stdout)["searches"]
    assert all(search["states"] > 0 for search in searches)
    assert any(not search["mutation"] for search in searches)


def test_missing_spin_is_said(tmp_path):
    done = subprocess.run(
        [sys.executable, RUN],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == "needs spin: apt-get install spin\n"


@pytest.mark.parametrize(
    ("found", "good"),
    [("no two owners", True), ("unmap before replace", False), (None, False)],
)
def test_a_mutation_must_be_found_by_its_property(found, good):
    sys.path.insert(0, str(MODELS))
    try:
        from run import lock, mutate
    finally:
        sys.path.remove(str(MODELS))
    search = mutate("NONE", lock("a search", "PTE", 2), "no two owners")
    search.found = found
    assert search.good is good


def test_each_mutation_is_run_and_told_of():
    text = (MODELS / "entry_lock.pml").read_text()
    names = set(re.findall(r"^#define ([A-Z_]+)\t+[1-9]\d*\b", text, flags=re.M))
    names = {name for name in names if f"mutated({name})" in all_models()}
    run = set(re.findall(r'mutate\(\s*"(\w+)"', RUN.read_text()))
    told = set(re.findall(r"`([A-Z_]+)`", (MODELS / "README.md").read_text()))
    assert names and run == names
    assert names <= told


def all_models():
    return "".join(path.read_text() for path in MODELS.glob("*.pml"))
