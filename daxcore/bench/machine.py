# SPDX-License-Identifier: BSD-3-Clause
"""What the machine is, has and lacks; and what the process uses of it."""

import contextlib
import ctypes
import errno
import glob
import mmap
import os
import platform
import resource
import sys
import time

_HUGE = "/sys/kernel/mm/transparent_hugepage"
_UFFD_SYSCALL = {"x86_64": 323, "aarch64": 282}
_UFFD_USER_MODE_ONLY = 1
_MADV_HUGEPAGE = 14
_FLUSHES = {
    "clwb": "clwb",
    "clflushopt": "clflushopt",
    "clflush": "clflush",
    "dcpop": "dc cvap",
}


def _read(path, default=None):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return default


def _kilobyte_field(path, name):
    """Bytes of a 'Name:  123 kB' line, None if there is none."""
    for line in (_read(path) or "").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return None


def rss_bytes():
    """Resident memory of this process."""
    return _kilobyte_field("/proc/self/status", "VmRSS")


def pss_bytes():
    """Memory of this process, of shared pages its share; None if not told."""
    return _kilobyte_field("/proc/self/smaps_rollup", "Pss")


def memory_use():
    """What grows while a file is mapped, by the name that its growth has."""
    return {
        "rss_delta_bytes": rss_bytes(),
        "pss_delta_bytes": pss_bytes(),
        "vmpte_delta_bytes": page_table_bytes(),
        "system_cached_delta_bytes": cached_bytes(),
    }


def kernel_faults():
    """Page faults of this process, by getrusage(2)."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt


def max_map_count():
    """How many memory areas a process may have."""
    return int(_read("/proc/sys/vm/max_map_count", "65530"))


def page_table_bytes():
    """Memory of this process's own (kernel) page tables."""
    return _kilobyte_field("/proc/self/status", "VmPTE")


def cached_bytes():
    """The system's page cache, shared memory and tmpfs included."""
    return _kilobyte_field("/proc/meminfo", "Cached")


def available_bytes():
    """Memory that can be had without swapping."""
    return _kilobyte_field("/proc/meminfo", "MemAvailable")


def _cpu_lines(*names):
    lines = (_read("/proc/cpuinfo") or "").splitlines()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in names:
            yield value.strip()


def warm_memory(nbytes):
    """Have `nbytes` of memory that the machine has touched of late.

    Of a virtual machine, memory that was free for a while may be the host's
    again, and who takes it next pays for its return: many times what is measured.
    """
    if not nbytes:
        return
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, nbytes, flags) as memory:
        with contextlib.suppress(OSError):
            memory.madvise(_MADV_HUGEPAGE)
        for at in range(0, nbytes, 4096):
            memory[at] = 1


def cpu_model():
    """Name of the first CPU."""
    names = ("model name", "Model", "Hardware", "CPU part")
    return next(_cpu_lines(*names), platform.processor() or "unknown")


def flush_instructions():
    """Instructions that write a cache line back, best first."""
    flags = next(_cpu_lines("flags", "Features"), "").split()
    return [name for flag, name in _FLUSHES.items() if flag in flags]


def thp(name="enabled"):
    """The chosen word of a transparent_hugepage setting, None if absent."""
    text = _read(f"{_HUGE}/{name}") or ""
    start, end = text.find("["), text.find("]")
    return text[start + 1 : end] if 0 <= start < end else None


def userfaultfd():
    """(answer, hint): 'full', 'user mode only' or 'no', and how to have more."""
    error = _try_userfaultfd(0)
    if error == 0:
        return "full", None
    hint = "sysctl vm.unprivileged_userfaultfd=1, or run as root"
    if _try_userfaultfd(_UFFD_USER_MODE_ONLY) == 0:
        return "user mode only", f"faults taken inside system calls need {hint}"
    if error == errno.ENOSYS:
        return "no", "needs a kernel built with CONFIG_USERFAULTFD"
    return "no", f"{os.strerror(error)}: {hint}"


def _try_userfaultfd(flags):
    """0 or the errno of one userfaultfd(2) call."""
    number = _UFFD_SYSCALL.get(platform.machine())
    if number is None:
        return errno.ENOSYS
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(ctypes.c_long(number), ctypes.c_long(os.O_CLOEXEC | flags))
    if fd < 0:
        return ctypes.get_errno()
    os.close(fd)
    return 0


