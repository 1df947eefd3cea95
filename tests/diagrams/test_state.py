"""What everything is like at each step: the lists, who sleeps where, who has which lock, what is true of whom."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Coroutine, Iterator
from itertools import groupby
from typing import Any

import pytest

from fusewire.daemon.request import Request
from fusewire.daemon.values import Attributes, Entry
from fusewire.diagrams.state import QUEUES, State, look
from fusewire.errors import os_error
from fusewire.events import Event
from fusewire.explore.scene import Mounted, OneDirectory, Scene, mounted
from fusewire.kernel.profile import LINUX, SEED2005, Profile
from fusewire.kernel.tasks import Task, close, run
from fusewire.kernel.vfs.page_cache import PageCache
from recorded_runs import scene_of_unlink, simple_deadlock, unlink


def places(states: list[State], request: str) -> list[str | None]:
    """The lists on which a request is, one after the other; None where it is on none."""
    found = (next((name for name in QUEUES if request in state.queues[name]), None) for state in states)
    return [place for place, _ in groupby(found)]


def states_of(moments: Any) -> list[State]:
    return [moment.state for moment in moments if moment.state is not None]


class Files(OneDirectory):
    """Files of two pages each."""

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        return Entry(self.nodeids[name], Attributes(mode=stat.S_IFREG | 0o644, size=8192))

    def read(self, request: Request, nodeid: int, fh: int, offset: int, size: int) -> bytes:
        return bytes(size)


Call = Callable[[Mounted], Coroutine[Any, Any, Any]]
Acted = Callable[..., Scene]


def remove(mount: Mounted) -> Coroutine[Any, Any, None]:
    return mount.process.unlink("/file")


@pytest.fixture
def acted() -> Iterator[Acted]:
    """Makes calls on a mount, each in a task of its name, as far as they come while nobody answers."""
    scenes: list[Scene] = []

    def act(mount: Mounted, **calls: Call) -> Scene:
        scene = Scene(mount, [Task(name, call(mount), mount.process) for name, call in calls.items()])
        scenes.append(scene)
        run(scene.tasks, watch=lambda task, event: None)
        return scene

    yield act
    for scene in scenes:
        close(scene.tasks)


def test_a_request_is_seen_on_each_list_that_it_passes() -> None:
    assert places(states_of(unlink().moments), "UNLINK 6") == [
        *(None, "pending", "io", "processing", "io", None),
    ]


def test_the_pool_of_2005_lacks_the_request_that_is_under_way() -> None:
    counts = [len(state.queues["unused"]) for state in states_of(unlink(SEED2005).moments)]
    assert [count for count, _ in groupby(counts)] == [10, 9, 10]


@pytest.mark.parametrize("profile", [LINUX, SEED2005])
def test_the_lists_are_as_long_as_the_connection_counts_them(profile: Profile) -> None:
    scene = scene_of_unlink(OneDirectory("file"), profile)
    counted: list[tuple[int, ...]] = []
    shown: list[tuple[int, ...]] = []

    def watch(task: Task, event: Event) -> None:
        counted.append(scene.connection.statistics()[: len(QUEUES)])
        shown.append(tuple(len(found) for found in look(scene).queues.values()))

    run(scene.tasks, watch=watch)
    close(scene.tasks)
    assert shown == counted
    assert len(set(shown)) > 3


def test_every_list_is_there_also_when_it_is_empty() -> None:
    assert all(tuple(state.queues) == QUEUES for state in states_of(unlink().moments))


def test_who_says_that_he_goes_to_sleep_is_asleep_and_whom_somebody_wakes_is_not() -> None:
    states = {moment.event.text: moment.state for moment in unlink().moments if moment.task == "rm"}
    asleep, woke = states["[sleep on req->waitq]"], states["[wake up fc->waitq]"]
    assert asleep is not None
    assert woke is not None
    assert asleep.sleepers == {"req->waitq of UNLINK 6": ["rm"]}
    assert asleep.tasks == {"daemon": "can go on", "rm": "asleep on req->waitq of UNLINK 6"}
    assert (woke.sleepers, woke.tasks) == ({}, {"daemon": "can go on", "rm": "running"})


def test_a_deadlock_is_seen_as_who_has_the_lock_and_who_waits_for_it() -> None:
    state = next(m.state for m in simple_deadlock().moments if m.event.text == '[sleep on inode semaphore for "file"]')
    assert state is not None
    lock = state.locks['inode semaphore for "file"']
    assert (lock.holders, lock.waiting) == (["rm"], ["daemon"])
    assert state.tasks["daemon"] == 'asleep on inode semaphore for "file"'
    assert state.flags["UNLINK 3"] == ["sent"]


def test_a_killed_task_is_killed_and_one_that_failed_says_why(acted: Acted) -> None:
    mount = mounted(OneDirectory("file"), LINUX)
    mount.run(mount.process.stat("/file"))
    scene = acted(mount, killed=remove, late=remove)
    scene.task("killed").kill()
    assert look(scene).flags["killed"] == ["kill pending"]
    run(scene.tasks)
    assert look(scene).tasks["killed"] == "killed"
    scene.connection.abort()
    run(scene.tasks)
    assert look(scene).tasks["late"] == "failed with ECONNABORTED"
    assert look(scene).flags["fc"] == ["initialized"]


def test_a_sender_who_was_interrupted_has_an_interrupt_on_its_list(acted: Acted) -> None:
    mount = mounted(OneDirectory("file"), LINUX)
    mount.run(mount.process.stat("/file"))
    scene = acted(mount, rm=remove, reader=lambda m: m.device.read(1 << 21))
    scene.task("rm").interrupt()
    run(scene.tasks)
    state = look(scene)
    assert (state.queues["processing"], state.queues["interrupts"]) == (["UNLINK 6"], ["UNLINK 6"])
    assert state.flags["UNLINK 6"] == ["sent", "interrupted"]


async def with_the_first_page(mount: Mounted) -> None:
    """Lock it, and then ask the daemon for something."""
    await PageCache.of(mount.file("file").positive).lock(0)
    await mount.process.stat("/other")


def test_a_locked_page_has_who_locked_it_and_who_waits_for_it(acted: Acted) -> None:
    mount = mounted(OneDirectory("file", "other"), LINUX)
    mount.run(mount.process.stat("/file"))
    state = look(acted(mount, one=with_the_first_page, two=with_the_first_page))
    lock = state.locks['page 0 of "file"']
    assert (lock.holders, lock.waiting) == (["one"], ["two"])
    assert state.tasks["two"] == 'asleep on page 0 of "file"'
    assert state.flags['page 0 of "file"'] == ["locked"]


def test_pages_that_are_read_ahead_are_held_by_their_request_and_stand_together(acted: Acted) -> None:
    mount = mounted(Files("file"), LINUX)
    fd = mount.run(mount.process.open("/file", 0))
    state = look(acted(mount, cat=lambda m: m.process.read(fd, 10)))
    (request,) = state.queues["pending"]
    assert state.locks['pages 0-1 of "file"'].holders == [request]
    assert request.startswith("READ ")
    assert "background" in state.flags[request]


def test_a_name_that_is_looked_up_is_a_lock_for_whoever_else_wants_it(acted: Acted) -> None:
    mount = mounted(OneDirectory("file", "other"), LINUX)
    mount.run(mount.process.stat("/other"))
    state = look(acted(mount, a=lambda m: m.process.stat("/file"), b=lambda m: m.process.stat("/file")))
    lock = state.locks['the lookup of "file" in "/"']
    assert (lock.holders, lock.waiting) == (["a"], ["b"])


def test_who_waits_for_init_sleeps_at_the_gate(acted: Acted) -> None:
    scene = acted(mounted(OneDirectory("file"), LINUX), ls=lambda m: m.process.stat("/file"))
    state = look(scene)
    assert state.sleepers == {"fc->blocked_waitq": ["ls"]}
    assert state.flags["fc"] == ["connected"]
    assert state.queues["pending"] == ["INIT 2"]


def test_what_is_forgotten_waits_on_its_own_list() -> None:
    states = states_of(unlink().moments)
    assert ["nodeid 2, nlookup 1"] in [state.queues["forgets"] for state in states]
    assert states[0].flags["nodeid 2"] == ['"file"', "nlookup 1"]
    assert "nodeid 2" not in states[-1].flags


@pytest.mark.parametrize("profile", [LINUX, SEED2005])
def test_looking_changes_nothing(profile: Profile) -> None:
    assert [moment.event for moment in unlink(profile).moments] == unwatched(profile)


def unwatched(profile: Profile) -> list[Event]:
    """The events of the same unlink, at which nobody looks."""
    mount = mounted(OneDirectory("file"), profile)
    mount.run(mount.process.stat("/file"))
    tasks = [*mount.serving(), Task("rm", mount.process.unlink("/file"), mount.process)]
    heard: list[Event] = []
    run(tasks, watch=lambda task, event: heard.append(event))
    close(tasks)
    return heard


async def wrong() -> None:
    raise os_error(errno.ENOENT)


async def right() -> int:
    return 1


def test_every_end_has_its_words(acted: Acted) -> None:
    scene = acted(mounted(OneDirectory(), LINUX), wrong=lambda m: wrong(), right=lambda m: right())
    assert look(scene).tasks == {"wrong": "failed with ENOENT", "right": "returned"}
