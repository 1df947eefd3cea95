"""What `fusewire doctor` prints: the words, the diagram, twenty lines, the command to type next; and its question."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import hung_mounts
from fusewire.cli import doctor
from fusewire.watch import Certainty, Diagnosis, Edge, Scenario, Server, State
from fusewire.watch.drawing import drawn
from fusewire.watch.wait_graph import Kind
from hung_mounts import Hang

LOCK = "the directory /mnt/x"


def edge(pid: int, command: str, call: str, kind: Kind, serves: bool = False, **others: object) -> Edge:
    one = Edge(pid, pid, command, call, "/mnt/x/file", kind, (40,), None, "", 12.0, serves)
    return one._replace(**others)  # type: ignore[arg-type]


RM = edge(215, "rm", "unlinkat", Kind.REQUEST)
PYTHON = edge(210, "python3", "unlink", Kind.LOCK, serves=True, holder=215, lock=LOCK)

DEADLOCKED = Diagnosis(
    connection=40,
    mountpoints=("/mnt/x",),
    fstype="fuse.mine",
    source="mine",
    state=State.DEADLOCKED,
    certainty=Certainty.CERTAIN,
    waiting=1,
    oldest=12.0,
    servers=(Server(210, "python3", 1, 1, 0, True),),
    edges=(PYTHON, RM),
    scenario=Scenario.SELF_ACCESS,
    cure="fusewire doctor --fix 40",
)
IDLE = replace(DEADLOCKED, state=State.IDLE, waiting=0, edges=(), scenario=None, cure="")


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


# --- the diagram


def test_a_hang_is_drawn_in_two_columns_and_what_is_inferred_bears_a_dot() -> None:
    assert drawn(DEADLOCKED) == [
        '  |  "rm", pid 215                       |  "python3", pid 210, the daemon',
        "  |                                      |",
        '  |  >sys_unlinkat("/mnt/x/file")        |',
        '  |  · [acquire the directory "x"]       |',
        "  |  [sleep on req->waitq]               |",
        "  |                                      |  · <sys_read()",
        '  |                                      |  >sys_unlink("/mnt/x/file")',
        '  |                                      |  [sleep on the directory "x"]',
        "  |                                      |  *DEADLOCK*",
    ]


def test_a_long_path_loses_its_beginning() -> None:
    far = replace(DEADLOCKED, edges=(PYTHON, RM._replace(path="/mnt/x/a/directory/far/below/file")))
    assert drawn(far)[2].startswith('  |  >sys_unlinkat(".../file")  ')


def test_of_many_callers_the_one_in_the_circle_is_drawn() -> None:
    others = [edge(pid, "ls", "newfstatat", Kind.REQUEST) for pid in range(300, 310)]
    assert drawn(replace(DEADLOCKED, edges=(PYTHON, *others, RM))) == drawn(DEADLOCKED)


def test_a_daemon_that_waits_for_itself_alone_has_both_columns() -> None:
    """The seed's second scenario: who answers out of a page comes second."""
    fault = edge(210, "fs", "page fault", Kind.REQUEST, serves=True, tid=211, path="the mapping of /mnt/x/file")
    write = edge(210, "fs", "write", Kind.PAGE, serves=True, tid=212, path="the mapping of /mnt/x/file")
    lines = drawn(replace(DEADLOCKED, edges=(write, fault), scenario=Scenario.PAGE_FAULT))
    assert lines[0] == '  |  "fs", thread 211, the daemon        |  "fs", thread 212, the daemon'
    assert [line.split("|")[1].strip() for line in lines[2:6]] == [
        ">do_page_fault()",
        "· [find or create page]",
        "· [lock page]",
        "[sleep on req->waitq]",
    ]
    assert [line.split("|")[2].strip() for line in lines[-2:]] == ["[sleep on the page's lock]", "*DEADLOCK*"]


def test_a_stopped_daemon_is_drawn_as_that() -> None:
    lines = drawn(replace(DEADLOCKED, state=State.STOPPED, edges=(RM,), scenario=Scenario.STOPPED))
    assert lines[2].endswith("|  [stopped]")
    assert lines[-1].startswith("  |  [sleep on req->waitq]")


