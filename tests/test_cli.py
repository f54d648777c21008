# SPDX-License-Identifier: BSD-3-Clause
"""The daxcore command: arguments, output, exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import daxcore
from daxcore import cli
from daxcore.bench.units import format_ns, format_size, parse_size

SMALL = ["--size", "4MiB", "--rounds", "1"]


def run(*args):
    return CliRunner().invoke(cli.cli, args)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("4096B", 4096),
        ("64KiB", 65536),
        ("64k", 65536),
        ("1GiB", 1 << 30),
        ("1 GiB", 1 << 30),
        ("1GB", 10**9),
        ("2M", 2 << 20),
        ("1.5MiB", 3 << 19),
        ("0.1GB", 10**8),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "not a size"),
        ("-1", "not a size"),
        ("1e6", "not a size"),
        ("GiB", "not a size"),
        ("1XiB", "unknown unit 'XiB'"),
        ("1.3B", "whole number of bytes"),
        ("8EiB", "more than a file can hold"),
        ("9" * 400, "more than a file can hold"),
    ],
)
def test_bad_sizes_name_the_value_and_the_rule(text, rule):
    with pytest.raises(ValueError, match=rule):
        parse_size(text)


def test_formats():
    sizes = [format_size(n) for n in (None, 0, 4096, 1 << 30, 3 << 29, -(4 << 20))]
    assert sizes == ["-", "0 B", "4 KiB", "1 GiB", "1.50 GiB", "-4 MiB"]
    assert [format_ns(n) for n in (None, 16.94, 0.0421, 1234.5)] == [
        "-",
        "16.9",
        "0.0421",
        "1,234",
    ]


@pytest.mark.parametrize(
    "scenario", ["hole-read", "re-read", "first-write", "read-then-write", "refault"]
)
def test_bench_prints_table_and_conclusion(scenario):
    result = run("bench", scenario, *SMALL, "--no-kernel")
    assert result.exit_code == 0, result.output
    assert "page-cache warm" in result.output
    last = result.output.splitlines()[-1]
    assert last.startswith("4 MiB of ")
    assert any(word in last for word in ("faster", "slower", "equal"))


def test_bench_of_real_memory():
    args = ("--backend", "real", "--delivery", "signal", "--json", "-")
    result = run("bench", "hole-read", *SMALL, *args, "--fault-around", "default,16KiB")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    named = [r["contender"] for r in data["results"] + data["skipped"]]
    assert {"real signal", "real signal 16 KiB", "anonymous 4 KiB"} <= set(named)
    assert not any("thread" in name for name in named)
    assert {r["pages_kind"] for r in data["results"]} == {"pte", "auto"}
    assert "file blocks" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("4 MiB of hole reads: ")


def test_bench_json_alone_on_standard_output():
    result = run("bench", "hole-read", *SMALL, "--json", "-")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["schema"] == 1
    assert "page-cache warm" in result.stderr


def test_bench_json_file(tmp_path):
    path = tmp_path / "out.json"
    result = run(
        "bench", "hole-read", *SMALL, "--policy", "zero-page", "--json", str(path)
    )
    assert result.exit_code == 0, result.output
    data = json.loads(path.read_text())
    assert "page-cache warm" not in [r["contender"] for r in data["results"]]
    assert data["ratios"] == {}


def test_bench_plot_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    path = tmp_path / "out.png"
    result = run("bench", "hole-read", *SMALL, "--no-kernel", "--plot", str(path))
    assert result.exit_code == 1
    assert "needs matplotlib" in result.output
    assert "ns/page" not in result.output  # nothing was measured in vain


def test_bench_with_no_contender():
    result = run(
        "bench", "hole-read", "--size", "100TiB", "--policy", "page-cache",
        "--no-kernel",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "no contender could run" in result.output


def test_bench_plot(tmp_path):
    pytest.importorskip("matplotlib", reason="pip install 'daxcore[plot]'")
    path = tmp_path / "out.png"
    result = run("bench", "hole-read", *SMALL, "--no-kernel", "--plot", str(path))
    assert result.exit_code == 0, result.output
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["hole-eat"], "hole-eat"),
        ([], "Missing argument"),
        (["hole-read", "--size", "1XB"], "unknown unit"),
        (["hole-read", "--size", "0"], "multiple of 4 KiB"),
        (["hole-read", "--size", "4097"], "4097 is not a multiple of 4 KiB"),
        (["hole-read", "--size", "4096", "--pages", "pmd"], "multiple of 2 MiB"),
        (["hole-read", "--size", "8EiB"], "more than a file can hold"),
        (["hole-read", "--policy", "zero-page,none"], "'none' is not one of"),
        (["hole-read", "--backend", "hard"], "'hard' is not one of"),
        (["hole-read", "--delivery", "post"], "'post' is not one of"),
        (["hole-read", "--fault-around", "wide"], "'wide' is not a size"),
        (["hole-read", "--fault-around", "default,0"], "0 is not a multiple of 4 KiB"),
        (["hole-read", "--fault-around", "4097"], "4097 is not a multiple of 4 KiB"),
        (["hole-read", "--order", "up"], "'up' is not one of"),
        (["hole-read", "--pages", "pud"], "'pud' is not one of"),
        (["hole-read", "--threads", "0"], "--threads"),
        (["hole-read", "--size", "4096", "--threads", "2"], "at most one per page"),
        (["hole-read", "--rounds", "0"], "--rounds"),
        (["hole-read", "--json", "/nonexistent/x.json"], "No such file or directory"),
        (["hole-read", "--json", "/"], "directory"),
        (["hole-read", "--plot", "/nonexistent/x.png"], "No such file or directory"),
    ],
)
def test_bad_arguments(args, message):
    result = run("bench", *args)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_version():
    result = run("--version")
    assert result.exit_code == 0
    assert result.output == f"daxcore {daxcore.__version__}\n"


def test_info_text():
    result = run("info")
    assert result.exit_code == 0, result.output
    for word in ("kernel", "userfaultfd", "flush instructions", "thp", "memory"):
        assert f"\n{word} " in result.output


def test_info_json(tmp_path):
    result = run("info", "--json", "-")
    data = json.loads(result.stdout)
    assert data["daxcore"] == daxcore.__version__
    assert data["library"].endswith("libdaxcore.so.0")
    assert data["page_size"] == os.sysconf("SC_PAGE_SIZE")
    assert isinstance(data["missing"], list)
    path = tmp_path / "info.json"
    assert run("info", "--json", str(path)).exit_code == 0
    assert json.loads(path.read_text())["kernel"] == data["kernel"]


def daxcore_process(cwd, *args, **options):
    code = "import sys; from daxcore.cli import main; main(sys.argv[1:])"
    return subprocess.Popen(
        [sys.executable, "-c", code, *args], cwd=cwd, text=True, **options
    )


def test_main_exit_codes(tmp_path):
    for args, code in ((["--version"], 0), (["bench", "nothing"], 2), (["-h"], 0)):
        process = daxcore_process(tmp_path, *args, stdout=-1, stderr=-1)
        process.communicate(timeout=60)
        assert process.returncode == code


def wait_until_at_work(process):
    """Return once the child has made its device, a memfd."""
    deadline = time.monotonic() + 60
    while "memfd:" not in Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("backend", ["soft", "real"])
def test_interrupt_leaves_nothing_behind(tmp_path, backend):
    args = ["bench", "hole-read", "--size", "64MiB", "--rounds", "10000"]
    args += ["--backend", backend, "--delivery", "thread"]
    process = daxcore_process(tmp_path, *args, stdout=-1, stderr=-1)
    wait_until_at_work(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.strip() == "daxcore: interrupted; nothing was left behind"
    assert list(tmp_path.iterdir()) == []


def test_help_does_not_load_numpy():
    code = (
        "import sys; sys.argv = ['daxcore', '--help']\n"
        "from daxcore.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('numpy' in sys.modules, 'rich' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.splitlines()[-1] == "False False"


def test_bench_plot_of_a_name_without_suffix(tmp_path):
    pytest.importorskip("matplotlib", reason="pip install 'daxcore[plot]'")
    path = tmp_path / "plot"
    result = run("bench", "hole-read", *SMALL, "--no-kernel", "--plot", str(path))
    assert result.exit_code == 0, result.output
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_file_is_named(tmp_path):
    for args in (["info", "--json"], ["trace", "--output"]):
        command = ["--", "true"] if args[0] == "trace" else []
        process = daxcore_process(
            tmp_path, *args, "/dev/full", *command, stdout=-1, stderr=-1
        )
        _, text = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "No space left on device: '/dev/full'" in text
