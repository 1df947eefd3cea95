"""A filesystem, mounted: where the daemon's end and a kernel mount come together.

    with fusewire.mount(what, "/mnt/x") as mount: ...         # served by threads of this process
    async with fusewire.mount(what, "/mnt/x") as mount: ...   # served by the running event loop

(`fusewire.run` is for programs that do nothing else: program.py.)

Whichever way, the mount answers from the moment one has it. It ends when somebody unmounts it,
here or with umount(8), or when its connection is aborted; then everything is put away.

Leaving a `with` unmounts. A mount that is busy is detached instead, so that nobody new finds
it, and served for `LINGER` seconds more; then it is aborted, and whoever still has a file open
gets ENOTCONN. A program ends sometime, and must not leave a dead mount behind.
"""

from __future__ import annotations

import asyncio
import atexit
import errno
import logging
import os
from types import TracebackType
from typing import Any, Final, Self

from fusewire import mounting
from fusewire.daemon.device import Device
from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.notify import Notifier
from fusewire.daemon.serve import ThreadServer
from fusewire.daemon.serve_async import AsyncServer
from fusewire.daemon.session import Session
from fusewire.daemon.workers import in_a_thread, to_its_end
from fusewire.mounting import MountError, MountOptions
from fusewire.mounting.errors import cannot_unmount
from fusewire.served import Served, as_filesystem, new_session, options_for, threads_for

__all__ = ["Mount", "mount"]

logger = logging.getLogger("fusewire")

SLICE: Final = 0.5  # seconds that `wait` sleeps at most, before it looks for signals
LINGER: Final = 5.0  # seconds that a busy mount is served after its `with` is left
_open_mounts: set[Mount] = set()  # to be detached when the interpreter ends; changed by several threads


