"""Paths: what they lead to, and what is wrong with them."""

from __future__ import annotations

import errno
import os
import pathlib
from typing import Any

import pytest

from fusewire.filesystems.memory import Memory
from fusewire.kernel import Options, Process
from hand_daemon import DIRECTORY, FILE, SYMLINK, daemon_at, entry, errno_of, hand_daemon, process


class Tree:
    """A memory filesystem in an embedded kernel, and one process."""

    def __init__(self) -> None:
        from fusewire.embedded import Kernel

        self.kernel = Kernel(Memory())
        self.process = getattr(self.kernel.process(), "awaitable", None) or self.kernel.process()

    def __call__(self, name: str, *arguments: Any, **more: Any) -> Any:
        method = getattr(self.process, name)
        return self.kernel.run(method(*arguments, **more))

    def error(self, name: str, *arguments: Any, **more: Any) -> OSError:
        try:
            self(name, *arguments, **more)
        except OSError as error:
            return error
        raise AssertionError("it did not fail")


@pytest.fixture
def tree() -> Tree:
    made = Tree()
    made("mkdir", "/d")
    made("mkdir", "/d/e")
    made("mknod", "/d/f")
    return made


@pytest.mark.parametrize("path", ["/d/e", "/d/e/", "//d///e//", "/d/./e/.", "/d/e/..//e", "/../../d/e", b"/d/e"])
def test_a_path_may_be_written_in_many_ways(tree: Tree, path: str | bytes) -> None:
    assert tree("stat", path).st_ino == tree("stat", "/d/e").st_ino
    assert tree("stat", pathlib.Path("/d/e")).st_ino == tree("stat", path).st_ino


def test_a_relative_path_begins_where_the_process_is(tree: Tree) -> None:
    tree("chdir", "/d")
    assert tree("stat", "e/../f").st_ino == tree("stat", "/d/f").st_ino
    assert tree("getcwd") == "/d"
    tree("chdir", "..")
    assert tree("getcwd") == "/"
    assert tree("getcwdb") == b"/"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("", errno.ENOENT),
        ("/x", errno.ENOENT),
        ("/x/y", errno.ENOENT),
        ("/d/f/", errno.ENOTDIR),
        ("/d/f/.", errno.ENOTDIR),
        ("/d/f/..", errno.ENOTDIR),
        ("/d/f/x", errno.ENOTDIR),
        ("/" + "a/" * 2048, errno.ENAMETOOLONG),
        ("/" + "x" * 5000, errno.ENAMETOOLONG),
    ],
)
def test_a_path_that_leads_nowhere_says_why_and_which_it_was(tree: Tree, path: str, code: int) -> None:
    error = tree.error("stat", path)
    assert (error.errno, error.filename) == (code, path)


def test_a_nul_in_a_path_is_no_matter_of_the_kernels(tree: Tree) -> None:
    with pytest.raises(ValueError, match="null"):
        tree("mkdir", "/a\0b")


@pytest.mark.parametrize("target", ["/d/e", "d/e", "d/../d/./e/", "up/../d/e", "//d//e"])
def test_a_symlink_is_followed_from_where_it_stands(tree: Tree, target: str) -> None:
    tree("symlink", "d", "/up")
    tree("symlink", target, "/s")
    assert tree("stat", "/s").st_ino == tree("stat", "/d/e").st_ino
    assert tree("lstat", "/s").st_ino != tree("stat", "/s").st_ino
    assert tree("lstat", "/s/").st_ino == tree("stat", "/s").st_ino
    assert tree("stat", "/s/../f").st_ino == tree("stat", "/d/f").st_ino
    assert tree("readlink", "/s") == target
    assert tree("readlink", b"/s") == target.encode()


@pytest.mark.parametrize(("links", "code"), [(40, 0), (41, errno.ELOOP)])
def test_forty_symlinks_are_followed_and_no_more(tree: Tree, links: int, code: int) -> None:
    tree("symlink", "/d/e", "/s1")
    for number in range(1, links):
        tree("symlink", f"/s{number}", f"/s{number + 1}")
    if code:
        assert tree.error("stat", f"/s{links}").errno == code
    else:
        tree("stat", f"/s{links}")


