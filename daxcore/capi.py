# SPDX-License-Identifier: BSD-3-Clause
"""The C calls through cffi: ``lib.dax_*``, on the same objects.

>>> import daxcore
>>> from daxcore import capi
>>> with daxcore.Device.memory(8192) as dev:
...     capi.lib.dax_device_size(capi.from_object(dev))
8192

Errors are ``-errno`` as in C; :func:`check` raises what the methods raise.
"""

from . import _errors
from ._capi import ffi, lib
from ._core import Device, File, Mmap

__all__ = ["check", "ffi", "from_object", "lib"]

_DOORS = (
    (Device, "struct dax_device *", lib.dax_device_get, lib.dax_device_put),
    (File, "struct dax_mapping *", lib.dax_mapping_get, lib.dax_mapping_put),
    (Mmap, "struct dax_vma *", lib.dax_vma_get, lib.dax_vma_put),
)


class _Put:
    """Drop a reference; keeps the object, whose block map the put may call."""

    def __init__(self, put, obj):
        self._put = put
        self._obj = obj

    def __call__(self, pointer):
        self._put(pointer)


def from_object(obj):
    """Return the C pointer of a Device, File or Mmap.

    Parameters
    ----------
    obj : Device, File or Mmap
        Open.

    Returns
    -------
    cdata
        ``struct dax_device *``, ``struct dax_mapping *`` or
        ``struct dax_vma *``.  It holds a reference of its own, dropped when
        the cdata goes away: `obj` may be closed, the C object stays.

    Raises
    ------
    ValueError
        `obj` is closed.
    """
    for kind, ctype, get, put in _DOORS:
        if isinstance(obj, kind):
            pointer = ffi.cast(ctype, obj.c_address)
            get(pointer)
            return ffi.gc(pointer, _Put(put, obj))
    raise TypeError(f"need a Device, File or Mmap, not {type(obj).__name__}")


def check(ret, info=None):
    """Return `ret` if it is not negative, else raise what it stands for.

    Parameters
    ----------
    ret : int
        What a call of `lib` returned, in this thread, just before.
    info : cdata ``struct dax_fault_info *``, optional
        Details of a fault, for :class:`daxcore.FaultError`.
    """
    fault = info and (info.fault, info.error, info.reason, info.offset)
    return _errors.check(ret, fault=fault or None)


def iomap_pointers(iomap):
    """Return the addresses of a block map's ops and private data."""
    pair = iomap if isinstance(iomap, tuple) else (iomap, ffi.NULL)
    ops, private = pair if len(pair) == 2 else (None, None)
    if not (_is_pointer(ops) and ffi.typeof(ops).item.cname == "struct dax_iomap_ops"):
        raise TypeError(
            "iomap must be a struct dax_iomap_ops * of cffi, a tuple of it and a "
            f"pointer, or a capsule, not {type(iomap).__name__}"
        )
    if not ops:
        raise ValueError("iomap must not be NULL")
    if not _is_pointer(private):
        raise TypeError(f"iomap's data must be a pointer, not {type(private).__name__}")
    return int(ffi.cast("uintptr_t", ops)), int(ffi.cast("uintptr_t", private))


def _is_pointer(value):
    return isinstance(value, ffi.CData) and ffi.typeof(value).kind == "pointer"
