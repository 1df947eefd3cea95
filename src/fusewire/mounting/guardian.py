"""The process that stands by for `auto_unmount`: python -m fusewire.mounting.guardian MOUNTPOINT

It says when it is ready, waits for the end of its standard input, which is the daemon's end,
and then unmounts if the mount is dead. The statfs that asks for that is sent from here and not
from a probe: while the daemon is dying it waits, and it should.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from fusewire.mounting.corpses import DEAD
from fusewire.mounting.detach import detach
from fusewire.mounting.table import covering, read_table

__all__ = ["main"]


def main() -> None:
    """Guard the mountpoint in the arguments."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    mountpoint = sys.argv[1]
    with contextlib.suppress(BrokenPipeError):
        os.write(1, b"\n")
    while os.read(0, 4096):
        pass
    mount = covering(read_table(), mountpoint)
    if mount is not None and mount.is_fuse and mount.mountpoint == mountpoint and died(mountpoint):
        detach(mountpoint, lazy=True)


def died(mountpoint: str) -> bool:
    """Ask a mount whether its daemon is dead; wait while it is dying, or hangs."""
    try:
        os.statvfs(mountpoint)
    except OSError as error:
        return error.errno in DEAD
    return False


if __name__ == "__main__":
    main()
