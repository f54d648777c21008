# SPDX-License-Identifier: BSD-3-Clause
"""What a medium may hold after a power loss: to test storage, yours and ours.

A :class:`PowerLossDevice` writes down every store, flush and fence, and tells
in which states the medium may be found if the power fails at a moment.

The model: a cache line of 64 bytes comes to the medium as a prefix of the
stores made to it, in pieces of 8 bytes; a store of more is made from its
lowest byte up, and cut where an address is a multiple of 8.  Any line may come
to the medium at any time, as far as it was stored by then, without being asked
and independently of all others.  A line that was flushed has come, as far as
it was stored at the flush, when the thread that flushed it has fenced; a store
past the cache (``pwrite``, zeroing) needs no flush.  A flush without a fence
promises nothing.

>>> from daxcore.testing import PowerLossDevice
>>> device = PowerLossDevice(8192)
>>> device.store(0, b"old")
>>> device.flush(0, 3)
>>> device.fence()
>>> device.store(0, b"new")
>>> sorted(image[:3].tobytes() for image in device.states())
[b'new', b'old']
>>> device.close()
"""

import itertools
import math
import operator
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, NoReturn, Self, SupportsIndex

import numpy as np
import numpy.typing as npt

from . import capi
from ._core import PAGE_SIZE, Device

__all__ = ["Medium", "PowerLossDevice", "PowerLossError", "Record", "States"]

LINE = 64
WORD = 8

Image = npt.NDArray[np.uint8]

_KINDS = {
    capi.lib.DAX_RECORD_STORE: "store",
    capi.lib.DAX_RECORD_STORE_NT: "store_nt",
    capi.lib.DAX_RECORD_ZERO_NT: "zero_nt",
    capi.lib.DAX_RECORD_FLUSH: "flush",
    capi.lib.DAX_RECORD_FENCE: "fence",
}
_STORES = frozenset({"store", "store_nt", "zero_nt"})
_ROW = np.dtype(
    [
        ("offset", "u8"),
        ("length", "u8"),
        ("data", "u8"),
        ("kind", "u4"),
        ("thread", "u4"),
    ]
)


class Record(NamedTuple):
    """One event of a device.

    Attributes
    ----------
    kind : str
        "store", "store_nt" (past the cache), "zero_nt" (zeroes, past the
        cache), "flush" or "fence".
    offset, length : int
        Bytes on the device; 0 for a fence.
    data : bytes
        What was stored; empty for a "zero_nt", a flush and a fence.
    thread : int
        Number of the thread, from 1.
    """

    kind: str
    offset: int = 0
    length: int = 0
    data: bytes = b""
    thread: int = 1


class Piece(NamedTuple):
    """A store of at most 8 bytes, or what of a longer one lies in a word."""

    offset: int
    data: bytes
    number: int  # of the record


class PowerLossError(AssertionError):
    """A state of the medium that a check refused, as small as could be found.

    Attributes
    ----------
    moment : int
        Records that had happened.
    image : ndarray uint8
        The state; a copy, it is yours.
    missing : list of Piece
        ``(offset, data, number)`` of the stores that are not on the medium:
        take any of their lines away and the check is content.
    """

    def __init__(self, text: str, moment: int, image: Image, missing: list[Piece]):
        super().__init__(text)
        self.moment = moment
        self.image = image
        self.missing = missing


