"""How long the kernel may keep what it is told: who decides, and how the wire says it.

A mount's option wins, then what a value says for itself, then the filesystem's default.
The common cases are split into seconds and nanoseconds once, not for each reply.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

__all__ = ["Timeouts"]

Valid: TypeAlias = tuple[int, int]  # seconds, nanoseconds
FOREVER: Valid = ((1 << 63) - 1, 0)


def split(seconds: float) -> Valid:
    """Split a timeout for the wire. Negative is 0; infinite is as long as the wire can say."""
    if seconds >= FOREVER[0]:
        return FOREVER
    nanoseconds = max(0, round(seconds * 1e9))
    return divmod(nanoseconds, 1_000_000_000)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The mount's options, in seconds (None: not given), and the filesystem's defaults below them."""

    entry_timeout: float | None = None
    attr_timeout: float | None = None
    negative_timeout: float | None = None
    defaults: tuple[Valid, Valid, Valid] = ((1, 0), (1, 0), (0, 0))  # of a name, of attributes, of no such name

    def defaulting_to(self, entry_timeout: float, attr_timeout: float, negative_timeout: float) -> Timeouts:
        """Return these, with the filesystem's where an option is not given."""
        pairs = (
            (self.entry_timeout, entry_timeout),
            (self.attr_timeout, attr_timeout),
            (self.negative_timeout, negative_timeout),
        )
        entry, attr, negative = (split(default if option is None else option) for option, default in pairs)
        return replace(self, defaults=(entry, attr, negative))

    def entry(self, said: float | None) -> Valid:
        """For a name of which the filesystem `said` this."""
        return self.defaults[0] if said is None or self.entry_timeout is not None else split(said)

    def attr(self, said: float | None) -> Valid:
        """For attributes of which the filesystem `said` this."""
        return self.defaults[1] if said is None or self.attr_timeout is not None else split(said)

    def negative(self, said: float | None) -> Valid:
        """For a name that does not exist, of which the filesystem `said` this."""
        return self.defaults[2] if said is None or self.negative_timeout is not None else split(said)
