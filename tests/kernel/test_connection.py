"""The queues: who waits where, what a signal does in each stage, and what an abort does."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest

from fusewire.events import Event
from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.init import Settings
from fusewire.kernel.profile import LINUX, SEED2005, Profile
from fusewire.kernel.request import Request, Stage
from fusewire.kernel.tasks import Task, run
from fusewire.wire import decode_request, encode_error, encode_reply
from kernel_end import Bench, bench, errno_of


def test_an_answered_request_returns_its_reply(either: Bench) -> None:
    rm = either.unlink()
    request = either.read()
    assert (request.operation.name, request.names) == ("UNLINK", (b"file",))
    either.write(encode_reply(request.header.unique))
    assert rm.finished
    assert errno_of(rm) is None


def test_the_daemons_errno_is_the_senders(either: Bench) -> None:
    rm = either.unlink()
    either.write(encode_error(either.read().header.unique, errno.EACCES))
    assert errno_of(rm) == errno.EACCES


def test_it_carries_its_senders_ids(either: Bench) -> None:
    either.start(either.connection.ask("UNLINK", 1, names=[b"file"]), uid=1000, gid=100, pid=42)
    header = either.read().header
    assert (header.uid, header.gid, header.pid) == (1000, 100, 42)


def test_requests_are_read_in_the_order_sent_and_answered_in_any(either: Bench) -> None:
    senders = [either.unlink(name) for name in (b"a", b"b", b"c")]
    read = [either.read() for _ in senders]
    assert [message.names[0] for message in read] == [b"a", b"b", b"c"]
    for number in (1, 2, 0):
        either.write(encode_reply(read[number].header.unique))
        assert senders[number].finished


@pytest.mark.parametrize(("profile", "uniques"), [(LINUX, [2, 4, 6]), (SEED2005, [1, 2, 3])])
def test_uniques_leave_room_for_interrupts_where_there_are_any(profile: Profile, uniques: list[int]) -> None:
    with bench(profile) as made:
        for _ in uniques:
            made.unlink()
        assert [made.read().header.unique for _ in uniques] == uniques


def test_a_reader_that_waits_is_woken_by_a_request(either: Bench) -> None:
    reader = either.start(either.device.read(1 << 17), "daemon")
    assert reader.asleep_on is either.connection.waitq
    either.unlink()
    assert reader.finished
    assert either.processing().stage is Stage.PROCESSING


# The gate.


def test_nobody_passes_before_init_is_answered() -> None:
    for profile in (LINUX, SEED2005):
        connection = Connection(profile)
        sender = Task("rm", connection.ask("UNLINK", 1, names=[b"file"]))
        assert run([sender]) == {sender: connection.blocked_waitq}
        connection.open_gate(Settings())
        assert run([sender])[sender].name == "req->waitq"


def test_an_init_that_failed_refuses_everyone() -> None:
    connection = Connection()
    senders = [Task("early", connection.get())]
    run(senders)
    connection.open_gate(None)
    senders.append(Task("late", connection.get()))
    run(senders)
    assert [errno_of(task) for task in senders] == [errno.ECONNREFUSED] * 2


def test_a_kill_ends_the_wait_at_the_gate() -> None:
    for profile in (LINUX, SEED2005):
        sender = Task("rm", Connection(profile).get())
        run([sender])
        sender.kill()
        run([sender])
        assert errno_of(sender) == errno.EINTR


def test_in_2005_an_eleventh_request_waits_for_one_of_ten(seed2005: Bench) -> None:
    senders = [seed2005.unlink() for _ in range(11)]
    assert seed2005.connection.unused == []
    assert senders[10].asleep_on is seed2005.connection.blocked_waitq
    seed2005.write(encode_reply(seed2005.read().header.unique))
    assert senders[10].asleep_on is not seed2005.connection.blocked_waitq
    for _ in range(10):
        seed2005.write(encode_reply(seed2005.read().header.unique))
    assert all(sender.finished for sender in senders)
    assert len(seed2005.connection.unused) == 10


def test_today_any_number_may_be_under_way(linux: Bench) -> None:
    for _ in range(100):
        linux.unlink()
    assert linux.connection.statistics().pending == 100


# Signals.


def test_killed_while_pending_it_is_withdrawn(either: Bench) -> None:
    rm = either.unlink()
    rm.kill()
    either.go_on()
    assert errno_of(rm) == errno.EINTR
    assert not either.connection.readable
    assert either.connection.statistics() == (either.connection.profile.unused or 0, 0, 0, 0, 0)


def test_killed_while_processing_it_waits_on_today_and_the_daemon_is_told(linux: Bench) -> None:
    rm = linux.unlink()
    unique = linux.read().header.unique
    rm.kill()
    linux.go_on()
    assert not rm.finished
    interrupt = linux.read()
    assert interrupt.operation.name == "INTERRUPT"
    assert (interrupt.header.unique, interrupt.body.unique) == (unique | 1, unique)
    assert (interrupt.header.nodeid, interrupt.header.uid, interrupt.header.len) == (0, 0, 48)
    linux.write(encode_error(unique, errno.EINTR))
    assert errno_of(rm) == errno.EINTR


def test_killed_while_processing_it_is_given_up_in_2005(seed2005: Bench) -> None:
    rm = seed2005.unlink()
    unique = seed2005.read().header.unique
    rm.kill()
    seed2005.go_on()
    assert errno_of(rm) == errno.EINTR
    assert seed2005.processing().stage is Stage.GIVEN_UP
    assert len(seed2005.connection.unused) == 9
    with pytest.raises(FileNotFoundError):
        seed2005.write(encode_reply(unique))
    assert len(seed2005.connection.unused) == 10
    with pytest.raises(OSError, match="Invalid argument"):  # now it is as unknown as any
        seed2005.write(encode_reply(unique))


def test_a_signal_with_a_handler_ends_no_wait_today(linux: Bench) -> None:
    processing = linux.unlink(b"processing")
    unique = linux.read().header.unique
    pending = linux.unlink(b"pending")
    pending.interrupt()
    processing.interrupt()
    linux.go_on()
    assert not pending.finished
    assert not processing.finished
    assert linux.read().body.unique == unique  # the INTERRUPT of what was read, before the next request
    assert linux.read().names == (b"pending",)
    assert linux.read().header.unique & 1  # and its own follows it


def test_a_signal_with_a_handler_ends_the_wait_of_2005_until_the_daemon_has_read(seed2005: Bench) -> None:
    processing = seed2005.unlink(b"processing")
    seed2005.read()
    pending = seed2005.unlink(b"pending")
    pending.interrupt()
    processing.interrupt()
    seed2005.go_on()
    assert errno_of(pending) == errno.EINTR
    assert not processing.finished
    processing.kill()
    seed2005.go_on()
    assert errno_of(processing) == errno.EINTR


def test_the_daemon_is_told_once_of_many_signals(linux: Bench) -> None:
    rm = linux.unlink()
    linux.read()
    for _ in range(3):
        rm.interrupt()
        linux.go_on()
    rm.kill()
    linux.go_on()
    assert linux.connection.statistics().interrupts == 1


def test_an_answered_request_takes_its_interrupt_with_it(linux: Bench) -> None:
    rm = linux.unlink()
    unique = linux.read().header.unique
    rm.interrupt()
    linux.go_on()
    linux.write(encode_reply(unique))
    assert not linux.connection.interrupts
    assert errno_of(rm) is None


def test_a_daemon_that_knows_no_interrupt_is_sent_no_more(linux: Bench) -> None:
    first, second = linux.unlink(), linux.unlink()
    unique, _ = linux.read().header.unique, linux.read()
    first.interrupt()
    linux.go_on()
    assert linux.write(encode_error(linux.read().header.unique, errno.ENOSYS)) == 16
    second.kill()
    linux.go_on()
    assert not linux.connection.interrupts
    assert not second.finished
    linux.write(encode_reply(unique))
    assert errno_of(first) is None


def test_a_daemon_that_knows_no_interrupt_leaves_a_signal_nothing_to_do(linux: Bench) -> None:
    linux.connection.no_interrupt = True
    rm, heard = linux.unlink(), list[str]()
    rm.interrupt()
    run([rm], watch=lambda task, event: heard.append(event.text))
    assert "[interrupted by signal]" not in heard
    assert linux.read().operation.name == "UNLINK"
    assert not linux.connection.interrupts


class Race:
    """A sender and a reader, stopped at the reader's step of this text."""

    def __init__(self, bench: Bench, text: str) -> None:
        self.bench, self.text, self.stopped = bench, text, False
        self.sender = bench.unlink()
        self.reader = Task("daemon", bench.device.read(1 << 17))
        bench.tasks.append(self.reader)

    def run(self) -> None:
        def choose(ready: Sequence[Task]) -> Task:
            return next(task for task in (self.sender, self.reader) if task in ready and self._may_run(task))

        run([self.sender, self.reader], choose, self._watch)

    def _may_run(self, task: Task) -> bool:
        return task is self.reader or self.stopped or self.reader.finished

    def _watch(self, task: Task, event: Event) -> None:
        if task is self.reader and event.text == self.text:
            self.stopped = True
            self.sender.kill()


