"""Both ends in one process: a kernel's, and a daemon that serves it. The one package that knows both.

    kernel.py       Kernel: what users have; process.py, paths.py and files.py are its calls, inspected.py
                    what there is to see, plan.py what it was asked to be
    ends.py         both ends of one mount: begun (serving.py), used, and always ended; parts.py is what they
                    are made of
    task_server.py  the daemon's end in fixed order       device.py     for the shells of threads and asyncio
    recording.py    what was sent and answered            leaks.py      what is left over in the end
    callers.py      who calls, as a filesystem sees it    own_mount.py  a filesystem that uses its own mount
    left_open.py    kernels that nobody has closed        notifying.py  what a filesystem tells the kernel
    spawned/        a daemon in another process, of any language
    task_daemon.py  a daemon as one bare task, for `tasks.run`: diagrams, and the explorer of interleavings

Every call exists once, awaited; the plain ones are made of it (blocking.py).
"""

from __future__ import annotations

from fusewire.embedded.begun import Begun
from fusewire.embedded.files import AwaitableFile
from fusewire.embedded.kernel import AwaitableKernel, Kernel
from fusewire.embedded.leaks import Leak
from fusewire.embedded.process import Process
from fusewire.embedded.recording import RecordedRequest
from fusewire.embedded.spawned import SpawnError
from fusewire.embedded.task_daemon import daemon, perform, serve, serve_one
from fusewire.kernel.runners.fixed_order import Deadlock

__all__ = [
    "AwaitableFile",
    "AwaitableKernel",
    "Begun",
    "Deadlock",
    "Kernel",
    "Leak",
    "Process",
    "RecordedRequest",
    "SpawnError",
    "daemon",
    "perform",
    "serve",
    "serve_one",
]
