"""The copy, page by page: what may happen between two pages, and what may not happen in one.

kernel.txt: "the copy [is done] atomically, and [interruption is allowed] while the page(s) belonging to the write
buffer are faulted with get_user_pages()".
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

import pytest

from fusewire.events import Event, Step
from fusewire.kernel.request import Request
from fusewire.kernel.stages import Stage
from fusewire.kernel.tasks import Task, close, run
from fusewire.kernel.waiting import ERESTARTNOINTR
from fusewire.kernel.waitq import WaitQueue
from fusewire.wire import OutHeader, ReadIn, Reply, decode_request, encode_error, encode_reply
from kernel_end import Bench, Memory, errno_of, no_memory


class Absent:
    """A page that is fetched when somebody says so."""

    def __init__(self) -> None:
        self.queue = WaitQueue("a page of user memory")
        self.here = False

    async def fetch(self) -> None:
        await self.queue.sleep(until=lambda: self.here)

    def arrive(self) -> None:
        self.here = True
        self.queue.wake_all()


def reply(unique: int, size: int) -> bytes:
    return OutHeader(16 + size, 0, unique).pack() + bytes(range(256)) * (size // 256)


def reading(bench: Bench, size: int = 8192) -> tuple[Task, int]:
    """Have a task ask for so many bytes of a file; return it and the unique that the daemon read."""
    cat = bench.start(bench.connection.ask("READ", 2, ReadIn(size=size)), "cat")
    return cat, bench.read().header.unique


# Out, to the reader.


def test_a_message_is_copied_to_the_readers_memory(either: Bench) -> None:
    either.unlink(b"x" * 5000)
    buffer = Memory(bytes(1 << 17), {})
    message = either.call(either.device.read(buffer))
    assert decode_request(bytes(buffer.data[: len(message)])).names == (b"x" * 5000,)
    assert buffer.faults == [0, 4096]


def test_while_the_readers_page_is_fetched_the_request_is_not_locked(either: Bench) -> None:
    page = Absent()
    rm = either.unlink(b"x" * 5000)
    request = either.connection.pending[0]
    reader = either.start(either.device.read(Memory(bytes(1 << 17), {1: page.fetch})), "daemon")
    assert reader.asleep_on is page.queue
    assert request.stage is Stage.FAULTING_OUT
    assert request in either.device.io
    page.arrive()
    either.go_on()
    assert isinstance(reader.result, bytes)
    assert either.processing() is request
    assert not rm.finished


def test_memory_that_is_not_there_fails_the_read_and_the_request(either: Bench) -> None:
    rm = either.unlink(b"x" * 5000)
    reader = either.start(either.device.read(Memory(bytes(1 << 17), {1: no_memory})), "daemon")
    assert errno_of(reader) == errno.EFAULT
    assert errno_of(rm) == errno.EIO
    assert either.connection.num_waiting == 0


def test_an_abort_while_the_readers_page_is_fetched_ends_the_request_at_once(either: Bench) -> None:
    page = Absent()
    rm = either.unlink()
    reader = either.start(either.device.read(Memory(bytes(1 << 17), {0: page.fetch})), "daemon")
    either.connection.abort()
    either.go_on()
    assert errno_of(rm) == errno.ECONNABORTED
    assert not reader.finished
    assert either.connection.num_waiting == 1  # its copier has it still
    page.arrive()
    either.go_on()
    assert errno_of(reader) == errno.ENODEV
    assert either.connection.num_waiting == 0


def test_a_signal_while_the_readers_page_is_fetched_is_told_once_it_has_it(linux: Bench) -> None:
    page = Absent()
    rm = linux.unlink()
    linux.start(linux.device.read(Memory(bytes(1 << 17), {0: page.fetch})), "daemon")
    rm.kill()
    linux.go_on()
    assert not linux.connection.interrupts
    page.arrive()
    linux.go_on()
    assert len(linux.connection.interrupts) == 1
    assert not rm.finished


def test_in_2005_a_signal_while_the_readers_page_is_fetched_lets_the_sender_go(seed2005: Bench) -> None:
    page = Absent()
    rm = seed2005.unlink()
    reader = seed2005.start(seed2005.device.read(Memory(bytes(1 << 17), {0: page.fetch})), "daemon")
    rm.interrupt()
    seed2005.go_on()
    assert errno_of(rm) == ERESTARTNOINTR
    page.arrive()
    seed2005.go_on()
    assert errno_of(reader) == errno.ENOENT
    assert seed2005.connection.num_waiting == 0
    assert len(seed2005.connection.unused) == 10


# In, from the writer.


def test_a_reply_is_copied_from_the_writers_memory(either: Bench) -> None:
    cat, unique = reading(either)
    raw = reply(unique, 8192)
    buffer = Memory(raw, {})
    assert either.call(either.device.write(buffer)) == len(raw)
    assert isinstance(cat.result, Reply)
    assert bytes(cat.result.data) == raw[16:]
    assert buffer.faults == [0, 4096, 8192]


def test_what_shares_the_headers_page_is_copied_without_another_fault(either: Bench) -> None:
    cat, unique = reading(either, 256)
    buffer = Memory(reply(unique, 256), {})
    either.call(either.device.write(buffer))
    assert buffer.faults == [0]
    assert cat.finished


def test_no_page_is_fetched_while_the_request_is_locked(either: Bench) -> None:
    cat, unique = reading(either)
    request = either.processing()
    stages: list[Stage] = []

    async def look() -> None:
        stages.append(request.stage)

    either.call(either.device.write(Memory(reply(unique, 8192), {1: look, 2: look})))
    assert stages == [Stage.FAULTING_IN] * 2
    assert cat.finished


def test_nothing_comes_in_while_the_request_is_not_locked(either: Bench) -> None:
    """At each step at which a page is copied it is locked, and while a page is fetched nothing has changed."""
    _, unique = reading(either)
    request = either.processing()
    at: list[tuple[str, bool]] = []
    either.later(either.device.write(Memory(reply(unique, 8192), {})))
    either.go_on(lambda task, event: at.append((event.text, request.locked)))
    assert {locked for text, locked in at if text == Step.COPY_IN} == {True}
    assert [locked for text, locked in at if text == Step.FAULT] == [False] * 3


@pytest.mark.parametrize("number", [1, 2])
def test_a_reply_from_memory_that_is_not_there_fails_both(linux: Bench, number: int) -> None:
    cat, unique = reading(linux)
    writer = linux.start(linux.device.write(Memory(reply(unique, 8192), {number: no_memory})))
    assert errno_of(writer) == errno.EFAULT
    assert errno_of(cat) == errno.EIO
    assert [violation.rule for violation in linux.connection.violations] == [11]


def test_a_header_that_is_not_there_harms_no_request(linux: Bench) -> None:
    cat, unique = reading(linux)
    writer = linux.start(linux.device.write(Memory(reply(unique, 8192), {0: no_memory})))
    assert errno_of(writer) == errno.EFAULT
    assert not cat.finished
    assert [violation.rule for violation in linux.connection.violations] == [3]


def test_an_error_from_memory_is_an_error(linux: Bench) -> None:
    cat, unique = reading(linux)
    linux.call(linux.device.write(Memory(encode_error(unique, errno.EACCES), {})))
    assert errno_of(cat) == errno.EACCES


def test_an_abort_while_the_writers_page_is_fetched_ends_the_request_at_once(either: Bench) -> None:
    page = Absent()
    cat, unique = reading(either)
    request = either.processing()
    writer = either.start(either.device.write(Memory(reply(unique, 8192), {1: page.fetch})), "daemon")
    assert request.stage is Stage.FAULTING_IN
    either.connection.abort()
    either.go_on()
    assert errno_of(cat) == errno.ECONNABORTED
    assert not writer.finished
    page.arrive()
    either.go_on()
    assert errno_of(writer) == errno.ENOENT
    assert request.reply is None  # nothing more came in
    assert either.connection.num_waiting == 0


def test_an_abort_during_the_copy_of_a_page_waits_for_its_end_and_no_longer(either: Bench) -> None:
    cat, unique = reading(either)
    page = Absent()
    buffer = Memory(reply(unique, 8192), {1: page.fetch})
    writer = either.later(either.device.write(buffer))
    either.stop_at(Step.COPY_IN, either.connection.abort, first=cat)
    assert errno_of(cat) == errno.ECONNABORTED
    assert errno_of(writer) == errno.ENOENT
    assert buffer.faults == [0]  # the next page is not asked for


def lock_without_looking(request: Request) -> None:
    """Plant an error: go on with a copy though the request has ended, or its sender has gone."""
    request.stage = Stage.COPYING_IN


def test_a_late_copy_to_freed_memory_is_seen(either: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Absent()
    _, unique = reading(either)
    either.start(either.device.write(Memory(reply(unique, 8192), {1: page.fetch})), "daemon")
    either.connection.abort()
    monkeypatch.setattr(Request, "lock", lock_without_looking)
    page.arrive()
    with pytest.raises(AssertionError, match="75: memory of a request"):
        run(either.tasks)


Signal = Callable[[Task], None]


@pytest.mark.parametrize("send", [Task.interrupt, Task.kill])
def test_a_signal_while_the_writers_page_is_fetched_does_nothing_today(linux: Bench, send: Signal) -> None:
    page = Absent()
    cat, unique = reading(linux)
    writer = linux.start(linux.device.write(Memory(reply(unique, 8192), {1: page.fetch})), "daemon")
    send(cat)
    linux.go_on()
    assert not cat.finished
    assert not linux.connection.interrupts
    page.arrive()
    linux.go_on()
    assert writer.finished
    assert isinstance(cat.result, Reply)


def test_in_2005_a_kill_while_the_writers_page_is_fetched_is_the_cure(seed2005: Bench) -> None:
    """kernel.txt, scenario 2: "Solution is again to let the request be interrupted"."""
    page = Absent()
    cat, unique = reading(seed2005)
    request = seed2005.processing()
    writer = seed2005.start(seed2005.device.write(Memory(reply(unique, 8192), {1: page.fetch})), "daemon")
    cat.kill()
    seed2005.go_on()
    assert errno_of(cat) == errno.EINTR
    assert request.stage is Stage.LEFT
    page.arrive()
    seed2005.go_on()
    assert errno_of(writer) == errno.ENOENT
    assert request.reply is None
    assert len(seed2005.connection.unused) == 10


def test_in_2005_a_kill_during_the_copy_of_a_page_is_delayed_until_it_is_unlocked(seed2005: Bench) -> None:
    cat, unique = reading(seed2005)
    page = Absent()
    writer = seed2005.later(seed2005.device.write(Memory(reply(unique, 8192), {1: page.fetch})))
    locked: list[bool] = []
    request = seed2005.processing()

    def kill() -> None:
        cat.kill()
        locked.append(request.locked)

    seed2005.stop_at(Step.COPY_IN, kill, first=cat)
    assert locked == [True]
    assert errno_of(cat) == errno.EINTR  # as soon as the writer was at its next page
    assert writer.asleep_on is page.queue
    page.arrive()
    seed2005.go_on()
    assert errno_of(writer) == errno.ENOENT


def test_in_2005_a_writer_at_its_next_page_may_find_that_the_sender_is_about_to_go(seed2005: Bench) -> None:
    cat, unique = reading(seed2005)
    writer = seed2005.later(seed2005.device.write(Memory(reply(unique, 8192), {})))

    def kill(task: Task, event: Event) -> None:
        if event.text == Step.COPY_IN and cat.signal == 0:
            cat.kill()

    def choose(ready: Sequence[Task]) -> Task:
        """Let the sender see the signal at once, and then run last."""
        seen = request.interrupted
        return min(ready, key=lambda task: (task is cat) is seen)

    request = seed2005.processing()
    seed2005.go_on(kill, choose)
    assert errno_of(cat) == errno.EINTR
    assert errno_of(writer) == errno.ENOENT
    assert seed2005.connection.num_waiting == 0


def test_a_device_may_be_closed_after_an_abort_while_something_is_copied(either: Bench) -> None:
    clone = either.clone()
    rm, daemon = either.unlink(), either.later(clone.read(1 << 17))

    def abort_and_close() -> None:
        either.connection.abort()
        clone.close()

    either.stop_at(Step.COPY_OUT, abort_and_close, first=rm)
    assert errno_of(rm) == errno.ECONNABORTED
    assert errno_of(daemon) == errno.ENODEV


@pytest.mark.parametrize("text", [Step.TAKE, Step.COPY_OUT, Step.MATCH, Step.COPY_IN])
def test_a_copier_that_is_closed_fails_the_request(either: Bench, text: str) -> None:
    rm = either.unlink()
    if text in (Step.TAKE, Step.COPY_OUT):
        daemon = either.later(either.device.read(1 << 17))
    else:
        daemon = either.later(either.device.write(encode_reply(either.read().header.unique)))

    class Stop(Exception):
        pass

    def stop(task: Task, event: Event) -> None:
        if event.text == text:
            raise Stop

    with pytest.raises(Stop):
        either.go_on(stop)
    close([daemon])
    either.tasks.remove(daemon)
    either.go_on()
    assert errno_of(rm) == errno.EIO
    assert either.connection.num_waiting == 0


def test_a_writer_that_is_killed_in_its_fault_fails_the_request(linux: Bench) -> None:
    """get_user_pages can be killed: the cure of scenario 2 in which the whole daemon dies."""
    page = Absent()
    cat, unique = reading(linux)
    writer = linux.start(linux.device.write(Memory(reply(unique, 8192), {1: page.fetch})), "daemon")
    writer.kill()
    linux.go_on()
    assert errno_of(writer) == errno.EINTR
    assert errno_of(cat) == errno.EIO
