"""How the page looks in a headless Chromium: light and dark, on screens of any width, on paper, without scripts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fusewire.diagrams.columns import Detail
from fusewire.diagrams.recording import Recording
from fusewire.events import Step
from page_in_browser import NARROW, WIDE, Shown
from recorded_runs import RM, simple_deadlock, unlink

THREADS = {"rm": RM, "daemon 1": "FUSE filesystem daemon, thread 1", "daemon 2": "FUSE filesystem daemon, thread 2"}
QUEUES_ALONE = Detail(steps=frozenset({Step.QUEUE, Step.TAKE, Step.READ, Step.MATCH}), calls=frozenset())

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
  .filter((each) => each.checkVisibility() && !each.closest(".heard, tr > :first-child:is(th)"))
  .filter((each) => each.getBoundingClientRect().right > innerWidth + 0.5
    || (each.clientWidth && each.scrollWidth > each.clientWidth + 1))
  .map((each) => `${each.tagName} ${each.className} ${each.textContent.slice(0, 40)}`)
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_all_text_can_be_read(shown: Shown, scheme: str, size: tuple[int, int]) -> None:
    calls = Detail(steps=frozenset(Step) - {Step.LOCK, Step.UNLOCK})
    browser = shown(simple_deadlock(2, THREADS), size=size, scheme=scheme, detail=calls)
    for _ in range(6):
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


@pytest.mark.parametrize("run", RUNS)
def test_nothing_overflows(shown: Shown, run: str) -> None:
    browser = shown(RUNS[run]())
    for width in (360, 700, 1024, 1600):
        browser.size(width, 800)
        for _ in range(3):
            assert browser.ask(OVERFLOWING) == []
            assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
            browser.press("PageDown")
        browser.press("Home")


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
