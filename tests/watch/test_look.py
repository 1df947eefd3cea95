"""What a look says that it could not see."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusewire.mounting.table import parse_table
from fusewire.watch.connections import Holding, is_over
from fusewire.watch.look import hides_processes
from fusewire.watch.mounts import View
from kernel_mounts import abort, connection_of_descriptor, raw_mount
from namespaces import MNT_DETACH, umount

PROC = b"20 1 0:21 / /proc rw,nosuid - proc proc rw,%s\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="it is about root and who is not")
@pytest.mark.parametrize(
    ("uid", "option", "hides"),
    [
        (65534, b"hidepid=invisible", True),
        (65534, b"hidepid=2", True),
        (65534, b"hidepid=off", False),
        (65534, b"hidepid=0", False),
        (65534, b"gid=5", False),
        (0, b"hidepid=2", False),
    ],
)
def test_hidepid_hides_processes_from_all_but_root(uid: int, option: bytes, hides: bool) -> None:
    view = View("", "/", os.getpid(), parse_table(PROC % option))
    os.seteuid(uid)
    try:
        assert hides_processes(view) is hides
    finally:
        os.seteuid(0)


@pytest.mark.kernel
def test_a_device_whose_connection_has_ended_is_told_from_one_that_serves(mountpoint: Path) -> None:
    """Its number is in /proc for ever, and another connection may have it by now."""
    device = raw_mount(mountpoint)
    try:
        number = connection_of_descriptor(os.getpid(), device)
        assert number is not None
        assert not is_over(Holding(os.getpid(), device, True))
        abort(number)
        umount(mountpoint, MNT_DETACH)
        assert is_over(Holding(os.getpid(), device, True))
        assert connection_of_descriptor(os.getpid(), device) == number
    finally:
        os.close(device)
