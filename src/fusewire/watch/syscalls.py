"""System calls by their numbers, and which of their arguments lead to a file.

/proc/PID/task/TID/syscall tells a number and six words. A row here says what to make of them:

    name   number on x86_64   number on aarch64   what leads to files

`-` stands for a call that the machine does not have. What leads to files is a list of

    f0     argument 0 is a descriptor
    p0     argument 0 is the address of a path, looked up from the working directory
    d0p1   argument 0 is a descriptor, or AT_FDCWD, from which the path at argument 1 is looked up
    w0     like p0, d0w1 like d0p1: the last name of the path is made, removed or moved, so the call
           works upon the directory that the path leads to

A call that has no row has no name but its number, and leads to nothing. All the rest of arm's numbers are those
of most newer machines (riscv64, loongarch64).

Source: arch/x86/entry/syscalls/syscall_64.tbl; include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

__all__ = ["AT_FDCWD", "BY_NUMBER", "Lead", "Row", "name_of", "row_of"]

AT_FDCWD: Final = -100


class Lead(NamedTuple):
    """Two arguments that lead to a file: positions, -1 for one that there is not."""

    fd: int
    path: int
    changes_directory: bool  # the last name is made, removed or moved


class Row(NamedTuple):
    """One system call."""

    name: str
    leads: tuple[Lead, ...]


TABLE: Final = """
read              0    63  f0
write             1    64  f0
open              2     -  p0
close             3    57  f0
stat              4     -  p0
fstat             5    80  f0
lstat             6     -  p0
poll              7     -
lseek             8    62  f0
mmap              9   222  f4
mprotect         10   226
munmap           11   215
ioctl            16    29  f0
pread64          17    67  f0
pwrite64         18    68  f0
readv            19    65  f0
writev           20    66  f0
access           21     -  p0
select           23     -
sched_yield      24   124
msync            26   227
madvise          28   233
pause            34     -
nanosleep        35   101
sendfile         40    71  f0 f1
connect          42   203
accept           43   202
sendto           44   206
recvfrom         45   207
sendmsg          46   211
recvmsg          47   212
execve           59   221  p0
exit             60    93
wait4            61   260
fcntl            72    25  f0
flock            73    32  f0
fsync            74    82  f0
fdatasync        75    83  f0
truncate         76    45  p0
ftruncate        77    46  f0
getdents         78     -  f0
chdir            80    49  p0
fchdir           81    50  f0
rename           82     -  w0 w1
mkdir            83     -  w0
rmdir            84     -  w0
creat            85     -  w0
link             86     -  p0 w1
unlink           87     -  w0
symlink          88     -  w1
readlink         89     -  p0
chmod            90     -  p0
fchmod           91    52  f0
chown            92     -  p0
fchown           93    55  f0
lchown           94     -  p0
rt_sigtimedwait 128   137
rt_sigsuspend   130   133
utime           132     -  p0
mknod           133     -  w0
statfs          137    43  p0
fstatfs         138    44  f0
chroot          161    51  p0
sync            162    81
mount           165    40  p1
umount2         166    39  p0
readahead       187   213  f0
setxattr        188     5  p0
lsetxattr       189     6  p0
fsetxattr       190     7  f0
getxattr        191     8  p0
lgetxattr       192     9  p0
fgetxattr       193    10  f0
listxattr       194    11  p0
llistxattr      195    12  p0
flistxattr      196    13  f0
removexattr     197    14  p0
lremovexattr    198    15  p0
fremovexattr    199    16  f0
futex           202    98
getdents64      217    61  f0
restart_syscall 219   128
fadvise64       221   223  f0
clock_nanosleep 230   115
exit_group      231    94
epoll_wait      232     -
utimes          235     -  p0
waitid          247    95
inotify_add_watch 254  27  p1
openat          257    56  d0p1
mkdirat         258    34  d0w1
mknodat         259    33  d0w1
fchownat        260    54  d0p1
futimesat       261     -  d0p1
newfstatat      262    79  d0p1
unlinkat        263    35  d0w1
renameat        264    38  d0w1 d2w3
linkat          265    37  d0p1 d2w3
symlinkat       266    36  d1w2
readlinkat      267    78  d0p1
fchmodat        268    53  d0p1
faccessat       269    48  d0p1
pselect6        270    72
ppoll           271    73
splice          275    76  f0 f2
sync_file_range 277    84  f0
vmsplice        278    75  f0
utimensat       280    88  d0p1
epoll_pwait     281    22
fallocate       285    47  f0
accept4         288   242
preadv          295    69  f0
pwritev         296    70  f0
recvmmsg        299   243
name_to_handle_at 303 264  d0p1
syncfs          306   267  f0
sendmmsg        307   269
renameat2       316   276  d0w1 d2w3
execveat        322   281  d0p1
copy_file_range 326   285  f0 f2
preadv2         327   286  f0
pwritev2        328   287  f0
statx           332   291  d0p1
io_uring_enter  426   426
open_tree       428   428  d0p1
move_mount      429   429  d0p1 d2p3
close_range     436   436
openat2         437   437  d0p1
faccessat2      439   439  d0p1
epoll_pwait2    441   441
mount_setattr   442   442  d0p1
futex_waitv     449   449
cachestat       451   451  f0
fchmodat2       452   452  d0p1
futex_wait      455   455
setxattrat      463   463  d0p1
getxattrat      464   464  d0p1
listxattrat     465   465  d0p1
removexattrat   466   466  d0p1
file_getattr    468   468  d0p1
file_setattr    469   469  d0p1
"""

LEAD: Final = re.compile(r"f(\d)|(?:d(\d))?([pw])(\d)")


def lead(text: str) -> Lead:
    """Read one word of the last column."""
    found = LEAD.fullmatch(text)
    assert found, text
    if found[1]:
        return Lead(int(found[1]), -1, False)
    return Lead(int(found[2]) if found[2] else -1, int(found[4]), found[3] == "w")


def read_table(machine: str) -> dict[int, Row]:
    """Return the rows by number, as a machine has them."""
    column = 1 if machine == "x86_64" else 2
    rows = [line.split() for line in TABLE.split("\n") if line]
    return {int(row[column]): Row(row[0], tuple(map(lead, row[3:]))) for row in rows if row[column] != "-"}


BY_NUMBER: Final = read_table(os.uname().machine)
UNKNOWN: Final = Row("", ())


def row_of(number: int) -> Row:
    """Return what is known of a system call, by its number on this machine."""
    return BY_NUMBER.get(number, UNKNOWN)


def name_of(number: int) -> str:
    """Return its name; 'syscall 999' if we do not know one, 'page fault' for -1, as the kernel writes it."""
    return "page fault" if number == -1 else row_of(number).name or f"syscall {number}"
