"""A recording as JSON: all of it is there, under the names that the module promises, one entry a line."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import Any

import pytest

from fusewire.diagrams import as_json
from fusewire.diagrams.columns import Detail
from fusewire.diagrams.recording import Moment, Recording
from fusewire.events import Event, Step
from recorded_runs import made_up, simple_deadlock, unlink

NO_STATE: dict[str, Any] = {"queues": {}, "sleepers": {}, "locks": {}, "flags": {}, "tasks": {}}


def read(recording: Recording, detail: Detail | None = None) -> dict[str, Any]:
    """The recording as a program reads it."""
    text = as_json.render(recording) if detail is None else as_json.render(recording, detail)
    data: dict[str, Any] = json.loads(text)
    return data


def steps(data: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in data["entries"] if entry["kind"] == "step"]


def test_every_step_is_there_as_it_was_recorded() -> None:
    recording = unlink()
    data = read(recording)
    assert data["steps"] == len(steps(data)) == len(list(recording.moments))
    for number, (step, moment) in enumerate(zip(steps(data), recording.moments, strict=True), start=1):
        assert (step["number"], step["task"], step["text"]) == (number, moment.task, moment.event.text)
        assert (step["step"], step["name"], step["detail"]) == (
            str(moment.event.step),
            moment.event.name,
            moment.event.detail,
        )
        assert step["woken"] == list(moment.event.woken)
        assert step["time"] == pytest.approx(moment.time, abs=1e-9)
        assert moment.state is not None
        assert step["state"] == asdict(moment.state)


def test_remarks_stand_where_they_were_made() -> None:
    data = read(simple_deadlock())
    kinds = [entry["kind"] for entry in data["entries"]]
    assert [kind for kind in kinds if kind != "step"] == ["heading", "deadlock", "heading", "end"]
    at = kinds.index("deadlock")
    assert data["entries"][at - 1]["text"] == '[sleep on inode semaphore for "file"]'
    assert data["entries"][at] == {"kind": "deadlock", "text": "rm waits for the daemon, and the daemon for rm."}


def test_a_step_says_in_which_column_it_stands_and_a_column_who_stands_there() -> None:
    event = Event("[step]")
    data = read(made_up(("a", event), ("b", event), ("nobody's", event)))
    assert data["columns"] == [{"title": "A", "tasks": ["a"]}, {"title": "B", "tasks": ["b", "nobody's"]}]
    assert [step["column"] for step in steps(data)] == [0, 1, 1]


def test_what_a_diagram_says_instead_or_passes_over_is_told() -> None:
    detail = Detail(steps=frozenset({Step.QUEUE}), words={Step.QUEUE: "[queue {operation} request]"})
    run = made_up(("a", Event(Step.QUEUE, detail="READ 4")), ("a", Event(Step.TAKE, detail="READ 4")))
    queued, taken = steps(read(run, detail))
    assert (queued["words"], queued["drawn"]) == ("[queue READ request]", True)
    assert (taken["words"], taken["drawn"]) == (str(Step.TAKE), False)


def test_what_nobody_has_seen_and_what_nobody_looked_at_is_told() -> None:
    recording = made_up(observed=True)
    recording.entries.append(Moment("a", Event("[step]"), 0.5, None, certain=False))
    data = read(recording)
    (step,) = steps(data)
    assert (data["observed"], step["certain"], step["state"], step["time"]) == (True, False, None, 0.5)


def test_an_entry_is_a_line_so_that_runs_can_be_compared() -> None:
    first, second = (re.sub(r'"time": [\d.e-]+', "", as_json.render(unlink())) for _ in range(2))
    assert first == second
    lines = first.splitlines()
    assert [line.strip().startswith('{"kind"') for line in lines].count(True) == len(list(unlink().moments))


@pytest.mark.parametrize("text", ['"quoted" \\ and </script>', "zwölf Ø 一", "\n\t\0"])
def test_any_text_survives(text: str) -> None:
    recording = made_up(("a", Event("[step]", detail=text)))
    recording.say("text", text)
    step, remark = read(recording)["entries"]
    assert (step["detail"], remark["text"]) == (text, text)


def test_a_run_in_which_nothing_happened_is_one_too() -> None:
    assert read(made_up())["entries"] == []


def test_the_names_are_those_that_the_module_promises() -> None:
    """Whoever reads version 1 goes by that text: what is renamed or added without a word there is found here."""
    assert as_json.__doc__ is not None
    documented = set(re.findall(r"^    (\w+)  ", as_json.__doc__, re.MULTILINE)) | {"drawn", "column", "name", "echo"}
    data = read(simple_deadlock())
    used = {*data, *steps(data)[0], *steps(data)[0]["state"]}
    assert (data["format"], data["version"]) == ("fusewire recording", 1)
    assert used - {"kind"} == documented


def test_a_state_has_its_five_tables() -> None:
    assert all(step["state"].keys() == NO_STATE.keys() for step in steps(read(unlink())))
