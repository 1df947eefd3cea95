"""Which command ends what is the matter, with the least harm.

    stopped      let it go on
    dead         unmount what is left
    deadlocked   answer one request with an error, where that can work (surgery.py); else kill the
                 daemon, where that can work; else abort the connection. If it is only suspected, look again

A process of which we only guess that it is the daemon is neither operated on nor killed.

SIGKILL ends a daemon's thread in a request that nobody has read yet, and in a page fault; it does
not end one that waits for a lock, nor one that has files of its own mount open, for it would wait
for the FLUSH of them as it dies. An abort always works.

Source: fs/fuse/dev.c, request_wait_answer; mm/filemap.c, filemap_fault.
"""

from __future__ import annotations

import os
from shlex import quote

from fusewire.mounting.fusectl import CONNECTIONS, is_mounted
from fusewire.watch.diagnosis import Certainty, State
from fusewire.watch.proc import contents, names
from fusewire.watch.scenarios import OPERABLE, Scenario
from fusewire.watch.verdict import Verdict, Verdicts
from fusewire.watch.wait_graph import Kind

__all__ = ["cure_of", "kill_ends"]


def cure_of(verdicts: Verdicts, number: int, verdict: Verdict) -> str:
    """Return the command to type next; "" if there is nothing to do."""
    pids = verdicts.look.connections[number].holder_pids
    match verdict.state:
        case State.STOPPED:
            return f"kill -CONT {joined(pids)}"
        case State.DEAD:
            return burial(verdicts, number)
        case State.DEADLOCKED if verdict.certainty is Certainty.SUSPECTED:
            return f"fusewire doctor {number}"
        case State.DEADLOCKED if is_operable(verdicts, number, verdict):
            return f"fusewire doctor --fix {number}"
        case State.DEADLOCKED if not verdict.partial and is_known(verdicts, number) and kill_ends(verdicts, number):
            return f"kill -KILL {joined(pids)}"
        case State.DEADLOCKED:
            return abortion(verdicts, number)
        case State.SLOW if verdict.scenario is Scenario.FORKED_CHILD:
            return f"kill {joined(pids)}"
    return ""


def is_operable(verdicts: Verdicts, number: int, verdict: Verdict) -> bool:
    """Tell whether surgery may free the daemon."""
    connection = verdicts.look.connections[number]
    return verdict.scenario in OPERABLE and not connection.rings and is_known(verdicts, number)


def is_known(verdicts: Verdicts, number: int) -> bool:
    """Tell whether it is certain who serves a connection."""
    return all(holding.certain for holding in verdicts.look.connections[number].holders)


def abortion(verdicts: Verdicts, number: int) -> str:
    """Return the command that aborts a connection: without fusectl, to unmount it by force, which begins with that."""
    place = mountpoint(verdicts, number)
    if is_mounted() or not place:
        return f"echo 1 > {CONNECTIONS}/{number}/abort"
    return f"fusewire umount --force {quote(place)}"


def joined(pids: list[int]) -> str:
    return " ".join(map(str, pids))


def burial(verdicts: Verdicts, number: int) -> str:
    """Return the command that unmounts what is left, in another mount namespace if it is only there."""
    ours = verdicts.look.mounts.view_of(os.getpid())
    places = sorted(verdicts.look.mounts.mounted(number), key=lambda found: found[0] is not ours)
    view, mount = places[0]
    command = f"umount --lazy {quote(mount.mountpoint)}"
    return f"fusewire {command}" if view is ours else f"nsenter --mount=/proc/{view.pid}/ns/mnt {command}"


def mountpoint(verdicts: Verdicts, number: int) -> str:
    return next((mount.mountpoint for _, mount in verdicts.look.mounts.mounted(number)), "")


def kill_ends(verdicts: Verdicts, number: int) -> bool:
    """Tell whether the daemon can be killed: all its threads wait killably, and it has no file of its own to flush."""
    pids = verdicts.look.connections[number].holder_pids
    waits = [wait for wait in verdicts.waits_of_servers(number) if wait.thread.pid in pids]  # helpers may live on
    killable = all(
        (wait.kind is Kind.REQUEST and wait.thread.state == "S")
        or (wait.kind is Kind.PAGE and wait.touch is not None and wait.touch.by_fault)
        for wait in waits
    )
    return bool(pids) and killable and not any(has_own_file(verdicts, number, pid) for pid in pids)


def has_own_file(verdicts: Verdicts, number: int, pid: int) -> bool:
    """Tell whether a process has a file of a connection open."""
    mounts = {mount.mount_id for _, mount in verdicts.look.mounts.mounted(number)}
    place = f"/proc/{pid}/fdinfo"
    return any(mount_of(contents(f"{place}/{fd}")) in mounts for fd in names(place))


def mount_of(fdinfo: bytes) -> int:
    """Read of an open file to which mount it belongs; 0 if it does not say."""
    _, found, rest = fdinfo.partition(b"mnt_id:")
    return int(rest.split()[0]) if found else 0
