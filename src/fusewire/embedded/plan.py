"""What a kernel is asked to be and to do, checked: options, minor, profile, ids, calls."""

from __future__ import annotations

import inspect
import stat
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.negotiation import OLDEST_MINOR
from fusewire.kernel.profile import PROFILES, Profile
from fusewire.kernel.vfs.superblock import Options
from fusewire.mounting import MountOptions
from fusewire.mounting.syscalls import MS_NODEV, MS_NOEXEC, MS_NOSUID
from fusewire.wire import FUSE_KERNEL_MINOR_VERSION

__all__ = ["Plan", "checked_call", "checked_id", "checked_minor", "kernel_options", "profile_named"]

T = TypeVar("T")

UNBOUNDED: Final = 0xFFFFFFFF  # bytes of one READ
NO_ID: Final = 0xFFFFFFFF  # -1, by which a system call leaves an id as it is


@dataclass(frozen=True, slots=True)
class Plan:
    """What a kernel was asked to be."""

    filesystem: Filesystem
    mount_options: MountOptions
    options: Options
    minor: int
    profile: Profile
    threads: int
    strict: bool
    requests: int  # that are recorded


def kernel_options(options: MountOptions, root_type: int) -> Options:
    """Return what mount(2) would be told."""
    return Options(
        rootmode=stat.S_IFMT(root_type),
        allow_other=options.allow_other,
        default_permissions=options.default_permissions,
        max_read=options.max_read or UNBOUNDED,
        read_only=options.ro,
        nosuid=bool(options.flags & MS_NOSUID),
        nodev=bool(options.flags & MS_NODEV),
        noexec=bool(options.flags & MS_NOEXEC),
        subtype=options.subtype,
        source=options.fsname,
    )


def profile_named(name: str) -> Profile:
    """Return a profile.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in PROFILES:
        raise ValueError(f"profile={name!r}: there are {', '.join(map(repr, PROFILES))}")
    return PROFILES[name]


def checked_minor(minor: int) -> int:
    """Return `minor`.

    Raises:
        ValueError: it is none that a kernel can have here.
    """
    if not OLDEST_MINOR <= minor <= FUSE_KERNEL_MINOR_VERSION:
        raise ValueError(f"minor={minor}: there are {OLDEST_MINOR} to {FUSE_KERNEL_MINOR_VERSION}")
    return minor


def checked_id(number: int) -> int:
    """Return `number`.

    Raises:
        TypeError, ValueError: it is none that a user or a group can have.
    """
    if not isinstance(number, int):
        raise TypeError(f"{number!r} is no user or group: they are numbers here")
    if not 0 <= number < NO_ID:
        raise ValueError(f"{number} is no user or group: their numbers are 0 to {NO_ID - 1}")
    return number


def checked_call(coroutine: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """Return `coroutine`.

    Raises:
        TypeError: it is none.
    """
    if not inspect.iscoroutine(coroutine):
        raise TypeError(f"{coroutine!r} is no call that can be awaited, such as process.awaitable.stat('/')")
    return coroutine
