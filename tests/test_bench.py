# SPDX-License-Identifier: BSD-3-Clause
"""daxcore.bench: what a run does, and schema 1 of what it reports."""

import json
import threading

import numpy as np
import pytest
from conftest import need

import daxcore
from daxcore.bench import contenders, machine, real, report, runner
from daxcore.bench.runner import Settings
from daxcore.bench.scenarios import SCENARIOS
from daxcore.bench.work import Work, timed

SIZE = 4 << 20
PAGES = SIZE // 4096
NUMBER = (int, float)
OPTIONAL = (int, float, type(None))

TOP = {
    "schema": int,
    "scenario": str,
    "size_bytes": int,
    "pages": int,
    "order": str,
    "threads": int,
    "machine": dict,
    "timer_overhead_ns": NUMBER,
    "results": list,
    "ratios": dict,
    "skipped": list,
}
RESULT = {
    "contender": str,
    "policy": str,
    "backend": str,
    "pages_kind": str,
    "median_ns_per_page": NUMBER,
    "min_ns_per_page": NUMBER,
    "max_ns_per_page": NUMBER,
    "mapping_ns_per_page": NUMBER,
    "p50_ns": OPTIONAL,
    "p99_ns": OPTIONAL,
    "timer_overhead_ns": NUMBER,
    "rounds": int,
    "faults": dict,
    "timed_faults": int,
    "memory": dict,
    "served_by": str,
    "distinct_pfns": OPTIONAL,
}
FAULTS = {"pte": int, "pmd": OPTIONAL, "fallback": OPTIONAL}
MEMORY = dict.fromkeys(
    (
        "tree_bytes",
        "page_table_bytes",
        "page_cache_bytes",
        "file_blocks_bytes",
        "rss_delta_bytes",
        "pss_delta_bytes",
        "vmpte_delta_bytes",
        "system_cached_delta_bytes",
    ),
    OPTIONAL,
)
MACHINE = {
    "cpu": str,
    "cpus": int,
    "architecture": str,
    "kernel": str,
    "memory_bytes": int,
    "page_size": int,
    "thp": (str, type(None)),
    "thp_shmem": (str, type(None)),
    "python": str,
    "numpy": str,
    "daxcore": str,
}


def assert_shape(data, shape):
    assert list(data) == list(shape)
    for name, kind in shape.items():
        assert isinstance(data[name], kind), name


def bench(scenario="hole-read", rounds=1, directory=".", backends=("soft",), **work):
    settings = Settings(
        scenario,
        Work(SIZE, **work),
        rounds,
        backends=backends,
        directory=str(directory),
    )
    data = report.to_dict(runner.run(settings))
    return json.loads(json.dumps(data))


def by_name(data):
    return {r["contender"]: r for r in data["results"]}


def test_schema_1(tmp_path):
    data = bench(rounds=2, directory=tmp_path)
    assert_shape(data, TOP)
    assert_shape(data["machine"], MACHINE)
    assert data["schema"] == 1
    assert (data["size_bytes"], data["pages"]) == (SIZE, PAGES)
    assert len(data["results"]) + len(data["skipped"]) == 5
    for result in data["results"]:
        assert_shape(result, RESULT)
        assert_shape(result["faults"], FAULTS)
        assert_shape(result["memory"], MEMORY)
        assert result["rounds"] == 2
    assert set(data["ratios"]) == set(by_name(data))
    assert data["ratios"]["page-cache warm"] == 1


def test_documented(request):
    path = request.config.rootpath / "docs/bench-json.md"
    if not path.exists():
        pytest.skip("the documentation is not part of the installed package")
    text = path.read_text()
    for name in (*TOP, *RESULT, *MEMORY, *MACHINE, *FAULTS):
        assert f"`{name}`" in text, name


