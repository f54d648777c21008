# SPDX-License-Identifier: BSD-3-Clause
"""The inside of the library, of a process that was started with the test one.

``make -C csrc model-lib`` builds a libdaxcore.so.0 with the test hooks and
tests/c/model_lib.c; with ``LD_PRELOAD`` it takes the place of the real one for
the whole process, so that what Device, File and Mmap work on is what is checked
here.
"""

import ctypes
import re
from ctypes import c_char_p, c_int, c_uint, c_uint64, c_void_p
from pathlib import Path


class Place(ctypes.Structure):
    """struct model_place: what an iterator of the tree says."""

    _fields_ = [("index", c_uint64), ("order", c_uint64), ("entry", c_uint64)]


PLACE = ctypes.POINTER(Place)
CALLS = {
    "report": (c_char_p, []),
    "check": (c_int, [c_void_p]),
    "check_after_fsync": (c_int, [c_void_p, c_uint64, c_uint64]),
    "check_owners": (c_int, [c_void_p, c_void_p, c_uint]),
    "tree_shift": (c_uint, []),
    "fail_nth": (None, [c_uint]),
    "fail_clear": (c_int, []),
    "tree_new": (c_void_p, [c_uint64]),
    "tree_free": (None, [c_void_p]),
    "tree_check": (c_int, [c_void_p, c_int]),
    "tree_insert": (c_int, [c_void_p, c_uint64, c_uint, c_uint64, PLACE]),
    "tree_walk": (c_int, [c_void_p, c_uint64, c_uint, PLACE]),
    "tree_lookup": (c_uint64, [c_void_p, c_uint64]),
    "tree_next": (c_int, [c_void_p, c_uint64, c_uint64, c_int, PLACE]),
    "tree_store": (None, [c_void_p, c_uint64, c_uint64]),
    "tree_split": (c_int, [c_void_p, c_uint64, c_uint64, PLACE]),
    "tree_set_tag": (None, [c_void_p, c_uint64, c_int, c_int]),
    "tree_get_tag": (c_int, [c_void_p, c_uint64, c_int]),
    "tree_tagged": (c_int, [c_void_p, c_int]),
    "tree_extend": (c_int, [c_void_p, c_uint64]),
    "tree_maxindex": (c_uint64, [c_void_p]),
    "tree_nodes": (c_uint64, [c_void_p]),
    "tree_delete_range": (c_uint64, [c_void_p, c_uint64, c_uint64, c_uint64]),
    "tree_prune": (None, [c_void_p]),
    "tree_split_range": (c_int, [c_void_p, c_uint64, c_uint64, c_uint64, c_int]),
    "tree_gang": (
        c_uint,
        [c_void_p, c_uint64, c_uint64, c_int, c_int, c_void_p, c_uint],
    ),
}


def loaded_files():
    """Paths of every libdaxcore in this process."""
    maps = Path("/proc/self/maps").read_text()
    return set(re.findall(r"/\S*libdaxcore\S*", maps))


class Library:
    """The calls of model_lib.c, by their names without ``model_``."""

    def __init__(self):
        import daxcore  # noqa: F401  so that a second copy would be seen

        files = loaded_files()
        assert len(files) == 1, f"one library, not {files}"
        dll = ctypes.CDLL(files.pop())
        for name, (result, arguments) in CALLS.items():
            call = getattr(dll, f"model_{name}")
            call.restype, call.argtypes = result, arguments
            setattr(self, name, call)

    def holds(self, bad):
        """Fail with the checker's words if it found that `bad` checks do not hold."""
        assert not bad, self.report().decode()


LIBRARY = Library()
