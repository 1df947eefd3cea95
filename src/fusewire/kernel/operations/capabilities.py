"""security.capability: what a program may do whoever runs it. The kernel looks at the value.

    magic u32 | permitted u32, inheritable u32, twice | in version 3: the root user of a namespace u32

Whoever reads it is shown a list that means something to him: that of a namespace whose root he is,
as version 2. To set it takes a privilege, and the value must look like one.

Not modelled: user namespaces other than the first.

Source: security/commoncap.c, cap_inode_getsecurity, cap_convert_nscap.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.operations.xattr import fuse_getxattr, xattr_length
from fusewire.kernel.vfs.credentials import credentials

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode

__all__ = ["CAPABILITIES", "check_capabilities", "read_capabilities"]

CAPABILITIES: Final = b"security.capability"
REVISION_MASK: Final = 0xFF000000
SIZES: Final = {0x02000000: 20, 0x03000000: 24}  # bytes of each version
WORD: Final = struct.Struct("<I")


def check_capabilities(value: bytes) -> None:
    """Check a value that is to be set.

    Raises:
        OSError: EINVAL if it is none, EPERM for the unprivileged.
    """
    if not _well_formed(value):
        raise os_error(errno.EINVAL)
    if not credentials().privileged:
        raise os_error(errno.EPERM)


async def read_capabilities(inode: Inode) -> bytes:
    """Return the value as a reader is shown it. Two GETXATTRs are sent, the first for its length.

    Raises:
        OSError: EINVAL if the daemon's value is none; as `fuse_getxattr`.
    """
    length = await xattr_length(inode, CAPABILITIES)
    value = await fuse_getxattr(inode, CAPABILITIES, length) if length else b""
    if not _well_formed(value):
        raise os_error(errno.EINVAL)
    return _as_version_2(value)


def _well_formed(value: bytes) -> bool:
    return len(value) >= WORD.size and SIZES.get(WORD.unpack_from(value)[0] & REVISION_MASK) == len(value)


def _as_version_2(value: bytes) -> bytes:
    magic = WORD.unpack_from(value)[0]
    if len(value) == SIZES[0x02000000] or WORD.unpack_from(value, 20)[0] != 0:
        return value
    return WORD.pack(0x02000000 | magic & ~REVISION_MASK) + value[4:20]
