"""The page as people use it, in a headless Chromium: with keys, in light and dark, on screens of any width."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import PROGRAM, Browser
from fusewire.diagrams import page
from fusewire.diagrams.columns import Detail
from fusewire.diagrams.recording import Recording
from fusewire.diagrams.state import State
from fusewire.events import Event, Step
from recorded_runs import RM, made_up, simple_deadlock, unlink

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium here (Debian: apt-get install chromium)")

WIDE, NARROW = (1600, 1000), (360, 740)
THREADS = {"rm": RM, "daemon 1": "FUSE filesystem daemon, thread 1", "daemon 2": "FUSE filesystem daemon, thread 2"}

STEP = "Number(document.querySelector('tr[aria-current]').id.replace('step-', ''))"

# What the panel says of one table: {name: {"is": [...], "new": [...], "gone": [...], "waiting": [...]}}.
PANEL = """
((title) => {
  const sections = [...document.querySelectorAll("#state section")];
  const section = sections.find((each) => each.firstChild.textContent === title);
  const words = (box, selector) => [...box.querySelectorAll(selector)].map((chip) => chip.lastChild.textContent);
  return Object.fromEntries([...section.querySelectorAll("dt")].map((name) => {
    const box = name.nextSibling;
    return [name.textContent, {
      is: words(box, "ul:not(.waiting) > .chip:not(.gone)"), new: words(box, ".new"), gone: words(box, ".gone"),
      waiting: words(box, ".waiting > .chip:not(.gone)"), text: box.lastChild.lastChild?.textContent ?? "",
    }];
  }));
})(%r)
"""

# The least contrast of any text that is to be seen, and which text that is (WCAG 2, 1.4.3).
CONTRAST = """
(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const pixel = (...colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (part) => part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4;
  const luminance = (rgb) => rgb.map(linear).reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    const found = [];
    for (let each = element; each; each = each.parentElement) found.unshift(getComputedStyle(each).backgroundColor);
    return found;
  };
  let least = [21, ""];
  for (const element of document.body.querySelectorAll("*")) {
    const text = [...element.childNodes].filter((each) => each.nodeType === 3).map((each) => each.data).join("").trim();
    if (!text || !element.checkVisibility() || ["SCRIPT", "NOSCRIPT"].includes(element.tagName)) continue;
    const colours = behind(element);
    const [dark, light] = [pixel(...colours), pixel(...colours, getComputedStyle(element).color)]
      .map(luminance).sort((a, b) => a - b);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < least[0]) least = [contrast, text];
  }
  return least;
})()
"""

# What reaches beyond the screen, or beyond its own box.
OVERFLOWING = """
[...document.body.querySelectorAll("*")]
  .filter((each) => each.checkVisibility() && !each.closest("tr > :first-child:is(th)"))
  .filter((each) => each.getBoundingClientRect().right > innerWidth + 0.5
    || (each.clientWidth && each.scrollWidth > each.clientWidth + 1))
  .map((each) => `${each.tagName} ${each.className} ${each.textContent.slice(0, 40)}`)
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


Shown = Callable[..., Browser]


@pytest.fixture
def shown(browser: Browser, tmp_path: Path) -> Iterator[Shown]:
    """Opens the page of a recording, and sees at the end that nobody has complained."""

    def show(
        recording: Recording,
        at: str = "",
        size: tuple[int, int] = WIDE,
        scheme: str = "light",
        medium: str = "screen",
        scripts: bool = True,
        detail: Detail | None = None,
    ) -> Browser:
        file = tmp_path / "page.html"
        file.write_text(page.render(recording) if detail is None else page.render(recording, detail))
        browser.size(*size)
        browser.media(scheme, medium)
        browser.open(f"{file.as_uri()}{at}", scripts)
        return browser

    yield show
    assert browser.complaints == []


def states(recording: Recording) -> list[State]:
    return [moment.state for moment in recording.moments if moment.state is not None]


def panel(browser: Browser, title: str) -> dict[str, Any]:
    found: dict[str, Any] = browser.ask(PANEL % title)
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


QUEUES_ALONE = Detail(steps=frozenset({Step.QUEUE, Step.TAKE, Step.READ, Step.MATCH}), calls=frozenset())


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
    assert panel(browser, "Locks")['inode semaphore for "file"']["waiting"] == ["daemon"]


