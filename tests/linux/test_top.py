"""`fusewire top` on mounts that are well and on mounts that hang: it says how they are, and hangs on none."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

import hung_mounts
from fusewire.cli import top, top_actions
from fusewire.cli.top_screen import TopScreen
from fusewire.watch.diagnosis import State
from fusewire.watch.overview import Overview, Row
from fusewire.watch.trace_instances import find_tracefs
from hung_mounts import Hang, until
from ordinary_user import python_as_user

Start = Callable[..., Hang]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a daemon that hangs in the way that is named, below a directory of that name."""
    started: list[Hang] = []

    def start(way: str, *arguments: str) -> Hang:
        mountpoint = tmp_path / way
        mountpoint.mkdir()
        started.append(hung_mounts.start(mountpoint, way, *arguments))
        return started[-1]

    yield start
    for hang in started:
        hang.end()


def stopped(hang: Hang) -> Hang:
    """Stop a daemon, and have somebody wait for it."""
    hang.daemon.send_signal(signal.SIGSTOP)
    until(lambda: hung_mounts.state(hang.daemon.pid) == "T")
    hang.call("stat", hang.path("file"))
    return hang


def fusewire_top(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fusewire", "top", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=15, check=False
    )


def row_of(overview: Overview, hang: Hang) -> Row:
    return next(row for row in overview.refresh().rows if row.number == hang.connection)


# --- it does not hang


def unlink(hang: Hang) -> None:
    hang.call("rm", "-f", hang.path("file"))
    hang.settle("do_unlinkat")


def fsync(hang: Hang) -> None:
    hang.call("rm", "-f", hang.path("file"))
    hang.settle("folio_wait")


def big_write(hang: Hang) -> None:
    hang.call("rm", "-f", hang.path("file"))
    hang.settle("balance_dirty_pages")


def killed(hang: Hang) -> None:
    """Kill a daemon that cannot die, for it would have to answer the FLUSH of its own file."""
    hang.daemon.kill()
    hang.settle("request_wait")


def dead(hang: Hang) -> None:
    hang.daemon.kill()
    hang.daemon.wait()


# way, what is done to it, how it is then
HANGS: list[tuple[str, Callable[[Hang], object], set[State]]] = [
    ("unlink", unlink, {State.DEADLOCKED}),
    ("page_fault", lambda hang: hang.settle("folio_wait"), {State.DEADLOCKED}),
    ("fsync", fsync, {State.DEADLOCKED}),
    ("big_write", big_write, {State.DEADLOCKED, State.BUSY, State.SLOW}),
    ("exit_flush", killed, {State.DEADLOCKED}),
    ("slow", lambda hang: hang.call("rm", "-f", hang.path("file")), {State.BUSY, State.SLOW}),
    ("getattr", stopped, {State.STOPPED}),
    ("idle", dead, {State.DEAD}),
]


def test_it_looks_at_every_kind_of_hang_and_hangs_on_none(start: Start) -> None:
    hangs = [(start(way), deed, states) for way, deed, states in HANGS]
    for hang, deed, _ in hangs:
        deed(hang)
    with Overview() as overview:
        began = time.monotonic()
        rows = {row.number: row for row in [*overview.refresh().rows, *overview.refresh().rows]}
        assert time.monotonic() - began < 5
    assert {hang.mountpoint.name: rows[hang.connection].diagnosis.state in states for hang, _, states in hangs} == (
        {way: True for way, _, _ in HANGS}
    )
    done = fusewire_top("--once", "--no-trace")
    assert done.stderr == ""
    assert all(str(hang.mountpoint) in done.stdout for hang, _, _ in hangs)


def test_it_says_which_threads_are_blocked_and_where(start: Start) -> None:
    hang = start("unlink")
    unlink(hang)
    with Overview(trace=False) as overview:
        row = row_of(overview, hang)
    assert (row.blocked, row.threads, row.blocked_in) == (1, 2, ["do_unlinkat"])
    assert (row.max_background, row.congestion_threshold) == (12, 9)
    assert row.diagnosis.oldest is not None


# --- figures


@pytest.fixture
def tracefs() -> None:
    try:
        _, root = find_tracefs()
    except OSError as error:
        pytest.skip(str(error))
    if root >= 0:
        os.close(root)


