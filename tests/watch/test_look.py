"""What a look says that it could not see."""

from __future__ import annotations

import os

import pytest

from fusewire.mounting.table import parse_table
from fusewire.watch.look import hides_processes
from fusewire.watch.mounts import View

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
