"""Get, share, inherit and lose a kernel mount. Knows nothing of the daemon that serves it.

    mounted = mount("/mnt/x", MountOptions.parse("ro,fsname=demo"))
    ... read requests from mounted.fd, write replies ...
    unmount("/mnt/x")

Read `attach.py` for how a mount is made, `umount.py` for how it ends, `table.py` for how it is
looked at without touching it.
"""

from __future__ import annotations

from fusewire.mounting.attach import Mounted, mount
from fusewire.mounting.corpses import is_dead
from fusewire.mounting.device import clone_device, close_device
from fusewire.mounting.errors import MountError
from fusewire.mounting.fork import close_in_children
from fusewire.mounting.fusectl import connection_of_fd, waiting
from fusewire.mounting.options import OPTIONS, MountOptionError, MountOptions, Option, describe
from fusewire.mounting.processes import Hold, Holder, holders, servers
from fusewire.mounting.table import MountInfo, covering, read_table
from fusewire.mounting.umount import abort, unmount

__all__ = [
    "OPTIONS",
    "Hold",
    "Holder",
    "MountError",
    "MountInfo",
    "MountOptionError",
    "MountOptions",
    "Mounted",
    "Option",
    "abort",
    "clone_device",
    "close_device",
    "close_in_children",
    "connection_of_fd",
    "covering",
    "describe",
    "holders",
    "is_dead",
    "mount",
    "read_table",
    "servers",
    "unmount",
    "waiting",
]
