"""The engine behind the front door: nodes on one side, nodeids on the other.

A node is entered when the kernel first learns of it, and left when the kernel has given back
every lookup; in between it has a nodeid, which no other node gets. Unlinking changes nothing
of that: a file that is open, or of which the kernel still knows, goes on to be served by its
nodeid, whatever becomes of its name.

An open file or directory is an object, a `Handle` or a `Listing`, found by its `fh`. A listing
is taken once, when it is read from its start, so that it does not shift under its reader.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat as modes
import threading
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any, Final, TypeVar

from fusewire.daemon.check import refuse_misspelt
from fusewire.daemon.either import Either, Steps, either
from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.nodes import NAME_MAX, Branch, Directory, File, Handle, Node, Symlink, as_node, collected
from fusewire.daemon.request import Request
from fusewire.daemon.values import Attributes, Dirent, Entry, OpenFile, SetAttributes, StatFs
from fusewire.errors import os_error
from fusewire.wire import FUSE_ROOT_ID, Buffer, direntplus_size

__all__ = ["NodeFilesystem"]

N = TypeVar("N")


class Listing:
    """A directory that is open: its names, as they were when it was read from the start."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.names: list[tuple[str, Node]] = []


class NodeFilesystem(Filesystem):
    """Serves a tree of nodes. The kernel checks their modes."""

    default_permissions = True

    def __init__(self, root: Branch) -> None:
        """Serve `root`: a directory, a single file, or a mapping of names.

        Raises:
            TypeError: if it is none of them, or a class has a method that looks misspelt.
            ValueError: if the node is mounted already.
        """
        self.nodes: dict[int, Node] = {}  # by nodeid
        self.known: dict[Node, Node] = {}  # the first of each node that equals it
        self.handles: dict[int, Any] = {}  # Handle or Listing, by fh
        self.numbers = itertools.count(FUSE_ROOT_ID + 1)
        self.fhs = itertools.count(1)
        self.lock = threading.Lock()  # of lookup counts, and of the two tables of nodes
        self.is_mounted = False  # else its nodes may be mounted elsewhere
        self.root = as_node(root)
        self.root_type = self.root.type
        self._refuse_another_s(self.root)

    def init(self) -> None:
        self._refuse_another_s(self.root)
        _note(self.root, served_by=self, nodeid=FUSE_ROOT_ID, nlookup=1)
        self.nodes[FUSE_ROOT_ID] = self.known[self.root] = self.root
        self.is_mounted = True

    # --- nodes and numbers

    def _enter(self, node: Node) -> Node:
        """Grant the kernel a lookup of `node`, or of the one that it equals."""
        with self.lock:
            node = self.known.setdefault(node, node)
            if node.served_by is not self:
                self._adopt(node)
            self.nodes[node.nodeid] = node
            _note(node, nlookup=node.nlookup + 1)
        return node

    def _adopt(self, node: Node) -> None:
        try:
            self._refuse_another_s(node)
            refuse_misspelt(type(node))
        except (TypeError, ValueError):
            del self.known[node]
            raise
        _note(node, served_by=self, nodeid=next(self.numbers), nlookup=0)

    def _refuse_another_s(self, node: Node) -> None:
        other = node.served_by
        if isinstance(other, NodeFilesystem) and other is not self and other.is_mounted:
            raise ValueError(f"{node!r} is mounted elsewhere already")

    def forget(self, nodeid: int, nlookup: int) -> None:
        with self.lock:
            node = self.nodes.get(nodeid)
            if node is None or node is self.root:
                return
            _note(node, nlookup=max(0, node.nlookup - nlookup))
            if node.nlookup == 0:  # it keeps its number, should it be found again
                del self.nodes[nodeid]
                del self.known[node]

    def destroy(self) -> None:
        for handle in list(self.handles.values()):
            if isinstance(handle, Handle):
                self._release_quietly(handle)
        self.handles.clear()
        with self.lock:
            for node in self.nodes.values():
                _note(node, nlookup=0)
            self.nodes.clear()
            self.known.clear()
            self.is_mounted = False

    def _release_quietly(self, handle: Handle) -> None:
        """Tell a file that was open when the mount went; nobody is left to hear of an error, or to await it."""
        try:
            result: object = handle.release()
        except Exception:
            return
        if isinstance(result, Coroutine):
            result.close()

    def _node(self, nodeid: int, kind: type[N]) -> N:
        node = self.nodes.get(nodeid)
        if node is None:
            raise os_error(errno.ESTALE)
        if not isinstance(node, kind):
            raise os_error(errno.ENOTDIR if kind is Directory else errno.EINVAL)
        return node

    def _handle(self, fh: int) -> Any:
        try:
            return self.handles[fh]
        except KeyError:
            raise os_error(errno.EBADF) from None

    def _open(self, handle: Handle | Listing) -> int:
        fh = next(self.fhs)
        self.handles[fh] = handle
        return fh

    @either
    def _entry(self, found: Node) -> Steps[Entry]:
        attributes = yield found.getattr()
        node = self._enter(found)
        return Entry(node.nodeid, attributes)

    # --- names

    @either
    def lookup(self, request: Request, parent: int, name: str) -> Steps[Entry]:
        directory = self._node(parent, Directory)
        found = yield directory.lookup(_short(name))
        if found is None:
            raise os_error(errno.ENOENT)
        entry: Entry = yield self._entry(_given(found, Node, directory, "lookup"))
        return entry

    @either
    def symlink(self, request: Request, parent: int, name: str, target: str) -> Steps[Entry]:
        directory = self._node(parent, Directory)
        made = yield directory.symlink(_short(name), target)
        entry: Entry = yield self._entry(_given(made, Symlink, directory, "symlink"))
        return entry

    @either
    def mknod(self, request: Request, parent: int, name: str, mode: int, rdev: int) -> Steps[Entry]:
        directory = self._node(parent, Directory)
        if modes.S_ISREG(mode):
            made: Node = _given((yield directory.create(_short(name), mode)), File, directory, "create")
        else:
            made = _given((yield directory.mknod(_short(name), mode, rdev)), Node, directory, "mknod")
        entry: Entry = yield self._entry(made)
        return entry

    @either
    def mkdir(self, request: Request, parent: int, name: str, mode: int) -> Steps[Entry]:
        directory = self._node(parent, Directory)
        made = yield directory.mkdir(_short(name), mode)
        entry: Entry = yield self._entry(_given(made, Directory, directory, "mkdir"))
        return entry

    @either
    def unlink(self, request: Request, parent: int, name: str) -> Steps[None]:
        directory = self._node(parent, Directory)
        victim = yield self._bearer(directory, name)
        yield directory.unlink(name)
        _count_link(victim, -1)

    @either
    def rmdir(self, request: Request, parent: int, name: str) -> Steps[None]:
        directory = self._node(parent, Directory)
        victim = yield self._bearer(directory, name)
        yield directory.rmdir(name)
        _count_link(victim, -1)

    @either
    def rename(
        self, request: Request, parent: int, name: str, new_parent: int, new_name: str, flags: int
    ) -> Steps[None]:
        directory, new_directory = self._node(parent, Directory), self._node(new_parent, Directory)
        victim = None if flags else (yield self._bearer(new_directory, _short(new_name)))
        yield directory.rename(name, new_directory, new_name, flags)
        _count_link(victim, -1)

    @either
    def link(self, request: Request, nodeid: int, new_parent: int, new_name: str) -> Steps[Entry]:
        node = self._node(nodeid, Node)
        yield self._node(new_parent, Directory).link(_short(new_name), node)
        _count_link(node, +1)
        entry: Entry = yield self._entry(node)
        return entry

    @either
    def _bearer(self, directory: Directory, name: str) -> Steps[Node | None]:
        """The node that bears a name, so that its links can be counted."""
        try:
            found = yield directory.lookup(name)
        except FileNotFoundError:
            return None
        return None if found is None else self.known.get(found, found)

    def readlink(self, request: Request, nodeid: int) -> Either[str]:
        return self._node(nodeid, Symlink).readlink()

    # --- attributes

    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Either[Attributes]:
        return self._node(nodeid, Node).getattr()

    @either
    def setattr(self, request: Request, nodeid: int, changes: SetAttributes) -> Steps[Attributes]:
        node = self._node(nodeid, Node)
        attributes: Attributes | None = yield node.setattr(changes)
        if attributes is None:
            attributes = yield node.getattr()
        return attributes

    def statfs(self, request: Request, nodeid: int) -> Either[StatFs]:
        return self.root.statfs()

    def getxattr(self, request: Request, nodeid: int, name: str) -> Either[Buffer]:
        return self._node(nodeid, Node).getxattr(name)

    def setxattr(self, request: Request, nodeid: int, name: str, value: memoryview, flags: int) -> Either[None]:
        return self._node(nodeid, Node).setxattr(name, value, flags)

    @either
    def listxattr(self, request: Request, nodeid: int) -> Steps[list[str]]:
        names = yield self._node(nodeid, Node).listxattr()
        return list(names)

    def removexattr(self, request: Request, nodeid: int, name: str) -> Either[None]:
        return self._node(nodeid, Node).removexattr(name)

    # --- files

    @either
    def open(self, request: Request, nodeid: int, flags: int) -> Steps[OpenFile]:
        opened: OpenFile = yield self._opened(self._node(nodeid, File), flags)
        return opened

    @either
    def create(self, request: Request, parent: int, name: str, flags: int, mode: int) -> Steps[tuple[Entry, OpenFile]]:
        directory = self._node(parent, Directory)
        made = _given((yield directory.create(_short(name), mode)), File, directory, "create")
        attributes = yield made.getattr()
        opened = yield self._opened(made, flags)  # from here on nothing may fail: nobody would release it
        return Entry(self._enter(made).nodeid, attributes), opened

    @either
    def _opened(self, file: File, flags: int) -> Steps[OpenFile]:
        handle = _given((yield file.open(flags)), Handle, file, "open")
        refuse_misspelt(type(handle))
        unsized = file.size is None and type(file).getattr is Node.getattr
        direct_io = handle.direct_io or unsized
        return OpenFile(
            self._open(handle), direct_io=direct_io, keep_cache=handle.keep_cache, nonseekable=handle.nonseekable
        )

    def read(self, request: Request, nodeid: int, fh: int, offset: int, size: int) -> Either[Buffer]:
        handle: Handle = self._handle(fh)
        return handle.read(offset, size)

    def write(self, request: Request, nodeid: int, fh: int, offset: int, data: memoryview) -> Either[int | None]:
        handle: Handle = self._handle(fh)
        return handle.write(offset, data)

    def flush(self, request: Request, nodeid: int, fh: int) -> Either[None]:
        handle: Handle = self._handle(fh)
        return handle.flush()

    def release(self, request: Request, nodeid: int, fh: int) -> Either[None]:
        handle: Handle = self.handles.pop(fh)
        return handle.release()

    def fsync(self, request: Request, nodeid: int, fh: int, datasync: bool) -> Either[None]:
        handle: Handle = self._handle(fh)
        return handle.fsync(datasync)

    def fallocate(self, request: Request, nodeid: int, fh: int, offset: int, length: int, mode: int) -> Either[None]:
        handle: Handle = self._handle(fh)
        return handle.fallocate(offset, length, mode)

    def ioctl(
        self, request: Request, nodeid: int, fh: int, cmd: int, data: memoryview, out_size: int, flags: int
    ) -> Either[tuple[int, Buffer] | int | None]:
        handle = self._handle(fh)
        if not isinstance(handle, Handle):
            raise os_error(errno.ENOTTY)
        return handle.ioctl(cmd, data, out_size)

    # --- directories

    def opendir(self, request: Request, nodeid: int, flags: int) -> OpenFile:
        return OpenFile(self._open(Listing(self._node(nodeid, Directory))))

    def releasedir(self, request: Request, nodeid: int, fh: int) -> None:
        del self.handles[fh]

    def fsyncdir(self, request: Request, nodeid: int, fh: int, datasync: bool) -> Either[None]:
        return self._node(nodeid, Directory).fsync(datasync)

    @either
    def readdir(self, request: Request, nodeid: int, fh: int, offset: int) -> Steps[Iterator[Dirent]]:
        names = yield self._names(fh, offset)
        rest = range(offset, len(names))
        return (self._dirent(names[at][0], names[at][1], None, at + 1) for at in rest)

    @either
    def readdirplus(self, request: Request, nodeid: int, fh: int, offset: int) -> Steps[list[Dirent]]:
        names = yield self._names(fh, offset)
        room, found = request.body.size, list[tuple[str, Node, Attributes | None]]()
        for position in range(offset, len(names)):
            name, node = names[position]
            room -= direntplus_size(len(os.fsencode(name)))
            if room < 0:
                break
            attributes: Attributes | None = None  # of one without, the kernel makes a LOOKUP of its own
            if name not in (".", ".."):
                try:
                    attributes = yield node.getattr()
                except OSError:
                    pass
            found.append((name, node, attributes))
        # The lookups are granted at last and at once: none is lost when a method fails, or is interrupted.
        return [self._dirent(*one, position) for position, one in enumerate(found, offset + 1)]

    def _dirent(self, name: str, node: Node, attributes: Attributes | None, offset: int) -> Dirent:
        if attributes is None:
            return Dirent(name, node.nodeid or UNKNOWN_INO, node.type or modes.S_IFMT(node.mode), offset)
        nodeid = self._enter(node).nodeid
        return Dirent(name, attributes.ino or nodeid, attributes.type, offset, Entry(nodeid, attributes))

    @either
    def _names(self, fh: int, offset: int) -> Steps[list[tuple[str, Node]]]:
        listing: Listing = self._handle(fh)
        if offset == 0:
            directory = listing.directory
            found = yield collected(directory.list())
            listing.names = [(".", directory), ("..", directory), *_listed(found, directory)]
        return listing.names


