"""The diagrams of kernel.txt: what is printed is what stands there, with any file and any number of threads."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

import pytest

from fusewire.diagrams import columns
from fusewire.diagrams.recording import Recording
from fusewire.diagrams.text import render
from fusewire.events import Step
from fusewire.explain.catalogue import CATALOGUE, draw, explain, find, play
from fusewire.explain.explanation import SEED, Options
from fusewire.kernel.connection import Connection
from fusewire.kernel.request import Request
from walkthrough.kernel_txt import (
    SIMPLE_DEADLOCK,
    SIMPLE_DEADLOCK_CURED,
    TRICKY_DEADLOCK,
    UNLINK,
    Row,
    for_path,
    missing,
    rows,
)

SEEDS = [name for name, explanation in CATALOGUE.items() if explanation.group == SEED]
DIAGRAMS = {
    "unlink": UNLINK,
    "simple-deadlock": [*SIMPLE_DEADLOCK, *SIMPLE_DEADLOCK_CURED],
    "tricky-deadlock": TRICKY_DEADLOCK,
}
PATHS = ["/mnt/fuse/file", "/home/somebody/a mount/notes (old).txt", "/x/" + "y" * 70]
each_diagram = pytest.mark.parametrize(("name", "diagram"), DIAGRAMS.items(), ids=DIAGRAMS)


def recorded(name: str, **options: object) -> Recording:
    explanation = find(name)
    return play(explanation, Options(**{"profile": explanation.profile, **options}))  # type: ignore[arg-type]


@each_diagram
def test_a_diagram_is_printed_line_by_line_as_in_kernel_txt(name: str, diagram: list[Row]) -> None:
    """But for what kernel.txt leaves to the reader: who sends the signal, and what comes after it."""
    printed = [row for row in rows(explain(name)) if "[sent SIGKILL]" not in row]
    assert printed[: len(diagram)] == list(diagram)


@each_diagram
@pytest.mark.parametrize(("path", "threads"), list(itertools.product(PATHS, [1, 2, 3, 6])))
def test_kernel_txt_is_in_the_run_whatever_the_file_and_the_threads(
    name: str, diagram: list[Row], path: str, threads: int
) -> None:
    recording = recorded(name, path=path, threads=threads)
    explanation = find(name)
    drawn = draw(explanation, recording, Options(path=path, threads=threads))
    assert max(map(len, drawn.splitlines())) <= 80
    whole = columns.rows(recording, explanation.detail_for(Options(path=path, threads=threads)))
    assert missing(for_path(diagram, path), [row.cells for row in whole if isinstance(row, columns.Row)]) == []


@each_diagram
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("everything", "times"), [(False, False), (True, False), (False, True)])
def test_it_can_be_read_off_the_printed_lines_too(
    name: str, diagram: list[Row], threads: int, everything: bool, times: bool
) -> None:
    """However narrow the columns, and with the times before them."""
    options = Options(threads=threads)
    text = draw(find(name), play(find(name), options), options, everything=everything, times=times)
    lines = [f"  {line[10:]}" if times and line[10:11] == "|" else line for line in text.splitlines()]
    assert missing(without_blanks(diagram), without_blanks(rows("\n".join(lines)))) == []


def without_blanks(diagram: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """A diagram whose steps can be compared wherever their lines were broken."""
    return [tuple(re.sub(r"\s", "", cell) for cell in row) for row in diagram]


@each_diagram
def test_everything_is_drawn_in_its_place_if_asked_for(name: str, diagram: list[Row]) -> None:
    text = explain(name, everything=True)
    assert "leaves out" not in text
    assert missing(diagram, rows(text)) == []
    left_out = explain(name).partition("leaves out here")[2]
    assert "[set req->locked]" in left_out
    assert "[set req->locked]" in text


def test_a_step_that_is_missing_or_out_of_order_is_noticed() -> None:
    """The check of this file, held against diagrams that are wrong."""
    run = rows(explain("unlink"))
    without = [row for row in run if "[remove req from fc->pending]" not in row]
    assert missing(UNLINK, without) == ["[remove req from fc->pending]"]
    assert missing(UNLINK, [run[1], run[0], *run[2:]]) != []
    assert missing(UNLINK, [tuple(reversed(row)) for row in run]) != []


def test_what_is_drawn_is_what_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel's end that does not give its requests back is not drawn as if it did."""
    monkeypatch.setattr(Connection, "drop", lambda connection, request: None)
    assert missing(UNLINK, rows(explain("unlink"))) == ["[add request to fc->unused_list]"]


@pytest.mark.parametrize("profile", ["seed2005", "linux"])
@pytest.mark.parametrize("name", SEEDS)
def test_a_run_goes_on_to_its_end_and_says_what_is_different_today(name: str, profile: str) -> None:
    recording = recorded(name, profile=profile)
    said = [remark.text for remark in recording.remarks]
    assert any(text.startswith("What is different today, and why: ") for text in said) is (profile == "linux")
    if name == "unlink":
        return
    ends = [remark.text for remark in recording.remarks if remark.kind == "end"]
    assert all(text.startswith("Dead: ") for text in ends)
    assert ends[-1] in said[-2:]  # after it, at most what is different today


def ends(name: str, **options: object) -> list[str]:
    return [remark.text for remark in recorded(name, **options).remarks if remark.kind == "end"]