def dax_nodes():
    """Paths of the device-dax nodes of this machine."""
    return sorted(glob.glob("/dev/dax[0-9]*"))


def file_system(path):
    """Type of the file system `path` is on, 'unknown' if it cannot be told."""
    best, kind = "", "unknown"
    real = os.path.realpath(path)
    for line in (_read("/proc/self/mounts") or "").splitlines():
        fields = line.split()
        mount = fields[1].encode().decode("unicode_escape")
        inside = real == mount or real.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, fields[2]
    return kind


def free_bytes(path):
    """Bytes an unprivileged process may still store below `path`."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def describe():
    """The machine{} object of a report."""
    import numpy

    import daxcore

    return {
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "memory_bytes": _kilobyte_field("/proc/meminfo", "MemTotal"),
        "page_size": os.sysconf("SC_PAGE_SIZE"),
        "thp": thp(),
        "thp_shmem": thp("shmem_enabled"),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "daxcore": daxcore.__version__,
    }


def python_timer_overhead_ns():
    """Median ns of two perf_counter_ns calls with nothing between them."""
    clock = time.perf_counter_ns
    gaps = sorted(-(clock() - clock()) for _ in range(20001))
    return float(gaps[len(gaps) // 2])


def native_timer_overhead_ns(rounds=15, nbytes=64 << 20):
    """What ``latencies=True`` adds to one fault, in ns.

    The same loop of faults over a small hole, with and without the clock, in
    alternation; the difference of the medians.
    """
    import daxcore

    plain, sampled = [], []
    with daxcore.Device.memory(2 << 20) as device:
        for i in range(rounds):
            for times, latencies in _alternate(i, (plain, False), (sampled, True)):
                times.append(_hole_loop_ns(device, nbytes, latencies))
    pages = nbytes // 4096
    return max(0.0, (_median(sampled) - _median(plain)) / pages)


def _hole_loop_ns(device, nbytes, latencies):
    with device.create_file(nbytes) as file, file.mmap(pages="pte") as mapping:
        start = time.perf_counter_ns()
        mapping.fault_range(0, nbytes // 4096, latencies=latencies)
        return time.perf_counter_ns() - start


def _alternate(i, first, second):
    return (first, second) if i % 2 == 0 else (second, first)


def _median(values):
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def info():
    """Everything ``daxcore info`` shows, as one dict."""
    import daxcore

    uffd, uffd_hint = userfaultfd()
    report = {
        "daxcore": daxcore.__version__,
        "library": library_path(),
        "python": f"{platform.python_version()} ({sys.executable})",
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "flush_instructions": flush_instructions(),
        "memory_bytes": _kilobyte_field("/proc/meminfo", "MemTotal"),
        "available_bytes": available_bytes(),
        "page_size": os.sysconf("SC_PAGE_SIZE"),
        "thp": thp(),
        "thp_shmem": thp("shmem_enabled"),
        "userfaultfd": uffd,
        "dax_nodes": dax_nodes(),
    }
    report["missing"] = list(_missing(report, uffd_hint))
    return report


def library_path():
    """Path of the libdaxcore that this process has loaded."""
    for line in (_read("/proc/self/maps") or "").splitlines():
        if "libdaxcore" in line:
            return line.split(maxsplit=5)[-1]
    return None


def _missing(report, uffd_hint):
    """Sentences: what is missing, what for, and how to have it."""
    if uffd_hint:
        yield f"userfaultfd: {report['userfaultfd']}. {uffd_hint}"
    if report["thp"] in (None, "never"):
        yield (
            "transparent huge pages are off: 2 MiB pages of real memory need "
            f"echo madvise > {_HUGE}/enabled"
        )
    if not report["dax_nodes"]:
        yield (
            "no /dev/dax node: files and memory devices work; for a node, "
            "ndctl create-namespace -m devdax (persistent memory or memmap=)"
        )
    if report["page_size"] != 4096:
        yield f"base page of {report['page_size']} bytes: only the soft backend works"
