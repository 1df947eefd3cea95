"""What a filesystem is made of, and how it is to be mounted: the same for a mount and for an embedded kernel."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, TypeAlias

from fusewire.daemon.check import refuse_misspelt
from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.logged import LoggedSession, requests_are_logged
from fusewire.daemon.negotiation import Limits
from fusewire.daemon.node_filesystem import NodeFilesystem
from fusewire.daemon.nodes import Branch
from fusewire.daemon.session import Session
from fusewire.daemon.timeouts import Timeouts
from fusewire.mounting import MountOptions

__all__ = ["Served", "as_filesystem", "new_session", "options_for", "threads_for"]

Served: TypeAlias = Filesystem | Branch


def as_filesystem(what: Served) -> Filesystem:
    """Return `what`, or the filesystem that serves it if it is a tree.

    Raises:
        TypeError: it is neither, or its class has a method that looks misspelt.
    """
    if isinstance(what, type) and issubclass(what, Filesystem):
        raise TypeError(f"{what.__name__} is a class: call it to make a filesystem")
    if isinstance(what, str | os.PathLike):
        raise TypeError(f"{what!r} is a path: for that directory say LocalDirectory(...) of fusewire.filesystems")
    if isinstance(what, Filesystem):
        refuse_misspelt(type(what))
        return what
    return NodeFilesystem(what)


def options_for(
    filesystem: Filesystem,
    options: str | MountOptions,
    more_options: dict[str, Any],
    base: MountOptions | None = None,
) -> MountOptions:
    """Put together what is said of a mount, as after `-o` or by name, and what the filesystem wishes.

    `base` holds for what a text does not say.

    Raises:
        MountOptionError: an option that does not exist, or a bad value.
    """
    parsed = options if isinstance(options, MountOptions) else MountOptions.parse(options, base)
    if filesystem.default_permissions:
        parsed = replace(parsed, default_permissions=True)
    return parsed.with_options(**more_options) if more_options else parsed


def threads_for(filesystem: Filesystem, threads: int | None) -> int:
    """Return how many `def` methods may run at once: `threads`, or what the filesystem says if that is None.

    Raises:
        ValueError: a number that the filesystem cannot be served by.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads={threads}: at least one must serve")
    if threads is not None and threads > 1 and not filesystem.blocking:
        raise ValueError(f"threads={threads}: {type(filesystem).__name__} never waits, so one thread serves it best")
    return threads or filesystem.threads


def new_session(filesystem: Filesystem, options: MountOptions) -> Session:
    """Return the daemon's end of a connection; one that says what it does, if somebody listens."""
    timeouts = Timeouts(options.entry_timeout, options.attr_timeout, options.negative_timeout)
    kind = LoggedSession if requests_are_logged() else Session
    return kind(filesystem, timeouts, Limits())
