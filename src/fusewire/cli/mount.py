"""`fusewire mount`: mount a source and serve it until it is unmounted."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from fusewire.cli.narrow import HelpFormatter
from fusewire.cli.report import USAGE, CommandError

if TYPE_CHECKING:
    from fusewire import Filesystem, Mount, MountOptions

__all__ = ["parser", "run"]

DESCRIPTION: Final = """\
Mount SOURCE on the directory MOUNTPOINT, and serve it until it is unmounted.

a source is one of:
  memory:                      an empty filesystem in memory
  'memory:?size=1G&inodes=1M'  the same, with limits (suffixes K, M, G, T, P)
  DIRECTORY                    that directory, every change made there
  FILE.py:NAME                 Python in a file
  MODULE:NAME                  Python in a module; the current directory counts
NAME is a filesystem, a node, a dict of names to nodes, or a class or function
that makes one when it is called without arguments."""

EPILOG: Final = """\
Ctrl-C, SIGTERM and 'fusewire umount MOUNTPOINT' unmount. A mount in use is then
detached, and served until its last file is closed; a second signal aborts it.

examples:
  fusewire mount memory: /mnt/x
  fusewire mount ~/src /mnt/x -o ro,allow_other
  fusewire mount examples/hello.py:root /mnt/x --threads 4
  fusewire mount -b 'memory:?size=64M' /mnt/x && df -h /mnt/x

exit codes: 0 unmounted (with -b: mounted), 1 it failed, 2 wrong usage"""


def parser() -> argparse.ArgumentParser:
    """The arguments of `fusewire mount`."""
    parser = Parser(
        prog="fusewire mount",
        usage="fusewire mount SOURCE MOUNTPOINT [-o OPTIONS] ...",
        description=DESCRIPTION,
        formatter_class=HelpFormatter,
    )
    add_what_and_where(parser.add_argument_group("what, where and how"))
    add_serving(parser.add_argument_group("how it is served"))
    add_reporting(parser.add_argument_group("what is said"))
    return parser


def add_what_and_where(group: argparse._ArgumentGroup) -> None:
    group.add_argument("source", metavar="SOURCE", help="what to mount")
    group.add_argument("mountpoint", metavar="MOUNTPOINT", help="an existing directory")
    group.add_argument("-o", dest="options", metavar="OPTIONS", action="append", default=[], help="see below")
    group.add_argument(
        "-n", "-s", action="store_true", help=argparse.SUPPRESS
    )  # mount(8) may pass them: no mtab, sloppy


def add_serving(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-b", "--background", action="store_true", help="return once the mount answers; go on as a daemon"
    )
    group.add_argument(
        "--threads", metavar="N", type=at_least_one, help="methods that may run at once (default: the source's)"
    )
    group.add_argument("--asyncio", action="store_true", help="serve in an event loop instead of threads")
    group.add_argument("--strict", action="store_true", help="end on an exception that is no OSError (else: EIO)")


def add_reporting(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-v", "--verbose", action="store_true", help="log every request; show tracebacks")
    group.add_argument("--log", metavar="FILE", help="append what is logged to FILE, not to the terminal")


class Parser(argparse.ArgumentParser):
    """A parser whose help ends in the table of mount options, which is not imported for anything else."""

    def format_help(self) -> str:
        from fusewire.mounting.options import describe

        self.epilog = f"mount options (-o a,b=c):\n{describe()}\n\n{EPILOG}"
        return super().format_help()


def at_least_one(text: str) -> int:
    """Read the number of threads."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of threads: at least one must serve")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Mount and serve, here or in the background."""
    from fusewire.cli.background import in_background

    if arguments.background:
        return in_background(lambda ready: serve(arguments, ready), arguments.log)
    return serve(arguments, lambda: None)


def serve(arguments: argparse.Namespace, ready: Callable[[], None]) -> int:
    """Mount, call `ready` once it answers, and return when it is over."""
    from fusewire import program

    log_to(arguments.log, arguments.verbose)
    mount = prepared(arguments)

    def told(mount: Mount) -> None:
        say_mounted(arguments, mount)
        ready()

    with telling_failures(arguments):
        if arguments.asyncio:
            asyncio.run(program.serve_async(mount, told))
        else:
            program.serve(mount, told)
    return 0


def prepared(arguments: argparse.Namespace) -> Mount:
    """What is to be mounted, as far as it can be known to be right before it is.

    Raises:
        CommandError: one of the arguments is wrong, alone or beside the others.
    """
    import fusewire

    if not arguments.mountpoint:  # abspath would make the current directory of it
        raise CommandError("the mountpoint is empty: say a directory", code=USAGE)
    options, mountpoint = mount_options(arguments), os.path.abspath(arguments.mountpoint)
    refuse_itself(arguments.source, mountpoint)
    filesystem = as_filesystem(arguments.source)
    try:
        return fusewire.mount(filesystem, mountpoint, options, threads=arguments.threads, strict=arguments.strict)
    except (TypeError, ValueError) as error:
        raise CommandError(f"'{arguments.source}' cannot be mounted so: {error}", code=USAGE) from error


@contextmanager
def telling_failures(arguments: argparse.Namespace) -> Iterator[None]:
    """Tell of an exception in the filesystem's own code: its `init` raised, or a method of it and --strict."""
    from fusewire.cli.users_code import is_users, own_traceback

    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if not arguments.strict and not is_users(error):  # then it is ours, and a bug
            raise
        because = ", and --strict has ended the mount" if arguments.strict else " when it was mounted"
        raise CommandError(f"'{arguments.source}' raised{because}.", detail=own_traceback(error)) from error


