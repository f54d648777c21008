# cython: language_level=3, embedsignature=True, embedsignature.format=clinic
# Methods are descriptors that check the type of self: bound as functions they
# would take any object for theirs.
# cython: binding=False
# SPDX-License-Identifier: BSD-3-Clause
"""Device, File and Mmap: the objects of the C library with a Python lifetime.

Each method does three things: convert and check its arguments, call the
library without the GIL under a reference of its own, and wrap the result.
Loops over pages are the library's.
"""

import _thread
import enum
import errno
import io
import os
import weakref
from _thread import RLock

cimport cython
from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBUF_WRITABLE,
    PyBuffer_FillInfo,
    PyBuffer_FillInfo,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytearray cimport PyByteArray_AsString
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.number cimport PyNumber_Index
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.pycapsule cimport (
    PyCapsule_GetContext,
    PyCapsule_GetPointer,
    PyCapsule_IsValid,
)
from libc.errno cimport EINTR, EIO
from libc.stdint cimport (
    INT64_MAX,
    UINT64_MAX,
    int64_t,
    uint32_t,
    uint64_t,
    uintptr_t,
)
from libc.string cimport memset
from posix.unistd cimport getpid, usleep

from daxcore.libdaxcore cimport *

from ._errors import ForkError, NotSupportedError
from ._errors import check as _raise_error

cdef extern from "Python.h":
    int PyErr_ResourceWarning(
        void *source, Py_ssize_t stack_level, const char *format, ...
    ) except -1

# Bytes and pages done by one call into the library.  Between calls signals
# are looked at, so that Ctrl-C ends a long loop.
cdef enum:
    CHUNK_BYTES = 1 << 28
    CHUNK_PAGES = 1 << 20
    MAX_ROWS = 1 << 16
    MAX_TRACE_EVENTS = 1 << 24

cdef int errno_EBADE = errno.EBADE

cdef uint64_t MAX_FILE_SIZE = INT64_MAX - DAX_PAGE_SIZE + 1

PAGE_SIZE = DAX_PAGE_SIZE
PMD_SIZE = DAX_PMD_SIZE

FaultResult = enum.IntFlag(
    "FaultResult",
    {
        "OOM": DAX_VM_FAULT_OOM,
        "SIGBUS": DAX_VM_FAULT_SIGBUS,
        "MAJOR": DAX_VM_FAULT_MAJOR,
        "NOPAGE": DAX_VM_FAULT_NOPAGE,
        "LOCKED": DAX_VM_FAULT_LOCKED,
        "RETRY": DAX_VM_FAULT_RETRY,
        "FALLBACK": DAX_VM_FAULT_FALLBACK,
        "DONE_COW": DAX_VM_FAULT_DONE_COW,
        "NEEDDSYNC": DAX_VM_FAULT_NEEDDSYNC,
    },
    module="daxcore",
)
FaultResult.__doc__ = "What a page fault did: the kernel's vm_fault bits."

IomapType = enum.IntEnum(
    "IomapType",
    {
        "HOLE": DAX_IOMAP_HOLE,
        "MAPPED": DAX_IOMAP_MAPPED,
        "UNWRITTEN": DAX_IOMAP_UNWRITTEN,
    },
    module="daxcore",
)
IomapType.__doc__ = "What a block map says of a range: column type of extents()."

TraceEvent = enum.IntEnum(
    "TraceEvent",
    {dax_trace_event_name(i).decode(): i for i in range(DAX_NR_TRACE_EVENTS)},
    module="daxcore",
)
TraceEvent.__doc__ = "The kernel's fs_dax trace events: column event of a trace."

IomapFlag = enum.IntFlag(
    "IomapFlag",
    {
        "NEW": DAX_IOMAP_F_NEW,
        "DIRTY": DAX_IOMAP_F_DIRTY,
        "SHARED": DAX_IOMAP_F_SHARED,
    },
    module="daxcore",
)
IomapFlag.__doc__ = "Remarks of a block map on a range: column flags of extents()."

cdef dict _POLICIES = {
    "zero-page": DAX_POLICY_ZERO_PAGE,
    "page-cache": DAX_POLICY_PAGE_CACHE,
}
cdef dict _PAGE_POOLS = {
    "cold": DAX_PAGE_POOL_COLD,
    "warm": DAX_PAGE_POOL_WARM,
}
cdef dict _ACCESS = {
    "r": DAX_VM_READ,
    "rw": DAX_VM_READ | DAX_VM_WRITE,
}
cdef dict _PAGES = {
    "auto": DAX_PAGES_AUTO,
    "pte": DAX_PAGES_PTE,
    "pmd": DAX_PAGES_PMD,
}
cdef dict _BACKENDS = {
    "soft": DAX_BACKEND_SOFT,
    "real": DAX_BACKEND_REAL,
}
cdef dict _DELIVERIES = {
    "thread": DAX_DELIVERY_THREAD,
    "signal": DAX_DELIVERY_SIGNAL,
}
cdef dict _MODES = {
    "r": 0,
    "r+": DAX_OPEN_WRITE,
    "w+": DAX_OPEN_TRUNCATE,
    "c": 0,
}

# Rows of struct dax_entry_info and struct dax_extent as numpy reads them.
_ENTRY_COLUMNS = {
    "names": [
        "index", "order", "pfn", "zero", "empty", "locked", "dirty", "towrite",
    ],
    "formats": ["u8", "u1", "u8", "?", "?", "?", "?", "?"],
    "offsets": [0, 16, 8, 17, 18, 19, 20, 21],
    "itemsize": sizeof(dax_entry_info),
}
_EXTENT_COLUMNS = {
    "names": ["offset", "length", "device_offset", "type", "flags"],
    "formats": ["i8", "u8", "u8", "u4", "u4"],
    "offsets": [0, 8, 16, 24, 28],
    "itemsize": sizeof(dax_extent),
}

# Rows of struct dax_trace_event: in the order of memory, as numpy.save wants it.
_TRACE_COLUMNS = [
    ("time", "u8"), ("ino", "u8"), ("address", "u8"), ("vm_start", "u8"),
    ("vm_end", "u8"), ("pgoff", "u8"), ("max_pgoff", "u8"), ("radix_entry", "u8"),
    ("pfn", "u8"), ("nr_pages", "u4"), ("thread", "u4"), ("result", "u4"),
    ("error", "i4"), ("event", "u2"), ("cpu", "u2"), ("reason", "u2"),
    ("write", "?"), ("shared", "?"),
]


def version():
    """Return the version of the C library that is running."""
    return dax_version().decode()


def errormsg():
    """Return what the calling thread's last failing call said."""
    return dax_errormsg().decode(errors="replace")


def fallback_reason_name(int reason):
    """Return the name of a fallback reason, ``"none"`` for 0."""
    cdef const char *name = dax_fallback_reason_name(reason)

    return name.decode() if name is not NULL else f"unknown ({reason})"


# ---- arguments -----------------------------------------------------------


cdef object _show(object n):
    """Text of an integer of any size (the decimal conversion is limited)."""
    return n if n.bit_length() <= 128 else f"a number of {n.bit_length()} bits"


cdef object _index(object value, str name):
    """Convert to int whatever is an integer, naming the argument if not."""
    try:
        return PyNumber_Index(value)
    except TypeError:
        raise TypeError(
            f"{name} must be an integer, not {type(value).__name__}"
        ) from None


cdef uint64_t _bounded(object value, str name, uint64_t limit) except? 0:
    n = _index(value, name)
    if n < 0:
        raise ValueError(f"{name} must not be negative, is {_show(n)}")
    if n > limit:
        raise OverflowError(f"{name} must be at most {limit}, is {_show(n)}")
    return n


cdef uint64_t _unsigned(object value, str name) except? 0:
    """Convert a count or an offset that must fit 64 bits."""
    return _bounded(value, name, UINT64_MAX)


cdef int64_t _position(object value, str name) except? -1:
    """Convert a byte position or size of a file: 63 bits."""
    return _bounded(value, name, INT64_MAX)


cdef uint64_t _aligned(object value, str name) except? 0:
    """Convert a byte position that must be a multiple of the page size."""
    cdef int64_t n = _position(value, name)

    if n % DAX_PAGE_SIZE:
        raise ValueError(f"{name} must be a multiple of {DAX_PAGE_SIZE}, is {n}")
    return n


cdef uint64_t _device_size(object value) except? 0:
    cdef uint64_t size = _aligned(value, "size")

    if size == 0:
        raise ValueError("size must be greater than 0, is 0")
    return size


cdef int _choice(object value, dict table, str name) except -1:
    """Look up one of a few words."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    if value not in table:
        words = ", ".join(repr(word) for word in table)
        raise ValueError(f"{name} must be one of {words}, not {value!r}")
    return table[value]


cdef object _fsname(object path):
    """Convert a path to the bytes the library wants."""
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError(f"path must not contain a null byte: {path!r}")
    return name


cdef int _set_iomap(object iomap, dax_mapping_attr *attr) except -1:
    """Fill in a block map: ours, a capsule, or pointers of cffi."""
    if iomap is None:
        return 0
    if PyCapsule_IsValid(iomap, "daxcore.iomap_ops"):
        attr.ops = <const dax_iomap_ops *>PyCapsule_GetPointer(
            iomap, "daxcore.iomap_ops")
        attr.private_data = PyCapsule_GetContext(iomap)
        return 0
    if isinstance(iomap, BlockMap):
        (<BlockMap>iomap)._set(attr)
        return 0
    if isinstance(iomap, CBlockMap):
        (<CBlockMap>iomap)._set(attr)
        return 0
    if hasattr(iomap, "begin"):
        raise TypeError(
            "iomap has a begin() but is no block map: derive "
            f"{type(iomap).__name__} from daxcore.BlockMap")
    from .capi import iomap_pointers

    ops, private_data = iomap_pointers(iomap)
    attr.ops = <const dax_iomap_ops *><uintptr_t>ops
    attr.private_data = <void *><uintptr_t>private_data
    return 0


# What a Python block map raised in a call that is still under way, or that has just
# failed: {thread: [exception, errno, pos, length, asked again]}.
cdef dict _failures = {}


cdef int64_t check(int64_t ret, object filename=None, object fault=None,
                   uint64_t done=0) except? -1:
    """Return `ret`, or raise what it stands for if it is negative.

    No Python code runs after a success, and with it no signal handler, whose
    exception would take away what the call has just made.  But what a Python block
    map raised is raised, also where the library went on: a call that has done a
    part, an answer that was used before end() failed.
    """
    if ret < 0:
        return _raise_error(ret, filename, fault, done)
    if _failures:
        _raise_failure()
    return ret


cdef object _fault_tuple(const dax_fault_info *info):
    return info.fault, info.error, info.reason, info.offset


cdef int _warn_unclosed(object text) except -1:
    """Warn from a destructor: the warning must not hold the dying object."""
    return PyErr_ResourceWarning(NULL, 1, "unclosed %U", <void *>text)


cdef dict _fault_results = {}


cdef object _fault_result(int bits):
    """The flags of a result: looked up, since making them takes a microsecond."""
    result = _fault_results.get(bits)
    if result is None:
        result = _fault_results[bits] = FaultResult(bits)
    return result


cdef bint _interrupted(int64_t ret) except -1:
    """Look at signals if a call that waits (a thaw, a pin) ended for one: PEP 475."""
    if ret != -EINTR:
        return False
    PyErr_CheckSignals()
    return True


cdef bytes _new_bytes(uint64_t nbytes):
    """Bytes to be filled; Python's own MemoryError says nothing."""
    try:
        return PyBytes_FromStringAndSize(NULL, <Py_ssize_t>nbytes)
    except MemoryError:
        raise MemoryError(f"no memory for {nbytes} bytes") from None


cdef object _unpicklable(object obj, str recipe):
    return TypeError(
        f"cannot pickle {type(obj).__name__!r} object: it lives in this process; "
        f"{recipe} in the worker"
    )


# ---- devices -------------------------------------------------------------


