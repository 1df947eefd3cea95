"""`fusewire explain`, as people type it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fusewire.cli import main
from fusewire.explain.catalogue import CATALOGUE


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["explain", *arguments]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said, in one line, if it is refused as wrong usage."""
    assert main(["explain", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("fusewire: ")
    assert said.err.count("\n") == 1
    return said.err


def test_without_a_name_it_lists_all_that_there_is_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys).splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(CATALOGUE)
    assert lines[0] == "kernel.txt, run:"
    assert max(map(len, lines)) <= 80


def test_path_threads_and_uid_show_in_the_diagram(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "unlink", "--path", "/srv/x/old.txt", "--threads", "2", "--uid", "1000")
    head = text.partition(">")[0]
    assert "/srv/x/old.txt" in head
    assert "uid 1000" in head
    assert "daemon 2" in head


def test_a_profile_may_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert "fc->unused_list" in shown(capsys, "unlink")
    assert "[allocate req]" in shown(capsys, "unlink", "--profile", "linux")


def test_times_are_milliseconds_that_do_not_go_back(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "unlink", "--times").partition("\n\n")[0]
    times = [float(line[:10]) for line in text.splitlines()[1:] if line[:10].strip()]
    assert len(times) > 30
    assert times == sorted(times)


def test_json_has_every_step_with_its_time_and_state(capsys: pytest.CaptureFixture[str]) -> None:
    run = json.loads(shown(capsys, "tricky-deadlock", "--format", "json"))
    steps = [entry for entry in run["entries"] if entry["kind"] == "step"]
    assert any(step["words"] == "* DEADLOCK *" for step in steps) is False  # it is no step
    assert all(step["time"] >= 0 and step["state"]["queues"] for step in steps)
    assert any(entry["kind"] == "deadlock" for entry in run["entries"])


def test_a_page_is_written_where_it_is_wanted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert shown(capsys, "unlink", "--format", "html", "-o", str(page)) == ""
    assert page.read_text().startswith("<!doctype html>")


def test_a_run_of_the_explorer_is_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--replay", "simple-deadlock:linux:a6b6")
    assert "*DEADLOCK*" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["unlnik"], "Did you mean 'unlink'?"),
        (["life"], "lists what there is"),
        (["unlink", "--path", "file"], "absolute"),
        (["unlink", "--threads", "0"], "1 to 9 threads"),
        (["unlink", "--profile", "today"], "no profile 'today'"),
        (["unlink", "--real"], "only simple-deadlock and tricky-deadlock"),
        (["simple-deadlock", "--real", "--profile", "seed2005"], "not that of 2005"),
        (["unlink", "--replay", "simple-deadlock:linux:a"], "--replay alone"),
        (["--replay", "nonsense"], "no schedule"),
    ],
)
def test_what_makes_no_sense_is_answered_by_a_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert said in refused(capsys, *arguments)