@pytest.mark.parametrize("order", ["seq", "random"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_hole_read_is_served_by_one_frame(order, threads):
    results = by_name(bench(order=order, threads=threads))
    zero = results["zero-page"]
    assert zero["distinct_pfns"] == 1
    assert zero["served_by"] == "the zero page (1 distinct PFN)"
    assert zero["memory"]["page_cache_bytes"] == 0
    for pool in ("warm", "cold"):
        pages = results[f"page-cache {pool}"]
        assert pages["distinct_pfns"] == PAGES
        assert pages["served_by"] == "1,024 page-cache pages"
        assert pages["memory"]["page_cache_bytes"] == SIZE
        assert pages["faults"]["pte"] == PAGES
    assert zero["faults"] == {"pte": PAGES, "pmd": 0, "fallback": 0}


@pytest.mark.parametrize(
    ("scenario", "zero", "pages"),
    [
        ("hole-read", (1, 1), (1, 1)),
        ("first-write", (1, 1), (2, 2)),
        ("read-then-write", (2, 1), (3, 2)),
        ("re-read", (1, 0), (1, 0)),
        ("refault", (2, 1), (2, 1)),
    ],
)
def test_fault_counts(scenario, zero, pages):
    results = by_name(bench(scenario))
    for name, (total, of_those_timed) in (
        ("zero-page", zero),
        ("page-cache warm", pages),
        ("page-cache cold", pages),
    ):
        assert results[name]["faults"]["pte"] == total * PAGES, name
        assert results[name]["timed_faults"] == of_those_timed * PAGES, name


@pytest.mark.parametrize("scenario", ["first-write", "read-then-write"])
def test_writes_are_served_by_blocks(scenario):
    results = by_name(bench(scenario))
    for name in ("zero-page", "page-cache warm", "page-cache cold"):
        assert results[name]["served_by"] == "1,024 device blocks"
        assert results[name]["memory"]["page_cache_bytes"] == 0


@pytest.mark.parametrize("kind", ["pmd", "auto"])
def test_hole_read_by_2_mib(kind):
    data = bench(pages_kind=kind)
    zero = by_name(data)["zero-page"]
    assert zero["served_by"] == "the 2 MiB zero page"
    assert zero["faults"] == {"pte": 0, "pmd": 2, "fallback": 0}
    skipped = [s["contender"] for s in data["skipped"]]
    assert ("kernel /dev/shm" in skipped) == (kind == "pmd")
    assert "page-cache, served by the 2 MiB zero page" in report.conclusion(data)


def test_no_space_is_a_reason(monkeypatch):
    monkeypatch.setattr(machine, "free_bytes", lambda path: 1 << 20)
    skipped = {s["contender"]: s["reason"] for s in bench()["skipped"]}
    assert "free on /dev/shm, has 1 MiB" in skipped["kernel /dev/shm"]
    monkeypatch.setattr(machine, "available_bytes", lambda: 1 << 20)
    data = bench()
    assert data["results"] == []
    assert "of memory, 1 MiB available" in data["skipped"][0]["reason"]
    assert "nothing was run" in report.conclusion(data)


def test_missing_directory_is_a_reason():
    contender = contenders.Kernel("kernel", "/nonexistent")
    reason = contender.why_not(None, Work(SIZE))
    assert reason == "/nonexistent does not exist"


def test_kernel_file_is_gone_at_once(tmp_path):
    session = contenders.KernelSession(str(tmp_path), Work(SIZE))
    assert list(tmp_path.iterdir()) == []
    session.close()


def test_no_descriptor_is_left(tmp_path):
    import os

    bench(directory=tmp_path)
    before = os.listdir("/proc/self/fd")
    bench(directory=tmp_path)
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("order", ["seq", "random"])
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_shares_are_disjoint_and_complete(order, threads):
    work = Work(SIZE, order, threads)
    pages = np.concatenate([np.asarray(share) for share in work.shares])
    assert len(work.shares) == threads
    assert np.array_equal(np.sort(pages), np.arange(PAGES))


def test_shares_of_large_files_are_cut_on_2_mib():
    work = Work(64 << 20, threads=3)
    assert all(share.start % 512 == 0 for share in work.shares)


def test_random_order_is_the_same_for_all():
    assert np.array_equal(
        Work(SIZE, "random").permutation, Work(SIZE, "random").permutation
    )


def test_an_error_of_a_thread_reaches_the_caller():
    def fail():
        raise OSError("no")

    before = threading.active_count()
    with pytest.raises(OSError, match="no"):
        timed([fail, lambda: None])
    assert threading.active_count() == before


def test_percentiles_below_the_clock_are_null():
    latencies = np.array([10, 20, 30, 1000], np.uint64)
    assert runner.percentile(latencies, 50, 20) is None
    assert runner.percentile(latencies, 99, 20) > 900
    assert runner.percentile(None, 50, 20) is None


def test_rounds_rotate():
    assert [runner._rotated([1, 2, 3], i) for i in range(3)] == [
        [1, 2, 3],
        [2, 3, 1],
        [3, 1, 2],
    ]


def test_timer_overheads_are_positive():
    assert machine.python_timer_overhead_ns() > 0
    assert 0 <= machine.native_timer_overhead_ns(rounds=3, nbytes=4 << 20) < 1000


@pytest.mark.parametrize(
    ("zero_ns", "text"),
    [
        (20, "5.0 times faster"),
        (200, "2.0 times slower"),
        (98, "equal within 5 %"),
    ],
)
def test_conclusion_says_both_ways(zero_ns, text):
    def one(name, ns, cache):
        return {
            "contender": name,
            "backend": "soft",
            "median_ns_per_page": ns,
            "memory": {"page_cache_bytes": cache},
            "served_by": "something",
        }

    data = {
        "scenario": "hole-read",
        "size_bytes": 1 << 30,
        "results": [one("zero-page", zero_ns, 0), one("page-cache warm", 100, 1 << 30)],
    }
    line = report.conclusion(data)
    assert line.endswith(text)
    assert "0 B of page cache" in line and "1 GiB of page cache" in line


def test_a_kernel_session_closes_beside_a_thread_at_work(tmp_path):
    kernel = contenders.Kernel("kernel", str(tmp_path))
    session = kernel.open(Work(SIZE, "seq", 1, "pte"))
    with memoryview(session._map):  # as a thread that Ctrl-C left behind has one
        session.close()


def test_sessions_of_memory_close_beside_a_thread_at_work():
    need_real()
    work = Work(SIZE, pages_kind="auto")
    with daxcore.Device.memory(SIZE) as device:
        contender = real.Real("real")
        contender.use_device(device)
        session = contender.open(work)
        with memoryview(session._bytes):
            session.close()
        session._mmap.close()
    session = real.Anonymous("anonymous", False).open(work)
    with memoryview(session._bytes):
        session.close()


def need_real():
    reason = real._not_real("thread") or real._not_real("signal")
    need("userfaultfd", reason is None, reason)


def bench_real(scenario="hole-read", **more):
    """Medians of one round; of real memory, and of what the kernel has."""
    need_real()
    more = {"pages_kind": "auto", "backends": ("real",), **more}
    return bench(scenario, **more)


def own(results):
    """The contenders that are daxcore."""
    return {k: r for k, r in results.items() if r["backend"] == "real"}


BY_4_KIB = [
    f"real {delivery} {size}"
    for delivery in ("thread", "signal")
    for size in ("4 KiB", "64 KiB", "2 MiB")
]


def test_real_contenders(tmp_path):
    data = bench_real(directory=tmp_path, rounds=2)
    for result in data["results"]:
        assert_shape(result, RESULT)
        assert_shape(result["faults"], FAULTS)
        assert_shape(result["memory"], MEMORY)
    kind = machine.file_system(str(tmp_path))
    names = [r["contender"] for r in data["results"]]
    names += [s["contender"] for s in data["skipped"]]
    assert set(names) == {
        "real thread", "real signal", *BY_4_KIB, f"real {kind}", "real page-cache",
        f"kernel {kind}", "kernel /dev/shm", "anonymous 4 KiB", "anonymous 2 MiB",
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == []
    assert data["ratios"] == {}


@pytest.mark.parametrize("order", ["seq", "random"])
@pytest.mark.parametrize("threads", [1, 2])
def test_real_hole_read_takes_no_memory(tmp_path, order, threads):
    results = by_name(bench_real(directory=tmp_path, order=order, threads=threads))
    for name, result in own(results).items():
        if name == "real page-cache":
            assert result["served_by"] == "1,024 page-cache pages"
            assert result["memory"]["rss_delta_bytes"] > SIZE
            continue
        small = name in BY_4_KIB
        assert result["pages_kind"] == ("pte" if small else "auto")
        assert result["distinct_pfns"] == (1 if small else 512), name
        assert result["memory"]["file_blocks_bytes"] == 0, name
        assert result["memory"]["page_cache_bytes"] == 0, name
        assert result["memory"]["rss_delta_bytes"] < SIZE / 4, name
        if small:
            assert result["served_by"] == "the zero page (1 distinct PFN)"
            faults = result["faults"]["pte"]  # one may map many pages around
            assert faults == PAGES if name.endswith(" 4 KiB") else 0 < faults <= PAGES
        else:
            assert result["served_by"] == "the 2 MiB zero page"
            assert result["faults"] == {"pte": 0, "pmd": 2, "fallback": 0}


def test_real_page_alone_maps_nothing_around():
    [default, alone, wide] = [
        one.bytes_around
        for one in real.real_contenders(".", ("signal",), (None, 4096, 65536))[:3]
    ]
    assert (default, alone, wide) == (None, 0, 65536)


def test_real_scenarios_time_what_they_say(tmp_path):
    for scenario, timed_faults, mapped in (
        ("hole-read", PAGES, True),
        ("re-read", 0, False),
        ("refault", PAGES, False),
        ("first-write", PAGES, True),
        ("read-then-write", PAGES, False),
    ):
        results = by_name(bench_real(scenario, directory=tmp_path))
        for delivery in ("thread", "signal"):
            result = results[f"real {delivery} 4 KiB"]
            assert result["timed_faults"] == timed_faults, scenario
        for name in ("real thread", "real page-cache", "anonymous 4 KiB"):
            assert (results[name]["mapping_ns_per_page"] > 0) is mapped, scenario


@pytest.mark.parametrize("scenario", ["first-write", "read-then-write"])
@pytest.mark.parametrize("order", ["seq", "random"])
def test_real_writes_are_served_by_blocks(tmp_path, scenario, order):
    results = own(by_name(bench_real(scenario, directory=tmp_path, order=order)))
    assert len(results) == 10
    for name, result in results.items():
        assert result["served_by"] == "1,024 device blocks", name
        assert result["memory"]["file_blocks_bytes"] >= SIZE, name


def test_real_and_soft_side_by_side(tmp_path):
    data = bench_real(directory=tmp_path, backends=("soft", "real"))
    results = by_name(data)
    assert results["zero-page"]["mapping_ns_per_page"] == 0
    assert results["real thread"]["mapping_ns_per_page"] > 0
    assert set(data["ratios"]) == set(results)


def test_real_conclusion(tmp_path):
    data = bench_real(directory=tmp_path)
    line = report.conclusion(data)
    assert line.startswith("4 MiB of hole reads: real thread ")
    assert "ns/page with its mapping; kernel " in line
    assert line.count("times") == 4
    assert len(report.tables(data)) == 4
    [note] = [note for note in report.notes(data) if "mapping" in note]
    assert note.startswith("where there are addresses")
    data = bench_real("re-read", directory=tmp_path)
    assert "with its mapping" not in report.conclusion(data)
    assert "mappings were made before the clock started" in report.notes(data)


def test_real_without_userfaultfd(monkeypatch, tmp_path):
    monkeypatch.setenv("DAXCORE_DISABLE", "uffd")
    data = bench(directory=tmp_path, backends=("real",))
    assert own(by_name(data)) == {}
    reasons = [s["reason"] for s in data["skipped"] if "real" in s["contender"]]
    assert len(reasons) == 10
    assert all("userfaultfd" in reason for reason in reasons)


def test_real_by_2_mib_leaves_out_who_cannot(tmp_path):
    data = bench_real(directory=tmp_path, pages_kind="pmd")
    skipped = {s["contender"]: s["reason"] for s in data["skipped"]}
    for name in (*BY_4_KIB, "real page-cache", "anonymous 4 KiB"):
        assert skipped[name] == "maps by 4 KiB"
    assert by_name(data)["real thread"]["served_by"] == "the 2 MiB zero page"


@pytest.mark.parametrize("more", [{"order": "random"}, {"threads": 2}])
def test_scattered_stores_need_memory_areas(monkeypatch, more):
    monkeypatch.setattr(machine, "max_map_count", lambda: real._OTHER_AREAS + PAGES - 1)
    data = bench_real("first-write", **more)
    skipped = {s["contender"]: s["reason"] for s in data["skipped"]}
    assert "vm.max_map_count allows some 1,023" in skipped["real thread"]
    assert own(by_name(data)) == {}
    assert own(by_name(bench_real("first-write")))  # in order they merge


@pytest.mark.parametrize(
    ("contender", "read", "write"),
    [
        (contenders.Kernel("kernel", "."), SIZE, SIZE),
        (real.Anonymous("anonymous", True), 0, SIZE),
        (real.Real("real"), 0, 0),
        (real.Real("sparse", directory="."), 0, SIZE),
        (real.Real("cache", policy="page-cache"), 2 * SIZE, 2 * SIZE),
    ],
    ids=lambda value: getattr(value, "key", None),
)
def test_what_a_session_takes_of_free_memory(contender, read, write):
    for name, nbytes in (("hole-read", read), ("first-write", write)):
        assert contender.fresh_bytes(SCENARIOS[name], Work(SIZE)) == nbytes


def test_new_memory_is_warm_in_every_round(monkeypatch, tmp_path):
    warmed = []
    monkeypatch.setattr(machine, "warm_memory", warmed.append)
    data = bench(rounds=2, directory=tmp_path)
    assert len(data["results"]) == 5
    assert warmed == [SIZE] * 2 * (1 + 2 + 1)  # two of the kernel's


def test_warm_memory_is_given_back():
    before = machine.rss_bytes()
    machine.warm_memory(64 << 20)
    assert machine.rss_bytes() - before < 16 << 20
    machine.warm_memory(0)


def test_no_descriptor_of_real_memory_is_left(tmp_path):
    import os

    bench_real(directory=tmp_path)
    before = os.listdir("/proc/self/fd")
    bench_real(directory=tmp_path)
    assert len(os.listdir("/proc/self/fd")) == len(before)
