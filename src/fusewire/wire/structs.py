"""Every struct of the ABI, 7.45, in the order of its header.

A class drops the `fuse_` of its C struct and keeps the header's spelling of every field
(include/uapi/linux/fuse.h). `_in` travels from the kernel to the daemon, `_out` back, whatever the
message. Names, data and lists that follow a struct are no part of it: `operations` says what
follows which, `message` puts the whole together.

Every field has a default of 0, so that a message names only what it says. (Annotations are not
postponed here: evaluating six hundred strings would add 10 ms to every start.)
"""

from dataclasses import field
from typing import ClassVar

from fusewire.wire.layout import (
    WireStruct,
    i32,
    i64,
    pad2,
    pad4,
    pad6,
    pad8,
    pad16,
    pad22,
    pad24,
    pad44,
    pad112,
    pad128,
    u16,
    u32,
    u64,
    wire_struct,
)

__all__ = [
    "AccessIn",
    "Attr",
    "AttrOut",
    "BackingMap",
    "BatchForgetIn",
    "BmapIn",
    "BmapOut",
    "CopyFileRangeIn",
    "CopyFileRangeOut",
    "CreateIn",
    "Dirent",
    "Direntplus",
    "EntryOut",
    "ExtHeader",
    "FallocateIn",
    "FileLock",
    "FlushIn",
    "ForgetIn",
    "ForgetOne",
    "FsyncIn",
    "GetattrIn",
    "GetxattrIn",
    "GetxattrOut",
    "InHeader",
    "InitIn",
    "InitOut",
    "InterruptIn",
    "IoctlIn",
    "IoctlIovec",
    "IoctlOut",
    "Kstatfs",
    "LinkIn",
    "LkIn",
    "LkOut",
    "LseekIn",
    "LseekOut",
    "MkdirIn",
    "MknodIn",
    "NotifyDeleteOut",
    "NotifyInvalEntryOut",
    "NotifyInvalInodeOut",
    "NotifyPollWakeupOut",
    "NotifyPruneOut",
    "NotifyRetrieveIn",
    "NotifyRetrieveOut",
    "NotifyStoreOut",
    "OpenIn",
    "OpenOut",
    "OutHeader",
    "PollIn",
    "PollOut",
    "ReadIn",
    "ReleaseIn",
    "RemovemappingIn",
    "RemovemappingOne",
    "Rename2In",
    "RenameIn",
    "Secctx",
    "SecctxHeader",
    "SetattrIn",
    "SetupmappingIn",
    "SetxattrIn",
    "StatfsOut",
    "Statx",
    "StatxIn",
    "StatxOut",
    "SuppGroups",
    "SxTime",
    "SyncfsIn",
    "UringCmdReq",
    "UringEntInOut",
    "UringReqHeader",
    "WriteIn",
    "WriteOut",
]


@wire_struct
class InHeader(WireStruct):
    """Start of every request (fuse_in_header)."""

    len: u32 = 0  # of the whole message
    opcode: u32 = 0
    unique: u64 = 0
    nodeid: u64 = 0
    uid: u32 = 0
    gid: u32 = 0
    pid: u32 = 0
    total_extlen: u16 = 0  # of the extensions at the message's end, in units of 8 bytes
    _padding: ClassVar[pad2]


@wire_struct
class OutHeader(WireStruct):
    """Start of every reply and notification (fuse_out_header)."""

    len: u32 = 0  # of the whole message
    error: i32 = 0  # 0, or -errno; the positive code of a notification
    unique: u64 = 0  # 0 in a notification


@wire_struct
class Attr(WireStruct):
    """Attributes of an inode (fuse_attr)."""

    ino: u64 = 0
    size: u64 = 0
    blocks: u64 = 0  # of 512 bytes
    atime: u64 = 0  # seconds since 1970, two's complement
    mtime: u64 = 0
    ctime: u64 = 0
    atimensec: u32 = 0
    mtimensec: u32 = 0
    ctimensec: u32 = 0
    mode: u32 = 0
    nlink: u32 = 0
    uid: u32 = 0
    gid: u32 = 0
    rdev: u32 = 0
    blksize: u32 = 0
    flags: u32 = 0  # AttrFlags