def test_where_nobody_waits_nothing_is_drawn() -> None:
    assert drawn(IDLE) == []


# --- the report


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("count", [1, 2, 30])
def test_it_has_at_most_twenty_lines_and_ends_with_what_to_type(
    monkeypatch: pytest.MonkeyPatch, columns: int, count: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = doctor.report([DEADLOCKED, *(replace(IDLE, connection=50 + i) for i in range(count - 1))])
    assert len(lines) <= doctor.LINES
    assert lines[-1] == "Next: fusewire doctor --fix 40"
    assert max(map(len, lines)) <= columns
    assert not any("\x1b" in line for line in lines)  # it is not printed to a terminal here


def test_the_diagram_stands_in_the_report_where_it_fits() -> None:
    lines = doctor.report([DEADLOCKED])
    assert "\n".join(drawn(DEADLOCKED)) in "\n".join(lines)
    assert not any("--diagram" in line for line in lines)


def test_where_it_does_not_fit_the_report_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = doctor.report([DEADLOCKED])
    assert "As a diagram: fusewire doctor --diagram 40" in lines
    assert "\n".join(drawn(DEADLOCKED)) in "\n".join(doctor.report([DEADLOCKED], diagram=True))


def test_without_anything_to_draw_that_is_said() -> None:
    assert doctor.NOTHING_TO_DRAW in doctor.report([IDLE], diagram=True)


def test_the_lock_and_its_holder_are_named() -> None:
    text = " ".join(" ".join(doctor.report([DEADLOCKED])).split())
    assert "waits for the lock of the directory /mnt/x, which rm (pid 215) has" in text
    assert "python3 (pid 210, which should answer) is in unlink on /mnt/x/file" in text


def test_what_is_only_suspected_is_left_to_another_look() -> None:
    suspected = replace(DEADLOCKED, certainty=Certainty.SUSPECTED, cure="fusewire doctor 40")
    assert doctor.report([suspected])[-2:] == [
        "It is only suspected, so --fix would leave it alone. Look again in a while.",
        "Next: fusewire doctor 40",
    ]


# --- the question


@pytest.fixture
def hang(tmp_path: Path) -> Iterator[Hang]:
    """A daemon that removes a file of its own mount, while somebody removes it."""
    (tmp_path / "mnt").mkdir()
    hang = hung_mounts.start(tmp_path / "mnt", "unlink")
    try:
        hang.call("rm", "-f", hang.path("file"))
        hang.settle("do_unlinkat")
        yield hang
    finally:
        hang.end()


def at_a_terminal(hang: Hang, answer: str) -> tuple[int, str]:
    """Run the command at a terminal, and answer what it asks; return its exit status and what the terminal shows."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-m", "fusewire", "doctor", str(hang.connection)])
    shown = b""
    with os.fdopen(terminal, "r+b", buffering=0) as file:
        while data := read(file.fileno()):
            shown += data
            if data.rstrip().endswith(b"[y/N]"):
                file.write(answer.encode())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # EIO: the program has ended
        return b""


QUESTION = "Answer the request that closes the circle with EDEADLK? [y/N]"


@pytest.mark.kernel
@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04"], ids=["no", "nothing", "end of input"])
def test_without_a_yes_nothing_is_changed(hang: Hang, answer: str) -> None:
    status, shown = at_a_terminal(hang, answer)
    assert status == doctor.SICK
    assert QUESTION in shown
    assert hang.callers[0].poll() is None
    assert hang.daemon.poll() is None


@pytest.mark.kernel
def test_a_yes_is_as_good_as_the_option(hang: Hang) -> None:
    status, shown = at_a_terminal(hang, "y\n")
    assert status == doctor.CURED, shown
    assert hang.callers[0].wait(10) == 1
    assert hang.daemon.poll() is None
    assert f"rm (pid {hang.callers[0].pid}) goes on: unlinkat fails with EDEADLK" in shown
