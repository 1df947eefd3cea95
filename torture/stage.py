"""Where a scenario of `engine.py` plays: a mountpoint, clients for it, and what must have gone in the end."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fusewire
from fusewire import Mount
from fusewire.mounting import read_table
from torture.loads.place import Failed
from torture.mounts import CONNECTIONS

CLIENTS = Path(__file__).with_name("clients.py")
SOON = 5.0  # seconds in which what was left must have gone


@dataclass
class Stage:
    """Where a scenario plays: a directory to mount on, for so many seconds, by this chance."""

    mountpoint: Path
    seconds: float
    rng: random.Random
    requests: int = 0
    slowest: float = 0.0  # seconds from an end to its end
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def shell(self) -> str:
        """One of the two, by chance."""
        return self.rng.choice(["threads", "asyncio"])

    @property
    def threads(self) -> int:
        return self.rng.choice([1, 2, 8])

    def clients(self, what: str, number: int, seconds: float) -> list[subprocess.Popen[str]]:
        """Start clients."""
        return [
            subprocess.Popen(
                [sys.executable, CLIENTS, what, self.mountpoint, str(self.rng.randrange(1 << 30)), str(seconds)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(number)
        ]

    def finish(self, clients: list[subprocess.Popen[str]], seconds: float) -> set[int]:
        """Wait for them; return their exit codes."""
        deadline = time.monotonic() + seconds
        for process in clients:
            try:
                out, _ = process.communicate(timeout=max(0.01, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                where = Path(f"/proc/{process.pid}/wchan").read_text()
                raise Failed(f"a client still waits in {where}") from None
            if out:
                self.counts.update(json.loads(out))
        return {process.returncode for process in clients}

    def serve(self, shell: str, what: Any, use: Callable[[Mount], object], **options: Any) -> Mount:
        """Mount, let `use` use it, and unmount."""
        if shell == "threads":
            with fusewire.mount(what, str(self.mountpoint), **options) as mount:
                use(mount)
        else:
            mount = asyncio.run(self.serve_in_loop(what, use, **options))
        self.requests += mount.requests
        return mount

    async def serve_in_loop(self, what: Any, use: Callable[[Mount], object], **options: Any) -> Mount:
        async with fusewire.mount(what, str(self.mountpoint), **options) as mount:
            await asyncio.to_thread(use, mount)
        return mount

    def figures(self) -> str:
        rate = f"{self.requests} requests, {self.requests / self.seconds:.0f}/s"
        counts = "".join(f", {number} {what}" for what, number in self.counts.items())
        return rate + counts + (f"; the slowest end took {self.slowest:.2f} s" if self.slowest else "")


@dataclass(frozen=True)
class Remains:
    """What this process has, for a comparison."""

    descriptors: int
    threads: int
    mounts: int

    @classmethod
    def now(cls) -> Remains:
        mounts = sum(mount.is_fuse for mount in read_table())
        return cls(len(os.listdir("/proc/self/fd")), threading.active_count(), mounts)

    def expect_again(self, mount: Mount | None = None) -> None:
        """Wait until there is no more than this.

        Raises:
            Failed: that did not come.
        """
        deadline = time.monotonic() + SOON
        while self != Remains.now() or (mount and (CONNECTIONS / str(mount.connection)).exists()):
            if time.monotonic() > deadline:
                raise Failed(f"there was {self}, now there is {Remains.now()}: {threading.enumerate()}")
            time.sleep(0.005)
