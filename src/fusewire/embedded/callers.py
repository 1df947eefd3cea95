"""Who calls, as a filesystem sees it: of an embedded kernel's processes nothing is in /proc."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusewire.daemon.request import Request

if TYPE_CHECKING:
    from fusewire.kernel.vfs.system import System

__all__ = ["requests_of"]


def requests_of(system: System) -> type[Request]:
    """Return a class of requests whose callers are the processes of `system`."""

    class EmbeddedRequest(Request):
        __slots__ = ()

        @property
        def groups(self) -> list[int]:
            """The caller's supplementary groups; [] if the caller is gone."""
            process = system.processes.get(self.pid)
            return [] if process is None else sorted(process.credentials.groups)

    return EmbeddedRequest
