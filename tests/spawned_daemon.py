"""A daemon of one thread, to be spawned: spawned_daemon.py MANNER MOUNTPOINT

It takes /dev/fd/N for its mountpoint, or calls fusermount3, as its manner says:

    plain             serves what /dev/fd/N is
    helped            resolves its mountpoint, and calls the fusermount3 that is on PATH
    unmounting        the same, and has fusermount3 unmount lazily when somebody looks for a name
    background        as plain, but goes to the background, as daemons do
    stubborn          ignores SIGTERM and the end of its device
    mute              never reads its device
    crashing          kills itself by SIGSEGV when somebody makes a directory
    chatty            writes more than is kept before it serves
    wrong             answers each MKDIR twice
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import Never

from fusewire.daemon.session import Call, Session
from fusewire.filesystems.memory import Memory
from fusewire.mounting import MountOptions
from fusewire.served import new_session

MKDIR = 9
ROOM = (1 << 20) + 8192


def main(manner: str, mountpoint: str) -> None:
    match manner:
        case "helped" | "unmounting":
            device = helped(mountpoint)
        case _:
            device = named(mountpoint)
    match manner:
        case "background":
            if os.fork():
                os._exit(0)
            os.setsid()
            if os.fork():
                os._exit(0)
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case "mute":
            wait_for_ever()
        case "chatty":
            os.write(1, b"first " + b"." * 100_000 + b" last\n")
    serve(device, new_session(Memory(), MountOptions()), manner, mountpoint)
    if manner == "stubborn":
        wait_for_ever()


def wait_for_ever() -> Never:
    while True:
        time.sleep(3600)


def named(mountpoint: str) -> int:
    if not mountpoint.startswith("/dev/fd/"):
        sys.exit(f"{mountpoint} is no descriptor")
    return int(mountpoint.removeprefix("/dev/fd/"))


def helped(mountpoint: str) -> int:
    if not os.path.isdir(mountpoint):
        sys.exit(f"{mountpoint} is no directory")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        subprocess.run(
            ["fusermount3", "-o", "ro,fsname=spawned,max_read=8192", "--", mountpoint],
            env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            check=True,
        )
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    return fds[0]


def serve(device: int, session: Session, manner: str, mountpoint: str) -> None:
    while message := os.read(device, ROOM):
        outcome = session.receive(memoryview(message))
        if isinstance(outcome, Call):
            if outcome.request.name == ("LOOKUP" if manner == "unmounting" else "MKDIR"):
                misbehave(manner, mountpoint)
            try:
                result = outcome.run()
            except OSError as error:
                outcome = session.fail(outcome, error)
            else:
                outcome = session.reply(outcome, result)
            if manner == "wrong" and message[4] == MKDIR and outcome is not None:
                os.writev(device, outcome)
        if outcome is not None:
            os.writev(device, outcome)


def misbehave(manner: str, mountpoint: str) -> None:
    match manner:
        case "crashing":
            print("this goes wrong", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        case "unmounting":
            subprocess.run(["fusermount3", "-u", "-z", "--", mountpoint], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
