"""open: what its flags do, and what it refuses.

Source: open(2); fs/namei.c, do_open and lookup_open.
"""

from __future__ import annotations

import os
import stat
from errno import EBADF, EEXIST, EINVAL, EISDIR, ELOOP, ENOENT, ENXIO, EOPNOTSUPP, EPERM, ETXTBSY

from torture.conformance.tester import ALICE, Tester, case

CREATE = os.O_RDWR | os.O_CREAT


@case("open")
def creating(t: Tester) -> None:
    fd = t.works(t.root.open, "file", CREATE, 0o640)
    t.mode("file", 0o640)
    t.equal("size", t.root.fstat(fd).st_size, 0)
    t.equal("inode", t.root.fstat(fd).st_ino, t.root.lstat("file").st_ino)
    t.works(t.root.write, fd, b"content")
    again = t.works(t.root.open, "file", CREATE, 0o777)
    t.mode("file", 0o640)
    t.equal("what is read", t.root.read(again, 100), b"content")
    t.fails(EEXIST, t.root.open, "file", CREATE | os.O_EXCL)
    t.works(t.root.open, "other", CREATE | os.O_EXCL)


@case("open")
def creating_through_a_symlink(t: Tester) -> None:
    t.root.symlink("target", "link")
    t.fails(ENOENT, t.root.open, "link", os.O_RDWR)
    t.fails(EEXIST, t.root.open, "link", CREATE | os.O_EXCL)
    t.fails(ELOOP, t.root.open, "link", CREATE | os.O_NOFOLLOW)
    t.equal("names before", t.root.listdir("."), ["link"])
    t.works(t.root.open, "link", CREATE, 0o644)
    t.equal("names after", sorted(t.root.listdir(".")), ["link", "target"])
    t.fails(EEXIST, t.root.open, "link", CREATE | os.O_EXCL)
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_CREAT):
        t.fails(ELOOP, t.root.open, "link", flags | os.O_NOFOLLOW)
    t.works(t.root.open, "link", os.O_PATH | os.O_NOFOLLOW)


@case("open")
def truncating(t: Tester) -> None:
    t.put("file", "file", content=b"0123456789")
    t.works(t.root.open, "file", os.O_WRONLY)
    t.equal("size after a plain open", t.root.lstat("file").st_size, 10)
    fd = t.root.open("file", os.O_RDONLY)
    t.works(t.root.open, "file", os.O_WRONLY | os.O_TRUNC)
    t.equal("size after O_TRUNC", t.root.lstat("file").st_size, 0)
    t.equal("what an older descriptor reads", t.root.pread(fd, 10, 0), b"")
    t.works(t.root.open, "new", CREATE | os.O_TRUNC)
    t.root.write_file("file", b"abc")
    t.works(t.root.open, "file", CREATE | os.O_TRUNC)
    t.content("file", b"")


@case("open")
def access_modes(t: Tester) -> None:
    t.put("file", "file", content=b"data")
    reader, writer = t.root.open("file", os.O_RDONLY), t.root.open("file", os.O_WRONLY)
    t.fails(EBADF, t.root.write, reader, b"x")
    t.fails(EBADF, t.root.read, writer, 1)
    t.fails(EBADF, t.root.pwrite, reader, b"x", 0)
    t.fails(EBADF, t.root.pread, writer, 1, 0)
    t.fails(EINVAL, t.root.ftruncate, reader, 0)
    path_only = t.root.open("file", os.O_PATH)
    t.fails(EBADF, t.root.read, path_only, 1)
    t.fails(EBADF, t.root.ftruncate, path_only, 1)
    t.works(t.root.fstat, path_only)
    t.content("file", b"data")


@case("open")
def neither_reading_nor_writing(t: Tester) -> None:
    """The fourth access mode is no mistake on Linux: open(2), "File access mode"."""
    t.put("file", "file", content=b"data")
    fd = t.works(t.root.open, "file", os.O_WRONLY | os.O_RDWR)
    t.fails(EBADF, t.root.read, fd, 1)
    t.fails(EBADF, t.root.write, fd, b"x")
    t.equal("size", t.root.fstat(fd).st_size, 4)
    t.works(t.root.fchmod, fd, 0o600)
    t.mode("file", 0o600)


@case("open")
def fifos(t: Tester) -> None:
    t.root.mkfifo("fifo", 0o600)
    for flags in (os.O_WRONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_TRUNC):
        t.fails(ENXIO, t.root.open, "fifo", flags | os.O_NONBLOCK)
    t.works(t.root.open, "fifo", os.O_RDWR)
    t.works(t.root.open, "fifo", os.O_RDONLY | os.O_TRUNC)
    t.fails(EEXIST, t.root.open, "fifo", CREATE | os.O_EXCL)


@case("open")
def fifos_with_a_reader(t: Tester) -> None:
    t.need("pipes")
    t.root.mkfifo("fifo", 0o600)
    t.works(t.root.open, "fifo", os.O_RDWR)
    t.works(t.root.open, "fifo", os.O_WRONLY | os.O_NONBLOCK)


