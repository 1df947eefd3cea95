"""POSIX ACLs: obeyed and remembered with POSIX_ACL, passed on without."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator

import pytest

from fusewire.kernel.vfs.acl_cache import Acl, AclEntry, check_acl, decode_acl, encode_acl, grants
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.wire import InitFlags
from on_memory import OnMemory, on_memory

USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
NOBODY = 0xFFFFFFFF
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
ALWAYS = 1e6  # seconds


def xattr(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


PLAIN = xattr((USER_OBJ, 6, NOBODY), (GROUP_OBJ, 4, NOBODY), (OTHER, 4, NOBODY))
FOR_1001 = xattr((USER_OBJ, 6, NOBODY), (USER, 6, 1001), (GROUP_OBJ, 6, NOBODY), (MASK, 4, NOBODY), (OTHER, 0, NOBODY))


@pytest.fixture
def on() -> Iterator[OnMemory]:
    with on_memory(InitFlags.FUSE_POSIX_ACL | InitFlags.FUSE_DONT_MASK, timeout=ALWAYS) as made:
        yield made


# Who is granted what.


def acl(*entries: tuple[int, int, int]) -> Acl:
    return tuple(AclEntry(*entry) for entry in entries)


LIST = acl(
    (USER_OBJ, 7, NOBODY),
    (USER, 7, 5),
    (USER, 0, 6),
    (GROUP_OBJ, 4, NOBODY),
    (GROUP, 3, 20),
    (MASK, 5, NOBODY),
    (OTHER, 1, NOBODY),
)


@pytest.mark.parametrize(
    ("uid", "groups", "granted"),
    [
        (1, [100], 7),  # the owner, whom no mask limits
        (5, [100], 5),  # named, as far as the mask goes
        (6, [10], 0),  # named: his groups do not count
        (9, [10], 4),  # of the file's group
        (9, [20], 1),  # of a named group
        (9, [30], 1),  # of the others
    ],
)
def test_the_first_entry_that_names_him_decides(uid: int, groups: list[int], granted: int) -> None:
    who = Credentials.of(uid, groups[0], frozenset(groups))
    assert [right for right in (4, 2, 1) if grants(LIST, 1, 10, right, who)] == [
        right for right in (4, 2, 1) if granted & right
    ]


def test_of_several_groups_each_may_grant_but_all_of_it() -> None:
    who = Credentials.of(9, 10, frozenset({20}))
    assert grants(LIST, 1, 10, 4, who)
    assert grants(LIST, 1, 10, 1, who)
    assert not grants(LIST, 1, 10, 5, who)


def test_a_list_without_a_place_for_somebody_is_an_error() -> None:
    with pytest.raises(OSError, match=r"\[Errno") as raised:
        grants(acl((USER_OBJ, 7, NOBODY)), 1, 10, 4, Credentials.of(9, 9))
    assert raised.value.errno == errno.EIO


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"xx", errno.EINVAL),
        (struct.pack("<I", 3), errno.EOPNOTSUPP),
        (PLAIN + b"1", errno.EINVAL),
        (xattr((64, 6, NOBODY)), errno.EINVAL),
        (xattr((USER, 6, NOBODY)), errno.EINVAL),
    ],
)
def test_what_is_no_list_is_refused(value: bytes, code: int) -> None:
    with pytest.raises(OSError, match=r"\[Errno") as raised:
        decode_acl(value)
    assert raised.value.errno == code


@pytest.mark.parametrize(
    "entries",
    [
        acl((USER_OBJ, 6, NOBODY)),
        acl((USER_OBJ, 6, NOBODY), (USER, 6, 5), (GROUP_OBJ, 4, NOBODY), (OTHER, 4, NOBODY)),
        acl((GROUP_OBJ, 4, NOBODY), (USER_OBJ, 6, NOBODY), (OTHER, 4, NOBODY)),
        acl((USER_OBJ, 9, NOBODY), (GROUP_OBJ, 4, NOBODY), (OTHER, 4, NOBODY)),
        acl((USER_OBJ, 6, NOBODY), (USER_OBJ, 6, NOBODY), (GROUP_OBJ, 4, NOBODY), (OTHER, 4, NOBODY)),
    ],
)
def test_a_list_that_is_not_in_order_is_refused(entries: Acl) -> None:
    with pytest.raises(OSError, match=r"\[Errno") as raised:
        check_acl(entries)
    assert raised.value.errno == errno.EINVAL


def test_a_list_comes_out_as_it_went_in_but_for_ids_that_mean_nothing() -> None:
    for value in (PLAIN, FOR_1001):
        decoded = decode_acl(value)
        assert decoded is not None
        assert encode_acl(decoded) == value
    tidied = decode_acl(xattr((USER_OBJ, 6, 5), (GROUP_OBJ, 4, 6), (OTHER, 4, 7)))
    assert tidied == decode_acl(PLAIN)
    assert decode_acl(b"") is decode_acl(xattr()) is None


# On a mount.


def test_a_list_decides_who_may_open(on: OnMemory) -> None:
    on.do(on.root.setxattr("/f", ACCESS, FOR_1001))
    friend, stranger = on.process(1001), on.process(1002)
    assert on.error(friend.open("/f", os.O_RDONLY)) is None
    assert on.error(friend.open("/f", os.O_WRONLY)) == "EACCES", "the mask"
    assert on.error(stranger.open("/f", os.O_RDONLY)) == "EACCES"


def test_a_list_is_remembered_until_attributes_are_asked_for(on: OnMemory) -> None:
    on.do(on.root.setxattr("/f", ACCESS, FOR_1001))
    on.do(on.root.stat("/f"))
    assert on.asked(on.root.getxattr("/f", ACCESS)) == [f"GETXATTR {ACCESS}"]
    assert on.asked(on.root.getxattr("/f", ACCESS)) == []
    on.do(on.root.chmod("/f", 0o640))
    assert on.asked(on.root.getxattr("/f", ACCESS)) == [f"GETXATTR {ACCESS}"]


def test_the_list_of_the_root_directory_is_not_remembered(on: OnMemory) -> None:
    on.do(on.root.setxattr("/", ACCESS, PLAIN))
    for _ in range(2):
        assert on.asked(on.root.getxattr("/", ACCESS)) == [f"GETXATTR {ACCESS}"]


def test_a_new_list_makes_the_attributes_old(on: OnMemory) -> None:
    fd = on.do(on.root.open("/f", os.O_RDONLY))
    on.do(on.root.setxattr(fd, ACCESS, FOR_1001))
    assert on.asked(on.root.fstat(fd)) == ["GETATTR"]


def test_a_new_list_takes_sgid_from_those_outside_the_group() -> None:
    flags = InitFlags.FUSE_POSIX_ACL | InitFlags.FUSE_SETXATTR_EXT
    with on_memory(flags, timeout=ALWAYS) as on:
        on.do(on.root.chown("/f", 1000, 50))
        by_root, by_owner = (on.requests(who.setxattr("/f", ACCESS, PLAIN))[-1] for who in (on.root, on.user))
        assert (by_root.body.setxattr_flags, by_owner.body.setxattr_flags) == (0, 1)


def test_flags_do_not_count_and_what_is_not_there_can_be_removed(on: OnMemory) -> None:
    (request,) = on.requests(on.root.setxattr("/f", ACCESS, PLAIN, os.XATTR_REPLACE))
    assert request.body.flags == 0
    for _ in range(2):
        assert on.error(on.root.removexattr("/f", ACCESS)) is None
    assert on.error(on.root.getxattr("/f", ACCESS)) == "ENODATA"


def test_only_directories_have_a_default_list(on: OnMemory) -> None:
    assert on.error(on.root.setxattr("/f", DEFAULT, PLAIN)) == "EACCES"
    assert on.asked(on.root.removexattr("/f", DEFAULT)) == []
    assert on.error(on.root.setxattr("/d", DEFAULT, PLAIN)) is None


def test_a_new_file_gets_its_lists_from_the_daemon(on: OnMemory) -> None:
    on.do(on.root.setxattr("/d", DEFAULT, FOR_1001))
    mknod = on.requests(on.root.mknod("/d/new", stat.S_IFREG | 0o666))[-1]
    assert (mknod.name, mknod.body.mode, mknod.body.umask) == ("MKNOD", stat.S_IFREG | 0o666, 0o022)


def test_only_the_owner_sets_a_list(on: OnMemory) -> None:
    assert on.error(on.process(1001).setxattr("/f", ACCESS, PLAIN)) == "EPERM"
    assert on.error(on.user.setxattr("/f", ACCESS, PLAIN)) is None


def test_a_list_of_more_than_a_page_is_not_sent(on: OnMemory) -> None:
    named = [(USER, 4, uid) for uid in range(520)]
    value = xattr((USER_OBJ, 6, NOBODY), *named, (GROUP_OBJ, 4, NOBODY), (MASK, 4, NOBODY), (OTHER, 0, NOBODY))
    assert on.asked(on.root.setxattr("/f", ACCESS, value)) == []
    assert on.error(on.root.setxattr("/f", ACCESS, value)) == "E2BIG"


def test_a_symlink_has_no_list(on: OnMemory) -> None:
    on.do(on.root.symlink("f", "/l"))
    assert on.error(on.root.getxattr("/l", ACCESS, follow_symlinks=False)) == "ENOTSUP"
    assert on.error(on.root.setxattr("/l", ACCESS, PLAIN, follow_symlinks=False)) == "ENOTSUP"


def test_without_posix_acl_lists_are_passed_on_and_not_obeyed() -> None:
    with on_memory(timeout=ALWAYS, default_permissions=True) as on:
        on.do(on.root.setxattr("/f", ACCESS, FOR_1001))
        on.do(on.root.chmod("/f", 0o600))
        for _ in range(2):
            assert on.asked(on.root.getxattr("/f", ACCESS)) == [f"GETXATTR {ACCESS}"]
        assert on.error(on.process(1001).open("/f", os.O_RDONLY)) == "EACCES"


# Groups that go along.


def test_the_directorys_group_goes_along_if_the_maker_belongs_to_it_besides() -> None:
    with on_memory(InitFlags.FUSE_CREATE_SUPP_GROUP) as on:
        on.do(on.root.chown("/d", 1000, 50))
        sent: list[tuple[int, ...]] = []
        connection = on.kernel.superblock.connection
        ask = connection.ask

        async def noting(name, *arguments, **more):  # type: ignore[no-untyped-def]
            if "extensions" in more:
                sent.append(more["extensions"].groups)
            return await ask(name, *arguments, **more)

        connection.ask = noting  # type: ignore[method-assign]
        for number, process in enumerate(
            (on.user, on.process(1000, 1000, frozenset({50})), on.process(1000, 50, frozenset({50})))
        ):
            on.do(process.mkdir(f"/d/{number}"))
        assert sent == [(), (50,), ()]
