"""A tree with one of everything, and its description: what two copies of it must agree on."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path

from torture.loads.place import Failed

Description = dict[str, tuple[object, ...]]


def grow(root: Path, files: int, seed: int = 1) -> None:
    """Fill a directory with directories and files, and with whatever copies tend to lose."""
    chance = random.Random(seed)
    directories = [root]
    for number in range(max(2, files // 10)):
        directory = chance.choice(directories) / f"dir-{number}"
        directory.mkdir()
        directories.append(directory)
    for number in range(files):
        path = chance.choice(directories) / f"file-{number}"
        path.write_bytes(chance.randbytes(chance.choice((0, 1, 100, 4096, 5000, 70_000))))
        path.chmod(chance.choice((0o644, 0o600, 0o755, 0o444, 0o4755, 0o2711, 0)))
    oddities(root, chance)
    for directory in reversed(directories):
        directory.chmod(chance.choice((0o755, 0o700, 0o1777, 0o2775)))
    for path in [*everything(root), root]:
        when = chance.randrange(10**9) * 10**9 + chance.randrange(10**9)
        os.utime(path, ns=(when, when), follow_symlinks=False)


def oddities(root: Path, chance: random.Random) -> None:
    """Links of both sorts, special files, holes, attributes, odd names and owners."""
    odd = root / "odd"
    odd.mkdir()
    (odd / "one").write_bytes(b"linked")
    for name in ("two", "three"):
        os.link(odd / "one", odd / name)
    os.symlink("one", odd / "relative")
    os.symlink("/nowhere/at all", odd / "dangling")
    os.mkfifo(odd / "fifo", 0o640)
    os.mknod(odd / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with (odd / "sparse").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"end")
    (odd / "attributes").write_bytes(b"x")
    os.setxattr(odd / "attributes", "user.text", b"value")
    os.setxattr(odd / "attributes", "user.bytes", bytes(range(256)))
    os.setxattr(odd, "user.of-a-directory", b"1")
    for strange in (b"not-utf8-\xff\xfe", b"new\nline", "ünï".encode(), b"-rf", b"n" * 255):
        (odd / os.fsdecode(strange)).write_bytes(strange)
    (odd / "owned").write_bytes(b"x")
    os.chown(odd / "owned", 1234, 5678)
    (odd / "empty").mkdir()
    deep = odd
    for _ in range(30):
        deep = deep / f"deep-{chance.randrange(10)}"
        deep.mkdir()


def everything(root: Path) -> Iterator[Path]:
    """All paths below a directory, contents before the directory itself."""
    for where, directories, files in os.walk(root, topdown=False):
        for name in (*files, *directories):
            yield Path(where, name)


def describe(root: Path) -> Description:
    """All that a faithful copy has in common with its source, by relative path."""
    first_names: dict[int, str] = {}
    found: Description = {}
    for path in sorted([*everything(root), root]):
        name, status = str(path.relative_to(root)), path.lstat()
        twin = first_names.setdefault(status.st_ino, name) if not stat.S_ISDIR(status.st_mode) else name
        found[name] = (
            oct(status.st_mode),
            (status.st_uid, status.st_gid),
            status.st_mtime_ns,
            status.st_rdev,
            status.st_size if not stat.S_ISDIR(status.st_mode) else 0,
            twin,
            content(path, status.st_mode),
            attributes(path),
        )
    return found


def content(path: Path, mode: int) -> str:
    """A file's hash, a symlink's target, or nothing."""
    if stat.S_ISLNK(mode):
        return os.readlink(path)
    return hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(mode) else ""


def attributes(path: Path) -> dict[str, bytes]:
    """The user attributes of a path."""
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names if name.startswith("user.")}


def same(found: Description, wanted: Description, what: str) -> None:
    """Raises Failed, with the first differences, unless two descriptions agree."""
    differences = [
        f"  {name!r}: {found.get(name)} instead of {wanted.get(name)}"
        for name in sorted({*found, *wanted})
        if found.get(name) != wanted.get(name)
    ]
    if differences:
        raise Failed("\n".join([f"{what}: {len(differences)} of {len(wanted)} differ", *differences[:5]]))
