"""Requests out of tracepoints: which read belongs to which request, and what they come to."""

from __future__ import annotations

import io
import json
from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fusewire.events import Step
from fusewire.watch.latencies import MOST_CALLERS, Latencies, Statistics, bucket_of, end_of
from fusewire.watch.requests import RESENT, Pairing, Request, Who
from fusewire.watch.trace_events import (
    Parser,
    RequestEnd,
    RequestSend,
    Stack,
    SyscallEnter,
    SyscallExit,
    Traced,
    TraceEvent,
    Waking,
)
from fusewire.watch.trace_export import Perfetto, as_data
from fusewire.watch.trace_steps import Steps

LOOKUP, UNLINK = 1, 10
RM, CAT, ONE, TWO = 11, 12, 91, 92  # two who call, two who serve
CONNECTION = 46


def at(time: float, tid: int, event: TraceEvent) -> Traced:
    return Traced(time, 0, f"name{tid}", tid, event, tid)


def send(time: float, unique: int, tid: int = RM, opcode: int = UNLINK, length: int = 45) -> Traced:
    return at(time, tid, RequestSend(CONNECTION, unique, opcode, length))


def read(time: float, tid: int = ONE, length: int = 45) -> Traced:
    return at(time, tid, SyscallExit(0, length))


def end(time: float, unique: int, tid: int = ONE, error: int = 0) -> Traced:
    return at(time, tid, RequestEnd(CONNECTION, unique, 16, error))


def paired(*traced: Traced) -> list[Request]:
    return list(Pairing().feed(traced))


# --- pairing


def test_a_request_has_its_phases_and_all_who_took_part() -> None:
    (request,) = paired(send(1.0, 4), read(1.25), end(1.75, 4, error=-2))
    assert (request.operation, request.pending, request.processing, request.total) == ("UNLINK", 0.25, 0.5, 0.75)
    assert (request.error, request.error_name) == (2, "ENOENT")
    assert (request.length, request.reply_length) == (45, 16)
    assert (request.caller, request.server) == (Who(RM, RM, "name11"), Who(ONE, ONE, "name91"))


def test_the_oldest_request_of_a_length_is_read_first() -> None:
    requests = paired(send(1.0, 2), send(1.1, 4, CAT), read(1.2), read(1.3, TWO), end(1.4, 2), end(1.5, 4, TWO))
    assert [(request.unique, request.read) for request in requests] == [(2, 1.2), (4, 1.3)]


def test_a_read_of_another_length_is_of_no_request() -> None:
    (request,) = paired(send(1.0, 2), read(1.1, length=4096), read(1.2), end(1.3, 2))
    assert request.read == 1.2


def test_who_answers_has_read_what_he_answers() -> None:
    """Two of one length, and the returns of their reads pass the tracepoint in the other order."""
    requests = paired(
        send(1.0, 2), send(1.0, 4, CAT), read(1.1, TWO), read(1.2, ONE), end(1.3, 2, ONE), end(1.4, 4, TWO)
    )
    assert [request.read for request in requests] == [1.2, 1.1]


def test_nothing_is_read_before_it_is_sent() -> None:
    """Who answers the second has read something of its length before it was there: its own read was not seen."""
    (request,) = paired(send(1.0, 2), read(1.1, TWO), send(1.2, 4, CAT), end(1.3, 4, TWO))
    assert request.read is None


def test_of_a_request_whose_read_was_not_seen_only_the_sum_is_known() -> None:
    (request,) = paired(send(1.0, 2), end(1.5, 2))
    assert (request.pending, request.processing, request.total) == (None, None, 0.5)


def test_one_that_was_sent_before_the_trace_began_is_counted() -> None:
    pairing = Pairing()
    assert list(pairing.feed([end(1.0, 2)])) == []
    assert pairing.before == 1


