# SPDX-License-Identifier: BSD-3-Clause
"""Read one item of every page of a sparse array, by daxcore.memmap and by numpy's.

    python benchmarks/memmap_sparse.py [--directory DIR] [--json FILE]

Each round has a fresh file and a fresh process, so that memory is what the read
took.  One warm-up round is thrown away; what is shown are medians.
"""

import argparse
import ctypes
import json
import mmap
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import daxcore

PAGE = 4096
GIB = 1 << 30
KINDS = {"daxcore.memmap": daxcore.memmap, "numpy.memmap": np.memmap}
COLUMNS = ("private_bytes", "page_cache_bytes", "page_table_bytes", "file_bytes")


def status(name):
    """A line of /proc/self/status, in bytes."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    raise ValueError(f"no {name} in /proc/self/status")


def resident(path):
    """Bytes of a file in the page cache."""
    with open(path, "rb") as file:
        m = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        view = np.frombuffer(m, np.uint8)
        pages = np.empty(-(-len(m) // PAGE), np.uint8)
        where = [ctypes.c_void_p(a.ctypes.data) for a in (view, pages)]
        if ctypes.CDLL(None).mincore(where[0], ctypes.c_size_t(len(m)), where[1]):
            raise OSError("mincore failed")
        return int((pages & 1).sum()) * PAGE


def measure(kind, path, mode):
    """In a process of its own: open the array, and read from each page."""
    with open(path, "wb") as file:  # what the first of all calls takes
        file.truncate(PAGE)
    KINDS[kind](path, "f4", mode).sum()
    with open(path, "ab") as file:
        file.truncate(int(os.environ["MEMMAP_SPARSE_BYTES"]))
    before = {name: status(name) for name in ("RssAnon", "VmPTE")}
    start = time.perf_counter()
    array = KINDS[kind](path, "f4", mode)
    opened = time.perf_counter()
    total = array[:: PAGE // 4].sum()
    done = time.perf_counter()
    after = {name: status(name) for name in before}
    if total != 0:
        raise ValueError(f"the holes add up to {total}")
    return {
        "open_seconds": opened - start,
        "read_seconds": done - opened,
        "ns_per_page": (done - start) * 1e9 / (array.nbytes // PAGE),
        "private_bytes": after["RssAnon"] - before["RssAnon"],
        "page_cache_bytes": resident(path),
        "page_table_bytes": after["VmPTE"] - before["VmPTE"],
        "file_bytes": os.stat(path).st_blocks * 512,
        "max_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def run(kind, size, directory, args):
    """Medians of the rounds after one of warm-up."""
    values = []
    for _ in range(args.rounds + 1):
        path = os.path.join(directory, "memmap_sparse")
        done = subprocess.run(
            [sys.executable, __file__, "--one", kind, path, args.mode],
            env={**os.environ, "MEMMAP_SPARSE_BYTES": str(size)},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        os.unlink(path)
        values.append(json.loads(done.stdout))
    medians = {
        name: statistics.median(value[name] for value in values[1:])
        for name in values[0]
    }
    return {
        "array": kind,
        "size_bytes": size,
        "mode": args.mode,
        "rounds": args.rounds,
        **medians,
    }


def show_bytes(n):
    for unit in ("B", "KiB", "MiB"):
        if abs(n) < 1024:
            return f"{n:.0f} {unit}"
        n /= 1024
    return f"{n:.1f} GiB"


def table(results):
    """Lines of text."""
    heads = ["", "array", "seconds", "ns/page"]
    heads += [name.removesuffix("_bytes").replace("_", " ") for name in COLUMNS]
    rows = [heads]
    for row in results:
        rows.append(
            [
                row["array"],
                show_bytes(row["size_bytes"]),
                f"{row['open_seconds'] + row['read_seconds']:.2f}",
                f"{row['ns_per_page']:.1f}",
                *(show_bytes(row[name]) for name in COLUMNS),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(cell.rjust(width) for cell, width in cells)


def conclusion(ours, theirs):
    """One line."""
    taken = [sum(row[name] for name in COLUMNS[:3]) for row in (ours, theirs)]
    ratio = theirs["ns_per_page"] / ours["ns_per_page"]
    return (
        f"{show_bytes(ours['size_bytes'])} of holes are read in "
        f"{ours['open_seconds'] + ours['read_seconds']:.2f} s with "
        f"{show_bytes(taken[0])} of memory; numpy.memmap takes {ratio:.1f} times as "
        f"long for a page, and {show_bytes(taken[1])} for "
        f"{show_bytes(theirs['size_bytes'])}."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", help="default: the temporary directory")
    parser.add_argument("--gib", type=float, default=64, help="size for daxcore")
    parser.add_argument("--numpy-gib", type=float, default=4, help="size for numpy")
    parser.add_argument("--mode", choices=("r", "r+", "c"), default="r+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE", help="- is standard output")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*args.one)))
        return
    sizes = {"daxcore.memmap": args.gib, "numpy.memmap": args.numpy_gib}
    with tempfile.TemporaryDirectory(dir=args.directory) as directory:
        results = [
            run(kind, int(gib * GIB) // PAGE * PAGE, directory, args)
            for kind, gib in sizes.items()
        ]
    out = sys.stderr if args.json == "-" else sys.stdout
    print(*table(results), conclusion(*results), sep="\n", file=out)
    if args.json:
        text = json.dumps({"schema": 1, "results": results}, indent=1)
        if args.json == "-":
            print(text)
        else:
            with open(args.json, "w") as file:
                file.write(text + "\n")


if __name__ == "__main__":
    main()
