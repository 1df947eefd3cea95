"""fusectl: the four files about a connection."""

from __future__ import annotations

import dataclasses
import errno

import pytest

from file_daemon import PAGE, PLAIN, FileDaemon, errno_of
from fusewire.kernel.control import MODES, Control, ControlFile, parse_number
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.wire import InitFlags


def test_there_are_four_files_with_their_modes() -> None:
    control = FileDaemon().superblock.control
    assert control.mode == 0o500
    assert control.name == str(control.superblock.dev)
    assert {name: oct(control[name].mode) for name in MODES} == {
        "waiting": "0o400",
        "abort": "0o200",
        "max_background": "0o600",
        "congestion_threshold": "0o600",
    }
    with pytest.raises(FileNotFoundError):
        control["nothing"]


def test_waiting_counts_what_the_daemon_owes() -> None:
    file = FileDaemon(b"x" * PAGE)
    fd = file.open()
    assert file.superblock.control["waiting"].read() == b"0\n"
    file.hold.add("READ")
    read = file.start(file.process.pread(fd, 1, 0))
    assert file.superblock.control["waiting"].read() == b"1\n"
    file.release("READ")
    assert read.result == b"x"


def test_waiting_stays_what_it_was_when_the_file_was_read_from_its_beginning() -> None:
    file = FileDaemon(b"x" * PAGE)
    waiting = file.superblock.control["waiting"]
    assert waiting.read(1) == b"0"
    fd = file.open()
    file.hold.add("READ")
    file.start(file.process.pread(fd, 1, 0))
    assert waiting.read() == b"\n"
    waiting.position = 0
    assert waiting.read() == b"1\n"


def test_whatever_is_written_to_abort_ends_the_connection() -> None:
    file = FileDaemon()
    fd = file.open()
    file.hold.add("FSYNC")
    fsync = file.start(file.process.fsync(fd))
    assert file.runner.do(lambda: file.superblock.control["abort"].write(b"no")) == 2
    assert errno_of(fsync) == errno.ECONNABORTED
    assert file.superblock.control["abort"].write(b"again") == 5


@pytest.mark.parametrize(
    ("flags", "says"), [(PLAIN, errno.ENODEV), (PLAIN | InitFlags.FUSE_ABORT_ERROR, errno.ECONNABORTED)]
)
def test_the_daemon_reads_that_it_was_aborted_if_it_asked_for_that(flags: int, says: int) -> None:
    file = FileDaemon(flags=flags)
    file.runner.do(lambda: file.superblock.control["abort"].write(b"1"))
    assert errno_of(file.start(file.device.read(1 << 20))) == says


def test_limits_are_what_was_negotiated_until_they_are_set() -> None:
    control = FileDaemon().superblock.control
    assert control["max_background"].read() == b"12\n"
    assert control["congestion_threshold"].read() == b"9\n"
    assert control["max_background"].write(b"0x10\n") == 5
    assert control["congestion_threshold"].write(b"010") == 3
    assert control["max_background"].read() == b"16\n"
    assert control["congestion_threshold"].read() == b"8\n"


def test_max_background_of_0_holds_all_background_requests_back() -> None:
    file = FileDaemon(b"x" * PAGE)
    fd = file.open()
    file.superblock.control["max_background"].write(b"0")
    file.run(file.process.close(fd))
    assert "RELEASE" not in file.names()
    file.superblock.control["max_background"].write(b"1")
    fd = file.open()
    file.run(file.process.close(fd))  # what is queued goes when something else is queued
    assert "RELEASE" in file.names()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"7", 7),
        (b"+7\n", 7),
        (b"0", 0),
        (b"0x1F", 31),
        (b"0X1f\n", 31),
        (b"017", 15),
        (b"7\0junk", 7),
        (b"65535", 65535),
    ],
)
def test_a_number_is_written_as_in_c(text: bytes, number: int) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"-1", b" 1", b"1 ", b"1\n\n", b"0x", b"08", b"x", b"1e3", b"++1", b"1_0"]
)
def test_what_is_no_number_is_invalid(text: bytes) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        FileDaemon().superblock.control["max_background"].write(text)


def test_a_limit_is_at_most_65535_and_for_users_less() -> None:
    superblock = FileDaemon().superblock
    for limit, fits in [(b"65535", True), (b"65536", False)]:
        assert _writes(superblock.control["max_background"], limit) is fits
    superblock.options = dataclasses.replace(superblock.options, user_id=1000)
    owner, control = Credentials.of(1000, 1000), Control(superblock, user_limit=100)
    for limit, fits in [(b"100", True), (b"101", False)]:
        assert _writes(control.open("max_background", owner), limit) is fits
    with pytest.raises(OSError, match=r"[Rr]ange|too large|Numerical"):
        superblock.control["max_background"].write(b"18446744073709551616")


def test_nobody_but_the_owner_and_root_comes_in() -> None:
    control = FileDaemon().superblock.control
    with pytest.raises(PermissionError):
        control.open("waiting", Credentials.of(1000, 1000))


def test_what_cannot_be_done_with_a_file_is_invalid() -> None:
    control = FileDaemon().superblock.control
    limit = control["max_background"]
    limit.read(1)
    for does in (
        lambda: control["abort"].read(),
        lambda: control["waiting"].write(b"1"),
        lambda: limit.write(b"5"),
    ):
        with pytest.raises(OSError, match="Invalid argument"):
            does()


def test_after_the_end_the_files_are_empty_and_take_anything() -> None:
    file = FileDaemon()
    opened = {name: file.superblock.control[name] for name in MODES}
    file.superblock.active = False
    assert opened["waiting"].read() == b""
    assert opened["max_background"].read() == b""
    assert opened["abort"].write(b"1") == 1
    assert opened["max_background"].write(b"3") == 1
    assert file.connection.connected
    assert file.connection.background.maximum == 12


def _writes(file: ControlFile, text: bytes) -> bool:
    try:
        file.write(text)
    except OSError:
        return False
    return True
