"""Take a mount out of the tree: by umount2(2) where we may, else through fusermount3.

Both work on a mount that hangs, and on one whose daemon is dead.
"""

from __future__ import annotations

from fusewire.mounting.errors import not_permitted
from fusewire.mounting.helper import unmount_by_helper
from fusewire.mounting.syscalls import MNT_DETACH, umount

__all__ = ["detach"]


def detach(mountpoint: str, *, lazy: bool) -> None:
    """Unmount the topmost mount on `mountpoint`; `lazy` also one that is in use.

    Raises:
        OSError: EBUSY if it is in use; EPERM if it is not ours; EINVAL if nothing is mounted.
    """
    try:
        umount(mountpoint, MNT_DETACH if lazy else 0)
    except OSError as error:
        if not not_permitted(error):
            raise
        unmount_by_helper(mountpoint, lazy)