class Mount:
    """A filesystem on a mountpoint, from `start`, or entering a `with`, until it is unmounted."""

    def __init__(self, filesystem: Filesystem, mountpoint: str, options: MountOptions, threads: int, strict: bool):
        self.filesystem = filesystem
        self.mountpoint = mountpoint
        self.options = options
        self.threads = threads
        self.strict = strict
        self.process = os.getpid()  # that serves it
        self.connection = 0  # its number under /sys/fs/fuse/connections
        self.session: Session | None = None
        self.server: ThreadServer | AsyncServer | None = None
        self._mounted: mounting.Mounted | None = None
        self._failure: BaseException | None = None
        self._is_out_of_reach = False  # nothing but the end of this process ends it

    # --- beginning

    def start(self) -> Self:
        """Mount, and serve on threads; return once the mount answers.

        Raises:
            MountError: with a sentence that names the cause and the cure.
        """
        session, device = self._attach()
        server = ThreadServer(
            session, device, self.threads, self._failed if self.strict else None, self._gone, self.abort
        )
        try:
            server.start()
        except BaseException:
            self._give_up(session, device)
            raise
        self.server = server
        return self

    async def start_async(self) -> Self:
        """Mount, and serve in the running event loop; return once the mount answers.

        Raises:
            MountError: with a sentence that names the cause and the cure.
        """
        attached = in_a_thread(self._attach)
        try:
            session, device = await to_its_end(attached)
        except asyncio.CancelledError:
            if attached.exception() is None:
                self._give_up(*attached.result())
            raise
        server = AsyncServer(
            session, device, self.threads, self._failed if self.strict else None, self._gone, self.abort
        )
        try:
            await server.start()
        except BaseException:
            self._give_up(session, device)
            raise
        self.server = server
        return self

    def _attach(self) -> tuple[Session, Device]:
        self.process = os.getpid()
        if self.server is not None:
            raise RuntimeError(f"{self.mountpoint} was mounted once already: make another Mount")
        for other in _mounts_of_this_process():
            if other.filesystem is self.filesystem:
                raise ValueError(f"{self.filesystem!r} is mounted on {other.mountpoint} already: make another of it")
        session = new_session(self.filesystem, self.options)
        mounted = mounting.mount(self.mountpoint, self.options, self.filesystem.root_type)
        self._mounted, self.session = mounted, session
        self.mountpoint, self.connection = mounted.mountpoint, mounted.connection
        _open_mounts.add(self)
        device = Device(mounted.fd, session.limits.buffer_size)
        session.notify_now.device = device
        return session, device

    def _give_up(self, session: Session, device: Device) -> None:
        device.close()
        self._detach()
        try:
            session.destroy()
        finally:
            self._gone()

    def _gone(self) -> None:
        """Nothing is served any more: leave no dead mount, and end the guard that `auto_unmount` keeps."""
        mounted, self._mounted = self._mounted, None
        if mounted is None:
            return
        try:
            here = self._topmost()
            if here is not None and here.connection == mounted.connection and mounting.is_dead(here):
                self._detach()  # its connection was aborted, by us or by others
        finally:
            _open_mounts.discard(self)
            mounted.close()

    # --- while it lasts

    @property
    def ended(self) -> bool:
        """True once nothing is served any more."""
        return self.server is not None and self.server.ended.is_set()

    @property
    def requests(self) -> int:
        """How many requests the kernel has sent so far."""
        return 0 if self.session is None else self.session.requests

    @property
    def notify_now(self) -> Notifier:
        """What tells the kernel that something is old (daemon/notify.py).

        Raises:
            RuntimeError: nothing is mounted yet.
        """
        if self.session is None:
            raise RuntimeError(f"nothing is mounted on {self.mountpoint} yet: start it, or enter it, first")
        return self.session.notify_now

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the mount has ended, at most `timeout` seconds; return whether it has.

        Raises:
            Exception: with `strict`, the one that ended it.
        """
        if not isinstance(self.server, ThreadServer):
            instead = "await wait_async()" if self.server else "start it first, or enter it with `with`"
            raise RuntimeError(f"wait() is for mounts that threads serve: {instead}")
        if timeout is None:
            while not self.server.wait(SLICE):
                pass  # Python runs its signal handlers here: one that comes just before we sleep does not wake us
        elif not self.server.wait(timeout):
            return False
        self._raise_failure()
        return True

    async def wait_async(self) -> None:
        """Wait until the mount has ended.

        Raises:
            Exception: with `strict`, the one that ended it.
        """
        if not isinstance(self.server, AsyncServer):
            instead = "call wait()" if self.server else "enter it with `async with` first"
            raise RuntimeError(f"wait_async() is for mounts that an event loop serves: {instead}")
        await self.server.ended.wait()
        self._raise_failure()

    def _failed(self, error: BaseException) -> None:
        """Strict: a method raised what is no OSError. End, and let whoever waits have it."""
        self._failure = error
        self.abort()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    # --- ending

    def unmount(self, *, lazy: bool = False) -> None:
        """Unmount. With `lazy`, at once for those who come, and really when the last file is closed.

        Raises:
            MountError: EBUSY, naming who holds it; EINVAL if it is detached already, or covered by another mount.
        """
        if self.server is not None and self.server.ending:
            return
        here = self._topmost()
        if here is not None and here.connection != self.connection:
            raise cannot_unmount(self.mountpoint, errno.EINVAL, "what is mounted there now is another mount")
        mounting.unmount(self.mountpoint, lazy=lazy)

    def _topmost(self) -> mounting.MountInfo | None:
        """Return what is mounted on our mountpoint. As long as our connection lives, its number is ours alone."""
        here = mounting.covering(mounting.read_table(), self.mountpoint)
        return here if here is not None and here.mountpoint == self.mountpoint else None

    def abort(self) -> bool:
        """End the connection as it is: whoever waits for an answer gets ECONNABORTED. Idempotent.

        Return whether it could be ended. A detached one cannot where fusectl is out of reach: it then ends with
        this process, and not before.
        """
        if self.server is not None and self.server.ending:
            return True  # its number may be another's by now
        try:
            mounting.abort(self.connection)
        except OSError as error:
            logger.warning("%s", error)
            self._is_out_of_reach = error.errno != errno.ENOTCONN
        self._detach()
        return not self._is_out_of_reach

    def _detach(self) -> None:
        here = self._topmost()
        if here is None or here.connection != self.connection:
            return  # somebody was faster, and may have mounted something else there
        try:
            mounting.unmount(self.mountpoint, lazy=True)
        except MountError as error:
            logger.debug("%s", error)

    def leave(self) -> MountError | None:
        """Unmount; if it is busy, detach it, and return the error that says who holds it."""
        try:
            self.unmount()
        except MountError as error:
            if self.ended:
                return None
            self._detach()
            return error
        return None

    def _leave_with(self) -> None:
        busy = self.leave()
        if busy is not None:
            logger.warning("%s. It is detached, and served for %g seconds more", busy, LINGER)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert isinstance(self.server, ThreadServer)
        if self.process != os.getpid():
            return  # a child that was forked inside the `with`: the mount is its parent's
        try:
            if not self.ended and not self._is_out_of_reach:
                self._leave_with()
                self.server.wait(LINGER)
        finally:  # also when Ctrl-C comes meanwhile
            if self.ended or self.abort():
                self.server.wait()
        if error is None:
            self._raise_failure()

    async def __aenter__(self) -> Self:
        return await self.start_async()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert isinstance(self.server, AsyncServer)
        if not self.ended and not self._is_out_of_reach:
            leaving = in_a_thread(self._leave_with)
            try:
                await asyncio.wait({leaving})
                await asyncio.wait_for(self.server.ended.wait(), LINGER)
            except TimeoutError:
                pass
            finally:  # also when we are cancelled meanwhile
                await to_its_end(self._abort_async(leaving))
        if error is None:
            self._raise_failure()

    async def _abort_async(self, leaving: asyncio.Future[None]) -> None:
        assert isinstance(self.server, AsyncServer)
        if self.ended or await in_a_thread(self.abort):
            await asyncio.wait({leaving})
            await self.server.ended.wait()


def mount(
    what: Served,
    mountpoint: str | os.PathLike[str],
    options: str | MountOptions = "",
    *,
    threads: int | None = None,
    strict: bool = False,
    **more_options: Any,
) -> Mount:
    """Make `what` ready to be mounted: enter it with `with` or `async with`, or call its `start`.

    Args:
        what: a `Filesystem`, a node, or a dict of names to nodes, bytes or dicts.
        mountpoint: an existing directory; for a single file, an existing file.
        options: as after `-o`, such as 'ro,entry_timeout=5'; or `MountOptions`.
        threads: how many `def` methods may run at once; None: as many as the filesystem says.
        strict: end the mount on an exception that is no OSError, and raise it where it is waited for.
        more_options: the same by name, such as `ro=True`; they win.

    Raises:
        MountOptionError: an option that does not exist, or a bad value.
        TypeError: `what` is no filesystem, or its class has a method that looks misspelt.
        ValueError: a number of threads that the filesystem cannot be served by.
    """
    filesystem = as_filesystem(what)
    wanted = options_for(filesystem, options, more_options)
    return Mount(filesystem, os.fspath(mountpoint), wanted, threads_for(filesystem, threads), strict)


def _mounts_of_this_process() -> list[Mount]:
    """Return those that are served; a forked child has its parent's in `_open_mounts`, but does not serve them."""
    return [mount for mount in list(_open_mounts) if mount.process == os.getpid() and not mount.ended]


@atexit.register
def _detach_what_is_left() -> None:
    """An interpreter that ends serves no more: better no mount than a dead one."""
    for mounted in _mounts_of_this_process():
        mounted._detach()