def test_a_request_that_was_taken_back_does_not_spoil_the_next() -> None:
    """Its caller was killed while it was pending, which no tracepoint tells."""
    pairing = Pairing()
    (request,) = pairing.feed([send(1.0, 2), send(2.0, 4, CAT), read(2.1), end(2.3, 4)])
    assert (request.unique, request.read) == (4, 2.1)
    assert [waiting.unique for waiting in pairing.waiting.values()] == [2]


def test_a_request_that_is_sent_again_is_the_same() -> None:
    (request,) = paired(send(1.0, 2), read(1.1), send(1.2, 2 | RESENT), read(1.5, TWO), end(1.6, 2 | RESENT, TWO))
    assert (request.unique, request.sent, request.read) == (2, 1.0, 1.5)


def test_an_operation_that_nobody_knows_has_its_number() -> None:
    (request,) = paired(send(1.0, 2, opcode=999), end(1.1, 2))
    assert request.operation == "opcode 999"


@given(st.lists(st.tuples(st.sampled_from("sre"), st.integers(1, 4), st.sampled_from([40, 56])), max_size=40))
def test_whatever_comes_no_request_is_there_twice_and_times_are_in_order(events: list[tuple[str, int, int]]) -> None:
    make = {
        "s": lambda time, number, length: send(time, number, length=length),
        "r": lambda time, number, length: read(time, ONE + number, length),
        "e": lambda time, number, length: end(time, number, ONE + number),
    }
    pairing = Pairing()
    traced = [make[kind](float(time), *rest) for time, (kind, *rest) in enumerate(events)]
    for request in pairing.feed(traced):
        assert request.ended is not None
        assert request.sent <= (request.read or request.sent) <= request.ended
    sends = len({number for kind, number, _ in events if kind == "s"})
    assert len(pairing.waiting) <= sends


@given(st.integers(0, 2**22), st.integers(1, 10**6), st.text(st.characters(codec="ascii"), max_size=15))
def test_a_line_of_the_trace_becomes_a_request_whatever_the_caller_is_called(tid: int, unique: int, comm: str) -> None:
    comm = "".join(character for character in comm if character.isprintable()).strip() or "x"
    head = f"{comm:>16}-{tid:<7} ({tid:>7}) [000] ..... "
    lines = [
        f"{head} 1.000000: fuse_request_send: connection 46 req {unique} opcode 10 (FUSE_UNLINK) len 45",
        f"{head} 1.500000: fuse_request_end: connection 46 req {unique} len 16 error 0",
    ]
    (request,) = Pairing().feed(Parser().feed("\n".join([*lines, ""])))
    assert (request.caller, request.total) == (Who(tid, tid, comm), 0.5)


# --- what they come to

microseconds = st.integers(0, 10**9)


@given(st.lists(microseconds, min_size=1), st.sampled_from([1, 50, 90, 99, 100]))
def test_a_percentile_is_right_to_a_sixteenth(values: list[int], percent: int) -> None:
    latencies = Latencies()
    for value in values:
        latencies.add(value / 1e6)
    exact = sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]
    found = latencies.percentile(percent)
    assert found is not None
    assert exact - 0.01 <= found * 1e6 <= exact * 17 / 16 + 0.01
    assert found <= latencies.longest


@given(microseconds)
def test_buckets_leave_no_gap(value: int) -> None:
    assert end_of(bucket_of(value) - 1) < value <= end_of(bucket_of(value))


@given(st.lists(microseconds, min_size=1))
def test_the_histogram_counts_everything_where_it_belongs(values: list[int]) -> None:
    latencies = Latencies()
    for value in values:
        latencies.add(value / 1e6)
    for power, number in latencies.by_doubling().items():
        assert number == sum(value.bit_length() == power for value in values)


def test_of_nothing_there_is_no_percentile() -> None:
    assert Latencies().percentile(50) is None
    assert Latencies().by_doubling() == {}


