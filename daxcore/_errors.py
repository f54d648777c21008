# SPDX-License-Identifier: BSD-3-Clause
"""Exceptions, and the one table from -errno to them.

Cython code and users of the cffi door raise through the same :func:`check`.
"""

import errno
import os

__all__ = [
    "DaxError",
    "EntryLockedError",
    "FaultError",
    "ForkError",
    "NotSupportedError",
    "PoisonError",
    "check",
]


class DaxError(OSError):
    """Base of the errors that only a DAX engine has; an OSError with an errno."""


class PoisonError(DaxError):
    """EHWPOISON: the medium has lost bytes.

    Attributes
    ----------
    offset : int or None
        First bad byte, in bytes from the start of the file.
    nbytes : int or None
        Bytes lost, where known.
    """

    offset = None
    nbytes = None


class NotSupportedError(DaxError):
    """EOPNOTSUPP: the device, block map or version cannot do this."""


class EntryLockedError(DaxError, BlockingIOError):
    """EAGAIN: a lock that was asked for without waiting is held."""


class FaultError(DaxError):
    """A page fault that ended in SIGBUS, or in FALLBACK with ``pages="pmd"``.

    Attributes
    ----------
    fault : int
        Bits of :class:`daxcore.FaultResult`.
    offset : int
        Byte of the file at which the faulting page begins.
    reason : str
        Why a 2 MiB fault fell back, ``"none"`` if it did not.
    nbytes : int
        Bytes or pages the call had done before the fault.
    """

    fault = 0
    offset = None
    reason = "none"
    nbytes = 0


class ForkError(DaxError):
    """ESTALE: the object was made before a fork() and belongs to the parent."""


EHWPOISON = getattr(errno, "EHWPOISON", 133)  # named since Python 3.14

_ERROR_BITS = 0x0803  # DAX_VM_FAULT_ERROR: OOM, SIGBUS or FALLBACK

_TABLE = {
    errno.ENOMEM: MemoryError,
    EHWPOISON: PoisonError,
    errno.EOPNOTSUPP: NotSupportedError,
    errno.EAGAIN: EntryLockedError,
    errno.ESTALE: ForkError,
}


def check(ret, filename=None, fault=None, done=0):
    """Return `ret` if it is not negative, else raise what ``-ret`` stands for.

    Parameters
    ----------
    ret : int
        What a call of the library returned.  Call in the same thread and
        before the next call: the message is the thread's last one.
    filename : str, optional
        Named in the exception.
    fault : tuple of int, optional
        (fault, error, reason, offset) of ``struct dax_fault_info``.
    done : int, optional
        Bytes or pages done before the failure.

    Raises
    ------
    MemoryError
        ENOMEM, or a fault that ended in OOM.
    FaultError
        A fault that ended in SIGBUS or FALLBACK, with the errno behind it.
    OSError
        Anything else; the class follows the errno.
    """
    if ret >= 0:
        return ret
    code = -ret
    _raise_block_maps(code)
    text = _message(code)
    if filename is not None:
        text = text.removeprefix(f"{filename}: ")
    if fault is not None and fault[0] & _ERROR_BITS:
        raise _fault_error(code, text, filename, fault, done)
    kind = _TABLE.get(code, OSError)
    if kind is MemoryError:
        raise MemoryError(text)
    raise _with_filename(kind, code, text, filename)


def _raise_block_maps(code):
    """Raise what a Python block map raised, if that is what ended the call."""
    from ._core import take_failure

    failure = take_failure()
    if failure and failure[1] == code:
        raise failure[0]


def _message(code):
    from ._core import errormsg

    return errormsg() or os.strerror(code)


def _with_filename(kind, code, text, filename):
    return kind(code, text, filename) if filename else kind(code, text)


def _fault_error(code, text, filename, fault, done):
    from ._core import FaultResult, fallback_reason_name

    bits, _, reason, offset = fault
    if bits & FaultResult.OOM:
        return MemoryError(f"{text} (page fault at byte {offset})")
    kind = PoisonError if code == EHWPOISON else FaultError
    text = f"{text} (page fault at byte {offset} of the file)"
    error = _with_filename(kind, code, text, filename)
    error.fault = FaultResult(bits)
    error.offset = offset
    error.reason = fallback_reason_name(reason)
    error.nbytes = done
    return error
