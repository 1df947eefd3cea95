"""`fusewire umount`: unmount, also over the corpse of a daemon."""

from __future__ import annotations

import argparse

from fusewire.cli.narrow import HelpFormatter
from fusewire.cli.report import FAILURE, complain

__all__ = ["parser", "run"]

EPILOG = """\
Without an option it waits until the daemon has let go, and a mount that is in
use stays: the processes that hold it are named. A mount whose daemon is dead
('Transport endpoint is not connected') is unmounted like any other.

exit codes: 0 unmounted, 1 one of them not, 2 wrong usage"""


def parser() -> argparse.ArgumentParser:
    """The arguments of `fusewire umount`."""
    parser = argparse.ArgumentParser(
        prog="fusewire umount",
        description="Unmount a filesystem.",
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", nargs="+", help="where it is mounted")
    parser.add_argument(
        "-l",
        "--lazy",
        action="store_true",
        help="take it out of the tree at once; files that are open are served until they are closed",
    )
    parser.add_argument(
        "-f",
        "--force",
        action="store_true",
        help="abort the connection first: every request fails, those that wait and those to come",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="on an error show the traceback too")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Unmount each, also when one before it cannot be."""
    from fusewire.mounting import MountError, unmount

    code = 0
    for mountpoint in arguments.mountpoint:
        try:
            unmount(mountpoint, lazy=arguments.lazy, force=arguments.force)
        except MountError as error:
            complain(error, verbose=arguments.verbose)
            code = FAILURE
    return code
