# SPDX-License-Identifier: BSD-3-Clause
"""Does access sequences on the engine; see docs/testing.md."""

import errno
import itertools
import re

import daxcore

PAGE = daxcore.PAGE_SIZE
DEVICE_SIZE = 128 << 20


class Step:
    """What a step came to: result, bytes in runs, written bytes, size, events."""

    def __init__(self, result, written, size, events):
        self.result = result
        self.written = written
        self.size = size
        self.events = events


def number(word):
    """Return 8192 for ``8K``; also M, and hexadecimal."""
    scale = {"K": 10, "M": 20}.get(word[-1], 0)
    return int(word[:-1] if scale else word, 0) << scale


def runs(data):
    """Return ``00*4096 61*1``."""
    groups = ((byte, sum(1 for _ in group)) for byte, group in itertools.groupby(data))
    return " ".join(f"{byte:02x}*{count}" for byte, count in groups)


def pieces(offset, length):
    """Yield offset and length of what lies in each page: a call after a call
    that did a part of its bytes would fault twice where the CPU faults once."""
    start, end = number(offset), number(offset) + number(length)
    while start < end:
        nbytes = min(PAGE - start % PAGE, end - start)
        yield start, nbytes
        start += nbytes


def event_tuple(text, letter):
    """Return an event in the few words that are compared, from ftrace's text."""
    name, _, rest = text.strip().partition(": ")
    if "writeback_range" in name:
        first, last = re.search(r"pgoff (\w+)-(\w+)", rest).groups()
        last = "end" if int(last, 0) >> 40 else str(int(last, 0))
        place = (str(int(first, 0)), last) if name == "dax_writeback_range" else ()
        return (name, letter, *place)
    if name == "dax_writeback_one":
        found = re.search(r"pgoff (\w+) pglen (\w+)", rest).groups()
        return (name, letter, *(str(int(word, 0)) for word in found))
    sharing, write = re.search(r"(shared|private) ?(WRITE)?", rest).groups()
    found = re.search(r" pgoff (\w+)(?: max_pgoff \w+)?(?: ([A-Z_|]+))?$", rest)
    if not found:  # of a 2 MiB hole: the address says no more than the fault
        return (name, letter, sharing)
    pgoff, result = found.groups()
    words = ["write" if write else "read", str(int(pgoff, 0)), *filter(None, [result])]
    return (name, letter, sharing, *words)


class Engine:
    """The files and mappings of one sequence, by their letters."""

    def __init__(self, backend="soft"):
        self.backend = backend
        self.files = {}
        self.maps = {}
        self.device = daxcore.Device.memory(DEVICE_SIZE, emulate_pmem=True)

    def run(self, lines):
        """Return a Step for each line."""
        try:
            return [self._step(line.split()) for line in lines]
        finally:
            for thing in [*self.maps.values(), *self.files.values()]:
                thing.close()
            self.device.close()

    def _step(self, words):
        verb, letter, *rest = words
        with daxcore.trace() as trace:
            try:
                data = getattr(self, f"_{verb}")(letter, *rest)
            except daxcore.FaultError:
                result = "SIGBUS"
            except PermissionError:
                result = "SIGSEGV" if verb == "store" else "EACCES"
            except OSError as error:
                result = errno.errorcode[error.errno]
            except ValueError:
                result = "EINVAL"
            else:
                result = f"ok {runs(data)}" if isinstance(data, bytes) else "ok"
        file = self.files[letter] if letter in self.files else self.map_file[letter]
        extents = file.extents()
        mapped = extents[extents["type"] == daxcore.IomapType.MAPPED]
        written = sum(-(-int(n) // PAGE) * PAGE for n in mapped["length"])
        return Step(result.strip(), written, file.size, self._events(trace))

    def _events(self, trace):
        letters = {file.ino: letter for letter, file in self.files.items()}
        events = []
        for line in trace.text().splitlines():
            found = re.search(r"(dax_\w+: dev \S+ ino (\w+) .*)", line)
            if found:
                events.append(event_tuple(found[1], letters[int(found[2], 0)]))
        return events

    # ---- steps, named as in the language

    map_file = property(lambda self: {k: m.file for k, m in self.maps.items()})

    def _open(self, letter, size):
        self.files[letter] = self.device.create_file(number(size))

    def _map(self, letter, file, offset, length, *words):
        self.maps[letter] = self.files[file].mmap(
            number(offset),
            number(length),
            access="r" if "ro" in words else "rw",
            shared="private" not in words,
            pages="pte" if "pte" in words else "auto",
            sync="sync" in words,
            backend=self.backend,
            **({"fault_around": 0} if self.backend == "real" else {}),
        )

    def _unmap(self, letter):
        self.maps[letter].close()

    def _load(self, letter, offset, length):
        read = self.maps[letter].read
        return b"".join(read(*piece) for piece in pieces(offset, length))

    def _store(self, letter, offset, length, byte):
        for start, nbytes in pieces(offset, length):
            self.maps[letter].write(start, bytes([number(byte)]) * nbytes)

    def _msync(self, letter, offset="0", length=None):
        m = self.maps[letter]
        nbytes = number(length) if length else m.length
        m.file.writeback(m.offset + number(offset), nbytes)

    def _dontneed(self, letter, offset, length):
        self.maps[letter].dontneed(number(offset), number(length))

    def _pread(self, letter, offset, length):
        return self.files[letter].pread(number(length), number(offset))

    def _pwrite(self, letter, offset, length, byte):
        data = bytes([number(byte)]) * number(length)
        self.files[letter].pwrite(data, number(offset))

    def _falloc(self, letter, offset, length):
        self.files[letter].fallocate(number(offset), number(length))

    def _punch(self, letter, offset, length):
        self.files[letter].punch_hole(number(offset), number(length))

    def _zero(self, letter, offset, length):
        self.files[letter].zero_range(number(offset), number(length))

    def _truncate(self, letter, size):
        self.files[letter].truncate(number(size))

    def _fsync(self, letter):
        self.files[letter].fsync()
