"""kernel.txt, run: its three diagrams, the cures, and the copy that must not be interrupted."""

from __future__ import annotations

from typing import Final

from fusewire.explain.seed.locked_copy import LOCKED_COPY
from fusewire.explain.seed.simple_deadlock import SIMPLE_DEADLOCK
from fusewire.explain.seed.tricky_deadlock import TRICKY_DEADLOCK
from fusewire.explain.seed.unlink import UNLINK

__all__ = ["EXPLANATIONS"]

EXPLANATIONS: Final = (UNLINK, SIMPLE_DEADLOCK, TRICKY_DEADLOCK, LOCKED_COPY)
