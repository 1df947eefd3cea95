#!/usr/bin/env python3
"""Run programs by chance on both kernels, and say where they differ: python differential/run.py -n 1000

Each program is named by its seed: the same seed is the same program. One process works for each CPU,
in a mount namespace of its own. A process of which nothing is heard for `SILENCE` seconds is killed,
which frees whoever waits for its mount, and its program is reported.

Differences are shrunk, and of each kind the first is shown, side by side. At the end stands how often
each rule was at work. The exit code is 1 if anything differed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # also when run as a file

from differential.block_device import can_be_had
from differential.comparer import Comparer, Findings
from differential.generate import STEPS, generate
from differential.real import Machine
from differential.rules import FLOATING, RENAMING
from differential.subjects import SUBJECTS

SILENCE: Final = 60.0  # seconds; a program takes a tenth of one
SHOWN: Final = 30  # kinds of differences
ENOUGH: Final = 10  # programs that were lost: no other will fare better


# --- workers


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to do."""

    seeds: range
    subject: str | None
    calls: frozenset[str] | None
    length: int


def work(order: Order, pipe: Connection) -> None:
    """Be a worker: say each seed before its program runs, and each difference; at the end the findings."""
    Machine.enter_namespace()
    with Machine() as machine:
        comparer = Comparer(machine)
        for seed in order.seeds:
            pipe.send(("seed", seed))
            found = comparer.check(generate(seed, order.length, order.subject, order.calls))
            if found is not None:
                pipe.send(("difference", seed, found.kind, f"{found}\n\n{found.program.as_source()}"))
        pipe.send(("end", comparer.findings))


class Worker:
    """A worker, as the parent sees it."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.start()

    def start(self) -> None:
        self.pipe, theirs = multiprocessing.Pipe(duplex=False)
        self.process = multiprocessing.Process(target=work, args=(self.order, theirs))
        self.process.start()
        theirs.close()
        self.seed = self.order.seeds.start
        self.heard = time.monotonic()

    def restart_behind(self) -> None:
        """Kill it, and start another behind the program that it was at."""
        self.process.kill()
        self.process.join()
        rest = range(self.seed + self.order.seeds.step, self.order.seeds.stop, self.order.seeds.step)
        self.order = Order(rest, self.order.subject, self.order.calls, self.order.length)
        self.start()


class Supervisor:
    """The parent: hears of what the workers find."""

    def __init__(self, orders: list[Order]) -> None:
        self.findings = Findings()
        self.workers = [Worker(order) for order in orders]
        self.kinds: set[tuple[object, ...]] = set()
        self.lost = 0

    def run(self) -> None:
        while self.workers:
            for pipe in wait([worker.pipe for worker in self.workers], timeout=1):
                self.hear(next(worker for worker in self.workers if worker.pipe is pipe))
            for worker in self.workers:
                if time.monotonic() - worker.heard > SILENCE:
                    self.lose(worker, f"nothing was heard for {SILENCE:g} seconds")

    def hear(self, worker: Worker) -> None:
        try:
            what, *more = worker.pipe.recv()
        except EOFError:
            worker.process.join()
            self.lose(worker, f"its worker ended with {worker.process.exitcode}")
            return
        worker.heard = time.monotonic()
        match what:
            case "seed":
                (worker.seed,) = more
            case "difference":
                self.show(*more)
            case "end":
                self.findings.add(*more)
                worker.process.join()
                self.workers.remove(worker)

    def show(self, seed: int, kind: tuple[object, ...], text: str) -> None:
        if kind not in self.kinds:
            self.kinds.add(kind)
            if len(self.kinds) <= SHOWN:
                print(f"--- seed {seed}, {kind}\n{text}\n", flush=True)

    def lose(self, worker: Worker, why: str) -> None:
        self.lost += 1
        print(f"--- seed {worker.seed}: {why}", flush=True)
        if self.lost >= ENOUGH:
            worker.process.kill()
            self.workers.remove(worker)
        else:
            worker.restart_behind()


def report(findings: Findings, seconds: float) -> None:
    """Print what was run, and how often each rule was at work."""
    print(f"{findings.programs} programs, {findings.requests} requests on Linux, {seconds:.0f} s, of one CPU's time:")
    print("  " + ", ".join(f"{spent:.0f} s on {name}" for name, spent in findings.seconds.items()))
    print(f"{findings.differing} programs differ; {len(findings.either)} more did, until either kernel was asked again")
    for seed in findings.either[:SHOWN]:
        print(f"    seed {seed}")
    for kind, count in findings.kinds.most_common():
        print(f"  {count:6}  {kind}")
    print("rules, and in how many programs they were at work:")
    for rule in (*RENAMING, *FLOATING):
        print(f"  {findings.fired[rule.name]:6}  {rule.name}: {rule.reason}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run programs by chance on both kernels.")
    parser.add_argument("-n", "--number", type=int, default=1000, help="of programs")
    parser.add_argument("--seed", type=int, default=0, help="of the first program")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--length", type=int, default=STEPS, help="steps of a program")
    parser.add_argument("--planted", action="store_true", help="instead, look for each of the planted errors")
    parser.add_argument("--subject", choices=SUBJECTS, help="run on this filesystem alone")
    parser.add_argument("--calls", help="use these calls alone, with commas between them")
    return parser.parse_args()


def look_for_planted(number: int) -> int:
    """Plant each error in turn, and run programs until one finds it; 1 if one is not found in so many."""
    from differential.planted import ON_DEVICE, PLANTED, Search

    missed = 0
    wanted = [error for error in PLANTED if error.opcode not in ON_DEVICE or can_be_had()]
    if len(wanted) < len(PLANTED):
        print(f"There is no loop device to be had here: {', '.join(sorted(ON_DEVICE))} are left out.")
    Machine.enter_namespace()
    with Machine() as machine:
        search = Search(machine, range(number))
        for error in wanted:
            seed = search.finds(error)
            missed += seed is None
            print(f"{'not found' if seed is None else f'by {seed}':>20}  {error}", flush=True)
    return 1 if missed else 0


def main() -> int:
    """Run as many as asked; 1 if anything differed."""
    asked = arguments()
    if os.geteuid() != 0:
        sys.exit("This mounts filesystems in a mount namespace of its own, as several users: run it with sudo.")
    calls = frozenset(asked.calls.split(",")) if asked.calls else None
    if asked.planted:
        return look_for_planted(asked.number)
    jobs = max(1, min(asked.jobs, asked.number))
    end = asked.seed + asked.number
    begun = time.monotonic()
    orders = [Order(range(asked.seed + job, end, jobs), asked.subject, calls, asked.length) for job in range(jobs)]
    supervisor = Supervisor(orders)
    supervisor.run()
    report(supervisor.findings, time.monotonic() - begun)
    return 1 if supervisor.findings.differing or supervisor.lost else 0


if __name__ == "__main__":
    sys.exit(main())
