"""What a kernel's end remembers, against what its daemon was told: who has granted what, and who holds it.

`check_accounts` is for when no system call is under way and the daemon has read whatever there is to
read. Then each lookup that the daemon has granted is one that the kernel will give back, and each
handle that it has opened is one that somebody has open. So an entry too many, or one that was
forgotten twice, is found, whichever request it came with: revalidation (48), READDIRPLUS (49, 50), or
any other (44, 45).

A daemon that answers nonsense loses some: Linux refuses the reply, and gives nothing back.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fusewire.kernel.checks.mount import open_files
from fusewire.kernel.checks.rules import require
from fusewire.wire import FUSE_ROOT_ID

if TYPE_CHECKING:
    from fusewire.kernel.checks.conversation import Conversation
    from fusewire.kernel.vfs.superblock import Superblock

__all__ = ["check_accounts"]


def check_accounts(superblock: Superblock, conversation: Conversation) -> None:
    """Raise AssertionError if kernel and daemon count otherwise; not after an abort, when nothing is given back."""
    if not superblock.connection.connected:
        return
    _check_lookups(superblock, conversation)
    _check_handles(superblock, conversation)


def _check_lookups(superblock: Superblock, conversation: Conversation) -> None:
    owed: Counter[int] = Counter()
    for nodeid, nlookup in superblock.connection.forgets.queue:
        owed[nodeid] += nlookup
    for nodeid, inode in superblock.inodes.items():
        owed[nodeid] += inode.nlookup
    lookups = conversation.lookups
    for nodeid in {*owed, *lookups.granted} - {FUSE_ROOT_ID}:
        granted, kept = lookups.granted.get(nodeid, 0), owed[nodeid]
        require(45, kept <= granted, f"nodeid {nodeid} was granted {granted} times, and counts for {kept}")
        lost = nodeid in lookups.spoilt
        require(44, lost or kept == granted, f"nodeid {nodeid} was granted {granted} times, of which {kept} are known")


def _check_handles(superblock: Superblock, conversation: Conversation) -> None:
    known = Counter((file.inode.nodeid, file.fh) for file in open_files(superblock) if file.opened)
    for handle, count in conversation.handles.opened.items():
        if conversation.handles.end_untold(handle[0]):
            continue
        spoilt = handle[0] in conversation.lookups.spoilt
        require(51, known[handle] <= count, f"{handle} is open {known[handle]} times, and was opened {count} times")
        require(51, spoilt or known[handle] == count, f"{handle} was opened {count} times, and nobody has it open")