@wire_struct
class SxTime(WireStruct):
    """A time of STATX (fuse_sx_time)."""

    tv_sec: i64 = 0
    tv_nsec: u32 = 0
    _reserved: ClassVar[pad4]


@wire_struct
class Statx(WireStruct):
    """Attributes of an inode, as statx(2) has them (fuse_statx)."""

    mask: u32 = 0  # StatxMask: the fields that are filled in
    blksize: u32 = 0
    attributes: u64 = 0
    nlink: u32 = 0
    uid: u32 = 0
    gid: u32 = 0
    mode: u16 = 0
    _spare0: ClassVar[pad2]
    ino: u64 = 0
    size: u64 = 0
    blocks: u64 = 0
    attributes_mask: u64 = 0
    atime: SxTime = field(default_factory=SxTime)
    btime: SxTime = field(default_factory=SxTime)
    ctime: SxTime = field(default_factory=SxTime)
    mtime: SxTime = field(default_factory=SxTime)
    rdev_major: u32 = 0
    rdev_minor: u32 = 0
    dev_major: u32 = 0
    dev_minor: u32 = 0
    _spare2: ClassVar[pad112]


@wire_struct
class Kstatfs(WireStruct):
    """Size and use of a filesystem (fuse_kstatfs)."""

    blocks: u64 = 0  # of frsize bytes, as bfree and bavail
    bfree: u64 = 0
    bavail: u64 = 0
    files: u64 = 0
    ffree: u64 = 0
    bsize: u32 = 0
    namelen: u32 = 0
    frsize: u32 = 0
    _padding: ClassVar[pad4]
    _spare: ClassVar[pad24]


@wire_struct
class FileLock(WireStruct):
    """One lock of fcntl(2) or flock(2) (fuse_file_lock)."""

    start: u64 = 0
    end: u64 = 0  # the last byte, inclusive; 2**63-1 to the end of the file
    type: u32 = 0  # F_RDLCK, F_WRLCK or F_UNLCK
    pid: u32 = 0


@wire_struct
class EntryOut(WireStruct):
    """An inode that was looked up or made, and its timeouts (fuse_entry_out)."""

    SIZES = {8: 120}

    nodeid: u64 = 0  # 0: there is no such name, and that may be cached
    generation: u64 = 0
    entry_valid: u64 = 0  # seconds that the name may be cached
    attr_valid: u64 = 0  # seconds that the attributes may be cached
    entry_valid_nsec: u32 = 0
    attr_valid_nsec: u32 = 0
    attr: Attr = field(default_factory=Attr)


@wire_struct
class ForgetIn(WireStruct):
    """Body of FORGET (fuse_forget_in)."""

    nlookup: u64 = 0


@wire_struct
class ForgetOne(WireStruct):
    """One record of BATCH_FORGET (fuse_forget_one)."""

    nodeid: u64 = 0
    nlookup: u64 = 0


@wire_struct
class BatchForgetIn(WireStruct):
    """Body of BATCH_FORGET; `count` ForgetOne follow (fuse_batch_forget_in)."""

    count: u32 = 0
    _dummy: ClassVar[pad4]


@wire_struct
class GetattrIn(WireStruct):
    """Body of GETATTR (fuse_getattr_in)."""

    getattr_flags: u32 = 0  # GetattrFlags
    _dummy: ClassVar[pad4]
    fh: u64 = 0


@wire_struct
class AttrOut(WireStruct):
    """Reply of GETATTR and SETATTR (fuse_attr_out)."""

    SIZES = {8: 96}

    attr_valid: u64 = 0  # seconds that the attributes may be cached
    attr_valid_nsec: u32 = 0
    _dummy: ClassVar[pad4]
    attr: Attr = field(default_factory=Attr)


@wire_struct
class StatxIn(WireStruct):
    """Body of STATX (fuse_statx_in)."""

    getattr_flags: u32 = 0  # GetattrFlags
    _reserved: ClassVar[pad4]
    fh: u64 = 0
    sx_flags: u32 = 0
    sx_mask: u32 = 0  # StatxMask


@wire_struct
class StatxOut(WireStruct):
    """Reply of STATX (fuse_statx_out)."""

    attr_valid: u64 = 0  # seconds that the attributes may be cached
    attr_valid_nsec: u32 = 0
    flags: u32 = 0
    _spare: ClassVar[pad16]
    stat: Statx = field(default_factory=Statx)


