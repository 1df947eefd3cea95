"""The tree of the filesystem in memory, against a model: one dict of names, and what POSIX says of each call."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fusewire.filesystems.memory import Memory
from memory_caller import ROOT, Caller, known

NOREPLACE, EXCHANGE = 1, 2
PICK = st.integers(0, 1000)  # of a list whose length is not known yet
NAME = st.sampled_from("abc")

Place = tuple[int, str]  # a directory's nodeid, and a name in it


class Model(RuleBasedStateMachine):
    """Do the same to both, and compare the outcome, and all there is to see."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory(size=1 << 20, inodes=1000)
        self.caller = Caller(self.memory)
        self.names: dict[Place, int] = {}
        self.is_directory = {ROOT: True}  # of every nodeid that was ever given out
        self.lookups = {ROOT: 0}
        self.opens = {ROOT: 0}

    # What the model knows.

    def directories(self) -> list[int]:
        return [nodeid for nodeid in self.alive() if self.is_directory[nodeid]]

    def files(self) -> list[int]:
        return [nodeid for nodeid in self.alive() if not self.is_directory[nodeid]]

    def alive(self) -> list[int]:
        named = set(self.names.values())
        return [
            nodeid
            for nodeid in self.is_directory
            if nodeid == ROOT or nodeid in named or self.lookups[nodeid] or self.opens[nodeid]
        ]

    def is_removed(self, directory: int) -> bool:
        return directory != ROOT and directory not in self.names.values()

    def within(self, directory: int, other: int) -> bool:
        """`directory` is `other`, or lies below it."""
        above = {nodeid: parent for (parent, _), nodeid in self.names.items()}
        while directory != other and directory in above:
            directory = above[directory]
        return directory == other

    def empty(self, directory: int) -> bool:
        return not any(parent == directory for parent, _ in self.names)

    def outcome(self, attempt: Callable[[], object], expected: int) -> bool:
        """Compare how a call ends; True if it worked."""
        try:
            attempt()
        except OSError as error:
            code = error.errno or -1
        else:
            code = 0
        assert (code and errno.errorcode[code]) == (expected and errno.errorcode[expected])
        return not code

    # What is done to both.

    @rule(pick=PICK, name=NAME, directory=st.booleans())
    def make(self, pick: int, name: str, directory: bool) -> None:
        parent = chosen(self.directories(), pick)
        expected = errno.EEXIST if (parent, name) in self.names else errno.ENOENT if self.is_removed(parent) else 0
        if directory:
            worked = self.outcome(lambda: self.caller.mkdir(parent, name, 0o755), expected)
        else:
            worked = self.outcome(lambda: self.caller.mknod(parent, name, stat.S_IFREG, 0), expected)
        if worked:
            made = max(known(self.memory))
            self.names[parent, name] = made
            self.is_directory[made], self.lookups[made], self.opens[made] = directory, 1, 0

    @rule(pick=PICK, other=PICK, name=NAME)
    def link(self, pick: int, other: int, name: str) -> None:
        if not self.files():
            return
        file, parent = chosen(self.files(), pick), chosen(self.directories(), other)
        expected = 0
        if (parent, name) in self.names:
            expected = errno.EEXIST
        elif self.is_removed(parent) or file not in self.names.values():
            expected = errno.ENOENT
        if self.outcome(lambda: self.caller.link(file, parent, name), expected):
            self.names[parent, name] = file
            self.lookups[file] += 1

    @rule(pick=PICK, name=NAME)
    def unlink(self, pick: int, name: str) -> None:
        parent = chosen(self.directories(), pick)
        nodeid = self.names.get((parent, name))
        expected = errno.ENOENT if nodeid is None else errno.EISDIR if self.is_directory[nodeid] else 0
        if self.outcome(lambda: self.caller.unlink(parent, name), expected):
            del self.names[parent, name]

    @rule(pick=PICK, name=NAME)
    def rmdir(self, pick: int, name: str) -> None:
        parent = chosen(self.directories(), pick)
        nodeid = self.names.get((parent, name))
        if nodeid is None:
            expected = errno.ENOENT
        elif not self.is_directory[nodeid]:
            expected = errno.ENOTDIR
        else:
            expected = 0 if self.empty(nodeid) else errno.ENOTEMPTY
        if self.outcome(lambda: self.caller.rmdir(parent, name), expected):
            del self.names[parent, name]

    @rule(pick=PICK, name=NAME, new_pick=PICK, new_name=NAME, flags=st.sampled_from((0, 0, 0, NOREPLACE, EXCHANGE)))
    def rename(self, pick: int, name: str, new_pick: int, new_name: str, flags: int) -> None:
        parent, new_parent = chosen(self.directories(), pick), chosen(self.directories(), new_pick)
        here, there = (parent, name), (new_parent, new_name)
        expected = self.refusal(here, there, flags)
        if self.outcome(lambda: self.caller.rename(*here, *there, flags), expected):
            moved, replaced = self.names[here], self.names.get(there)
            if flags == EXCHANGE and replaced is not None:
                self.names[here], self.names[there] = replaced, moved
            elif moved != replaced:
                del self.names[here]
                self.names[there] = moved

    def refusal(self, here: Place, there: Place, flags: int) -> int:
        """How rename(2) must end: an errno, or 0."""
        moved, replaced = self.names.get(here), self.names.get(there)
        if moved is None or (flags == EXCHANGE and replaced is None):
            return errno.ENOENT
        if flags == NOREPLACE and replaced is not None:
            return errno.EEXIST
        if replaced == moved and flags != EXCHANGE:
            return 0
        if self.is_directory[moved] and self.within(there[0], moved):
            return errno.EINVAL
        if flags == EXCHANGE:
            assert replaced is not None
            return errno.EINVAL if self.is_directory[replaced] and self.within(here[0], replaced) else 0
        if replaced is None:
            return errno.ENOENT if self.is_removed(there[0]) else 0
        if self.is_directory[replaced]:
            return 0 if self.is_directory[moved] and self.empty(replaced) else self.will_not_go(moved)
        return errno.ENOTDIR if self.is_directory[moved] else 0

    def will_not_go(self, moved: int) -> int:
        """Why a directory is not replaced."""
        return errno.ENOTEMPTY if self.is_directory[moved] else errno.EISDIR

    @rule(pick=PICK)
    def open(self, pick: int) -> None:
        if self.files():
            file = chosen(self.files(), pick)
            self.caller.open(file, 0)
            self.opens[file] += 1

    @rule(pick=PICK)
    def close(self, pick: int) -> None:
        opened = [nodeid for nodeid, count in self.opens.items() if count]
        if opened:
            file = chosen(opened, pick)
            self.caller.release(file, 0)
            self.opens[file] -= 1

    @rule(pick=PICK)
    def look_up(self, pick: int) -> None:
        if self.names:
            place = chosen(list(self.names), pick)
            assert self.caller.lookup(*place).nodeid == self.names[place]
            self.lookups[self.names[place]] += 1

    @rule(pick=PICK)
    def forget(self, pick: int) -> None:
        held = [nodeid for nodeid, count in self.lookups.items() if count]
        if held:
            nodeid = chosen(held, pick)
            self.memory.forget(nodeid, self.lookups[nodeid])
            self.lookups[nodeid] = 0

    # What both must show.

    @invariant()
    def same_names(self) -> None:
        for directory in self.directories():
            wanted = {name: nodeid for (parent, name), nodeid in self.names.items() if parent == directory}
            assert self.caller.list(directory) == wanted

    @invariant()
    def same_lives(self) -> None:
        assert known(self.memory) == set(self.alive())

    @invariant()
    def right_counts(self) -> None:
        for nodeid in self.alive():
            assert self.caller.getattr(nodeid, None).nlink == self.nlink(nodeid)
        used = [nodeid for nodeid in self.alive() if self.nlink(nodeid) or self.opens[nodeid]]
        further = sum(max(0, self.nlink(file) - 1) for file in self.files())
        assert 1000 - self.caller.statfs(ROOT).ffree == len(used) + further

    def nlink(self, nodeid: int) -> int:
        if not self.is_directory[nodeid]:
            return list(self.names.values()).count(nodeid)
        below = [child for (parent, _), child in self.names.items() if parent == nodeid and self.is_directory[child]]
        return 0 if self.is_removed(nodeid) else 2 + len(below)


def chosen(things: list[Any], pick: int) -> Any:
    return things[pick % len(things)]


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
