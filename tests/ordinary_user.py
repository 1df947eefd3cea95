"""Run a program as an ordinary user who may mount: uid 65534, in a user namespace of his own.

FUSE is there for people who are not root, so the tests must show that they are served. `run_as_user` starts this
file as a program. As root it prepares a mount namespace: a home on a tmpfs, a device node with the mode of most
machines (0666; it may be 0600 here) bound over /dev/fuse, and a way to Python and to this checkout where a directory
above them is closed to others. Then it becomes the user, enters a user namespace in which it may mount, and becomes
the program by exec: the same process, so that its pid is the program's and nothing is forked. The namespaces go with
the last process in them.

When the tests themselves run as an ordinary user, that user is good enough: only the namespaces are made.
"""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from kernel_mounts import DEVICE
from namespaces import PR_SET_DUMPABLE, bind, call, enter_private_mounts, enter_private_user, mount

USER = 65534
CHECKOUT = Path(__file__).resolve().parent.parent
MODULES = CHECKOUT / "src", CHECKOUT / "tests"


def run_as_user(
    *command: str,
    timeout: float = 20.0,
    may_mount: bool = True,
    device_mode: int = 0o666,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end as an ordinary user, in an empty home; return its exit status and output.

    Without `may_mount` he gets no user namespace, and so no right to mount. Only root can give the device another
    `device_mode`.

    Raises:
        AssertionError: it took longer than `timeout` seconds, and was killed.
    """
    with tempfile.TemporaryDirectory() as stage:
        launcher = [sys.executable, __file__, stage, f"{device_mode:o}", "user" if may_mount else "none"]
        try:
            return subprocess.run(
                [*launcher, *command],
                capture_output=True,
                text=True,
                timeout=timeout,
                env={**os.environ, **(environment or {})},
                check=False,
            )
        except subprocess.TimeoutExpired as expired:
            raise AssertionError(f"{command[0]} still ran as uid {USER} after {timeout} s") from expired


def python_as_user(script: str, *arguments: str, timeout: float = 20.0, may_mount: bool = True) -> str:
    """Run a Python script as an ordinary user; return what it prints.

    It can import fusewire and the modules of the tests, and finds `arguments` in sys.argv[1:].

    Raises:
        AssertionError: it failed or took too long; the text has its traceback.
    """
    done = run_as_user(sys.executable, "-c", script, *arguments, timeout=timeout, may_mount=may_mount)
    assert done.returncode == 0, f"the script failed as uid {USER} (exit status {done.returncode})\n{done.stderr}"
    return done.stdout


# -- the launcher --------------------------------------------------------------------------------------------------


def main() -> None:
    """Become the user, then the program."""
    stage, device_mode, rights, *command = sys.argv[1:]
    home = Path(stage)
    if os.geteuid() == 0:
        home = prepare_as_root(home, int(device_mode, 8))
        become_user()
    if rights == "user":
        enter_private_user()
    os.chdir(home)
    modules = os.pathsep.join(map(str, MODULES))
    os.environ.update(HOME=str(home), TMPDIR=str(home), PYTHONPATH=modules, PYTHONDONTWRITEBYTECODE="1")
    os.execvp(command[0], command)


def prepare_as_root(stage: Path, device_mode: int) -> Path:
    """Make the private mounts; return the user's home."""
    os.umask(0o022)
    enter_private_mounts()
    open_the_way({Path(place).resolve() for place in (sys.base_prefix, sys.prefix, CHECKOUT)})
    mount("tmpfs", stage, "tmpfs", options="mode=0755")
    node, home = stage / "fuse", stage / "home"
    os.mknod(node, stat.S_IFCHR, os.makedev(10, 229))  # Documentation/admin-guide/devices.txt: misc, fuse
    node.chmod(device_mode)
    bind(node, DEVICE)
    home.mkdir()
    os.chown(home, USER, USER)
    return home


def open_the_way(places: set[Path]) -> None:
    """Make places reachable for others: lay open directories over the closed ones on the way, and bind into them."""
    hidden = {place: above for place in places if (above := closed_directory(place))}
    inside = {place: os.open(place, os.O_PATH | os.O_CLOEXEC) for place in hidden}  # reach them once they are covered
    for above in set(hidden.values()):
        mount("tmpfs", above, "tmpfs", options="mode=0755")
    for place, descriptor in sorted(inside.items()):  # a place inside another comes after it
        place.mkdir(parents=True, exist_ok=True)
        bind(Path(f"/proc/self/fd/{descriptor}"), place)


def closed_directory(place: Path) -> Path | None:
    """Return the topmost directory above a place that others may not enter."""
    return next((above for above in reversed(place.parents) if not above.stat().st_mode & stat.S_IXOTH), None)


def become_user() -> None:
    """Give up root for good."""
    os.setgroups([])
    os.setgid(USER)
    os.setuid(USER)
    call("prctl", PR_SET_DUMPABLE, ctypes.c_ulong(1), 0, 0, 0)  # else /proc/self, and uid_map there, is root's


if __name__ == "__main__":
    main()
