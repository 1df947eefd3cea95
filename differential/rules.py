"""What may differ, and why: the one table.

Two kernels that do the same need not say the same: a lock's owner is an address that was stirred, a
handle of a local directory is a descriptor. Some rules put names in the place of such numbers; they
hold always. The others let something float, and are tried only where the transcripts differ. No
rule drops a request.

Each run counts how often each rule was at work: a renaming in how many programs it changed
something, a floating one in how many it made the difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from differential.recorder import Request
from differential.subjects import Subject
from differential.transcript import Transcript
from fusewire.wire import InitFlags, split_init_flags

__all__ = ["FLOATING", "RENAMING", "Rule", "steps_of_several"]

Steps = tuple[tuple[Request, ...], ...]
CLOCKS: Final = 10**9  # seconds: programs set times before it, clocks tell times after it
TIMES: Final = ("atime", "mtime", "ctime")
FUSE_RELEASE_FLOCK_UNLOCK: Final = 2
PAGE: Final = 4096
MOST: Final = 1 << 20  # bytes of a READ
READING: Final = "READ"


@dataclass(frozen=True, slots=True)
class Rule:
    """`apply` returns the same transcript where there is nothing to do."""

    name: str
    reason: str
    apply: Callable[[Transcript, Subject], Transcript]


# --- names in place of numbers


def with_fields(request: Request, changes: dict[str, Any]) -> Request:
    return replace(request, body=tuple((name, changes.get(name, value)) for name, value in request.body))


class Names:
    """Gives numbers names, in the order in which they are first seen; 0 stays 0."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}
        self.given = 0

    def of(self, number: int) -> int:
        if number and number not in self.known:
            self.given += 1
            self.known[number] = self.given
        return self.known[number] if number else 0

    def forget(self, number: int) -> None:
        """Have it get another name when it is seen again, for it then is something else."""
        self.known.pop(number, None)


def name_handles(transcript: Transcript, subject: Subject) -> Transcript:
    names: dict[int, int] = {}
    opened = 0

    def change(request: Request) -> Request:
        nonlocal opened
        handles = {name: names.get(value, value) for name, value in request.body if name in ("fh", "fh_in", "fh_out")}
        if request.handle:
            opened += 1
            names[request.handle] = opened
        return replace(with_fields(request, handles) if handles else request, handle=None)

    return transcript.mapped(change)


def name_fields(*fields: str) -> Callable[[Transcript, Subject], Transcript]:
    def apply(transcript: Transcript, subject: Subject) -> Transcript:
        names = Names()

        def change(request: Request) -> Request:
            found = {name: names.of(value) for name, value in request.body if name in fields and value}
            if request.name == "RELEASE" and request.get("release_flags") & FUSE_RELEASE_FLOCK_UNLOCK:
                names.forget(request.get("lock_owner"))
            return with_fields(request, found) if found else request

        return transcript.mapped(change)

    return apply


def forget_pids(transcript: Transcript, subject: Subject) -> Transcript:
    def change(request: Request) -> Request:
        if request.name not in ("GETLK", "SETLK", "SETLKW"):
            return request
        return with_fields(request, {"pid": "the caller's" if request.get("pid") else 0})

    return transcript.mapped(change)


def hide_clocks(transcript: Transcript, subject: Subject) -> Transcript:
    def change(request: Request) -> Request:
        if request.name != "SETATTR":
            return request
        fields = dict(request.body)
        told = [name for name in TIMES if fields[name] >= CLOCKS]
        return with_fields(request, {one: "a clock's" for name in told for one in (name, f"{name}nsec")})

    return transcript.mapped(change)


def name_inodes(transcript: Transcript, subject: Subject) -> Transcript:
    if subject.numbers:
        return transcript
    names = Names()

    def change(value: Any) -> Any:
        if isinstance(value, tuple) and value[:1] == ("stat",):
            return (value[0], names.of(value[1]), *value[2:])
        if isinstance(value, list) and value and isinstance(value[0], tuple):  # getdents: inodes and positions
            return [(names.of(each[0]), *each[2:]) for each in value]
        return value

    return replace(transcript, results=tuple((outcome, change(value)) for outcome, value in transcript.results))


def positions(transcript: Transcript, subject: Subject) -> Transcript:
    if subject.numbers:
        return transcript
    names = Names()

    def change(request: Request) -> Request:
        if request.name not in ("READDIR", "READDIRPLUS"):
            return request
        return with_fields(request, {"offset": names.of(request.get("offset"))})

    return transcript.mapped(change)


def name_strangers(transcript: Transcript, subject: Subject) -> Transcript:
    return transcript.mapped(lambda request: replace(request, role="kernel") if request.role == "?" else request)


CONFIGURED: Final = (
    InitFlags.FUSE_PASSTHROUGH
    | InitFlags.FUSE_MAP_ALIGNMENT
    | InitFlags.FUSE_HAS_INODE_DAX
    | InitFlags.FUSE_OVER_IO_URING
    | InitFlags.FUSE_SECURITY_CTX
)


def hide_configuration(transcript: Transcript, subject: Subject) -> Transcript:
    low, high = split_init_flags(CONFIGURED)

    def change(request: Request) -> Request:
        if request.name != "INIT":
            return request
        return with_fields(request, {"flags": request.get("flags") & ~low, "flags2": request.get("flags2") & ~high})

    return transcript.mapped(change)


def gather_forgets(transcript: Transcript, subject: Subject) -> Transcript:
    return replace(transcript, requests=tuple(with_gathered_forgets(step) for step in transcript.requests))


