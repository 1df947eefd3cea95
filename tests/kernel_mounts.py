"""Linux's own FUSE, as the tests see it from outside: mounts, connections, and whether there are any to be had.

A mount's *connection* has a number, the minor of the mount's device number. It names a directory of
/sys/fs/fuse/connections (a filesystem of its own, fusectl), and a write to the file `abort` there ends every
request of that connection, whatever its daemon does: that is how a test which hangs is freed.

No function here touches a file *in* a FUSE mount, so none can hang on one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from namespaces import MNT_DETACH, MS_NODEV, MS_NOSUID, mount, umount

DEVICE = Path("/dev/fuse")
CONNECTIONS = Path("/sys/fs/fuse/connections")


@dataclass(frozen=True)
class Mount:
    """One line of /proc/PID/mountinfo."""

    mount_id: int
    minor: int  # of the device number: a FUSE mount's connection
    path: Path
    fstype: str

    @property
    def is_fuse(self) -> bool:
        return self.fstype in ("fuse", "fuseblk") or self.fstype.startswith(("fuse.", "fuseblk."))


def mounts(pid: int | str = "self") -> list[Mount]:
    """Return every mount that a process sees; none if it is gone or not ours to look at."""
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_bytes().splitlines()
    except OSError:
        return []
    return [parse_mountinfo(line) for line in lines]


def parse_mountinfo(line: bytes) -> Mount:
    """Read one line. Blanks and backslashes in a path are written as three octal digits."""
    before, _, after = line.partition(b" - ")
    mount_id, _, device, _, path = before.split()[:5]
    unescaped = path.decode("unicode_escape").encode("latin-1")
    return Mount(int(mount_id), int(device.split(b":")[1]), Path(os.fsdecode(unescaped)), after.split()[0].decode())


def fuse_mounts(pid: int | str = "self") -> list[Mount]:
    """Return the FUSE mounts that a process sees."""
    return [mount for mount in mounts(pid) if mount.is_fuse]


def connection_of_descriptor(pid: int | str, descriptor: int | str) -> int | None:
    """Return the connection that a descriptor of /dev/fuse serves; None for any other descriptor.

    Older kernels do not say it.
    """
    try:
        lines = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("fuse_connection:")), None)


def abort(connection: int) -> bool:
    """End every request of a connection, and the connection with it. False if it is gone already."""
    try:
        (CONNECTIONS / str(connection) / "abort").write_text("1")
    except OSError:
        return False
    return True


def show_connections() -> None:
    """Mount fusectl where the system has not; only root of the machine can."""
    if not any(mount.fstype == "fusectl" for mount in mounts()):
        mount("fusectl", CONNECTIONS, "fusectl")


def raw_mount(path: Path, options: str = "") -> int:
    """Mount on a directory with nothing but mount(2); return the descriptor whose reader is to answer INIT."""
    device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    required = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    try:
        mount("test", path, "fuse", MS_NOSUID | MS_NODEV, f"{required},{options}".rstrip(","))
    except OSError:
        os.close(device)
        raise
    return device


def why_no_kernel() -> str | None:
    """Return in one sentence why nothing can be mounted here; None if it can. Found out by mounting."""
    with tempfile.TemporaryDirectory() as name:
        try:
            device = raw_mount(Path(name))
        except OSError as error:
            return explain(error)
        umount(Path(name), MNT_DETACH)
        os.close(device)
    return None


def explain(error: OSError) -> str:
    """Say what stopped `raw_mount`, and what helps."""
    if error.filename is None:  # it is mount(2) that failed
        cure = "; run the tests as root, or allow user namespaces" if error.errno == errno.EPERM else ""
        return f"FUSE cannot be mounted here ({error.strerror}){cure}"
    if error.errno == errno.EACCES:
        with contextlib.suppress(OSError):
            mode = stat.S_IMODE(DEVICE.stat().st_mode)
            return f"you may not open {DEVICE} (mode {mode:04o}); run the tests as root"
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return f"there is no working {DEVICE}; 'modprobe fuse', or start the container with --device {DEVICE}"
    return f"{DEVICE} cannot be opened ({error.strerror})"
