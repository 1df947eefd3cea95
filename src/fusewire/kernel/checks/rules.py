"""How a rule that is broken is told of: by its number, then what should have been."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["broken", "require"]


def require(number: int, holds: bool, text: str) -> None:
    """Raise AssertionError, beginning with the rule's `number`, unless it `holds`."""
    if not holds:
        broken(number, text)


def broken(number: int, text: str) -> NoReturn:
    """Raise it. For rules that are looked at so often that the text is made only if it is told."""
    raise AssertionError(f"{number}: {text}")