@case("open")
def directories(t: Tester) -> None:
    t.root.mkdir("dir", 0o755)
    fd = t.works(t.root.open, "dir", os.O_RDONLY)
    t.fails(EISDIR, t.root.read, fd, 1)
    t.fails(EBADF, t.root.write, fd, b"x")
    t.works(t.root.fsync, fd)
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        t.fails(EISDIR, t.root.open, "dir", flags | os.O_TRUNC)
        t.fails(EISDIR, t.root.open, "dir", flags | os.O_CREAT)
    t.fails(EEXIST, t.root.open, "dir", CREATE | os.O_EXCL)
    t.fails(EINVAL, t.root.open, "new", CREATE | os.O_DIRECTORY)
    t.equal("names", t.root.listdir("."), ["dir"])


@case("open")
def appending(t: Tester) -> None:
    t.put("file", "file", content=b"start")
    fd = t.works(t.root.open, "file", os.O_WRONLY | os.O_APPEND)
    t.works(t.root.lseek, fd, 0, os.SEEK_SET)
    t.works(t.root.write, fd, b"-one")
    t.root.write_file("file", b"-two", 9)
    t.works(t.root.write, fd, b"-three")
    t.content("file", b"start-one-two-three")
    t.works(t.root.pwrite, fd, b"!", 0)  # Linux appends here too: pwrite(2), BUGS
    t.content("file", b"start-one-two-three!")
    t.works(t.root.ftruncate, fd, 5)
    t.works(t.root.write, fd, b".")
    t.content("file", b"start.")


@case("open")
def two_descriptors_append(t: Tester) -> None:
    t.put("file", "file")
    one, two = (t.root.open("file", os.O_WRONLY | os.O_APPEND) for _ in range(2))
    for number in range(20):
        t.root.write(one if number % 2 else two, b"%02d" % number)
    t.content("file", b"".join(b"%02d" % number for number in range(20)))


@case("open", needs="users")
def not_changing_the_access_time(t: Tester) -> None:
    t.put("file", "file", 0o666, who=ALICE)
    t.works(t.alice.open, "file", os.O_RDONLY | os.O_NOATIME)
    t.fails(EPERM, t.bob.open, "file", os.O_RDONLY | os.O_NOATIME)
    t.works(t.root.open, "file", os.O_RDONLY | os.O_NOATIME)


@case("open")
def files_without_a_name(t: Tester) -> None:
    try:
        fd = t.root.open(".", os.O_RDWR | os.O_TMPFILE, 0o640)
    except OSError as error:
        if error.errno in (EOPNOTSUPP, EISDIR):
            t.skip("no O_TMPFILE here")
        raise
    t.equal("names", t.root.listdir("."), [])
    t.equal("nlink", t.root.fstat(fd).st_nlink, 0)
    t.equal("mode", oct(t.root.fstat(fd).st_mode), oct(stat.S_IFREG | 0o640))
    t.works(t.root.write, fd, b"hidden")
    t.works(t.root.link_by_fd, fd, "named")
    t.content("named", b"hidden")
    t.nlink("named", 1)
    sealed = t.root.open(".", os.O_RDWR | os.O_TMPFILE | os.O_EXCL, 0o600)
    t.fails(ENOENT, t.root.link_by_fd, sealed, "sealed")
    t.fails(EINVAL, t.root.open, ".", os.O_RDONLY | os.O_TMPFILE)


@case("open")
def running_programs(t: Tester) -> None:
    t.root.copy_program("/bin/sleep", "program")
    t.equal("exit code", t.works(t.root.execute, "./program", "0"), 0)
    pid = t.works(t.root.start, "./program", "30")
    t.fails(ETXTBSY, t.root.open, "program", os.O_WRONLY)
    t.fails(ETXTBSY, t.root.open, "program", os.O_RDWR)
    t.fails(ETXTBSY, t.root.open, "program", os.O_RDONLY | os.O_TRUNC)
    t.fails(ETXTBSY, t.root.truncate, "program", 0)
    t.works(t.root.open, "program", os.O_RDONLY)
    t.works(t.root.rename, "program", "renamed")
    t.works(t.root.unlink, "renamed")
    t.root.stop(pid)
    t.root.copy_program("/bin/true", "true")
    fd = t.root.open("true", os.O_WRONLY)
    t.fails(ETXTBSY, t.root.execute, "./true")
    t.root.close(fd)
    t.equal("exit code once it is closed", t.works(t.root.execute, "./true"), 0)


@case("open")
def descriptors_of_one_file_agree(t: Tester) -> None:
    t.put("file", "file")
    fds = [t.root.open("file", os.O_RDWR) for _ in range(5)]
    for number, fd in enumerate(fds):
        t.root.pwrite(fd, b"%d" % number, number)
    for fd in fds:
        t.equal("what each reads", t.root.pread(fd, 10, 0), b"01234")
        t.equal("size that each sees", t.root.fstat(fd).st_size, 5)
