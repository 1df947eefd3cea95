"""`fusewire top`: figures from events, the tree of who waits for whom, and what of the table fits."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from documents import blocks
from fusewire.cli import main, top
from fusewire.cli.top_table import SORTS, in_order, latency, lines, matching, printable
from fusewire.watch.chains import chains
from fusewire.watch.diagnosis import Certainty, Diagnosis, Edge, Server, State
from fusewire.watch.overview import Row, Snapshot
from fusewire.watch.trace_events import RequestEnd, RequestSend, Traced, TraceEvent
from fusewire.watch.traffic import MOST, Meter, Traffic
from fusewire.watch.wait_graph import Kind

# --- figures


def at(time: float, event: TraceEvent) -> Traced:
    return Traced(time, 0, "somebody", 1, event)


def request(unique: int, sent: float, took: float, error: int = 0, connection: int = 46) -> list[Traced]:
    return [
        at(sent, RequestSend(connection, unique, 1, 40)),
        at(sent + took, RequestEnd(connection, unique, 16, error)),
    ]


def test_figures_are_those_of_the_last_seconds() -> None:
    meter = Meter(began=0.0)
    meter.feed(request(2, 1.0, 0.5))
    meter.feed(event for n in range(100) for event in request(4 + 2 * n, 21.0 + n / 100, 0.001 * (n + 1)))
    traffic = meter.traffic(46, now=23.0)
    assert traffic.per_second == pytest.approx(10)
    assert traffic.p50 == pytest.approx(0.050)
    assert traffic.p99 == pytest.approx(0.099)
    assert traffic.errors == 0


def test_the_share_of_errors_counts_every_errno() -> None:
    meter = Meter()
    meter.feed([*request(2, 0, 0.1, -2), *request(4, 0, 0.1), *request(6, 0, 0.1, -103), *request(8, 0, 0.1)])
    assert meter.traffic(46, now=1.0).errors == 0.5


def test_where_nothing_passed_there_is_nothing_to_say() -> None:
    assert Meter(began=0.0).traffic(46, now=5.0) == Traffic(0.0, None, None, None)


def test_in_the_first_seconds_the_rate_is_of_the_time_so_far() -> None:
    meter = Meter(began=100.0)
    meter.feed([*request(2, 100.5, 0.1), *request(4, 100.7, 0.1)])
    assert meter.traffic(46, now=101.0).per_second == pytest.approx(2)


def test_a_request_that_was_sent_before_is_counted_but_not_timed() -> None:
    meter = Meter()
    meter.feed(request(2, 0.0, 0.5)[1:])
    assert meter.traffic(46, now=1.0) == Traffic(1.0, 0.0, None, None)


def test_a_request_that_was_sent_again_is_the_same() -> None:
    meter = Meter()
    meter.feed([at(0.0, RequestSend(46, 2, 1, 40)), at(0.5, RequestEnd(46, 2 | 1 << 63, 16, 0))])
    assert meter.traffic(46, now=1.0).p50 == 0.5


def test_of_a_busy_connection_the_window_is_shorter_and_the_rate_right() -> None:
    meter = Meter()
    meter.feed(event for n in range(2 * MOST) for event in request(2 * n, n / 10_000, 1e-5))
    assert meter.traffic(46, now=2 * MOST / 10_000).per_second == pytest.approx(10_000, rel=0.01)


def test_a_number_that_is_used_again_begins_anew() -> None:
    meter = Meter()
    meter.feed([*request(2, 0.0, 0.1), *request(4, 0.0, 0.1, connection=47)])
    meter.forget_all_but([47])
    assert meter.traffic(46, now=1.0).per_second == 0
    assert meter.traffic(47, now=1.0).per_second == 1


# --- who waits for whom


def edge(tid: int, command: str, holder: int | None = None, connections: tuple[int, ...] = (46,), pid: int = 0) -> Edge:
    kind = Kind.REQUEST if holder is None else Kind.LOCK
    where = "request_wait_answer" if holder is None else "do_unlinkat"
    return Edge(pid or tid, tid, command, "unlink", "", kind, connections, holder, where, 12.0, command == "daemon")


def diagnosis(number: int, state: State = State.IDLE, *edges: Edge, place: str = "", waiting: int = 0) -> Diagnosis:
    return Diagnosis(
        connection=number,
        mountpoints=(place or f"/mnt/{number}",),
        fstype="fuse.sshfs",
        source="there:/",
        state=state,
        certainty=Certainty.CERTAIN,
        waiting=waiting,
        oldest=12.0 if edges else None,
        servers=(Server(210, "daemon", 2, sum(edge.serves for edge in edges), 0, True),),
        edges=edges,
    )


def told(number: int, *found: Diagnosis) -> list[str]:
    return ["  " * depth + text for depth, text in chains(number, {one.connection: one for one in found})]


def test_a_circle_is_followed_to_its_end() -> None:
    found = diagnosis(46, State.DEADLOCKED, edge(210, "daemon", holder=215), edge(215, "rm"))
    assert told(46, found) == [
        "/mnt/46 waits for its daemon",
        "  daemon (pid 210, which should answer) is in unlink and waits for a lock that rm (pid 215) has, for 12 s",
        "    rm (pid 215) is in unlink and waits for an answer from /mnt/46, for 12 s",
        "      here the circle closes",
    ]


def test_a_circle_may_lead_through_several_mounts() -> None:
    one = diagnosis(46, State.DEADLOCKED, edge(210, "daemon", connections=(47,)), edge(300, "ls"))
    other = diagnosis(47, State.DEADLOCKED, edge(310, "daemon", connections=(46,)))
    lines = told(46, one, other)
    assert [line.strip().partition(" ")[0] for line in lines] == [
        "/mnt/46",
        "daemon",
        "/mnt/47",
        "daemon",
        "here",
        "ls",
    ]
    assert lines[-1].startswith("ls (pid 300)")


def test_who_is_in_nobodys_way_is_named_too() -> None:
    assert told(46, diagnosis(46, State.SLOW, edge(300, "ls"), edge(301, "df"))) == [
        "ls (pid 300) is in unlink and waits for an answer from /mnt/46, for 12 s",
        "df (pid 301) is in unlink and waits for an answer from /mnt/46, for 12 s",
    ]


def test_what_was_told_is_not_told_again() -> None:
    threads = [edge(211, "daemon", holder=215, pid=210), edge(212, "daemon", holder=215, pid=210)]
    lines = told(46, diagnosis(46, State.DEADLOCKED, *threads, edge(215, "rm")))
    assert sum("rm (pid 215) is" in line for line in lines) == 1
    assert sum("circle" in line for line in lines) == 1


# --- the table


def row(found: Diagnosis, traffic: Traffic | None = None) -> Row:
    return Row(found, found.connection, 12, 9, traffic)


ROWS = [
    row(diagnosis(40), Traffic(2.5, 0.25, 0.000045, 1.5)),
    row(diagnosis(41, State.DEADLOCKED, edge(210, "daemon", holder=215), edge(215, "rm"), waiting=1)),
    row(diagnosis(42, State.BUSY, place="/srv/a/very/long/path/to/somewhere/photos", waiting=3)),
]


def test_where_there_is_room_everything_is_shown() -> None:
    titles, first, second, _ = lines(ROWS, 200)
    shown = "CONN MOUNTPOINT TYPE SOURCE STATE DAEMON BLOCKED IN WAITING OLDEST REQ/S ERRORS P50 P99 LIMITS"
    assert " ".join(titles.split()) == shown
    assert re.split(r"  +", first.strip())[4:] == (
        ["idle", "daemon 210", "0/2", "-", "0", "-", "2.5", "25%", "45us", "1.5s", "12/9"]
    )
    assert re.split(r"  +", second.strip())[4:] == (
        ["DEADLOCKED", "daemon 210", "1/2", "do_unlinkat", "1", "12 s", "?", "?", "?", "?", "12/9"]
    )


@pytest.mark.parametrize("width", range(60, 201, 7))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    table = lines(ROWS, width)
    assert max(map(len, table)) <= width
    assert "DEADLOCKED" in table[2]
    assert table[3].lstrip().partition(" ")[0] != ""


def test_a_path_that_does_not_fit_keeps_its_end() -> None:
    assert "~" in lines(ROWS, 80)[3]
    assert "/somewhere/photos" in lines(ROWS, 80)[3]


def test_of_another_namespace_the_path_is_shown_and_not_by_whom_it_is_seen() -> None:
    table = lines([row(diagnosis(40, place="/data (as bash, pid 12, sees it)"))], 200)
    assert "/data [ns]" in table[1]


def test_without_a_terminal_nothing_is_cut() -> None:
    assert "/srv/a/very/long/path/to/somewhere/photos" in lines(ROWS, None)[3]


def test_wide_characters_do_not_shift_the_columns() -> None:
    table = lines([row(diagnosis(40, place="/mnt/写真")), row(diagnosis(41, place="/mnt/x"))], 200)
    assert table[1].index("fuse.sshfs") + 2 == table[2].index("fuse.sshfs")


def test_names_cannot_give_orders_to_the_terminal() -> None:
    assert printable("/mnt/\x1b[2J\n\udcff") == "/mnt/?[2J??"
    assert "\x1b" not in "".join(lines([row(diagnosis(40, place="/mnt/\x1b]0;x\x07"))], 200))


@pytest.mark.parametrize(
    ("sort", "numbers"),
    [("state", [41, 42, 40]), ("waiting", [42, 41, 40]), ("rate", [40, 41, 42]), ("mountpoint", [40, 41, 42])],
)
def test_rows_can_be_sorted(sort: str, numbers: list[int]) -> None:
    assert [one.number for one in in_order(ROWS, sort)] == numbers


@pytest.mark.parametrize("sort", SORTS)
def test_every_order_can_be_had_though_something_is_unknown(sort: str) -> None:
    assert len(in_order([*ROWS, row(diagnosis(43, State.UNKNOWN))], sort, reverse=True)) == 4


def test_every_word_of_a_filter_must_occur() -> None:
    assert [one.number for one in matching(ROWS, ["SSHFS", "photos"])] == [42]
    assert [one.number for one in matching(ROWS, ["deadlocked"])] == [41]
    assert matching(ROWS, ["sshfs", "nowhere"]) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (4.5e-5, "45us"), (0.0000015, "1.5us"), (0.0032, "3.2ms"), (0.9996, "1.0s"), (75.0, "75s")],
)
def test_latencies_are_told_in_few_characters(seconds: float | None, text: str) -> None:
    assert latency(seconds) == text


# --- the command


def test_what_is_missing_is_said_below_the_table() -> None:
    text = top.table(Snapshot(ROWS, untraced="it is for root alone", lost=3), ROWS, 80)[4:]
    assert text == [
        "No figures: it is for root alone.",
        "Figures are too low: 3 events came faster than they could be read.",
        "Next: fusewire doctor /mnt/41",
    ]


def test_a_command_to_type_stays_in_one_line() -> None:
    found = diagnosis(41, State.STOPPED, place="/mnt/a path/with blanks")
    assert top.table(Snapshot([row(found)]), [row(found)], 30)[-1] == "Next: fusewire doctor '/mnt/a path/with blanks'"


def test_where_nothing_is_mounted_it_says_so() -> None:
    assert top.table(Snapshot([]), [], 80) == ["There is no FUSE mount on this machine."]


@pytest.mark.parametrize("interval", ["x", "0", "-1", "nan", "1e9"])
def test_an_interval_that_makes_no_sense_is_refused(interval: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["top", "--interval", interval])
    assert caught.value.code == 2
    assert "is not a number of seconds from 0.1 to 3600" in " ".join(capsys.readouterr().err.split())


WITHOUT_TEXTUAL = """
import sys
sys.modules["textual"] = None
sys.stdin.isatty = sys.stdout.isatty = lambda: True
from fusewire.cli import main
sys.exit(main(["top", *sys.argv[1:]]))
"""


def test_without_the_extra_it_says_what_to_install_and_what_works_without() -> None:
    command = [sys.executable, "-c", WITHOUT_TEXTUAL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "fusewire: the screen of top needs textual: pip install 'fusewire[cli]'. Without it: fusewire top --once\n"
    )
    done = subprocess.run([*command, "--once", "--no-trace"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_help_fits_a_narrow_terminal() -> None:
    command = [sys.executable, "-m", "fusewire", "top", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"COLUMNS": "80"})
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert all(f"{title}" in done.stdout for title in ("REQ/S", "P99", "LIMITS", "BLOCKED"))


def test_no_module_but_the_screen_needs_the_extra() -> None:
    place = Path(top.__file__).parent
    needy = [path.name for path in place.glob("top*.py") if re.search(r"import textual|from textual", path.read_text())]
    assert needy == ["top_screen.py"]


# --- the document

SHOWN = [
    row(
        dataclasses.replace(
            diagnosis(46, State.DEADLOCKED, edge(4711, "daemon", holder=4720), edge(4720, "rm"), waiting=2),
            mountpoints=("/srv/photos",),
            fstype="fuse.photofs",
            servers=(Server(4711, "photofs", 1, 1, 0, True),),
        ),
        Traffic(0.0, None, None, None),
    ),
    row(
        dataclasses.replace(
            diagnosis(47, State.BUSY, place="/mnt/server", waiting=1),
            servers=(Server(3105, "sshfs", 3, 0, 2, True),),
        ),
        Traffic(212.4, 0.031, 0.0021, 0.047),
    ),
    row(
        dataclasses.replace(
            diagnosis(41, place="/run/user/1000/doc"), servers=(Server(902, "xdg-doc", 5, 0, 1, True),)
        ),
        Traffic(0.0, None, None, None),
    ),
]


def test_the_document_shows_the_table_as_it_is() -> None:
    table = top.table(Snapshot(SHOWN), in_order(SHOWN, "state"), 80)
    (shown,) = [block.code for block in blocks("console") if block.document.name == "top.md"]
    assert shown.splitlines() == ["$ sudo fusewire top --once", *table]