@pytest.mark.usefixtures("tracefs")
def test_requests_are_counted_and_timed_as_they_pass(start: Start) -> None:
    hang = start("idle")
    with Overview() as overview:
        assert overview.untraced == ""
        overview.refresh()
        for number in range(20):
            assert not os.path.exists(hang.path(f"missing{number}"))
        traffic = row_of(overview, hang).traffic
    assert traffic is not None
    assert traffic.per_second > 1
    assert traffic.errors is not None
    assert traffic.errors > 0.5
    assert traffic.p50 is not None
    assert traffic.p99 is not None
    assert 0 < traffic.p50 <= traffic.p99 < 5


def test_without_tracing_there_are_no_figures_and_it_is_said_why(start: Start) -> None:
    hang = start("idle")
    with Overview(trace=False) as overview:
        assert row_of(overview, hang).traffic is None
        assert overview.refresh().untraced == "not asked for"


# --- what is printed


def test_json_has_what_the_diagnosis_has_and_the_figures(start: Start) -> None:
    hang = stopped(start("idle"))
    done = fusewire_top("--json", "--no-trace", str(hang.mountpoint))
    (found,) = json.loads(done.stdout)
    assert (found["connection"], found["state"], found["waiting"]) == (hang.connection, "stopped", 1)
    assert (found["max_background"], found["congestion_threshold"]) == (12, 9)
    assert found["traffic"] == {"per_second": None, "errors": None, "p50": None, "p99": None}
    assert found["cure"] == f"kill -CONT {hang.daemon.pid}"


def test_into_a_pipe_it_prints_everything_once(start: Start) -> None:
    hang = stopped(start("idle"))
    done = fusewire_top("--no-trace", str(hang.mountpoint), COLUMNS="40")
    line = next(line for line in done.stdout.splitlines() if str(hang.mountpoint) in line)
    assert "STOPPED" in line
    assert line.endswith("12/9")
    assert f"Next: fusewire doctor {hang.mountpoint}" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_filter_that_nothing_meets_is_no_error(start: Start) -> None:
    start("idle")
    done = fusewire_top("--once", "--no-trace", "no-such-thing")
    assert done.returncode == 0
    assert done.stdout.startswith("None of ")


AS_USER = """
from pathlib import Path
import hung_mounts
from fusewire.cli import main
place = Path("mnt").absolute()
place.mkdir()
hang = hung_mounts.start(place, "idle")
try:
    main(["top", "--once", str(place)])
finally:
    hang.end()
"""


def test_an_ordinary_user_sees_his_own_and_is_told_what_not() -> None:
    titles, line, *notes = python_as_user(AS_USER).splitlines()
    shown = dict(zip(re.split(r"  +", titles.strip()), re.split(r"  +", line.strip()), strict=True))
    assert (shown["STATE"], shown["BLOCKED"], shown["REQ/S"]) == ("idle", "0/2", "?")
    assert any(note.startswith("No figures: Linux's tracing (tracefs) is ") for note in notes)


# --- the screen


Deed = Callable[[Pilot[None], TopScreen], Awaitable[None]]


def on_screen(deed: Deed, *arguments: str, size: tuple[int, int] = (100, 30)) -> None:
    """Show the screen without a terminal, and do something there once it shows a first look."""

    async def show(overview: Overview) -> None:
        screen = TopScreen(overview, top.parser().parse_args(["--interval", "0.3", "--no-trace", *arguments]))
        async with screen.run_test(size=size) as pilot:
            await soon(pilot, lambda: screen.rows)
            await deed(pilot, screen)

    with Overview(trace=False) as overview:
        asyncio.run(show(overview))


