# SPDX-License-Identifier: BSD-3-Clause
"""`memmap`: numpy.memmap over a sparse file whose holes take no memory.

It has a module of its own name with an underscore, so that ``daxcore.memmap``
is the class whatever is imported first.
"""

import errno
import fcntl
import operator
import os
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ._core import PAGE_SIZE, Device, IomapType
from ._core import open as open_file
from ._errors import NotSupportedError

__all__ = ["memmap"]

_MODES = ("r", "c", "r+", "w+")
_LONG_MODES = {"readonly": "r", "copyonwrite": "c", "readwrite": "r+", "write": "w+"}

_COPY = np.uint64(1 << 51)  # bit of a frame in Mmap.pagemap(): a private copy
_PAGEMAP_PAGES = 1 << 18


class memmap(np.ndarray):
    """An array in a file, as numpy.memmap, whose holes take no memory.

    Takes what `numpy.memmap` takes and behaves as it does.  What differs: a
    hole of the file is read through the common zero page, so that reading it
    takes no page cache and gives it no blocks; a file grows by a hole.

    Parameters
    ----------
    filename : str, path-like or file object
        A file object must have ``fileno``; what its mode forbids stays
        forbidden, and it may be closed afterwards.
    dtype : data-type
        Of the items in the file; without objects.
    mode : {"r+", "r", "w+", "c"}
        Read and write an existing file; read it; make or empty a file (a file
        object is not emptied); copy-on-write, where stores go to private copies
        and never to the file.  The long names "readwrite", "readonly", "write"
        and "copyonwrite" are these.
    offset : int
        Byte of the file where the array begins; need not be aligned.
    shape : int or sequence of int, optional
        Default is one dimension up to the end of the file.  With "r+" and "w+"
        the file grows if the array needs it.
    order : {"C", "F"}
        Row-major or column-major.

    Attributes
    ----------
    filename : str, pathlib.Path or None
        Absolute; a Path if one was given, None for a file without a name.
    offset : int
        As given.
    mode : str
        One of the short names.

    Raises
    ------
    ValueError
        Unknown mode, no shape with "w+", an empty file with "r" or "c" or an
        array beyond its end, a size that is not whole items, objects in `dtype`.
    NotSupportedError
        The kernel has no userfaultfd(2), or the file system no holes.
    OSError
        EPERM: userfaultfd(2) is not allowed, the message says how to allow it;
        EBUSY: another process has the file open; EACCES: the file object is not
        open for this; what :func:`daxcore.open` says.

    Notes
    -----
    The mapping and the file are open as long as any view of the array is there.
    ``_mmap``, a :class:`Mmap`, cannot be closed before.

    Views share the memory and have the same attributes; copies and results of
    arithmetic are in memory and have None.  A pickle holds the items and not
    the file's name, as numpy's does.

    A store for which there is no room is SIGBUS, as with numpy: make room
    beforehand with ``array._mmap.populate(write=True)``, which raises.  In a
    forked child the calls raise ForkError and touching the array ends the
    process: start workers with "spawn" and open the file with "r" everywhere.

    Examples
    --------
    >>> import os, tempfile
    >>> from daxcore import memmap
    >>> path = os.path.join(tempfile.mkdtemp(), "sparse")
    >>> a = memmap(path, "f4", "w+", shape=(1 << 20, 256))
    >>> a[500, :4] = 1, 2, 3, 4
    >>> float(a.sum())
    10.0
    >>> [a.reshape(-1)[s].sum().item() for s in a.populated()]
    [10.0]
    >>> a.flush()
    >>> os.stat(path).st_size, os.stat(path).st_blocks * 512
    (1073741824, 4096)
    """

    __module__ = "daxcore"
    __array_priority__ = -100.0

    def __new__(
        subtype, filename, dtype=np.uint8, mode="r+", offset=0, shape=None, order="C"
    ):
        mode = _short_mode(mode)
        if mode == "w+" and shape is None:
            raise ValueError("shape must be given with mode 'w+'")
        dtype = np.dtype(dtype)
        if dtype.hasobject:
            raise ValueError(f"dtype must be without objects, is {dtype}")
        offset = operator.index(offset)
        if offset < 0:
            raise ValueError(f"offset must not be negative, is {offset}")
        shape = None if shape is None else _tuple(shape)
        _refuse_early(shape, dtype, order)
        _try_real()
        end = None if shape is None else offset + _nbytes(shape, dtype)
        with ExitStack() as stack:
            file, name, before = _open(filename, mode, end)
            stack.callback(file.close)
            if shape is None:
                shape = _items_in(file.size, offset, dtype)
                end = offset + _nbytes(shape, dtype)
            _make_room(file, mode, before, end)
            if hasattr(filename, "read"):
                filename.seek(0, os.SEEK_END)
            mapping = _map(file, mode, offset, _nbytes(shape, dtype))
            stack.callback(mapping.close)
            self = super().__new__(
                subtype, shape, dtype, mapping, offset - mapping.offset, order=order
            )
            stack.pop_all()
        mapping._give_to_array()
        self._mmap = mapping
        self.filename = name
        self.offset = offset
        self.mode = mode
        return self

    def __array_finalize__(self, obj):
        shares = getattr(obj, "_mmap", None) is not None and np.may_share_memory(
            self, obj
        )
        self._mmap = obj._mmap if shares else None
        self.filename = obj.filename if shares else None
        self.offset = obj.offset if shares else None
        self.mode = obj.mode if shares else None

    def __array_wrap__(self, array, context=None, return_scalar=False):
        array = super().__array_wrap__(array, context)
        if self is array or type(self) is not memmap:  # out=, a subclass
            return array
        return array[()] if return_scalar else array.view(np.ndarray)

    def __getitem__(self, index):
        item = super().__getitem__(index)
        if type(item) is memmap and item._mmap is None:
            return item.view(np.ndarray)
        return item

    def flush(self):
        """Make durable what was stored, by :meth:`File.fsync`.

        Does nothing with mode "c" and for an array that is not in a file.

        Raises
        ------
        OSError
            EIO, ENOSPC and what else fdatasync(2) says.

        Notes
        -----
        The whole file, also of a view.  GIL released.
        """
        if self._mmap is not None:
            self._mmap.flush()

    def extents(self):
        """Return what the file system says of the bytes of the array.

        Returns
        -------
        ndarray, structured, shape (extents,)
            As :meth:`File.extents`, with ``offset`` counted from the array's
            first byte in memory and what is outside the array cut off.

        Raises
        ------
        ValueError
            The array is not in a file, or not contiguous.
        OSError
            What the file system says.

        Notes
        -----
        GIL released.  Private copies (mode "c") are not the file's.
        """
        first, nbytes = self._in_file()
        rows = self._mmap.file.extents(first, nbytes)
        rows["offset"] -= first
        return rows

    def populated(self):
        """Iterate over the parts of the array that hold data.

        All items outside are zero, and nothing needs to be read to know that.

        Returns
        -------
        iterator of slice
            Of items, in the order of memory and without overlap:
            ``array.reshape(-1)[s]``, for a column-major array
            ``array.reshape(-1, order="F")[s]``.  An item of which a byte is in a
            block counts whole; so each begins and ends with some items that may
            be zero.  Private copies (mode "c") are data.

        Raises
        ------
        ValueError
            The array is not in a file, or not contiguous.
        OSError
            What the file system says.

        Notes
        -----
        As things are when it is called: what is stored to a hole afterwards is
        not in it.  GIL released.
        """
        first, nbytes = self._in_file()
        rows = self._mmap.file.extents(first, nbytes)
        data = rows["type"] == IomapType.MAPPED
        ranges = _ranges(rows[data])
        if self.mode == "c" and self._mmap.memory()["copy_bytes"]:
            ranges = sorted([*ranges, *_copies(self._mmap, rows[~data])])
        return _slices(ranges, first, nbytes, self.itemsize)

    def punch(self, start=0, stop=None):
        """Give items back to the file system: they become a hole and read as zero.

        The file keeps its size.  Blocks that lie in the range whole are freed,
        what reaches out of it is zeroed.

        Parameters
        ----------
        start, stop : int
            Items of the flat array; default is all of it.

        Raises
        ------
        ValueError
            The array is not in a file, not C-contiguous or read-only, or the
            range leaves it.
        NotSupportedError
            The file system cannot free parts of a file.
        OSError
            EROFS: mode "r" or "c".

        Notes
        -----
        GIL released.  Durable after :meth:`flush`.
        """
        first, _ = self._in_file()
        if not self.flags.c_contiguous:
            raise ValueError("punch needs a C-contiguous array")
        start, stop = _item_range(start, self.size if stop is None else stop, self.size)
        if self.mode in ("r+", "w+") and not self.flags.writeable:
            raise ValueError("punch needs an array that may be written")
        if start == stop or not self.itemsize:
            return
        try:
            self._mmap.file.punch_hole(
                first + start * self.itemsize, (stop - start) * self.itemsize
            )
        except NotSupportedError as error:
            raise NotSupportedError(
                error.errno,
                f"{error.strerror}; array[...] = 0 stores zeroes and keeps the blocks",
                error.filename,
            ) from None

    def memory(self):
        """Return the memory that mapping and file take, in bytes by kind.

        Returns
        -------
        dict of str to int
            Of the mapping that the array is in:

            ======================== ==========================================
            ``mapped_bytes``         addresses
            ``zero_bytes``           holes that were read: one common page
            ``data_bytes``           blocks that were touched; as much of it is
                                     in memory as the page cache holds
            ``copy_bytes``           private copies (mode "c")
            ``cpu_page_table_bytes`` the CPU's page tables, at most
            ======================== ==========================================

            Of the file, for all its mappings:

            ======================== ==========================================
            ``page_table_bytes``     the engine's page tables
            ``tree_bytes``           the engine's tree of entries
            ``block_map_bytes``      what the engine knows of its holes
            ``allocated_bytes``      blocks on the file system
            ======================== ==========================================

        Raises
        ------
        ValueError
            The array is not in a file.

        Notes
        -----
        GIL released.  What was read counts, not what is resident: no walk
        through /proc is needed.
        """
        mapping = self._mapping()
        stats = mapping.file.stats()
        names = ("page_table", "tree", "block_map", "allocated")
        return {
            "mapped_bytes": mapping.length,
            **mapping.memory(),
            **{f"{name}_bytes": stats[f"{name}_bytes"] for name in names},
        }

    def _mapping(self):
        if self._mmap is None:
            raise ValueError(
                "the array is not in a file: a copy, or a result of arithmetic"
            )
        return self._mmap

    def _in_file(self):
        """Byte of the file where the array's memory begins, and its length."""
        mapping = self._mapping()
        if not self.flags.forc:
            raise ValueError(
                "the array is not contiguous: its bytes are no one range of the file"
            )
        address = self.__array_interface__["data"][0]
        return address - mapping.address + mapping.offset, self.nbytes


