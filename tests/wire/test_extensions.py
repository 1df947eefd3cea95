"""Extensions at the end of a request that makes an inode."""

from __future__ import annotations

import pytest

from fusewire.errors import ProtocolError
from fusewire.wire import Extensions, ExtHeader, Secctx, SecctxHeader, SecurityContext, SuppGroups
from fusewire.wire.extensions import decode_extensions, encode_extensions


def extension(kind: int, content: bytes, size: int | None = None) -> bytes:
    return ExtHeader(8 + len(content) if size is None else size, kind).pack() + content


def test_none_are_falsy_and_take_no_bytes() -> None:
    assert not Extensions()
    assert encode_extensions(Extensions()) == b""
    assert decode_extensions(b"", 1) == Extensions()


@pytest.mark.parametrize("count", range(1, 6))
def test_block_is_a_multiple_of_8_bytes(count: int) -> None:
    contexts = (SecurityContext(b"n" * count, b"v" * (3 * count)),)
    block = encode_extensions(Extensions(groups=tuple(range(count)), contexts=contexts))
    assert len(block) % 8 == 0
    assert decode_extensions(block, 1) == Extensions(tuple(range(count)), contexts)


def test_list_of_no_contexts_is_what_linux_sends_without_a_security_module() -> None:
    assert decode_extensions(SecctxHeader(8, 0).pack(), 1) == Extensions()


def test_type_that_we_do_not_know_is_skipped() -> None:
    known = encode_extensions(Extensions(groups=(5,)))
    assert decode_extensions(extension(33, b"anything") + known, 1) == Extensions(groups=(5,))


def test_size_that_is_no_multiple_of_8_ends_in_padding() -> None:
    first = extension(33, b"abc") + bytes(5)
    assert decode_extensions(first + encode_extensions(Extensions(groups=(5,))), 1) == Extensions(groups=(5,))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (bytes(4), "an extension of 0 bytes, where 4 are left"),
        (extension(32, b"", size=7), "an extension of 7 bytes, where 8 are left"),
        (extension(32, bytes(8), size=17), "an extension of 17 bytes, where 16 are left"),
        (extension(32, b""), "0 supplementary groups in 0 bytes"),
        (extension(32, SuppGroups(2).pack() + bytes(4)), "2 supplementary groups in 8 bytes"),
        (extension(32, SuppGroups(2**32 - 1).pack() + bytes(4)), "4294967295 supplementary groups in 8 bytes"),
        (extension(1, b""), "a security context's name does not end"),
        (extension(1, Secctx(0).pack() + b"name"), "a security context's name does not end"),
        (extension(1, Secctx(2).pack() + b"name\0v"), "a security context of 2 bytes, where 1 are left"),
        (extension(2, Secctx(1).pack() + b"name\0v"), "a security context's name does not end"),
    ],
)
def test_malformed_block_is_refused(block: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message) as caught:
        decode_extensions(block, 6)
    assert caught.value.unique == 6


@pytest.mark.parametrize(
    ("extensions", "message"),
    [
        (Extensions(groups=(2**32,)), "a gid does not fit 32 bits"),
        (Extensions(groups=(-1,)), "a gid does not fit 32 bits"),
        (Extensions(contexts=(SecurityContext(b"a\0b", b""),)), "holds a NUL"),
        (Extensions(contexts=(SecurityContext(b"a", b""),) * 32), "32 security contexts; the most is 31"),
    ],
)
def test_what_cannot_be_said_is_refused(extensions: Extensions, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_extensions(extensions)
