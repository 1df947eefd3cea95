"""For how long threads have slept.

The kernel notes when a thread ran last, on a clock of the CPU on which it ran: in nanoseconds that
leave out what interrupts and the host of a virtual machine took. These clocks differ from CPU to
CPU, by seconds and more. So each is read on its own CPU: by a thread of ours that goes there and
looks when it ran last itself, which is now.

Where the kernel was built without it (CONFIG_SCHED_DEBUG, before Linux 6.15), or a CPU is closed to
us, nothing is known.

Source: kernel/sched/debug.c, proc_sched_show_task; kernel/sched/core.c, update_rq_clock_task.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable
from typing import Final

from fusewire.watch.proc import Thread, contents

__all__ = ["ages"]

RAN_LAST: Final = re.compile(rb"se\.exec_start\s*:\s*(\d+\.\d+)")


def ages(threads: Iterable[Thread]) -> dict[int, float]:
    """Return for how many seconds threads have not run, by tid; those that we cannot tell are left out."""
    found: dict[int, float] = {}
    last = {thread: ran_last(f"/proc/{thread.pid}/task/{thread.tid}/sched") for thread in threads}
    now = clocks({thread.cpu for thread, seconds in last.items() if seconds is not None})
    for thread, seconds in last.items():
        if seconds is not None and thread.cpu in now and still_there(thread):
            found[thread.tid] = max(0.0, now[thread.cpu] - seconds)
    return found


def still_there(thread: Thread) -> bool:
    """Tell whether a thread has not been on another CPU since: its time would be of another clock."""
    fields = contents(f"/proc/{thread.pid}/task/{thread.tid}/stat").rpartition(b")")[2].split()
    return len(fields) > 36 and int(fields[36]) == thread.cpu


def ran_last(path: str) -> float | None:
    """Return when a thread ran last, in seconds of its CPU's clock; None if the kernel does not tell."""
    found = RAN_LAST.search(contents(path))
    return float(found[1]) / 1000 if found else None


def clocks(cpus: set[int]) -> dict[int, float]:
    """Return what time it is on the clocks of these CPUs."""
    found: dict[int, float] = {}

    def visit() -> None:
        for cpu in cpus:
            try:
                os.sched_setaffinity(0, {cpu})  # of this thread alone
            except OSError:
                continue
            seconds = ran_last("/proc/thread-self/sched")
            if seconds is not None:
                found[cpu] = seconds

    visitor = threading.Thread(target=visit, name="fusewire-clocks")
    visitor.start()
    visitor.join()
    return found
