"""Every operation of FUSE, explained: a table, one row an operation, grouped into modules by kind.

    names.py  attributes.py  files.py  directories.py  data.py     rows: a program that has it sent
    caching.py  notices.py  endings.py  mounts.py                  what is more than one program
    filesystem.py                                                  what answers all of it
    rows.py  stage.py                                              what a row is, and how it is played

Two are never sent on a mount like ours. Their rows show what Linux does in their place, and say so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fusewire.explain.explanation import Explanation
from fusewire.explain.operations.attributes import ATTRIBUTES
from fusewire.explain.operations.caching import CACHING
from fusewire.explain.operations.data import DATA
from fusewire.explain.operations.directories import DIRECTORIES
from fusewire.explain.operations.endings import ENDINGS
from fusewire.explain.operations.files import FILES
from fusewire.explain.operations.mounts import MOUNTS
from fusewire.explain.operations.names import NAMES
from fusewire.explain.operations.never import NEVER
from fusewire.explain.operations.notices import NOTICES
from fusewire.explain.operations.stage import explanation
from fusewire.explain.seed.unlink import TODAY

__all__ = ["EXPLANATIONS"]

ROWS: Final = {
    "names": NAMES,
    "attributes": ATTRIBUTES,
    "files": (*FILES, *DATA),
    "directories": DIRECTORIES,
}
PLAYED: Final[tuple[Explanation, ...]] = (
    *MOUNTS,
    *(explanation(row, f"every operation: {kind}") for kind, rows in ROWS.items() for row in rows),
    *CACHING,
    *NOTICES,
    *ENDINGS,
    *(explanation(row, "never sent on a mount like ours") for row in NEVER),
)

EXPLANATIONS: Final = tuple(replace(each, today=TODAY) for each in PLAYED)