@wire_struct
class MknodIn(WireStruct):
    """Body of MKNOD; a name follows (fuse_mknod_in)."""

    SIZES = {11: 8}

    mode: u32 = 0
    rdev: u32 = 0
    umask: u32 = 0
    _padding: ClassVar[pad4]


@wire_struct
class MkdirIn(WireStruct):
    """Body of MKDIR; a name follows (fuse_mkdir_in)."""

    mode: u32 = 0
    umask: u32 = 0


@wire_struct
class RenameIn(WireStruct):
    """Body of RENAME; the old and the new name follow (fuse_rename_in)."""

    newdir: u64 = 0


@wire_struct
class Rename2In(WireStruct):
    """Body of RENAME2; the old and the new name follow (fuse_rename2_in)."""

    newdir: u64 = 0
    flags: u32 = 0  # RenameFlags
    _padding: ClassVar[pad4]


@wire_struct
class LinkIn(WireStruct):
    """Body of LINK; the new name follows (fuse_link_in)."""

    oldnodeid: u64 = 0


@wire_struct
class SetattrIn(WireStruct):
    """Body of SETATTR (fuse_setattr_in)."""

    valid: u32 = 0  # SetattrValid: the fields that are to be changed
    _padding: ClassVar[pad4]
    fh: u64 = 0
    size: u64 = 0
    lock_owner: u64 = 0
    atime: u64 = 0  # seconds since 1970, two's complement
    mtime: u64 = 0
    ctime: u64 = 0
    atimensec: u32 = 0
    mtimensec: u32 = 0
    ctimensec: u32 = 0
    mode: u32 = 0
    _unused4: ClassVar[pad4]
    uid: u32 = 0
    gid: u32 = 0
    _unused5: ClassVar[pad4]


@wire_struct
class OpenIn(WireStruct):
    """Body of OPEN and OPENDIR (fuse_open_in)."""

    flags: u32 = 0  # of open(2)
    open_flags: u32 = 0  # OpenInFlags


@wire_struct
class CreateIn(WireStruct):
    """Body of CREATE and TMPFILE; a name follows (fuse_create_in)."""

    SIZES = {11: 8}

    flags: u32 = 0  # of open(2)
    mode: u32 = 0
    umask: u32 = 0
    open_flags: u32 = 0  # OpenInFlags


@wire_struct
class OpenOut(WireStruct):
    """Reply of OPEN and OPENDIR, end of that of CREATE and TMPFILE (fuse_open_out)."""

    fh: u64 = 0
    open_flags: u32 = 0  # OpenFlags
    backing_id: i32 = 0


@wire_struct
class ReleaseIn(WireStruct):
    """Body of RELEASE and RELEASEDIR (fuse_release_in)."""

    fh: u64 = 0
    flags: u32 = 0  # of open(2)
    release_flags: u32 = 0  # ReleaseFlags
    lock_owner: u64 = 0


@wire_struct
class FlushIn(WireStruct):
    """Body of FLUSH (fuse_flush_in)."""

    fh: u64 = 0
    _unused: ClassVar[pad4]
    _padding: ClassVar[pad4]
    lock_owner: u64 = 0


@wire_struct
class ReadIn(WireStruct):
    """Body of READ, READDIR and READDIRPLUS (fuse_read_in)."""

    fh: u64 = 0
    offset: u64 = 0
    size: u32 = 0
    read_flags: u32 = 0  # ReadFlags
    lock_owner: u64 = 0
    flags: u32 = 0  # of open(2)
    _padding: ClassVar[pad4]


@wire_struct
class WriteIn(WireStruct):
    """Body of WRITE; `size` bytes follow (fuse_write_in)."""

    SIZES = {8: 24}

    fh: u64 = 0
    offset: u64 = 0
    size: u32 = 0
    write_flags: u32 = 0  # WriteFlags
    lock_owner: u64 = 0
    flags: u32 = 0  # of open(2)
    _padding: ClassVar[pad4]


@wire_struct
class WriteOut(WireStruct):
    """Reply of WRITE and COPY_FILE_RANGE (fuse_write_out)."""

    size: u32 = 0
    _padding: ClassVar[pad4]


