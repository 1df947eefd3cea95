"""Listings and names: every name once, every byte of it kept.

Source: readdir(3), statvfs(3).
"""

from __future__ import annotations

import os
from errno import ENOENT

from torture.conformance.tester import Tester, case

NAMES = (
    "plain",
    "with space",
    "-dash",
    ".hidden",
    "...",
    "..a",
    "new\nline",
    "tab\t",
    "back\\slash",
    "quote'\"",
    "*?[glob]",
    "ünïcödé",
    "日本語",
    "\U0001f600",
    "e\u0301",  # e and a combining accent
    "\u00e9",  # the same letter, composed: another name
    "CASE",
    "case",
    "\udcff",  # the byte 0xff: not UTF-8
    "\udc80\udc81half\udcc3",
    "\x01\x7f",
    "%s%n",
    "c:",
    "b" * 255,
    "é" * 127,  # 254 bytes
)


@case("names")
def bytes_are_kept(t: Tester) -> None:
    for name in NAMES:
        t.works(t.root.create, name, 0o644, os.fsencode(name))
    t.equal("names", sorted(t.root.listdir(".")), sorted(NAMES))
    for name in NAMES:
        t.equal("content", t.root.read_file(name), os.fsencode(name))
        t.works(t.root.rename, name, "moved")
        t.works(t.root.symlink, name, f"l{name[:80]}")
        t.equal("target", t.root.readlink(f"l{name[:80]}"), name)
        t.works(t.root.rename, "moved", name)
        t.works(t.root.unlink, f"l{name[:80]}")
    for name in NAMES:
        t.works(t.root.unlink, name)
    t.equal("names in the end", t.root.listdir("."), [])


@case("names")
def case_and_accents_matter(t: Tester) -> None:
    t.root.create("Name")
    t.fails(ENOENT, t.root.stat, "name")
    t.root.create("\u00e9")
    t.fails(ENOENT, t.root.stat, "e\u0301")
    t.fails(ENOENT, t.root.stat, "Name ")


@case("readdir", needs="root")
def kinds_in_a_listing(t: Tester) -> None:
    for kind in ("file", "dir", "symlink", "fifo", "socket", "char", "block"):
        t.put(kind, kind)
    wanted = {"file": "file", "dir": "dir", "symlink": "symlink"}
    wanted |= dict.fromkeys(("fifo", "socket", "char", "block"), "special")
    t.equal("kinds", dict(sorted(t.root.entries(".").items())), dict(sorted(wanted.items())))
    for name, number in t.root.inodes(".").items():
        t.equal(f"inode number of {name} in the listing", number, t.root.lstat(name).st_ino)


@case("readdir")
def many_names(t: Tester) -> None:
    """1500 names need several calls of getdents: none is lost or doubled at the seams."""
    wanted = [f"{'n' * (number % 60)}-{number}" for number in range(1500)]
    for name in wanted:
        t.root.create(name)
    listed = t.works(t.root.listdir, ".")
    t.equal("how many", len(listed), 1500)
    t.true("all of them", sorted(listed) == sorted(wanted))
    for name in wanted[::2]:
        t.root.unlink(name)
    t.true("half of them, later", sorted(t.root.listdir(".")) == sorted(wanted[1::2]))
    for name in wanted[1::2]:
        t.root.unlink(name)
    t.equal("none in the end", t.root.listdir("."), [])


@case("readdir")
def listings_follow_changes(t: Tester) -> None:
    t.root.mkdir("dir", 0o755)
    seen = [t.root.listdir("dir")]
    t.root.create("dir/a")
    seen.append(t.root.listdir("dir"))
    t.root.rename("dir/a", "dir/b")
    seen.append(t.root.listdir("dir"))
    t.root.link("dir/b", "dir/c")
    seen.append(sorted(t.root.listdir("dir")))
    t.root.unlink("dir/b")
    seen.append(t.root.listdir("dir"))
    t.equal("listings", seen, [[], ["a"], ["b"], ["b", "c"], ["c"]])


@case("readdir")
def an_open_directory_rewinds(t: Tester) -> None:
    fd = t.root.open(".", os.O_RDONLY)
    t.root.create("one")
    t.equal("by descriptor", t.root.listdir(fd), ["one"])
    t.root.create("two")
    t.equal("by descriptor, again", sorted(t.root.listdir(fd)), ["one", "two"])


@case("statfs")
def numbers_make_sense(t: Tester) -> None:
    found = t.works(t.root.statvfs, ".")
    t.true("block size", 512 <= found.f_bsize <= 1 << 22, found.f_bsize)
    t.true("fragment size", 512 <= found.f_frsize <= 1 << 22, found.f_frsize)
    t.true("free blocks", found.f_bavail <= found.f_bfree <= found.f_blocks, found)
    t.true("free inodes", found.f_favail <= found.f_ffree <= found.f_files, found)
    t.equal("longest name", found.f_namemax, 255)
