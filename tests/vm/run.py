# SPDX-License-Identifier: BSD-3-Clause
"""The kernel as referee: `make test-vm`; docs/testing.md says what is compared."""

import argparse
import collections
import re
import sys
import tempfile
import time

import compare
import generate
import vm
from engine import Engine

import daxcore

FILE_SYSTEMS = ("ext4", "xfs")
SEQUENCES = vm.HERE / "sequences.txt"


def real_works():
    try:
        with daxcore.Device.memory(4096) as device, device.create_file(4096) as file:
            file.mmap(backend="real").close()
    except OSError as error:
        print(f"# no real mappings here: {error}")
        return False
    return True


class Referee:
    """Runs sequences in the VM and on the engine, and says what differs."""

    def __init__(self, machine, real):
        self.machine = machine
        self.real = real
        self.used = collections.Counter()
        self.failed = 0

    def differences(self, file_system, lines):
        kernel = compare.run_in_vm(self.machine, file_system, lines)
        found = compare.compare(
            file_system, lines, kernel, Engine().run(lines), self.used
        )
        if self.real and not any("sync" in line.split() for line in lines):
            steps = Engine("real").run(lines)
            differs = compare.compare_results(lines, kernel, steps)
            found += [f"real mappings: {line}" for line in differs]
        return found

    def check(self, name, lines, shrinks=False):
        for file_system in FILE_SYSTEMS:
            found = self.differences(file_system, lines)
            if not found:
                continue
            if shrinks:
                lines = generate.shrink(
                    lines, lambda fewer, fs=file_system: self.differences(fs, fewer)
                )
                found = self.differences(file_system, lines)
            self.failed += 1
            print(f"not ok {name} on {file_system}", *lines, "--", *found, sep="\n  ")
            return


def greeting_failures(greeting):
    """Return what is wrong in what the guest said before the first sequence."""
    bad = [line for line in greeting if line.startswith(("not ok", "VM:"))]
    for file_system in FILE_SYSTEMS:
        mounted = rf"/dev/{file_system} /{file_system} \w+ .*dax=always"
        if not any(re.match(mounted, line) for line in greeting):
            bad.append(f"{file_system} is not mounted with dax")
    if sum(line.startswith("1..") for line in greeting) != 2:
        bad.append("devdax did not run on two nodes")
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=150, help="random sequences")
    parser.add_argument("--seed", type=int, default=1, help="of the first of them")
    parser.add_argument("--only", help="a part of the name of a sequence")
    arguments = parser.parse_args()
    try:
        vm.install_packages()
    except vm.VMError as error:
        sys.exit(str(error))
    begin = time.monotonic()
    sequences = compare.read_sequences(SEQUENCES)
    if arguments.only:
        sequences = {n: s for n, s in sequences.items() if arguments.only in n}
    with tempfile.TemporaryDirectory() as directory, vm.VM(directory) as machine:
        print(*machine.greeting, sep="\n")
        print(f"# the VM is there after {time.monotonic() - begin:.0f} s")
        referee = Referee(machine, real_works())
        for name, lines in sequences.items():
            referee.check(name, lines)
        unused = [name for name in compare.ALLOWED if not referee.used[name]]
        for seed in range(arguments.seed, arguments.seed + arguments.random):
            lines = generate.Generator(seed).sequence()
            referee.check(f"random {seed}", lines, shrinks=True)
        bad = greeting_failures(machine.greeting) + machine.complaints()
    if unused and not arguments.only:
        bad.append(f"allowed differences that no sequence has: {unused}")
    print(*bad, sep="\n")
    print(
        f"# {len(sequences)} sequences, {arguments.random} random ones, on "
        f"{len(FILE_SYSTEMS)} file systems: {referee.failed} differ; "
        f"{time.monotonic() - begin:.0f} s"
    )
    sys.exit(bool(referee.failed or bad))


if __name__ == "__main__":
    main()