@wire_struct
class StatfsOut(WireStruct):
    """Reply of STATFS (fuse_statfs_out)."""

    SIZES = {3: 48}

    st: Kstatfs = field(default_factory=Kstatfs)


@wire_struct
class FsyncIn(WireStruct):
    """Body of FSYNC and FSYNCDIR (fuse_fsync_in)."""

    fh: u64 = 0
    fsync_flags: u32 = 0  # FsyncFlags
    _padding: ClassVar[pad4]


@wire_struct
class SetxattrIn(WireStruct):
    """Body of SETXATTR; a name and `size` bytes follow (fuse_setxattr_in).

    Its first `COMPAT_SIZE` bytes alone travel unless FUSE_SETXATTR_EXT was negotiated,
    whatever the minor (FUSE_COMPAT_SETXATTR_IN_SIZE).
    """

    COMPAT_SIZE = 8

    size: u32 = 0
    flags: u32 = 0  # XATTR_CREATE, XATTR_REPLACE
    setxattr_flags: u32 = 0  # SetxattrFlags
    _padding: ClassVar[pad4]


@wire_struct
class GetxattrIn(WireStruct):
    """Body of GETXATTR, where a name follows, and of LISTXATTR (fuse_getxattr_in)."""

    size: u32 = 0  # 0 asks how long the value is
    _padding: ClassVar[pad4]


@wire_struct
class GetxattrOut(WireStruct):
    """Reply of GETXATTR and LISTXATTR when `size` was 0 (fuse_getxattr_out)."""

    size: u32 = 0
    _padding: ClassVar[pad4]


@wire_struct
class LkIn(WireStruct):
    """Body of GETLK, SETLK and SETLKW (fuse_lk_in)."""

    fh: u64 = 0
    owner: u64 = 0
    lk: FileLock = field(default_factory=FileLock)
    lk_flags: u32 = 0  # LockFlags
    _padding: ClassVar[pad4]


@wire_struct
class LkOut(WireStruct):
    """Reply of GETLK (fuse_lk_out)."""

    lk: FileLock = field(default_factory=FileLock)


@wire_struct
class AccessIn(WireStruct):
    """Body of ACCESS (fuse_access_in)."""

    mask: u32 = 0  # R_OK, W_OK, X_OK
    _padding: ClassVar[pad4]


@wire_struct
class InitIn(WireStruct):
    """Body of INIT (fuse_init_in). Its minor is the kernel's own: read it at any of its sizes."""

    SIZES = {5: 8, 35: 16}

    major: u32 = 0
    minor: u32 = 0
    max_readahead: u32 = 0
    flags: u32 = 0  # InitFlags, bits 0-31
    flags2: u32 = 0  # InitFlags, bits 32-63; only valid beside FUSE_INIT_EXT
    _unused: ClassVar[pad44]


@wire_struct
class InitOut(WireStruct):
    """Reply of INIT (fuse_init_out)."""

    SIZES = {4: 8, 22: 24}

    major: u32 = 0
    minor: u32 = 0
    max_readahead: u32 = 0
    flags: u32 = 0  # InitFlags, bits 0-31
    max_background: u16 = 0
    congestion_threshold: u16 = 0
    max_write: u32 = 0
    time_gran: u32 = 0  # nanoseconds
    max_pages: u16 = 0
    map_alignment: u16 = 0
    flags2: u32 = 0  # InitFlags, bits 32-63; only valid beside FUSE_INIT_EXT
    max_stack_depth: u32 = 0
    request_timeout: u16 = 0  # seconds
    _unused: ClassVar[pad22]


@wire_struct
class InterruptIn(WireStruct):
    """Body of INTERRUPT (fuse_interrupt_in)."""

    unique: u64 = 0  # of the request that is interrupted


@wire_struct
class BmapIn(WireStruct):
    """Body of BMAP (fuse_bmap_in)."""

    block: u64 = 0
    blocksize: u32 = 0
    _padding: ClassVar[pad4]


@wire_struct
class BmapOut(WireStruct):
    """Reply of BMAP (fuse_bmap_out)."""

    block: u64 = 0


@wire_struct
class IoctlIn(WireStruct):
    """Body of IOCTL; `in_size` bytes follow (fuse_ioctl_in)."""

    fh: u64 = 0
    flags: u32 = 0  # IoctlFlags
    cmd: u32 = 0
    arg: u64 = 0
    in_size: u32 = 0
    out_size: u32 = 0  # the most bytes that may come back


