"""Every flag set of the ABI, and the constants that are no flags.

The names are C's (include/uapi/linux/fuse.h), so that what a header, a manual page or strace says
can be searched for here. A set is a class of plain ints: a wire field stays an int and is tested
with `&`, which costs a fraction of making an enum member. `text` serves people.

    >>> OpenFlags.text(OpenFlags.FOPEN_KEEP_CACHE | 1 << 20)
    'FOPEN_KEEP_CACHE|0x100000'
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "FUSE_CTL_SUPER_MAGIC",
    "FUSE_DEV_IOC_BACKING_CLOSE",
    "FUSE_DEV_IOC_BACKING_OPEN",
    "FUSE_DEV_IOC_CLONE",
    "FUSE_DEV_IOC_MAGIC",
    "FUSE_DEV_IOC_SYNC_INIT",
    "FUSE_INT_REQ_BIT",
    "FUSE_INVALID_UIDGID",
    "FUSE_IOCTL_MAX_IOV",
    "FUSE_KERNEL_MINOR_VERSION",
    "FUSE_KERNEL_VERSION",
    "FUSE_MAX_ERRNO",
    "FUSE_MIN_READ_BUFFER",
    "FUSE_NAME_MAX",
    "FUSE_ROOT_ID",
    "FUSE_SUPER_MAGIC",
    "FUSE_UNIQUE_RESEND",
    "FUSE_URING_IN_OUT_HEADER_SZ",
    "FUSE_URING_OP_IN_OUT_SZ",
    "AttrFlags",
    "ExpireFlags",
    "ExtensionType",
    "FallocateFlags",
    "FlagSet",
    "FsyncFlags",
    "GetattrFlags",
    "InitFlags",
    "IoctlFlags",
    "LockFlags",
    "OpenFlags",
    "OpenInFlags",
    "PollFlags",
    "ReadFlags",
    "ReleaseFlags",
    "RenameFlags",
    "SetattrValid",
    "SetupmappingFlags",
    "SetxattrFlags",
    "StatxMask",
    "UringCommand",
    "WriteFlags",
    "join_init_flags",
    "split_init_flags",
]

FUSE_KERNEL_VERSION = 7
FUSE_KERNEL_MINOR_VERSION = 45
FUSE_ROOT_ID = 1
FUSE_MIN_READ_BUFFER = 8192  # bytes; the device refuses to be read with less
FUSE_INT_REQ_BIT = 1  # of `unique`: an INTERRUPT of the request without it (fs/fuse/dev.c)
FUSE_UNIQUE_RESEND = 1 << 63  # of `unique`: this request was sent before
FUSE_INVALID_UIDGID = 0xFFFFFFFF  # uid and gid of a request from an idmapped mount
FUSE_MAX_ERRNO = 511  # the device refuses larger ones, which mean "restart" inside the kernel
FUSE_NAME_MAX = 4095  # bytes; 1024 if FUSE_MAX_PAGES was not negotiated
FUSE_IOCTL_MAX_IOV = 256
FUSE_URING_IN_OUT_HEADER_SZ = 128  # bytes of UringReqHeader.in_out
FUSE_URING_OP_IN_OUT_SZ = 128
FUSE_SUPER_MAGIC = 0x65735546
FUSE_CTL_SUPER_MAGIC = 0x65735543

# The device's ioctls, as every architecture but alpha, mips, powerpc and sparc numbers them.
FUSE_DEV_IOC_MAGIC = 229
FUSE_DEV_IOC_CLONE = 0x8004E500
FUSE_DEV_IOC_BACKING_OPEN = 0x4010E501
FUSE_DEV_IOC_BACKING_CLOSE = 0x4004E502
FUSE_DEV_IOC_SYNC_INIT = 0xE503


class FlagSet:
    """Base of the flag sets: the names of the bits that are set in a value."""

    BITS: ClassVar[dict[int, str]]

    def __init_subclass__(cls) -> None:
        values = vars(cls).items()  # with Python's own among them: 3.13 puts a __firstlineno__ into every class
        cls.BITS = {value: name for name, value in values if isinstance(value, int) and not name.startswith("_")}

    @classmethod
    def names(cls, value: int) -> list[str]:
        """Return the C names of the bits of `value`, lowest first; bits without a name are left out."""
        return [name for bit, name in cls.BITS.items() if value & bit]

    @classmethod
    def text(cls, value: int) -> str:
        """Return `value` as C would write it: `FOPEN_DIRECT_IO|FOPEN_STREAM`, unknown bits in hex, or `0`."""
        unknown = value & ~sum(cls.BITS)
        words = cls.names(value) + ([f"{unknown:#x}"] if unknown else [])
        return "|".join(words) or "0"


class InitFlags(FlagSet):
    """What INIT offers and its reply chooses: 64 bits, on the wire in `flags` and `flags2`."""

    FUSE_ASYNC_READ = 1 << 0
    FUSE_POSIX_LOCKS = 1 << 1
    FUSE_FILE_OPS = 1 << 2
    FUSE_ATOMIC_O_TRUNC = 1 << 3
    FUSE_EXPORT_SUPPORT = 1 << 4
    FUSE_BIG_WRITES = 1 << 5
    FUSE_DONT_MASK = 1 << 6
    FUSE_SPLICE_WRITE = 1 << 7
    FUSE_SPLICE_MOVE = 1 << 8
    FUSE_SPLICE_READ = 1 << 9
    FUSE_FLOCK_LOCKS = 1 << 10
    FUSE_HAS_IOCTL_DIR = 1 << 11
    FUSE_AUTO_INVAL_DATA = 1 << 12
    FUSE_DO_READDIRPLUS = 1 << 13
    FUSE_READDIRPLUS_AUTO = 1 << 14
    FUSE_ASYNC_DIO = 1 << 15
    FUSE_WRITEBACK_CACHE = 1 << 16
    FUSE_NO_OPEN_SUPPORT = 1 << 17
    FUSE_PARALLEL_DIROPS = 1 << 18
    FUSE_HANDLE_KILLPRIV = 1 << 19
    FUSE_POSIX_ACL = 1 << 20
    FUSE_ABORT_ERROR = 1 << 21
    FUSE_MAX_PAGES = 1 << 22
    FUSE_CACHE_SYMLINKS = 1 << 23
    FUSE_NO_OPENDIR_SUPPORT = 1 << 24
    FUSE_EXPLICIT_INVAL_DATA = 1 << 25
    FUSE_MAP_ALIGNMENT = 1 << 26
    FUSE_SUBMOUNTS = 1 << 27
    FUSE_HANDLE_KILLPRIV_V2 = 1 << 28
    FUSE_SETXATTR_EXT = 1 << 29
    FUSE_INIT_EXT = 1 << 30
    FUSE_INIT_RESERVED = 1 << 31
    FUSE_SECURITY_CTX = 1 << 32
    FUSE_HAS_INODE_DAX = 1 << 33
    FUSE_CREATE_SUPP_GROUP = 1 << 34
    FUSE_HAS_EXPIRE_ONLY = 1 << 35
    FUSE_DIRECT_IO_ALLOW_MMAP = 1 << 36
    FUSE_PASSTHROUGH = 1 << 37
    FUSE_NO_EXPORT_SUPPORT = 1 << 38
    FUSE_HAS_RESEND = 1 << 39
    FUSE_ALLOW_IDMAP = 1 << 40
    FUSE_OVER_IO_URING = 1 << 41
    FUSE_REQUEST_TIMEOUT = 1 << 42


def join_init_flags(flags: int, flags2: int) -> int:
    """Return the 64 bits of `InitFlags`; `flags2` counts only beside FUSE_INIT_EXT."""
    return flags | flags2 << 32 if flags & InitFlags.FUSE_INIT_EXT else flags


def split_init_flags(value: int) -> tuple[int, int]:
    """Return `flags` and `flags2` of 64 bits, with FUSE_INIT_EXT added if the second needs it."""
    low, high = value & 0xFFFFFFFF, value >> 32
    return (low | InitFlags.FUSE_INIT_EXT if high else low), high


class OpenFlags(FlagSet):
    """What the reply of OPEN, OPENDIR, CREATE and TMPFILE says of the open file."""

    FOPEN_DIRECT_IO = 1 << 0
    FOPEN_KEEP_CACHE = 1 << 1
    FOPEN_NONSEEKABLE = 1 << 2
    FOPEN_CACHE_DIR = 1 << 3
    FOPEN_STREAM = 1 << 4
    FOPEN_NOFLUSH = 1 << 5
    FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6
    FOPEN_PASSTHROUGH = 1 << 7


class OpenInFlags(FlagSet):
    """`open_flags` of OPEN and CREATE."""

    FUSE_OPEN_KILL_SUIDGID = 1 << 0


class AttrFlags(FlagSet):
    """`flags` of an `Attr`."""

    FUSE_ATTR_SUBMOUNT = 1 << 0
    FUSE_ATTR_DAX = 1 << 1


class GetattrFlags(FlagSet):
    """`getattr_flags` of GETATTR and STATX."""

    FUSE_GETATTR_FH = 1 << 0


class SetattrValid(FlagSet):
    """`valid` of SETATTR: what is to be changed, and how."""

    FATTR_MODE = 1 << 0
    FATTR_UID = 1 << 1
    FATTR_GID = 1 << 2
    FATTR_SIZE = 1 << 3
    FATTR_ATIME = 1 << 4
    FATTR_MTIME = 1 << 5
    FATTR_FH = 1 << 6
    FATTR_ATIME_NOW = 1 << 7
    FATTR_MTIME_NOW = 1 << 8
    FATTR_LOCKOWNER = 1 << 9
    FATTR_CTIME = 1 << 10
    FATTR_KILL_SUIDGID = 1 << 11


class StatxMask(FlagSet):
    """`mask` of a `Statx`, `sx_mask` of STATX (include/uapi/linux/stat.h)."""

    STATX_TYPE = 1 << 0
    STATX_MODE = 1 << 1
    STATX_NLINK = 1 << 2
    STATX_UID = 1 << 3
    STATX_GID = 1 << 4
    STATX_ATIME = 1 << 5
    STATX_MTIME = 1 << 6
    STATX_CTIME = 1 << 7
    STATX_INO = 1 << 8
    STATX_SIZE = 1 << 9
    STATX_BLOCKS = 1 << 10
    STATX_BTIME = 1 << 11


class ReadFlags(FlagSet):
    """`read_flags` of READ."""

    FUSE_READ_LOCKOWNER = 1 << 1


class WriteFlags(FlagSet):
    """`write_flags` of WRITE."""

    FUSE_WRITE_CACHE = 1 << 0
    FUSE_WRITE_LOCKOWNER = 1 << 1
    FUSE_WRITE_KILL_SUIDGID = 1 << 2


class ReleaseFlags(FlagSet):
    """`release_flags` of RELEASE."""

    FUSE_RELEASE_FLUSH = 1 << 0
    FUSE_RELEASE_FLOCK_UNLOCK = 1 << 1


class FsyncFlags(FlagSet):
    """`fsync_flags` of FSYNC and FSYNCDIR."""

    FUSE_FSYNC_FDATASYNC = 1 << 0


class LockFlags(FlagSet):
    """`lk_flags` of GETLK, SETLK and SETLKW."""

    FUSE_LK_FLOCK = 1 << 0


class SetxattrFlags(FlagSet):
    """`setxattr_flags` of SETXATTR."""

    FUSE_SETXATTR_ACL_KILL_SGID = 1 << 0


class RenameFlags(FlagSet):
    """`flags` of RENAME2 (include/uapi/linux/fs.h)."""

    RENAME_NOREPLACE = 1 << 0
    RENAME_EXCHANGE = 1 << 1
    RENAME_WHITEOUT = 1 << 2


class FallocateFlags(FlagSet):
    """`mode` of FALLOCATE (include/uapi/linux/falloc.h). The kernel sends the first, second and fifth."""

    FALLOC_FL_KEEP_SIZE = 1 << 0
    FALLOC_FL_PUNCH_HOLE = 1 << 1
    FALLOC_FL_NO_HIDE_STALE = 1 << 2
    FALLOC_FL_COLLAPSE_RANGE = 1 << 3
    FALLOC_FL_ZERO_RANGE = 1 << 4
    FALLOC_FL_INSERT_RANGE = 1 << 5
    FALLOC_FL_UNSHARE_RANGE = 1 << 6


class IoctlFlags(FlagSet):
    """`flags` of IOCTL and of its reply."""

    FUSE_IOCTL_COMPAT = 1 << 0
    FUSE_IOCTL_UNRESTRICTED = 1 << 1
    FUSE_IOCTL_RETRY = 1 << 2
    FUSE_IOCTL_32BIT = 1 << 3
    FUSE_IOCTL_DIR = 1 << 4
    FUSE_IOCTL_COMPAT_X32 = 1 << 5


class PollFlags(FlagSet):
    """`flags` of POLL."""

    FUSE_POLL_SCHEDULE_NOTIFY = 1 << 0


class SetupmappingFlags(FlagSet):
    """`flags` of SETUPMAPPING."""

    FUSE_SETUPMAPPING_FLAG_WRITE = 1 << 0
    FUSE_SETUPMAPPING_FLAG_READ = 1 << 1


class ExpireFlags(FlagSet):
    """`flags` of the INVAL_ENTRY notification."""

    FUSE_EXPIRE_ONLY = 1 << 0


class ExtensionType:
    """`type` of an extension: numbers, not bits. Up to the first, it is a count of security contexts."""

    FUSE_MAX_NR_SECCTX = 31
    FUSE_EXT_GROUPS = 32


class UringCommand:
    """`cmd_op` of an io_uring command on the device: numbers, not bits."""

    FUSE_IO_URING_CMD_INVALID = 0
    FUSE_IO_URING_CMD_REGISTER = 1
    FUSE_IO_URING_CMD_COMMIT_AND_FETCH = 2
