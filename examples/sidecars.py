"""Sidecars: a directory in which a file takes its companion along when it goes: photo.jpg, and photo.jpg.xmp.

    fusewire mount examples/sidecars.py:root /mnt/x     # or: python examples/sidecars.py /mnt/x

    touch /mnt/x/photo.jpg /mnt/x/photo.jpg.xmp
    ls /mnt/x
    rm /mnt/x/photo.jpg
    ls /mnt/x                       # both are gone

The kernel keeps names for a minute here, so it has to be told that the sidecar is gone. Whoever tells it at
once, like `Hasty`, hangs with the first `rm`: the kernel holds the directory's lock until it has its answer,
and the notification waits for that lock. `Sidecars` tells it when the answer is out. Nobody needs a mount to
find that; every order is tried, and the shortest run that hangs is drawn:

    python examples/sidecars.py --explore
"""

import asyncio
import os
import sys
from collections.abc import Mapping

import fusewire
from fusewire.kernel import Process


class Photo(fusewire.File):
    """Some bytes."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.size = 0

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.content[offset : offset + size])

    def write(self, offset: int, data: memoryview) -> None:
        self.truncate(max(offset + len(data), self.size or 0))
        self.content[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        self.content = self.content[:size].ljust(size, b"\0")
        self.size = size


class Hasty(fusewire.Directory):
    """Tells the kernel before it answers. This is the mistake."""

    def __init__(self) -> None:
        self.files: dict[str, Photo] = {}

    def list(self) -> Mapping[str, fusewire.Node]:
        return self.files

    def create(self, name: str, mode: int) -> Photo:
        made = self.files[name] = Photo()
        return made

    async def unlink(self, name: str) -> None:
        del self.files[name]
        sidecar = f"{name}.xmp"
        if self.files.pop(sidecar, None):
            await self.tell(sidecar)

    async def tell(self, name: str) -> None:
        """Tell the kernel that a name of this directory is old."""
        await fusewire.current_request().notify_now.awaitable.inval_entry(self, name)


class Sidecars(Hasty):
    """Tells the kernel in a task, which begins when the method that made it has been answered for."""

    def __init__(self) -> None:
        super().__init__()
        self.telling: set[asyncio.Task[bool]] = set()  # asyncio itself does not keep them

    async def tell(self, name: str) -> None:
        notify = fusewire.current_request().notify_now
        task = asyncio.create_task(notify.awaitable.inval_entry(self, name))
        self.telling.add(task)
        task.add_done_callback(self.telling.discard)


async def touch(process: Process) -> None:
    """Make a photo and its sidecar."""
    for name in ("/photo.jpg", "/photo.jpg.xmp"):
        await process.close(await process.open(name, os.O_CREAT | os.O_WRONLY))


async def rm(process: Process) -> None:
    """Remove the photo."""
    await process.unlink("/photo.jpg")


def explore() -> None:
    """Try every order of one `rm`, on both."""
    from fusewire.explore import interleavings

    for filesystem in (Hasty, Sidecars):
        print(interleavings(filesystem, [rm], before=touch), end="\n\n")


root = Sidecars()

if __name__ == "__main__":
    if sys.argv[1:] == ["--explore"]:
        explore()
    else:
        fusewire.run(root, sys.argv[1], entry_timeout=60)
