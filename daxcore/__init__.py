# SPDX-License-Identifier: BSD-3-Clause
"""daxcore: a userspace DAX engine.

A sparse file is opened by name (:func:`open`), other files are made on a device
(:class:`Device`); a :class:`File` is mapped (:class:`Mmap`) and page-faulted by
the code paths of Linux fs/dax.c, in C.  :class:`memmap` is an array in a sparse
file, as numpy.memmap is in any.  :mod:`daxcore.testing` is for power
losses, :mod:`daxcore.capi` for the C calls.  Numpy, click and rich are imported
when they are needed and not before.
"""

import importlib
import os

from ._core import (
    PAGE_SIZE,
    PMD_SIZE,
    BlockMap,
    CBlockMap,
    Device,
    EntryLock,
    ExtentTable,
    FaultResult,
    File,
    IomapFlag,
    IomapType,
    Mmap,
    Pin,
    Trace,
    TraceEvent,
    open,
    trace,
    version,
)
from ._errors import (
    DaxError,
    EntryLockedError,
    FaultError,
    ForkError,
    NotSupportedError,
    PoisonError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._memmap import memmap

__all__ = [
    "PAGE_SIZE",
    "PMD_SIZE",
    "BlockMap",
    "CBlockMap",
    "DaxError",
    "Device",
    "EntryLock",
    "EntryLockedError",
    "ExtentTable",
    "FaultError",
    "FaultResult",
    "File",
    "ForkError",
    "IomapFlag",
    "IomapType",
    "Mmap",
    "NotSupportedError",
    "Pin",
    "PoisonError",
    "Trace",
    "TraceEvent",
    "__version__",
    "get_include",
    "get_library_dir",
    "memmap",
    "open",
    "trace",
]

__version__ = version()

_SUBMODULES = frozenset({"bench", "capi", "cli", "testing"})


def get_include():
    """Return the directory of daxcore.h, for ``cc -I``."""
    return os.path.join(os.path.dirname(__file__), "include")


def get_library_dir():
    """Return the directory of libdaxcore.so.0, for the linker and an rpath."""
    return os.path.join(os.path.dirname(__file__), "lib")


def __getattr__(name):
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "memmap":
        return importlib.import_module(f"{__name__}._memmap").memmap
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(set(globals()) | _SUBMODULES | {"memmap"})


if os.environ.get("DAXCORE_TRACE"):  # set by `daxcore trace`
    from ._trace import trace_until_exit

    trace_until_exit(os.environ["DAXCORE_TRACE"])
