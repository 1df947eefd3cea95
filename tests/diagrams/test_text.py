"""Columns out of events."""

from __future__ import annotations

import re

from fusewire.diagrams.columns import Detail, Row, left_out, rows, words
from fusewire.diagrams.recording import Recording, Remark
from fusewire.diagrams.text import render, render_left_out
from fusewire.events import Event, Step

RM, DAEMON = "rm", "daemon"
Happened = list[tuple[str, Event]]


def call(name: str, detail: str = "") -> Event:
    return Event(Step.CALL, name, detail=detail)


def done(name: str) -> Event:
    return Event(Step.RETURN, name)


def recorded(run: Happened, **columns: str) -> Recording:
    """A recording of `run` in which the clock goes on by a millisecond an event."""
    ticks = iter(range(1000))
    recording = Recording("", columns or {RM: "left", DAEMON: "right"}, clock=lambda: next(ticks) / 1000)
    for task, event in run:
        recording.hear(task, event)
    return recording


def cells(recording: Recording, detail: Detail | None = None) -> list[tuple[str, ...]]:
    """The rows that are not empty."""
    drawn = rows(recording, detail or Detail())
    return [row.cells for row in drawn if isinstance(row, Row) and any(row.cells)]


def test_each_task_has_its_column_and_the_rest_share_the_last() -> None:
    recording = recorded([(RM, call("a")), (DAEMON, call("b")), ("another", call("c"))])
    assert cells(recording) == [(">a()", ""), ("", ">b()"), ("", ">c()")]


def test_tasks_of_one_title_share_a_column() -> None:
    recording = recorded([("one", call("a")), ("two", call("b"))], one="threads", rm="rm", two="threads")
    assert recording.titles == ["threads", "rm"]
    assert cells(recording) == [(">a()", ""), (">b()", "")]


def test_a_wake_up_across_fills_both_columns_and_one_within_fills_one() -> None:
    run = [
        (RM, Event(Step.WAKE, "q", (DAEMON,))),
        (DAEMON, Event(Step.RELEASE, "", (RM,), Step.ACQUIRED)),
        (DAEMON, Event(Step.WAKE, "q", ("another",))),
        (RM, Event(Step.WAKE, "q")),
    ]
    assert cells(recorded(run)) == [
        ("[wake up q]", "[woken up]"),
        ("[semaphore acquired]", "[release semaphore]"),
        ("", "[wake up q]"),
        ("[wake up q]", ""),
    ]


def test_what_begins_outside_any_call_is_set_apart() -> None:
    step = Event(Step.QUEUE)
    events = [call("a"), call("b"), step, done("b"), done("a"), step, call("a"), done("a")]
    drawn = [row.cells[0] for row in rows(recorded([(RM, event) for event in events])) if isinstance(row, Row)]
    queue = str(Step.QUEUE)
    assert drawn == ["", ">a()", ">b()", queue, "<b()", "<a()", "", queue, "", ">a()", "<a()"]


def test_a_call_that_began_before_the_run_harms_nothing() -> None:
    recording = recorded([(RM, event) for event in (done("b"), done("a"), call("a"))])
    assert [row.cells[0] for row in rows(recording) if isinstance(row, Row)][-2:] == ["", ">a()"]


def test_a_detail_decides_what_is_drawn_and_what_is_left_out() -> None:
    run = [
        (RM, call("a")),
        (RM, call("inner")),
        (RM, Event(Step.SLEEP, "q")),
        (RM, Event(Step.SLEEP, "other")),
        (RM, done("inner")),
        (RM, Event(Step.QUEUE)),
    ]
    detail = Detail(steps=frozenset({Step.SLEEP}), calls=frozenset({"a"}), queues=frozenset({"q"}))
    recording = recorded(run)
    assert cells(recording, detail) == [(">a()", ""), ("[sleep on q]", "")]
    assert left_out(recording, detail) == {"left": [">inner()", "[sleep on other]", str(Step.QUEUE)]}
    assert cells(recording, detail.everything()) == cells(recording)
    assert "left: >inner(), [sleep on other], [queue req on fc->pending]" in render_left_out(recording, detail)
    assert render_left_out(recording, detail.everything()) == ""


def test_another_detail_may_go_until_a_step_is_taken_and_again_from_the_next_heading() -> None:
    recording = recorded([(RM, Event(Step.QUEUE)), (RM, Event(Step.KILL)), (RM, Event(Step.QUEUE))])
    detail = Detail(first=Detail(steps=frozenset()), until=frozenset({Step.KILL}))
    assert cells(recording, detail) == [(str(Step.KILL), ""), (str(Step.QUEUE), "")]
    recording.say("heading", "Once more")
    recording.hear(RM, Event(Step.QUEUE))
    assert len(cells(recording, detail)) == 2


