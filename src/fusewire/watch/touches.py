"""Which file a thread's system call, or page fault, is about; found without touching that file.

    a descriptor     /proc/PID/fdinfo/FD names the mount, /proc/PID/fd/N the path
    a path           is read from the memory of the process, and followed as text (mounts.py)
    a page fault     is on some page of a file that is mapped: on which, the kernel does not tell us
    a flusher        writes the pages of one filesystem, and has its number in its name: flush-0:47; so
                     has one that reads and writes the file behind a loop device
    close, and exit  have let go of the descriptor already: of nothing that we could read

A path lies in memory that may itself be a mapped file on the mount that hangs, and then to read it
is to hang as well. So it is read only from memory with no file behind it, or with one that does not
lie on FUSE; and even then with patience.

Source: fs/proc/fd.c, seq_show; fs/fs-writeback.c, wb_workfn.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from fusewire.mounting.fusectl import connection_in
from fusewire.watch.mounts import LOOP, NOWHERE, Mounts, Place, View
from fusewire.watch.patience import within
from fusewire.watch.proc import Thread, contents, link
from fusewire.watch.syscalls import AT_FDCWD, Lead, row_of

__all__ = ["Touch", "touches_of"]

FAULTS: Final = (
    "exc_page_fault",
    "do_page_fault",
    "asm_exc_page_fault",
    "do_mem_abort",
    "__get_user_pages",
    "faultin_page",
)
PAGE: Final = 4096  # bytes; the least that a mapping has
LONGEST: Final = 4096  # bytes of a path, PATH_MAX


class Touch(NamedTuple):
    """A file that a call is about, if it comes to FUSE connections."""

    place: Place
    shown: str  # the path as the process knows it, or another name for people
    changes_directory: bool = False  # what lies at the path is made, removed or moved
    by_fault: bool = False
    by_device: bool = False  # the call is on /dev/fuse itself: an answer, or a notification

    @property
    def connections(self) -> frozenset[int]:
        return self.place.connections


def touches_of(thread: Thread, mounts: Mounts) -> list[Touch]:
    """Return the files on FUSE that a thread's call is about; none if it is about others, or we cannot tell."""
    if thread.is_kernel:
        return [touch for touch in touches_of_kernel_thread(thread, mounts) if touch.connections]
    view = mounts.view_of(thread.tid)
    if view is None or thread.is_exiting:
        return []
    if is_fault(thread):
        found = touches_of_mappings(thread, view, mounts)
    else:
        copies = thread.stack is None and is_copying(thread)  # out of a mapped file: then it may be that file's page
        found = (copies and touches_of_mappings(thread, view, mounts)) or [*touches_of_arguments(thread, view, mounts)]
    return [touch for touch in found if touch.connections]


def is_fault(thread: Thread) -> bool:
    """Tell whether a thread needs a page of its memory: by itself, or for the kernel, in a copy."""
    return (thread.syscall is not None and thread.syscall.number == -1) or thread.passes(*FAULTS)


def is_copying(thread: Thread) -> bool:
    """Tell whether a call takes bytes out of the memory of its process. That it faults in it shows the stack alone."""
    return thread.syscall is not None and thread.syscall.name in ("write", "writev", "vmsplice", "pwrite64", "pwritev")


def touches_of_kernel_thread(thread: Thread, mounts: Mounts) -> Iterator[Touch]:
    """Yield for whom a thread of the kernel works: its name tells, as long as it does."""
    if found := re.search(r"flush-0:(\d+)", thread.comm):  # of filesystems without a disk: one of FUSE, or another
        number = int(found[1])
        yield Touch(Place(frozenset([number]), (0, number), ""), f"changed pages of connection {number}")
    elif found := re.search(r"loop(\d+)$", thread.comm):
        device = LOOP, int(found[1])
        yield Touch(Place(mounts.below.get(device, frozenset()), device, ""), f"the file behind loop{found[1]}")


# --- arguments


def touches_of_arguments(thread: Thread, view: View, mounts: Mounts) -> Iterator[Touch]:
    """Yield what the arguments of the system call lead to."""
    if thread.syscall is None or thread.syscall.number < 0:
        return
    for lead in row_of(thread.syscall.number).leads:
        fd = signed(thread.syscall.arguments[lead.fd]) if lead.fd >= 0 else AT_FDCWD
        if lead.path < 0:
            yield touch_of_fd(thread, fd, view, mounts)
        else:
            yield touch_of_path(thread, fd, lead, view, mounts)


def signed(word: int) -> int:
    """Read an argument as the int that it is."""
    low = word & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


