"""`fusewire demo` where nothing can be mounted: the same steps, on an embedded kernel, and it says so."""

from __future__ import annotations

import argparse

import pytest

from fusewire import MountError
from fusewire.cli import demo
from fusewire.cli.demo_places import InKernel
from fusewire.cli.demo_steps import EXAMPLE_STEPS, MEMORY_STEPS, Wrong, example


def why_not(directory: str) -> MountError:
    return MountError(13, f"Cannot mount on /x: you may not open /dev/fuse. {'Run it with sudo. ' * 9}")


def test_the_demo_says_what_it_runs_on_and_gets_the_right_bytes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "why_nothing_is_mounted", why_not)
    assert demo.run(argparse.Namespace(verbose=False, act=None)) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("fusewire on an embedded kernel, ")
    assert told[0].endswith(": nothing can be mounted here.")
    assert "you may not open /dev/fuse" in told[1]
    steps = len(EXAMPLE_STEPS) + len(MEMORY_STEPS) + 4
    assert told[-1].startswith(f"{steps - 1} of {steps} steps right, 1 skipped: ")
    assert max(map(len, told)) <= 80
    assert [line for line in told if "git needs a real mount" in line]


def test_the_second_act_is_played_in_this_process_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "why_nothing_is_mounted", why_not)
    assert demo.run(argparse.Namespace(verbose=False, act=2)) == 0
    told = capsys.readouterr().out
    steps = (">sys_unlink()", "[wake up fc->waitq]", "[perform unlink]", "[wake up req->waitq]", "<sys_unlink()")
    assert [told.index(step) for step in steps] == sorted(told.index(step) for step in steps)
    assert told.index("*DEADLOCK*") < told.index("<sys_unlink() -ECONNABORTED") < told.index("Alive: rm")
    assert max(map(len, told.splitlines())) <= 80


def test_wrong_bytes_are_noticed() -> None:
    read = next(step for step in EXAMPLE_STEPS if "read" in step.title)
    with InKernel({**example(), "hello.txt": b"lies"}) as place, pytest.raises(Wrong, match=r"hello\.txt"):
        read.work(place)