@pytest.mark.parametrize("text", ["[copy req to read buffer]", "[add req to fc->processing]"])
def test_a_kill_during_the_copy_is_told_to_the_daemon_once(linux: Bench, text: str) -> None:
    race = Race(linux, text)
    race.run()
    assert linux.read().operation.name == "INTERRUPT"
    assert not linux.connection.interrupts
    assert not race.sender.finished


def test_an_interrupt_that_is_read_before_its_requests_reader_goes_on_is_not_sent_again(linux: Bench) -> None:
    rm, quick = linux.unlink(), Task("quick", linux.device.read(1 << 17))
    slow = Task("slow", linux.device.read(1 << 17))

    def choose(ready: Sequence[Task]) -> Task:
        first = [rm, quick, slow] if rm.signal else [slow]
        return next(task for task in first if task in ready)

    def watch(task: Task, event: Event) -> None:
        if (task, event.text) == (slow, "[add req to fc->processing]"):
            rm.kill()

    run([slow, rm, quick], choose, watch)
    assert isinstance(quick.result, bytes)
    assert decode_request(quick.result).operation.name == "INTERRUPT"
    assert slow.finished
    assert not linux.connection.interrupts


@pytest.mark.parametrize("text", ["[copy req to read buffer]", "[add req to fc->processing]"])
def test_in_2005_a_kill_during_the_copy_waits_for_its_end(seed2005: Bench, text: str) -> None:
    race = Race(seed2005, text)
    race.run()
    assert race.reader.finished
    assert errno_of(race.sender) == errno.EINTR
    assert seed2005.processing().stage is Stage.GIVEN_UP