async def soon(pilot: Pilot[None], holds: Callable[[], object]) -> None:
    """Wait until something is so, or fail."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "it never came so far"
        await pilot.pause(0.02)


def details(screen: TopScreen) -> str:
    return str(screen.query_one("#words", Static).content)


def test_the_screen_shows_who_waits_for_whom(start: Start) -> None:
    hang = start("unlink")
    unlink(hang)

    async def look(pilot: Pilot[None], screen: TopScreen) -> None:
        assert screen.query_one("#table", DataTable).row_count == len(screen.rows) == 1
        assert "Who waits for whom:" in details(screen)
        assert "here the circle closes" in details(screen)
        assert f"Next: fusewire doctor --fix {hang.connection}" in details(screen)
        await pilot.press("d")
        assert not screen.query_one("#details").display

    on_screen(look, str(hang.mountpoint))


def test_an_abort_is_asked_for_and_takes_a_yes(start: Start) -> None:
    hang = stopped(start("idle"))

    async def abort(pilot: Pilot[None], screen: TopScreen) -> None:
        for answer in ("n", "escape", "enter", "x", "n"):  # x is no answer: it goes on asking
            if len(screen.screen_stack) == 1:
                await pilot.press("a")
            await pilot.press(answer)
        assert len(screen.screen_stack) == 1
        assert screen.rows[0].diagnosis.waiting == 1
        await pilot.press("a", "y")
        await soon(pilot, lambda: screen.rows[0].diagnosis.waiting == 0)

    on_screen(abort, str(hang.mountpoint))
    assert hang.callers[0].wait(10) == 1


def test_a_dead_mount_is_unmounted_and_vanishes(start: Start) -> None:
    hang = start("idle")
    dead(hang)

    async def unmount(pilot: Pilot[None], screen: TopScreen) -> None:
        await pilot.press("u", "y")
        await soon(pilot, lambda: not screen.rows)
        assert details(screen) == "There is nothing to show."

    on_screen(unmount, str(hang.mountpoint))


def test_a_filter_is_typed_and_taken_back(start: Start, tmp_path: Path) -> None:
    start("idle")
    start("slow")

    async def filter_rows(pilot: Pilot[None], screen: TopScreen) -> None:
        assert len(screen.rows) == 2
        await pilot.press("slash", "space", "w")
        await soon(pilot, lambda: len(screen.rows) == 1)
        await pilot.press("enter")
        assert screen.rows[0].diagnosis.place.endswith("/slow")
        await pilot.press("slash", "escape")
        await soon(pilot, lambda: len(screen.rows) >= 2)

    on_screen(filter_rows, str(tmp_path))


def test_the_cursor_stays_on_its_connection(start: Start, tmp_path: Path) -> None:
    start("idle")
    start("slow")

    async def reverse(pilot: Pilot[None], screen: TopScreen) -> None:
        assert screen.selected is screen.rows[0]
        await pilot.press("r")
        assert screen.selected is screen.rows[1]
        assert screen.selected.diagnosis.place.endswith("/idle")

    on_screen(reverse, "--sort", "mountpoint", str(tmp_path))


@pytest.mark.parametrize("size", [(80, 24), (200, 50), (40, 12)])
def test_it_fits_the_terminal(start: Start, size: tuple[int, int]) -> None:
    hang = stopped(start("idle"))

    async def look(pilot: Pilot[None], screen: TopScreen) -> None:
        table = screen.query_one("#table", DataTable)
        if size[0] >= 80:
            assert table.virtual_size.width <= size[0]
        await pilot.press("l")
        assert screen.theme == "textual-light"
        await pilot.resize_terminal(80, 24)
        await soon(pilot, lambda: table.virtual_size.width <= 80)

    on_screen(look, str(hang.mountpoint), size=size)


def test_what_is_done_is_done_to_the_connection_that_was_shown(start: Start) -> None:
    """And not to another that has its number by now."""
    hang = start("idle")
    with Overview(trace=False) as overview:
        row = row_of(overview, hang)
    assert row.identity is not None
    of_before = dataclasses.replace(row, identity=row.identity - 1)
    assert "has ended already" in top_actions.abort(of_before)
    assert "has ended already" in top_actions.unmount_it(of_before)
    os.stat(hang.mountpoint)
    assert top_actions.abort(row) == f"aborted: {hang.mountpoint}"
    with pytest.raises(OSError, match="not connected"):
        os.stat(hang.mountpoint)


def test_in_a_terminal_it_comes_up_and_leaves_it_as_it_was(start: Start) -> None:
    hang = stopped(start("idle"))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "fusewire", "top", str(hang.mountpoint)]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    ) as it:
        os.close(theirs)
        try:
            seen = read_until(ours, b"STOPPED")
            os.write(ours, b"q")
            seen += read_until(ours, b"\x1b[?1049l")  # back to what was on the screen before
            assert it.wait(10) == 0
        finally:
            it.kill()
            os.close(ours)
    assert b"Traceback" not in seen


def read_until(descriptor: int, text: bytes) -> bytes:
    """Return what comes from a terminal, up to some text."""
    seen, deadline = b"", time.monotonic() + 15
    while text not in seen and select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
        seen += os.read(descriptor, 65536)
    assert text in seen
    return seen
