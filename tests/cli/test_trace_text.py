"""What `fusewire trace` prints: figures that are read at a glance, and lines that fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusewire.cli.trace_text import Lines, amount, duration, histograms, most_frequent, name, table
from fusewire.watch.latencies import Statistics
from fusewire.watch.requests import Request, Who


def request(comm: str = "python", error: int = 0, read: float | None = 1.001) -> Request:
    caller, server = Who(4715, 4711, comm), Who(812, 800, "daemon")
    return Request(46, 4, 10, 45, caller, 1.0, read, server, ended=1.5, server=server, error=error, reply_length=16)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0us"),
        (0.000012, "12us"),
        (0.00196, "1.96ms"),
        (0.0303, "30.3ms"),
        (1.2, "1.2s"),
        (59.9, "59.9s"),
        (90.0, "1.5min"),
        (7200.0, "2h"),
    ],
)
def test_a_time_has_three_digits_and_a_unit(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@given(st.integers(0, 10**13))
def test_no_time_of_a_trace_is_longer_than_its_column(microseconds: int) -> None:
    assert len(duration(microseconds / 1e6)) <= 7


@given(st.integers(0, 2**32))
def test_no_size_is_longer_than_its_column(size: int) -> None:
    assert len(amount(size)) <= 5


def test_a_thread_that_is_not_its_process_is_told_with_it() -> None:
    assert name(Who(4715, 4711, "python")) == "python 4711/4715"
    assert name(Who(4711, 4711, "rm")) == "rm 4711"


def test_a_name_cannot_move_the_cursor() -> None:
    assert "\x1b" not in Lines(1.0).line(request(comm="\x1b[2J"))


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("width", [40, 60, 79, 80, 120, 200])
@pytest.mark.parametrize("error", [0, 2, 103])
def test_a_line_fits_and_stands_below_its_title(width: int, error: int, several: bool) -> None:
    lines = Lines(1.0, width, several=several)
    head, line = lines.head(), lines.line(request(comm="a_name_of_15_ch", error=error))
    assert max(len(head), len(line)) <= max(width, 53)
    assert line.endswith(("ok", "ENOENT", "ECONNABORTED"))
    assert head.index("pending") + 7 == line.index("1ms") + 3 or error == 103


def test_colour_is_for_errors_and_only_where_it_is_wanted() -> None:
    assert "\x1b" in Lines(1.0, colour=True).line(request(error=2))
    assert "\x1b" not in Lines(1.0, colour=True).line(request())
    assert "\x1b" not in Lines(1.0).line(request(error=2))


def test_where_no_read_was_seen_the_time_is_an_upper_bound() -> None:
    assert " <500ms " in Lines(1.0).line(request(read=None))


def test_one_that_waits_says_in_which_phase() -> None:
    waiting = request(comm="sh")
    waiting.ended = waiting.server = None
    assert Lines(1.0).waits(waiting, now=2.001).split()[4:6] == ["1ms", "1s"]
    waiting.read = waiting.reader = None
    assert Lines(1.0).waits(waiting, now=2.0).split()[4:6] == ["1s", "45>"]


def test_the_end_fits_80_columns_and_names_what_there_was() -> None:
    statistics = Statistics()
    for one in request(), request(error=2), request(read=None):
        statistics.add(one)
    lines = [*table(statistics), *most_frequent(statistics), *histograms(statistics)]
    assert max(map(len, lines)) <= 80
    assert lines[2].split() == ["UNLINK", "3", "1", "1ms", "1ms", "499ms", "499ms", "499ms", "499ms"]
    assert "        1  UNLINK ENOENT" in lines
    assert "        3     1.5s  python 4711" in lines
