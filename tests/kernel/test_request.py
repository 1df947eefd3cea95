"""The stages of a request: every verb in every stage, for each profile."""

from __future__ import annotations

from itertools import product

import pytest

from fusewire.kernel.connection import Connection
from fusewire.kernel.profile import LINUX, PROFILES, SEED2005, Profile
from fusewire.kernel.request import GIVING_UP, TRANSITIONS, Request, Stage
from fusewire.wire import decode_request

VERBS = sorted({verb for _, verb in {**TRANSITIONS, **GIVING_UP}})
EACH = [(profile, stage, verb) for profile in PROFILES.values() for stage, verb in product(Stage, VERBS)]


@pytest.mark.parametrize(("profile", "stage", "verb"), EACH, ids=lambda value: getattr(value, "name", value))
def test_a_verb_leads_where_the_table_says_and_else_is_illegal(profile: Profile, stage: Stage, verb: str) -> None:
    request = Request(Connection(profile), stage=stage)
    if (stage, verb) in profile.transitions:
        request.move(verb)
        assert request.stage is profile.transitions[stage, verb]
    else:
        with pytest.raises(KeyError):
            request.move(verb)
        assert request.stage is stage


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_each_stage_is_reached_and_each_is_left_but_the_last(profile: Profile) -> None:
    arrows = {(before, after) for (before, _), after in profile.transitions.items()}
    after: set[Stage] = {Stage.UNUSED}
    for _ in Stage:
        after |= {end for start, end in arrows if start in after}
    assert after == (set(Stage) if profile is SEED2005 else set(Stage) - {Stage.GIVEN_UP})
    assert {start for start, _ in arrows} == after - {Stage.FINISHED}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_stage_of_a_sent_request_can_be_aborted(profile: Profile) -> None:
    sent = {stage for stage, _ in profile.transitions} - {Stage.UNUSED}
    assert {stage for stage, verb in profile.transitions if verb == "abort"} == sent


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_no_copy_is_interrupted(profile: Profile) -> None:
    """The last paragraph of kernel.txt: the destination of the copy may not be valid afterwards."""
    killable = [stage for stage, verb in profile.transitions if verb == "kill"]
    assert not any(Request(Connection(profile), stage=stage).locked for stage in killable)


def test_today_only_what_the_daemon_has_not_read_can_be_killed() -> None:
    assert [stage for stage, verb in LINUX.transitions if verb == "kill"] == [Stage.PENDING]


def test_a_request_is_locked_while_it_is_copied() -> None:
    locked = {stage for stage in Stage if Request(Connection(), stage=stage).locked}
    assert locked == {Stage.COPYING_OUT, Stage.COPYING_IN}


def test_its_message_is_what_was_asked() -> None:
    request = Request(Connection(), uid=1000, gid=100, pid=42, unique=6)
    request.ask("UNLINK", 1, names=[b"file"])
    message = decode_request(request.message)
    header = message.header
    assert (header.unique, header.nodeid, header.uid, header.gid, header.pid) == (6, 1, 1000, 100, 42)
    assert (message.operation.name, message.names) == ("UNLINK", (b"file",))