# The end.


def test_abort_wakes_everyone(either: Bench) -> None:
    processing = either.unlink()
    either.read()
    pending = either.unlink()
    either.connection.abort()
    either.go_on()
    assert errno_of(processing) == errno_of(pending) == errno.ECONNABORTED
    assert either.connection.statistics()[1:] == (0, 0, 0, 0)


def test_abort_wakes_readers_and_those_at_the_gate() -> None:
    connection, device = Connection(), Device()
    device.bind(connection)
    reader, waiter = Task("daemon", device.read(1 << 17)), Task("rm", connection.get())
    assert len(run([reader, waiter])) == 2
    connection.abort()
    assert run([reader, waiter]) == {}
    assert errno_of(reader) == errno.ENODEV
    assert errno_of(waiter) == errno.ENOTCONN


def test_nothing_can_be_sent_after_an_abort(either: Bench) -> None:
    either.connection.abort()
    assert errno_of(either.unlink()) == errno.ENOTCONN
    with pytest.raises(OSError, match="not connected"):
        either.connection.send_background(Request(either.connection))


def test_abort_is_idempotent_and_its_flavour_stays(linux: Bench) -> None:
    linux.connection.abort(with_error=True)
    linux.connection.abort()
    with pytest.raises(ConnectionAbortedError):
        linux.read()


@pytest.mark.parametrize("name", ["[remove req from fc->pending]", "[copy req to read buffer]"])
def test_abort_leaves_a_request_that_is_read_to_its_reader(either: Bench, name: str) -> None:
    rm = either.unlink()
    reader = Task("daemon", either.device.read(1 << 17))
    seen: list[Stage] = []

    def watch(task: Task, event: Event) -> None:
        if event.text == name:
            either.connection.abort()
            seen.append(either.device.io[0].stage)

    run([rm, reader], watch=watch)
    assert seen == [Stage.COPYING_OUT]
    assert errno_of(reader) == errno.ENODEV
    assert errno_of(rm) == errno.ECONNABORTED


@pytest.mark.parametrize("name", ["[remove from fc->processing]", "[copy write buffer to req]"])
def test_abort_leaves_a_request_that_is_answered_to_its_writer(either: Bench, name: str) -> None:
    rm = either.unlink()
    writer = Task("daemon", either.device.write(encode_reply(either.read().header.unique)))
    run([rm, writer], watch=lambda task, event: either.connection.abort() if event.text == name else None)
    assert errno_of(writer) == errno.ENOENT
    assert errno_of(rm) == errno.ECONNABORTED


def test_a_background_request_has_its_end_called_once(either: Bench) -> None:
    ended: list[int] = []
    for _ in range(2):
        request = Request(either.connection)
        request.ask("UNLINK", 1, names=[b"file"])
        request.end = lambda request: ended.append(request.error)
        either.connection.send_background(request)
    either.write(encode_error(either.read().header.unique, errno.EIO))
    either.connection.abort()
    assert ended == [errno.EIO, errno.ECONNABORTED]
