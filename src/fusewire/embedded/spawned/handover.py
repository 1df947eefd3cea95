"""What a stand-in for fusermount3 is told: the socket that is the daemon's device, or a complaint.

mount     hands the socket over, once, if the daemon was not given it as its mountpoint. What the
          daemon says of its mount counts as on Linux: ro, default_permissions, max_read...
unmount   unmounts, as umount(2) does
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from fusewire.embedded.spawned.sockets import close_listed
from fusewire.kernel.mounting import MNT_DETACH
from fusewire.kernel.vfs.superblock import Options

__all__ = ["Handover", "with_words"]


class Handover:
    """Answers the stand-ins of one spawned daemon."""

    def __init__(
        self, device: socket.socket | None, mount: Callable[[str], object], unmount: Callable[[int], object]
    ) -> None:
        """Hand over `device`, if it is one; `mount` is told the options, `unmount` gets the flags of umount(2)."""
        self.device = device
        self.mount = mount
        self.unmount = unmount
        self.asked = False  # it has been asked to mount

    def answer(self, sock: socket.socket) -> None:
        """Answer the one question that comes from `sock`."""
        with sock, suppress(OSError):  # the stand-in has been killed
            verb, options, lazy, place = sock.recv(65_536).decode(errors="surrogateescape").split("\0")
            if verb == "mount":
                self._mount(sock, options, place)
            else:
                self._unmount(sock, MNT_DETACH if lazy == "True" else 0, place)

    def _mount(self, sock: socket.socket, options: str, place: str) -> None:
        self.asked = True
        device, self.device = self.device, None
        if device is None:
            sock.send(f"mount failed at {place}: this daemon has its one device already\n".encode(errors="replace"))
            return
        self.mount(options)
        socket.send_fds(sock, [b"\n"], [device.fileno()])
        close_listed(device)

    def _unmount(self, sock: socket.socket, flags: int, place: str) -> None:
        code = 0
        try:
            self.unmount(flags)
        except OSError as error:
            code = error.errno or errno.EIO
        except RuntimeError:  # all is over
            code = errno.EINVAL
        sock.send(f"failed to unmount {place}: {os.strerror(code)}\n".encode(errors="replace") if code else b"\n")


def with_words(options: Options, words: str) -> Options:
    """Return mount options with what a daemon says of its mount; what is no matter of ours is passed over."""
    for word in words.split(","):
        name, _, value = word.partition("=")
        match name:
            case "ro":
                options = replace(options, read_only=True)
            case "default_permissions":
                options = replace(options, default_permissions=True)
            case "max_read" if value.isdigit() and int(value):
                options = replace(options, max_read=min(options.max_read, int(value)))
            case "fsname":
                options = replace(options, source=value)
            case "subtype":
                options = replace(options, subtype=value)
    return options
