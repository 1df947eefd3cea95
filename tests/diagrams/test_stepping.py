"""Stepping through the page in a headless Chromium: keys, buttons, addresses, and what the panel shows at each step."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from browser import Browser
from fusewire.diagrams.columns import Detail
from fusewire.diagrams.recording import Recording
from fusewire.diagrams.state import State
from fusewire.events import Event, Step
from fusewire.kernel import SEED2005
from page_in_browser import NARROW, WIDE, Shown
from recorded_runs import made_up, simple_deadlock, twice, unlink

QUEUES_ALONE = Detail(steps=frozenset({Step.QUEUE, Step.TAKE, Step.READ, Step.MATCH}), calls=frozenset())

STEP = "Number(document.querySelector('tr[aria-current]').id.replace('step-', ''))"

# What the panel says: {table: {name: {"is": [...], "new": [...], "gone": [...], "waiting": [...], "text": "..."}}}.
PANEL = """
(() => {
  const words = (box, selector) => [...box.querySelectorAll(selector)].map((chip) => chip.lastChild.textContent);
  const row = (box) => ({
    is: words(box, "ul:not(.waiting) > .chip:not(.gone)"), new: words(box, ".new"), gone: words(box, ".gone"),
    waiting: words(box, ".waiting > .chip:not(.gone)"), text: box.lastChild.lastChild?.textContent ?? "",
  });
  const rows = (section) =>
    [...section.querySelectorAll("dt")].map((name) => [name.textContent, row(name.nextSibling)]);
  return Object.fromEntries([...document.querySelectorAll("#state section")].map((section) =>
    [section.firstChild.textContent, Object.fromEntries(rows(section))]));
})()
"""


def states(recording: Recording) -> list[State]:
    return [moment.state for moment in recording.moments if moment.state is not None]


Panel = dict[str, dict[str, Any]]


def panel(browser: Browser) -> Panel:
    found: Panel = browser.ask(PANEL)
    return found


# Stepping.


def test_keys_move_the_step_and_stop_at_both_ends(shown: Shown) -> None:
    recording = unlink()
    last = len(list(recording.moments))
    browser = shown(recording)
    where = []
    for key in ("ArrowLeft", "ArrowRight", "ArrowDown", "PageDown", "ArrowUp", "PageUp", "End", "ArrowRight", "Home"):
        browser.press(key)
        where.append(browser.ask(STEP))
    assert where == [1, 2, 3, 13, 12, 2, last, last, 1]


def test_n_and_p_go_from_remark_to_remark(shown: Shown) -> None:
    recording = simple_deadlock()
    texts = [moment.event.text for moment in recording.moments]
    deadlock = texts.index('[sleep on inode semaphore for "file"]') + 1
    browser = shown(recording)
    browser.press("n")
    assert browser.ask(STEP) == deadlock
    assert "*DEADLOCK* rm waits for the daemon" in browser.ask("document.getElementById('now').innerText")
    browser.press("n")
    assert browser.ask(STEP) == len(texts)
    browser.press("p")
    assert browser.ask(STEP) == deadlock


def test_one_may_go_through_every_step_or_those_that_the_diagram_draws(shown: Shown) -> None:
    recording = unlink()
    drawn = [n for n, moment in enumerate(recording.moments, start=1) if QUEUES_ALONE.draws(moment.event)]
    browser = shown(recording, detail=QUEUES_ALONE)
    visible = "[...document.querySelectorAll('tr[id]')].filter((row) => row.checkVisibility()).length"
    assert browser.ask(visible) == len(list(recording.moments))
    browser.press("e")
    where = [browser.ask(STEP)]
    for _ in range(len(drawn)):
        browser.press("ArrowRight")
        where.append(browser.ask(STEP))
    assert where == [*drawn, drawn[-1]]
    assert browser.ask(visible) == len(drawn)
    browser.press("Home")
    browser.ask("document.getElementById('every').click()")
    browser.press("ArrowLeft")
    assert browser.ask(STEP) == drawn[0] - 1


def test_between_drawn_steps_all_changes_are_told_and_all_remarks(shown: Shown) -> None:
    browser = shown(simple_deadlock(), detail=Detail(steps=frozenset({Step.QUEUE, Step.PERFORM}), calls=frozenset()))
    for key in ("e", "End", "Home", "ArrowRight"):
        browser.press(key)
    said = browser.ask("document.getElementById('now').innerText")
    assert "[perform unlink]" in said
    assert "daemon waits for inode semaphore" in said
    assert "*DEADLOCK*" in said
    assert panel(browser)["Locks"]['inode semaphore for "file"']["waiting"] == ["daemon"]


def test_slider_buttons_address_and_heading_go_along(shown: Shown) -> None:
    browser = shown(unlink(), at="#step-12")
    assert browser.ask(STEP) == 12
    browser.press("ArrowRight")
    assert browser.ask("[document.getElementById('slider').value, location.hash]") == ["13", "#step-13"]
    browser.ask("document.querySelector('[data-go=back]').click()")
    assert browser.ask(STEP) == 12
    browser.ask("location.hash = '#step-20', new Promise((done) => setTimeout(done))")
    assert browser.ask(STEP) == 20
    browser.ask("const s = document.getElementById('slider'); s.value = 5; s.dispatchEvent(new Event('input'))")
    assert browser.ask(STEP) == 5
    browser.ask("document.getElementById('step-9').click()")
    assert browser.ask(STEP) == 9


@pytest.mark.parametrize("at", ["#step-0", "#step-100000", "#nonsense"])
def test_an_address_that_leads_nowhere_leads_to_an_end(shown: Shown, at: str) -> None:
    recording = unlink()
    assert shown(recording, at=at).ask(STEP) in (1, len(list(recording.moments)))


def test_the_keyboard_reaches_everything_and_one_sees_where_it_is(shown: Shown) -> None:
    browser = shown(unlink(), detail=QUEUES_ALONE)
    reached = []
    for _ in range(8):
        browser.press("Tab")
        outline = browser.ask("getComputedStyle(document.activeElement).outlineStyle")
        reached.append((browser.ask("document.activeElement.ariaLabel ?? document.activeElement.id"), outline))
    assert [name for name, _ in reached] == [
        *("every", "theme", "First step", "Step back", "Step", "Step on", "Last step", "What everything is like"),
    ]
    assert {outline for _, outline in reached} == {"solid"}


IN_SIGHT = """
(() => {
  const box = document.querySelector("tr[aria-current] td:not(:empty)").getBoundingClientRect();
  return document.elementFromPoint((box.left + box.right) / 2, (box.top + box.bottom) / 2)?.closest("tr")?.ariaCurrent;
})()
"""


@pytest.mark.parametrize("size", [WIDE, NARROW])
@pytest.mark.parametrize("name", ["file", "x" * 200])
def test_the_current_row_is_in_sight_wherever_one_goes(shown: Shown, size: tuple[int, int], name: str) -> None:
    browser = shown(unlink(name=name), size=size)
    for key in ("End", "PageUp", "PageUp", "ArrowUp", "Home", "PageDown"):
        browser.press(key)
        assert browser.ask(IN_SIGHT) == "step", key


# What is shown.


@pytest.mark.parametrize("make", [unlink, simple_deadlock])
def test_the_panel_shows_the_recorded_state_at_every_step(shown: Shown, make: Callable[[], Recording]) -> None:
    recording = make()
    browser = shown(recording)
    for state in states(recording):
        seen = panel(browser)
        assert {name: row["is"] for name, row in seen["Queues"].items()} == counted(state.queues)
        assert {name: row["is"] for name, row in seen["Asleep"].items() if row["is"]} == state.sleepers
        assert {name: row["is"] for name, row in seen["Flags"].items() if row["is"]} == state.flags
        assert {name: row["text"] for name, row in seen["Tasks"].items()} == state.tasks
        held = {name: (lock["is"], lock["waiting"]) for name, lock in seen["Locks"].items()}
        assert {name: lock for name, lock in held.items() if any(lock)} == {
            name: (lock.holders, lock.waiting) for name, lock in state.locks.items()
        }
        browser.press("ArrowRight")


def counted(queues: dict[str, list[str]]) -> dict[str, list[str]]:
    """The lists as they are shown: what is unused is all alike, and therefore a number."""
    unused = queues["unused"]
    return {**queues, "unused": [f"{len(unused)} requests"] if unused else []}


def test_what_a_step_has_changed_is_marked(shown: Shown) -> None:
    recording = unlink()
    browser = shown(recording)
    for before, after in pairwise(states(recording)):
        browser.press("ArrowRight")
        for name, row in panel(browser)["Queues"].items():
            assert row["new"] == [request for request in after.queues[name] if request not in before.queues[name]]
            assert row["gone"] == [request for request in before.queues[name] if request not in after.queues[name]]


def test_a_run_that_begins_anew_is_not_compared_with_the_last(shown: Shown) -> None:
    recording = twice()
    half = len(list(recording.moments)) // 2
    browser = shown(recording, at=f"#step-{half + 1}")
    assert browser.ask("document.querySelectorAll('.new, .gone, .changed, .changes li').length") == 0
    browser.press("ArrowLeft")
    assert browser.ask("document.querySelectorAll('.new, .changed').length") > 0


def test_a_step_is_said_to_those_who_hear_it_with_what_it_changes(shown: Shown) -> None:
    recording = unlink()
    texts = [moment.event.text for moment in recording.moments]
    browser = shown(recording, at=f"#step-{texts.index('[queue req on fc->pending]') + 1}")
    assert browser.ask("document.getElementById('now').ariaLive") == "polite"
    said = browser.ask("document.getElementById('now').innerText")
    assert "rm [queue req on fc->pending] UNLINK 6" in said
    assert "UNLINK 6 joins pending" in said


def test_where_nobody_looked_the_panel_says_so(shown: Shown) -> None:
    browser = shown(made_up(("a", Event("[step]")), ("b", Event("[step]"))))
    assert "Nobody looked here" in browser.ask("document.getElementById('state').innerText")
    browser.press("ArrowRight")
    assert browser.ask(STEP) == 2


def test_a_run_in_which_nothing_happened_has_no_panel(shown: Shown) -> None:
    assert shown(made_up()).ask("document.getElementById('panel').checkVisibility()") is False


def test_of_a_real_kernel_the_panel_shows_what_each_did_last(shown: Shown) -> None:
    fell_asleep = Event(Step.SLEEP, "req->waitq")
    wakes = Event(Step.WAKE, "req->waitq", woken=("a",))
    browser = shown(made_up(("a", fell_asleep), ("b", wakes), observed=True), at="#step-1")
    assert {name: row["text"] for name, row in panel(browser)["Seen last"].items()} == {"a": "asleep on req->waitq"}
    browser.press("End")
    assert {name: row["text"] for name, row in panel(browser)["Seen last"].items()} == {
        "a": "woken up",
        "b": "wake up req->waitq",
    }


def test_a_pool_from_which_a_request_is_taken_is_not_shown_as_if_one_had_come(shown: Shown) -> None:
    recording = unlink(SEED2005)
    counts = [len(state.queues["unused"]) for state in states(recording)]
    taken = next(number for number, (before, after) in enumerate(pairwise(counts), start=2) if after < before)
    row = panel(shown(recording, at=f"#step-{taken}"))["Queues"]["unused"]
    assert (row["is"], row["new"]) == ([f"{counts[taken - 1]} requests"], [])
