"""`fusewire.Kernel`: a kernel's end, and a filesystem that it is served by, in this process.

    with fusewire.Kernel(what) as kernel:                # what: as for fusewire.mount
        kernel.write_bytes("/a", b"hi")                  # what pathlib offers
        process = kernel.process(uid=1000)               # what os offers
        fd = process.open("/a", os.O_RDWR)
        kernel.requests                                  # what was sent, decoded, in order
        kernel.leaks()                                   # [] if nothing was left over

    async with fusewire.Kernel(what) as kernel:          # the same, awaited
        await kernel.read_bytes("/a")

    with fusewire.Kernel.spawn(["mydaemon", "{mountpoint}"]) as kernel:     # a daemon of any language: spawned/
        kernel.read_bytes("/a")

Nothing is mounted, so no root is needed, and no other process sees anything. `runner` says who
runs the system calls (parts.py):

    'fixed order'   the default of `with`: one thread, a clock that stands still, always the same run
    'threads'       several threads may use it; the filesystem is served on threads of its own
    'asyncio'       the default of `async with`: served by the event loop that runs

In fixed order a filesystem that uses its own mount must be `async def` and await: `await
kernel.awaitable.unlink("/a")`. `kernel.awaitable` is the same kernel, whose calls are awaited.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload

import fusewire.kernel as kernel_end
from fusewire.embedded.begun import Begun
from fusewire.embedded.blocking import Blocking, blocking
from fusewire.embedded.ends import Ends
from fusewire.embedded.inspected import Inspected
from fusewire.embedded.leaks import Leak
from fusewire.embedded.parts import ASYNCIO, FIXED_ORDER, RUNNERS, THREADS
from fusewire.embedded.paths import Path, Paths
from fusewire.embedded.plan import Plan, checked_call, checked_id, checked_minor, kernel_options, profile_named
from fusewire.embedded.process import Process
from fusewire.embedded.spawned import Elsewhere, checked_command, spawn, spawn_async
from fusewire.kernel.mounting import MNT_DETACH, MNT_FORCE
from fusewire.kernel.profile import LINUX, Profile
from fusewire.kernel.vfs.superblock import Options
from fusewire.mounting import MountOptions
from fusewire.served import Served, as_filesystem, options_for, threads_for
from fusewire.wire import FUSE_KERNEL_MINOR_VERSION

__all__ = ["AwaitableKernel", "Kernel"]

T = TypeVar("T")

PATIENCE: Final = 20.0  # seconds that a spawned daemon gets to answer INIT, where nothing else is said
RECORDED: Final = 10_000  # requests that are kept, where nothing else is said


class AwaitableKernel(Inspected, Paths):
    """A kernel whose calls are awaited: in an event loop, or by a filesystem that uses its own mount."""

    def __init__(self, ends: Ends) -> None:
        self.ends = ends

    def __repr__(self) -> str:
        return f"<AwaitableKernel of {self.ends.plan.filesystem!r}>"

    @property
    def own_process(self) -> kernel_end.Process:  # type: ignore[override]
        self.ends.check_mounted()
        return self.ends.process

    def process(self, uid: int = 0, gid: int | None = None, groups: Iterable[int] = ()) -> kernel_end.Process:
        """Make a process, in the root directory, with a umask of 022. `gid` is `uid` if it is not given."""
        self.ends.check_mounted()
        gid = uid if gid is None else gid
        return self.ends.new_process(checked_id(uid), checked_id(gid), frozenset(map(checked_id, groups)))

    async def unmount(self, *, lazy: bool = False, force: bool = False) -> None:
        """Unmount. With `lazy`, even if a process uses it, and really when none does; with `force`, abort first.

        Raises:
            OSError: EBUSY if a process uses it.
        """
        await self.ends.unmount((MNT_DETACH if lazy else 0) | (MNT_FORCE if force else 0))

    async def leaks(self) -> list[Leak]:
        """Return what has been left over: unanswered requests, unreleased handles, lookups not forgotten.

        The kernel drops first what it merely remembers. The list is empty if nothing leaked.
        """
        return await self.ends.leaks()


class Kernel(Inspected, Blocking):
    """A kernel's end in this process, and a filesystem that serves it: to use and to test it without a mount.

    What pathlib offers it has itself, the path first; what `os` offers have its processes:

        with fusewire.Kernel(what) as kernel:
            kernel.write_bytes("/a", b"hi")
            process = kernel.process(uid=1000)
            fd = process.open("/a", os.O_RDWR)
            kernel.requests, kernel.violations, kernel.leaks()

    Under `async with` all calls are awaited. The guide is docs/embedded.md.
    """

    def __init__(
        self,
        what: Served,
        options: str | MountOptions | Options = "",
        *,
        minor: int = FUSE_KERNEL_MINOR_VERSION,
        profile: str | Profile = LINUX,
        runner: str | None = None,
        threads: int | None = None,
        strict: bool = False,
        requests: int = RECORDED,
        **more_options: Any,
    ) -> None:
        """Make a kernel. It is there from its first use on, or from entering a `with`, which then ends it.

        Args:
            what: a `Filesystem`, a node, or a dict of names to nodes, bytes or dicts.
            options: as after `-o`, such as 'ro,entry_timeout=5'; or `MountOptions`; or the kernel's own
                `Options`. Others than root are let in (`allow_other`), if nothing else is said.
            minor: of the kernel's ABI, 7.minor: 19, 31, 36 and 45 stand for kernels that people run.
            profile: 'linux', or 'seed2005' for the Linux of kernel.txt.
            runner: 'fixed order', 'threads' or 'asyncio'.
            threads: how many `def` methods may run at once, or tasks serve in fixed order; None: as many as
                the filesystem says.
            strict: end the mount on an exception that is no OSError, and raise it in whoever calls.
            requests: how many are kept in `kernel.requests`, the last ones; 0 keeps no record, at no cost.
            more_options: the same as `options` by name, such as `attr_timeout=0`; they win.

        Raises:
            MountOptionError: an option that does not exist, or a bad value.
            TypeError: `what` is no filesystem, or its class has a method that looks misspelt.
            ValueError: there is no such runner, profile or minor; or a number of threads by which the
                filesystem cannot be served.
        """
        if runner is not None and runner not in RUNNERS:
            raise ValueError(f"runner={runner!r}: there are {', '.join(map(repr, RUNNERS))}")
        for name, number in (("minor", minor), ("threads", threads), ("requests", requests)):
            if not isinstance(number, int) and not (name == "threads" and number is None):
                raise TypeError(f"{name}={number!r}: it is a whole number")
        if not isinstance(options, str | MountOptions | Options):
            raise TypeError(f"options={options!r}: they are as after -o, such as 'ro,attr_timeout=0', or given by name")
        if requests < 0:
            raise ValueError(f"requests={requests}: a number of requests is not negative")
        filesystem = as_filesystem(what)
        settled = options_for(
            filesystem, "" if isinstance(options, Options) else options, more_options, MountOptions(allow_other=True)
        )
        self._plan = Plan(
            filesystem=filesystem,
            mount_options=settled,
            options=options if isinstance(options, Options) else kernel_options(settled, filesystem.root_type),
            minor=checked_minor(minor),
            profile=profile if isinstance(profile, Profile) else profile_named(profile),
            threads=threads_for(filesystem, threads),
            strict=strict,
            requests=requests,
        )
        self._runner = runner
        self._ends: Ends | None = None

    @classmethod
    def spawn(
        cls,
        command: Sequence[str | os.PathLike[str]],
        options: str | MountOptions | Options = "",
        *,
        through: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        patience: float = PATIENCE,
        request_timeout: int = 0,
        minor: int = FUSE_KERNEL_MINOR_VERSION,
        profile: str | Profile = LINUX,
        runner: str | None = None,
        requests: int = RECORDED,
        **more_options: Any,
    ) -> Self:
        """Make a kernel whose filesystem is served by another program, of any language, which does not notice.

            with fusewire.Kernel.spawn(["squashfuse", "-f", "image.sqfs", "{mountpoint}"]) as kernel:
                kernel.listdir("/")

        The program is started with the kernel, may not mount, and is ended with the kernel, whatever it does.
        Time is the machine's, so `runner` is 'threads', or 'asyncio' for `async with`.

        Args:
            command: its words; {mountpoint} in them stands for where it is to mount.
            through: how it gets its device: 'descriptor' or 'fusermount3' (embedded/spawned); None: found out.
            env: its environment; None: ours.
            cwd: the directory in which it is started.
            patience: seconds that it gets to answer INIT, in each way that is tried.
            request_timeout: seconds that a request may last, 15 or more; then all is aborted. 0: for ever, as on Linux.

        All other arguments are those of `Kernel`. Entering the `with`, or the first use, raises `SpawnError` if the
        program does not serve, with the cause and what it has written.

        Raises:
            TypeError, ValueError: the command is no list of words, or has no {mountpoint}; as `Kernel` raises.
        """
        if runner == FIXED_ORDER:
            raise ValueError(f"runner={runner!r}: a daemon in another process has a time of its own. Use {THREADS!r}")
        elsewhere = Elsewhere(checked_command(command, through, env, cwd, patience, request_timeout))
        return cls(elsewhere, options, minor=minor, profile=profile, runner=runner, requests=requests, **more_options)

    def __repr__(self) -> str:
        return f"<Kernel of {self._plan.filesystem!r}, {self._runner or self._own_runner}>"

    @property
    def _own_runner(self) -> str:
        return THREADS if isinstance(self._plan.filesystem, Elsewhere) else FIXED_ORDER

    # --- beginning and ending

    @property
    def ends(self) -> Ends:  # type: ignore[override]
        """Both ends, which begin with the first use."""
        if self._ends is None:
            self._start()
            assert self._ends is not None
        return self._ends

    def _start(self) -> None:
        if isinstance(self._plan.filesystem, Elsewhere):
            self._ends = spawn(self._plan, self._runner or self._own_runner, self._plan.filesystem.command)
            return
        ends = Ends(self._plan, self._runner or FIXED_ORDER)
        ends.start()
        self._ends = ends

    def close(self) -> None:
        """End all processes, unmount, and wait for the daemon; abort what does not end. Idempotent."""
        if self._ends is not None:
            self._ends.close()

    def __enter__(self) -> Self:
        self.ends.check_alive()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ends.close(hurried=isinstance(error, KeyboardInterrupt))
        if error is None:
            self.ends.raise_failure()

    async def __aenter__(self) -> AwaitableKernel:
        if self._ends is None:
            self._ends = await self._started()
        self._ends.check_alive()
        return AwaitableKernel(self._ends)

    async def _started(self) -> Ends:
        runner = self._runner or ASYNCIO
        if isinstance(self._plan.filesystem, Elsewhere):
            return await spawn_async(self._plan, runner, self._plan.filesystem.command)
        ends = Ends(self._plan, runner)
        await ends.start_async()
        return ends

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.ends.close_async(hurried=isinstance(error, KeyboardInterrupt | asyncio.CancelledError))
        if error is None:
            self.ends.raise_failure()

    # --- system calls

    @property
    def awaitable(self) -> AwaitableKernel:
        """This kernel, its calls awaited."""
        return AwaitableKernel(self.ends)

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        ends = self.ends
        return ends.call(coroutine, ends.process)

    def process(self, uid: int = 0, gid: int | None = None, groups: Iterable[int] = ()) -> Process:
        """Make a process, in the root directory, with a umask of 022. `gid` is `uid` if it is not given."""
        return Process(self.ends, self.awaitable.process(uid, gid, groups))

    @overload
    def run(self) -> None: ...

    @overload
    def run(self, coroutine: Coroutine[Any, Any, T]) -> T: ...

    def run(self, coroutine: Coroutine[Any, Any, T] | None = None) -> T | None:
        """Run a coroutine, made of awaited calls, to its end; without one, in fixed order, all that can go on."""
        if coroutine is None:
            return self.ends.runner.run()
        return self.ends.call(checked_call(coroutine))

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Begun[T]:
        """Begin a call, such as `process.awaitable.unlink("/a")`, and return once it sleeps, or has ended."""
        return self.ends.begin(checked_call(coroutine))

    unmount = blocking(AwaitableKernel.unmount)

    def leaks(self) -> list[Leak]:
        """Return what has been left over: unanswered requests, unreleased handles, lookups not forgotten.

        The kernel drops first what it merely remembers. The list is empty if nothing leaked. May be called when
        all is over, too.
        """
        return self.ends.left_over() if self.ends.over else self._call(self.ends.leaks())

    # --- what pathlib offers

    def open(
        self,
        path: Path,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """Open a file as the builtin `open` does; text is UTF-8 where `encoding` is not given."""
        return Process(self.ends, self.ends.process).stream(path, mode, buffering, encoding, errors, newline)

    read_bytes = blocking(Paths.read_bytes)
    read_text = blocking(Paths.read_text)
    write_bytes = blocking(Paths.write_bytes)
    write_text = blocking(Paths.write_text)
    truncate = blocking(Paths.truncate)
    stat = blocking(Paths.stat)
    lstat = blocking(Paths.lstat)
    exists = blocking(Paths.exists)
    is_file = blocking(Paths.is_file)
    is_dir = blocking(Paths.is_dir)
    is_symlink = blocking(Paths.is_symlink)
    readlink = blocking(Paths.readlink)
    listdir = blocking(Paths.listdir)
    iterdir = blocking(Paths.iterdir)
    walk = blocking(Paths.walk)
    mkdir = blocking(Paths.mkdir)
    touch = blocking(Paths.touch)
    unlink = blocking(Paths.unlink)
    rmdir = blocking(Paths.rmdir)
    rmtree = blocking(Paths.rmtree)
    rename = blocking(Paths.rename)
    replace = blocking(Paths.replace)
    symlink_to = blocking(Paths.symlink_to)
    hardlink_to = blocking(Paths.hardlink_to)
    symlink = blocking(Paths.symlink)
    link = blocking(Paths.link)
    chmod = blocking(Paths.chmod)
    chown = blocking(Paths.chown)
