#!/usr/bin/env python3
"""Processes that use a mount, for `engine.py`: clients.py WHAT ROOT SEED SECONDS

Each does what its name says at random, until its time is over, and prints how often as JSON; or
until it gets an error that is not part of the game: that is then its exit code.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable

Play = Callable[[random.Random, str, "Counter[str]"], None]


class Hit(Exception):
    """A signal came."""


def hit(*_: object) -> None:
    raise Hit


def hit_while(work: Callable[[], None], rng: random.Random, counts: Counter[str]) -> None:
    """Do `work`, and be hit by a signal at some moment of it, or not."""
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, rng.choice([0, rng.random() * 0.004 + 1e-6]))
            work()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except (Hit, InterruptedError):
        counts["interrupted"] += 1
    else:
        counts["done"] += 1


def read_and_write(rng: random.Random, root: str, counts: Counter[str]) -> None:
    """One file, past the cache; while signals come."""

    def work() -> None:
        fd = os.open(f"{root}/slow", os.O_RDWR)
        try:
            if rng.random() < 0.5:
                assert os.pread(fd, 100, 0) == b"content"
            else:
                size = rng.choice([10, 4000, 1 << 20])
                assert os.pwrite(fd, bytes(size), 0) == size
        finally:
            os.close(fd)

    hit_while(work, rng, counts)


def use(rng: random.Random, root: str, counts: Counter[str]) -> None:
    """Whatever there is; it ends with the first error."""
    match rng.randrange(5):
        case 0:
            os.listdir(root)
        case 1:
            with open(f"{root}/slow", "rb") as file:
                file.read()
        case 2:
            with open(f"{root}/big", "rb") as file:
                assert len(file.read()) == 1 << 20
        case 3:
            with open(f"{root}/slow", "r+b", buffering=0) as file:
                file.write(bytes(1 << 20))
        case 4:
            kept.append(os.open(f"{root}/big", os.O_RDONLY))
            if len(kept) > 3:
                os.close(kept.pop(0))
    counts["done"] += 1


kept: list[int] = []  # descriptors, so that the mount is busy


def change(rng: random.Random, root: str, counts: Counter[str]) -> None:
    """Names in four directories; while signals come."""

    def name() -> str:
        return f"{root}/{rng.choice('abcd')}/{rng.choice('pqrs')}"

    changes: list[Callable[[], object]] = [
        lambda: [entry.stat() for entry in os.scandir(root)],
        lambda: [entry.stat() for entry in os.scandir(os.path.dirname(name()))],
        lambda: os.close(os.open(name(), os.O_CREAT | os.O_RDWR, 0o644)),
        lambda: os.unlink(name()),
        lambda: os.rename(name(), name()),
        lambda: os.link(name(), name()),
        lambda: os.stat(name()),
        lambda: os.truncate(name(), 0),
    ]

    def work() -> None:
        try:
            rng.choice(changes)()
        except (FileNotFoundError, FileExistsError):
            pass

    hit_while(work, rng, counts)


PLAYS: dict[str, Play] = {"read_and_write": read_and_write, "use": use, "change": change}


def main() -> None:
    """Play."""
    what, root, seed, seconds = sys.argv[1:]
    rng, counts, end = random.Random(int(seed)), Counter[str](), time.monotonic() + float(seconds)
    signal.signal(signal.SIGALRM, hit)
    try:
        while time.monotonic() < end:
            PLAYS[what](rng, root, counts)
    except OSError as error:
        os._exit(error.errno or errno.EIO)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
