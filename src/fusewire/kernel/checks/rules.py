"""How a rule that is broken is told of: by its number, then what should have been."""

from __future__ import annotations

__all__ = ["require"]


def require(number: int, holds: bool, text: str) -> None:
    """Raise AssertionError, beginning with the rule's `number`, unless it `holds`."""
    if not holds:
        raise AssertionError(f"{number}: {text}")
