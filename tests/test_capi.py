# SPDX-License-Identifier: BSD-3-Clause
"""Two doors, one library: cffi and Cython see the same objects and symbols."""

import errno
import re
import subprocess
from pathlib import Path

import pytest
from conftest import MIB, PAGE, ROOT, need_program

import daxcore
from daxcore import capi

ffi, lib = capi.ffi, capi.lib


def without_comments(text):
    return re.sub(r"/\*.*?\*/|#[^\n]*", "", text, flags=re.S)


def header():
    names = ("daxcore/types.h", "daxcore.h")
    return "".join(Path(daxcore.get_include(), n).read_text() for n in names)


def test_both_doors_see_the_same_objects(device):
    with device.create_file(MIB) as file, file.mmap(offset=PAGE) as m:
        dev_p, map_p, vma_p = map(capi.from_object, (device, file, m))
        assert lib.dax_device_size(dev_p) == device.size
        assert lib.dax_mapping_size(map_p) == file.size
        assert lib.dax_vma_offset(vma_p) == m.offset
        assert lib.dax_vma_mapping(vma_p) == map_p
        assert lib.dax_mapping_device(map_p) == dev_p
        for obj, pointer in ((device, dev_p), (file, map_p), (m, vma_p)):
            assert obj.c_address == int(ffi.cast("uintptr_t", pointer))
        capi.check(lib.dax_mapping_pwrite(map_p, b"cffi", 4, PAGE))
        assert m.read(0, 4) == b"cffi"
        m.write(0, b"cython")
        buf = ffi.new("char[]", 6)
        assert capi.check(lib.dax_mapping_pread(map_p, buf, 6, PAGE)) == 6
        assert ffi.buffer(buf)[:] == b"cython"
        assert lib.dax_device_nr_files(dev_p) == 1
        del dev_p, map_p, vma_p


def test_a_pointer_holds_a_reference():
    with daxcore.Device.memory(MIB) as dev:
        file = dev.create_file(PAGE)
        pointer = capi.from_object(file)
        file.close()
        assert lib.dax_mapping_size(pointer) == PAGE
        with pytest.raises(OSError) as caught:
            dev.close()
        assert caught.value.errno == errno.EBUSY
        ffi.release(pointer)


def test_what_is_made_through_cffi_lives_on_a_python_device(memory):
    attr = ffi.new("struct dax_mapping_attr *")
    attr.struct_size = ffi.sizeof(attr[0])
    attr.size = MIB
    mapping = ffi.new("struct dax_mapping **")
    capi.check(lib.dax_mapping_new(mapping, capi.from_object(memory), attr))
    try:
        assert capi.check(lib.dax_mapping_pwrite(mapping[0], b"x" * MIB, MIB, 0)) == MIB
        assert memory.free_bytes == memory.size - MIB
    finally:
        lib.dax_mapping_put(mapping[0])
    assert memory.free_bytes == memory.size


def test_from_object_takes_nothing_else():
    with pytest.raises(TypeError, match="int"):
        capi.from_object(7)


def test_errors_are_the_same_through_both_doors():
    dev = ffi.new("struct dax_device **")
    with pytest.raises(FileNotFoundError):
        capi.check(lib.dax_device_open(dev, b"/no/such/file", 0, 0))
    assert dev[0] == ffi.NULL
    assert b"/no/such/file" in ffi.string(lib.dax_errormsg())


def test_a_block_map_in_c(memory):
    """Bytes [PAGE, 2*PAGE) lie at the start of the device, the rest is hole."""
    seen = []

    @ffi.callback(
        "int(struct dax_mapping *, void *, int64_t, uint64_t, unsigned int,"
        " struct dax_iomap *)"
    )
    def begin(mapping, private, pos, length, flags, iomap):
        seen.append((pos, length, flags, ffi.from_handle(private)))
        iomap.type = lib.DAX_IOMAP_HOLE
        iomap.offset, iomap.length = (0, PAGE) if pos < PAGE else (2 * PAGE, 1 << 40)
        if PAGE <= pos < 2 * PAGE:
            iomap.type = lib.DAX_IOMAP_MAPPED
            iomap.offset, iomap.length, iomap.addr = PAGE, PAGE, 0
        return 0

    ops = ffi.new("struct dax_iomap_ops *")
    ops.struct_size = ffi.sizeof(ops[0])
    ops.iomap_begin = begin
    handle = ffi.new_handle("mine")
    with memory.create_file(4 * PAGE, iomap=(ops, handle)) as file:
        with file.mmap(pages="pte") as m:
            m.write(PAGE, b"block")
            assert m.read(PAGE, 5) == file.pread(5, PAGE) == b"block"
            assert m.read(0, PAGE) == bytes(PAGE)
        types = file.extents()["type"].tolist()
        assert types == [lib.DAX_IOMAP_HOLE, lib.DAX_IOMAP_MAPPED, lib.DAX_IOMAP_HOLE]
        with pytest.raises(daxcore.NotSupportedError):
            file.punch_hole(0, PAGE)
    assert {entry[3] for entry in seen} == {"mine"}


