"""Waiting for an answer, and what a signal does meanwhile: the great difference between the profiles.

    linux       1  any signal ends the first sleep: the daemon will be sent an INTERRUPT
                2  a fatal one ends the second: what the daemon has not read is withdrawn
                3  nothing ends the third but a reply, an abort, or the daemon's end

    seed2005    the sender goes: what the daemon has not read is withdrawn, as if never sent; what it
                has read is given up, by a fatal signal only; and nothing in the middle of a copy

so that today only a daemon, or an abort, ends a deadlock, and in 2005 killing did. A forced request
has no second sleep; a daemon without INTERRUPT no first one.

What 2005 withdrew before it was read it began anew, in place of an error: the whole system call
(ERESTARTNOINTR). What it gave up went on at the daemon, so the inodes and the file that it is about
must not be forgotten or released before the reply: they are held on the request's account.

Source: fs/fuse/dev.c, request_wait_answer, today's and that of 2005.
"""

from __future__ import annotations

import errno
from typing import Final

from fusewire.events import Step, named, note
from fusewire.kernel.pinning import pin
from fusewire.kernel.request import Request
from fusewire.kernel.stages import FAULTING, Stage
from fusewire.kernel.waitq import INTERRUPTIBLE, Sleep

__all__ = ["ERESTARTNOINTR", "request_wait_answer"]

ERESTARTNOINTR: Final = 513  # begin the system call anew, whatever the signal (include/linux/errno.h)
READ: Final = frozenset({Stage.PROCESSING, Stage.COPYING_IN, Stage.FAULTING_IN})  # by the daemon, all of it


@named("request_wait_answer")
async def request_wait_answer(request: Request) -> None:
    """Sleep until `request` is finished, or until a signal lets its sender go."""
    connection = request.connection
    if not connection.no_interrupt:
        try:
            await request.waitq.sleep(request.is_finished, _first_depth(request))
        except InterruptedError:
            note(Step.INTERRUPT, about=request)
        else:
            return
    if connection.profile.interrupts:
        await _ask_to_hurry(request)
    else:
        await _give_up(request)


def _first_depth(request: Request) -> Sleep:
    profile = request.connection.profile
    only_killable = request.operation.name in profile.only_killable or (
        request.only_killable and not profile.interrupts
    )
    return Sleep.KILLABLE if only_killable else INTERRUPTIBLE


async def _answered(request: Request, depth: Sleep) -> bool:
    """Sleep; True if `request` is finished, False if a signal came first."""
    try:
        await request.waitq.sleep(request.is_finished, depth)
    except InterruptedError:
        return False
    return True


def _withdraw(request: Request) -> None:
    """Take `request` back before the daemon has read it."""
    connection = request.connection
    connection.pending.remove(request)
    request.move("kill")
    connection.drop(request)  # what `pending` had of it


async def _ask_to_hurry(request: Request) -> None:
    """Have the daemon told of a signal; only a fatal one, and only before the read, ends the wait."""
    connection = request.connection
    if not connection.no_interrupt:
        request.interrupted = True
        if request.stage is Stage.PROCESSING:  # else its reader queues it, once it has copied
            connection.queue_interrupt(request)
    if not request.force:
        if await _answered(request, Sleep.KILLABLE):
            return
        if request.kill_aborts:
            connection.abort()
        elif request.stage is Stage.PENDING:
            request.error = errno.EINTR
            _withdraw(request)
            return
    await _answered(request, Sleep.UNINTERRUPTIBLE)


async def _give_up(request: Request) -> None:
    """Leave `request` behind, but neither in the middle of a copy nor for a light signal once it was read."""
    restartable = _first_depth(request) is Sleep.INTERRUPTIBLE
    read = request.stage in READ
    if restartable and read and await _answered(request, Sleep.KILLABLE):
        return
    request.error = ERESTARTNOINTR if restartable and not read else errno.EINTR
    request.interrupted = True
    await request.waitq.sleep(until=lambda: not request.locked, depth=Sleep.UNINTERRUPTIBLE)
    if request.stage is Stage.PENDING:
        _withdraw(request)
    elif request.stage is Stage.PROCESSING or request.stage in FAULTING:
        request.move("kill")
        request.unpin = pin(request)
        if request.memory is not None:
            request.memory.free()
