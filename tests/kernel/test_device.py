"""/dev/fuse: what a read and a write are refused, and what becomes of the request."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from fusewire.kernel.device import Device
from fusewire.kernel.init import Settings
from fusewire.kernel.profile import LINUX, SEED2005, Profile
from fusewire.kernel.tasks import Task, run
from fusewire.kernel.waitq import WaitQueue
from fusewire.wire import OutHeader, SetxattrIn, encode_error, encode_notification, encode_reply
from kernel_end import BUFFER, Bench, bench, errno_of


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
    linux.connection.settings = Settings(max_write=max_write)
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


# Writing: part by part what the kernel checks, in its order. `unique` is that of a request which is owed a reply.

Wrong = Callable[[int], bytes]

HARMLESS: dict[str, Wrong] = {  # the writer is refused, the sender waits on
    "empty": lambda unique: b"",
    "shorter than a header": lambda unique: out(unique)[:15],
    "says more than came": lambda unique: out(unique, length=17),
    "says less than came": lambda unique: out(unique, payload=b"x", length=16),
    "a notification": lambda unique: encode_notification("INC_EPOCH"),
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


@pytest.mark.parametrize("wrong", FATAL.values(), ids=FATAL)
def test_a_reply_that_does_not_fit_fails_its_request(either: Bench, wrong: Wrong) -> None:
    rm = either.unlink()
    unique = either.read().header.unique
    with pytest.raises(OSError, match="Invalid argument"):
        either.write(wrong(unique))
    assert errno_of(rm) == errno.EIO
    assert either.connection.statistics()[1:] == (0, 0, 0, 0)


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
