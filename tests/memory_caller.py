"""Somebody who asks a filesystem in memory for things without a kernel: each call with a request as the wire has it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fusewire.daemon import Request
from fusewire.daemon.values import Attributes, Entry, OpenFile
from fusewire.filesystems.memory import Memory
from fusewire.wire import WireStruct, decode_request, encode_request, operation

ROOT = 1


class Caller:
    """A user with his ids. Each method of the filesystem is one of his, without the request."""

    def __init__(self, filesystem: Memory, uid: int = 0, gid: int = 0, umask: int = 0) -> None:
        self.filesystem = filesystem
        self.uid = uid
        self.gid = gid
        self.umask = umask

    def request(self, name: str, **fields: int) -> Request:
        """A request whose body is all zeros but for `fields`."""
        row = operation(name)
        if row.body is not None and hasattr(row.body, "umask"):
            fields["umask"] = self.umask
        body: WireStruct | None = None if row.body is None else row.body(**fields)
        names = (b"x",) * row.names
        message = encode_request(
            row, unique=2, uid=self.uid, gid=self.gid, pid=os.getpid(), body=body, names=names, setxattr_ext=True
        )
        return Request(decode_request(message, setxattr_ext=True))

    def __getattr__(self, name: str) -> Any:
        method, request = getattr(self.filesystem, name), self.request(OPERATION.get(name, name.upper()))
        return lambda *arguments: method(request, *arguments)

    def file(self, name: str, content: bytes = b"", parent: int = ROOT, mode: int = 0o644) -> int:
        """Make a file and write into it; its nodeid."""
        made: tuple[Entry, OpenFile] = self.create(parent, name, os.O_RDWR, mode)
        nodeid = made[0].nodeid
        if content:
            self.write(nodeid, 0, 0, memoryview(content))
        self.release(nodeid, 0)
        return nodeid

    def directory(self, name: str, parent: int = ROOT, mode: int = 0o755) -> int:
        """Make a directory; its nodeid."""
        made: Entry = self.mkdir(parent, name, mode)
        return made.nodeid

    def list(self, nodeid: int = ROOT) -> dict[str, int]:
        """The names in a directory but '.' and '..', with their inos."""
        fh = self.opendir(nodeid, 0).fh
        found = {dirent.name: dirent.ino for dirent in self.readdir(nodeid, fh, 0) if dirent.name not in (".", "..")}
        self.releasedir(nodeid, fh)
        return found

    def permissions(self, nodeid: int) -> int:
        """The mode of a node, without its type."""
        attributes: Attributes = self.getattr(nodeid, None)
        return stat.S_IMODE(attributes.mode)


OPERATION = {"rename": "RENAME2"}


@contextlib.contextmanager
def refused(code: int) -> Iterator[None]:
    """What is inside must raise an OSError of this errno."""
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the errno is looked at below
        yield
    assert errno.errorcode[caught.value.errno or 0] == errno.errorcode[code]


def all_refused(*attempts: tuple[int, Callable[[], object]]) -> None:
    """Each attempt must raise an OSError of the errno beside it."""
    for code, attempt in attempts:
        with refused(code):
            attempt()


def known(memory: Memory) -> set[int]:
    """The inodes that the filesystem still has."""
    return set(memory._tree.inodes)