def test_the_same_step_may_be_said_in_other_words() -> None:
    detail = Detail(words={Step.QUEUE: "[queue {operation} request]", (Step.CALL, "a"): ">{name}({detail})"})
    assert words(Event(Step.QUEUE, detail="READ 4"), detail) == "[queue READ request]"
    assert words(call("a", '"/file"'), detail) == '>a("/file")'
    assert words(call("b", '"/file"'), detail) == ">b()"


def test_a_step_may_stand_beside_the_one_before() -> None:
    run = [(RM, Event(Step.CLOSE)), (DAEMON, Event(Step.TRIGGER)), (DAEMON, Event(Step.TRIGGER))]
    detail = Detail(beside=frozenset({Step.TRIGGER}))
    assert cells(recorded(run), detail) == [(str(Step.CLOSE), str(Step.TRIGGER)), ("", str(Step.TRIGGER))]


def test_a_deadlock_stands_in_the_column_of_who_went_to_sleep_last() -> None:
    recording = recorded([(RM, Event(Step.QUEUE)), (DAEMON, Event(Step.SLEEP, "q"))])
    recording.say("deadlock", "Nobody goes on.")
    *_, row, remark = rows(recording, Detail(steps=frozenset({Step.QUEUE}), deadlock="* STUCK *"))
    assert isinstance(row, Row)
    assert row.cells == ("", "* STUCK *")
    assert remark == Remark("deadlock", "Nobody goes on.")


def text(run: Happened, times: bool = False, **columns: str) -> list[str]:
    return render(recorded(run, **columns), Detail(gaps_before=frozenset()), times=times).splitlines()


def test_a_step_that_does_not_fit_its_column_goes_on_in_the_next_line() -> None:
    acquire = Event(Step.ACQUIRE, 'inode semaphore for "file"')
    run = [
        (RM, Event(Step.GET)),
        (RM, acquire),
        (DAEMON, acquire),
        (RM, Event(Step.QUEUE)),
        (DAEMON, Event(Step.LOOK_UP)),
    ]
    assert text(run) == [
        "  |  left                                |  right",
        "  |                                      |",
        "  |  [get request from                   |",
        "  |  fc->unused_list]                    |",
        "  |  [acquire inode semaphore            |",
        '  |  for "file"]                         |',
        "  |                                      |  [acquire inode semaphore",
        '  |                                      |  for "file"]',
        "  |  [queue req on fc->pending]          |",
        "  |                                      |  [look up req in fc->processing]",
    ]


def test_more_columns_share_eighty_characters_and_nothing_is_lost() -> None:
    path = "/" + "x" * 60
    run = [(RM, Event(Step.OPEN, f'"{path}"')), ("c", Event(Step.QUEUE_INTERRUPT)), ("d", call("request_wait_answer"))]
    lines = text(run, rm="rm", b="b", c="c", d="d")
    assert max(map(len, lines)) <= 80
    assert {line.count("|") for line in lines} == {4}
    read = ["".join(line.split("|")[column].strip() for line in lines[2:]) for column in (1, 3, 4)]
    assert read == [f'[fd = open("{path}")]', "[queueINTERRUPT onfc->interrupts]", ">request_wait_answer()"]


def test_times_stand_before_the_rows_in_milliseconds() -> None:
    lines = text([(RM, Event(Step.PERFORM, "x")), (DAEMON, Event(Step.QUEUE))], times=True)
    assert lines[0].startswith("       ms |  left")
    assert [line[:10] for line in lines[2:]] == ["    0.000 ", "    1.000 "]
    assert max(map(len, lines)) <= 80


def test_what_is_inferred_is_marked_and_dim_where_there_are_colours() -> None:
    recording = recorded([(RM, Event(Step.QUEUE))])
    recording.entries = [moment._replace(certain=False) for moment in recording.moments]
    assert "|  \N{MIDDLE DOT} [queue req on fc->pending]" in render(recording)
    assert re.search(r"\x1b\[2m.*\N{MIDDLE DOT}.*\x1b\[0m", render(recording, colour=True))


def test_sections_have_their_headings_and_only_the_columns_that_they_need() -> None:
    recording = Recording("", {"a": "A", "b": "B", "c": "C"})
    for heading, task in (("One", "b"), ("Two", "c")):
        recording.say("heading", heading)
        recording.hear("a", Event(Step.QUEUE))
        recording.hear(task, Event(Step.QUEUE))
    one, two = render(recording).split("Two\n---")
    assert re.match(r"One\n---\n\n  \|  A +\|  B\n", one)
    assert re.match(r"\n\n  \|  A +\|  C\n", two)


def test_time_that_goes_by_with_looking_does_not_count() -> None:
    ticks = iter([1.0, 5.0])
    recording = Recording("", {RM: RM}, clock=lambda: next(ticks))
    recording.hear(RM, Event(Step.QUEUE))
    recording.away += 3.5
    recording.hear(RM, Event(Step.QUEUE))
    assert [moment.time for moment in recording.moments] == [0.0, 0.5]