# ---- arguments -----------------------------------------------------------


def _short_mode(mode):
    if isinstance(mode, str) and (mode in _MODES or mode in _LONG_MODES):
        return _LONG_MODES.get(mode, mode)
    words = ", ".join(map(repr, [*_MODES, *_LONG_MODES]))
    raise ValueError(f"mode must be one of {words}, not {mode!r}")


def _tuple(shape):
    try:
        shape = (operator.index(shape),)
    except TypeError:
        shape = tuple(operator.index(n) for n in shape)
    if any(n < 0 for n in shape):
        raise ValueError(f"shape must not be negative, is {shape}")
    return shape


def _nbytes(shape, dtype):
    nbytes = dtype.itemsize
    for n in shape:
        nbytes *= n
    return nbytes


def _refuse_early(shape, dtype, order):
    """What an ndarray does not take, before a file is opened."""
    np.empty(0, order=order)
    if shape is not None:
        np.broadcast_to(np.empty((), dtype), shape + dtype.shape)


def _items_in(size, offset, dtype):
    """The shape of what a file has from `offset` on."""
    nbytes = size - offset
    if nbytes < 0:
        raise ValueError(
            f"offset must be at most the file's size of {size}, is {offset}; give a "
            "shape to let the file grow"
        )
    if not dtype.itemsize:
        raise ValueError("shape is needed for a dtype of 0 bytes")
    if nbytes % dtype.itemsize:
        raise ValueError(
            f"{nbytes} bytes are not a multiple of the dtype's {dtype.itemsize}: give "
            "a shape"
        )
    return (nbytes // dtype.itemsize,)


def _item_range(start, stop, size):
    start, stop = operator.index(start), operator.index(stop)
    if not 0 <= start <= stop <= size:
        raise ValueError(
            f"items {start} to {stop} are not inside the array, which has {size}"
        )
    return start, stop


# ---- files ---------------------------------------------------------------


def _open(filename, mode, end):
    """Return the File, the array's filename, and the bytes that the file had.

    The file is opened with the size it is to have, since its window on the address
    space has that and not much more.
    """
    size = end if mode in ("r+", "w+") else None
    if hasattr(filename, "read"):
        return _open_object(filename, mode, size)
    return _open_path(filename, mode, size)


def _open_path(filename, mode, size):
    before = _size_of(filename) if mode != "w+" else 0
    file = open_file(filename, mode, size)
    if isinstance(filename, os.PathLike):
        return file, Path(os.fsdecode(filename)).resolve(), before
    name = os.path.abspath(filename) if isinstance(filename, str) else None
    return file, name, before


def _open_object(fid, mode, size):
    """By its descriptor, since it may have no name any more."""
    fid.seek(0, os.SEEK_END)  # what it has in its buffer is stored
    fd = fid.fileno()
    has = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    if has == os.O_WRONLY or (has == os.O_RDONLY and mode in ("r+", "w+")):
        need = "reading and writing" if mode in ("r+", "w+") else "reading"
        raise PermissionError(
            errno.EACCES, f"mode {mode!r} needs a file object open for {need}"
        )
    path = f"/proc/self/fd/{fd}"
    before = _size_of(path)
    file = open_file(path, "r+" if mode == "w+" else mode, size)
    name = getattr(fid, "name", None)
    return file, os.path.abspath(name) if isinstance(name, str) else None, before


def _size_of(path):
    """Bytes of a file, 0 if it cannot be asked: opening it says why."""
    try:
        return os.stat(path).st_size
    except (OSError, TypeError, ValueError):
        return 0


def _make_room(file, mode, before, end):
    """See that the file has `end` bytes; one at least, as numpy."""
    if mode in ("r+", "w+"):
        if file.size == 0:
            file.truncate(1)
        _check_hole(file, before)
    elif file.size == 0:
        raise ValueError("cannot map an empty file")
    elif end > file.size:
        raise ValueError(
            f"the array ends at byte {end}, the file has {file.size}; only with modes "
            "'r+' and 'w+' it would grow"
        )


def _check_hole(file, before):
    """Refuse if the file did not grow by a hole."""
    first = -(-before // PAGE_SIZE) * PAGE_SIZE
    types = file.extents(first)["type"]
    if types.size == 0 or (types != IomapType.MAPPED).any():
        return
    file.truncate(before)
    raise NotSupportedError(
        errno.EOPNOTSUPP,
        "the file system has no holes (lseek with SEEK_HOLE shows none): use "
        "numpy.memmap, or a file on ext4, xfs, btrfs or tmpfs",
        file.path,
    )


def _map(file, mode, offset, nbytes):
    start = offset - offset % PAGE_SIZE
    return file.mmap(
        start,
        max(offset + nbytes - start, 1),
        access="r" if mode == "r" else "rw",
        shared=mode != "c",
        backend="real",
    )


_real_works = False


def _try_real():
    """Refuse before a file is opened, emptied or made longer."""
    global _real_works
    if _real_works:
        return
    with Device.memory(PAGE_SIZE) as device, device.create_file(PAGE_SIZE) as file:
        file.mmap(backend="real").close()
    _real_works = True


# ---- regions -------------------------------------------------------------


def _ranges(rows):
    """(first, last + 1) bytes of the file for each extent."""
    ends = rows["offset"] + rows["length"].astype("i8")
    return list(zip(rows["offset"].tolist(), ends.tolist(), strict=True))


def _copies(mapping, holes):
    """Pages of holes that have private copies, as ranges of bytes."""
    for first, end in _ranges(holes):
        page, stop = first // PAGE_SIZE, -(-end // PAGE_SIZE)
        while page < stop:
            nr = min(stop - page, _PAGEMAP_PAGES)
            copied = mapping.pagemap(page, nr) & _COPY != 0
            edges = np.flatnonzero(np.diff(copied, prepend=False, append=False))
            for one, past in ((edges + page) * PAGE_SIZE).reshape(-1, 2).tolist():
                yield max(one, first), min(past, end)
            page += nr


def _slices(ranges, first, nbytes, itemsize):
    """Slices of items for sorted ranges of bytes, merged where they meet."""
    start = stop = 0
    for one, past in ranges:
        begin = (one - first) // itemsize
        if begin > stop:
            if stop > start:
                yield slice(start, stop)
            start = begin
        stop = min(-(-(past - first) // itemsize), nbytes // itemsize)
    if stop > start:
        yield slice(start, stop)