@pytest.mark.parametrize("threads", [1, 3])
def test_in_2005_the_cure_is_to_kill_as_long_as_any_thread_remains(threads: int) -> None:
    names = ["daemon"] if threads == 1 else [f"daemon {number}" for number in range(1, threads + 1)]
    recording = recorded("simple-deadlock", threads=threads)
    assert [moment.task for moment in recording.moments if moment.event.step == Step.KILL] == ["rm", *names]
    (end,) = ends("simple-deadlock", threads=threads)
    assert end == f"Dead: {'; '.join(['rm', *names])}; and the filesystem. Alive: nobody."
    counts = [
        match[1] for remark in recording.remarks if (match := re.search(r"(\d of \d) threads are dead", remark.text))
    ]
    assert counts == [f"{dead} of {threads}" for dead in range(1, threads)]


def test_each_thread_makes_the_same_mistake_before_it_is_killed() -> None:
    deadlocks = [remark for remark in recorded("simple-deadlock", threads=3).remarks if remark.kind == "deadlock"]
    assert [re.findall(r"(daemon \d|rm) waits", remark.text) for remark in deadlocks] == [
        ["rm", "daemon 1"],
        ["daemon 1", "daemon 2"],
        ["daemon 2", "daemon 3"],
    ]


def test_today_a_kill_cures_nothing_and_the_three_cures_do() -> None:
    recording = recorded("simple-deadlock", profile="linux")
    deadlocks = [remark for remark in recording.remarks if remark.kind == "deadlock"]
    assert len(deadlocks) == 3  # one in each run that gets there, and once more after the kills
    assert ends("simple-deadlock", profile="linux") == [
        "Dead: rm; daemon; and the filesystem. Alive: nobody.",
        "Dead: the filesystem. Alive: rm, which got ECONNABORTED; and daemon, which is done.",
        "Dead: nobody. Alive: rm, which got EINTR; daemon 1, asleep on fc->waitq; and daemon 2, asleep on fc->waitq.",
    ]


def test_the_tricky_deadlock_ends_with_both_threads_in_2005() -> None:
    assert ends("tricky-deadlock") == ["Dead: thread 1; thread 2; and the filesystem. Alive: nobody."]


def test_today_killing_the_reader_of_the_tricky_deadlock_is_no_cure() -> None:
    recording = recorded("tricky-deadlock", profile="linux")
    assert [remark.kind for remark in recording.remarks if remark.kind in ("deadlock", "heading")] == [
        "heading",
        "deadlock",
        "deadlock",
        "heading",
        "deadlock",
        "heading",
        "deadlock",
    ]
    assert ends("tricky-deadlock", profile="linux")[0] == "Dead: thread 1; thread 2; and the filesystem. Alive: nobody."


@pytest.mark.parametrize("profile", ["seed2005", "linux"])
def test_the_copy_is_not_interrupted_while_it_is_locked(profile: str) -> None:
    """Whoever is woken by an interruption in the middle of a page goes on only after it."""
    recording = recorded("locked-copy", profile=profile)
    what, interruption = ("Killed", "[sent SIGKILL]") if profile == "seed2005" else ("Aborted", "[abort fc]")
    during = render(recording).partition(f"{what} during the copy\n")[2].partition(f"{what} after the copy\n")[0]
    after = during.partition(interruption)[2]
    assert after.index("[woken up]") < after.index("<sys_pread()")
    assert "[copy a page of it to req]" not in after


def test_the_state_beside_each_step_has_the_request_on_its_way() -> None:
    ways = []
    for moment in recorded("unlink").moments:
        assert moment.state is not None
        ways.append(
            next((name for name, on in moment.state.queues.items() if any("UNLINK" in each for each in on)), "")
        )
    assert [name for name, _ in itertools.groupby(filter(None, ways))] == ["pending", "io", "processing", "io"]


def test_a_path_is_the_same_in_calls_locks_and_states() -> None:
    recording = recorded("simple-deadlock", profile="linux", path="/m/n/f")
    moment = next(moment for moment in recording.moments if moment.event.step == Step.ACQUIRE)
    assert moment.event.name == 'inode semaphore for "/m/n"'
    held = next(moment.state for moment in recording.moments if moment.state and moment.state.locks)
    assert 'inode semaphore for "/m/n"' in held.locks


def test_who_asks_is_in_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    uids = set[int]()
    encode = Request.encode

    def seen(request: Request, unique: int) -> None:
        uids.add(request.uid)
        encode(request, unique)

    monkeypatch.setattr(Request, "encode", seen)
    text = explain("unlink", Options(uid=1000))
    assert 1000 in uids
    assert "uid 1000" in text.splitlines()[0] + text.splitlines()[1]


def test_what_cannot_be_explained_is_answered_by_what_can() -> None:
    with pytest.raises(ValueError, match=r"no explanation of 'life', only of unlink, simple-deadlock"):
        explain("life")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"profile": "today"}, "no profile 'today'"),
        ({"path": "file"}, "absolute"),
        ({"path": "/mnt/../file"}, "plain"),
        ({"path": "/file"}, "directory of a mount"),
        ({"path": "/mnt/\n"}, "a file"),
        ({"path": "/mnt/" + "é" * 128}, "at most 255 bytes"),
        ({"threads": 0}, "1 to 9 threads"),
        ({"threads": 10}, "1 to 9 threads"),
        ({"uid": -1}, "A uid is"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_a_sentence(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Options(**options)  # type: ignore[arg-type]
