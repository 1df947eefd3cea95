"""What daemons that answer nonsense are told, and what their callers are: a part of the table, on both kernels.

All of it, in some minutes: python differential/nonsense.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from differential.daemons import embedded, linux
from differential.daemons.nonsense import deeds
from differential.daemons.notices import notices
from differential.daemons.scenarios import SCENARIOS
from differential.nonsense import NOTICES, Case, cases, compare
from differential.real import Machine

from fusewire.kernel.violations import Violation
from fusewire.wire import NOTIFICATIONS, OPERATIONS

SPREAD = 67  # of all cases each so manieth is in the suite; from another one on for each scenario
NOT_SENT = {"BMAP", "DESTROY", "SYNCFS", "SETUPMAPPING", "REMOVEMAPPING"}  # of block devices, and DAX
INDIRECT = {"COPY_FILE_RANGE", "INTERRUPT"}  # answered where another is not, or in the midst of it


def some() -> Iterator[Case]:
    for number, name in enumerate([*SCENARIOS, NOTICES]):
        yield from list(cases([name]))[number % SPREAD :: SPREAD]


def test_each_operation_that_is_answered_is_answered_with_nonsense() -> None:
    asked = {scenario.operation for scenario in SCENARIOS.values()}
    answered = {row.name for row in OPERATIONS.values() if row.reply is not None}
    assert answered - asked == NOT_SENT | INDIRECT


def test_each_notification_is_told_right_and_wrong() -> None:
    codes = [int.from_bytes(notice.message[4:8], "little") for notice in notices()]
    assert set(NOTIFICATIONS) <= set(codes)
    assert set(codes) - set(NOTIFICATIONS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_main_step_of_each_program_asks_what_it_is_there_for(name: str) -> None:
    scenario = SCENARIOS[name]
    deed = next(each for each in deeds(scenario.operation) if each.name == "15 bytes")
    for valid in scenario.valid:
        seen = embedded.run(scenario, valid, Case(scenario, valid, deed).plan)
        assert any("write 15: 'EINVAL'" in line for step in seen for line in step)


RULES = {  # of violations.py, by the deed; a write that Linux refuses breaks one of them
    "nothing": 2,
    "15 bytes": 2,
    "a header that says one more": 4,
    "a header that says 0": 4,
    "unique 0": 5,
    "error +2": 6,
    "error +5000": 6,
    "error -512": 6,
    "error -5000": 6,
    "an unknown unique": 7,
    "twice": 7,
    "well, then an error": 7,
    "to another device": 7,
    "an odd unique": 8,
    "an odd unique, EAGAIN": 8,
    "an error with a byte": 9,
    "an error with the payload": 9,
    "a header and no payload": 10,
    "one byte short": 10,
    "one byte too long": 10,
    "a megabyte": 10,
}


@pytest.mark.parametrize("name", RULES)
def test_what_is_refused_stands_among_the_violations_with_its_rule(name: str) -> None:
    scenario = SCENARIOS["a mode is changed"]
    deed = next(each for each in deeds(scenario.operation) if each.name == name)
    violations: list[Violation] = []
    embedded.run(scenario, 0, Case(scenario, 0, deed).plan, violations)
    assert violations[0].rule == RULES[name]


def test_errors_that_are_some_are_no_violations() -> None:
    scenario = SCENARIOS["a mode is changed"]
    for deed in deeds(scenario.operation):
        if deed.name in ("error -1", "error -38", "error -511", "zeros", "attr.mode = 0x0", "never: aborted"):
            violations: list[Violation] = []
            embedded.run(scenario, 0, Case(scenario, 0, deed).plan, violations)
            assert [one.rule for one in violations] == [7] * (deed.name != "never: aborted")  # the second answer


@pytest.mark.kernel
@pytest.mark.limit(120)
def test_both_kernels_treat_nonsense_alike(machine: Machine, tmp_path: Path) -> None:
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    differing = [text for case in some() if (text := compare(case, str(mountpoint)))]
    assert not differing, "\n\n".join(differing)


@pytest.mark.kernel
def test_linux_agrees_with_itself(machine: Machine, mountpoint: Path) -> None:
    scenario = SCENARIOS["a file is made"]
    assert linux.run(scenario, 0, None, str(mountpoint)) == linux.run(scenario, 0, None, str(mountpoint))