class Medium:
    """A log replayed up to a moment.

    Parameters
    ----------
    base : ndarray uint8
        What the medium holds before the first record; it is copied.

    Attributes
    ----------
    moment : int
        Records replayed.
    durable : ndarray uint8
        What is on the medium for certain, and of what is not, the old.
    latest : ndarray uint8
        What a program sees.
    pending : dict
        Number of a line -> stores that may or may not be on the medium, in
        the order in which they were made.
    """

    def __init__(self, base: Image):
        self.durable = np.array(base, dtype=np.uint8)
        self.latest = self.durable.copy()
        self.pending: dict[int, list[Piece]] = {}
        self._flushed: dict[int, dict[int, int]] = {}  # thread -> line -> pieces
        self.moment = 0

    def apply(self, record: Record) -> None:
        """Replay one record more."""
        if record.kind in _STORES:
            self._store(record)
        if record.kind != "fence" and record.kind != "store":
            self._flush(record)
        if record.kind == "fence":
            self._fence(record.thread)
        self.moment += 1

    def _store(self, record: Record) -> None:
        start, end = record.offset, record.offset + record.length
        old = self.latest[start:end]
        data = record.data if record.kind != "zero_nt" else bytes(record.length)
        new = np.frombuffer(data, dtype=np.uint8)
        # A word that is stored as it is makes no state of its own.
        changed = np.flatnonzero(old != new) + start
        for word in np.unique(changed // WORD).tolist():
            first, last = max(start, word * WORD), min(end, (word + 1) * WORD)
            piece = Piece(first, data[first - start : last - start], self.moment)
            self.pending.setdefault(first // LINE, []).append(piece)
        old[:] = new

    def _flush(self, record: Record) -> None:
        if not record.length:
            return
        first = record.offset // LINE
        last = (record.offset + record.length - 1) // LINE
        flushed = self._flushed.setdefault(record.thread, {})
        lines: Iterable[int] = range(first, last + 1)
        if last - first >= len(self.pending):
            lines = [line for line in self.pending if first <= line <= last]
        for line in lines:
            if line in self.pending:
                flushed[line] = len(self.pending[line])

    def _fence(self, thread: int) -> None:
        for line, done in self._flushed.pop(thread, {}).items():
            pieces = self.pending[line]
            for piece in pieces[:done]:
                put(self.durable, piece)
            del pieces[:done]
            if not pieces:
                del self.pending[line]
            for other in self._flushed.values():
                if line in other and other[line] <= done:
                    del other[line]
                elif line in other:
                    other[line] -= done

    def contents(self, line: int) -> list[bytes]:
        """Return what a line may hold, each once, the oldest first."""
        content = bytearray(self.durable[line * LINE : (line + 1) * LINE])
        found = {bytes(content): None}
        for piece in self.pending.get(line, ()):
            at = piece.offset % LINE
            content[at : at + len(piece.data)] = piece.data
            found[bytes(content)] = None
        return list(found)

    def missing(self, line: int, content: bytes) -> list[Piece]:
        """Return the stores that a line lacks which holds `content`."""
        now = bytearray(self.durable[line * LINE : (line + 1) * LINE])
        pieces = self.pending[line]
        for done, piece in enumerate(pieces):
            if now == content:
                return pieces[done:]
            at = piece.offset % LINE
            now[at : at + len(piece.data)] = piece.data
        return []


def put(image: Image, piece: Piece) -> None:
    image[piece.offset : piece.offset + len(piece.data)] = np.frombuffer(
        piece.data, dtype=np.uint8
    )


class States:
    """The states a medium may be in at a moment: an iterable of images.

    Made by :meth:`PowerLossDevice.states`.  Each image is the same read-only
    array, changed in place: copy what you keep.

    Attributes
    ----------
    moment : int
        Records that had happened.
    lines : dict
        Number of a line -> what it may hold, the oldest first; lines of which
        only one content is possible are not there.
    count : int
        Number of different states.
    exhaustive : bool
        True if the iteration comes to all of them.
    """

    def __init__(self, medium: Medium, lines: int, sample: int, seed: int):
        self.moment = medium.moment
        self.lines = {
            line: contents
            for line in sorted(medium.pending)
            if len(contents := medium.contents(line)) > 1
        }
        self.count = math.prod(len(contents) for contents in self.lines.values())
        self.exhaustive = len(self.lines) <= lines or self.count <= sample
        self._medium = medium
        self._base = medium.durable.copy()
        self._sample = sample
        self._seed = seed
        self._numbers = list(self.lines)
        self._sizes = [len(contents) for contents in self.lines.values()]

    def __iter__(self) -> Iterator[Image]:
        for _, image in self._walk():
            yield image

    def _walk(self) -> Iterator[tuple[tuple[int, ...], Image]]:
        """Yield, for each state, which content each line has, and the image."""
        image = self._base.copy()
        view = image.view()
        view.flags.writeable = False
        before: tuple[int, ...] = (0,) * len(self._sizes)
        for choice in self._choices():
            self._patch(image, before, choice)
            before = choice
            yield choice, view

    def _choices(self) -> Iterator[tuple[int, ...]]:
        if self.exhaustive:
            yield from itertools.product(*map(range, self._sizes))
            return
        none = (0,) * len(self._sizes)
        full = tuple(size - 1 for size in self._sizes)
        for start in (none, full):
            yield start
            for at, size in enumerate(self._sizes):
                for i in range(size):
                    if i != start[at]:
                        yield (*start[:at], i, *start[at + 1 :])
        rng = random.Random(self._seed)
        for _ in range(self._sample):
            yield tuple(rng.randrange(size) for size in self._sizes)

    def _patch(
        self, image: Image, before: tuple[int, ...], after: tuple[int, ...]
    ) -> None:
        for at, (old, new) in enumerate(zip(before, after, strict=True)):
            if old != new:
                line = self._numbers[at]
                content = self.lines[line][new]
                image[line * LINE : (line + 1) * LINE] = np.frombuffer(
                    content, dtype=np.uint8
                )

    def _image(self, choice: tuple[int, ...]) -> Image:
        image = self._base.copy()
        self._patch(image, (0,) * len(choice), choice)
        return image

    def _missing(self, choice: tuple[int, ...]) -> list[Piece]:
        missing = []
        for at, i in enumerate(choice):
            line = self._numbers[at]
            missing += self._medium.missing(line, self.lines[line][i])
        return missing


class PowerLossDevice(Device):
    """A device of memory that knows what a power loss would leave of it.

    It is treated as persistent memory and can be used wherever a
    :class:`daxcore.Device` can: files made on it, :meth:`store`,
    :meth:`flush` and :meth:`fence` are all written down.

    Parameters
    ----------
    size : int
        Bytes, multiple of 4096; zeroes at first.  Several copies of it are
        held: make it small.

    Notes
    -----
    A *moment* is a number of records that have happened, see :meth:`now`.

    Stores past the device, through ``dax_direct_access()``, cannot be
    written down: whoever asks for states or the log then is told so.
    """

    def __init__(self, size: SupportsIndex):
        self._record(size)
        self._base = np.zeros(self.size, dtype=np.uint8)
        self._start()

    def _start(self) -> None:
        self._records: list[Record] = []
        self._nr_data = 0
        self._latest = self._base.copy()
        self._medium = Medium(self._base)

    @classmethod
    def memory(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: what Device.memory() makes is not recorded."""
        raise TypeError("use PowerLossDevice(size)")

    @classmethod
    def open(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: what Device.open() opens is not recorded."""
        raise TypeError("use PowerLossDevice(size) or PowerLossDevice.from_image()")

    @classmethod
    def from_image(cls, image: Any) -> Self:
        """Make a device that holds a state: to recover from it.

        Parameters
        ----------
        image : bytes-like or ndarray uint8
            Of a length that is a multiple of 4096; it is copied.

        Returns
        -------
        PowerLossDevice
            With an empty log.
        """
        array = np.frombuffer(image, dtype=np.uint8)
        device = cls(array.size)
        for offset in range(0, array.size, PAGE_SIZE):
            page = array[offset : offset + PAGE_SIZE]
            if page.any():
                device.store(offset, page.tobytes())
        device.reset()
        return device

    # ---- the log ---------------------------------------------------------

    def now(self) -> int:
        """Return the present moment: how many records there are."""
        return capi.check(capi.lib.dax_device_log_length(capi.from_object(self)))

    def log(self) -> list[Record]:
        """Return what has happened, in the order in which it took effect.

        Returns
        -------
        list of Record

        Raises
        ------
        MemoryError
            There was no memory for the log: it is incomplete until
            :meth:`reset`.
        RuntimeError
            Something was stored past the device.
        """
        self._read()
        return self._records.copy()

    def reset(self) -> None:
        """Forget the log; what is stored now is on the medium for certain."""
        capi.check(capi.lib.dax_device_log_reset(capi.from_object(self)))
        self._base = self._window().copy()
        self._start()

    def _window(self) -> Image:
        """Return the device's memory, for as long as the device is held."""
        kaddr = capi.ffi.new("void **")
        pages = self.size // PAGE_SIZE
        pointer = capi.from_object(self)
        capi.check(capi.lib.dax_direct_access(pointer, 0, pages, kaddr, capi.ffi.NULL))
        return np.frombuffer(capi.ffi.buffer(kaddr[0], self.size), dtype=np.uint8)

    def _read(self) -> None:
        """Fetch what is new of the log, and see that nothing went past it."""
        while True:
            self._fetch()
            same = self._window() == self._latest
            if self.now() == len(self._records):
                break  # or else somebody stored meanwhile
        if not same.all():
            raise RuntimeError(
                f"byte {int(np.argmin(same))} of the device was changed past the "
                "device: what is stored through an address cannot be recorded, "
                "use Device.store()"
            )

    def _fetch(self) -> None:
        pointer = capi.from_object(self)
        first = len(self._records)
        rows = np.empty(self.now() - first, dtype=_ROW)
        if not rows.size:
            return
        buf = capi.ffi.from_buffer("struct dax_record[]", rows)
        rows = rows[
            : capi.check(capi.lib.dax_device_log(pointer, first, buf, len(buf)))
        ]
        nbytes = sum(int(row["length"]) for row in rows if row["kind"] <= 2)
        data = bytearray(nbytes)
        capi.check(
            capi.lib.dax_device_log_data(
                pointer, self._nr_data, capi.ffi.from_buffer(data), nbytes
            )
        )
        for row in rows.tolist():
            self._add(tuple(row), data)
        self._nr_data += nbytes

    def _add(self, row: tuple[int, ...], data: bytearray) -> None:
        offset, length, at, kind, thread = row
        name = _KINDS[kind]
        content = b""
        if name in ("store", "store_nt"):
            at -= self._nr_data
            content = bytes(data[at : at + length])
            self._latest[offset : offset + length] = np.frombuffer(content, np.uint8)
        elif name == "zero_nt":
            self._latest[offset : offset + length] = 0
        self._records.append(Record(name, offset, length, content, thread))

    def _at(self, moment: int | None) -> Medium:
        """Return the medium at a moment; the next call changes it."""
        self._read()
        last = len(self._records)
        moment = last if moment is None else operator.index(moment)
        if not 0 <= moment <= last:
            raise ValueError(f"moment must be in 0 to {last}, is {moment}")
        if moment < self._medium.moment:
            self._medium = Medium(self._base)
        for record in self._records[self._medium.moment : moment]:
            self._medium.apply(record)
        return self._medium

    # ---- states ----------------------------------------------------------

    def count(self, moment: int | None = None) -> int:
        """Return how many different states the medium may be in.

        Parameters
        ----------
        moment : int, optional
            See :meth:`now`, which is the default.

        Returns
        -------
        int
            Exact, and soon of many digits: each line that may hold one of n
            contents multiplies it by n.
        """
        return self.states(moment, lines=0, sample=0).count

    def states(
        self,
        moment: int | None = None,
        *,
        lines: int = 3,
        sample: int = 1000,
        seed: int = 0,
    ) -> States:
        """Return the states in which a power loss may leave the medium.

        All of them, if no more than `lines` cache lines are uncertain or there
        are no more than `sample` states.  Otherwise each content of each line
        by itself, with nothing of the others on the medium and with everything
        of them, and `sample` states by chance.

        Parameters
        ----------
        moment : int, optional
            When the power fails, see :meth:`now`, which is the default.
        lines : int
            Lines of which all combinations are tried.
        sample : int
            States by chance if there are more.
        seed : int
            The same seed gives the same states.

        Returns
        -------
        States
            To iterate over: images, ndarrays of uint8 of the device's size.
            It is one read-only array that is changed in place.

        Raises
        ------
        ValueError
            `moment` has not come.
        MemoryError, RuntimeError
            As :meth:`log`.
        """
        return States(self._at(moment), lines, sample, seed)

    def moments(self, first: int = 0, last: int | None = None) -> list[int]:
        """Return the moments at which other states are possible than before.

        Parameters
        ----------
        first, last : int
            Moments; default is the whole log.

        Returns
        -------
        list of int
            `first`, and the moments after each store and each fence up to
            `last`.
        """
        self._at(last)
        last = len(self._records) if last is None else last
        if not 0 <= first <= last:
            raise ValueError(f"first must be in 0 to {last}, is {first}")
        changes = (
            number + 1
            for number in range(first, last)
            if self._records[number].kind != "flush"
        )
        return [first, *changes]

    def check(
        self,
        function: Callable[[Image], object],
        moment: int | None = None,
        *,
        since: int | None = None,
        lines: int = 3,
        sample: int = 1000,
        seed: int = 0,
    ) -> int:
        """Call a function on each state that a power loss may leave.

        Parameters
        ----------
        function : callable
            Gets an image as :meth:`states` gives it.  It refuses a state by
            returning False or by an exception; None accepts it.
        moment : int, optional
            When the power fails; default is :meth:`now`.
        since : int, optional
            The power may fail at any moment from this one to `moment`.
        lines, sample, seed : int
            As for :meth:`states`.

        Returns
        -------
        int
            States tried.

        Raises
        ------
        PowerLossError
            A state was refused: as small a one as could be found, with the
            stores that are missing from it.
        """
        tried = 0
        for when in self._last_moments(since, moment):
            states = self.states(when, lines=lines, sample=sample, seed=seed)
            for choice, image in states._walk():
                tried += 1
                if _refusal(function, image) is not None:
                    raise _smallest(function, states, choice)
        return tried

    def _last_moments(self, first: int | None, last: int | None) -> list[int]:
        """Moments whose states are those of all moments of a range.

        A store adds states, a flush changes nothing: what was possible since
        a fence is possible before the next one.
        """
        last = self._at(last).moment
        if first is None:
            return [last]
        if not 0 <= first <= last:
            raise ValueError(f"since must be in 0 to {last}, is {first}")
        fences = (n for n in range(first, last) if self._records[n].kind == "fence")
        return [*fences, last]


_REFUSED = AssertionError("the check returned False")


def _refusal(function: Callable[[Image], object], image: Image) -> Exception | None:
    try:
        result = function(image)
        return None if result is None or result else _REFUSED  # numpy's False too
    except Exception as error:
        return error


def _smallest(
    function: Callable[[Image], object], states: States, choice: tuple[int, ...]
) -> PowerLossError:
    """Complete line after line as long as the state is still refused."""
    smallest = list(choice)
    for at, size in enumerate(states._sizes):
        for i in range(size - 1, choice[at], -1):
            whole = (*smallest[:at], i, *smallest[at + 1 :])
            if _refusal(function, states._image(whole)) is not None:
                smallest[at] = i
                break
    image = states._image(tuple(smallest))
    missing = states._missing(tuple(smallest))
    cause = _refusal(function, image)
    text = f"after {states.moment} records: {cause}; {_describe(missing)}"
    error = PowerLossError(text, states.moment, image, missing)
    error.__cause__ = cause
    return error


def _describe(missing: list[Piece], most: int = 8) -> str:
    if not missing:
        return "with all stores on the medium"
    parts = [
        f"{len(piece.data)} bytes at {piece.offset} (record {piece.number})"
        for piece in missing[:most]
    ]
    if len(missing) > most:
        parts.append(f"{len(missing) - most} more")
    lines = len({piece.offset // LINE for piece in missing})
    return f"not on the medium, of {lines} lines: {', '.join(parts)}"
