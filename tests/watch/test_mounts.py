"""Which connections lie below a mount, and where a path leads; from tables that are written out here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusewire.mounting.table import parse_table
from fusewire.watch.mounts import Mounts, View, split_layers

TABLE = b"""\
20 1 8:1 / / rw - ext4 /dev/sda1 rw
30 20 0:40 / /mnt/x rw - fuse.sshfs host: rw,user_id=0,group_id=0
31 20 0:40 /sub /mnt/bound rw - fuse.sshfs host: rw,user_id=0,group_id=0
32 20 0:50 / /mnt/merged rw - overlay overlay rw,lowerdir=/srv:/mnt/x/lower,upperdir=/up,workdir=/work
33 20 0:51 / /mnt/twice rw - overlay overlay rw,lowerdir=/mnt/merged/a:/other,upperdir=/up2,workdir=/work2
34 20 0:52 / /mnt/plain rw - overlay overlay rw,lowerdir=/srv:/other
35 20 0:41 / /mnt/other rw - fuseblk /dev/sdb1 rw,user_id=0,group_id=0
36 20 0:53 / /mnt/secret rw - ecryptfs /mnt/x/crypt rw
37 20 0:54 / /mnt/added rw - overlay overlay rw,lowerdir+=/srv,lowerdir+=/mnt/other/l,datadir+=/mnt/x/d
"""


@pytest.fixture
def view() -> View:
    return View("mnt:[1]", "/", os.getpid(), parse_table(TABLE))


@pytest.fixture
def mounts(view: View) -> Mounts:
    return Mounts({(view.namespace, view.root): view})


@pytest.mark.parametrize(
    ("path", "connections"),
    [
        ("/etc/passwd", set()),
        ("/mnt/x/file", {40}),
        ("/mnt/bound/file", {40}),
        ("/mnt/merged/file", {40}),
        ("/mnt/twice/file", {40}),
        ("/mnt/plain/file", set()),
        ("/mnt/other", {41}),
        ("/mnt/secret/file", {40}),
        ("/mnt/added/file", {40, 41}),
        ("/mnt/xyz", set()),
    ],
)
def test_what_lies_below_a_path_is_found(mounts: Mounts, view: View, path: str, connections: set[int]) -> None:
    assert mounts.place(view, path).connections == connections


def test_a_file_is_the_same_through_every_bind_mount(mounts: Mounts, view: View) -> None:
    assert mounts.place(view, "/mnt/bound/file") == mounts.place(view, "/mnt/x/sub/file")
    assert mounts.place(view, "/mnt/x/sub/file").parent == "/sub"
    assert mounts.place(view, "/mnt/x").path == "/"


def test_layers_are_split_at_colons_that_are_not_part_of_a_name() -> None:
    assert split_layers(r"/a:/b\:c::/d") == ["/a", "/b:c", "/d"]


def test_an_open_file_is_found_by_the_mount_that_the_kernel_names(mounts: Mounts, view: View) -> None:
    assert mounts.place_of_file(view, 31, "/mnt/bound/f") == mounts.place(view, "/mnt/x/sub/f")
    assert mounts.place_of_file(view, 31, "/elsewhere").connections == {40}  # it was moved since
    assert mounts.place_of_file(view, 999, "/mnt/x").connections == set()


def test_symlinks_are_followed_up_to_the_mount_and_not_behind(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    (tmp_path / "link").symlink_to("mnt/deeper")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "mnt" / "inside").symlink_to("/etc")  # hidden by the mount: nobody may look at it
    table = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:40 / %s/mnt rw - fuse x rw\n" % os.fsencode(tmp_path)
    view = View("mnt:[1]", "/", os.getpid(), parse_table(table))
    mounts = Mounts({("mnt:[1]", "/"): view})
    assert mounts.resolve(view, f"{tmp_path}/link/file").path == "/deeper/file"
    assert mounts.resolve(view, f"{tmp_path}/./mnt/../link").connections == {40}
    assert mounts.resolve(view, f"{tmp_path}/link", follow_last=False).connections == set()
    assert mounts.resolve(view, f"{tmp_path}/mnt/inside/passwd").path == "/inside/passwd"
    assert mounts.resolve(view, f"{tmp_path}/loop").connections == set()
