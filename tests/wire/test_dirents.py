"""Records of directory listings: sizes, and what the kernel says to those that are not right."""

from __future__ import annotations

import pytest

from fusewire.errors import ProtocolError
from fusewire.wire import (
    Dirent,
    EntryOut,
    dirent_size,
    direntplus_size,
    iter_direntplus,
    iter_dirents,
    pack_dirent,
    pack_direntplus,
)

SIZES = [(1, 32), (7, 32), (8, 32), (9, 40), (255, 280), (4095, 4120)]


@pytest.mark.parametrize(("length", "size"), SIZES)
def test_record_is_padded_to_8_bytes(length: int, size: int) -> None:
    assert dirent_size(length) == size == len(pack_dirent(b"n" * length, 1, 2, 8))
    assert direntplus_size(length) == size + 128 == len(pack_direntplus(EntryOut(), b"n" * length, 1, 2, 8))


def test_records_follow_one_another() -> None:
    buffer = pack_dirent(b".", 1, 1, 4) + pack_dirent(b"a name", 2, 2, 8)
    assert list(iter_dirents(memoryview(buffer))) == [(Dirent(1, 1, 1, 4), b"."), (Dirent(2, 2, 6, 8), b"a name")]


def test_no_record_is_the_end() -> None:
    assert list(iter_dirents(b"")) == []
    assert list(iter_direntplus(b"")) == []


@pytest.mark.parametrize("cut", range(1, 32))
def test_record_that_is_cut_off_is_ignored(cut: int) -> None:
    whole = pack_dirent(b"first", 1, 1, 8)
    assert [name for _, name in iter_dirents(whole + pack_dirent(b"second", 2, 2, 8)[:-cut])] == [b"first"]
    plus = pack_direntplus(EntryOut(nodeid=5), b"first", 1, 1, 8)
    cut_off = plus + pack_direntplus(EntryOut(), b"second", 2, 2, 8)[:-cut]
    assert [(record.entry_out.nodeid, name) for record, name in iter_direntplus(cut_off)] == [(5, b"first")]


@pytest.mark.parametrize("length", [0, 4096, 2**32 - 1])
def test_name_of_a_wrong_length_is_refused(length: int) -> None:
    header = Dirent(1, 1, length, 8).pack()
    with pytest.raises(ProtocolError, match=f"has {length} bytes; 1 to 4095 are allowed"):
        list(iter_dirents(header))
    with pytest.raises(ProtocolError, match=f"has {length} bytes; 1 to 4095 are allowed"):
        list(iter_direntplus(bytes(EntryOut.SIZE) + header))


def test_name_with_a_slash_is_refused() -> None:
    with pytest.raises(ProtocolError, match="holds a slash: b'a/b'"):
        list(iter_dirents(pack_dirent(b"a/b", 1, 1, 8)))
    with pytest.raises(ProtocolError, match="holds a slash: b'/'"):
        list(iter_direntplus(pack_direntplus(EntryOut(), b"/", 1, 1, 8)))


def test_records_before_a_wrong_one_are_yielded() -> None:
    records = iter_dirents(pack_dirent(b"good", 1, 1, 8) + pack_dirent(b"", 1, 1, 8))
    assert next(records)[1] == b"good"
    with pytest.raises(ProtocolError):
        next(records)


@pytest.mark.parametrize(
    ("arguments", "field"), [((-1, 1, 8), "ino"), ((1, 2**64, 8), "off"), ((1, 1, 2**32), "type"), ((1, -1, 8), "off")]
)
def test_number_that_does_not_fit_is_named(arguments: tuple[int, int, int], field: str) -> None:
    with pytest.raises(ValueError, match=rf"Dirent\.{field} = .* does not fit"):
        pack_dirent(b"name", *arguments)
