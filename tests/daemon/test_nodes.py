"""The front door: trees of objects, asked in bytes."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import stat
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from conversation import Conversation
from fusewire.daemon import (
    Attributes,
    Directory,
    File,
    Handle,
    Node,
    NodeFilesystem,
    SetAttributes,
    Special,
    StatFs,
    Symlink,
    Tree,
)
from fusewire.errors import os_error
from fusewire.wire import (
    CreateIn,
    FlushIn,
    ForgetIn,
    GetattrIn,
    LinkIn,
    MkdirIn,
    MknodIn,
    OpenFlags,
    OpenIn,
    ReadIn,
    ReleaseIn,
    RenameIn,
    SetattrIn,
    SetattrValid,
    WriteIn,
    iter_direntplus,
    iter_dirents,
)


class Hello(File):
    def read(self, offset: int, size: int) -> bytes:
        return b"hello\n"[offset : offset + size]


class Note(File):
    """A file that can be written."""

    mode = 0o644

    def __init__(self, text: bytes = b"") -> None:
        self.text = bytearray(text)
        self.released = 0

    def getattr(self) -> Attributes:
        attributes = self.attributes()
        attributes.size = len(self.text)
        return attributes

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.text[offset : offset + size])

    def write(self, offset: int, data: memoryview) -> None:
        self.text[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        del self.text[size:]

    def release(self) -> None:
        self.released += 1


class Folder(Directory):
    """A directory that can be changed."""

    def __init__(self, **children: Node) -> None:
        self.children: dict[str, Node] = dict(children)

    def lookup(self, name: str) -> Node | None:
        return self.children.get(name)

    def list(self) -> dict[str, Node]:
        return self.children

    def create(self, name: str, mode: int) -> File:
        made = self.children[name] = Note()
        made.mode = stat.S_IMODE(mode)
        return made

    def mkdir(self, name: str, mode: int) -> Directory:
        made = self.children[name] = Folder()
        return made

    def mknod(self, name: str, mode: int, rdev: int) -> Node:
        made = self.children[name] = Special(mode, rdev)
        return made

    def symlink(self, name: str, target: str) -> Symlink:
        made = self.children[name] = Symlink(target)
        return made

    def link(self, name: str, node: Node) -> None:
        self.children[name] = node

    def unlink(self, name: str) -> None:
        del self.children[name]

    rmdir = unlink

    def rename(self, name: str, new_directory: Folder, new_name: str, flags: int) -> None:
        new_directory.children[new_name] = self.children.pop(name)


def serve(root: Any) -> Conversation:
    return Conversation(NodeFilesystem(root))


def look_up(kernel: Conversation, name: str, parent: int = 1) -> Any:
    reply = kernel.ask("LOOKUP", nodeid=parent, names=(os.fsencode(name),))
    if reply.error:
        raise os_error(reply.error)
    return reply.structs[0]


def open_file(kernel: Conversation, nodeid: int, flags: int = os.O_RDWR) -> Any:
    reply = kernel.ask("OPEN", nodeid=nodeid, body=OpenIn(flags=flags))
    if reply.error:
        raise os_error(reply.error)
    return reply.structs[0]


def listing(kernel: Conversation, nodeid: int = 1, name: str = "READDIR") -> list[bytes]:
    fh = kernel.ask("OPENDIR", nodeid=nodeid, body=OpenIn()).structs[0].fh
    names: list[bytes] = []
    offset = 0
    while True:
        data = kernel.ask(name, nodeid=nodeid, body=ReadIn(fh=fh, offset=offset, size=512)).data
        found = (
            [(entry.off, n) for entry, n in iter_dirents(data)]
            if name == "READDIR"
            else [(entry.dirent.off, n) for entry, n in iter_direntplus(data)]
        )
        if not found:
            return names
        names += [n for _, n in found]
        offset = found[-1][0]


# --- trees


def test_a_dict_is_a_tree() -> None:
    kernel = serve({"hello": Hello(), "notes.txt": b"hi", "deeper": {"still": b""}})
    assert listing(kernel) == [b".", b"..", b"hello", b"notes.txt", b"deeper"]
    deeper = look_up(kernel, "deeper")
    assert stat.S_ISDIR(deeper.attr.mode)
    assert look_up(kernel, "still", deeper.nodeid).attr.size == 0
    notes = look_up(kernel, "notes.txt")
    assert (notes.attr.size, stat.S_IMODE(notes.attr.mode)) == (2, 0o444)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "nul\0"])
def test_a_tree_refuses_names_that_no_file_can_have(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        Tree({name: b""})


def test_a_tree_refuses_a_name_that_is_too_long() -> None:
    Tree({"ä" * 127: b""})
    with pytest.raises(ValueError, match="longer than the 255 bytes"):
        Tree({"ä" * 128: b""})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, "'deep/a' is 3, which is no node, bytes or dict$"),
        (Hello, "call it to make one"),
        ("text", "'deep/a' is 'text', .*; for a file of that text say .encode()"),
        (bytearray(b"text"), r"; say bytes\(\.\.\.\) of it"),
    ],
)
def test_a_tree_refuses_what_is_no_node(value: object, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        NodeFilesystem({"deep": {"a": value}})


def test_one_file_may_be_the_whole_filesystem() -> None:
    assert stat.S_ISREG(serve(Hello()).ask("GETATTR", nodeid=1, body=GetattrIn()).structs[0].attr.mode)


def test_a_file_of_unknown_size_is_read_directly() -> None:
    kernel = serve({"hello": Hello(), "notes": b"hi"})
    hello, notes = look_up(kernel, "hello").nodeid, look_up(kernel, "notes").nodeid
    opened = open_file(kernel, hello, os.O_RDONLY)
    assert opened.open_flags == OpenFlags.FOPEN_DIRECT_IO
    assert open_file(kernel, notes, os.O_RDONLY).open_flags == 0
    assert bytes(kernel.ask("READ", nodeid=hello, body=ReadIn(fh=opened.fh, offset=2, size=2)).data) == b"ll"


def test_what_has_no_write_cannot_be_opened_for_writing_or_changed() -> None:
    kernel = serve({"hello": Hello()})
    nodeid = look_up(kernel, "hello").nodeid
    with pytest.raises(PermissionError):
        open_file(kernel, nodeid, os.O_WRONLY)
    changed = kernel.ask("SETATTR", nodeid=nodeid, body=SetattrIn(valid=SetattrValid.FATTR_MODE, mode=0o777))
    assert changed.error == errno.EPERM


def test_a_file_that_can_be_written_keeps_what_is_set() -> None:
    kernel = serve({"note": Note(b"hello")})
    nodeid = look_up(kernel, "note").nodeid
    fh = open_file(kernel, nodeid).fh
    kernel.ask("WRITE", nodeid=nodeid, body=WriteIn(fh=fh, offset=5, size=1), data=b"!")
    valid = SetattrValid.FATTR_SIZE | SetattrValid.FATTR_MODE | SetattrValid.FATTR_MTIME
    body = SetattrIn(valid=valid, size=4, mode=0o100600, mtime=9)
    attr = kernel.ask("SETATTR", nodeid=nodeid, body=body).structs[0].attr
    assert (attr.size, stat.S_IMODE(attr.mode), attr.mtime) == (4, 0o600, 9)


def test_what_can_be_written_is_so_by_its_mode_unless_it_says_another() -> None:
    class Log(File):
        def write(self, offset: int, data: memoryview) -> None: ...

    class Secret(Log):
        mode = 0o600

    class MoreSecret(Secret):
        def write(self, offset: int, data: memoryview) -> None: ...

    assert [cls.mode for cls in (File, Hello, Log, Secret, MoreSecret)] == [0o444, 0o444, 0o644, 0o600, 0o600]


def test_a_method_may_be_an_objects_own() -> None:
    taken = bytearray()
    log = File()
    log.write = lambda offset, data: taken.extend(data)  # type: ignore[method-assign]
    kernel = serve({"log": log})
    nodeid = look_up(kernel, "log").nodeid
    kernel.ask("WRITE", nodeid=nodeid, body=WriteIn(fh=open_file(kernel, nodeid).fh, size=1), data=b"!")
    assert taken == b"!"


def test_a_file_that_is_written_through_its_handles_can_be_truncated() -> None:
    class Through(File):
        size = 9

        def open(self, flags: int) -> Handle:
            return Handle()

        def truncate(self, size: int) -> None:
            self.size = size

    kernel = serve({"file": Through()})
    body = SetattrIn(valid=SetattrValid.FATTR_SIZE, size=4)
    assert kernel.ask("SETATTR", nodeid=look_up(kernel, "file").nodeid, body=body).structs[0].attr.size == 4


def test_a_file_without_read_says_that_it_has_none() -> None:
    kernel = serve({"file": File()})
    nodeid = look_up(kernel, "file").nodeid
    fh = open_file(kernel, nodeid, os.O_RDONLY).fh
    assert kernel.ask("READ", nodeid=nodeid, body=ReadIn(fh=fh, size=10)).error == errno.ENOSYS


def test_symlinks_and_special_files() -> None:
    kernel = serve({"link": Symlink("over/there"), "null": Special(stat.S_IFCHR | 0o666, os.makedev(1, 3))})
    link, null = look_up(kernel, "link"), look_up(kernel, "null")
    assert (link.attr.size, stat.S_ISLNK(link.attr.mode)) == (10, True)
    assert bytes(kernel.ask("READLINK", nodeid=link.nodeid).data) == b"over/there"
    assert (null.attr.rdev, stat.S_ISCHR(null.attr.mode)) == (0x103, True)


# --- numbers, lookups and forgets


def test_the_same_object_keeps_its_number() -> None:
    kernel = serve({"a": Hello(), "b": Hello()})
    first, other, again = look_up(kernel, "a"), look_up(kernel, "b"), look_up(kernel, "a")
    assert first.nodeid == again.nodeid != other.nodeid
    kernel.finish(kernel.send("FORGET", nodeid=first.nodeid, body=ForgetIn(nlookup=2)))
    assert kernel.ask("GETATTR", nodeid=first.nodeid, body=GetattrIn()).error == errno.ESTALE
    assert look_up(kernel, "a").nodeid == first.nodeid


@dataclass(frozen=True)
class Row(File):
    """Made anew each time it is asked for; rows of one key are equal."""

    key: int

    def read(self, offset: int, size: int) -> bytes:
        return str(self.key).encode()


class Rows(Directory):
    def list(self) -> Iterable[tuple[str, Node]]:
        return [(str(key), Row(key)) for key in range(3)]


def test_nodes_that_are_equal_are_one_file_and_are_let_go() -> None:
    kernel = serve({"rows": Rows()})
    rows = look_up(kernel, "rows").nodeid
    nodeids = {look_up(kernel, "1", rows).nodeid for _ in range(5)}
    assert len(nodeids) == 1
    kernel.finish(kernel.send("FORGET", nodeid=nodeids.pop(), body=ForgetIn(nlookup=5)))
    gc.collect()
    assert not [thing for thing in gc.get_objects() if isinstance(thing, Row)]


def test_readdirplus_counts_as_lookups() -> None:
    root = Folder(**{f"file-{number:03}": Note() for number in range(40)})
    kernel = serve(root)
    names = listing(kernel, name="READDIRPLUS")
    assert len(names) == 42
    assert {node.nlookup for node in root.children.values()} == {1}


def test_a_tree_is_mounted_once_at_a_time() -> None:
    tree = Tree({"a": b""})
    kernel = serve(tree)
    with pytest.raises(ValueError, match="mounted elsewhere"):
        serve(tree)
    kernel.session.destroy()
    assert listing(serve(tree)) == [b".", b"..", b"a"]


# --- links


def test_links_are_counted() -> None:
    note = Note(b"x")
    kernel = serve(Folder(a=note, b=Note()))
    nodeid = look_up(kernel, "a").nodeid
    assert kernel.ask("LINK", nodeid=1, names=(b"c",), body=LinkIn(oldnodeid=nodeid)).structs[0].attr.nlink == 2
    kernel.ask("UNLINK", nodeid=1, names=(b"a",))
    assert note.nlink == 1
    overwritten = kernel.session.filesystem.nodes[look_up(kernel, "b").nodeid]  # type: ignore[attr-defined]
    kernel.ask("RENAME", nodeid=1, names=(b"c", b"b"), body=RenameIn(newdir=1))
    assert (overwritten.nlink, note.nlink) == (0, 1)


def test_what_is_unlinked_while_open_goes_on() -> None:
    note = Note(b"alive")
    kernel = serve(Folder(a=note))
    nodeid = look_up(kernel, "a").nodeid
    fh = open_file(kernel, nodeid).fh
    kernel.ask("UNLINK", nodeid=1, names=(b"a",))
    assert bytes(kernel.ask("READ", nodeid=nodeid, body=ReadIn(fh=fh, size=10)).data) == b"alive"
    assert kernel.ask("GETATTR", nodeid=nodeid, body=GetattrIn()).structs[0].attr.nlink == 0
    kernel.ask("RELEASE", nodeid=nodeid, body=ReleaseIn(fh=fh))
    assert note.released == 1
    assert kernel.ask("READ", nodeid=nodeid, body=ReadIn(fh=fh, size=10)).error == errno.EBADF


def test_everything_that_can_be_made() -> None:
    kernel = serve(Folder())
    entry, opened = kernel.ask("CREATE", nodeid=1, names=(b"f",), body=CreateIn(flags=os.O_RDWR, mode=0o100640)).structs
    assert (stat.S_IMODE(entry.attr.mode), opened.fh) == (0o640, 1)
    assert stat.S_ISDIR(kernel.ask("MKDIR", nodeid=1, names=(b"d",), body=MkdirIn(mode=0o755)).structs[0].attr.mode)
    body = MknodIn(mode=stat.S_IFIFO | 0o600)
    assert stat.S_ISFIFO(kernel.ask("MKNOD", nodeid=1, names=(b"p",), body=body).structs[0].attr.mode)
    body = MknodIn(mode=stat.S_IFREG | 0o600)
    assert stat.S_ISREG(kernel.ask("MKNOD", nodeid=1, names=(b"r",), body=body).structs[0].attr.mode)
    assert kernel.ask("SYMLINK", nodeid=1, names=(b"s", b"f")).structs[0].attr.size == 1
    assert listing(kernel) == [b".", b"..", b"f", b"d", b"p", b"r", b"s"]
    assert kernel.ask("RMDIR", nodeid=1, names=(b"d",)).error == 0


def test_a_directory_that_can_be_changed_keeps_what_is_set() -> None:
    body = SetattrIn(valid=SetattrValid.FATTR_MODE | SetattrValid.FATTR_MTIME, mode=0o40700, mtime=9)
    attr = serve(Folder()).ask("SETATTR", nodeid=1, body=body).structs[0].attr
    assert (attr.mode, attr.mtime) == (stat.S_IFDIR | 0o700, 9)
    assert serve({}).ask("SETATTR", nodeid=1, body=body).error == errno.EPERM


def test_names_are_of_255_bytes_at_most() -> None:
    kernel = serve(Folder())
    with pytest.raises(OSError, match=os.strerror(errno.ENAMETOOLONG)):
        look_up(kernel, "ä" * 128)
    made = kernel.ask("MKDIR", nodeid=1, names=(b"a" * 256,), body=MkdirIn())
    assert made.error == errno.ENAMETOOLONG


@pytest.mark.parametrize("name", ["MKDIR", "SYMLINK", "UNLINK"])
def test_a_tree_cannot_be_changed(name: str) -> None:
    names = (b"a", b"b") if name == "SYMLINK" else (b"a",)
    body = MkdirIn() if name == "MKDIR" else None
    assert serve({"a": b""}).ask(name, nodeid=1, names=names, body=body).error == errno.EPERM


class Odd(Folder):
    """A directory whose methods give what they should not."""

    def __init__(self, given: Any) -> None:
        self.given = given

    def lookup(self, name: str) -> Any:
        return self.given

    def list(self) -> Any:
        return self.given

    def create(self, name: str, mode: int) -> Any:
        return self.given

    mkdir = create

    def mknod(self, name: str, mode: int, rdev: int) -> Any:
        return self.given

    def symlink(self, name: str, target: str) -> Any:
        return self.given


@pytest.mark.parametrize(
    ("name", "fields", "given", "words"),
    [
        ("LOOKUP", {"names": (b"a",)}, b"text", "Odd.lookup gave b'text', which is no Node"),
        ("CREATE", {"names": (b"a",), "body": CreateIn()}, None, "Odd.create gave None, which is no File"),
        ("MKNOD", {"names": (b"a",), "body": MknodIn(mode=stat.S_IFREG)}, None, "Odd.create gave None, which is no"),
        ("MKNOD", {"names": (b"a",), "body": MknodIn(mode=stat.S_IFIFO)}, None, "Odd.mknod gave None, which is no"),
        ("MKDIR", {"names": (b"a",), "body": MkdirIn()}, None, "Odd.mkdir gave None, which is no Directory"),
        ("SYMLINK", {"names": (b"a", b"b")}, "b", "Odd.symlink gave 'b', which is no Symlink"),
    ],
)
def test_a_method_that_gives_no_node_is_named(
    name: str, fields: dict[str, Any], given: object, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert serve(Odd(given)).ask(name, nodeid=1, **fields).error == errno.EIO
    assert words in caplog.text


@pytest.mark.parametrize("plus", ["READDIR", "READDIRPLUS"])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "list() gave None: it must give a dict of nodes by name, or pairs of a name and a node"),
        (["ab", "cd"], "list() gave 'ab': it must give a dict"),
        ([("a", Hello(), 3)], "it must give a dict"),
        ({"a": b"text"}, "Odd.list gave b'text', which is no Node"),
        ({"a": {"b": Hello()}}, "which is no Node"),
        ({b"a": Hello()}, "Odd.list gave b'a', which is no str"),
        ({"a/b": Hello()}, "'a/b' is listed, and cannot be the name of a file"),
    ],
)
def test_a_listing_of_something_else_is_named(
    plus: str, given: object, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    kernel = serve(Odd(given))
    fh = kernel.ask("OPENDIR", nodeid=1, body=OpenIn()).structs[0].fh
    assert kernel.ask(plus, nodeid=1, body=ReadIn(fh=fh, size=4096)).error == errno.EIO
    assert words in caplog.text


def test_dots_that_are_listed_are_left_out() -> None:
    assert listing(serve(Odd({".": Hello(), "..": Hello(), "...": Hello()}))) == [b".", b"..", b"..."]


# --- open files as objects


class Counter(File):
    """Each opening has a count of its own."""

    class Opening(Handle):
        direct_io = True
        nonseekable = True

        def __init__(self) -> None:
            self.count = 0

        def read(self, offset: int, size: int) -> bytes:
            self.count += 1
            return b"%d" % self.count

        def flush(self) -> None:
            raise os_error(errno.EDQUOT)

    def open(self, flags: int) -> Handle:
        return self.Opening()


def test_an_open_file_is_an_object() -> None:
    kernel = serve({"counter": Counter()})
    nodeid = look_up(kernel, "counter").nodeid
    one, two = open_file(kernel, nodeid), open_file(kernel, nodeid)
    assert one.open_flags == OpenFlags.FOPEN_DIRECT_IO | OpenFlags.FOPEN_NONSEEKABLE

    def read(fh: int) -> bytes:
        return bytes(kernel.ask("READ", nodeid=nodeid, body=ReadIn(fh=fh, size=10)).data)

    assert [read(one.fh), read(one.fh), read(two.fh)] == [b"1", b"2", b"1"]
    assert kernel.ask("FLUSH", nodeid=nodeid, body=FlushIn(fh=one.fh)).error == errno.EDQUOT


def test_open_must_return_a_handle(caplog: pytest.LogCaptureFixture) -> None:
    class Wrong(File):
        def open(self, flags: int) -> Any:
            return 3

    class Misspelt(Handle):
        def raed(self, offset: int, size: int) -> bytes:
            return b""

    class Opens(File):
        def open(self, flags: int) -> Misspelt:
            return Misspelt()

    kernel = serve({"a": Wrong(), "b": Opens()})
    assert kernel.ask("OPEN", nodeid=look_up(kernel, "a").nodeid, body=OpenIn()).error == errno.EIO
    assert "Wrong.open gave 3, which is no Handle" in caplog.text
    assert kernel.ask("OPEN", nodeid=look_up(kernel, "b").nodeid, body=OpenIn()).error == errno.EIO
    assert "Misspelt.raed is never called: did you mean 'read'?" in caplog.text


# --- coroutines


class Slow(Directory):
    """Everything of it takes its time."""

    async def getattr(self) -> Attributes:
        await asyncio.sleep(0)
        return self.attributes()

    async def lookup(self, name: str) -> Node:
        await asyncio.sleep(0)
        if name == "gone":
            raise FileNotFoundError
        return SlowFile()

    async def list(self) -> AsyncIterator[tuple[str, Node]]:
        for name in ("a", "b"):
            await asyncio.sleep(0)
            yield name, SlowFile()


class SlowFile(Note):
    async def read(self, offset: int, size: int) -> bytes:  # type: ignore[override]
        await asyncio.sleep(0)
        return b"slow"

    async def setattr(self, changes: SetAttributes) -> None:
        await asyncio.sleep(0)


def test_nodes_may_be_coroutines_all_the_way() -> None:
    kernel = serve({"slow": Slow()})
    slow = look_up(kernel, "slow").nodeid
    assert listing(kernel, slow) == listing(kernel, slow, "READDIRPLUS") == [b".", b"..", b"a", b"b"]
    found = look_up(kernel, "a", slow).nodeid
    fh = open_file(kernel, found).fh
    assert bytes(kernel.ask("READ", nodeid=found, body=ReadIn(fh=fh, size=10)).data) == b"slow"
    assert kernel.ask("SETATTR", nodeid=found, body=SetattrIn()).error == 0
    with pytest.raises(FileNotFoundError):
        look_up(kernel, "gone", slow)


def test_a_directory_may_have_only_an_async_list() -> None:
    class Listed(Directory):
        async def list(self) -> dict[str, Node]:
            return {"a": Note(b"x")}

    assert look_up(serve(Listed()), "a").attr.size == 1


# --- misspelt


@pytest.mark.parametrize(
    ("method", "meant"),
    [
        ("raedlink", "readlink"),
        ("getAttr", "getattr"),
        ("raed", "read"),
        ("read_link", "readlink"),
        ("get_xattr", "getxattr"),
    ],
)
def test_a_misspelt_method_is_refused_by_its_name(method: str, meant: str) -> None:
    base = Symlink if meant == "readlink" else File
    wrong = type("Wrong", (base,), {method: lambda self: b""})
    with pytest.raises(TypeError, match=rf"Wrong\.{method} is never called: did you mean '{meant}'"):
        NodeFilesystem({"deep": {"in": {"the": wrong()}}})


def test_parameters_that_do_not_fit_are_refused() -> None:
    class Wrong(File):
        def read(self, offset: int) -> bytes:  # type: ignore[override]
            return b""

    with pytest.raises(TypeError, match=r"Wrong\.read must take \(self, offset, size\)"):
        NodeFilesystem(Wrong())


def test_helpers_are_free() -> None:
    class Fine(File):
        def render(self) -> bytes:
            return b""

        def _reed(self) -> None: ...

        def read(self, offset: int, size: int, extra: bool = False) -> bytes:
            return self.render()

    NodeFilesystem(Fine())


def test_statfs_is_the_roots() -> None:
    class Full(Folder):
        def statfs(self) -> StatFs:
            return StatFs(blocks=7)

    assert serve(Full()).ask("STATFS", nodeid=1).structs[0].st.blocks == 7
