# SPDX-License-Identifier: BSD-3-Clause
"""What is done to a fresh sparse file, and which part of it is timed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """Untimed preparation, then one timed access of every page.

    ``prepare`` names the accesses made before the clock starts, in order:
    ``read`` touches every page, ``forget`` drops the mappings of memory but
    keeps what the file has cached (madvise MADV_DONTNEED).
    """

    name: str
    noun: str  # for the line of conclusion
    write: bool  # the timed access is a store
    prepare: tuple = ()

    @property
    def allocates(self):
        """Whether blocks of the device are needed for all pages."""
        return self.write


SCENARIOS = {
    s.name: s
    for s in (
        Scenario("hole-read", "hole reads", write=False),
        Scenario("first-write", "first writes", write=True),
        Scenario(
            "read-then-write",
            "writes to holes read before",
            write=True,
            prepare=("read",),
        ),
        Scenario("re-read", "second hole reads", write=False, prepare=("read",)),
        Scenario(
            "refault", "hole reads again", write=False, prepare=("read", "forget")
        ),
    )
}
