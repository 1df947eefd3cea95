"""An open file of an embedded kernel, as an object: awaited, or as Python's own streams have it.

    async with await kernel.open("/a", "w+b") as file:
        await file.write(b"hi")

    with kernel.open("/a", "w", encoding="utf-8") as file:    # buffered, as the builtin `open`
        file.write("hi")

A file that nobody closes stays open, as `kernel.leaks()` tells: when an object dies is Python's
affair, and a system call in the middle of something else would be nobody's.
"""

from __future__ import annotations

import asyncio
import io
import os
import warnings
from typing import TYPE_CHECKING, Any, Final, Self

from fusewire.kernel.tasks import Task

if TYPE_CHECKING:
    import fusewire.kernel as kernel_end
    from fusewire.embedded.process import Process

__all__ = ["AwaitableFile", "RawFile", "stream"]

CHUNK: Final = 1 << 20  # bytes read at once


class AwaitableFile:
    """A descriptor of a process, and its calls, each awaited."""

    def __init__(self, process: kernel_end.Process, fd: int, mode: str) -> None:
        self.process = process
        self.fd = fd
        self.mode = mode
        self.closed = False

    def __repr__(self) -> str:
        return f"<AwaitableFile fd={self.fd} of {self.process!r}, mode={self.mode!r}>"

    def fileno(self) -> int:
        """Return its descriptor, which means something in its process alone."""
        return self.fd

    async def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes, or all that follow if that is negative; less at the end."""
        chunks: list[bytes] = []
        while size and (chunk := await self.process.read(self.fd, size if size > 0 else CHUNK)):
            chunks.append(chunk)
            size -= len(chunk) if size > 0 else 0
        return b"".join(chunks)

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all of `data`; return how many bytes that are."""
        view = memoryview(data).cast("B")
        left = view
        while left:
            left = left[await self.process.write(self.fd, left) :]
        return len(view)

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to `offset`, and return where that is."""
        return await self.process.lseek(self.fd, offset, whence)

    async def tell(self) -> int:
        """Return where the next byte is read or written."""
        return await self.process.lseek(self.fd, 0, os.SEEK_CUR)

    async def truncate(self, length: int | None = None) -> int:
        """Make the file `length` bytes long, or as long as `tell` says; return that."""
        length = await self.tell() if length is None else length
        await self.process.ftruncate(self.fd, length)
        return length

    async def close(self) -> None:
        """Close it. Idempotent.

        Raises:
            OSError: what the filesystem's `flush` says; it is closed nevertheless.
        """
        if not self.closed:
            self.closed = True
            await self.process.close(self.fd)

    def _begin_to_close(self) -> None:
        if not self.closed:
            self.closed = True
            closing = Task("kernel", self.process.close(self.fd), self.process)
            closing.ended = lambda _: None  # nobody is told what FLUSH says
            self.process.system.runner.start(closing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is GeneratorExit:  # it is dropped while it sleeps, and can await nothing more
            return
        if kind is asyncio.CancelledError:  # who cancels does not wait for the daemon to answer FLUSH
            self._begin_to_close()
            return
        try:
            await self.close()
        except OSError:
            if kind is None:  # else what went wrong first tells more
                raise


class RawFile(io.RawIOBase):
    """A descriptor of a process, for Python's streams."""

    def __init__(self, process: Process, fd: int, mode: str, name: str) -> None:
        self.process = process
        self.fd = fd
        self.mode = mode
        self.name = name

    def readable(self) -> bool:
        return "r" in self.mode or "+" in self.mode

    def writable(self) -> bool:
        return "r" not in self.mode or "+" in self.mode

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self.process.read(self.fd, len(view))
        view[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        return self.process.write(self.fd, memoryview(data).cast("B"))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.process.lseek(self.fd, offset, whence)

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        self.process.ftruncate(self.fd, size)
        return size

    def close(self) -> None:
        if not self.closed:
            super().close()
            self.process.close(self.fd)

    def __del__(self) -> None:
        if not self.closed:
            warnings.warn(f"unclosed {self!r}: it stays open in {self.process!r}", ResourceWarning, 2, self)


def stream(raw: RawFile, buffering: int, encoding: str | None, errors: str | None, newline: str | None) -> Any:
    """Put the builtin `open`'s layers around `raw`, as its mode wants them."""
    text = "b" not in raw.mode
    if buffering == 0:
        if text:
            raise ValueError("can't have unbuffered text I/O")
        return raw
    size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
    buffered: Any
    if "+" in raw.mode:
        buffered = io.BufferedRandom(raw, size)
    elif raw.writable():
        buffered = io.BufferedWriter(raw, size)
    else:
        buffered = io.BufferedReader(raw, size)
    if not text:
        return buffered
    return io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline, line_buffering=buffering == 1)
