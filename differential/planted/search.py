"""Which program finds an error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from differential import embedded
from differential.block_device import can_be_had
from differential.compare import compare
from differential.generate import generate
from differential.planted.patches import Planted, planted
from differential.planted.programs import BY_HAND, HELD, held_program
from differential.program import Program
from differential.real import Machine
from differential.subjects import SUBJECTS
from differential.transcript import Transcript

__all__ = ["Search"]


class Search:
    """Looks for programs that find errors: the right kernel's end runs each program once, whatever the errors."""

    def __init__(self, machine: Machine, seeds: Iterable[int]) -> None:
        self.machine = machine
        self.programs: dict[int | str, Program] = {opcode: held_program(opcode) for opcode in HELD}
        self.programs |= {
            name: program for name, program in BY_HAND.items() if not SUBJECTS[program.subject].block or can_be_had()
        }
        self.programs |= {seed: generate(seed) for seed in seeds}
        self.right: dict[int | str, Transcript] = {}

    def finds(self, error: Planted) -> int | str | None:
        """Return the first program that agrees with Linux without the error, and differs with it; None if none does.

        It is told by its seed; one of those in which two requests are under way by the opcode of the first.
        """
        for seed, program in self.programs.items():
            if self.asks(seed, error.opcode) and self.is_seen(program, self.right[seed], error):
                real = self.machine.run(program)
                if self.agree(program, real, self.right[seed]) and self.is_seen(program, real, error):
                    return seed
        return None

    def asks(self, seed: int | str, opcode: str) -> bool:
        if seed not in self.right:
            self.right[seed] = embedded.run(self.programs[seed], self.machine.home)
        return any(request.name == opcode for step in self.right[seed].requests for request in step)

    def is_seen(self, program: Program, right: Transcript, error: Planted) -> bool:
        with planted(error):
            try:
                wrong = embedded.run(program, self.machine.home)
            except AssertionError:  # a rule of the wire is broken: found, without Linux
                return True
        return not self.agree(program, right, wrong)

    def agree(self, program: Program, one: Transcript, other: Transcript) -> bool:
        return compare(program, one, other, Counter()) is None