def test_a_symlink_to_itself_is_a_loop(tree: Tree) -> None:
    tree("symlink", "self", "/self")
    assert tree.error("stat", "/self").errno == errno.ELOOP
    assert tree.error("mkdir", "/self/x").errno == errno.ELOOP
    assert tree.error("mkdir", "/self").errno == errno.EEXIST


def test_a_symlink_to_nothing_is_there_and_leads_nowhere(tree: Tree) -> None:
    tree("symlink", "nothing", "/s")
    assert tree.error("stat", "/s").errno == errno.ENOENT
    assert tree("readlink", "/s") == "nothing"
    assert tree.error("readlink", "/s/").errno == errno.ENOENT
    assert tree.error("readlink", "/d").errno == errno.EINVAL


def test_a_path_may_begin_at_an_open_directory(tree: Tree) -> None:
    fd = tree("open", "/d", os.O_RDONLY)
    assert tree("stat", "e", dir_fd=fd).st_ino == tree("stat", "/d/e").st_ino
    assert tree("stat", "/d/f", dir_fd=fd).st_ino == tree("stat", "/d/f").st_ino
    tree("fchdir", fd)
    assert tree("getcwd") == "/d"
    file = tree("open", "f", os.O_RDONLY)
    assert tree.error("stat", "e", dir_fd=file).errno == errno.ENOTDIR
    assert tree.error("stat", "e", dir_fd=99).errno == errno.EBADF
    error = tree.error("chdir", file)
    assert (error.errno, error.filename) == (errno.ENOTDIR, file)


def test_a_walk_searches_each_directory_and_asks_for_each_name_once() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    assert errno_of(daemon, p.readlink("/a/b/c"), entry(2, DIRECTORY), entry(3, DIRECTORY), entry(4)) == errno.EINVAL
    assert daemon.asked == ["LOOKUP 1 a", "LOOKUP 2 b", "LOOKUP 3 c"]
    assert daemon.superblock.root.count == 3  # mount, process, and the name that is kept


def test_a_symlink_is_read_when_it_is_followed_and_the_last_is_looked_up_from_there() -> None:
    daemon = hand_daemon()
    answers = entry(2, SYMLINK), b"d", entry(3, DIRECTORY), entry(4)
    assert errno_of(daemon, process(daemon).readlink("/s/f"), *answers) == errno.EINVAL
    assert daemon.asked == ["LOOKUP 1 s", "READLINK 2", "LOOKUP 1 d", "LOOKUP 3 f"]


def test_a_symlink_says_what_stands_before_its_first_nul() -> None:
    daemon = hand_daemon()
    assert daemon.call(process(daemon).readlink("/s"), entry(2, SYMLINK), b"ab\0c") == "ab"


def test_a_walk_crosses_mounts_and_dots_lead_back() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    daemon.call(p.chdir("/m"), entry(2, DIRECTORY), errno.ENOSYS)
    inner = daemon_at(daemon.system, p.cwd, options=Options(allow_other=True))
    inner.call(p.chdir("/m/x"), entry(2, DIRECTORY), errno.ENOSYS)
    assert inner.asked == ["LOOKUP 1 x", "ACCESS 2"]
    assert inner.call(p.getcwd()) == "/m/x"
    inner.call(p.chdir(".."))
    assert inner.call(p.getcwd()) == "/m"
    inner.call(p.chdir(".."))
    assert inner.call(p.getcwd()) == "/"
    inner.call(p.chdir("m"))
    assert p.cwd is inner.superblock.root


def test_an_error_in_the_middle_leaves_no_reference_behind() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    assert errno_of(daemon, p.readlink("/a/b"), entry(2, DIRECTORY), errno.EPROTO) == errno.EPROTO
    assert errno_of(daemon, p.readlink("/f/b"), entry(3, FILE)) == errno.ENOTDIR
    daemon.superblock.drop_caches()
    assert daemon.superblock.root.count == 2
    assert list(daemon.superblock.inodes) == [1]


def test_who_is_killed_in_the_middle_of_a_walk_leaves_no_reference_behind() -> None:
    daemon = hand_daemon()
    p: Process = process(daemon)
    task = daemon.start(p.readlink("/a/b"))
    daemon.answer(daemon.read(), entry(2, DIRECTORY))
    task.kill()
    daemon.system.runner.run()
    assert task.finished
    daemon.superblock.drop_caches()
    assert daemon.superblock.root.count == 2