@wire_struct
class IoctlIovec(WireStruct):
    """A piece of the caller's memory, in a FUSE_IOCTL_RETRY reply (fuse_ioctl_iovec)."""

    base: u64 = 0
    len: u64 = 0


@wire_struct
class IoctlOut(WireStruct):
    """Start of IOCTL's reply; data follows (fuse_ioctl_out)."""

    result: i32 = 0
    flags: u32 = 0  # IoctlFlags
    in_iovs: u32 = 0
    out_iovs: u32 = 0


@wire_struct
class PollIn(WireStruct):
    """Body of POLL (fuse_poll_in)."""

    fh: u64 = 0
    kh: u64 = 0  # the kernel's handle, for the POLL notification
    flags: u32 = 0  # PollFlags
    events: u32 = 0


@wire_struct
class PollOut(WireStruct):
    """Reply of POLL (fuse_poll_out)."""

    revents: u32 = 0
    _padding: ClassVar[pad4]


@wire_struct
class NotifyPollWakeupOut(WireStruct):
    """Body of the POLL notification (fuse_notify_poll_wakeup_out)."""

    kh: u64 = 0


@wire_struct
class FallocateIn(WireStruct):
    """Body of FALLOCATE (fuse_fallocate_in)."""

    fh: u64 = 0
    offset: u64 = 0
    length: u64 = 0
    mode: u32 = 0  # FallocateFlags
    _padding: ClassVar[pad4]


@wire_struct
class Dirent(WireStruct):
    """One record of READDIR's reply; `namelen` bytes follow (fuse_dirent)."""

    ino: u64 = 0
    off: u64 = 0  # where the listing goes on after this record
    namelen: u32 = 0
    type: u32 = 0  # DT_REG...: the mode shifted right by 12


@wire_struct
class Direntplus(WireStruct):
    """One record of READDIRPLUS' reply; the name's bytes follow (fuse_direntplus)."""

    entry_out: EntryOut = field(default_factory=EntryOut)
    dirent: Dirent = field(default_factory=Dirent)


@wire_struct
class NotifyInvalInodeOut(WireStruct):
    """Body of the INVAL_INODE notification (fuse_notify_inval_inode_out)."""

    ino: u64 = 0  # a nodeid, whatever its name
    off: i64 = 0  # negative: the attributes alone
    len: i64 = 0  # 0 or less: to the end of the file


@wire_struct
class NotifyInvalEntryOut(WireStruct):
    """Body of the INVAL_ENTRY notification; a name follows (fuse_notify_inval_entry_out)."""

    parent: u64 = 0
    namelen: u32 = 0
    flags: u32 = 0  # ExpireFlags


@wire_struct
class NotifyDeleteOut(WireStruct):
    """Body of the DELETE notification; a name follows (fuse_notify_delete_out)."""

    parent: u64 = 0
    child: u64 = 0
    namelen: u32 = 0
    _padding: ClassVar[pad4]


@wire_struct
class NotifyStoreOut(WireStruct):
    """Body of the STORE notification; `size` bytes follow (fuse_notify_store_out)."""

    nodeid: u64 = 0
    offset: u64 = 0
    size: u32 = 0
    _padding: ClassVar[pad4]


@wire_struct
class NotifyRetrieveOut(WireStruct):
    """Body of the RETRIEVE notification (fuse_notify_retrieve_out)."""

    notify_unique: u64 = 0
    nodeid: u64 = 0
    offset: u64 = 0
    size: u32 = 0
    _padding: ClassVar[pad4]


@wire_struct
class NotifyRetrieveIn(WireStruct):
    """Body of NOTIFY_REPLY; `size` bytes follow (fuse_notify_retrieve_in)."""

    _dummy1: ClassVar[pad8]
    offset: u64 = 0
    size: u32 = 0
    _dummy2: ClassVar[pad4]
    _dummy3: ClassVar[pad8]
    _dummy4: ClassVar[pad8]


@wire_struct
class NotifyPruneOut(WireStruct):
    """Body of the PRUNE notification; `count` nodeids follow (fuse_notify_prune_out)."""

    count: u32 = 0
    _padding: ClassVar[pad4]
    _spare: ClassVar[pad8]


