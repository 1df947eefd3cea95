"""/dev/fuse: what a read and a write are refused, and what becomes of the request."""

from __future__ import annotations

import errno
import select
from collections.abc import Callable
from typing import Any

import pytest

from fusewire.events import Step
from fusewire.kernel.checks.connection import check
from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.init import Settings
from fusewire.kernel.profile import LINUX, SEED2005, Profile
from fusewire.kernel.resend import bucket, resend
from fusewire.kernel.tasks import Task, close, run
from fusewire.kernel.waitq import WaitQueue
from fusewire.wire import (
    FUSE_DEV_IOC_BACKING_OPEN,
    FUSE_DEV_IOC_CLONE,
    FUSE_DEV_IOC_SYNC_INIT,
    FUSE_UNIQUE_RESEND,
    NotifyInvalInodeOut,
    OutHeader,
    ReadIn,
    Reply,
    SetxattrIn,
    encode_error,
    encode_notification,
    encode_reply,
)
from kernel_end import BUFFER, Bench, Memory, bench, errno_of


def out(unique: int, error: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """A reply, however wrong."""
    return OutHeader(16 + len(payload) if length is None else length, error, unique).pack() + payload


def test_before_the_mount_it_is_of_no_use() -> None:
    device = Device()
    tasks = [Task("read", device.read(BUFFER)), Task("write", device.write(out(2)))]
    run(tasks)
    assert [errno_of(task) for task in tasks] == [errno.EPERM] * 2


# Reading.


@pytest.mark.parametrize(("max_write", "least"), [(0, 8192), (4096, 8192), (8112, 8192), (8113, 8193), (65536, 65616)])
def test_a_read_must_have_room_for_the_longest_write(linux: Bench, max_write: int, least: int) -> None:
    linux.connection.settle(Settings(max_write=max_write))
    linux.unlink()
    with pytest.raises(OSError, match="Invalid argument"):
        linux.read(least - 1)
    assert linux.read(least).operation.name == "UNLINK"


def test_in_2005_any_buffer_would_do_that_the_request_fits_in(seed2005: Bench) -> None:
    seed2005.unlink()
    assert seed2005.read(45).header.len == 45
    rm = seed2005.unlink()
    with pytest.raises(OSError, match="Invalid argument"):
        seed2005.read(44)
    assert errno_of(rm) == errno.EIO


def test_a_request_too_long_for_the_reader_fails_and_the_reader_gets_the_next(linux: Bench) -> None:
    too_long = linux.unlink(b"x" * 9000)
    value = bytes(9000)
    xattr = linux.start(linux.connection.ask("SETXATTR", 1, SetxattrIn(len(value)), [b"user.x"], value), "setfattr")
    linux.unlink(b"short")
    assert linux.read(8192).names == (b"short",)
    assert errno_of(too_long) == errno.EIO
    assert errno_of(xattr) == errno.E2BIG


def test_a_killed_reader_stops_waiting(either: Bench) -> None:
    reader = either.start(either.device.read(BUFFER), "daemon")
    reader.interrupt()
    either.go_on()
    assert errno_of(reader) == errno.EINTR
    assert either.connection.waitq.sleepers == []


@pytest.mark.parametrize(("with_error", "code"), [(False, errno.ENODEV), (True, errno.ECONNABORTED)])
def test_after_an_abort_there_is_nothing_to_read(linux: Bench, with_error: bool, code: int) -> None:
    linux.connection.abort(with_error)
    assert errno_of(linux.start(linux.device.read(BUFFER))) == code


def test_a_device_that_does_not_block_says_so_instead_of_sleeping(either: Bench) -> None:
    either.device.nonblocking = True
    with pytest.raises(BlockingIOError):
        either.read()
    either.unlink()
    assert either.read().operation.name == "UNLINK"
    either.connection.abort()
    assert errno_of(either.start(either.device.read(BUFFER))) == errno.ENODEV


def test_poll_says_what_can_be_done(linux: Bench) -> None:
    def polled(device: Device = linux.device) -> Any:
        return linux.call(device.poll())

    writable, readable = select.POLLOUT | select.POLLWRNORM, select.POLLIN | select.POLLRDNORM
    assert polled(Device()) == select.POLLERR
    assert polled() == writable
    rm = linux.unlink()
    assert polled() == writable | readable
    linux.read()
    assert polled() == writable
    rm.interrupt()
    linux.go_on()
    assert polled() == writable | readable
    linux.read()
    linux.connection.forget(2, 1)
    assert polled() == writable | readable
    linux.connection.abort()
    assert polled() == select.POLLERR


def test_a_daemon_that_asked_for_sync_init_waits_for_the_mount() -> None:
    device = Device()
    assert device.ioctl(FUSE_DEV_IOC_SYNC_INIT) == 0
    tasks = reader, poller = Task("reader", device.read(8192)), Task("poller", device.poll())
    assert set(run(tasks).values()) == {device.bound_waitq}
    device.bind(Connection())
    assert run(tasks) == {reader: device.connection.waitq if device.connection else None}
    assert poller.finished
    assert errno_of_call(device, FUSE_DEV_IOC_SYNC_INIT) == errno.EINVAL  # it is mounted
    close([reader])


def errno_of_call(device: Device, command: int, argument: object = None) -> int | None:
    try:
        device.ioctl(command, argument)
    except OSError as error:
        return error.errno
    return None


def test_what_an_ioctl_is_refused(linux: Bench) -> None:
    closed, unbound = Device(), Device()
    closed.close()
    assert errno_of_call(linux.device, 0x1234) == errno.ENOTTY
    assert errno_of_call(linux.device, FUSE_DEV_IOC_BACKING_OPEN) == errno.EOPNOTSUPP
    assert errno_of_call(Device(), FUSE_DEV_IOC_CLONE, unbound) == errno.EPERM
    assert errno_of_call(linux.device, FUSE_DEV_IOC_CLONE, linux.device) == errno.EINVAL  # bound already
    assert errno_of_call(Device(), FUSE_DEV_IOC_CLONE, closed) == errno.EINVAL
    assert errno_of_call(Device(), FUSE_DEV_IOC_CLONE, "no device") == errno.EINVAL
    assert errno_of_call(Device(), FUSE_DEV_IOC_CLONE, linux.device) is None


# Several devices of one connection.


def test_only_the_device_that_read_a_request_may_answer_it(either: Bench) -> None:
    clone = either.clone()
    rm = either.unlink()
    unique = either.read(device=clone).header.unique
    code = either.connection.profile.unknown_unique
    assert errno_of(either.start(either.device.write(encode_reply(unique)))) == code
    assert not rm.finished
    either.write(encode_reply(unique), clone)
    assert rm.finished


def test_an_interrupt_may_be_read_anywhere_and_is_answered_where_the_request_was_read(linux: Bench) -> None:
    clone = linux.clone()
    rm = linux.unlink()
    unique = linux.read().header.unique
    rm.interrupt()
    linux.go_on()
    assert linux.read(device=clone).header.unique == unique | 1
    again = encode_error(unique | 1, errno.EAGAIN)
    assert errno_of(linux.start(clone.write(again))) == errno.ENOENT
    assert linux.write(again) == 16


def test_closing_one_of_several_devices_fails_what_was_read_from_it(either: Bench) -> None:
    clone = either.clone()
    ours, others = either.unlink(b"ours"), either.unlink(b"others")
    unique = either.read().header.unique
    either.read(device=clone)
    pending = either.unlink(b"pending")
    clone.close()
    either.go_on()
    assert errno_of(others) == errno.ECONNABORTED
    assert not ours.finished
    assert not pending.finished
    assert either.connection.connected
    either.write(encode_reply(unique))
    assert ours.finished


@pytest.mark.parametrize("text", [Step.TAKE, Step.COPY_OUT])
def test_a_device_that_is_closed_while_it_reads_fails_what_it_reads(either: Bench, text: str) -> None:
    clone = either.clone()
    rm, daemon = either.unlink(), either.later(clone.read(BUFFER))
    either.stop_at(text, clone.close, first=rm)
    assert errno_of(rm) == errno.ECONNABORTED
    assert errno_of(daemon) == errno.ENODEV
    assert either.connection.connected


def test_a_reader_of_a_device_that_is_closed_waits_no_longer(either: Bench) -> None:
    clone = either.clone()
    reader = either.start(clone.read(BUFFER), "reader")
    clone.close()
    either.go_on()
    assert errno_of(reader) == errno.ENODEV


def test_descriptors_of_one_device_share_it_until_the_last_is_closed(either: Bench) -> None:
    assert either.device.dup() is either.device
    either.device.close()
    assert either.connection.connected
    either.device.close()
    assert not either.connection.connected


# Pipes.


def test_a_splice_writes_what_the_pipe_holds_if_that_is_enough(linux: Bench) -> None:
    rm = linux.unlink()
    message = encode_reply(linux.read().header.unique)
    with pytest.raises(OSError, match="Invalid argument"):
        linux.call(linux.device.splice_write([message[:10]], 16))
    assert not rm.finished
    assert linux.call(linux.device.splice_write([message[:10], message[10:] + b"left in the pipe"], 16)) == 16
    assert rm.finished


def test_a_splice_into_a_pipe_that_is_too_small_loses_the_message(linux: Bench) -> None:
    rm = linux.unlink(b"x" * 5000)
    with pytest.raises(OSError, match="Input/output"):
        linux.call(linux.device.splice_read(BUFFER, slots=1))
    assert not rm.finished
    assert linux.processing().operation.name == "UNLINK"
    linux.unlink(b"x" * 5000)
    assert len(linux.call(linux.device.splice_read(BUFFER, slots=2))) == 5041


# Sending again.


def test_what_was_read_is_read_again_under_a_number_that_says_so(linux: Bench) -> None:
    senders = [linux.unlink(name) for name in (b"a", b"b")]
    old = sorted(linux.read().header.unique for _ in senders)
    pending = linux.unlink(b"pending")
    resend(linux.connection)
    check(linux.connection)
    again = [linux.read() for _ in range(3)]
    assert [message.names for message in again[2:]] == [(b"pending",)]
    assert sorted(message.header.unique ^ FUSE_UNIQUE_RESEND for message in again[:2]) == old
    buckets = [bucket(message.header.unique ^ FUSE_UNIQUE_RESEND) for message in again[:2]]
    assert buckets == sorted(buckets)
    assert errno_of(linux.start(linux.device.write(encode_reply(old[0])))) == errno.ENOENT
    for message in again:
        linux.write(encode_reply(message.header.unique))
    assert all(sender.finished for sender in [*senders, pending])


def test_an_interrupt_is_sent_again_with_its_request(linux: Bench) -> None:
    unique = interrupted(linux)
    resend(linux.connection)
    again = linux.read().header.unique
    assert again == unique | FUSE_UNIQUE_RESEND
    interrupt = linux.read()
    assert (interrupt.header.unique, interrupt.body.unique) == (again | 1, again)


def test_what_is_being_copied_is_not_sent_again(linux: Bench) -> None:
    rm = linux.unlink()
    writer = linux.later(linux.device.write(encode_reply(linux.read().header.unique)))
    linux.stop_at(Step.MATCH, lambda: resend(linux.connection))
    assert writer.result == 16
    assert rm.finished
    assert not linux.connection.pending


def test_once_it_is_sent_again_a_kill_withdraws_what_was_not_being_waited_for_any_deeper(linux: Bench) -> None:
    fresh, hopeless = linux.unlink(), linux.unlink()
    linux.read()
    linux.read()
    hopeless.kill()
    linux.go_on()
    resend(linux.connection)
    fresh.kill()
    linux.go_on()
    assert errno_of(fresh) == errno.EINTR
    assert not hopeless.finished  # its sleep is as deep as it was
    assert linux.connection.statistics().pending == 1


def test_after_an_abort_nothing_is_sent_again(linux: Bench) -> None:
    linux.connection.abort()
    resend(linux.connection)
    assert not linux.connection.pending


# Writing: part by part what the kernel checks, in its order. `unique` is that of a request which is owed a reply.

Wrong = Callable[[int], bytes]

HARMLESS: dict[str, Wrong] = {  # the writer is refused, the sender waits on
    "empty": lambda unique: b"",
    "shorter than a header": lambda unique: out(unique)[:15],
    "says more than came": lambda unique: out(unique, length=17),
    "says less than came": lambda unique: out(unique, payload=b"x", length=16),
    "a notification cut short": lambda unique: out(0, 2, bytes(23)),
    "a notification of nothing": lambda unique: out(0),
    "a positive error": lambda unique: out(unique, 2),
    "an error beyond errnos": lambda unique: out(unique, -1000),
}
FATAL: dict[str, Wrong] = {  # the writer is refused, and the sender gets EIO: there is no second chance
    "an error with a payload": lambda unique: out(unique, -errno.ENOENT, b"x"),
    "longer than the reply": lambda unique: out(unique, payload=b"x"),
}


@pytest.mark.parametrize("wrong", HARMLESS.values(), ids=HARMLESS)
def test_what_is_no_reply_harms_no_request(either: Bench, wrong: Wrong) -> None:
    rm = either.unlink()
    unique = either.read().header.unique
    with pytest.raises(OSError, match="Invalid argument"):
        either.write(wrong(unique))
    assert not rm.finished
    assert either.write(encode_reply(unique)) == 16  # and the right reply is still taken
    assert errno_of(rm) is None
    assert len(either.connection.violations) == 1


RULES: list[tuple[int, Wrong]] = [
    (2, HARMLESS["shorter than a header"]),
    (4, HARMLESS["says more than came"]),
    (5, HARMLESS["a notification of nothing"]),
    (6, HARMLESS["a positive error"]),
    (7, lambda unique: out(unique + 100)),
    (8, lambda unique: out(unique | 1, payload=b"x")),
    (8, lambda unique: out(unique | 1, -errno.EAGAIN)),
    (9, FATAL["an error with a payload"]),
    (10, FATAL["longer than the reply"]),
]


@pytest.mark.parametrize(("rule", "wrong"), RULES)
def test_what_a_daemon_should_not_have_written_is_noted_with_its_rule(linux: Bench, rule: int, wrong: Wrong) -> None:
    linux.unlink()
    unique = linux.read().header.unique
    assert linux.connection.violations == []
    task = linux.start(linux.device.write(wrong(unique)))
    (violation,) = linux.connection.violations
    assert violation.rule == rule
    assert violation.errno == errno_of(task)
    assert violation.unique in (OutHeader.unpack_from(wrong(unique).ljust(16)).unique, 0)
    assert violation.text


def test_a_reply_that_comes_twice_is_a_violation_and_a_late_answer_to_an_interrupt_is_not(linux: Bench) -> None:
    linux.unlink()
    unique = linux.read().header.unique
    linux.write(encode_reply(unique))
    assert errno_of(linux.start(linux.device.write(encode_error(unique | 1, errno.EAGAIN)))) == errno.ENOENT
    assert linux.connection.violations == []
    assert errno_of(linux.start(linux.device.write(encode_reply(unique)))) == errno.ENOENT
    assert [violation.rule for violation in linux.connection.violations] == [7]


def test_a_reply_after_an_abort_is_no_violation(linux: Bench) -> None:
    linux.unlink()
    unique = linux.read().header.unique
    linux.connection.abort()
    linux.start(linux.device.write(encode_reply(unique)))
    assert linux.connection.violations == []


def test_a_notification_has_its_effect(either: Bench) -> None:
    before = either.connection.epoch
    message = encode_notification("INC_EPOCH")
    assert either.write(message) == len(message)
    assert either.connection.epoch == before + 1


def test_a_notification_of_what_is_not_cached_is_no_violation(linux: Bench) -> None:
    message = encode_notification("INVAL_INODE", NotifyInvalInodeOut(ino=77, off=-1))
    assert errno_of(linux.start(linux.device.write(message))) == errno.ENOENT
    assert linux.connection.violations == []


def test_a_notification_is_read_from_memory_too(linux: Bench) -> None:
    message = encode_notification("INC_EPOCH")
    linux.call(linux.device.write(Memory(message, {})))
    assert linux.connection.epoch == 2


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_the_reply_does_not_change_with_the_buffer_it_came_in(linux: Bench, kind: Callable[[bytes], Any]) -> None:
    cat = linux.start(linux.connection.ask("READ", 2, ReadIn(size=10)), "cat")
    raw = bytearray(out(linux.read().header.unique, payload=b"abc"))
    linux.write(raw if kind is bytearray else memoryview(raw))
    raw[16:] = b"xyz"
    assert isinstance(cat.result, Reply)
    assert bytes(cat.result.data) == b"abc"


@pytest.mark.parametrize("wrong", FATAL.values(), ids=FATAL)
def test_a_reply_that_does_not_fit_fails_its_request(either: Bench, wrong: Wrong) -> None:
    rm = either.unlink()
    unique = either.read().header.unique
    with pytest.raises(OSError, match="Invalid argument"):
        either.write(wrong(unique))
    assert errno_of(rm) == errno.EIO
    assert either.connection.statistics()[1:] == (0,) * 7


def test_a_reply_shorter_than_it_must_be_fails_its_request(either: Bench) -> None:
    ls = either.start(either.connection.ask("LOOKUP", 1, names=[b"file"]), "ls")
    with pytest.raises(OSError, match="Invalid argument"):
        either.write(out(either.read().header.unique, payload=bytes(127)))
    assert errno_of(ls) == errno.EIO


@pytest.mark.parametrize(("profile", "largest"), [(LINUX, 511), (SEED2005, 999)])
def test_the_greatest_errno_reaches_the_sender_and_the_next_is_refused(profile: Profile, largest: int) -> None:
    with bench(profile) as made:
        rm = made.unlink()
        unique = made.read().header.unique
        with pytest.raises(OSError, match="Invalid argument"):
            made.write(out(unique, -largest - 1))
        made.write(out(unique, -largest))
        assert errno_of(rm) == largest


@pytest.mark.parametrize(("profile", "code"), [(LINUX, errno.ENOENT), (SEED2005, errno.EINVAL)])
def test_nobody_waits_for_an_unknown_unique(profile: Profile, code: int) -> None:
    with bench(profile) as made:
        made.unlink()
        pending = profile.unique_step
        assert errno_of(made.start(made.device.write(out(pending)))) == code  # it has not been read
        made.write(encode_reply(made.read().header.unique))
        assert errno_of(made.start(made.device.write(out(pending)))) == code  # it has been answered
        assert errno_of(made.start(made.device.write(out(1 << 63)))) == code


def test_after_an_abort_no_reply_is_taken(either: Bench) -> None:
    either.unlink()
    unique = either.read().header.unique
    either.connection.abort()
    assert errno_of(either.start(either.device.write(encode_reply(unique)))) == errno.ENOENT


# Answers to INTERRUPT.


def interrupted(linux: Bench) -> int:
    """Return the unique of a request whose INTERRUPT has just been read."""
    rm = linux.unlink()
    unique = linux.read().header.unique
    rm.interrupt()
    linux.go_on()
    assert linux.read().header.unique == unique | 1
    return unique


def test_eagain_has_the_interrupt_sent_again(linux: Bench) -> None:
    unique = interrupted(linux)
    for _ in range(2):
        linux.write(encode_error(unique | 1, errno.EAGAIN))
        assert linux.read().header.unique == unique | 1
    assert not linux.connection.readable


def test_eagain_said_twice_has_it_sent_again_once(linux: Bench) -> None:
    unique = interrupted(linux)
    for _ in range(2):
        linux.write(encode_error(unique | 1, errno.EAGAIN))
    assert linux.connection.statistics().interrupts == 1


def test_eagain_to_an_interrupt_that_was_never_sent_is_refused(linux: Bench) -> None:
    linux.unlink()
    unique = linux.read().header.unique
    with pytest.raises(OSError, match="Invalid argument"):
        linux.write(encode_error(unique | 1, errno.EAGAIN))


@pytest.mark.parametrize("error", [0, -errno.EIO])
def test_any_other_answer_to_an_interrupt_says_nothing(linux: Bench, error: int) -> None:
    unique = interrupted(linux)
    assert linux.write(out(unique | 1, error)) == 16
    assert not linux.connection.readable
    assert unique in linux.connection.processing


def test_an_answer_to_an_interrupt_has_no_payload(linux: Bench) -> None:
    unique = interrupted(linux)
    with pytest.raises(OSError, match="Invalid argument"):
        linux.write(out(unique | 1, payload=b"x"))
    assert unique in linux.connection.processing


def test_an_answer_to_an_interrupt_comes_too_late_once_the_request_is_answered(linux: Bench) -> None:
    unique = interrupted(linux)
    linux.write(encode_reply(unique))
    with pytest.raises(FileNotFoundError):
        linux.write(encode_error(unique | 1, errno.EAGAIN))


# The end.


def test_closing_the_last_device_aborts(either: Bench) -> None:
    processing = either.unlink()
    either.read()
    pending = either.unlink()
    either.device.close()
    either.device.close()
    either.go_on()
    assert errno_of(processing) == errno_of(pending) == errno.ECONNABORTED
    assert errno_of(either.unlink()) == errno.ENOTCONN


def test_closing_an_unmounted_device_is_nothing() -> None:
    device = Device()
    device.close()
    assert device.closed
    assert not device.connected


def test_a_pending_request_is_held_up_by_all_readers_and_a_read_one_by_its_own(either: Bench) -> None:
    async def read_one_and_stay() -> None:
        await either.device.read(BUFFER)
        await WaitQueue("elsewhere").sleep(until=lambda: False)

    def holders(sender: Task) -> list[str]:
        assert sender.asleep_on is not None
        return [task.name for task in sender.asleep_on.holders()]

    readers = [either.start(read_one_and_stay(), name) for name in ("first", "second")]
    senders = [either.unlink() for _ in range(3)]
    assert [holders(sender) for sender in senders] == [["first"], ["second"], ["first", "second"]]
    readers[0].kill()
    either.go_on()
    assert holders(senders[2]) == ["second"]
