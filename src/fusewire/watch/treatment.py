"""Cure what is the matter with a mount, least harm first, and look again after each step.

    SIGCONT    nobody loses anything; only if the daemon is stopped
    surgery    one call fails with EDEADLK, the daemon lives and the mount goes on (surgery.py)
    SIGKILL    the daemon is gone, and with it what it had in memory; only where it can work (cures.py)
    abort      every call on the mount fails; always works
    unmount    of what is left when a daemon is gone

What is only suspected is not touched, nor a process of which we only guess that it is the daemon. A
step that helps ends it; but a mount without a daemon is taken out of the tree, for nobody can use it.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple

from fusewire.mounting import MountError, read_table, unmount
from fusewire.watch.connections import Fusectl
from fusewire.watch.diagnose import diagnose
from fusewire.watch.diagnosis import Certainty, Diagnosis, State
from fusewire.watch.outcomes import Outcomes
from fusewire.watch.scenarios import OPERABLE
from fusewire.watch.surgery import SurgeryError, operate

__all__ = ["cure"]

Tell = Callable[[str], None]
Agree = Callable[[str], bool]

PATIENCE: Final = 2.0  # seconds that a process may take to end


class Step(NamedTuple):
    """One thing that may help."""

    sentence: str  # that says what is about to be done
    take: Callable[[Tell], None]


def cure(number: int, tell: Tell, agree: Agree | None = None) -> Diagnosis | None:
    """Cure one connection; return how it is at the end, None if it is no more.

    Args:
        tell: is called with a sentence before each step, and for what came of it.
        agree: is called with the sentence before a step in place of `tell`, and if it returns false, that is the end.
    """
    taken: set[str] = set()
    with Fusectl() as fusectl:
        fusectl.hold(number)
        identity = fusectl.identity(number)
        while True:
            found = diagnose(number)
            if not found or fusectl.identity(number) != identity:  # it is gone; the number may be another's by now
                return None
            if not found[0].is_sick:
                return found[0]
            step = next((one for one in steps(found[0], fusectl) if one.sentence not in taken), None)
            if step is None or not agreed(step.sentence, tell, agree):
                return found[0]
            taken.add(step.sentence)
            with Outcomes(found[0].edges) as outcomes:
                step.take(tell)
                tell_who_goes_on(found[0], outcomes, tell)


def agreed(sentence: str, tell: Tell, agree: Agree | None) -> bool:
    if agree is not None:
        return agree(sentence)
    tell(sentence)
    return True


def steps(diagnosis: Diagnosis, fusectl: Fusectl) -> Iterator[Step]:
    """Yield what may help, least harm first."""
    if diagnosis.certainty is Certainty.SUSPECTED:
        return
    number, pids = diagnosis.connection, [server.pid for server in diagnosis.servers]
    known = all(server.certain for server in diagnosis.servers)
    match diagnosis.state:
        case State.STOPPED:
            yield Step(f"Let {diagnosis.daemon} go on: SIGCONT", partial(signal_all, pids, signal.SIGCONT))
        case State.DEADLOCKED:
            if diagnosis.scenario in OPERABLE and known:
                yield Step("Answer the request that closes the circle with EDEADLK", lambda tell: surgery(number, tell))
            if diagnosis.killable and known:
                yield Step(f"Kill {diagnosis.daemon}: SIGKILL", partial(signal_all, pids, signal.SIGKILL))
            yield Step("Abort the connection: every call on the mount fails", partial(abort, fusectl, number, pids))
        case State.DEAD:
            ours = [mount for mount in read_table() if mount.is_fuse and mount.connection == number]
            for mount in ours:  # what lies in other namespaces is not ours to change
                yield Step(f"Unmount {mount.mountpoint}", partial(take_away, mount.mountpoint))


def surgery(number: int, tell: Tell) -> None:
    try:
        operate(number, lambda deed: tell(f"  {deed}"))
    except SurgeryError as error:
        tell(f"  That cannot be done: {error}")


def signal_all(pids: list[int], number: signal.Signals, tell: Tell) -> None:
    """Send a signal to all of these, and wait a while for those to end that it kills."""
    for pid in pids:
        with pidfd(pid) as process:
            try:
                if process is not None:
                    signal.pidfd_send_signal(process, number)
                else:  # it is gone, or Linux is older than 5.3
                    os.kill(pid, number)
            except PermissionError:
                tell(f"  That cannot be done: process {pid} is not yours. Run it with sudo")
            except ProcessLookupError:  # it has ended meanwhile
                pass
            else:
                wait_for_end(process, PATIENCE if number == signal.SIGKILL else 0)


def abort(fusectl: Fusectl, number: int, pids: list[int], tell: Tell) -> None:
    """Abort the connection; its daemon ends, as a rule."""
    if not fusectl.abort(number):
        tell("  That cannot be done: the connection is another user's, or fusectl is out of reach. Run it with sudo")
        return
    for pid in pids:
        with pidfd(pid) as process:
            wait_for_end(process, PATIENCE / 4)


@contextmanager
def pidfd(pid: int) -> Iterator[int | None]:
    """A descriptor for a process; None if it is gone."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield process
    finally:
        os.close(process)


def wait_for_end(process: int | None, seconds: float) -> None:
    if process is not None:
        select.select([process], [], [], seconds)


def take_away(mountpoint: str, tell: Tell) -> None:
    try:
        unmount(mountpoint, lazy=True)
    except MountError as error:
        tell(f"  That cannot be done: {error}")


def tell_who_goes_on(before: Diagnosis, outcomes: Outcomes, tell: Tell) -> None:
    """Say which of those who waited do not wait any more, and what they got."""
    after = {edge.tid: edge.seconds or 0.0 for one in diagnose(before.connection, gap=0.1) for edge in one.edges}
    outcomes.look()
    blind = False
    for edge in before.edges:
        if not edge.serves and after.get(edge.tid, 0.0) < (edge.seconds or 0.0):
            what = outcomes.of(edge)
            tell(f"  {edge.command} (pid {edge.pid}) goes on{f': {what}' if what else ''}")
            blind = blind or not what
    if blind and outcomes.why_blind:
        tell(f"  What their calls return was not seen: {outcomes.why_blind}")
