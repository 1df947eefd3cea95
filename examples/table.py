"""Table: the rows of a SQLite database as JSON files, which can be read, edited and removed.

    python examples/table.py people.db /mnt/x
    DB=people.db fusewire mount examples/table.py:root /mnt/x

    ls /mnt/x                        # a directory for each table
    cat /mnt/x/people/1              # the row with rowid 1
    sed -i s/Ann/Anna/ /mnt/x/people/1
    rm /mnt/x/people/2

Only what is whole gets into the database. A file that was written is parsed when it is closed;
if it is not JSON, or not a row of this table, close fails (EINVAL), and the row is as it was.
`sed -i` writes a new file and renames it over the old: so that works here too.
"""

import errno
import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from typing import Any

import fusewire


def quoted(name: str) -> str:
    """A table's or column's name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'
