"""Every operation of FUSE, explained: each row is played, and has to show what it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fusewire.diagrams.recording import Recording
from fusewire.diagrams.text import render
from fusewire.events import Step
from fusewire.explain.catalogue import CATALOGUE, draw, explain, play
from fusewire.explain.director import Director
from fusewire.explain.explanation import Explanation, Options
from fusewire.explain.operations import EXPLANATIONS
from fusewire.explain.operations.never import NEVER
from fusewire.explain.operations.stage import SYSCALLS
from fusewire.filesystems.memory import Memory
from fusewire.kernel import Task
from fusewire.kernel.checks.connection import check, check_at_rest
from fusewire.kernel.checks.mount import check_idle
from fusewire.wire import FUSE_ROOT_ID, NOTIFICATIONS, OPERATIONS

NAMES = [each.name for each in EXPLANATIONS]
ALL_WAYS = [
    pytest.param(each, profile, id=f"{each.name}-{profile}") for each in EXPLANATIONS for profile in each.profiles
]
IDLE = {"fc->waitq", "the flusher's clock"}
OTHER_NAMES = {
    "POLL": "poll-wakeup",
    "RETRIEVE": "notify_reply",
}  # of the explanation, if it is not a notification's own


@contextmanager
def played(explanation: Explanation, options: Options) -> Iterator[Director]:
    """Play it, and leave the scene as it is then."""
    director = Director(explanation.name, options.mountpoint)
    try:
        explanation.play(director, options.with_threads(explanation.threads))
        yield director
    finally:
        director.close()


def sent(recording: Recording) -> set[str]:
    """What the daemon has read, by name: from the events of its device, and of what it did."""
    read = {moment.event.detail.split(" ")[0] for moment in recording.moments if moment.event.step == Step.COPY_OUT}
    done = {moment.event.name.upper() for moment in recording.moments if moment.event.step == Step.PERFORM}
    interrupted = any(moment.event.step == Step.TAKE_INTERRUPT for moment in recording.moments)
    return read | done | ({"INTERRUPT"} if interrupted else set())


def at_ease(task: Task) -> bool:
    """Whether it has finished, or waits for work, as a daemon's threads do and the kernel's own."""
    works = task.name.startswith(("daemon", "flusher")) or task.name == "successor"
    return task.finished or (works and task.asleep_on is not None and task.asleep_on.name in IDLE)


def text(name: str, **options: object) -> str:
    return explain(name, Options(profile="linux", **options))  # type: ignore[arg-type]


# What there is.


def test_every_operation_is_explained() -> None:
    assert {row.name.lower() for row in OPERATIONS.values()} <= set(CATALOGUE)


def test_every_notification_is_explained() -> None:
    names = {OTHER_NAMES.get(row.name, row.name.lower()) for row in NOTIFICATIONS.values()}
    assert names <= set(CATALOGUE)


def test_what_is_more_than_one_operation_is_explained_too() -> None:
    themes = "abort background invalidate page-fault poll-wakeup readahead resend timeout unmount writeback"
    assert set(themes.split()) <= set(NAMES)


def test_no_name_is_given_twice() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_a_list_of_them_fits_a_terminal() -> None:
    width = max(map(len, CATALOGUE))
    assert all(width + 2 + len(each.summary) <= 80 for each in EXPLANATIONS)


# That each is what it says.


@pytest.mark.parametrize(("explanation", "profile"), ALL_WAYS)
def test_it_sends_what_it_is_about_and_leaves_nobody_waiting(explanation: Explanation, profile: str) -> None:
    with played(explanation, Options(profile=profile)) as director:
        requests = sent(director.recording)
        waiting = [f"{task.name} sleeps on {task.asleep_on}" for task in director.scene.tasks if not at_ease(task)]
    opcode = explanation.name.upper()
    if opcode in {row.name for row in OPERATIONS.values()}:
        assert (opcode in requests) is (explanation.name not in {row.name for row in NEVER})
    assert waiting == []


@pytest.mark.parametrize(("explanation", "profile"), ALL_WAYS)
def test_nothing_is_left_over_when_the_programs_have_gone(explanation: Explanation, profile: str) -> None:
    with played(explanation, Options(profile=profile)) as director:
        scene = director.scene
        for process in list(scene.system.processes.values()):
            director.run(process.exit())
        director.prepare()
        check(scene.connection)
        check_at_rest(scene.connection)
        if scene.connection.connected:
            check_idle(scene.superblock)
            assert_both_ends_count_alike(director)


def assert_both_ends_count_alike(director: Director) -> None:
    """Each lookup and each open file that the daemon counts is one that the kernel has."""
    filesystem = director.scene.mounted.session.filesystem
    assert isinstance(filesystem, Memory)
    counted = {nodeid: inode.nlookup for nodeid, inode in filesystem._tree.inodes.items() if inode.nlookup}
    known = {nodeid: inode.nlookup for nodeid, inode in director.scene.superblock.inodes.items()}
    counted.pop(FUSE_ROOT_ID, None)
    known.pop(FUSE_ROOT_ID)
    assert counted == known
    assert not any(inode.nopen for inode in filesystem._tree.inodes.values())


# How it is drawn.


@pytest.mark.parametrize("name", NAMES)
def test_it_fits_a_terminal(name: str) -> None:
    options = Options(profile="linux")
    recording = play(CATALOGUE[name], options)
    for everything in (False, True):
        lines = draw(CATALOGUE[name], recording, options, everything=everything).splitlines()
        assert max(map(len, lines)) <= 80
        assert lines[0].startswith("  |  ") or lines[1] == "-" * len(lines[0])


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_is_worth_seeing(name: str) -> None:
    remark = CATALOGUE[name].remark
    assert remark.endswith(".")
    assert 1 <= remark.count(". ") + 1 <= 4


@pytest.mark.parametrize("name", NAMES)
def test_path_threads_and_uid_change_the_run(name: str) -> None:
    explanation = CATALOGUE[name]
    recording = play(explanation, Options(profile="linux", path="/srv/data/x.txt", threads=3, uid=1000))
    drawn = render(recording, explanation.detail, times=True)
    assert max(map(len, drawn.splitlines())) <= 80
    assert "/mnt/fuse" not in drawn
    assert "3 threads" in drawn
    assert {task for task in recording.columns if task.startswith("daemon")} == {"daemon 1", "daemon 2", "daemon 3"}


def test_the_user_stands_in_the_title_and_in_the_request() -> None:
    assert '"stat /mnt/fuse/file", uid 1000 ' in text("getattr", uid=1000)
    with played(CATALOGUE["create"], Options(profile="linux", uid=1000)) as director:
        (made,) = [inode for nodeid, inode in director.scene.superblock.inodes.items() if nodeid != FUSE_ROOT_ID]
    assert made.attr.uid == 1000


def test_system_calls_are_drawn_with_their_arguments() -> None:
    assert {"sys_open", "sys_getdents", "sys_statfs", "sys_utimensat"} <= SYSCALLS
    assert '>sys_stat("/mnt/fuse/file")' in text("getattr")
    assert '>sys_stat("/x/y")' in text("getattr", path="/x/y")


# What some of them are to show.


def test_the_second_read_asks_nothing() -> None:
    drawn = text("read")
    assert drawn.count(">sys_pread(") == 2
    assert drawn.count("[queue READ request]") == 1


def test_attributes_are_asked_for_once_while_they_hold() -> None:
    drawn = text("getattr")
    assert drawn.count(">sys_stat(") == 2
    assert drawn.count("[queue GETATTR request]") == 1


def parts(name: str) -> list[str]:
    """The parts of an explanation, each from its heading on."""
    return re.split(r"^(?=.*\n-+$)", text(name), flags=re.MULTILINE)[1:]


def test_two_writes_become_one_when_they_are_written_back() -> None:
    drawn = parts("writeback")[0]
    assert drawn.count(">sys_pwrite(") == 2
    assert drawn.count("[queue WRITE request]") == 1
    assert drawn.index("[queue WRITE request]") < drawn.index("[queue FSYNC request]")


def test_a_part_of_a_page_is_written_into_what_the_daemon_has_of_it() -> None:
    drawn = parts("writeback")[0]
    assert drawn.count("[queue READ request]") == 1
    assert drawn.index("[queue READ request]") < drawn.index("<sys_pwrite()")


def test_what_nobody_syncs_the_flusher_sends_in_a_column_of_his_own() -> None:
    drawn = parts("writeback")[1]
    (line,) = (line for line in drawn.splitlines() if "[queue WRITE request]" in line)
    assert [cell.strip() for cell in line.split("|")[1:]] == ["", "[queue WRITE request]", ""]
    assert "The kernel's flusher" in drawn


def test_the_flusher_of_syncfs_is_not_drawn_as_the_daemon() -> None:
    (line,) = (line for line in text("syncfs").splitlines() if "[wake up the flusher's" in line)
    assert line.split("|")[2].strip() == "[wake up the flusher's"


def test_readahead_is_of_four_pages_and_then_of_eight() -> None:
    with played(CATALOGUE["readahead"], Options(profile="linux")) as director:
        scene = director.scene
        inode = scene.mounted.file("file").positive
        assert inode.pages is not None
        assert sorted(inode.pages.pages) == list(range(12))


def test_a_third_request_in_the_background_waits_at_the_gate() -> None:
    drawn = text("background")
    assert drawn.index("[sleep on fc->blocked_waitq]") < drawn.index("[wake up fc->blocked_waitq]")


def test_an_interrupt_is_read_by_a_thread_that_is_free() -> None:
    recording = play(CATALOGUE["interrupt"], Options(profile="linux"))
    taken = [moment.task for moment in recording.moments if moment.event.step == Step.TAKE_INTERRUPT]
    performed = [moment.task for moment in recording.moments if moment.event.step == Step.PERFORM]
    assert (set(taken), set(performed)) == ({"daemon 2"}, {"daemon 1"})
    assert "<sys_pread() -EINTR" in text("interrupt")


def test_an_interrupt_is_queued_when_its_request_has_been_read_and_not_before() -> None:
    drawn = parts("interrupt")[1]
    assert drawn.index("[interrupted by signal]") < drawn.index("[read READ request]") < drawn.index("[queue INTERRUPT")


def test_what_is_killed_before_it_is_read_the_daemon_never_hears_of() -> None:
    drawn = parts("interrupt")[2]
    assert "[sent SIGKILL]" in drawn
    assert "[perform" not in drawn
    assert "INTERRUPT" not in drawn


def test_what_is_killed_after_it_is_read_waits_for_the_answer_all_the_same() -> None:
    drawn = parts("interrupt")[3]
    assert drawn.index("[sent SIGKILL]") < drawn.index("[remove INTERRUPT from") < drawn.index("[write reply]")
    assert drawn.index("[write reply]") < drawn.index("<sys_pread()")


def test_after_an_abort_each_is_told_what_it_is_to_be_told() -> None:
    drawn = " ".join(text("abort").split())
    order = ("-ECONNABORTED", "-ENOTCONN", "-ENOENT", "-ENODEV")
    assert [drawn.index(error) for error in order] == sorted(drawn.index(error) for error in order)


def test_a_forget_says_of_which_node_and_how_often() -> None:
    drawn = " ".join(text("forget").replace("|", " ").split())
    assert "[queue FORGET: nodeid 2, nlookup 2]" in drawn
    assert "[perform forget({2, 2})]" in drawn


def test_a_request_that_is_sent_again_keeps_its_number() -> None:
    moments = list(play(CATALOGUE["resend"], Options(profile="linux")).moments)
    read = [moment.event.detail for moment in moments if moment.event.step == Step.COPY_OUT]
    assert read[1] == f"{read[0]} again"
    assert len(read[0]) < len("READ 1000")


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("open", "open(2, O_RDONLY| O_LARGEFILE)"),
        ("create", 'create(1, "file", O_WRONLY|O_CREAT| O_LARGEFILE, 0100644)'),
        ("mkdir", 'mkdir(1, "file", 040755)'),
        ("setattr", "setattr(2, {mode = 0100600})"),
        ("getlk", "F_WRLCK)"),
        ("batch_forget", "batch_forget({4, 1}, {3, 1}, {2, 1})"),
    ],
)
def test_what_a_method_is_given_stands_there_as_in_c(name: str, given: str) -> None:
    column = " ".join(line.split("|  ")[-1] for line in text(name).splitlines() if line.startswith("  |"))
    assert given.replace(" ", "") in column.replace(" ", "")


def test_a_busy_mount_is_not_unmounted() -> None:
    drawn = text("unmount")
    assert drawn.index("<sys_umount() -EBUSY") < drawn.index("[queue RELEASE request]") < drawn.index("[abort fc]")
