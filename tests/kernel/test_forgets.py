"""References given back: the order in which they are read, and the messages they are made into."""

from __future__ import annotations

import errno
from itertools import groupby

import pytest

from fusewire.events import Step
from fusewire.kernel.profile import LINUX
from fusewire.wire import Message, encode_reply, forgets
from kernel_end import Bench, Memory, bench, errno_of, no_memory


def read_all(bench: Bench) -> list[Message]:
    messages = []
    while bench.connection.readable:
        messages.append(bench.read())
    return messages


def test_one_alone_is_a_forget(linux: Bench) -> None:
    linux.connection.forget(7, 3)
    message = linux.read()
    assert (message.operation.name, message.header.nodeid, message.body.nlookup) == ("FORGET", 7, 3)
    assert message.header.len == 48
    assert (message.header.uid, message.header.gid, message.header.pid) == (0, 0, 0)


def test_several_are_one_batch_in_their_order(linux: Bench) -> None:
    pairs = [(7, 3), (8, 1), (7, 1)]
    for nodeid, nlookup in pairs:
        linux.connection.forget(nodeid, nlookup)
    message = linux.read()
    assert (message.operation.name, message.header.nodeid, message.body.count) == ("BATCH_FORGET", 0, 3)
    assert [(one.nodeid, one.nlookup) for one in forgets(message)] == pairs
    assert message.header.len == 48 + 3 * 16
    assert not linux.connection.readable


def test_a_batch_has_as_many_as_fit_the_buffer(linux: Bench) -> None:
    for nodeid in range(2, 602):
        linux.connection.forget(nodeid, 1)
    first, second = linux.read(8192), linux.read(8192)
    assert (first.body.count, second.body.count) == ((8192 - 48) // 16, 600 - 509)


def test_before_minor_16_there_is_no_batch() -> None:
    with bench(LINUX, minor=15) as made:
        for nodeid in (2, 3):
            made.connection.forget(nodeid, 1)
        assert [message.operation.name for message in read_all(made)] == ["FORGET", "FORGET"]


def test_in_2005_a_forget_is_a_request(seed2005: Bench) -> None:
    seed2005.unlink()
    seed2005.connection.forget(2, 5)
    assert [message.operation.name for message in read_all(seed2005)] == ["UNLINK", "FORGET"]
    assert seed2005.connection.num_waiting == 1


def test_each_message_has_a_number_of_its_own(linux: Bench) -> None:
    linux.unlink()
    linux.connection.forget(2, 1)
    request, forget = read_all(linux)
    linux.unlink()
    assert forget.header.unique == request.header.unique + 2
    assert linux.read().header.unique == forget.header.unique + 2


def test_it_is_not_answered(linux: Bench) -> None:
    linux.connection.forget(2, 1)
    unique = linux.read().header.unique
    assert errno_of(linux.start(linux.device.write(encode_reply(unique)))) == errno.ENOENT


def test_eight_requests_are_read_and_then_sixteen_forgets() -> None:
    """As Linux 6.18 does: 40 requests and 99 forgets, a minor without batches."""
    with bench(LINUX, minor=15) as made:
        for _ in range(40):
            made.unlink()
        for nodeid in range(2, 101):
            made.connection.forget(nodeid, 1)
        names = [message.operation.name for message in read_all(made)]
        runs = [(name, len(list(run))) for name, run in groupby(names)]
        assert runs == [("UNLINK", 8), ("FORGET", 16)] * 4 + [("UNLINK", 8), ("FORGET", 35)]


def test_where_there_is_nothing_else_they_are_read_at_once(linux: Bench) -> None:
    linux.connection.forget(2, 1)
    reader = linux.start(linux.device.read(8192), "daemon")
    assert reader.finished
    assert linux.connection.forgets.batch == 0


def test_a_reader_that_waits_is_woken(either: Bench) -> None:
    reader = either.start(either.device.read(8192), "daemon")
    either.connection.forget(2, 1)
    either.go_on()
    assert reader.finished


def test_an_abort_loses_them_and_so_does_a_connection_that_is_gone(linux: Bench) -> None:
    linux.connection.forget(2, 1)
    linux.connection.abort()
    linux.connection.forget(3, 1)
    assert len(linux.connection.forgets) == 0


def test_one_that_cannot_be_copied_is_lost(linux: Bench) -> None:
    linux.connection.forget(2, 1)
    buffer = Memory(bytes(8192), {0: no_memory})
    assert errno_of(linux.start(linux.device.read(buffer))) == errno.EFAULT
    assert not linux.connection.readable


@pytest.mark.parametrize("count", [1, 2])
def test_interrupts_go_first(linux: Bench, count: int) -> None:
    rm = linux.unlink()
    linux.read()
    for _ in range(count):
        linux.connection.forget(2, 1)
    rm.interrupt()
    linux.go_on()
    assert linux.read().operation.name == "INTERRUPT"
    assert Step.TAKE_FORGET not in linux.heard
