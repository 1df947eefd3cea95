"""Programs, step by step: the same for the same seed."""

from __future__ import annotations

from random import Random
from typing import Final

from differential.generate.belief import MAPS, SLOTS, Generator, Maker, NothingThere
from differential.generate.table import MAKERS
from differential.generate.waiting import Waiting
from differential.program import Program, Step
from differential.subjects import SUBJECTS, Subject

__all__ = ["STEPS", "generate"]

STEPS: Final = 50
MANY_CALLS: Final = ("listdir",)  # in a row: where others wait, the scheduler says who gets the lock in between
OFTEN: Final = 8  # times as often as elsewhere: calls that a filesystem is there for
OPENERS: Final = {"munmap": ("mmap",), "close": ("open", "dup")}
NODES: Final = range(1, 8)  # that are likely to be there: filesystems count them


def generate(
    seed: int, length: int = STEPS, subject: str | None = None, calls: frozenset[str] | None = None
) -> Program:
    """Return the program of a seed, of `length` steps before those that close everything.

    `subject` and `calls` narrow it: to one filesystem, to some calls.
    """
    random = Random(seed)
    chosen = random.choices(list(SUBJECTS.values()), [each.weight for each in SUBJECTS.values()])[0]
    if subject is not None:
        chosen = SUBJECTS[subject]
    it = Generator(random, chosen.special, chosen.waiting)
    wanted = calls or ({*some_calls(random), *chosen.often} if it.chance(0.5) else set(MAKERS))
    steps = Steps(it, chosen, wanted)
    while len(steps.made) < length:
        steps.go_on()
    return Program(chosen.name, (*steps.made, *steps.last()), seed)


def some_calls(random: Random) -> set[str]:
    """Return a part of the calls: a program of few sorts of calls gets deeper into each (swarm testing)."""
    return {"open", "mkdir", *random.sample(sorted(MAKERS), random.randrange(6, 20))}


class Steps:
    """The steps of one program, as they are made; `calls` are those that there may be."""

    def __init__(self, it: Generator, subject: Subject, calls: set[str] | frozenset[str]) -> None:
        self.it = it
        self.subject = subject
        unwanted = MANY_CALLS if it.waiting else ()
        self.makers: dict[str, tuple[int, Maker]] = {
            name: maker for name, maker in MAKERS.items() if name in calls and name not in unwanted
        }
        self.weights = [often * (OFTEN if name in subject.often else 1) for name, (often, _) in self.makers.items()]
        self.made = [Step(0, "chmod", ("/", 0o777))] if it.chance(0.8) else []
        self.made += [Step(role, "umask", (0,)) for role in it.roles if it.chance(0.5)]
        self.waiting = Waiting(it) if it.waiting else None

    def go_on(self) -> None:
        """Make one step more, or a few; now and then none."""
        it = self.it
        if self.waiting is not None:
            self.made += self.waiting.control()
        elif it.chance(0.01):
            self.made.append(Step(0, "retrieve", (it.random.choice(NODES), it.offset(), it.size())))
        it.role = it.random.choice(it.roles)
        try:
            self.made.append(self.call() if self.waiting is None else self.waiting.step(self.makers, self.weights))
        except NothingThere:
            return

    def call(self) -> Step:
        name = self.it.random.choices(list(self.makers), self.weights)[0]
        return Step(self.it.role, name, self.makers[name][1](self.it))

    def last(self) -> list[Step]:
        """Return the steps that let everybody go, close what may be open, and at times unmount."""
        ends = [*closing(self.made)] if self.waiting is None else [*self.waiting.last(), *closing(self.made)]
        if self.subject.block or (self.waiting is None and self.it.chance(0.1)):
            ends.append(Step(0, "unmount"))
        return ends


def closing(steps: list[Step]) -> list[Step]:
    """Return the steps that close whatever may still be open, so that what closing does is compared as well."""
    return [
        Step(role, call, (slot,))
        for role in sorted({step.role for step in steps})
        for call, count in (("munmap", MAPS), ("close", SLOTS))
        for slot in range(count)
        if any(step.role == role and slot in step.arguments and step.call in OPENERS[call] for step in steps)
    ]
