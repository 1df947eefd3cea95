"""Extended attributes: who may use which name, and what the daemon is asked."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import Any

import pytest

from fusewire.embedded import Kernel
from fusewire.filesystems.memory import Memory
from fusewire.wire import InitFlags
from on_memory import OnMemory, on_memory

VERSION_2 = bytes.fromhex("0100000200200000") + bytes(12)
VERSION_3 = bytes.fromhex("0100000300200000") + bytes(12)  # the root user of its namespace follows


@pytest.fixture
def on() -> Iterator[OnMemory]:
    with on_memory() as made:
        yield made


def test_a_value_is_set_read_listed_and_removed(on: OnMemory) -> None:
    on.do(on.root.setxattr("/f", "user.a", b"1"))
    assert on.do(on.root.getxattr("/f", "user.a")) == b"1"
    assert on.do(on.root.get_xattr_length("/f", b"user.a")) == 1
    assert on.do(on.root.listxattr("/f")) == ["user.a"]
    on.do(on.root.removexattr("/f", "user.a"))
    assert on.error(on.root.getxattr("/f", "user.a")) == "ENODATA"
    assert on.do(on.root.listxattr("/f")) == []


def test_a_descriptor_does_as_well_unless_it_was_opened_for_its_path_alone(on: OnMemory) -> None:
    fd, path_only = on.do(on.root.open("/f", os.O_RDONLY)), on.do(on.root.open("/f", os.O_PATH))
    on.do(on.root.setxattr(fd, "user.a", b"1"))
    assert on.do(on.root.getxattr(fd, "user.a")) == b"1"
    assert on.error(on.root.getxattr(path_only, "user.a")) == "EBADF"


def test_a_reader_tries_a_small_buffer_and_then_the_largest(on: OnMemory) -> None:
    on.do(on.root.setxattr("/f", "user.big", b"x" * 129))
    sizes = [request.body.size for request in on.requests(on.root.getxattr("/f", "user.big"))]
    assert sizes == [128, 65536]
    on.do(on.root.setxattr("/f", "user." + "n" * 250, b""))
    assert [request.body.size for request in on.requests(on.root.listxattr("/f"))] == [256, 65536]


def test_flags_reach_the_daemon_and_unknown_ones_do_not(on: OnMemory) -> None:
    on.do(on.root.setxattr("/f", "user.a", b"1", os.XATTR_CREATE))
    assert on.error(on.root.setxattr("/f", "user.a", b"1", os.XATTR_CREATE)) == "EEXIST"
    assert on.error(on.root.setxattr("/f", "user.b", b"1", os.XATTR_REPLACE)) == "ENODATA"
    assert on.asked(on.root.setxattr("/f", "user.a", b"1", 8)) == []
    assert on.error(on.root.setxattr("/f", "user.a", b"1", 8)) == "EINVAL"


@pytest.mark.parametrize("name", ["", "user." + "n" * 251])
def test_a_name_is_one_to_255_bytes_long(on: OnMemory, name: str) -> None:
    assert on.error(on.root.setxattr("/f", name, b"")) == "ERANGE"
    assert on.error(on.root.getxattr("/f", name)) == "ERANGE"
    assert on.error(on.root.removexattr("/f", name)) == "ERANGE"


def test_a_value_is_at_most_65536_bytes_long(on: OnMemory) -> None:
    on.do(on.root.setxattr("/f", "user.a", b"x" * 65536))
    assert len(on.do(on.root.getxattr("/f", "user.a"))) == 65536
    assert on.error(on.root.setxattr("/f", "user.a", b"x" * 65537)) == "E2BIG"


def test_errors_name_the_path(on: OnMemory) -> None:
    with pytest.raises(OSError, match=r"\[Errno") as raised:
        on.do(on.root.setxattr("/f", "", b""))
    assert (raised.value.errno, raised.value.filename) == (errno.ERANGE, "/f")


def test_a_change_makes_the_time_of_change_old() -> None:
    with on_memory(timeout=1e6) as on:
        fd = on.do(on.root.open("/f", os.O_RDONLY))
        on.do(on.root.fstat(fd))
        assert on.asked(on.root.fstat(fd)) == []
        on.do(on.root.setxattr(fd, "user.a", b"1"))
        assert on.asked(on.root.fstat(fd)) == ["GETATTR"]


def test_under_writeback_the_time_of_change_is_sent_at_once() -> None:
    with on_memory(InitFlags.FUSE_WRITEBACK_CACHE) as on:
        assert on.asked(on.root.setxattr("/f", "user.a", b"1")) == ["SETXATTR user.a", "SETATTR MTIME|CTIME"]


# Namespaces.


def test_users_have_names_on_files_and_directories_alone(on: OnMemory) -> None:
    on.do(on.root.mknod("/p", stat.S_IFIFO | 0o666))
    on.do(on.root.symlink("f", "/l"))
    on.do(on.root.setxattr("/d", "user.a", b"1"))
    for path in ("/p", "/l"):
        assert on.error(on.root.setxattr(path, "user.a", b"1", follow_symlinks=False)) == "EPERM"
        assert on.error(on.root.getxattr(path, "user.a", follow_symlinks=False)) == "ENODATA"


def test_in_a_sticky_directory_only_its_owner_has_names() -> None:
    with on_memory(default_permissions=True) as on:
        on.do(on.root.chmod("/d", 0o1777))
        assert on.error(on.process(1001).setxattr("/d", "user.a", b"1")) == "EPERM"
        assert on.error(on.user.setxattr("/d", "user.a", b"1")) is None


def test_trusted_names_do_not_exist_for_users(on: OnMemory) -> None:
    on.do(on.root.setxattr("/f", "trusted.a", b"1"))
    assert on.error(on.user.getxattr("/f", "trusted.a")) == "ENODATA"
    assert on.error(on.user.setxattr("/f", "trusted.a", b"1")) == "EPERM"
    assert on.do(on.root.getxattr("/f", "trusted.a")) == b"1"


def test_security_names_are_read_by_all_and_written_by_the_privileged(on: OnMemory) -> None:
    on.do(on.root.setxattr("/f", "security.x", b"1"))
    assert on.do(on.user.getxattr("/f", "security.x")) == b"1"
    assert on.error(on.user.setxattr("/f", "security.x", b"1")) == "EPERM"
    assert on.error(on.user.removexattr("/f", "security.x")) == "EPERM"


def test_permissions_of_the_file_count_with_default_permissions() -> None:
    with on_memory(default_permissions=True) as on:
        on.do(on.root.chmod("/f", 0o600))
        stranger = on.process(1001)
        assert on.error(stranger.getxattr("/f", "user.a")) == "EACCES"
        assert on.error(stranger.setxattr("/f", "user.a", b"1")) == "EACCES"
        assert on.error(stranger.listxattr("/f")) is None


def test_nothing_is_written_on_a_mount_that_is_read_only() -> None:
    with on_memory(read_only=True) as on:
        assert on.error(on.root.setxattr("/f", "user.a", b"1")) == "EROFS"
        assert on.error(on.root.removexattr("/f", "user.a")) == "EROFS"


# Capabilities.


def test_capabilities_are_asked_for_twice_and_shown_as_version_2(on: OnMemory) -> None:
    on.do(on.root.setxattr("/f", "security.capability", VERSION_3 + bytes(4)))
    sizes = [request.body.size for request in on.requests(on.root.getxattr("/f", "security.capability"))]
    assert sizes == [0, 24]
    assert on.do(on.root.getxattr("/f", "security.capability")) == VERSION_2
    of_another = VERSION_3 + b"\1\0\0\0"
    on.do(on.root.setxattr("/f", "security.capability", of_another))
    assert on.do(on.root.getxattr("/f", "security.capability")) == of_another


def test_capabilities_must_look_like_some_and_take_privilege(on: OnMemory) -> None:
    assert on.error(on.root.setxattr("/f", "security.capability", b"1")) == "EINVAL"
    assert on.error(on.user.setxattr("/f", "security.capability", VERSION_2)) == "EPERM"


def test_capabilities_go_when_the_owner_or_the_contents_change(on: OnMemory) -> None:
    gone = "REMOVEXATTR security.capability"
    for change in (on.root.truncate("/f", 3), on.root.chown("/f", 5, 5)):
        on.do(on.root.setxattr("/f", "security.capability", VERSION_2))
        assert gone in on.asked(change)
        assert on.error(on.root.getxattr("/f", "security.capability")) == "ENODATA"


# Daemons that know none.


def refusing(name: str) -> type[Memory]:
    """Return a filesystem that answers one operation with ENOSYS."""

    def refused(self: Memory, *arguments: Any) -> Any:
        raise OSError(errno.ENOSYS, "not here")

    return type("Refusing", (Memory,), {name: refused})


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("getxattr", ("user.a",)), ("setxattr", ("user.a", b"1")), ("listxattr", ()), ("removexattr", ("user.a",))],
)
def test_a_daemon_that_knows_no_xattrs_is_asked_once(name: str, arguments: tuple[Any, ...]) -> None:
    with Kernel(refusing(name)()) as kernel:
        process = kernel.process()
        process.mknod("/f", 0o100644)
        for _ in range(2):
            with pytest.raises(OSError, match="not supported"):
                getattr(process, name)("/f", *arguments)
        assert [request.name for request in kernel.requests].count(name.upper()) == 1


def test_without_xattrs_nothing_precedes_a_write() -> None:
    with on_memory(kind=refusing("getxattr")) as on:
        fd = on.do(on.root.open("/f", os.O_WRONLY))
        on.do(on.root.write(fd, b"x"))
        assert on.asked(on.root.write(fd, b"x")) == ["WRITE"]
