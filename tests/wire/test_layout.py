"""The decorator that makes a class body a C struct."""

from __future__ import annotations

import sys
from dataclasses import field
from typing import ClassVar

import pytest

from fusewire.errors import ProtocolError
from fusewire.wire.layout import WireStruct, i32, i64, pad2, pad4, u16, u32, u64, wire_struct


@wire_struct
class Inner(WireStruct):
    """A struct that others hold."""

    small: u16 = 0
    _padding: ClassVar[pad2]
    signed: i32 = 0


@wire_struct
class Outer(WireStruct):
    """Declared under postponed annotations, with one struct in it twice."""

    SIZES = {3: 4, 9: 12}

    first: u32 = 0
    left: Inner = field(default_factory=Inner)
    right: Inner = field(default_factory=Inner)
    _padding: ClassVar[pad4]
    wide: u64 = 0
    signed: i64 = -1


def test_layout_is_packed_in_the_order_of_the_fields() -> None:
    assert (Inner.SIZE, Outer.SIZE) == (8, 40)
    offsets = {"first": 0, "left": 4, "right": 12, "_padding": 20, "wide": 24, "signed": 32}
    assert offsets == Outer.OFFSETS
    assert list(Outer.FIELDS) == list(offsets)


def test_values_are_in_host_byte_order_and_paddings_are_zero() -> None:
    packed = Outer(1, Inner(2, -3), Inner(4, 5), 6).pack()
    order = sys.byteorder

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, order, signed=value < 0)

    assert packed == b"".join(
        [
            number(1, 4),
            *(number(2, 2), bytes(2), number(-3, 4)),
            *(number(4, 2), bytes(2), number(5, 4)),
            bytes(4),
            number(6, 8),
            number(-1, 8),
        ]
    )
    assert Outer.unpack_from(packed) == Outer(1, Inner(2, -3), Inner(4, 5), 6)


def test_two_objects_do_not_share_a_nested_default() -> None:
    one, other = Outer(), Outer()
    one.left.small = 7
    assert other.left.small == 0


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_any_buffer_is_read_at_any_offset(make: type[bytes]) -> None:
    assert Inner.unpack_from(make(b"xyz" + Inner(1, 2).pack() + b"w"), 3) == Inner(1, 2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Outer(first=1 << 32), "Outer.first = 4294967296 does not fit its unsigned 32-bit field"),
        (Outer(first=-1), "Outer.first = -1 does not fit its unsigned 32-bit field"),
        (Outer(right=Inner(small=70000)), "Outer.right.small = 70000 does not fit its unsigned 16-bit field"),
        (Outer(left=Inner(signed=1 << 31)), "Outer.left.signed = 2147483648 does not fit its signed 32-bit field"),
        (Outer(wide=1.5), "Outer.wide = 1.5 does not fit its unsigned 64-bit field"),  # type: ignore[arg-type]
        (Outer(wide=None), "Outer.wide = None does not fit its unsigned 64-bit field"),  # type: ignore[arg-type]
    ],
)
def test_value_that_does_not_fit_is_named(value: Outer, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        value.pack()


@pytest.mark.parametrize("offset", [1, 8, 100])
def test_short_buffer_is_a_protocol_error(offset: int) -> None:
    with pytest.raises(ProtocolError, match=r"Inner needs 8 bytes, \d are left") as caught:
        Inner.unpack_from(bytes(8), offset)
    assert caught.value.unique == 0


@pytest.mark.parametrize(("minor", "size"), [(0, 4), (3, 4), (4, 12), (9, 12), (10, 40), (99, 40)])
def test_size_of_an_older_minor(minor: int, size: int) -> None:
    assert Outer.size_at(minor) == size
    whole = Outer(1, Inner(2, 3), Inner(4, 5), 6, 7).pack()
    assert Outer(1, Inner(2, 3), Inner(4, 5), 6, 7).pack_at(minor) == whole[:size]
    assert Outer.unpack_padded(whole, 0, size).pack() == whole[:size].ljust(40, b"\0")


def test_misspelt_field_is_refused() -> None:
    with pytest.raises(AttributeError):
        Inner().smal = 1  # type: ignore[attr-defined]
