"""Threads as /proc shows them: those of real processes, and texts that no process of ours writes."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusewire.watch.proc import (
    contents,
    count_switches,
    link,
    names,
    parse_stack,
    parse_syscall,
    thread,
    threads,
)
from fusewire.watch.syscalls import read_table, row_of

HEADERS = {"x86_64": "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}
GONE = 1 << 22  # no process has this number: PID_MAX_LIMIT


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for a byte that never comes; by its name it could also be the rest of a line of /proc."""
    program = tmp_path / ") R 1 ("
    program.symlink_to(shutil.which("cat") or "/bin/cat")
    process = subprocess.Popen([program], stdin=subprocess.PIPE)
    while not contents(f"/proc/{process.pid}/wchan").startswith((b"anon_pipe", b"pipe_")):
        select.select([], [], [], 0.005)
    yield process
    process.communicate()


def test_a_sleeping_thread_is_seen_where_it_sleeps(sleeper: subprocess.Popen[bytes]) -> None:
    (found,) = threads(sleeper.pid)
    assert (found.pid, found.tid, found.comm, found.state) == (sleeper.pid, sleeper.pid, ") R 1 (", "S")
    assert found.syscall is not None
    assert (found.syscall.name, found.syscall.arguments[0]) == ("read", 0)
    assert found.passes(found.wchan)
    assert found.switches > 0
    assert found.is_visible
    assert (found.is_exiting, found.is_kernel, found.is_dead) == (False, False, False)


def test_who_sleeps_all_the_time_gives_up_no_cpu(sleeper: subprocess.Popen[bytes]) -> None:
    assert threads(sleeper.pid) == threads(sleeper.pid)


def test_a_running_thread_is_in_no_call_that_we_could_see() -> None:
    found = thread(os.getpid(), os.getpid())
    assert found is not None
    assert (found.state, found.wchan) == ("R", "")


def test_what_is_gone_is_empty_and_no_error() -> None:
    assert threads(GONE) == []
    assert thread(GONE, GONE) is None
    assert (contents(f"/proc/{GONE}/stat"), names(f"/proc/{GONE}/fd"), link(f"/proc/{GONE}/exe")) == (b"", [], "")


def test_a_dead_child_is_a_zombie(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    select.select([os.pidfd_open(sleeper.pid)], [], [])
    (found,) = threads(sleeper.pid)
    assert found.is_dead


def test_texts_of_the_kernel_are_read() -> None:
    fault = parse_syscall(b"-1 0x7ffc1e4f0798 0x7f9988d76b17\n")
    assert fault is not None
    assert (fault.number, fault.name, fault.arguments) == (-1, "page fault", ())
    assert parse_syscall(b"running\n") is parse_syscall(b"") is None
    assert parse_stack(b"[<0>] request_wait_answer+0x112/0x210\n[<0>] fuse_lookup.part.0+0x75/0x1b0\n") == (
        "request_wait_answer",
        "fuse_lookup",
    )
    assert parse_stack(b"") is None
    assert count_switches(b"voluntary_ctxt_switches:\t3\nnonvoluntary_ctxt_switches:\t4\n") == 7
    assert count_switches(b"") == -1


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_are_those_of_the_headers(machine: str) -> None:
    """A call that these headers are too old for is not compared."""
    header = Path("/usr/include") / HEADERS[machine]
    if not header.exists():
        pytest.skip(f"there is no {header} to compare with")
    text = header.read_text()
    defined = {int(number): name for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
    ours = {number: row.name for number, row in read_table(machine).items()}
    wrong = {n: name for n, name in ours.items() if n in defined and defined[n] not in (name, "syscalls", "fstatat")}
    assert wrong == {}
    assert len(ours.keys() & defined.keys()) > 80


def test_a_call_says_which_arguments_lead_to_files() -> None:
    names_of = {row.name: row for row in read_table("x86_64").values()}
    assert [(lead.fd, lead.path, lead.changes_directory) for lead in names_of["renameat2"].leads] == [
        (0, 1, True),
        (2, 3, True),
    ]
    assert [(lead.fd, lead.path) for lead in names_of["read"].leads] == [(0, -1)]
    assert row_of(9999).leads == ()