def test_on_a_narrow_screen_three_columns_stand_in_one_and_say_which_they_are(shown: Shown) -> None:
    browser = shown(simple_deadlock(2, THREADS), size=NARROW, detail=QUEUES_ALONE)
    browser.press("e")
    rows = "[...document.querySelectorAll('tr[id]')].filter((row) => row.checkVisibility())"
    title = "getComputedStyle(cell, '::before').content"
    cells = f"{rows}.flatMap((row) => [...row.querySelectorAll('td:not(:empty)')]).map((cell) => "
    titles = browser.ask(cells + f"[cell.dataset.title, {title} !== 'none'])")
    above = [None, *(name for name, _ in titles)]
    assert [is_said for _, is_said in titles] == [name != last for (name, _), last in zip(titles, above, strict=False)]
    assert len(set(above)) == 4


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
    before = None
    for state in states(recording):
        queues, locks = panel(browser, "Queues"), panel(browser, "Locks")
        for name, requests in state.queues.items():
            expected = requests if name != "unused" else [f"{len(requests)} requests"] if requests else []
            assert queues[name]["is"] == expected
            if before is not None and name != "unused":
                assert queues[name]["new"] == [request for request in requests if request not in before.queues[name]]
                assert queues[name]["gone"] == [request for request in before.queues[name] if request not in requests]
        held = {name: (lock["is"], lock["waiting"]) for name, lock in locks.items() if lock["is"] or lock["waiting"]}
        assert held == {name: (lock.holders, lock.waiting) for name, lock in state.locks.items()}
        asleep = {name: row["is"] for name, row in panel(browser, "Asleep").items() if row["is"]}
        assert asleep == state.sleepers
        flags = {name: row["is"] for name, row in panel(browser, "Flags").items() if row["is"]}
        assert flags == state.flags
        assert {name: row["text"] for name, row in panel(browser, "Tasks").items()} == state.tasks
        browser.press("ArrowRight")
        before = state


def test_a_step_is_said_to_those_who_hear_it_with_what_it_changes(shown: Shown) -> None:
    recording = unlink()
    texts = [moment.event.text for moment in recording.moments]
    browser = shown(recording, at=f"#step-{texts.index('[add req to fc->processing]') + 1}")
    assert browser.ask("document.getElementById('now').ariaLive") == "polite"
    said = browser.ask("document.getElementById('now').innerText")
    assert "daemon [add req to fc->processing] UNLINK 6" in said
    assert "UNLINK 6 joins processing" in said
    assert "UNLINK 6: sent" in said


def test_where_nobody_looked_the_panel_says_so(shown: Shown) -> None:
    browser = shown(made_up(("a", Event("[step]")), ("b", Event("[step]"))))
    assert "not looked at" in browser.ask("document.getElementById('state').innerText")
    browser.press("ArrowRight")
    assert browser.ask(STEP) == 2


def test_a_run_in_which_nothing_happened_has_no_panel(shown: Shown) -> None:
    assert shown(made_up()).ask("document.getElementById('panel').checkVisibility()") is False


# How it is shown.


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_all_text_can_be_read(shown: Shown, scheme: str, size: tuple[int, int]) -> None:
    calls = Detail(steps=frozenset(Step) - {Step.LOCK, Step.UNLOCK})
    browser = shown(simple_deadlock(2, THREADS), size=size, scheme=scheme, detail=calls)
    for _ in range(9):
        contrast, text = browser.ask(CONTRAST)
        assert contrast >= 4.5, text
        browser.press("PageDown")


def test_the_switch_and_its_key_turn_light_into_dark_and_back(shown: Shown) -> None:
    browser = shown(unlink(), scheme="dark")
    seen = "[getComputedStyle(document.body).backgroundColor, document.getElementById('theme').textContent]"
    dark, name = browser.ask(seen)
    browser.press("t")
    light, other = browser.ask(seen)
    assert (name, other) == ("Light", "Dark")
    assert dark != light
    assert browser.ask(CONTRAST)[0] >= 4.5
    browser.ask("document.getElementById('theme').click()")
    assert browser.ask(seen) == [dark, name]


RUNS: dict[str, Callable[[], Recording]] = {
    "two columns": simple_deadlock,
    "three columns": lambda: simple_deadlock(2, THREADS),
    "a shared column": lambda: simple_deadlock(4),
    "a long name": lambda: unlink(name="x" * 200),
}


@pytest.mark.parametrize("width", [360, 700, 1024, 1600])
@pytest.mark.parametrize("run", RUNS)
def test_nothing_overflows(shown: Shown, width: int, run: str) -> None:
    browser = shown(RUNS[run](), size=(width, 800))
    for _ in range(4):
        assert browser.ask(OVERFLOWING) == []
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
        browser.press("PageDown")


def test_without_scripts_it_is_the_whole_diagram(shown: Shown) -> None:
    recording = unlink()
    browser = shown(recording, at="#step-12", scripts=False)
    visible = "[...document.querySelectorAll('tr[id]')].filter((row) => row.checkVisibility()).length"
    assert browser.ask(visible) == len(list(recording.moments))
    hidden = "['panel', 'theme'].map((id) => document.getElementById(id).checkVisibility())"
    assert browser.ask(hidden) == [False, False]
    background = "getComputedStyle(document.querySelector('%s td')).backgroundColor"
    assert browser.ask(background % "#step-12") != browser.ask(background % "#step-13")


def test_on_paper_it_is_the_diagram_in_black_on_white(shown: Shown) -> None:
    browser = shown(unlink(), scheme="dark", medium="print")
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.ask("document.getElementById('panel').checkVisibility()") is False
    assert browser.ask(CONTRAST)[0] >= 4.5


def test_nothing_is_loaded(shown: Shown) -> None:
    assert shown(unlink()).ask("performance.getEntriesByType('resource').map((each) => each.name)") == []
