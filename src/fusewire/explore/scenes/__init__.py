"""The scenarios that can be explored, by name: a row for each.

A row's `make` makes the scene, at the state in which it begins to be of interest: mounted, with INIT and
what is not worth exploring behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from fusewire.explore.scene import Scene
from fusewire.explore.scenes.removing import forget, simple_deadlock, unlink
from fusewire.explore.scenes.tricky_deadlock import tricky_deadlock
from fusewire.kernel.profile import Profile

__all__ = ["SCENARIOS", "Row"]


class Row(NamedTuple):
    """One scenario."""

    summary: str
    make: Callable[..., Scene]  # (profile, threads=..., request_timeout=...)
    profile: str  # unless another is asked for

    def scene(self, profile: Profile, threads: int = 1, request_timeout: int = 0) -> Scene:
        return self.make(profile, threads=threads, request_timeout=request_timeout)


SCENARIOS: Final = {
    "unlink": Row("rm removes a file, and the daemon does as it is asked", unlink, "linux"),
    "forget": Row("the same file, which nobody has open: the kernel forgets it", forget, "linux"),
    "simple-deadlock": Row("the daemon removes, through its own mount, what it is to remove", simple_deadlock, "linux"),
    "tricky-deadlock": Row("a reply is written from the page that only this reply can fill", tricky_deadlock, "linux"),
}
