"""A small filesystem of nodes that can be changed: `Folder(note=Note(b"content"))`."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from fusewire import Attributes, Directory, File, Node, SetAttributes, Special, Symlink

__all__ = ["Folder", "Note"]

MIB = 1 << 20


class Note(File):
    """A file that can be written, up to 16 MiB."""

    mode = 0o644

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self.changes: list[SetAttributes] = []

    def getattr(self) -> Attributes:
        attributes = self.attributes()
        attributes.size = len(self.content)
        return attributes

    def keep(self, changes: SetAttributes) -> None:
        self.changes.append(changes)
        super().keep(changes)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.content[offset : offset + size])

    def write(self, offset: int, data: memoryview) -> None:
        if len(self.content) < offset:
            self.truncate(offset)
        self.content[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        if size > 16 * MIB:
            raise OSError(errno.EFBIG, "too long for a note")
        del self.content[size:]
        self.content.extend(bytes(size - len(self.content)))


class Folder(Directory):
    """A directory in which everything can be made."""

    def __init__(self, **children: Node) -> None:
        self.children: dict[str, Node] = children
        self.xattrs: dict[str, bytes] = {}

    def list(self) -> dict[str, Node]:
        return self.children

    def create(self, name: str, mode: int) -> File:
        made = self.children[name] = Note()
        return made

    def mknod(self, name: str, mode: int, rdev: int) -> Node:
        made = self.children[name] = Special(mode, rdev)
        return made

    def mkdir(self, name: str, mode: int) -> Directory:
        made = self.children[name] = Folder()
        return made

    def symlink(self, name: str, target: str) -> Symlink:
        made = self.children[name] = Symlink(target)
        return made

    def link(self, name: str, node: Node) -> None:
        self.children[name] = node

    def unlink(self, name: str) -> None:
        del self.children[name]

    rmdir = unlink

    def rename(self, name: str, new_directory: Folder, new_name: str, flags: int) -> None:
        if flags:
            raise OSError(errno.EINVAL, "no flags here")
        new_directory.children[new_name] = self.children.pop(name)

    def setxattr(self, name: str, value: memoryview, flags: int) -> None:  # type: ignore[override]
        self.xattrs[name] = bytes(value)

    def getxattr(self, name: str) -> bytes:
        if name not in self.xattrs:
            raise OSError(errno.ENODATA, "no such xattr")
        return self.xattrs[name]

    def listxattr(self) -> Iterator[str]:
        return iter(self.xattrs)

    def removexattr(self, name: str) -> None:
        del self.xattrs[name]