def with_gathered_forgets(step: tuple[Request, ...]) -> tuple[Request, ...]:
    forgotten: Counter[int] = Counter()
    for request in step:
        forgotten.update(forgotten_by(request))
    if not forgotten:
        return step
    left = tuple(request for request in step if "FORGET" not in request.name)
    return (*left, *(forget(nodeid, count) for nodeid, count in sorted(forgotten.items())))


def forgotten_by(request: Request) -> dict[int, int]:
    if request.name == "FORGET":
        return {request.nodeid: request.get("nlookup")}
    if request.name == "BATCH_FORGET":
        found: Counter[int] = Counter()
        for nodeid, nlookup in eval(request.data):
            found[nodeid] += nlookup
        return found
    return {}


def forget(nodeid: int, nlookup: int) -> Request:
    return Request("FORGET", "kernel", 0, 0, nodeid, (("nlookup", nlookup),))


RENAMING: Final = (
    Rule("configuration", "some flags of INIT are those of a kernel's configuration", hide_configuration),
    Rule("strangers", "the kernel's threads, and a daemon that retrieves, have pids on Linux alone", name_strangers),
    Rule("handles", "a filesystem takes what numbers it likes, LocalDirectory for one descriptors", name_handles),
    Rule(
        "lock owners",
        "Linux stirs an address with a key of the mount's own; that of a closed file is used again",
        name_fields("lock_owner", "owner"),
    ),
    Rule("pids of locks", "a lock names its holder's pid, and pids differ", forget_pids),
    Rule("poll handles", "Linux counts them for all mounts together", name_fields("kh")),
    Rule("pointers", "the argument of an ioctl with data is an address in the caller's memory", name_fields("arg")),
    Rule("clocks", "with 'now', SETATTR also tells what the kernel's clock says", hide_clocks),
    Rule("inode numbers", "those of a local directory are those of its source, made anew each time", name_inodes),
    Rule("positions", "those in a directory are its source's", positions),
    Rule("forgets", "how many go into one message depends on when the daemon reads", gather_forgets),
)


# --- what may float


def float_all(*names: str) -> Callable[[Transcript, Subject], Transcript]:
    """Gather requests of these names at the end of the program, in one order."""

    def apply(transcript: Transcript, subject: Subject) -> Transcript:
        if not transcript.requests:
            return transcript
        floating = [request for step in transcript.requests for request in step if request.name in names]
        left = [tuple(request for request in step if request.name not in names) for step in transcript.requests]
        if floating:
            left[-1] += tuple(sorted(floating, key=repr))
        return replace(transcript, requests=tuple(left))

    return apply


def sum_forgets(transcript: Transcript, subject: Subject) -> Transcript:
    floated = float_all("FORGET")(transcript, subject)
    return gather_forgets(floated, subject)


def reads_as_ranges(transcript: Transcript, subject: Subject) -> Transcript:
    return replace(transcript, requests=tuple(with_joined_reads(step) for step in transcript.requests))


def with_joined_reads(step: tuple[Request, ...]) -> tuple[Request, ...]:
    """Put one READ for each range of bytes of a file, where the first of them stood.

    Not if there are more of them than pages, or one is larger than any may be.
    """
    reads = [request for request in step if request.name == READING]
    if len(reads) < 2:
        return step
    ranges = joined(reads)
    if len(reads) > sum(-(-one.get("size") // PAGE) for one in ranges) or any(it.get("size") > MOST for it in reads):
        return step
    first = step.index(reads[0])
    before, after = step[:first], step[first:]
    return (*before, *ranges, *(request for request in after if request.name != READING))


def joined(reads: list[Request]) -> list[Request]:
    found: list[Request] = []
    for read in sorted(reads, key=lambda it: (it.nodeid, it.get("fh"), it.get("offset"))):
        last = found[-1] if found else None
        if last is not None and same_file(last, read) and read.get("offset") <= last.get("offset") + last.get("size"):
            end = max(last.get("offset") + last.get("size"), read.get("offset") + read.get("size"))
            found[-1] = with_fields(last, {"size": end - last.get("offset")})
        else:
            found.append(read)
    return found


def same_file(one: Request, other: Request) -> bool:
    return (one.nodeid, one.role, one.error, one.get("fh")) == (other.nodeid, other.role, other.error, other.get("fh"))


def by_process(transcript: Transcript, subject: Subject) -> Transcript:
    """Where several calls were under way at once, put each process's requests together."""
    together = steps_of_several(transcript)
    return replace(
        transcript,
        requests=tuple(
            tuple(sorted(step, key=lambda it: it.role)) if number in together else step
            for number, step in enumerate(transcript.requests)
        ),
    )


def steps_of_several(transcript: Transcript) -> set[int]:
    """Return the steps in which more than one call was under way."""
    count = len(transcript.results)
    return {
        step
        for number, result in enumerate(transcript.results)
        for step in range(number + 1, count if result[0] == "asleep" else transcript.end(number) + 1)
    }


FLOATING: Final = (
    Rule("processes", "of several that may go on at once, the scheduler says who does first", by_process),
    Rule("reads", "readahead cuts a range into as many READs as it thinks fit", reads_as_ranges),
    Rule(
        "releases float",
        "RELEASE is sent in the background, when the last user of a file lets go",
        float_all("RELEASE", "RELEASEDIR"),
    ),
    Rule("forgets float", "an inode is forgotten when it is evicted, which memory decides as well", sum_forgets),
)
