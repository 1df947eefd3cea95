"""Between a message and the memory of a daemon: page by page, each faulted in first.

For each page of the daemon's buffer:

    1. unlock the request          it may be ended, and its sender's memory may vanish
    2. get the page                may sleep, and may need this very filesystem
    3. lock the request            ENOENT if it has been ended meanwhile
    4. copy, at most a page        never sleeps

So the memory of the request is touched while it is locked, and only then, and nothing sleeps on the
daemon's memory while it is locked. That is what kernel.txt ends with: "doing the copy atomically, and
allowing interruption while the page(s) belonging to the write buffer are faulted". The page on which
a writer's header stands has been got already when the request is found, so what follows the header
there is copied under the first lock.

Who writes or reads from memory that cannot fault has all of it at once, and no use for this.

Source: fs/fuse/dev.c, fuse_copy_fill and fuse_copy_do.
"""

from __future__ import annotations

from fusewire import events
from fusewire.events import Step
from fusewire.kernel.request import Request
from fusewire.kernel.sender_memory import SenderMemory
from fusewire.kernel.tasks import step
from fusewire.kernel.user_memory import UserBuffer
from fusewire.wire import OutHeader

__all__ = ["PAGE", "Copy"]

PAGE = 4096  # bytes, the most that is copied under one lock


class Copy:
    """One pass over a buffer, from its start (fuse_copy_state)."""

    __slots__ = ("buffer", "offset", "present", "request", "write")

    def __init__(self, buffer: UserBuffer, write: bool, request: Request | None = None) -> None:
        self.buffer = buffer
        self.write = write  # to the buffer
        self.offset = 0  # bytes copied so far
        self.present = 0  # bytes that may be copied from there on without a fault
        self.request = request  # to be locked meanwhile

    async def store(self, data: bytes) -> None:
        """Copy `data` to the buffer.

        Raises:
            OSError: EFAULT if there is no such memory; EINTR if the copier was killed while it was
                fetched; ENOENT if the request has ended, or is to be ended by the copier.
        """
        done = 0
        while done < len(data):
            size = await self._chunk(len(data) - done)
            self.buffer.store(self.offset, data[done : done + size])
            done += size
            await self._copied(size, Step.COPY_OUT)

    async def load(self, size: int) -> bytes:
        """Copy the next `size` bytes of the buffer; errors as those of `store`."""
        chunks: list[bytes] = []
        while size:
            chunk = await self._chunk(size)
            chunks.append(self.buffer.load(self.offset, chunk))
            size -= chunk
            await self._copied(chunk, Step.COPY_PAGE)
        return b"".join(chunks)

    async def load_reply(self, request: Request, length: int) -> bytes:
        """Copy the rest of a reply to `request`, which is of `length` bytes and whose header has been copied."""
        self.request = request
        if events.hook is not None:
            await step(Step.COPY_IN, about=request)
        memory = request.memory = SenderMemory(length - self.offset)
        await self._load_into(memory)
        memory.check()
        return OutHeader(length, 0, request.unique).pack() + bytes(memory.data)

    async def _load_into(self, memory: SenderMemory) -> None:
        done = 0
        while done < len(memory.data):
            chunk = await self._chunk(len(memory.data) - done)
            memory.store(done, self.buffer.load(self.offset, chunk))
            done += chunk
            await self._copied(chunk, Step.COPY_PAGE)

    async def _chunk(self, wanted: int) -> int:
        """Return how many bytes may be copied now: the next page is fetched if there are none."""
        if not self.present:
            await self._fill()
        assert self.request is None or self.request.locked, "73: a request's memory is touched while it is locked"
        return min(wanted, self.present)

    async def _fill(self) -> None:
        request = self.request
        if request is not None and request.locked:
            request.unlock()
        if events.hook is not None:
            await step(Step.FAULT, about=f"{self.offset} bytes copied")
        assert request is None or not request.locked, "72: no page is fetched while a request is locked"
        self.present = min(await self.buffer.fault_in(self.offset, self.write), PAGE)
        if request is not None:
            request.lock()

    async def _copied(self, size: int, said: Step) -> None:
        self.offset += size
        self.present -= size
        if self.request is not None and events.hook is not None:
            await step(said, about=self.request)
