"""The sizes of screens on which the page is looked at, and how a test asks for it (diagrams/conftest.py)."""

from __future__ import annotations

from collections.abc import Callable

from browser import Browser

Shown = Callable[..., Browser]  # (recording, at, size, scheme, medium, scripts, detail)

WIDE, NARROW = (1600, 1000), (360, 740)  # pixels
