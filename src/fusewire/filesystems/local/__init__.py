"""A local directory, served as it is.

filesystem.py   LocalDirectory: names, attributes, xattrs
files.py        what is open
inodes.py       which nodeid is which inode, and the way back to it, by
handles.py      file handles, or
descriptors.py  a bounded set of descriptors
opened.py       `fh` and listings
credentials.py  acting as the caller
syscalls.py     what `os` lacks
"""

from __future__ import annotations

from fusewire.filesystems.local.filesystem import LocalDirectory

__all__ = ["LocalDirectory"]
