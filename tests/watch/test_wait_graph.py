"""Which connections are wedged, in worlds that are written out here: threads, what they wait for, who serves what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fusewire.watch.connections import Connection, Holding
from fusewire.watch.look import Look
from fusewire.watch.mounts import Mounts, Place
from fusewire.watch.proc import Syscall, Thread
from fusewire.watch.touches import Touch
from fusewire.watch.wait_graph import Kind, Level, WaitGraph, reads_device

FUTEX_FOR_EVER = Syscall(202, "futex", (0, 137, 0, 0, 0, 0), 0, 0)
FUTEX_A_WHILE = Syscall(202, "futex", (0, 137, 0, 4096, 0, 0), 0, 0)
UNLINK = Syscall(87, "unlink", (0,), 0, 0)


def thread(
    pid: int, tid: int, wchan: str, state: str = "S", call: Syscall | None = UNLINK, switches: int = 1, flags: int = 0
) -> Thread:
    return Thread(pid, tid, "program", state, wchan, call, (wchan,), switches, flags)


def asks(pid: int, tid: int, switches: int = 1) -> Thread:
    """A thread that waits for an answer."""
    return thread(pid, tid, "request_wait_answer", switches=switches)


def file(connection: int, path: str, changes: bool = False) -> Touch:
    return Touch(Place(frozenset([connection]), (0, connection), path), path, changes)


def world(
    threads: Sequence[Thread],
    touches: Mapping[int, Sequence[Touch]],
    serves: Mapping[int, int],
    waiting: Mapping[int, int],
    busy: set[int] | None = None,
) -> Look:
    """A look. `serves` tells which process serves a connection, `waiting` how many requests it has."""
    connections = {n: Connection(n, waiting[n], holders=[Holding(pid, 3, True)]) for n, pid in serves.items()}
    look = Look(0.0, Mounts({}), connections, {one.tid: one for one in threads})
    look.touches = {tid: list(of_it) for tid, of_it in touches.items()}
    look.busy = busy or set()
    return look


def test_a_daemon_that_asks_itself_is_wedged() -> None:
    look = world([asks(1, 10), asks(2, 20)], {10: [file(40, "/b")], 20: [file(40, "/a")]}, {40: 1}, {40: 2})
    assert WaitGraph(look).wedged() == {40}


def test_one_thread_that_can_still_read_is_enough() -> None:
    threads = [asks(1, 10), thread(1, 11, "fuse_dev_do_read"), asks(2, 20)]
    look = world(threads, {10: [file(40, "/b")], 20: [file(40, "/a")]}, {40: 1}, {40: 2})
    assert WaitGraph(look).wedged() == set()


def test_one_thread_that_waits_for_something_else_is_enough() -> None:
    threads = [asks(1, 10), thread(1, 11, "hrtimer_nanosleep"), asks(2, 20)]
    look = world(threads, {10: [file(40, "/b")], 20: [file(40, "/a")]}, {40: 1}, {40: 2})
    assert WaitGraph(look).wedged() == set()


def test_two_daemons_that_ask_each_other_are_wedged_and_so_is_who_depends_on_them() -> None:
    threads = [asks(1, 10), asks(2, 20), asks(3, 30)]
    touches = {10: [file(41, "/")], 20: [file(40, "/")], 30: [file(40, "/x")]}
    look = world(threads, touches, {40: 1, 41: 2, 42: 3}, {40: 2, 41: 1, 42: 1})
    graph = WaitGraph(look)
    assert graph.wedged() == {40, 41, 42}  # 42 has a request, and its daemon waits for one that will not come
    look.threads[20] = thread(2, 20, "fuse_dev_do_read")
    assert WaitGraph(look).wedged() == set()


def test_a_connection_on_which_nothing_waits_is_not_wedged() -> None:
    look = world([asks(1, 10)], {10: [file(41, "/")]}, {40: 1, 41: 1}, {40: 0, 41: 0})
    assert WaitGraph(look).wedged() == set()


def test_a_thread_that_only_a_sibling_can_wake_is_stuck_with_it() -> None:
    threads = [asks(1, 10), thread(1, 11, "futex_do_wait", call=FUTEX_FOR_EVER), asks(2, 20)]
    touches = {10: [file(40, "/b")], 20: [file(40, "/a")]}
    assert WaitGraph(world(threads, touches, {40: 1}, {40: 2})).wedged() == {40}


def test_a_clock_may_wake_somebody() -> None:
    threads = [asks(1, 10), thread(1, 11, "futex_do_wait", call=FUTEX_A_WHILE), asks(2, 20)]
    graph = WaitGraph(world(threads, {10: [file(40, "/b")], 20: [file(40, "/a")]}, {40: 1}, {40: 2}))
    assert (graph.wedged(), graph.wedged(Level.HOLDERS)) == (set(), {40})


def locked(holder: Touch, waiter: Touch, busy: set[int] | None = None) -> Look:
    """A daemon that waits for a lock, and somebody who waits for the daemon."""
    threads = [thread(1, 10, "do_unlinkat", "D"), asks(2, 20)]
    return world(threads, {10: [waiter], 20: [holder]}, {40: 1}, {40: 1}, busy or {10})


def test_the_holder_of_a_directory_is_shown() -> None:
    graph = WaitGraph(locked(file(40, "/d/a", changes=True), file(40, "/d/b", changes=True)))
    assert (graph.waits[10].kind, graph.waits[10].holder) == (Kind.LOCK, 20)
    assert graph.wedged() == {40}


def test_who_changes_another_directory_holds_nothing_that_one_waits_for() -> None:
    graph = WaitGraph(locked(file(40, "/e/a", changes=True), file(40, "/d/b", changes=True)))
    assert (graph.waits[10].holder, graph.waits[10].shown) == (None, False)
    assert (graph.wedged(), graph.wedged(Level.HOLDERS)) == (set(), {40})


def test_a_lock_has_a_stuck_holder_if_nobody_else_is_there_to_hold_it() -> None:
    look = locked(file(40, "/e/a", changes=True), file(40, "/d/b", changes=True))
    assert WaitGraph(look, look).wedged() == {40}
    look.busy |= {77}  # somebody runs at both looks: it might be him
    assert WaitGraph(look, look).wedged() == set()


def test_who_moved_between_two_looks_is_not_stuck_for_certain() -> None:
    touches = {10: [file(40, "/b")], 20: [file(40, "/a")]}
    first = world([asks(1, 10), asks(2, 20)], touches, {40: 1}, {40: 2})
    second = world([asks(1, 10, switches=2), asks(2, 20)], touches, {40: 1}, {40: 2})
    assert WaitGraph(second, first).wedged() == set()
    assert WaitGraph(second, first).wedged(Level.SLEEP) == {40}
    assert WaitGraph(first, first).wedged() == {40}


def test_who_may_have_moved_unseen_is_not_stuck_for_certain() -> None:
    """Of some threads it is not ours to know how often they ran."""
    threads = [asks(1, 10, switches=-1), asks(2, 20)]
    look = world(threads, {10: [file(40, "/b")], 20: [file(40, "/a")]}, {40: 1}, {40: 2})
    assert WaitGraph(look, look).wedged() == set()


def test_who_reads_a_pipe_that_only_he_has_is_woken_by_no_other_process() -> None:
    threads = [asks(1, 10), thread(1, 11, "anon_pipe_read", call=Syscall(0, "read", (5,), 0, 0)), asks(2, 20)]
    look = world(threads, {10: [file(40, "/b")], 20: [file(40, "/a")]}, {40: 1}, {40: 2})
    assert WaitGraph(look).wedged() == set()
    look.own_pipes = {11}
    assert WaitGraph(look).wedged() == {40}
    look.hidden = 1  # somebody whom we cannot see may have it, too
    assert WaitGraph(look).wedged() == set()


def test_a_call_of_which_we_cannot_tell_the_file_waits_where_a_request_is_left_over() -> None:
    threads = [asks(1, 10), asks(2, 20), thread(3, 30, "fuse_dev_do_read")]
    look = world(threads, {10: [], 20: [file(41, "/a")]}, {40: 1, 41: 3}, {40: 1, 41: 1})
    graph = WaitGraph(look)
    assert graph.waits[10].connections == {40}
    assert graph.wedged() == {40}


def test_a_call_that_may_wait_for_several_is_stuck_only_if_all_of_them_are() -> None:
    threads = [asks(1, 10), thread(3, 30, "fuse_dev_do_read")]
    look = world(threads, {10: []}, {40: 1, 41: 3}, {40: 1, 41: 1})
    graph = WaitGraph(look)
    assert graph.waits[10].connections == {40, 41}
    assert graph.wedged() == set()


def test_a_page_that_nobody_was_asked_for_is_somebody_elses() -> None:
    look = world([thread(1, 10, "folio_wait_bit_common", "D")], {10: [file(40, "/a")]}, {40: 1}, {40: 1})
    assert WaitGraph(look).wedged() == {40}  # a request without a thread: it is for this page
    threads = [thread(1, 10, "folio_wait_bit_common", "D"), asks(2, 20)]
    look = world(threads, {10: [file(40, "/a")], 20: [file(40, "/b")]}, {40: 1}, {40: 1})
    assert WaitGraph(look).wedged() == set()


def test_a_call_between_two_filesystems_may_wait_for_the_other() -> None:
    copy = Syscall(326, "copy_file_range", (3, 0, 4, 0, 0, 0), 0, 0)
    threads = [thread(1, 10, "folio_wait_bit_common", "D", copy)]
    assert WaitGraph(world(threads, {10: [file(40, "/a")]}, {40: 1}, {40: 1})).wedged() == set()


def test_threads_that_wait_for_requests_can_be_passed_over() -> None:
    look = locked(file(40, "/d/a", changes=True), file(40, "/d/b", changes=True))
    look.threads[11] = thread(1, 11, "fuse_dev_do_read")
    graph = WaitGraph(look)
    assert graph.wedged() == set()
    assert graph.wedged(idle=reads_device) == {40}
