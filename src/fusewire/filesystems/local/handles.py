"""File handles: how to come back to an inode whatever became of its name.

A handle holds what the source's filesystem finds an inode by, with a generation, so that it
never finds the next file of the same number. It costs no descriptor. To open one takes
CAP_DAC_READ_SEARCH in the machine's own user namespace, and a filesystem that has handles:
overlayfs mostly has none. So they are tried out before they are relied on.
"""

from __future__ import annotations

import errno
import os

from fusewire.errors import os_error
from fusewire.filesystems.local.syscalls import name_to_handle_at, open_by_handle_at, statx

__all__ = ["FileHandles", "usable_handles"]


class FileHandles:
    """The handles of one mount.

    Raises:
        OSError: EOPNOTSUPP if its filesystem has no handles, EPERM if this process may not open them.
    """

    def __init__(self, directory_fd: int) -> None:
        self.mount_fd = os.open(f"/proc/self/fd/{directory_fd}", os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._try_out()
        except OSError:
            self.close()
            raise

    def take(self, fd: int) -> bytes:
        """Return the handle of what `fd` is open on."""
        return name_to_handle_at(fd)

    def open(self, handle: bytes) -> int:
        """Return a new O_PATH descriptor of the inode; ESTALE if it is gone."""
        return open_by_handle_at(self.mount_fd, handle, os.O_PATH)

    def close(self) -> None:
        os.close(self.mount_fd)

    def _try_out(self) -> None:
        fd = self.open(self.take(self.mount_fd))
        try:
            found, expected = statx(fd, ""), statx(self.mount_fd, "")
        finally:
            os.close(fd)
        if (found.device, found.attributes.ino) != (expected.device, expected.attributes.ino):
            raise os_error(errno.EOPNOTSUPP)


def usable_handles(directory_fd: int, wanted: bool | None) -> FileHandles | None:
    """Return the handles of the mount that a directory is on; None if it has none, or `wanted` is False.

    Raises:
        OSError: why not, if `wanted` is True.
    """
    if wanted is False:
        return None
    try:
        return FileHandles(directory_fd)
    except OSError:
        if wanted:
            raise
        return None
