"""The lines of `fusewire mount --verbose`: what was asked, by whom, and what came of it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import pytest

from conversation import Conversation
from fusewire import Attributes, Entry, Filesystem, Request, SetAttributes
from fusewire.daemon.logged import LoggedSession, requests_are_logged
from fusewire.errors import os_error
from fusewire.wire import ForgetIn, GetattrIn, ReadIn, SetattrIn, SetattrValid, WriteIn

Lines = Callable[[], list[str]]


class Logged(Conversation):
    """A conversation with a session that logs."""

    def __init__(self, filesystem: Filesystem) -> None:
        super().__init__(filesystem)
        plain = self.session
        self.session = LoggedSession(filesystem)
        self.session.agreement = plain.agreement


class Small(Filesystem):
    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        if name == "remembered":
            return Entry.negative()
        if name != "file":
            raise FileNotFoundError
        return Entry(2, Attributes(mode=0o100644))

    def forget(self, nodeid: int, nlookup: int) -> None:
        pass

    def setattr(self, request: Request, nodeid: int, changes: SetAttributes) -> Attributes:
        raise os_error(30)

    async def read(self, request: Request, nodeid: int, fh: int, offset: int, size: int) -> bytes:
        return b"thirteen byte"

    def write(self, request: Request, nodeid: int, fh: int, offset: int, data: memoryview) -> None:
        raise ZeroDivisionError


@pytest.fixture
def kernel() -> Logged:
    """The kernel's side of a conversation with it."""
    return Logged(Small())


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """The lines that were logged so far, without times."""
    caplog.set_level(logging.DEBUG, "fusewire.requests")

    def logged() -> list[str]:
        messages = [record.getMessage() for record in caplog.records if record.name == "fusewire.requests"]
        return [re.sub(r" in [\d.]+ ms$", "", message) for message in messages]

    return logged


def test_a_line_names_operation_arguments_caller_and_outcome(kernel: Logged, lines: Lines) -> None:
    kernel.ask("LOOKUP", nodeid=1, names=(b"file",), pid=7, uid=8)
    assert lines() == ["LOOKUP parent=1 name='file' for pid 7, uid 8: ok"]


def test_an_errno_is_told_by_name(kernel: Logged, lines: Lines) -> None:
    kernel.ask("LOOKUP", nodeid=1, names=(b"none",))
    kernel.ask("LOOKUP", nodeid=1, names=(b"remembered",))
    kernel.ask("WRITE", nodeid=2, body=WriteIn(fh=3, offset=4, size=5), data=b"12345")
    assert lines() == [
        "LOOKUP parent=1 name='none' for pid 0, uid 0: ENOENT",
        "LOOKUP parent=1 name='remembered' for pid 0, uid 0: no such name",
        "WRITE nodeid=2 fh=3 offset=4 data=5 bytes for pid 0, uid 0: EIO",
    ]


def test_data_is_told_by_its_length(kernel: Logged, lines: Lines) -> None:
    kernel.ask("READ", nodeid=2, body=ReadIn(fh=3, offset=0, size=4096))
    assert lines() == ["READ nodeid=2 fh=3 offset=0 size=4096 for pid 0, uid 0: 13 bytes"]


def test_only_what_changes_is_told(kernel: Logged, lines: Lines) -> None:
    kernel.ask("SETATTR", nodeid=2, body=SetattrIn(valid=SetattrValid.FATTR_MODE, mode=0o600, size=9))
    assert lines() == ["SETATTR nodeid=2 mode=0o600 for pid 0, uid 0: EROFS"]


def test_what_the_engine_answers_by_itself_is_told_too(kernel: Logged, lines: Lines) -> None:
    kernel.ask("GETATTR", nodeid=2, body=GetattrIn())
    assert lines() == ["GETATTR nodeid=2 for pid 0, uid 0: ENOSYS at once"]


def test_what_is_not_answered_is_told_as_that(kernel: Logged, lines: Lines) -> None:
    call = kernel.send("FORGET", nodeid=2, body=ForgetIn(nlookup=3))
    assert kernel.finish(call) is None
    assert lines() == ["FORGET nodeid=2 nlookup=3 for pid 0, uid 0: unanswered"]


def test_nothing_is_kept_of_what_is_done(kernel: Logged) -> None:
    kernel.ask("LOOKUP", nodeid=1, names=(b"file",))
    kernel.ask("LOOKUP", nodeid=1, names=(b"none",))
    assert isinstance(kernel.session, LoggedSession)
    assert kernel.session.began == {}


def test_it_costs_nothing_unless_somebody_wants_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fusewire.requests")
    assert not requests_are_logged()
    caplog.set_level(logging.DEBUG, "fusewire.requests")
    assert requests_are_logged()
