"""The page of a recording, opened in a headless Chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import PROGRAM, Browser
from fusewire.diagrams import page
from fusewire.diagrams.columns import EVERYTHING, Detail
from fusewire.diagrams.recording import Recording
from page_in_browser import WIDE, Shown

REQUIRE_BROWSER = "FUSEWIRE_REQUIRE_BROWSER"  # in the environment: a missing one is a failure


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if PROGRAM is None:
        absent = "there is no Chromium here (Debian: apt-get install chromium)"
        pytest.fail(absent) if os.environ.get(REQUIRE_BROWSER) else pytest.skip(absent)
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


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
        detail: Detail = EVERYTHING,
    ) -> Browser:
        file = tmp_path / "page.html"
        file.write_text(page.render(recording, detail))
        browser.size(*size)
        browser.media(scheme, medium)
        browser.open(f"{file.as_uri()}{at}", scripts)
        return browser

    yield show
    assert browser.complaints == []