def test_a_block_map_that_fails(memory):
    answers = iter([-errno.EIO, -errno.ENOSPC, 0])

    @ffi.callback(
        "int(struct dax_mapping *, void *, int64_t, uint64_t, unsigned int,"
        " struct dax_iomap *)"
    )
    def begin(mapping, private, pos, length, flags, iomap):
        return next(answers)  # the 0 leaves an extent of length 0: nonsense

    ops = ffi.new("struct dax_iomap_ops *")
    ops.struct_size = ffi.sizeof(ops[0])
    ops.iomap_begin = begin
    with memory.create_file(PAGE, iomap=ops) as file, file.mmap(pages="pte") as m:
        for expected in (errno.EIO, errno.ENOSPC, errno.EIO):
            with pytest.raises(daxcore.FaultError) as caught:
                m.read(0, 1)
            assert caught.value.errno == expected


def test_a_block_map_that_calls_back_gets_edeadlk(memory):
    results = []

    @ffi.callback(
        "int(struct dax_mapping *, void *, int64_t, uint64_t, unsigned int,"
        " struct dax_iomap *)"
    )
    def begin(mapping, private, pos, length, flags, iomap):
        results.append(lib.dax_mapping_pwrite(mapping, b"x", 1, 0))
        results.append(lib.dax_mapping_pread(mapping, ffi.new("char[1]"), 1, 0))
        iomap.type, iomap.offset, iomap.length = lib.DAX_IOMAP_HOLE, 0, PAGE
        return 0

    ops = ffi.new("struct dax_iomap_ops *")
    ops.struct_size = ffi.sizeof(ops[0])
    ops.iomap_begin = begin
    with memory.create_file(PAGE, iomap=ops) as file, file.mmap(pages="pte") as m:
        assert m.fault(0) == daxcore.FaultResult.NOPAGE
        assert set(results) == {-errno.EDEADLK}
        assert file.size == PAGE


# ---- names ---------------------------------------------------------------


def header_functions():
    return set(re.findall(r"\b(dax_\w+)\(", without_comments(header())))


def header_constants():
    bodies = re.findall(r"enum \w+ \{(.*?)\}", without_comments(header()), flags=re.S)
    return set(re.findall(r"\b(DAX_\w+)", "".join(bodies)))


def test_header_symbols_cffi_and_pxd_agree():
    nm = need_program("nm", "binutils")
    library = Path(daxcore.get_library_dir(), "libdaxcore.so.0")
    command = [nm, "-D", "--defined-only", "--format=posix", library]
    lines = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = [line.split() for line in lines.stdout.splitlines()]
    exported = {row[0].split("@")[0] for row in rows if row[1] in "TDBRW"}
    pxd = Path(daxcore.__file__).with_name("libdaxcore.pxd").read_text()
    pxd = without_comments(pxd)
    functions = header_functions()
    assert len(functions) > 30
    assert exported == functions
    assert {name for name in dir(lib) if name.startswith("dax_")} == functions
    assert set(re.findall(r"\b(dax_\w+)\(", pxd)) == functions
    constants = header_constants()
    assert {name for name in dir(lib) if name.startswith("DAX_")} == constants
    assert set(re.findall(r"^ {8}(DAX_\w+)$", pxd, flags=re.M)) == constants


def test_structs_of_header_and_pxd_agree():
    pxd = Path(daxcore.__file__).with_name("libdaxcore.pxd").read_text()
    for name in re.findall(r"^struct (\w+) \{", without_comments(header()), flags=re.M):
        block = re.search(rf"    struct {name}:\n((?: {{8}}.*\n)+)", pxd)[1]
        fields = re.findall(r"(?:\(\*|[ *])(\w+)(?:\)\(\n?|$)", block, flags=re.M)
        wanted = [field for field, _ in ffi.typeof(f"struct {name}").fields]
        assert [field for field in fields if field in wanted] == wanted


def test_the_version_is_pyprojects():
    import tomllib

    project = ROOT / "pyproject.toml"
    version = tomllib.loads(project.read_text())["project"]["version"]
    assert daxcore.__version__ == version
    assert ffi.string(lib.dax_version()).decode() == version


def test_the_library_is_loaded_once():
    maps = Path("/proc/self/maps").read_text()
    paths = {line.split()[-1] for line in maps.splitlines() if "libdaxcore" in line}
    assert paths == {str(Path(daxcore.get_library_dir(), "libdaxcore.so.0").resolve())}
