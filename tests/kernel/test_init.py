"""INIT: what is offered, and what an answer makes of the connection."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest

from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.init import SINCE, Settings, Sysctls, exchange_init, known_flags, negotiate, user_limit
from fusewire.kernel.mounting import mount
from fusewire.kernel.profile import LINUX, SEED2005, Profile
from fusewire.kernel.tasks import Task, close, run
from fusewire.kernel.vfs.superblock import Options
from fusewire.kernel.vfs.system import System
from fusewire.wire import InitFlags, InitOut, decode_request, encode_error, encode_reply
from kernel_end import errno_of

ANSWER = InitOut(
    major=7,
    minor=45,
    max_readahead=1 << 20,
    flags=InitFlags.FUSE_MAX_PAGES | InitFlags.FUSE_INIT_EXT,
    flags2=InitFlags.FUSE_HAS_RESEND >> 32,
    max_background=64,
    congestion_threshold=48,
    max_write=1 << 20,
    time_gran=1000,
    max_pages=200,
)


def mounted(
    profile: Profile = LINUX, minor: int = 45, options: Options | None = None
) -> tuple[Connection, Device, bytes]:
    """Mount; return the INIT that the device then has."""
    device = Device()
    connection = mount(System(), device, options or Options(), profile, minor).connection
    reader = Task("daemon", device.read(8192))
    run([reader])
    assert isinstance(reader.result, bytes)
    return connection, device, reader.result


def answered(message: bytes, **how: Any) -> Connection:
    """Mount and answer INIT with `message`."""
    connection, device, _ = mounted(**how)
    writer = Task("daemon", device.write(message))
    run([writer])
    return connection


def test_it_is_104_bytes_as_linux_sends_it() -> None:
    _, _, message = mounted()
    init = decode_request(message)
    assert (len(message), init.operation.name, init.header.unique, init.header.nodeid) == (104, "INIT", 2, 0)
    assert (init.header.uid, init.header.gid, init.header.pid) == (0, 0, 0)
    assert (init.body.major, init.body.minor, init.body.max_readahead) == (7, 45, 131072)
    assert init.body.flags == 0x73FFFFFB  # as seen on Linux 6.18
    assert init.body.flags2 == 0x5DD  # there 0x7FD: with passthrough and io_uring


def test_before_its_answer_the_connection_has_defaults_and_a_closed_gate() -> None:
    connection, _, _ = mounted()
    assert connection.settings == Settings()
    assert not connection.initialized
    assert connection.num_waiting == 1


def test_its_answer_settles_the_limits_and_opens_the_gate() -> None:
    connection = answered(encode_reply(2, ANSWER))
    assert connection.initialized
    assert not connection.refused
    assert connection.settings == Settings(
        minor=45,
        flags=int(InitFlags.FUSE_MAX_PAGES | InitFlags.FUSE_INIT_EXT | InitFlags.FUSE_HAS_RESEND),
        max_readahead=131072,
        max_write=1 << 20,
        max_pages=200,
        name_max=4095,
        max_background=64,
        congestion_threshold=48,
        time_gran=1000,
    )


@pytest.mark.parametrize(
    "message", [encode_error(2, errno.EPROTO), encode_reply(2, replace(ANSWER, major=6)), encode_reply(2)]
)
def test_a_bad_answer_refuses_everyone(message: bytes) -> None:
    connection = answered(message)
    sender = Task("rm", connection.get())
    run([sender])
    assert errno_of(sender) == errno.ECONNREFUSED


def test_an_answer_may_be_cut_short() -> None:
    connection = answered(encode_reply(2, ANSWER.pack()[:8]))
    assert connection.settings == Settings(minor=45, max_readahead=0, max_write=4096)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"minor": 12}, {"minor": 12, "max_background": 12, "congestion_threshold": 9}),
        ({"max_background": 0, "congestion_threshold": 0}, {"max_background": 12, "congestion_threshold": 9}),
        ({"minor": 5}, {"flags": 0, "max_pages": 32, "name_max": 1024, "max_readahead": 131072}),
        ({"minor": 4}, {"max_write": 4096}),
        ({"max_write": 1}, {"max_write": 4096}),
        ({"max_pages": 0}, {"max_pages": 1, "name_max": 1024}),
        ({"max_pages": 1000}, {"max_pages": 256}),
        ({"flags": 0}, {"flags": 0, "max_pages": 32, "name_max": 1024}),
        ({"max_readahead": 10000}, {"max_readahead": 8192}),
        ({"time_gran": 0}, {"time_gran": 1}),
        ({"time_gran": 1_000_000_001}, {"time_gran": 1}),
        ({"request_timeout": 60}, {"request_timeout": 0}),
        ({"request_timeout": 60, "flags2": InitFlags.FUSE_REQUEST_TIMEOUT >> 32}, {"request_timeout": 60}),
        ({"minor": 99}, {"minor": 99}),
    ],
)
def test_each_field_is_taken_as_linux_takes_it(changed: dict[str, Any], expected: dict[str, Any]) -> None:
    settings = negotiate(replace(ANSWER, **changed))
    assert settings is not None
    assert {name: getattr(settings, name) for name in expected} == expected


def test_another_major_version_is_another_protocol() -> None:
    assert negotiate(replace(ANSWER, major=8)) is None


@pytest.mark.parametrize("profile", [LINUX, SEED2005])
def test_a_mount_that_is_aborted_before_the_answer_lets_nobody_wait(profile: Profile) -> None:
    connection, _, _ = mounted(profile)
    waiter = Task("rm", connection.get())
    run([waiter])
    connection.abort()
    run([waiter])
    assert errno_of(waiter) == errno.ENOTCONN
    assert connection.num_waiting == 0
    close([waiter])


# Kernels that people run.


def test_every_flag_has_a_minor() -> None:
    assert set(SINCE) == set(InitFlags.BITS)


@pytest.mark.parametrize(
    ("minor", "flags", "flags2"),
    [
        (19, 0xFFB, 0),
        (31, 0x03FFFFFB, 0),
        (36, 0x73FFFFFB, 0x1),
        (45, 0x73FFFFFB, 0x5DD),
    ],
)
def test_a_kernel_offers_what_it_knows(minor: int, flags: int, flags2: int) -> None:
    _, _, message = mounted(minor=minor)
    init = decode_request(message)
    assert (init.body.minor, init.body.flags, init.body.flags2) == (minor, flags, flags2)


def test_a_kernel_does_not_see_what_its_successors_would() -> None:
    everything = replace(ANSWER, flags=0xFFFFFFFF, flags2=0xFFFFFFFF)
    settings = negotiate(everything, minor=31)
    assert settings is not None
    assert settings.flags == known_flags(31)
    assert not settings.flags & InitFlags.FUSE_SETXATTR_EXT


def test_between_two_minors_the_smaller_decides() -> None:
    connection = answered(encode_reply(2, replace(ANSWER, minor=45)), minor=19)
    assert (connection.settings.minor, connection.common_minor) == (45, 19)
    connection = answered(encode_reply(2, replace(ANSWER, minor=12)), minor=45)
    assert connection.common_minor == 12


def test_flock_went_where_fcntl_went() -> None:
    for given, expected in [(InitFlags.FUSE_POSIX_LOCKS, True), (InitFlags.FUSE_FLOCK_LOCKS, False)]:
        settings = negotiate(replace(ANSWER, minor=16, flags=given))
        assert settings is not None
        assert bool(settings.flags & InitFlags.FUSE_FLOCK_LOCKS) is expected


def test_the_limits_of_the_system_hold() -> None:
    sysctls = Sysctls(max_pages_limit=10, max_user_bgreq=5, max_user_congthresh=4)
    ordinary, root = (negotiate(ANSWER, 45, sysctls, privileged) for privileged in (False, True))
    assert ordinary is not None
    assert root is not None
    assert (ordinary.max_pages, ordinary.max_background, ordinary.congestion_threshold) == (10, 5, 4)
    assert (root.max_pages, root.max_background, root.congestion_threshold) == (10, 64, 48)


@pytest.mark.parametrize("default_permissions", [True, False])
def test_idmapped_mounts_need_permissions_to_be_checked_here(default_permissions: bool) -> None:
    answer = replace(ANSWER, flags2=InitFlags.FUSE_ALLOW_IDMAP >> 32)
    options = Options(default_permissions=default_permissions)
    connection = answered(encode_reply(2, answer), options=options)
    assert connection.refused is not default_permissions


# mount(2) that waits for the answer.


def exchanging() -> tuple[Connection, Device, Task]:
    connection, device = Connection(), Device()
    device.bind(connection)
    mounting = Task("mount", exchange_init(connection))
    run([mounting])
    return connection, device, mounting


def test_sync_init_waits_for_the_answer() -> None:
    connection, device, mounting = exchanging()
    assert not mounting.finished
    daemon = Task("daemon", device.read(8192)), Task("daemon", device.write(encode_reply(2, ANSWER)))
    run([*daemon, mounting])
    assert mounting.finished
    assert mounting.result is None
    assert connection.initialized
    assert connection.num_waiting == 0


def test_sync_init_that_fails_is_no_mount() -> None:
    _, device, mounting = exchanging()
    run([Task("daemon", device.read(8192)), Task("daemon", device.write(encode_error(2, errno.EPROTO))), mounting])
    assert errno_of(mounting) == errno.ENOTCONN


@pytest.mark.parametrize("read_first", [True, False])
def test_killing_who_waits_for_sync_init_aborts(read_first: bool) -> None:
    connection, device, mounting = exchanging()
    if read_first:
        run([Task("daemon", device.read(8192))])
    mounting.kill()
    run([mounting])
    assert errno_of(mounting) == errno.ENOTCONN
    assert not connection.connected
    assert connection.num_waiting == 0


def test_how_much_an_ordinary_users_daemon_may_have_depends_on_the_memory() -> None:
    assert user_limit(24684084 << 10) == 7871  # as Linux says on a machine of that size, less what it took for itself
    assert user_limit(1 << 40) == 65535
    assert Sysctls().max_user_bgreq == user_limit(16 << 30)
