"""A daemon that its starter need not wait for, and yet can trust: `fusewire mount --background`.

The process forks at once, before it has threads or has done anything. The child leads a session
of its own, resolves the source and mounts, with the terminal still at its stdout and stderr: so
it can say itself what goes wrong. Once the mount answers it lets go of the terminal and of the
directory it was started in, and writes a byte into a pipe. The parent reads that byte and
returns 0; or it reads the pipe's end, for the child is gone, and returns the child's exit code.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from fusewire.cli.report import FAILURE

__all__ = ["in_background"]

READY = b"\0"


def in_background(work: Callable[[Callable[[], None]], int], log: str | None) -> int:
    """Run `work(ready)` in a child. Returns twice, as fork does.

    In the parent: 0 as soon as the child calls `ready`, or the child's exit code if it ends before.
    In the child: what `work` returns, when it is over.

    `log` is the file to which the child's output is appended from then on; None throws it away.

    Raises:
        OSError: `log` cannot be written.
    """
    output = os.open(log or os.devnull, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(writing)
        os.close(output)
        return outcome(child, reading)
    os.close(reading)
    os.setsid()
    return work(lambda: let_go(output, writing))


def outcome(child: int, reading: int) -> int:
    """The parent: wait until the child is ready, or has failed."""
    with open(reading, "rb") as pipe:
        try:
            if pipe.read(1) == READY:
                return 0
        except KeyboardInterrupt:  # the child is in a session of its own: Ctrl-C did not reach it
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
            raise
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        print(f"fusewire: the daemon was killed by {signal.Signals(-code).name} before it answered", file=sys.stderr)
    return code if code > 0 else FAILURE


def let_go(output: int, writing: int) -> None:
    """The child: become independent of terminal and directory, and tell the parent that all is well."""
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDONLY)
    sys.stdout.flush()
    sys.stderr.flush()
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    for descriptor in (nothing, output):
        if descriptor > 2:  # unless we were started with one of the three closed
            os.close(descriptor)
    with suppress(BrokenPipeError):  # the parent was killed meanwhile; we go on
        os.write(writing, READY)
    os.close(writing)
