"""System calls, against a filesystem served in the same process."""

from __future__ import annotations

import errno
import stat
from collections.abc import Coroutine
from typing import Any

import pytest

from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.request import Request
from fusewire.daemon.session import Session
from fusewire.daemon.values import Attributes, Entry
from fusewire.embedded import daemon, mount
from fusewire.errors import os_error
from fusewire.kernel.profile import LINUX, PROFILES, Profile
from fusewire.kernel.syscalls import fuse_lookup, sys_unlink
from fusewire.kernel.tasks import Killed, Task, close, run
from kernel_end import errno_of


class Files(Filesystem):
    """Files that are found, and removed unless `refusal` says why not."""

    def __init__(self, **nodeids: int) -> None:
        self.nodeids = nodeids
        self.refusal = 0
        self.asked: list[str] = []

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        self.asked.append(f"lookup {name}")
        if name not in self.nodeids:
            raise os_error(errno.ENOENT)
        return Entry(self.nodeids[name], Attributes(mode=stat.S_IFREG))

    def unlink(self, request: Request, parent: int, name: str) -> None:
        self.asked.append(f"unlink {name}")
        if self.refusal:
            raise os_error(self.refusal)
        del self.nodeids[name]


class Mounted:
    """A filesystem, mounted and served, and the system calls that a test makes on it."""

    def __init__(self, filesystem: Filesystem, profile: Profile = LINUX) -> None:
        session = Session(filesystem)
        self.device, self.root = mount(session, profile)
        self.daemon = Task("daemon", daemon(self.device, session))

    def call(self, coroutine: Coroutine[Any, None, Any], **ids: int) -> Task:
        task = Task("task", coroutine, **ids)
        run([task, self.daemon])
        assert task.finished
        return task

    def end(self) -> None:
        close([self.daemon])


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_unlink_looks_the_name_up_and_removes_it(profile: Profile) -> None:
    filesystem = Files(file=7)
    mounted = Mounted(filesystem, profile)
    assert mounted.call(sys_unlink(mounted.root, "file")).result is None
    assert filesystem.asked == ["lookup file", "unlink file"]
    assert filesystem.nodeids == {}
    assert mounted.root.children == {}
    assert mounted.root.semaphore.owner is None
    mounted.end()


def test_a_name_that_was_found_is_not_looked_up_again() -> None:
    filesystem = Files(file=7)
    mounted = Mounted(filesystem)
    inode = mounted.call(fuse_lookup(mounted.root, "file")).result
    assert mounted.call(fuse_lookup(mounted.root, "file")).result is inode
    assert filesystem.asked == ["lookup file"]
    assert mounted.root.children["file"].nlookup == 1
    mounted.end()


@pytest.mark.parametrize(("nodeid", "code"), [(0, errno.ENOENT), (1, errno.EIO)])
def test_an_entry_of_nothing_or_of_the_root_is_no_file(nodeid: int, code: int) -> None:
    mounted = Mounted(Files(file=nodeid))
    assert errno_of(mounted.call(sys_unlink(mounted.root, "file"))) == code
    assert mounted.root.children == {}
    mounted.end()


def test_what_does_not_exist_cannot_be_removed() -> None:
    filesystem = Files()
    mounted = Mounted(filesystem)
    assert errno_of(mounted.call(sys_unlink(mounted.root, "file"))) == errno.ENOENT
    assert filesystem.asked == ["lookup file"]
    mounted.end()


@pytest.mark.parametrize(("code", "kept"), [(errno.EACCES, True), (errno.ENOENT, False), (errno.EINTR, False)])
def test_a_refused_unlink_keeps_the_name_unless_it_may_be_gone(code: int, kept: bool) -> None:
    filesystem = Files(file=7)
    filesystem.refusal = code
    mounted = Mounted(filesystem)
    assert errno_of(mounted.call(sys_unlink(mounted.root, "file"))) == code
    assert ("file" in mounted.root.children) is kept
    mounted.end()


def test_a_name_need_not_be_utf8() -> None:
    filesystem = Files(**{"caf\udce9": 7})
    mounted = Mounted(filesystem)
    assert mounted.call(sys_unlink(mounted.root, "caf\udce9")).result is None
    mounted.end()


def test_the_daemon_sees_who_asks() -> None:
    class Notes(Files):
        def unlink(self, request: Request, parent: int, name: str) -> None:
            self.asked.append(f"{request.uid} {request.gid} {request.pid}")

    filesystem = Notes(file=7)
    mounted = Mounted(filesystem)
    mounted.call(sys_unlink(mounted.root, "file"), uid=1000, gid=100, pid=42)
    assert filesystem.asked[-1] == "1000 100 42"
    mounted.end()


def test_a_killed_task_runs_nothing_after_its_call() -> None:
    mounted = Mounted(Files(file=7))
    after: list[str] = []

    async def program() -> None:
        try:
            await sys_unlink(mounted.root, "file")
        except Exception:
            after.append("handled it")
        after.append("went on")

    task = Task("program", program())
    task.kill()
    run([task, mounted.daemon])
    assert isinstance(task.result, Killed)
    assert after == []
    assert mounted.root.semaphore.owner is None
    mounted.end()


def test_a_signal_with_a_handler_is_handled_when_the_call_returns() -> None:
    mounted = Mounted(Files(file=7))
    task = Task("program", sys_unlink(mounted.root, "file"))
    run([task])
    task.interrupt()
    run([task, mounted.daemon])
    assert task.result is None
    assert task.signal == 0
    mounted.end()


def test_the_directorys_semaphore_is_held_today_and_passed_over_by_kernel_txt() -> None:
    for profile in PROFILES.values():
        mounted = Mounted(Files(file=7), profile)
        rm = Task("rm", sys_unlink(mounted.root, "file"))
        run([rm])  # until it waits for the daemon
        assert (mounted.root.semaphore.owner is rm) is profile.parent_semaphore
        close([rm])
        assert mounted.root.semaphore.owner is None
        mounted.end()
