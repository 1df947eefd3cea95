"""Zipped: what is in a zip archive, without unpacking it. Read-only.

    python examples/zipped.py archive.zip /mnt/x
    ZIP=archive.zip fusewire mount examples/zipped.py:root /mnt/x

    ls -lR /mnt/x
    diff -r /mnt/x/ unpacked/

An opened file is an object: the archive's own reader, which remembers how far it has unpacked.
Reading on from there costs nothing; going back unpacks from the start of the file again.
"""

import errno
import os
import sys
import time
import zipfile

import fusewire


class Member(fusewire.File):
    """One file of the archive."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        self.archive = archive
        self.info = info
        self.mode = 0o555 if info.external_attr >> 16 & 0o111 else 0o444
        self.size = info.file_size
        self.mtime_ns = int(time.mktime((*info.date_time, 0, 0, -1))) * 1_000_000_000

    def open(self, flags: int) -> "OpenMember":
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, "the archive is not written to")
        return OpenMember(self.archive, self.info)


class OpenMember(fusewire.Handle):
    """One open file, and where its reader stands."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        self.reader = archive.open(info)

    def read(self, offset: int, size: int) -> bytes:
        self.reader.seek(offset)
        return self.reader.read(size)

    def release(self) -> None:
        self.reader.close()


def tree(archive: zipfile.ZipFile) -> dict[str, object]:
    """The archive as dicts of dicts of files."""
    top: dict[str, object] = {}
    for info in archive.infolist():
        *parents, name = [part for part in info.filename.split("/") if part not in ("", ".", "..")] or [""]
        directory = top
        for parent in parents:
            directory = directory.setdefault(parent, {})  # type: ignore[assignment]
        if info.is_dir():
            directory.setdefault(name, {})
        else:
            directory[name] = Member(archive, info)
    return top


def root() -> dict[str, object]:
    """The tree of the archive that $ZIP names."""
    if "ZIP" not in os.environ:
        sys.exit("say which archive: ZIP=archive.zip fusewire mount ...")
    return tree(zipfile.ZipFile(os.environ["ZIP"]))


if __name__ == "__main__":
    fusewire.run(tree(zipfile.ZipFile(sys.argv[1])), sys.argv[2], "ro")
