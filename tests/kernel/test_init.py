"""INIT: what is offered, and what an answer makes of the connection."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest

from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.init import Settings, negotiate
from fusewire.kernel.profile import LINUX, SEED2005, Profile
from fusewire.kernel.syscalls import sys_mount
from fusewire.kernel.tasks import Task, close, run
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


def mounted() -> tuple[Connection, Device, bytes]:
    """Mount; return the INIT that the device then has."""
    device = Device()
    mounting, reader = Task("mount", sys_mount(device)), Task("daemon", device.read(8192))
    run([mounting, reader])
    assert device.connection is not None
    assert isinstance(reader.result, bytes)
    return device.connection, device, reader.result


def answered(message: bytes) -> Connection:
    """Mount and answer INIT with `message`."""
    connection, device, _ = mounted()
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
    device = Device()
    mounting = Task("mount", sys_mount(device, profile))
    run([mounting])
    connection = device.connection
    assert connection is not None
    waiter = Task("rm", connection.get())
    run([waiter])
    connection.abort()
    run([waiter])
    assert errno_of(waiter) == errno.ENOTCONN
    close([waiter])
