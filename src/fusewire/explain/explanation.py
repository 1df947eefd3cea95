"""What an explanation is: a row of the catalogue, and what may be asked of it.

An explanation plays something with a director (director.py), who has it recorded. What is drawn of
the recording, and in which words, is its `detail`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from fusewire.diagrams.columns import EVERYTHING, Detail
from fusewire.kernel.profile import PROFILES, Profile

if TYPE_CHECKING:
    from fusewire.explain.director import Director

__all__ = ["SEED", "Explanation", "Options"]

SEED: Final = "kernel.txt, run"  # the group of what the document of 2005 draws and argues
MOST_THREADS: Final = 9
NO_UID: Final = 0xFFFFFFFF  # -1, which is nobody
LONGEST_NAME: Final = 255  # bytes (NAME_MAX of most filesystems)


@dataclass(frozen=True)
class Options:
    """What may be asked for. All of it changes the run, and shows in its diagram."""

    profile: str = "seed2005"  # or 'linux'
    path: str = "/mnt/fuse/file"  # of the file that it is about; the mount is at its directory
    threads: int = 1  # of the daemon
    uid: int = 0  # of whoever uses the filesystem

    def __post_init__(self) -> None:
        """Raises ValueError, with a sentence for people, if it makes no sense."""
        if self.profile not in PROFILES:
            raise ValueError(f"There is no profile '{self.profile}', only {' and '.join(PROFILES)}.")
        if not 1 <= self.threads <= MOST_THREADS:
            raise ValueError(f"A daemon here has 1 to {MOST_THREADS} threads, not {self.threads}.")
        if not 0 <= self.uid < NO_UID:
            raise ValueError(f"A uid is a number from 0 to {NO_UID - 1}, not {self.uid}.")
        self._check_path()

    def _check_path(self) -> None:
        path = self.path
        if not path.startswith("/") or path != posixpath.normpath(path) or path.startswith("//"):
            raise ValueError(f"The path has to be absolute and plain, such as /mnt/fuse/file, not {path!r}.")
        if self.mountpoint == "/" or not path.isprintable():
            raise ValueError(f"The path has to name a file in the directory of a mount, not {path!r}.")
        if len(self.name.encode()) > LONGEST_NAME:
            raise ValueError(f"A name has at most {LONGEST_NAME} bytes, and this one has {len(self.name.encode())}.")

    def with_threads(self, least: int) -> Options:
        """The same with so many threads at least."""
        return replace(self, threads=max(self.threads, least))

    @property
    def mountpoint(self) -> str:
        return posixpath.dirname(self.path)

    @property
    def name(self) -> str:
        return posixpath.basename(self.path)

    @property
    def of_2005(self) -> bool:
        return not self.kernel.interrupts

    @property
    def kernel(self) -> Profile:
        """The kernel that is asked for."""
        return PROFILES[self.profile]


@dataclass(frozen=True)
class Explanation:
    """One thing that can be explained."""

    name: str
    summary: str  # one line, for a list of them
    play: Callable[[Director, Options], None]
    group: str  # under which it is listed
    detail: Detail = EVERYTHING  # what is drawn of it, and in which words
    also: frozenset[str] = frozenset()  # steps that are drawn too where it is not as in kernel.txt
    today: Mapping[str | tuple[str, str], str] = field(default_factory=dict)  # other words in the profile 'linux'
    remark: str = ""  # what there is to say below the drawing
    profiles: tuple[str, ...] = tuple(PROFILES)  # in which it can be played
    profile: str = "linux"  # in which it is, unless another is asked for
    threads: int = 1  # with how many it has to be played at least

    def detail_for(self, options: Options) -> Detail:
        """Return what is drawn, and in which words."""
        detail = self.detail
        if detail.steps is not None and (options.threads > 1 or not options.of_2005):
            detail = replace(detail, steps=detail.steps | self.also)
        return detail if options.of_2005 else replace(detail, words={**detail.words, **self.today})
