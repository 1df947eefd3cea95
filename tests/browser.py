"""A headless Chromium, for tests of the page: pages are opened, keys pressed, and what comes of it is looked at.

The browser is spoken to in its own protocol, JSON through a pair of pipes: it reads from its descriptor 3 and writes
to 4, each message ended by a NUL. That is all that a driver would add, so none is installed. Every wait ends after
`PATIENCE` seconds; what a page complains of is kept in `complaints`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

PATIENCE: Final = 20.0  # seconds
PROGRAM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

SWITCHES: Final = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",  # which does not work as root
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--disable-breakpad",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)

# Run before the browser: gives two descriptors the numbers that it expects.
TAKE_3_AND_4: Final = """
import fcntl, os, sys
reading, writing = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(reading, 3)
os.dup2(writing, 4)
os.closerange(5, 64)
os.execv(sys.argv[3], sys.argv[3:])
"""

KEYS: Final = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35}
KEYS_OF_MORE: Final = {"PageUp": 33, "PageDown": 34, "Tab": 9, "Enter": 13}


class Browser:
    """One browser with one page open."""

    def __init__(self, profile: Path) -> None:
        """Start it; it keeps its own things in `profile`."""
        assert PROGRAM is not None, "there is no Chromium"
        its_reading, self._writing = os.pipe()
        self._reading, its_writing = os.pipe()
        command = [PROGRAM, *SWITCHES, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", TAKE_3_AND_4, str(its_reading), str(its_writing), *command],
            pass_fds=(its_reading, its_writing),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(its_reading)
        os.close(its_writing)
        self._left = b""
        self._number = 0
        self._session = ""
        self._events: list[dict[str, Any]] = []
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it, and all that it has started."""
        with contextlib.suppress(OSError, TimeoutError):
            self._session = ""
            self.call("Browser.close")
            self._process.wait(PATIENCE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._reading)
        os.close(self._writing)

    # --- the protocol

    def _attach(self) -> None:
        (page,) = [target for target in self.call("Target.getTargets")["targetInfos"] if target["type"] == "page"]
        self._session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Have the browser do something, and return what it says.

        Raises:
            RuntimeError: it cannot.
        """
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._left:
            if not select.select([self._reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"the browser has said nothing for {PATIENCE:.0f} seconds")
            data = os.read(self._reading, 1 << 20)
            if not data:
                raise ConnectionError("the browser has gone")
            self._left += data
        message, _, self._left = self._left.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded

    def _wait_for(self, event: str) -> None:
        while not any(each.get("method") == event for each in self._events):
            self._events.append(self._next())

    # --- what a person does

    def open(self, url: str, scripts: bool = True) -> None:
        """Open a page and wait until it is all there; without `scripts` as if they were forbidden."""
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        for address in ("about:blank", url):  # else a mere change of #fragment loads nothing
            self._events.clear()
            self.call("Page.navigate", url=address)
            self._wait_for("Page.loadEventFired")

    def size(self, width: int, height: int) -> None:
        """Have a screen of so many pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def media(self, scheme: str = "light", medium: str = "screen") -> None:
        """Prefer 'light' or 'dark'; be a 'screen', or 'print'."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=medium, features=features)

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        code = (KEYS | KEYS_OF_MORE).get(key) or ord(key.upper())
        text = {"text": key} if len(key) == 1 else {}
        both = {"key": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", **both, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **both)

    def screenshot(self, path: Path) -> None:
        """Keep what is to be seen as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    # --- what is to be seen

    def ask(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page.

        Raises:
            RuntimeError: it throws.
        """
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", expression))
        return answer["result"].get("value")

    @property
    def complaints(self) -> list[str]:
        """What the page has complained of, or the browser about it, since it was opened."""
        kinds = {"Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"}
        return [json.dumps(event["params"]) for event in self._events if event.get("method") in kinds]
