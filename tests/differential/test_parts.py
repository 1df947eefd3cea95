"""The parts of the comparison that need no kernel: programs, rules, shrinking."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from differential.calls import CALLS, Actor, Result, perform
from differential.compare import compare
from differential.generate import MAKERS, generate
from differential.planted import PLANTED
from differential.program import CONTROL, Program, Step
from differential.recorder import Request, finished
from differential.shrink import shrink
from differential.subjects import SUBJECTS
from differential.transcript import Transcript

from fusewire.wire import OPERATIONS

ONE_STEP = Program.of("memory", (0, "stat", "a"))


def transcript(*requests: Request, result: Result = ("ok", None)) -> Transcript:
    return Transcript((result,), (requests,))


def read(offset: int, size: int, fh: int = 0) -> Request:
    return Request("READ", "kernel", 0, 0, 2, (("fh", fh), ("offset", offset), ("size", size)), error=0)


def difference(real: Transcript, ours: Transcript, program: Program = ONE_STEP) -> bool:
    return compare(program, real, ours, Counter()) is not None


def test_a_seed_is_always_the_same_program() -> None:
    assert generate(5) == generate(5)
    assert generate(5) != generate(6)


def test_every_call_is_generated() -> None:
    assert set(MAKERS) == set(CALLS)
    made = {step.call for seed in range(300) for step in generate(seed).steps}
    assert made == set(CALLS) | set(CONTROL)


def test_every_subject_is_chosen_that_every_machine_can_have() -> None:
    assert {generate(seed).subject for seed in range(600)} == {it.name for it in SUBJECTS.values() if not it.block}


def test_what_stands_on_a_block_device_is_unmounted_at_the_end() -> None:
    assert generate(1, subject="on a block device").steps[-1] == Step(0, "unmount")


def test_an_error_is_planted_for_each_operation_that_is_asked_here() -> None:
    asked = {row.name for row in OPERATIONS.values()} - {"BATCH_FORGET", "SETUPMAPPING", "REMOVEMAPPING"}
    assert {error.opcode for error in PLANTED} == asked


def test_a_step_on_an_empty_slot_asks_nobody() -> None:
    assert finished(perform(Actor(os), Step(0, "fstat", (1,)))) == ("error", "EBADF")  # though there is a descriptor 1


def test_reads_are_compared_as_ranges() -> None:
    assert not difference(transcript(read(0, 8192)), transcript(read(0, 4096), read(4096, 4096)))
    assert difference(transcript(read(0, 8192)), transcript(read(0, 4096)))
    assert difference(transcript(read(0, 8192)), transcript(read(0, 4096), read(8192, 4096)))


def test_a_request_too_many_is_a_difference() -> None:
    lookup = Request("LOOKUP", "p0", 0, 0, 1, names=(b"a",), error=0)
    assert difference(transcript(lookup), transcript(lookup, lookup))
    assert not difference(transcript(lookup), transcript(lookup))


@pytest.mark.parametrize(
    "other",
    [
        Request("GETATTR", "p0", 7, 0, 1),
        Request("GETATTR", "p0", 0, 7, 1),
        Request("GETATTR", "p0", 0, 0, 7),
        Request("GETATTR", "kernel", 0, 0, 1),
        Request("GETATTR", "p0", 0, 0, 1, (("fh", 7),)),
        Request("GETATTR", "p0", 0, 0, 1, names=(b"a",)),
        Request("GETATTR", "p0", 0, 0, 1, data=b"a"),
        Request("GETATTR", "p0", 0, 0, 1, extensions="groups"),
        Request("GETATTR", "p0", 0, 0, 1, error=5),
    ],
    ids=str,
)
def test_every_part_of_a_request_counts(other: Request) -> None:
    assert difference(transcript(Request("GETATTR", "p0", 0, 0, 1)), transcript(other))


def test_forgets_float_but_are_not_dropped() -> None:
    program = Program.of("memory", (0, "stat", "a"), (0, "stat", "b"))
    forget = Request("FORGET", "kernel", 0, 0, 2, (("nlookup", 1),))
    results: tuple[Result, Result] = (("ok", None), ("ok", None))
    early, late = Transcript(results, ((forget,), ())), Transcript(results, ((), (forget,)))
    assert not difference(early, late, program)
    assert difference(early, Transcript(results, ((), ())), program)


def test_a_batch_of_forgets_is_what_it_is_made_of() -> None:
    batch = Request("BATCH_FORGET", "kernel", 0, 0, 0, (("count", 2),), data=b"[(2, 1), (3, 4)]")
    single = [Request("FORGET", "kernel", 0, 0, nodeid, (("nlookup", n),)) for nodeid, n in ((3, 4), (2, 1))]
    assert not difference(transcript(batch), transcript(*single))
    assert difference(transcript(batch), transcript(*single[:1]))


def test_handles_are_compared_by_which_open_gave_them() -> None:
    def opened_and_read(*handles: int) -> Transcript:
        opens = [Request("OPEN", "p0", 0, 0, 2, error=0, handle=handle) for handle in handles[:2]]
        return transcript(*opens, read(0, 10, fh=handles[2]))

    assert not difference(opened_and_read(5, 6, 6), opened_and_read(9, 8, 8))
    assert difference(opened_and_read(5, 6, 6), opened_and_read(9, 8, 9))


def test_shrinking_leaves_what_it_takes() -> None:
    program = Program("memory", tuple(Step(0, "stat", (str(number),)) for number in range(50)))
    wanted = {"7", "31"}
    smallest = shrink(program, lambda it: wanted <= {str(step.arguments[0]) for step in it.steps})
    assert [step.arguments[0] for step in smallest.steps] == ["7", "31"]


def test_a_program_can_be_kept_as_source() -> None:
    program = Program.of("memory", (0, "mkdir", "a", 0o755), (1, "write", 0, b"data"))
    assert eval(program.as_source(), {"Program": Program}) == program
