# SPDX-License-Identifier: BSD-3-Clause
"""The outcome of a run as JSON (docs/bench-json.md), table, sentence, plot."""

import os
import statistics

from . import machine
from .runner import median_memory, percentile, reference, timer_of
from .scenarios import SCENARIOS
from .units import format_ns, format_size

SCHEMA = 1


def to_dict(outcome):
    """Schema 1."""
    settings = outcome.settings
    work = settings.work
    return {
        "schema": SCHEMA,
        "scenario": settings.scenario,
        "size_bytes": work.size,
        "pages": work.pages,
        "order": work.order,
        "threads": work.threads,
        "machine": machine.describe(),
        "timer_overhead_ns": round(outcome.native_timer_ns, 1),
        "results": [_result(outcome, series) for series in outcome.series],
        "ratios": _ratios(outcome),
        "skipped": [{"contender": key, "reason": why} for key, why in outcome.skipped],
    }


def _result(outcome, series):
    timer = timer_of(outcome, series.contender)
    return {
        "contender": series.contender.key,
        "policy": series.contender.policy,
        "backend": series.contender.backend,
        "pages_kind": _pages_kind(series.contender, outcome.settings.work),
        "median_ns_per_page": statistics.median(series.ns_per_page),
        "min_ns_per_page": min(series.ns_per_page),
        "max_ns_per_page": max(series.ns_per_page),
        "mapping_ns_per_page": statistics.median(series.mapping_ns_per_page),
        "p50_ns": percentile(series.latencies, 50, timer),
        "p99_ns": percentile(series.latencies, 99, timer),
        "timer_overhead_ns": round(timer, 1),
        "rounds": len(series.ns_per_page),
        "faults": series.faults,
        "timed_faults": series.timed_faults,
        "memory": median_memory(series),
        "served_by": series.served_by,
        "distinct_pfns": series.distinct,
    }


def _pages_kind(contender, work):
    own = getattr(contender, "kind_of_pages", None)
    return own(work) if own else work.pages_kind


def _ratios(outcome):
    """Time per page of each contender over that of page-cache warm."""
    base = reference(outcome)
    if base is None:
        return {}
    base_ns = statistics.median(base.ns_per_page)
    return {
        s.contender.key: statistics.median(s.ns_per_page) / base_ns
        for s in outcome.series
    }


def tables(data):
    """Three or four rich Tables: time, memory, frames; each fits 80 columns."""
    title = f"{data['scenario']}: {format_size(data['size_bytes'])}, {data['order']}"
    if data["threads"] > 1:
        title += f", {data['threads']} threads"
    time = _grid(title, "ns/page", "min", "max", "p50 ns", "p99 ns", "faults")
    memory = _grid(None, "tree+tables", "page cache", "RSS", "Cached")
    addresses = _grid(None, "engine B/page", "PSS", "VmPTE", "file blocks")
    frames = _grid(None)
    frames.add_column("what the pages show")
    for result in data["results"]:
        time.add_row(result["contender"], *_time_row(result))
        memory.add_row(result["contender"], *_memory_row(result))
        addresses.add_row(result["contender"], *_address_row(result, data["pages"]))
        frames.add_row(result["contender"], result["served_by"])
    if _first_real(data):
        return time, memory, addresses, frames
    return time, memory, frames


def _grid(title, *columns):
    """A table of contenders with columns of numbers."""
    from rich import box
    from rich.table import Table

    grid = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    grid.add_column("contender", no_wrap=True)
    for name in columns:
        grid.add_column(name, justify="right", no_wrap=True)
    return grid


def _time_row(result):
    return (
        *(format_ns(result[f"{k}_ns_per_page"]) for k in ("median", "min", "max")),
        *(format_ns(result[k]) for k in ("p50_ns", "p99_ns")),
        f"{_fault_count(result):,}",
    )


def _memory_row(result):
    memory = result["memory"]
    return (
        format_size(_own_bytes(memory)),
        format_size(memory["page_cache_bytes"]),
        format_size(memory["rss_delta_bytes"]),
        format_size(memory["system_cached_delta_bytes"]),
    )


def _own_bytes(memory):
    """Tree and page table."""
    own = [memory["tree_bytes"], memory["page_table_bytes"]]
    return sum(n for n in own if n is not None)


