"""Linux and the embedded kernel, alike: each serves a filesystem for a while, and somebody makes system calls in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, Self

import pytest
from torture.conformance.actors import Actor, ForkedActor, Identity
from torture.conformance.embedded import ROOT, EmbeddedActor

import fusewire
from fusewire.served import Served

__all__ = ["MINORS", "AnyKernel", "Asked", "EmbeddedKernel", "LinuxKernel", "needs"]

MINORS = (45, 36, 31, 19)  # of the kernels that people run
NEWEST = 45

Asked = Callable[..., list[str]]


class AnyKernel(Protocol):
    """A kernel that tests run on."""

    minor: int  # of its ABI

    def serve(self, what: Served, **options: Any) -> AbstractContextManager[Actor]:
        """Serve `what`; the actor stands in its root. Options are as of `fusewire.mount`."""


def needs(kernel: AnyKernel, minor: int, what: str) -> None:
    """Skip the test on a kernel that is too old for it."""
    if kernel.minor < minor:
        pytest.skip(f"{what} came with 7.{minor}")


class EmbeddedKernel:
    """An embedded kernel of an ABI."""

    def __init__(self, minor: int) -> None:
        self.minor = minor

    @contextmanager
    def serve(self, what: Served, **options: Any) -> Iterator[Actor]:
        with fusewire.Kernel(what, minor=self.minor, strict=True, **options) as kernel:
            actor = EmbeddedActor(ROOT, kernel)
            yield actor
            actor.end()
            assert kernel.leaks() == []
            assert kernel.violations == []


class LinuxKernel:
    """This machine's kernel. Its actor is made before anything is mounted: one who has threads had better not fork."""

    minor = NEWEST

    def __init__(self, mountpoint: Path) -> None:
        self.mountpoint = mountpoint

    def __enter__(self) -> Self:
        self.actor = ForkedActor(Identity("me", os.geteuid(), os.getegid()))
        return self

    def __exit__(self, *exception: object) -> None:
        self.actor.end()

    @contextmanager
    def serve(self, what: Served, **options: Any) -> Iterator[Actor]:
        options = {"allow_other": os.geteuid() == 0, **options}
        with fusewire.mount(what, str(self.mountpoint), strict=True, **options):
            self.actor.chdir(str(self.mountpoint))
            try:
                yield self.actor
            finally:
                self.actor.close_all()
                self.actor.chdir("/")
