"""Two columns out of events."""

from __future__ import annotations

from fusewire.diagrams.text import render, rows
from fusewire.events import Event


def test_each_task_has_its_column_and_the_rest_share_the_right_one() -> None:
    run = [("rm", Event(">a()")), ("one", Event(">b()")), ("two", Event(">c()"))]
    assert [row for row in rows(run, "rm") if any(row)] == [(">a()", ""), ("", ">b()"), ("", ">c()")]


def test_a_wake_up_across_fills_both_columns_and_one_within_fills_one() -> None:
    run = [
        ("rm", Event("[wake up q]", ("daemon",))),
        ("daemon", Event("[release semaphore]", ("rm",), "[semaphore acquired]")),
        ("daemon", Event("[wake up q]", ("other",))),
        ("rm", Event("[wake up q]")),
    ]
    assert [row for row in rows(run, "rm") if any(row)] == [
        ("[wake up q]", "[woken up]"),
        ("[semaphore acquired]", "[release semaphore]"),
        ("", "[wake up q]"),
        ("[wake up q]", ""),
    ]


def test_what_begins_outside_any_call_is_set_apart() -> None:
    texts = [">a()", ">b()", "[step]", "<b()", "<a()", "[perform]", ">a()", "<a()"]
    drawn = list(rows([("rm", Event(text)) for text in texts], "rm"))
    empty = ("", "")
    assert drawn == [
        empty,
        *[(text, "") for text in texts[:5]],
        empty,
        (texts[5], ""),
        empty,
        *[(t, "") for t in texts[6:]],
    ]


def test_a_call_that_began_before_the_run_harms_nothing() -> None:
    texts = ["<b()", "<a()", ">a()", "[step]"]
    drawn = list(rows([("rm", Event(text)) for text in texts], "rm"))
    assert drawn[-3:] == [("", ""), (">a()", ""), ("[step]", "")]


def test_what_is_to_be_left_out_is_not_drawn() -> None:
    run = [("rm", Event(">a()")), ("rm", Event("[release semaphore]")), ("rm", Event("<a()"))]
    assert [left for left, _ in rows(run, "rm", ["semaphore"]) if left] == [">a()", "<a()"]


def test_a_step_that_does_not_fit_its_column_goes_on_in_the_next_line() -> None:
    drawn = [
        ("[get request from fc->unused_list]", ""),
        ('[acquire inode semaphore for "file"]', '[acquire inode semaphore for "file"]'),
        ("[queue req on fc->pending]", "[look up req in fc->processing]"),
    ]
    assert render(("left", "right"), drawn).splitlines() == [
        "  |  left                                |  right",
        "  |  [get request from                   |",
        "  |  fc->unused_list]                    |",
        "  |  [acquire inode semaphore            |  [acquire inode semaphore",
        '  |  for "file"]                         |  for "file"]',
        "  |  [queue req on fc->pending]          |  [look up req in fc->processing]",
    ]