def touch_of_fd(thread: Thread, fd: int, view: View, mounts: Mounts) -> Touch:
    info = contents(f"/proc/{thread.tid}/fdinfo/{fd}")
    path = link(f"/proc/{thread.tid}/fd/{fd}")
    number = connection_in(info)
    if number is not None:
        return Touch(Place(frozenset([number]), (0, number), ""), path, by_device=True)
    found = re.search(rb"mnt_id:\t(\d+)", info)
    place = mounts.place_of_file(view, int(found[1]), as_seen(path, view)) if found else NOWHERE
    return Touch(place, as_seen(path, view))


def as_seen(path: str, view: View) -> str:
    """Turn a path that the kernel names into that which the process knows, in its chroot."""
    path = path.removesuffix(" (deleted)")
    return path[len(view.root) :] or "/" if view.root != "/" and path.startswith(view.root) else path


def touch_of_path(thread: Thread, fd: int, lead: Lead, view: View, mounts: Mounts) -> Touch:
    """Look the path up as text. The last name is not followed where the call itself is about it."""
    assert thread.syscall is not None
    text = string_at(thread.tid, thread.syscall.arguments[lead.path], mounts, view)
    if text is None:
        return Touch(NOWHERE, "")
    if not text and fd >= 0:  # AT_EMPTY_PATH
        return touch_of_fd(thread, fd, view, mounts)
    start = link(f"/proc/{thread.tid}/{'cwd' if fd == AT_FDCWD else f'fd/{fd}'}")
    path = os.path.join(as_seen(start, view), text)
    place = within(lambda: mounts.resolve(view, path, not lead.changes_directory), NOWHERE)
    return Touch(place, path, lead.changes_directory)


def string_at(tid: int, address: int, mounts: Mounts, view: View) -> str | None:
    """Return a string in the memory of a thread; None if it cannot be read, or should not be."""
    return within(lambda: read_string(tid, address, mounts, view), None)


def read_string(tid: int, address: int, mounts: Mounts, view: View) -> str | None:
    end = safe_end(tid, address, mounts, view)
    if end is None:
        return None
    fd = os.open(f"/proc/{tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = b""
        while b"\0" not in text and address < end and len(text) < LONGEST:  # page by page: the next may be away
            size = min(PAGE - address % PAGE, end - address)
            text += os.pread(fd, size, address)
            address += size
    finally:
        os.close(fd)
    return os.fsdecode(text.partition(b"\0")[0])


def safe_end(tid: int, address: int, mounts: Mounts, view: View) -> int | None:
    """Return where the mapping that holds an address ends; None if a file on FUSE may lie behind it."""
    for mapping in mappings(tid):
        if mapping.start <= address < mapping.end:
            by_path = mounts.place(view, mapping.path).connections if mapping.path.startswith("/") else frozenset()
            return None if mounts.below.get(mapping.device) or by_path else mapping.end
    return None


# --- mappings


class Mapping(NamedTuple):
    """A stretch of a process's memory."""

    start: int
    end: int
    device: tuple[int, int]
    path: str  # "" if no file lies behind it


def touches_of_mappings(thread: Thread, view: View, mounts: Mounts) -> list[Touch]:
    """Return the files on FUSE that a process maps: on one of them the page lies that it needs."""
    nothing: list[Mapping] = []
    first, last = buffer_of(thread)
    found = {}
    for mapping in within(lambda: list(mappings(thread.tid)), nothing):
        connections = mounts.below.get(mapping.device)
        if connections and mapping.start < last and first < mapping.end:
            place = mounts.place(view, as_seen(mapping.path, view))
            place = Place(connections, mapping.device, place.path if place.device == mapping.device else "")
            found[mapping.device, mapping.path] = Touch(place, f"the mapping of {mapping.path}", by_fault=True)
    return list(found.values())


def buffer_of(thread: Thread) -> tuple[int, int]:
    """Return where the memory begins and ends that a call copies from; all there is if we cannot tell."""
    if thread.syscall is not None and thread.syscall.name in ("write", "pwrite64"):
        _, address, length, *_ = thread.syscall.arguments
        return address, address + length
    return 0, 1 << 64


def mappings(tid: int) -> Iterator[Mapping]:
    """Yield what the process of a thread maps."""
    for line in contents(f"/proc/{tid}/maps").splitlines():
        span, _, _, device, _, *path = line.split(None, 5)
        start, _, end = span.partition(b"-")
        major, _, minor = device.partition(b":")
        numbers = int(major, 16), int(minor, 16)
        yield Mapping(int(start, 16), int(end, 16), numbers, os.fsdecode(path[0]) if path else "")