@wire_struct
class BackingMap(WireStruct):
    """Argument of FUSE_DEV_IOC_BACKING_OPEN (fuse_backing_map)."""

    fd: i32 = 0
    flags: u32 = 0
    _padding: ClassVar[pad8]


@wire_struct
class LseekIn(WireStruct):
    """Body of LSEEK (fuse_lseek_in)."""

    fh: u64 = 0
    offset: u64 = 0
    whence: u32 = 0  # SEEK_DATA or SEEK_HOLE
    _padding: ClassVar[pad4]


@wire_struct
class LseekOut(WireStruct):
    """Reply of LSEEK (fuse_lseek_out)."""

    offset: u64 = 0


@wire_struct
class CopyFileRangeIn(WireStruct):
    """Body of COPY_FILE_RANGE and COPY_FILE_RANGE_64 (fuse_copy_file_range_in)."""

    fh_in: u64 = 0
    off_in: u64 = 0
    nodeid_out: u64 = 0
    fh_out: u64 = 0
    off_out: u64 = 0
    len: u64 = 0
    flags: u64 = 0


@wire_struct
class CopyFileRangeOut(WireStruct):
    """Reply of COPY_FILE_RANGE_64 (fuse_copy_file_range_out)."""

    bytes_copied: u64 = 0


@wire_struct
class SetupmappingIn(WireStruct):
    """Body of SETUPMAPPING (fuse_setupmapping_in)."""

    fh: u64 = 0
    foffset: u64 = 0  # in the file
    len: u64 = 0
    flags: u64 = 0  # SetupmappingFlags
    moffset: u64 = 0  # in the memory window


@wire_struct
class RemovemappingIn(WireStruct):
    """Body of REMOVEMAPPING; `count` RemovemappingOne follow (fuse_removemapping_in)."""

    count: u32 = 0


@wire_struct
class RemovemappingOne(WireStruct):
    """One record of REMOVEMAPPING (fuse_removemapping_one)."""

    moffset: u64 = 0
    len: u64 = 0


@wire_struct
class SyncfsIn(WireStruct):
    """Body of SYNCFS, which says nothing (fuse_syncfs_in)."""

    _padding: ClassVar[pad8]


@wire_struct
class Secctx(WireStruct):
    """One security context; its name, and `size` bytes of value follow (fuse_secctx)."""

    size: u32 = 0
    _padding: ClassVar[pad4]


@wire_struct
class SecctxHeader(WireStruct):
    """Start of the security context extension (fuse_secctx_header)."""

    size: u32 = 0  # of the whole extension
    nr_secctx: u32 = 0


@wire_struct
class ExtHeader(WireStruct):
    """Start of any other extension (fuse_ext_header)."""

    size: u32 = 0  # of the whole extension
    type: u32 = 0  # above ExtensionType.FUSE_MAX_NR_SECCTX: below, this is a SecctxHeader


@wire_struct
class SuppGroups(WireStruct):
    """Start of the supplementary groups extension; `nr_groups` u32 follow (fuse_supp_groups)."""

    nr_groups: u32 = 0


@wire_struct
class UringEntInOut(WireStruct):
    """What an entry of an io_uring queue says of its request or reply (fuse_uring_ent_in_out)."""

    flags: u64 = 0
    commit_id: u64 = 0  # the request's unique, for UringCmdReq
    payload_sz: u32 = 0
    _padding: ClassVar[pad4]
    _reserved: ClassVar[pad8]


@wire_struct
class UringReqHeader(WireStruct):
    """Head of an entry of an io_uring queue (fuse_uring_req_header).

    The first two fields are room for other structs, which are read and written where `OFFSETS` says.
    """

    in_out: ClassVar[pad128]  # InHeader, then OutHeader
    op_in: ClassVar[pad128]  # the body
    ring_ent_in_out: UringEntInOut = field(default_factory=UringEntInOut)


@wire_struct
class UringCmdReq(WireStruct):
    """What an io_uring command on the device says (fuse_uring_cmd_req)."""

    flags: u64 = 0
    commit_id: u64 = 0  # of the entry whose reply is committed
    qid: u16 = 0  # of the queue, one for each CPU
    _padding: ClassVar[pad6]
