"""`fusewire explore`: what it prints, and how it exits."""

from __future__ import annotations

from typing import Any

import pytest

from fusewire.cli import main
from fusewire.explore.scenes import SCENARIOS
from fusewire.explore.ways_out import WAYS
from fusewire.kernel.waitq import WaitQueue


def test_without_a_name_it_lists_the_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(SCENARIOS)


def test_it_tells_the_deadlock_and_how_to_see_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "simple-deadlock"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "simple-deadlock:linux"
    assert told[1].startswith("  158 interleavings through ")
    assert told[4:8] == [
        "Deadlock, after 12 steps:",
        "  rm waits for the answer to UNLINK, which daemon owes, and daemon waits for the",
        '  inode semaphore for "/", which rm holds.',
        "  fusewire explain --replay simple-deadlock:linux:a6b6",
    ]
    assert told[-1] == "From every state there is a way out: after an abort every task ends."
    assert max(map(len, told)) <= 80


def test_it_draws_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "simple-deadlock", "--profile", "seed2005", "--threads", "2", "--diagram"]) == 0
    told = capsys.readouterr().out
    assert told.count("*DEADLOCK*") == 2
    assert max(map(len, told.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [["--full"], ["--processes", "2"], ["--preemptions", "0", "--no-ways-out"]])
def test_however_it_searches_it_finds_the_deadlock(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "simple-deadlock", *arguments]) == 0
    assert "Deadlock, after 12 steps" in capsys.readouterr().out


def test_whatever_may_come_stands_in_the_schedule(capsys: pytest.CaptureFixture[str]) -> None:
    moments = ["--kill", "daemon", "--timeout"]
    assert main(["explore", "simple-deadlock", *moments, "--preemptions", "0", "--no-ways-out"]) == 0
    assert "simple-deadlock:linux:kill=daemon:timeout:a6b6" in capsys.readouterr().out


def wake_but_readers(queue: WaitQueue, count: int = 1, wake: Any = WaitQueue.wake) -> None:
    if queue.name != "fc->waitq":
        wake(queue, count)


def test_it_exits_with_1_if_something_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(WaitQueue, "wake", wake_but_readers)
    assert main(["explore", "unlink", "--no-ways-out"]) == 1
    assert "Lost wake-up, after" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["unlnk"], "Did you mean 'unlink'?"),
        (["unlink", "--profile", "linnux"], "Did you mean 'linux'?"),
        (["unlink", "--kill", "cat"], "There is no task 'cat' here, only rm, daemon."),
        (["unlink", "--threads", "10"], "There may be 1 to 9 threads, not 10."),
        (["unlink", "--kill", "rm", "--kill", "rm"], "may come once"),
    ],
)
def test_what_there_is_not_gets_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explore", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert sentence in told.err
    assert told.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--threads", "x"], ["--processes", "0"], ["--seconds", "-1"], ["--preemptions"]]
)
def test_what_is_no_number_is_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["explore", "unlink", *arguments])
    assert exit_.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_it_says_that_it_stopped_early(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "tricky-deadlock", "--threads", "3", "--seconds", "0.1"]) == 0
    told = capsys.readouterr().out
    assert "  Stopped before the end: at least " in told
    assert "In what was looked at:" in told


def test_the_ways_out_of_2005_are_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "simple-deadlock", "--profile", "seed2005"]) == 0
    told = capsys.readouterr().out
    assert [way for way in WAYS if f"after {way} every task ends." in told] == list(WAYS)
