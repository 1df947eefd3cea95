"""An empty filesystem in memory, and two who ask it for things."""

from __future__ import annotations

import pytest

from fusewire.filesystems.memory import Memory
from memory_caller import Caller


@pytest.fixture
def memory() -> Memory:
    """A small one: 256 pages, 100 inodes."""
    return Memory(size=1 << 20, inodes=100, uid=0, gid=0)


@pytest.fixture
def root(memory: Memory) -> Caller:
    return Caller(memory)


@pytest.fixture
def alice(memory: Memory) -> Caller:
    return Caller(memory, 1000, 1000)