cdef class Device:
    """A storage window: one shared mapping of a file, a node or a memfd.

    Made by :meth:`open` or :meth:`memory`.

    Attributes
    ----------
    path : str or None
        What was opened, None for memory.
    """

    def __init__(self):
        raise TypeError("use Device.open() or Device.memory()")

    @classmethod
    @cython.binding(True)  # a descriptor cannot be wrapped in the limited API
    def open(cls, path, size=None, create=False, overwrite=False):
        """Open a storage window over a file or a /dev/dax node.

        The backing file is locked: a second open fails, in this process and
        in others.  Without `create` or `overwrite` the device is read-only.

        Parameters
        ----------
        path : path-like
            Regular file or device-dax character device.
        size : int, optional
            Bytes, multiple of 4096; default is the size of what is opened.
        create : bool
            Make a new file of `size` bytes; it must not exist unless
            `overwrite` is given too.
        overwrite : bool
            What the file holds is disposable.

        Returns
        -------
        Device

        Raises
        ------
        ValueError
            `size` is negative, 0 or not a multiple of 4096.
        OSError
            EBUSY: already open; EINVAL: an empty file, a size beyond the
            node's, ``DAXCORE_FLUSH`` names an instruction that this CPU has
            not; ENODEV: neither a regular file nor a device-dax node;
            EROFS, EISDIR, ENOSPC, EFBIG and what open(2) says.

        Notes
        -----
        GIL released.  The block maps of files made on it are memory: nothing
        of them survives the process.
        Source: ``dax_open`` of drivers/dax/device.c (v4.14) for the node.
        """
        cdef Device self = cls.__new__(cls)
        cdef bytes name = _fsname(path)
        cdef const char *c_name = name
        cdef uint64_t c_size = 0 if size is None else _device_size(size)
        cdef unsigned int flags = 0
        cdef int ret

        flags |= DAX_DEVICE_CREATE if create else 0
        flags |= DAX_DEVICE_OVERWRITE if overwrite else 0
        self.path = os.fsdecode(name)
        with nogil:
            ret = dax_device_open(&self._dev, c_name, c_size, flags)
        check(ret, self.path)
        self._pid = getpid()
        return self

    @classmethod
    @cython.binding(True)
    def memory(cls, size, emulate_pmem=False):
        """Make a storage window of anonymous memory (a memfd).

        Parameters
        ----------
        size : int
            Bytes, multiple of 4096.  Pages are taken from the system when
            they are first stored to.
        emulate_pmem : bool
            Treat the memory as persistent: write back CPU cache lines as on
            a /dev/dax node, to test and to measure.  The bytes are gone with
            the process all the same.

        Returns
        -------
        Device

        Raises
        ------
        ValueError
            `size` is negative, 0 or not a multiple of 4096.
        MemoryError
            No address space of that size.
        NotSupportedError
            `emulate_pmem` on a CPU whose cache-line write-back is not known.
        OSError
            EMFILE: no file descriptor left; EFBIG; EINVAL: `emulate_pmem`, and
            ``DAXCORE_FLUSH`` names an instruction that this CPU has not.

        Notes
        -----
        GIL released.
        Source: memfd_create(2).

        Examples
        --------
        >>> import daxcore
        >>> with daxcore.Device.memory(1 << 20) as dev:
        ...     with dev.create_file(1 << 30) as file, file.mmap() as m:
        ...         m.fault_range(0, file.size // 4096)
        512
        """
        cdef Device self = cls.__new__(cls)
        cdef uint64_t c_size = _device_size(size)
        cdef bint pmem = emulate_pmem
        cdef int ret

        with nogil:
            if pmem:
                ret = dax_device_emulate_pmem(&self._dev, c_size)
            else:
                ret = dax_device_memory(&self._dev, c_size)
        check(ret)
        self._pid = getpid()
        return self

    def _record(self, size):
        """Become a recorded device: for daxcore.testing."""
        cdef uint64_t c_size = _device_size(size)
        cdef int ret

        if self._dev is not NULL:
            raise ValueError("Device is open already")
        with nogil:
            ret = dax_device_record(&self._dev, c_size)
        check(ret)
        self._pid = getpid()

    cdef int _ensure_open(self) except -1:
        if self._dev is NULL:
            raise ValueError("Device is closed")
        return 0

    cdef dax_device *_hold(self) except NULL:
        """Return the pointer with a reference that the caller must put."""
        self._ensure_open()
        if _failures:
            _forget_failure()
        dax_device_get(self._dev)
        return self._dev

    cdef int _drop(self) except -1:
        cdef dax_device *dev = self._dev

        self._dev = NULL
        if dev is not NULL:
            with nogil:
                dax_device_put(dev)
        return 0

    cdef int _call(self, device_fn call) except -1:
        cdef dax_device *dev = self._hold()
        cdef int ret

        try:
            with nogil:
                ret = call(dev)
            check(ret, self.path)
            return 0
        finally:
            with nogil:
                dax_device_put(dev)

    cdef int _leave(self) except -1:
        """Count one File or Mmap less; the device of open() goes with the last."""
        self._nr_open -= 1
        if self._of_file and not self._nr_open:
            self._drop()
        return 0

    def create_file(self, size, policy="zero-page", page_pool="cold", iomap=None):
        """Make a file on the device.

        Without a block map of its own the file gets an extent_map: blocks
        are allocated on first write and freed when the file goes away.  That
        map lives in memory and does not survive the process.

        Parameters
        ----------
        size : int
            Bytes.  The file starts as one hole and may be larger than the
            device.
        policy : {"zero-page", "page-cache"}
            What a read of a hole inserts: the common zero page, or a zeroed
            page of its own (the comparator).
        page_pool : {"cold", "warm"}
            Where "page-cache" takes its pages: fresh memory, or memory
            faulted in when the file is made.
        iomap : optional
            Where the file's bytes are, if not where the library puts them: an
            :class:`ExtentTable`, a :class:`CBlockMap` or a :class:`BlockMap`;
            or, for a block map in C that allocates, too, a cffi pointer to a
            ``struct dax_iomap_ops``, a tuple of it and the private pointer
            passed to each call, or a capsule named "daxcore.iomap_ops" with
            that pointer as its context.

        Returns
        -------
        File

        Raises
        ------
        ValueError
            `size` negative or above 2**63 - 4096, unknown word; a table that
            does not cover the file, leaves the device or has a file already.
        TypeError
            `iomap` is none of these, or a BlockMap without a begin() of its own.
        OSError
            ENXIO: the device was killed; EINVAL: ops that lack iomap_begin.

        Notes
        -----
        GIL released.  With "warm" takes as long as faulting in the pool.
        """
        self._ensure_open()
        return _create_file(self, size, policy, page_pool, iomap)

    def load(self, offset, nbytes):
        """Read bytes of the device, whatever file they belong to.

        Parameters
        ----------
        offset : int
            Bytes on the device.
        nbytes : int
            Bytes.

        Returns
        -------
        bytes
            Of length `nbytes`.

        Raises
        ------
        OSError
            ERANGE: the bytes are not all on the device; EIO, ENXIO.

        Notes
        -----
        GIL released.
        Source: ``dax_direct_access`` in drivers/dax/super.c (v4.14).
        """
        cdef uint64_t start, length
        cdef dax_device *dev
        cdef bytes data
        cdef char *buf
        cdef int ret

        self._ensure_open()
        start = _unsigned(offset, "offset")
        length = _position(nbytes, "nbytes")
        dev = self._hold()
        try:
            # The library says why; no memory is asked for in vain.
            fits = length <= dax_device_size(dev)
            data = _new_bytes(length if fits else 0)
            buf = PyBytes_AsString(data)
            with nogil:
                ret = dax_device_load(dev, start, buf, length)
            check(ret, self.path)
        finally:
            with nogil:
                dax_device_put(dev)
        return data

    def store(self, offset, data):
        """Store bytes on the device, beside files: for metadata of one's own.

        They are durable after :meth:`flush` and :meth:`sync` (on persistent
        memory after :meth:`fence` already), and may be so earlier.

        Parameters
        ----------
        offset : int
            Bytes on the device.  Nothing keeps you from storing into the
            blocks of a file.
        data : bytes-like
            C-contiguous.

        Raises
        ------
        OSError
            ERANGE: the bytes are not all on the device; EROFS, ENOSPC, EIO,
            ENXIO.

        Notes
        -----
        GIL released.
        Source: ``dax_direct_access`` in drivers/dax/super.c (v4.14).
        """
        cdef uint64_t start
        cdef Py_buffer view
        cdef dax_device *dev
        cdef int ret

        self._ensure_open()
        start = _unsigned(offset, "offset")
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            dev = self._hold()
            try:
                with nogil:
                    ret = dax_device_store(dev, start, view.buf, <size_t>view.len)
                check(ret, self.path)
            finally:
                with nogil:
                    dax_device_put(dev)
        finally:
            PyBuffer_Release(&view)

    def flush(self, offset, nbytes):
        """Begin to write back the cache lines of a range.

        Parameters
        ----------
        offset : int
            Bytes on the device.
        nbytes : int
            Bytes; whole lines of 64 bytes are written back.

        Raises
        ------
        OSError
            ERANGE: the bytes are not all on the device; ENXIO.

        Notes
        -----
        GIL released.
        Source: ``dax_flush`` in drivers/dax/super.c (v4.14).
        """
        cdef uint64_t start, length
        cdef dax_device *dev
        cdef int ret

        self._ensure_open()
        start = _unsigned(offset, "offset")
        length = _unsigned(nbytes, "nbytes")
        dev = self._hold()
        try:
            with nogil:
                ret = dax_device_flush(dev, start, length)
            check(ret, self.path)
        finally:
            with nogil:
                dax_device_put(dev)

    def fence(self):
        """Order what this thread has flushed before what it stores from now on.

        On persistent memory what was flushed is durable.

        Raises
        ------
        OSError
            ENXIO: the device was killed.

        Notes
        -----
        GIL released.
        Source: ``wmb_pmem`` of Linux 4.4, an ``sfence``.
        """
        self._call(dax_device_fence)

    def sync(self):
        """Make durable what this thread has flushed, whatever the medium.

        Raises
        ------
        OSError
            EIO, ENOSPC: the medium refused; ENXIO: the device was killed.

        Notes
        -----
        GIL released; waits for the medium.
        Source: ``nvdimm_flush`` in drivers/nvdimm/region_devs.c (v4.14).
        """
        self._call(dax_device_sync)

    def kill(self):
        """Declare the device dead and wait for the calls in progress.

        Afterwards faults that need the device end in SIGBUS with ENXIO and
        reads and writes raise OSError(ENXIO).  Zero pages go on working.
        Cannot be undone.

        Notes
        -----
        GIL released.
        Source: ``kill_dax`` in drivers/dax/super.c (v4.14).
        """
        self._call(dax_device_kill)

    def close(self):
        """Unmap and unlock the device; closing twice is closing once.

        Waits for calls of other threads on files that are closed already.

        Raises
        ------
        OSError
            EBUSY: files, or mappings of files, are open.
        """
        cdef unsigned int nr_files

        if self._dev is NULL:
            return
        nr_files = self._nr_files_soon()
        if self._dev is NULL:  # another thread was faster
            return
        if nr_files:
            raise OSError(
                errno.EBUSY,
                f"device has {nr_files} open file(s); "
                "close them and their mappings first",
                self.path,
            )
        self._drop()

    cdef unsigned int _nr_files_soon(self) except? 0:
        """Return the number of files; if all are closed, once calls have left.

        A closed file goes away with the last call on it, which may be in
        another thread: a second is given to it.
        """
        cdef unsigned int nr_files = dax_device_nr_files(self._dev)
        cdef int patience = 1000

        if self._pid != getpid():
            return 0
        while nr_files and not self._nr_open and patience:
            with nogil:
                usleep(1000)
            PyErr_CheckSignals()
            if self._dev is NULL:
                return 0
            patience -= 1
            nr_files = dax_device_nr_files(self._dev)
        return nr_files

    @property
    def size(self):
        """Size in bytes."""
        self._ensure_open()
        return dax_device_size(self._dev)

    @property
    def page_size(self):
        """Bytes in a page of the engine: 4096."""
        self._ensure_open()
        return DAX_PAGE_SIZE

    @property
    def alignment(self):
        """Bytes to which the size and the mapping are aligned."""
        self._ensure_open()
        return dax_device_alignment(self._dev)

    @property
    def free_bytes(self):
        """Bytes that files may still allocate."""
        cdef dax_device *dev = self._hold()
        cdef uint64_t nbytes

        with nogil:
            nbytes = dax_device_free_bytes(dev)
            dax_device_put(dev)
        return nbytes

    @property
    def alive(self):
        """False once the device was killed."""
        self._ensure_open()
        return bool(dax_device_alive(self._dev))

    @property
    def readonly(self):
        """True if nothing is ever stored to the device."""
        self._ensure_open()
        return bool(dax_device_readonly(self._dev))

    @property
    def durability(self):
        """How stores become durable, and why so: one sentence.

        ``"clwb: ..."`` and the like: cache lines are written back, a write is
        durable when it returns, a store when it was fsynced.  ``"fdatasync:
        ..."``: a file behind the page cache, all is durable with fsync.
        ``"none: ..."``: memory.
        """
        self._ensure_open()
        return dax_device_durability(self._dev).decode(errors="replace")

    @property
    def closed(self):
        """True once closed."""
        return self._dev is NULL

    @property
    def c_address(self):
        """Address of the ``struct dax_device``, as int."""
        self._ensure_open()
        return <uintptr_t>self._dev

    def __enter__(self):
        self._ensure_open()
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        try:
            self.close()
        except OSError:
            if exc_type is None:  # the first error tells more than EBUSY
                raise

    def __repr__(self):
        if self._dev is NULL:
            return "<daxcore.Device closed>"
        where = "memory" if self.path is None else repr(self.path)
        state = "" if dax_device_alive(self._dev) else " dead"
        mode = " readonly" if dax_device_readonly(self._dev) else ""
        return f"<daxcore.Device {where} size={self.size}{mode}{state}>"

    def __reduce__(self):
        raise _unpicklable(self, "open it with Device.open()")

    def __dealloc__(self):
        try:
            if self._dev is not NULL and self._pid == getpid():
                _warn_unclosed(repr(self))
        finally:
            self._drop()


# ---- files ---------------------------------------------------------------


cdef File _create_file(Device device, object size, object policy,
                       object page_pool, object iomap):
    cdef File self = File.__new__(File)
    cdef dax_mapping_attr attr
    cdef dax_device *dev
    cdef ExtentTable table
    cdef int ret

    memset(&attr, 0, sizeof(attr))
    attr.struct_size = sizeof(attr)
    attr.size = _position(size, "size")
    attr.policy = _choice(policy, _POLICIES, "policy")
    attr.page_pool = _choice(page_pool, _PAGE_POOLS, "page_pool")
    if <uint64_t>attr.size > MAX_FILE_SIZE:
        raise ValueError(f"size must be at most {MAX_FILE_SIZE}, is {attr.size}")
    table = None
    if isinstance(iomap, ExtentTable):
        table = iomap
    else:
        _set_iomap(iomap, &attr)
    dev = device._hold()
    try:
        if table is not None:
            table._new_file(self, dev, &attr)
        else:
            with nogil:
                ret = dax_mapping_new(&self._mapping, dev, &attr)
            check(ret, device.path)
    finally:
        with nogil:
            dax_device_put(dev)
    self._pid = getpid()
    self._wb_err = dax_mapping_wb_err(self._mapping)
    self._iomap = iomap
    self.device = device
    device._nr_open += 1
    self.policy = policy
    return self


cdef Device _device_of_file(dax_mapping *mapping, object path):
    """The device behind a file of open(), with a reference of its own."""
    cdef Device device = Device.__new__(Device)

    device._dev = dax_mapping_device(mapping)
    dax_device_get(device._dev)
    device._pid = getpid()
    device._of_file = True
    device.path = path
    return device


@cython.binding(True)
def open(path, mode="r+", size=None):
    """Open a sparse file: its holes are read through the common zero page.

    The file stays an ordinary file of its file system: what is stored is
    there for every other program, a hole that was only read is still a hole,
    and ``du`` shows no block for it.  Byte n of :attr:`File.device` is byte n
    of the file.

    Parameters
    ----------
    path : path-like
        Regular file.
    mode : {"r+", "r", "w+", "c"}
        As for `numpy.memmap`: read and write an existing file; read; make or
        empty a file; copy-on-write, where only private mappings
        (``shared=False``) may be written and the file never changes.
    size : int, optional
        Bytes the file gets if it is shorter, with "r+" and "w+"; the rest is
        one hole.  Default is its own size, which is 0 with "w+".

    Returns
    -------
    File

    Raises
    ------
    ValueError
        Unknown mode; `size` negative, or with "r" or "c".
    OSError
        EBUSY: another process has it open ("r" and "c" take a shared lock,
        "r+" and "w+" an exclusive one); ENODEV: not a regular file, or of a
        file system that cannot be mapped; EFBIG: longer than 64 TiB; EISDIR,
        ENOSPC and what open(2) says.

    Notes
    -----
    GIL released.  Files opened twice in one process share tree and mappings;
    what one may not do is still refused to it.  The lock stays exclusive until
    the last of them is closed.

    The lock is advisory.  A program that does not ask for it may change the
    file: each call looks at ctime and size, and where they may have changed asks
    the file system about the holes that it is going to show; a load through memory
    that is mapped already cannot see it.
    Another program's stores through a mapping of its own show when the file
    system updates ctime for them, on tmpfs not always.
    Source: lseek(2) with ``SEEK_HOLE``, fallocate(2), flock(2).

    Examples
    --------
    >>> import daxcore, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "sparse")
    >>> with daxcore.open(path, "w+", size=1 << 30) as file:
    ...     with file.mmap() as m:
    ...         _ = m.fault_range(0, file.size // 4096)
    ...     _ = file.pwrite(b"data", 1 << 20)
    ...     file.extents()["type"].tolist()
    [0, 2, 0]
    >>> os.stat(path).st_blocks * 512
    4096
    """
    cdef File self = File.__new__(File)
    cdef bytes name = _fsname(path)
    cdef const char *c_name = name
    cdef unsigned int flags = _choice(mode, _MODES, "mode")
    cdef int64_t c_size = 0 if size is None else _position(size, "size")
    cdef int ret

    if size is not None and not flags:
        raise ValueError(f"size must be None with mode {mode!r}, is {size}")
    if <uint64_t>c_size > MAX_FILE_SIZE:
        raise ValueError(f"size must be at most {MAX_FILE_SIZE}, is {c_size}")
    self.path = os.fsdecode(name)
    while True:  # a new size waits for a thaw
        with nogil:
            ret = dax_mapping_open(&self._mapping, c_name, c_size, flags)
        if not _interrupted(ret):
            break
    check(ret, self.path)
    self._pid = getpid()
    self._wb_err = dax_mapping_wb_err(self._mapping)
    self.device = _device_of_file(self._mapping, self.path)
    self.device._nr_open = 1
    self.policy = "zero-page"
    self.mode = mode
    return self


