# SPDX-License-Identifier: BSD-3-Clause
"""The power-loss recorder: its model on hand-made sequences, and its errors."""

import doctest

import numpy as np
import pytest
from conftest import PAGE

import daxcore.testing
from daxcore import Device
from daxcore.testing import PowerLossDevice, PowerLossError

SIZE = 2 * PAGE


@pytest.fixture
def device():
    with PowerLossDevice(SIZE) as dev:
        yield dev


def found(device, first, last, **options):
    """Contents of some bytes over all states, sorted."""
    return sorted({image[first:last].tobytes() for image in device.states(**options)})


def test_doctest():
    assert doctest.testmod(daxcore.testing).failed == 0


def test_it_is_a_device(device):
    assert isinstance(device, Device)
    assert device.durability.startswith("recorded: ")
    assert device.load(0, 4) == bytes(4)
    assert device.count() == 1 and found(device, 0, 1) == [b"\0"]


def test_a_store_may_have_come_or_not(device):
    device.store(0, b"a")
    assert found(device, 0, 1) == [b"\0", b"a"]
    assert device.count() == 2


def test_flush_and_fence_make_it_certain(device):
    device.store(0, b"a")
    device.flush(0, 1)
    assert device.count() == 2, "a flush without a fence promises nothing"
    device.fence()
    assert device.count() == 1 and found(device, 0, 1) == [b"a"]


def test_a_fence_without_a_flush_promises_nothing(device):
    device.store(0, b"a")
    device.fence()
    assert device.count() == 2


def test_what_is_stored_after_the_flush_is_not_covered(device):
    device.store(0, b"a")
    device.flush(0, 1)
    device.store(0, b"b")
    device.fence()
    assert found(device, 0, 1) == [b"a", b"b"]


def test_stores_to_a_line_come_in_order(device):
    device.store(0, b"a")
    device.store(8, b"b")
    assert found(device, 0, 9) == sorted(
        [bytes(9), b"a" + bytes(8), b"a" + bytes(7) + b"b"]
    )


def test_lines_are_independent(device):
    device.store(0, b"a")
    device.store(64, b"b")
    assert device.count() == 4


def test_a_long_store_tears_at_eight_bytes(device):
    device.store(4, b"0123456789ab")
    assert found(device, 4, 16) == sorted(
        [bytes(12), b"0123" + bytes(8), b"0123456789ab"]
    )


def test_a_store_over_two_lines(device):
    device.store(60, b"abcdefgh")
    assert device.count() == 4
    assert b"\0\0\0\0efgh" in found(device, 60, 68)


def test_a_flush_covers_whole_lines(device):
    device.store(0, b"a")
    device.store(63, b"b")
    device.flush(10, 1)
    device.fence()
    assert device.count() == 1


def test_earlier_moments_and_reset(device):
    device.store(0, b"a")
    then = device.now()
    device.flush(0, 1)
    device.fence()
    assert device.count(then) == 2 and device.count() == 1
    assert device.moments() == [0, 1, 3]
    device.reset()
    assert device.now() == 0 and found(device, 0, 1) == [b"a"]


def test_check_gives_the_smallest_refused_state(device):
    device.store(0, b"a")
    device.store(64, b"b")
    device.store(128, b"c")

    def needs_b(image):
        assert image[64] == ord("b"), "b is missing"

    with pytest.raises(PowerLossError, match="b is missing") as caught:
        device.check(needs_b)
    assert [piece.offset for piece in caught.value.missing] == [64]
    assert device.check(lambda image: True) == 8


def test_check_at_any_moment(device):
    """Payload, then commit: in the wrong order a crash in between is seen."""

    def no_commit_without_payload(image):
        return not image[64] or image[0] == 1

    def store(offset):
        device.store(offset, b"\1")
        device.flush(offset, 1)
        device.fence()

    store(0)
    store(64)
    device.check(no_commit_without_payload, since=0)
    device.reset()
    device.store(0, b"\0")
    store(64)
    with pytest.raises(PowerLossError):
        device.check(no_commit_without_payload, since=0)


def test_sampling_is_repeatable_and_has_both_ends(device):
    data = np.arange(1, SIZE // 2 + 1, dtype=np.uint16).tobytes()
    device.store(0, data)
    states = device.states(sample=50, seed=3)
    assert not states.exhaustive and states.count > 10**30
    images = [image.tobytes() for image in states]
    assert bytes(SIZE) in images and data in images
    assert images == [image.tobytes() for image in device.states(sample=50, seed=3)]


def test_images_are_read_only(device):
    device.store(0, b"a")
    for image in device.states():
        with pytest.raises(ValueError):
            image[0] = 1


def test_from_image(device):
    device.store(5, b"hello")
    image = max(image.tobytes() for image in device.states())
    with PowerLossDevice.from_image(image) as again:
        assert again.load(5, 5) == b"hello"
        assert again.now() == 0


@pytest.mark.parametrize("offset, nbytes", [(SIZE, 1), (SIZE - 1, 2), (1 << 62, 1)])
def test_beyond_the_device(device, offset, nbytes):
    for call in (device.load, device.flush, lambda o, n: device.store(o, bytes(n))):
        with pytest.raises(OSError, match="not all on the device"):
            call(offset, nbytes)
    assert device.now() == 0


def test_wrong_arguments(device):
    for call in (lambda: device.load(-1, 1), lambda: device.states(99)):
        with pytest.raises(ValueError):
            call()
    with pytest.raises(TypeError):
        device.store(0, "text")
    with pytest.raises(ValueError):
        PowerLossDevice(100)


def test_store_flush_fence_of_ordinary_devices(tmp_path):
    with Device.memory(SIZE, emulate_pmem=True) as dev:
        dev.store(10, b"abc")
        dev.flush(10, 3)
        dev.fence()
        assert dev.load(9, 5) == b"\0abc\0"
    with Device.open(tmp_path / "device", size=SIZE, create=True) as dev:
        dev.store(10, b"abc")
        dev.flush(10, 3)
        dev.sync()
    assert (tmp_path / "device").read_bytes()[10:13] == b"abc"


def test_a_store_past_the_device_is_noticed(device):
    device._window().setflags(write=False)
    window = np.frombuffer(_address(device), dtype=np.uint8)
    window[3] = 7
    with pytest.raises(RuntimeError, match="byte 3 of the device was changed past"):
        device.log()


def _address(device):
    from daxcore import capi

    kaddr = capi.ffi.new("void **")
    pages = device.size // PAGE
    capi.check(
        capi.lib.dax_direct_access(
            capi.from_object(device), 0, pages, kaddr, capi.ffi.NULL
        )
    )
    return capi.ffi.buffer(kaddr[0], device.size)


def test_the_other_ways_to_make_a_device_are_refused(tmp_path):
    with pytest.raises(TypeError, match="PowerLossDevice"):
        PowerLossDevice.memory(PAGE)
    with pytest.raises(TypeError, match="PowerLossDevice"):
        PowerLossDevice.open(tmp_path / "device", size=PAGE, create=True)


def test_moments_are_integers():
    with PowerLossDevice(PAGE) as device:
        for moment in ("1", 0.5):
            with pytest.raises(TypeError, match="integer"):
                device.states(moment)
