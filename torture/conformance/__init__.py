"""What POSIX and Linux promise about files, as some hundreds of small checks.

The suite knows nothing of FUSE: it is given a directory and makes system calls in it, as
root and as three ordinary users, and says of each whether it did what Linux's own
filesystems do. A filesystem passes when it fails nothing that ext4 and tmpfs pass.

    calls.py       the vocabulary: system calls by name, made of an object like `os`
    linux.py       that of this machine; libc.py what Python hides of it, mounts.py what one actor sees alone
    embedded.py    that of an embedded kernel, which mounts nothing
    actors.py      processes with an identity, which make those calls
    expected.py    what old kernels cannot do, with reasons
    tree.py        a filesystem of nodes that can do all that nodes can
    tester.py      the checks (`works`, `fails`, `equal`), cases and groups
    the rest       the cases, by subject; whatever repeats is a table

Every case gets an empty directory of its own (mode 0777) in which all actors stand, so the
paths in the cases are relative and short. The umask is 0 unless a case sets it.
"""