def log_to(path: str | None, verbose: bool) -> None:
    """Log warnings and errors, and with `verbose` every request, to `path` or to stderr."""
    handler = LogFile(path, errors="backslashreplace") if path else logging.StreamHandler()
    logging.basicConfig(handlers=[handler], format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("fusewire").setLevel(logging.DEBUG if verbose else logging.WARNING)


class LogFile(logging.FileHandler):
    """A log that says once that it cannot be written (the disk is full), where logging would for every line."""

    has_failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self.has_failed:
            self.has_failed = True
            print(f"fusewire: {self.baseFilename} cannot be written: {sys.exc_info()[1]}", file=sys.stderr)


def mount_options(arguments: argparse.Namespace) -> MountOptions:
    """All `-o` together, and the source as the name that mount tables show."""
    from fusewire.cli.sources import named
    from fusewire.mounting.options import MountOptionError, MountOptions

    try:
        return MountOptions.parse(arguments.options, MountOptions(fsname=named(arguments.source) or "fusewire"))
    except MountOptionError as error:
        raise CommandError(str(error), code=USAGE) from error


def refuse_itself(source: str, mountpoint: str) -> None:
    """Refuse a directory that has its own mountpoint in it: the daemon would wait for itself, and keep itself busy."""
    parent = os.path.realpath(os.path.dirname(mountpoint))  # not the mountpoint, which may hang
    if os.path.isdir(source) and is_inside(parent, os.path.realpath(source)):
        loop = f"'{source}' contains the mountpoint {mountpoint}"
        raise CommandError(f"{loop}: the daemon would look into its own mount. Mount it elsewhere.")


def is_inside(path: str, directory: str) -> bool:
    """Is an absolute path `directory`, or below it?"""
    return os.path.commonpath([path, directory]) == directory


def as_filesystem(source: str) -> Filesystem:
    """Resolve SOURCE, and refuse what the engine would: a misspelt method, a name that no file can have."""
    from fusewire.cli.sources import resolve
    from fusewire.served import as_filesystem

    what = resolve(source)
    try:
        return as_filesystem(what)
    except (TypeError, ValueError) as error:
        raise CommandError(f"'{source}' cannot be mounted: {error}") from error
    except RecursionError as error:
        raise CommandError(f"'{source}' is nested too deeply for Python, or a dict in it contains itself") from error


def say_mounted(arguments: argparse.Namespace, mount: Mount) -> None:
    """Tell whoever started us that it is there, and how it ends."""
    command = shlex.join(["fusewire", "umount", mount.mountpoint])
    stop = f'"{command}"' if "'" in command else f"'{command}'"
    how = f"{stop} unmounts" if arguments.background else f"Ctrl-C or {stop} unmounts"
    with suppress(OSError):  # nobody reads it: no reason not to serve
        print(f"fusewire: {arguments.source} is mounted on {mount.mountpoint}; {how}.", file=sys.stderr, flush=True)
