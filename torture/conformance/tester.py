"""Checks, cases and groups: what a case is written in.

A case is a function that takes a `Tester`, belongs to a group, and makes checks with
`works`, `fails`, `equal` and `true`. Each check is one line of the report; its text is made
from the call itself, so that a table of calls needs no prose. What a case raises is a
failed check of its own: a filesystem that lacks a call must not end the suite.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

from torture.conformance.actors import Actor, Call, Hung, Identity, Place
from torture.conformance.calls import Skipped

ALICE = Identity("alice", 65501, 65501, (65511,))
BOB = Identity("bob", 65502, 65502)
CAROL = Identity("carol", 65503, 65501)  # in alice's group

ELSEWHERE = "/dev"

Body = Callable[["Tester"], None]


@dataclass(frozen=True)
class Case:
    """One case: `needs` is "", "root", or "users" (root, and a mount that others may enter)."""

    group: str
    name: str
    needs: str
    body: Body


CASES: list[Case] = []


def case(group: str, needs: str = "") -> Callable[[Body], Body]:
    """Register a function as a case of `group`."""

    def register(body: Body) -> Body:
        CASES.append(Case(group, body.__name__, needs, body))
        return body

    return register


@dataclass(frozen=True)
class Result:
    """One line of the report. `verdict` is "ok", "not ok" or "skip"."""

    verdict: str
    label: str  # the same in every run: what two filesystems are compared by
    detail: str = ""


class Tester:
    """What a case gets: the actors, and the checks."""

    def __init__(self, place: Place, report: Callable[[Result], None]) -> None:
        self.place = place
        self.report = report
        self.seen: Counter[str] = Counter()
        self.prefix = ""
        self.root = place.actor(place.root)
        self.privileged = place.root.uid == 0
        users = (ALICE, BOB, CAROL) if self.privileged else ()
        self.users = {who.name: place.actor(who) for who in users}

    @property
    def alice(self) -> Actor:
        return self.users["alice"]

    @property
    def bob(self) -> Actor:
        return self.users["bob"]

    @property
    def carol(self) -> Actor:
        return self.users["carol"]

    @contextmanager
    def also(self, who: Identity) -> Iterator[Actor]:
        """A further actor, for a while, who stands where the others do."""
        home = os.path.basename(self.root.getcwd())
        actor = self.place.actor(who)
        try:
            actor.enter(home)
            yield actor
        finally:
            actor.end()

    def tick(self) -> None:
        """Let the clock of the timestamps move on."""
        self.place.tick()

    # The checks.

    def line(self, good: bool, text: str, detail: str) -> None:
        """Report one check. Equal texts in one case are numbered."""
        label = f"{self.prefix}: {text}"
        self.seen[label] += 1
        if self.seen[label] > 1:
            label += f" (#{self.seen[label]})"
        self.report(Result("ok" if good else "not ok", label, "" if good else detail))

    def works(self, call: Call, *arguments: object) -> Any:
        """Check that a call succeeds; its result, or None."""
        try:
            result = call(*arguments)
        except OSError as error:
            self.line(False, call.text(arguments), f"got {name_of(error.errno)}")
            return None
        self.line(True, call.text(arguments), "")
        return result

    def fails(self, wanted: int | tuple[int, ...], call: Call, *arguments: object) -> None:
        """Check that a call fails with an errno, or with one of several."""
        numbers = wanted if isinstance(wanted, tuple) else (wanted,)
        text = f"{call.text(arguments)} fails with {' or '.join(map(name_of, numbers))}"
        try:
            call(*arguments)
        except OSError as error:
            self.line(error.errno in numbers, text, f"got {name_of(error.errno)}")
        else:
            self.line(False, text, "it succeeded")

    def allowed(self, yes: bool, refusal: int | tuple[int, ...], call: Call, *arguments: object) -> None:
        """Check that a call works if `yes`, and else fails with `refusal`."""
        if yes:
            self.works(call, *arguments)
        else:
            self.fails(refusal, call, *arguments)

    def equal(self, what: str, got: object, wanted: object) -> None:
        """Check that a value is what it must be."""
        self.line(got == wanted, f"{what} is {brief(wanted)}", f"got {brief(got)}")

    def true(self, what: str, fact: object, detail: object = "") -> None:
        """Check that something holds."""
        self.line(bool(fact), what, str(detail))

    def mode(self, path: str, wanted: int) -> None:
        """Check the permission bits of a path (not followed), suid, sgid and sticky included."""
        self.equal(f"mode of {path}", oct(self.root.lstat(path).st_mode & 0o7777), oct(wanted))

    def nlink(self, path: str, wanted: int) -> None:
        """Check a link count."""
        self.equal(f"nlink of {path}", self.root.lstat(path).st_nlink, wanted)

    def owner(self, path: str, uid: int, gid: int) -> None:
        """Check whose a path is."""
        found = self.root.lstat(path)
        self.equal(f"owner of {path}", (found.st_uid, found.st_gid), (uid, gid))

    def content(self, path: str, wanted: bytes) -> None:
        """Check all bytes of a file."""
        self.equal(f"content of {path}", self.root.read_file(path), wanted)

    # Preparations; not checks.

    def put(self, kind: str, path: str, mode: int = -1, who: Identity | None = None, content: bytes = b"") -> None:
        """Make something as root, give it to somebody, then set its mode (chown would clear bits of it)."""
        self.root.make(kind, path)
        if content:
            self.root.write_file(path, content)
        if who is not None:
            self.root.lchown(path, who.uid, who.gid)
        if mode >= 0:
            self.root.chmod(path, mode)

    def skip(self, why: str) -> NoReturn:
        """End the case: it does not apply here."""
        raise Skipped(why)

    def need(self, what: str) -> None:
        """End the case if this place lacks something that most have."""
        if what in self.place.lacks:
            self.skip(self.place.lacks[what])

    def elsewhere(self) -> str:
        """A directory of another filesystem; nothing if there is none."""
        try:
            there, here = self.root.stat(ELSEWHERE), self.root.stat(".")
        except FileNotFoundError:
            return ""
        return ELSEWHERE if there.st_dev != here.st_dev else ""

    def run(self, case: Case, number: int) -> None:
        """Run one case in a new directory, and remove that."""
        self.prefix = f"{case.group}.{case.name}"
        reason = self.missing(case)
        if reason:
            self.report(Result("skip", self.prefix, reason))
            return
        home = f"case-{number}"
        try:
            self.enter(home)
            case.body(self)
        except Skipped as skipped:
            self.report(Result("skip", self.prefix, str(skipped)))
        except (OSError, TypeError, AttributeError, KeyError) as error:
            self.report(Result("not ok", f"{self.prefix}: runs to its end", f"{type(error).__name__}: {error}"))
        self.leave(home)

    def actors(self) -> Iterable[Actor]:
        return (self.root, *self.users.values())

    def enter(self, home: str) -> None:
        """Make the directory of a case, and have all actors stand in it."""
        self.root.enter(".")
        self.root.mkdir(home, 0o777)
        for actor in self.actors():
            if actor is self.root or self.open_to_others:
                actor.enter(home)

    def leave(self, home: str) -> None:
        """Remove the directory of a case."""
        for actor in self.actors():
            actor.close_all()
            if actor is self.root or self.open_to_others:
                actor.enter(".")
        try:
            self.root.remove_tree(home)
        except OSError as error:
            self.report(Result("not ok", f"{self.prefix}: its directory can be removed", str(error)))

    def missing(self, case: Case) -> str:
        """Why a case cannot run here, or nothing."""
        if case.needs and not self.users:
            return "needs root"
        if case.needs == "users" and not self.open_to_others:
            return "other users may not enter this directory (mount with allow_other)"
        return ""

    @cached_property
    def open_to_others(self) -> bool:
        """Other users may search the directory under test."""
        if not self.users:
            return False
        try:
            self.alice.enter(".")
        except OSError:
            return False
        return True

    def end(self) -> None:
        """End the actors."""
        for actor in self.actors():
            actor.end()


def name_of(number: int | None) -> str:
    """An errno by name."""
    return errno.errorcode.get(number or 0, str(number))


def brief(value: object) -> str:
    """A value for the report, not too long."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:80]}...({len(text)} characters)"


__all__ = ["ALICE", "BOB", "CAROL", "CASES", "Case", "Hung", "Result", "Skipped", "Tester", "case", "name_of"]
