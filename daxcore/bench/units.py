# SPDX-License-Identifier: BSD-3-Clause
"""Sizes as people write them, in both directions."""

import re

PAGE_SIZE = 4096
PMD_SIZE = 2 << 20

_UNITS = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGTPE", 1):
    _UNITS[f"{_letter}IB"] = _UNITS[_letter] = 1 << 10 * _power
    _UNITS[f"{_letter}B"] = 10 ** (3 * _power)

_NAMES = ("B", "KiB", "MiB", "GiB", "TiB")
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
_MAX_SIZE = 2**63 - PAGE_SIZE


def parse_size(text):
    """Bytes meant by `text`: 4096, 64KiB, 1.5GiB, 2M (binary), 1GB (decimal)."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a size; write 4096, 64KiB, 1GiB")
    number, unit = match.groups()
    if unit.upper() not in _UNITS:
        raise ValueError(
            f"{text!r}: unknown unit {unit!r}; use B, KiB, MiB, GiB or TiB"
        )
    size = _times(number, _UNITS[unit.upper()])
    if size is None:
        raise ValueError(f"{text!r} is not a whole number of bytes")
    if size > _MAX_SIZE:
        raise ValueError(f"{text!r} is more than a file can hold (2^63-4096 bytes)")
    return size


def _times(number, unit):
    """Exact product of a decimal string and a unit, None if not whole."""
    whole, _, fraction = number.partition(".")
    scale = 10 ** len(fraction)
    size, rest = divmod(int(whole + fraction) * unit, scale)
    return None if rest else size


def format_size(nbytes):
    """`nbytes` as a short binary size: 0 B, 4 KiB, 1.5 GiB, -4 KiB."""
    if nbytes is None:
        return "-"
    sign, value, unit = "-" if nbytes < 0 else "", abs(nbytes), 0
    while value >= 1023.95 and unit < len(_NAMES) - 1:  # 1024.0 is not shown
        value, unit = value / 1024, unit + 1
    digits = 0 if value == int(value) else 2 if value < 10 else 1
    return f"{sign}{value:.{digits}f} {_NAMES[unit]}"


def format_ns(ns):
    """Nanoseconds with three significant digits, '-' for None."""
    if ns is None:
        return "-"
    if ns >= 100:
        return f"{ns:,.0f}"
    return f"{ns:.3g}"
