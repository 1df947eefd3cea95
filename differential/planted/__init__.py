"""Errors planted in the kernel's end: at least one for each row of the table of opcodes.

Each is something that a kernel's end may well get wrong: a flag, a field, a request too many or too
few, attributes that are trusted for too long. The comparison must find every one of them.

    patches.py    how something is made wrong for a while
    errors.py     the errors
    programs.py   programs for what none by chance is sure to do
    search.py     which program finds one
"""

from __future__ import annotations

from differential.planted.errors import PLANTED
from differential.planted.patches import Planted, planted
from differential.planted.programs import HELD, ON_DEVICE, held_program
from differential.planted.search import Search

__all__ = ["HELD", "ON_DEVICE", "PLANTED", "Planted", "Search", "held_program", "planted"]
