"""Mount points: what something is mounted on stays, and what is mounted is another filesystem.

The case mounts in a namespace of a process of its own, which alone is held to it.

Source: rmdir(2), rename(2), link(2), EBUSY and EXDEV; fs/namei.c, vfs_rmdir and do_renameat2.
"""

from __future__ import annotations

from errno import EBUSY, EPERM, EXDEV

from torture.conformance.actors import Actor
from torture.conformance.tester import Tester, case

KINDS = ("file", "dir", "fifo", "socket", "char", "block", "symlink")


@case("busy", needs="root")
def mount_points(t: Tester) -> None:
    for name in ("dir", "file", "free"):
        t.put("file" if name == "file" else "dir", name)
    with t.also(t.root.identity) as mounter:
        own_mounts(t, mounter)
        mounter.bind("dir", "dir")
        mounter.bind("file", "file")
        t.fails(EBUSY, mounter.rmdir, "dir")
        t.fails(EBUSY, mounter.unlink, "file")
        t.fails(EBUSY, mounter.rename, "dir", "new")
        t.fails(EBUSY, mounter.rename, "free", "dir")
        t.fails(EBUSY, mounter.rename, "file", "new")
        t.fails(EXDEV, mounter.link, "file", "dir/link")
        t.fails(EXDEV, mounter.rename, "free", "dir/free")
        mounter.create("dir/below")
        t.fails(EXDEV, mounter.rename, "dir/below", "below")
        t.fails(EXDEV, mounter.link, "dir/below", "below")
        mounter.unlink("dir/below")
        for name in ("dir", "file"):
            mounter.unmount(name)
        t.works(mounter.rename, "free", "dir")
        t.works(mounter.rmdir, "dir")
        t.works(mounter.unlink, "file")


def own_mounts(t: Tester, mounter: Actor) -> None:
    """Part from the mounts of the others, or skip."""
    try:
        mounter.own_mounts()
    except OSError as error:
        if error.errno == EPERM:
            t.skip("no mount namespaces here")
        raise


@case("busy", needs="root")
def other_filesystems(t: Tester) -> None:
    if not t.elsewhere():
        t.skip("no second filesystem here")
    away = f"{t.elsewhere()}/posix-there-is-no-such-name"
    for kind in KINDS:
        t.put(kind, kind)
        t.fails(EXDEV, t.root.rename, kind, away)
        if kind != "dir":
            t.fails(EXDEV, t.root.link, kind, away)
        t.works(t.root.lstat, kind)
