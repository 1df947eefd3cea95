"""The stages of a request: every verb in every stage, for each profile."""

from __future__ import annotations

from itertools import product

import pytest

from fusewire.kernel.connection import Connection
from fusewire.kernel.init import Settings, send_init
from fusewire.kernel.profile import LINUX, PROFILES, SEED2005, Profile
from fusewire.kernel.request import Request
from fusewire.kernel.stages import GIVING_UP, TRANSITIONS, Stage
from fusewire.wire import FUSE_UNIQUE_RESEND, WriteIn, decode_request


def at(profile: Profile, stage: Stage) -> Request:
    """A request in this stage."""
    request = Request(Connection(profile))
    request.stage = stage
    return request


VERBS = sorted({verb for _, verb in {**TRANSITIONS, **GIVING_UP}})
EACH = [(profile, stage, verb) for profile in PROFILES.values() for stage, verb in product(Stage, VERBS)]


@pytest.mark.parametrize(("profile", "stage", "verb"), EACH, ids=lambda value: getattr(value, "name", value))
def test_a_verb_leads_where_the_table_says_and_else_is_illegal(profile: Profile, stage: Stage, verb: str) -> None:
    request = at(profile, stage)
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
    assert after == (set(Stage) if profile is SEED2005 else set(Stage) - {Stage.GIVEN_UP, Stage.LEFT})
    assert {start for start, _ in arrows} == after - {Stage.FINISHED}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_stage_of_a_sent_request_can_be_aborted(profile: Profile) -> None:
    sent = {stage for stage, _ in profile.transitions} - {Stage.UNUSED}
    assert {stage for stage, verb in profile.transitions if verb == "abort"} == sent - {Stage.ABORTED}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_no_copy_is_interrupted(profile: Profile) -> None:
    """The last paragraph of kernel.txt: the destination of the copy may not be valid afterwards."""
    killable = [stage for stage, verb in profile.transitions if verb == "kill"]
    assert not any(at(profile, stage).locked for stage in killable)


def test_today_only_what_the_daemon_has_not_read_can_be_killed() -> None:
    assert [stage for stage, verb in LINUX.transitions if verb == "kill"] == [Stage.PENDING]


def test_a_request_is_locked_while_it_is_copied_and_only_then() -> None:
    locked = {stage for stage in Stage if at(LINUX, stage).locked}
    assert locked == {Stage.COPYING_OUT, Stage.COPYING_IN, Stage.ABORTED}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_an_abort_in_the_middle_of_a_copy_leaves_it_locked_and_elsewhere_ends_it(profile: Profile) -> None:
    for (stage, verb), after in profile.transitions.items():
        if verb == "abort":
            assert after is (Stage.ABORTED if at(profile, stage).locked else Stage.FINISHED)


def test_what_has_ended_is_not_locked_again() -> None:
    for stage in (Stage.FINISHED, Stage.LEFT):
        with pytest.raises(FileNotFoundError):
            at(SEED2005, stage).lock()
    with pytest.raises(FileNotFoundError):
        at(LINUX, Stage.ABORTED).unlock()


def test_its_message_is_what_was_asked() -> None:
    request = Request(Connection())
    request.uid, request.gid, request.pid = 1000, 100, 42
    request.ask("UNLINK", 1, names=[b"file"])
    request.encode(6)
    message = decode_request(request.message)
    header = message.header
    assert (header.unique, header.nodeid, header.uid, header.gid, header.pid) == (6, 1, 1000, 100, 42)
    assert (message.operation.name, message.names) == ("UNLINK", (b"file",))


def test_its_number_can_be_changed_in_the_message() -> None:
    request = Request(Connection())
    request.ask("UNLINK", 1, names=[b"file"])
    request.encode(6)
    request.renumber(6 | FUSE_UNIQUE_RESEND)
    message = decode_request(request.message)
    assert message.header.unique == request.unique == 6 | FUSE_UNIQUE_RESEND
    assert message.names == (b"file",)


@pytest.mark.parametrize(("minor", "size"), [(8, 24), (45, 40)])
def test_structs_have_the_size_that_both_ends_know(minor: int, size: int) -> None:
    connection = Connection()
    connection.settle(Settings(minor=minor))
    request = Request(connection)
    request.ask("WRITE", 2, WriteIn(size=3), data=b"abc")
    request.encode(2)
    assert len(request.message) == 40 + size + 3


@pytest.mark.parametrize(("minor", "size"), [(19, 16), (31, 16), (36, 64), (45, 64)])
def test_an_older_kernel_has_a_shorter_init(minor: int, size: int) -> None:
    connection = Connection(LINUX, minor)
    send_init(connection)
    assert len(connection.pending[0].message) == 40 + size
