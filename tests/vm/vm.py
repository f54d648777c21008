# SPDX-License-Identifier: BSD-3-Clause
"""A virtual machine with persistent memory: Debian's kernel, an initramfs.

QEMU emulates the CPU, so nothing is needed of the host but Debian packages.
"""

import contextlib
import gzip
import lzma
import os
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CSRC = HERE.parent.parent / "csrc"

# Packages, and what of each is looked for.
PACKAGES = {
    "qemu-system-x86": "qemu-system-x86_64",
    "busybox-static": "busybox",
    "kmod": "modprobe",
    "ndctl": "ndctl",
    "xfsprogs": "mkfs.xfs",
    "e2fsprogs": "mkfs.ext4",
    "gcc": "gcc",
}
KERNEL_PACKAGE = "linux-image-amd64"
MODULES = (
    "virtio_pci virtio_console libnvdimm nfit nd_btt nd_pmem device_dax dax_pmem "
    "crc32c-intel crc32c_generic ext4 xfs"
).split()
PROGRAMS = ("ndctl", "mkfs.xfs", "mkfs.ext4")

# Size of each NVDIMM in MiB without its label area.  All different: the guest
# tells them apart by it.  mkfs.xfs wants a log of 64 MiB, and room for it.
NVDIMMS = {"EXT4_MB": 256, "XFS_MB": 512, "DEVDAX_4K_MB": 64, "DEVDAX_2M_MB": 96}
LABEL_MB = 2
MEMORY_MB = 1024
BOOT_SECONDS = 240
ANSWER_SECONDS = 120
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class VMError(Exception):
    """The machine is not there or does not answer."""


def kernel_version():
    """Return the newest kernel that has its modules; None: there is none."""
    versions = [
        path.name
        for path in Path("/lib/modules").glob("*-amd64")
        if "cloud" not in path.name and Path(f"/boot/vmlinuz-{path.name}").exists()
    ]
    return max(
        versions, key=lambda v: [int(n) for n in re.findall(r"\d+", v)], default=None
    )


def missing_packages():
    missing = [p for p, name in PACKAGES.items() if not shutil.which(name, path=PATH)]
    return missing if kernel_version() else [*missing, KERNEL_PACKAGE]


def install_packages():
    """Install what is missing, as root on Debian; else say what is missing."""
    missing = missing_packages()
    if not missing:
        return
    command = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise VMError(f"needs vm: as root, {' '.join(command)}")
    environ = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    subprocess.run(["apt-get", "update", "-q"], env=environ, check=True)
    subprocess.run(command, env=environ, check=True)


# ---- the initramfs ---------------------------------------------------------


def cpio(entries):
    """Return a newc archive of (name, mode, bytes); names in order of depth."""
    parts = []
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")]):
        path = name.encode() + b"\0"
        fields = (number + 1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + path
        parts += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]
    return b"".join(parts)


def module_files(version):
    """Yield the files of all modules, each after those that it needs."""
    seen = []
    for module in MODULES:
        command = ["modprobe", "-S", version, "--ignore-install", "--show-depends"]
        done = subprocess.run(
            [*command, module],
            capture_output=True,
            text=True,
            env=dict(os.environ, PATH=PATH),
        )
        for path in re.findall(r"^insmod (\S+)", done.stdout, flags=re.M):
            if path not in seen:
                seen.append(path)
                yield Path(path)


def unpacked(path):
    """Return name and bytes of a module, which may be compressed."""
    unpack = {".xz": lzma.decompress, ".gz": gzip.decompress}.get(path.suffix)
    if unpack:
        return path.stem, unpack(path.read_bytes())
    return path.name, path.read_bytes()


def program_files(name):
    """Yield path and bytes of a program and of the libraries it loads."""
    program = shutil.which(name, path=PATH)
    yield f"bin/{name}", Path(program).read_bytes()
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
    for path in re.findall(r"(/\S+) \(0x", done.stdout):
        yield path.lstrip("/"), Path(path).read_bytes()


