"""statvfs: what it shows, and that nothing of it is kept."""

from __future__ import annotations

import os

from fusewire.daemon.request import Request
from fusewire.daemon.values import StatFs
from fusewire.filesystems.memory import Memory
from fusewire.kernel.vfs.superblock import Options
from on_memory import on_memory


def test_each_call_asks_by_the_file_it_names() -> None:
    with on_memory(timeout=1e6) as on:
        fd = on.do(on.root.open("/f", os.O_PATH))
        nodeid = on.root.file(fd).inode.nodeid
        for call in (on.root.statvfs("/f"), on.root.statvfs("/f"), on.root.fstatvfs(fd), on.root.statvfs(fd)):
            (request,) = on.requests(call)
            assert (request.name, request.nodeid) == ("STATFS", nodeid)


def test_it_shows_what_the_daemon_says_and_how_it_is_mounted() -> None:
    class Sized(Memory):
        def statfs(self, request: Request, nodeid: int) -> StatFs:
            return StatFs(blocks=100, bfree=50, bavail=40, files=30, ffree=20, bsize=512, namelen=99, frsize=0)

    with on_memory(kind=Sized) as on:
        shown = on.do(on.root.statvfs("/"))
        assert (shown.f_bsize, shown.f_frsize, shown.f_blocks, shown.f_bfree, shown.f_bavail) == (512, 512, 100, 50, 40)
        assert (shown.f_files, shown.f_ffree, shown.f_favail, shown.f_namemax, shown.f_fsid) == (30, 20, 20, 99, 0)
        assert shown.f_flag == os.ST_RELATIME
        on.kernel.superblock.options = Options(allow_other=True, read_only=True, nosuid=True, nodev=True, noexec=True)
        flags = os.ST_RELATIME | os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC
        assert on.do(on.root.statvfs("/")).f_flag == flags
