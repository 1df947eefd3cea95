"""The diagrams of kernel.txt (libfuse, doc/kernel.txt, 2005) as they stand there, and how a run is held against them.

A diagram is parsed into rows of cells: an empty row is nothing, and a step that goes on in the next line is whole. What
`fusewire explain` prints has the same form, so both are read by the same function.

A run shows a diagram if each row of it is found, in order: its left cell, and then, in the same row or a later one, its
right cell. In between there may be more. Where a run has more columns, all but the first are threads of the daemon, and
kernel.txt's right column is any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

Row = tuple[str, str]


def rows(text: str) -> list[tuple[str, ...]]:
    """Return the rows of the diagrams in `text`, titles and empty rows left out, with each step in one piece."""
    found: list[list[str]] = []
    titles = True  # the next line is one
    for line in text.splitlines():
        if not line.startswith("  |  "):
            titles = titles or line.startswith("---")
            continue
        cells = [cell.strip() for cell in line.removeprefix("  |").split("|")]
        if titles and not any(cell[:1] in ("[", ">", "<", "*") for cell in cells):
            continue  # the titles, which may be several lines
        titles = False
        if found and any(cell and is_open(above) for cell, above in zip(cells, found[-1], strict=False)):
            found[-1] = [joined(above, cell) for above, cell in zip(found[-1], cells, strict=True)]
        elif any(cells):
            found.append(cells)
    return [tuple(row) for row in found]


def is_open(cell: str) -> bool:
    """Whether a step goes on in the next line."""
    if cell.startswith("["):
        return not cell.endswith("]")
    return cell[:1] in ("<", ">") and (cell.count("(") > cell.count(")") or "(" not in cell)


def joined(above: str, cell: str) -> str:
    if not cell:
        return above
    within_word = above.endswith(("/", "_", ">", "(", ",")) or cell.startswith("(")
    return f"{above}{'' if within_word else ' '}{cell}".strip()


def missing(diagram: Iterable[Sequence[str]], run: Sequence[Sequence[str]]) -> list[str]:
    """Return the steps of `diagram` that `run` has not, or not in their order."""
    absent, place = [], 0
    for left, right in diagram:
        for cell, columns in ((left, slice(0, 1)), (right, slice(1, None))):
            if not cell:
                continue
            found = next((i for i in range(place, len(run)) if cell in run[i][columns]), None)
            if found is None:
                absent.append(cell)
            else:
                place = found
        place += not absent
    return absent


def for_path(diagram: Iterable[Row], path: str) -> list[Row]:
    """Return `diagram` with another file in place of /mnt/fuse/file."""
    name = path.rpartition("/")[2]

    def renamed(cell: str) -> str:
        return cell.replace('"/mnt/fuse/file"', f'"{path}"').replace('"file"', f'"{name}"')

    return [(renamed(left), renamed(right)) for left, right in diagram]


def pairs(text: str) -> list[Row]:
    return [(left, right) for left, right in rows(text)]


UNLINK: Final = pairs("""
  |  "rm /mnt/fuse/file"                 |  FUSE filesystem daemon
  |                                      |
  |                                      |  >sys_read()
  |                                      |  >fuse_dev_read()
  |                                      |  >request_wait()
  |                                      |  [sleep on fc->waitq]
  |                                      |
  |  >sys_unlink()                       |
  |  >fuse_unlink()                      |
  |  [get request from                   |
  |  fc->unused_list]                    |
  |  >request_send()                     |
  |  [queue req on fc->pending]          |
  |  [wake up fc->waitq]                 |  [woken up]
  |  >request_wait_answer()              |
  |  [sleep on req->waitq]               |
  |                                      |  <request_wait()
  |                                      |  [remove req from fc->pending]
  |                                      |  [copy req to read buffer]
  |                                      |  [add req to fc->processing]
  |                                      |  <fuse_dev_read()
  |                                      |  <sys_read()
  |                                      |
  |                                      |  [perform unlink]
  |                                      |
  |                                      |  >sys_write()
  |                                      |  >fuse_dev_write()
  |                                      |  [look up req in fc->processing]
  |                                      |  [remove from fc->processing]
  |                                      |  [copy write buffer to req]
  |  [woken up]                          |  [wake up req->waitq]
  |                                      |  <fuse_dev_write()
  |                                      |  <sys_write()
  |  <request_wait_answer()              |
  |  <request_send()                     |
  |  [add request to                     |
  |  fc->unused_list]                    |
  |  <fuse_unlink()                      |
  |  <sys_unlink()                       |
""")

SIMPLE_DEADLOCK: Final = pairs("""
  |  "rm /mnt/fuse/file"                 |  FUSE filesystem daemon
  |                                      |
  |  >sys_unlink("/mnt/fuse/file")       |
  |  [acquire inode semaphore            |
  |  for "file"]                         |
  |  >fuse_unlink()                      |
  |  [sleep on req->waitq]               |
  |                                      |  <sys_read()
  |                                      |  >sys_unlink("/mnt/fuse/file")
  |                                      |  [acquire inode semaphore
  |                                      |  for "file"]
  |                                      |  *DEADLOCK*
""")

SIMPLE_DEADLOCK_CURED: Final = pairs("""
  |  [interrupted by signal]             |
  |  <fuse_unlink()                      |
  |  [release semaphore]                 |  [semaphore acquired]
  |  <sys_unlink()                       |
  |                                      |  >fuse_unlink()
  |                                      |  [queue req on fc->pending]
  |                                      |  [wake up fc->waitq]
  |                                      |  [sleep on req->waitq]
""")

TRICKY_DEADLOCK: Final = pairs("""
  |  Kamikaze filesystem thread 1        |  Kamikaze filesystem thread 2
  |                                      |
  |  [fd = open("/mnt/fuse/file")]       |  [request served normally]
  |  [mmap fd to 'addr']                 |
  |  [close fd]                          |  [FLUSH triggers 'magic' flag]
  |  [read a byte from addr]             |
  |  >do_page_fault()                    |
  |  [find or create page]               |
  |  [lock page]                         |
  |  >fuse_readpage()                    |
  |  [queue READ request]                |
  |  [sleep on req->waitq]               |
  |                                      |  [read request to buffer]
  |                                      |  [create reply header before addr]
  |                                      |  >sys_write(addr - headerlength)
  |                                      |  >fuse_dev_write()
  |                                      |  [look up req in fc->processing]
  |                                      |  [remove from fc->processing]
  |                                      |  [copy write buffer to req]
  |                                      |  >do_page_fault()
  |                                      |  [find or create page]
  |                                      |  [lock page]
  |                                      |  * DEADLOCK *
""")

ALL: Final = (*UNLINK, *SIMPLE_DEADLOCK, *SIMPLE_DEADLOCK_CURED, *TRICKY_DEADLOCK)
STEPS: Final = {cell for row in ALL for cell in row if cell}
