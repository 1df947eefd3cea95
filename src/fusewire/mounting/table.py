"""What is mounted where, as this thread sees it: /proc/thread-self/mountinfo.

    64 43 0:40 / /mnt/x rw,nosuid,nodev shared:1 - fuse.memory memory: rw,user_id=0,group_id=0
    id parent device root mountpoint options [tags] - fstype source super-options

Reading it touches no filesystem, so it works beside a mount that hangs or is dead. The minor
number of a FUSE mount's device is the number of its connection.

Mounts are stacked: a path may be the mountpoint of several, and a mount may be hidden under one
that came later. What a path leads to is found as the kernel does it: from the root, through the
children of the mount one is in.

Source: proc_pid_mountinfo(5); fs/proc_namespace.c, show_mountinfo.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["MountInfo", "covering", "mount_id_of", "parse_table", "read_table"]

ESCAPE: Final = re.compile(rb"\\([0-7]{3})")  # of blank, tab, newline and backslash


@dataclass(frozen=True, slots=True)
class MountInfo:
    """One mount: a line of the table."""

    mount_id: int
    parent_id: int
    major: int
    minor: int
    root: str  # the part of the filesystem that is shown: not "/" for a bind mount
    mountpoint: str
    options: str
    fstype: str
    source: str
    super_options: str

    @property
    def is_fuse(self) -> bool:
        return self.fstype.partition(".")[0] in ("fuse", "fuseblk")

    @property
    def connection(self) -> int:
        """The number of a FUSE mount's connection."""
        return self.minor

    @property
    def user_id(self) -> int:
        """The user who mounted it; 0 if the filesystem does not say."""
        return self._number("user_id")

    @property
    def group_id(self) -> int:
        """His group; 0 if the filesystem does not say."""
        return self._number("group_id")

    def _number(self, name: str) -> int:
        found = re.search(rf"(?:^|,){name}=(\d+)(?:,|$)", self.super_options)
        return int(found[1]) if found else 0


def read_table() -> list[MountInfo]:
    """Return all mounts that this thread can reach."""
    with open("/proc/thread-self/mountinfo", "rb") as file:
        return parse_table(file.read())


def parse_table(text: bytes) -> list[MountInfo]:
    """Read the lines of a mountinfo file."""
    return [parse_line(line) for line in text.split(b"\n") if line]


def parse_line(line: bytes) -> MountInfo:
    fields = [unescape(field) for field in line.split(b" ")]
    dash = fields.index("-", 6)  # the tags before it may be none or many
    major, _, minor = fields[2].partition(":")
    fstype, source, super_options = fields[dash + 1 : dash + 4]
    root, mountpoint, options = fields[3:6]
    numbers = int(fields[0]), int(fields[1]), int(major), int(minor)
    return MountInfo(*numbers, root, mountpoint, options, fstype, source, super_options)


def unescape(field: bytes) -> str:
    return os.fsdecode(ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field))


def covering(table: Iterable[MountInfo], path: str) -> MountInfo | None:
    """Return the mount that an absolute `path` without symlinks leads into; None if the table has none.

    On a mountpoint it is the topmost mount there: the one whose `mountpoint` is `path`.
    """
    mounts = list(table)
    ids = {mount.mount_id for mount in mounts}
    found = None
    inside = [mount for mount in mounts if mount.parent_id not in ids or mount.parent_id == mount.mount_id]
    while mount := nearest(inside, path, found):
        found = mount
        inside = [child for child in mounts if child.parent_id == mount.mount_id]
    return found


def nearest(children: Sequence[MountInfo], path: str, parent: MountInfo | None) -> MountInfo | None:
    """Return the child on whose mountpoint one comes first on the way to `path`."""
    on_the_way = [child for child in children if child != parent and lies_in(path, child.mountpoint)]
    return min(on_the_way, key=lambda child: len(child.mountpoint), default=None)


def lies_in(path: str, directory: str) -> bool:
    """Tell whether an absolute path is `directory` or lies below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def mount_id_of(fd: int) -> int:
    """Return the mount to which an open file belongs. Touches nothing, O_PATH descriptors included."""
    with open(f"/proc/thread-self/fdinfo/{fd}", "rb") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(b"mnt_id:"))