def test_statistics_tell_operations_errors_and_callers_apart() -> None:
    statistics = Statistics()
    for request in paired(send(1.0, 2), read(1.1), end(1.2, 2, error=-2), send(2.0, 4, CAT, LOOKUP), end(2.5, 4)):
        statistics.add(request)
    assert [name for name, _ in statistics.by_count()] == ["LOOKUP", "UNLINK"]
    assert (statistics.count, statistics.error_count) == (2, 1)
    assert statistics.operations["UNLINK"].errors == {"ENOENT": 1}
    assert statistics.operations["LOOKUP"].processing.count == 0  # its read was not seen
    assert [(caller.comm, caller.pid, caller.requests) for caller in statistics.top_callers()] == [
        ("name11", RM, 1),
        ("name12", CAT, 1),
    ]
    assert json.dumps(statistics.as_data())


def test_of_very_many_callers_those_who_called_most_are_kept() -> None:
    statistics = Statistics()
    for number in range(2 * MOST_CALLERS):
        for tid in (RM, 100 + number):
            statistics.add(Request(CONNECTION, 2, LOOKUP, 45, Who(tid, tid, "x"), 1.0, ended=2.0))
    assert len(statistics.callers) <= MOST_CALLERS
    assert statistics.top_callers()[0] == ("x", RM, 2 * MOST_CALLERS, 2.0 * MOST_CALLERS)


# --- for other programs


def test_the_data_of_a_request_say_what_is_not_known() -> None:
    (request,) = paired(send(1.0, 2), end(1.5, 2))
    data = as_data(request, epoch=100.0)
    assert (data["time"], data["total_us"], data["pending_us"], data["error"]) == (101.0, 500000.0, None, None)


def perfetto_of(*requests: Request) -> list[dict[str, Any]]:
    file = io.StringIO()
    perfetto = Perfetto(file)
    for request in requests:
        perfetto.add(request)
    perfetto.close()
    events: list[dict[str, Any]] = json.loads(file.getvalue())
    return events


def test_a_request_is_a_span_of_its_caller_and_of_its_server_with_an_arrow_between() -> None:
    events = perfetto_of(*paired(send(1.0, 2), read(1.25), end(1.75, 2)))
    spans = [(event["tid"], event["ts"], event["dur"]) for event in events if event["ph"] == "X"]
    assert spans == [(RM, 1e6, 0.75e6), (ONE, 1.25e6, 0.5e6)]
    arrow = [(event["ph"], event["tid"], event["id"]) for event in events if event["ph"] in "sf"]
    assert arrow == [("s", RM, 1), ("f", ONE, 1)]
    names = {(event["name"], event["tid"]): event["args"]["name"] for event in events if event["ph"] == "M"}
    assert names["thread_name", RM] == "name11"
    assert names["process_name", ONE] == "name91"


def test_a_file_without_requests_is_good_too() -> None:
    assert perfetto_of() == []


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=30))
def test_spans_of_one_track_never_cross(spans: list[tuple[int, int]]) -> None:
    numbers = count(2, 2)
    requests = [
        Request(CONNECTION, next(numbers), LOOKUP, 45, Who(RM, RM, "rm"), float(begin), ended=float(begin + length))
        for begin, length in sorted(spans, key=sum)
    ]
    tracks: dict[int, list[tuple[float, float]]] = {}
    for event in perfetto_of(*requests):
        if event["ph"] == "X":
            tracks.setdefault(event["tid"], []).append((event["ts"], event["ts"] + event["dur"]))
    for track in tracks.values():
        for one in track:
            assert not any(one[0] < other[0] < one[1] < other[1] for other in track)


# --- as a diagram

SENDING = (
    "fuse_dev_queue_req",
    "__fuse_simple_request",
    "fuse_unlink",
    "vfs_unlink",
    "do_unlinkat",
    "__x64_sys_unlink",
)
WAKING = ("try_to_wake_up", "__wake_up", "fuse_dev_queue_req", "__fuse_simple_request")
ANSWERING = ("fuse_request_end", "fuse_dev_do_write", "fuse_dev_write", "vfs_write")


