"""The diagrams of kernel.txt (2005), as data: what runs is held against them.

A row is (left column, right column). Empty rows are left out, and a step that stands on two lines is whole.
"""

from __future__ import annotations

Row = tuple[str, str]


def row(step: str) -> Row:
    """Return a row from `rm: ...`, `daemon: ...`, or `both: ... | ...`."""
    who, text = step.split(": ", 1)
    if who == "both":
        left, right = text.split(" | ")
        return left, right
    return (text, "") if who == "rm" else ("", text)


def rows(*steps: str) -> list[Row]:
    return [row(step) for step in steps]


UNLINK = rows(
    "daemon: >sys_read()",
    "daemon: >fuse_dev_read()",
    "daemon: >request_wait()",
    "daemon: [sleep on fc->waitq]",
    "rm: >sys_unlink()",
    "rm: >fuse_unlink()",
    "rm: [get request from fc->unused_list]",
    "rm: >request_send()",
    "rm: [queue req on fc->pending]",
    "both: [wake up fc->waitq] | [woken up]",
    "rm: >request_wait_answer()",
    "rm: [sleep on req->waitq]",
    "daemon: <request_wait()",
    "daemon: [remove req from fc->pending]",
    "daemon: [copy req to read buffer]",
    "daemon: [add req to fc->processing]",
    "daemon: <fuse_dev_read()",
    "daemon: <sys_read()",
    "daemon: [perform unlink]",
    "daemon: >sys_write()",
    "daemon: >fuse_dev_write()",
    "daemon: [look up req in fc->processing]",
    "daemon: [remove from fc->processing]",
    "daemon: [copy write buffer to req]",
    "both: [woken up] | [wake up req->waitq]",
    "daemon: <fuse_dev_write()",
    "daemon: <sys_write()",
    "rm: <request_wait_answer()",
    "rm: <request_send()",
    "rm: [add request to fc->unused_list]",
    "rm: <fuse_unlink()",
    "rm: <sys_unlink()",
)

SIMPLE_DEADLOCK = rows(  # before *DEADLOCK*; sys_unlink without its argument
    "rm: >sys_unlink()",
    'rm: [acquire inode semaphore for "file"]',
    "rm: >fuse_unlink()",
    "rm: [sleep on req->waitq]",
    "daemon: <sys_read()",
    "daemon: >sys_unlink()",
    'daemon: [acquire inode semaphore for "file"]',
)

SIMPLE_DEADLOCK_CURED = rows(  # once rm is killed
    "rm: [interrupted by signal]",
    "rm: <fuse_unlink()",
    "both: [release semaphore] | [semaphore acquired]",
    "rm: <sys_unlink()",
    "daemon: >fuse_unlink()",
    "daemon: [queue req on fc->pending]",
    "daemon: [wake up fc->waitq]",
    "daemon: [sleep on req->waitq]",
)
