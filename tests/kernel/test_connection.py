"""The queues: who waits where, what a signal does in each stage, and what an abort does."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

import pytest

from fusewire.events import Event, Step
from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.init import Settings
from fusewire.kernel.profile import LINUX, SEED2005, Profile
from fusewire.kernel.stages import Stage
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.tasks import Killed, Task, close, run
from fusewire.kernel.vfs.caller import Caller
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.kernel.waiting import ERESTARTNOINTR
from fusewire.wire import (
    Extensions,
    FlushIn,
    ForgetIn,
    InitFlags,
    MkdirIn,
    NotifyRetrieveIn,
    ReadIn,
    ReleaseIn,
    Reply,
    SetxattrIn,
    decode_request,
    encode_error,
    encode_reply,
)
from kernel_end import BUFFER, Bench, bench, errno_of


def idle(bench: Bench) -> tuple[int, ...]:
    """The statistics of a connection on which nothing goes on."""
    return (bench.connection.profile.unused or 0, *[0] * 7)


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
    process = either.caller(uid=1000, gid=100, pid=42)
    either.start(either.connection.ask("UNLINK", 1, names=[b"file"]), process=process)
    header = either.read().header
    assert (header.uid, header.gid, header.pid) == (1000, 100, 42)


def test_requests_are_read_in_the_order_sent_and_answered_in_any(either: Bench) -> None:
    senders = [either.unlink(name) for name in (b"a", b"b", b"c")]
    read = [either.read() for _ in senders]
    assert [message.names[0] for message in read] == [b"a", b"b", b"c"]
    for number in (1, 2, 0):
        either.write(encode_reply(read[number].header.unique))
        assert senders[number].finished


@pytest.mark.parametrize(("profile", "uniques"), [(LINUX, [4, 6, 8]), (SEED2005, [2, 3, 4])])
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
    assert errno_of(rm) == (errno.EINTR if either.connection.profile is LINUX else ERESTARTNOINTR)
    assert not either.connection.readable
    assert either.connection.statistics() == idle(either)


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
    assert errno_of(pending) == ERESTARTNOINTR
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


# A signal in each phase. The phases of a request are told apart by the step at which the signal comes.

READING = [Step.TAKE, Step.COPY_OUT, Step.READ]
WRITING = [Step.MATCH, Step.COPY_IN]


def signalled(bench: Bench, text: str, send: Callable[[Task], None]) -> tuple[Task, Task]:
    """Send the sender of an unlink a signal at this step of its daemon, which it notices at once; return both."""
    rm = bench.unlink()
    if text in READING:
        daemon = bench.later(bench.device.read(BUFFER))
    else:
        daemon = bench.later(bench.device.write(encode_reply(bench.read().header.unique)))
    bench.stop_at(text, lambda: send(rm), first=rm)
    return rm, daemon


@pytest.mark.parametrize("send", [Task.interrupt, Task.kill])
@pytest.mark.parametrize("text", READING)
def test_a_signal_while_the_daemon_reads_is_told_to_it_once(
    linux: Bench, text: str, send: Callable[[Task], None]
) -> None:
    rm, daemon = signalled(linux, text, send)
    assert isinstance(daemon.result, bytes)
    assert linux.read().operation.name == "INTERRUPT"
    assert not linux.connection.interrupts
    assert not rm.finished


@pytest.mark.parametrize("send", [Task.interrupt, Task.kill])
@pytest.mark.parametrize("text", WRITING)
def test_a_signal_while_the_reply_is_copied_tells_nobody(linux: Bench, text: str, send: Callable[[Task], None]) -> None:
    rm, daemon = signalled(linux, text, send)
    assert daemon.result == 16
    assert rm.finished
    assert errno_of(rm) is None  # the reply was there first
    assert Step.QUEUE_INTERRUPT not in linux.heard


def test_in_2005_a_kill_while_the_reader_faults_lets_its_sender_go_at_once(seed2005: Bench) -> None:
    rm, daemon = signalled(seed2005, Step.TAKE, Task.kill)
    assert errno_of(rm) == ERESTARTNOINTR
    assert errno_of(daemon) == errno.ENOENT  # and it reads again
    assert seed2005.connection.statistics() == idle(seed2005)


def test_in_2005_a_kill_during_the_copy_waits_for_its_end(seed2005: Bench) -> None:
    rm, daemon = signalled(seed2005, Step.COPY_OUT, Task.kill)
    assert errno_of(rm) == ERESTARTNOINTR
    assert errno_of(daemon) == errno.ENOENT
    assert seed2005.connection.statistics() == idle(seed2005)


def test_in_2005_a_kill_after_the_copy_leaves_the_request_to_the_daemon(seed2005: Bench) -> None:
    rm, daemon = signalled(seed2005, Step.READ, Task.kill)
    assert errno_of(rm) == errno.EINTR
    assert isinstance(daemon.result, bytes)
    assert seed2005.processing().stage is Stage.GIVEN_UP


@pytest.mark.parametrize("text", WRITING)
def test_in_2005_a_kill_during_the_copy_of_the_reply_throws_the_reply_away(seed2005: Bench, text: str) -> None:
    rm, daemon = signalled(seed2005, text, Task.kill)
    assert errno_of(rm) == errno.EINTR
    assert errno_of(daemon) == errno.ENOENT
    assert seed2005.connection.statistics() == idle(seed2005)


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


# The end.


def test_abort_wakes_everyone(either: Bench) -> None:
    processing = either.unlink()
    either.read()
    pending = either.unlink()
    either.connection.abort()
    either.go_on()
    assert errno_of(processing) == errno_of(pending) == errno.ECONNABORTED
    assert either.connection.statistics() == idle(either)


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


def test_abort_is_idempotent_and_its_flavour_stays(linux: Bench) -> None:
    linux.connection.abort(with_error=True)
    linux.connection.abort()
    with pytest.raises(ConnectionAbortedError):
        linux.read()


# An abort in each phase: the stage in which it leaves the request, and what the daemon is told.

ABORTED_AT = {
    Step.TAKE: (Stage.FINISHED, errno.ENODEV),  # no page of it is being copied: it ends at once
    Step.COPY_OUT: (Stage.ABORTED, errno.ENODEV),  # its copier ends it
    Step.READ: (Stage.FINISHED, None),
    Step.MATCH: (Stage.ABORTED, errno.ENOENT),
    Step.COPY_IN: (Stage.ABORTED, errno.ENOENT),
}


@pytest.mark.parametrize("text", ABORTED_AT)
def test_abort_in_each_phase(either: Bench, text: Step) -> None:
    rm = either.unlink()
    request = either.connection.pending[0]
    if text in READING:
        daemon = either.later(either.device.read(BUFFER))
    else:
        daemon = either.later(either.device.write(encode_reply(either.read().header.unique)))
    left: list[Stage] = []

    def abort() -> None:
        either.connection.abort()
        left.append(request.stage)

    either.stop_at(text, abort, first=rm)
    stage, code = ABORTED_AT[text]
    assert left == [stage]
    assert errno_of(daemon) == code
    assert errno_of(rm) == errno.ECONNABORTED
    assert either.connection.statistics() == idle(either)


def test_nothing_that_is_forced_outlives_an_abort(linux: Bench) -> None:
    flush = linux.start(linux.connection.ask("FLUSH", 1, FlushIn(1), force=True), "close")
    linux.connection.abort()
    linux.go_on()
    assert errno_of(flush) == errno.ECONNABORTED
    late = linux.start(linux.connection.ask("FLUSH", 1, FlushIn(1), force=True), "close")
    assert errno_of(late) == errno.ENOTCONN


# Forced requests, and those that are nobody's.


@pytest.mark.parametrize("read_first", [False, True])
def test_a_forced_request_is_interrupted_but_never_killed(linux: Bench, read_first: bool) -> None:
    close = linux.start(linux.connection.ask("FLUSH", 1, FlushIn(1), force=True), "close")
    if read_first:
        unique = linux.read().header.unique
        close.kill()
        linux.go_on()
    else:
        close.kill()
        linux.go_on()
        unique = linux.read().header.unique
    assert not close.finished
    assert linux.read().body.unique == unique
    linux.write(encode_reply(unique))
    assert close.finished


def test_a_forced_request_passes_the_gate() -> None:
    connection = Connection()
    sender = Task("close", connection.ask("FLUSH", 1, FlushIn(1), force=True))
    assert run([sender])[sender].name == "req->waitq"
    connection.abort()
    assert run([sender]) == {}


def test_in_2005_only_a_kill_ends_a_read_and_it_begins_nothing_anew(seed2005: Bench) -> None:
    cat = seed2005.start(seed2005.connection.ask("READ", 2, ReadIn(size=10)), "cat")
    cat.interrupt()
    seed2005.go_on()
    assert not cat.finished
    cat.kill()
    seed2005.go_on()
    assert errno_of(cat) == errno.EINTR
    assert not seed2005.connection.pending


def test_what_is_nobodys_carries_no_ids(linux: Bench) -> None:
    process = linux.caller(uid=1000, gid=100, pid=42)
    linux.start(linux.connection.ask("FORGET", 2, ForgetIn(1), force=True, nocreds=True), process=process)
    header = linux.read().header
    assert (header.uid, header.gid, header.pid) == (0, 0, 0)


def test_a_request_that_wants_no_reply_is_over_when_it_is_read(either: Bench) -> None:
    task = either.start(either.connection.ask("FORGET", 2, ForgetIn(1), force=True))
    assert not task.finished
    unique = either.read().header.unique
    assert isinstance(task.result, Reply)
    assert errno_of(either.start(either.device.write(encode_reply(unique)))) == either.connection.profile.unknown_unique
    assert either.connection.statistics() == idle(either)


def test_extensions_go_behind_the_names(linux: Bench) -> None:
    groups = Extensions(groups=(7,))
    linux.start(linux.connection.ask("MKDIR", 1, MkdirIn(0o755, 0o022), [b"d"], extensions=groups), "mkdir")
    message = linux.read()
    assert message.extensions == groups
    assert message.header.total_extlen == 2


@pytest.mark.parametrize(("flags", "size"), [(0, 8), (InitFlags.FUSE_SETXATTR_EXT, 16)])
def test_setxattr_has_its_longer_form_where_it_was_negotiated(flags: int, size: int) -> None:
    with bench(LINUX, flags=flags) as made:
        made.start(made.connection.ask("SETXATTR", 1, SetxattrIn(1), [b"user.x"], b"v"), "setfattr")
        message = made.call(made.device.read(BUFFER))
        assert len(message) == 40 + size + len(b"user.x\0v")


@pytest.mark.parametrize("minor", [19, 31, 36, 45])
def test_an_operation_that_this_kernel_does_not_know_is_absent(minor: int) -> None:
    absent = Connection(LINUX, minor).absent
    assert ("COPY_FILE_RANGE_64" in absent) is (minor < 45)
    assert ("TMPFILE" in absent) is (minor < 37)
    assert ("RENAME2" in absent) is (minor < 23)
    assert "FALLOCATE" not in absent


def test_a_reply_to_a_retrieve_has_the_daemons_number_and_wants_no_answer(linux: Bench) -> None:
    task = linux.start(linux.connection.notify_reply(77, 2, NotifyRetrieveIn(size=3), b"abc"))
    assert task.finished
    message = linux.read()
    assert (message.operation.name, message.header.unique, bytes(message.data)) == ("NOTIFY_REPLY", 77, b"abc")
    assert linux.connection.statistics() == idle(linux)


def test_a_reply_to_a_retrieve_bears_the_name_of_who_asked(linux: Bench) -> None:
    asking = linux.caller(1000, 100, 77)
    linux.start(linux.connection.notify_reply(77, 2, NotifyRetrieveIn(), b""), process=asking)
    header = linux.read().header
    assert (header.uid, header.gid, header.pid) == (1000, 100, 77)


def test_a_request_that_cannot_be_said_is_its_senders_mistake(linux: Bench) -> None:
    task = linux.later(linux.connection.ask("UNLINK", 1, names=[b"a\0b"]))
    with pytest.raises(ValueError, match="NUL"):
        linux.go_on()
    assert task.finished or not task.ready
    linux.tasks.remove(task)
    assert linux.connection.statistics() == idle(linux)


# 2005's pool.


def test_in_2005_a_release_takes_a_place_or_is_a_debt(seed2005: Bench) -> None:
    pool = seed2005.connection.pool
    senders = [seed2005.unlink() for _ in range(9)]
    for _ in range(3):
        seed2005.connection.ask_background("RELEASE", 2, ReleaseIn(1))
    assert (pool.places, pool.debt, len(pool.unused)) == (0, 2, 1)
    eleventh = seed2005.unlink()
    assert eleventh.asleep_on is seed2005.connection.blocked_waitq
    for _ in range(2):  # two answers pay the debt
        seed2005.write(encode_reply(seed2005.read().header.unique))
    assert pool.debt == 0
    assert eleventh.asleep_on is seed2005.connection.blocked_waitq
    seed2005.write(encode_reply(seed2005.read().header.unique))
    assert eleventh.asleep_on is not seed2005.connection.blocked_waitq
    while seed2005.connection.pending or seed2005.connection.processing:
        seed2005.write(encode_reply(seed2005.read().header.unique))
    assert all(sender.finished for sender in [*senders, eleventh])
    assert (pool.places, pool.debt, len(pool.unused)) == (10, 0, 10)


def test_in_2005_a_signal_ends_the_wait_for_a_request(seed2005: Bench) -> None:
    for _ in range(10):
        seed2005.unlink()
    waiting = seed2005.unlink()
    waiting.interrupt()
    seed2005.go_on()
    assert errno_of(waiting) == errno.EINTR
    assert seed2005.connection.num_waiting == 10


def test_in_2005_what_is_given_up_keeps_its_inode_until_the_reply(seed2005: Bench) -> None:
    root = seed2005.superblock.root_inode
    before = root.references
    rm = seed2005.start(seed2005.connection.ask("UNLINK", 1, names=[b"file"]), "rm", seed2005.caller())
    unique = seed2005.read().header.unique
    rm.kill()
    seed2005.go_on()
    assert root.references == before + 1
    assert errno_of(seed2005.start(seed2005.device.write(encode_reply(unique)))) == errno.ENOENT
    assert root.references == before


def test_a_task_that_is_closed_gives_its_request_back(either: Bench) -> None:
    pending = either.unlink()
    close([pending])
    either.tasks.remove(pending)
    either.write(encode_reply(either.read().header.unique))
    assert either.connection.statistics() == idle(either)


class Remover(Caller):
    """A process of one system call."""

    @syscall
    async def unlink(self, name: bytes) -> None:
        await self.connection.ask("UNLINK", 1, names=[name])

    connection: Connection


@pytest.mark.parametrize("fatal", [True, False])
def test_in_2005_a_system_call_that_is_interrupted_early_begins_anew_unless_it_is_killed(
    seed2005: Bench, fatal: bool
) -> None:
    process = Remover(seed2005.system, 100, Credentials.of(1000, 1000), seed2005.superblock.root)
    process.connection = seed2005.connection
    rm = seed2005.start(process.unlink(b"file"), "rm")
    first = seed2005.connection.pending[0]
    if fatal:
        rm.kill()
    else:
        rm.interrupt()
    seed2005.go_on()
    assert first.stage is Stage.FINISHED
    if fatal:
        assert isinstance(rm.result, Killed)
        assert not seed2005.connection.pending
        return
    assert not rm.finished
    again = seed2005.read()
    assert again.names == (b"file",)
    assert again.header.unique == first.unique + 1
    seed2005.write(encode_reply(again.header.unique))
    assert errno_of(rm) is None
    assert rm.finished