def compile_programs(directory):
    """Return the paths of access and devdax, linked statically."""
    common = ["gcc", "-std=gnu11", "-O2", "-g", "-pthread", "-static"]
    access, devdax = directory / "access", directory / "devdax"
    subprocess.run([*common, HERE / "access.c", "-o", access], check=True)
    library = [
        f"-I{CSRC}", f"-I{CSRC / 'include'}", "-DDAX_TREE_SHIFT=9",
        '-DDAX_VERSION="test"', *sorted(CSRC.glob("*.c")),
    ]  # fmt: skip
    subprocess.run([*common, HERE / "devdax.c", *library, "-o", devdax], check=True)
    return access, devdax


def make_initramfs(directory):
    """Return the path of the initramfs, made from what is installed."""
    files = {"init": (HERE / "init").read_bytes()}
    files["bin/busybox"] = Path(shutil.which("busybox", path=PATH)).read_bytes()
    for name in PROGRAMS:
        files.update(program_files(name))
    for path in compile_programs(directory):
        files[f"bin/{path.name}"] = path.read_bytes()
    modules = dict(unpacked(path) for path in module_files(kernel_version()))
    files.update({f"modules/{name}": data for name, data in modules.items()})
    files["modules/order"] = "\n".join(modules).encode()

    parents = {str(p) for name in files for p in Path(name).parents} - {"."}
    entries = [(name, 0o040755, b"") for name in sorted(parents)]
    entries += [(name, 0o100755, data) for name, data in files.items()]
    path = directory / "initramfs.gz"
    path.write_bytes(gzip.compress(cpio(entries), 1))
    return path


# ---- the machine -----------------------------------------------------------


def qemu_command(initramfs, console):
    """Return the command line; the VM's port is standard input and output."""
    room = MEMORY_MB + sum(NVDIMMS.values()) + len(NVDIMMS) * LABEL_MB
    sizes = " ".join(f"{name}={mb}" for name, mb in NVDIMMS.items())
    command = [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max",
        "-smp", "2", "-m", f"{MEMORY_MB}M,slots={len(NVDIMMS)},maxmem={2 * room}M",
        "-machine", "pc,nvdimm=on,nvdimm-persistence=cpu", "-nodefaults",
        "-display", "none", "-no-reboot", "-serial", f"file:{console}",
        "-device", "virtio-serial-pci", "-chardev", "stdio,id=port,signal=off",
        "-device", "virtserialport,chardev=port",
        "-kernel", f"/boot/vmlinuz-{kernel_version()}", "-initrd", str(initramfs),
        "-append", f"console=ttyS0 panic=-1 quiet {sizes}",
    ]  # fmt: skip
    for name, mb in NVDIMMS.items():
        size = mb + LABEL_MB
        command += ["-object", f"memory-backend-ram,id=m{name},size={size}M"]
        command += [
            "-device",
            f"nvdimm,id=n{name},memdev=m{name},label-size={LABEL_MB}M",
        ]
    return command


class VM:
    """A machine that was booted; `request` is all there is to do with it."""

    def __init__(self, directory):
        self.console = Path(directory) / "console"
        initramfs = make_initramfs(Path(directory))
        self._process = subprocess.Popen(
            qemu_command(initramfs, self.console),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._rest = b""
        try:
            self.greeting = self._lines("ready", BOOT_SECONDS)
        except BaseException:
            self.close()
            raise

    def _lines(self, last, seconds):
        """Return the lines up to the line `last`."""
        lines, end = [], time.monotonic() + seconds
        fd = self._process.stdout.fileno()
        while True:
            head, newline, rest = self._rest.partition(b"\n")
            if newline:
                self._rest = rest
                line = head.decode(errors="replace").rstrip("\r")
                if line == last:
                    return lines
                lines.append(line)
                continue
            wait = end - time.monotonic()
            ready = wait > 0 and select.select([fd], [], [], wait)[0]
            data = os.read(fd, 1 << 16) if ready else b""
            if not data:
                raise VMError(self._obituary(lines))
            self._rest += data

    def _obituary(self, lines):
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        return "\n".join(["the VM does not answer", *lines[-20:], text[-4000:]])

    def request(self, text):
        """Run a request (see access.c); return the lines of the answer."""
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()
        return self._lines(".", ANSWER_SECONDS)

    def complaints(self):
        """What the guest's kernel had to complain about."""
        text = self.console.read_text(errors="replace")
        return re.findall(r".*(?:BUG:|WARNING:|Oops|KASAN).*", text)

    def close(self):
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
