"""Buffers that a process lends to a system call."""

from __future__ import annotations

import mmap

import pytest

from file_daemon import PAGE, FileDaemon
from fusewire.kernel.user_memory import MemoryFault, OwnBuffer, user_buffer

ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


def test_own_bytes_are_always_there() -> None:
    file = FileDaemon()
    buffer = user_buffer(b"0123456789")
    assert len(buffer) == 10
    assert file.run(buffer.fault_in(4)) == 6
    assert buffer.load(4, 3) == b"456"


def test_own_bytes_are_stored_to_if_they_can_be() -> None:
    file = FileDaemon()
    data = bytearray(4)
    buffer = OwnBuffer(data)
    assert file.run(buffer.fault_in(0, write=True)) == 4
    buffer.store(1, b"ab")
    assert data == b"\0ab\0"
    with pytest.raises(OSError, match="Bad address"):
        file.run(OwnBuffer(b"1234").fault_in(0, write=True))


def test_a_buffer_is_taken_as_it_is() -> None:
    buffer = OwnBuffer(b"")
    assert user_buffer(buffer) is buffer


def test_memory_of_a_process_is_there_page_by_page() -> None:
    file = FileDaemon(b"x" * PAGE + b"y" * PAGE)
    mapping = file.map(2 * PAGE)
    buffer = file.process.buffer(mapping.address + PAGE - 2, 10)
    assert file.run(buffer.fault_in(0)) == 2
    assert buffer.load(0, 2) == b"xx"
    assert file.run(buffer.fault_in(2)) == 8
    assert buffer.load(2, 8) == b"y" * 8


def test_what_is_stored_to_a_shared_mapping_reaches_the_file() -> None:
    file = FileDaemon(b"x" * PAGE)
    fd = file.open()
    mapping = file.map(PAGE, fd)
    buffer = file.process.buffer(mapping.address, PAGE)
    file.run(buffer.fault_in(0, write=True))
    file.run(file.process.fsync(fd))  # what was faulted in may be written back before it is stored to
    buffer.store(0, b"abc")
    file.run(file.process.fsync(fd))
    assert bytes(file.content[:4]) == b"abcx"


def test_a_buffer_that_is_not_mapped_is_a_bad_address() -> None:
    file = FileDaemon()
    with pytest.raises(MemoryFault, match="Bad address"):
        file.run(file.process.buffer(0, 8).fault_in(0))


def test_a_page_that_was_faulted_in_is_held_while_its_mapping_goes() -> None:
    file = FileDaemon()
    mapping = file.run(file.process.mmap(-1, PAGE, flags=ANONYMOUS))
    mapping[0:3] = b"abc"
    buffer = file.process.buffer(mapping.address, 3)
    file.run(buffer.fault_in(0))
    mapping.close()
    assert buffer.load(0, 3) == b"abc"
