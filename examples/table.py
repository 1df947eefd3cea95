"""Table: the rows of a SQLite database as JSON files, which can be read, edited and removed.

    python examples/table.py people.db /mnt/x
    DB=people.db fusewire mount examples/table.py:root /mnt/x

    ls /mnt/x                                   # a directory for each table
    cat /mnt/x/people/1                         # the row whose rowid is 1
    echo '{"name": "Anna"}' > /mnt/x/people/1   # the columns that are not named stay
    rm /mnt/x/people/2

Only what is whole gets into the database: a file that was written is parsed when it is closed,
and if it is not JSON, or names a column that the table has not, close fails with EINVAL.
A shell closes a file more often than one thinks (`>` duplicates the descriptor and closes the
first, before anything is written), so an empty draft is no error, and a draft is kept until
the last one who has the file open is gone.
"""

import errno
import json
import os
import sqlite3
import sys
from collections.abc import Iterator

import fusewire


class Row(fusewire.File):
    """One row: read as JSON, and changed by writing JSON over it."""

    mode = 0o644

    def __init__(self, table: "Table", rowid: int) -> None:
        self.table = table
        self.rowid = rowid
        self.draft: bytearray | None = None  # what was written and is not in the database yet
        self.openings = 0

    def __eq__(self, other: object) -> bool:  # made anew by each listing, yet the same file
        return isinstance(other, Row) and (self.table, self.rowid) == (other.table, other.rowid)

    def __hash__(self) -> int:
        return hash((self.table, self.rowid))

    def getattr(self) -> fusewire.Attributes:
        attributes = self.attributes()
        attributes.size = len(self.text())
        return attributes

    def text(self) -> bytes:
        if self.draft is not None:
            return bytes(self.draft)
        return json.dumps(self.table.values(self.rowid), indent=2, default=bytes.hex).encode() + b"\n"

    def open(self, flags: int) -> "Row":
        self.openings += 1
        return self

    def read(self, offset: int, size: int) -> bytes:
        return self.text()[offset : offset + size]

    def write(self, offset: int, data: memoryview) -> None:
        draft = self.draft = bytearray(self.text())
        draft[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        self.draft = bytearray(self.text()[:size].ljust(size))

    def flush(self) -> None:
        if not self.draft:
            return
        try:
            self.table.update(self.rowid, json.loads(self.draft))
        except (ValueError, TypeError, sqlite3.Error) as error:
            raise OSError(errno.EINVAL, str(error)) from error

    def release(self) -> None:
        self.openings -= 1
        if self.openings == 0:
            self.draft = None


class Table(fusewire.Directory):
    """One table: a file for each row, named by its rowid."""

    def __init__(self, database: sqlite3.Connection, name: str) -> None:
        self.database = database
        self.name = quoted(name)

    def list(self) -> Iterator[tuple[str, Row]]:
        for (rowid,) in self.database.execute(f"SELECT rowid FROM {self.name}"):
            yield str(rowid), Row(self, rowid)

    def lookup(self, name: str) -> Row | None:
        if not name.isdecimal():
            return None
        found = self.database.execute(f"SELECT rowid FROM {self.name} WHERE rowid = ?", (int(name),)).fetchone()
        return Row(self, found[0]) if found else None

    def unlink(self, name: str) -> None:
        self.database.execute(f"DELETE FROM {self.name} WHERE rowid = ?", (int(name),))

    def values(self, rowid: int) -> dict[str, object]:
        """The columns of a row."""
        cursor = self.database.execute(f"SELECT * FROM {self.name} WHERE rowid = ?", (rowid,))
        row = cursor.fetchone()
        if row is None:
            raise OSError(errno.ESTALE, "the row was deleted")
        return dict(zip((column[0] for column in cursor.description), row, strict=True))

    def update(self, rowid: int, new: dict[str, object]) -> None:
        """Set the columns that differ: a blob, which JSON cannot say, stays as it is."""
        old = json.loads(json.dumps(self.values(rowid), default=bytes.hex))
        if unknown := set(new) - set(old):
            raise ValueError(f"there is no column {', '.join(unknown)}")
        changed = {column: value for column, value in new.items() if value != old[column]}
        if changed:
            settings = ", ".join(f"{quoted(column)} = ?" for column in changed)
            self.database.execute(f"UPDATE {self.name} SET {settings} WHERE rowid = ?", (*changed.values(), rowid))


def quoted(name: str) -> str:
    """A table's or column's name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def tables(path: str) -> dict[str, Table]:
    """A directory for each table of a database. Methods run one at a time, but on several threads."""
    database = sqlite3.connect(f"file:{path}?mode=rw", uri=True, isolation_level=None, check_same_thread=False)
    found = database.execute("SELECT name FROM pragma_table_list WHERE type = 'table' AND NOT wr AND schema = 'main'")
    return {name: Table(database, name) for (name,) in found if not name.startswith("sqlite_")}


def root() -> dict[str, Table]:
    """The tables of the database that $DB names."""
    if "DB" not in os.environ:
        sys.exit("say which database: DB=people.db fusewire mount ...")
    return tables(os.environ["DB"])


if __name__ == "__main__":
    fusewire.run(tables(sys.argv[1]), sys.argv[2])
