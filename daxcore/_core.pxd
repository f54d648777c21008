# _core.pxd -- the extension types, for cimport
#
# A pointer is NULL when the object is closed.  Code that drops the GIL takes
# a reference of its own first (_hold), so that close() in another thread
# cannot free what is in use.

from libc.stdint cimport int64_t, uint32_t, uint64_t

from daxcore.libdaxcore cimport (
    dax_device,
    dax_entry_cookie,
    dax_fault_info,
    dax_iomap_ops,
    dax_loff_t,
    dax_mapping,
    dax_mapping_attr,
    dax_trace,
    dax_pin,
    dax_vma,
)

ctypedef int (*device_fn)(dax_device *) noexcept nogil
ctypedef int (*range_fn)(dax_mapping *, dax_loff_t, uint64_t) noexcept nogil
# Fill `buf` with rows from `at` on, which is moved; how many, 0 at the end.
ctypedef int64_t (*rows_fn)(
    dax_mapping *, uint64_t *at, void *buf, size_t nr) noexcept nogil


cdef class Device:
    cdef object __weakref__
    cdef dax_device *_dev
    cdef int _pid
    cdef int _nr_open  # File, Mmap, Pin and EntryLock objects that hold it
    cdef bint _of_file  # made by open(): goes with the last of those
    cdef readonly object path

    cdef int _ensure_open(self) except -1
    cdef int _call(self, device_fn call) except -1
    cdef unsigned int _nr_files_soon(self) except? 0
    cdef dax_device *_hold(self) except NULL
    cdef int _drop(self) except -1
    cdef int _leave(self) except -1


cdef class File:
    cdef object __weakref__
    cdef dax_mapping *_mapping
    cdef int _pid
    cdef object _iomap
    cdef object _freeze  # the last freeze by this object
    cdef uint32_t _wb_err  # failures of writeback this object has reported
    cdef readonly Device device
    cdef readonly str policy
    cdef readonly object path
    cdef readonly str mode

    cdef int _ensure_open(self) except -1
    cdef int _ensure_writable(self) except -1
    cdef dax_mapping *_hold(self) except NULL
    cdef int _drop(self) except -1
    cdef object _change_blocks(self, range_fn change, object offset, object nbytes)
    cdef object _rows(self, rows_fn next_rows, uint64_t at, uint64_t end, size_t rows,
                      size_t row_bytes, object columns)


cdef class ExtentTable:
    cdef object __weakref__
    cdef object _rows  # ndarray of struct dax_extent
    cdef object _file_ref  # the file it was given to, weak

    cdef File _file(self)
    cdef int _new_file(self, File file, dax_device *dev,
                       const dax_mapping_attr *attr) except -1


cdef class CBlockMap:
    cdef object __weakref__
    cdef dax_iomap_ops _ops
    cdef void *_private
    cdef tuple _kept
    cdef readonly bint calls_python

    cdef int _set(self, dax_mapping_attr *attr) except -1


cdef class BlockMap:
    cdef object __weakref__
    cdef bint _has_end

    cdef int _set(self, dax_mapping_attr *attr) except -1


cdef class Pin:
    cdef object __weakref__
    cdef dax_pin _pin
    cdef int _pid
    cdef Py_ssize_t _exports
    cdef object _thread
    cdef readonly File file
    cdef readonly uint64_t offset
    cdef readonly size_t nbytes
    cdef readonly bint write

    cdef int _unpin(self, bint dirty) except? -1


cdef class EntryLock:
    cdef object __weakref__
    cdef dax_entry_cookie *_cookie  # NULL: not locked
    cdef uint64_t _pgoff
    cdef unsigned int _order
    cdef int _pid
    cdef object _thread
    cdef readonly File file

    cdef int _unlock(self) except -1


cdef class Mmap:
    cdef object __weakref__
    cdef dax_vma *_vma
    cdef int _pid
    cdef uint64_t _first
    cdef uint64_t _nr_pages
    cdef readonly File file
    cdef readonly uint64_t offset
    cdef readonly uint64_t length
    cdef readonly str access
    cdef readonly bint shared
    cdef readonly str backend
    cdef readonly str pages
    cdef readonly bint sync
    cdef readonly str delivery
    cdef Py_ssize_t _nr_exports
    cdef bint _of_array

    cdef int _ensure_open(self) except -1
    cdef dax_vma *_hold(self) except NULL
    cdef int _drop(self) except -1
    cdef int _check_pages(self, uint64_t pgoff, uint64_t npages) except -1
    cdef int _check_bytes(self, uint64_t offset, uint64_t nbytes) except -1
    cdef int _check_fault(
            self, int64_t ret, const dax_fault_info *info, uint64_t done) except -1
    cdef object _touch(self, uint64_t pgoff, const uint64_t *pgoffs,
                       uint64_t npages, bint write, bint latencies)
    cdef int64_t _touch_loop(
            self, uint64_t pgoff, const uint64_t *pgoffs, uint64_t npages,
            bint write, uint64_t *latencies, size_t room) except -1


cdef class Trace:
    cdef object __weakref__
    cdef dax_trace *_trace  # NULL: not started yet, or stopped
    cdef int _pid
    cdef object _lock  # held while the pointer is used
    cdef int _lock_pid
    cdef File _file
    cdef size_t _nr_events
    cdef bint _started
    cdef list _chunks
    cdef uint64_t _lost
    cdef dict _threads

    cdef object _locked(self)
    cdef int _collect(self) except -1
    cdef object _merge(self)
    cdef int _stop(self) except -1
