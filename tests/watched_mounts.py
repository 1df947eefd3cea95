"""The invariants, run in every test: whatever is mounted in it, the kernel's end is looked at as it goes.

In fixed order after each stretch of each task, and more closely when all is at rest. A large mount is
not looked at in full each time: it is when as many stretches have gone by as a look is long, so that
looking costs a constant share. What passed the device is judged with it, on every runner: whenever
lookups and handles are counted, and at the end of the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from fusewire.embedded.daemon_device import Tap, TappedDevice
from fusewire.kernel import mounting
from fusewire.kernel.checks.accounts import check_accounts
from fusewire.kernel.checks.connection import check_at_rest, check_connection, check_idle, check_mount, listed
from fusewire.kernel.checks.conversation import Conversation
from fusewire.kernel.checks.mount import size_of
from fusewire.kernel.runners.fixed_order import FixedOrder
from fusewire.kernel.tasks import Task
from fusewire.kernel.vfs.superblock import Superblock

__all__ = ["WatchedMount", "watched_mounts"]

SHARE: Final = 10  # inodes and pages that are looked at for each stretch


class WatchedMount:
    """One mount, and the conversation that it has with its daemon."""

    def __init__(self, superblock: Superblock) -> None:
        self.superblock = superblock
        self.connection = superblock.connection
        device = self.connection.devices[0]
        self.tap = device.tap if isinstance(device, TappedDevice) else None
        self.conversation = Conversation(self.connection.profile.interrupts)
        self.heard = 0  # exchanges
        self.saved = 0  # looks that may be afforded
        self.wrong = False  # a test has planted something, and this is not to find it

    def look(self, runner: FixedOrder, task: Task) -> None:
        """Look after a stretch of `task`."""
        if self.wrong:
            return
        check_connection(self.connection)
        if runner.runnable or task.ready:
            return
        check_at_rest(self.connection)
        self.saved += SHARE
        if self.superblock.active and self.saved >= size_of(self.superblock):
            self.saved = 0
            check_mount(self.superblock, listed(self.connection))
            if self.idle(runner):
                check_idle(self.superblock)
                self.listen()
                if self.tap is not None and self.tap.whole:
                    check_accounts(self.superblock, self.conversation)

    def idle(self, runner: FixedOrder) -> bool:
        """Whether no system call is under way, and the daemon has read all that there is."""
        if self.connection.num_waiting or self.connection.readable:
            return False
        reading = {superblock.connection.waitq for superblock in self.superblock.system.superblocks}
        flushers = {superblock.flusher for superblock in self.superblock.system.superblocks}
        return all(task in flushers or task.asleep_on in reading for task in runner.tasks)

    def listen(self) -> None:
        """Judge what has passed the device since the last time."""
        if self.tap is None or not self.tap.whole or self.wrong:
            return
        news = self.tap.exchanges[self.heard :]
        self.heard += len(news)
        for exchange in news:
            self.conversation.goes_on(exchange)


@contextmanager
def watched_mounts() -> Iterator[list[WatchedMount]]:
    """Watch whatever is mounted meanwhile; judge what passed the devices at the end."""
    made: list[WatchedMount] = []
    by_runner: dict[FixedOrder, list[WatchedMount]] = {}

    def watch(superblock: Superblock) -> None:
        mount = WatchedMount(superblock)
        made.append(mount)
        runner = getattr(superblock.system, "runner", None)  # benches have none, and look by themselves
        if isinstance(runner, FixedOrder):
            mounts = by_runner.setdefault(runner, [])
            mounts.append(mount)
            runner.after = partial(look, runner, mounts)

    def look(runner: FixedOrder, mounts: list[WatchedMount], task: Task) -> None:
        for mount in mounts:
            mount.look(runner, task)

    mounting.mounted, Tap.everywhere = watch, True
    try:
        yield made
        for mount in made:
            mount.listen()
    finally:
        mounting.mounted, Tap.everywhere = None, False
        for runner in by_runner:
            runner.close()  # what a test has left asleep would end in the middle of another
