"""Requests to give to the methods of a `LocalDirectory`, and a walk through its names."""

from __future__ import annotations

import os
from pathlib import Path

from fusewire.daemon import Entry, Request
from fusewire.filesystems.local import LocalDirectory
from fusewire.wire import MkdirIn, WireStruct, WriteIn, decode_request, encode_request

ROOT = 1


def asked(
    operation: str = "READLINK",
    *,
    uid: int | None = None,
    gid: int | None = None,
    pid: int | None = None,
    body: WireStruct | None = None,
    names: tuple[bytes, ...] = (),
) -> Request:
    """A request by this process, or as if by another. What it asks matters to few methods."""
    message = encode_request(
        operation,
        unique=2,
        nodeid=ROOT,
        uid=os.geteuid() if uid is None else uid,
        gid=os.getegid() if gid is None else gid,
        pid=os.getpid() if pid is None else pid,
        body=body,
        names=names,
    )
    return Request(decode_request(message))


def making(umask: int = 0, uid: int | None = None, gid: int | None = None, pid: int | None = None) -> Request:
    """A request by a caller with a umask."""
    return asked("MKDIR", body=MkdirIn(0o777, umask), names=(b"x",), uid=uid, gid=gid, pid=pid)


def writing(flags: int = 0, uid: int | None = None, gid: int | None = None) -> Request:
    """A WRITE with some `write_flags`."""
    return asked("WRITE", body=WriteIn(write_flags=flags), uid=uid, gid=gid)


def walk(filesystem: LocalDirectory, *names: str) -> Entry:
    """Look up one name after the other from the root on; return the last."""
    nodeid = ROOT
    for name in names:
        entry = filesystem.lookup(asked(), nodeid, name)
        nodeid = entry.nodeid
    return entry


def content(filesystem: LocalDirectory, nodeid: int) -> bytes:
    """Open a file, read its first bytes, close it."""
    fh = filesystem.open(asked(), nodeid, os.O_RDONLY).fh
    try:
        return filesystem.read(asked(), nodeid, fh, 0, 1000)
    finally:
        filesystem.release(asked(), nodeid, fh)


def write(path: Path, data: bytes = b"") -> Path:
    """Make a file with `data`; return its path."""
    path.write_bytes(data)
    return path
