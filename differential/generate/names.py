"""What calls about names are given."""

from __future__ import annotations

import os
import stat as modes

from differential.generate.belief import NAMES, Arguments, Generator

__all__ = [
    "chdir",
    "fchdir",
    "getcwd",
    "link",
    "mkdir",
    "mknod",
    "path_only",
    "readlink",
    "rename",
    "renameat2",
    "rmdir",
    "symlink",
    "umask",
    "unlink",
]


def mkdir(it: Generator) -> Arguments:
    return it.new(it.directories), it.mode() if it.chance(0.4) else 0o777


def mknod(it: Generator) -> Arguments:
    if it.special and it.chance(0.4):
        kind = it.random.choice((modes.S_IFIFO, modes.S_IFSOCK, modes.S_IFCHR))
        path = it.new_path() + "!"  # a name that is never opened, for a fifo would block
        it.fifos[path] = None
        return it.spelled(path), kind | it.mode(), os.makedev(1, 3) if kind == modes.S_IFCHR else 0
    return it.new(it.files), modes.S_IFREG | it.mode(), 0


def unlink(it: Generator) -> Arguments:
    path = it.old(it.files, it.files, it.links, it.fifos, it.directories if it.chance(0.1) else {})
    it.forget(it.plain(path))
    return (path,)


def rmdir(it: Generator) -> Arguments:
    path = it.old(it.below_root(), it.files if it.chance(0.1) else {})
    plain = it.plain(path)
    if not any(known.startswith(f"{plain}/") for kind in it.kinds() for known in kind):
        it.forget(plain)
    return (path,)


def rename_paths(it: Generator) -> tuple[str, str]:
    """Mostly of a file, to where nothing is or another file."""
    kind = it.random.choice([kind for kind in (it.files, it.files, it.links, it.below_root()) if kind] or [it.files])
    old = it.old(kind)
    if it.chance(0.3):
        return old, it.old(it.files, it.links, it.below_root() if it.chance(0.3) else {})
    it.forget(it.plain(old))
    return old, it.new(it.directories if kind not in (it.files, it.links) else kind)


def rename(it: Generator) -> Arguments:
    return rename_paths(it)


def renameat2(it: Generator) -> Arguments:
    return *rename_paths(it), it.random.choice((1, 1, 2, 2, 2, 4, 3, 0, 8))


def link(it: Generator) -> Arguments:
    return it.old(it.files, it.links), it.new(it.files), int(it.chance(0.3))


def symlink(it: Generator) -> Arguments:
    target = it.random.choice(
        (it.anything(), it.anything(), it.random.choice(NAMES), "..", "../" + NAMES[0], "t" * 300)
    )
    if it.chance(0.02):
        target = "t" * it.random.choice((4094, 4095, 4096))
    if target.endswith("!"):  # whoever opened the link would open a fifo
        target = NAMES[0]
    return target, it.new(it.links)


def readlink(it: Generator) -> Arguments:
    return (it.old(it.links, it.files if it.chance(0.1) else {}),)


def chdir(it: Generator) -> Arguments:
    path = it.old(it.directories, it.directories, it.links, it.files)
    plain = it.plain(path)
    if plain in it.directories:
        it.cwd[it.role] = plain
    return (path,)


def fchdir(it: Generator) -> Arguments:
    return (it.slot(it.open_directories[it.role]),)


def getcwd(it: Generator) -> Arguments:
    return ()


def umask(it: Generator) -> Arguments:
    return (it.random.choice((0, 0o22, 0o77, 0o27, 0o777)),)


def path_only(it: Generator) -> Arguments:
    return (it.anything(),)