UNKNOWN_INO: Final = 0xFFFFFFFF  # of a name whose node has no number yet; 0 would hide the name


def _short(name: str) -> str:
    if len(os.fsencode(name)) > NAME_MAX:
        raise os_error(errno.ENAMETOOLONG)
    return name


def _given(found: object, kind: type[N], node: Node, method: str) -> N:
    """Return what a method of `node` gave.

    Raises:
        TypeError: it is none of its kind.
    """
    if not isinstance(found, kind):
        raise TypeError(f"{type(node).__name__}.{method} gave {found!r}, which is no {kind.__name__}")
    return found


def _listed(pairs: Iterable[tuple[str, Node]], directory: Directory) -> Iterator[tuple[str, Node]]:
    """What a directory lists, but for '.' and '..', which are the engine's.

    Raises:
        TypeError: a name that is no text, or what is no node.
    """
    for name, node in pairs:
        if not isinstance(node, Node) or not isinstance(name, str):
            _given(name, str, directory, "list")
            _given(node, Node, directory, "list")
        if name not in (".", ".."):
            yield name, node


def _count_link(node: Node | None, change: int) -> None:
    """Keep `nlink`, unless the node's class reckons it itself."""
    if node is not None and not isinstance(getattr(type(node), "nlink", None), property):
        _note(node, nlink=max(0, node.nlink + change))


def _note(node: Node, **ours: object) -> None:
    """Write what is the engine's into a node, which may well be a frozen dataclass."""
    for name, value in ours.items():
        object.__setattr__(node, name, value)