cdef int64_t _next_entries(
        dax_mapping *mapping, uint64_t *at, void *buf, size_t nr) noexcept nogil:
    return dax_mapping_entries(mapping, at, <dax_entry_info *>buf, nr)


cdef int64_t _next_extents(
        dax_mapping *mapping, uint64_t *at, void *buf, size_t nr) noexcept nogil:
    return dax_mapping_extents(mapping, <int64_t *>at, <dax_extent *>buf, nr)


# Files that are frozen: {address: the freeze}.
cdef dict _freezes = {}


@cython.no_gc_clear  # the block map is needed until the end
cdef class File:
    """One file: its radix tree, its size and its block map.

    Made by :func:`daxcore.open` or :meth:`Device.create_file`.

    Attributes
    ----------
    device : Device
    policy : str
        "zero-page" or "page-cache".
    path : str or None
        What was opened, None for a file made on a device.
    mode : str or None
        As given to :func:`daxcore.open`, None for a file made on a device.
    """

    def __init__(self):
        raise TypeError("use daxcore.open() or Device.create_file()")

    cdef int _ensure_open(self) except -1:
        if self._mapping is NULL:
            raise ValueError("File is closed")
        return 0

    cdef int _ensure_writable(self) except -1:
        if self.mode is not None and not _MODES[self.mode]:
            raise OSError(
                errno.EROFS,
                f"opened with mode {self.mode!r}: nothing is stored to the file "
                "(what is mapped with shared=False may be written)",
                self.path,
            )
        return 0

    cdef dax_mapping *_hold(self) except NULL:
        """Return the pointer with a reference that the caller must put."""
        self._ensure_open()
        if _failures:
            _forget_failure()
        dax_mapping_get(self._mapping)
        return self._mapping

    cdef int _drop(self) except -1:
        cdef dax_mapping *mapping = self._mapping
        cdef bint thaw

        self._mapping = NULL
        if mapping is not NULL:
            if self.device is not None:  # it was made whole
                self.device._leave()
            # Frozen by this object, and not thawed through another.
            thaw = (self._freeze is not None
                    and _freezes.get(<uintptr_t>mapping) is self._freeze)
            if thaw:
                del _freezes[<uintptr_t>mapping]
            with nogil:
                if thaw:
                    dax_mapping_thaw(mapping)
                dax_mapping_put(mapping)
        return 0

    def mmap(self, offset=0, length=None, access="rw", shared=True, backend="soft",
             pages="auto", sync=False, delivery="thread", fault_around=None):
        """Map a range of the file.

        Parameters
        ----------
        offset : int
            Bytes of the file; multiple of 4096.
        length : int, optional
            Bytes, may reach beyond the end of file; default is up to it.
        access : {"rw", "r"}
            What the mapping allows.
        shared : bool
            False: stores go to private copies (copy-on-write).
        backend : {"soft", "real"}
            "soft": a page table in memory; loads and stores are calls.
            "real": addresses; loads and stores are the CPU's, and the mapping
            is a buffer for everybody who takes one.
        pages : {"auto", "pte", "pmd"}
            Faults taken: 2 MiB first and 4 KiB on fallback, 4 KiB only, or
            2 MiB only.
        sync : bool
            Let no store through before the block map has saved where its
            block is: what is stored is then durable when its cache lines are
            flushed, without :meth:`fsync`.  Shared and writable only.
        delivery : {"thread", "signal"}
            Real mappings: who serves a fault.  A thread of the library, also
            when a system call touches the memory; or the faulting thread in a
            signal handler, which is sooner done, but ``readinto`` and other
            system calls get EFAULT for pages not yet touched.
        fault_around : int, optional
            Real mappings: bytes that a load may map at most.  0: its page alone,
            no holes beforehand, and of stores in a row each its own fault.
            Default 32 MiB.

        Returns
        -------
        Mmap

        Raises
        ------
        ValueError
            `offset` negative or not aligned, `length` 0 or negative, no
            `length` given and nothing of the file after `offset`; `sync` with
            ``access="r"`` or ``shared=False``.
        NotSupportedError
            ``backend="real"``: the kernel has no userfaultfd(2), the block map is
            written in Python, or the device's alignment is 2 MiB and `pages` not
            "pmd".  `sync`: the device is not persistent memory (:attr:`Device.durability` says
            what it is), the policy is "page-cache", or the mapping is real.
        OSError
            EROFS: shared and writable on a read-only device; EOVERFLOW: beyond
            2^63-4096, or longer than 128 TiB.  ``backend="real"``: EPERM:
            userfaultfd(2) is not allowed, the message says how to allow it;
            EACCES: private, and /proc/self/pagemap cannot be read; EMFILE;
            ENFILE: there are 4096 of them.
        MemoryError
            No address space, or no more threads.

        Notes
        -----
        GIL released.  A load or store through a real mapping that cannot be
        served (past the end of file, no room on the device) is SIGBUS, as on
        any mapping of a file; :meth:`Mmap.populate` raises instead.
        Source: mmap(2), ``MAP_SYNC`` and ``dax_finish_sync_fault`` in fs/dax.c
        (v4.15); userfaultfd(2), ``do_fault_around`` in mm/memory.c (v4.14).
        """
        self._ensure_open()
        return _map_file(self, offset, length, access, shared, backend, pages, sync,
                         delivery, fault_around)

    def pread(self, nbytes, offset):
        """Read bytes through the block map, without faults.

        Parameters
        ----------
        nbytes : int
            Bytes wanted; what lies past the end of file is not read.
        offset : int
            Byte of the file.

        Returns
        -------
        bytes
            Shorter than `nbytes` at the end of file, empty past it.

        Raises
        ------
        ValueError
            A negative number.
        OSError
            ENXIO: the device is dead; what the block map says.

        Notes
        -----
        GIL released.  Holes read as zeroes and leave no entry in the tree.
        Source: ``dax_iomap_rw`` in fs/dax.c (v4.14).
        """
        cdef uint64_t wanted
        cdef int64_t pos
        cdef dax_mapping *mapping

        self._ensure_open()
        wanted = _unsigned(nbytes, "nbytes")
        pos = _position(offset, "offset")
        mapping = self._hold()
        try:
            return _pread(mapping, wanted, pos, self.device.path)
        finally:
            with nogil:
                dax_mapping_put(mapping)

    def pwrite(self, data, offset):
        """Write bytes through the block map, without faults.

        Parameters
        ----------
        data : bytes-like
            Contiguous.
        offset : int
            Byte of the file; writing past the end grows the file.

        Returns
        -------
        int
            Bytes written: fewer than given if it failed after some.

        Raises
        ------
        OSError
            ENOSPC: the device is full; EFBIG: the end would lie beyond
            2**63 - 4096; EROFS, ENXIO, what the block map says.

        Notes
        -----
        GIL released.  What mappings show of holes that get blocks is
        invalidated first.
        Source: ``dax_iomap_rw`` in fs/dax.c (v4.14).
        """
        cdef Py_buffer view
        cdef dax_mapping *mapping
        cdef int64_t pos
        cdef ssize_t ret

        self._ensure_open()
        self._ensure_writable()
        pos = _position(offset, "offset")
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            mapping = self._hold()
            try:
                while True:
                    with nogil:
                        ret = dax_mapping_pwrite(mapping, view.buf, view.len, pos)
                    if not _interrupted(ret):
                        break
                return check(ret, self.device.path)
            finally:
                with nogil:
                    dax_mapping_put(mapping)
        finally:
            PyBuffer_Release(&view)

    def truncate(self, size):
        """Set the size of the file.

        Shrinking removes entries, page-table leaves (private copies too) and
        blocks beyond the new end, and zeroes the rest of the last page.

        Parameters
        ----------
        size : int
            Bytes.

        Raises
        ------
        BufferError
            This thread has pinned pages beyond the new end: it would wait
            for itself.
        OSError
            EFBIG: above 2**63 - 4096; ENOSPC: the last page is shared with a
            clone and there is no block for a copy; EROFS, ENXIO, what the
            block map says.

        Notes
        -----
        GIL released; waits for faults in progress, and until no page beyond
        the new end is pinned.  Ctrl-C ends that wait.
        Source: ``truncate_setsize`` in mm/truncate.c (v4.14),
        ``dax_break_layout`` in fs/dax.c (v6.15).
        """
        cdef int64_t c_size
        cdef dax_mapping *mapping
        cdef int ret

        self._ensure_open()
        self._ensure_writable()
        c_size = _position(size, "size")
        mapping = self._hold()
        try:
            _check_own_pins(mapping, -(-c_size // DAX_PAGE_SIZE), UINT64_MAX)
            while True:
                with nogil:
                    ret = dax_mapping_truncate(mapping, c_size)
                if not _interrupted(ret):
                    break
            check(ret, self.device.path)
        finally:
            with nogil:
                dax_mapping_put(mapping)

    def fallocate(self, offset, nbytes):
        """Allocate zeroed blocks for a range; grow the file if it ends beyond.

        Parameters
        ----------
        offset, nbytes : int
            Bytes; `nbytes` greater than 0.

        Raises
        ------
        OSError
            ENOSPC: the device is full; EFBIG, EROFS, ENXIO;
            NotSupportedError if the block map cannot.

        Notes
        -----
        GIL released; waits for faults in progress.  Blocks shared with a
        clone stay shared: a store to them may still end in ENOSPC.
        Source: ``vfs_fallocate`` in fs/open.c (v4.14).
        """
        self._change_blocks(dax_mapping_fallocate, offset, nbytes)

    def punch_hole(self, offset, nbytes):
        """Free the whole pages of a range and zero the parts at its edges.

        The size stays.

        Parameters
        ----------
        offset, nbytes : int
            Bytes; `nbytes` greater than 0.

        Raises
        ------
        BufferError
            This thread has pinned one of the pages: it would wait for itself.
        OSError
            ENOSPC: an edge is shared with a clone and there is no block for a
            copy; EROFS, ENXIO; NotSupportedError if the block map cannot.

        Notes
        -----
        GIL released; waits for faults in progress, and until no page that is
        to be freed is pinned.  Ctrl-C ends that wait.
        Source: ``ext4_punch_hole`` in fs/ext4/inode.c (v4.14),
        ``dax_break_layout`` in fs/dax.c (v6.15).
        """
        self._change_blocks(dax_mapping_punch_hole, offset, nbytes)

    def zero_range(self, offset, nbytes):
        """Make bytes read as zeroes, keeping the blocks.

        Holes stay holes, and the size stays: what lies past the end of file
        is left out.

        Parameters
        ----------
        offset, nbytes : int
            Bytes; `nbytes` greater than 0.

        Raises
        ------
        OSError
            EROFS, ENXIO, EIO, what the block map says.

        Notes
        -----
        GIL released.  Mappings see the zeroes at once.
        Source: ``iomap_zero_range`` in fs/iomap.c and
        ``__dax_zero_page_range`` in fs/dax.c (v4.14).
        """
        self._change_blocks(dax_mapping_zero_range, offset, nbytes)

    def writeback(self, offset=0, nbytes=None):
        """Make the dirty entries of a range durable.

        Each entry is locked, its leaves in every mapping are write-protected,
        its bytes are flushed, and then it is clean.

        Parameters
        ----------
        offset : int
            Byte of the file; multiple of 4096.
        nbytes : int, optional
            Bytes; default to the end.  Entries that reach out of the range
            are written whole.

        Returns
        -------
        int
            Entries written: one of 4 KiB and one of 2 MiB count one each.

        Raises
        ------
        ValueError
            `offset` negative or not aligned, `nbytes` negative.
        OSError
            EIO, ENOSPC and what else fdatasync(2) says; ENXIO: the device is
            dead.  What could not be made durable stays dirty, and a retry
            stores it again.

        Notes
        -----
        GIL released.  One at a time per file; stores that come while it
        works may be left for the next.
        Source: ``dax_writeback_mapping_range`` in fs/dax.c (v4.14).
        """
        cdef int64_t pos, ret
        cdef uint64_t length
        cdef dax_mapping *mapping

        self._ensure_open()
        pos = _aligned(offset, "offset")
        length = UINT64_MAX if nbytes is None else _unsigned(nbytes, "nbytes")
        mapping = self._hold()
        try:
            with nogil:
                ret = dax_mapping_writeback(mapping, pos, length)
            return check(ret, self.device.path)
        finally:
            with nogil:
                dax_mapping_put(mapping)

    def fsync(self):
        """Make the file durable: stores, writes and the block map.

        What that takes depends on the device, see :attr:`Device.durability`.

        Raises
        ------
        OSError
            EIO, ENOSPC and what else fdatasync(2) says; ENXIO: the device is
            dead; what the block map says.  A failure that another object or
            call met is raised once by each open File.

        Notes
        -----
        GIL released; waits for the medium.  After a failure everything stays
        dirty and the next call tries it again.
        Source: ``ext4_sync_file`` and ``dax_writeback_mapping_range`` (v4.14),
        ``file_check_and_advance_wb_err`` in mm/filemap.c.
        """
        cdef uint32_t since
        cdef dax_mapping *mapping
        cdef int ret

        self._ensure_open()
        since = self._wb_err
        mapping = self._hold()
        try:
            with nogil:
                ret = dax_mapping_fsync(mapping, &since)
            self._wb_err = since
            check(ret, self.device.path)
        finally:
            with nogil:
                dax_mapping_put(mapping)

    def collect(self):
        """Remove the empty entries that faults left behind.

        A fault that fails or makes a private copy leaves an entry that stands
        for nothing.  mmap, Mmap.close, truncate, punch_hole and fallocate
        remove them when there are many; this removes all.

        Returns
        -------
        int
            Entries removed.

        Notes
        -----
        GIL released; waits for faults in progress.
        """
        cdef dax_mapping *mapping = self._hold()
        cdef int64_t ret

        try:
            with nogil:
                ret = dax_mapping_collect(mapping)
            return check(ret, self.device.path)
        finally:
            with nogil:
                dax_mapping_put(mapping)

    def freeze(self):
        """Keep the file as it is: write it back and let nobody change it.

        Waits for changes in progress and returns with the file durable and
        clean.  Until :meth:`thaw` stores through shared mappings, pwrite,
        truncate, fallocate, punch_hole, zero_range and pins to write wait;
        loads, reads, private copies, mmap and close go on.  What is stored by
        way of a pin made before is not held up.

        Raises
        ------
        OSError
            EBUSY: frozen already; what :meth:`fsync` raises, and then the
            file is not frozen.

        Notes
        -----
        GIL released.  Ctrl-C ends a wait for the thaw.  Any thread may thaw;
        closing the File does.
        Source: ``freeze_super`` in fs/super.c (v4.14).
        """
        cdef dax_mapping *mapping = self._hold()
        cdef int ret

        try:
            with nogil:
                ret = dax_mapping_freeze(mapping)
            if ret == 0 and self._mapping is NULL:  # close() thaws
                dax_mapping_thaw(mapping)
                raise ValueError("File was closed while it was being frozen")
            if ret == 0:
                self._freeze = _freezes[<uintptr_t>mapping] = object()
            check(ret, self.device.path)
        finally:
            with nogil:
                dax_mapping_put(mapping)

    def thaw(self):
        """Let a frozen file be changed again.

        Raises
        ------
        OSError
            EINVAL: the file is not frozen.

        Notes
        -----
        Never waits.
        Source: ``thaw_super`` in fs/super.c (v4.14).
        """
        cdef int ret

        self._ensure_open()
        ret = dax_mapping_thaw(self._mapping)
        check(ret, self.device.path)
        _freezes.pop(<uintptr_t>self._mapping, None)

    def frozen(self):
        """Return a context manager: :meth:`freeze`, and :meth:`thaw` at the end.

        Examples
        --------
        >>> import daxcore
        >>> with daxcore.Device.memory(1 << 20) as dev:
        ...     with dev.create_file(4096) as file, file.frozen():
        ...         file.entries().size
        0
        """
        cdef _Frozen context = _Frozen.__new__(_Frozen)

        self._ensure_open()
        context._file = self
        return context

    cdef object _change_blocks(self, range_fn change, object offset, object nbytes):
        cdef int64_t pos
        cdef uint64_t length
        cdef dax_mapping *mapping
        cdef int ret

        self._ensure_open()
        self._ensure_writable()
        pos = _position(offset, "offset")
        length = _unsigned(nbytes, "nbytes")
        if length == 0:
            raise ValueError("nbytes must be greater than 0, is 0")
        mapping = self._hold()
        try:
            if change is dax_mapping_punch_hole:
                _check_own_pins(mapping, -(-pos // DAX_PAGE_SIZE),
                                (<uint64_t>pos + length) // DAX_PAGE_SIZE)
            while True:
                with nogil:
                    ret = change(mapping, pos, length)
                if not _interrupted(ret):
                    break
            check(ret, self.device.path)
        finally:
            with nogil:
                dax_mapping_put(mapping)

    def clone(self):
        """Make a file that shows the same bytes, sharing the blocks.

        No byte is copied.  The first store to a page, in either file, gives
        that file a block of its own.

        Returns
        -------
        File
            On the same device, of the same size and policy.

        Raises
        ------
        BufferError
            This thread has pinned a page of the file: it would wait for
            itself.
        NotSupportedError
            The file has a block map of its own.
        OSError
            EROFS, ENXIO.

        Notes
        -----
        GIL released; waits for faults in progress, and until no page of the
        file is pinned.  Ctrl-C ends that wait.  A store to a shared page may
        end in ENOSPC.
        Source: ``xfs_file_remap_range`` in fs/xfs/xfs_file.c (v6.0).

        Examples
        --------
        >>> import daxcore
        >>> with daxcore.Device.memory(1 << 20) as dev:
        ...     with dev.create_file(8192) as file:
        ...         file.pwrite(b"both", 0)
        ...         with file.clone() as copy:
        ...             copy.pwrite(b"mine", 0)
        ...             file.pread(4, 0), copy.pread(4, 0)
        4
        4
        (b'both', b'mine')
        """
        self._ensure_open()
        return _clone_file(self)

    def clone_range(self, offset, other, other_offset=0, nbytes=None):
        """Let a range of the file show the bytes of a range of another.

        Parameters
        ----------
        offset : int
            Byte of this file; multiple of 4096.
        other : File
            On the same device; may be this file if the ranges do not overlap.
        other_offset : int
            Byte of `other`; multiple of 4096.
        nbytes : int, optional
            Bytes; a multiple of 4096, or up to the end of `other` if this
            file does not reach behind the range.  Default is up to the end.

        Raises
        ------
        ValueError
            Not aligned or negative.
        BufferError
            This thread has pinned a page of either range.
        NotSupportedError
            A file has a block map that cannot share.
        OSError
            EINVAL: the ranges overlap, or leave `other`, or end in a page;
            EXDEV: another device; ENOSPC, EROFS, ENXIO.

        Notes
        -----
        GIL released; waits as :meth:`clone` does.  The file grows if the
        range ends behind its end.
        Source: ``generic_remap_file_range_prep`` in fs/remap_range.c (v6.0),
        for FICLONERANGE.
        """
        cdef uint64_t length = 0

        if nbytes is not None:
            length = _unsigned(nbytes, "nbytes")
            if length == 0:
                return
        _remap(self, offset, other, other_offset, length, False)

    def dedupe(self, offset, other, other_offset, nbytes):
        """Share the blocks of two ranges if their bytes are the same.

        Pages that are zero in both become holes of both.

        Parameters
        ----------
        offset : int
            Byte of this file, whose blocks are given up; multiple of 4096.
        other : File
            On the same device, whose blocks stay.
        other_offset : int
            Byte of `other`; multiple of 4096.
        nbytes : int
            Bytes; a multiple of 4096, or up to the end of both files.

        Returns
        -------
        int
            Bytes that are shared now: `nbytes`, or 0 if the ranges differ.

        Raises
        ------
        ValueError
            Not aligned or negative.
        BufferError
            This thread has pinned a page of either range.
        NotSupportedError
            A file has a block map that cannot share.
        OSError
            EINVAL: the ranges overlap, or leave a file, or end in a page;
            EXDEV: another device; EROFS, ENXIO, EIO.

        Notes
        -----
        GIL released; waits as :meth:`clone` does.  Compared under the locks
        of both files.
        Source: ``dax_dedupe_file_range_compare`` in fs/dax.c (v6.0), for
        FIDEDUPERANGE.
        """
        return _remap(self, offset, other, other_offset,
                      _unsigned(nbytes, "nbytes"), True)

    def pin(self, offset, nbytes, write=False):
        """Look at bytes of the file where they are on the device.

        Parameters
        ----------
        offset : int
            Byte of the file, before its end.
        nbytes : int
            Bytes wanted; greater than 0.
        write : bool
            Allow stores: blocks are allocated where there are none, and
            copied where they are shared with a clone.

        Returns
        -------
        Pin
            A buffer of what lies together there: `nbytes`, or fewer.

        Raises
        ------
        ValueError
            `offset` negative or not before the end of file, `nbytes` 0 or
            negative.
        OSError
            ENOSPC: the device is full; EROFS, ENXIO, what the block map says.

        Notes
        -----
        GIL released.  While a page is pinned, calls that would free its block
        or share it with a clone wait.  Without `write` a hole shows the common
        zero page; with it the call waits for a thaw, which Ctrl-C ends.
        Source: ``pin_user_pages_fast`` in mm/gup.c (v6.0).

        Examples
        --------
        >>> import daxcore
        >>> with daxcore.Device.memory(1 << 20) as dev:
        ...     with dev.create_file(8192) as file:
        ...         with file.pin(0, 8192, write=True) as pin:
        ...             memoryview(pin)[:5] = b"store"
        ...         file.pread(5, 0)
        b'store'
        """
        self._ensure_open()
        return _pin_file(self, offset, nbytes, write)

    def entries(self):
        """Return a snapshot of the radix tree.

        Returns
        -------
        ndarray, structured, shape (entries,)
            Columns ``index`` u8 (first page), ``order`` u1 (0 or 9: 2**order
            pages), ``pfn`` u8, and bool ``zero``, ``empty``, ``locked``,
            ``dirty``, ``towrite``; in order of index.

        Notes
        -----
        GIL released.  Takes no entry lock: each row was true at some moment
        of the call.
        """
        return self._rows(_next_entries, 0, UINT64_MAX, 512, sizeof(dax_entry_info), _ENTRY_COLUMNS)

    def lock_entry(self, pgoff, pmd=False):
        """Hold the entry lock of a page, for tests and teaching.

        Parameters
        ----------
        pgoff : int
            Page of the file.
        pmd : bool
            The entry of the 2 MiB around `pgoff` instead of its 4 KiB.

        Returns
        -------
        EntryLock
            A context manager: the entry is locked by ``with`` and unlocked at
            its end; ``as`` gives the locked entry, a row of :meth:`entries`.

        Raises
        ------
        ValueError
            `pgoff` negative.  The rest is raised by ``with``.
        OSError
            EBUSY, raised by ``with``: the file has a real mapping.  Who touches
            its memory would wait for the lock, perhaps for ever.

        Notes
        -----
        Where there is no entry an empty one is made.  While it is held,
        faults of other threads on the page wait, and so do truncate,
        punch_hole, fallocate, mmap, Mmap.close and Device.kill of other
        threads; every other call of the holding thread on the file raises
        OSError(EDEADLK).  A mapping it closes goes away with the lock.

        Examples
        --------
        >>> import daxcore
        >>> with daxcore.Device.memory(1 << 20) as dev:
        ...     with dev.create_file(4096) as file, file.lock_entry(0) as row:
        ...         print(row["empty"], row["locked"])
        True True

        Source: ``dax_lock_mapping_entry`` in fs/dax.c (v6.0).
        """
        cdef EntryLock lock = EntryLock.__new__(EntryLock)

        self._ensure_open()
        lock._pgoff = _unsigned(pgoff, "pgoff")
        lock._order = DAX_PMD_ORDER if pmd else 0
        lock.file = self
        return lock

    def extents(self, offset=0, nbytes=None):
        """Return what the block map says of the file, holes included.

        Parameters
        ----------
        offset : int
            Byte of the file.
        nbytes : int, optional
            Bytes; default is up to the end of the file.  What reaches out of
            the range is cut off.

        Returns
        -------
        ndarray, structured, shape (extents,)
            Columns ``offset`` i8 and ``length`` u8 (bytes of the file),
            ``device_offset`` u8 (bytes of the device, 0 for a hole),
            ``type`` u4 (:class:`IomapType`) and ``flags`` u4
            (:class:`IomapFlag`: SHARED where blocks are shared with a
            clone, DIRTY where the file system has metadata to save);
            merged, in order of offset.

        Raises
        ------
        ValueError
            `offset` or `nbytes` negative.
        OSError
            What the block map says.

        Notes
        -----
        GIL released.  Allocates nothing on the device; blocks taken ahead of stores
        are given back first.
        Source: ``iomap_fiemap`` in fs/iomap.c (v4.14).
        """
        cdef uint64_t start = _position(offset, "offset")
        cdef uint64_t end = INT64_MAX

        if nbytes is not None:
            end = start + min(_unsigned(nbytes, "nbytes"), <uint64_t>INT64_MAX - start)
        table = self._rows(_next_extents, start, end, 64, sizeof(dax_extent),
                           _EXTENT_COLUMNS)
        return table if start == 0 and nbytes is None else _cut(table, start, end)

    cdef object _rows(self, rows_fn next_rows, uint64_t at, uint64_t end, size_t rows,
                      size_t row_bytes, object columns):
        """The rows from `at` on; first `rows` are asked for, then ever more."""
        cdef int64_t nr = 1
        cdef dax_mapping *mapping = self._hold()
        cdef void *buf
        cdef list chunks = []

        try:
            while nr and at < end:
                chunk = bytearray(rows * row_bytes)
                buf = PyByteArray_AsString(chunk)
                with nogil:
                    nr = next_rows(mapping, &at, buf, rows)
                check(nr, self.device.path)
                PyErr_CheckSignals()
                chunks.append(chunk[: nr * row_bytes])
                rows = min(2 * rows, <size_t>MAX_ROWS)
        finally:
            with nogil:
                dax_mapping_put(mapping)
        return _table(chunks, columns)

    def stats(self):
        """Return counters and bytes by kind.

        Returns
        -------
        dict of str to int
            Counters under the names of the kernel's fs_dax trace events,
            fallbacks by reason, and bytes of tree nodes, page tables,
            page-cache pages and private copies.

        Notes
        -----
        Exact when no call is in progress on the file.  GIL released.
        """
        cdef uint64_t[256] values
        cdef dax_mapping *mapping
        cdef size_t i, nr

        self._ensure_open()
        mapping = self._hold()
        with nogil:
            nr = dax_mapping_stats(mapping, values, 256)
            dax_mapping_put(mapping)
        nr = min(nr, <size_t>256)
        return {dax_stat_name(i).decode(): values[i] for i in range(nr)}

    def trace(self, events=65536):
        """Record the trace events of the file while a ``with`` block runs.

        Parameters
        ----------
        events : int
            Events kept for each thread at least, 1 to 2**24; when there are
            more the oldest go.  96 bytes each, taken when they are written.

        Returns
        -------
        Trace

        Notes
        -----
        All threads that use the file are traced.

        Examples
        --------
        >>> import daxcore
        >>> with daxcore.Device.memory(1 << 20) as dev:
        ...     with dev.create_file(4096) as file, file.mmap(pages="pte") as m:
        ...         with file.trace() as trace:
        ...             m.fault(0)
        <FaultResult.NOPAGE: 256>
        >>> [daxcore.TraceEvent(n).name for n in trace.events()["event"]]
        ['dax_pte_fault', 'dax_load_hole', 'dax_pte_fault_done']
        """
        self._ensure_open()
        return _new_trace(self, events)

    def close(self):
        """Close the file; closing twice is closing once.

        Mappings of it go on working, as in POSIX: the file goes away with
        the last of them.  A frozen file is thawed.
        """
        self._drop()

    @property
    def size(self):
        """Size in bytes."""
        cdef dax_mapping *mapping = self._hold()
        cdef int64_t size

        with nogil:
            size = dax_mapping_size(mapping)
            dax_mapping_put(mapping)
        return size

    @property
    def readonly(self):
        """True if nothing is stored to the file: mode "r" or "c", or its device."""
        self._ensure_open()
        if self.mode is not None:
            return not _MODES[self.mode]
        return self.device.readonly

    @property
    def ino(self):
        """Number of the file, its own in the process: ``ino`` of trace events."""
        self._ensure_open()
        return dax_mapping_ino(self._mapping)

    @property
    def closed(self):
        """True once closed."""
        return self._mapping is NULL

    @property
    def c_address(self):
        """Address of the ``struct dax_mapping``, as int."""
        self._ensure_open()
        return <uintptr_t>self._mapping

    def __enter__(self):
        self._ensure_open()
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        self.close()

    def __repr__(self):
        if self._mapping is NULL:
            return "<daxcore.File closed>"
        if self.path is not None:
            return f"<daxcore.File {self.path!r} mode={self.mode!r} size={self.size}>"
        return f"<daxcore.File size={self.size} policy={self.policy!r}>"

    def __reduce__(self):
        how = "open it with daxcore.open()" if self.path else (
            "open its device and make the file")
        raise _unpicklable(self, how)

    def __dealloc__(self):
        try:
            if self._mapping is not NULL and self._pid == getpid():
                _warn_unclosed(repr(self))
        finally:
            self._drop()


cdef File _clone_file(File src):
    cdef File self = File.__new__(File)
    cdef dax_mapping *mapping = src._hold()
    cdef int ret

    try:
        _check_own_pins(mapping, 0, UINT64_MAX)
        while True:
            with nogil:
                ret = dax_mapping_clone(&self._mapping, mapping)
            if not _interrupted(ret):
                break
        check(ret, src.device.path)
    finally:
        with nogil:
            dax_mapping_put(mapping)
    self._pid = getpid()
    self._wb_err = dax_mapping_wb_err(self._mapping)
    self.device = src.device
    self.device._nr_open += 1
    self.policy = src.policy
    return self


cdef int64_t _remap(File dst, object offset, object other, object other_offset,
                    uint64_t length, bint dedupe) except -1:
    """Clone or dedupe; length 0: up to the end of the source."""
    cdef int64_t dst_pos, src_pos, ret
    cdef dax_mapping *to
    cdef dax_mapping *src
    cdef File file

    if not isinstance(other, File):
        raise TypeError(f"other must be a File, not {type(other).__name__}")
    file = other
    dst._ensure_open()
    dst_pos = _aligned(offset, "offset")
    src_pos = _aligned(other_offset, "other_offset")
    src = file._hold()
    try:
        to = dst._hold()
        try:
            _check_own_range(to, dst_pos, length)
            _check_own_range(src, src_pos, length)
            while True:
                with nogil:
                    if dedupe:
                        ret = dax_mapping_dedupe_range(
                            to, dst_pos, src, src_pos, length)
                    else:
                        ret = dax_mapping_clone_range(
                            to, dst_pos, src, src_pos, length)
                if not _interrupted(ret):
                    break
            if dedupe and ret == -errno_EBADE:
                return 0
            return check(ret, dst.device.path)
        finally:
            with nogil:
                dax_mapping_put(to)
    finally:
        with nogil:
            dax_mapping_put(src)


# ---- pinned pages ---------------------------------------------------------

# Frames that a thread has pinned: {thread: {id of Pin: (first, behind last)}}.
cdef dict _pins = {}


cdef int _check_own_range(dax_mapping *mapping, int64_t pos, uint64_t length) except -1:
    cdef uint64_t end = UINT64_MAX

    if length:
        end = -(-(<uint64_t>pos + length) // DAX_PAGE_SIZE)
    return _check_own_pins(mapping, pos // DAX_PAGE_SIZE, end)


cdef int _check_own_pins(dax_mapping *mapping, uint64_t first, uint64_t end) except -1:
    """Refuse to wait for a pin that only the waiting thread could release."""
    cdef dax_pfn_t pfn = 0
    cdef int busy = 1
    own = _pins.get(_thread.get_ident())

    while own and first < end:
        with nogil:
            busy = dax_layout_busy_page_range(mapping, first, end - 1, &first, &pfn)
        if check(busy) == 0:
            return 0
        for start, behind in own.values():
            if start <= pfn < behind:
                raise BufferError(
                    f"page {first} of the file is pinned by this thread: "
                    "release the Pin first")
        first += 1
    return 0


cdef Pin _pin_file(File file, object offset, object nbytes, bint write):
    cdef Pin self = Pin.__new__(Pin)
    cdef int64_t pos = _position(offset, "offset")
    cdef uint64_t wanted = _unsigned(nbytes, "nbytes")
    cdef dax_mapping *mapping
    cdef ssize_t ret

    if wanted == 0:
        raise ValueError("nbytes must be greater than 0, is 0")
    mapping = file._hold()
    try:
        while True:
            with nogil:
                ret = dax_pin_pages(mapping, pos, wanted, write, &self._pin)
            if not _interrupted(ret):
                break
        if ret < 0:
            check(ret, file.device.path)
        if ret == 0:
            raise ValueError(
                f"offset must be below the file's size of "
                f"{dax_mapping_size(mapping)}, is {pos}")
    finally:
        with nogil:
            dax_mapping_put(mapping)
    self._pid = getpid()
    self.file = file
    file.device._nr_open += 1
    self.offset = pos
    self.nbytes = ret
    self.write = write
    self._thread = _thread.get_ident()
    if self._pin.pfn not in (DAX_ZERO_PFN, DAX_HUGE_ZERO_PFN):  # they are nobody's
        _pins.setdefault(self._thread, {})[id(self)] = (
            self._pin.pfn,
            self._pin.pfn + (pos % DAX_PAGE_SIZE + ret + DAX_PAGE_SIZE - 1)
            // DAX_PAGE_SIZE,
        )
    return self


@cython.no_gc_clear  # the file is needed until the end
cdef class Pin:
    """Bytes of a file where they are on the device: a buffer.

    Made by :meth:`File.pin`.  ``memoryview(pin)`` and ``numpy.frombuffer(pin)``
    see the device's memory itself, read-only unless it was pinned to write.

    Attributes
    ----------
    file : File
    offset : int
        Byte of the file.
    nbytes : int
        Bytes; ``len(pin)``.
    write : bool
        Stores are allowed.
    """

    def __init__(self):
        raise TypeError("use File.pin()")

    cdef int _unpin(self, bint dirty) except? -1:
        """Give the frames back; a negative errno: they are not."""
        cdef dax_pin pin = self._pin
        cdef int ret

        # Released as soon as the GIL is dropped: no other thread unpins them
        # too, or takes a buffer.
        self._pin.len = 0
        with nogil:
            ret = dax_unpin_pages(&pin, dirty)
        if ret:
            self._pin.len = pin.len
            return ret
        own = _pins.get(self._thread, {})
        own.pop(id(self), None)
        if not own:
            _pins.pop(self._thread, None)
        self.file.device._leave()
        return 0

    def release(self):
        """Unpin the pages; releasing twice is releasing once.

        Pages pinned to write are marked dirty again: what was stored since
        the last fsync is written back by the next.

        Raises
        ------
        BufferError
            A memoryview or an array of it is alive.
        MemoryError, OSError
            The pages could not be marked dirty; they are unpinned all the
            same.

        Notes
        -----
        GIL released.  From any thread.
        Source: ``unpin_user_pages_dirty_lock`` in mm/gup.c (v6.0).
        """
        cdef int ret

        if self._pin.len == 0:
            return
        if self._exports:
            raise BufferError(
                f"{self._exports} buffer(s) of the Pin are in use: release them first")
        ret = self._unpin(True)
        if ret:
            try:
                check(ret, self.file.device.path)
            finally:
                self._unpin(False)

    @property
    def released(self):
        """True once released."""
        return self._pin.len == 0

    @property
    def pfn(self):
        """Frame number of the first byte's page."""
        return self._pin.pfn

    def __len__(self):
        return self.nbytes

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if self._pin.len == 0:
            raise ValueError("Pin is released")
        if self._pid != getpid():
            raise ForkError(errno.ESTALE, "the Pin was made before a fork()")
        PyBuffer_FillInfo(buffer, self, self._pin.kaddr, self._pin.len,
                          not self.write, flags)
        self._exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self._exports -= 1

    def __enter__(self):
        if self._pin.len == 0:
            raise ValueError("Pin is released")
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        try:
            self.release()
        except BufferError:
            if exc_type is None:  # its traceback holds the buffers
                raise

    def __repr__(self):
        if self._pin.len == 0:
            return "<daxcore.Pin released>"
        mode = "write" if self.write else "read"
        return f"<daxcore.Pin offset={self.offset} nbytes={self.nbytes} {mode}>"

    def __reduce__(self):
        raise _unpicklable(self, "open its device, make the file and pin it")

    def __dealloc__(self):
        if self._pin.len == 0 or self._pid != getpid():
            return
        try:
            _warn_unclosed(repr(self))
        finally:
            if self._unpin(True):
                self._unpin(False)


cdef class _Frozen:
    """The context of File.frozen(): no Python code between freeze and with."""

    cdef File _file

    def __enter__(self):
        self._file.freeze()
        return self._file

    def __exit__(self, exc_type, exc_value, traceback):
        if not self._file.closed:
            self._file.thaw()


@cython.no_gc_clear  # the file is needed until the end
cdef class EntryLock:
    """An entry lock as a context manager; made by :meth:`File.lock_entry`.

    Attributes
    ----------
    file : File
    """

    def __init__(self):
        raise TypeError("use File.lock_entry()")

    def __enter__(self):
        """Wait for the entry and lock it.

        Returns
        -------
        numpy.void
            The row of :meth:`File.entries` that says what is locked.

        Raises
        ------
        RuntimeError
            This object holds it already.
        OSError
            EINVAL: past the end of the file; EEXIST: entries of 4 KiB stand in
            the 2 MiB; EDEADLK: the thread holds an entry of the file.

        Notes
        -----
        GIL released.  Ctrl-C does not end the wait: it is seen when the
        entry is locked.
        """
        cdef dax_mapping *mapping
        cdef dax_entry_cookie *cookie = NULL
        cdef dax_entry_info row
        cdef int ret

        if self._cookie is not NULL:
            raise RuntimeError("the entry is locked by this object already")
        if self.file is None:  # made by EntryLock.__new__()
            raise ValueError("EntryLock has no file; use File.lock_entry()")
        mapping = self.file._hold()
        try:
            # Another thread may be about to lock it by this object too.
            with nogil:
                ret = dax_lock_mapping_entry(
                    mapping, self._pgoff, self._order, &row, &cookie)
            check(ret, self.file.device.path)
        finally:
            with nogil:
                dax_mapping_put(mapping)
        self._cookie = cookie
        self._thread = _thread.get_ident()
        self._pid = getpid()
        self.file.device._nr_open += 1
        try:
            return _table([bytearray((<char *>&row)[:sizeof(row)])], _ENTRY_COLUMNS)[0]
        except:
            self._unlock()
            raise

    cdef int _unlock(self) except -1:
        cdef dax_entry_cookie *cookie = self._cookie
        cdef int ret

        if self._thread != _thread.get_ident():
            raise RuntimeError(
                f"page {self._pgoff}: the entry was locked by another thread")
        # Taken before the GIL is dropped: who waits to lock it sets its own.
        self._cookie = NULL
        with nogil:
            ret = dax_unlock_mapping_entry(cookie)
        if ret:
            self._cookie = cookie
        if ret == -errno.EPERM:  # a new thread with the number of an old one
            raise RuntimeError(errormsg())
        check(ret, self.file.device.path)
        self.file.device._leave()
        return 0

    def __exit__(self, exc_type, exc_value, traceback):
        """Unlock the entry, in the thread that locked it.

        Raises
        ------
        RuntimeError
            Another thread locked it, or nobody did.
        ForkError
            In a child of the process that locked it.
        """
        if self._cookie is NULL:
            raise RuntimeError("the entry is not locked by this object")
        self._unlock()

    @property
    def locked(self):
        """True while this object holds the entry."""
        return self._cookie is not NULL

    def __repr__(self):
        state = "locked" if self._cookie is not NULL else "unlocked"
        size = " pmd" if self._order else ""
        return f"<daxcore.EntryLock page={self._pgoff}{size} {state}>"

    def __reduce__(self):
        raise _unpicklable(self, "lock an entry")

    def __dealloc__(self):
        if self._cookie is NULL or self._pid != getpid():
            return
        try:
            _warn_unclosed(repr(self))
        finally:
            # Whatever thread locked it, and whether it has ended.
            with nogil:
                dax_drop_mapping_entry(self._cookie)
            self._cookie = NULL
            self.file.device._leave()


cdef object _table(list chunks, object columns):
    import numpy as np

    return np.frombuffer(bytearray().join(chunks), dtype=np.dtype(columns))


cdef object _cut(object table, uint64_t start, uint64_t end):
    """The part of extents that lies in a range of bytes."""
    import numpy as np

    first = np.maximum(table["offset"], start).astype("i8")
    last = np.minimum(table["offset"] + table["length"].astype("i8"), end).astype("i8")
    table["device_offset"] += np.where(
        table["type"] != DAX_IOMAP_HOLE, first - table["offset"], 0).astype("u8")
    table["length"] = np.maximum(last - first, 0)
    table["offset"] = first
    return table[table["length"] > 0]


cdef object _pread(dax_mapping *mapping, uint64_t wanted, int64_t pos, object path):
    """Read at most `wanted` bytes; only what the file has is allocated."""
    cdef int64_t size
    cdef size_t nbytes = 0, done = 0, chunk = 0
    cdef ssize_t ret = 0
    cdef char *buf
    cdef bytes data

    with nogil:
        size = dax_mapping_size(mapping)
    if pos < size:
        nbytes = min(wanted, <uint64_t>(size - pos))
    data = _new_bytes(nbytes)
    buf = PyBytes_AsString(data)
    while done < nbytes and <size_t>ret == chunk:  # a short one is the last
        chunk = min(nbytes - done, <size_t>CHUNK_BYTES)
        with nogil:
            ret = dax_mapping_pread(mapping, buf + done, chunk, pos + <int64_t>done)
        check(ret, path)
        PyErr_CheckSignals()
        done += ret
    return data if done == nbytes else data[:done]


# ---- block maps ----------------------------------------------------------


_EXTENT_FIELDS = ("offset", "length", "device_offset", "type")


cdef object _extent_rows(object rows):
    """Convert a structured array to rows of struct dax_extent, a copy."""
    import numpy as np

    array = np.asarray(rows)
    if array.ndim != 1 or array.dtype.names is None:
        raise TypeError(
            "rows must be a structured array of one dimension with the fields "
            f"{', '.join(_EXTENT_FIELDS)}, not {array.ndim} of {array.dtype}")
    copy = np.zeros(len(array), dtype=np.dtype(_EXTENT_COLUMNS))
    for name in array.dtype.names:
        if name not in copy.dtype.names:
            raise TypeError(f"rows have a field {name!r} that is none of a table's")
        if array.dtype[name].kind not in "iu":
            raise TypeError(
                f"rows: field {name!r} must be of integers, not {array.dtype[name]}")
        column = array[name]
        if copy.dtype[name].itemsize == 4:
            bad = np.flatnonzero((column < 0) | (column > 0xFFFFFFFF))
            if len(bad):
                raise ValueError(
                    f"row {bad[0]}: {name} {column[bad[0]]} is no word of 32 bits")
        elif array.dtype[name].kind == "u" and name == "offset":
            bad = np.flatnonzero(column > INT64_MAX)
            if len(bad):
                raise ValueError(
                    f"row {bad[0]}: offset {column[bad[0]]} is beyond 2^63-4096")
        copy[name] = column.astype(copy.dtype[name], casting="unsafe")
    missing = [name for name in _EXTENT_FIELDS if name not in array.dtype.names]
    if missing:
        raise TypeError(f"rows lack the field {missing[0]!r}")
    return copy


cdef int _check_rows(int ret, object path) except -1:
    """Rows that are no table are a wrong value: ValueError with the sentence."""
    if ret == -errno.EINVAL:
        raise ValueError(errormsg())
    check(ret, path)
    return 0


cdef class ExtentTable:
    """A block map that is an array: where each byte of a file is on its device.

    For ``device.create_file(size, iomap=table)``.  Faults are answered in C, those
    of real mappings too.  One table serves one file.

    Parameters
    ----------
    rows : structured ndarray, shape (n,)
        The fields of :meth:`File.extents`: `offset`, `length` and `device_offset`
        in bytes, multiples of 4096, and `type` (:class:`IomapType`, HOLE or
        MAPPED); `flags` may be missing and must be 0.  Rows follow one another
        from byte 0 on, holes are rows too (their `device_offset` means nothing),
        and no byte of the device is in two of them.  Copied.

    Raises
    ------
    ValueError
        A row is negative, not aligned, overlaps another, leaves a gap, or is of
        another type: the message has its number, from 0, and its values.
    TypeError
        A field is missing, unknown or not of integers.

    Attributes
    ----------
    columns : dict
        The fields, as numpy takes them for a dtype.

    Notes
    -----
    A store to a hole is OSError(ENOSPC), and the hole stays.  The blocks are not
    taken from those that the device gives to files without a table: keep such
    files on another device.
    Source: ``iomap_begin`` of fs/iomap (v4.14).

    Examples
    --------
    >>> import daxcore, numpy as np
    >>> rows = np.zeros(2, dtype=daxcore.ExtentTable.columns)
    >>> rows[0] = (0, 8192, 4096, daxcore.IomapType.MAPPED, 0)
    >>> rows[1] = (8192, 1 << 30, 0, daxcore.IomapType.HOLE, 0)
    >>> table = daxcore.ExtentTable(rows)
    >>> with daxcore.Device.memory(1 << 20) as dev:
    ...     dev.store(4096, b"block 1")
    ...     with dev.create_file(1 << 30, iomap=table) as file, file.mmap() as m:
    ...         m.read(0, 7), m.read(1 << 20, 2) == bytes(2)
    (b'block 1', True)
    """

    columns = _EXTENT_COLUMNS

    def __init__(self, rows):
        cdef size_t nr
        cdef uintptr_t address
        cdef int ret

        copy = _extent_rows(rows)
        nr = len(copy)
        address = copy.ctypes.data
        with nogil:
            ret = dax_check_extents(<const dax_extent *>address, nr, 0, UINT64_MAX)
        _check_rows(ret, None)
        if self._file_ref is None:
            self._rows = copy

    @property
    def rows(self):
        """The rows in use, a copy: structured ndarray of the fields `columns`."""
        return self._rows.copy()

    cdef File _file(self):
        """The file that the table serves, as long as that can be asked."""
        cdef File file = None if self._file_ref is None else self._file_ref()

        return file if file is not None and file._mapping is not NULL else None

    cdef int _new_file(self, File file, dax_device *dev,
                       const dax_mapping_attr *attr) except -1:
        cdef uintptr_t address
        cdef size_t nr
        cdef int ret

        if self._rows is None:
            raise ValueError("ExtentTable was not initialised")
        if self._file_ref is not None:
            raise ValueError("the table serves a file already: make another one")
        rows = self._rows
        nr = len(rows)
        address = rows.ctypes.data
        self._file_ref = weakref.ref(file)
        try:
            with nogil:
                ret = dax_mapping_new_extents(
                    &file._mapping, dev, attr, <const dax_extent *>address, nr)
            _check_rows(ret, None)
        except BaseException:
            self._file_ref = None
            raise
        return 0

    def replace(self, rows):
        """Put other rows in place of these, for the file and all its mappings.

        Each load, store, read and write is served by the old rows or the new ones,
        a page as a whole.  When the call returns nothing shows the old blocks any
        more and what was stored to them has been flushed: they may be used for
        something else.  Private copies of a mapping stay.

        Parameters
        ----------
        rows : structured ndarray
            As for the constructor; they must cover the file as it is now.

        Raises
        ------
        ValueError
            As the constructor; a row beyond the device; the file is closed.
        BufferError
            This thread has pinned a page of the file.
        OSError
            ENXIO: the device is dead; EDEADLK: called from inside the file.

        Notes
        -----
        GIL released.  Whole or not at all.  Waits until no page of the file is
        pinned, and for a thaw.  A table without a file changes its rows.
        Source: ``dax_break_layout`` in fs/dax.c (v6.15),
        ``invalidate_inode_pages2_range`` in mm/truncate.c (v4.14).
        """
        cdef dax_mapping *mapping
        cdef File file = self._file()
        cdef uintptr_t address
        cdef size_t nr
        cdef int ret

        if file is None and self._file_ref is not None:
            raise ValueError("the file of the table is closed")
        if file is None:
            self.__init__(rows)
            return
        copy = _extent_rows(rows)
        nr = len(copy)
        address = copy.ctypes.data
        mapping = file._hold()
        try:
            while True:
                _check_own_range(mapping, 0, <uint64_t>dax_mapping_size(mapping))
                with nogil:
                    ret = dax_mapping_replace_extents(
                        mapping, <const dax_extent *>address, nr)
                if not _interrupted(ret):
                    break
            _check_rows(ret, file.device.path)
            self._rows = copy
        finally:
            with nogil:
                dax_mapping_put(mapping)

    def __len__(self):
        return len(self._rows)

    def __repr__(self):
        return f"<daxcore.ExtentTable of {len(self)} extents>"


cdef int _refuse_python_map(object iomap) except -1:
    """Real memory may be touched with the GIL held: who answers must not need it."""
    if isinstance(iomap, BlockMap) or (
            isinstance(iomap, CBlockMap) and iomap.calls_python):
        raise NotSupportedError(
            errno.EOPNOTSUPP,
            "backend='real' needs a block map that is not written in Python: a page "
            "fault taken with the GIL held and answered by Python never ends.  Two "
            "ways out: daxcore.ExtentTable, or a C function in daxcore.CBlockMap "
            "(or stay with backend='soft')")
    return 0


cdef class CBlockMap:
    """A block map that is a C function, with a pointer that it is called with.

    For ``device.create_file(size, iomap=block_map)``.  The functions are those of
    ``struct dax_iomap_ops`` in daxcore.h, which says what they must do::

        int begin(struct dax_mapping *mapping, void *private_data, int64_t pos,
                  uint64_t length, unsigned int flags, struct dax_iomap *iomap);
        int end(struct dax_mapping *mapping, void *private_data, int64_t pos,
                uint64_t length, int64_t written, unsigned int flags,
                struct dax_iomap *iomap);

    Parameters
    ----------
    begin : function
        A function pointer of cffi or ctypes, a ``numba.cfunc``, a capsule (of
        Cython's ``__pyx_capi__``, say) or an address.
    end : function, optional
        The same.
    private : optional
        `private_data` of each call: a pointer, array or struct of cffi or ctypes, a
        capsule or an address.

    Attributes
    ----------
    calls_python : bool
        A function is known to be a Python function behind a C pointer (a callback of
        ctypes or cffi): no real mapping then.

    Raises
    ------
    TypeError
        What was given is no such thing.
    ValueError
        A function is NULL.

    Notes
    -----
    What was given is kept as long as the block map, and that as long as its file;
    what an address points to is the caller's to keep.  Called from any thread,
    several at once, without the GIL.  A function that goes wrong in memory takes
    the process with it.
    Source: ``struct iomap_ops`` of include/linux/iomap.h (v4.14).
    """

    def __cinit__(self, begin, end=None, private=None):
        from ._pointers import data_address, function_address

        memset(&self._ops, 0, sizeof(self._ops))
        self._ops.struct_size = sizeof(self._ops)
        address, python = function_address(begin, "begin")
        (<void **>&self._ops.iomap_begin)[0] = <void *><uintptr_t>address
        self.calls_python = python
        if end is not None:
            address, python = function_address(end, "end")
            (<void **>&self._ops.iomap_end)[0] = <void *><uintptr_t>address
            self.calls_python |= python
        self._private = <void *><uintptr_t>data_address(private, "private")
        self._kept = (begin, end, private)

    cdef int _set(self, dax_mapping_attr *attr) except -1:
        attr.ops = &self._ops
        attr.private_data = self._private
        return 0


cdef int _forget_failure() except -1:
    _failures.pop(_thread.get_ident(), None)
    return 0


def take_failure():
    """Return what the calling thread's last call met in a Python block map."""
    failure = _failures.pop(_thread.get_ident(), None)
    return failure and (failure[0], failure[1])


cdef int _raise_failure() except -1:
    """Raise it, if there is something."""
    failure = _failures.pop(_thread.get_ident(), None)
    if failure is not None:
        raise failure[0]
    return 0


cdef int _errno_of(object error) except -1:
    """What the library is told.  Not EINTR: it would ask again for ever."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, OSError) and isinstance(error.errno, int):
        if 0 < error.errno < 4096 and error.errno != errno.EINTR:
            return error.errno
    return errno.EIO


cdef int _callback_failed(
        object error, object block_map, str name, dax_mapping *mapping,
        dax_loff_t pos, uint64_t length, unsigned int flags) noexcept:
    """Keep an exception for the call that it ends; -errno for the library."""
    cdef const char *path = dax_device_path(dax_mapping_device(mapping))

    try:
        code = _errno_of(error)
        where = os.fsdecode(path) if path is not NULL else "memory"
        error.add_note(
            f"in {type(block_map).__name__}.{name}() for byte {pos} of file "
            f"{dax_mapping_ino(mapping)} on {where} (length {length}, flags {flags:#x})")
        _failures[_thread.get_ident()] = [error, code, pos, length, False]
        return -code
    except BaseException:
        return -EIO


cdef int _failed_before(dax_loff_t pos, uint64_t length, unsigned int flags) except -1:
    """A fault of 2 MiB failed, and its 4 KiB one asks: it fails as well, once.

    Else the exception would be lost if the second answer is good.
    """
    failure = _failures.get(_thread.get_ident())
    if failure is None or failure[4] or not flags & DAX_IOMAP_FAULT:
        return 0
    if not (length < failure[3] and failure[2] <= pos < failure[2] + failure[3]):
        return 0
    failure[4] = True
    return failure[1]


cdef int _fill_iomap(dax_iomap *iomap, object answer) except -1:
    """Convert (offset, length, device_offset, type[, flags]); the library checks."""
    cdef int64_t length, addr

    if not isinstance(answer, tuple) or not 4 <= len(<tuple>answer) <= 5:
        raise TypeError(
            "begin() must return a tuple (offset, length, device_offset, type"
            f"[, flags]), not {answer!r:.80}")
    length = answer[1]
    addr = answer[2]
    if length <= 0 or addr < 0:
        raise ValueError(
            f"begin() returned {answer!r:.80}: the length must be above 0, the device "
            "offset not below")
    iomap.offset = answer[0]
    iomap.length = length
    iomap.addr = addr
    iomap.type = answer[3]
    if len(<tuple>answer) == 5:
        iomap.flags = answer[4]
    return 0


cdef int _python_begin(
        dax_mapping *mapping, void *private_data, dax_loff_t pos, uint64_t length,
        unsigned int flags, dax_iomap *iomap) noexcept with gil:
    cdef int code

    block_map = <object>private_data
    try:
        if _failures:
            code = _failed_before(pos, length, flags)
            if code:
                return -code
        answer = block_map.begin(pos, length, flags)
        _fill_iomap(iomap, answer)
        if (<BlockMap>block_map)._has_end:
            Py_INCREF(answer)
            iomap.private_data = <void *>answer
        return 0
    except BaseException as error:
        return _callback_failed(error, block_map, "begin", mapping, pos, length, flags)


cdef int _python_end(
        dax_mapping *mapping, void *private_data, dax_loff_t pos, uint64_t length,
        int64_t written, unsigned int flags, dax_iomap *iomap) noexcept with gil:
    block_map = <object>private_data
    answer = <object>iomap.private_data
    Py_DECREF(answer)  # of begin's
    iomap.private_data = NULL
    try:
        block_map.end(pos, length, written, flags, answer)
        return 0
    except BaseException as error:
        return _callback_failed(error, block_map, "end", mapping, pos, length, flags)


cdef dax_iomap_ops _python_ops
cdef dax_iomap_ops _python_ops_with_end

memset(&_python_ops, 0, sizeof(_python_ops))
_python_ops.struct_size = sizeof(_python_ops)
_python_ops.iomap_begin = _python_begin
_python_ops_with_end = _python_ops
_python_ops_with_end.iomap_end = _python_end


cdef class BlockMap:
    """A block map written in Python: derive a class that has a :meth:`begin`.

    For ``device.create_file(size, iomap=block_map)``.  It serves what starts in
    Python: faults of soft mappings, reads and writes.  Real mappings are refused
    (NotSupportedError): an :class:`ExtentTable` or a :class:`CBlockMap` serves them.

    What a method raises reaches the caller of the read, store or fault as it is, the
    same object, with a note that names the file and the byte; the fault leaves no
    entry locked and the tree shows nothing new (an EMPTY entry may stay).

    Attributes
    ----------
    HOLE, MAPPED, UNWRITTEN : int
        Types of an answer; those of :class:`IomapType`.
    WRITE, REPORT, FAULT : int
        Bits of `flags`: a block is needed; tell, and allocate nothing; whole pages
        are needed.

    Notes
    -----
    Methods are called from the threads that read or store, several at once, with the
    GIL and with locks of the file held: a call on the same file, or on a mapping of
    it, is OSError(EDEADLK); one that waits for another thread's may wait for ever.
    Other files may be used.
    Source: ``struct iomap_ops`` of include/linux/iomap.h (v4.14).

    Examples
    --------
    >>> import daxcore
    >>> class Reversed(daxcore.BlockMap):
    ...     def begin(self, pos, length, flags):
    ...         page = pos // 4096
    ...         return page * 4096, 4096, (3 - page) * 4096, self.MAPPED
    >>> with daxcore.Device.memory(16384) as dev:
    ...     dev.store(3 * 4096, b"first")
    ...     with dev.create_file(16384, iomap=Reversed()) as file:
    ...         file.pread(5, 0)
    b'first'
    """

    HOLE = DAX_IOMAP_HOLE
    MAPPED = DAX_IOMAP_MAPPED
    UNWRITTEN = DAX_IOMAP_UNWRITTEN
    WRITE = DAX_IOMAP_WRITE
    REPORT = DAX_IOMAP_REPORT
    FAULT = DAX_IOMAP_FAULT

    def begin(self, pos, length, flags):
        """Say where byte `pos` is: overridden.

        Parameters
        ----------
        pos, length : int
            Bytes of the file that are asked for.
        flags : int
            Of WRITE, REPORT and FAULT; other bits may be ignored.

        Returns
        -------
        tuple of int
            (offset, length, device_offset, type) or the same and flags
            (:class:`IomapFlag`): one extent in bytes that covers `pos`, longer or
            shorter than what was asked for, and for FAULT the whole page.  With
            WRITE the type must be MAPPED; NEW in flags says that the block holds
            zeroes.

        Raises
        ------
        OSError
            Whatever there is to say, such as ENOSPC.

        Notes
        -----
        Asked with WRITE and FAULT for 2 MiB it may answer with a hole, or with less,
        and is asked again for a page.  An answer that does not cover `pos`, or an
        unknown type, is OSError(EIO) for the caller; a negative length or device
        offset is ValueError, no tuple is TypeError.
        """
        raise NotImplementedError("begin() is for the derived class")

    def end(self, pos, length, written, flags, answer):
        """Hear that an answer has been used; called only if overridden.

        Parameters
        ----------
        pos, length, flags : int
            As :meth:`begin` had them.
        written : int
            Bytes that were used, 0 after a failure.
        answer : tuple
            What :meth:`begin` returned.

        Notes
        -----
        Called once for each answer, by the same thread.
        """

    cdef int _set(self, dax_mapping_attr *attr) except -1:
        if type(self).begin is BlockMap.begin:
            raise TypeError(f"{type(self).__name__} has no begin() of its own")
        self._has_end = type(self).end is not BlockMap.end
        attr.ops = &_python_ops_with_end if self._has_end else &_python_ops
        attr.private_data = <void *>self
        return 0


# ---- mappings of memory --------------------------------------------------


cdef Mmap _map_file(File file, object offset, object length, object access,
                    object shared, object backend, object pages, object sync,
                    object delivery, object fault_around):
    cdef Mmap self = Mmap.__new__(Mmap)
    cdef dax_vma_attr attr
    cdef dax_mapping *mapping
    cdef int ret

    memset(&attr, 0, sizeof(attr))
    attr.struct_size = sizeof(attr)
    attr.offset = _aligned(offset, "offset")
    attr.length = _map_length(file, attr.offset, length)
    attr.flags = _choice(access, _ACCESS, "access")
    attr.flags |= DAX_VM_SHARED if shared else 0
    if sync:
        if access != "rw" or not shared:
            raise ValueError("sync=True needs access='rw' and shared=True")
        attr.flags |= DAX_VM_SYNC
    attr.pages = _choice(pages, _PAGES, "pages")
    attr.backend = _choice(backend, _BACKENDS, "backend")
    if attr.backend == DAX_BACKEND_REAL:
        _refuse_python_map(file._iomap)
    attr.delivery = _choice(delivery, _DELIVERIES, "delivery")
    attr.fault_around = DAX_FAULT_AROUND_DEFAULT
    if fault_around is not None:
        attr.fault_around = _unsigned(fault_around, "fault_around")
    if attr.flags & DAX_VM_SHARED and attr.flags & DAX_VM_WRITE:
        file._ensure_writable()
    mapping = file._hold()
    try:
        with nogil:
            ret = dax_vma_new(&self._vma, mapping, &attr)
        check(ret, file.device.path)
    finally:
        with nogil:
            dax_mapping_put(mapping)
    self._pid = getpid()
    self._first = attr.offset // DAX_PAGE_SIZE
    self._nr_pages = (attr.length + DAX_PAGE_SIZE - 1) // DAX_PAGE_SIZE
    self.file = file
    file.device._nr_open += 1
    self.offset = attr.offset
    self.length = attr.length
    self.access = access
    self.shared = shared
    self.backend = backend
    self.delivery = delivery if attr.backend else None
    self.pages = pages
    self.sync = bool(sync)
    return self


cdef uint64_t _map_length(File file, int64_t offset, object length) except? 0:
    cdef int64_t size
    cdef uint64_t c_length

    if length is None:
        size = file.size
        if offset >= size:
            raise ValueError(
                f"offset must be below the file's size of {size}, is {offset}; "
                "give length to map beyond the end"
            )
        return size - offset
    c_length = _position(length, "length")
    if c_length == 0:
        raise ValueError("length must be greater than 0, is 0")
    return c_length


@cython.no_gc_clear  # the block map is needed until the end
cdef class Mmap:
    """One mapping of a range of a file.

    Made by :meth:`File.mmap`.  Bytes come and go by :meth:`read` and :meth:`write`,
    as copies; a real one has an address besides, and is a buffer.  Page offsets are
    pages of the FILE; byte offsets of :meth:`read` and :meth:`write` start at the
    mapping.

    Attributes
    ----------
    file : File
    offset, length : int
        The range, in bytes of the file.
    access, shared, backend, pages, sync
        As given to :meth:`File.mmap`.
    delivery : str or None
        The same; None if the mapping is soft.

    Notes
    -----
    With ``backend="real"``: ``memoryview(m)``, ``np.frombuffer(m)``,
    ``file.readinto(m)``.  It cannot be closed as long as somebody holds a buffer.
    With ``backend="soft"`` the page table is the library's own.
    """

    def __init__(self):
        raise TypeError("use File.mmap()")

    cdef int _ensure_open(self) except -1:
        if self._vma is NULL:
            raise ValueError("Mmap is closed")
        return 0

    cdef dax_vma *_hold(self) except NULL:
        """Return the pointer with a reference that the caller must put."""
        self._ensure_open()
        if _failures:
            _forget_failure()
        dax_vma_get(self._vma)
        return self._vma

    cdef int _drop(self) except -1:
        cdef dax_vma *vma = self._vma

        self._vma = NULL
        if vma is not NULL:
            self.file.device._leave()
            with nogil:
                dax_vma_put(vma)
        return 0

    cdef int _check_pages(self, uint64_t pgoff, uint64_t npages) except -1:
        cdef uint64_t end = self._first + self._nr_pages

        if pgoff < self._first or pgoff > end or npages > end - pgoff:
            raise ValueError(
                f"{npages} pages from page {pgoff} on are not inside the mapping, "
                f"which has pages {self._first} to {end - 1} of the file"
            )
        return 0

    cdef int _check_bytes(self, uint64_t offset, uint64_t nbytes) except -1:
        if offset > self.length or nbytes > self.length - offset:
            raise ValueError(
                f"offset {offset} and {nbytes} bytes are not inside the mapping, "
                f"which has {self.length} bytes"
            )
        return 0

    def read(self, offset, nbytes):
        """Load bytes through the mapping, faulting as needed.

        Parameters
        ----------
        offset : int
            Bytes from the start of the mapping.
        nbytes : int
            Bytes; the range must lie in the mapping.

        Returns
        -------
        bytes

        Raises
        ------
        ValueError
            Negative, or the range leaves the mapping.
        FaultError
            A fault ended in SIGBUS: beyond the end of file, dead device,
            what the block map says.

        Notes
        -----
        GIL released.
        Source: ``dax_iomap_fault`` in fs/dax.c (v4.14).
        """
        cdef uint64_t start, length, done = 0
        cdef dax_fault_info info
        cdef dax_vma *vma
        cdef ssize_t ret
        cdef bytes data
        cdef char *buf

        self._ensure_open()
        start = _unsigned(offset, "offset")
        length = _unsigned(nbytes, "nbytes")
        self._check_bytes(start, length)
        data = _new_bytes(length)
        buf = PyBytes_AsString(data)
        vma = self._hold()
        try:
            while done < length:
                with nogil:
                    memset(&info, 0, sizeof(info))
                    ret = dax_vma_read(vma, buf + done,
                                       min(length - done, <uint64_t>CHUNK_BYTES),
                                       start + done, &info)
                self._check_fault(ret, &info, done)
                done += ret
            return data
        finally:
            with nogil:
                dax_vma_put(vma)

    def write(self, offset, data):
        """Store bytes through the mapping, faulting as needed.

        Parameters
        ----------
        offset : int
            Bytes from the start of the mapping.
        data : bytes-like
            Contiguous; the range must lie in the mapping.

        Returns
        -------
        int
            Bytes stored: all.

        Raises
        ------
        ValueError
            Negative, or the range leaves the mapping.
        PermissionError
            The mapping is read-only.
        FaultError
            A fault ended in SIGBUS: beyond the end of file, device full
            (ENOSPC) or dead; ``.nbytes`` were stored before.

        Notes
        -----
        GIL released; waits for the thaw of a frozen file.
        Source: ``dax_iomap_fault`` in fs/dax.c (v4.14).
        """
        cdef uint64_t start, done = 0
        cdef dax_fault_info info
        cdef Py_buffer view
        cdef dax_vma *vma = NULL
        cdef ssize_t ret

        self._ensure_open()
        start = _unsigned(offset, "offset")
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self._check_bytes(start, view.len)
            vma = self._hold()
            while done < <uint64_t>view.len:
                with nogil:
                    memset(&info, 0, sizeof(info))
                    ret = dax_vma_write(vma, <char *>view.buf + done,
                                        min(<uint64_t>view.len - done,
                                            <uint64_t>CHUNK_BYTES),
                                        start + done, &info)
                if _interrupted(ret):
                    continue
                self._check_fault(ret, &info, done)
                done += ret
            return done
        finally:
            PyBuffer_Release(&view)
            if vma is not NULL:
                with nogil:
                    dax_vma_put(vma)

    cdef int _check_fault(
            self, int64_t ret, const dax_fault_info *info, uint64_t done) except -1:
        """Raise what a loop of faults returned; look at signals if it may go on."""
        if ret < 0:
            check(ret, self.file.device.path, _fault_tuple(info), done)
        if _failures:
            _raise_failure()
        PyErr_CheckSignals()
        return 0

    def fault(self, pgoff, write=False):
        """Take one page fault.

        Parameters
        ----------
        pgoff : int
            Page of the file, inside the mapping.
        write : bool
            A store instead of a load.

        Returns
        -------
        FaultResult
            Also for faults that fail: SIGBUS, OOM and FALLBACK are flags.  What
            a :class:`BlockMap` raised is raised.

        Raises
        ------
        ValueError
            `pgoff` outside the mapping.
        PermissionError
            The mapping does not allow it.

        Notes
        -----
        GIL released.  One pass through the fault path, even if the page is
        mapped already; ``pages="auto"`` adds the 4 KiB fault after a 2 MiB
        one that fell back.
        Source: ``dax_iomap_fault`` in fs/dax.c (v4.14).

        Examples
        --------
        >>> import daxcore
        >>> with daxcore.Device.memory(1 << 20) as dev:
        ...     with dev.create_file(4096) as file, file.mmap() as m:
        ...         m.fault(0)
        <FaultResult.NOPAGE: 256>
        """
        cdef uint64_t index
        cdef int c_write = bool(write)
        cdef dax_vma *vma
        cdef int ret

        self._ensure_open()
        index = _unsigned(pgoff, "pgoff")
        self._check_pages(index, 1)
        vma = self._hold()
        try:
            while True:
                with nogil:
                    ret = dax_vma_fault(vma, index, c_write, NULL)
                if not _interrupted(ret):
                    break
            return _fault_result(check(ret, self.file.device.path))
        finally:
            with nogil:
                dax_vma_put(vma)

    def fault_range(self, pgoff, npages, write=False, latencies=False):
        """Touch pages one after the other, in a loop of the library.

        A touch is the look-up and the fault of a load or store, without its
        bytes.  A page that is mapped already (writable, if `write`) takes no
        fault.

        Parameters
        ----------
        pgoff : int
            First page of the file, inside the mapping.
        npages : int
            Pages.
        write : bool
            Stores instead of loads.
        latencies : bool
            Measure each fault.

        Returns
        -------
        int, or ndarray uint64 of shape (faults,)
            Faults taken; with `latencies` the nanoseconds of each.

        Raises
        ------
        ValueError
            The range leaves the mapping.
        FaultError
            A fault ended in SIGBUS (or in FALLBACK with ``pages="pmd"``);
            ``.nbytes`` is 0 or a multiple of 2**20: pages surely done.

        Notes
        -----
        GIL released; Ctrl-C is seen every 2**20 pages, and while a store waits
        for a thaw.  Faults before a signal in such a wait are not counted.
        Source: ``dax_iomap_fault`` in fs/dax.c (v4.14), once for each fault.
        """
        cdef uint64_t first, count

        self._ensure_open()
        first = _unsigned(pgoff, "pgoff")
        count = _unsigned(npages, "npages")
        self._check_pages(first, count)
        return self._touch(first, NULL, count, write, latencies)

    def fault_many(self, pgoffs, write=False, latencies=False):
        """Touch the pages listed, in that order, in a loop of the library.

        Parameters
        ----------
        pgoffs : array-like of int
            Pages of the file, inside the mapping.
        write, latencies : bool
            As in :meth:`fault_range`.

        Returns
        -------
        int, or ndarray uint64 of shape (faults,)
            As :meth:`fault_range`.

        Raises
        ------
        TypeError
            `pgoffs` holds something else than integers.
        ValueError
            A page is negative or outside the mapping; nothing was touched.
        FaultError
            As :meth:`fault_range`.

        Notes
        -----
        GIL released; Ctrl-C is seen every 2**20 pages, and while a store waits
        for a thaw.  Faults before a signal in such a wait are not counted.
        Source: ``dax_iomap_fault`` in fs/dax.c (v4.14), once for each fault.
        """
        cdef Py_buffer view

        self._ensure_open()
        array = _page_array(pgoffs)
        if array.size == 0:
            return self._touch(self._first, NULL, 0, write, latencies)
        self._check_pages(array.min(), 1)
        self._check_pages(array.max(), 1)
        PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
        try:
            return self._touch(
                0, <const uint64_t *>view.buf, array.size, write, latencies)
        finally:
            PyBuffer_Release(&view)

    cdef object _touch(self, uint64_t pgoff, const uint64_t *pgoffs,
                       uint64_t npages, bint write, bint latencies):
        """Touch pages `pgoff` and following, or those of `pgoffs` if not NULL."""
        cdef Py_buffer view
        cdef object room = _latency_room(npages, write) if latencies else None

        if room is None:
            return self._touch_loop(pgoff, pgoffs, npages, write, NULL, 0)
        PyObject_GetBuffer(room, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        try:
            faults = self._touch_loop(
                pgoff, pgoffs, npages, write, <uint64_t *>view.buf, room.size)
        finally:
            PyBuffer_Release(&view)
        room.resize(min(faults, room.size), refcheck=False)
        return room

    cdef int64_t _touch_loop(
            self, uint64_t pgoff, const uint64_t *pgoffs, uint64_t npages,
            bint write, uint64_t *latencies, size_t room) except -1:
        """Return the number of faults taken."""
        cdef dax_vma *vma = self._hold()
        cdef uint64_t chunk, done = 0
        cdef size_t used
        cdef int64_t ret, faults = 0
        cdef dax_fault_info info

        memset(&info, 0, sizeof(info))
        try:
            while done < npages:
                chunk = min(npages - done, <uint64_t>CHUNK_PAGES)
                used = min(<size_t>faults, room)
                with nogil:
                    if pgoffs is NULL:
                        ret = dax_vma_fault_range(
                            vma, pgoff + done, chunk, write,
                            latencies + used if room else NULL, room - used, &info)
                    else:
                        ret = dax_vma_fault_many(
                            vma, pgoffs + done, chunk, write,
                            latencies + used if room else NULL, room - used, &info)
                if _interrupted(ret):
                    continue
                self._check_fault(ret, &info, done)
                faults += ret
                done += chunk
            return faults
        finally:
            with nogil:
                dax_vma_put(vma)

    def dontneed(self, offset=0, length=None):
        """Drop page-table leaves of a range, private copies included.

        The file and its entries stay; the next access faults again.

        Parameters
        ----------
        offset : int
            Bytes from the start of the mapping; multiple of 4096.
        length : int, optional
            Bytes; default is up to the end of the mapping.

        Raises
        ------
        ValueError
            `offset` not aligned, or the range leaves the mapping.

        Notes
        -----
        GIL released.
        Source: ``madvise_dontneed_single_vma`` in mm/madvise.c (v4.14).
        """
        cdef uint64_t start, nbytes = 0
        cdef dax_vma *vma
        cdef int ret

        self._ensure_open()
        start = _aligned(offset, "offset")
        if length is not None:
            nbytes = _unsigned(length, "length")
        elif start < self.length:
            nbytes = self.length - start
        self._check_bytes(start, nbytes)
        vma = self._hold()
        try:
            with nogil:
                ret = dax_vma_dontneed(vma, start, nbytes)
            check(ret, self.file.device.path)
        finally:
            with nogil:
                dax_vma_put(vma)

    def pagemap(self, pgoff=None, npages=None):
        """Return the frame that each page shows, as /proc/self/pagemap does.

        Parameters
        ----------
        pgoff : int, optional
            First page of the file; default is the mapping's first.
        npages : int, optional
            Pages; default is up to the end of the mapping.

        Returns
        -------
        ndarray uint64 of shape (npages,)
            Frame numbers, 0 where nothing is mapped.  Frames of private
            copies and of page-cache pages have bit 51 set.

        Raises
        ------
        ValueError
            The range leaves the mapping.

        Notes
        -----
        GIL released.
        Source: ``pagemap_read`` in fs/proc/task_mmu.c (v4.14).
        """
        cdef uint64_t first, count
        cdef dax_vma *vma
        cdef Py_buffer view
        cdef int ret

        self._ensure_open()
        first = self._first if pgoff is None else _unsigned(pgoff, "pgoff")
        self._check_pages(first, 0)
        count = self._first + self._nr_pages - first
        if npages is not None:
            count = _unsigned(npages, "npages")
        self._check_pages(first, count)
        pfns = _uint64_array(count)
        vma = self._hold()
        try:
            PyObject_GetBuffer(pfns, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
            try:
                with nogil:
                    ret = dax_vma_pagemap(vma, first, <uint64_t *>view.buf, count)
                check(ret, self.file.device.path)
            finally:
                PyBuffer_Release(&view)
            return pfns
        finally:
            with nogil:
                dax_vma_put(vma)

    def populate(self, offset=0, length=None, write=False):
        """Map pages beforehand, so that touching them is no fault any more.

        Parameters
        ----------
        offset : int
            Bytes from the start of the mapping.
        length : int, optional
            Bytes; default is up to the end of the mapping.
        write : bool
            For stores: holes get blocks.

        Raises
        ------
        ValueError
            Negative, or the range leaves the mapping.
        PermissionError
            `write`, and the mapping is read-only.
        FaultError
            Beyond the end of file, device full (ENOSPC) or dead, no memory.

        Notes
        -----
        GIL released; Ctrl-C is seen every 2**20 pages.
        Source: ``MADV_POPULATE_READ`` and ``_WRITE`` of madvise(2).
        """
        cdef uint64_t start, nbytes, first

        self._ensure_open()
        start = _unsigned(offset, "offset")
        self._check_bytes(start, 0)
        nbytes = self.length - start
        if length is not None:
            nbytes = _unsigned(length, "length")
        self._check_bytes(start, nbytes)
        if nbytes == 0:
            return
        first = start // DAX_PAGE_SIZE
        self._touch(self._first + first, NULL,
                    (start + nbytes - 1) // DAX_PAGE_SIZE - first + 1, write, False)

    def flush(self):
        """Make durable what was stored, in all of the file: :meth:`File.fsync`.

        Raises
        ------
        OSError
            As :meth:`File.fsync`.

        Notes
        -----
        Does nothing for a private mapping.  GIL released.
        Source: msync(2) with ``MS_SYNC``.
        """
        self._ensure_open()
        if self.shared:
            self.file.fsync()

    def memory(self):
        """Return what is mapped, in bytes by kind.

        Returns
        -------
        dict of str to int
            ``zero_bytes``: holes that show the common zero page.
            ``data_bytes``: blocks of the file; as much of it is in memory as
            the page cache holds, on persistent memory nothing.
            ``copy_bytes``: private copies.
            ``cpu_page_table_bytes``: the CPU's page tables for all of these, at
            most; 0 if the mapping is soft.

        Notes
        -----
        GIL released.  What nobody has touched counts nowhere.
        """
        cdef dax_memory_info info
        cdef dax_vma *vma = self._hold()
        cdef int ret

        try:
            with nogil:
                ret = dax_vma_memory(vma, &info)
            check(ret, self.file.device.path)
        finally:
            with nogil:
                dax_vma_put(vma)
        return {
            "zero_bytes": info.zero_bytes,
            "data_bytes": info.data_bytes,
            "copy_bytes": info.copy_bytes,
            "cpu_page_table_bytes": info.page_table_bytes,
        }

    def _give_to_array(self):
        """Belong to an array: go, and let the file go, with the array.

        An ndarray over a buffer does not hold it open, so that nobody else may
        close the mapping.
        """
        self._ensure_open()
        self._of_array = True

    def ndarray(self, dtype=float, shape=None, offset=0, order="C"):
        """Return an array over the memory of a real mapping.

        Parameters
        ----------
        dtype : data-type
            Without objects in it.
        shape : int or tuple of int, optional
            Default is one dimension, as long as whole items fit.
        offset : int
            Bytes from the start of the mapping.
        order : {"C", "F"}
            Row-major or column-major.

        Returns
        -------
        ndarray
            Read-only if the mapping is.  The mapping cannot be closed as long
            as it or a view of it is there.

        Raises
        ------
        ValueError
            `shape` and `dtype` need more bytes than there are; objects in `dtype`.
        BufferError
            The mapping is soft.

        Notes
        -----
        No page is touched.  A fault that an access takes later is served without
        the GIL, which the thread that touches may hold.
        """
        import numpy as np

        dtype = np.dtype(dtype)
        if dtype.hasobject:
            raise ValueError(f"dtype must be without objects, is {dtype}")
        if shape is None:
            if dtype.itemsize == 0:
                raise ValueError("shape is needed for a dtype of 0 bytes")
            shape = (self.length - _unsigned(offset, "offset")) // dtype.itemsize
        # numpy holds the buffer of frombuffer(), but not of what ndarray() is given.
        whole = np.frombuffer(self, np.uint8)
        return np.ndarray(shape, dtype, whole, offset, order=order)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        cdef bint readonly = self.access == "r"

        self._ensure_open()
        if dax_vma_address(self._vma) is NULL:
            raise BufferError(
                "a soft mapping has no address: use read() and write(), or map the "
                "file with backend='real'"
            )
        PyBuffer_FillInfo(buffer, self, dax_vma_address(self._vma), self.length,
                          readonly, flags)
        self._nr_exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self._nr_exports -= 1

    def __len__(self):
        return self.length

    @property
    def address(self):
        """Address of the first byte of a real mapping, None if it is soft."""
        self._ensure_open()
        if dax_vma_address(self._vma) is NULL:
            return None
        return <uintptr_t>dax_vma_address(self._vma)

    @property
    def dirty_tracking(self):
        """How it is found out what the CPU stored to, for `flush` and `File.fsync`.

        ``"wp-async"`` (Linux 6.7) and ``"write-protect"`` (5.19, a device in memory
        or on tmpfs) know it by page; with the latter a system call that stores to
        a block after it was flushed may get EFAULT if `delivery` is "signal".
        ``"conservative"`` takes all blocks that are mapped for stored to.  None if
        the mapping is soft, read-only or private.
        """
        cdef const char *name

        self._ensure_open()
        name = dax_vma_dirty_tracking(self._vma)
        return None if name is NULL else name.decode()

    def close(self):
        """Unmap; closing twice is closing once.

        Raises
        ------
        BufferError
            Somebody holds a buffer of it: an array, a memoryview.

        Notes
        -----
        GIL released; waits for faults on their way.
        Source: munmap(2).
        """
        if self._of_array:
            raise BufferError(
                "the mapping belongs to a memmap and goes with the last array of it"
            )
        if self._nr_exports:
            raise BufferError(
                f"the mapping cannot be closed: {self._nr_exports} buffers of it "
                "(arrays, memoryviews) are held"
            )
        self._drop()

    @property
    def closed(self):
        """True once closed."""
        return self._vma is NULL

    @property
    def c_address(self):
        """Address of the ``struct dax_vma``, as int."""
        self._ensure_open()
        return <uintptr_t>self._vma

    def __enter__(self):
        self._ensure_open()
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        self.close()

    def __repr__(self):
        if self._vma is NULL:
            return "<daxcore.Mmap closed>"
        sharing = "shared" if self.shared else "private"
        return (
            f"<daxcore.Mmap offset={self.offset} length={self.length} "
            f"access={self.access!r} {sharing} backend={self.backend!r} "
            f"pages={self.pages!r}>"
        )

    def __reduce__(self):
        raise _unpicklable(self, "open its device, make the file and map it")

    def __dealloc__(self):
        try:
            if self._vma is not NULL and not self._of_array and self._pid == getpid():
                _warn_unclosed(repr(self))
        finally:
            self._drop()
            if self._of_array:
                self.file._drop()


cdef object _uint64_array(uint64_t count):
    import numpy as np

    try:
        return np.empty(count, dtype=np.uint64)
    except ValueError:  # numpy's word for more than an address space
        raise MemoryError(f"no memory for {count} numbers of 8 bytes") from None


cdef object _latency_room(uint64_t npages, bint write):
    """Room for the faults of a range: a store may take two per page."""
    return _uint64_array(2 * npages if write else npages)


cdef object _page_array(object pgoffs):
    """Convert an array-like of integers to a flat array of uint64."""
    import numpy as np

    array = np.asarray(pgoffs)
    if array.dtype.kind == "O":
        array = np.array([_unsigned(n, "pgoffs") for n in array.flat], dtype=np.uint64)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"pgoffs must be integers, not {array.dtype}")
    if array.size and array.dtype.kind == "i" and array.min() < 0:
        raise ValueError(f"pgoffs must not be negative, holds {array.min()}")
    return np.ascontiguousarray(array, dtype=np.uint64).reshape(-1)


# ---- trace events --------------------------------------------------------


cdef Trace _new_trace(File file, object events):
    cdef Trace self = Trace.__new__(Trace)

    self._nr_events = _bounded(events, "events", MAX_TRACE_EVENTS)
    if self._nr_events == 0:
        raise ValueError("events must be greater than 0, is 0")
    self._file = file
    return self


def trace(events=65536):
    """Record the trace events of all files while a ``with`` block runs.

    Parameters
    ----------
    events : int
        As in :meth:`File.trace`.

    Returns
    -------
    Trace

    Notes
    -----
    Files made within the block are traced too.
    """
    return _new_trace(None, events)


cdef class Trace:
    """The fs_dax trace events of one file or of all, as the kernel has them.

    Made by :meth:`File.trace` or :func:`daxcore.trace`; a context manager that
    records from its beginning to its end, once.  Events may be looked at
    within the block and after it, also when the file is closed.  A forked
    child has none of its parent's events.
    """

    def __init__(self):
        raise TypeError("use File.trace() or daxcore.trace()")

    def __cinit__(self):
        self._chunks = []
        self._threads = {}

    def __enter__(self):
        cdef dax_mapping *mapping = NULL
        cdef dax_trace *trace = NULL
        cdef int ret

        with self._locked():
            if self._started:
                raise ValueError("Trace was started already; make another")
            if self._nr_events == 0:  # made by Trace.__new__()
                raise ValueError("use File.trace() or daxcore.trace()")
            if self._file is not None:
                mapping = self._file._hold()
            try:
                with nogil:
                    ret = dax_trace_start(&trace, mapping, self._nr_events)
                check(ret)
            finally:
                if mapping is not NULL:
                    with nogil:
                        dax_mapping_put(mapping)
            self._trace = trace
            self._started = True
            self._pid = getpid()
            self._file = None
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        with self._locked():
            self._stop()

    cdef object _locked(self):
        """The lock; a handler of this thread may hold it already.

        In a child of fork() it is a new one: who held the other is not there.
        """
        if self._lock_pid != getpid():
            self._lock = RLock()
            self._lock_pid = getpid()
        return self._lock

    cdef int _collect(self) except -1:
        """Take what was recorded since the last call.  Lock held."""
        cdef dax_trace *trace = self._trace
        cdef size_t rows = 512
        cdef int64_t nr = rows
        cdef dax_trace_event *buf

        if trace is NULL or self._pid != getpid():
            return 0
        while <size_t>nr == rows:
            rows = min(2 * rows, <size_t>MAX_ROWS)
            chunk = bytearray(rows * sizeof(dax_trace_event))
            buf = <dax_trace_event *>PyByteArray_AsString(chunk)
            with nogil:
                nr = dax_trace_read(trace, buf, rows)
            check(nr)
            self._chunks.append(chunk[: nr * sizeof(dax_trace_event)])
        self._lost = dax_trace_lost(trace)
        return 0

    cdef object _merge(self):
        """Take what there is; all of it as one table.  Lock held."""
        self._collect()
        self._chunks[:] = [bytearray().join(self._chunks)]
        table = _table(self._chunks, _TRACE_COLUMNS)
        for thread in set(table["thread"].tolist()) - self._threads.keys():
            self._threads[thread] = _comm(thread)
        return table

    cdef int _stop(self) except -1:
        """Record no more, and take the rest.  Lock held."""
        cdef dax_trace *trace = self._trace

        if trace is NULL:
            return 0
        try:
            with nogil:
                dax_trace_stop(trace)
            if self._pid == getpid():
                self._merge()
            else:
                self._chunks.clear()
        finally:
            self._trace = NULL
            with nogil:
                dax_trace_free(trace)
        return 0

    def events(self):
        """Return the events recorded so far.

        Returns
        -------
        ndarray, structured, shape (events,)
            In order of time, with columns

            ======================= ===========================================
            ``time`` u8             nanoseconds of CLOCK_MONOTONIC
            ``ino`` u8              :attr:`File.ino`
            ``address`` u8          of the page, in the mapping
            ``vm_start``,           ``dax_pmd_fault`` and ``_done``: the
            ``vm_end`` u8           mapping
            ``pgoff`` u8            page of the file; writeback: the first
            ``max_pgoff`` u8        ``dax_pmd_fault`` and ``_done``: pages of
                                    the file; ``dax_writeback_range`` and
                                    ``_done``: the last page
            ``radix_entry`` u8      word inserted into the tree
            ``pfn`` u8              frame inserted
            ``nr_pages`` u4         pages inserted, or written back
            ``thread`` u4           gettid(2)
            ``result`` u4           :class:`FaultResult`
            ``error`` i4            -errno behind SIGBUS or OOM
            ``event`` u2            :class:`TraceEvent`
            ``cpu`` u2
            ``reason`` u2           why a 2 MiB fault fell back, as counted in
                                    :meth:`File.stats`
            ``write``, ``shared`` ? the access, the mapping
            ======================= ===========================================

            What an event does not have is 0.

        Notes
        -----
        GIL released.  Threads that record are not held up.
        Source: include/trace/events/fs_dax.h (v4.14).
        """
        with self._locked():
            table = self._merge()
        return table[table["time"].argsort(kind="stable")]

    @property
    def threads(self):
        """Names of the threads in the events so far: a dict by gettid(2).

        A thread that ended while it was traced has the process's name.
        """
        with self._locked():
            self._merge()
            return dict(self._threads)

    @property
    def lost(self):
        """Events overwritten before they were read, or that found no memory.

        When several traces run, those of all the files traced.
        """
        with self._locked():
            self._collect()
        return self._lost

    def text(self):
        """Return the events as lines of text in the form of ftrace.

        Returns
        -------
        str
            A header of lines that begin with ``#``, then one line per event,
            in order of time: thread, CPU, seconds, name, and the arguments as
            the kernel prints them.
        """
        from ._trace import text

        return text(self.events(), self.threads, self.lost)

    def chrome(self):
        """Return the events as chrome://tracing and Perfetto read them.

        Returns
        -------
        dict
            To be written with :func:`json.dump`.  A fault and its ``_done``
            are one slice, all others are instants.
        """
        from ._trace import chrome

        return chrome(self.events(), self.threads, self.lost)

    def __repr__(self):
        state = "new" if not self._started else "ended"
        if self._trace is not NULL:
            state = "running"
        return f"<daxcore.Trace {state}>"

    def __reduce__(self):
        raise _unpicklable(self, "pickle its events()")

    def __dealloc__(self):
        with nogil:
            dax_trace_free(self._trace)


cdef object _comm(object thread):
    """Name of a thread; of the process, if the thread has ended."""
    for path in (f"/proc/self/task/{thread}/comm", "/proc/self/comm"):
        try:
            with io.open(path, encoding="utf-8", errors="replace") as file:
                return file.read().rstrip("\n")
        except OSError:
            pass
    return "?"
