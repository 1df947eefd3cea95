"""A spawned daemon's processes, from our side: begun, watched, and ended whatever they do.

One thread listens: to what the daemon writes, of which the last 64 KiB are kept; to the supervisor,
who tells what ends; and to the stand-in for fusermount3, whose questions are answered by handover.py.

The end comes in steps. The daemon, whose device is gone by then, gets some seconds to end of that;
then SIGTERM, and another; then SIGKILL, and with it all that came of it, stopped or in the
background.
"""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from fusewire.embedded.spawned.command import Command, SpawnError
from fusewire.embedded.spawned.directory import environment, make_directory, python
from fusewire.embedded.spawned.sockets import close_listed, listed_pair

__all__ = ["DaemonProcess"]

KEPT: Final = 65_536  # bytes of output
START: Final = 20.0  # seconds that the supervisor gets to start the daemon
GRACE: Final = 3.0  # seconds that a daemon gets to end, once its device is gone
HASTE: Final = 0.5  # the same after Ctrl-C, and for one that never served
AFTER_TERM: Final = 1.0  # seconds between SIGTERM and SIGKILL
REST: Final = 15.0  # seconds after which what cannot be killed is left to itself

Asked = Callable[[socket.socket], object]


class DaemonProcess:
    """The processes of one spawned daemon."""

    def __init__(self, command: Command, asked: Asked, gone: Callable[[], object]) -> None:
        """`asked` is called, in a thread of its own, with each stand-in that connects; `gone` once none is left."""
        self.command = command
        self.asked = asked
        self.tell_gone = gone
        self.pid = 0
        self.status: int | None = None  # of the process that was started, as `subprocess` has it; None: it runs
        self.gone = threading.Event()  # no process is left
        self.directory = make_directory()
        self._output = bytearray()
        self._shortened = False
        self._begun = threading.Event()  # the daemon was started, or `_failure` says why it was not
        self._failure = 0
        self._sent = threading.Event()  # the last signal
        self._popen: subprocess.Popen[bytes] | None = None
        self._listener = listener(self.directory)
        self._control, self._theirs = listed_pair(control_pair)
        self._thread = threading.Thread(target=self._watch, name="fusewire-daemon", daemon=True)

    # --- beginning

    def start(self, words: list[str], passed: socket.socket | None) -> None:
        """Start the daemon. It gets the descriptor `passed`, by its own number.

        Raises:
            SpawnError: it cannot be executed.
        """
        try:
            self._popen = self._supervisor(words, -1 if passed is None else passed.fileno())
        except OSError as error:
            shutil.rmtree(self.directory)
            where = f" in {self.command.directory}" if self.command.directory is not None else ""
            raise SpawnError(error.errno or errno.EIO, f"cannot be spawned{where}: {error.strerror}") from error
        finally:
            close_listed(self._theirs)
        self._thread.start()
        if not self._begun.wait(START):
            raise SpawnError(errno.ETIMEDOUT, f"has not been started after {START:g} seconds", self.output)
        if self._failure:
            why = os.strerror(self._failure)
            raise SpawnError(self._failure, f"cannot be executed: {why}", self.output)

    def _supervisor(self, words: list[str], passed: int) -> subprocess.Popen[bytes]:
        theirs = self._theirs.fileno()
        return subprocess.Popen(
            [*python(), os.path.join(self.directory, "supervisor.py"), str(theirs), str(passed), *words],
            pass_fds=[fd for fd in (theirs, passed) if fd >= 0],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(self.directory, self.command.environment),
            cwd=self.command.directory,
            start_new_session=True,  # Ctrl-C is for us, who end it
        )

    # --- while it lasts

    @property
    def output(self) -> str:
        """What the daemon has written to its standard output and error, the last 64 KiB of it."""
        text = bytes(self._output).decode(errors="replace")
        return f"[...]{text}" if self._shortened else text

    def send(self, number: int) -> None:
        """Send a signal to all processes of the daemon; return when it has been sent."""
        self._sent.clear()
        with suppress(OSError):  # they have gone, and the supervisor with them
            self._control.send(b"signal %d" % number)
            self._sent.wait(HASTE)

    def _watch(self) -> None:
        assert self._popen is not None
        assert self._popen.stdout is not None
        output = self._popen.stdout.fileno()
        poll = select.poll()
        for fd in (output, self._control.fileno(), self._listener.fileno()):
            poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._listener.fileno():
                    self._answer()
                elif fd != output:
                    self._told(fd, poll)
                elif not self._heard(os.read(output, KEPT)):
                    self._all_gone()
                    return

    def _heard(self, data: bytes) -> bool:
        self._output += data
        self._shortened |= len(self._output) > KEPT
        del self._output[:-KEPT]
        return bool(data)

    def _told(self, fd: int, poll: select.poll) -> None:
        try:
            message = self._control.recv(4096)
        except ConnectionResetError:
            message = b""
        word, _, number = message.partition(b" ")
        match word:
            case b"started":
                self.pid = int(number)
                self._begun.set()
            case b"failed":
                self._failure = int(number)
                self._begun.set()
            case b"ended":
                self.status = os.waitstatus_to_exitcode(int(number))
            case b"sent":
                self._sent.set()
            case b"gone":
                self._all_gone()
            case _:
                poll.unregister(fd)

    def _all_gone(self) -> None:
        if not self.gone.is_set():
            self.gone.set()
            self.tell_gone()

    def _answer(self) -> None:
        sock, _ = self._listener.accept()
        threading.Thread(target=self.asked, args=(sock,), name="fusewire-handover", daemon=True).start()

    # --- ending

    def end(self, hurried: bool = False) -> None:
        """End all processes, if they have not ended by themselves in time. Idempotent."""
        if self._popen is None:  # it was never started
            self._let_go()
            return
        if not self.gone.is_set():
            self.send(signal.SIGCONT)  # if it was stopped it may still end by itself
        if not self.gone.wait(HASTE if hurried else GRACE):
            self.send(signal.SIGTERM)
            self.gone.wait(HASTE if hurried else AFTER_TERM)
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # so the supervisor kills what is left
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(REST)
            self._thread.join(HASTE)  # it has heard all by now, but for what the supervisor did at its own end
            self.status = -signal.SIGKILL if self.status is None else self.status
        if not self._thread.is_alive():
            self._let_go()

    def _let_go(self) -> None:
        close_listed(self._control)
        close_listed(self._theirs)
        self._listener.close()
        if self._popen is not None and self._popen.stdout is not None:
            self._popen.stdout.close()


def control_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def listener(directory: str) -> socket.socket:
    """Return the socket on which stand-ins ask. The way to it is short, however deep the directory lies."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fd = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    try:
        sock.bind(f"/proc/self/fd/{fd}/kernel")
    finally:
        os.close(fd)
    sock.listen()
    return sock
