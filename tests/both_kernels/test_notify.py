"""What a filesystem tells either kernel unasked has its effect: see which questions are asked again."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest
from torture.conformance.actors import Actor

import fusewire
from fusewire.daemon import Notifier
from memory_caller import refused
from notes import Folder, Note
from two_kernels import AnyKernel, Asked, needs

FOR_LONG = 1e6  # seconds


class Remote(Folder):
    """A folder that changes behind the kernel's back. Its notifier is the one that its first request had."""

    notify: Notifier

    def getattr(self) -> fusewire.Attributes:
        self.notify = fusewire.current_request().notify_now
        return self.attributes()


class Kept(Note):
    """A note of which the kernel keeps the bytes."""

    def open(self, flags: int) -> fusewire.Handle:
        self.keep_cache = True
        return self


@pytest.fixture
def remote() -> Remote:
    return Remote(note=Kept(b"content"), sub=Folder(deep=Note()))


@pytest.fixture
def system(kernel: AnyKernel, remote: Remote, asked: Asked) -> Iterator[Actor]:
    """Who uses `remote`, and has looked at the note."""
    with kernel.serve(remote, entry_timeout=FOR_LONG, attr_timeout=FOR_LONG) as actor:
        actor.stat(".")
        actor.stat("note")
        asked()
        yield actor


def test_a_name_that_is_said_to_be_old_is_looked_up_again(remote: Remote, system: Actor, asked: Asked) -> None:
    system.stat("note")
    assert asked("LOOKUP") == []
    remote.children["note"] = Note(b"another")
    assert remote.notify.inval_entry(remote, "note")
    assert system.read_file("note") == b"another"
    assert len(asked("LOOKUP")) == 1


def test_a_name_expires(kernel: AnyKernel, remote: Remote, system: Actor, asked: Asked) -> None:
    needs(kernel, 38, "expiring one name")
    assert remote.notify.expire_entry(1, "note")
    system.stat("note")
    assert len(asked("LOOKUP")) == 1


def test_attributes_are_asked_for_anew(remote: Remote, system: Actor, asked: Asked) -> None:
    note = remote.children["note"]
    note.mode = 0o600
    assert system.stat("note").st_mode & 0o777 == 0o644
    assert remote.notify.inval_attr(note)
    assert system.stat("note").st_mode & 0o777 == 0o600
    assert len(asked("GETATTR")) == 1


def test_bytes_are_read_anew_and_only_those(remote: Remote, system: Actor, asked: Asked) -> None:
    note = remote.children["note"]
    assert isinstance(note, Kept)
    note.content[:] = b"a" * 8192
    remote.notify.inval_attr(note)
    fd = system.open("note", os.O_RDONLY)
    system.pread(fd, 8192, 0)
    note.content[:] = b"b" * 8192
    assert remote.notify.inval_inode(note, 4096, 1)
    assert system.pread(fd, 8192, 0) == b"a" * 4096 + b"b" * 4096
    assert remote.notify.inval_inode(note)
    assert system.pread(fd, 8192, 0) == b"b" * 8192
    system.close(fd)


def test_bytes_are_stored_where_nobody_has_read(remote: Remote, system: Actor, asked: Asked) -> None:
    assert remote.notify.store(remote.children["note"], 0, b"from us")
    assert system.read_file("note") == b"from us"
    assert asked("READ ") == []


def test_a_file_that_is_gone_has_no_name_any_more(remote: Remote, system: Actor, asked: Asked) -> None:
    fd = system.open("note", os.O_RDONLY)
    note = remote.children.pop("note")
    assert remote.notify.delete(remote, "note", note)
    assert system.fstat(fd).st_nlink == 0
    system.close(fd)
    with refused(errno.ENOENT):
        system.stat("note")


def test_a_directory_of_which_names_are_known_is_not_deleted(remote: Remote, system: Actor) -> None:
    system.stat("sub/deep")
    fd = system.open("sub/deep", os.O_RDONLY)
    with refused(errno.ENOTEMPTY):
        remote.notify.delete(remote, "sub", remote.children["sub"])
    system.close(fd)


def test_all_names_are_old_after_an_epoch(kernel: AnyKernel, remote: Remote, system: Actor, asked: Asked) -> None:
    needs(kernel, 44, "the epoch")
    system.stat("sub/deep")
    asked()
    assert remote.notify.inc_epoch()
    system.stat("sub/deep")
    system.stat("note")
    assert len(asked("LOOKUP")) == 3


def test_what_nobody_uses_is_forgotten_when_it_is_pruned(
    kernel: AnyKernel, remote: Remote, system: Actor, asked: Asked
) -> None:
    needs(kernel, 45, "pruning")
    note = remote.children["note"]
    assert note.nlookup
    assert remote.notify.prune([note, 12345])
    system.stat("note")
    assert len(asked("LOOKUP")) == 1


def test_what_the_kernel_does_not_know_is_no_error(remote: Remote, system: Actor) -> None:
    assert not remote.notify.inval_entry(remote, "never looked up")
    assert not remote.notify.inval_inode(12345)
    assert not remote.notify.inval_inode(Note())
    assert not remote.notify.delete(remote, "note", Note())


def test_what_this_kernel_is_too_old_for_is_refused(kernel: AnyKernel, remote: Remote, system: Actor) -> None:
    if kernel.minor == 45:
        pytest.skip("it knows all there is")
    with refused(errno.EOPNOTSUPP):
        remote.notify.inc_epoch()


def test_a_name_in_what_is_no_directory_is_refused(remote: Remote, system: Actor) -> None:
    with refused(errno.ENOTDIR):
        remote.notify.inval_entry(remote.children["note"], "x")


def test_a_mount_that_is_gone_is_told_nothing(kernel: AnyKernel, remote: Remote) -> None:
    with kernel.serve(remote) as system:
        system.stat(".")
    with refused(errno.ENODEV):
        remote.notify.inval_attr(1)
