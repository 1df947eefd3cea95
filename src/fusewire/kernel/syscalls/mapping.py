"""A mapping as an object: what mmap(2) returns, used as Python's `mmap.mmap`.

Indexed, sliced and assigned to, it touches memory as a program does, and its faults become READs. Each
use runs the kernel until it is done, so it is for programs outside of the kernel alone.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from fusewire.kernel.syscalls.memory import Memory

__all__ = ["Mapping"]

T = TypeVar("T")


class Mapping:
    """Memory of a process from `address` on, `len(mapping)` bytes of it."""

    def __init__(self, process: Memory, address: int, length: int) -> None:
        self.process = process
        self.address = address
        self.closed = False
        self._length = length

    def __repr__(self) -> str:
        return f"<Mapping of {self.process.name} at {self.address:#x}, {self._length} bytes>"

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> bytes: ...

    def __getitem__(self, index: int | slice) -> int | bytes:
        """Return a byte, or some: what has to be read is read now. Errors as `Memory.load`."""
        if isinstance(index, slice):
            start, stop, stride = index.indices(self._length)
            low, high = (start, stop) if stride > 0 else (stop + 1, start + 1)
            return self._load(low, max(high - low, 0))[::stride]
        return self._load(self._check(index), 1)[0]

    def __setitem__(self, index: int | slice, value: int | bytes) -> None:
        """Change a byte, or as many as the slice has. Errors as `Memory.store`."""
        if isinstance(index, slice):
            start, stop, stride = index.indices(self._length)
            data = bytes(value)
            if stride != 1 or len(data) != max(stop - start, 0):
                raise ValueError("a slice of a mapping is replaced by as many bytes as it has")
            self._store(start, data)
        else:
            self._store(self._check(index), bytes((int(value),)))

    def flush(self) -> None:
        """Have all of it written, and FSYNC: msync with MS_SYNC, of which it has the errors."""
        self._run(self.process.msync(self.address, self._length))

    def madvise(self, advice: int) -> None:
        """Say how it will be used; as `Memory.madvise`."""
        self._run(self.process.madvise(self.address, self._length, advice))

    def close(self) -> None:
        """Unmap it. Idempotent."""
        if not self.closed:
            self.closed = True
            self._run(self.process.munmap(self.address, self._length))

    def __enter__(self) -> Mapping:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check(self, index: int) -> int:
        if not -self._length <= index < self._length:
            raise IndexError(f"byte {index} of a mapping of {self._length} bytes")
        return index % self._length

    def _load(self, offset: int, size: int) -> bytes:
        return self._run(self.process.load(self.address + offset, size))

    def _store(self, offset: int, data: bytes) -> None:
        self._run(self.process.store(self.address + offset, data))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.process.system.runner.call(coroutine, self.process)
