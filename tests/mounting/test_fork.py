"""Forked children do not get the descriptors that are listed; everything else they do."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest

from fusewire.mounting.fork import close_in_children, no_fork


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    close_in_children(writer, False)
    os.close(reader)
    os.close(writer)


def in_child(question: Callable[[], bool]) -> bool:
    """Fork, and return what the child answers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads: this child only answers
        pid = os.fork()
    if pid == 0:
        os._exit(0 if question() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_a_listed_descriptor_is_closed_in_the_child_alone(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    close_in_children(writer)
    assert in_child(lambda: not is_open(writer) and is_open(reader))
    assert is_open(writer)


def test_one_that_was_taken_off_the_list_stays_open(pipe: tuple[int, int]) -> None:
    _, writer = pipe
    close_in_children(writer)
    close_in_children(writer)
    close_in_children(writer, False)
    assert in_child(lambda: is_open(writer))


def test_a_child_can_list_and_fork_itself(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    close_in_children(writer)

    def grandchild_lacks_the_reader() -> bool:
        close_in_children(reader)
        return in_child(lambda: not is_open(reader))

    assert in_child(grandchild_lacks_the_reader)
    assert is_open(reader)


def test_a_fork_waits_until_a_new_descriptor_is_listed(pipe: tuple[int, int]) -> None:
    _, writer = pipe
    held, release = threading.Event(), threading.Event()

    def open_slowly() -> None:
        with no_fork:
            held.set()
            release.wait()
            close_in_children(writer)

    opener = threading.Thread(target=open_slowly)
    opener.start()
    held.wait()
    threading.Timer(0.05, release.set).start()  # else the fork below would wait for ever
    assert in_child(lambda: not is_open(writer))
    opener.join()
