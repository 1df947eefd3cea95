"""A program that serves a mount, and does nothing else: until it is unmounted, or told to end.

    fusewire.run(what, "/mnt/x")                        # on threads
    asyncio.run(fusewire.run_async(what, "/mnt/x"))     # in the event loop

SIGINT, SIGTERM and SIGHUP unmount. A mount that is busy is detached, and served until its last
file is closed, however long that takes; a second signal aborts it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from fusewire.daemon.serve import ThreadServer
from fusewire.daemon.workers import in_a_thread
from fusewire.mounted import Mount, mount
from fusewire.mounting import MountError, MountOptions
from fusewire.served import Served
from fusewire.signals import LoopSignals, Signals

__all__ = ["run", "run_async", "serve", "serve_async"]

Ready = Callable[[Mount], None]


def run(
    what: Served,
    mountpoint: str | os.PathLike[str],
    options: str | MountOptions = "",
    *,
    threads: int | None = None,
    strict: bool = False,
    ready: Ready | None = None,
    **more_options: Any,
) -> None:
    """Mount and serve, until it is unmounted or a signal comes. For the main thread of a program.

    Signals that are ignored when it begins stay ignored. `ready` is called once the mount
    answers; if it raises, the mount ends. The rest is as for `mount`.

    Raises:
        MountError: with a sentence that names the cause and the cure.
        RuntimeError: on another thread.
        Exception: with `strict`, the one that ended it.
    """
    serve(mount(what, mountpoint, options, threads=threads, strict=strict, **more_options), ready)


async def run_async(
    what: Served,
    mountpoint: str | os.PathLike[str],
    options: str | MountOptions = "",
    *,
    threads: int | None = None,
    strict: bool = False,
    ready: Ready | None = None,
    **more_options: Any,
) -> None:
    """Do as `run`, in the event loop that runs: it must be that of the main thread.

    Raises:
        MountError: with a sentence that names the cause and the cure.
        Exception: with `strict`, the one that ended it.
    """
    await serve_async(mount(what, mountpoint, options, threads=threads, strict=strict, **more_options), ready)


def serve(mounted: Mount, ready: Ready | None = None) -> None:
    """Enter a mount that is ready to be, and serve it on threads to its end. Raises as `run`."""
    _refuse_other_threads()
    with Signals() as signals, mounted:  # it is unmounted also when `ready` raises
        assert isinstance(mounted.server, ThreadServer)
        signals.tell_when(mounted.server.wait)
        if ready is not None:
            ready(mounted)
        _heed(signals, mounted)


def _refuse_other_threads() -> None:
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("only the main thread can heed signals: elsewhere say `with fusewire.mount(...)`")


def _heed(signals: Signals, mounted: Mount) -> None:
    """Unmount at the first signal, or detach what is busy; abort at the second."""
    signalled = False
    while signals.next() and not mounted.ended:
        if signalled:
            _tell_aborting(mounted)
            if not mounted.abort():
                return
        elif busy := mounted.leave():
            _tell_detached(mounted, busy)
        signalled = True


async def serve_async(mounted: Mount, ready: Ready | None = None) -> None:
    """Enter a mount that is ready to be, and serve it in this loop to its end. Raises as `run`."""
    _refuse_other_threads()
    with LoopSignals() as signals:
        async with mounted:  # it is unmounted also when `ready` raises
            if ready is not None:
                ready(mounted)
            await _until_over(signals, mounted)


async def _until_over(signals: LoopSignals, mounted: Mount) -> None:
    heeding, ending = asyncio.create_task(_heed_async(signals, mounted)), asyncio.create_task(mounted.wait_async())
    await asyncio.wait({heeding, ending}, return_when=asyncio.FIRST_COMPLETED)
    heeding.cancel()
    if ending.done():
        ending.result()
    ending.cancel()


async def _heed_async(signals: LoopSignals, mounted: Mount) -> None:
    """Unmount at the first signal, or detach what is busy; abort at the second, and return."""
    await signals.next()
    busy = await in_a_thread(mounted.leave)
    if busy is not None:
        _tell_detached(mounted, busy)
    await signals.next()
    _tell_aborting(mounted)
    await in_a_thread(mounted.abort)


def _tell_detached(mounted: Mount, busy: MountError) -> None:
    """Tell the person who sent a signal why it is not over yet."""
    print(f"fusewire: {busy}", file=sys.stderr)
    print(
        f"fusewire: {mounted.mountpoint} is detached, and served until its last file is closed;"
        " signal again to abort it",
        file=sys.stderr,
    )


def _tell_aborting(mounted: Mount) -> None:
    """Tell the person who sent a second one what becomes of those who have a file open."""
    print(f"fusewire: aborting {mounted.mountpoint}", file=sys.stderr)
