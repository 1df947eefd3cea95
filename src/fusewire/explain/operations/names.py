"""Operations on names: finding, making, moving and removing them, and forgetting them again."""

from __future__ import annotations

import stat
from typing import Any, Final

from fusewire.explain.operations.filesystem import Doubtful
from fusewire.explain.operations.rows import Named, Operation, a_file, an_empty_place, beside
from fusewire.kernel import Process
from fusewire.wire import RenameFlags

__all__ = ["NAMES"]


# What has to be there.


async def an_unknown_file(process: Process, path: str) -> None:
    await a_file(process, path)
    process.cwd.superblock.drop_caches()


async def a_doubtful_name(process: Process, path: str) -> None:
    """Make a file whose name is not trusted any more."""
    await a_file(process, path)
    process.system.clock.advance(2 * Doubtful.entry_timeout)  # type: ignore[attr-defined]  # it stands still


async def a_file_told_of_twice(process: Process, path: str) -> None:
    """Make a file that has been looked up again, when its name was not trusted any more."""
    await a_doubtful_name(process, path)
    await process.stat(path)


async def a_symlink(process: Process, path: str) -> None:
    await an_empty_place(process, path)
    await process.symlink("target", path)


async def an_empty_directory(process: Process, path: str) -> None:
    await process.makedirs(path, exist_ok=True)


async def many_files(process: Process, path: str) -> None:
    for name in ("one", "two", "three"):
        await process.mknod(beside(path, name), stat.S_IFREG | 0o644)


# Programs.


async def lookup(process: Process, path: str, got: Any) -> None:
    await process.stat(path)
    await process.stat(path)


async def symlink(process: Process, path: str, got: Any) -> None:
    await process.symlink("target", path)


async def readlink(process: Process, path: str, got: Any) -> None:
    await process.readlink(path)


async def mknod(process: Process, path: str, got: Any) -> None:
    await process.mknod(path, Named(stat.S_IFIFO | 0o644, "S_IFIFO|0644"))


async def mkdir(process: Process, path: str, got: Any) -> None:
    await process.mkdir(path)


async def rmdir(process: Process, path: str, got: Any) -> None:
    await process.rmdir(path)


async def rename(process: Process, path: str, got: Any) -> None:
    await process.rename(path, beside(path))


async def rename2(process: Process, path: str, got: Any) -> None:
    await process.rename(path, beside(path), flags=Named(RenameFlags.RENAME_NOREPLACE, "RENAME_NOREPLACE"))


async def link(process: Process, path: str, got: Any) -> None:
    await process.link(path, beside(path))


async def drop_caches(process: Process, path: str, got: Any) -> None:
    process.cwd.superblock.drop_caches()


NAMES: Final = (
    Operation(
        "lookup",
        "from a name to a file",
        "stat {path}",
        lookup,
        "The answer is the file's number, the nodeid, and its attributes; both hold for as long as the daemon says, "
        "so the second stat asks nothing. Each LOOKUP that is answered is counted, until a FORGET gives it back.",
        before=an_unknown_file,
    ),
    Operation(
        "revalidate",
        "a name that was known, but whose time is up",
        "stat {path}",
        lookup,
        "A LOOKUP, as of a name that is not known, but without the directory's semaphore. If it leads to the same file "
        "as before, name and attributes hold anew; if not, what was known is thrown away, and looked up once more.",
        before=a_doubtful_name,
        filesystem=Doubtful,
    ),
    Operation(
        "symlink",
        "make a symbolic link",
        "ln -s target {path}",
        symlink,
        "The name is looked up first, since it must not be there. Who makes something is the directory's only user "
        "meanwhile: its semaphore is held until the daemon has answered.",
        before=an_empty_place,
    ),
    Operation(
        "readlink",
        "read what a symbolic link says",
        "readlink {path}",
        readlink,
        "Each time, unless the daemon has agreed to CACHE_SYMLINKS: then it is kept in the page cache.",
        before=a_symlink,
    ),
    Operation(
        "mknod",
        "make a fifo, a socket or a device",
        "mkfifo {path}",
        mknod,
        "A regular file is made by CREATE, which opens it as well; by MKNOD only if the daemon has no CREATE, and by "
        "mknod(2).",
        before=an_empty_place,
    ),
    Operation(
        "mkdir",
        "make a directory",
        "mkdir {path}",
        mkdir,
        "The reply is as that of a LOOKUP: the new directory is known, and counted, at once.",
        before=an_empty_place,
    ),
    Operation(
        "rmdir",
        "remove an empty directory",
        "rmdir {path}",
        rmdir,
        "That it is empty is the daemon's to check. Both semaphores are held meanwhile, the directory's above it "
        "and its own.",
        before=an_empty_directory,
    ),
    Operation(
        "rename",
        "move a name",
        "mv {path} {other}",
        rename,
        "The new name is looked up even if it is known, since what is there would be overwritten. With flags, such as "
        "'do not overwrite', it is a RENAME2.",
    ),
    Operation(
        "rename2",
        "move a name, with flags",
        "mv -n {path} {other}",
        rename2,
        "RENAME_NOREPLACE, RENAME_EXCHANGE and RENAME_WHITEOUT travel so. A daemon that knows no RENAME2 says ENOSYS, "
        "is not asked again, and the caller gets EINVAL.",
    ),
    Operation(
        "link",
        "give a file a further name",
        "ln {path} {other}",
        link,
        "The reply is an entry of the same nodeid, which is a further lookup of it, to be forgotten some time.",
    ),
    Operation(
        "forget",
        "the kernel forgets a file",
        "echo 2 > drop_caches",
        drop_caches,
        "A FORGET says how often the daemon had told of the file, all at once: twice here, since the name was looked "
        "up again when its time was up. Nobody waits for it and it is never answered: it is no request but a pair of "
        "numbers, nodeid and nlookup, on a list of its own. An unmount sends none.",
        before=a_file_told_of_twice,
        filesystem=Doubtful,
    ),
    Operation(
        "batch_forget",
        "the kernel forgets many files",
        "echo 2 > drop_caches",
        drop_caches,
        "Where several wait, one message brings as many as the daemon's buffer takes. They come in turns with "
        "requests, so that neither holds up the other.",
        before=many_files,
        profiles=("linux",),
    ),
)