def drawn(*traced: Traced) -> list[tuple[str, str, bool]]:
    """The steps of the first request, whether it is over or not."""
    pairing, steps = Pairing(), Steps()
    over = list(pairing.feed(traced))
    steps.feed(traced)
    recording = steps.recording([*over, *pairing.waiting.values()][0])
    return [(moment.task, moment.event.text, moment.certain) for moment in recording.moments]


def whole() -> list[Traced]:
    return [
        at(0.5, ONE, SyscallEnter(0, (5, 0, 0, 0, 0, 0))),
        send(1.0, 2),
        at(1.0, RM, Stack(SENDING)),
        at(1.01, RM, Waking(ONE)),
        at(1.01, RM, Stack(WAKING)),
        read(1.1),
        at(1.2, ONE, SyscallEnter(1, (5, 0, 0, 0, 0, 0))),
        end(1.3, 2),
        at(1.3, ONE, Stack(ANSWERING)),
        at(1.31, ONE, Waking(RM)),
        at(1.31, ONE, Stack(ANSWERING)),
        at(1.4, ONE, SyscallExit(1, 16)),
    ]


def test_what_was_seen_is_told_from_what_must_have_been() -> None:
    steps = drawn(*whole())
    seen = [(task, text) for task, text, certain in steps if certain]
    assert seen == [
        ("daemon", ">sys_read()"),
        ("daemon", "[sleep on fc->waitq]"),
        ("caller", ">sys_unlink()"),
        ("caller", ">fuse_unlink()"),
        ("caller", ">request_send()"),
        ("caller", "[queue req on fc->pending]"),
        ("caller", "[wake up fc->waitq]"),
        ("caller", "[sleep on req->waitq]"),
        ("daemon", "<sys_read()"),
        ("daemon", ">sys_write()"),
        ("daemon", ">fuse_dev_write()"),
        ("daemon", "[wake up req->waitq]"),
        ("daemon", "<sys_write()"),
    ]
    inferred = [text for _, text, certain in steps if not certain]
    assert {Step.TAKE, Step.COPY_OUT, Step.READ, Step.LOOK_UP, Step.MATCH, Step.COPY_IN} <= set(inferred)


def test_a_daemon_that_is_still_busy_reads_later() -> None:
    """As the request is sent, it is in the write of the answer before."""
    steps = drawn(
        at(0.5, ONE, SyscallEnter(1, (5, 0, 0, 0, 0, 0))),
        *whole()[1:3],
        at(1.05, ONE, SyscallExit(1, 16)),
        at(1.06, ONE, SyscallEnter(0, (5, 0, 0, 0, 0, 0))),
        *whole()[5:],
    )
    texts = [text for _, text, _ in steps]
    assert texts.index("[queue req on fc->pending]") < texts.index(">sys_read()") < texts.index("<sys_read()")
    assert "[sleep on fc->waitq]" not in texts
    assert texts.count(">sys_write()") == 1


def test_a_request_without_an_answer_is_drawn_as_far_as_it_came() -> None:
    steps = drawn(*whole()[:5])
    assert steps[-1] == ("caller", "[sleep on req->waitq]", False)
    assert "<sys_read()" not in [text for _, text, _ in steps]


def test_for_what_is_sent_in_the_background_nobody_waits() -> None:
    background = ("fuse_dev_queue_req", "fuse_send_one", "fuse_simple_background", "fuse_file_put", "__x64_sys_close")
    steps = drawn(send(1.0, 2), at(1.0, RM, Stack(background)), read(1.1), end(1.2, 2))
    assert ("caller", ">request_send()", True) in steps
    texts = [text for _, text, _ in steps]
    assert "[sleep on req->waitq]" not in texts
    assert ">fuse_file_put()" in texts


def test_an_abort_is_no_answer() -> None:
    aborting = ("fuse_request_end", "fuse_dev_end_requests", "fuse_abort_conn", "fuse_conn_abort_write")
    texts = [text for _, text, _ in drawn(send(1.0, 2), read(1.1), end(1.2, 2, CAT), at(1.2, CAT, Stack(aborting)))]
    assert "[abort fc]" in texts
    assert "[look up req in fc->processing]" not in texts
