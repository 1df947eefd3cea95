"""Both ends in one process: the kernel's, and a daemon that serves it.

The one package that knows both.

While the skeleton is filled in: `kernel.process()` gives the process whose calls are awaited, to be
run by `kernel.run(process.mkdir("/a"))`. It will give one whose calls are plain, as in `os`, and the
other will be its `awaitable`: write `kernel.run(process.mkdir("/a"))` for what is to work with both.
"""

from __future__ import annotations

from fusewire.embedded.kernel import Kernel
from fusewire.embedded.task_daemon import daemon, perform, serve, serve_one

__all__ = ["Kernel", "daemon", "perform", "serve", "serve_one"]
