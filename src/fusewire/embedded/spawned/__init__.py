"""A daemon in another process, of any language, that serves an embedded kernel: `Kernel.spawn`.

    with fusewire.Kernel.spawn(["squashfuse", "-f", "image.sqfs", "{mountpoint}"]) as kernel:
        kernel.listdir("/")

Nothing is mounted, and the daemon does not notice. Its device is a socket (kernel/remote_device.py),
and there are two ways by which it gets that (`THROUGH`):

    'descriptor'    {mountpoint} becomes /dev/fd/N. Daemons made with libfuse 3, go-fuse or fuser take that
                    for a device that is mounted already
    'fusermount3'   {mountpoint} becomes an empty directory. The daemon may not mount by itself, calls
                    fusermount3, and finds a program of ours on its PATH, which hands it the socket

Who does not say which has the first tried, and the second if the daemon ends without having
answered INIT. A daemon that resolves its mountpoint before it looks at it, and mounts by itself or
not at all, can be spawned in neither way, and is told so.

    command.py      what is to be spawned, as it was asked for
    directory.py    the files that a spawned daemon needs, while it lives
    supervisor.py   the process that starts it, and ends all that comes of it
    process.py      our side of that: its output, its end       control.py   kernel.daemon
    stand_in.py     what the daemon calls for fusermount3
    handover.py     our side of that                            sockets.py   what no forked child may keep
    ends.py         both ends of the mount, begun and ended
"""

from __future__ import annotations

from fusewire.embedded.spawned.command import Command, Elsewhere, SpawnError, checked_command
from fusewire.embedded.spawned.ends import SpawnedEnds, spawn, spawn_async

__all__ = ["Command", "Elsewhere", "SpawnError", "SpawnedEnds", "checked_command", "spawn", "spawn_async"]
