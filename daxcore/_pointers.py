# SPDX-License-Identifier: BSD-3-Clause
"""Addresses of C functions and data, from whatever holds one in Python."""

import ctypes

from .capi import ffi

_PYTHON_BEHIND = "CThunkObject"  # what a ctypes callback keeps of its function


def function_address(function, name):
    """Return a function's address, and whether it is known to run Python code."""
    address, python = _function(function)
    if address is None:
        raise TypeError(
            f"{name} must be a C function (a function pointer of cffi or ctypes, a "
            f"numba.cfunc, a capsule or an address), not {type(function).__name__}"
        )
    return _checked(address, name, 1), python


def _function(function):
    if isinstance(function, ctypes._CFuncPtr):
        kept = function._objects or {}
        python = any(type(value).__name__ == _PYTHON_BEHIND for value in kept.values())
        return ctypes.cast(function, ctypes.c_void_p).value or 0, python
    if isinstance(function, ffi.CData):
        if ffi.typeof(function).kind != "function":
            return None, False
        python = " calling " in repr(function)
        return int(ffi.cast("uintptr_t", function)), python
    address = getattr(function, "address", None)  # of a numba.cfunc
    if type(address) is int:
        return address, False
    return _integer_or_capsule(function), False


def data_address(data, name):
    """Return the address of what C functions are to be given; 0 for None."""
    address = 0 if data is None else _data(data)
    if address is None:
        raise TypeError(
            f"{name} must be a pointer, array or struct of cffi or ctypes, a capsule "
            f"or an address, not {type(data).__name__}"
        )
    return _checked(address, name, 0)


def _data(data):
    if isinstance(data, ffi.CData):
        pointer = ffi.typeof(data).kind in ("pointer", "array")
        return int(ffi.cast("uintptr_t", data)) if pointer else None
    if isinstance(data, ctypes.c_void_p):
        return data.value or 0
    if isinstance(data, ctypes._Pointer):
        return ctypes.cast(data, ctypes.c_void_p).value or 0
    if isinstance(data, (ctypes.Array, ctypes.Structure, ctypes.Union)):
        return ctypes.addressof(data)
    return _integer_or_capsule(data)


def _integer_or_capsule(value):
    if type(value) is int:
        return value
    if type(value).__name__ != "PyCapsule":
        return None
    return _capsule_pointer(value)


def _capsule_pointer(capsule):
    void_p, py = ctypes.c_void_p, ctypes.pythonapi
    name = ctypes.PYFUNCTYPE(void_p, ctypes.py_object)(("PyCapsule_GetName", py))
    pointer = ctypes.PYFUNCTYPE(void_p, ctypes.py_object, void_p)(
        ("PyCapsule_GetPointer", py)
    )
    return pointer(capsule, name(capsule)) or 0


def _checked(address, name, least):
    if address < least:
        raise ValueError(f"{name} must not be NULL or negative, is {address}")
    if address >= 1 << 64:
        raise OverflowError(f"{name} must be an address of 64 bits, is {address:#x}")
    return address
