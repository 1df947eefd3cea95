"""The signals of a program that serves a mount: each is heard, and none kills.

`Signals` gets them through a pipe, into which Python's own C handler writes the number of a
signal the moment it comes. A handler in Python would run once the main thread wakes, and a
signal that comes just before that thread goes to sleep does not wake it. `LoopSignals` gets
them from asyncio, which does the same.

A signal that is ignored when we begin stays ignored: the program was started by nohup, or with
'&' by a shell without job control. A forked child has its signals as they were before: what
ends the child must not unmount what its parent serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from typing import Any, Final, Self

__all__ = ["LoopSignals", "Signals"]

HEEDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
END: Final = 0  # the number of no signal


class Replaced:
    """The handlers that were there before ours."""

    def __init__(self) -> None:
        found = {number: signal.getsignal(number) for number in HEEDED}
        # None: not Python's, so not ours to replace
        self.before = {number: it for number, it in found.items() if it not in (signal.SIG_IGN, None)}

    def give_back(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


class Signals:
    """SIGINT, SIGTERM and SIGHUP, in a `with` of the main thread; and one more thing to wait for, an end."""

    def __init__(self) -> None:
        self.teller: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.replaced = Replaced()
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.writing, False)  # as set_wakeup_fd wants it
        self.fd_before = signal.set_wakeup_fd(self.writing, warn_on_full_buffer=False)
        for number in self.replaced.before:
            signal.signal(number, lambda *_: None)
        _in_use.add(self.replaced)
        return self

    def __exit__(self, *_: object) -> None:
        _in_use.discard(self.replaced)
        self.replaced.give_back()
        signal.set_wakeup_fd(self.fd_before)
        os.close(self.reading)
        if self.teller is None or not self.teller.is_alive():  # else it has its last word to write
            os.close(self.writing)

    def tell_when(self, wait: Callable[[], object]) -> None:
        """Have `next` return `END` when `wait` returns."""

        def tell() -> None:
            wait()
            with contextlib.suppress(OSError):
                os.write(self.writing, bytes([END]))

        self.teller = threading.Thread(target=tell, name="fusewire-end", daemon=True)
        self.teller.start()

    def next(self) -> int:
        """Wait for a signal and return its number; `END` when that comes first."""
        while (number := os.read(self.reading, 1)[0]) != END and number not in self.replaced.before:
            pass  # another signal of the program's
        return number


class LoopSignals:
    """SIGINT, SIGTERM and SIGHUP, in a `with` in the event loop of the main thread."""

    def __enter__(self) -> Self:
        self.replaced = Replaced()
        self.come = asyncio.Queue[int]()
        self.loop = asyncio.get_running_loop()
        for number in self.replaced.before:
            self.loop.add_signal_handler(number, self.come.put_nowait, number)
        _in_use.add(self.replaced)
        return self

    def __exit__(self, *_: object) -> None:
        _in_use.discard(self.replaced)
        for number in self.replaced.before:
            self.loop.remove_signal_handler(number)
        self.replaced.give_back()

    async def next(self) -> int:
        """Wait for a signal and return its number."""
        return await self.come.get()


# --- around a fork: until the child has its handlers back, it would write into the pipe that it shares with us

_in_use: set[Replaced] = set()


class _Forking(threading.local):
    mask: set[Any] | None = None  # what was blocked before


_forking = _Forking()


def _block() -> None:
    if _in_use:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)


def _unblock() -> None:
    mask, _forking.mask = _forking.mask, None
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_child() -> None:
    if _in_use:
        signal.set_wakeup_fd(-1)
    for replaced in _in_use:
        replaced.give_back()
    _in_use.clear()
    _unblock()


os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_in_child)
