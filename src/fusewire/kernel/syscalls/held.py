"""An open file that stays open while a system call uses it, whoever closes its descriptor meanwhile.

    with held(self, fd) as file: ...

Its RELEASE waits for the end of the block. To enter and to leave sleeps nowhere.
"""

from __future__ import annotations

from fusewire.kernel.operations.releasing import put_file
from fusewire.kernel.vfs.caller import Caller
from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["held"]


class held:
    """What `fd` stands for, if it can be read, written or asked at all, with a reference.

    Raises:
        OSError: EBADF if it is not open, or with O_PATH.
    """

    __slots__ = ("file",)

    def __init__(self, process: Caller, fd: int) -> None:
        self.file = process.opened_file(fd).hold()

    def __enter__(self) -> OpenFile:
        return self.file

    def __exit__(self, *exception: object) -> None:
        put_file(self.file)
