"""Notes: files that can be written, and a directory that finds them by a word.

    fusewire mount examples/notes.py:root /mnt/x        # or: python examples/notes.py /mnt/x

    echo 'buy milk and honey' > /mnt/x/shopping
    echo 'the milk is sour' >> /mnt/x/diary
    cat /mnt/x/search/milk/*        # links to the notes that have the word
    mv /mnt/x/diary /mnt/x/log; rm /mnt/x/shopping
    ls /mnt/x/search/milk

Everything is in memory and gone when it is unmounted. One method runs at a time, as long as
nobody asks for more threads: so there is no lock here.
"""

import sys
import time
from collections.abc import Iterator

import fusewire


class Note(fusewire.File):
    """Some text, which can be overwritten, appended to and cut."""

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.text = bytearray()
        self.changed()

    def changed(self) -> None:
        """Say how long the text is, and since when."""
        self.size = len(self.text)
        self.mtime_ns = time.time_ns()

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.text[offset : offset + size])

    def write(self, offset: int, data: memoryview) -> None:
        if offset > len(self.text):
            self.truncate(offset)
        self.text[offset : offset + len(data)] = data
        self.changed()

    def truncate(self, size: int) -> None:
        self.text = self.text[:size].ljust(size, b"\0")
        self.changed()


class Found(fusewire.Directory):
    """Links to the notes that have a word."""

    def __init__(self, notes: dict[str, Note], word: str) -> None:
        self.notes = notes
        self.word = word.lower().encode()

    def list(self) -> Iterator[tuple[str, fusewire.Symlink]]:
        for name, note in self.notes.items():
            if self.word in note.text.lower():
                yield name, fusewire.Symlink(f"../../{name}")


class Search(fusewire.Directory):
    """A directory for every word that there is; it lists none, since there are too many."""

    def __init__(self, notes: dict[str, Note]) -> None:
        self.notes = notes

    def list(self) -> list[tuple[str, Found]]:
        return []

    def lookup(self, name: str) -> Found:
        return Found(self.notes, name)


class Notes(fusewire.Directory):
    """The notes, and `search`."""

    def __init__(self) -> None:
        self.notes: dict[str, Note] = {}
        self.search = Search(self.notes)

    def list(self) -> Iterator[tuple[str, fusewire.Node]]:
        yield "search", self.search
        yield from self.notes.items()

    def create(self, name: str, mode: int) -> Note:
        note = self.notes[name] = Note(mode)
        return note

    def unlink(self, name: str) -> None:
        del self.notes[name]

    def rename(self, name: str, new_directory: fusewire.Directory, new_name: str, flags: int) -> None:
        if new_directory is not self or new_name == "search":
            raise PermissionError
        if flags:
            raise OSError(22, "no flags of renameat2(2) here")
        self.notes[new_name] = self.notes.pop(name)


root = Notes()

if __name__ == "__main__":
    fusewire.run(root, sys.argv[1])
