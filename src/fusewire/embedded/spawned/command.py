"""What is to be spawned: a command, in whose words {mountpoint} stands for where it is to mount."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fusewire.daemon.filesystem import Filesystem

__all__ = [
    "DESCRIPTOR",
    "FUSERMOUNT3",
    "MOUNTPOINT",
    "THROUGH",
    "Command",
    "Elsewhere",
    "SpawnError",
    "checked_command",
]

MOUNTPOINT: Final = "{mountpoint}"
DESCRIPTOR: Final = "descriptor"
FUSERMOUNT3: Final = "fusermount3"
THROUGH: Final = (DESCRIPTOR, FUSERMOUNT3)


class SpawnError(OSError):
    """A daemon does not serve. `str()` says why, for people, with what it has written; `errno` is for programs."""

    def __init__(self, code: int, text: str, output: str = "") -> None:
        super().__init__(code, text)
        self.output = output

    def __str__(self) -> str:
        return str(self.strerror)


@dataclass(frozen=True, slots=True)
class Command:
    """A daemon, as it was asked for."""

    words: tuple[str, ...]
    ways: tuple[str, ...]  # of THROUGH, in which it is tried
    environment: Mapping[str, str] | None  # None: ours
    directory: str | None  # in which it is started; None: ours
    patience: float  # seconds that it gets to answer INIT
    request_timeout: int  # seconds that a request may last; 0 if for ever

    @property
    def name(self) -> str:
        """What people call it."""
        return os.path.basename(self.words[0])

    def on(self, mountpoint: str) -> list[str]:
        """Return its words, for a mountpoint."""
        return [word.replace(MOUNTPOINT, mountpoint) for word in self.words]

    def __str__(self) -> str:
        return shlex.join(self.words)


class Elsewhere(Filesystem):
    """Stands for a filesystem that is in another process."""

    def __init__(self, command: Command) -> None:
        self.command = command

    def __repr__(self) -> str:
        return f"<{self.command}>"


def checked_command(
    words: Sequence[str | os.PathLike[str]],
    through: str | None,
    environment: Mapping[str, str] | None,
    directory: str | os.PathLike[str] | None,
    patience: float,
    request_timeout: int,
) -> Command:
    """Put together what was asked for.

    Raises:
        TypeError: the command is one string, or has words that are no text.
        ValueError: it is empty, or has no {mountpoint}; or there is no such way.
    """
    if isinstance(words, str | bytes):
        raise TypeError(
            f"{words!r}: a command is a list of words, such as ['squashfuse', '-f', 'image', {MOUNTPOINT!r}]"
        )
    texts = tuple(os.fspath(word) for word in words)
    if not texts or not all(isinstance(word, str) for word in texts):
        raise TypeError(f"{words!r}: a command is a list of words, of which the first is the program")
    if not any(MOUNTPOINT in word for word in texts):
        raise ValueError(f"{shlex.join(texts)}: write {MOUNTPOINT} where the daemon is told where to mount")
    if through is not None and through not in THROUGH:
        raise ValueError(f"through={through!r}: there are {', '.join(map(repr, THROUGH))}")
    if patience <= 0 or request_timeout < 0:
        raise ValueError(f"patience={patience!r}, request_timeout={request_timeout!r}: they are numbers of seconds")
    where = None if directory is None else os.fspath(directory)
    return Command(texts, THROUGH if through is None else (through,), environment, where, patience, request_timeout)
