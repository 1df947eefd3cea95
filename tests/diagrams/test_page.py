"""The page as it is written: whole without a script, of one piece, and safe whatever names are in it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from fusewire.diagrams import as_json, page
from fusewire.diagrams.columns import Detail
from fusewire.diagrams.recording import Moment, Recording
from fusewire.events import Event, Step
from recorded_runs import made_up, simple_deadlock, unlink


class Reader(HTMLParser):
    """Reads the table: its rows, what stands in their cells, and everything's attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.attributes: list[tuple[str, str, str]] = []  # tag, name, value
        self.scripts: list[str] = []
        self.within = ""
        self.in_cell = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.within = tag
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True
        elif tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.within = ""
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.within == "script":
            self.scripts[-1] += data
        elif self.in_cell:
            self.rows[-1][-1] += data


def read(recording: Recording, detail: Detail | None = None) -> Reader:
    return Reader(page.render(recording) if detail is None else page.render(recording, detail))


def test_every_step_stands_in_its_column_with_its_time() -> None:
    recording = unlink()
    head, *rows = read(recording).rows
    assert head == ["ms", *recording.titles]
    for row, moment in zip(rows, recording.moments, strict=False):
        time, *cells = row
        own = cells[recording.column(moment.task)]
        assert time == f"{moment.time * 1000:.3f}"
        assert own.startswith(moment.event.text.removesuffix("()"))
        assert moment.event.detail in own
        woken = {recording.column(task) for task in moment.event.woken}
        assert {column for column, cell in enumerate(cells) if cell} == {recording.column(moment.task), *woken}


def test_remarks_stand_in_place_and_the_title_is_not_said_twice() -> None:
    texts = ["".join(row) for row in read(simple_deadlock()).rows]
    assert texts.count("Scenario 1 - Simple deadlock") == 0  # but as the title of it all
    at = texts.index("*DEADLOCK* rm waits for the daemon, and the daemon for rm.")
    assert texts[at - 1].endswith('[sleep on inode semaphore for "file"]')
    assert texts[at + 1] == "The cure"
    assert texts[-1] == "All are dead."


@pytest.mark.parametrize("number", [1, 7, 30])
def test_a_row_can_be_pointed_at(number: int) -> None:
    assert ("tr", "id", f"step-{number}") in read(unlink()).attributes


def test_the_page_asks_nobody_for_anything() -> None:
    text = page.render(unlink())
    loading = [found for found in Reader(text).attributes if found[1] in ("src", "href", "srcset", "action")]
    assert loading == []
    assert not re.search(r"url\(|@import|https?:", text)
    assert "default-src 'none'" in text


def test_the_run_stands_in_it_as_json() -> None:
    recording = simple_deadlock()
    data, _ = read(recording).scripts
    assert json.loads(data) == as_json.as_data(recording)


HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">&amp;$title ${run}'


def test_names_are_names_whatever_is_in_them() -> None:
    """Of files, for example, which anybody may make."""
    recording = made_up(("a", Event(">{}()", "open", detail=HOSTILE)), columns={"a": HOSTILE}, title=HOSTILE)
    recording.entries.append(Moment(HOSTILE, Event("[wake up {}]", HOSTILE, ("a",), HOSTILE), 1.0))
    recording.say("deadlock", HOSTILE)
    reader = read(recording)
    assert len(reader.scripts) == 2
    assert not [found for found in reader.attributes if found[0] == "img"]
    assert json.loads(reader.scripts[0])["title"] == HOSTILE
    assert f">open({HOSTILE})" in "".join(reader.rows[1])


def test_what_the_diagram_passes_over_is_pale_and_what_is_inferred_is_marked() -> None:
    recording = made_up(("a", Event(Step.QUEUE)), ("a", Event(Step.TAKE)), observed=True)
    recording.entries.append(Moment("b", Event(Step.READ), 1.0, None, certain=False))
    text = page.render(recording, Detail(steps=frozenset({Step.QUEUE, Step.READ})))
    classes = re.findall(r'<tr id="step-\d+" class="([^"]*)"', text)
    assert ["pale" in each for each in classes] == [False, True, False]
    assert ["inferred" in each for each in classes] == [False, False, True]
    assert "2 steps were observed, 1 are inferred" in text


def test_a_task_is_named_where_others_share_its_column() -> None:
    columns = {"rm": "rm", "one": "daemon", "two": "daemon"}
    event = Event("[wake up {}]", "q", ("one", "two"))
    rows = read(made_up(("rm", event), ("one", Event("[step]")), columns=columns)).rows[1:]
    assert [row[1:] for row in rows] == [["[wake up q]", "one, two [woken up]"], ["", "one [step]"]]


def depths(recording: Recording) -> list[int]:
    return [int(depth) for depth in re.findall(r"--depth:(\d+)", page.render(recording).partition("<tbody>")[2])]


def call(name: str) -> tuple[str, Event]:
    return "a", Event(Step.CALL, name)


def back(name: str) -> tuple[str, Event]:
    return "a", Event(Step.RETURN, name)


def test_what_is_done_in_a_call_is_set_in() -> None:
    step = ("a", Event("[step]"))
    assert depths(made_up(call("sys_a"), call("b"), step, back("b"), back("sys_a"), step)) == [0, 1, 2, 1, 0, 0]


def test_a_task_that_was_in_calls_when_the_run_began_is_set_in_as_far() -> None:
    step = ("a", Event("[step]"))
    assert depths(made_up(step, back("b"), step, back("sys_a"), step, call("sys_a"))) == [2, 1, 1, 0, 0, 0]


def test_a_system_call_is_in_none_whatever_became_of_the_last() -> None:
    assert depths(made_up(call("sys_a"), call("b"), call("sys_a"), back("sys_a"))) == [0, 1, 0, 0]


def test_what_a_task_was_in_before_a_heading_says_nothing_of_what_is_above_it() -> None:
    recording = made_up(call("do_a"), ("a", Event("[step]")), back("do_a"))
    recording.say("heading", "Once more")
    recording.entries += made_up(back("b"), back("sys_a")).entries
    assert depths(recording) == [0, 1, 0, 1, 0]


def test_what_the_words_say_is_not_said_again() -> None:
    detail = Detail(words={Step.QUEUE: "[queue {operation} request]", Step.TAKE: "[take {detail}]"})
    recording = made_up(("a", Event(Step.QUEUE, detail="READ 4")), ("a", Event(Step.TAKE, detail="READ 4")))
    assert [row[1] for row in read(recording, detail).rows[1:]] == ["[queue READ request] READ 4", "[take READ 4]"]


def test_what_takes_long_is_told_in_seconds() -> None:
    recording = made_up()
    recording.entries += [Moment("a", Event("[step]"), 12.5)]
    head, row = read(recording).rows[:2]
    assert (head[0], row[0]) == ("s", "12.500")


def test_a_run_in_which_nothing_happened_is_a_page_too() -> None:
    assert read(made_up()).rows == [["ms", "A", "B"]]


def test_neither_an_arrow_nor_an_error_is_broken_at_the_end_of_a_line() -> None:
    text = page.render(
        made_up(("a", Event(Step.RETURN, "sys_read", detail="-EINTR")), ("a", Event("[sleep on req->waitq]")))
    )
    assert "<u>-EINTR</u>" in text
    assert "req<u>-&gt;</u>waitq" in text