def _address_row(result, pages):
    memory = result["memory"]
    ours = memory["tree_bytes"] is not None
    return (
        f"{_own_bytes(memory) / pages:.3g}" if ours else "-",
        format_size(memory["pss_delta_bytes"]),
        format_size(memory["vmpte_delta_bytes"]),
        format_size(memory["file_blocks_bytes"]),
    )


def _first_real(data):
    """The first contender of real memory: the defaults, if they were run."""
    return next((r for r in data["results"] if r["backend"] == "real"), None)


def notes(data):
    """What a reader of the tables must know, and what was left out."""
    timer = format_ns(data["timer_overhead_ns"])
    yield (
        f"{data['pages']:,} pages of 4 KiB, medians of interleaved rounds; the clock "
        f"adds {timer} ns to a sampled fault, - is below twice the clock"
    )
    real = _first_real(data)
    if real and real["mapping_ns_per_page"]:
        mapping = format_ns(real["mapping_ns_per_page"])
        yield (
            "where there are addresses, ns/page has the making of the mapping in it "
            f"({real['contender']}: {mapping} ns)"
        )
    elif real:
        yield "mappings were made before the clock started"
    for one in data["skipped"]:
        yield f"left out: {one['contender']}: {one['reason']}"


def _fault_count(result):
    return sum(result["faults"][kind] or 0 for kind in ("pte", "pmd"))


def conclusion(data):
    """One line that says what came out."""
    what = f"{format_size(data['size_bytes'])} of {SCENARIOS[data['scenario']].noun}"
    results = {r["contender"]: r for r in data["results"]}
    zero, pages = results.get("zero-page"), results.get("page-cache warm")
    if not data["results"]:
        return f"{what}: nothing was run"
    real = _first_real(data)
    if real:
        return f"{what}: {_real_conclusion(real, data['results'])}"
    if not (zero and pages):
        return f"{what}: " + "; ".join(_verdict(r) for r in data["results"])
    both = f"{_verdict(zero, 'zero page')}; {_verdict(pages, _pages_name(pages))}"
    return f"{what}: {both}: {_comparison(zero, pages)}"


def _real_conclusion(real, results):
    """Real memory, then each of the kernel's ways beside it."""
    parts = [f"{real['contender']} {format_ns(real['median_ns_per_page'])} ns/page"]
    if real["mapping_ns_per_page"]:
        parts[0] += " with its mapping"
    for other in results:
        if other["policy"] == "kernel":
            ns = format_ns(other["median_ns_per_page"])
            parts.append(f"{other['contender']} {ns}, {_comparison(real, other)}")
    return "; ".join(parts)


def _pages_name(result):
    """The comparator shows huge holes by a zero page too, as the kernel did."""
    if "zero page" in result["served_by"]:
        return f"policy page-cache, served by {result['served_by']},"
    return "page-cache pages"


def _verdict(result, name=None):
    name = name or result["contender"]
    text = f"{name} {format_ns(result['median_ns_per_page'])} ns/page"
    cache = result["memory"]["page_cache_bytes"]
    return text if cache is None else f"{text} and {format_size(cache)} of page cache"


def _comparison(zero, pages):
    ratio = pages["median_ns_per_page"] / zero["median_ns_per_page"]
    if 0.95 < ratio < 1.05:
        return "equal within 5 %"
    if ratio > 1:
        return f"{ratio:.1f} times faster"
    return f"{1 / ratio:.1f} times slower"


def plot(data, path):
    """Bars of ns per page; raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [r["contender"] for r in data["results"]]
    values = [r["median_ns_per_page"] for r in data["results"]]
    figure, axes = pyplot.subplots(
        figsize=(8, 0.6 * len(names) + 1.6), layout="constrained"
    )
    bars = axes.barh(names, values)
    axes.bar_label(bars, [format_ns(v) for v in values], padding=3)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("ns per 4 KiB page (log scale, shorter is better)")
    axes.set_title(
        f"{data['scenario']}, {format_size(data['size_bytes'])}, {data['order']}"
    )
    # Named, or matplotlib makes another file of a name without a suffix.
    form = os.path.splitext(path)[1].removeprefix(".") or "png"
    figure.savefig(path, dpi=120, format=form)
    pyplot.close(figure)
