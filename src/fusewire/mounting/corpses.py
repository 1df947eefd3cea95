"""Mounts whose daemon is dead: 'Transport endpoint is not connected'.

They stay in the tree until somebody unmounts them. A mount is alive if we see a process that
has its device open and is not dying. If we see none, it may be another user's, or in another
container, or the kernel too old to tell (before 6.18); then only a request can tell. An open
with O_PATH succeeds on a corpse, and stat may be answered from the cache, so it is a statfs:
that fails at once if the connection is dead. If the daemon lives it answers, or it hangs, and
we with it; so it is sent from a process that we can leave behind.

The kernel lets nobody but the mount's owner send requests, root not excepted, unless the mount
has `allow_other`; root sends it as that user.

Source: fs/fuse/inode.c, fuse_statfs; fs/fuse/dir.c, fuse_allow_current_process.
"""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from typing import Final

from fusewire.mounting.detach import detach
from fusewire.mounting.processes import is_dying, servers
from fusewire.mounting.table import MountInfo, covering, read_table

__all__ = ["bury", "is_dead"]

PATIENCE: Final = 2.0  # seconds for which a daemon that lives may take to answer
PROBE: Final = """
import os, sys
root = os.open(sys.argv[1], os.O_PATH)
uid, gid = map(int, sys.argv[2:])
if os.geteuid() == 0 and uid != 0:
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
try:
    os.fstatvfs(root)
except OSError as error:
    sys.exit(error.errno)
"""
DEAD: Final = (errno.ENOTCONN, errno.ECONNABORTED)  # before, and while, the request was sent


def is_dead(mount: MountInfo) -> bool:
    """Tell whether the topmost mount on a path has lost its daemon.

    One that hangs is alive, and so is one that we cannot ask.
    """
    is_served = any(not is_dying(pid) for pid in servers(mount.connection))
    return not is_served and says_dead(mount)


def says_dead(mount: MountInfo) -> bool:
    """Tell whether a request to the topmost mount on a path fails because its connection is dead."""
    try:
        probe = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", PROBE, mount.mountpoint, str(mount.user_id), str(mount.group_id)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:  # no Python to be found
        return False
    try:
        return probe.wait(PATIENCE) in DEAD
    except subprocess.TimeoutExpired:
        leave(probe)
        return False


def leave(probe: subprocess.Popen[bytes]) -> None:
    """End a process that hangs. If the daemon has read its request already, it lasts until the mount ends."""
    probe.kill()
    threading.Thread(target=probe.wait, name="fusewire-probe", daemon=True).start()  # no zombie is to stay


def bury(mountpoint: str) -> MountInfo | None:
    """Detach dead mounts from an absolute path, one after the other; return the mount that shows then.

    Raises:
        OSError: EPERM: a dead one is another user's.
    """
    while mount := covering(read_table(), mountpoint):
        if mount.mountpoint != mountpoint or not mount.is_fuse or not is_dead(mount):
            return mount
        detach(mountpoint, lazy=True)
    return None
