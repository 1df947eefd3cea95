"""What a daemon wrote that it should not have: one record for each write that was refused.

Each rule has the number it has here; the device checks them in this order. Some are harmless, and
the daemon may write again; after others the request is over.

      2  fewer bytes than a header            EINVAL
      3  the header cannot be read            EFAULT
      4  its `len` is not what was written    EINVAL
      5  a notification that is refused       as the notification says
      6  an errno that is none                EINVAL
      7  nobody waits for this unique         ENOENT
      8  no answer to an INTERRUPT            EINVAL
      9  an error, and something after it     EINVAL, and the caller gets EIO
     10  a reply of another length            EINVAL, and the caller gets EIO
     11  the reply cannot be read             EFAULT, and the caller gets EIO

Source: fs/fuse/dev.c, fuse_dev_do_write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["MOST", "Violation"]

MOST: Final = 10_000  # are kept, the first ones


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a write broke."""

    rule: int
    text: str  # what was wrong, for people
    unique: int  # as it was written; 0 if it could not be read, or of a notification
    errno: int  # what the write was refused with
