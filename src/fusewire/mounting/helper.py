"""fusermount3: the setuid program by which users who may not mount do it.

It opens /dev/fuse as the user who calls it, mounts, and passes the descriptor back over a
socket whose number it finds in _FUSE_COMMFD. What it complains of goes to its standard error.

Its own `auto_unmount` is not used: when the daemon has died it opens the mount as root, who may
not, takes the EACCES for a sign of life, and goes (3.14). guard.py works for all.

Source: libfuse's doc/fusermount3.1 and util/fusermount.c.
"""

from __future__ import annotations

import array
import errno
import os
import select
import shutil
import socket
import stat
import subprocess
from typing import Final

from fusewire.mounting.device import user_name
from fusewire.mounting.errors import cannot_mount
from fusewire.mounting.fork import close_in_children, no_fork
from fusewire.mounting.options import OPTIONS, MountOptions, escape
from fusewire.mounting.syscalls import MS_NODEV, MS_NOSUID

__all__ = ["mount_by_helper", "unmount_by_helper"]

HELPER: Final = "fusermount3"
CONFIGURATION: Final = "/etc/fuse.conf"
PATIENCE: Final = 20.0  # seconds that it may take to mount
INSTALL: Final = "Install it (apt-get install fuse3)"


def find_helper() -> str | None:
    """Return the path of the program. It may lie where an ordinary PATH does not lead."""
    return shutil.which(
        HELPER, path=os.pathsep.join([os.environ.get("PATH", ""), "/bin", "/usr/bin", "/usr/local/bin"])
    )


# --- mounting


def mount_by_helper(mountpoint: str, status: os.stat_result, options: MountOptions) -> int:
    """Mount; return the device's descriptor.

    Args:
        status: the mountpoint's, as stat gives it.

    Raises:
        MountError: it is not installed, or refuses.
    """
    program = find_helper()
    if program is None:
        why = f"you may not mount by yourself, and {HELPER} is not installed"
        raise cannot_mount(mountpoint, errno.EPERM, f"{why}. {INSTALL}, or run it with sudo")
    refuse_early(mountpoint, status, options)
    ours, theirs = socket.socketpair()
    with ours, theirs, start(program, mountpoint, options, theirs) as process:
        theirs.close()
        fd = receive(ours)
        if fd is not None:
            return fd
        process.kill()  # it has ended, or takes too long
        raise cannot_mount(mountpoint, errno.EPERM, f"{HELPER} refuses: {said(process.communicate()[1])}")


def start(program: str, mountpoint: str, options: MountOptions, sock: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [HELPER, "-o", arguments(options), "--", mountpoint],
        executable=program,
        env={**os.environ, "LC_ALL": "C", "_FUSE_COMMFD": str(sock.fileno())},
        pass_fds=[sock.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
    )


def arguments(options: MountOptions) -> str:
    """Write options as the helper reads them: flags by name, and only what differs from its own defaults."""
    words = [name for name in ("ro", "allow_other", "default_permissions") if getattr(options, name)]
    words += [row.name for row in OPTIONS if row.on & options.flags & ~(MS_NOSUID | MS_NODEV)]
    words += [f"fsname={escape(options.fsname)}"]
    words += [f"subtype={escape(options.subtype)}"] if options.subtype else []
    words += [f"max_read={options.max_read}"] if options.max_read else []
    return ",".join(words)


def receive(sock: socket.socket) -> int | None:
    """Return the descriptor that the helper sends, None if it sends none in time."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    if not poll.poll(PATIENCE * 1000):
        return None
    with no_fork:
        _, control, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        fds = array.array("i", b"".join(data for *_, data in control))
        for fd in fds:
            close_in_children(fd)
    return fds[0] if fds else None


def refuse_early(mountpoint: str, status: os.stat_result, options: MountOptions) -> None:
    """Refuse what the helper would refuse, or quietly not do, with a cure."""
    if options.allow_other and not users_may_allow_other():
        why = f"allow_other needs a line 'user_allow_other' in {CONFIGURATION}, which is not there"
        cure = "Add it as root, run it with sudo, or leave allow_other away"
        raise cannot_mount(mountpoint, errno.EPERM, f"{why}. {cure}")
    if ~options.flags & (MS_NOSUID | MS_NODEV):
        raise cannot_mount(
            mountpoint, errno.EPERM, "the options suid and dev are for root. Leave them away, or use sudo"
        )
    if not os.access(mountpoint, os.W_OK):
        why = f"you may not write to it (mode {stat.S_IMODE(status.st_mode):04o}, owner {user_name(status.st_uid)})"
        raise cannot_mount(mountpoint, errno.EACCES, f"{why}. Mount on a directory of your own, or run it with sudo")


def users_may_allow_other() -> bool:
    try:
        with open(CONFIGURATION, "rb") as file:
            return any(line.strip() == b"user_allow_other" for line in file)
    except OSError:
        return False


# --- unmounting


def unmount_by_helper(mountpoint: str, lazy: bool) -> None:
    """Unmount what this user has mounted.

    Raises:
        OSError: EBUSY if it is in use; EPERM if it is another user's, or the helper is not installed.
    """
    program = find_helper()
    if program is None:
        raise OSError(errno.EPERM, f"you may not unmount by yourself, and {HELPER} is not installed. {INSTALL}")
    done = subprocess.run(
        [HELPER, "-u", *(["-z"] if lazy else []), "--", mountpoint],
        executable=program,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd="/",
        check=False,
    )
    if done.returncode:
        raise OSError(code_of(done.stderr), f"{HELPER} refuses: {said(done.stderr)}")


def code_of(complaint: bytes) -> int:
    """Return the errno whose text ends what the helper says; it says none for a mount of another user."""
    text = said(complaint)
    return next((code for code in (errno.EBUSY, errno.EINVAL) if text.endswith(os.strerror(code))), errno.EPERM)


def said(complaint: bytes) -> str:
    """Return the helper's words without its name, in one line."""
    lines = complaint.decode(errors="replace").strip().splitlines()
    return "; ".join(line.removeprefix(f"{HELPER}: ") for line in lines) or "it does not say why"
