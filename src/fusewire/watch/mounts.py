"""What is mounted anywhere on the machine, and which FUSE connections lie below it.

Processes do not all see the same mounts: containers have mount namespaces of their own, and a
process in a chroot sees only what is below. A `View` is what some of them see, read through one of
them. So a mount that is in nobody's view is in no namespace: it was unmounted lazily, or never put
anywhere.

A call ends in FUSE not only on a FUSE mount. Below

    a bind mount       is the same filesystem: the same device number, and so the same connection
    an overlay         are its layers, which its options name
    a disk on a file   is that file: a loop device, perhaps below others (device mapper)
    ecryptfs           is the directory that is its source

lie others, and a call waits for whichever it comes to. `Mounts.connections` says which these are;
one can lie on the other in any depth.

All is read as text from /proc and /sys, which touches no mount. Paths are followed by `resolve`,
which reads symlinks, but never one that lies in or behind a FUSE mount.

Not seen: what the kernel itself uses (nfsd, swap on a file); a namespace that no process is in.

Source: fs/proc_namespace.c, show_mountinfo; fs/overlayfs/params.c; drivers/block/loop.c, loop_attr_backing_file_show.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fusewire.mounting import MountInfo, covering
from fusewire.mounting.table import lies_in, parse_table
from fusewire.watch.proc import contents, link, names

__all__ = ["Mounts", "Place", "View", "read_mounts"]

LINKS: Final = 40  # symlinks that are followed on one way, as in fs/namei.c
NETWORK: Final = ("nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "afs", "autofs")  # where a lookup may take for ever
LAYERS: Final = re.compile(r"(?:^|,)(?:lowerdir\+?|datadir\+?|upperdir)=((?:\\.|[^,\\])*)")
LOOP: Final = 7  # major number of loop devices; Documentation/admin-guide/devices.txt


class Place(NamedTuple):
    """A file by where it lies in its filesystem, the same through whichever bind mount one comes."""

    connections: frozenset[int]  # FUSE connections that a call on it may come to; none for other files
    device: tuple[int, int]
    path: str  # from the root of the filesystem

    @property
    def parent(self) -> str:
        return os.path.dirname(self.path)

    @property
    def name(self) -> str:
        return os.path.basename(self.path)


NOWHERE: Final = Place(frozenset(), (0, 0), "")


@dataclass
class View:
    """The mounts that some processes see."""

    namespace: str  # as /proc/PID/ns/mnt names it; "" if that was not ours to know
    root: str  # that the processes have, from the root of the namespace
    pid: int  # of one of them
    table: list[MountInfo]
    by_id: dict[int, MountInfo] = field(init=False)

    def __post_init__(self) -> None:
        self.by_id = {mount.mount_id: mount for mount in self.table}


class Mounts:
    """All views, and what lies below each filesystem."""

    def __init__(self, views: dict[tuple[str, str], View]) -> None:
        self.views = views
        self.below: dict[tuple[int, int], frozenset[int]] = {}
        for view in views.values():
            for mount in view.table:
                if mount.is_fuse:
                    self.below[mount.major, mount.minor] = frozenset([mount.connection])
        while self._find_more_below():
            pass

    def _find_more_below(self) -> bool:
        """Look once at every filesystem that may stand on others; return whether that told something new."""
        before = dict(self.below)
        for view in self.views.values():
            for mount in view.table:
                if not mount.is_fuse and (paths := paths_below(mount)):
                    places = [self.resolve(view, path) for path in paths]
                    found = frozenset[int]().union(*(place.connections for place in places))
                    device = mount.major, mount.minor
                    self.below[device] = self.below.get(device, frozenset()) | found
        return self.below != before

    def connections(self, mount: MountInfo) -> frozenset[int]:
        """Return the FUSE connections that a call on a mount may come to."""
        return self.below.get((mount.major, mount.minor), frozenset())

    def mounted(self, connection: int) -> Iterator[tuple[View, MountInfo]]:
        """Yield where a connection is mounted, views of few processes last."""
        for view in self.views.values():
            for mount in view.table:
                if mount.is_fuse and mount.connection == connection:
                    yield view, mount

    def view_of(self, pid: int) -> View | None:
        """Return what a process sees; None if it is gone, or not ours to look at."""
        return self.views.get(key_of(pid))

    def place(self, view: View, path: str) -> Place:
        """Return where an absolute path without symlinks leads. Touches nothing."""
        mount = covering(view.table, path)
        return NOWHERE if mount is None else self._place_in(mount, path)

    def _place_in(self, mount: MountInfo, path: str) -> Place:
        rest = path[len(mount.mountpoint.rstrip("/")) :]
        inside = (mount.root.rstrip("/") + rest) or "/"
        return Place(self.connections(mount), (mount.major, mount.minor), inside)

    def place_of_file(self, view: View, mount_id: int, path: str) -> Place:
        """Return where an open file lies, by the mount and the path that the kernel names for it."""
        mount = view.by_id.get(mount_id)
        if mount is None:  # unmounted since, or in another namespace
            return NOWHERE
        if not lies_in(path, mount.mountpoint):
            return Place(self.connections(mount), (mount.major, mount.minor), "")
        return self._place_in(mount, path)

    def resolve(self, view: View, path: str, follow_last: bool = True) -> Place:
        """Return where an absolute path leads that may hold symlinks and `..`.

        Follows a symlink only where nothing of FUSE, and nothing on a network, lies below it.
        """
        walked, left, links = "/", [part for part in path.split("/") if part], 0
        while left:
            part = left.pop(0)
            if part in (".", ".."):
                walked = os.path.dirname(walked) if part == ".." else walked
                continue
            walked = os.path.join(walked, part)
            target = self._symlink(view, walked) if left or follow_last else ""
            if target and links < LINKS:
                links += 1
                walked = "/" if target.startswith("/") else os.path.dirname(walked)
                left = [part for part in target.split("/") if part] + left
        return self.place(view, walked)

    def _symlink(self, view: View, path: str) -> str:
        """Return where a symlink leads; "" if `path` is none, or must not be touched."""
        mount = covering(view.table, path)
        if mount is None or self.connections(mount) or mount.is_fuse or mount.fstype in NETWORK:
            return ""
        return link(f"/proc/{view.pid}/root{path}")


def paths_below(mount: MountInfo) -> list[str]:
    """Return the paths on which a filesystem stands, as whoever mounted it named them."""
    if mount.fstype == "overlay":
        layers = [layer for found in LAYERS.findall(mount.super_options) for layer in split_layers(found)]
        return [layer for layer in layers if layer.startswith("/")]
    if mount.fstype == "ecryptfs":
        return [mount.source]
    if mount.source.startswith("/dev/"):
        return sorted(files_below(block_device(mount)))
    return []


def split_layers(text: str) -> list[str]:
    """Split lower directories at their colons; a colon within a name has a backslash before it."""
    return [re.sub(r"\\(.)", r"\1", layer) for layer in re.split(r"(?<!\\):+", text) if layer]


def block_device(mount: MountInfo) -> str:
    """Return the name of a mount's block device in /sys/class/block."""
    if mount.major:
        return os.path.basename(link(f"/sys/dev/block/{mount.major}:{mount.minor}"))
    return os.path.basename(mount.source)  # btrfs, which has a device number of its own


def files_below(device: str, depth: int = 8) -> set[str]:
    """Return the files on which a block device stands: its own, or those of the devices below."""
    if not device or not depth:
        return set()
    place = f"/sys/class/block/{device}"
    parents = [device.rpartition("p")[0]] if re.fullmatch(r"loop\d+p\d+", device) else []
    file = os.fsdecode(contents(f"{place}/loop/backing_file").rstrip(b"\n")).removesuffix(" (deleted)")
    deeper = [files_below(name, depth - 1) for name in [*names(f"{place}/slaves"), *parents]]
    return {file for file in [file] if file}.union(*deeper)


def read_mounts(pids: Iterable[int]) -> Mounts:
    """Return what is mounted in the views of these processes, our own first."""
    views: dict[tuple[str, str], View] = {}
    for pid in (os.getpid(), *pids):
        key = key_of(pid)
        if key not in views and (text := contents(f"/proc/{pid}/mountinfo")):
            views[key] = View(*key, pid, parse_table(text))
    return Mounts(views)


def key_of(pid: int) -> tuple[str, str]:
    """Return what tells the views of processes apart."""
    return link(f"/proc/{pid}/ns/mnt"), link(f"/proc/{pid}/root")
