"""A fixed set of programs agrees on both kernels. Many more, by chance: `make differential`."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from differential.compare import compare
from differential.comparer import Comparer
from differential.generate import generate
from differential.planted import HELD, held_program
from differential.program import Program
from differential.real import Machine
from differential.subjects import SUBJECTS

pytestmark = pytest.mark.kernel

SEEDS = range(25)
CREATE = os.O_CREAT | os.O_RDWR

BY_HAND = {
    "a file is written, read, and removed while it is open": Program.of(
        "memory",
        (0, "open", 0, "a", CREATE, 0o644),
        (0, "write", 0, b"hello"),
        (0, "pread", 0, 100, 0),
        (0, "unlink", "a"),
        (0, "fstat", 0),
        (0, "pwrite", 0, b"still", 5),
        (0, "pread", 0, 100, 0),
        (0, "close", 0),
        (0, "stat", "a"),
    ),
    "a directory is listed by one while another changes it": Program.of(
        "memory, asked each time",
        (0, "chmod", "/", 0o777),
        (1, "mkdir", "d", 0o755),
        (0, "open", 0, "d", os.O_RDONLY | os.O_DIRECTORY, 0),
        (0, "getdents", 0, 64),
        (1, "mkdir", "d/new", 0o755),
        (0, "getdents", 0, 1024),
        (0, "listdir", "d"),
        (0, "close", 0),
        (2, "rmdir", "d/new"),
        (1, "rmdir", "d/new"),
    ),
    "who closes hears that another could not tell the times": Program.of(
        "writeback, asked each time",
        (0, "chmod", "/", 0o777),
        (0, "hold", "GETATTR", 0),
        (1, "unlink", "/b"),
        (0, "open", 1, "b", CREATE, 0o644),
        (0, "hold", "SETATTR", 1),
        (0, "let_go"),
        (0, "close", 1),
        (1, "kill"),
    ),
    "what is written while another closes": Program.of(
        "writeback",
        (0, "chmod", "/", 0o777),
        (0, "umask", 0),
        (0, "open", 0, "/a", CREATE, 0o666),
        (1, "open", 0, "/a", os.O_RDWR, 0),
        (0, "write", 0, b"z" * 10000),
        (0, "hold", "WRITE", 0),
        (1, "close", 0),
        (0, "pwrite", 0, b"y", 0),
        (0, "pwrite", 0, b"y", 10000),
        (0, "pwrite", 0, b"y" * 4096, 8192),
        (0, "let_go"),
    ),
    "syncfs while a write is held back": Program.of(
        "writeback",
        (0, "open", 0, "/a", CREATE, 0o666),
        (0, "open", 1, "/b", CREATE, 0o666),
        (0, "write", 0, b"z" * 10000),
        (0, "write", 1, b"z" * 10000),
        (0, "hold", "WRITE", 0),
        (0, "syncfs", 0),
        (0, "write", 0, b"y"),
        (0, "let_go"),
        (0, "syncfs", 0),
    ),
    "what is stored to mapped memory is in the file": Program.of(
        "nodes",
        (0, "open", 0, "a", CREATE, 0o644),
        (0, "ftruncate", 0, 8192),
        (0, "mmap", 0, 0, 8192, 1, 3, 0),
        (0, "poke", 0, 4096, b"stored"),
        (0, "peek", 0, 4096, 10),
        (0, "munmap", 0),
        (0, "close", 0),
        (0, "open", 0, "a", os.O_RDONLY, 0),
        (0, "pread", 0, 10, 4096),
        (0, "close", 0),
    ),
    "a link, a name that is exchanged, and a name that is taken": Program.of(
        "local",
        (0, "mknod", "a", 0o100644, 0),
        (0, "link", "a", "b", 0),
        (0, "symlink", "b", "c"),
        (0, "renameat2", "a", "c", 2),
        (0, "readlink", "a"),
        (0, "stat", "c"),
        (0, "renameat2", "a", "c", 1),
        (0, "unlink", "b"),
        (0, "stat", "a"),
        (0, "stat", "c"),
    ),
    "who is killed has every FLUSH interrupted that is not answered": Program.of(
        "nodes, asked each time",
        (0, "open", 3, "b", CREATE, 0o666),
        (0, "hold", "FLUSH", 1),
        (0, "kill"),
        (0, "let_go"),
    ),
    "who exits releases what he opened last first": Program.of(
        "memory",
        (0, "open", 1, "a", CREATE, 0o666),
        (0, "open", 2, "b", CREATE, 0o666),
        (0, "exit"),
    ),
    "a signal does not cut a listing short": Program.of(
        "memory",
        (0, "mkdir", "d", 0o755),
        (0, "open", 0, ".", os.O_RDONLY | os.O_DIRECTORY, 0),
        (0, "hold", "READDIRPLUS", 0),
        (0, "getdents", 0, 4096),
        (0, "interrupt"),
        (0, "let_go"),
    ),
    "poll looks once more when a signal comes": Program.of(
        "locking",
        (0, "open", 4, "e", CREATE, 0o666),
        (0, "poll", 4, 5, 1),
        (0, "notify"),
        (0, "interrupt"),
    ),
    "times wait for whoever writes the file back": Program.of(
        "writeback",
        (0, "open", 3, "/d", CREATE, 0o666),
        (0, "hold", "WRITE", 0),
        (1, "open", 0, "d", os.O_RDWR, 0),
        (1, "write", 0, b"q" * 8192),
        (1, "close", 0),
        (0, "unlink", "d"),
        (0, "let_go"),
    ),
    "one who is asked for an ACL twice at once tells it twice": Program.of(
        "memory",
        (0, "chmod", "/", 0o777),
        (1, "mkdir", "c", 0o777),
        (0, "hold", "GETXATTR", 0),
        (0, "stat", "c/a"),
        (2, "stat", "c/a"),
        (2, "stat", "c/b"),
        (0, "let_go"),
    ),
    "a link is not forgotten while it is followed": Program.of(
        "missing",
        (0, "symlink", "../a", "a"),
        (0, "open", 1, "a", os.O_RDWR, 0),
        (0, "stat", "a"),
    ),
    "users keep each other out": Program.of(
        "memory",
        (0, "chmod", "/", 0o1777),
        (1, "umask", 0o077),
        (1, "open", 0, "mine", CREATE, 0o666),
        (2, "open", 0, "mine", os.O_RDONLY, 0),
        (2, "unlink", "mine"),
        (1, "chown", "mine", -1, 1000),
        (1, "chmod", "mine", 0o640),
        (2, "open", 0, "mine", os.O_RDONLY, 0),
        (2, "read", 0, 10),
        (2, "access", "mine", os.W_OK, 0),
        (1, "close", 0),
        (2, "close", 0),
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_program_written_by_hand_agrees(comparer: Comparer, name: str) -> None:
    difference = comparer.difference(BY_HAND[name])
    assert difference is None, f"\n{difference}"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_program_by_chance_agrees(comparer: Comparer, seed: int) -> None:
    difference = comparer.difference(generate(seed))
    assert difference is None, f"\n{comparer.shrunk(difference)}"


@pytest.mark.parametrize("opcode", HELD)
def test_two_at_once_agree(comparer: Comparer, opcode: str) -> None:
    """Whoever waits for a lock that the kernel holds during a request waits on both."""
    program = held_program(opcode)
    difference = comparer.difference(program)
    assert difference is None, f"\n{difference}"


@pytest.mark.parametrize("subject", SUBJECTS)
def test_linux_agrees_with_itself(machine: Machine, subject: str) -> None:
    """What the rules let pass is all that one kernel does differently twice."""
    program = generate(1, subject=subject)
    difference = compare(program, machine.run(program), machine.run(program), Counter())
    assert difference is None, f"\n{difference}"
