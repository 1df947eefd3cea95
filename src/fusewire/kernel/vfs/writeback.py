"""What one file has yet to tell its daemon: dirty pages, times, and WRITEs on their way.

    dirty --write_pages()--> queued --send--> in flight --reply--> clean

A batch of pages is one WRITE. Batches are queued, and sent at once unless somebody has forbidden
it: truncation, chmod, fsync and direct I/O first wait until no WRITE is in flight, and hold back
those that come meanwhile, so that none overtakes them (FUSE_NOWRITE).

A WRITE that fails has nobody to tell. Its error is kept twice, as Linux does: once for all who
flush (`error`, taken by the first who asks), and once for each open file (`failures`), whose
fsync reports it unless that file was opened after somebody else had heard of it.

Made for a file when it is first written to through the cache; most never are.

Source: fs/fuse/file.c, fuse_set_nowrite; lib/errseq.c; mm/filemap.c, filemap_check_errors.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING

from fusewire.kernel.locks import Semaphore
from fusewire.kernel.waitq import WaitQueue

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.page_cache import Page

__all__ = ["Batch", "Writeback"]


class Batch:
    """Consecutive pages under writeback, to be sent in one WRITE by `file`, of which it holds a reference."""

    __slots__ = ("file", "pages")

    def __init__(self, file: OpenFile, page: Page) -> None:
        self.file = file
        self.pages = [page]

    @property
    def first(self) -> int:
        return self.pages[0].index

    def data(self) -> bytes:
        return b"".join(page.data for page in self.pages)


class Writeback:
    """The unsaved part of one inode."""

    __slots__ = (
        "dirty",
        "dirty_since",
        "error",
        "failure",
        "failure_heard",
        "failures",
        "forbidden",
        "in_flight",
        "queued",
        "sync",
        "times_dirty",
        "under_way",
        "waitq",
    )

    def __init__(self, inode: Inode) -> None:
        self.dirty: dict[int, Page] = {}  # by index; one that was truncated meanwhile is no longer `dirty`
        self.dirty_since = 0.0  # by the system's clock, if anything is dirty
        self.times_dirty = False  # mtime and ctime were changed here, and the daemon has not been told
        self.under_way: dict[Page, None] = {}  # pages under writeback, queued or in flight
        self.queued: deque[Batch] = deque()
        self.in_flight = 0  # WRITEs
        self.forbidden = False  # no WRITE may be sent
        self.waitq = WaitQueue(f"the WRITEs of nodeid {inode.nodeid}")  # those who forbid them, until none is in flight
        self.sync = Semaphore(f"the writing back of nodeid {inode.nodeid}")
        self.error = 0  # EIO or ENOSPC, until somebody has been told
        self.failure = 0  # the last errno of a WRITE
        self.failures = 0  # WRITEs that failed
        self.failure_heard = False  # somebody has been told of the last

    @property
    def is_dirty(self) -> bool:
        return bool(self.dirty) or self.times_dirty

    @property
    def is_unsaved(self) -> bool:
        """Whether anything is dirty, or on its way in pages."""
        return self.is_dirty or bool(self.under_way)

    def fail(self, code: int) -> None:
        """Keep the error of a WRITE."""
        if not code:
            return
        if self.error != errno.EIO:
            self.error = errno.ENOSPC if code == errno.ENOSPC else errno.EIO
        self.failure = code
        self.failures += 1
        self.failure_heard = False

    def take_error(self) -> int:
        """Return the error that nobody has been told of; 0 if there is none."""
        error, self.error = self.error, 0
        return error

    def sample(self) -> int:
        """Return what a file that is opened now has heard of."""
        return self.failures if self.failure_heard else 0

    def take_failure(self, file: OpenFile) -> int:
        """Return the errno of a WRITE that failed since `file` last asked; 0 if none has."""
        self.error = 0
        if file.failures_heard == self.failures:
            return 0
        file.failures_heard = self.failures
        self.failure_heard = True
        return self.failure
